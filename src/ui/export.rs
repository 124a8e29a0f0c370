//! Views as files: what is on screen now, written as a figure or as data.

use std::path::Path;

use super::app::App;
use crate::atomic;
use crate::export::{self, ExportView, Run};
use crate::figure::{Format, Style};

/// Writes a view. Pictures are for paper: light, of the size that suits them, at two pixels a point.
pub(super) fn write(
    app: &App,
    view: ExportView,
    format: Format,
    path: &Path,
) -> Result<(), String> {
    let content = content(app, view, format).map_err(|error| format!("Not exported: {error}"))?;
    atomic::write(path, &content)
        .map_err(|error| format!("Not exported: {error}: {}", path.display()))
}

fn content(app: &App, view: ExportView, format: Format) -> Result<Vec<u8>, String> {
    let (Some(model), Some(resolved), Some(outcome)) = (
        &app.results.model,
        app.results.resolved(),
        &app.results.outcome(),
    ) else {
        return Err("the run is not complete; export again once it is".into());
    };
    let session = &app.work.session;
    let run = Run {
        model,
        session,
        resolved,
        outcome,
    };
    let provenance = export::provenance(model, session, resolved);
    export::figure(run, view, &session.view.selection)
        .map_err(|error| error.to_string())?
        .render(format, &Style::default(), &provenance)
        .map_err(|error| error.to_string())
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
    atomic::write(path, &png).map_err(|error| format!("Not saved: {error}: {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::load::{Unreported, open};
    use crate::render::Backend;
    use crate::session::settings::Settings;
    use crate::ui::Setup;
    use crate::ui::welcome::first_session;
    use crate::ui::work::Work;
    use crate::worker::Worker;

    /// A window on the bundled model, as it opens.
    fn window() -> App {
        let setup = Setup {
            settings: Settings::default(),
            worker: Worker::start(Arc::new(|| {})).unwrap(),
            backend: Backend::Cpu {
                reason: "a test".into(),
            },
            adapter: String::new(),
            autosave: None,
            recovered: Vec::new(),
        };
        let model = Arc::new(open("demo", &mut Unreported).unwrap());
        let work = Work::new(first_session(&model), None);
        App::showing(setup, model, work)
    }

    #[test]
    fn every_view_is_written_in_every_format() {
        let mut app = window();
        app.finish_run().unwrap();
        let folder = tempfile::tempdir().unwrap();
        for view in ExportView::ALL {
            for (format, start) in Format::ALL
                .into_iter()
                .zip([&b"\x89PNG"[..], b"<", b"#", b"{"])
            {
                let path = folder
                    .path()
                    .join(format!("{}.{}", view.name(), format.extension()));
                write(&app, view, format, &path).unwrap();
                let bytes = std::fs::read(&path).unwrap();
                assert!(bytes.starts_with(start), "{}", path.display());
                if format == Format::Json {
                    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                    assert_eq!(json["view"], view.name());
                }
                if format != Format::Png {
                    let text = String::from_utf8(bytes).unwrap();
                    assert!(text.contains("The capital of Poland"), "{}", path.display());
                }
            }
        }
    }

    #[test]
    fn a_run_that_is_not_complete_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heads.csv");
        let error = write(&window(), ExportView::Heads, Format::Csv, &path).unwrap_err();
        assert!(error.contains("not complete"), "{error}");
        assert!(!path.exists());
    }
}
