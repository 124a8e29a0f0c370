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

/// The values in `bytes`, as many as `out` has room for: whole blocks.
pub(in crate::model) fn widen(stored: StoredType, bytes: &[u8], out: &mut [f32]) {
    chunk_to_f32(stored, bytes, out);
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
        StoredType::Q5_1 => blocks(bytes, out, q5_1),
        StoredType::Q8_0 => blocks(bytes, out, q8_0),
        StoredType::Q2K => blocks(bytes, out, q2_k),
        StoredType::Q3K => blocks(bytes, out, q3_k),
        StoredType::Q4K => blocks(bytes, out, q4_k),
        StoredType::Q5K => blocks(bytes, out, q5_k),
        StoredType::Q6K => blocks(bytes, out, q6_k),
        StoredType::Iq4Nl => blocks(bytes, out, iq4_nl),
        StoredType::Iq4Xs => blocks(bytes, out, iq4_xs),
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

/// `d`, 32 high bits, 16 bytes `qs`: y = (q − 16)·d.
fn q5_0(block: &[u8; 22], y: &mut [f32; 32]) {
    let d = scale(block, 0);
    five_bits(&block[2..], |i, q| y[i] = (i32::from(q) - 16) as f32 * d);
}

/// `d`, `m`, 32 high bits, 16 bytes `qs`: y = q·d + m.
fn q5_1(block: &[u8; 24], y: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    five_bits(&block[4..], |i, q| y[i] = f32::from(q) * d + m);
}

/// 32 fifth bits, bit i of element i, then 16 bytes of the lower ones, halves as in Q4_0.
fn five_bits(block: &[u8], mut each: impl FnMut(usize, u8)) {
    let high = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    let fifth = |i: usize| ((high >> i & 1) << 4) as u8;
    for (j, &q) in block[4..].iter().enumerate() {
        each(j, q & 15 | fifth(j));
        each(j + 16, q >> 4 | fifth(j + 16));
    }
}

/// `d`, 32 signed bytes: y = q·d.
fn q8_0(block: &[u8; 34], y: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (y, &q) in y.iter_mut().zip(&block[2..]) {
        *y = f32::from(q.cast_signed()) * d;
    }
}

/// 16 bytes of pairs (s low half, t high half), 64 bytes `qs` of four 2-bit numbers, `d`, `m`: y = (d·s)·q − m·t, one
/// pair for 16 elements.
fn q2_k(block: &[u8; 84], y: &mut [f32; 256]) {
    let (d, m) = (scale(block, 80), scale(block, 82));
    for (part, y) in y.chunks_exact_mut(16).enumerate() {
        let pair = block[part];
        let (s, t) = (d * f32::from(pair & 15), m * f32::from(pair >> 4));
        for (j, y) in y.iter_mut().enumerate() {
            *y = s * f32::from(two_bits(&block[16..80], 16 * part + j)) - t;
        }
    }
}

/// 32 bytes of third bits, 64 bytes `qs` as in Q2_K, 12 bytes of sixteen 6-bit scales s, `d`:
/// y = (d·(s − 32))·(q + 4·bit − 4), one s for 16 elements. Bit k of byte j belongs to element 32k + j.
fn q3_k(block: &[u8; 110], y: &mut [f32; 256]) {
    let d = scale(block, 108);
    let packed = &block[96..108];
    // The low 4 bits lie in bytes 0..8, first all low halves, the top 2 bits in bytes 8..12, first all lowest pairs.
    let s = |i: usize| {
        let low = packed[i % 8] >> (4 * (i / 8)) & 15;
        let top = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
        i32::from(low | top << 4) - 32
    };
    for (part, y) in y.chunks_exact_mut(16).enumerate() {
        let s = d * s(part) as f32;
        for (j, y) in y.iter_mut().enumerate() {
            let i = 16 * part + j;
            let third = block[i % 32] >> (i / 32) & 1;
            let q = i32::from(two_bits(&block[32..96], i) | third << 2) - 4;
            *y = s * q as f32;
        }
    }
}

/// The i-th 2-bit number: 32 bytes hold 128 of them, their lowest bits the first 32.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3
}

/// The i-th of eight 6-bit pairs (s, t) in 12 bytes.
fn pair(packed: &[u8], i: usize) -> (f32, f32) {
    // Pairs 0..4 lie in the low 6 bits of bytes 0..4 and 4..8; of pairs 4..8 the low 4 bits lie in bytes 8..12
    // (s low half, t high half), the top 2 bits in the top of bytes 0..4 and 4..8.
    let (s, t) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        (
            packed[i + 4] & 15 | (packed[i - 4] >> 6) << 4,
            packed[i + 4] >> 4 | (packed[i] >> 6) << 4,
        )
    };
    (f32::from(s), f32::from(t))
}

/// `d`, `m`, 12 bytes of pairs, 128 bytes `qs`: y = (d·s)·q − m·t, one pair for 32 elements.
fn q4_k(block: &[u8; 144], y: &mut [f32; 256]) {
    eight_pairs(block, &block[16..], |_, _| 0, y);
}

/// As Q4_K, with 32 bytes of fifth bits before `qs`; bit k of byte j belongs to element 32k + j.
fn q5_k(block: &[u8; 176], y: &mut [f32; 256]) {
    let fifth = |part: usize, j: usize| (block[16 + j] >> part & 1) << 4;
    eight_pairs(block, &block[48..], fifth, y);
}

/// Each 32 bytes of `qs` hold 64 elements: low halves the first 32, high halves the next.
fn eight_pairs(block: &[u8], qs: &[u8], fifth: impl Fn(usize, usize) -> u8, y: &mut [f32; 256]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    for (part, y) in y.chunks_exact_mut(32).enumerate() {
        let (s, t) = pair(&block[4..16], part);
        let (s, t) = (d * s, m * t);
        let qs = &qs[part / 2 * 32..][..32];
        for (j, (y, q)) in y.iter_mut().zip(qs).enumerate() {
            let q = q >> (4 * (part % 2)) & 15;
            *y = s * f32::from(q | fifth(part, j)) - t;
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

/// What 4 bits stand for, finer around 0.
const UNEVEN: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// `d`, 16 bytes `qs`: y = d·value(q); halves as in Q4_0.
fn iq4_nl(block: &[u8; 18], y: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (j, &q) in block[2..].iter().enumerate() {
        y[j] = d * f32::from(UNEVEN[usize::from(q & 15)]);
        y[j + 16] = d * f32::from(UNEVEN[usize::from(q >> 4)]);
    }
}

/// `d`, eight 6-bit scales s (top 2 bits in 2 bytes, low 4 bits in 4 bytes), 128 bytes `qs`: y = (d·(s − 32))·value(q),
/// one s for 32 elements, whose 16 bytes are halved as in Q4_0.
fn iq4_xs(block: &[u8; 136], y: &mut [f32; 256]) {
    let d = scale(block, 0);
    let tops = u16::from_le_bytes([block[2], block[3]]);
    for (part, y) in y.chunks_exact_mut(32).enumerate() {
        let low = block[4 + part / 2] >> (4 * (part % 2)) & 15;
        let top = (tops >> (2 * part) & 3) as u8;
        let s = d * (i32::from(low | top << 4) - 32) as f32;
        for (j, &q) in block[8 + 16 * part..][..16].iter().enumerate() {
            y[j] = s * f32::from(UNEVEN[usize::from(q & 15)]);
            y[j + 16] = s * f32::from(UNEVEN[usize::from(q >> 4)]);
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
            StoredType::Q5_1,
            StoredType::Q8_0,
            StoredType::Q2K,
            StoredType::Q3K,
            StoredType::Q4K,
            StoredType::Q5K,
            StoredType::Q6K,
            StoredType::Iq4Nl,
            StoredType::Iq4Xs,
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
