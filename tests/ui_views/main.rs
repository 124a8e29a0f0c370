//! The panels, driven as a user would, over made-up results: what they show, and the actions they push.

mod fixture;
mod look;
