//! Prompts that confirm a successor head: what each head writes at their end, read as logits (Gould et al. 2023; the two
//! tests are those of its reproductions).
//!
//! *Tomorrow*: of the seven prompts "If today is Monday, tomorrow is", in how many the head's output at the end has its
//! largest logit, of the seven days, at the next one. *Lift*: the logit that the head adds to the next word behind three
//! words in order, less that behind the same three out of order, mean over all windows of a list, then over lists; heads
//! that raise any word of a list have none. Out of order are the two rotations B C A and C A B, whose last word is not the
//! one before the answer: nothing is drawn.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::analysis::sequences::{Sequence, built_in, days, followed, tokenizer};
use crate::analysis::{
    AnalysisError, Cell, HeadScores, Line, Plot, Progress, Report, Scale, Table, step,
};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::resolve::resolve;
use crate::experiment::{Experiment, RunSpec};
use crate::ids::HeadId;
use crate::model::Model;
use crate::prompt::{BosRule, Prompt};

use super::writers::Writers;

/// Lists of the lift.
const LISTS: [&str; 4] = ["days", "months", "numbers", "letters"];

/// Windows of a list that are run at most, from its beginning.
const WINDOWS: usize = 12;

/// A prompt, and the token that comes next.
struct Asked {
    spec: RunSpec,
    next: u32,
}

/// Adds both tests to a report.
pub(crate) fn add(
    engine: &mut Engine,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let model = Arc::clone(engine.model());
    let of_days = tomorrow_prompts(&model)?;
    let windows = windows(&model)?;
    let tokens: BTreeSet<u32> = of_days
        .iter()
        .chain(windows.iter().flat_map(|list| list.sets.iter().flatten()))
        .map(|asked| asked.next)
        .collect();
    if tokens.is_empty() {
        report.note("behaviour left out: no list has words that are one token behind a prompt");
        return Ok(());
    }
    let writers = Writers::new(&model, tokens.into_iter().collect())?;
    if of_days.is_empty() {
        report.note("tomorrow left out: a day is not one token behind the prompt, or does not fit");
    } else {
        tomorrow(engine, report, &of_days, &writers, progress)?;
    }
    lift(engine, report, &windows, &writers, progress)
}

fn tomorrow_prompts(model: &Model) -> Result<Vec<Asked>, AnalysisError> {
    let days = days().items;
    let mut found = vec![];
    for (i, day) in days.iter().enumerate() {
        let prompt = format!("If today is {day}, tomorrow is");
        match asked(model, &prompt, &days[(i + 1) % days.len()])? {
            Some(asked) => found.push(asked),
            None => return Ok(vec![]),
        }
    }
    let distinct: BTreeSet<u32> = found.iter().map(|asked| asked.next).collect();
    if distinct.len() < days.len() {
        found.clear();
    }
    Ok(found)
}

/// `None` where the answer is not one token, or the prompt is too long.
fn asked(model: &Model, prompt: &str, word: &str) -> Result<Option<Asked>, AnalysisError> {
    let Some((prompt, _, next)) = followed(tokenizer(model)?, prompt, word, BosRule::Auto) else {
        return Ok(None);
    };
    let experiment = Experiment::new(Prompt::Text(prompt));
    let resolved = resolve(&experiment, model, None)
        .map_err(|error| AnalysisError::needs(error.to_string()))?;
    let mut spec = resolved.spec;
    spec.position = spec.ids.len() - 1;
    let fits = spec.ids.len() <= model.spec.n_ctx && (next as usize) < model.spec.n_vocab;
    Ok(fits.then_some(Asked { spec, next }))
}

/// The windows of a list: each in order, then out of order.
struct Windows {
    name: String,
    sets: Vec<[Asked; 3]>,
}

fn windows(model: &Model) -> Result<Vec<Windows>, AnalysisError> {
    let mut found = vec![];
    let lists = built_in(tokenizer(model)?).into_iter();
    for Sequence { name, items, .. } in lists.filter(|list| LISTS.contains(&&list.name[..])) {
        let mut sets = vec![];
        for window in items.windows(4).take(WINDOWS) {
            let of = |order: [usize; 3]| {
                let prompt = order.map(|i| &window[i][..]).join(" ");
                asked(model, &prompt, &window[3])
            };
            let [a, b, c] = [of([0, 1, 2])?, of([1, 2, 0])?, of([2, 0, 1])?];
            // The same token must be asked for behind all three.
            if let (Some(a), Some(b), Some(c)) = (a, b, c)
                && a.next == b.next
                && a.next == c.next
            {
                sets.push([a, b, c]);
            }
        }
        found.push(Windows { name, sets });
    }
    Ok(found)
}

fn tomorrow(
    engine: &mut Engine,
    report: &mut Report,
    prompts: &[Asked],
    writers: &Writers,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let days: Vec<usize> = prompts
        .iter()
        .filter_map(|asked| writers.place(asked.next))
        .collect();
    let shape = (engine.model().spec.n_layers, engine.model().spec.n_heads);
    let mut right = vec![0usize; writers.heads.len()];
    for (i, asked) in prompts.iter().enumerate() {
        step(progress, 0.5 + 0.2 * i as f32 / prompts.len() as f32)?;
        let own = days[i];
        for (right, logits) in right.iter_mut().zip(writers.logits(engine, &asked.spec)?) {
            let others = days.iter().filter(|day| **day != own);
            // A head that writes nothing raises no day above another.
            *right += usize::from(others.into_iter().all(|day| logits[own] > logits[*day]));
        }
    }
    let of =
        |head: HeadId| Some(right[head.layer * shape.1 + head.head] as f32 / prompts.len() as f32);
    report.scores.push(HeadScores::of_heads(
        "tomorrow",
        "share of the 7 prompts \"If today is …, tomorrow is\" in which the head's output raises the next day most",
        Scale::Share,
        shape,
        of,
    ));
    let mut order: Vec<usize> = (0..right.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(right[*i]), *i));
    if let [best, next, ..] = order[..] {
        report.note(format!(
            "tomorrow: {} is right in {} of {} prompts, the next head, {}, in {}",
            HeadId::new(best / shape.1, best % shape.1),
            right[best],
            prompts.len(),
            HeadId::new(next / shape.1, next % shape.1),
            right[next]
        ));
    }
    Ok(())
}

fn lift(
    engine: &mut Engine,
    report: &mut Report,
    lists: &[Windows],
    writers: &Writers,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let shape = (engine.model().spec.n_layers, engine.model().spec.n_heads);
    let n_heads = writers.heads.len();
    let (mut direct, mut lifts) = (vec![], vec![]);
    let mut rows = vec![];
    for (at, list) in lists.iter().enumerate() {
        let (mut ordered, mut shuffled) = (vec![0.0f64; n_heads], vec![0.0f64; n_heads]);
        for (i, set) in list.sets.iter().enumerate() {
            let done = (at as f32 + i as f32 / list.sets.len() as f32) / lists.len() as f32;
            step(progress, 0.7 + 0.3 * done)?;
            for (which, asked) in set.iter().enumerate() {
                let place = writers.place(asked.next).ok_or(RunError::NoLogits)?;
                let logits = writers.logits(engine, &asked.spec)?;
                let (sums, share) = match which {
                    0 => (&mut ordered, 1.0),
                    _ => (&mut shuffled, 0.5),
                };
                for (sum, logits) in sums.iter_mut().zip(logits) {
                    *sum += share * f64::from(logits[place]) / list.sets.len() as f64;
                }
            }
        }
        let of_list: Vec<f64> = ordered.iter().zip(&shuffled).map(|(a, b)| a - b).collect();
        let best = (0..n_heads).max_by(|a, b| of_list[*a].total_cmp(&of_list[*b]).then(b.cmp(a)));
        let best = best.filter(|_| !list.sets.is_empty());
        rows.push(vec![
            Cell::from(list.name.clone()),
            Cell::from(list.sets.len()),
            Cell::from(best.map_or(String::new(), |i| {
                HeadId::new(i / shape.1, i % shape.1).to_string()
            })),
            Cell::from(best.map(|i| of_list[i] as f32)),
        ]);
        if !list.sets.is_empty() {
            direct.push(to_scores(&ordered));
            lifts.push(to_scores(&of_list));
        }
    }
    report.tables.push(Table {
        name: "lift".into(),
        columns: ["list", "windows", "best head", "its lift"]
            .map(str::to_owned)
            .into(),
        rows,
    });
    if lifts.is_empty() {
        report.note(
            "lift left out: no list has four words in a row that are one token behind a prompt",
        );
        return Ok(());
    }
    let raw = "logit that the head adds to the next word behind three in order";
    let about = "the same less that behind the three out of order: what is due to their order";
    let mut means = vec![];
    for (name, about, maps) in [("direct", raw, direct), ("lift", about, lifts)] {
        let mean = HeadScores::mean(&maps);
        let of = |head: HeadId| mean[head.layer * shape.1 + head.head];
        means.push(HeadScores::of_heads(name, about, Scale::Signed, shape, of));
    }
    if let [direct, lift] = &means[..] {
        compare(report, direct, lift);
    }
    report.scores.extend(means);
    Ok(())
}

/// Both numbers of each head: one that raises any word of a list stands far out along the first alone.
fn compare(report: &mut Report, direct: &HeadScores, lift: &HeadScores) {
    let of = |(head, lift): (HeadId, Option<f32>)| {
        let point = [direct.value(head)?, lift?].map(f64::from);
        Some((point, head.to_string()))
    };
    let ranked = lift.ranked();
    let (points, labels): (Vec<_>, Vec<_>) = ranked.iter().copied().filter_map(of).unzip();
    let (Some((best, _)), Some([_, most])) = (ranked.first(), points.first()) else {
        return;
    };
    // The largest of all but a twentieth.
    let [_, ordinary] = points[points.len() / 20];
    let rank = direct.ranked().iter().position(|(head, _)| head == best);
    report.note(format!(
        "lift: {best} has the most, {most:.3}; 95 % of the heads have at most {ordinary:.3}; by the raw logit it is number {}",
        rank.map_or(0, |rank| rank + 1)
    ));
    report.plots.push(Plot {
        name: "lift by direct".into(),
        x_axis: "logit of the next word",
        y_axis: "lift",
        is_scatter: true,
        lines: vec![Line {
            name: "heads".into(),
            points,
            labels,
        }],
    });
}

fn to_scores(values: &[f64]) -> Vec<Option<f32>> {
    values.iter().map(|x| Some(*x as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Unheard;
    use crate::analysis::attribution::summands;
    use crate::model::demo;
    use crate::model::load::{Unreported, open};

    fn engine(name: &str) -> Engine {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = match name {
            demo::NAME => name.to_owned(),
            name => format!("{root}/tests/fixtures/models/{name}"),
        };
        Engine::new(Arc::new(open(&path, &mut Unreported).unwrap()))
    }

    #[test]
    fn prompts_ask_for_the_next_word() {
        let engine = engine(demo::NAME);
        let model = engine.model();
        let lists = windows(model).unwrap();
        let days = lists.iter().find(|list| list.name == "days").unwrap();
        assert_eq!(days.sets.len(), 4, "Monday to Sunday, four at a time");
        let text = |asked: &Asked| -> String {
            let ids = asked.spec.ids[asked.spec.bos_count..].iter();
            ids.map(|id| model.token_text(*id)).collect()
        };
        let [ordered, first, second] = &days.sets[0];
        assert_eq!(text(ordered).trim(), "Monday Tuesday Wednesday");
        assert_eq!(text(first).trim(), "Tuesday Wednesday Monday");
        assert_eq!(text(second).trim(), "Wednesday Monday Tuesday");
        for asked in [ordered, first, second] {
            assert_eq!(model.token_text(asked.next), " Thursday");
            assert_eq!(asked.spec.position, asked.spec.ids.len() - 1);
        }
    }

    /// Each score by its definition, from the attributions of pairs: tomorrow beats each other day, lift is a difference.
    #[test]
    fn tomorrow_and_lift_are_their_definitions() {
        let mut engine = engine(demo::NAME);
        let model = Arc::clone(engine.model());
        let mut report = Report::new("successor");
        add(&mut engine, &mut report, &mut Unheard).unwrap();
        let tomorrow = report.scores_of("tomorrow").unwrap();
        let prompts = tomorrow_prompts(&model).unwrap();
        let mut wins = [0; 32];
        for asked in &prompts {
            let mut best = [true; 32];
            for other in prompts.iter().filter(|other| other.next != asked.next) {
                let pair = (asked.next, other.next);
                let found = summands(&mut engine, &asked.spec, pair).unwrap().heads;
                for (best, found) in best.iter_mut().zip(found) {
                    *best &= found > 0.0;
                }
            }
            for (wins, best) in wins.iter_mut().zip(best) {
                *wins += usize::from(best);
            }
        }
        for (i, wins) in wins.iter().enumerate() {
            let found = tomorrow.values[i].unwrap();
            // Heads that write next to nothing may be a near tie.
            assert!(
                (found * 7.0 - *wins as f32).abs() < 1.01,
                "{i}: {found} {wins}"
            );
        }
        let lift = report.scores_of("lift").unwrap();
        let lists: Vec<Windows> = windows(&model).unwrap();
        let tokens = lists
            .iter()
            .flat_map(|list| list.sets.iter().map(|set| set[0].next));
        let tokens: BTreeSet<u32> = tokens.collect();
        let writers = Writers::new(&model, tokens.into_iter().collect()).unwrap();
        let mut right = 0.0;
        for list in &lists {
            for set in &list.sets {
                let mut of = |asked: &Asked| {
                    let place = writers.place(asked.next).unwrap();
                    writers.logits(&mut engine, &asked.spec).unwrap()[22][place]
                };
                let gain = of(&set[0]) - f32::midpoint(of(&set[1]), of(&set[2]));
                right += gain / (list.sets.len() * lists.len()) as f32;
            }
        }
        assert!((lift.value(HeadId::new(2, 6)).unwrap() - right).abs() < 1e-5);
        let (ranked, points) = (lift.ranked(), &report.plots[0].lines[0]);
        assert_eq!(points.labels[0], ranked[0].0.to_string());
        let shown = f64::from(ranked[0].1.unwrap());
        assert!((points.points[0][1] - shown).abs() < 1e-9);
        let above = ranked
            .iter()
            .filter(|(_, x)| f64::from(x.unwrap()) > points.points[1][1]);
        assert_eq!(
            above.count(),
            1,
            "of 32 heads one is above the 95th percentile"
        );
        let note = report.notes.iter().find(|note| note.starts_with("lift: "));
        assert!(
            note.unwrap()
                .contains(&format!("{:.3}", points.points[1][1]))
        );
    }
}
