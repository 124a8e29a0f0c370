//! What the window itself remembers from frame to frame: open menus, half-typed text, scroll. Never saved.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::action::{Action, ActionQueue};
use super::dialogs::Dialogs;
use super::focus::Focus;
use super::layout::Layout;
use super::notifications::{Level, Notifications};
use super::palette::Palette;
use super::prompt_bar::PromptBar;
use super::sheets::{Answer, Sheet};
use super::status_bar::StatusBar;
use super::text_strip::TextStrip;
use super::token_strip::TokenStrip;
use super::views::States;
use super::welcome::FirstSteps;

/// Messages that other threads may leave before one is read.
const MESSAGES: usize = 16;

#[derive(Debug)]
pub(super) struct UiState {
    pub queue: ActionQueue,
    /// Taken from the queue after drawing; applied before the next frame is drawn.
    pub pending: Vec<Action>,
    pub focus: Focus,
    pub layout: Layout,
    pub views: States,
    pub prompts: PromptBar,
    pub tokens: TokenStrip,
    pub text: TextStrip,
    pub palette: Option<Palette>,
    pub sheet: Option<Sheet>,
    pub answer: Option<Answer>,
    pub notifications: Notifications,
    pub dialogs: Dialogs,
    /// The method whose vectors are being saved.
    pub learned: Option<String>,
    /// The report, and the part of it, whose figure is being asked a path for.
    pub drawn: Option<(&'static str, Option<String>)>,
    pub status: StatusBar,
    /// `None` once they were put away.
    pub first_steps: Option<FirstSteps>,
    /// Heads that ask whether a pointer button was down in the last frame: the end of a drag is a frame late.
    pub drag: Drag,
    /// What the title bar says now.
    pub title: String,
    pub inbox: Receiver<Message>,
    pub outbox: SyncSender<Message>,
}

/// Something to tell the user, from another thread.
pub(super) type Message = (Level, String);

/// Whether a drag is going on, has just ended, or neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Drag {
    #[default]
    None,
    Down,
    /// Released: what it did arrives with this frame's actions.
    Ended,
}

impl Default for UiState {
    fn default() -> Self {
        let (outbox, inbox) = sync_channel(MESSAGES);
        Self {
            queue: ActionQueue::default(),
            pending: Vec::new(),
            focus: Focus::default(),
            layout: Layout::default(),
            views: States::default(),
            prompts: PromptBar::default(),
            tokens: TokenStrip::default(),
            text: TextStrip::default(),
            palette: None,
            sheet: None,
            answer: None,
            notifications: Notifications::default(),
            dialogs: Dialogs::default(),
            learned: None,
            drawn: None,
            status: StatusBar::default(),
            first_steps: None,
            drag: Drag::default(),
            title: String::new(),
            inbox,
            outbox,
        }
    }
}

impl Drag {
    /// The state after a frame in which a button was or was not down.
    pub(super) const fn next(self, down: bool) -> Self {
        match (self, down) {
            (_, true) => Self::Down,
            (Self::Down, false) => Self::Ended,
            (_, false) => Self::None,
        }
    }
}
