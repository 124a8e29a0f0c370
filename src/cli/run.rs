//! `headscope run`: what the model predicts, before and after the edits.

use anyhow::Context as _;

use super::CliError;
use super::args::RunArgs;
use super::opened::Opened;
use super::report::Report;
use super::table;

pub(super) fn run(args: &RunArgs) -> Result<(), CliError> {
    let RunArgs {
        asked,
        top_k,
        save,
        json,
    } = args;
    let mut opened = Opened::new(asked)?;
    let outcome = opened.run()?;
    if let Some(path) = save {
        opened.save(path, &outcome)?;
    }
    let report = Report::new(&opened, &outcome, *top_k);
    if *json {
        println!("{}", serde_json::to_string(&report).context("as JSON")?);
    } else {
        print!("{}", table::text(&report));
        for warning in &report.warnings {
            eprintln!("warning: {warning}");
        }
    }
    Ok(())
}
