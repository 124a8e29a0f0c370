//! Residue arithmetic of a successor head: the last digit as a direction of E_eff (Gould et al. 2023, section 3).
//!
//! The paper finds features f_r of n mod 10 with a sparse autoencoder; here they are the rows of a multinomial logistic
//! probe for n mod 10 on E_eff of the number tokens (its confirmation), centred over the ten classes. An index is then moved
//! within its decade from residue r to s: u = E_eff\[w\] − k f_r + k f_s, and it succeeds where the head raises most, of the
//! list's successors, that of the moved word. Strength 1 is the k at which k·rms‖f‖ equals the rms of the centred E_eff.

use std::collections::BTreeSet;

use crate::analysis::{AnalysisError, Cell, Report, Table};
use crate::ids::HeadId;
use crate::model::Model;
use nalgebra::{DMatrix, DVector, RowDVector};
use rand::SeedableRng as _;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use crate::analysis::sequences::{Sequence, Variant, variants};
use crate::analysis::successor;
use crate::analysis::successor::token_circuit::{Circuit, successes};

const RESIDUES: usize = 10;

/// With fewer number tokens there is nothing to fit.
const LEAST_NUMBERS: usize = 40;

/// A probe below this accuracy has found no residues; chance is 0.1.
const FOUND: f64 = 0.5;

/// One number in this many is held out.
const HELD_OUT: usize = 5;

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
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_on: true,
            steps: 500,
            ridge: 1e-3,
            strengths: vec![0.0, 0.25, 0.5, 1.0, 2.0, 4.0],
            seed: 0,
        }
    }
}

/// A multinomial logistic probe on centred and scaled rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// `[class, d]`, of centred rows.
    pub weights: DMatrix<f64>,
    pub bias: DVector<f64>,
    /// `[d]`
    pub mean: RowDVector<f64>,
    /// Root mean square norm of the centred rows.
    pub spread: f64,
}

impl Probe {
    /// Minimises the mean cross-entropy + ridge/2 ‖W‖² by Nesterov's accelerated gradient from 0, with the step of its
    /// Lipschitz constant: no randomness. `rows` is `[row, d]`, and `None` where they are all alike or not finite. The
    /// weights are sums of rows, so that the fit is of `[row, class]` coefficients.
    pub fn fit(
        rows: &DMatrix<f64>,
        labels: &[usize],
        n_classes: usize,
        (steps, ridge): (usize, f64),
    ) -> Option<Self> {
        let n = rows.nrows();
        if n == 0 || n != labels.len() || labels.iter().any(|label| *label >= n_classes) {
            return None;
        }
        let mean = rows.row_mean();
        let mut x = rows.clone();
        for mut row in x.row_iter_mut() {
            row -= &mean;
        }
        let spread = (x.norm_squared() / n as f64).sqrt();
        if !(spread.is_finite() && spread > 0.0) {
            return None;
        }
        x /= spread;
        // A constant column is the bias.
        let gram = (&x * x.transpose()).add_scalar(1.0);
        // The softmax's curvature is at most 1/2; the largest eigenvalue at most the trace.
        let step = 1.0 / (0.5 * gram.trace() / n as f64 + ridge);
        let mut held = DMatrix::<f64>::zeros(n, n_classes);
        let mut ahead = held.clone();
        for i in 0..steps {
            let mut slope = softmax(&gram * &ahead);
            for (row, label) in labels.iter().enumerate() {
                slope[(row, *label)] -= 1.0;
            }
            let next = &ahead - (slope / n as f64 + &ahead * ridge) * step;
            let momentum = i as f64 / (i as f64 + 3.0);
            ahead = &next + (&next - &held) * momentum;
            held = next;
        }
        Some(Self {
            weights: held.transpose() * &x / spread,
            bias: held.row_sum().transpose(),
            mean,
            spread,
        })
    }

    /// The likeliest class of each row.
    pub fn classes(&self, rows: &DMatrix<f64>) -> Vec<usize> {
        let of = |row: RowDVector<f64>| &self.weights * (row - &self.mean).transpose() + &self.bias;
        let rows = rows.row_iter();
        rows.map(|row| of(row.into_owned()).argmax().0).collect()
    }

    /// The features, less their mean over classes: `[class, d]`.
    pub fn centred(&self) -> DMatrix<f64> {
        let mut features = self.weights.clone();
        let mean = features.row_mean();
        for mut row in features.row_iter_mut() {
            row -= &mean;
        }
        features
    }
}

fn softmax(mut logits: DMatrix<f64>) -> DMatrix<f64> {
    for mut row in logits.row_iter_mut() {
        let max = row.max();
        row.apply(|x| *x = (*x - max).exp());
        let sum = row.sum();
        row /= sum;
    }
    logits
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
        settings: &successor::Settings,
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
pub(crate) fn add(
    report: &mut Report,
    model: &Model,
    head: HeadId,
    lists: &[Sequence],
    settings: &successor::Settings,
) -> Result<(), AnalysisError> {
    if !settings.residues.is_on {
        return Ok(());
    }
    let numbers = lists.iter().find(|list| list.name == "numbers");
    let of_numbers = match numbers {
        Some(list) => variants(model, std::slice::from_ref(list))?,
        None => vec![],
    };
    let (mut values, mut ids) = (vec![], vec![]);
    for (list, variant) in numbers
        .into_iter()
        .flat_map(|list| of_numbers.iter().map(move |v| (list, v)))
    {
        for (at, token) in variant.tokens.iter().enumerate().take(list.items.len()) {
            if let Some(id) = token {
                values.push(list.index(at));
                ids.push(*id);
            }
        }
    }
    if ids.len() < LEAST_NUMBERS {
        report.note(format!(
            "residue arithmetic left out: it fits a probe of n mod 10 on number tokens, and {} are single tokens of this model \
             ({LEAST_NUMBERS} are needed)",
            ids.len()
        ));
        return Ok(());
    }
    let rows = settings.effective.rows(model, &ids)?;
    let rows = DMatrix::from_row_iterator(
        ids.len(),
        model.spec.d_model,
        rows.iter().map(|x| f64::from(*x)),
    );
    let Some((probe, accuracy)) = fitted(&rows, &values, &settings.residues) else {
        report.note("residue arithmetic left out: the number tokens are all alike to this model");
        return Ok(());
    };
    let features = probe.centred();
    let size = (features.norm_squared() / RESIDUES as f64).sqrt();
    if size <= 0.0 {
        report.note("residue arithmetic left out: the probe found no direction");
        return Ok(());
    }
    let features = (features * (probe.spread / size)).map(|x| x as f32);
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
    report.note(format!(
        "probe of n mod 10 on {} number tokens: accuracy {} on held-out numbers",
        ids.len(),
        accuracy.map_or("unknown".into(), |share| format!("{share:.2}"))
    ));
    if accuracy.is_none_or(|share| share < FOUND) {
        report.note("the probe does not tell the last digit of numbers it has not seen: its directions mean little");
    }
    Ok(())
}

/// The probe of all numbers, and the accuracy of one that has not seen the numbers it is asked about.
fn fitted(
    rows: &DMatrix<f64>,
    values: &[usize],
    settings: &Settings,
) -> Option<(Probe, Option<f64>)> {
    let fit = |at: &[usize]| {
        let labels: Vec<usize> = at.iter().map(|i| values[*i] % RESIDUES).collect();
        let how = (settings.steps, settings.ridge);
        Probe::fit(&rows.select_rows(at), &labels, RESIDUES, how)
    };
    let distinct: Vec<usize> = values
        .iter()
        .copied()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let held: BTreeSet<usize> = sample(&mut rng, distinct.len(), distinct.len() / HELD_OUT)
        .into_iter()
        .map(|i| distinct[i])
        .collect();
    let (apart, seen): (Vec<usize>, Vec<usize>) =
        (0..values.len()).partition(|i| held.contains(&values[*i]));
    let accuracy = fit(&seen).filter(|_| !apart.is_empty()).map(|probe| {
        let found = probe.classes(&rows.select_rows(&apart));
        let right = apart.iter().zip(found);
        let right = right.filter(|(i, class)| values[**i] % RESIDUES == *class);
        right.count() as f64 / apart.len() as f64
    });
    let all: Vec<usize> = (0..values.len()).collect();
    Some((fit(&all)?, accuracy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::sequences::built_in;
    use crate::model::demo;
    use crate::model::load::{Unreported, open};

    /// Rows on a circle: residue r at angle 2πr/10, in the first two of six coordinates; the others do not tell.
    fn circle(n: usize) -> (DMatrix<f64>, Vec<usize>) {
        let labels: Vec<usize> = (0..n).map(|i| i % 10).collect();
        let rows = DMatrix::from_fn(n, 6, |row, column| {
            let angle = labels[row] as f64 * std::f64::consts::TAU / 10.0;
            match column {
                0 => 3.0 + 2.0 * angle.cos(),
                1 => 2.0 * angle.sin(),
                _ => ((row * (column + 7)) as f64 * 0.7).sin() * 0.3,
            }
        });
        (rows, labels)
    }

    #[test]
    fn the_probe_finds_planted_residues_and_their_directions() {
        let (rows, labels) = circle(60);
        let probe = Probe::fit(&rows, &labels, 10, (2000, 1e-4)).unwrap();
        assert_eq!(probe.classes(&rows), labels);
        // The features lie in the circle's plane, each nearest to its own residue's direction.
        let features = probe.centred();
        for (r, row) in features.row_iter().enumerate() {
            let angle = r as f64 * std::f64::consts::TAU / 10.0;
            let along = (row[0] * angle.cos() + row[1] * angle.sin()) / row.norm();
            assert!(along > 0.95, "{r}: {along}");
        }
        assert!(features.row_sum().norm() < 1e-9, "centred");
        // Against the slope of what is minimised, by its definition: it ends near 0.
        let fit = |steps| Probe::fit(&rows, &labels, 10, (steps, 1e-4)).unwrap();
        assert!(slope(&rows, &labels, &fit(2000)) < 0.02 * slope(&rows, &labels, &fit(0)));
        let (values, other) = (
            (0..60).collect::<Vec<_>>(),
            Settings {
                seed: 1,
                ..Settings::default()
            },
        );
        let (_, accuracy) = fitted(&rows, &values, &Settings::default()).unwrap();
        assert!(
            accuracy.unwrap() > 0.9,
            "what is held out is on the circle too"
        );
        assert_eq!(
            fitted(&rows, &values, &other),
            fitted(&rows, &values, &other)
        );
    }

    /// Norm of the gradient of mean cross-entropy + ridge/2 ‖W‖², by the scaled weights.
    fn slope(rows: &DMatrix<f64>, labels: &[usize], probe: &Probe) -> f64 {
        let n = rows.nrows();
        let mut sum = &probe.weights * (probe.spread * 1e-4);
        for (row, label) in rows.row_iter().zip(labels) {
            let x = (row - &probe.mean).transpose();
            let logits = &probe.weights * &x + &probe.bias;
            let e = logits.map(f64::exp);
            let mut off = &e / e.sum();
            off[*label] -= 1.0;
            sum += off * x.transpose() / probe.spread / n as f64;
        }
        sum.norm()
    }

    #[test]
    fn without_a_difference_there_is_no_probe() {
        assert_eq!(
            Probe::fit(
                &DMatrix::from_element(4, 2, 1.0),
                &[0, 1, 0, 1],
                2,
                (5, 0.1)
            ),
            None
        );
        assert_eq!(
            Probe::fit(&DMatrix::from_element(1, 2, f64::NAN), &[0], 2, (5, 0.1)),
            None
        );
        let rows = DMatrix::from_row_slice(2, 1, &[0.0, 1.0]);
        assert_eq!(
            Probe::fit(&rows, &[0, 2], 2, (5, 0.1)),
            None,
            "a label without a class"
        );
    }

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
        use crate::analysis::successor::token_circuit::{Effective, whole};
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
        let settings = successor::Settings {
            residues: Settings {
                strengths: vec![0.0, 1.5],
                ..Settings::default()
            },
            ..successor::Settings::default()
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
