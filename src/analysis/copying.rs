//! What a head's weights copy: eigenvalues of its output-value circuit.
//!
//! Elhage et al. 2021, "Summarizing OV/QK matrices": Σ Re λ / Σ |λ| of W_E W_V W_O W_U, in −1 to 1; near 1 the head raises
//! the tokens that it attends to. The non-zero eigenvalues of that vocabulary-sized matrix are those of the small
//! W_V (W_E W_U)ᵀ W_O, `[d_head, d_head]`. Gains of the norms are folded in, and LayerNorm's centring comes first.

use nalgebra::{Complex, DMatrix, DVector, Schur};
use rayon::prelude::*;

use super::{AnalysisError, Progress, step};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::circuit::{Gain, HeadWeights};

/// Steps of the QR iteration for each eigenvalue; two or three are usual.
const MOST_STEPS: usize = 100;

/// Entries this small beside the largest are rounding: stored weights have no more digits.
const ROUNDING: f64 = f32::EPSILON as f64;

/// What the weights of all heads give, `[layer, head]` each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Copying {
    /// Through the vocabulary, norms folded in. Blank without a language-model head, and where norms stand on the stream.
    pub circuit: Vec<Option<f32>>,
    /// Of W_V W_O alone.
    pub plain: Vec<Option<f32>>,
    /// ‖W_V W_O‖, Frobenius.
    pub norm: Vec<Option<f32>>,
}

/// What stands between what heads read and what they write, over the whole vocabulary.
struct Vocabulary {
    /// `[embedding, unembedding]`: the product as it is stored, read column by column.
    product: DMatrix<f64>,
    last: Gain,
}

impl Vocabulary {
    /// `None` without a language-model head, and where norms stand on the stream.
    fn of(model: &Model) -> Result<Option<Self>, AnalysisError> {
        let d = model.spec.d_model;
        // Without these two the stream is not what the unembedding reads.
        let (Some(last), Some(_)) = (
            model.final_gain(),
            model.attention_gain(model.spec.n_layers - 1),
        ) else {
            return Ok(None);
        };
        let product = model.vocabulary_product()?;
        Ok(product.map(|product| Self {
            product: DMatrix::from_iterator(d, d, product.iter().map(|x| f64::from(*x))),
            last,
        }))
    }

    /// W_V (W_E W_U)ᵀ W_O with the norms' gains, `[d_head, d_head]`.
    fn circuit(
        &self,
        (mut v, mut o): (DMatrix<f64>, DMatrix<f64>),
        gain: Option<&Gain>,
        post: Option<&Gain>,
    ) -> DMatrix<f64> {
        if let Some(gain) = gain {
            read_through(&mut v, gain);
        }
        if let Some(post) = post {
            scale_rows(&mut o, &post.weight);
        }
        write_through(&mut o, &self.last);
        v * (&self.product * o)
    }
}

/// The eigenvalues of heads' circuits through the vocabulary, as real and imaginary parts; `None` where there is none.
pub fn spectra(
    model: &Model,
    heads: &[HeadId],
) -> Result<Vec<Option<Vec<[f64; 2]>>>, AnalysisError> {
    let vocabulary = Vocabulary::of(model)?;
    let of = |head: &HeadId| {
        let Some(vocabulary) = &vocabulary else {
            return Ok(None);
        };
        let weights = matrices(&model.head_weights(*head)?, model.spec.d_model);
        let (gain, [post, _]) = (
            model.attention_gain(head.layer),
            model.post_gains(head.layer),
        );
        let circuit = vocabulary.circuit(weights, gain.as_ref(), post.as_ref());
        let values = eigenvalues(&circuit);
        Ok(values.map(|values| values.iter().map(|value| [value.re, value.im]).collect()))
    };
    heads.iter().map(of).collect()
}

pub fn copying(model: &Model, progress: &mut dyn Progress) -> Result<Copying, AnalysisError> {
    let spec = &model.spec;
    let d = spec.d_model;
    let vocabulary = Vocabulary::of(model)?;
    let mut found = Copying::default();
    for layer in 0..spec.n_layers {
        step(progress, layer as f32 / spec.n_layers as f32)?;
        let (gain, [post, _]) = (model.attention_gain(layer), model.post_gains(layer));
        let heads = (0..spec.n_heads)
            .map(|head| model.head_weights(HeadId::new(layer, head)))
            .collect::<Result<Vec<_>, _>>()?;
        let of_layer: Vec<[Option<f32>; 3]> = heads
            .par_iter()
            .map(|weights| {
                let (v, o) = matrices(weights, d);
                let circuit = vocabulary.as_ref().map(|vocabulary| {
                    vocabulary.circuit((v.clone(), o.clone()), gain.as_ref(), post.as_ref())
                });
                let norm = (o.transpose() * &o)
                    .dot(&(&v * v.transpose()))
                    .max(0.0)
                    .sqrt();
                [
                    circuit.and_then(|circuit| score(&circuit)),
                    score(&(v * o)),
                    Some(norm as f32),
                ]
            })
            .collect();
        for [circuit, plain, norm] in of_layer {
            found.circuit.push(circuit);
            found.plain.push(plain);
            found.norm.push(norm);
        }
    }
    Ok(found)
}

/// W_V `[d_head, d_model]` and W_O `[d_model, d_head]`.
fn matrices(weights: &HeadWeights, d_model: usize) -> (DMatrix<f64>, DMatrix<f64>) {
    let d_head = weights.v.len() / d_model;
    let row_major = |values: &[f32], rows, columns| {
        DMatrix::from_row_iterator(rows, columns, values.iter().map(|x| f64::from(*x)))
    };
    (
        row_major(&weights.v, d_head, d_model),
        row_major(&weights.o, d_model, d_head),
    )
}

/// A matrix that reads what the norm gives, as one that reads what the norm reads.
fn read_through(matrix: &mut DMatrix<f64>, gain: &Gain) {
    for (mut column, gain) in matrix.column_iter_mut().zip(&gain.weight) {
        column *= f64::from(*gain);
    }
    if gain.centres {
        for mut row in matrix.row_iter_mut() {
            let mean = row.mean();
            row.add_scalar_mut(-mean);
        }
    }
}

/// What is written to the stream, as the unembedding reads it behind the norm.
fn write_through(matrix: &mut DMatrix<f64>, gain: &Gain) {
    if gain.centres {
        for mut column in matrix.column_iter_mut() {
            let mean = column.mean();
            column.add_scalar_mut(-mean);
        }
    }
    scale_rows(matrix, &gain.weight);
}

fn scale_rows(matrix: &mut DMatrix<f64>, weight: &[f32]) {
    for (mut row, weight) in matrix.row_iter_mut().zip(weight) {
        row *= f64::from(*weight);
    }
}

/// Σ Re λ / Σ |λ|; `None` for a matrix of zeros, one that is not finite, or one whose eigenvalues are not found.
pub fn score(matrix: &DMatrix<f64>) -> Option<f32> {
    if matrix.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let values = eigenvalues(matrix)?;
    let size: f64 = values.iter().map(|value| value.norm()).sum();
    // The real parts sum to the trace.
    (size > 0.0).then(|| (matrix.trace() / size) as f32)
}

/// `None` where the iteration does not end. It may not end where a matrix is a multiple of the identity but for rounding,
/// which is then all that is left to iterate on: such a matrix is taken once more without.
fn eigenvalues(matrix: &DMatrix<f64>) -> Option<DVector<Complex<f64>>> {
    let most = MOST_STEPS * matrix.nrows();
    let of = |matrix| {
        let schur = Schur::try_new(matrix, f64::EPSILON, most)?;
        Some(schur.complex_eigenvalues())
    };
    of(matrix.clone()).or_else(|| {
        let least = ROUNDING * matrix.amax();
        of(matrix.map(|x| if x.abs() < least { 0.0 } else { x }))
    })
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::analysis::Unheard;
    use crate::model::load::{Unreported, open};

    #[test]
    fn the_score_is_of_the_eigenvalues() {
        let copies = DMatrix::from_row_slice(2, 2, &[2.0, 0.3, 0.3, 1.0]);
        assert!((score(&copies).unwrap() - 1.0).abs() < 1e-6);
        assert!((score(&(-copies)).unwrap() + 1.0).abs() < 1e-6);
        // A turn by 90 degrees: ±i.
        let turns = DMatrix::from_row_slice(2, 2, &[0.0, -1.0, 1.0, 0.0]);
        assert!(score(&turns).unwrap().abs() < 1e-6);
        assert_eq!(score(&DMatrix::zeros(2, 2)), None);
        assert_eq!(score(&DMatrix::from_element(1, 1, f64::NAN)), None);
    }

    #[test]
    fn what_copies_but_for_rounding_has_a_score() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for rounding in [1e-10, 1e-12, 1e-14] {
            let noise = DMatrix::from_fn(16, 16, |_, _| rng.random_range(-rounding..rounding));
            let copies = DMatrix::identity(16, 16) + noise;
            // Unbounded, the iteration would not end on it.
            assert!(Schur::try_new(copies.clone(), f64::EPSILON, 10_000).is_none());
            assert!((score(&copies).unwrap() - 1.0).abs() < 1e-6);
            assert!((score(&(-copies)).unwrap() + 1.0).abs() < 1e-6);
        }
    }

    /// Against the whole matrix of the vocabulary, whose other eigenvalues are zero.
    #[test]
    fn the_small_matrix_has_the_eigenvalues_of_the_vocabulary_sized_one() {
        for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2"] {
            let path = format!(
                "{}/tests/fixtures/models/{name}",
                env!("CARGO_MANIFEST_DIR")
            );
            let model = open(&path, &mut Unreported).unwrap();
            let found = copying(&model, &mut Unheard).unwrap();
            let (d, n_vocab) = (model.spec.d_model, model.spec.n_vocab);
            let ids: Vec<u32> = (0..n_vocab as u32).collect();
            let rows = |values: Vec<f32>| {
                DMatrix::from_row_iterator(n_vocab, d, values.into_iter().map(f64::from))
            };
            let (e, u) = (
                rows(model.embedding(&ids).unwrap()),
                rows(model.unembedding(&ids).unwrap()),
            );
            let centred = |gain: &Gain| {
                let centring = if gain.centres {
                    DMatrix::identity(d, d) - DMatrix::from_element(d, d, 1.0 / d as f64)
                } else {
                    DMatrix::identity(d, d)
                };
                let gains = gain.weight.iter().map(|x| f64::from(*x));
                DMatrix::from_diagonal(&DVector::from_iterator(d, gains)) * centring
            };
            for layer in 0..model.spec.n_layers {
                for head in 0..model.spec.n_heads {
                    let weights = model.head_weights(HeadId::new(layer, head)).unwrap();
                    let (v, o) = matrices(&weights, d);
                    let first = centred(&model.attention_gain(layer).unwrap());
                    let last = centred(&model.final_gain().unwrap());
                    let [post, _] = model.post_gains(layer);
                    let post = post.map_or(DMatrix::identity(d, d), |post| {
                        let gains = post.weight.iter().map(|x| f64::from(*x));
                        DMatrix::from_diagonal(&DVector::from_iterator(d, gains))
                    });
                    let whole = &u * last * post * o * v * first * e.transpose();
                    let right = score(&whole).unwrap();
                    let found = found.circuit[layer * model.spec.n_heads + head].unwrap();
                    // Of the whole matrix rounding makes tiny eigenvalues of what is zero.
                    assert!(
                        (found - right).abs() < 1e-3,
                        "{name} {layer} {head}: {found} {right}"
                    );
                }
            }
            let heads = model.spec.n_layers * model.spec.n_heads;
            assert_eq!(found.norm.len(), heads);
        }
    }
}
