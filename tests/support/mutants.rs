//! Damaged JSON files, for tests that no damage makes a reader panic.

/// One change of the kinds that break readers of JSON: bits, digits, cuts, repeats, tokens where none belong.
pub(crate) fn mutate(bytes: &mut Vec<u8>, random: &mut SplitMix) {
    const TOKENS: [&[u8]; 12] = [
        b"null",
        b"-1",
        b"1e999",
        b"{}",
        b"[]",
        b"\"",
        b"\\u0000",
        b",",
        b"99999999999999999999",
        b"true",
        b"L9H6",
        b"\xF0\x9F",
    ];
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    let end = (at + 1 + random.below(12)).min(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(7),
        1 => bytes[at] = b"0123456789\"{}[],:-.eE"[random.below(21)],
        2 => drop(bytes.drain(at..end)),
        3 => {
            let part = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, part);
        }
        4 => drop(bytes.splice(at..end, TOKENS[random.below(TOKENS.len())].iter().copied())),
        _ => bytes.truncate(bytes.len() - random.below(bytes.len().min(20))),
    }
}

/// Sebastiano Vigna's SplitMix64: the same on every machine.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}
