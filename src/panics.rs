//! Panics: one that is caught becomes an error, and no line of the log; any other is a line of the log.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// How many [`catch`]es this thread is in.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
    /// Where the newest caught panic arose.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What `work` gives, or what it panicked with, and where. For work whose half-made state is dropped with it.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    PLACE.take();
    CATCHING.set(CATCHING.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(CATCHING.get() - 1);
    result.map_err(|panic| {
        let text = text_of(panic.as_ref());
        PLACE
            .take()
            .map_or_else(|| text.to_owned(), |place| format!("{text}, {place}"))
    })
}

/// Replaces the default hook, which prints every panic: whoever catches one reports it. For programs, at their start.
pub fn log_uncaught() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or(NO_TEXT);
        let place = panic.location().map(ToString::to_string);
        if CATCHING.get() > 0 {
            tracing::debug!(at = place, "caught: {message}");
            PLACE.set(place);
        } else {
            tracing::error!(at = place, "panicked: {message}");
        }
    }));
}

const NO_TEXT: &str = "no message";

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or(NO_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_the_error_and_the_thread_goes_on() {
        assert_eq!(catch(|| 7), Ok(7));
        assert_eq!(
            catch(|| panic!("as it was")),
            Err::<(), _>("as it was".to_owned())
        );
        let number = 7;
        assert_eq!(
            catch(|| panic!("with {number}")),
            Err::<(), _>("with 7".to_owned())
        );
        let inner_then_outer = catch(|| {
            assert!(catch(|| panic!("inner")).is_err());
            panic!("outer");
        });
        assert_eq!(inner_then_outer, Err::<(), _>("outer".to_owned()));
        assert_eq!(CATCHING.get(), 0);
    }
}
