//! Which edits touch a head, and the badge that says so.

use super::scale::minus;
use crate::edit::{Edit, Op, Positions, Target};
use crate::ids::HeadId;
use crate::model::spec::ModelSpec;
use crate::session::Session;

/// The rows that change this head by itself: its z, its key/value head, its edges. Layer-wide edits are not among them.
pub fn rows_of<'a>(
    session: &'a Session,
    spec: &'a ModelSpec,
    head: HeadId,
) -> impl Iterator<Item = (usize, &'a Edit, bool)> {
    session
        .experiment
        .edits
        .iter()
        .enumerate()
        .filter(move |(_, row)| match row.edit.target {
            Target::Head(target) | Target::Edge { head: target, .. } => target == head,
            Target::KvHead(kv) => {
                kv.layer == head.layer && kv.kv_head == spec.kv_head_of(head.head)
            }
            Target::Attention(_) | Target::Mlp(_) | Target::Resid(_) => false,
        })
        .map(|(i, row)| (i, &row.edit, row.enabled))
}

/// The mark that an edited head's cell wears; `None` where no edit is on.
pub fn badge(session: &Session, spec: &ModelSpec, head: HeadId) -> Option<String> {
    let mut edits = rows_of(session, spec, head)
        .filter(|(_, _, enabled)| *enabled)
        .map(|(_, edit, _)| edit);
    let first = mark(&edits.next()?.op);
    let more = edits.count();
    Some(if more == 0 {
        first
    } else {
        format!("{first}+{more}")
    })
}

/// The mark of the edits on a layer's attention output.
pub fn layer_badge(session: &Session, layer: usize) -> Option<String> {
    session
        .experiment
        .edits
        .iter()
        .rev()
        .find(|row| row.enabled && row.edit.target == Target::Attention(layer))
        .map(|row| mark(&row.edit.op))
}

/// An operation as one or two signs.
pub fn mark(op: &Op) -> String {
    match op {
        Op::Zero | Op::ZeroKeepBias => "×".into(),
        Op::Mean => "μ".into(),
        Op::Resample => "⇄".into(),
        Op::Scale(factor) => format!("×{}", trimmed(factor.get())),
        Op::Add { .. } => "+".into(),
        Op::Uniform => "=".into(),
        Op::Knockout => "⊘".into(),
    }
}

/// An operation in words.
pub fn describe(op: &Op) -> String {
    match op {
        Op::Zero => "zero".into(),
        Op::ZeroKeepBias => "zero, keep bias".into(),
        Op::Mean => "mean".into(),
        Op::Resample => "resample from B".into(),
        Op::Scale(factor) => format!("scale ×{}", trimmed(factor.get())),
        Op::Add { vector, factor } => format!("add {} · {}", trimmed(factor.get()), vector.name),
        Op::Uniform => "uniform attention".into(),
        Op::Knockout => "knock out".into(),
    }
}

/// A factor with at most three decimals.
pub fn trimmed(factor: f64) -> String {
    let text = format!("{factor:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".into()
    } else {
        minus(text)
    }
}

/// α of a head: the factor of its `scale` at all positions, 1 without one.
pub fn scale_of(session: &Session, head: HeadId) -> f64 {
    session
        .experiment
        .edits
        .iter()
        .filter(|row| row.enabled)
        .find_map(|row| match row {
            row if row.edit.target == Target::Head(head) && row.edit.at == Positions::All => {
                match row.edit.op {
                    Op::Scale(factor) => Some(factor.get()),
                    _ => None,
                }
            }
            _ => None,
        })
        .unwrap_or(1.0)
}

/// Whether a head's z is set to zero at all positions.
pub fn is_ablated(session: &Session, head: HeadId) -> bool {
    let wanted = Edit::new(Target::Head(head), Op::Zero);
    session
        .experiment
        .edits
        .iter()
        .any(|row| row.enabled && row.edit == wanted)
}

/// Whether an edge is knocked out.
pub fn is_knocked_out(session: &Session, head: HeadId, query: usize, key: usize) -> bool {
    session
        .experiment
        .edits
        .iter()
        .any(|row| row.enabled && row.edit.target == Target::Edge { head, query, key })
}

/// The edges of a head that are knocked out, (query, key).
pub fn knocked_out(session: &Session, head: HeadId) -> impl Iterator<Item = (usize, usize)> {
    session
        .experiment
        .edits
        .iter()
        .filter(|row| row.enabled)
        .filter_map(move |row| match row.edit.target {
            Target::Edge {
                head: target,
                query,
                key,
            } if target == head => Some((query, key)),
            _ => None,
        })
}

/// `L9H6`, with its key/value head where heads share one: `L9H6 (kv 3)`.
pub fn head_name(spec: &ModelSpec, head: HeadId) -> String {
    if spec.group_size() > 1 {
        format!("{head} (kv {})", spec.kv_head_of(head.head))
    } else {
        head.to_string()
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
}
