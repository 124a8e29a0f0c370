//! A short name for a model's weights that is the same wherever the files lie: sessions use it to say whether the
//! model they were made with is the one that is open. It reads only the ends of each tensor, so it costs milliseconds.

use sha2::{Digest, Sha256};

use super::checkpoint::{Checkpoint, TensorInfo};

/// Bytes hashed at either end of a tensor.
const END_BYTES: usize = 4096;

/// `h1:` and the lower-case hex of SHA-256 over the tensors in order of their canonical names (the name without a
/// leading `transformer.`; equal ones in order of their full names).
///
/// A tensor is hashed as name, dtype, shape, head, tail. Name and dtype are UTF-8; head and tail are the first and last
/// 4 KiB of its stored bytes (all of them, twice, where there are fewer). Each of these is preceded by its length in
/// bytes; the shape is its number of dimensions, then each dimension. All numbers are 8 bytes, little endian.
pub fn fingerprint(checkpoint: &Checkpoint) -> String {
    let mut tensors: Vec<(&str, &TensorInfo)> = checkpoint
        .tensors()
        .map(|info| (canonical(&info.name), info))
        .collect();
    tensors.sort_by_key(|(canonical, info)| (*canonical, info.name.as_str()));

    let mut hash = Sha256::new();
    for (canonical, info) in tensors {
        let bytes = checkpoint.stored_bytes(&info.name).unwrap_or_default();
        field(&mut hash, canonical.as_bytes());
        field(&mut hash, info.dtype.name().as_bytes());
        number(&mut hash, info.shape.len());
        for &dim in &info.shape {
            number(&mut hash, dim);
        }
        field(&mut hash, &bytes[..bytes.len().min(END_BYTES)]);
        field(&mut hash, &bytes[bytes.len().saturating_sub(END_BYTES)..]);
    }
    format!("h1:{:x}", hash.finalize())
}

fn canonical(name: &str) -> &str {
    name.strip_prefix("transformer.").unwrap_or(name)
}

fn field(hash: &mut Sha256, bytes: &[u8]) {
    number(hash, bytes.len());
    hash.update(bytes);
}

fn number(hash: &mut Sha256, value: usize) {
    hash.update((value as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    fn of(tensors: &[(&str, Dtype, Vec<usize>, &[u8])]) -> String {
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (*name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        fingerprint(&Checkpoint::from_safetensors_bytes("test", bytes, None).unwrap())
    }

    #[test]
    fn the_encoding_is_the_documented_one() {
        // Written out by hand, so that a change of the encoding needs a change of `h1`.
        let mut bytes = Vec::new();
        for part in [
            &b"\x01\0\0\0\0\0\0\0w"[..],
            b"\x02\0\0\0\0\0\0\0U8",
            b"\x02\0\0\0\0\0\0\0",
        ] {
            bytes.extend_from_slice(part);
        }
        for part in [
            &b"\x01\0\0\0\0\0\0\0"[..],
            b"\x03\0\0\0\0\0\0\0",
            b"\x03\0\0\0\0\0\0\0abc",
            b"\x03\0\0\0\0\0\0\0abc",
        ] {
            bytes.extend_from_slice(part);
        }
        assert_eq!(
            of(&[("w", Dtype::U8, vec![1, 3], b"abc")]),
            format!("h1:{:x}", Sha256::digest(&bytes))
        );
    }

    #[test]
    fn names_types_shapes_and_both_ends_count_and_the_wrapper_does_not() {
        let data: Vec<u8> = (0..20_000).map(|i| (i % 251) as u8).collect();
        let changed_at = |at: usize| {
            let mut data = data.clone();
            data[at] ^= 1;
            of(&[("w", Dtype::U8, vec![20_000], &data)])
        };
        let plain = of(&[("w", Dtype::U8, vec![20_000], &data)]);
        assert_eq!(
            plain,
            of(&[("transformer.w", Dtype::U8, vec![20_000], &data)])
        );
        assert_ne!(plain, of(&[("v", Dtype::U8, vec![20_000], &data)]));
        assert_ne!(plain, of(&[("w", Dtype::I8, vec![20_000], &data)]));
        assert_ne!(plain, of(&[("w", Dtype::U8, vec![100, 200], &data)]));
        assert_ne!(plain, changed_at(4095));
        assert_ne!(plain, changed_at(20_000 - 4096));
        assert_eq!(plain, changed_at(10_000), "the middle is not read");
    }
}
