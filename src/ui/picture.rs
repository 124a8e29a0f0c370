//! The window as a picture, drawn without a display: the same state, panels and painters as on screen.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use image::RgbaImage;

use super::app::{App, Setup, prepare};
use super::verdict::Checking;
use super::work::Work;
use crate::figure::Theme;
use crate::model::Model;
use crate::render::offscreen::{Frame, Offscreen, OffscreenError};
use crate::session::Session;
use crate::session::settings::{Settings, ThemeChoice};
use crate::worker::Worker;

/// Frames until fonts are there, panels have their sizes and nothing is animated any more.
const FRAMES: usize = 6;
/// A layer of a long prompt takes seconds; more means that nothing will come.
const PATIENCE: Duration = Duration::from_mins(5);

/// What is to be seen in the window.
#[derive(Debug)]
pub struct Scene {
    pub model: Arc<Model>,
    pub session: Session,
    /// Where the session is from; its folder is where the paths of `add` edits start.
    pub file: Option<PathBuf>,
    /// Width and height in points.
    pub size: [u32; 2],
    pub pixels_per_point: f32,
    pub theme: Theme,
}

/// No picture came of it.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("the background thread cannot be started: {source}")]
    Worker { source: std::io::Error },
    #[error("the run gave no result: {message}")]
    Run { message: String },
    #[error("the run gave no layer for {seconds} s", seconds = PATIENCE.as_secs())]
    Patience,
    #[error(transparent)]
    Offscreen(#[from] OffscreenError),
}

/// The window once its run is complete. Neither reads nor writes the user's settings.
pub fn render(scene: Scene) -> Result<RgbaImage, PictureError> {
    let Scene {
        model,
        session,
        file,
        size,
        pixels_per_point,
        theme,
    } = scene;
    let (choice, theme) = match theme {
        Theme::Light => (ThemeChoice::Light, egui::Theme::Light),
        Theme::Dark => (ThemeChoice::Dark, egui::Theme::Dark),
    };
    let mut offscreen = Offscreen::new()?;
    let setup = Setup {
        settings: Settings {
            theme: choice,
            hint_seen: true,
            ..Settings::default()
        },
        worker: Worker::start(Arc::new(|| {})).map_err(|source| PictureError::Worker { source })?,
        backend: offscreen.backend().clone(),
        adapter: offscreen.adapter(),
        autosave: None,
        recovered: Vec::new(),
    };
    let mut app = App::showing(setup, model, Work::new(session, file));
    app.finish_run()?;
    app.finish_check()?;
    let frame = Frame {
        size,
        pixels_per_point,
        theme,
        frames: FRAMES,
    };
    let mut is_first = true;
    Ok(offscreen.render(frame, |ui| {
        if std::mem::take(&mut is_first) {
            prepare(ui.ctx());
        }
        app.update(ui.ctx());
        app.draw(ui);
    })?)
}

impl App {
    /// Runs what is shown, to the end.
    pub(super) fn finish_run(&mut self) -> Result<(), PictureError> {
        self.want();
        if let Some(problem) = self.results.problem() {
            let message = problem.to_owned();
            return Err(PictureError::Run { message });
        }
        while !self.results.live.complete {
            let event = self.results.worker.wait(PATIENCE);
            self.handle(event.ok_or(PictureError::Patience)?);
        }
        match &self.results.live.error {
            Some(message) => Err(PictureError::Run {
                message: message.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Checks what is shown, so that equal windows give equal pictures.
    fn finish_check(&mut self) -> Result<(), PictureError> {
        self.results.want_check();
        while matches!(self.results.checking, Checking::Asked { .. }) {
            let event = self.results.worker.wait(PATIENCE);
            self.handle(event.ok_or(PictureError::Patience)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::load::{Unreported, open};
    use crate::session::{EditRow, Experiment, Prompt};

    fn scene(edit: &str) -> Scene {
        let mut session = Session::new("demo", Experiment::new(Prompt::sample()));
        session.experiment.edits.push(EditRow {
            edit: edit.parse().unwrap(),
            enabled: true,
        });
        Scene {
            model: Arc::new(open("demo", &mut Unreported).unwrap()),
            session,
            file: None,
            size: [800, 500],
            pixels_per_point: 1.0,
            theme: Theme::Dark,
        }
    }

    /// Skipped where there is no GPU driver, not even a software one.
    #[test]
    fn a_window_is_drawn_to_its_size_with_the_run_in_it() {
        let image = match render(scene("L0H1=zero")) {
            Err(PictureError::Offscreen(OffscreenError::NoAdapter { .. })) => return,
            image => image.unwrap(),
        };
        assert_eq!(image.dimensions(), (800, 500));
        let colors: std::collections::HashSet<_> = image.pixels().map(|pixel| pixel.0).collect();
        assert!(colors.len() > 200, "{} colours", colors.len());
        assert!(image.pixels().all(|pixel| pixel.0[3] == 255));
    }

    #[test]
    fn an_edit_that_the_model_refuses_gives_its_reason() {
        match render(scene("L99H0=zero")) {
            Err(PictureError::Offscreen(OffscreenError::NoAdapter { .. })) => {}
            Err(error) => assert!(error.to_string().contains("L99H0"), "{error}"),
            Ok(_) => panic!("drawn"),
        }
    }
}
