//! The head atlas: what kind of head each one is, by scores of its pattern on random repeats and on prose, and of its
//! weights. With a task set, also by what it does in the task ([`super::task_heads`]).

use super::cases::Case;
use super::copying::copying;
use super::detectors::{Map, Named};
use super::field::{Field, Value};
use super::report::{HeadScores, Report, Scale};
use super::texts::{PROSE, Repeats, prose, round_length};
use super::{AnalysisError, Progress, basis, step, tags};
use crate::experiment::RunSpec;
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::mask::Mask;
use crate::model::Model;
use crate::model::site::{Part, Site};

/// Tokens whose attention to themselves and their near past is `local_mass`.
const LOCAL: usize = 4;

/// The rounds of prefix matching, and the tokens of one (Olsson et al. 2022).
const PREFIX_ROUNDS: usize = 4;
const PREFIX_LENGTH: usize = 25;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub seed: u64,
    /// Random sequences that scores are averaged over.
    pub sequences: usize,
    /// Random tokens of a round; `None`: 50, or what the context has room for twice.
    pub length: Option<usize>,
    /// With the scores of the weights, which cost a product over the vocabulary.
    pub weights: bool,
    /// Heads whose circuits are shown in a basis.
    pub circuits: basis::Settings,
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        let mut fields = vec![
            Field::new(
                "seed",
                "Seed of the random tokens",
                Value::Seed(&mut self.seed),
            ),
            Field::new(
                "sequences",
                "Random sequences that scores are averaged over",
                Value::Count(&mut self.sequences, 1..=100),
            ),
            Field::new(
                "length",
                "Random tokens of a round; auto: 50, or half the context",
                Value::MaybeCount(&mut self.length, 2..=4096),
            ),
            Field::new(
                "weights",
                "With scores of the weights (copying, OV norm)",
                Value::Flag(&mut self.weights),
            ),
        ];
        fields.extend(self.circuits.fields());
        fields
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            sequences: 4,
            length: None,
            weights: true,
            circuits: basis::Settings::default(),
        }
    }
}

/// A score of a pattern: its name, what it measures, and how it is read.
struct Of {
    name: &'static str,
    about: &'static str,
    scale: Scale,
}

const fn share(name: &'static str, about: &'static str) -> Of {
    Of {
        name,
        about,
        scale: Scale::Share,
    }
}

const ON_REPEATS: [Of; 2] = [
    share(
        "induction",
        "attention to the token after the earlier occurrence, on random tokens repeated",
    ),
    share(
        "duplicate_token",
        "attention to the earlier occurrence of the token, on random tokens repeated",
    ),
];
const ON_PREFIXES: [Of; 1] = [share(
    "prefix_matching",
    "attention to what followed the earlier occurrences, on 25 random tokens four times",
)];
const ON_PROSE: [Of; 10] = [
    share("previous_token", "attention to the token before, on prose"),
    share(
        "induction_text",
        "share of attention on tokens after earlier occurrences, on prose (TransformerLens' mul)",
    ),
    share(
        "duplicate_text",
        "share of attention on earlier occurrences, on prose (TransformerLens' mul)",
    ),
    share("sink", "attention to the first token, on prose"),
    share(
        "current_token",
        "attention of tokens to themselves, on prose",
    ),
    share(
        "entropy",
        "entropy of a row over that of equal attention, on prose",
    ),
    share(
        "distance",
        "how far back it attends, over how far it could, on prose",
    ),
    share(
        "local_mass",
        "attention to the token itself and the three before, on prose",
    ),
    share(
        "first_occurrence",
        "attention to tokens that stand for the first time, on prose",
    ),
    share(
        "punctuation",
        "attention to tokens without a letter or digit, on prose",
    ),
];

/// The atlas of a model. `cases` are a task's prompts; none for the atlas alone.
pub fn atlas(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let length = settings
        .length
        .unwrap_or(50)
        .min(round_length(&model, 2, usize::MAX));
    let mut report = Report::new("atlas")
        .with("seed", settings.seed)
        .with("sequences", settings.sequences)
        .with("length", length)
        .with("bos", model.bos_id().is_some())
        .with("text", PROSE);
    if model.bos_id().is_none() {
        report.note(
            "the model names no beginning-of-text token: the first token takes its place as a sink",
        );
    }
    let shape = (model.spec.n_layers, model.spec.n_heads);
    let total = (2 * settings.sequences + 1 + usize::from(settings.weights)) as f32;
    let mut done = 0.0;

    let mut on_repeats = Vec::new();
    let mut on_prefixes = Vec::new();
    for sequence in 0..settings.sequences {
        let seed = settings.seed.wrapping_add(sequence as u64);
        let repeats = Repeats::draw(&model, length, 2, seed);
        on_repeats.push(scored(engine, &repeats.ids, &mut |map| {
            let second = repeats.front + length..map.n;
            vec![
                map.mean_back(second.clone(), length - 1),
                map.mean_back(second, length),
            ]
        })?);
        done += 1.0;
        step(progress, done / total)?;
        let length = round_length(&model, PREFIX_ROUNDS, PREFIX_LENGTH);
        let prefixes = Repeats::of_middling_tokens(&model, length, PREFIX_ROUNDS, seed);
        on_prefixes.push(scored(engine, &prefixes.ids, &mut |map| {
            vec![map.prefix_matching(&prefixes.ids)]
        })?);
        done += 1.0;
        step(progress, done / total)?;
    }
    add(&mut report, shape, &ON_REPEATS, &on_repeats);
    add(&mut report, shape, &ON_PREFIXES, &on_prefixes);

    if let Some(ids) = prose(&model) {
        let on_prose = scored(engine, &ids, &mut |map| of_prose(&model, &ids, map))?;
        add(&mut report, shape, &ON_PROSE, &[on_prose]);
    } else {
        report.note("the model has no tokenizer: scores on prose are left out");
    }
    done += 1.0;
    if !progress.at(done / total, Some(&report)) {
        return Err(RunError::Stopped.into());
    }
    if settings.weights {
        of_weights(&model, &mut report, progress)?;
    }
    if !cases.is_empty() {
        super::task_heads::add(engine, cases, &mut report, progress)?;
    }
    report.tables.push(tags::table(&report));
    basis::add(&model, &settings.circuits, &mut report)?;
    Ok(report)
}

/// Scores of a pattern, in the order of [`ON_PROSE`].
fn of_prose(model: &Model, ids: &[u32], map: Map<'_>) -> Vec<Option<f32>> {
    let is_first: Vec<bool> = (0..ids.len())
        .map(|i| !ids[..i].contains(&ids[i]))
        .collect();
    let pieces = model
        .tokenizer
        .as_ref()
        .map(|t| t.pieces(ids))
        .unwrap_or_default();
    let is_mark: Vec<bool> = pieces
        .iter()
        .map(|piece| !piece.special && !piece.text.chars().any(char::is_alphanumeric))
        .collect();
    vec![
        map.mean_back(1..map.n, 1),
        Some(map.share_on(Named::Induction, ids)),
        Some(map.share_on(Named::DuplicateToken, ids)),
        map.sink(),
        map.current_token(),
        map.entropy(),
        map.distance(),
        map.local_mass(LOCAL),
        map.mass_on(&is_first),
        map.mass_on(&is_mark),
    ]
}

fn of_weights(
    model: &Model,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let found = copying(model, progress)?;
    if found.circuit.iter().all(Option::is_none) {
        report.note("copying is blank: it is read from the final stream, and in this model norms stand on the stream");
    }
    for (name, about, scale, values) in [
        (
            "copying",
            "eigenvalues of W_E W_V W_O W_U: 1 raises what is attended to, −1 lowers it (no label rests on it)",
            Scale::Signed,
            found.circuit,
        ),
        (
            "copying_ov",
            "eigenvalues of W_V W_O alone",
            Scale::Signed,
            found.plain,
        ),
        (
            "ov_norm",
            "Frobenius norm of W_V W_O",
            Scale::Positive,
            found.norm,
        ),
    ] {
        report.scores.push(HeadScores {
            name: name.into(),
            about: about.into(),
            scale,
            of: super::Heads::Query,
            n_heads: model.spec.n_heads,
            values,
        });
    }
    Ok(())
}

/// Scores of every head's pattern on one text, `[score][layer, head]`.
fn scored(
    engine: &mut Engine,
    ids: &[u32],
    of: &mut dyn FnMut(Map<'_>) -> Vec<Option<f32>>,
) -> Result<Vec<Vec<Option<f32>>>, AnalysisError> {
    let n = ids.len();
    let spec = &engine.model().spec;
    let masks: Vec<Mask> = spec.masks.clone();
    let n_heads = spec.n_heads;
    let sites: Vec<Site> = (0..spec.n_layers)
        .map(|layer| Site::Block(layer, Part::Pattern))
        .collect();
    let mut scores: Vec<Vec<Option<f32>>> = vec![];
    for (layer, patterns) in engine.dump(&plain(ids), &sites)?.iter().enumerate() {
        for head in 0..n_heads {
            let found = of(Map {
                values: &patterns.values[head * n * n..(head + 1) * n * n],
                n,
                mask: masks[layer],
            });
            scores.resize(found.len(), vec![]);
            for (scores, value) in scores.iter_mut().zip(found) {
                scores.push(value);
            }
        }
    }
    Ok(scores)
}

/// An unedited run of tokens.
pub fn plain(ids: &[u32]) -> RunSpec {
    let n = ids.len();
    RunSpec {
        ids: ids.into(),
        n_prompt: n,
        reach: n,
        contrast: None,
        edits: vec![],
        position: n - 1,
        last: n - 1,
        bos_count: 0,
        folder: None,
    }
}

/// Adds the means over texts, one map a score; `texts` is `[text][score][layer, head]`.
fn add(
    report: &mut Report,
    (n_layers, n_heads): (usize, usize),
    names: &[Of],
    texts: &[Vec<Vec<Option<f32>>>],
) {
    for (i, of) in names.iter().enumerate() {
        let maps: Vec<_> = texts.iter().map(|scores| scores[i].clone()).collect();
        let mean = HeadScores::mean(&maps);
        let value = |head: HeadId| mean[head.layer * n_heads + head.head];
        let scores = HeadScores::of_heads(of.name, of.about, of.scale, (n_layers, n_heads), value);
        report.scores.push(scores);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::analysis::{Cell, Unheard};
    use crate::model::demo;
    use crate::model::load::{Unreported, open};

    #[test]
    fn the_bundled_model_has_the_heads_that_it_was_trained_to_have() {
        let model = Arc::new(open(demo::NAME, &mut Unreported).unwrap());
        let mut engine = Engine::new(model);
        let report = atlas(&mut engine, &[], &Settings::default(), &mut Unheard).unwrap();
        let best = report.scores_of("induction").unwrap().ranked()[0];
        assert!(best.1.unwrap() > 0.4, "{best:?}");
        for scores in &report.scores {
            assert_eq!(scores.values.len(), 32, "{}", scores.name);
            let range = match scores.scale {
                Scale::Share => 0.0..=1.001,
                Scale::Signed => -1.001..=1.001,
                Scale::Positive => 0.0..=f32::MAX,
            };
            for value in scores.values.iter().flatten() {
                assert!(range.contains(value), "{}: {value}", scores.name);
            }
        }
        let tags = &report.tables[0];
        let induction = tags
            .rows
            .iter()
            .find(|row| row[0] == Cell::from("induction"));
        assert_ne!(induction.unwrap()[3], Cell::from("none found"));
        // The same seed gives the same numbers.
        let again = atlas(&mut engine, &[], &Settings::default(), &mut Unheard).unwrap();
        assert_eq!(report, again);
    }

    #[test]
    fn an_atlas_that_is_stopped_says_so() {
        struct Stop;
        impl Progress for Stop {
            fn at(&mut self, fraction: f32, _so_far: Option<&Report>) -> bool {
                fraction < 0.3
            }
        }
        let model = Arc::new(open(demo::NAME, &mut Unreported).unwrap());
        let stopped = atlas(
            &mut Engine::new(model),
            &[],
            &Settings::default(),
            &mut Stop,
        );
        assert!(stopped.unwrap_err().is_stop());
    }
}
