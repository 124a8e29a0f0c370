//! `headscope export`: a view as a figure or as data, without a display.

use anyhow::Context as _;

use super::CliError;
use super::args::{ExportArgs, ExportTheme, Size};
use super::figures;
use super::opened::Opened;
use crate::figure::{FigureSize, Style, Theme};
use crate::session::write_atomically;

pub(super) fn run(args: &ExportArgs) -> Result<(), CliError> {
    // Before the model is read: a wrong ending is wrong usage.
    let format = args.format()?;
    let mut opened = Opened::new(&args.asked)?;
    let outcome = opened.run()?;
    let content = figures::figure(&opened, &outcome, args)?
        .render(format, &style(args), &figures::provenance(&opened))
        .map_err(anyhow::Error::from)?;
    write_atomically(&args.output, &content)
        .with_context(|| format!("cannot write the figure: {}", args.output.display()))?;
    for warning in &opened.warnings {
        eprintln!("warning: {warning}");
    }
    println!("{}", args.output.display());
    Ok(())
}

fn style(args: &ExportArgs) -> Style {
    Style {
        theme: match args.theme {
            ExportTheme::Light => Theme::Light,
            ExportTheme::Dark => Theme::Dark,
        },
        size: args
            .size
            .map(|Size { width, height }| FigureSize { width, height }),
        scale: args.scale as f32,
    }
}
