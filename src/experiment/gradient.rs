//! Gradients of a loss by what flows through a model, under a run's edits and changes that are still being learned.

use std::sync::Arc;

use super::engine::{Engine, RunError};
use super::{RunSpec, While};
use crate::model::backward::{GradientError, Gradients, Loss, Reach};
use crate::model::memory::{self, Need};
use crate::model::plan::{Plan, RowEdit};
use crate::model::site::Site;

/// Changes that no edit names yet, such as vectors under training: they follow the run's edits at their site.
pub type Learned<'a> = &'a [(Site, RowEdit)];

impl Engine {
    /// Gradients of `loss` under `spec`'s edits and what is learned. What a change is given must fit its columns. Nothing
    /// of the pass is kept; `go_on` may stop it between layers.
    pub fn gradient(
        &mut self,
        spec: &RunSpec,
        learned: Learned<'_>,
        reach: Reach<'_>,
        loss: &mut Loss<'_>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Gradients, RunError> {
        self.check(spec)?;
        let need = Need::gradients(&self.model().spec, spec.ids.len(), reach.positions.len());
        if need.bytes > memory::SMALL {
            memory::check(&need, memory::available())?;
        }
        let mut plan = if spec.edits.is_empty() {
            Plan::default()
        } else {
            self.unedited(spec, &mut While(go_on))?;
            self.plan(spec)?
        };
        for (site, edit) in learned {
            plan.rows.entry(*site).or_default().push(edit.clone());
        }
        let model = Arc::clone(self.model());
        model
            .transformer
            .gradients(&spec.ids, &plan, reach, loss, go_on)
            .map_err(|error| match error {
                GradientError::Stopped => RunError::Stopped,
                GradientError::NoLogits => RunError::NoLogits,
                GradientError::Pass(error) => RunError::Forward(error),
                refused => RunError::Gradient(refused),
            })
    }
}
