//! An egui interface rendered to a picture: no window, no display.
//!
//! The same painters as in the window, heat maps included; used to export a window and to test shaders.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use egui_wgpu::{RenderState, RendererOptions, ScreenDescriptor, WgpuConfiguration, WgpuSetup};
use image::RgbaImage;

use super::gpu::{GpuErrors, describe, wgpu_setup};
use super::{Backend, install};

/// A software rasteriser may take seconds for a large picture; more means that the device hangs.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Frames are so far apart that what is animated has arrived after a few.
const FRAME_SECONDS: f64 = 0.5;
/// Frames that may be added until all maps are uploaded.
const UPLOAD_FRAMES: usize = 100;

/// A GPU without a window.
pub struct Offscreen {
    state: RenderState,
    backend: Backend,
    errors: GpuErrors,
}

/// What is to be rendered of an interface.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Width and height in points.
    pub size: [u32; 2],
    pub pixels_per_point: f32,
    pub theme: egui::Theme,
    /// How often the interface runs before the picture is taken: layouts settle in two or three.
    pub frames: usize,
}

/// No picture came of it.
#[derive(Debug, thiserror::Error)]
pub enum OffscreenError {
    #[error(
        "no GPU driver found; without a GPU, install a software Vulkan driver (Debian and Ubuntu: mesa-vulkan-drivers)"
    )]
    NoAdapter { source: Box<egui_wgpu::WgpuError> },
    #[error(
        "a picture of {width} × {height} pixels is empty or over the GPU's {limit} a side; choose another size"
    )]
    Size { width: u32, height: u32, limit: u32 },
    #[error("the GPU did not finish the picture within {seconds} s", seconds = TIMEOUT.as_secs())]
    Timeout { source: wgpu::PollError },
    #[error("the picture could not be read back from the GPU: {message}")]
    ReadBack { message: String },
}

impl Offscreen {
    /// Opens the GPU with all that it can do.
    pub fn new() -> Result<Self, OffscreenError> {
        Self::with_setup(wgpu_setup())
    }

    /// Opens the GPU as told: tests ask for a lesser one.
    pub fn with_setup(wgpu_setup: WgpuSetup) -> Result<Self, OffscreenError> {
        let config = WgpuConfiguration {
            wgpu_setup,
            ..WgpuConfiguration::default()
        };
        let instance = pollster::block_on(config.wgpu_setup.new_instance());
        let state = RenderState::create(&config, &instance, None, RendererOptions::PREDICTABLE);
        let state = pollster::block_on(state).map_err(|source| OffscreenError::NoAdapter {
            source: source.into(),
        })?;
        let errors = GpuErrors::watch(&state.device);
        let backend = install(&state);
        Ok(Self {
            state,
            backend,
            errors,
        })
    }

    /// What to paint heat maps with in [`Self::render`].
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    pub fn adapter(&self) -> String {
        describe(&self.state.adapter.get_info())
    }

    pub fn errors(&self) -> &GpuErrors {
        &self.errors
    }

    /// Runs an interface for some frames, more if maps are still being uploaded, and returns its last picture. Where
    /// the interface paints no background, it is transparent.
    pub fn render(
        &mut self,
        frame: Frame,
        mut ui: impl FnMut(&mut egui::Ui),
    ) -> Result<RgbaImage, OffscreenError> {
        let size = frame
            .size
            .map(|v| (v as f32 * frame.pixels_per_point).round() as u32);
        let target = self.target(size)?;
        let ctx = egui::Context::default();
        ctx.set_theme(frame.theme);
        let mut n = 0;
        let frames = frame.frames.max(1);
        while n < frames || (self.backend.is_uploading() && n < frames + UPLOAD_FRAMES) {
            let output = ctx.run_ui(self.input(frame, n), &mut ui);
            self.draw(&ctx, output, size, frame.pixels_per_point, &target)?;
            n += 1;
        }
        self.read_back(&target, size)
    }

    fn input(&self, frame: Frame, n: usize) -> egui::RawInput {
        let size = egui::vec2(frame.size[0] as f32, frame.size[1] as f32);
        let mut input = egui::RawInput {
            screen_rect: Some(egui::Rect::from_min_size(egui::Pos2::ZERO, size)),
            max_texture_side: Some(self.state.device.limits().max_texture_dimension_2d as usize),
            time: Some(n as f64 * FRAME_SECONDS),
            ..egui::RawInput::default()
        };
        if let Some(viewport) = input.viewports.get_mut(&input.viewport_id) {
            viewport.native_pixels_per_point = Some(frame.pixels_per_point);
        }
        input
    }

    fn target(&self, [width, height]: [u32; 2]) -> Result<wgpu::Texture, OffscreenError> {
        let limit = self.state.device.limits().max_texture_dimension_2d;
        if !(1..=limit).contains(&width) || !(1..=limit).contains(&height) {
            return Err(OffscreenError::Size {
                width,
                height,
                limit,
            });
        }
        Ok(self.state.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("offscreen"),
            size: wgpu::Extent3d {
                width,
                height,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: self.state.target_format,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        }))
    }

    fn draw(
        &self,
        ctx: &egui::Context,
        mut output: egui::FullOutput,
        size_in_pixels: [u32; 2],
        pixels_per_point: f32,
        target: &wgpu::Texture,
    ) -> Result<(), OffscreenError> {
        let RenderState {
            device,
            queue,
            renderer,
            ..
        } = &self.state;
        let mut renderer = renderer.write();
        for (id, images) in output.textures_delta.set.drain() {
            for image in images {
                renderer.update_texture(device, queue, id, &image);
            }
        }
        let screen = ScreenDescriptor {
            size_in_pixels,
            pixels_per_point,
        };
        let shapes = ctx.tessellate(output.shapes, pixels_per_point);
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut commands = renderer.update_buffers(device, queue, &mut encoder, &shapes, &screen);
        let view = target.create_view(&wgpu::TextureViewDescriptor::default());
        let mut pass = encoder
            .begin_render_pass(&wgpu::RenderPassDescriptor {
                label: Some("offscreen"),
                color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                    view: &view,
                    resolve_target: None,
                    ops: wgpu::Operations {
                        load: wgpu::LoadOp::Clear(wgpu::Color::TRANSPARENT),
                        store: wgpu::StoreOp::Store,
                    },
                    depth_slice: None,
                })],
                ..wgpu::RenderPassDescriptor::default()
            })
            .forget_lifetime();
        renderer.render(&mut pass, &shapes, &screen);
        drop(pass);
        commands.push(encoder.finish());
        let submission = queue.submit(commands);
        for id in output.textures_delta.free.drain() {
            renderer.free_texture(&id);
        }
        self.wait(submission)
    }

    fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<(), OffscreenError> {
        let wait = wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: Some(TIMEOUT),
        };
        self.state
            .device
            .poll(wait)
            .map_err(|source| OffscreenError::Timeout { source })?;
        Ok(())
    }

    fn read_back(
        &self,
        target: &wgpu::Texture,
        [width, height]: [u32; 2],
    ) -> Result<RgbaImage, OffscreenError> {
        let RenderState { device, queue, .. } = &self.state;
        let row_bytes = (4 * width).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("offscreen read-back"),
            size: u64::from(row_bytes) * u64::from(height),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_texture_to_buffer(
            target.as_image_copy(),
            wgpu::TexelCopyBufferInfo {
                buffer: &buffer,
                layout: wgpu::TexelCopyBufferLayout {
                    offset: 0,
                    bytes_per_row: Some(row_bytes),
                    rows_per_image: None,
                },
            },
            target.size(),
        );
        let submission = queue.submit([encoder.finish()]);
        let (sender, receiver) = sync_channel(1);
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            let _ = sender.send(result);
        });
        self.wait(submission)?;
        let failed = |message: String| OffscreenError::ReadBack { message };
        let mapped = receiver.recv().map_err(|error| failed(error.to_string()))?;
        mapped.map_err(|error| failed(error.to_string()))?;
        let bytes = buffer
            .get_mapped_range(..)
            .map_err(|error| failed(error.to_string()))?;
        let rows = bytes.chunks_exact(row_bytes as usize);
        let pixels = rows
            .flat_map(|row| &row[..4 * width as usize])
            .copied()
            .collect();
        let mut image = RgbaImage::from_raw(width, height, pixels)
            .ok_or_else(|| failed("too few bytes".to_owned()))?;
        // Of the formats that a texture without a surface gets, egui prefers RGBA; this is the other.
        if matches!(
            self.state.target_format.remove_srgb_suffix(),
            wgpu::TextureFormat::Bgra8Unorm
        ) {
            image.pixels_mut().for_each(|pixel| pixel.0.swap(0, 2));
        }
        Ok(image)
    }
}
