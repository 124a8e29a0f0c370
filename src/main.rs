//! The program's entry: the window, or a command.

use std::process::ExitCode;

use headscope::cli::{self, Start};

/// Keeps freed activation buffers with the process: faulting fresh pages in costs more than the products.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    log_to_stderr();
    log_panics();
    match cli::start(std::env::args_os()) {
        Start::Window(target) => open_window(target),
        Start::Done(code) => code,
    }
}

/// Warnings and errors; `RUST_LOG` chooses otherwise.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// A panic is a line of the log. Some are caught and then reported as an error: a damaged file may make the crate that
/// reads it panic.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, "panicked: {message}");
    }));
}

fn open_window(target: Option<String>) -> ExitCode {
    match headscope::ui::run(target) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
