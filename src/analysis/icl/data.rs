//! Regression prompts, drawn eight at a time into lanes.
//!
//! Sequences sit side by side in lanes so that every inner loop of the model is
//! element-wise over eight of them and needs no horizontal sum.

use std::ops::Range;

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
    /// Entries per token, `d + tasks`; the last are the labels.
    pub(super) width: usize,
    pub(super) tasks: usize,
    /// `[block, token entry, position]`
    pub(super) tokens: Vec<Lane>,
    /// `[block, token entry]`, labels 0.
    pub(super) query: Vec<Lane>,
    /// `[block, task]`, the query's labels with noise.
    pub(super) target: Vec<Lane>,
    /// `[block, task]`, the query's labels without noise.
    pub(super) signal: Vec<Lane>,
}

/// One block of a batch.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    /// `[token entry, position]`
    pub(super) tokens: &'a [Lane],
    /// `[token entry]`
    pub(super) query: &'a [Lane],
    /// `[task]`
    pub(super) target: &'a [Lane],
    /// `[task]`
    pub(super) signal: &'a [Lane],
    /// Lanes that count.
    pub(super) used: usize,
}

impl Batch {
    /// Room for `n` prompts of `length` examples.
    pub(super) fn new(n: usize, length: usize, settings: &Settings) -> Self {
        let (blocks, width, tasks) = (n.div_ceil(LANES), settings.width(), settings.tasks);
        Self {
            n,
            length,
            width,
            tasks,
            tokens: vec![ZERO; blocks * width * length],
            query: vec![ZERO; blocks * width],
            target: vec![ZERO; blocks * tasks],
            signal: vec![ZERO; blocks * tasks],
        }
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        let blocks = self.n.div_ceil(LANES);
        let counts = (0..blocks).map(|block| (self.n - block * LANES).min(LANES));
        let labels = self.target.chunks_exact(self.tasks);
        self.tokens
            .chunks_exact(self.width * self.length)
            .zip(self.query.chunks_exact(self.width))
            .zip(labels.zip(self.signal.chunks_exact(self.tasks)))
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

/// Draws prompts: `x ~ N(0, rho^|i-j|)`; for each task `beta ~ N(0, I/n)` over
/// the `n` covariates that it reads, and `y = beta.x + N(0, noise)`.
#[derive(Clone)]
pub(super) struct Sampler {
    rng: ChaCha8Rng,
    noise_sd: f32,
    rho: f32,
    /// Covariates of each task.
    reads: Vec<Range<usize>>,
    beta: Vec<Lane>,
}

impl Sampler {
    pub(super) fn new(settings: &Settings, rng: ChaCha8Rng) -> Self {
        Self {
            rng,
            noise_sd: settings.noise.sqrt() as f32,
            rho: settings.covariance as f32,
            reads: (0..settings.tasks)
                .map(|task| settings.reads(task))
                .collect(),
            beta: vec![ZERO; settings.d],
        }
    }

    /// Overwrites `batch` with fresh prompts.
    pub(super) fn fill(&mut self, batch: &mut Batch) {
        let Self {
            rng,
            noise_sd,
            rho,
            reads,
            beta,
        } = self;
        let (width, length, tasks) = (batch.width, batch.length, batch.tasks);
        let d = width - tasks;
        let blocks = batch
            .tokens
            .chunks_exact_mut(width * length)
            .zip(batch.query.chunks_exact_mut(width))
            .zip(batch.target.chunks_exact_mut(tasks))
            .zip(batch.signal.chunks_exact_mut(tasks));
        for (((tokens, query), target), signal) in blocks {
            // One task draws in the order in which it always did: beta, tokens, query.
            let (first, more) = (reads[0].clone(), &reads[1..]);
            draw_beta(rng, &mut beta[first.clone()]);
            // The label rows start as their own noise.
            fill_normal(rng, tokens);
            correlate(&mut tokens[..d * length], length, *rho);
            let (x, y) = tokens.split_at_mut(d * length);
            for y in y.iter_mut() {
                *y = y.map(|noise| noise * *noise_sd);
            }
            fill_normal(rng, query);
            correlate(&mut query[..d], 1, *rho);

            let (x_query, noise) = query.split_at_mut(d);
            for (task, reads) in std::iter::once(&first).chain(more).enumerate() {
                if task > 0 {
                    draw_beta(rng, &mut beta[reads.clone()]);
                }
                let y = &mut y[task * length..(task + 1) * length];
                let rows = x.chunks_exact(length).zip(beta.iter());
                for (x, beta) in rows.take(reads.end).skip(reads.start) {
                    for (y, x) in y.iter_mut().zip(x) {
                        add_product(y, x, beta);
                    }
                }
                signal[task] = ZERO;
                for (x, beta) in x_query[reads.clone()].iter().zip(&beta[reads.clone()]) {
                    add_product(&mut signal[task], x, beta);
                }
                target[task] = signal[task];
                add_scaled(&mut target[task], *noise_sd, &noise[task]);
                noise[task] = ZERO;
            }
        }
    }
}

fn draw_beta(rng: &mut ChaCha8Rng, beta: &mut [Lane]) {
    let scale = (beta.len() as f32).sqrt().recip();
    fill_normal(rng, beta);
    for lane in beta {
        *lane = lane.map(|value| value * scale);
    }
}

fn fill_normal(rng: &mut ChaCha8Rng, out: &mut [Lane]) {
    for value in out.as_flattened_mut() {
        *value = rng.sample(StandardNormal);
    }
}

/// Gives the covariates, `[covariate, position]`, the covariance `rho^|i-j|`:
/// `x_i <- rho x_{i-1} + sqrt(1 - rho^2) x_i`.
fn correlate(rows: &mut [Lane], length: usize, rho: f32) {
    if rho == 0.0 {
        return;
    }
    let fresh = (1.0 - rho * rho).sqrt();
    for i in 1..rows.len() / length {
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
        let mut batch = Batch::new(n, settings.length, settings);
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
            let noise = block.target[0].iter().zip(block.signal[0]);
            assert!(noise.map(|(y, signal)| y - signal).all(|e| e.abs() > 0.0));
        }
    }

    #[test]
    fn two_tasks_read_their_own_covariates_and_nothing_else() {
        let settings = Settings {
            tasks: 2,
            ..Settings::default()
        };
        assert_eq!((settings.reads(0), settings.reads(1)), (0..3, 1..5));
        let batch = drawn(&settings, 4096);
        // E[(y x_i)^2] is E[y^2] E[x^2] = 1.1 where x_i is not read, and 2/n more where it is: 1.77 for three, 1.6 for four.
        let length = settings.length;
        for (task, n) in [(0, 3.0), (1, 4.0)] {
            for i in 0..5 {
                let mut sum = 0.0;
                for block in batch.blocks() {
                    let row = |i: usize| block.tokens[i * length..(i + 1) * length].as_flattened();
                    let pairs = row(i).iter().zip(row(5 + task));
                    sum += pairs.map(|(x, y)| f64::from(x * y).powi(2)).sum::<f64>();
                }
                let mean = sum / (batch.n * length) as f64;
                let expected = if settings.reads(task).contains(&i) {
                    1.1 + 2.0 / n
                } else {
                    1.1
                };
                assert!((mean - expected).abs() < 0.12, "{task} {i}: {mean}");
            }
        }
        // The betas of the two tasks are independent: the labels are not correlated.
        assert!(moment(&batch, 5, 6).abs() < 0.03);
        for block in batch.blocks() {
            for task in 0..2 {
                assert!(block.query[5 + task].iter().all(|&label| label == 0.0));
                assert!(
                    block.target[task]
                        .iter()
                        .zip(block.signal[task])
                        .all(|(y, s)| (y - s).abs() > 0.0)
                );
            }
        }
    }
}
