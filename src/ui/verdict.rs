//! What the check of the open model came to: a word on the model's chip, and the rest in its details.

use std::sync::Arc;

use super::icons::{self, Icon};
use super::theme::{Theme, space};
use crate::verify::{Report, Status, Verdict};

/// The check of the open model.
#[derive(Clone, Debug, Default)]
pub(super) enum Checking {
    #[default]
    NotAsked,
    /// The worker does it once nothing else is to be done. With who asked: the user hears of the result.
    Asked {
        by_user: bool,
    },
    Done(Arc<Report>),
    /// There is no result: the reference cannot be read.
    Failed(String),
}

impl Checking {
    /// For the chip.
    pub(super) fn word(&self) -> String {
        match self {
            Self::NotAsked | Self::Asked { .. } => "not checked".to_owned(),
            Self::Failed(_) => "check failed".to_owned(),
            Self::Done(report) => match report.verdict() {
                Verdict::Checked => "checked".to_owned(),
                Verdict::InvariantsOnly => "invariants".to_owned(),
                Verdict::Failed => match report.wrong_place() {
                    Some(place) => format!("check failed: {place}"),
                    None => "check failed".to_owned(),
                },
            },
        }
    }

    /// Whether a check mark follows the word. It is painted: the fonts lack the sign.
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Done(report) if report.verdict() != Verdict::Failed)
    }

    /// What is wrong, in full.
    pub(super) fn failure(&self) -> Option<String> {
        match self {
            Self::NotAsked | Self::Asked { .. } => None,
            Self::Failed(message) => Some(message.clone()),
            Self::Done(report) => report.first_failure(),
        }
    }

    pub(super) fn details(&self, theme: &Theme, ui: &mut egui::Ui) {
        ui.separator();
        match self {
            Self::NotAsked | Self::Asked { .. } => {
                ui.weak("Not checked yet: it is done while no run is");
            }
            Self::Failed(message) => {
                ui.colored_label(theme.warn, message);
            }
            Self::Done(report) => of_report(report, theme, ui),
        }
    }
}

fn of_report(report: &Report, theme: &Theme, ui: &mut egui::Ui) {
    ui.set_max_width(480.0);
    if let Some(failure) = report.first_failure() {
        ui.colored_label(theme.warn, failure);
    }
    let mut summary = report.summary();
    summary[..1].make_ascii_uppercase();
    ui.label(summary);
    if let Some(reference) = &report.reference {
        ui.weak(format!("Reference: {}", reference.source));
    }
    ui.add_space(space::XS);
    for invariant in &report.invariants {
        let statement = invariant.law.statement();
        let (icon, color) = match invariant.status {
            Status::Passed => (Icon::Check, theme.success),
            Status::Failed => (Icon::Warning, theme.warn),
            Status::Skipped => {
                let why = invariant.note.as_deref().unwrap_or_default();
                ui.weak(format!("Not asked: {statement} ({why})"));
                continue;
            }
        };
        ui.horizontal(|ui| {
            icons::mark(ui, icon, color);
            ui.label(statement);
        });
    }
}
