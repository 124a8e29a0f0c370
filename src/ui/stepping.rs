//! Generating text, and stepping along it: the text that is run is then the prompt and the tokens up to the step.

use super::action::Action;
use super::app::App;
use crate::edit::{Edit, Positions, Target};
use crate::experiment::Side;
use crate::session::{Continuation, ReadPosition};

impl App {
    /// Asks for the text that is wanted, if it is another one than before.
    pub(super) fn want_text(&mut self) {
        if self.ui.text.running {
            self.results.want_text(self.ui.text.n_tokens);
        }
    }

    pub(super) fn generate(&mut self) {
        self.ui.text.open = true;
        self.ui.text.running = true;
    }

    pub(super) fn stop_generating(&mut self) {
        self.ui.text.running = false;
        self.results.stop_text();
    }

    pub(super) fn close_text(&mut self) {
        self.step_to(self.stepping_along(), 0);
        self.ui.text.open = false;
        self.ui.text.running = false;
        self.results.forget_text();
    }

    /// The side whose text is walked along: the one that was stepped to last, if what is shown is its beginning; else
    /// the edited one, if it is of that; else the other.
    pub(super) fn stepping_along(&self) -> Side {
        let text = &self.results.text;
        let shown = self.work.session.experiment.continuation.text();
        let wanted = [self.ui.text.side, Side::After, Side::Before];
        wanted
            .into_iter()
            .filter(|side| text.sides().contains(side))
            .find(|side| text.ids(*side).starts_with(shown))
            .unwrap_or(text.sides()[text.sides().len() - 1])
    }

    /// Generated tokens that are part of the text, and those that there are on the side that is walked along.
    pub(super) fn steps(&self) -> (usize, usize) {
        let shown = self.work.session.experiment.continuation.text().len();
        (shown, self.results.text.ids(self.stepping_along()).len())
    }

    pub(super) fn step_text(&mut self, by: isize) {
        let side = self.stepping_along();
        let (shown, there) = self.steps();
        self.step_to(side, shown.saturating_add_signed(by).min(there));
    }

    /// Makes the first tokens of a side part of the text, read at the newest.
    pub(super) fn step_to(&mut self, side: Side, step: usize) {
        let experiment = &self.work.session.experiment;
        let mut position = experiment.position;
        if experiment.continuation.step == 0 {
            self.ui.text.position = position;
        }
        let mut continuation = Continuation {
            ids: self.results.text.ids(side),
            step,
        };
        if step == 0 {
            let n_prompt = self.results.resolved().map_or(0, |of| of.spec.n_prompt);
            let edits = &experiment.edits;
            let names_later = edits.iter().any(|row| names_from(&row.edit, n_prompt));
            continuation = Continuation {
                // Without an edit of theirs nothing is left of them.
                ids: if names_later {
                    experiment.continuation.ids.clone()
                } else {
                    Vec::new()
                },
                step,
            };
            position = self.ui.text.position;
        } else if matches!(position, ReadPosition::At(_)) {
            position = ReadPosition::Usual;
        }
        self.ui.text.side = side;
        self.change(&Action::SetContinuation {
            continuation,
            position,
        });
    }
}

/// Whether an edit names a position from `first` on.
fn names_from(edit: &Edit, first: usize) -> bool {
    let named = match &edit.at {
        Positions::At(positions) => positions.iter().any(|at| *at >= first),
        Positions::All | Positions::Last => false,
    };
    let edge = matches!(edit.target, Target::Edge { query, key, .. } if query.max(key) >= first);
    named || edge
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_names_generated_tokens_by_position_or_by_edge() {
        let names = |edit: &str| names_from(&edit.parse().unwrap(), 5);
        assert!(names("L0H0=zero@2,5") && names("L0H0[6->1]=knockout"));
        assert!(!names("L0H0=zero@2,4") && !names("L0H0[4->1]=knockout"));
        assert!(!names("L0H0=zero") && !names("L0H0=zero@last"));
    }
}
