//! What a view may see while it draws: everything read-only, and a queue to push actions to.

use std::sync::Arc;

use super::action::{Action, ActionQueue};
use super::focus::Focus;
use super::lab::LabResults;
use super::theme::Theme;
use crate::experiment::resolve::Resolved;
use crate::model::Model;
use crate::render::Backend;
use crate::session::Session;
use crate::worker::Live;

pub struct ViewContext<'a> {
    pub model: &'a Arc<Model>,
    pub session: &'a Session,
    /// `None` while the prompt cannot be resolved; the reason is shown under the prompt.
    pub resolved: Option<&'a Resolved>,
    pub live: &'a Live,
    pub lab: &'a LabResults,
    pub focus: &'a Focus,
    pub theme: &'a Theme,
    pub backend: &'a Backend,
    pub actions: &'a ActionQueue,
}

impl ViewContext<'_> {
    pub fn push(&self, action: Action) {
        self.actions.push(action);
    }
}
