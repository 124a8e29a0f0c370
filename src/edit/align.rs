//! Which positions of prompt A and prompt B stand for each other: the common token prefix and the common suffix.

/// The pairing of two token sequences. What lies between prefix and suffix has no partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alignment {
    pub len_a: usize,
    pub len_b: usize,
    pub prefix: usize,
    pub suffix: usize,
}

impl Alignment {
    pub fn new(a: &[u32], b: &[u32]) -> Self {
        let (len_a, len_b) = (a.len(), b.len());
        if len_a == len_b {
            // Equal lengths pair one to one: the usual contrast swaps a name for another of the same length.
            return Self {
                len_a,
                len_b,
                prefix: len_a,
                suffix: 0,
            };
        }
        let prefix = a.iter().zip(b).take_while(|(x, y)| x == y).count();
        let room = len_a.min(len_b) - prefix;
        let suffix = a
            .iter()
            .rev()
            .zip(b.iter().rev())
            .take(room)
            .take_while(|(x, y)| x == y)
            .count();
        Self {
            len_a,
            len_b,
            prefix,
            suffix,
        }
    }

    /// The position in B that stands for `position` of A.
    pub fn partner(&self, position: usize) -> Option<usize> {
        if position < self.prefix {
            Some(position)
        } else if position < self.len_a && position >= self.len_a - self.suffix {
            Some(position + self.len_b - self.len_a)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lengths_pair_one_to_one() {
        let alignment = Alignment::new(&[1, 2, 3], &[1, 9, 3]);
        assert_eq!(
            [0, 1, 2].map(|p| alignment.partner(p)),
            [Some(0), Some(1), Some(2)]
        );
        assert_eq!(alignment.partner(3), None);
    }

    #[test]
    fn unequal_lengths_pair_by_prefix_and_suffix_and_never_twice() {
        let alignment = Alignment::new(&[1, 2, 3, 9, 8], &[1, 2, 9, 8]);
        let partners: Vec<_> = (0..5).map(|p| alignment.partner(p)).collect();
        assert_eq!(partners, [Some(0), Some(1), None, Some(2), Some(3)]);
        let repeated = Alignment::new(&[7, 7, 7], &[7, 7]);
        let partners: Vec<_> = (0..3).map(|p| repeated.partner(p)).collect();
        assert_eq!(partners, [Some(0), Some(1), None]);
    }
}
