//! Everything a user can cause, as data. Views push actions; [`crate::ui`] applies them in one place, once a frame.

use std::cell::RefCell;
use std::path::PathBuf;

use super::focus::Item;
use crate::edit::Edit;
use crate::experiment::Side;
use crate::ids::HeadId;
use crate::session::{BosRule, Continuation, Lab, Prompt, ReadPosition, View};

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    SetPrompt(Prompt),
    SetContrast(Option<Prompt>),
    SetBos(BosRule),
    SetAnswers(Vec<String>),
    SetPosition(ReadPosition),
    /// Repeated, it is one undo step: walking along a text.
    SetContinuation {
        continuation: Continuation,
        position: ReadPosition,
    },

    AddEdit(Edit),
    /// Replaces a row's edit. Repeated for one row (a drag), it is one undo step.
    SetEdit {
        row: usize,
        edit: Edit,
    },
    SetEnabled {
        row: usize,
        enabled: bool,
    },
    RemoveEdit(usize),
    DuplicateEdit(usize),
    MoveEdit {
        from: usize,
        to: usize,
    },
    ClearEdits,
    /// Zero-ablates heads that are not ablated; frees them if all of them are.
    ToggleAblation(Vec<HeadId>),
    /// Sets the all-positions `scale` of heads: changes their row, adds one, or removes it for factor 1.
    /// Repeated for the same heads (a drag), it is one undo step.
    SetHeadScale {
        heads: Vec<HeadId>,
        factor: f64,
    },
    /// Knocks an edge out, or frees it.
    ToggleKnockout {
        head: HeadId,
        query: usize,
        key: usize,
    },
    Undo,
    Redo,

    /// Selects heads; `extend` adds to the selection (or takes away what is in it).
    Select {
        heads: Vec<HeadId>,
        extend: bool,
    },
    /// Makes the first generated tokens of a side part of the text that is run; 0 is the prompt alone.
    StepTo {
        side: Side,
        step: usize,
    },
    /// How many tokens are generated.
    SetTextLength(usize),
    SetView(View),
    /// Sets a method up in the Lab.
    SetLab(Lab),
    /// Runs a method.
    Analyse(Lab),
    StopMethod,
    /// Asks where the newest report's vectors are to be saved; their edits are added then.
    SaveLearned(String),
    /// Asks where a method's newest report, or the part of a name, is to be drawn.
    ExportReport {
        method: &'static str,
        part: Option<String>,
    },
    /// Opens an entry of the gallery, and runs its method.
    OpenGallery(usize),
    SetNotes(String),
    Hover(Item),

    OpenModel(String),
    OpenSession(PathBuf),
    SaveSession(PathBuf),
    CancelLoad,
    Run(super::command::Command),
}

/// Actions pushed while drawing, in order.
#[derive(Debug, Default)]
pub struct ActionQueue(RefCell<Vec<Action>>);

impl ActionQueue {
    pub fn push(&self, action: Action) {
        self.0.borrow_mut().push(action);
    }

    pub fn take(&self) -> Vec<Action> {
        self.0.take()
    }
}
