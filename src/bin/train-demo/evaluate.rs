//! Measures a model on held-out prompts: accuracy per task, the conflict between sentence and memory with
//! each head scaled, and the induction heads with what taking them out costs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::corpus::Task;
use crate::network::{Network, Scale};
use crate::rng::Rng;
use crate::tasks;
use crate::tokenizer::Codec;
use crate::words::CAPITALS;

#[derive(Args, Clone, Debug)]
pub(crate) struct EvaluateArgs {
    /// Folder of the model.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// Prompts of each task.
    #[arg(long, default_value_t = 200)]
    pub(crate) prompts: usize,
    /// Also scale and remove every head (slower).
    #[arg(long)]
    pub(crate) heads: bool,
}

/// What evaluation asks of a model; the trainer's network is one, another engine can be another.
pub(crate) trait Subject {
    /// Number of layers and of heads in each.
    fn shape(&self) -> (usize, usize);
    /// The logits after the last token of each prompt, with some heads scaled.
    fn last_logits(&self, prompts: &[Vec<u32>], scales: &[Scale]) -> Result<Vec<Vec<f32>>>;
    /// The attention patterns of a prompt: layer, head, then rows of queries.
    fn attention(&self, prompt: &[u32]) -> Result<Vec<Vec<Vec<f32>>>>;
}

impl Subject for Network {
    fn shape(&self) -> (usize, usize) {
        (self.config.layers, self.config.heads)
    }

    fn last_logits(&self, prompts: &[Vec<u32>], scales: &[Scale]) -> Result<Vec<Vec<f32>>> {
        Network::last_logits(self, prompts, scales)
    }

    fn attention(&self, prompt: &[u32]) -> Result<Vec<Vec<Vec<f32>>>> {
        Network::attention(self, prompt)
    }
}

/// Prompts with, for each, the tokens that count as right.
#[derive(Default)]
pub(crate) struct Questions {
    prompts: Vec<Vec<u32>>,
    accepted: Vec<Vec<u32>>,
}

/// A conflict prompt: right answers are two.
struct Conflicts {
    prompts: Vec<Vec<u32>>,
    in_context: Vec<u32>,
    memorised: Vec<u32>,
}

/// All held-out prompts.
pub(crate) struct Suite {
    tasks: Vec<(Task, Questions)>,
    conflicts: Conflicts,
}

/// How a model answers conflict prompts: shares of the argmax, and mean probabilities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConflictShares {
    pub(crate) in_context: f64,
    pub(crate) memorised: f64,
    pub(crate) in_context_probability: f64,
    pub(crate) memorised_probability: f64,
}

impl Suite {
    pub(crate) fn new(codec: &Codec, prompts: usize) -> Result<Self> {
        let mut suites = Vec::new();
        for (index, task) in Task::ALL.into_iter().enumerate() {
            if task == Task::Conflict {
                continue;
            }
            let mut rng = Rng::new(u64::MAX, index as u64);
            let mut questions = Questions::default();
            while questions.prompts.len() < prompts {
                let sample = task.draw_side(&mut rng, true);
                // Made-up words are many tokens, and the question is about one.
                let Some(question) = sample.question() else {
                    continue;
                };
                let accepted: Result<Vec<u32>> = question
                    .accepted
                    .iter()
                    .map(|text| codec.single(text))
                    .collect();
                let Ok(accepted) = accepted else { continue };
                questions.prompts.push(codec.encode(&question.prompt)?);
                questions.accepted.push(accepted);
            }
            suites.push((task, questions));
        }
        Ok(Self {
            tasks: suites,
            conflicts: conflicts(codec)?,
        })
    }
}

/// Every held-out pair of country and claimed city.
fn conflicts(codec: &Codec) -> Result<Conflicts> {
    let mut all = Conflicts {
        prompts: Vec::new(),
        in_context: Vec::new(),
        memorised: Vec::new(),
    };
    for (country, truth) in CAPITALS {
        for (_, claim) in CAPITALS.iter().filter(|(other, _)| other != country) {
            if !crate::corpus::Sample::new(tasks::conflict_key(country, claim)).held_out() {
                continue;
            }
            let (statement, city, question) = tasks::conflict_parts(country, claim);
            all.prompts
                .push(codec.encode(&format!("{statement}{city}{question}"))?);
            all.in_context.push(codec.single(&format!(" {claim}"))?);
            all.memorised.push(codec.single(&format!(" {truth}"))?);
        }
    }
    Ok(all)
}

fn argmax(row: &[f32]) -> u32 {
    let mut best = 0;
    for (index, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = index;
        }
    }
    best as u32
}

fn probability(row: &[f32], token: u32) -> f64 {
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = row.iter().map(|x| f64::from(x - highest).exp()).sum();
    f64::from(row[token as usize] - highest).exp() / total
}

/// The share of questions whose most likely next token is right.
pub(crate) fn accuracy(
    questions: &Questions,
    model: &dyn Subject,
    scales: &[Scale],
) -> Result<f64> {
    let logits = model.last_logits(&questions.prompts, scales)?;
    let right = logits
        .iter()
        .zip(&questions.accepted)
        .filter(|(row, accepted)| accepted.contains(&argmax(row)));
    Ok(right.count() as f64 / questions.prompts.len().max(1) as f64)
}

fn conflict_shares(
    conflicts: &Conflicts,
    model: &dyn Subject,
    scales: &[Scale],
) -> Result<ConflictShares> {
    let logits = model.last_logits(&conflicts.prompts, scales)?;
    let count = logits.len().max(1) as f64;
    let mut shares = ConflictShares {
        in_context: 0.0,
        memorised: 0.0,
        in_context_probability: 0.0,
        memorised_probability: 0.0,
    };
    for ((row, &claim), &truth) in logits
        .iter()
        .zip(&conflicts.in_context)
        .zip(&conflicts.memorised)
    {
        let answer = argmax(row);
        shares.in_context += f64::from(answer == claim) / count;
        shares.memorised += f64::from(answer == truth) / count;
        shares.in_context_probability += probability(row, claim) / count;
        shares.memorised_probability += probability(row, truth) / count;
    }
    Ok(shares)
}

/// One line for the log: every task's accuracy and the conflict.
pub(crate) fn summary(suite: &Suite, model: &dyn Subject) -> Result<String> {
    let mut parts = Vec::new();
    for (task, questions) in &suite.tasks {
        parts.push(format!(
            "{} {:.2}",
            task.name(),
            accuracy(questions, model, &[])?
        ));
    }
    let shares = conflict_shares(&suite.conflicts, model, &[])?;
    parts.push(format!(
        "conflict in-context {:.2} memorised {:.2} (probability {:.2} {:.2})",
        shares.in_context,
        shares.memorised,
        shares.in_context_probability,
        shares.memorised_probability
    ));
    Ok(parts.join(", "))
}

/// How much each head attends from a repeated word to the word after its first occurrence.
fn induction_scores(codec: &Codec, model: &dyn Subject) -> Result<Vec<(f64, usize, usize)>> {
    let (layers, heads) = model.shape();
    let mut scores = vec![vec![0f64; heads]; layers];
    let mut rng = Rng::new(u64::MAX, 1000);
    let rounds = 10;
    for _ in 0..rounds {
        let words = rng.sample(crate::words::THINGS, 12);
        let block = words.join(" ");
        let prompt = codec.encode(&format!("{block} {block}"))?;
        let patterns = model.attention(&prompt)?;
        let length = prompt.len();
        for (layer, patterns) in patterns.iter().enumerate() {
            for (head, pattern) in patterns.iter().enumerate() {
                for query in words.len() + 1..length {
                    scores[layer][head] +=
                        f64::from(pattern[query * length + query - words.len() + 1])
                            / (rounds * words.len()) as f64;
                }
            }
        }
    }
    let mut ranked = Vec::new();
    for (layer, row) in scores.iter().enumerate() {
        ranked.extend(
            row.iter()
                .enumerate()
                .map(|(head, score)| (*score, layer, head)),
        );
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(ranked)
}

fn report_conflict_heads(suite: &Suite, model: &dyn Subject) -> Result<()> {
    println!(
        "\n| head | in-context x0 | memorised x0 | in-context x3 | memorised x3 |\n|---|---|---|---|---|"
    );
    let (layers, heads) = model.shape();
    let mut rows = Vec::new();
    for layer in 0..layers {
        for head in 0..heads {
            let at = |factor| {
                conflict_shares(
                    &suite.conflicts,
                    model,
                    &[Scale {
                        layer,
                        head,
                        factor,
                    }],
                )
            };
            rows.push((layer, head, at(0.0)?, at(3.0)?));
        }
    }
    rows.sort_by(|a, b| {
        let reach = |row: &(usize, usize, ConflictShares, ConflictShares)| {
            (row.2.in_context - row.3.in_context).abs()
        };
        reach(b).total_cmp(&reach(a))
    });
    for (layer, head, zero, three) in rows.iter().take(10) {
        println!(
            "| L{layer}H{head} | {:.3} | {:.3} | {:.3} | {:.3} |",
            zero.in_context, zero.memorised, three.in_context, three.memorised
        );
    }
    Ok(())
}

fn report_induction(suite: &Suite, codec: &Codec, model: &dyn Subject) -> Result<()> {
    let Some((_, repeats)) = suite.tasks.iter().find(|(task, _)| *task == Task::Repeats) else {
        return Ok(());
    };
    let ranked = induction_scores(codec, model)?;
    println!("\n| head | induction score | repeats without it |\n|---|---|---|");
    let zero = |&(_, layer, head): &(f64, usize, usize)| Scale {
        layer,
        head,
        factor: 0.0,
    };
    for entry in ranked.iter().take(8) {
        let without = accuracy(repeats, model, &[zero(entry)])?;
        println!(
            "| L{}H{} | {:.3} | {without:.3} |",
            entry.1, entry.2, entry.0
        );
    }
    println!(
        "\nrepeats with none taken out: {:.3}",
        accuracy(repeats, model, &[])?
    );
    for count in 1..=4 {
        let scales: Vec<Scale> = ranked.iter().take(count).map(zero).collect();
        println!(
            "without the best {count}: {:.3}",
            accuracy(repeats, model, &scales)?
        );
    }
    // The three that matter most, found greedily among the six with the highest scores.
    let mut out: Vec<Scale> = Vec::new();
    for _ in 0..3 {
        let mut best: Option<(f64, Scale)> = None;
        for entry in ranked.iter().take(6) {
            let next = zero(entry);
            if out.contains(&next) {
                continue;
            }
            let with: Vec<Scale> = out.iter().copied().chain([next]).collect();
            let score = accuracy(repeats, model, &with)?;
            if best.is_none_or(|(lowest, _)| score < lowest) {
                best = Some((score, next));
            }
        }
        if let Some((score, next)) = best {
            out.push(next);
            println!(
                "greedily without L{}H{} too: {score:.3}",
                next.layer, next.head
            );
        }
    }
    Ok(())
}

/// Which heads each task leans on: the accuracy without each head where it falls by a tenth or more.
fn report_ablations(suite: &Suite, model: &dyn Subject) -> Result<()> {
    println!("\n| task | all heads | without one head |\n|---|---|---|");
    let (layers, heads) = model.shape();
    for (task, questions) in &suite.tasks {
        let whole = accuracy(questions, model, &[])?;
        let mut falls = Vec::new();
        for layer in 0..layers {
            for head in 0..heads {
                let without = accuracy(
                    questions,
                    model,
                    &[Scale {
                        layer,
                        head,
                        factor: 0.0,
                    }],
                )?;
                if whole - without >= 0.1 {
                    falls.push((without, format!("L{layer}H{head} {without:.2}")));
                }
            }
        }
        falls.sort_by(|a, b| a.0.total_cmp(&b.0));
        let falls: Vec<String> = falls.into_iter().take(5).map(|(_, text)| text).collect();
        println!("| {} | {whole:.3} | {} |", task.name(), falls.join(", "));
    }
    Ok(())
}

/// The command `evaluate`.
pub(crate) fn evaluate(args: &EvaluateArgs) -> Result<()> {
    let text = std::fs::read_to_string(args.model.join("tokenizer.json"))?;
    let codec = Codec::from_json(&text)?;
    let network = Network::load(&args.model)?;
    let suite = Suite::new(&codec, args.prompts)?;
    println!("| task | held-out prompts | accuracy |\n|---|---|---|");
    for (task, questions) in &suite.tasks {
        println!(
            "| {} | {} | {:.3} |",
            task.name(),
            questions.prompts.len(),
            accuracy(questions, &network, &[])?
        );
    }
    let shares = conflict_shares(&suite.conflicts, &network, &[])?;
    println!(
        "\nconflict, {} prompts: in-context {:.3}, memorised {:.3} of the argmax; probability {:.3} and {:.3}",
        suite.conflicts.prompts.len(),
        shares.in_context,
        shares.memorised,
        shares.in_context_probability,
        shares.memorised_probability
    );
    if args.heads {
        report_conflict_heads(&suite, &network)?;
        report_induction(&suite, &codec, &network)?;
        report_ablations(&suite, &network)?;
    }
    Ok(())
}
