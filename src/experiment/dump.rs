//! Activations of an edited run as plain values, by name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::engine::{Dumped, Engine, RunError, Watch};
use super::{LayerMaps, Pass, RunSpec, Side};
use crate::model::plan::Plan;
use crate::model::site::Site;
use crate::model::transformer::Activations;

impl Engine {
    /// [`Engine::dump`], which stops between two layers once `go_on` is false.
    pub fn dump_while(
        &mut self,
        spec: &RunSpec,
        sites: &[Site],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Dumped>, RunError> {
        self.check(spec)?;
        let plan = if spec.edits.is_empty() {
            Plan::default()
        } else {
            self.unedited(spec, &mut While(go_on))?;
            self.plan(spec)?
        };
        let record: BTreeSet<Site> = sites.iter().copied().collect();
        let model = Arc::clone(self.model());
        let mut forward = model.transformer.start(&spec.ids, &plan, &record)?;
        let mut recorded = Activations::new();
        while let Some(mut layer) = forward.step()? {
            if !go_on() {
                return Err(RunError::Stopped);
            }
            recorded.append(&mut layer);
        }
        let resid = forward.finish(None)?;
        // Logits of every position cost more than the pass of a short prompt.
        if sites.iter().any(|site| *site >= Site::FinalScale) {
            forward.logits(resid)?;
        }
        recorded.append(&mut forward.recorded());
        recorded
            .into_iter()
            .map(|(site, value)| {
                let shape = [&[1], value.dims()].concat();
                Ok(Dumped {
                    name: site.to_string(),
                    shape,
                    values: value.flatten_all()?.to_vec1()?,
                })
            })
            .collect()
    }
}

/// Hears nothing, and stops a run once its closure is false.
pub struct While<'a>(pub &'a mut dyn FnMut() -> bool);

impl Watch for While<'_> {
    fn layer(&mut self, _side: Side, _maps: &Arc<LayerMaps>) -> bool {
        (self.0)()
    }

    fn pass(&mut self, _side: Side, _pass: &Pass) {}
}
