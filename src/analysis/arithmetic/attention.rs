//! Where heads look from the read position of arithmetic prompts: at the operands, the operator, the equals part or
//! elsewhere (Zhang et al. 2024, arXiv 2409.01659).

use crate::analysis::{
    AnalysisError, Bar, BarPart, Bars, Cell, HeadScores, Progress, Report, Scale, Table, step,
};
use crate::experiment::engine::Engine;
use crate::ids::HeadId;
use crate::model::site::{Part, Site};

use super::prompts::Kept;

const CLASSES: [&str; 4] = ["operands", "operator", "equals", "others"];

/// Adds shares of attention, mean over prompts: maps of all heads, a table and bars of the listed ones.
pub(super) fn add(
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
    let mut shares = vec![[0.0f64; CLASSES.len()]; spec.n_layers * spec.n_heads];
    for (i, of_prompt) in kept.iter().enumerate() {
        step(progress, 0.8 + 0.1 * i as f32 / kept.len() as f32)?;
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
    let effect = |head: HeadId| effect.as_ref().and_then(|effect| effect.value(head));
    let rows = listed.iter().map(|head| {
        let mut cells = vec![Cell::from(head.to_string()), Cell::from(effect(*head))];
        cells.extend(of(*head).map(Cell::from));
        cells
    });
    let columns = ["head", "effect"].into_iter().chain(CLASSES);
    report.tables.push(Table {
        name: "attention".into(),
        columns: columns.map(str::to_owned).collect(),
        rows: rows.collect(),
    });
    let bar = |head: &HeadId| Bar {
        label: head.to_string(),
        parts: CLASSES
            .into_iter()
            .zip(of(*head))
            .map(|(name, value)| BarPart {
                name: name.into(),
                label: String::new(),
                value,
            })
            .collect(),
    };
    report.bars.push(Bars {
        name: "attention".into(),
        about: "where each head looks from the read position, mean over prompts".into(),
        axis: "share of attention",
        bars: listed.iter().map(bar).collect(),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::asked;
    use super::*;
    use crate::analysis::Unheard;
    use crate::experiment::engine::Unwatched;

    #[test]
    fn attention_shares_are_of_the_pattern() {
        let (mut engine, _, kept) = asked(1);
        let mut report = Report::new("arithmetic");
        let head = HeadId::new(3, 7);
        add(&mut engine, &kept, &[head], &mut report, &mut Unheard).unwrap();
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
        let [bar] = &report.bars[0].bars[..] else {
            panic!("one head, one bar")
        };
        assert_eq!(bar.label, "L3H7");
        let parts: Vec<f64> = bar.parts.iter().map(|part| part.value).collect();
        assert_eq!(parts, shares);
        assert!((parts[2] - f64::from(sum(&["equals"]))).abs() < 1e-5);
    }
}
