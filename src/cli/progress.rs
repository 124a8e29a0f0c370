//! How far loading or a method is, on the last line of the terminal; nothing where stderr is none.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

use crate::model::load::LoadProgress;

/// What is over sooner needs no line.
const QUICK: Duration = Duration::from_millis(500);
const BETWEEN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    started: Instant,
    shown: Option<Instant>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            is_terminal: stderr().is_terminal(),
            started: Instant::now(),
            shown: None,
        }
    }
}

impl LoadProgress for Progress {
    fn report(&mut self, fraction: f32, what: &str) -> bool {
        self.show(fraction, what);
        true
    }
}

impl Progress {
    pub(super) fn show(&mut self, fraction: f32, what: &str) {
        let now = Instant::now();
        let is_due = match self.shown {
            None => now - self.started >= QUICK,
            Some(shown) => now - shown >= BETWEEN,
        };
        if self.is_terminal && is_due {
            self.shown = Some(now);
            // One line, however long a tensor's name is; a terminal that is gone has no reader.
            let what: String = what.chars().take(70).collect();
            write!(stderr(), "\r\x1b[K{:3.0} %  {what}", fraction * 100.0).ok();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            write!(stderr(), "\r\x1b[K").ok();
        }
    }
}
