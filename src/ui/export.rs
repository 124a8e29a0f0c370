//! Views as files: what is on screen now, written as a figure or as data.

use std::path::Path;

use super::app::App;
use super::command::{ExportFormat, ExportView};
use crate::experiment::Outcome;
use crate::session::write_atomically;

pub(super) fn write(
    app: &App,
    view: ExportView,
    format: ExportFormat,
    path: &Path,
) -> Result<(), String> {
    let outcome = app
        .results
        .outcome()
        .ok_or("The run is not complete yet; export again once it is")?;
    let content = content(app, &outcome, view, format)?;
    write_atomically(path, &content)
        .map_err(|error| format!("Not exported: {error}: {}", path.display()))
}

fn content(
    app: &App,
    outcome: &Outcome,
    view: ExportView,
    format: ExportFormat,
) -> Result<Vec<u8>, String> {
    let _ = (app, outcome, view, format);
    Err("Figures are not joined to the window yet".into())
}

/// Writes a screenshot.
pub(super) fn write_png(image: &egui::ColorImage, path: &Path) -> Result<(), String> {
    let [width, height] = image.size.map(|side| side as u32);
    let bytes = image
        .pixels
        .iter()
        .flat_map(egui::Color32::to_array)
        .collect();
    let mut png = Vec::new();
    image::RgbaImage::from_raw(width, height, bytes)
        .ok_or_else(|| "The picture has another size than its pixels".to_owned())?
        .write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png)
        .map_err(|error| format!("Not saved: {error}: {}", path.display()))?;
    write_atomically(path, &png).map_err(|error| format!("Not saved: {error}: {}", path.display()))
}
