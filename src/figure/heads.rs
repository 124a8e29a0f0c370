//! The grid of all heads: rows are layers, columns are heads, each a small map or the colour of a score.

use super::input::{HeadCell, HeadsFigure, shown};
use super::layout::{
    AXIS_TITLE, LABEL_GAP, LABEL_SIZE, MARGIN, SMALL_SIZE, at_least, centred, color_bar_width,
    draw_color_bar, step_for,
};
use super::scene::{Anchor, MAX_RECT_CELLS, Rect, Scene};
use super::style::Palette;
use super::text;

/// From one cell's start to the next.
const LEAST_PITCH: f32 = 9.0;
const MAX_PITCH: f32 = 46.0;
const LEAST_BAR: f32 = 80.0;
const MAX_BAR: f32 = 220.0;
/// For the masked colour below the bar.
const UNDER_BAR: f32 = 24.0;

pub(super) fn build(figure: &HeadsFigure, palette: &Palette, asked: Option<[f32; 2]>) -> Scene {
    let last_layer = format!("L{}", figure.n_layers - 1);
    let left = MARGIN + AXIS_TITLE + text::width(&last_layer, LABEL_SIZE) + LABEL_GAP;
    let top = MARGIN + AXIS_TITLE + LABEL_SIZE + LABEL_GAP;
    let right = color_bar_width(figure.scale) + MARGIN;
    let fixed = [left + right, top + MARGIN];
    let size_with = |pitch: f32| {
        [
            fixed[0] + figure.n_heads as f32 * pitch,
            // The colour bar needs room even beside a single layer.
            fixed[1] + (figure.n_layers as f32 * pitch).max(LEAST_BAR + UNDER_BAR),
        ]
    };
    let (size, pitch) = if let Some(asked) = asked {
        let size = at_least(asked, size_with(LEAST_PITCH));
        let pitch = ((size[0] - fixed[0]) / figure.n_heads as f32)
            .min((size[1] - fixed[1]) / figure.n_layers as f32);
        (size, pitch.floor())
    } else {
        let most = figure.n_layers.max(figure.n_heads);
        let pitch = (640.0 / most as f32).floor().clamp(LEAST_PITCH, MAX_PITCH);
        (size_with(pitch), pitch)
    };
    let used = size_with(pitch);
    let origin = [
        ((size[0] - used[0]) / 2.0 + left).round(),
        ((size[1] - used[1]) / 2.0 + top).round(),
    ];
    let grid = Rect::new(
        origin[0],
        origin[1],
        figure.n_heads as f32 * pitch,
        figure.n_layers as f32 * pitch,
    );
    let cells: usize = figure
        .cells
        .iter()
        .filter_map(|cell| cell.thumb.as_ref())
        .map(|thumb| thumb.side * thumb.side)
        .sum();
    let as_images = cells > MAX_RECT_CELLS;
    let mut scene = Scene {
        width: size[0],
        height: size[1],
        title: format!("{} of all heads", figure.value_label),
        description: description(figure, as_images),
        background: palette.background,
        images: Vec::new(),
        shapes: Vec::new(),
    };
    draw_headers(&mut scene, palette, figure, grid, pitch);
    let gap = if pitch >= 16.0 { 3.0 } else { 1.0 };
    let mut has_masked = false;
    for (i, cell) in figure.cells.iter().enumerate() {
        let rect = Rect::new(
            grid.x + (i % figure.n_heads) as f32 * pitch,
            grid.y + (i / figure.n_heads) as f32 * pitch,
            pitch - gap,
            pitch - gap,
        );
        match &cell.thumb {
            Some(thumb) => {
                let hides = |row, column| thumb.hides(row, column);
                let values = shown(&thumb.values, thumb.side, hides);
                let colors = values
                    .inspect(|value| has_masked |= value.is_nan())
                    .map(|value| figure.scale.rgb(value))
                    .collect();
                scene.map(rect, thumb.side, colors, as_images);
            }
            None => scene.fill(rect, palette.ground),
        }
    }
    // After all cells, for a badge may reach over the gap.
    for (i, cell) in figure.cells.iter().enumerate() {
        let x = grid.x + (i % figure.n_heads) as f32 * pitch;
        let y = grid.y + (i / figure.n_heads) as f32 * pitch;
        draw_badge(
            &mut scene,
            palette,
            cell,
            Rect::new(x, y, pitch - gap, pitch - gap),
        );
    }
    let bar = [
        grid.right() - gap,
        grid.y,
        (grid.height - UNDER_BAR).clamp(LEAST_BAR, MAX_BAR),
    ];
    draw_color_bar(
        &mut scene,
        palette,
        figure.scale,
        &figure.value_label,
        bar,
        has_masked,
    );
    scene
}

fn draw_headers(
    scene: &mut Scene,
    palette: &Palette,
    figure: &HeadsFigure,
    grid: Rect,
    pitch: f32,
) {
    let size = SMALL_SIZE;
    let middle = (pitch - 2.0) / 2.0;
    for layer in (0..figure.n_layers).step_by(step_for(pitch, size)) {
        let y = centred(grid.y + layer as f32 * pitch + middle, size);
        scene.text(
            &format!("L{layer}"),
            [grid.x - LABEL_GAP, y],
            size,
            palette.text,
            Anchor::End,
        );
    }
    // Names of heads stand side by side, so they need their width and some air.
    let widest = text::width(&format!("H{}", figure.n_heads - 1), size) + 8.0;
    for head in (0..figure.n_heads).step_by(step_for(pitch, widest)) {
        let x = grid.x + head as f32 * pitch + middle;
        scene.text(
            &format!("H{head}"),
            [x, grid.y - LABEL_GAP],
            size,
            palette.text,
            Anchor::Middle,
        );
    }
    let title_y = grid.y - LABEL_GAP - LABEL_SIZE - 5.0;
    scene.text(
        "Head",
        [grid.x + grid.width / 2.0, title_y],
        size,
        palette.muted,
        Anchor::Middle,
    );
    let title_x =
        grid.x - LABEL_GAP - text::width(&format!("L{}", figure.n_layers - 1), LABEL_SIZE) - 7.0;
    scene.upright_text(
        "Layer",
        [title_x, grid.y + grid.height / 2.0],
        size,
        palette.muted,
        Anchor::Middle,
    );
}

/// In the upper right corner, where a causal map has nothing to show. Too small a cell only gets the frame.
fn draw_badge(scene: &mut Scene, palette: &Palette, cell: &HeadCell, rect: Rect) {
    if cell.badge.is_empty() {
        return;
    }
    scene.outline(rect, palette.accent, 1.5);
    let size = (rect.height * 0.28).clamp(7.0, 10.0);
    let badge = text::token_label(&cell.badge);
    let width = text::width(&badge, size) + 5.0;
    if width <= rect.width && rect.height >= 14.0 {
        let chip = Rect::new(rect.right() - width, rect.y, width, size + 3.0);
        scene.fill(chip, palette.accent);
        let at = [
            chip.x + width / 2.0,
            centred(chip.y + chip.height / 2.0, size),
        ];
        scene.text(&badge, at, size, palette.on_accent, Anchor::Middle);
    }
}

fn description(figure: &HeadsFigure, as_images: bool) -> String {
    let how = if as_images {
        " Each map is an embedded image with one pixel a cell."
    } else {
        ""
    };
    let edited: Vec<String> = figure
        .cells
        .iter()
        .enumerate()
        .filter(|(_, cell)| !cell.badge.is_empty())
        .map(|(i, cell)| {
            format!(
                "L{}H{} {}",
                i / figure.n_heads,
                i % figure.n_heads,
                cell.badge
            )
        })
        .collect();
    let edited = if edited.is_empty() {
        String::new()
    } else {
        format!(" Edited: {}.", edited.join(", "))
    };
    format!(
        "Rows are {} layers, columns {} heads.{edited}{how}",
        figure.n_layers, figure.n_heads
    )
}
