//! A small seeded random generator (splitmix64), so that a run depends on nothing but its seed.

/// Splitmix64: one 64-bit state, good enough statistics for drawing words from lists.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A stream of its own for each pair of numbers: the trainer uses (seed, step), which makes every
    /// batch a pure function of the step and resuming a matter of knowing the step.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self(seed ^ stream.wrapping_mul(0xD134_2543_DE82_EF95));
        rng.next();
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..n` (`n` far below 2^64, so the bias of the remainder is nothing).
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// A number in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }

    /// `n` different entries in random order (all of them when the list is shorter).
    pub(crate) fn sample<T: Clone>(&mut self, list: &[T], n: usize) -> Vec<T> {
        let mut order: Vec<usize> = (0..list.len()).collect();
        let n = n.min(list.len());
        for i in 0..n {
            let j = i + self.below(order.len() - i);
            order.swap(i, j);
        }
        order[..n].iter().map(|&i| list[i].clone()).collect()
    }

    /// A standard normal number (Box-Muller), for the first weights.
    pub(crate) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
    }
}
