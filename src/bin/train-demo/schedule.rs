//! What is trained when: the phases of the demo model's run, and its learning rate.
//!
//! The phases were chosen by watching the held-out accuracies. Nearly everything needs the heads that find
//! an earlier occurrence of a word, and these form late and all at once; then the hardest exercise follows
//! (the color of an object, whose word stands before the object's), and last the heads are thinned out.

use anyhow::Result;

use crate::corpus::Mixture;

/// Peak learning rate, and the steps over which it rises.
const RATE: f64 = 2e-3;
const WARM_UP: f64 = 200.0;
/// The last steps, over which the rate falls to a fiftieth.
const DECAY: f64 = 1500.0;

pub(crate) struct Phase {
    /// The last step of the phase.
    pub(crate) until: usize,
    /// How strongly the work of attention is gathered in few heads (see `optimizer::gather_heads`).
    pub(crate) gather: f32,
    /// Changes to the weights of the tasks.
    changes: &'static str,
}

pub(crate) const PHASES: [Phase; 5] = [
    Phase {
        until: 2500,
        gather: 0.0,
        changes: "",
    },
    // Repeats above all: the plainest use of induction heads, with many answers in each document.
    Phase {
        until: 3250,
        gather: 0.0,
        changes: "repeats=12,colored-objects=3,colored-statements=2,list-recall=1.5,successors=2.5,indirect-object=3",
    },
    Phase {
        until: 5000,
        gather: 0.0,
        changes: "repeats=3,key-value=4,colored-objects=5,colored-statements=4",
    },
    Phase {
        until: 6000,
        gather: 3.0,
        changes: "colored-objects=4,colored-statements=1,greater-than=2,addition=2",
    },
    Phase {
        until: 7500,
        gather: 2.0,
        changes: "colored-objects=4,colored-statements=1,greater-than=2,addition=2",
    },
];

/// The step that ends the run.
pub(crate) const LAST_STEP: usize = PHASES[PHASES.len() - 1].until;

impl Phase {
    /// The phase of a step (counted from 1).
    pub(crate) fn of(step: usize) -> &'static Phase {
        PHASES
            .iter()
            .find(|phase| step <= phase.until)
            .unwrap_or(&PHASES[PHASES.len() - 1])
    }

    pub(crate) fn mixture(&self) -> Result<Mixture> {
        Mixture::default().with(self.changes)
    }
}

/// The learning rate of a step (counted from 1).
pub(crate) fn rate(step: usize) -> f32 {
    let warm = (step as f64 / WARM_UP).min(1.0);
    let left = LAST_STEP.saturating_sub(step) as f64 / DECAY;
    (RATE * warm * left.clamp(0.02, 1.0)) as f32
}
