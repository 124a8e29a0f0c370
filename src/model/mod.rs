//! Models as they lie on disk: their tensors, their fingerprint, their tokenizer.

pub mod checkpoint;
pub mod fingerprint;
pub mod tokenizer;
