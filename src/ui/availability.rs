//! Which commands can be run now, and which switches are on. Plain values, so that menus and palette need no access to
//! the window's state.

use super::app::App;
use super::command::Command;
use super::layout::Pane;
use super::results::Load;
use crate::compute::{Device, Dtype};
use crate::model::spec::Head;
use crate::session::{BosRule, Shown};

#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each answers one question that some command asks"
)]
pub(super) struct Availability {
    has_model: bool,
    load_failed: bool,
    is_loading: bool,
    can_undo: bool,
    can_redo: bool,
    has_edits: bool,
    has_selection: bool,
    has_contrast: bool,
    has_results: bool,
    has_recovered: bool,
    panes: [bool; Pane::ALL.len()],
    shown: Shown,
    log_scale: bool,
    hide_sink: bool,
    bos: BosRule,
    has_bos_rule: bool,
    can_generate: bool,
    is_generating: bool,
    is_analysing: bool,
    has_text: bool,
    /// Generated tokens that are part of the text, and those that there are to step to.
    steps: (usize, usize),
    first_steps: bool,
    /// Of the open model.
    dtype: Option<Dtype>,
    device: Device,
}

impl Availability {
    pub(super) fn of(app: &App) -> Self {
        let experiment = &app.work.session.experiment;
        let view = &app.work.session.view;
        Self {
            has_model: app.results.model.is_some(),
            load_failed: matches!(app.results.load, Load::Failed { .. }),
            is_loading: matches!(app.results.load, Load::Running { .. }),
            can_undo: app.work.history.undo_label().is_some(),
            can_redo: app.work.history.redo_label().is_some(),
            has_edits: !experiment.edits.is_empty(),
            has_selection: !view.selection.is_empty(),
            has_contrast: experiment.contrast.is_some(),
            has_results: app.results.live.layer(0).is_some(),
            has_recovered: !app.recovered.is_empty(),
            panes: Pane::ALL.map(|pane| app.ui.layout.is_shown(pane)),
            shown: view.shown,
            log_scale: view.log_scale,
            hide_sink: view.hide_sink,
            bos: experiment.bos,
            can_generate: app
                .results
                .model
                .as_ref()
                .is_some_and(|model| model.spec.is_causal() && model.spec.head == Head::NextToken),
            is_generating: !app.results.text.stopped && !app.results.text.is_complete(),
            is_analysing: app.results.lab.running.is_some(),
            has_text: app.ui.text.open,
            steps: app.steps(),
            has_bos_rule: app
                .results
                .model
                .as_ref()
                .is_some_and(|model| model.spec.is_causal()),
            first_steps: app.ui.first_steps.is_some(),
            dtype: app.results.model.as_ref().map(|model| model.compute.dtype),
            device: app.settings.device,
        }
    }

    /// Whether the command would do something.
    pub(super) fn enabled(&self, command: Command) -> bool {
        match command {
            Command::CancelLoad => self.is_loading,
            Command::ComputeIn(_) => self.has_model || self.load_failed,
            Command::Undo => self.can_undo,
            Command::Redo => self.can_redo,
            Command::ClearEdits => self.has_edits,
            Command::AblateSelected | Command::SelectLayer | Command::ClearSelection => {
                self.has_model && self.has_selection
            }
            Command::BosAlways | Command::BosNever => self.has_bos_rule,
            Command::Generate => self.can_generate,
            Command::StopGenerating => self.is_generating,
            Command::StopMethod => self.is_analysing,
            Command::CloseText => self.has_text,
            Command::NextGenerated => self.steps.0 < self.steps.1,
            Command::PreviousGenerated | Command::BackToPrompt => self.steps.0 > 0,
            Command::RemoveContrast => self.has_contrast,
            Command::Export(..) => self.has_results,
            Command::Restore | Command::DropRecovered => self.has_recovered,
            Command::Save
            | Command::SaveAs
            | Command::Verify
            | Command::FocusPrompt
            | Command::FocusContrast
            | Command::BosAuto
            | Command::PreviousPosition
            | Command::NextPosition
            | Command::UsualPosition
            | Command::NextHead
            | Command::PreviousHead
            | Command::NextLayer
            | Command::PreviousLayer => self.has_model,
            _ => true,
        }
    }

    /// The state of a switch; `None` for commands that switch nothing.
    pub(super) fn checked(&self, command: Command) -> Option<bool> {
        Some(match command {
            Command::TogglePane(pane) => Pane::ALL
                .iter()
                .zip(self.panes)
                .any(|(other, shown)| *other == pane && shown),
            Command::ShowAttention => self.shown == Shown::Attention,
            Command::ShowValueWeighted => self.shown == Shown::ValueWeighted,
            Command::ShowChange => self.shown == Shown::Change,
            Command::ToggleLog => self.log_scale,
            Command::ToggleSink => self.hide_sink,
            Command::BosAuto => self.bos == BosRule::Auto,
            Command::BosAlways => self.bos == BosRule::Always,
            Command::BosNever => self.bos == BosRule::Never,
            Command::FirstSteps => self.first_steps,
            Command::ComputeIn(dtype) => self.dtype == Some(dtype),
            Command::ComputeOn(device) => self.device == device,
            _ => return None,
        })
    }
}
