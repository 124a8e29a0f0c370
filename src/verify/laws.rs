//! What holds of every transformer's activations, whatever the weights: each law as a comparison over plain values.

use std::collections::BTreeMap;

use super::measure::{Precision, Tally, unravel};
use crate::experiment::Pass;
use crate::experiment::engine::Dumped;
use crate::model::site::{Part, Site};
use crate::model::spec::{BlockOrder, Head, ModelSpec, Placement};

/// A law of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    Finite,
    PatternRows,
    Mask,
    PatternTimesV,
    ResidMid,
    ResidPost,
    HeadsSum,
    Lens,
    NoChange,
    Restart,
}

impl Law {
    pub const ALL: [Self; 10] = [
        Self::Finite,
        Self::PatternRows,
        Self::Mask,
        Self::PatternTimesV,
        Self::ResidMid,
        Self::ResidPost,
        Self::HeadsSum,
        Self::Lens,
        Self::NoChange,
        Self::Restart,
    ];

    /// Those about the activations of one plain run.
    pub(super) const OF_ACTIVATIONS: [Self; 6] = [
        Self::Finite,
        Self::PatternRows,
        Self::Mask,
        Self::PatternTimesV,
        Self::ResidMid,
        Self::ResidPost,
    ];

    /// For programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finite => "finite",
            Self::PatternRows => "pattern_rows",
            Self::Mask => "mask",
            Self::PatternTimesV => "pattern_times_v",
            Self::ResidMid => "resid_mid",
            Self::ResidPost => "resid_post",
            Self::HeadsSum => "heads_sum",
            Self::Lens => "lens",
            Self::NoChange => "no_change",
            Self::Restart => "restart",
        }
    }

    pub const fn statement(self) -> &'static str {
        match self {
            Self::Finite => "every activation is a finite number",
            Self::PatternRows => "rows of the pattern sum to 1",
            Self::Mask => "no weight where the mask hides a key",
            Self::PatternTimesV => "pattern · v = z",
            Self::ResidMid => "resid_pre + attn_out = resid_mid",
            Self::ResidPost => "resid_pre + attn_out + mlp_out = resid_post",
            Self::HeadsSum => "sum of the heads' results + b_O = attn_out",
            Self::Lens => "lens at the last layer = logits",
            Self::NoChange => "edits that change nothing change no bit",
            Self::Restart => "a restarted run = a whole run",
        }
    }

    /// How far off is still right, and why.
    pub const fn tolerance(self) -> &'static str {
        match self {
            Self::Finite => "none; only masked scores are infinite",
            Self::Mask => "none; a hidden key has no weight at all",
            Self::NoChange => "none; times 1 is exact",
            Self::PatternRows => {
                "rounding of a sum over the keys: 8·√n·u, n keys (u: the type rounds by it; 2⁻²⁴ in f32)"
            }
            Self::PatternTimesV => {
                "rounding of a sum over the keys: 8·√n·u of the magnitudes that are added, n keys"
            }
            Self::ResidMid | Self::ResidPost => {
                "rounding of the additions: 8·√n·u of the magnitudes that are added, n terms"
            }
            Self::HeadsSum => {
                "one product against one a head: 8·√n·u of the row's largest sum of magnitudes, n = heads × width"
            }
            Self::Lens | Self::Restart => {
                "the same product over other rows: 8·√n·u of the row's largest magnitude, n = width of the stream"
            }
        }
    }

    /// Why the law says nothing about a model; `None` where it holds.
    pub(super) fn exemption(self, spec: &ModelSpec) -> Option<&'static str> {
        match (self, spec.placement) {
            (Self::ResidMid, _) if spec.order != BlockOrder::Sequential => {
                Some("attention and MLP are added at once: there is no resid_mid")
            }
            (Self::ResidPost, Placement::Post) => {
                Some("a norm stands between the two additions (post-norm)")
            }
            (Self::HeadsSum, Placement::Sandwich) => {
                Some("a norm stands between the heads and the stream")
            }
            (Self::Lens, _) if spec.head == Head::None => {
                Some("the model has no language-model head")
            }
            _ => None,
        }
    }
}

/// Recorded activations by name, as they are written to files.
#[derive(Debug, Default)]
pub(super) struct Activations(BTreeMap<String, Dumped>);

impl Activations {
    pub(super) fn new(dumped: Vec<Dumped>) -> Self {
        Self(
            dumped
                .into_iter()
                .map(|activation| (activation.name.clone(), activation))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Result<&Dumped, String> {
        self.0
            .get(name)
            .ok_or_else(|| format!("{name} was not recorded"))
    }

    fn at(&self, layer: usize, part: Part) -> Result<&Dumped, String> {
        self.get(&Site::Block(layer, part).to_string())
    }
}

/// What laws are checked on: a plain run's activations, and what is known of the model.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub(super) spec: &'a ModelSpec,
    pub(super) precision: Precision,
    pub(super) activations: &'a Activations,
}

impl Ground<'_> {
    /// Checks one of [`Law::OF_ACTIVATIONS`]. An error says what kept the law from being checked.
    pub(super) fn check(&self, law: Law) -> Result<Tally, String> {
        let mut tally = Tally::default();
        if law == Law::Finite {
            self.finite(&mut tally);
            return Ok(tally);
        }
        for layer in 0..self.spec.n_layers {
            match law {
                Law::PatternRows => self.pattern_rows(layer, &mut tally)?,
                Law::Mask => self.mask(layer, &mut tally)?,
                Law::PatternTimesV => self.pattern_times_v(layer, &mut tally)?,
                Law::ResidMid => {
                    let terms = [Part::ResidPre, Part::AttnOut];
                    self.sum(layer, &terms, Part::ResidMid, &mut tally)?;
                }
                Law::ResidPost => {
                    let terms = [Part::ResidPre, Part::AttnOut, Part::MlpOut];
                    self.sum(layer, &terms, Part::ResidPost, &mut tally)?;
                }
                _ => {}
            }
        }
        Ok(tally)
    }

    fn finite(&self, tally: &mut Tally) {
        for (name, activation) in &self.activations.0 {
            let scores = match name.parse() {
                Ok(Site::Block(layer, Part::Scores)) => Some(layer),
                _ => None,
            };
            for (i, value) in activation.values.iter().enumerate() {
                let found = f64::from(*value);
                let masked = scores.is_some_and(|layer| {
                    let index = unravel(i, &activation.shape);
                    !self.sees(layer, index[2], index[3])
                });
                let expected = match (masked, found.is_finite()) {
                    (true, _) => f64::NEG_INFINITY,
                    (false, true) => found,
                    (false, false) => 0.0,
                };
                tally.note_in(activation, i, expected, 0.0);
            }
        }
    }

    fn pattern_rows(&self, layer: usize, tally: &mut Tally) -> Result<(), String> {
        let pattern = self.activations.at(layer, Part::Pattern)?;
        let n_keys = pattern.shape[3];
        let tolerance = self.precision.of_sum(n_keys, 1.0);
        for (row, keys) in pattern.values.chunks_exact(n_keys).enumerate() {
            let sum: f64 = keys.iter().map(|a| f64::from(*a)).sum();
            let place = || (pattern.name.clone(), unravel(row, &pattern.shape[..3]));
            tally.note(place, sum, 1.0, tolerance);
        }
        Ok(())
    }

    fn mask(&self, layer: usize, tally: &mut Tally) -> Result<(), String> {
        let pattern = self.activations.at(layer, Part::Pattern)?;
        for i in 0..pattern.values.len() {
            let index = unravel(i, &pattern.shape);
            if !self.sees(layer, index[2], index[3]) {
                tally.note_in(pattern, i, 0.0, 0.0);
            }
        }
        Ok(())
    }

    fn pattern_times_v(&self, layer: usize, tally: &mut Tally) -> Result<(), String> {
        let pattern = self.activations.at(layer, Part::Pattern)?;
        let v = self.activations.at(layer, Part::V)?;
        let z = self.activations.at(layer, Part::Z)?;
        let (n_kv_heads, d_head) = (self.spec.n_kv_heads, self.spec.d_head);
        let n_keys = pattern.shape[3];
        for i in 0..z.values.len() {
            let index = unravel(i, &z.shape);
            let (query, head, column) = (index[1], index[2], index[3]);
            let kv_head = self.spec.kv_head_of(head);
            let weights = &pattern.values[(head * n_keys + query) * n_keys..][..n_keys];
            let terms = weights.iter().enumerate().map(|(key, weight)| {
                let value = v.values[(key * n_kv_heads + kv_head) * d_head + column];
                f64::from(*weight) * f64::from(value)
            });
            let (sum, magnitude) = sum_of(terms);
            tally.note_in(z, i, sum, self.precision.of_sum(n_keys, magnitude));
        }
        Ok(())
    }

    fn sum(
        &self,
        layer: usize,
        terms: &[Part],
        whole: Part,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let terms = terms
            .iter()
            .map(|part| self.activations.at(layer, *part))
            .collect::<Result<Vec<_>, _>>()?;
        let whole = self.activations.at(layer, whole)?;
        for i in 0..whole.values.len() {
            let (sum, magnitude) = sum_of(terms.iter().map(|term| f64::from(term.values[i])));
            tally.note_in(whole, i, sum, self.precision.of_sum(terms.len(), magnitude));
        }
        Ok(())
    }

    /// `biases` holds the attention outputs of a run without heads.
    pub(super) fn heads_sum(&self, biases: &Activations) -> Result<Tally, String> {
        let ModelSpec {
            n_layers,
            n_heads,
            d_model,
            d_head,
            ..
        } = *self.spec;
        let mut tally = Tally::default();
        for layer in 0..n_layers {
            let results = self.activations.at(layer, Part::Result)?;
            let out = self.activations.at(layer, Part::AttnOut)?;
            let bias = biases.at(layer, Part::AttnOut)?;
            for position in 0..out.shape[1] {
                let sums: Vec<(f64, f64)> = (0..d_model)
                    .map(|column| {
                        let of_head =
                            |head| results.values[(position * n_heads + head) * d_model + column];
                        let heads = (0..n_heads).map(of_head);
                        let terms = heads.chain([bias.values[position * d_model + column]]);
                        sum_of(terms.map(f64::from))
                    })
                    .collect();
                let largest = sums.iter().map(|(_, magnitude)| *magnitude);
                let largest = largest.fold(0.0, f64::max);
                let tolerance = self.precision.of_sum(n_heads * d_head, largest);
                for (column, (sum, _)) in sums.into_iter().enumerate() {
                    tally.note_in(out, position * d_model + column, sum, tolerance);
                }
            }
        }
        Ok(tally)
    }

    /// What the logits are read from, `[pos, d_model]`.
    pub(super) fn final_stream(&self) -> Result<&[f32], String> {
        let site = Site::final_resid(self.spec).to_string();
        Ok(&self.activations.get(&site)?.values)
    }

    /// `through_lens` are the logits of the last layer's stream, `[pos, vocab]`.
    pub(super) fn lens(&self, through_lens: &[f32]) -> Result<Tally, String> {
        let logits = self.activations.get(&Site::Logits.to_string())?;
        let mut tally = Tally::default();
        let n_vocab = self.spec.n_vocab;
        for (position, row) in through_lens.chunks_exact(n_vocab).enumerate() {
            let tolerance = self.of_logits(row);
            for (i, expected) in row.iter().enumerate() {
                let flat = position * n_vocab + i;
                tally.note_in(logits, flat, f64::from(*expected), tolerance);
            }
        }
        Ok(tally)
    }

    /// Compares maps and logits of two runs that must give the same.
    pub(super) fn same_pass(
        &self,
        law: Law,
        found: &Pass,
        expected: &Pass,
    ) -> Result<Tally, String> {
        let exact = law == Law::NoChange;
        let mut tally = Tally::default();
        for (found, expected) in found.layers.iter().zip(&expected.layers) {
            let n_keys = found.patterns.n_tokens();
            let tolerance = if exact {
                0.0
            } else {
                self.precision.of_sum(self.spec.d_model, 1.0)
            };
            let name = Site::Block(found.layer, Part::Pattern).to_string();
            for head in 0..found.patterns.n_heads() {
                let (found, expected) = (found.patterns.head(head), expected.patterns.head(head));
                for (i, (a, b)) in found.iter().zip(&*expected).enumerate() {
                    let place = || (name.clone(), vec![0, head, i / n_keys, i % n_keys]);
                    tally.note(place, f64::from(*a), f64::from(*b), tolerance);
                }
            }
        }
        match (&found.logits, &expected.logits) {
            (Some(found), Some(expected)) => {
                let tolerance = if exact { 0.0 } else { self.of_logits(expected) };
                for (i, (a, b)) in found.iter().zip(&**expected).enumerate() {
                    let place = || (Site::Logits.to_string(), vec![0, i]);
                    tally.note(place, f64::from(*a), f64::from(*b), tolerance);
                }
            }
            (None, None) => {}
            _ => return Err("one of the two runs gave no logits".to_owned()),
        }
        Ok(tally)
    }

    fn of_logits(&self, row: &[f32]) -> f64 {
        let largest = row.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
        self.precision.of_sum(self.spec.d_model, f64::from(largest))
    }

    /// Whether the mask of a layer lets a query see a key.
    fn sees(&self, layer: usize, query: usize, key: usize) -> bool {
        self.spec.masks[layer].sees(query, key)
    }
}

/// The sum of `terms`, and of their magnitudes.
fn sum_of(terms: impl Iterator<Item = f64>) -> (f64, f64) {
    terms.fold((0.0, 0.0), |(sum, magnitude), term| {
        (sum + term, magnitude + term.abs())
    })
}
