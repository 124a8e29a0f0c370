//! The user's work: what is asked of a model, and how it is looked at.
//!
//! Plain data, free of tensors and of the window. [`Experiment`] is the part that decides the numbers, and the part that
//! undo covers; [`View`] decides how they are drawn.

pub mod autosave;
pub mod file;
mod format;
pub mod history;
pub mod paths;
pub mod replay;
pub mod settings;
pub mod vectors;

use crate::colormap::{ColorScale, Colormap};
use crate::compute::Dtype;
pub use crate::experiment::{Continuation, EditRow, Experiment, ReadPosition};
use crate::ids::HeadId;
pub use crate::prompt::{BosRule, Prompt};

/// One open session.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// MODEL as the command line takes it: `demo`, a path or a hub id.
    pub model: String,
    /// What the model's matrices are kept in.
    pub dtype: Dtype,
    pub experiment: Experiment,
    pub view: View,
    pub notes: String,
    /// The method that is set up in the Lab.
    pub lab: Option<Lab>,
    /// The arrangement of the panels, as the window wrote it. Opaque here.
    pub layout: Option<serde_json::Value>,
}

/// A method, and what it is run on: names and values as the command line has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lab {
    pub method: String,
    /// The settings that differ from the method's defaults.
    pub settings: Vec<(String, String)>,
    /// A task set's name or file; without one, the session's prompt.
    pub task: Option<String>,
    /// How many items are drawn of the set.
    pub items: Option<usize>,
    /// Seed of the draw.
    pub draw: u64,
    /// A file of classes that the set's answers stand for.
    pub verbaliser: Option<String>,
    /// A file of texts, one a line.
    pub texts: Option<String>,
}

/// How the results are looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The heads whose maps are shown; the first is the one that the head panel is about.
    pub selection: Vec<HeadId>,
    pub shown: Shown,
    pub colormap: Colormap,
    pub diverging: Colormap,
    pub log_scale: bool,
    /// Leaves the first key out of the colours: the sink would swamp the rest.
    pub hide_sink: bool,
}

/// What a map's cells stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Shown {
    /// A[i, j]
    #[default]
    Attention,
    /// A[i, j] · ‖v_j‖
    ValueWeighted,
    /// A[i, j] after the edits, minus before.
    Change,
}

impl Default for View {
    fn default() -> Self {
        Self {
            selection: Vec::new(),
            shown: Shown::default(),
            colormap: Colormap::Viridis,
            diverging: Colormap::RdBu,
            log_scale: false,
            hide_sink: false,
        }
    }
}

impl View {
    /// The colours of maps that are seen side by side: one scale for all of them, whose values reach `largest`.
    pub fn color_scale(&self, largest: f32) -> ColorScale {
        ColorScale {
            map: match self.shown {
                Shown::Change => self.diverging,
                Shown::Attention | Shown::ValueWeighted => self.colormap,
            },
            max: match self.shown {
                // One full scale for attention, so that maps compare; without the sink, up to what is left.
                Shown::Attention if !self.hide_sink => 1.0,
                // Changes of rounding size stay pale.
                Shown::Change => largest.max(1e-4),
                Shown::Attention | Shown::ValueWeighted => largest,
            },
            log: self.log_scale,
        }
    }
}

impl Session {
    pub fn new(model: impl Into<String>, experiment: Experiment) -> Self {
        Self {
            model: model.into(),
            dtype: Dtype::default(),
            experiment,
            view: View::default(),
            notes: String::new(),
            lab: None,
            layout: None,
        }
    }
}
