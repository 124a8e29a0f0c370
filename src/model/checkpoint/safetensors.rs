//! The header of a safetensors file: 8 bytes little-endian length, that many bytes of JSON, then the tensors.
//!
//! Own reader and not the `safetensors` crate's, because that keeps the last of two tensors of one name without a
//! word, and adds up the offsets of a hostile header unchecked. Like it, tensors must cover the data without holes.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};

use super::{CheckpointError, Place, StoredType, TensorInfo};

const LENGTH_BYTES: usize = 8;
/// The format's own limit.
const MAX_HEADER_BYTES: usize = 100_000_000;

/// The tensors of one file, checked against its length.
pub(super) fn read_header(bytes: &[u8], path: &Path) -> Result<Vec<TensorInfo>, CheckpointError> {
    let damaged = |place: Place, problem: String| CheckpointError::Damaged {
        path: path.to_owned(),
        place,
        problem,
    };
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        let problem = format!("only {} bytes, too short for a header length", bytes.len());
        return Err(damaged(Place::Byte(0), problem));
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length)
        .ok()
        .and_then(|n| rest.split_at_checked(n));
    let Some((header, data)) = header else {
        let problem = format!(
            "the header claims {length} bytes, the file has {} after it",
            rest.len()
        );
        return Err(damaged(Place::Byte(0), problem));
    };
    if header.len() > MAX_HEADER_BYTES {
        let problem =
            format!("the header has {length} bytes, at most {MAX_HEADER_BYTES} are allowed");
        return Err(damaged(Place::Byte(0), problem));
    }
    let data_start = LENGTH_BYTES + header.len();

    let Header(mut entries) = serde_json::from_slice(header).map_err(|error| {
        // The header is one line, so the column is the offset in it.
        damaged(
            Place::Byte((LENGTH_BYTES + error.column()) as u64),
            format!("the header does not parse: {error}"),
        )
    })?;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);

    let mut covered = 0;
    let mut tensors = Vec::with_capacity(entries.len());
    for (
        name,
        Entry {
            dtype,
            shape,
            data_offsets: (start, end),
        },
    ) in entries
    {
        let refuse = |problem: String| damaged(Place::Tensor(name.clone()), problem);
        let Some((stored, bits)) = StoredType::from_safetensors(&dtype) else {
            return Err(CheckpointError::UnsupportedType {
                path: path.to_owned(),
                tensor: name,
                found: dtype,
            });
        };
        if start != covered {
            return Err(refuse(format!(
                "its data starts at {start} of the data part, expected {covered}"
            )));
        }
        if end < start || end > data.len() {
            return Err(refuse(format!(
                "its data {start}..{end} leaves the {} bytes of the data part",
                data.len()
            )));
        }
        // The dimensions beside a 0 must not overflow either: others multiply a part of them.
        let nonzero = shape
            .iter()
            .filter(|dim| **dim != 0)
            .try_fold(bits, |n, &dim| n.checked_mul(dim));
        let size_bits = nonzero.map(|n| if shape.contains(&0) { 0 } else { n });
        if size_bits != (end - start).checked_mul(8) {
            return Err(refuse(format!(
                "shape {shape:?} of {dtype} does not fill its {} bytes",
                end - start
            )));
        }
        covered = end;
        tensors.push(TensorInfo {
            name,
            dtype: stored,
            shape,
            file: 0,
            range: data_start + start..data_start + end,
        });
    }
    if covered != data.len() {
        let problem = format!(
            "{} bytes after the last tensor belong to none",
            data.len() - covered
        );
        return Err(damaged(Place::Byte((data_start + covered) as u64), problem));
    }
    Ok(tensors)
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    /// Bytes from the start of the data part.
    data_offsets: (usize, usize),
}

/// The header's entries in file order; a name that comes twice is an error.
struct Header(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut seen = HashSet::new();
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("{name:?} is listed twice")));
                    }
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [
            &(header.len() as u64).to_le_bytes(),
            header.as_bytes(),
            data,
        ]
        .concat()
    }

    #[track_caller]
    fn check_refused(bytes: &[u8], expected: &str) {
        let error = read_header(bytes, Path::new("m.safetensors"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected),
            "{error:?} does not say {expected:?}"
        );
    }

    #[test]
    fn what_the_crate_writes_is_read() {
        let data = [1u8, 2, 3, 4, 5, 6, 7, 8];
        let view = |shape| {
            safetensors::tensor::TensorView::new(safetensors::Dtype::F16, shape, &data).unwrap()
        };
        let bytes =
            safetensors::serialize([("b", view(vec![2, 2])), ("a", view(vec![4]))], None).unwrap();
        let tensors = read_header(&bytes, Path::new("m")).unwrap();
        assert_eq!(tensors[1].name, "b");
        assert_eq!(tensors[1].shape, [2, 2]);
        assert_eq!(bytes[tensors[1].range.clone()], data);
    }

    #[test]
    fn damaged_headers_are_refused_with_the_place() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        check_refused(&[0; 7], "byte 0: only 7 bytes");
        check_refused(
            &[0xff; 64],
            "byte 0: the header claims 18446744073709551615 bytes",
        );
        let mut four_gb = file("{}", &[]);
        four_gb[..8].copy_from_slice(&(4u64 << 30).to_le_bytes());
        check_refused(
            &four_gb,
            "byte 0: the header claims 4294967296 bytes, the file has 2 after it",
        );
        // Zeros that nobody reads take no memory.
        let mut long = vec![0; LENGTH_BYTES + MAX_HEADER_BYTES + 1];
        long[..8].copy_from_slice(&(MAX_HEADER_BYTES as u64 + 1).to_le_bytes());
        check_refused(&long, "at most 100000000 are allowed");
        check_refused(&file("{", &[]), "byte 9: the header does not parse");
        check_refused(
            &file(&one("F32", "[2]", "[0,8]"), &[0; 4]),
            "tensor \"w\": its data 0..8 leaves the 4 bytes",
        );
        check_refused(
            &file(&one("F32", "[2]", "[8,0]"), &[0; 8]),
            "starts at 8 of the data part, expected 0",
        );
        check_refused(
            &file(&one("F32", "[3]", "[0,8]"), &[0; 8]),
            "shape [3] of F32 does not fill its 8 bytes",
        );
        let huge = format!("[{0},{0},{0}]", u64::MAX);
        check_refused(
            &file(&one("F32", &huge, "[0,8]"), &[0; 8]),
            "does not fill its 8 bytes",
        );
        check_refused(
            &file(&one("F32", &huge.replace('[', "[0,"), "[0,0]"), &[]),
            "does not fill its 0 bytes",
        );
        check_refused(
            &file(&one("F32", "[2]", "[0,8]"), &[0; 9]),
            "1 bytes after the last tensor",
        );
        check_refused(
            &file(&one("Q9", "[2]", "[0,8]"), &[0; 8]),
            "tensor \"w\" is stored as Q9, which is not read",
        );
        let entry = r#""w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
        check_refused(
            &file(&format!("{{{entry},{entry}}}"), &[0]),
            "\"w\" is listed twice",
        );
        let overlapping = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#;
        check_refused(
            &file(overlapping, &[0; 6]),
            "tensor \"b\": its data starts at 2",
        );
    }
}
