//! Undo and redo: snapshots of the [`Experiment`], each with a label, a whole drag being one step.
//!
//! Only the experiment is covered: undoing an edit does not move the panels or the selection back.

use std::collections::VecDeque;

use super::Experiment;

/// The most steps kept; the oldest go first.
const MAX_STEPS: usize = 200;

/// The past and the undone future of one experiment.
#[derive(Clone, Debug, Default)]
pub struct History {
    undo: VecDeque<Step>,
    redo: Vec<Step>,
    /// Key of the drag that the newest step belongs to, until it is sealed.
    drag: Option<String>,
}

/// A state to go back (or forward) to, and the name of the change between it and its neighbour.
#[derive(Clone, Debug)]
struct Step {
    label: String,
    experiment: Experiment,
}

impl History {
    /// Replaces `current` by `next` and remembers how to go back. Says whether anything changed.
    ///
    /// Changes with the same `key` that follow each other without [`History::seal`] between them are one step: a drag.
    pub fn change(
        &mut self,
        current: &mut Experiment,
        next: Experiment,
        label: impl Into<String>,
        key: Option<&str>,
    ) -> bool {
        if *current == next {
            return false;
        }
        let before = std::mem::replace(current, next);
        self.redo.clear();
        let label = label.into();
        if key.is_some() && self.drag.as_deref() == key {
            self.continue_drag(current, label);
        } else {
            if self.undo.len() == MAX_STEPS {
                self.undo.pop_front();
            }
            self.undo.push_back(Step {
                label,
                experiment: before,
            });
            self.drag = key.map(str::to_owned);
        }
        true
    }

    fn continue_drag(&mut self, current: &Experiment, label: String) {
        let Some(step) = self.undo.back_mut() else {
            return;
        };
        if step.experiment == *current {
            // Dragged back to where it began: there is nothing to undo.
            self.undo.pop_back();
            self.drag = None;
        } else {
            // The label names the newest value.
            step.label = label;
        }
    }

    /// Ends a drag: the next change is a step of its own.
    pub fn seal(&mut self) {
        self.drag = None;
    }

    /// Goes one step back. Returns the label of what was undone.
    pub fn undo(&mut self, current: &mut Experiment) -> Option<String> {
        self.seal();
        let step = self.undo.pop_back()?;
        let label = step.label.clone();
        self.redo.push(swap(step, current));
        Some(label)
    }

    /// Goes one step forward. Returns the label of what was done again.
    pub fn redo(&mut self, current: &mut Experiment) -> Option<String> {
        self.seal();
        let step = self.redo.pop()?;
        let label = step.label.clone();
        self.undo.push_back(swap(step, current));
        Some(label)
    }

    /// What [`History::undo`] would undo.
    pub fn undo_label(&self) -> Option<&str> {
        self.undo.back().map(|step| step.label.as_str())
    }

    /// What [`History::redo`] would do again.
    pub fn redo_label(&self) -> Option<&str> {
        self.redo.last().map(|step| step.label.as_str())
    }
}

/// Puts the step's state into `current`, and the state that was there into the step.
fn swap(mut step: Step, current: &mut Experiment) -> Step {
    std::mem::swap(&mut step.experiment, current);
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Prompt;

    fn experiment(text: &str) -> Experiment {
        Experiment::new(Prompt::Text(text.into()))
    }

    #[test]
    fn undoing_and_redoing_walk_the_same_states() {
        let mut history = History::default();
        let mut current = experiment("0");
        for i in 1..=5 {
            assert!(history.change(&mut current, experiment(&i.to_string()), format!("to {i}"), None));
        }
        for i in (1..=5).rev() {
            assert_eq!(history.undo(&mut current), Some(format!("to {i}")));
            assert_eq!(current, experiment(&(i - 1).to_string()));
        }
        assert_eq!(history.undo(&mut current), None);
        for i in 1..=5 {
            assert_eq!(history.redo(&mut current), Some(format!("to {i}")));
            assert_eq!(current, experiment(&i.to_string()));
        }
        assert_eq!(history.redo(&mut current), None);
    }

    #[test]
    fn a_new_change_forgets_what_was_undone() {
        let mut history = History::default();
        let mut current = experiment("a");
        history.change(&mut current, experiment("b"), "b", None);
        history.undo(&mut current);
        assert_eq!(history.redo_label(), Some("b"));
        history.change(&mut current, experiment("c"), "c", None);
        assert_eq!(history.redo_label(), None);
        assert_eq!(history.redo(&mut current), None);
        assert_eq!(current, experiment("c"));
    }

    #[test]
    fn a_change_to_the_same_state_is_no_step() {
        let mut history = History::default();
        let mut current = experiment("a");
        history.change(&mut current, experiment("b"), "b", None);
        history.undo(&mut current);
        assert!(!history.change(&mut current, experiment("a"), "nothing", None));
        assert_eq!(history.undo_label(), None);
        assert_eq!(history.redo_label(), Some("b"));
    }

    #[test]
    fn a_drag_is_one_step_until_it_is_sealed() {
        let mut history = History::default();
        let mut current = experiment("0");
        for i in 1..=9 {
            history.change(&mut current, experiment(&i.to_string()), format!("to {i}"), Some("row 3"));
        }
        history.seal();
        history.change(&mut current, experiment("x"), "to x", Some("row 3"));
        history.change(&mut current, experiment("y"), "to y", Some("row 4"));
        assert_eq!(history.undo(&mut current), Some("to y".into()));
        assert_eq!(history.undo(&mut current), Some("to x".into()));
        assert_eq!(current, experiment("9"));
        assert_eq!(history.undo(&mut current), Some("to 9".into()));
        assert_eq!(current, experiment("0"));
    }

    #[test]
    fn a_drag_back_to_its_start_leaves_no_step() {
        let mut history = History::default();
        let mut current = experiment("0");
        history.change(&mut current, experiment("start"), "start", None);
        for text in ["1", "2", "start"] {
            history.change(&mut current, experiment(text), text, Some("scale L9H6"));
        }
        assert_eq!(history.undo_label(), Some("start"));
        history.change(&mut current, experiment("3"), "3", Some("scale L9H6"));
        history.undo(&mut current);
        assert_eq!(current, experiment("start"));
    }

    #[test]
    fn undo_ends_a_drag() {
        let mut history = History::default();
        let mut current = experiment("0");
        history.change(&mut current, experiment("1"), "1", Some("k"));
        history.change(&mut current, experiment("2"), "2", None);
        history.change(&mut current, experiment("3"), "3", Some("k"));
        history.undo(&mut current);
        history.change(&mut current, experiment("4"), "4", Some("k"));
        history.undo(&mut current);
        assert_eq!(current, experiment("2"));
    }

    #[test]
    fn the_oldest_steps_go_first() {
        let mut history = History::default();
        let mut current = experiment("0");
        for i in 1..=MAX_STEPS + 50 {
            history.change(&mut current, experiment(&i.to_string()), "step", None);
        }
        let mut steps = 0;
        while history.undo(&mut current).is_some() {
            steps += 1;
        }
        assert_eq!((steps, current), (MAX_STEPS, experiment("50")));
    }
}
