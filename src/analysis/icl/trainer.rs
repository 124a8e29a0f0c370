//! Adam on fresh batches, and everything the lab shows of the model on the way.

use std::sync::OnceLock;

use super::data::{Batch, Sampler, Stream, ZERO, rng};
use super::forward::{Scratch, head_outputs, loss_and_gradient};
use super::inspect::{eta, head_report, mark_active, zero_sum};
use super::measure::{Curve, Moments};
use super::model::{Circuits, Model};
use super::optimizer::Adam;
use super::{HeadEdit, HeadReport, IclError, LengthTest, Reference, Report, Settings, references};

const RATE: f64 = 1e-3;
const FINAL_RATE: f64 = 1e-4;

/// Test sequences: about 1 % standard error of the loss at the defaults. The
/// references are exact, so a trained model may seem that much better than it is.
const TEST_SEQUENCES: usize = 16_384;
/// Bounds the test set's memory for long prompts, in numbers of 4 bytes.
const TEST_NUMBERS: usize = 1 << 24;
/// One test set for all seeds, so that runs compare.
const TEST_SEED: u64 = 0;

/// Trains one model, a few steps at a time.
#[derive(Clone)]
pub struct Trainer {
    settings: Settings,
    model: Model,
    optimizer: Adam,
    sampler: Sampler,
    batch: Batch,
    scratch: Scratch,
    grad: Circuits,
    step: usize,
    curve: Curve,
    test_sequences: usize,
    test: OnceLock<Batch>,
    /// `[test length][task]`; emptied by every step.
    moments: OnceLock<Vec<Vec<Moments>>>,
    references: OnceLock<Vec<Reference>>,
}

impl Trainer {
    pub fn new(settings: Settings) -> Result<Self, IclError> {
        settings.validate()?;
        let width = settings.width();
        let model = Model::new(&settings, &mut rng(settings.seed, Stream::Init));
        let numbers = width * 4 * settings.length;
        Ok(Self {
            optimizer: Adam::new(model.params.len()),
            sampler: Sampler::new(&settings, rng(settings.seed, Stream::Train)),
            batch: Batch::new(settings.batch, settings.length, &settings),
            scratch: Scratch::default(),
            grad: Circuits::zeros(width, settings.tasks, settings.n_heads),
            step: 0,
            curve: Curve::default(),
            test_sequences: (TEST_NUMBERS / numbers).clamp(256, TEST_SEQUENCES),
            test: OnceLock::new(),
            moments: OnceLock::new(),
            references: OnceLock::new(),
            model,
            settings,
        })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Steps taken so far.
    pub fn steps_done(&self) -> usize {
        self.step
    }

    pub fn is_done(&self) -> bool {
        self.step >= self.settings.steps
    }

    /// Takes up to `steps` steps and stops early when the run is done.
    pub fn advance(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.is_done() {
                return;
            }
            self.step();
        }
    }

    /// Takes one step on a fresh batch; does nothing when the run is done.
    pub fn step(&mut self) {
        if self.is_done() {
            return;
        }
        let Self {
            settings,
            model,
            optimizer,
            sampler,
            batch,
            scratch,
            grad,
            step,
            curve,
            test_sequences: _,
            test: _,
            moments,
            references: _,
        } = self;
        sampler.fill(batch);
        let loss = loss_and_gradient(&model.circuits(), batch, scratch, grad);
        model.pull_back(grad, &mut optimizer.grad);
        // 70 % in whole steps, so that a resumed run switches at the same one.
        let rate = if *step < settings.steps * 7 / 10 {
            RATE
        } else {
            FINAL_RATE
        };
        optimizer.apply(rate, &mut model.params);
        *step += 1;
        curve.push(*step, loss);
        moments.take();
    }

    /// Test loss at the training length.
    pub fn loss(&self) -> f64 {
        self.loss_with(&[])
    }

    /// Test loss at the training length with some heads scaled.
    ///
    /// Of two edits to one head the later counts; an edit to a head the model
    /// does not have is without effect. Costs nothing between two steps.
    pub fn loss_with(&self, edits: &[HeadEdit]) -> f64 {
        self.test_with(1, edits).loss
    }

    /// The same of each task.
    pub fn task_losses_with(&self, edits: &[HeadEdit]) -> Vec<f64> {
        self.test_with(1, edits).of_task
    }

    /// Test loss at every test length with some heads scaled.
    pub fn length_tests_with(&self, edits: &[HeadEdit]) -> Vec<LengthTest> {
        let lengths = 0..self.settings.test_lengths().len();
        lengths.map(|at| self.test_with(at, edits)).collect()
    }

    /// At one of the test lengths, by its place among them.
    fn test_with(&self, at: usize, edits: &[HeadEdit]) -> LengthTest {
        let scales = self.scales(edits);
        let moments = self.moments()[at].iter();
        let of_task: Vec<f64> = moments.map(|moments| moments.loss(&scales)).collect();
        LengthTest {
            length: self.settings.test_lengths()[at],
            loss: of_task.iter().sum::<f64>() / of_task.len() as f64,
            of_task,
        }
    }

    pub fn report(&self) -> Report {
        let heads = self.heads();
        let tasks = 0..self.settings.tasks;
        Report {
            settings: self.settings.clone(),
            step: self.step,
            losses: self.curve.points(),
            zero_sum: tasks.clone().map(|task| zero_sum(&heads, task)).collect(),
            eta: tasks.map(|task| eta(&heads, task)).collect(),
            heads,
            test: self.length_tests_with(&[]),
            references: self
                .references
                .get_or_init(|| references(&self.settings))
                .clone(),
        }
    }

    /// The heads alone: cheap enough for every frame of an animation.
    pub fn heads(&self) -> Vec<HeadReport> {
        let circuits = self.model.circuits();
        let tasks = 0..self.settings.tasks;
        let reads: Vec<_> = tasks.map(|task| self.settings.reads(task)).collect();
        let mut heads: Vec<HeadReport> = circuits
            .heads()
            .map(|(kq, ov)| head_report(kq, ov, &reads))
            .collect();
        mark_active(&mut heads);
        heads
    }

    fn scales(&self, edits: &[HeadEdit]) -> Vec<f64> {
        let mut scales = vec![1.0; self.settings.n_heads];
        for edit in edits {
            if let Some(scale) = scales.get_mut(edit.head) {
                *scale = f64::from(edit.scale);
            }
        }
        scales
    }

    fn moments(&self) -> &[Vec<Moments>] {
        self.moments.get_or_init(|| self.measure())
    }

    fn test(&self) -> &Batch {
        self.test.get_or_init(|| {
            let settings = &self.settings;
            let mut batch = Batch::new(self.test_sequences, 4 * settings.length, settings);
            Sampler::new(settings, rng(TEST_SEED, Stream::Test)).fill(&mut batch);
            batch
        })
    }

    fn measure(&self) -> Vec<Vec<Moments>> {
        let lengths = self.settings.test_lengths();
        let Settings { n_heads, tasks, .. } = self.settings;
        let test = self.test();
        let circuits = self.model.circuits();
        let mut scratch = Scratch::default();
        let mut outputs = vec![ZERO; lengths.len() * tasks * n_heads];
        let mut moments = vec![Moments::new(n_heads); lengths.len() * tasks];
        for block in test.blocks() {
            head_outputs(
                &circuits,
                block,
                test.length,
                &lengths,
                &mut scratch,
                &mut outputs,
            );
            let of_task = moments.iter_mut().zip(outputs.chunks_exact(n_heads));
            for ((moments, outputs), signal) in of_task.zip(block.signal.iter().cycle()) {
                moments.add(outputs, signal, block.used);
            }
        }
        for moments in &mut moments {
            moments.finish(test.n, self.settings.noise);
        }
        moments.chunks_exact(tasks).map(<[_]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_omega;
    use super::*;

    /// A trainer with a test set small enough for unoptimised builds.
    fn small(settings: Settings) -> Trainer {
        let mut trainer = Trainer::new(settings).unwrap();
        trainer.test_sequences = 300;
        trainer
    }

    fn tiny() -> Settings {
        Settings {
            d: 2,
            length: 8,
            n_heads: 2,
            steps: 300,
            batch: 20,
            ..Settings::default()
        }
    }

    #[test]
    fn runs_are_deterministic_per_seed_and_independent_of_chunking() {
        let mut a = small(tiny());
        let mut b = small(tiny());
        a.advance(20);
        for _ in 0..4 {
            b.advance(5);
            b.report();
        }
        assert_eq!(a.report(), b.report());
        let mut other = small(Settings { seed: 1, ..tiny() });
        other.advance(20);
        assert_ne!(a.report().heads, other.report().heads);
    }

    #[test]
    fn a_trainer_can_live_on_a_worker_thread() {
        fn check<T: Send + Sync + 'static>() {}
        check::<Trainer>();
        check::<Report>();
    }

    #[test]
    fn three_hundred_steps_learn_something() {
        let mut trainer = small(Settings {
            length: 16,
            n_heads: 8,
            batch: 32,
            ..tiny()
        });
        let before = trainer.loss();
        trainer.advance(usize::MAX);
        assert!(trainer.is_done());
        assert_eq!(trainer.steps_done(), 300);
        assert!(trainer.loss() < 0.7 * before, "{before} {}", trainer.loss());
        let report = trainer.report();
        let (first, last) = (report.losses[0].1, report.losses[report.losses.len() - 1].1);
        assert!(last < first);
        // A finished run stays as it is.
        trainer.step();
        assert_eq!(trainer.report(), report);
    }

    #[test]
    fn head_edits_match_a_model_with_scaled_output_matrices() {
        for tasks in [1, 2] {
            check_edits(Settings { tasks, ..tiny() });
        }
    }

    fn check_edits(settings: Settings) {
        let outputs = settings.tasks * settings.width();
        let mut trainer = small(settings);
        trainer.advance(30);
        assert_eq!(trainer.loss().to_bits(), trainer.loss_with(&[]).to_bits());
        let edits = [
            HeadEdit {
                head: 0,
                scale: 0.3,
            },
            HeadEdit {
                head: 1,
                scale: -2.0,
            },
        ];
        let got = trainer.loss_with(&edits);
        // Scale O itself and measure again.
        let mut scaled = trainer.clone();
        let head = scaled.model.params.len() / 2;
        for (h, edit) in edits.iter().enumerate() {
            let end = (h + 1) * head;
            for o in &mut scaled.model.params[end - outputs..end] {
                *o *= edit.scale;
            }
        }
        scaled.moments.take();
        assert!(
            (scaled.loss() - got).abs() < 1e-6,
            "{} {got}",
            scaled.loss()
        );
        assert_eq!(
            trainer.length_tests_with(&edits)[1].loss.to_bits(),
            got.to_bits()
        );
        let of_task = trainer.task_losses_with(&edits);
        assert_eq!(of_task.len(), trainer.settings().tasks);
        let mean = of_task.iter().sum::<f64>() / of_task.len() as f64;
        assert!((mean - got).abs() < 1e-12);
        // Later edits win, unknown heads are without effect.
        let again = [
            edits[1],
            edits[0],
            edits[1],
            HeadEdit {
                head: 9,
                scale: 0.0,
            },
        ];
        assert_eq!(trainer.loss_with(&again).to_bits(), got.to_bits());
    }

    #[test]
    fn without_heads_the_loss_is_the_label_power() {
        let trainer = Trainer::new(Settings {
            d: 1,
            length: 2,
            ..tiny()
        })
        .unwrap();
        let off = [0, 1].map(|head| HeadEdit { head, scale: 0.0 });
        for test in trainer.length_tests_with(&off) {
            assert_eq!(test.of_task, [test.loss]);
            // 16k draws of a product of two normals: standard error 0.022.
            assert!((test.loss - 1.1).abs() < 0.07, "{test:?}");
        }
    }

    #[test]
    fn the_report_covers_heads_lengths_and_references() {
        let mut trainer = small(tiny());
        trainer.advance(10);
        let report = trainer.report();
        assert_eq!(report.step, 10);
        assert_eq!(report.losses.len(), 10);
        assert_eq!(report.heads.len(), 2);
        assert_eq!(report.heads[0].kq.len(), 9);
        assert_eq!(report.heads[0].ov.len(), 3);
        let lengths = [4, 8, 16, 32];
        assert_eq!(
            report.test.iter().map(|t| t.length).collect::<Vec<_>>(),
            lengths
        );
        assert!(report.references.iter().map(|r| r.length).eq(lengths));
        assert!((report.test[1].loss - trainer.loss()).abs() < 1e-12);
        let order = by_omega(&report);
        assert!(report.heads[order[0]].omega >= report.heads[order[1]].omega);
    }

    #[test]
    fn two_tasks_are_learned_each() {
        let mut trainer = small(Settings {
            length: 16,
            n_heads: 8,
            batch: 32,
            tasks: 2,
            ..tiny()
        });
        let before = trainer.task_losses_with(&[]);
        trainer.advance(usize::MAX);
        let after = trainer.task_losses_with(&[]);
        for (before, after) in before.iter().zip(&after) {
            assert!(*after < 0.8 * before, "{before} {after}");
        }
        let report = trainer.report();
        assert_eq!(report.heads[0].kq.len(), 16);
        assert_eq!(report.heads[0].ov.len(), 8);
        assert_eq!((report.eta.len(), report.zero_sum.len()), (2, 2));
        assert!(report.eta.iter().all(|eta| *eta > 0.0), "{:?}", report.eta);
    }
}
