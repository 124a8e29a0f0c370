//! A place for one waiting request: a newer one replaces it, and tells whoever works on an older one to stop.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    /// When the last request was done with; `None` while one is being worked on.
    done_at: Option<Instant>,
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
                done_at: Some(Instant::now()),
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
        self.changed.notify_all();
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
        self.changed.notify_all();
    }

    /// Waits for a request; `None` once closed. Whoever takes one is done with it when it asks for the next.
    pub(super) fn take(&self) -> Option<Taken<T>> {
        match self.take_or(|| false) {
            Next::Request(taken) => Some(taken),
            Next::Other | Next::Closed => None,
        }
    }

    /// Waits for a request, or until there is something else to do: that is asked now, and when this is [woken](Self::wake).
    pub(super) fn take_or(&self, other: impl Fn() -> bool) -> Next<T> {
        let mut state = self.lock();
        state.done_at = Some(Instant::now());
        self.changed.notify_all();
        loop {
            if state.closed {
                return Next::Closed;
            }
            if let Some(taken) = state.take() {
                return Next::Request(taken);
            }
            if other() {
                state.done_at = None;
                return Next::Other;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until nothing has waited or been worked on for a while; false once closed.
    pub(super) fn wait_for_quiet(&self, quiet: Duration) -> bool {
        let mut state = self.lock();
        while !state.closed {
            let idle = match (&state.waiting, state.done_at) {
                (None, Some(done_at)) => Some(done_at.elapsed()),
                _ => None,
            };
            state = match idle.map(|idle| quiet.checked_sub(idle)) {
                Some(None | Some(Duration::ZERO)) => return true,
                Some(Some(rest)) => {
                    let waited = self.changed.wait_timeout(state, rest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
        false
    }

    /// Whether nothing waits or is being worked on.
    pub(super) fn is_quiet(&self) -> bool {
        let state = self.lock();
        state.waiting.is_none() && state.done_at.is_some()
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
        self.changed.notify_all();
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
        let request = self.waiting.take()?;
        self.done_at = None;
        Some(Taken {
            request,
            generation: self.generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_begins_when_the_last_request_is_done() {
        const QUIET: Duration = Duration::from_millis(20);
        let mailbox = Mailbox::default();
        assert!(mailbox.wait_for_quiet(QUIET));
        mailbox.put(1);
        std::thread::scope(|scope| {
            let quiet_at = scope.spawn(|| {
                assert!(mailbox.wait_for_quiet(QUIET));
                Instant::now()
            });
            mailbox.take().unwrap();
            std::thread::sleep(3 * QUIET);
            assert!(!quiet_at.is_finished(), "the request is being worked on");
            let done_at = Instant::now();
            // Asking for the next says that the last is done; closing lets this thread go on.
            let next = scope.spawn(|| mailbox.take().is_none());
            assert!(quiet_at.join().unwrap() >= done_at + QUIET);
            mailbox.close();
            assert!(next.join().unwrap());
        });
        assert!(!mailbox.wait_for_quiet(QUIET), "closed");
    }

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
