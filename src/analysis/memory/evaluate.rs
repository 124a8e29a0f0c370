//! The chosen groups on the prompts that did not choose, at every factor, beside random heads: table, curves and bars.

use crate::analysis::controls::{self, Comparison};
use crate::analysis::{
    AnalysisError, Bar, BarPart, Bars, Cell, Line, Plot, Progress, Report, Table,
};
use crate::experiment::engine::Engine;
use crate::ids::HeadId;

use super::rates::{Rates, rates};
use super::scaling::{Group, Scaling};
use super::sweep::{Choice, Swept, Wanted};
use super::{Settings, Split, part, table};

/// Groups on the prompts that are reported on.
struct Curves {
    groups: Vec<Group>,
    factors: Vec<f64>,
    unedited: Rates,
    /// `[group, factor]`
    rates: Vec<Rates>,
}

impl Curves {
    /// A group's rates at each factor.
    fn of(&self, group: &Group) -> &[Rates] {
        let n = self.factors.len();
        let at = self.groups.iter().position(|known| known == group);
        at.map_or(&[], |at| &self.rates[at * n..(at + 1) * n])
    }

    /// What random groups change of a rate at a factor, one entry a draw.
    fn changes(&self, drawn: &[Group], wanted: Wanted, at: usize) -> Vec<f64> {
        let plain = wanted.rate(&self.unedited);
        let rates = drawn.iter().filter_map(|group| self.of(group).get(at));
        rates.map(|rates| wanted.rate(rates) - plain).collect()
    }
}

/// The chosen groups on the other prompts, beside random ones of as many heads.
pub(super) fn evaluate(
    engine: &mut Engine,
    split: &Split<'_>,
    swept: &Swept,
    choices: &[Choice],
    settings: &Settings,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let (n_layers, n_heads) = (engine.model().spec.n_layers, engine.model().spec.n_heads);
    let all = (0..n_layers).flat_map(|layer| (0..n_heads).map(move |h| HeadId::new(layer, h)));
    let is_tried = |head: &HeadId| {
        swept
            .groups()
            .iter()
            .any(|group| group.heads().contains(head))
    };
    let (tried, others): (Vec<_>, Vec<_>) = all.partition(is_tried);
    let drawn: Vec<Vec<Group>> = choices
        .iter()
        .map(|choice| {
            let group = &swept.groups()[choice.best.group];
            draw(group, &tried, &others, settings)
        })
        .collect();
    if choices
        .iter()
        .any(|choice| swept.groups()[choice.best.group].heads().len() > others.len())
    {
        report.note("nearly every head is a candidate: the random ones are candidates too");
    }

    let chosen = choices
        .iter()
        .map(|choice| &swept.groups()[choice.best.group]);
    let mut groups: Vec<Group> = Vec::new();
    for group in chosen.chain(drawn.iter().flatten()) {
        if !groups.contains(group) {
            groups.push(group.clone());
        }
    }
    let mut scalings = vec![Scaling::default()];
    scalings.extend(Scaling::grid(&groups, &swept.factors));
    let mut found = rates(
        engine,
        &split.evaluation,
        settings.by,
        &scalings,
        &mut part(progress, 0.6, 0.95),
    )?;
    let before = rates(
        engine,
        &split.development,
        settings.by,
        &[Scaling::default()],
        &mut |_| true,
    )?;
    let curves = Curves {
        groups,
        factors: swept.factors.clone(),
        unedited: found.remove(0),
        rates: found,
    };
    report
        .tables
        .insert(0, choice_table(&curves, swept, choices, &drawn, &before));
    for (choice, drawn) in choices.iter().zip(&drawn) {
        report.plots.push(plot(&curves, swept, choice, drawn));
    }
    report.bars.extend(bars(&curves, swept, choices));
    factor_tables(&curves, swept, choices, report);
    Ok(())
}

/// Random groups of as many heads, out of those that were not tried; out of all others where these are too few. Groups of
/// one size have the same ones.
fn draw(group: &Group, tried: &[HeadId], others: &[HeadId], settings: &Settings) -> Vec<Group> {
    let k = group.heads().len();
    let rest = tried.iter().filter(|head| !group.heads().contains(head));
    let pool: Vec<HeadId> = if others.len() < k {
        others.iter().chain(rest).copied().collect()
    } else {
        others.to_vec()
    };
    let seed = settings.seed.wrapping_add(k as u64);
    let drawn = controls::draws(&pool, k, settings.draws, seed).into_iter();
    drawn
        .map(Group::new)
        .filter(|group| !group.heads().is_empty())
        .collect()
}

fn choice_table(
    curves: &Curves,
    swept: &Swept,
    choices: &[Choice],
    drawn: &[Vec<Group>],
    before: &[Rates],
) -> Table {
    let rows = choices.iter().zip(drawn).map(|(choice, drawn)| {
        let Choice { wanted, by, best } = choice;
        let group = &swept.groups()[best.group];
        let plain = wanted.rate(&curves.unedited);
        let after = curves.of(group).get(best.at);
        let after = after.map_or(f64::NAN, |rates| wanted.rate(rates));
        let changes = curves.changes(drawn, *wanted, best.at);
        let beside = Comparison::new(after - plain, changes);
        let of = |value: &dyn Fn(&Comparison) -> f64| Cell::Number(beside.as_ref().map(value));
        let names: Vec<String> = drawn.iter().map(Group::to_string).collect();
        vec![
            wanted.name().into(),
            (*by).into(),
            group.to_string().into(),
            best.factor.into(),
            before.first().map_or(f64::NAN, |r| wanted.rate(r)).into(),
            wanted.rate(&best.rates).into(),
            plain.into(),
            after.into(),
            of(&|c| c.mean),
            of(&|c| c.sd),
            of(&|c| c.p),
            names.join(" ").into(),
        ]
    });
    let columns = [
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
    ];
    table("choice", &columns, rows.collect())
}

/// The wanted rate over the factor: on the prompts that chose, on the others, and of random heads on the others.
fn plot(curves: &Curves, swept: &Swept, choice: &Choice, drawn: &[Group]) -> Plot {
    let Choice { wanted, best, .. } = choice;
    let group = &swept.groups()[best.group];
    let line = |name: &str, rates: &mut dyn Iterator<Item = f64>| Line {
        name: name.into(),
        points: swept
            .factors
            .iter()
            .zip(rates)
            .map(|(x, y)| [*x, y])
            .collect(),
        ..Line::default()
    };
    let of = |rates: &[Rates]| rates.iter().map(|r| wanted.rate(r)).collect::<Vec<_>>();
    let mut lines = vec![
        line("choosing", &mut of(swept.of_group(best.group)).into_iter()),
        line("reported on", &mut of(curves.of(group)).into_iter()),
    ];
    if !drawn.is_empty() {
        let plain = wanted.rate(&curves.unedited);
        let mut random = (0..swept.factors.len()).map(|at| {
            let changes = curves.changes(drawn, *wanted, at);
            plain + changes.iter().sum::<f64>() / changes.len() as f64
        });
        lines.push(line("random heads, reported on", &mut random));
    }
    Plot {
        name: format!("{} rate, {group}", wanted.name()),
        x_axis: "factor",
        y_axis: "share of prompts",
        lines,
        ..Plot::default()
    }
}

/// Mean logit and probability of both answers, unedited and with each choice.
fn bars(curves: &Curves, swept: &Swept, choices: &[Choice]) -> [Bars; 2] {
    let mut runs = vec![("unedited".to_owned(), &curves.unedited)];
    for Choice { best, .. } in choices {
        let group = &swept.groups()[best.group];
        let name = format!("{group} ×{}", best.factor);
        // Both answers may be wanted by the same factor.
        if let Some(rates) = curves.of(group).get(best.at)
            && runs.iter().all(|(known, _)| *known != name)
        {
            runs.push((name, rates));
        }
    }
    let chart = |name: &str, axis, of: &dyn Fn(&Rates) -> [f64; 2]| Bars {
        name: name.into(),
        about: format!("mean {name} of both answers on the prompts that are reported on"),
        axis,
        bars: runs
            .iter()
            .flat_map(|(run, rates)| {
                let answers = Wanted::ALL.into_iter().zip(of(rates));
                answers.map(move |(answer, value)| Bar {
                    label: format!("{run}: {}", answer.name()),
                    parts: vec![BarPart {
                        name: answer.name().into(),
                        label: String::new(),
                        value,
                    }],
                })
            })
            .collect(),
    };
    [
        chart("logit", "logit", &|rates| rates.logits),
        chart("probability", "probability", &|rates| rates.probabilities),
    ]
}

/// All numbers of each chosen group, on the prompts that are reported on.
fn factor_tables(curves: &Curves, swept: &Swept, choices: &[Choice], report: &mut Report) {
    let mut groups: Vec<usize> = choices.iter().map(|choice| choice.best.group).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups.into_iter().map(|i| &swept.groups()[i]) {
        let of = curves.factors.iter().zip(curves.of(group));
        let rows = of.map(|(factor, r)| {
            let numbers = [
                *factor,
                r.in_context,
                r.memorised,
                r.other(),
                r.difference(),
            ];
            let numbers = numbers.into_iter().chain(r.logits).chain(r.probabilities);
            numbers.map(Cell::from).collect()
        });
        let columns = [
            "factor",
            "in_context",
            "memorised",
            "other",
            "mean logit difference",
            "logit, stated",
            "logit, remembered",
            "probability, stated",
            "probability, remembered",
        ];
        let name = format!("factors of {group}");
        report.tables.push(table(&name, &columns, rows.collect()));
    }
}
