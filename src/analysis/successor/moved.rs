//! One word's residue moved by hand: what a head raises when it attends to E_eff\[w\], and to u = E_eff\[w\] − k f_r + k f_s.

use crate::analysis::sequences::{Sequence, built_in, single, tokenizer, variants};
use crate::analysis::{AnalysisError, Cell, Report, Table};
use crate::ids::HeadId;
use crate::model::Model;
use nalgebra::DMatrix;

use super::Candidates;
use super::asked::Asked;
use super::residues::{RESIDUES, Settings};
use super::token_circuit::Circuit;

/// Tokens that are listed before and after.
const LISTED: usize = 5;

/// The word that is moved.
struct Word {
    id: u32,
    text: String,
    /// Its index in the first list that has it, the built-in ones last.
    index: Option<usize>,
    /// Successors of that list in the word's form; empty where no list has it.
    targets: Vec<u32>,
    /// What follows the word whose index has residue s instead, `[s]`.
    next: Vec<Option<u32>>,
}

impl Word {
    fn new(model: &Model, lists: &[Sequence], settings: &Settings) -> Result<Self, AnalysisError> {
        let tokenizer = tokenizer(model)?;
        let typed = settings.token.trim();
        let texts = match typed {
            // The third decade, as in the paper; a smaller model may end before it.
            "" => ["20", " 20", "1", " 1"].map(str::to_owned).to_vec(),
            word => vec![word.to_owned(), format!(" {word}")],
        };
        let known = |id: &u32| (*id as usize) < model.spec.n_vocab;
        let found = texts.into_iter().find_map(|text| {
            let id = single(tokenizer, &text).filter(known)?;
            Some((id, text))
        });
        let Some((id, text)) = found else {
            return Err(AnalysisError::needs(format!(
                "`{typed}` is not one token of this model: give a word (token) that is"
            )));
        };
        let mut word = Self {
            id,
            text,
            index: None,
            targets: vec![],
            next: vec![None; RESIDUES],
        };
        for list in lists.iter().chain(&built_in(tokenizer)) {
            for variant in variants(model, std::slice::from_ref(list))? {
                let n = list.items.len();
                let of_word = |token: &Option<u32>| *token == Some(id);
                let Some(at) = variant.tokens[..n].iter().position(of_word) else {
                    continue;
                };
                let pairs = variant.pairs();
                word.targets = pairs
                    .iter()
                    .filter_map(|(_, to)| variant.tokens[*to])
                    .collect();
                word.targets.sort_unstable();
                word.targets.dedup();
                let index = list.index(at);
                word.index = Some(index);
                for (s, next) in word.next.iter_mut().enumerate() {
                    let moved = (at + s).checked_sub(index % RESIDUES);
                    let moved = moved.filter(|moved| *moved < n);
                    *next = moved.and_then(|moved| *variant.tokens.get(moved + 1)?);
                }
                return Ok(word);
            }
        }
        Ok(word)
    }
}

/// Adds what the head raises most before and after. `features` are `[residue, d_model]` at strength 1.
pub(super) fn add(
    report: &mut Report,
    model: &Model,
    head: HeadId,
    lists: &[Sequence],
    features: &DMatrix<f32>,
    settings: &super::Settings,
) -> Result<(), AnalysisError> {
    let chosen = &settings.residues;
    let word = Word::new(model, lists, chosen)?;
    let from = chosen.from.or(word.index.map(|index| index % RESIDUES));
    let Some(from) = from else {
        return Err(AnalysisError::needs(format!(
            "`{}` is in no list, so it has no residue of its own: say which one is taken away (from)",
            word.text
        )));
    };
    let to = chosen.to.unwrap_or((from + 1) % RESIDUES);
    let targets = match settings.candidates {
        Candidates::List if !word.targets.is_empty() => word.targets.clone(),
        Candidates::Union => {
            Asked::new(
                &variants(model, lists)?,
                Candidates::Union,
                model.spec.n_vocab,
            )
            .targets
        }
        _ => (0..model.spec.n_vocab as u32).collect(),
    };
    let logits = both(model, head, &word, (from, to), features, &targets, settings)?;
    let ranked = logits.map(|logits| {
        let mut places: Vec<usize> = (0..targets.len()).collect();
        places.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        let ranked = places.into_iter().map(|i| (targets[i], logits[i]));
        ranked.collect::<Vec<(u32, f32)>>()
    });
    let rows = (0..LISTED.min(targets.len())).map(|place| {
        let mut cells = vec![Cell::from(place + 1)];
        for ranked in &ranked {
            let (id, logit) = ranked[place];
            cells.extend([Cell::from(model.token_text(id)), Cell::from(logit)]);
        }
        cells
    });
    report.tables.push(Table {
        name: format!(
            "residue of {:?} moved from {from} to {to}, {head}",
            word.text
        ),
        columns: ["place", "before", "logit before", "after", "logit after"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    });
    let right = word.next[to].filter(|_| word.index.is_some_and(|i| i % RESIDUES == from));
    let place = |id: u32| ranked[1].iter().position(|(of, _)| *of == id);
    report.note(match right.and_then(|id| Some((id, place(id)?))) {
        Some((id, place)) => format!(
            "{:?} moved from residue {from} to {to} at strength {}: what follows the moved word, {:?}, comes in place {} of {}",
            word.text,
            chosen.strength,
            model.token_text(id),
            place + 1,
            targets.len()
        ),
        None => format!(
            "{:?} moved from residue {from} to {to} at strength {}: no word of its list is right then",
            word.text, chosen.strength
        ),
    });
    Ok(())
}

/// The head's logits of the targets from the word as it is, and from the moved one.
fn both(
    model: &Model,
    head: HeadId,
    word: &Word,
    (from, to): (usize, usize),
    features: &DMatrix<f32>,
    targets: &[u32],
    settings: &super::Settings,
) -> Result<[Vec<f32>; 2], AnalysisError> {
    let circuit = Circuit::new(model, targets, settings.fold)?;
    let weights = model.head_weights(head)?;
    let plain = settings.effective.rows(model, &[word.id])?;
    let plain = DMatrix::from_row_slice(1, model.spec.d_model, &plain);
    let mut moved = plain.clone();
    for (x, (to, from)) in moved
        .iter_mut()
        .zip(features.row(to).iter().zip(features.row(from).iter()))
    {
        *x += (to - from) * settings.residues.strength as f32;
    }
    let q = circuit.q(head.layer, &weights);
    Ok([plain, moved].map(|row| {
        let p = Circuit::p(&weights, &circuit.read(head.layer, &row));
        (p * &q).as_slice().to_vec()
    }))
}

#[cfg(test)]
mod tests {
    use super::super::Settings as All;
    use super::super::token_circuit::{Effective, whole};
    use super::*;
    use crate::model::demo;
    use crate::model::load::{Unreported, open};

    fn features(d: usize) -> DMatrix<f32> {
        DMatrix::from_fn(RESIDUES, d, |r, i| {
            (((r * 31 + i * 17) % 29) as f32 - 14.0) / 60.0
        })
    }

    fn asked(token: &str) -> All {
        All {
            residues: Settings {
                token: token.into(),
                strength: 1.5,
                ..Settings::default()
            },
            ..All::default()
        }
    }

    fn run(settings: &All) -> Result<Report, AnalysisError> {
        let model = open(demo::NAME, &mut Unreported).unwrap();
        let lists = built_in(model.tokenizer.as_ref().unwrap());
        let mut report = Report::new("successor");
        let features = features(model.spec.d_model);
        let head = HeadId::new(3, 2);
        add(&mut report, &model, head, &lists, &features, settings)?;
        Ok(report)
    }

    /// Both columns by the whole circuit, from the moved row itself.
    #[test]
    fn the_table_is_the_whole_circuit_s() {
        let model = open(demo::NAME, &mut Unreported).unwrap();
        let (d, id) = (
            model.spec.d_model,
            single(model.tokenizer.as_ref().unwrap(), "24").unwrap(),
        );
        let features = features(d);
        let row = Effective::Mlp.rows(&model, &[id]).unwrap();
        let targets: Vec<u32> = (2..100)
            .filter_map(|n: u32| single(model.tokenizer.as_ref().unwrap(), &n.to_string()))
            .collect();
        let mut settings = asked("24");
        (settings.residues.from, settings.residues.to) = (Some(4), Some(7));
        let report = run(&settings).unwrap();
        let table = &report.tables[0];
        assert_eq!(table.rows.len(), LISTED);
        for (column, k) in [(1, 0.0), (3, 1.5)] {
            let moved = DMatrix::from_fn(1, d, |_, i| {
                f64::from(row[i]) + k * f64::from(features[(7, i)] - features[(4, i)])
            });
            let logits = whole(&model, HeadId::new(3, 2), &moved, &targets);
            let mut order: Vec<usize> = (0..targets.len()).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
            for (cells, i) in table.rows.iter().zip(order) {
                assert_eq!(cells[column], Cell::from(model.token_text(targets[i])));
                let Cell::Number(Some(found)) = cells[column + 1] else {
                    panic!("a logit")
                };
                assert!((found - logits[i]).abs() < 1e-4 * logits.amax());
            }
        }
        assert!(report.notes[0].contains("\"28\""), "{:?}", report.notes);
    }

    #[test]
    fn words_have_residues_and_successors() {
        let model = open(demo::NAME, &mut Unreported).unwrap();
        let lists = built_in(model.tokenizer.as_ref().unwrap());
        let of = |token: &str| {
            let settings = asked(token).residues;
            let word = Word::new(&model, &lists, &settings).unwrap();
            let next = word.next.iter().map(|id| id.map(|id| model.token_text(id)));
            (word.text, word.index, next.collect::<Vec<_>>())
        };
        let (text, index, next) = of("");
        assert_eq!((&text[..], index), ("20", Some(20)));
        assert_eq!(next[3].as_deref(), Some("24"));
        // October is number 10: residues 0, 1 and 2 are months, and December is followed by January.
        let (_, index, next) = of("October");
        assert_eq!(index, Some(10));
        let next: Vec<_> = next[..4]
            .iter()
            .map(|text| text.as_deref().map(str::trim))
            .collect();
        assert_eq!(
            next,
            [Some("November"), Some("December"), Some("January"), None]
        );
    }

    #[test]
    fn what_cannot_be_moved_is_refused_by_name() {
        let refusal = |settings: &All| run(settings).unwrap_err().to_string();
        let error = refusal(&asked("no such word"));
        assert!(error.contains("`no such word` is not one token"), "{error}");
        let error = refusal(&asked("the"));
        assert!(error.contains("(from)"), "{error}");
        let mut settings = asked("the");
        settings.residues.from = Some(1);
        let report = run(&settings).unwrap();
        assert!(report.notes[0].contains("no word of its list"));
        settings = asked("24");
        settings.candidates = Candidates::Union;
        assert_eq!(run(&settings).unwrap().tables[0].rows.len(), LISTED);
    }
}
