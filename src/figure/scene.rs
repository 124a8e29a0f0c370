//! The display list of a figure: what to draw, in px of the layout, in drawing order.
//!
//! Views build it, `svg` writes it, `raster` turns it into pixels; nothing else knows both sides.

use super::style::Rgb;

/// Below this many cells a map is drawn as rectangles, above as an image.
pub(super) const MAX_RECT_CELLS: usize = 128 * 128;

#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) width: f32,
    pub(super) height: f32,
    /// For screen readers and file lists; not drawn.
    pub(super) title: String,
    pub(super) description: String,
    pub(super) background: Rgb,
    /// Below all shapes: the rasteriser draws them first.
    pub(super) images: Vec<Image>,
    pub(super) shapes: Vec<Shape>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) width: f32,
    pub(super) height: f32,
}

/// A map with one pixel a cell, stretched without smoothing.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) rect: Rect,
    pub(super) columns: usize,
    /// Row-major.
    pub(super) pixels: Vec<Rgb>,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// Filled, with hard edges: neighbours meet without a seam.
    Fill {
        rect: Rect,
        color: Rgb,
    },
    Outline {
        rect: Rect,
        color: Rgb,
        width: f32,
    },
    Line {
        from: [f32; 2],
        to: [f32; 2],
        color: Rgb,
        width: f32,
    },
    /// Leaves and arrives horizontally.
    Curve {
        from: [f32; 2],
        to: [f32; 2],
        color: Rgb,
        width: f32,
        opacity: f32,
    },
    /// A line through points, with round joins.
    Path {
        points: Vec<[f32; 2]>,
        color: Rgb,
        width: f32,
    },
    Dot {
        at: [f32; 2],
        radius: f32,
        color: Rgb,
    },
    Text(Text),
}

#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) content: String,
    /// Of the anchor, on the base line.
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) size: f32,
    pub(super) color: Rgb,
    pub(super) anchor: Anchor,
    /// Reads upwards.
    pub(super) upright: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Rect {
    pub(super) const fn new(x: f32, y: f32, width: f32, height: f32) -> Self {
        Self {
            x,
            y,
            width,
            height,
        }
    }

    pub(super) fn right(&self) -> f32 {
        self.x + self.width
    }

    pub(super) fn bottom(&self) -> f32 {
        self.y + self.height
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.x < other.right()
            && other.x < self.right()
            && self.y < other.bottom()
            && other.y < self.bottom()
    }
}

impl Scene {
    /// Without a size or a name yet.
    pub(super) fn empty(background: Rgb) -> Self {
        Self {
            width: 0.0,
            height: 0.0,
            title: String::new(),
            description: String::new(),
            background,
            images: Vec::new(),
            shapes: Vec::new(),
        }
    }

    /// Draws all of another scene, its upper left corner at `at`.
    pub(super) fn place(&mut self, other: Self, [dx, dy]: [f32; 2]) {
        let moved = |[x, y]: [f32; 2]| [x + dx, y + dy];
        self.images
            .extend(other.images.into_iter().map(|mut image| {
                [image.rect.x, image.rect.y] = moved([image.rect.x, image.rect.y]);
                image
            }));
        self.shapes
            .extend(other.shapes.into_iter().map(|mut shape| {
                match &mut shape {
                    Shape::Fill { rect, .. } | Shape::Outline { rect, .. } => {
                        [rect.x, rect.y] = moved([rect.x, rect.y]);
                    }
                    Shape::Line { from, to, .. } | Shape::Curve { from, to, .. } => {
                        (*from, *to) = (moved(*from), moved(*to));
                    }
                    Shape::Path { points, .. } => {
                        for point in points {
                            *point = moved(*point);
                        }
                    }
                    Shape::Dot { at, .. } => *at = moved(*at),
                    Shape::Text(text) => [text.x, text.y] = moved([text.x, text.y]),
                }
                shape
            }));
    }

    pub(super) fn fill(&mut self, rect: Rect, color: Rgb) {
        self.shapes.push(Shape::Fill { rect, color });
    }

    pub(super) fn outline(&mut self, rect: Rect, color: Rgb, width: f32) {
        self.shapes.push(Shape::Outline { rect, color, width });
    }

    pub(super) fn line(&mut self, from: [f32; 2], to: [f32; 2], color: Rgb, width: f32) {
        self.shapes.push(Shape::Line {
            from,
            to,
            color,
            width,
        });
    }

    pub(super) fn dot(&mut self, at: [f32; 2], radius: f32, color: Rgb) {
        self.shapes.push(Shape::Dot { at, radius, color });
    }

    /// Reads to the right from (or around, or up to) `at`.
    pub(super) fn text(&mut self, text: &str, at: [f32; 2], size: f32, color: Rgb, anchor: Anchor) {
        self.push_text(text, at, size, color, anchor, false);
    }

    /// Reads upwards; `at` is on the base line, which is vertical.
    pub(super) fn upright_text(
        &mut self,
        text: &str,
        at: [f32; 2],
        size: f32,
        color: Rgb,
        anchor: Anchor,
    ) {
        self.push_text(text, at, size, color, anchor, true);
    }

    fn push_text(
        &mut self,
        content: &str,
        [x, y]: [f32; 2],
        size: f32,
        color: Rgb,
        anchor: Anchor,
        upright: bool,
    ) {
        self.shapes.push(Shape::Text(Text {
            content: content.to_owned(),
            x,
            y,
            size,
            color,
            anchor,
            upright,
        }));
    }

    /// A map of colours in rows of `columns`, as rectangles (equal neighbours of a row in one) or as an image.
    pub(super) fn map(&mut self, rect: Rect, columns: usize, colors: Vec<Rgb>, as_image: bool) {
        if as_image {
            self.images.push(Image {
                rect,
                columns,
                pixels: colors,
            });
            return;
        }
        let rows = colors.len() / columns;
        let cell = [rect.width / columns as f32, rect.height / rows as f32];
        // Each rectangle reaches half a px below the ones drawn after it, so that no renderer shows a seam.
        let overlap = |end: usize, count: usize, cell: f32| {
            if end < count {
                0.5_f32.min(cell / 2.0)
            } else {
                0.0
            }
        };
        for (row, colors) in colors.chunks_exact(columns).enumerate() {
            let mut start = 0;
            for run in colors.chunk_by(|a, b| a == b) {
                let end = start + run.len();
                self.fill(
                    Rect::new(
                        rect.x + start as f32 * cell[0],
                        rect.y + row as f32 * cell[1],
                        run.len() as f32 * cell[0] + overlap(end, columns, cell[0]),
                        cell[1] + overlap(row + 1, rows, cell[1]),
                    ),
                    run[0],
                );
                start = end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbours_of_a_row_are_one_rectangle() {
        let [a, b] = [[1, 1, 1], [2, 2, 2]];
        let mut scene = Scene::test(100.0, 100.0);
        scene.map(
            Rect::new(10.0, 20.0, 30.0, 30.0),
            3,
            vec![a, a, b, b, b, b, a, b, a],
            false,
        );
        let rects: Vec<_> = scene
            .shapes
            .iter()
            .map(|shape| match shape {
                Shape::Fill { rect, color } => (*rect, *color),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(rects.len(), 2 + 1 + 3);
        assert_eq!(rects[0], (Rect::new(10.0, 20.0, 20.5, 10.5), a));
        assert_eq!(rects[2], (Rect::new(10.0, 30.0, 30.0, 10.5), b));
        assert_eq!(rects[5], (Rect::new(30.0, 40.0, 10.0, 10.0), a));
    }

    impl Scene {
        pub(in crate::figure) fn test(width: f32, height: f32) -> Self {
            Self {
                width,
                height,
                title: String::new(),
                description: String::new(),
                background: [255; 3],
                images: Vec::new(),
                shapes: Vec::new(),
            }
        }
    }
}
