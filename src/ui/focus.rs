//! What the pointer is over, shared by all views: written this frame, read the next.

use crate::ids::HeadId;

/// One thing that can be hovered; cross-linked wherever it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    Head(HeadId),
    Token(usize),
    /// A cell of an attention map.
    Cell {
        head: HeadId,
        query: usize,
        key: usize,
    },
}

/// Hover of the last frame (to read) and of this one (to write).
#[derive(Clone, Copy, Debug, Default)]
pub struct Focus {
    shown: Option<Item>,
    next: Option<Item>,
}

impl Focus {
    /// What was hovered last frame.
    pub const fn hovered(&self) -> Option<Item> {
        self.shown
    }

    pub const fn set(&mut self, item: Item) {
        self.next = Some(item);
    }

    pub const fn end_frame(&mut self) {
        self.shown = self.next.take();
    }

    pub fn hovered_head(&self) -> Option<HeadId> {
        match self.shown? {
            Item::Head(head) | Item::Cell { head, .. } => Some(head),
            Item::Token(_) => None,
        }
    }

    /// Query and key rows to light up; for a hovered token both are that token.
    pub fn hovered_positions(&self) -> Option<(usize, usize)> {
        match self.shown? {
            Item::Token(token) => Some((token, token)),
            Item::Cell { query, key, .. } => Some((query, key)),
            Item::Head(_) => None,
        }
    }
}
