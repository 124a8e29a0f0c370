//! Files and texts that are cut off, damaged, lying or made to do harm: each is taken whole or refused with the reason,
//! without a panic, without waiting, and in memory that its own size pays for.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says on what"
)]

mod allocation;
mod models;
mod mutants;
#[path = "../support/mutate.rs"]
mod mutate;
mod panics;
#[path = "../support/parsers.rs"]
mod parsers;
mod seeds;
