//! The training run: batches that are a function of (seed, step), a schedule of warm-up, constant rate and
//! decay, checkpoints that a stopped run goes on from, and the held-out accuracies in the log.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use clap::Args;
use serde_json::Value;

use crate::corpus::{Mixture, Role};
use crate::evaluate::{self, Suite};
use crate::network::{Batch, Config, Network};
use crate::optimizer::AdamW;
use crate::rng::Rng;
use crate::schedule::{self, Phase};
use crate::tokenizer::{self, Codec};

/// Loss weight of words that cannot be told from what stands before them (or only from the template).
const PLAIN_WEIGHT: f32 = 0.1;

/// A batch takes in documents until it has this many tokens.
const BATCH_TOKENS: usize = 2048;

/// The size of the demo model, but for its vocabulary.
const LAYERS: usize = 4;
const HEADS: usize = 8;
const WIDTH: usize = 128;
const POSITIONS: usize = 128;

#[derive(Args, Clone, Debug)]
pub(crate) struct TrainArgs {
    /// Folder of config.json, model.safetensors, tokenizer.json and the checkpoint; a run found there goes on.
    #[arg(long)]
    pub(crate) out: PathBuf,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Stop after this step; the same command without it goes on from there.
    #[arg(long, default_value_t = schedule::LAST_STEP)]
    pub(crate) stop: usize,
    /// Steps between checkpoints with a held-out evaluation.
    #[arg(long, default_value_t = 250)]
    pub(crate) every: usize,
}

/// A batch with what it has to predict.
pub(crate) struct Lesson {
    pub(crate) batch: Batch,
    pub(crate) targets: Vec<u32>,
    pub(crate) weights: Vec<f32>,
}

/// The batch of a step: documents until there are enough tokens, each predicting its own next tokens and,
/// at its end, the BOS that separates documents.
pub(crate) fn lesson(
    codec: &Codec,
    mixture: &Mixture,
    tokens: usize,
    positions: usize,
    seed: u64,
    step: usize,
) -> Result<Lesson> {
    let mut rng = Rng::new(seed, step as u64);
    let (mut documents, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    while targets.len() < tokens {
        let (mut ids, roles) = codec.encode_document(&mixture.document(&mut rng))?;
        let next = ids.iter().copied().skip(1).chain([0]).take(positions);
        targets.extend(next);
        let weight = |role: &Role| match role {
            Role::Plain => PLAIN_WEIGHT,
            Role::Answer => 1.0,
            Role::Unseen => 0.0,
        };
        weights.extend(
            roles
                .iter()
                .skip(1)
                .map(weight)
                .chain([PLAIN_WEIGHT])
                .take(positions),
        );
        ids.truncate(positions);
        documents.push(ids);
    }
    Ok(Lesson {
        batch: Batch::new(&documents),
        targets,
        weights,
    })
}

/// A run in progress.
pub(crate) struct Run {
    pub(crate) network: Network,
    optimizer: AdamW,
    /// Steps done.
    pub(crate) step: usize,
    seconds: f64,
}

impl Run {
    pub(crate) fn new(config: Config, seed: u64) -> Result<Self> {
        Ok(Self {
            network: Network::new(config, seed)?,
            optimizer: AdamW::default(),
            step: 0,
            seconds: 0.0,
        })
    }

    /// One optimizer step; returns loss and gradient norm.
    pub(crate) fn advance(&mut self, lesson: Lesson, rate: f32) -> Result<(f32, f32)> {
        let loss = self
            .network
            .loss(&lesson.batch, lesson.targets, lesson.weights)?;
        let grads = loss.backward()?;
        self.step += 1;
        let norm = self
            .optimizer
            .step(&self.network.variables, &grads, rate, self.step)?;
        Ok((loss.to_scalar()?, norm))
    }

    /// Writes the model files and the checkpoint, each whole or not at all.
    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        let weights = self
            .network
            .variables
            .iter()
            .map(|(name, v)| (name.clone(), v.as_tensor().clone()));
        let weights: std::collections::HashMap<String, Tensor> = weights.collect();
        write_tensors(&weights, &folder.join("model.safetensors"))?;
        let mut state = weights;
        state.extend(self.optimizer.tensors()?);
        state.insert(
            "progress".into(),
            Tensor::new(&[self.step as f64, self.seconds], &Device::Cpu)?,
        );
        write_tensors(&state, &folder.join("checkpoint.safetensors"))
    }

    /// Goes on from a checkpoint.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let network = Network::load(folder)?;
        let path = folder.join("checkpoint.safetensors");
        let state = candle_core::safetensors::load(&path, &Device::Cpu)
            .with_context(|| format!("reading {}", path.display()))?;
        for (name, variable) in &network.variables {
            variable.set(
                state
                    .get(name)
                    .with_context(|| format!("the checkpoint has no {name}"))?,
            )?;
        }
        let progress: Vec<f64> = state
            .get("progress")
            .context("the checkpoint has no progress")?
            .to_vec1()?;
        let [step, seconds] = progress[..] else {
            anyhow::bail!("the checkpoint's progress is not two numbers")
        };
        Ok(Self {
            network,
            optimizer: AdamW::from_tensors(&state)?,
            step: step as usize,
            seconds,
        })
    }
}

/// Saves beside the file and renames, so that a stop in between leaves the old file whole.
fn write_tensors(tensors: &std::collections::HashMap<String, Tensor>, path: &Path) -> Result<()> {
    let part = path.with_extension("part");
    candle_core::safetensors::save(tensors, &part)?;
    std::fs::rename(&part, path).with_context(|| format!("writing {}", path.display()))
}

fn write_json(value: &Value, path: &Path) -> Result<()> {
    let text = format!("{value:#}\n");
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Writes `tokenizer.json` into a folder.
pub(crate) fn write_tokenizer(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    write_json(&tokenizer::build(), &folder.join("tokenizer.json"))
}

/// The command `train`.
pub(crate) fn train(args: &TrainArgs) -> Result<()> {
    write_tokenizer(&args.out)?;
    let codec = Codec::built()?;
    let config = Config {
        layers: LAYERS,
        heads: HEADS,
        width: WIDTH,
        positions: POSITIONS,
        vocabulary: codec.vocabulary_size(),
    };
    let mut run = if args.out.join("checkpoint.safetensors").exists() {
        Run::load(&args.out)?
    } else {
        write_json(&config.to_json(), &args.out.join("config.json"))?;
        Run::new(config, args.seed)?
    };
    anyhow::ensure!(
        run.network.config == config,
        "the checkpoint has another size: {:?}",
        run.network.config
    );
    println!("from step {} with seed {}", run.step, args.seed);
    let suite = Suite::new(&codec, 100)?;
    let mut mean_loss = 0.0;
    let mut clock = Instant::now();
    let stop = args.stop.min(schedule::LAST_STEP);
    while run.step < stop {
        let step = run.step + 1;
        let (phase, rate) = (Phase::of(step), schedule::rate(step));
        let lesson = lesson(
            &codec,
            &phase.mixture()?,
            BATCH_TOKENS,
            POSITIONS,
            args.seed,
            step,
        )?;
        let (loss, norm) = run.advance(lesson, rate)?;
        if phase.gather > 0.0 {
            AdamW::gather_heads(&run.network.variables, HEADS, rate * phase.gather)?;
        }
        mean_loss += (loss - mean_loss) / ((step - 1) % 50 + 1) as f32;
        if step % 50 == 0 {
            let seconds = run.seconds + clock.elapsed().as_secs_f64();
            println!(
                "step {step} loss {mean_loss:.4} norm {norm:.2} rate {rate:.5} seconds {seconds:.0}"
            );
            mean_loss = 0.0;
        }
        if step % args.every == 0 || step == stop {
            run.seconds += clock.elapsed().as_secs_f64();
            clock = Instant::now();
            run.save(&args.out)?;
            println!(
                "step {step} held out: {}",
                evaluate::summary(&suite, &run.network)?
            );
        }
    }
    Ok(())
}
