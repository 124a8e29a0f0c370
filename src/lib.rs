//! Headscope: see attention heads of transformer language models, and change them while you look.
//!
//! The modules below are in reading order; each may use only those above it (`tests/architecture.rs` holds that).
//! `ARCHITECTURE.md` has the map.

pub mod cli;
pub mod colormap;
pub mod edit;
pub mod experiment;
pub mod export;
pub mod figure;
pub mod ids;
pub mod model;
pub mod prompt;
pub mod pyramid;
pub mod render;
pub mod session;
pub mod ui;
pub mod worker;
