//! Heat maps in an egui window: the grid of all heads, and a matrix.
//!
//! Each is painted by the GPU in an egui callback or, without an adequate one, by the CPU into a texture. What is
//! painted is the same to the pixel.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::{Mutex, PoisonError};

use egui::cache::FramePublisher;
use egui::{Color32, ColorImage, Painter, Rect, TextureHandle, TextureOptions};

use super::Backend;
use super::lut::{LutKey, lut};
use super::plan::{Draw, GridDraw, GridPlan, MapShape, MatrixDraw, matrix_plan};
use super::raster::{self, Sources};
use super::store::{Heatmaps, View};
use crate::colormap::ColorScale;

/// Paints the part of a grid that lies within `rect`.
pub fn paint_grid(backend: &Backend, painter: &Painter, rect: Rect, draw: GridDraw) {
    let painter = painter.with_clip_rect(painter.clip_rect().intersect(rect));
    let rows = draw
        .layout
        .visible_rows(painter.clip_rect(), painter.pixels_per_point());
    if rows.is_empty() || !painter.clip_rect().is_positive() {
        return;
    }
    if let Backend::Gpu(_) = backend {
        return add_callback(&painter, rect, Content::Grid { draw, rows });
    }
    let mut plan = GridPlan::new(&draw, painter.pixels_per_point());
    let layers = rows.filter_map(|row| Some((row, draw.layers.get(row)?.as_ref()?)));
    let draws: Vec<_> = layers
        .filter_map(|(row, layer)| {
            Some((
                plan.row(row, MapShape::of_layer(layer))?,
                layer.id,
                &*layer.words,
            ))
        })
        .collect();
    paint_on_cpu(&painter, draw.id, &draws, &plan.tables, draw.scale);
}

/// Paints a matrix that fills `rect`.
pub fn paint_matrix(backend: &Backend, painter: &Painter, rect: Rect, draw: MatrixDraw) {
    let painter = painter.with_clip_rect(painter.clip_rect().intersect(rect));
    if !painter.clip_rect().is_positive() {
        return;
    }
    if let Backend::Gpu(gpu) = backend
        && 4 * draw.map.words.len() as u64 <= gpu.max_map_bytes
    {
        return add_callback(&painter, rect, Content::Matrix { draw, rect });
    }
    if let Some((plan, tables)) = matrix_plan(&draw, rect, painter.pixels_per_point()) {
        paint_on_cpu(
            &painter,
            draw.id,
            &[(plan, draw.map.id, &draw.map.words)],
            &tables,
            draw.scale,
        );
    }
}

fn add_callback(painter: &Painter, rect: Rect, content: Content) {
    let callback = Callback {
        content,
        frame: painter.ctx().cumulative_frame_nr(),
        ctx: painter.ctx().clone(),
        view: Mutex::new(None),
    };
    painter.add(egui_wgpu::Callback::new_paint_callback(rect, callback));
}

enum Content {
    Grid {
        draw: GridDraw,
        rows: std::ops::Range<usize>,
    },
    Matrix {
        draw: MatrixDraw,
        rect: Rect,
    },
}

struct Callback {
    content: Content,
    frame: u64,
    ctx: egui::Context,
    /// Made in `prepare`, used in `paint`.
    view: Mutex<Option<View>>,
}

impl Callback {
    fn view(&self, maps: &mut Heatmaps, pixels_per_point: f32, screen: [u32; 2]) -> Option<View> {
        maps.begin(self.frame);
        match &self.content {
            Content::Grid { draw, rows } => {
                let mut plan = GridPlan::new(draw, pixels_per_point);
                let mut draws = Vec::new();
                for row in rows.clone() {
                    let Some(Some(layer)) = draw.layers.get(row) else {
                        continue;
                    };
                    if !layer.words.is_empty() && !maps.ensure_overview(draw.id, row, layer) {
                        self.ctx.request_repaint();
                    }
                    let shape = maps.overview_shape(draw.id, row);
                    draws.extend(
                        shape
                            .and_then(|shape| plan.row(row, shape))
                            .map(|draw| (row, draw)),
                    );
                }
                maps.grid_view(draw.id, &draws, &plan.tables, draw.scale, screen)
            }
            Content::Matrix { draw, rect } => {
                let (plan, tables) = matrix_plan(draw, *rect, pixels_per_point)?;
                maps.ensure_map(&draw.map);
                maps.map_view(draw.map.id, &plan, &tables, draw.scale, screen)
            }
        }
    }
}

impl egui_wgpu::CallbackTrait for Callback {
    fn prepare(
        &self,
        _device: &wgpu::Device,
        _queue: &wgpu::Queue,
        screen: &egui_wgpu::ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut egui_wgpu::CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        // Resources of another renderer than the one installed into: nothing is drawn.
        let view = resources
            .get_mut::<Heatmaps>()
            .and_then(|maps| self.view(maps, screen.pixels_per_point, screen.size_in_pixels));
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
        Vec::new()
    }

    fn paint(
        &self,
        info: egui::PaintCallbackInfo,
        pass: &mut wgpu::RenderPass<'static>,
        resources: &egui_wgpu::CallbackResources,
    ) {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(maps), Some(view)) = (resources.get::<Heatmaps>(), &*view) {
            maps.paint(view, pass, info.screen_size_px);
        }
    }
}

/// By view, what its texture shows, and the texture. One that is not painted for a frame goes.
type Painted = FramePublisher<egui::Id, (u64, TextureHandle)>;

/// Paints the visible part into a texture that is kept until something that shows in it changes.
fn paint_on_cpu(
    painter: &Painter,
    id: egui::Id,
    draws: &[(Draw, u64, &[u32])],
    tables: &[u32],
    scale: ColorScale,
) {
    let pixels_per_point = painter.pixels_per_point();
    let clip = painter.clip_rect();
    let corner = [clip.min.x, clip.min.y].map(|v| (v * pixels_per_point).floor() as i32);
    let end = [clip.max.x, clip.max.y].map(|v| (v * pixels_per_point).ceil() as i32);
    let most = painter.ctx().input(|input| input.max_texture_side) as i32;
    let size = [0, 1].map(|i| end[i].saturating_sub(corner[i]).clamp(1, most) as usize);

    let mut hasher = DefaultHasher::new();
    (corner, size, tables, LutKey::of(scale)).hash(&mut hasher);
    for (draw, content, _) in draws {
        (draw.words([0, 0]), draw.n_cells, content).hash(&mut hasher);
    }
    let key = hasher.finish();

    let known = painter
        .ctx()
        .memory_mut(|memory| memory.caches.cache::<Painted>().get(&id).cloned());
    let texture = match known {
        Some((known_key, texture)) if known_key == key => texture,
        known => {
            let mut image = ColorImage::filled(size, Color32::TRANSPARENT);
            let lut = lut(scale);
            for (draw, _, texels) in draws {
                raster::paint(
                    draw,
                    Sources {
                        tables,
                        lut: &lut,
                        texels,
                    },
                    &mut image,
                    corner,
                );
            }
            if let Some((_, mut texture)) = known {
                texture.set(image, TextureOptions::NEAREST);
                texture
            } else {
                painter
                    .ctx()
                    .load_texture("heatmap", image, TextureOptions::NEAREST)
            }
        }
    };
    painter.ctx().memory_mut(|memory| {
        memory
            .caches
            .cache::<Painted>()
            .set(id, (key, texture.clone()));
    });
    let place = Rect::from_min_size(
        egui::pos2(corner[0] as f32, corner[1] as f32) / pixels_per_point,
        egui::vec2(size[0] as f32, size[1] as f32) / pixels_per_point,
    );
    let whole = Rect::from_min_max(egui::Pos2::ZERO, egui::pos2(1.0, 1.0));
    painter.image(texture.id(), place, whole, Color32::WHITE);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::geometry::Window;
    use super::super::plan::MatrixStyle;
    use super::*;
    use crate::colormap::Colormap;
    use crate::pyramid::MapPyramid;

    /// Whether a frame that shows `draw` has to paint its texture.
    fn repaints(ctx: &egui::Context, draw: &MatrixDraw) -> bool {
        let cpu = Backend::Cpu {
            reason: "to test".to_owned(),
        };
        let mut output = ctx.run_ui(egui::RawInput::default(), |ui| {
            let rect = Rect::from_min_size(egui::Pos2::ZERO, egui::vec2(50.0, 50.0));
            paint_matrix(&cpu, ui.painter(), rect, draw.clone());
        });
        // Managed(0) holds the glyphs.
        let painted = output
            .textures_delta
            .set
            .keys()
            .any(|id| *id != egui::TextureId::Managed(0));
        assert!(
            output.textures_delta.free.is_empty(),
            "the texture is reused"
        );
        output.textures_delta.clear();
        painted
    }

    #[test]
    fn the_cpu_paints_again_only_what_changed() {
        let ctx = egui::Context::default();
        let mut draw = MatrixDraw {
            id: egui::Id::unique("matrix"),
            map: Arc::new(MapPyramid::new(8, crate::mask::Mask::CAUSAL, &[0.5; 64])),
            window: Window::full(8),
            scale: ColorScale {
                map: Colormap::Viridis,
                log: false,
                max: 1.0,
            },
            hide_first_key: false,
            marked_query: None,
            marked_key: None,
            style: MatrixStyle::default(),
        };
        assert!(repaints(&ctx, &draw));
        assert!(!repaints(&ctx, &draw));
        draw.map = Arc::new(MapPyramid::new(8, crate::mask::Mask::CAUSAL, &[0.25; 64]));
        assert!(repaints(&ctx, &draw));
        draw.scale.max = 0.5;
        assert!(repaints(&ctx, &draw));
        draw.marked_key = Some(2);
        assert!(repaints(&ctx, &draw));
        assert!(!repaints(&ctx, &draw));
    }
}
