//! Whole models whose weights are set by hand, so that what each head does is known: every detector finds the head that was
//! planted for it, by name, and does not find it once that head's weights are 0.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod atlas;
mod chunks;
mod facts;
mod found;
mod head;
mod knowledge;
mod model;
mod names;
#[path = "../support/mod.rs"]
mod support;
mod tasks;
