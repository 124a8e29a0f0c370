//! The GPU: how it is asked for, what is said of it, what it must be able to do, and the errors it reports.

use std::sync::{Arc, Mutex, PoisonError};

use egui_wgpu::{WgpuSetup, WgpuSetupCreateNew};

/// Storage buffers that a fragment of a heat map reads.
const STORAGE_BUFFERS: u32 = 3;
/// The largest that cannot be divided: a head's overview with its levels is 176 KB.
const STORAGE_BYTES: u64 = 200 << 10;

/// How to open the GPU, for a window as without one: with all that the adapter can do. egui's own choice leaves an
/// OpenGL device without storage buffers.
pub fn wgpu_setup() -> WgpuSetup {
    WgpuSetup::CreateNew(WgpuSetupCreateNew {
        device_descriptor: Arc::new(|adapter| wgpu::DeviceDescriptor {
            label: Some("headscope"),
            required_limits: adapter.limits(),
            ..wgpu::DeviceDescriptor::default()
        }),
        ..WgpuSetupCreateNew::without_display_handle()
    })
}

/// An adapter in words, like "llvmpipe (LLVM 15.0.6, 256 bits), Vulkan, software".
pub fn describe(adapter: &wgpu::AdapterInfo) -> String {
    let backend = match adapter.backend {
        wgpu::Backend::Noop => "no backend",
        wgpu::Backend::Vulkan => "Vulkan",
        wgpu::Backend::Metal => "Metal",
        wgpu::Backend::Dx12 => "Direct3D 12",
        wgpu::Backend::Gl => "OpenGL",
        wgpu::Backend::BrowserWebGpu => "WebGPU",
    };
    let software = if adapter.device_type == wgpu::DeviceType::Cpu {
        ", software"
    } else {
        ""
    };
    format!("{}, {backend}{software}", adapter.name)
}

/// Why a device cannot draw heat maps; none when it can.
pub(crate) fn shortcoming(limits: &wgpu::Limits) -> Option<String> {
    let available = limits.max_storage_buffers_per_shader_stage;
    if available < STORAGE_BUFFERS {
        return Some(format!(
            "the GPU offers {available} storage buffers to a shader, heat maps need {STORAGE_BUFFERS}"
        ));
    }
    let bytes = limits.max_storage_buffer_binding_size;
    (bytes < STORAGE_BYTES).then(|| {
        format!(
            "the GPU's storage buffers are limited to {bytes} bytes, heat maps need {STORAGE_BYTES}"
        )
    })
}

/// The errors of a device: the first of each kind, with how often it came.
#[derive(Clone, Debug, Default)]
pub struct GpuErrors(Arc<Mutex<Vec<GpuError>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuError {
    pub kind: GpuErrorKind,
    /// What the driver or wgpu said the first time.
    pub message: String,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuErrorKind {
    OutOfMemory,
    /// A mistake of this program.
    Validation,
    Internal,
    /// The device is gone (driver reset, unplugged): nothing more is drawn until the program restarts.
    Lost,
}

impl GpuErrors {
    /// Records the device's errors from now on, instead of panicking on them.
    pub fn watch(device: &wgpu::Device) -> Self {
        let errors = Self::default();
        let uncaptured = errors.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let kind = match error {
                wgpu::Error::OutOfMemory { .. } => GpuErrorKind::OutOfMemory,
                wgpu::Error::Validation { .. } => GpuErrorKind::Validation,
                wgpu::Error::Internal { .. } => GpuErrorKind::Internal,
            };
            uncaptured.record(kind, error.to_string());
        }));
        let lost = errors.clone();
        device.set_device_lost_callback(move |reason, message| {
            // Destroyed: the program itself let go of it.
            if reason != wgpu::DeviceLostReason::Destroyed {
                lost.record(GpuErrorKind::Lost, message);
            }
        });
        errors
    }

    /// So far, in the order they first came.
    pub fn list(&self) -> Vec<GpuError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn record(&self, kind: GpuErrorKind, message: String) {
        let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = errors.iter_mut().find(|error| error.kind == kind) {
            known.count += 1;
        } else {
            tracing::error!(?kind, message, "GPU error");
            errors.push(GpuError {
                kind,
                message,
                count: 1,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_repeated_errors_the_first_is_kept_and_counted() {
        let errors = GpuErrors::default();
        errors.record(GpuErrorKind::Validation, "first".to_owned());
        errors.record(GpuErrorKind::OutOfMemory, "other".to_owned());
        errors.record(GpuErrorKind::Validation, "second".to_owned());
        let list: Vec<_> = errors
            .list()
            .into_iter()
            .map(|e| (e.message, e.count))
            .collect();
        assert_eq!(list, [("first".to_owned(), 2), ("other".to_owned(), 1)]);
    }

    #[test]
    fn a_device_without_storage_buffers_is_not_enough() {
        assert!(shortcoming(&wgpu::Limits::downlevel_webgl2_defaults()).is_some());
        assert_eq!(shortcoming(&wgpu::Limits::default()), None);
        let small = wgpu::Limits {
            max_storage_buffer_binding_size: 1 << 16,
            ..wgpu::Limits::default()
        };
        assert!(shortcoming(&small).is_some());
    }
}
