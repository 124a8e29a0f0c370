//! Heads times factors: the sweep on the prompts that choose, the choice, and its report on the others.

use crate::analysis::controls::{self, Comparison};
use crate::analysis::{AnalysisError, Cell, Grid, Progress, Report, Scale, Table};
use crate::edit::{Edit, Finite, Op, Target};
use crate::experiment::engine::Engine;
use crate::ids::HeadId;

use super::maps::Maps;
use super::rates::{Rates, rank_correlation, rates};
use super::{Settings, Split, names, part, table};

/// Which answer is to win.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    InContext,
    Memorised,
}

impl Wanted {
    const ALL: [Self; 2] = [Self::InContext, Self::Memorised];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InContext => "in_context",
            Self::Memorised => "memorised",
        }
    }

    pub(super) fn rate(self, rates: &Rates) -> f64 {
        match self {
            Self::InContext => rates.in_context,
            Self::Memorised => rates.memorised,
        }
    }

    /// The mean logit difference, in its own direction.
    pub(super) fn difference(self, rates: &Rates) -> f64 {
        match self {
            Self::InContext => rates.difference,
            Self::Memorised => -rates.difference,
        }
    }
}

/// The rates of every candidate at every factor, on the prompts that choose.
pub(super) struct Swept {
    pub(super) heads: Vec<HeadId>,
    /// `[head, factor]`
    pub(super) rates: Vec<Rates>,
}

/// A head with its best factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) head: HeadId,
    /// Its place among the factors, and itself.
    pub(super) at: usize,
    pub(super) alpha: f64,
    pub(super) rates: Rates,
}

/// The heads that are swept, in order.
pub(super) fn candidates(
    maps: &Maps,
    settings: &Settings,
    (_, n_heads): (usize, usize),
) -> Vec<HeadId> {
    let mut heads = settings.heads.clone();
    if heads.is_empty() {
        for map in maps.attribution.clone().into_iter().chain(maps.reach()) {
            let mut order: Vec<usize> = (0..map.len()).filter(|i| map[*i] != 0.0).collect();
            order.sort_by(|a, b| map[*b].total_cmp(&map[*a]));
            let ends = order
                .iter()
                .take(settings.candidates)
                .chain(order.iter().rev().take(settings.candidates));
            heads.extend(ends.map(|i| HeadId::new(i / n_heads, i % n_heads)));
        }
    }
    heads.sort_unstable();
    heads.dedup();
    heads
}

/// z of a head times a factor, at all positions.
pub(super) fn scaled(head: HeadId, alpha: f64) -> Vec<Edit> {
    let factor = Finite::new(alpha).unwrap_or(Finite::ONE);
    vec![Edit::new(Target::Head(head), Op::Scale(factor))]
}

impl Swept {
    pub(super) fn of_head(&self, i: usize) -> &[Rates] {
        let n = self.rates.len() / self.heads.len();
        &self.rates[i * n..(i + 1) * n]
    }

    /// The best factor of a head.
    pub(super) fn best_of(&self, i: usize, wanted: Wanted, alphas: &[f64]) -> Option<Choice> {
        let of = alphas.iter().zip(self.of_head(i)).enumerate();
        let choices = of.map(|(at, (alpha, rates))| Choice {
            head: self.heads[i],
            at,
            alpha: *alpha,
            rates: *rates,
        });
        let rate = |choice: &Choice| wanted.rate(&choice.rates);
        let away = |choice: &Choice| (choice.alpha - 1.0).abs();
        choices.min_by(|a, b| {
            let by_rate = rate(b).total_cmp(&rate(a));
            by_rate.then(away(a).total_cmp(&away(b)))
        })
    }

    pub(super) fn best(&self, wanted: Wanted, alphas: &[f64]) -> Option<Choice> {
        let heads = 0..self.heads.len();
        let choices = heads.filter_map(|i| self.best_of(i, wanted, alphas));
        let rate = |choice: &Choice| wanted.rate(&choice.rates);
        let difference = |choice: &Choice| wanted.difference(&choice.rates);
        choices.min_by(|a, b| {
            let by_rate = rate(b).total_cmp(&rate(a));
            by_rate.then(difference(b).total_cmp(&difference(a)))
        })
    }

    /// What is reported on: how the head was found, and which it is. A head that was found twice is named once.
    pub(super) fn choices(
        &self,
        maps: &Maps,
        alphas: &[f64],
    ) -> Vec<(Wanted, &'static str, Choice)> {
        let by_attribution = |i: &usize| maps.attribution_of(self.heads[*i]).unwrap_or(0.0);
        let order = |a: &usize, b: &usize| by_attribution(a).total_cmp(&by_attribution(b));
        let ends = [
            (
                "most positive attribution",
                (0..self.heads.len()).max_by(order),
            ),
            (
                "most negative attribution",
                (0..self.heads.len()).min_by(order),
            ),
        ];
        let mut found: Vec<(Wanted, &'static str, Choice)> = Vec::new();
        for wanted in Wanted::ALL {
            let ends = ends.iter().filter(|_| maps.attribution.is_some());
            let ends = ends.filter_map(|(by, i)| Some((*by, self.best_of((*i)?, wanted, alphas)?)));
            let best = self.best(wanted, alphas).map(|best| ("best rate", best));
            for (by, choice) in ends.chain(best) {
                let is_new = |(of, _, known): &(Wanted, &str, Choice)| {
                    *of != wanted || known.head != choice.head
                };
                if found.iter().all(is_new) {
                    found.push((wanted, by, choice));
                }
            }
        }
        found
    }
}

/// The chosen heads on the other prompts, beside random ones.
pub(super) fn evaluate(
    engine: &mut Engine,
    split: &Split<'_>,
    swept: &[HeadId],
    choices: &[(Wanted, &'static str, Choice)],
    settings: &Settings,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let (n_layers, n_heads) = (engine.model().spec.n_layers, engine.model().spec.n_heads);
    let all = (0..n_layers).flat_map(|layer| (0..n_heads).map(move |h| HeadId::new(layer, h)));
    let (candidates, others): (Vec<_>, Vec<_>) = all.partition(|head| swept.contains(head));
    let mut variants = vec![vec![]];
    let mut random = Vec::new();
    for (i, (_, _, choice)) in choices.iter().enumerate() {
        let pool: Vec<HeadId> = if others.is_empty() {
            let rest = candidates.iter().filter(|head| **head != choice.head);
            rest.copied().collect()
        } else {
            others.clone()
        };
        let seed = settings.seed.wrapping_add(1 + i as u64);
        let drawn = controls::draws(&pool, 1, settings.draws, seed);
        let drawn: Vec<HeadId> = drawn.into_iter().flatten().collect();
        variants.extend(drawn.iter().map(|head| scaled(*head, choice.alpha)));
        random.push(drawn);
    }
    if others.is_empty() {
        report.note("every head is a candidate: the random ones are candidates too");
    }
    let mut curves: Vec<HeadId> = choices.iter().map(|(_, _, choice)| choice.head).collect();
    curves.sort_unstable();
    curves.dedup();
    let first_curve = variants.len();
    for head in &curves {
        variants.extend(settings.alphas.iter().map(|alpha| scaled(*head, *alpha)));
    }
    let found = rates(
        engine,
        &split.evaluation,
        &variants,
        &mut part(progress, 0.75, 0.95),
    )?;
    let before = rates(engine, &split.development, &[vec![]], &mut |_| true)?;
    let n_alphas = settings.alphas.len();
    let curve = |head: HeadId| {
        let at = curves.iter().position(|of| *of == head).unwrap_or(0);
        &found[first_curve + at * n_alphas..][..n_alphas]
    };

    let mut rows = Vec::new();
    let mut next = 1;
    for ((wanted, by, choice), drawn) in choices.iter().zip(&random) {
        let after = &curve(choice.head)[choice.at];
        let plain = wanted.rate(&found[0]);
        let changes = found[next..next + drawn.len()].iter();
        let changes: Vec<f64> = changes.map(|r| wanted.rate(r) - plain).collect();
        next += drawn.len();
        let beside = Comparison::new(wanted.rate(after) - plain, changes);
        let of = |value: &dyn Fn(&Comparison) -> f64| Cell::Number(beside.as_ref().map(value));
        rows.push(vec![
            wanted.name().into(),
            (*by).into(),
            choice.head.to_string().into(),
            choice.alpha.into(),
            before.first().map_or(f64::NAN, |r| wanted.rate(r)).into(),
            wanted.rate(&choice.rates).into(),
            plain.into(),
            wanted.rate(after).into(),
            of(&|c| c.mean),
            of(&|c| c.sd),
            of(&|c| c.p),
            names(drawn).join(" ").into(),
        ]);
    }
    report.tables.insert(
        0,
        table(
            "choice",
            &[
                "wanted",
                "by",
                "head",
                "factor",
                "before, choosing",
                "after, choosing",
                "before",
                "after",
                "random heads: mean change",
                "sd",
                "p",
                "random heads",
            ],
            rows,
        ),
    );
    for head in &curves {
        let rows = settings.alphas.iter().zip(curve(*head)).map(|(alpha, r)| {
            let numbers = [*alpha, r.in_context, r.memorised, r.other(), r.difference];
            numbers.map(Cell::from).to_vec()
        });
        let columns = [
            "factor",
            "in_context",
            "memorised",
            "other",
            "mean logit difference",
        ];
        let name = format!("factors of {head}");
        report.tables.push(table(&name, &columns, rows.collect()));
    }
    Ok(())
}

/// Head × factor, on the prompts that choose.
pub(super) fn grids(report: &mut Report, swept: &Swept, settings: &Settings) {
    for wanted in Wanted::ALL {
        let rates = swept.rates.iter();
        report.grids.push(Grid {
            name: format!("{}_rate", wanted.name()),
            about: "share of the choosing prompts with this answer, by what z is multiplied by"
                .into(),
            scale: Scale::Share,
            row_axis: "head",
            rows: names(&swept.heads),
            column_axis: "factor",
            columns: settings.alphas.iter().map(f64::to_string).collect(),
            values: rates.map(|r| Some(wanted.rate(r) as f32)).collect(),
            texts: vec![],
        });
    }
}

pub(super) fn heads_table(swept: &Swept, maps: &Maps, settings: &Settings) -> Table {
    let rows = swept.heads.iter().enumerate().map(|(i, head)| {
        let mut row = vec![Cell::from(head.to_string())];
        row.extend(maps.cells(*head));
        for wanted in Wanted::ALL {
            let best = swept.best_of(i, wanted, &settings.alphas);
            row.push(Cell::Number(best.map(|best| wanted.rate(&best.rates))));
            row.push(Cell::Number(best.map(|best| best.alpha)));
        }
        let of = swept.of_head(i).iter().map(|r| r.in_context);
        row.push(Cell::Number(rank_correlation(
            &settings.alphas,
            &of.collect::<Vec<_>>(),
        )));
        row
    });
    let columns = [
        "head",
        "attribution",
        "effect of ×0",
        "effect of ×3",
        "in_context, best",
        "at factor",
        "memorised, best",
        "at factor",
        "trend of in_context",
    ];
    table("heads", &columns, rows.collect())
}
