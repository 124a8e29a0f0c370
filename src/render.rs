//! Stub.
/// How maps are drawn.
#[derive(Clone, Debug)]
pub enum Backend {
    Gpu,
    Cpu { reason: String },
}
