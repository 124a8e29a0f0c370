//! The panels. Each draws from [`ViewContext`] and pushes actions; its `State` holds what is never saved (zoom, caches).
//!
//! [`ViewContext`]: crate::ui::context::ViewContext

pub mod arcs;
pub mod atlas;
pub mod attention;
pub mod head;
pub mod heads;
pub mod interventions;
pub mod lab;
pub mod paint;
pub mod readout;
pub mod report;

/// The unsaved state of all panels.
#[derive(Debug, Default)]
pub struct States {
    pub heads: heads::State,
    pub attention: attention::State,
    pub arcs: arcs::State,
    pub interventions: interventions::State,
    pub head: head::State,
    pub readout: readout::State,
    pub atlas: atlas::State,
    pub lab: lab::State,
}
