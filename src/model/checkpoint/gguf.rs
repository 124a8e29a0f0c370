//! A GGUF file (versions 2 and 3, little endian): metadata, the list of tensors, then their data, each aligned.
//!
//! Own reader and not candle's, because that takes strings that are not UTF-8, two tensors of one name, and tensors
//! that overlap. Here no count is believed before the bytes for it are there, so a file makes this allocate at most a
//! small multiple of its own size.

use std::collections::HashSet;
use std::path::Path;

use super::metadata::{GgufArray, GgufMetadata, GgufValue};
use super::{CheckpointError, Place, StoredType, TensorInfo};

const DEFAULT_ALIGNMENT: u64 = 32;
/// GGML tensors have no more dimensions.
const MAX_DIMS: u32 = 4;
/// Least bytes of one key with its value: length of the key, type, one byte.
const MIN_PAIR_BYTES: u64 = 8 + 4 + 1;
/// Least bytes of one tensor's entry: length of the name, number of dimensions, type, offset.
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 4 + 8;

pub(super) const MAGIC: &[u8; 4] = b"GGUF";

/// The metadata and the tensors of one file, checked against its length.
pub(super) fn read(
    bytes: &[u8],
    path: &Path,
) -> Result<(GgufMetadata, Vec<TensorInfo>), CheckpointError> {
    let mut reader = Reader { bytes, at: 0, path };
    if reader.array::<4>()? != *MAGIC {
        return Err(reader.damaged(Place::Byte(0), "it does not start with \"GGUF\"".to_owned()));
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        let big_endian = (1..=3).contains(&version.swap_bytes());
        return Err(CheckpointError::GgufVersion {
            path: path.to_owned(),
            version: if big_endian {
                version.swap_bytes()
            } else {
                version
            },
            big_endian,
        });
    }
    let n_tensors = reader.u64()?;
    let n_pairs = reader.count(MIN_PAIR_BYTES, "metadata keys")?;
    let metadata = reader.metadata(n_pairs)?;
    if let Some(parts) = metadata.u64("split.count").filter(|parts| *parts > 1) {
        return Err(CheckpointError::SplitGguf {
            path: path.to_owned(),
            parts,
        });
    }
    reader.check_count(n_tensors, MIN_TENSOR_BYTES, "tensors")?;
    let tensors = reader.tensors(n_tensors, &metadata)?;
    Ok((metadata, tensors))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    path: &'a Path,
}

impl<'a> Reader<'a> {
    fn metadata(&mut self, n_pairs: u64) -> Result<GgufMetadata, CheckpointError> {
        let mut metadata = GgufMetadata::default();
        for _ in 0..n_pairs {
            let start = self.at;
            let key = self.string()?;
            let kind = self.u32()?;
            let value = match kind {
                ARRAY => GgufValue::Array(self.array_value()?),
                _ => self.scalar(kind)?,
            };
            if metadata.values.contains_key(&key) {
                return Err(self.damaged(
                    Place::Byte(start as u64),
                    format!("key {key:?} comes twice"),
                ));
            }
            metadata.values.insert(key, value);
        }
        Ok(metadata)
    }

    fn tensors(
        &mut self,
        n_tensors: u64,
        metadata: &GgufMetadata,
    ) -> Result<Vec<TensorInfo>, CheckpointError> {
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(_) => metadata
                .u64("general.alignment")
                .filter(|a| a.is_power_of_two())
                .ok_or_else(|| {
                    self.damaged_here("general.alignment is no power of two".to_owned())
                })?,
        };
        let mut names = HashSet::new();
        let mut tensors = Vec::new();
        for _ in 0..n_tensors {
            let (tensor, offset) = self.tensor()?;
            let refuse =
                |problem: String| self.damaged(Place::Tensor(tensor.name.clone()), problem);
            if offset % alignment != 0 {
                return Err(refuse(format!(
                    "its offset {offset} is no multiple of the alignment {alignment}"
                )));
            }
            if !names.insert(tensor.name.clone()) {
                return Err(refuse("it is listed twice".to_owned()));
            }
            tensors.push((tensor, offset));
        }
        // The data starts at the next aligned byte.
        let data_start = (self.at as u64).checked_next_multiple_of(alignment);
        let place = |(mut tensor, offset): (TensorInfo, u64)| {
            let size = tensor.range.len() as u64;
            let start = data_start.and_then(|d| d.checked_add(offset));
            let end = start.and_then(|s| s.checked_add(size));
            match (start, end) {
                (Some(start), Some(end)) if end <= self.bytes.len() as u64 => {
                    tensor.range = start as usize..end as usize;
                    Ok(tensor)
                }
                _ => {
                    let problem = format!(
                        "its {size} bytes at offset {offset} leave the file of {} bytes",
                        self.bytes.len()
                    );
                    Err(self.damaged(Place::Tensor(tensor.name), problem))
                }
            }
        };
        let tensors: Vec<TensorInfo> = tensors.into_iter().map(place).collect::<Result<_, _>>()?;
        self.check_overlap(&tensors)?;
        Ok(tensors)
    }

    fn check_overlap(&self, tensors: &[TensorInfo]) -> Result<(), CheckpointError> {
        let mut by_start: Vec<&TensorInfo> =
            tensors.iter().filter(|t| !t.range.is_empty()).collect();
        by_start.sort_by_key(|t| t.range.start);
        for pair in by_start.windows(2) {
            if pair[0].range.end > pair[1].range.start {
                let problem = format!("its data overlaps that of {:?}", pair[0].name);
                return Err(self.damaged(Place::Tensor(pair[1].name.clone()), problem));
            }
        }
        Ok(())
    }

    /// A tensor whose range has its right length only, and its offset in the data part.
    fn tensor(&mut self) -> Result<(TensorInfo, u64), CheckpointError> {
        let name = self.string()?;
        let n_dims = self.u32()?;
        if n_dims > MAX_DIMS {
            let problem = format!("{n_dims} dimensions, expected at most {MAX_DIMS}");
            return Err(self.damaged(Place::Tensor(name), problem));
        }
        let dims = (0..n_dims)
            .map(|_| self.u64())
            .collect::<Result<Vec<_>, _>>()?;
        let kind = self.u32()?;
        let offset = self.u64()?;
        let dtype =
            StoredType::from_ggml(kind).map_err(|found| CheckpointError::UnsupportedType {
                path: self.path.to_owned(),
                tensor: name.clone(),
                found,
            })?;
        let Some(size) = stored_size(dtype, &dims) else {
            let problem =
                format!("dimensions {dims:?} make no whole number of {dtype} blocks in memory");
            return Err(self.damaged(Place::Tensor(name), problem));
        };
        let tensor = TensorInfo {
            name,
            dtype,
            // GGML lists the fastest dimension first.
            shape: dims.iter().rev().map(|&d| d as usize).collect(),
            file: 0,
            range: 0..size,
        };
        Ok((tensor, offset))
    }

    fn array_value(&mut self) -> Result<GgufArray, CheckpointError> {
        let kind = self.u32()?;
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            STRING | 10..=12 => 8,
            ARRAY => {
                return Err(self.damaged_here(
                    "an array of arrays, which GGUF readers do not take".to_owned(),
                ));
            }
            _ => return Err(self.damaged_here(format!("an array of type {kind}, which is none"))),
        };
        let n = self.count(least, "array elements")?;
        Ok(match kind {
            0 => GgufArray::Unsigned(self.many(n, |r| Ok(r.array::<1>()?[0].into()))?),
            1 => GgufArray::Signed(self.many(n, |r| Ok(i8::from_le_bytes(r.array()?).into()))?),
            2 => GgufArray::Unsigned(self.many(n, |r| Ok(u16::from_le_bytes(r.array()?).into()))?),
            3 => GgufArray::Signed(self.many(n, |r| Ok(i16::from_le_bytes(r.array()?).into()))?),
            4 => GgufArray::Unsigned(self.many(n, |r| Ok(r.u32()?.into()))?),
            5 => GgufArray::Signed(self.many(n, |r| Ok(i32::from_le_bytes(r.array()?).into()))?),
            6 => GgufArray::Float(self.many(n, |r| Ok(f32::from_le_bytes(r.array()?).into()))?),
            7 => GgufArray::Bool(self.many(n, Self::bool)?),
            10 => GgufArray::Unsigned(self.many(n, Self::u64)?),
            11 => GgufArray::Signed(self.many(n, |r| Ok(i64::from_le_bytes(r.array()?)))?),
            12 => GgufArray::Float(self.many(n, |r| Ok(f64::from_le_bytes(r.array()?)))?),
            _ => GgufArray::Str(self.many(n, Self::string)?),
        })
    }

    fn scalar(&mut self, kind: u32) -> Result<GgufValue, CheckpointError> {
        Ok(match kind {
            0 => GgufValue::Unsigned(self.array::<1>()?[0].into()),
            1 => GgufValue::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => GgufValue::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => GgufValue::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => GgufValue::Unsigned(self.u32()?.into()),
            5 => GgufValue::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => GgufValue::Float(f32::from_le_bytes(self.array()?).into()),
            7 => GgufValue::Bool(self.bool()?),
            STRING => GgufValue::Str(self.string()?),
            10 => GgufValue::Unsigned(self.u64()?),
            11 => GgufValue::Signed(i64::from_le_bytes(self.array()?)),
            12 => GgufValue::Float(f64::from_le_bytes(self.array()?)),
            _ => return Err(self.damaged_here(format!("a value of type {kind}, which is none"))),
        })
    }

    /// `n` values; the caller has checked that the bytes for them are there.
    fn many<T>(
        &mut self,
        n: u64,
        one: impl Fn(&mut Self) -> Result<T, CheckpointError>,
    ) -> Result<Vec<T>, CheckpointError> {
        (0..n).map(|_| one(self)).collect()
    }

    fn string(&mut self) -> Result<String, CheckpointError> {
        let n = self.count(1, "bytes of text")?;
        let start = self.at;
        let bytes = self.take(n)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|error| {
                let place = Place::Byte((start + error.valid_up_to()) as u64);
                self.damaged(place, "text that is not UTF-8".to_owned())
            })
    }

    fn bool(&mut self) -> Result<bool, CheckpointError> {
        match self.array::<1>()?[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.damaged_here(format!("a truth value of {other}"))),
        }
    }

    /// A 64-bit count of things that take at least `least` bytes each.
    fn count(&mut self, least: u64, what: &str) -> Result<u64, CheckpointError> {
        let n = self.u64()?;
        self.check_count(n, least, what)?;
        Ok(n)
    }

    fn check_count(&self, n: u64, least: u64, what: &str) -> Result<(), CheckpointError> {
        let left = (self.bytes.len() - self.at) as u64;
        if n > left / least {
            return Err(self.damaged_here(format!(
                "{n} {what} are claimed, {left} bytes are left in the file"
            )));
        }
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, CheckpointError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, CheckpointError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    fn take(&mut self, n: u64) -> Result<&'a [u8], CheckpointError> {
        let rest: &'a [u8] = &self.bytes[self.at..];
        let taken = usize::try_from(n).ok().and_then(|n| rest.get(..n));
        let Some(taken) = taken else {
            return Err(self.damaged_here(format!("the file ends, {n} more bytes were expected")));
        };
        self.at += taken.len();
        Ok(taken)
    }

    fn damaged_here(&self, problem: String) -> CheckpointError {
        self.damaged(Place::Byte(self.at as u64), problem)
    }

    fn damaged(&self, place: Place, problem: String) -> CheckpointError {
        CheckpointError::Damaged {
            path: self.path.to_owned(),
            place,
            problem,
        }
    }
}

const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Bytes of a tensor of `dims` (fastest first), or `None` where a row is no whole number of blocks, a dimension is 0
/// (then the product of the others could still overflow) or numbers overflow.
fn stored_size(dtype: StoredType, dims: &[u64]) -> Option<usize> {
    let (block_elements, block_bytes) = dtype.block()?;
    let row = dims.first().copied().unwrap_or(1);
    let elements = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d))?;
    if row % block_elements as u64 != 0 || elements == 0 {
        return None;
    }
    let bytes = (elements / block_elements as u64).checked_mul(block_bytes as u64)?;
    // The f32 values must have an address too.
    elements
        .checked_mul(4)
        .filter(|&n| isize::try_from(n).is_ok())?;
    usize::try_from(bytes).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes small files: strings as length and bytes, then whatever the test asks for.
    #[derive(Clone, Default)]
    pub(in super::super) struct Writer(pub(in super::super) Vec<u8>);

    impl Writer {
        pub(in super::super) fn header(version: u32, n_tensors: u64, n_pairs: u64) -> Self {
            Self(MAGIC.to_vec())
                .u32(version)
                .u64(n_tensors)
                .u64(n_pairs)
        }

        pub(in super::super) fn u32(self, value: u32) -> Self {
            self.bytes(&value.to_le_bytes())
        }

        pub(in super::super) fn u64(self, value: u64) -> Self {
            self.bytes(&value.to_le_bytes())
        }

        pub(in super::super) fn string(self, text: &str) -> Self {
            self.u64(text.len() as u64).bytes(text.as_bytes())
        }

        pub(in super::super) fn tensor(
            mut self,
            name: &str,
            dims: &[u64],
            kind: u32,
            offset: u64,
        ) -> Self {
            self = self.string(name).u32(dims.len() as u32);
            for &dim in dims {
                self = self.u64(dim);
            }
            self.u32(kind).u64(offset)
        }

        pub(in super::super) fn bytes(mut self, bytes: &[u8]) -> Self {
            self.0.extend_from_slice(bytes);
            self
        }

        pub(in super::super) fn pad(mut self, alignment: usize) -> Self {
            self.0.resize(self.0.len().next_multiple_of(alignment), 0);
            self
        }
    }

    #[track_caller]
    fn check_refused(writer: &Writer, expected: &str) {
        let error = read(&writer.0, Path::new("m.gguf"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected),
            "{error:?} does not say {expected:?}"
        );
    }

    #[test]
    fn every_value_type_is_read_with_its_value() {
        let file = Writer::header(3, 0, 8)
            .string("u8")
            .u32(0)
            .bytes(&[200])
            .string("i16")
            .u32(3)
            .bytes(&(-300i16).to_le_bytes())
            .string("f32")
            .u32(6)
            .bytes(&1e-5f32.to_le_bytes())
            .string("yes")
            .u32(7)
            .bytes(&[1])
            .string("text")
            .u32(STRING)
            .string("héad")
            .string("i32s")
            .u32(ARRAY)
            .u32(5)
            .u64(2)
            .u32(7)
            .u32(9)
            .string("strings")
            .u32(ARRAY)
            .u32(STRING)
            .u64(2)
            .string("a")
            .string("")
            .string("f64")
            .u32(12)
            .bytes(&2.5f64.to_le_bytes());
        let (metadata, tensors) = read(&file.0, Path::new("m.gguf")).unwrap();
        assert!(tensors.is_empty());
        assert_eq!(metadata.u64("u8"), Some(200));
        assert_eq!(metadata.get("i16"), Some(&GgufValue::Signed(-300)));
        assert_eq!(metadata.u64("i16"), None);
        assert_eq!(metadata.f64("f32"), Some(f64::from(1e-5f32)));
        assert_eq!(metadata.bool("yes"), Some(true));
        assert_eq!(metadata.str("text"), Some("héad"));
        assert_eq!(metadata.u64s("i32s"), Some(vec![7, 9]));
        assert_eq!(
            metadata.strings("strings"),
            Some(&["a".to_owned(), String::new()][..])
        );
        assert_eq!(metadata.f64("f64"), Some(2.5));
        assert_eq!(metadata.bool("text"), None);
    }

    #[test]
    fn shapes_are_row_major_and_data_starts_aligned() {
        let file = Writer::header(2, 2, 0)
            .tensor("w", &[32, 3], 2, 64)
            .tensor("b", &[2], 0, 0)
            .pad(32)
            .bytes(&[7; 64 + 54]);
        let (_, tensors) = read(&file.0, Path::new("m.gguf")).unwrap();
        assert_eq!(tensors[0].shape, [3, 32]);
        assert_eq!(tensors[0].dtype, StoredType::Q4_0);
        assert_eq!(tensors[0].range, file.0.len() - 54..file.0.len());
        assert_eq!(tensors[1].range.start % 32, 0);
    }

    #[test]
    fn damaged_files_are_refused_with_the_place() {
        let huge = u64::MAX;
        check_refused(&Writer(b"GGU".to_vec()), "byte 0: the file ends");
        check_refused(
            &Writer(b"GGML0000".to_vec()),
            "does not start with \"GGUF\"",
        );
        check_refused(&Writer(MAGIC.to_vec()).u32(1).u64(0).u64(0), "version 1:");
        check_refused(
            &Writer(MAGIC.to_vec()).u32(3u32.swap_bytes()),
            "version 3 in big-endian order",
        );
        check_refused(
            &Writer::header(3, 0, huge),
            "byte 24: 18446744073709551615 metadata keys are claimed, 0 bytes are left",
        );
        check_refused(
            &Writer::header(3, huge, 0),
            "18446744073709551615 tensors are claimed",
        );
        check_refused(
            &Writer::header(3, 0, 1).u64(huge).pad(64),
            "bytes of text are claimed",
        );
        let array = |kind, n| {
            Writer::header(3, 0, 1)
                .string("k")
                .u32(ARRAY)
                .u32(kind)
                .u64(n)
                .pad(32)
        };
        check_refused(&array(6, huge / 4), "array elements are claimed");
        check_refused(&array(ARRAY, 1), "an array of arrays");
        check_refused(&array(77, 1), "an array of type 77");
        check_refused(
            &Writer::header(3, 0, 1).string("k").u32(7).bytes(&[2]),
            "a truth value of 2",
        );
        check_refused(
            &Writer::header(3, 0, 1)
                .u64(2)
                .bytes(&[b'a', 0xff, 0, 0, 0, 0, 0, 0]),
            "byte 33: text that is not UTF-8",
        );
        let pair = |w: Writer| w.string("k").u32(7).bytes(&[1]);
        check_refused(
            &pair(pair(Writer::header(3, 0, 2))),
            "key \"k\" comes twice",
        );
        check_refused(
            &Writer::header(3, 0, 1)
                .string("general.alignment")
                .u32(4)
                .u32(0),
            "general.alignment is no power of two",
        );
        check_refused(
            &Writer::header(3, 0, 1).string("split.count").u32(4).u32(3),
            "one of 3 parts",
        );
    }

    #[test]
    fn tensors_that_cannot_be_are_refused_by_name() {
        let one = |dims: &[u64], kind, offset| {
            Writer::header(3, 1, 0)
                .tensor("w", dims, kind, offset)
                .pad(32)
                .bytes(&[0; 64])
        };
        check_refused(
            &one(&[2, 2], 0, 16),
            "tensor \"w\": its offset 16 is no multiple",
        );
        check_refused(
            &one(&[2, 16], 0, 32),
            "its 128 bytes at offset 32 leave the file",
        );
        check_refused(&one(&[2], 0, u64::MAX - 31), "leave the file");
        check_refused(&one(&[u64::MAX, 2], 0, 0), "no whole number of F32 blocks");
        check_refused(
            &one(&[0, u64::MAX, u64::MAX], 0, 0),
            "no whole number of F32 blocks",
        );
        check_refused(
            &one(&[31], 2, 0),
            "dimensions [31] make no whole number of Q4_0 blocks",
        );
        check_refused(&one(&[1, 1, 1, 1, 1], 0, 0), "5 dimensions");
        check_refused(
            &one(&[256], 18, 0),
            "tensor \"w\" is stored as IQ3_XXS, which is not read",
        );
        check_refused(&one(&[256], 99, 0), "stored as GGML type 99");
        let two = |a: &str, b: &str, offset| {
            Writer::header(3, 2, 0)
                .tensor(a, &[9], 0, 0)
                .tensor(b, &[4], 0, offset)
                .pad(32)
                .bytes(&[0; 128])
        };
        check_refused(
            &two("a", "b", 32),
            "tensor \"b\": its data overlaps that of \"a\"",
        );
        check_refused(&two("a", "a", 64), "tensor \"a\": it is listed twice");
        assert!(read(&two("a", "b", 64).0, Path::new("m")).is_ok());
    }
}
