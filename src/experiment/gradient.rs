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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::engine::Unwatched;
    use crate::model::Model;
    use crate::model::load::{Unreported, open};
    use crate::model::plan::Change;
    use crate::model::site::Part;

    const IDS: [u32; 7] = [3, 1, 4, 1, 5, 9, 2];

    fn engine(name: &str) -> Engine {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = format!("{root}/tests/fixtures/models/{name}");
        let model: Model = open(&path, &mut Unreported).unwrap();
        Engine::new(Arc::new(model))
    }

    fn spec(edits: &[&str]) -> RunSpec {
        RunSpec {
            ids: IDS.as_slice().into(),
            n_prompt: IDS.len(),
            reach: IDS.len(),
            contrast: None,
            edits: edits.iter().map(|edit| edit.parse().unwrap()).collect(),
            position: IDS.len() - 1,
            last: IDS.len() - 1,
            bos_count: 0,
            folder: None,
        }
    }

    const LAST: Reach<'_> = Reach {
        positions: &[IDS.len() - 1],
        down_to: 0,
    };

    /// The logit difference of two tokens, as a loss.
    fn difference(logits: &[f32]) -> Vec<f32> {
        let mut d = vec![0.0; logits.len()];
        (d[7], d[11]) = (1.0, -1.0);
        d
    }

    fn of(engine: &mut Engine, spec: &RunSpec, learned: Learned<'_>) -> Gradients {
        engine
            .gradient(spec, learned, LAST, &mut difference, &mut || true)
            .unwrap()
    }

    fn scaled(engine: &Engine, factor: f32) -> (Site, RowEdit) {
        let d_head = engine.model().spec.d_head;
        let edit = RowEdit {
            columns: d_head..2 * d_head,
            positions: (0..IDS.len()).collect(),
            change: Change::Scale(factor),
        };
        (Site::Block(0, Part::Z), edit)
    }

    #[test]
    fn an_edit_and_the_same_change_under_training_have_the_same_gradients() {
        for name in ["tiny-gpt2", "tiny-gemma2"] {
            let mut engine = engine(name);
            let learned = [scaled(&engine, 0.5)];
            let edited = of(&mut engine, &spec(&["L0H1=scale(0.5)"]), &[]);
            assert_eq!(of(&mut engine, &spec(&[]), &learned), edited, "{name}");
            assert_ne!(of(&mut engine, &spec(&[]), &[]), edited, "{name}");
            // One after the other.
            let twice = [scaled(&engine, 2.0)];
            let both = of(&mut engine, &spec(&["L0H1=scale(0.25)"]), &twice);
            assert_eq!(both.layers[1], edited.layers[1], "{name}");
            assert_eq!(both.layers[0].by_z, edited.layers[0].by_z, "{name}");
        }
    }

    #[test]
    fn a_head_s_first_order_effect_is_that_of_a_small_change() {
        let mut engine = engine("tiny-llama");
        let found = of(&mut engine, &spec(&[]), &[]);
        let run = |engine: &mut Engine, factor: &str| {
            let spec = spec(&[&format!("L1H2=scale({factor})")]);
            let outcome = engine.run(&spec, &mut Unwatched).unwrap();
            let logits = outcome.after.unwrap().logits.unwrap();
            f64::from(logits[7]) - f64::from(logits[11])
        };
        let about = (run(&mut engine, "1.05") - run(&mut engine, "0.95")) / 0.1;
        let (width, d_head) = (24, 6);
        let rows = |values: &[f32]| -> Vec<f64> {
            let rows = values.chunks_exact(width);
            rows.flat_map(|row| row[2 * d_head..3 * d_head].iter().map(|x| f64::from(*x)))
                .collect()
        };
        let layer = &found.layers[1];
        let (z, d) = (rows(&layer.z), rows(&layer.by_z));
        let effect: f64 = z.iter().zip(&d).map(|(z, d)| z * d).sum();
        assert!(
            (effect - about).abs() < 0.01 * effect.abs(),
            "{effect} {about}"
        );
    }

    #[test]
    fn what_cannot_be_done_is_an_error() {
        let go = |name: &str, spec: &RunSpec, go_on: bool| {
            engine(name)
                .gradient(spec, &[], LAST, &mut difference, &mut || go_on)
                .unwrap_err()
        };
        let stopped = go("tiny-gpt2", &spec(&[]), false);
        assert!(matches!(stopped, RunError::Stopped), "{stopped}");
        let stopped = go("tiny-gpt2", &spec(&["L0H1=zero"]), false);
        assert!(matches!(stopped, RunError::Stopped), "{stopped}");
        let masked = go("tiny-bert", &spec(&[]), true);
        assert!(
            matches!(masked, RunError::Gradient(GradientError::MaskedTokens)),
            "{masked}"
        );
        let headless = go("tiny-bert-base", &spec(&[]), true);
        assert!(matches!(headless, RunError::NoLogits), "{headless}");
    }
}
