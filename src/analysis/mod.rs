//! What heads do: one file a method, one question each. A method takes an engine, prompts and its settings, and gives a
//! [`Report`] of plain numbers, which the window draws and the command line prints.
//!
//! Sources are named at each method: the paper and its section, or the program whose definition it is.

pub mod ablation;
pub mod arithmetic;
pub mod atlas;
pub mod attribution;
pub mod basis;
pub mod cases;
pub mod classes;
pub mod controls;
pub mod copying;
pub mod detectors;
pub mod field;
pub mod icl;
pub mod influence;
pub mod inject;
pub mod iti;
pub mod learned;
pub mod lens;
pub mod lofit;
pub mod longheads;
pub mod masking;
pub mod memory;
pub mod method;
pub mod metric;
pub mod patching;
pub mod recall;
pub mod report;
pub mod retrieval;
pub mod sequences;
pub mod ships;
pub mod successor;
pub mod tags;
pub mod task_heads;
pub mod taskkv;
pub mod texts;

use crate::experiment::engine::RunError;
use crate::ids::HeadId;
use crate::model::circuit::WeightError;
use crate::model::spec::ModelSpec;

pub use cases::Case;
pub use method::{Input, Method};
pub use report::{
    Bar, BarPart, Bars, Cell, Grid, HeadScores, Heads, Line, Plot, Report, Scale, Table,
};

/// Hears how far a method is, and may stop it.
pub trait Progress {
    /// The finished fraction; what is known so far, where something is. False stops it.
    fn at(&mut self, fraction: f32, so_far: Option<&Report>) -> bool;
}

/// Hears nothing and never stops.
#[derive(Debug)]
pub struct Unheard;

impl Progress for Unheard {
    fn at(&mut self, _fraction: f32, _so_far: Option<&Report>) -> bool {
        true
    }
}

/// Why a method gave no report.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// What the method lacks, and how to give it.
    #[error("{0}")]
    Needs(String),
}

impl AnalysisError {
    pub fn needs(what: impl Into<String>) -> Self {
        Self::Needs(what.into())
    }

    /// Whether it was stopped, and nothing is wrong.
    pub const fn is_stop(&self) -> bool {
        matches!(self, Self::Run(RunError::Stopped))
    }
}

/// Goes on, or stops the method.
pub fn step(progress: &mut dyn Progress, fraction: f32) -> Result<(), AnalysisError> {
    if progress.at(fraction, None) {
        Ok(())
    } else {
        Err(RunError::Stopped.into())
    }
}

/// Refuses heads that the model does not have.
pub fn check_heads(spec: &ModelSpec, heads: &[HeadId]) -> Result<(), AnalysisError> {
    let missing = |head: &&HeadId| head.layer >= spec.n_layers || head.head >= spec.n_heads;
    match heads.iter().find(missing) {
        None => Ok(()),
        Some(head) => Err(AnalysisError::needs(format!(
            "there is no {head}: layers are 0 to {}, heads 0 to {}",
            spec.n_layers - 1,
            spec.n_heads - 1
        ))),
    }
}
