//! Trains and measures the demo model: a small transformer of GPT-2's form that learns ten kinds of
//! one-line exercise, so that it has heads worth looking at.

#![expect(clippy::print_stdout, reason = "a command says its results there")]

mod corpus;
mod evaluate;
mod network;
mod ops;
mod optimizer;
mod rng;
mod schedule;
mod tasks;
#[cfg(test)]
mod tests;
mod tokenizer;
mod train;
mod words;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Trains and measures the demo model")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes tokenizer.json.
    Tokenizer {
        #[arg(long)]
        out: PathBuf,
    },
    /// Prints training documents.
    Sample {
        #[arg(long, default_value_t = 20)]
        count: usize,
    },
    /// Trains, or goes on with a run that was stopped.
    Train(train::TrainArgs),
    /// Measures a model on held-out prompts.
    Evaluate(evaluate::EvaluateArgs),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Tokenizer { out } => train::write_tokenizer(&out),
        Command::Sample { count } => {
            let mixture = corpus::Mixture::default();
            let mut rng = rng::Rng::new(0, 1);
            for _ in 0..count {
                let pieces = mixture.document(&mut rng);
                println!(
                    "{}",
                    pieces
                        .iter()
                        .map(|piece| piece.text.as_str())
                        .collect::<String>()
                );
            }
            Ok(())
        }
        Command::Train(args) => train::train(&args),
        Command::Evaluate(args) => evaluate::evaluate(&args),
    }
}
