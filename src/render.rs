//! Drawing on the GPU: heat maps of attention, and whole windows without a display.
//!
//! Knows nothing of models or sessions: plain data in, pixels out. The rest of the program sees egui painters, this
//! alone sees wgpu.

pub mod geometry;
pub mod gpu;
pub mod heatmap;
mod lut;
pub mod offscreen;
pub mod plan;
mod raster;
mod store;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use store::{Heatmaps, Status};

/// What paints heat maps. Made once, by [`install`].
#[derive(Clone, Debug)]
pub enum Backend {
    Gpu(Gpu),
    Cpu {
        /// Why not the GPU.
        reason: String,
    },
}

/// A GPU into whose renderer the heat maps have been installed.
#[derive(Clone, Debug)]
pub struct Gpu {
    max_map_bytes: u64,
    status: Arc<Status>,
}

impl Backend {
    /// Bytes of maps on the GPU.
    pub fn memory_bytes(&self) -> u64 {
        match self {
            Self::Gpu(gpu) => gpu.status.bytes.load(Ordering::Relaxed),
            Self::Cpu { .. } => 0,
        }
    }

    /// Maps of the last frame's grids were left for the next one, because it had uploaded enough.
    pub fn is_uploading(&self) -> bool {
        matches!(self, Self::Gpu(gpu) if gpu.status.pending.load(Ordering::Relaxed))
    }
}

/// Makes a renderer able to draw heat maps. When its GPU cannot, the CPU will.
pub fn install(state: &egui_wgpu::RenderState) -> Backend {
    let limits = state.device.limits();
    if let Some(reason) = gpu::shortcoming(&limits) {
        return Backend::Cpu { reason };
    }
    let status = Arc::<Status>::default();
    let scope = state.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let heatmaps = Heatmaps::new(
        &state.device,
        &state.queue,
        state.target_format,
        Arc::clone(&status),
    );
    if let Some(error) = pollster::block_on(scope.pop()) {
        return Backend::Cpu {
            reason: format!("the GPU refuses the shader: {error}"),
        };
    }
    state.renderer.write().callback_resources.insert(heatmaps);
    Backend::Gpu(Gpu {
        max_map_bytes: store::max_map_bytes(&limits),
        status,
    })
}
