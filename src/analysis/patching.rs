//! Activation patching between two prompts: which activation carries what tells them apart.
//!
//! Denoising runs prompt B (corrupted) with an activation of prompt A (clean), noising the other way round; both are
//! normalised so that 1 is the full effect (Meng et al. 2022; Heimersheim & Nanda 2024 for the two directions).

use super::cases::Case;
use super::field::{Field, Value};
use super::metric::{Metric, Reads};
use super::report::{Cell, Grid, HeadScores, Heads, Report, Scale, Table};
use super::{AnalysisError, Progress};
use crate::edit::{Edit, Op, Positions, Target};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Effect, MOST_ROWS};
use crate::ids::{HeadId, KvHeadId};
use crate::model::Model;
use crate::model::spec::ModelSpec;

/// A difference of the two prompts below this is none: what is divided by it means nothing.
const LEAST: f32 = 1e-3;

/// What is taken from the other prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum What {
    #[default]
    Z,
    Q,
    /// Before rotary, of a key/value head.
    K,
    V,
    Pattern,
    /// The stream before a layer, at one position.
    Resid,
    /// Attention's output of a layer, at one position.
    Attn,
    /// The MLP's.
    Mlp,
}

impl What {
    pub const ALL: [Self; 8] = [
        Self::Z,
        Self::Q,
        Self::K,
        Self::V,
        Self::Pattern,
        Self::Resid,
        Self::Attn,
        Self::Mlp,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Z => "z",
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
            Self::Pattern => "pattern",
            Self::Resid => "resid",
            Self::Attn => "attn",
            Self::Mlp => "mlp",
        }
    }

    /// Of which kind of head it is; `None` for what has no heads.
    const fn heads(self) -> Option<Heads> {
        match self {
            Self::Z | Self::Q | Self::Pattern => Some(Heads::Query),
            Self::K | Self::V => Some(Heads::KeyValue),
            Self::Resid | Self::Attn | Self::Mlp => None,
        }
    }

    /// The targets of a layer: one a head, or one.
    fn targets(self, spec: &ModelSpec, layer: usize) -> Vec<Target> {
        let query = |of: fn(HeadId) -> Target| {
            let heads = (0..spec.n_heads).map(|head| HeadId::new(layer, head));
            heads.map(of).collect()
        };
        let key = |of: fn(KvHeadId) -> Target| {
            let heads = (0..spec.n_kv_heads).map(|kv_head| KvHeadId { layer, kv_head });
            heads.map(of).collect()
        };
        match self {
            Self::Z => query(Target::Head),
            Self::Q => query(Target::Query),
            Self::Pattern => query(Target::Pattern),
            Self::K => key(Target::Key),
            Self::V => key(Target::KvHead),
            Self::Resid => vec![Target::Resid(layer)],
            Self::Attn => vec![Target::Attention(layer)],
            Self::Mlp => vec![Target::Mlp(layer)],
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// B is run with A's activation: does it bring the answer back?
    #[default]
    Denoise,
    /// A is run with B's: does it take the answer away?
    Noise,
}

impl Direction {
    pub const ALL: [Self; 2] = [Self::Denoise, Self::Noise];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Denoise => "denoise",
            Self::Noise => "noise",
        }
    }
}

/// What is patched one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Over {
    #[default]
    Heads,
    /// Layer × position, all heads of a layer at once. What has no heads is always so.
    Positions,
}

impl Over {
    pub const ALL: [Self; 2] = [Self::Heads, Self::Positions];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Heads => "heads",
            Self::Positions => "positions",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub what: What,
    pub direction: Direction,
    pub over: Over,
    /// Where heads are patched.
    pub at: Positions,
    pub metric: Metric,
    pub effect: Effect,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            what: What::default(),
            direction: Direction::default(),
            over: Over::default(),
            at: Positions::All,
            metric: Metric::default(),
            effect: Effect::default(),
        }
    }
}

crate::choose!(What, Direction, Over, Effect);

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "what",
                "What is taken from the other prompt",
                Value::Choice(&mut self.what),
            ),
            Field::new(
                "direction",
                "denoise: B is run with A's; noise: A is run with B's",
                Value::Choice(&mut self.direction),
            ),
            Field::new(
                "over",
                "Head by head, or position by position with all heads of a layer",
                Value::Choice(&mut self.over),
            ),
            Field::new(
                "at",
                "Where heads are patched: all, last, or token indices",
                Value::Positions(&mut self.at),
            ),
            Field::new(
                "metric",
                "What is read of the prediction",
                Value::Choice(&mut self.metric),
            ),
            Field::new(
                "effect",
                "Which paths of the effect are read",
                Value::Choice(&mut self.effect),
            ),
        ]
    }

    fn is_by_position(&self) -> bool {
        self.over == Over::Positions || self.what.heads().is_none()
    }

    fn variants(&self, spec: &ModelSpec, n_tokens: usize) -> Vec<Vec<Edit>> {
        let edit = |target: &Target, at: Positions| Edit {
            target: *target,
            op: Op::Resample,
            at,
        };
        let mut variants = Vec::new();
        for layer in 0..spec.n_layers {
            let targets = self.what.targets(spec, layer);
            if self.is_by_position() {
                for position in 0..n_tokens {
                    let at = || Positions::At(vec![position]);
                    variants.push(targets.iter().map(|target| edit(target, at())).collect());
                }
            } else {
                let at = || self.at.clone();
                variants.extend(targets.iter().map(|target| vec![edit(target, at())]));
            }
        }
        variants
    }

    /// About how many whole passes over a prompt it costs.
    pub fn passes(&self, spec: &ModelSpec, n_tokens: usize) -> f32 {
        let layers = spec.n_layers as f32;
        let each = |layer: usize| (spec.n_layers - layer) as f32 / layers;
        let variants = self.variants(spec, n_tokens);
        2.0 + variants
            .iter()
            .map(|edits| each(edits[0].target.layer()))
            .sum::<f32>()
    }
}

/// The patching of each prompt pair, normalised; its mean and spread over pairs.
pub fn patch(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let Some(first) = cases.first() else {
        return Err(AnalysisError::needs("patching needs a prompt"));
    };
    for case in cases {
        settings.metric.check(case)?;
        if case.spec.contrast.is_none() {
            return Err(AnalysisError::needs(format!(
                "patching takes activations from a second prompt, and `{}` has none: give prompt B (on the command line \
                 --contrast, or a --task with contrasts)",
                case.label
            )));
        }
    }
    let n_tokens = |case: &Case| case.spec.ids.len();
    if settings.is_by_position() && cases.iter().any(|case| n_tokens(case) != n_tokens(first)) {
        return Err(AnalysisError::needs(
            "patching position by position of several prompts needs prompts of the same number of tokens: choose one \
             prompt, or patch heads at all positions",
        ));
    }
    let mut report = Report::new("patch")
        .with("what", settings.what.name())
        .with("direction", settings.direction.name())
        .with(
            "over",
            if settings.is_by_position() {
                "positions"
            } else {
                "heads"
            },
        )
        .with("metric", settings.metric.name())
        .with("effect", settings.effect.name())
        .with("prompts", cases.len());
    if matches!(settings.what, What::Q | What::K) {
        report.note(
            "q and k are taken before rotary: their positions stay those of the prompt that is run",
        );
    }
    let mut effects = Vec::new();
    let mut prompts = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let go_on = &mut |done: f32, partial: Option<Vec<Option<f32>>>| {
            let done = (i as f32 + done) / cases.len() as f32;
            // Of later prompts the mean of those before is there already.
            let partial = partial.filter(|_| i == 0);
            let so_far = partial.map(|map| with_maps(&report, settings, &model, &[map], first));
            progress.at(done, so_far.as_ref())
        };
        let found = of_case(engine, case, settings, &model.spec, go_on)?;
        prompts.push(vec![
            Cell::from(case.label.clone()),
            Cell::from(found.clean),
            Cell::from(found.corrupt),
        ]);
        effects.push(found.effects);
        let so_far = with_maps(&report, settings, &model, &effects, first);
        if !progress.at((i + 1) as f32 / cases.len() as f32, Some(&so_far)) {
            return Err(RunError::Stopped.into());
        }
    }
    let blank = effects
        .iter()
        .filter(|map| map.iter().all(Option::is_none))
        .count();
    if blank > 0 {
        report.note(format!(
            "{blank} of {} prompts tell A and B apart by less than {LEAST}: blank, and so is their mean",
            cases.len()
        ));
    }
    let mut report = with_maps(&report, settings, &model, &effects, first);
    let metric = settings.metric.name();
    report.tables.push(Table {
        name: "prompts".into(),
        columns: vec![
            "prompt A".into(),
            format!("{metric}, A"),
            format!("{metric}, B"),
        ],
        rows: prompts,
    });
    Ok(report)
}

struct OfCase {
    effects: Vec<Option<f32>>,
    /// The metric of prompt A.
    clean: Option<f32>,
    /// Of prompt B.
    corrupt: Option<f32>,
}

fn of_case(
    engine: &mut Engine,
    case: &Case,
    settings: &Settings,
    spec: &ModelSpec,
    go_on: &mut dyn FnMut(f32, Option<Vec<Option<f32>>>) -> bool,
) -> Result<OfCase, AnalysisError> {
    let swapped = case.swapped().ok_or_else(|| {
        AnalysisError::needs(format!(
            "the position that is read has no partner in prompt B: `{}`",
            case.label
        ))
    })?;
    let (of_case, of_swapped) = (settings.metric.reads(case), settings.metric.reads(&swapped));
    // KL is always from prompt A's prediction.
    let plain = |engine: &mut Engine, reads: &Reads| {
        let reading = reads.reading(Effect::Total, None);
        engine.sweep(&reads.spec, &[vec![]], reading, &mut |_| true)
    };
    let (of_a, of_b) = match settings.direction {
        // The run that is swept comes last, so that the engine has it.
        Direction::Denoise => {
            let of_a = plain(engine, &of_case)?;
            (of_a, plain(engine, &of_swapped)?)
        }
        Direction::Noise => {
            let of_b = plain(engine, &of_swapped)?;
            (plain(engine, &of_case)?, of_b)
        }
    };
    let metric = |logits: &[f32]| settings.metric.of(case, logits, &of_a[0]);
    let (clean, corrupt) = (metric(&of_a[0]), metric(&of_b[0]));
    let (run, from, to) = match settings.direction {
        Direction::Denoise => (&of_swapped, corrupt, clean),
        Direction::Noise => (&of_case, clean, corrupt),
    };
    let n_tokens = match settings.direction {
        Direction::Denoise => swapped.spec.ids.len(),
        Direction::Noise => case.spec.ids.len(),
    };
    let variants = settings.variants(spec, n_tokens);
    let reading = run.reading(settings.effect, None);
    let mut effects: Vec<Option<f32>> = Vec::with_capacity(variants.len());
    // As many at a time as go through as one batch: what is known of a long prompt is shown meanwhile.
    for part in variants.chunks((MOST_ROWS / n_tokens).max(1)) {
        let known = effects.len() as f32;
        let heard = &mut |done: f32| {
            go_on(
                (part.len() as f32 * done + known) / variants.len() as f32,
                None,
            )
        };
        let swept = engine.sweep(&run.spec, part, reading, heard)?;
        let found = swept
            .iter()
            .map(|logits| normalised(metric(logits)?, from?, to?));
        effects.extend(found);
        if effects.len() < variants.len() {
            let mut partial = effects.clone();
            partial.resize(variants.len(), None);
            if !go_on(effects.len() as f32 / variants.len() as f32, Some(partial)) {
                return Err(RunError::Stopped.into());
            }
        }
    }
    Ok(OfCase {
        effects,
        clean,
        corrupt,
    })
}

/// The way from `from` to `to` that `value` has gone; `None` where they are the same.
pub fn normalised(value: f32, from: f32, to: f32) -> Option<f32> {
    ((to - from).abs() >= LEAST).then(|| (value - from) / (to - from))
}

fn with_maps(
    report: &Report,
    settings: &Settings,
    model: &Model,
    effects: &[Vec<Option<f32>>],
    first: &Case,
) -> Report {
    let mut report = report.clone();
    let spec = &model.spec;
    let about = format!(
        "effect of {} from the other prompt on {}: 1 is the whole difference",
        settings.what.name(),
        settings.metric.name()
    );
    let mut maps = vec![("effect", about, Scale::Signed, HeadScores::mean(effects))];
    if effects.len() > 1 {
        let about = "standard deviation of the effect over prompts".to_owned();
        maps.push((
            "spread",
            about,
            Scale::Positive,
            super::ablation::spread(effects),
        ));
    }
    for (name, about, scale, values) in maps {
        let of = settings.what.heads().filter(|_| !settings.is_by_position());
        if let Some(of) = of {
            report.scores.push(HeadScores {
                name: name.into(),
                about,
                scale,
                of,
                n_heads: match of {
                    Heads::Query => spec.n_heads,
                    Heads::KeyValue => spec.n_kv_heads,
                },
                values,
            });
            continue;
        }
        let run = match settings.direction {
            Direction::Denoise => first.spec.contrast.as_ref().unwrap_or(&first.spec.ids),
            Direction::Noise => &first.spec.ids,
        };
        report.grids.push(Grid {
            name: name.into(),
            about,
            scale,
            row_axis: "layer",
            rows: (0..spec.n_layers).map(|layer| layer.to_string()).collect(),
            column_axis: "position",
            columns: super::attribution::token_labels(model, run),
            values,
            texts: vec![],
        });
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_of_one_is_the_whole_difference() {
        assert_eq!(normalised(3.0, 1.0, 3.0), Some(1.0));
        assert_eq!(normalised(1.0, 1.0, 3.0), Some(0.0));
        assert_eq!(normalised(4.0, 3.0, 1.0), Some(-0.5));
        assert_eq!(normalised(4.0, 1.0, 1.0009), None);
    }
}
