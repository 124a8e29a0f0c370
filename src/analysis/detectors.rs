//! What one head's pattern says of the head: pure functions of a map `[query, key]`.
//!
//! Definitions: TransformerLens' `head_detector.py` for the three named patterns and their two measures; Olsson et al.
//! 2022 for prefix matching; the others are stated here.

use crate::mask::Mask;

/// A pattern of one head over `n` tokens, and what its layer lets a query see.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    /// `[query, key]`
    pub values: &'a [f32],
    pub n: usize,
    pub mask: Mask,
}

/// A pattern that a head may show: 1 where it attends, `[query, key]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// To the token before.
    PreviousToken,
    /// To earlier tokens that are the same.
    DuplicateToken,
    /// To the tokens after those.
    Induction,
}

impl Named {
    /// The keys of a query, rising.
    pub fn keys(self, ids: &[u32], query: usize) -> Vec<usize> {
        let same = |key: &usize| ids[*key] == ids[query];
        match self {
            Self::PreviousToken => query.checked_sub(1).into_iter().collect(),
            Self::DuplicateToken => (0..query).filter(same).collect(),
            Self::Induction => (0..query.saturating_sub(1))
                .filter(same)
                .map(|key| key + 1)
                .collect(),
        }
    }
}

impl Map<'_> {
    fn row(&self, query: usize) -> &[f32] {
        &self.values[query * self.n..(query + 1) * self.n]
    }

    /// The share of all attention that lies on the pattern: TransformerLens' `mul`.
    pub fn share_on(&self, named: Named, ids: &[u32]) -> f32 {
        let on: f64 = (0..self.n)
            .flat_map(|query| {
                named
                    .keys(ids, query)
                    .into_iter()
                    .map(move |key| (query, key))
            })
            .map(|(query, key)| f64::from(self.row(query)[key]))
            .sum();
        let all: f64 = self.values.iter().map(|x| f64::from(*x)).sum();
        (on / all) as f32
    }

    /// 1 − Σ|pattern − attention| / n: TransformerLens' `abs`, from −1 to 1.
    pub fn closeness_to(&self, named: Named, ids: &[u32]) -> f32 {
        let off: f64 = (0..self.n)
            .map(|query| {
                let keys = named.keys(ids, query);
                self.row(query)
                    .iter()
                    .enumerate()
                    .map(|(key, x)| {
                        let wanted = f64::from(u8::from(keys.contains(&key)));
                        (wanted - f64::from(*x)).abs()
                    })
                    .sum::<f64>()
            })
            .sum();
        (1.0 - off / self.n as f64) as f32
    }

    /// The mean attention from each of `queries` to the key that stands `back` before it. `None` where a layer's window
    /// hides that key.
    pub fn mean_back(&self, queries: std::ops::Range<usize>, back: usize) -> Option<f32> {
        let mut sum = 0.0;
        for query in queries.clone() {
            let key = query.checked_sub(back)?;
            if !self.mask.sees(query, key) {
                return None;
            }
            sum += f64::from(self.row(query)[key]);
        }
        (!queries.is_empty()).then(|| (sum / queries.len() as f64) as f32)
    }

    /// The mean, over tokens that stood before, of the attention to the tokens that followed their earlier occurrences
    /// (prefix matching; Olsson et al. 2022, "Key concepts"). `None` where nothing stood before, or a window hides it.
    pub fn prefix_matching(&self, ids: &[u32]) -> Option<f32> {
        let mut sum = 0.0;
        let mut count = 0;
        for query in 0..self.n {
            let keys = Named::Induction.keys(ids, query);
            if keys.is_empty() {
                continue;
            }
            if keys.iter().any(|key| !self.mask.sees(query, *key)) {
                return None;
            }
            count += 1;
            sum += keys
                .iter()
                .map(|key| f64::from(self.row(query)[*key]))
                .sum::<f64>();
        }
        (count > 0).then(|| (sum / f64::from(count)) as f32)
    }

    /// The mean attention to the first token, its own row left out.
    pub fn sink(&self) -> Option<f32> {
        self.mean(1, |query| self.row(query)[0])
    }

    /// The mean attention of tokens to themselves.
    pub fn current_token(&self) -> Option<f32> {
        self.mean(0, |query| self.row(query)[query])
    }

    /// The mean entropy of a row over that of an equal one, the first row left out.
    pub fn entropy(&self) -> Option<f32> {
        self.mean(1, |query| {
            let visible = self.mask.keys(query, self.n).len();
            (entropy(self.row(query)) / (visible as f64).ln()) as f32
        })
    }

    /// The mean distance back to what is attended to, over the query's own index; the first row left out.
    pub fn distance(&self) -> Option<f32> {
        self.mean(1, |query| {
            let far: f64 = self
                .row(query)
                .iter()
                .enumerate()
                .map(|(key, x)| f64::from(*x) * query.abs_diff(key) as f64)
                .sum();
            (far / query as f64) as f32
        })
    }

    /// The mean attention to the query itself and the `width − 1` tokens before it.
    pub fn local_mass(&self, width: usize) -> Option<f32> {
        self.mean(0, |query| {
            let from = (query + 1).saturating_sub(width);
            self.row(query)[from..=query].iter().sum()
        })
    }

    /// The mean attention to the keys that are chosen.
    pub fn mass_on(&self, is_chosen: &[bool]) -> Option<f32> {
        self.mean(0, |query| {
            let row = self.row(query).iter().zip(is_chosen);
            row.filter(|(_, chosen)| **chosen).map(|(x, _)| x).sum()
        })
    }

    /// The share of `queries` whose strongest key is one of theirs (a pointer's accuracy).
    pub fn pointer_accuracy(&self, queries: &[(usize, Vec<usize>)]) -> Option<f32> {
        let hits = queries.iter().filter(|(query, keys)| {
            let row = self.row(*query);
            let strongest = (0..self.n).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a)));
            strongest.is_some_and(|key| keys.contains(&key))
        });
        (!queries.is_empty()).then(|| hits.count() as f32 / queries.len() as f32)
    }

    fn mean(&self, first: usize, of: impl Fn(usize) -> f32) -> Option<f32> {
        let values = (first..self.n).map(|query| f64::from(of(query)));
        (self.n > first).then(|| (values.sum::<f64>() / (self.n - first) as f64) as f32)
    }
}

/// −Σ p ln p, in nats.
pub fn entropy(row: &[f32]) -> f64 {
    row.iter()
        .map(|x| f64::from(*x))
        .filter(|x| *x > 0.0)
        .map(|x| -x * x.ln())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A causal map in which each query gives weights to keys as listed, and the rest to key 0.
    fn planted(n: usize, weights: impl Fn(usize) -> Vec<(usize, f32)>) -> Vec<f32> {
        let mut values = vec![0.0; n * n];
        for query in 0..n {
            let mut rest = 1.0;
            for (key, weight) in weights(query) {
                values[query * n + key] += weight;
                rest -= weight;
            }
            values[query * n] += rest;
        }
        values
    }

    fn causal(values: &[f32], n: usize) -> Map<'_> {
        Map {
            values,
            n,
            mask: Mask::CAUSAL,
        }
    }

    fn is_close(found: f32, expected: f32) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }

    #[test]
    fn a_planted_head_is_found_by_its_detector_alone() {
        // A beginning-of-text token, and five tokens twice.
        let ids = [0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5];
        let n = ids.len();
        let induction = planted(n, |q| if q > 5 { vec![(q - 4, 0.9)] } else { vec![] });
        let previous = planted(n, |q| if q > 0 { vec![(q - 1, 0.9)] } else { vec![] });
        let duplicate = planted(n, |q| if q > 5 { vec![(q - 5, 0.9)] } else { vec![] });
        let scores = |values: &[f32]| {
            let map = causal(values, n);
            [
                map.mean_back(6..n, 4).unwrap(),
                map.mean_back(1..n, 1).unwrap(),
                map.mean_back(6..n, 5).unwrap(),
                map.prefix_matching(&ids).unwrap(),
            ]
        };
        let [a, b, c, d] = scores(&induction);
        assert!(
            a > 0.89 && b < 0.2 && c < 0.2 && d > 0.89,
            "{a} {b} {c} {d}"
        );
        let [a, b, c, d] = scores(&previous);
        assert!(a < 0.2 && b > 0.89 && c < 0.2 && d < 0.2, "{a} {b} {c} {d}");
        let [a, b, c, d] = scores(&duplicate);
        assert!(a < 0.2 && b < 0.2 && c > 0.89 && d < 0.2, "{a} {b} {c} {d}");
    }

    #[test]
    fn both_measures_are_one_where_every_row_has_at_most_one_key() {
        // abs = 2 · mul − k / n, k the rows with a key (solu-2l: .5924 and .4348 at n = 4, .6462 and .4353 at n = 7).
        for (mul, n, abs) in [(0.5924, 4, 0.4348), (0.6462, 7, 0.4353)] {
            let ids: Vec<u32> = (0..n as u32).collect();
            let share = mul * n as f32 / (n - 1) as f32;
            let values = planted(n, |q| if q > 0 { vec![(q - 1, share)] } else { vec![] });
            // The rest must not fall on the pattern too: query 1's previous token is key 0.
            let values: Vec<f32> = (0..n * n)
                .map(|i| match (i / n, i % n) {
                    (1, 0) => share,
                    (1, 1) => 1.0 - share,
                    _ => values[i],
                })
                .collect();
            let map = causal(&values, n);
            is_close(map.share_on(Named::PreviousToken, &ids), mul);
            assert!((map.closeness_to(Named::PreviousToken, &ids) - abs).abs() < 1e-4);
        }
    }

    #[test]
    fn a_text_without_repeats_has_no_duplicates() {
        let ids = [1, 2, 3, 4];
        let values = planted(4, |q| vec![(q, 0.5)]);
        let map = causal(&values, 4);
        for named in [Named::DuplicateToken, Named::Induction] {
            is_close(map.share_on(named, &ids), 0.0);
            is_close(map.closeness_to(named, &ids), 0.0);
        }
        assert_eq!(map.prefix_matching(&ids), None);
    }

    #[test]
    fn shares_of_disjoint_patterns_sum_to_one() {
        let n = 6;
        let ids = [7, 1, 2, 3, 4, 5];
        // A third each to itself, to the one before and to the first; far from them nothing.
        let values = planted(n, |q| match q {
            0 => vec![(0, 1.0)],
            _ => vec![(q, 1.0 / 3.0), (q - 1, 1.0 / 3.0)],
        });
        let map = causal(&values, n);
        is_close(map.current_token().unwrap(), (1.0 + 5.0 / 3.0) / 6.0);
        is_close(
            map.share_on(Named::PreviousToken, &ids),
            (2.0 / 3.0 + 4.0 / 3.0) / 6.0,
        );
        // Of query 1 the token before is the first one.
        is_close(map.sink().unwrap(), (2.0 / 3.0 + 4.0 / 3.0) / 5.0);
        is_close(
            map.local_mass(2).unwrap(),
            (1.0 + 1.0 + 4.0 * 2.0 / 3.0) / 6.0,
        );
    }

    #[test]
    fn an_equal_row_has_entropy_one_and_half_the_distance() {
        let n = 5;
        let values = planted(n, |q| (0..=q).map(|k| (k, 1.0 / (q + 1) as f32)).collect());
        let map = causal(&values, n);
        is_close(map.entropy().unwrap(), 1.0);
        is_close(map.distance().unwrap(), 0.5);
        assert!((entropy(&[0.25; 4]) - 4f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn what_a_window_hides_is_blank_and_not_zero() {
        let n = 8;
        let values = planted(n, |q| vec![(q, 1.0)]);
        let map = Map {
            values: &values,
            n,
            mask: Mask::causal_window(3),
        };
        assert_eq!(map.mean_back(5..8, 4), None);
        assert_eq!(map.mean_back(5..8, 2), Some(0.0));
        let ids = [1, 2, 3, 4, 1, 2, 3, 4];
        assert_eq!(map.prefix_matching(&ids), None);
    }

    #[test]
    fn a_pointer_is_right_where_its_strongest_key_is_a_wanted_one() {
        let values = planted(4, |q| if q == 3 { vec![(1, 0.6)] } else { vec![] });
        let map = causal(&values, 4);
        assert_eq!(
            map.pointer_accuracy(&[(3, vec![1]), (2, vec![1])]),
            Some(0.5)
        );
        assert_eq!(map.pointer_accuracy(&[]), None);
    }
}
