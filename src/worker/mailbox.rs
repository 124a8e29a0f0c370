//! A place for one waiting request: a newer one replaces it, and tells whoever works on an older one to stop.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(super) struct Mailbox<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: Option<T>,
    /// Grows with every put, cancel and close; work begun at an older count is superseded.
    generation: u64,
    closed: bool,
}

/// A request taken out, with what tells whether it is still wanted.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) request: T,
    pub(super) generation: u64,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Next<T> {
    Request(Taken<T>),
    /// No request waits, and there is something else.
    Other,
    Closed,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: None,
                generation: 0,
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<T> Mailbox<T> {
    pub(super) fn put(&self, request: T) {
        let mut state = self.lock();
        state.waiting = Some(request);
        state.generation += 1;
        self.changed.notify_one();
    }

    /// Drops what waits, and stops what is being worked on.
    pub(super) fn cancel(&self) {
        let mut state = self.lock();
        state.waiting = None;
        state.generation += 1;
    }

    /// Ends the thread that takes from here.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.waiting = None;
        state.generation += 1;
        state.closed = true;
        self.changed.notify_one();
    }

    /// Waits for a request; `None` once closed.
    pub(super) fn take(&self) -> Option<Taken<T>> {
        match self.take_or(|| false) {
            Next::Request(taken) => Some(taken),
            Next::Other | Next::Closed => None,
        }
    }

    /// Waits for a request, or until there is something else to do: that is asked now, and when this is [woken](Self::wake).
    pub(super) fn take_or(&self, other: impl Fn() -> bool) -> Next<T> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Next::Closed;
            }
            if let Some(taken) = state.take() {
                return Next::Request(taken);
            }
            if other() {
                return Next::Other;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The request that waits.
    pub(super) fn take_waiting(&self) -> Option<Taken<T>> {
        self.lock().take()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.lock().waiting.is_some()
    }

    /// Makes whoever waits look whether there is something else to do.
    pub(super) fn wake(&self) {
        // With the lock: nobody is between looking and waiting.
        let _state = self.lock();
        self.changed.notify_one();
    }

    /// Whether nothing newer has come since `generation` was taken.
    pub(super) fn is_current(&self, generation: u64) -> bool {
        self.lock().generation == generation
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // The state is whole between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Option<Taken<T>> {
        Some(Taken {
            request: self.waiting.take()?,
            generation: self.generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_before_something_else_which_is_seen_when_it_is_woken() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let mailbox = Mailbox::default();
        mailbox.put(1);
        assert!(matches!(mailbox.take_or(|| true), Next::Request(_)));
        assert!(matches!(mailbox.take_or(|| true), Next::Other));
        let other = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let next = scope.spawn(|| mailbox.take_or(|| other.load(Ordering::SeqCst)));
            other.store(true, Ordering::SeqCst);
            mailbox.wake();
            assert!(matches!(next.join().unwrap(), Next::Other));
        });
        mailbox.close();
        assert!(matches!(mailbox.take_or(|| true), Next::Closed));
    }

    #[test]
    fn the_newest_request_wins_and_older_work_is_superseded() {
        let mailbox = Mailbox::default();
        mailbox.put(1);
        let first = mailbox.take().unwrap();
        assert!(mailbox.is_current(first.generation));
        mailbox.put(2);
        mailbox.put(3);
        assert!(!mailbox.is_current(first.generation));
        let newest = mailbox.take().unwrap();
        assert_eq!(newest.request, 3);
        mailbox.cancel();
        assert!(!mailbox.is_current(newest.generation));
        mailbox.close();
        assert!(mailbox.take().is_none());
    }
}
