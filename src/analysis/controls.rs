//! Random controls: the same edit on as many heads that are not the chosen ones, drawn with a seed. An effect counts
//! beside what any heads would have done (the rule of several papers; the specification's section 12).

use rand::SeedableRng as _;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use crate::ids::HeadId;

/// Draws that are made where nothing else is asked.
pub const DRAWS: usize = 10;

/// Random sets of `k` heads each out of `pool`, one a draw; draw `i` depends on `seed` and `i` alone.
pub fn draws(pool: &[HeadId], k: usize, n: usize, seed: u64) -> Vec<Vec<HeadId>> {
    let k = k.min(pool.len());
    (0..n)
        .map(|draw| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(draw as u64);
            let mut heads: Vec<HeadId> = sample(&mut rng, pool.len(), k)
                .into_iter()
                .map(|i| pool[i])
                .collect();
            heads.sort_unstable();
            heads
        })
        .collect()
}

/// As [`draws`], with as many heads of each layer as `chosen` has: the stricter control.
pub fn draws_by_layer(pool: &[HeadId], chosen: &[HeadId], n: usize, seed: u64) -> Vec<Vec<HeadId>> {
    let n_layers = chosen.iter().map(|head| head.layer + 1).max().unwrap_or(0);
    let mut sets = vec![Vec::new(); n];
    for layer in 0..n_layers {
        let of = |heads: &[HeadId]| -> Vec<HeadId> {
            let of = heads.iter().filter(|head| head.layer == layer);
            of.copied().collect()
        };
        let k = of(chosen).len();
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(layer as u64);
        for (set, drawn) in sets.iter_mut().zip(draws(&of(pool), k, n, seed)) {
            set.extend(drawn);
        }
    }
    sets
}

/// An effect beside those of random draws.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub effect: f64,
    pub median: f64,
    pub mean: f64,
    /// Of a sample: over n − 1.
    pub sd: f64,
    /// (effect − mean) / sd; `None` where all draws are alike.
    pub z: Option<f64>,
    /// (1 + draws at least as large) / (draws + 1).
    pub p: f64,
    pub draws: Vec<f64>,
}

impl Comparison {
    /// `None` without draws.
    pub fn new(effect: f64, draws: Vec<f64>) -> Option<Self> {
        let n = draws.len();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let squares: f64 = draws.iter().map(|x| (x - mean).powi(2)).sum();
        let sd = (squares / (n.max(2) - 1) as f64).sqrt();
        let larger = draws.iter().filter(|x| **x >= effect).count();
        Some(Self {
            effect,
            median: median(&draws)?,
            mean,
            sd,
            z: (sd > 0.0).then(|| (effect - mean) / sd),
            p: (1 + larger) as f64 / (n + 1) as f64,
            draws,
        })
    }
}

/// The median; of an even number the mean of the middle two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(sorted[n / 2]),
        _ => Some(f64::midpoint(sorted[n / 2 - 1], sorted[n / 2])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Vec<HeadId> {
        (0..4)
            .flat_map(|layer| (0..6).map(move |head| HeadId::new(layer, head)))
            .collect()
    }

    #[test]
    fn draws_are_seeded_sets_without_repeats() {
        let sets = draws(&pool(), 5, 10, 7);
        assert_eq!(sets, draws(&pool(), 5, 10, 7));
        assert_eq!(
            sets[..3],
            draws(&pool(), 5, 3, 7)[..],
            "a draw depends on its number"
        );
        assert_ne!(sets, draws(&pool(), 5, 10, 8));
        assert!(sets.windows(2).any(|pair| pair[0] != pair[1]));
        for mut set in sets {
            set.dedup();
            assert_eq!(set.len(), 5);
        }
        assert_eq!(draws(&pool()[..3], 5, 1, 0)[0].len(), 3);
    }

    #[test]
    fn draws_by_layer_have_the_layers_of_the_chosen() {
        let chosen = [HeadId::new(1, 0), HeadId::new(1, 5), HeadId::new(3, 2)];
        let pool: Vec<_> = pool().into_iter().filter(|h| !chosen.contains(h)).collect();
        for set in draws_by_layer(&pool, &chosen, 10, 3) {
            let layers: Vec<usize> = set.iter().map(|head| head.layer).collect();
            assert_eq!(layers, [1, 1, 3]);
            assert!(set.iter().all(|head| !chosen.contains(head)));
        }
    }

    #[test]
    fn a_comparison_counts_the_draws_that_do_as_much() {
        let found = Comparison::new(5.0, vec![1.0, 2.0, 3.0, 6.0]).unwrap();
        assert_eq!((found.median, found.mean, found.p), (2.5, 3.0, 0.4));
        assert!((found.sd - (14.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((found.z.unwrap() - 2.0 / found.sd).abs() < 1e-12);
        let alike = Comparison::new(5.0, vec![1.0; 5]).unwrap();
        assert_eq!((alike.z, alike.p), (None, 1.0 / 6.0));
        assert_eq!(Comparison::new(1.0, vec![]), None);
    }
}
