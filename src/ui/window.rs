//! Opens the window: the GPU, the worker, what was kept from earlier runs.

use std::sync::Arc;

use anyhow::Context as _;

use super::app::{self, App, Setup};
use crate::render::{self, Backend, gpu};
use crate::session::autosave::{self, Autosave};
use crate::session::settings::Settings;
use crate::worker::Worker;

const SIZE: [f32; 2] = [1280.0, 800.0];
const MIN_SIZE: [f32; 2] = [720.0, 480.0];

/// Opens the window on a session, a model, or the bundled model, and returns when it is closed.
pub fn run(target: Option<String>) -> anyhow::Result<()> {
    let mut options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_title("Headscope")
            .with_app_id("headscope")
            .with_inner_size(SIZE)
            .with_min_inner_size(MIN_SIZE)
            .with_drag_and_drop(true),
        ..eframe::NativeOptions::default()
    };
    options.wgpu_options.wgpu_setup = gpu::wgpu_setup();
    eframe::run_native(
        "Headscope",
        options,
        Box::new(move |creation| Ok(Box::new(create(creation, target.as_deref())?))),
    )
    .context("the window cannot be opened; `headscope doctor` tells what is missing")
}

fn create(creation: &eframe::CreationContext<'_>, target: Option<&str>) -> anyhow::Result<App> {
    let ctx = &creation.egui_ctx;
    app::prepare(ctx);
    let (settings, problem) = Settings::load();
    let wake = ctx.clone();
    let worker = Worker::start(Arc::new(move || wake.request_repaint()))
        .context("the background thread cannot be started")?;
    let (backend, adapter) = if let Some(state) = &creation.wgpu_render_state {
        let adapter = gpu::describe(&state.adapter.get_info());
        (render::install(state), adapter)
    } else {
        let reason = "the window was opened without wgpu".to_owned();
        (Backend::Cpu { reason }, String::new())
    };
    let setup = Setup {
        settings,
        worker,
        backend,
        adapter,
        autosave: Autosave::new(),
        recovered: autosave::recoverable(),
    };
    let mut app = App::new(setup, target);
    if let Some(problem) = problem {
        app.warn(problem);
    }
    Ok(app)
}
