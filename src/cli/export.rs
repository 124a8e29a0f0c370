//! `headscope export`: a view as a figure or as data, or the window as a picture, without a display.

use anyhow::Context as _;

use super::CliError;
use super::args::{ExportArgs, Size};
use super::opened::Opened;
use crate::atomic;
use crate::export::{self, ExportView, Run};
use crate::figure::{Format, Provenance, window_png};
use crate::ids::HeadId;
use crate::ui::picture::{self, Scene};

/// Of a window, in points.
const WINDOW: Size = Size {
    width: 1280,
    height: 800,
};

pub(super) fn run(args: &ExportArgs) -> Result<(), CliError> {
    // Before the model is read: a wrong ending is wrong usage.
    let format = args.format()?;
    let mut opened = Opened::new(&args.asked)?;
    if !args.heads.is_empty() {
        opened.session.view.selection.clone_from(&args.heads);
    }
    let content = match args.view.figure() {
        Some(view) => figure(&mut opened, args, view, format)?,
        None => window(&opened, args)?,
    };
    atomic::write(&args.output, &content)
        .with_context(|| format!("cannot write the figure: {}", args.output.display()))?;
    for warning in &opened.warnings {
        eprintln!("warning: {warning}");
    }
    println!("{}", args.output.display());
    Ok(())
}

fn figure(
    opened: &mut Opened,
    args: &ExportArgs,
    view: ExportView,
    format: Format,
) -> anyhow::Result<Vec<u8>> {
    let outcome = opened.run()?;
    let run = Run {
        model: opened.model_ref(),
        session: &opened.session,
        resolved: &opened.resolved,
        outcome: &outcome,
    };
    let figure = export::figure(run, view, &opened.session.view.selection)?;
    Ok(figure.render(format, &args.style.style(), &provenance(opened))?)
}

fn provenance(opened: &Opened) -> Provenance {
    export::provenance(opened.model_ref(), &opened.session, &opened.resolved)
}

fn window(opened: &Opened, args: &ExportArgs) -> anyhow::Result<Vec<u8>> {
    let Size { width, height } = args.style.size.unwrap_or(WINDOW);
    let mut session = opened.session.clone();
    if session.view.selection.is_empty() {
        // As when the window opens the model.
        session.view.selection.push(HeadId::new(0, 0));
    }
    let image = picture::render(Scene {
        model: opened.shared_model(),
        session,
        file: opened.file.clone(),
        size: [width, height],
        pixels_per_point: args.style.scale as f32,
        theme: args.style.theme(),
    })?;
    let rgb: Vec<u8> = image
        .pixels()
        .flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2]])
        .collect();
    Ok(window_png(
        image.width(),
        image.height(),
        &rgb,
        &provenance(opened),
    )?)
}
