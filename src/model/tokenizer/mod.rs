//! Stub: the checkpoint branch brings the real one.
/// One token as it reads in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub id: u32,
    /// How it reads in place: ` Mary`; a partial byte as `<0xE2>`.
    pub text: String,
    pub bytes: Vec<u8>,
    pub special: bool,
}
#[derive(Debug)]
pub struct Tokenizer {}
impl Tokenizer {
    pub fn pieces(&self, _ids: &[u32]) -> Vec<Piece> {
        Vec::new()
    }
}
