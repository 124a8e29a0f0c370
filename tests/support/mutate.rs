//! Files with small damage of the kinds that break readers; the same on every machine.
#![allow(dead_code, reason = "each test file uses a part")]

/// Sebastiano Vigna's SplitMix64, and the damage that it chooses.
#[derive(Debug)]
pub(crate) struct Mutator(u64);

/// JSON values that readers trip over.
const JSON_VALUES: [&str; 25] = [
    "null",
    "true",
    "0",
    "-1",
    "1",
    "0.5",
    "1e999",
    "-1e308",
    "1e-320",
    "255",
    "65536",
    "16777216",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "18446744073709551615",
    "18446744073709551616",
    "NaN",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"é…🙂\"",
    "[]",
    "{}",
    "[[[[[[[[0]]]]]]]]",
];

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// One to three changes of bytes.
    pub(crate) fn bytes(&mut self, original: &[u8]) -> Vec<u8> {
        let mut bytes = original.to_vec();
        for _ in 0..=self.below(3) {
            self.damage(&mut bytes);
        }
        bytes
    }

    /// One to three changes of whole values, keys and elements, now and then of bytes.
    pub(crate) fn json(&mut self, original: &[u8]) -> Vec<u8> {
        let mut text = original.to_vec();
        for _ in 0..=self.below(3) {
            if self.below(8) == 0 {
                self.damage(&mut text);
            } else {
                self.change_json(&mut text);
            }
        }
        text
    }

    /// One to three changes of characters, or of `words` that the grammar knows.
    pub(crate) fn text(&mut self, original: &str, words: &[&str]) -> String {
        let mut characters: Vec<char> = original.chars().collect();
        for _ in 0..=self.below(3) {
            let (start, end) = self.piece(characters.len(), 8);
            match self.below(4) {
                0 => drop(characters.drain(start..end)),
                1 => {
                    let piece = characters[start..end].to_vec();
                    let to = self.below(characters.len() + 1);
                    drop(characters.splice(to..to, piece));
                }
                2 => drop(characters.splice(start..end, self.pick(words).chars())),
                _ => drop(characters.splice(start..start, self.pick(words).chars())),
            }
        }
        characters.into_iter().collect()
    }

    /// Where a piece of at most `longest` of `n` things begins and ends.
    fn piece(&mut self, n: usize, longest: usize) -> (usize, usize) {
        let start = self.below(n + 1);
        (start, (start + self.below(longest + 1)).min(n))
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            bytes.push(self.next() as u8);
            return;
        }
        let at = self.below(bytes.len());
        let (start, end) = self.piece(bytes.len(), 40);
        match self.below(9) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.next() as u8,
            2 => self.change_length::<8>(bytes),
            3 => self.change_length::<4>(bytes),
            4 => bytes.truncate(at),
            5 => bytes.insert(at, self.next() as u8),
            6 => drop(bytes.drain(start..end)),
            // A piece once more, elsewhere: between what is there, or over it.
            7 => {
                let piece = bytes[start..end].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            _ => {
                let piece = bytes[start..end].to_vec();
                let to = self.below(bytes.len() - piece.len() + 1);
                bytes[to..to + piece.len()].copy_from_slice(&piece);
            }
        }
    }

    /// Sets a number of `N` bytes, little endian, to an extreme; rather one that looks like a length or an offset.
    fn change_length<const N: usize>(&mut self, bytes: &mut [u8]) {
        let Some(last) = bytes.len().checked_sub(N) else {
            return;
        };
        let value = |at: usize| {
            bytes[at..at + N]
                .iter()
                .rev()
                .fold(0u64, |all, byte| all << 8 | u64::from(*byte))
        };
        let at = (0..8)
            .map(|_| self.below(last + 1))
            .find(|at| (1..=bytes.len() as u64).contains(&value(*at)));
        let at = at.unwrap_or_else(|| self.below(last + 1));
        let (old, len) = (value(at), bytes.len() as u64);
        let extremes = [
            0,
            1,
            old.wrapping_sub(1),
            old.wrapping_add(1),
            old.wrapping_mul(2),
            len,
            1 << 31,
            1 << 32,
            1 << 60,
            1 << 63,
            u64::MAX - 31,
            u64::MAX,
            self.next(),
        ];
        let new = self.pick(&extremes).to_le_bytes();
        bytes[at..at + N].copy_from_slice(&new[..N]);
    }

    fn change_json(&mut self, text: &mut Vec<u8>) {
        let spans = spans(text);
        if spans.is_empty() {
            return;
        }
        let Span { start, end, key } = *self.pick(&spans);
        let other = *self.pick(&spans);
        let other = text[other.start..other.end].to_vec();
        let hostile = self.pick(&JSON_VALUES).as_bytes().to_vec();
        let (comma, colon) = (b",".to_vec(), b":".to_vec());
        match (self.below(6), key) {
            (0, None) | (0 | 1, Some(_)) => drop(text.splice(start..end, hostile)),
            // Removed, with its key and a comma.
            (2, _) => {
                let from = key.unwrap_or(start);
                let to = if text.get(end) == Some(&b',') {
                    end + 1
                } else {
                    end
                };
                text.drain(from..to);
            }
            // Twice: the same, or the same key with something else.
            (3, None) => {
                let twice = [text[start..end].to_vec(), comma].concat();
                drop(text.splice(start..start, twice));
            }
            (3, Some(key)) => {
                let twice = [text[key..end].to_vec(), comma].concat();
                drop(text.splice(key..key, twice));
            }
            (4, Some(key)) => {
                let name = &text[key..start];
                let name = name[..name
                    .iter()
                    .rposition(|byte| *byte == b'"')
                    .map_or(0, |at| at + 1)]
                    .to_vec();
                let twice = [name, colon, hostile, comma].concat();
                drop(text.splice(key..key, twice));
            }
            (5, _) => {
                let nested = self.below(200);
                text.splice(end..end, b"]".repeat(nested));
                drop(text.splice(start..start, b"[".repeat(nested)));
            }
            _ => drop(text.splice(start..end, other)),
        }
    }
}

/// A JSON value in a text, and where its key begins if it has one.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
    key: Option<usize>,
}

/// All values of a text that once was JSON.
fn spans(text: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut open = Vec::new();
    let mut key = None;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'{' | b'[' => open.push((start, key.take())),
            b'}' | b']' => {
                if let Some((start, key)) = open.pop() {
                    spans.push(Span {
                        start,
                        end: at,
                        key,
                    });
                }
                key = None;
            }
            b'"' => {
                while let Some(byte) = text.get(at) {
                    at += 1;
                    match byte {
                        b'"' => break,
                        b'\\' => at += 1,
                        _ => {}
                    }
                }
                at = at.min(text.len());
                let next = text[at..].iter().find(|byte| !byte.is_ascii_whitespace());
                if next == Some(&b':') {
                    key = Some(start);
                } else {
                    spans.push(Span {
                        start,
                        end: at,
                        key: key.take(),
                    });
                }
            }
            b',' | b':' => {}
            byte if byte.is_ascii_whitespace() => {}
            _ => {
                while text
                    .get(at)
                    .is_some_and(|byte| !b",:{}[]\" \n\t\r".contains(byte))
                {
                    at += 1;
                }
                spans.push(Span {
                    start,
                    end: at,
                    key: key.take(),
                });
            }
        }
    }
    spans
}
