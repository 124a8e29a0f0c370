//! Turns a display list into PNG: the images by hand, all shapes by resvg from the same SVG that is exported.

use resvg::tiny_skia::{Color, Pixmap, PremultipliedColorU8, Transform};
use resvg::usvg;

use super::FigureError;
use super::scene::{Image, Scene};
use super::svg;
use super::text;

/// A picture of `width` × `height` pixels. `texts` are keyword and content of its text chunks.
pub(super) fn png(
    scene: &Scene,
    width: u32,
    height: u32,
    texts: &[(&str, &str)],
) -> Result<Vec<u8>, FigureError> {
    let mut pixmap = Pixmap::new(width, height).ok_or(FigureError::Canvas { width, height })?;
    let [r, g, b] = scene.background;
    pixmap.fill(Color::from_rgba8(r, g, b, 255));
    let scale = [width as f32 / scene.width, height as f32 / scene.height];
    for image in &scene.images {
        draw_image(&mut pixmap, image, scale);
    }
    let options = usvg::Options {
        fontdb: text::font_database(),
        ..Default::default()
    };
    let tree = usvg::Tree::from_str(&svg::shapes(scene), &options)?;
    resvg::render(
        &tree,
        Transform::from_scale(scale[0], scale[1]),
        &mut pixmap.as_mut(),
    );
    let rgb: Vec<u8> = pixmap
        .pixels()
        .iter()
        .flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()])
        .collect();
    encode_png(width, height, &rgb, texts)
}

/// Without smoothing where cells are larger than pixels; the mean colour of the cells in a pixel where they are smaller,
/// so that no row or column vanishes.
fn draw_image(pixmap: &mut Pixmap, image: &Image, [scale_x, scale_y]: [f32; 2]) {
    let rows = image.pixels.len() / image.columns;
    let (rect, width) = (image.rect, pixmap.width() as usize);
    let columns = sources(
        rect.x * scale_x,
        rect.right() * scale_x,
        image.columns,
        width,
    );
    let lines = sources(
        rect.y * scale_y,
        rect.bottom() * scale_y,
        rows,
        pixmap.height() as usize,
    );
    let pixels = pixmap.pixels_mut();
    for (y, from_rows) in lines {
        for (x, from_columns) in &columns {
            let mut sum = [0_u32; 3];
            for row in from_rows.clone() {
                for pixel in &image.pixels[row * image.columns..][from_columns.clone()] {
                    for (sum, &channel) in sum.iter_mut().zip(pixel) {
                        *sum += u32::from(channel);
                    }
                }
            }
            let count = (from_rows.len() * from_columns.len()) as u32;
            let [r, g, b] = sum.map(|sum| ((sum + count / 2) / count) as u8);
            if let Some(color) = PremultipliedColorU8::from_rgba(r, g, b, 255) {
                pixels[y * width + x] = color;
            }
        }
    }
}

/// For each pixel between `start` and `end` its index and the cells of `count` that it shows, never none.
fn sources(
    start: f32,
    end: f32,
    count: usize,
    limit: usize,
) -> Vec<(usize, std::ops::Range<usize>)> {
    let (first, last) = (start.round() as usize, end.round() as usize);
    let n = last.saturating_sub(first).max(1);
    (0..n)
        .take_while(|i| first + i < limit)
        .map(|i| {
            let cells = if n >= count {
                let cell = (2 * i + 1) * count / (2 * n);
                cell..cell + 1
            } else {
                i * count / n..(i + 1) * count / n
            };
            (first + i, cells)
        })
        .collect()
}

/// `rgb`: 3 bytes a pixel.
pub(super) fn encode_png(
    width: u32,
    height: u32,
    rgb: &[u8],
    texts: &[(&str, &str)],
) -> Result<Vec<u8>, FigureError> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (keyword, content) in texts {
        encoder.add_itxt_chunk((*keyword).to_owned(), (*content).to_owned())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrunk_images_lose_no_cell_and_grown_ones_stay_sharp() {
        let cells = |n: usize, count: usize| -> Vec<_> {
            sources(5.0, 5.0 + n as f32, count, 1000)
                .into_iter()
                .map(|(_, cells)| cells)
                .collect()
        };
        assert_eq!(cells(2, 4), [0..2, 2..4]);
        assert_eq!(cells(4, 2), [0..1, 0..1, 1..2, 1..2]);
        assert_eq!(cells(0, 3).first(), Some(&(0..3)));
        for (n, count) in [(7, 100), (100, 101), (333, 1024)] {
            let covered: usize = cells(n, count).iter().map(ExactSizeIterator::len).sum();
            assert_eq!(covered, count);
        }
        assert!(
            sources(990.0, 2000.0, 4, 1000)
                .iter()
                .all(|(x, _)| *x < 1000)
        );
    }
}
