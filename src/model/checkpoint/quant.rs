//! Stored bytes to f32, as llama.cpp's reference does it: scales widen from f16 to f32, then every operation is one
//! rounded f32 operation in the reference's order. Nothing passes through f16.
//!
//! A quantised row is a sequence of blocks; all numbers are little endian. `d` and `m` are f16 scales, and a byte of
//! `qs` holds two 4-bit numbers, low half first.

use half::{bf16, f16};
use rayon::prelude::*;

use super::StoredType;

/// Elements a thread takes at a time: whole blocks of every format.
const CHUNK: usize = 1 << 14;

/// The `n_elements` values in `bytes`, whose lengths agree (`TensorInfo` has been checked); `None` for a type that is
/// not read.
pub(super) fn to_f32(stored: StoredType, bytes: &[u8], n_elements: usize) -> Option<Vec<f32>> {
    let (block_elements, block_bytes) = stored.block()?;
    let mut values = vec![0.0; n_elements];
    if n_elements <= CHUNK {
        chunk_to_f32(stored, bytes, &mut values);
    } else {
        values
            .par_chunks_mut(CHUNK)
            .zip(bytes.par_chunks(CHUNK / block_elements * block_bytes))
            .for_each(|(values, bytes)| chunk_to_f32(stored, bytes, values));
    }
    Some(values)
}

fn chunk_to_f32(stored: StoredType, bytes: &[u8], out: &mut [f32]) {
    match stored {
        // The one format that is rounded: f32 is what everything runs in.
        StoredType::F64 => blocks(bytes, out, |b, [y]| *y = f64::from_le_bytes(*b) as f32),
        StoredType::F32 => blocks(bytes, out, |b, [y]| *y = f32::from_le_bytes(*b)),
        StoredType::F16 => blocks(bytes, out, |b, [y]| *y = f16::from_le_bytes(*b).to_f32()),
        StoredType::BF16 => blocks(bytes, out, |b, [y]| *y = bf16::from_le_bytes(*b).to_f32()),
        StoredType::Q4_0 => blocks(bytes, out, q4_0),
        StoredType::Q4_1 => blocks(bytes, out, q4_1),
        StoredType::Q5_0 => blocks(bytes, out, q5_0),
        StoredType::Q8_0 => blocks(bytes, out, q8_0),
        StoredType::Q4K => blocks(bytes, out, q4_k),
        StoredType::Q6K => blocks(bytes, out, q6_k),
        StoredType::Other(_) => {}
    }
}

fn blocks<const BYTES: usize, const ELEMENTS: usize>(
    bytes: &[u8],
    out: &mut [f32],
    one: impl Fn(&[u8; BYTES], &mut [f32; ELEMENTS]),
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let (values, _) = out.as_chunks_mut::<ELEMENTS>();
    for (block, values) in blocks.iter().zip(values) {
        one(block, values);
    }
}

/// The f16 at `at`, widened.
fn scale(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// `d`, 16 bytes `qs`: y = (q − 8)·d; low halves are elements 0..16, high halves 16..32.
fn q4_0(block: &[u8; 18], y: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (j, &q) in block[2..].iter().enumerate() {
        y[j] = (i32::from(q & 15) - 8) as f32 * d;
        y[j + 16] = (i32::from(q >> 4) - 8) as f32 * d;
    }
}

/// `d`, `m`, 16 bytes `qs`: y = q·d + m; halves as in Q4_0.
fn q4_1(block: &[u8; 20], y: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    for (j, &q) in block[4..].iter().enumerate() {
        y[j] = f32::from(q & 15) * d + m;
        y[j + 16] = f32::from(q >> 4) * d + m;
    }
}

/// `d`, 32 high bits, 16 bytes `qs`: y = (q + 16·bit − 16)·d; halves as in Q4_0, bit i belongs to element i.
fn q5_0(block: &[u8; 22], y: &mut [f32; 32]) {
    let d = scale(block, 0);
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    let fifth = |i: usize| ((high >> i & 1) << 4) as i32;
    for (j, &q) in block[6..].iter().enumerate() {
        y[j] = ((i32::from(q & 15) | fifth(j)) - 16) as f32 * d;
        y[j + 16] = ((i32::from(q >> 4) | fifth(j + 16)) - 16) as f32 * d;
    }
}

/// `d`, 32 signed bytes: y = q·d.
fn q8_0(block: &[u8; 34], y: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (y, &q) in y.iter_mut().zip(&block[2..]) {
        *y = f32::from(q.cast_signed()) * d;
    }
}

/// `d`, `m`, 12 bytes of eight 6-bit pairs (s, t), 128 bytes `qs`: y = (d·s)·q − m·t, one pair for 32 elements.
/// Each 32 bytes of `qs` hold 64 elements: low halves the first 32, high halves the next.
fn q4_k(block: &[u8; 144], y: &mut [f32; 256]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    let packed = &block[4..16];
    // Pairs 0..4 lie in the low 6 bits of bytes 0..4 and 4..8; of pairs 4..8 the low 4 bits lie in bytes 8..12
    // (s low half, t high half), the top 2 bits in the top of bytes 0..4 and 4..8.
    let pair = |i: usize| {
        let (s, t) = if i < 4 {
            (packed[i] & 63, packed[i + 4] & 63)
        } else {
            (
                packed[i + 4] & 15 | (packed[i - 4] >> 6) << 4,
                packed[i + 4] >> 4 | (packed[i] >> 6) << 4,
            )
        };
        (d * f32::from(s), m * f32::from(t))
    };
    for (i, qs) in block[16..].chunks_exact(32).enumerate() {
        let ((low_d, low_m), (high_d, high_m)) = (pair(2 * i), pair(2 * i + 1));
        for (j, &q) in qs.iter().enumerate() {
            y[64 * i + j] = low_d * f32::from(q & 15) - low_m;
            y[64 * i + 32 + j] = high_d * f32::from(q >> 4) - high_m;
        }
    }
}

/// 128 bytes of low 4 bits, 64 bytes of high 2 bits, 16 signed scales `s`, `d`: y = (d·s)·(q − 32), one s for 16.
/// Each half of the block is 128 elements: low bits in 64 bytes (low halves first), high bits in 32 bytes, by 32.
fn q6_k(block: &[u8; 210], y: &mut [f32; 256]) {
    let d = scale(block, 208);
    for half in 0..2 {
        let low = &block[64 * half..][..64];
        let high = &block[128 + 32 * half..][..32];
        let scales = &block[192 + 8 * half..][..8];
        let y = &mut y[128 * half..][..128];
        for (i, y) in y.iter_mut().enumerate() {
            let nibble = low[i % 64] >> (4 * (i / 64)) & 15;
            let top = high[i % 32] >> (2 * (i / 32)) & 3;
            let q = i32::from(nibble | top << 4) - 32;
            *y = d * f32::from(scales[i / 16].cast_signed()) * q as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_equals_the_published_reference_bit_for_bit() {
        for stored in [
            StoredType::F16,
            StoredType::BF16,
            StoredType::Q4_0,
            StoredType::Q4_1,
            StoredType::Q5_0,
            StoredType::Q8_0,
            StoredType::Q4K,
            StoredType::Q6K,
        ] {
            let path = format!(
                "{}/tests/fixtures/quant/{stored}.safetensors",
                env!("CARGO_MANIFEST_DIR")
            );
            let file = std::fs::read(path).unwrap();
            let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
            let raw = tensors.tensor("raw").unwrap();
            let expected: Vec<u32> = tensors
                .tensor("values")
                .unwrap()
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|b| u32::from_le_bytes(*b))
                .collect();
            let values = to_f32(stored, raw.data(), expected.len()).unwrap();
            let got: Vec<u32> = values.iter().map(|v| v.to_bits()).collect();
            assert!(got == expected, "{stored}: {values:?}");
        }
    }

    #[test]
    fn many_chunks_in_parallel_give_what_one_gives() {
        let block: Vec<u8> = (0..144).map(|i| (i * 37 % 61) as u8).collect();
        let n_blocks = 3 * CHUNK / 256 + 1;
        let one = to_f32(StoredType::Q4K, &block, 256).unwrap();
        let many = to_f32(StoredType::Q4K, &block.repeat(n_blocks), 256 * n_blocks).unwrap();
        assert!(one.iter().any(|v| *v != 0.0));
        assert!(many.chunks_exact(256).all(|chunk| chunk == one));
    }
}
