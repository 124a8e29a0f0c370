//! Regression prompts, drawn eight at a time into lanes.
//!
//! Sequences sit side by side in lanes so that every inner loop of the model is
//! element-wise over eight of them and needs no horizontal sum.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::Settings;

pub(super) const LANES: usize = 8;

/// One number of eight sequences.
pub(super) type Lane = [f32; LANES];

pub(super) const ZERO: Lane = [0.0; LANES];

/// Independent random streams of one seed.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    Init,
    Train,
    Test,
    Reference,
}

pub(super) fn rng(seed: u64, stream: Stream) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream as u64);
    rng
}

/// `acc += a * b`, lane by lane.
#[inline]
pub(super) fn add_product(acc: &mut Lane, a: &Lane, b: &Lane) {
    for ((acc, a), b) in acc.iter_mut().zip(a).zip(b) {
        *acc += a * b;
    }
}

/// `acc += scale * a`, lane by lane.
#[inline]
pub(super) fn add_scaled(acc: &mut Lane, scale: f32, a: &Lane) {
    for (acc, a) in acc.iter_mut().zip(a) {
        *acc += scale * a;
    }
}

/// Prompts with their queries and targets.
#[derive(Clone)]
pub(super) struct Batch {
    /// Sequences in use; the lanes beyond are filled but not counted.
    pub(super) n: usize,
    pub(super) length: usize,
    /// Entries per token, `d + 1`; the last is the label.
    pub(super) width: usize,
    /// `[block, token entry, position]`
    pub(super) tokens: Vec<Lane>,
    /// `[block, token entry]`, last entry 0.
    pub(super) query: Vec<Lane>,
    /// `[block]`, the query's label with noise.
    pub(super) target: Vec<Lane>,
    /// `[block]`, the query's label without noise.
    pub(super) signal: Vec<Lane>,
}

/// One block of a batch.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    /// `[token entry, position]`
    pub(super) tokens: &'a [Lane],
    /// `[token entry]`
    pub(super) query: &'a [Lane],
    pub(super) target: &'a Lane,
    pub(super) signal: &'a Lane,
    /// Lanes that count.
    pub(super) used: usize,
}

impl Batch {
    pub(super) fn new(n: usize, length: usize, width: usize) -> Self {
        let blocks = n.div_ceil(LANES);
        Self {
            n,
            length,
            width,
            tokens: vec![ZERO; blocks * width * length],
            query: vec![ZERO; blocks * width],
            target: vec![ZERO; blocks],
            signal: vec![ZERO; blocks],
        }
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        let counts = (0..self.target.len()).map(|block| (self.n - block * LANES).min(LANES));
        self.tokens
            .chunks_exact(self.width * self.length)
            .zip(self.query.chunks_exact(self.width))
            .zip(self.target.iter().zip(&self.signal))
            .zip(counts)
            .map(|(((tokens, query), (target, signal)), used)| Block {
                tokens,
                query,
                target,
                signal,
                used,
            })
    }
}

/// Draws prompts: `x ~ N(0, rho^|i-j|)`, `beta ~ N(0, I/d)`,
/// `y = beta.x + N(0, noise)`.
#[derive(Clone)]
pub(super) struct Sampler {
    rng: ChaCha8Rng,
    noise_sd: f32,
    rho: f32,
    beta: Vec<Lane>,
}

impl Sampler {
    pub(super) fn new(settings: &Settings, rng: ChaCha8Rng) -> Self {
        Self {
            rng,
            noise_sd: settings.noise.sqrt() as f32,
            rho: settings.covariance as f32,
            beta: vec![ZERO; settings.d],
        }
    }

    /// Overwrites `batch` with fresh prompts.
    pub(super) fn fill(&mut self, batch: &mut Batch) {
        let Self {
            rng,
            noise_sd,
            rho,
            beta,
        } = self;
        let (width, length) = (batch.width, batch.length);
        let beta_scale = (beta.len() as f32).sqrt().recip();
        let blocks = batch
            .tokens
            .chunks_exact_mut(width * length)
            .zip(batch.query.chunks_exact_mut(width))
            .zip(batch.target.iter_mut().zip(&mut batch.signal));
        for ((tokens, query), (target, signal)) in blocks {
            fill_normal(rng, beta);
            for lane in beta.iter_mut() {
                *lane = lane.map(|value| value * beta_scale);
            }
            // The label row starts as its own noise.
            fill_normal(rng, tokens);
            correlate(tokens, length, *rho);
            let (x, y) = tokens.split_at_mut((width - 1) * length);
            for y in y.iter_mut() {
                *y = y.map(|noise| noise * *noise_sd);
            }
            for (x, beta) in x.chunks_exact(length).zip(beta.iter()) {
                for (y, x) in y.iter_mut().zip(x) {
                    add_product(y, x, beta);
                }
            }

            fill_normal(rng, query);
            correlate(query, 1, *rho);
            *signal = ZERO;
            for (x, beta) in query.iter().zip(beta.iter()) {
                add_product(signal, x, beta);
            }
            *target = *signal;
            if let Some(last) = query.last_mut() {
                add_scaled(target, *noise_sd, last);
                *last = ZERO;
            }
        }
    }
}

fn fill_normal(rng: &mut ChaCha8Rng, out: &mut [Lane]) {
    for value in out.as_flattened_mut() {
        *value = rng.sample(StandardNormal);
    }
}

/// Gives the covariates, all rows but the last, the covariance `rho^|i-j|`:
/// `x_i <- rho x_{i-1} + sqrt(1 - rho^2) x_i`.
fn correlate(rows: &mut [Lane], length: usize, rho: f32) {
    if rho == 0.0 {
        return;
    }
    let fresh = (1.0 - rho * rho).sqrt();
    let covariates = rows.len() / length - 1;
    for i in 1..covariates {
        let (before, rest) = rows.split_at_mut(i * length);
        for (x, previous) in rest.iter_mut().zip(&before[(i - 1) * length..]) {
            *x = x.map(|value| value * fresh);
            add_scaled(x, rho, previous);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(settings: &Settings, n: usize) -> Batch {
        let mut batch = Batch::new(n, settings.length, settings.d + 1);
        Sampler::new(settings, rng(7, Stream::Train)).fill(&mut batch);
        batch
    }

    /// Mean over positions and lanes of the product of two token rows.
    fn moment(batch: &Batch, a: usize, b: usize) -> f32 {
        let length = batch.length;
        let mut sum = 0.0;
        for block in batch.blocks() {
            let row = |i: usize| block.tokens[i * length..(i + 1) * length].as_flattened();
            sum += row(a).iter().zip(row(b)).map(|(x, y)| x * y).sum::<f32>();
        }
        sum / (batch.n * length) as f32
    }

    #[test]
    fn covariates_and_labels_have_the_stated_moments() {
        let settings = Settings {
            covariance: 0.6,
            ..Settings::default()
        };
        let batch = drawn(&settings, 2048);
        // 82k draws: three standard errors are about 0.02.
        for (a, b, expected) in [(0, 0, 1.0), (4, 4, 1.0), (0, 1, 0.6), (1, 3, 0.36)] {
            assert!((moment(&batch, a, b) - expected).abs() < 0.02, "{a} {b}");
        }
        // Labels share beta within a prompt, so their spread is wider.
        assert!((moment(&batch, 5, 5) - 1.1).abs() < 0.1);
    }

    #[test]
    fn the_query_hides_its_label() {
        let batch = drawn(&Settings::default(), 20);
        assert_eq!(batch.blocks().map(|block| block.used).sum::<usize>(), 20);
        for block in batch.blocks() {
            assert!(block.query[5].iter().all(|&label| label == 0.0));
            let noise = block.target.iter().zip(block.signal);
            assert!(noise.map(|(y, signal)| y - signal).all(|e| e.abs() > 0.0));
        }
    }
}
