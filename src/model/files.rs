//! Small files beside the weights, read whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// Far more than any config.json or index of a real model has.
pub(super) const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// The file's bytes; an error where it has more than `most`, or is no file whose end will come.
pub(super) fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for someone who writes to it.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is no ordinary file",
        ));
    }
    let mut bytes = Vec::with_capacity(metadata.len().min(most) as usize + 1);
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let problem = format!("it has more than {most} bytes, which no such file needs");
        return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_largest_size_is_read_and_a_larger_one_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [7; 100]).unwrap();
        assert_eq!(read_at_most(file.path(), 100).unwrap(), [7; 100]);
        let error = read_at_most(file.path(), 99).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("more than 99 bytes"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let error = read_at_most(folder.path(), 100).unwrap_err();
        assert!(error.to_string().contains("no ordinary file"), "{error}");
        let absent = read_at_most(&folder.path().join("absent"), 100).unwrap_err();
        assert_eq!(absent.kind(), ErrorKind::NotFound);
    }
}
