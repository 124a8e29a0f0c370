//! What confirms the key heads of arithmetic (Zhang et al. 2024, arXiv 2409.01659): accuracy without them beside that without
//! random ones, where they look, and when the result appears.

use std::sync::Arc;

use crate::analysis::controls::{self, Comparison};
use crate::analysis::{
    AnalysisError, Cell, Grid, HeadScores, Progress, Report, Scale, Table, step,
};
use crate::edit::{Edit, Op, Target};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Means, Reading, Readout, lens};
use crate::ids::HeadId;
use crate::model::site::{Part, Site};
use crate::model::spec::Placement;

use crate::analysis::arithmetic::{Kept, Settings};
use crate::analysis::sequences::{single, tokenizer};

/// Accuracy without the strongest heads, beside that without as many others.
pub(crate) fn knock_out(
    engine: &mut Engine,
    kept: &[Kept],
    order: &[HeadId],
    settings: &Settings,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let chosen_of = |k: usize| order[..k].to_vec();
    let sizes: Vec<usize> = settings
        .knock_out
        .iter()
        .copied()
        .filter(|k| *k > 0 && *k <= order.len() / 2)
        .collect();
    for k in settings.knock_out.iter().filter(|k| !sizes.contains(k)) {
        report.note(format!(
            "knock-out of {k} heads left out: of {} heads there are not as many others",
            order.len()
        ));
    }
    let Some(last) = sizes.iter().copied().max() else {
        return Ok(());
    };
    // Controls come from the heads that none of the sets has.
    let pool = &order[last..];
    let mut sets: Vec<Vec<HeadId>> = vec![];
    for k in &sizes {
        let chosen = chosen_of(*k);
        let drawn = if settings.by_layer {
            controls::draws_by_layer(pool, &chosen, settings.draws, settings.seed)
        } else {
            controls::draws(pool, *k, settings.draws, settings.seed)
        };
        sets.push(chosen);
        sets.extend(drawn);
    }
    let variants: Vec<Vec<Edit>> = sets
        .iter()
        .map(|heads| {
            heads
                .iter()
                .map(|head| Edit::new(Target::Head(*head), Op::Mean))
                .collect()
        })
        .collect();
    let prompts: Vec<_> = kept
        .iter()
        .map(|kept| (Arc::clone(&kept.case.spec.ids), kept.case.spec.bos_count))
        .collect();
    let means = Means::over(engine, &prompts, &mut || progress.at(0.6, None))?;
    report.note(if means.is_per_position() {
        "knock-out: z becomes its mean over the kept prompts, position by position"
    } else {
        "knock-out: z becomes its mean over all positions of the kept prompts, whose lengths differ"
    });
    let mut right = vec![0usize; sets.len()];
    let reading = Reading {
        means: Some(&means),
        ..Reading::default()
    };
    for (i, of_prompt) in kept.iter().enumerate() {
        let done = |part: f32| 0.6 + 0.3 * (i as f32 + part) / kept.len() as f32;
        let go_on = &mut |part: f32| progress.at(done(part), None);
        let logits = engine.sweep(&of_prompt.case.spec, &variants, reading, go_on)?;
        for (right, logits) in right.iter_mut().zip(logits) {
            let best = Readout::new(&logits).top(1);
            *right += usize::from(best.first().is_some_and(|best| best.id == of_prompt.answer));
        }
    }
    let shares: Vec<f64> = right
        .iter()
        .map(|right| *right as f64 / kept.len() as f64)
        .collect();
    let mut rows = vec![];
    for (k, (sets, shares)) in sizes.iter().zip(
        sets.chunks(settings.draws + 1)
            .zip(shares.chunks(settings.draws + 1)),
    ) {
        // What is compared is the loss, of which more is more.
        let losses = shares[1..].iter().map(|share| 1.0 - share).collect();
        let compared = Comparison::new(1.0 - shares[0], losses);
        let compared = compared.as_ref();
        let names: Vec<String> = sets[0].iter().map(HeadId::to_string).collect();
        rows.push(vec![
            Cell::from(*k),
            Cell::from(names.join(" ")),
            Cell::from(shares[0]),
            Cell::Number(compared.map(|c| 1.0 - c.mean)),
            Cell::Number(compared.map(|c| c.sd)),
            Cell::Number(compared.and_then(|c| c.z)),
            Cell::Number(compared.map(|c| c.p)),
        ]);
    }
    report.tables.push(Table {
        name: "knock_out".into(),
        columns: [
            "heads",
            "which",
            "accuracy without them",
            "without random ones, mean",
            "sd",
            "z of the loss",
            "p",
        ]
        .map(str::to_owned)
        .into(),
        rows,
    });
    report.note("knock-out: all kept prompts are answered right by the unedited model");
    Ok(())
}

/// Where heads look from the read position: shares of their attention, mean over prompts.
pub(crate) fn attention(
    engine: &mut Engine,
    kept: &[Kept],
    listed: &[HeadId],
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let spec = engine.model().spec.clone();
    let sites: Vec<Site> = (0..spec.n_layers)
        .map(|layer| Site::Block(layer, Part::Pattern))
        .collect();
    // Operands, operator, equals, others.
    let mut shares = vec![[0.0f64; 4]; spec.n_layers * spec.n_heads];
    for (i, of_prompt) in kept.iter().enumerate() {
        step(progress, 0.9 + 0.1 * i as f32 / kept.len() as f32)?;
        let case = &of_prompt.case;
        let (n, at) = (case.spec.ids.len(), case.spec.position);
        let class = |position: usize| {
            let names = [("A", 0), ("B", 0), ("operator", 1), ("equals", 2)];
            let of = names
                .iter()
                .find(|(name, _)| case.span(name).contains(&position));
            of.map_or(3, |(_, class)| *class)
        };
        for (layer, patterns) in engine.dump(&case.spec, &sites)?.iter().enumerate() {
            for head in 0..spec.n_heads {
                let row = &patterns.values[(head * n + at) * n..][..n];
                let sums = &mut shares[layer * spec.n_heads + head];
                for (position, weight) in row.iter().enumerate() {
                    sums[class(position)] += f64::from(*weight) / kept.len() as f64;
                }
            }
        }
    }
    let of = |head: HeadId| shares[head.layer * spec.n_heads + head.head];
    for (which, name, about) in [
        (
            0,
            "attention_operands",
            "attention from the read position to the two operands",
        ),
        (
            1,
            "attention_operator",
            "attention from the read position to the operator",
        ),
    ] {
        let shape = (spec.n_layers, spec.n_heads);
        report.scores.push(HeadScores::of_heads(
            name,
            about,
            Scale::Share,
            shape,
            |head| Some(of(head)[which] as f32),
        ));
    }
    let effect = report.scores_of("effect").cloned();
    let rows = listed.iter().map(|head| {
        let mut cells = vec![Cell::from(head.to_string())];
        cells.push(Cell::from(
            effect.as_ref().and_then(|effect| effect.value(*head)),
        ));
        cells.extend(of(*head).map(Cell::from));
        cells
    });
    report.tables.push(Table {
        name: "attention".into(),
        columns: ["head", "effect", "operands", "operator", "equals", "others"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    });
    Ok(())
}

/// The first kept prompt layer by layer: what each stream at the read position says of the digits.
pub(crate) fn digits(
    engine: &mut Engine,
    kept: &[Kept],
    settings: &Settings,
    report: &mut Report,
) -> Result<(), AnalysisError> {
    let model = Arc::clone(engine.model());
    let Some(first) = kept.first() else {
        return Ok(());
    };
    if model.spec.placement == Placement::Post {
        report.note("digits by layer left out: in this model norms stand on the stream");
        return Ok(());
    }
    let space = if model.token_text(first.answer).starts_with(' ') {
        " "
    } else {
        ""
    };
    let tokenizer = tokenizer(&model)?;
    let texts = (0..=settings.operands.1.max(9)).map(|n| format!("{space}{n}"));
    let mut columns: Vec<(u32, String)> = texts
        .filter_map(|text| Some((single(tokenizer, &text)?, text)))
        .collect();
    if columns.iter().all(|(id, _)| *id != first.answer) {
        columns.push((first.answer, model.token_text(first.answer)));
    }
    let n_layers = model.spec.n_layers;
    let mut streams: Vec<(String, Site)> = (0..n_layers)
        .map(|layer| (format!("{layer}_pre"), Site::Block(layer, Part::ResidPre)))
        .collect();
    streams.push(("final_post".into(), Site::final_resid(&model.spec)));
    let sites: Vec<Site> = streams.iter().map(|(_, site)| *site).collect();
    let dumped = engine.dump(&first.case.spec, &sites)?;
    let (d, at) = (model.spec.d_model, first.case.spec.position);
    let mut rows = vec![];
    for (_, site) in &streams {
        let name = site.to_string();
        let stream = dumped.iter().find(|dumped| dumped.name == name);
        let stream = stream.ok_or(RunError::NoLogits)?;
        rows.extend_from_slice(&stream.values[at * d..(at + 1) * d]);
    }
    let logits = lens(&model, &rows)?;
    let (mut values, mut marks) = (vec![], vec![]);
    for row in logits.chunks_exact(model.spec.n_vocab) {
        let readout = Readout::new(row);
        let best = readout.top(1).first().map(|best| best.id);
        for (id, _) in &columns {
            values.push(readout.score(*id).map(|score| score.prob));
            marks.push(if best == Some(*id) {
                "first".into()
            } else {
                String::new()
            });
        }
    }
    report.grids.push(Grid {
        name: "digits".into(),
        about: format!(
            "probability of each number at the read position of {:?}, by the logit lens; the vocabulary's likeliest is marked",
            first.case.label
        ),
        scale: Scale::Share,
        row_axis: "stream",
        rows: streams.into_iter().map(|(name, _)| name).collect(),
        column_axis: "number",
        columns: columns.into_iter().map(|(_, text)| text).collect(),
        values,
        texts: marks,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Unheard;
    use crate::analysis::arithmetic::expressions::{Operation, Style};
    use crate::analysis::arithmetic::gate;
    use crate::experiment::engine::Unwatched;
    use crate::model::demo;
    use crate::model::load::{Unreported, open};

    fn asked(prompts: usize) -> (Engine, Settings, Vec<Kept>) {
        let mut engine = Engine::new(Arc::new(open(demo::NAME, &mut Unreported).unwrap()));
        let settings = Settings {
            operations: vec![Operation::Add],
            styles: vec![Style::Equation],
            prompts,
            ..Settings::default()
        };
        let mut report = Report::new("arithmetic");
        let kept = gate(&mut engine, &settings, &mut report, &mut Unheard).unwrap();
        (engine, settings, kept)
    }

    /// L0H1 and L0H6 are what the demo's sums lean on (its README); half of its heads write nothing.
    #[test]
    fn heads_that_matter_are_told_from_silent_ones() {
        let (mut engine, settings, kept) = asked(6);
        let heads = |list: &[(usize, usize)]| -> Vec<HeadId> {
            list.iter()
                .map(|(layer, head)| HeadId::new(*layer, *head))
                .collect()
        };
        let matter = heads(&[(0, 1), (0, 6)]);
        let silent = heads(&[
            (0, 0),
            (0, 2),
            (1, 0),
            (1, 2),
            (2, 0),
            (2, 2),
            (3, 0),
            (3, 1),
        ]);
        let settings = Settings {
            knock_out: vec![2],
            ..settings
        };
        let mut accuracy = |order: &[HeadId]| {
            let mut report = Report::new("arithmetic");
            knock_out(
                &mut engine,
                &kept,
                order,
                &settings,
                &mut report,
                &mut Unheard,
            )
            .unwrap();
            let numbers = report.tables[0].rows[0].iter();
            let numbers = numbers.filter_map(|cell| match cell {
                Cell::Number(number) => *number,
                _ => None,
            });
            numbers.collect::<Vec<f64>>()
        };
        let found = accuracy(&[&matter[..], &silent[..]].concat());
        assert!(found[0] < 0.8, "{found:?}");
        assert!(
            (found[1] - 1.0).abs() < 1e-9,
            "silent heads cost nothing: {found:?}"
        );
        let found = accuracy(&silent);
        assert!((found[0] - 1.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn attention_shares_are_of_the_pattern() {
        let (mut engine, _, kept) = asked(1);
        let mut report = Report::new("arithmetic");
        let head = HeadId::new(3, 7);
        attention(&mut engine, &kept, &[head], &mut report, &mut Unheard).unwrap();
        let case = &kept[0].case;
        let outcome = engine.run(&case.spec, &mut Unwatched).unwrap();
        let (n, at) = (case.spec.ids.len(), case.spec.position);
        let map = outcome.before.layers[3].patterns.head(7);
        let row = &map[at * n..(at + 1) * n];
        let sum = |names: &[&str]| -> f32 {
            let places = names.iter().flat_map(|name| case.span(name));
            places.map(|at| row[*at]).sum()
        };
        let of = |name: &str| report.scores_of(name).unwrap().value(head).unwrap();
        assert!((of("attention_operands") - sum(&["A", "B"])).abs() < 1e-5);
        assert!((of("attention_operator") - sum(&["operator"])).abs() < 1e-5);
        assert!(sum(&["A"]) > 0.0 && sum(&["B"]) > 0.0 && sum(&["operator"]) > 0.0);
        let cells = report.tables[0].rows[0][2..].iter();
        let shares = cells.filter_map(|cell| match cell {
            Cell::Number(share) => *share,
            _ => None,
        });
        let shares: Vec<f64> = shares.collect();
        assert_eq!(shares.len(), 4);
        assert!(
            (shares.iter().sum::<f64>() - 1.0).abs() < 1e-4,
            "{shares:?}"
        );
    }
}
