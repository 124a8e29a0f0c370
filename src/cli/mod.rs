//! The program without its window: the commands, their output and their exit codes.
//!
//! 0 done, 1 failed with the reason on stderr, 2 wrong usage. Only this module prints.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what the command line is for"
)]

mod analyse;
mod analysis_report;
mod args;
mod doctor;
mod dump;
mod export;
mod generate;
mod models;
mod opened;
mod progress;
mod report;
mod run;
mod table;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use self::args::{Cli, Command};
use crate::analysis::Method;

/// What the arguments ask `main` to do.
#[derive(Debug)]
pub enum Start {
    /// Open the window, with this session or model.
    Window(Option<String>),
    /// A command has run.
    Done(ExitCode),
}

/// Why a command did not do what was asked.
#[derive(Debug)]
enum CliError {
    /// Exit code 2.
    Usage(clap::Error),
    /// Exit code 1.
    Failed(anyhow::Error),
}

/// Runs the command that `arguments` name, the program's own name first.
pub fn start(arguments: impl IntoIterator<Item = OsString>) -> Start {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return Start::Done(show_usage(&error)),
    };
    if let Some((name, matches)) = matches.subcommand()
        && let Some(method) = Method::named(name)
    {
        return Start::Done(done(analyse::run(method, matches)));
    }
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return Start::Done(show_usage(&error)),
    };
    let Some(command) = cli.command else {
        return Start::Window(cli.target);
    };
    let result = match command {
        Command::Run(args) => run::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Doctor => doctor::run(),
    };
    Start::Done(done(result))
}

/// The commands of `args`, and one a method.
fn command() -> clap::Command {
    let methods = Method::all();
    Cli::command().subcommands(methods.iter().map(analyse::command))
}

fn done(result: Result<(), CliError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::Usage(error)) => show_usage(&error),
        Err(CliError::Failed(error)) => {
            eprintln!("error: {}", reason(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, each said once: some messages have their cause in them, for the window shows one message.
fn reason(error: &anyhow::Error) -> String {
    let mut reason = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !reason.contains(&cause) {
            reason = format!("{reason}: {cause}");
        }
    }
    reason
}

/// Help and version are no errors; clap knows the stream and the code.
fn show_usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to tell it to if the terminal is gone.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

impl From<clap::Error> for CliError {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        // Some wrong usage is seen only with the model open.
        match error.downcast() {
            Ok(usage) => Self::Usage(usage),
            Err(error) => Self::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::anyhow!("no such file")
            .context("cannot read x: no such file")
            .context("no model");
        assert_eq!(reason(&error), "no model: cannot read x: no such file");
    }
}
