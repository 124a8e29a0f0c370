//! Stub of the design tokens.
/// Colours and sizes by purpose.
#[derive(Clone, Debug)]
pub struct Theme {}
