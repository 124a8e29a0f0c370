//! `headscope export`: a view as a figure or as data, without a display.

use anyhow::Context as _;

use super::CliError;
use super::args::ExportArgs;
use super::opened::Opened;
use crate::experiment::Outcome;
use crate::session::write_atomically;

pub(super) fn run(args: &ExportArgs) -> Result<(), CliError> {
    // Before the model is read: a wrong ending is wrong usage.
    args.format()?;
    let mut opened = Opened::new(&args.asked)?;
    let outcome = opened.run()?;
    let content = draw(&opened, &outcome, args)?;
    write_atomically(&args.output, &content)
        .with_context(|| format!("cannot write the figure: {}", args.output.display()))?;
    for warning in &opened.warnings {
        eprintln!("warning: {warning}");
    }
    println!("{}", args.output.display());
    Ok(())
}

fn draw(opened: &Opened, outcome: &Outcome, args: &ExportArgs) -> anyhow::Result<Vec<u8>> {
    let _ = (opened, outcome, args);
    anyhow::bail!("figures are not part of this build")
}
