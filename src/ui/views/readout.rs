//! Stub.
#[derive(Default)]
pub struct State {}
