//! Pieces that several views share. They draw, and hand back what the user did; they know no session.

pub mod alpha;
pub mod edits;
pub mod head_menu;
pub mod icons;
pub mod map;
pub mod message;
pub mod scale;
pub mod tokens;
