//! Stub: the render branch brings the real one.
/// Pooled maps of all heads of one layer, ready for the GPU.
#[derive(Clone, Debug)]
pub struct LayerOverview {
    pub layer: usize,
}
