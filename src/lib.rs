//! Headscope: see attention heads of transformer language models, and change them while you look.
//!
//! The modules below are in reading order; each may use only those above it (`tests/architecture.rs` holds that).
//! `ARCHITECTURE.md` has the map.

// Names, texts and arithmetic that need nothing else.
pub mod atomic;
pub mod colormap;
pub mod compute;
pub mod ids;
pub mod mask;
pub mod panics;
pub mod prompt;
pub mod pyramid;
pub mod task;

// What is to be changed, and the transformer that it is changed in.
pub mod edit;
pub mod model;

// An experiment and its numbers, and whether they can be believed.
pub mod experiment;
pub mod verify;

// What heads do: the methods of the field, one file each.
pub mod analysis;

// What is made of them, and what is kept.
pub mod figure;
pub mod session;

// A session's run as figures and data.
pub mod export;

// What a window needs: pixels, and a thread that computes meanwhile.
pub mod render;
pub mod worker;

// The two faces: the window, and the command line, which can draw the window without a display.
pub mod ui;

pub mod cli;
