//! `headscope doctor`: what this machine has, and whether the bundled model runs on it.

use std::path::Path;

use anyhow::{Context as _, ensure};

use super::CliError;
use super::args::{ComputeArgs, ExperimentArgs};
use super::opened::Opened;
use crate::experiment::Readout;
use crate::model::{demo, memory};
use crate::render::Backend;
use crate::render::offscreen::Offscreen;
use crate::session::paths;

pub(super) fn run() -> Result<(), CliError> {
    let line = |name: &str, value: &str| println!("{name:<10} {value}");
    line("headscope", env!("CARGO_PKG_VERSION"));
    let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    line("system", &system);
    line("threads", &rayon::current_num_threads().to_string());
    if let (Some(total), Some(free)) = (memory::total(), memory::available()) {
        let gb = |bytes: u64| bytes as f64 / 1e9;
        let text = format!("{:.1} GB, {:.1} GB of them free", gb(total), gb(free));
        line("memory", &text);
    }
    line("graphics", &graphics());
    line("settings", &folder(paths::config_dir().as_deref()));
    line("data", &folder(paths::data_dir().as_deref()));
    let (load, run) = run_demo().inspect_err(|_| line("demo", "does not run"))?;
    line(
        demo::NAME,
        &format!("runs: load {load:.1} ms, first run {run:.1} ms"),
    );
    Ok(())
}

/// Opens the bundled model and runs its sample prompt. Milliseconds of both.
fn run_demo() -> anyhow::Result<(f64, f64)> {
    let mut opened = Opened::model(
        demo::NAME,
        &ExperimentArgs::default(),
        &ComputeArgs::default(),
    )?;
    let outcome = opened.run()?;
    let logits = outcome.before.logits.context("no logits")?;
    ensure!(
        Readout::new(&logits).is_finite(),
        "its logits are not finite"
    );
    Ok((opened.model_ref().load_millis, outcome.before.millis))
}

/// What draws the window, or what is missing for it.
fn graphics() -> String {
    let offscreen = match Offscreen::new() {
        Ok(offscreen) => offscreen,
        Err(error) => return format!("{error}. Only the window and its picture need one"),
    };
    let maps = match offscreen.backend() {
        Backend::Gpu(_) => String::new(),
        Backend::Cpu { reason } => format!("; the processor draws the maps: {reason}"),
    };
    format!("{}{maps}", offscreen.adapter())
}

/// The folder, and whether it can be written to. Looking makes nothing.
fn folder(path: Option<&Path>) -> String {
    let Some(path) = path else {
        return "none: there is no home folder".into();
    };
    let state = if path.exists() {
        tempfile::tempfile_in(path).map_or_else(
            |error| format!("cannot be written: {error}: "),
            |_| String::new(),
        )
    } else {
        "not there yet: ".to_owned()
    };
    format!("{state}{}", path.display())
}
