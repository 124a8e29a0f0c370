//! The program's entry: the window, or a command.

use std::process::ExitCode;

use headscope::cli::{self, Start};
use headscope::panics;

/// Keeps freed activation buffers with the process: faulting fresh pages in costs more than the products.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    log_to_stderr();
    panics::log_uncaught();
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

fn open_window(target: Option<String>) -> ExitCode {
    match headscope::ui::run(target) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
