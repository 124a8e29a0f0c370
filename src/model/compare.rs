//! One forward made in two ways, side by side: whether a device computes what the CPU computes, and how far logits in
//! narrow numbers are from those in f32.

use std::collections::BTreeSet;

use candle_core::{Result, Tensor};

use super::plan::Plan;
use super::site::{Axis, Part, Site};
use super::tensors::with_values;
use super::transformer::{Activations, Transformer};

/// The largest difference of a device from the CPU, as a part of the activation's own size.
///
/// The order of additions differs, which changes an f32 product by some 1e-7 of its size, and adds up over layers: 1.2e-5
/// is the most at any site of the 30 layers of SmolLM2, between two ways to multiply the same f32 numbers. Weights that
/// are rounded to 11 bits, as f16 and TF32 do, change its activations by 6e-3; wrong shapes and kernels by more.
pub(super) const TOLERANCE: f32 = 1e-4;

/// The most tokens of a prompt that are compared.
pub(super) const MOST_TOKENS: usize = 16;

/// Where two passes give different activations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Disagreement {
    pub(super) site: Site,
    pub(super) difference: f32,
    /// The largest magnitude where they differ.
    pub(super) size: f32,
}

/// What came of a comparison; `None` where `go_on` stopped it.
pub(super) type Compared<T> = Result<Option<T>>;

/// The first site at which `found` differs from `right` by more than [`TOLERANCE`].
pub(super) fn first_disagreement(
    found: &Transformer,
    right: &Transformer,
    ids: &[u32],
    go_on: &mut dyn FnMut() -> bool,
) -> Compared<Option<Disagreement>> {
    // W_O is multiplied by head only where somebody looks at that: the whole product is compared after it.
    let sites = Site::all(&right.spec).into_iter();
    let record = sites
        .filter(|site| !matches!(site, Site::Block(_, Part::Result)))
        .collect();
    let mut first = None;
    let done = side_by_side(found, right, ids, &record, &mut |found, right| {
        for (site, right) in right {
            let of_site = disagreement(*site, &found[site], right)?;
            if of_site.is_some() {
                first = of_site;
                return Ok(false);
            }
        }
        Ok(go_on())
    })?;
    Ok((done || first.is_some()).then_some(first))
}

/// The largest difference between the logits of two passes, over all positions and tokens; `None` without logits.
pub(super) fn logit_difference(
    a: &Transformer,
    b: &Transformer,
    ids: &[u32],
    go_on: &mut dyn FnMut() -> bool,
) -> Compared<Option<f32>> {
    let record = BTreeSet::from([Site::Logits]);
    let mut largest = None;
    let done = side_by_side(a, b, ids, &record, &mut |a, b| {
        if let (Some(a), Some(b)) = (a.get(&Site::Logits), b.get(&Site::Logits)) {
            largest = Some(with_both(a, b, largest_difference)?);
        }
        Ok(go_on())
    })?;
    Ok(done.then_some(largest))
}

/// Runs both, and gives what each layer recorded; says whether `look` let them run to the end.
fn side_by_side(
    a: &Transformer,
    b: &Transformer,
    ids: &[u32],
    record: &BTreeSet<Site>,
    look: &mut dyn FnMut(&Activations, &Activations) -> Result<bool>,
) -> Result<bool> {
    let plan = Plan::default();
    let (mut a, mut b) = (a.start(ids, &plan, record)?, b.start(ids, &plan, record)?);
    while let (Some(of_a), Some(of_b)) = (a.step()?, b.step()?) {
        if !look(&of_a, &of_b)? {
            return Ok(false);
        }
    }
    for forward in [&mut a, &mut b] {
        let resid = forward.finish(None)?;
        forward.logits(resid)?;
    }
    look(&a.recorded(), &b.recorded())
}

fn disagreement(site: Site, found: &Tensor, right: &Tensor) -> Result<Option<Disagreement>> {
    // Positions have sizes of their own: the first may be a thousand times as large. Maps have one.
    let width = match site.axes() {
        [Axis::Pos, ..] => right.elem_count() / right.dim(0)?,
        _ => right.elem_count(),
    };
    with_both(found, right, |found, right| {
        let rows = found.chunks_exact(width).zip(right.chunks_exact(width));
        rows.map(|(found, right)| Disagreement {
            site,
            difference: largest_difference(found, right),
            size: right
                .iter()
                .filter(|x| x.is_finite())
                .fold(0.0, |size, x| size.max(x.abs())),
        })
        .find(|at| at.difference.is_nan() || at.difference > TOLERANCE * at.size)
    })
}

/// NaN where a value of only one side is not finite.
fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .filter(|(a, b)| a.to_bits() != b.to_bits())
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |largest, difference| {
            if difference.is_nan() || difference > largest {
                difference
            } else {
                largest
            }
        })
}

fn with_both<R>(a: &Tensor, b: &Tensor, f: impl FnOnce(&[f32], &[f32]) -> R) -> Result<R> {
    with_values(a, |a| with_values(b, |b| f(a, b)))?
}
