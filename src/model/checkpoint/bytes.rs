//! The bytes of one model file: mapped from disk, or already in memory.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use super::CheckpointError;

pub(super) enum Bytes {
    Mapped(memmap2::Mmap),
    Memory(Cow<'static, [u8]>),
}

impl Bytes {
    pub(super) fn map(path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            // Not every system maps nothing.
            return Ok(Self::Memory(Cow::Borrowed(&[])));
        }
        #[expect(
            unsafe_code,
            reason = "weights are read where they lie; copying gigabytes first would double memory and start-up"
        )]
        // SAFETY: the map is private to this process and only read. The one hazard, another program that shortens
        // the file meanwhile, ends the process as it would any program that maps its weights; it cannot be excluded.
        let map = unsafe { memmap2::Mmap::map(&file) };
        map.map(Self::Mapped).map_err(io)
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }
}
