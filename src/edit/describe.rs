//! Edits in words and in signs, for people. Canonical spellings, which can be read back, are in `grammar`.

use super::{Edit, Op, Target};
use crate::ids::HeadId;

/// The mark that an edited head wears: its first edit, and how many more there are. `edits` are those that are switched
/// on; `group_size` is the number of query heads that share a key/value head. `None` where none touches the head by
/// itself; [`layer_badge`] has those of its whole layer.
pub fn badge<'a>(
    edits: impl IntoIterator<Item = &'a Edit>,
    head: HeadId,
    group_size: usize,
) -> Option<String> {
    let mut edits = edits
        .into_iter()
        .filter(|edit| edit.target.is_of_head(head, group_size));
    let first = mark(&edits.next()?.op);
    let more = edits.count();
    Some(if more == 0 {
        first
    } else {
        format!("{first}+{more}")
    })
}

/// The mark of the last edit on a layer's attention output.
pub fn layer_badge<'a>(edits: impl IntoIterator<Item = &'a Edit>, layer: usize) -> Option<String> {
    edits
        .into_iter()
        .filter(|edit| edit.target == Target::Attention(layer))
        .last()
        .map(|edit| mark(&edit.op))
}

/// An operation as one or two signs.
pub fn mark(op: &Op) -> String {
    match op {
        Op::Zero | Op::ZeroKeepBias => "×".into(),
        Op::Mean => "μ".into(),
        Op::Resample => "⇄".into(),
        Op::Scale(factor) => format!("×{}", trimmed(factor.get())),
        Op::Add { .. } => "+".into(),
        Op::Mix { .. } => "~".into(),
        Op::Affine { .. } => "±".into(),
        Op::Uniform => "=".into(),
        Op::Knockout => "⊘".into(),
    }
}

/// An operation in words.
pub fn words(op: &Op) -> String {
    match op {
        Op::Zero => "zero".into(),
        Op::ZeroKeepBias => "zero, keep bias".into(),
        Op::Mean => "mean".into(),
        Op::Resample => "resample from B".into(),
        Op::Scale(factor) => format!("scale ×{}", trimmed(factor.get())),
        Op::Add { vector, factor } => format!("add {} · {}", trimmed(factor.get()), vector.name),
        Op::Mix { vector, share } => format!("mix in {} · {}", trimmed(share.get()), vector.name),
        Op::Affine { gain, shift } => format!("affine {}, {}", gain.name, shift.name),
        Op::Uniform => "uniform attention".into(),
        Op::Knockout => "knock out".into(),
    }
}

/// A factor with at most three decimals and a true minus sign.
pub fn trimmed(factor: f64) -> String {
    let text = format!("{factor:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".into()
    } else {
        text.replace('-', "−")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_short_and_never_minus_zero() {
        assert_eq!(trimmed(2.50), "2.5");
        assert_eq!(trimmed(-0.0001), "0");
        assert_eq!(trimmed(1000.0), "1000");
        assert_eq!(trimmed(-3.0), "−3");
    }

    #[test]
    fn a_head_wears_its_own_edits_and_those_of_its_key_value_head() {
        let edits: Vec<Edit> = [
            "L1H2=scale(2.5)",
            "L1KV0=zero",
            "L1H2[3->1]=knockout",
            "L1=uniform",
            "L1=mean",
        ]
        .map(|edit| edit.parse().unwrap())
        .into();
        let of = |layer, head, group_size| badge(&edits, HeadId::new(layer, head), group_size);
        assert_eq!(of(1, 2, 1).as_deref(), Some("×2.5+1"));
        assert_eq!(of(1, 2, 3).as_deref(), Some("×2.5+2"));
        assert_eq!(of(1, 0, 3).as_deref(), Some("×"));
        assert_eq!(of(1, 3, 3), None);
        assert_eq!(of(0, 2, 3), None);
        assert_eq!(layer_badge(&edits, 1).as_deref(), Some("μ"));
        assert_eq!(layer_badge(&edits, 0), None);
    }
}
