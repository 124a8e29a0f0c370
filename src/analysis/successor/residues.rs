//! Residue arithmetic of a successor head: the last digit as a direction of E_eff (Gould et al. 2023, section 3).
//!
//! The paper finds features f_r of n mod 10 with a sparse autoencoder; here they are the rows of a [`probe`] of n mod 10,
//! centred over the ten classes. An index is then moved within its decade from residue r to s: u = E_eff\[w\] − k f_r + k f_s,
//! and it succeeds where the head raises most, of the list's successors, that of the moved word. Strength 1 is the k at which
//! k·rms‖f‖ equals the rms of the centred E_eff.
//!
//! [`probe`]: super::probe

use std::collections::BTreeSet;

use crate::analysis::sequences::{Sequence, Variant, built_in, tokenizer, variants};
use crate::analysis::{AnalysisError, Cell, Grid, Report, Scale, Table};
use crate::ids::HeadId;
use crate::model::Model;
use nalgebra::DMatrix;

use super::moved;
use super::probe::{Fitted, cosines};
use super::token_circuit::{Circuit, successes};

pub(super) const RESIDUES: usize = 10;

/// With fewer number tokens there is nothing to fit.
const LEAST_NUMBERS: usize = 40;

/// A probe below this accuracy has found no residues; chance is 0.1.
const FOUND: f64 = 0.5;

/// Lists on which the arithmetic is tried; of the numbers those of the third decade, as in the paper.
const TRIED: [&str; 4] = ["numbers", "months", "days", "letters"];

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub is_on: bool,
    /// Steps of the probe's fit.
    pub steps: usize,
    /// Its ridge penalty, on rows whose root mean square norm is 1.
    pub ridge: f64,
    /// Strengths that are tried; 0 is the unchanged word.
    pub strengths: Vec<f64>,
    /// Of the split into fitted and held-out numbers.
    pub seed: u64,
    /// The word that is moved and looked at; empty: the first number of the third decade, or the first there is.
    pub token: String,
    /// The residue that is taken from it; `None`: that of its index.
    pub from: Option<usize>,
    /// The residue that it is given; `None`: the next.
    pub to: Option<usize>,
    /// How far it is moved.
    pub strength: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_on: true,
            steps: 500,
            ridge: 1e-3,
            strengths: vec![0.0, 0.25, 0.5, 1.0, 2.0, 4.0],
            seed: 0,
            token: String::new(),
            from: None,
            to: None,
            strength: 1.0,
        }
    }
}

/// A list whose indices can be moved: places of its tokens, each with its index.
struct Moves {
    /// Tokens of the words, `[item]`.
    tokens: Vec<u32>,
    /// Tokens that may follow.
    targets: Vec<u32>,
    /// `(item, residue of its index, residue that it gets, target)`
    all: Vec<(usize, usize, usize, usize)>,
}

impl Moves {
    fn new(sequence: &Sequence, variant: &Variant) -> Self {
        let n = sequence.items.len();
        let targets: BTreeSet<u32> = variant
            .pairs()
            .into_iter()
            .filter_map(|(_, to)| variant.tokens[to])
            .collect();
        let targets: Vec<u32> = targets.into_iter().collect();
        let (mut tokens, mut moves) = (vec![], vec![]);
        for at in 0..n {
            let index = sequence.index(at);
            if sequence.name == "numbers" && !(20..30).contains(&index) {
                continue;
            }
            let Some(token) = variant.tokens[at] else {
                continue;
            };
            let from = index % RESIDUES;
            for to in (0..RESIDUES).filter(|to| *to != from) {
                let moved = (at + to).checked_sub(from).filter(|moved| *moved < n);
                let target = moved
                    .filter(|moved| variant.tokens[*moved].is_some())
                    .and_then(|moved| *variant.tokens.get(moved + 1)?)
                    .and_then(|id| targets.binary_search(&id).ok());
                if let Some(target) = target {
                    moves.push((tokens.len(), from, to, target));
                }
            }
            tokens.push(token);
        }
        Self {
            tokens,
            targets,
            all: moves,
        }
    }

    /// How many moves succeed at each strength. `features` are `[residue, d_model]` at strength 1.
    fn successes(
        &self,
        model: &Model,
        head: HeadId,
        features: &DMatrix<f32>,
        settings: &super::Settings,
    ) -> Result<Vec<usize>, AnalysisError> {
        let circuit = Circuit::new(model, &self.targets, settings.fold)?;
        let weights = model.head_weights(head)?;
        let rows = settings.effective.rows(model, &self.tokens)?;
        let rows = DMatrix::from_row_slice(self.tokens.len(), model.spec.d_model, &rows);
        let p = |rows: &DMatrix<f32>| Circuit::p(&weights, &circuit.read(head.layer, rows));
        // All of it is linear: a moved row is read as the sum of what its summands are read as.
        let (of_words, of_features) = (p(&rows), p(features));
        let q = circuit.q(head.layer, &weights);
        let right: Vec<usize> = self.all.iter().map(|(.., target)| *target).collect();
        let at = |strength: f64| {
            let mut moved = DMatrix::zeros(self.all.len(), of_words.ncols());
            for (row, (word, from, to, _)) in self.all.iter().enumerate() {
                let change = of_features.row(*to) - of_features.row(*from);
                moved.set_row(row, &(of_words.row(*word) + change * strength as f32));
            }
            let found = successes(&moved, &q, &right);
            found.into_iter().filter(|success| *success).count()
        };
        Ok(settings.residues.strengths.iter().map(|k| at(*k)).collect())
    }
}

/// Adds the arithmetic of a head to a report, or says why there is none.
pub(super) fn add(
    report: &mut Report,
    model: &Model,
    head: HeadId,
    lists: &[Sequence],
    settings: &super::Settings,
) -> Result<(), AnalysisError> {
    if !settings.residues.is_on {
        return Ok(());
    }
    let Some(features) = features(report, model, settings)? else {
        return Ok(());
    };
    let mut rows = vec![];
    for list in lists.iter().filter(|list| TRIED.contains(&&list.name[..])) {
        let (mut n, mut won) = (0, vec![0; settings.residues.strengths.len()]);
        for variant in variants(model, std::slice::from_ref(list))? {
            let moves = Moves::new(list, &variant);
            if moves.all.is_empty() {
                continue;
            }
            n += moves.all.len();
            let found = moves.successes(model, head, &features, settings)?;
            for (sum, found) in won.iter_mut().zip(found) {
                *sum += found;
            }
        }
        if n > 0 {
            let mut cells = vec![Cell::from(list.name.clone()), Cell::from(n)];
            cells.extend(won.into_iter().map(|won| Cell::from(won as f64 / n as f64)));
            rows.push(cells);
        }
    }
    let strengths = settings.residues.strengths.iter();
    let mut columns = vec!["list".to_owned(), "moves".to_owned()];
    columns.extend(strengths.map(|k| format!("success at strength {k}")));
    report.tables.push(Table {
        name: format!("residue arithmetic, {head}"),
        columns,
        rows,
    });
    moved::add(report, model, head, lists, &features, settings)
}

/// The features at strength 1, `[residue, d_model]`, with what the report says of them; `None` where there are none.
fn features(
    report: &mut Report,
    model: &Model,
    settings: &super::Settings,
) -> Result<Option<DMatrix<f32>>, AnalysisError> {
    // Whatever lists are asked about: residues are of numbers.
    let numbers = built_in(tokenizer(model)?);
    let (mut values, mut ids) = (vec![], vec![]);
    for list in numbers.iter().filter(|list| list.name == "numbers") {
        for variant in variants(model, std::slice::from_ref(list))? {
            for (at, token) in variant.tokens.iter().enumerate().take(list.items.len()) {
                if let Some(id) = token {
                    values.push(list.index(at));
                    ids.push(*id);
                }
            }
        }
    }
    let n = ids.len();
    if n < LEAST_NUMBERS {
        report.note(format!(
            "residue arithmetic left out: it fits a probe of n mod 10 on number tokens, and {n} are single tokens of this model \
             ({LEAST_NUMBERS} are needed)"
        ));
        return Ok(None);
    }
    let rows = settings.effective.rows(model, &ids)?;
    let rows = rows.iter().map(|x| f64::from(*x));
    let rows = DMatrix::from_row_iterator(n, model.spec.d_model, rows);
    let Some(fitted) = Fitted::new(&rows, &values, &settings.residues) else {
        report.note("residue arithmetic left out: the number tokens are all alike to this model");
        return Ok(None);
    };
    let features = fitted.probe.centred();
    let size = (features.norm_squared() / RESIDUES as f64).sqrt();
    if size <= 0.0 {
        report.note("residue arithmetic left out: the probe found no direction");
        return Ok(None);
    }
    report.tables.push(Table {
        name: "probe of n mod 10".into(),
        columns: [
            "number tokens",
            "accuracy",
            "accuracy on held-out numbers",
            "chance",
        ]
        .map(str::to_owned)
        .into(),
        rows: vec![vec![
            Cell::from(n),
            Cell::from(fitted.own),
            Cell::Number(fitted.held_out),
            Cell::from(1.0 / RESIDUES as f64),
        ]],
    });
    if fitted.held_out.is_none_or(|share| share < FOUND) {
        report.note("the probe does not tell the last digit of numbers it has not seen: its directions mean little");
    }
    let names: Vec<String> = (0..RESIDUES).map(|r| r.to_string()).collect();
    report.grids.push(Grid {
        name: "features of residues".into(),
        about: "cosine between the probe's rows for two residues, less the mean of all ten".into(),
        scale: Scale::Signed,
        row_axis: "residue",
        rows: names.clone(),
        column_axis: "residue",
        columns: names,
        values: cosines(&features),
        texts: vec![String::new(); RESIDUES * RESIDUES],
    });
    let features = features * (fitted.probe.spread / size);
    Ok(Some(features.map(|x| x as f32)))
}

#[cfg(test)]
mod tests {
    use super::super::Settings as All;
    use super::super::token_circuit::{Effective, whole};
    use super::*;
    use crate::model::demo;
    use crate::model::load::{Unreported, open};

    #[test]
    fn indices_move_within_the_list() {
        let months = Sequence {
            is_cyclic: true,
            ..Sequence::typed("a,b,c,d,e,f,g,h,i,j,k,l").unwrap()
        };
        let variant = Variant {
            name: "months".into(),
            form: String::new(),
            texts: vec![String::new(); 13],
            tokens: (0..12).chain([0]).map(Some).collect(),
        };
        let moves = Moves::new(&months, &variant);
        for (item, from, to, target) in &moves.all {
            let index = item + 1;
            assert_eq!(index % 10, *from);
            let moved = index + to - from;
            assert!((1..=12).contains(&moved));
            // Item number `moved` is token `moved - 1`; the next is token `moved`, and January's after December.
            assert_eq!(moves.targets[*target] as usize, moved % 12);
        }
        // 1 to 9 to each other (8 each), 10 to 12 to each other (2 each), and 1 to 9 to 0 (which is no index).
        assert_eq!(moves.all.len(), 9 * 8 + 3 * 2);
    }

    /// Every move by the whole circuit, from the moved row itself.
    #[test]
    fn moved_words_are_read_as_the_sums_they_are() {
        let model = open(demo::NAME, &mut Unreported).unwrap();
        let months = built_in(model.tokenizer.as_ref().unwrap()).swap_remove(5);
        let variant = variants(&model, std::slice::from_ref(&months))
            .unwrap()
            .remove(1);
        let moves = Moves::new(&months, &variant);
        let d = model.spec.d_model;
        let features = DMatrix::from_fn(10, d, |r, i| {
            (((r * 31 + i * 17) % 29) as f32 - 14.0) / 60.0
        });
        let settings = All {
            residues: Settings {
                strengths: vec![0.0, 1.5],
                ..Settings::default()
            },
            ..All::default()
        };
        let rows = Effective::Mlp.rows(&model, &moves.tokens).unwrap();
        for head in [HeadId::new(3, 2), HeadId::new(0, 1)] {
            let found = moves.successes(&model, head, &features, &settings).unwrap();
            for (found, k) in found.into_iter().zip([0.0, 1.5]) {
                let mut right = 0;
                for (word, from, to, target) in &moves.all {
                    let of = |i: usize| {
                        let change = features[(*to, i)] - features[(*from, i)];
                        f64::from(rows[word * d + i]) + k * f64::from(change)
                    };
                    let moved = DMatrix::from_fn(1, d, |_, i| of(i));
                    let logits = whole(&model, head, &moved, &moves.targets);
                    right += usize::from(logits.row(0).transpose().argmax().0 == *target);
                }
                // Near ties may fall either way in f32.
                assert!(found.abs_diff(right) <= 1, "{head} {k}: {found} {right}");
            }
        }
    }
}
