//! Maps on the GPU: uploaded once per content, drawn from many views, bounded in bytes.
//!
//! Lives in egui's callback resources. What is drawn is decided in `plan`, when in `heatmap`.
//!
//! Memory: a grid keeps one overview a row until the row has not been drawn for [`KEEP_FRAMES`] frames (12 layers of
//! 12 heads at 256²: 25 MB). Full maps stay, least recently drawn first out, within [`FULL_MAP_BYTES`]; those of the
//! current frame are never evicted.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wgpu::util::DeviceExt as _;

use super::lut::{LutKey, lut};
use super::plan::{DRAW_WORDS, Draw, MapShape};
use crate::colormap::ColorScale;
use crate::pyramid::{LayerOverview, MapPyramid};

/// Overviews uploaded in a frame; the rest follow in the next ones. At least one is uploaded.
const UPLOAD_BYTES_PER_FRAME: u64 = 32 << 20;
/// Full maps kept while they are not drawn.
const FULL_MAP_BYTES: u64 = 512 << 20;
const KEEP_FRAMES: u64 = 600;
/// Colour tables kept while they are not drawn.
const KEEP_LUTS: usize = 16;

pub(crate) const SHADER: &str = include_str!("../../shaders/heatmap.wgsl");

/// What the owner of a [`Heatmaps`] inside egui can see of it from outside.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) bytes: AtomicU64,
    /// Overviews wait for the next frame.
    pub(crate) pending: AtomicBool,
}

pub(crate) struct Heatmaps {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::RenderPipeline,
    view_layout: wgpu::BindGroupLayout,
    map_layout: wgpu::BindGroupLayout,
    /// By grid and row.
    overviews: HashMap<(egui::Id, usize), Resident>,
    /// By content.
    maps: HashMap<u64, Resident>,
    luts: HashMap<LutKey, Lut>,
    /// egui's number of the current frame, and our own count of them.
    egui_frame: Option<u64>,
    frame: u64,
    uploaded: u64,
    status: Arc<Status>,
}

/// A map or a layer's maps on the GPU.
struct Resident {
    id: u64,
    shape: MapShape,
    chunks: Vec<Chunk>,
    bytes: u64,
    last_drawn: u64,
}

/// As many heads as fit a storage binding.
struct Chunk {
    first_cell: u32,
    n_cells: u32,
    buffer: wgpu::Buffer,
    bind_group: wgpu::BindGroup,
}

struct Lut {
    buffer: wgpu::Buffer,
    last_drawn: u64,
}

/// One view of one frame, with numbers of its own: several never overwrite each other's.
pub(crate) struct View {
    bind_group: wgpu::BindGroup,
    draws: Vec<ViewDraw>,
}

struct ViewDraw {
    uniform_offset: u32,
    map: wgpu::BindGroup,
    n_cells: u32,
}

impl Heatmaps {
    pub(crate) fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        target: wgpu::TextureFormat,
        status: Arc<Status>,
    ) -> Self {
        let storage = |binding| {
            layout_entry(
                binding,
                wgpu::BufferBindingType::Storage { read_only: true },
                false,
            )
        };
        let uniform = wgpu::BindGroupLayoutEntry {
            visibility: wgpu::ShaderStages::VERTEX_FRAGMENT,
            ..layout_entry(0, wgpu::BufferBindingType::Uniform, true)
        };
        let layout = |label, entries: &[wgpu::BindGroupLayoutEntry]| {
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(label),
                entries,
            })
        };
        let view_layout = layout("heatmap view", &[uniform, storage(1), storage(2)]);
        let map_layout = layout("heatmap map", &[storage(0)]);
        let pipeline = pipeline(device, target, &view_layout, &map_layout);
        Self {
            device: device.clone(),
            queue: queue.clone(),
            pipeline,
            view_layout,
            map_layout,
            overviews: HashMap::new(),
            maps: HashMap::new(),
            luts: HashMap::new(),
            egui_frame: None,
            frame: 0,
            uploaded: 0,
            status,
        }
    }

    /// To be called by each view; the first of a frame tidies up.
    pub(crate) fn begin(&mut self, egui_frame: u64) {
        if self.egui_frame.replace(egui_frame) == Some(egui_frame) {
            return;
        }
        self.frame += 1;
        self.uploaded = 0;
        self.status.pending.store(false, Ordering::Relaxed);
        let frame = self.frame;
        self.overviews
            .retain(|_, resident| frame - resident.last_drawn < KEEP_FRAMES);
        if self.luts.len() > KEEP_LUTS {
            self.luts.retain(|_, lut| frame - lut.last_drawn <= 1);
        }
        self.count_bytes();
    }

    /// Brings a row of a grid up to date, or leaves it as it was when the frame has uploaded enough. Whether it is.
    pub(crate) fn ensure_overview(
        &mut self,
        grid: egui::Id,
        row: usize,
        layer: &LayerOverview,
    ) -> bool {
        let shape = MapShape::of_layer(layer);
        let bytes = 4 * layer.words.len() as u64;
        let known = self.overviews.get_mut(&(grid, row));
        if let Some(resident) = known {
            resident.last_drawn = self.frame;
            if resident.id == layer.id {
                return true;
            }
        }
        if self.uploaded > 0 && self.uploaded + bytes > UPLOAD_BYTES_PER_FRAME {
            self.status.pending.store(true, Ordering::Relaxed);
            return false;
        }
        self.uploaded += bytes;
        let same_shape = self
            .overviews
            .get_mut(&(grid, row))
            .filter(|resident| resident.shape == shape);
        if let Some(resident) = same_shape {
            resident.id = layer.id;
            for (chunk, words) in resident.chunks.iter().zip(chunks_of(
                &layer.words,
                shape,
                chunk_heads(&self.device, shape),
            )) {
                self.queue
                    .write_buffer(&chunk.buffer, 0, bytemuck::cast_slice(words));
            }
        } else {
            let resident = self.upload(layer.id, shape, &layer.words);
            self.overviews.insert((grid, row), resident);
            self.count_bytes();
        }
        true
    }

    /// The shape of what a row of a grid shows at present.
    pub(crate) fn overview_shape(&self, grid: egui::Id, row: usize) -> Option<MapShape> {
        self.overviews
            .get(&(grid, row))
            .map(|resident| resident.shape)
    }

    /// Uploads a map that is not there yet. The caller has seen that it fits a storage binding.
    pub(crate) fn ensure_map(&mut self, map: &MapPyramid) {
        if let Some(resident) = self.maps.get_mut(&map.id) {
            resident.last_drawn = self.frame;
            return;
        }
        let resident = self.upload(map.id, MapShape::of_map(map), &map.words);
        self.maps.insert(map.id, resident);
        let kept = self
            .maps
            .values()
            .map(|r| Kept {
                last_drawn: r.last_drawn,
                id: r.id,
                bytes: r.bytes,
            })
            .collect();
        for id in evicted(kept, self.frame, FULL_MAP_BYTES) {
            self.maps.remove(&id);
        }
        self.count_bytes();
    }

    /// A grid's view: the draws of its rows, with the row they are of.
    pub(crate) fn grid_view(
        &mut self,
        grid: egui::Id,
        draws: &[(usize, Draw)],
        tables: &[u32],
        scale: ColorScale,
        screen: [u32; 2],
    ) -> Option<View> {
        let rows = draws
            .iter()
            .filter_map(|(row, draw)| Some((self.overviews.get(&(grid, *row))?, draw)));
        let draws = rows
            .flat_map(|(resident, draw)| chunk_draws(resident, draw))
            .collect();
        self.view(draws, tables, scale, screen)
    }

    pub(crate) fn map_view(
        &mut self,
        map: u64,
        draw: &Draw,
        tables: &[u32],
        scale: ColorScale,
        screen: [u32; 2],
    ) -> Option<View> {
        let draws = chunk_draws(self.maps.get(&map)?, draw).collect();
        self.view(draws, tables, scale, screen)
    }

    pub(crate) fn paint(
        &self,
        view: &View,
        pass: &mut wgpu::RenderPass<'static>,
        screen: [u32; 2],
    ) {
        // egui's viewport is the view; the draws are in pixels of the screen.
        pass.set_viewport(0.0, 0.0, screen[0] as f32, screen[1] as f32, 0.0, 1.0);
        pass.set_pipeline(&self.pipeline);
        for draw in &view.draws {
            pass.set_bind_group(0, &view.bind_group, &[draw.uniform_offset]);
            pass.set_bind_group(1, &draw.map, &[]);
            pass.draw(0..4, 0..draw.n_cells);
        }
    }

    fn view(
        &mut self,
        draws: Vec<(Draw, wgpu::BindGroup)>,
        tables: &[u32],
        scale: ColorScale,
        screen: [u32; 2],
    ) -> Option<View> {
        if draws.is_empty() {
            return None;
        }
        let align = self.device.limits().min_uniform_buffer_offset_alignment as usize;
        let stride = (4 * DRAW_WORDS).next_multiple_of(align);
        let mut uniforms = vec![0u8; draws.len() * stride];
        for ((draw, _), bytes) in draws.iter().zip(uniforms.chunks_exact_mut(stride)) {
            bytes[..4 * DRAW_WORDS].copy_from_slice(bytemuck::cast_slice(&draw.words(screen)));
        }
        let uniforms = self.buffer("heatmap draws", &uniforms, wgpu::BufferUsages::UNIFORM);
        let tables = self.buffer(
            "heatmap tables",
            bytemuck::cast_slice(tables),
            wgpu::BufferUsages::STORAGE,
        );
        self.ensure_lut(scale);
        let lut = &self.luts.get(&LutKey::of(scale))?.buffer;
        let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("heatmap view"),
            layout: &self.view_layout,
            entries: &[
                wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &uniforms,
                        offset: 0,
                        size: NonZeroU64::new(4 * DRAW_WORDS as u64),
                    }),
                },
                wgpu::BindGroupEntry {
                    binding: 1,
                    resource: tables.as_entire_binding(),
                },
                wgpu::BindGroupEntry {
                    binding: 2,
                    resource: lut.as_entire_binding(),
                },
            ],
        });
        let draws = draws
            .into_iter()
            .enumerate()
            .map(|(i, (draw, map))| ViewDraw {
                uniform_offset: (i * stride) as u32,
                map,
                n_cells: draw.n_cells,
            });
        Some(View {
            bind_group,
            draws: draws.collect(),
        })
    }

    fn ensure_lut(&mut self, scale: ColorScale) {
        let key = LutKey::of(scale);
        if let Some(known) = self.luts.get_mut(&key) {
            known.last_drawn = self.frame;
            return;
        }
        let words = lut(scale);
        let buffer = self.buffer(
            "heatmap colours",
            bytemuck::cast_slice(&words),
            wgpu::BufferUsages::STORAGE,
        );
        self.luts.insert(
            key,
            Lut {
                buffer,
                last_drawn: self.frame,
            },
        );
    }

    fn upload(&self, id: u64, shape: MapShape, words: &[u32]) -> Resident {
        let heads = chunk_heads(&self.device, shape);
        let chunks = chunks_of(words, shape, heads)
            .enumerate()
            .map(|(i, words)| {
                let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
                let buffer = self.buffer("heatmap map", bytemuck::cast_slice(words), usage);
                let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some("heatmap map"),
                    layout: &self.map_layout,
                    entries: &[wgpu::BindGroupEntry {
                        binding: 0,
                        resource: buffer.as_entire_binding(),
                    }],
                });
                let n_cells = (words.len() / shape.head_words()) as u32;
                Chunk {
                    first_cell: (i * heads) as u32,
                    n_cells,
                    buffer,
                    bind_group,
                }
            });
        Resident {
            id,
            shape,
            chunks: chunks.collect(),
            bytes: 4 * words.len() as u64,
            last_drawn: self.frame,
        }
    }

    fn buffer(&self, label: &str, contents: &[u8], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device
            .create_buffer_init(&wgpu::util::BufferInitDescriptor {
                label: Some(label),
                contents,
                usage,
            })
    }

    fn count_bytes(&self) {
        let residents = self.overviews.values().chain(self.maps.values());
        let bytes = residents.map(|resident| resident.bytes).sum();
        self.status.bytes.store(bytes, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    last_drawn: u64,
    id: u64,
    bytes: u64,
}

/// What has to go for the rest to fit: the least recently drawn first, but nothing of the current frame.
fn evicted(mut kept: Vec<Kept>, frame: u64, budget: u64) -> Vec<u64> {
    kept.sort_unstable();
    let mut total: u64 = kept.iter().map(|map| map.bytes).sum();
    let goes = kept.into_iter().take_while(|map| {
        let goes = total > budget && map.last_drawn < frame;
        total -= map.bytes;
        goes
    });
    goes.map(|map| map.id).collect()
}

/// A row's draw, for each chunk that holds some of its heads.
fn chunk_draws(resident: &Resident, draw: &Draw) -> impl Iterator<Item = (Draw, wgpu::BindGroup)> {
    resident.chunks.iter().filter_map(move |chunk| {
        let n_cells = draw
            .n_cells
            .saturating_sub(chunk.first_cell)
            .min(chunk.n_cells);
        (n_cells > 0).then(|| {
            (
                draw.starting_at(chunk.first_cell, n_cells),
                chunk.bind_group.clone(),
            )
        })
    })
}

/// Heads to a buffer: as many as a storage binding and a buffer can hold.
fn chunk_heads(device: &wgpu::Device, shape: MapShape) -> usize {
    (max_map_bytes(&device.limits()) / (4 * shape.head_words().max(1)) as u64).max(1) as usize
}

fn chunks_of(words: &[u32], shape: MapShape, heads: usize) -> impl Iterator<Item = &[u32]> {
    words.chunks(heads.saturating_mul(shape.head_words().max(1)))
}

/// The largest map that can be drawn.
pub(crate) fn max_map_bytes(limits: &wgpu::Limits) -> u64 {
    limits
        .max_storage_buffer_binding_size
        .min(limits.max_buffer_size)
}

fn layout_entry(
    binding: u32,
    ty: wgpu::BufferBindingType,
    has_dynamic_offset: bool,
) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::FRAGMENT,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset,
            min_binding_size: None,
        },
        count: None,
    }
}

fn pipeline(
    device: &wgpu::Device,
    target: wgpu::TextureFormat,
    view_layout: &wgpu::BindGroupLayout,
    map_layout: &wgpu::BindGroupLayout,
) -> wgpu::RenderPipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("heatmap"),
        source: wgpu::ShaderSource::Wgsl(SHADER.into()),
    });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some("heatmap"),
        bind_group_layouts: &[Some(view_layout), Some(map_layout)],
        immediate_size: 0,
    });
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some("heatmap"),
        layout: Some(&layout),
        vertex: wgpu::VertexState {
            module: &module,
            entry_point: Some("vertex"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            buffers: &[],
        },
        primitive: wgpu::PrimitiveState {
            topology: wgpu::PrimitiveTopology::TriangleStrip,
            ..wgpu::PrimitiveState::default()
        },
        depth_stencil: None,
        multisample: wgpu::MultisampleState::default(),
        fragment: Some(wgpu::FragmentState {
            module: &module,
            entry_point: Some("fragment"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[("srgb_target", f64::from(u8::from(target.is_srgb())))],
                ..wgpu::PipelineCompilationOptions::default()
            },
            targets: &[Some(target.into())],
        }),
        multiview_mask: None,
        cache: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_drawn_maps_go_but_none_of_the_current_frame() {
        let kept = || {
            [(7, 1, 40), (9, 2, 40), (3, 3, 40)].map(|(last_drawn, id, bytes)| Kept {
                last_drawn,
                id,
                bytes,
            })
        };
        assert!(evicted(kept().into(), 9, 120).is_empty());
        assert_eq!(evicted(kept().into(), 9, 119), [3]);
        assert_eq!(evicted(kept().into(), 9, 50), [3, 1]);
        assert_eq!(evicted(kept().into(), 9, 0), [3, 1]);
    }
}
