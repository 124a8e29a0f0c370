//! Stub of the command table (menus, palette, keys).
/// A command without payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    Save,
}
