//! Which edits of a session touch a head.

use crate::edit::{Edit, Op, Positions, Target, describe};
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
        .filter(move |(_, row)| row.edit.target.is_of_head(head, spec.group_size()))
        .map(|(i, row)| (i, &row.edit, row.enabled))
}

/// The mark that an edited head's cell wears; `None` where no edit is on.
pub fn badge(session: &Session, spec: &ModelSpec, head: HeadId) -> Option<String> {
    describe::badge(switched_on(session), head, spec.group_size())
}

/// The mark of the edits on a layer's attention output.
pub fn layer_badge(session: &Session, layer: usize) -> Option<String> {
    describe::layer_badge(switched_on(session), layer)
}

fn switched_on(session: &Session) -> impl Iterator<Item = &Edit> {
    let rows = session.experiment.edits.iter();
    rows.filter(|row| row.enabled).map(|row| &row.edit)
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
