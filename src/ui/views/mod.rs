//! Stub: the views branch brings the real one.

pub mod arcs;
pub mod attention;
pub mod head;
pub mod heads;
pub mod interventions;
pub mod readout;

#[derive(Debug, Default)]
pub struct States {
    pub heads: heads::State,
    pub attention: attention::State,
    pub arcs: arcs::State,
    pub interventions: interventions::State,
    pub head: head::State,
    pub readout: readout::State,
}
