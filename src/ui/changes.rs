//! What an action makes of an experiment. Pure: nothing here knows of the window or of undo.

use super::action::Action;
use crate::edit::{Edit, Finite, Op, Positions, Target};
use crate::ids::HeadId;
use crate::session::{Continuation, EditRow, Experiment, ReadPosition};

/// The experiment after an action, and how the step is called.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub next: Experiment,
    /// For `Undo: …`.
    pub label: String,
    /// Changes with the same key that follow each other are one step: a drag.
    pub key: Option<String>,
}

/// `None` for actions that are not about the experiment, and for those that cannot be: a row that is not there, a
/// factor that is no number.
pub(super) fn change(experiment: &Experiment, action: &Action) -> Option<Change> {
    let mut next = experiment.clone();
    let mut key = None;
    let label = match action {
        Action::SetPrompt(prompt) => {
            next.prompt = prompt.clone();
            if matches!(next.position, ReadPosition::At(_)) {
                // The position was one of the old prompt.
                next.position = ReadPosition::Usual;
            }
            key = Some("prompt A".to_owned());
            next.continuation = Continuation::default();
            "prompt A".to_owned()
        }
        Action::SetContrast(contrast) => {
            next.contrast.clone_from(contrast);
            if contrast.is_some() && experiment.contrast.is_some() {
                key = Some("prompt B".to_owned());
            }
            "prompt B".to_owned()
        }
        Action::SetBos(rule) => {
            next.bos = *rule;
            next.continuation = Continuation::default();
            "beginning of text".to_owned()
        }
        Action::SetAnswers(answers) => {
            next.answers.clone_from(answers);
            "answers".to_owned()
        }
        Action::SetPosition(position) => {
            next.position = *position;
            "read position".to_owned()
        }
        Action::SetContinuation {
            continuation,
            position,
        } => {
            next.continuation = continuation.clone();
            next.position = *position;
            key = Some("continuation".to_owned());
            match continuation.step {
                0 => "back to the prompt".to_owned(),
                step => format!("step to generated token {step}"),
            }
        }
        Action::AddEdit(edit) => {
            next.edits.push(enabled(edit.clone()));
            edit.to_string()
        }
        Action::SetEdit { row, edit } => {
            next.edits.get_mut(*row)?.edit = edit.clone();
            key = Some(format!("row {row}"));
            edit.to_string()
        }
        Action::SetEnabled { row, enabled } => {
            let row = next.edits.get_mut(*row)?;
            row.enabled = *enabled;
            let switch = if *enabled { "on" } else { "off" };
            format!("{} {switch}", row.edit)
        }
        Action::RemoveEdit(row) => {
            if *row >= next.edits.len() {
                return None;
            }
            format!("remove {}", next.edits.remove(*row).edit)
        }
        Action::DuplicateEdit(row) => {
            let copy = next.edits.get(*row)?.clone();
            let label = format!("duplicate {}", copy.edit);
            next.edits.insert(row + 1, copy);
            label
        }
        Action::MoveEdit { from, to } => {
            if *from >= next.edits.len() || *to >= next.edits.len() {
                return None;
            }
            let row = next.edits.remove(*from);
            let label = format!("move {}", row.edit);
            next.edits.insert(*to, row);
            label
        }
        Action::ClearEdits => {
            next.edits.clear();
            "remove all edits".to_owned()
        }
        Action::ToggleAblation(heads) => toggle_ablation(&mut next.edits, heads),
        Action::SetHeadScale { heads, factor } => {
            let factor = Finite::new(*factor)?;
            for head in heads {
                set_scale(&mut next.edits, *head, factor);
            }
            key = Some(format!("scale {}", names(heads)));
            format!("scale {} by {}", names(heads), factor.get())
        }
        Action::ToggleKnockout { head, query, key } => {
            let target = Target::Edge {
                head: *head,
                query: *query,
                key: *key,
            };
            toggle(&mut next.edits, &Edit::new(target, Op::Knockout))
        }
        _ => return None,
    };
    Some(Change { next, label, key })
}

fn enabled(edit: Edit) -> EditRow {
    EditRow {
        edit,
        enabled: true,
    }
}

/// Ablates the heads that are not ablated, or frees all if all are.
fn toggle_ablation(rows: &mut Vec<EditRow>, heads: &[HeadId]) -> String {
    let ablation = |head: &HeadId| Edit::new(Target::Head(*head), Op::Zero);
    let is_on = |rows: &[EditRow], head: &HeadId| rows.contains(&enabled(ablation(head)));
    if heads.iter().all(|head| is_on(rows, head)) {
        rows.retain(|row| !heads.iter().any(|head| row.edit == ablation(head)));
        return format!("free {}", names(heads));
    }
    for head in heads {
        let edit = ablation(head);
        match rows.iter_mut().find(|row| row.edit == edit) {
            Some(row) => row.enabled = true,
            None => rows.push(enabled(edit)),
        }
    }
    format!("ablate {}", names(heads))
}

/// Changes the head's row that scales it everywhere, adds one, or takes it away for factor 1.
fn set_scale(rows: &mut Vec<EditRow>, head: HeadId, factor: Finite) {
    let scales = |row: &EditRow| {
        row.edit.target == Target::Head(head)
            && row.edit.at == Positions::All
            && matches!(row.edit.op, Op::Scale(_))
    };
    let edit = Edit::new(Target::Head(head), Op::Scale(factor));
    match rows.iter().position(scales) {
        Some(row) if factor == Finite::ONE => {
            rows.remove(row);
        }
        Some(row) => rows[row] = enabled(edit),
        None if factor == Finite::ONE => {}
        None => rows.push(enabled(edit)),
    }
}

fn toggle(rows: &mut Vec<EditRow>, edit: &Edit) -> String {
    match rows.iter_mut().find(|row| row.edit == *edit) {
        Some(row) if !row.enabled => {
            row.enabled = true;
            edit.to_string()
        }
        Some(_) => {
            rows.retain(|row| row.edit != *edit);
            format!("remove {edit}")
        }
        None => {
            rows.push(enabled(edit.clone()));
            edit.to_string()
        }
    }
}

/// `L9H6`, `L9H6, L9H7`, or `12 heads`.
fn names(heads: &[HeadId]) -> String {
    if heads.len() > 3 {
        return format!("{} heads", heads.len());
    }
    let names: Vec<_> = heads.iter().map(HeadId::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Prompt;

    fn experiment(edits: &[&str]) -> Experiment {
        Experiment {
            edits: edits
                .iter()
                .map(|text| enabled(text.parse().unwrap()))
                .collect(),
            ..Experiment::new(Prompt::Text("a".into()))
        }
    }

    fn check(before: &[&str], action: &Action, after: &[&str]) {
        let change = change(&experiment(before), action).unwrap();
        assert_eq!(change.next, experiment(after), "{action:?}");
    }

    #[test]
    fn ablating_twice_frees_and_ablating_some_completes() {
        let (a, b) = (HeadId::new(0, 1), HeadId::new(2, 3));
        let toggle = Action::ToggleAblation(vec![a, b]);
        check(&[], &toggle, &["L0H1=zero", "L2H3=zero"]);
        check(&["L2H3=zero"], &toggle, &["L2H3=zero", "L0H1=zero"]);
        check(
            &["L0H1=zero", "M1=zero", "L2H3=zero"],
            &toggle,
            &["M1=zero"],
        );
        let mut off = experiment(&["L0H1=zero", "L2H3=zero"]);
        off.edits[0].enabled = false;
        let on = change(&off, &toggle).unwrap().next;
        assert_eq!(on, experiment(&["L0H1=zero", "L2H3=zero"]));
    }

    #[test]
    fn a_scale_has_one_row_a_head_and_none_at_one() {
        let scale = |factor| Action::SetHeadScale {
            heads: vec![HeadId::new(9, 6)],
            factor,
        };
        check(&[], &scale(2.5), &["L9H6=scale(2.5)"]);
        check(
            &["L9H6=scale(2)@last", "L9H6=scale(3)", "M0=zero"],
            &scale(-1.0),
            &["L9H6=scale(2)@last", "L9H6=scale(-1)", "M0=zero"],
        );
        check(&["L9H6=scale(3)"], &scale(1.0), &[]);
        assert_eq!(change(&experiment(&[]), &scale(f64::NAN)), None);
        let keys = [2.0, 3.0].map(|f| change(&experiment(&[]), &scale(f)).unwrap().key);
        assert_eq!(keys[0], keys[1]);
        assert!(keys[0].is_some());
    }

    #[test]
    fn knocking_an_edge_out_twice_frees_it() {
        let toggle = Action::ToggleKnockout {
            head: HeadId::new(1, 2),
            query: 7,
            key: 3,
        };
        check(&[], &toggle, &["L1H2[7->3]=knockout"]);
        check(&["L1H2[7->3]=knockout", "M0=zero"], &toggle, &["M0=zero"]);
    }

    #[test]
    fn rows_that_are_not_there_change_nothing() {
        let before = experiment(&["M0=zero"]);
        for action in [
            Action::RemoveEdit(1),
            Action::DuplicateEdit(1),
            Action::MoveEdit { from: 0, to: 1 },
            Action::SetEnabled {
                row: 9,
                enabled: true,
            },
            Action::Undo,
        ] {
            assert_eq!(change(&before, &action), None, "{action:?}");
        }
        check(
            &["M0=zero", "M1=zero", "M2=zero"],
            &Action::MoveEdit { from: 0, to: 2 },
            &["M1=zero", "M2=zero", "M0=zero"],
        );
    }
}
