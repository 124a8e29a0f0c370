//! Writes a display list as SVG, with text as real text and the provenance in `<metadata>`.

use std::fmt::Write as _;

use base64::Engine as _;

use super::FigureError;
use super::raster;
use super::scene::{Anchor, Image, Scene, Shape, Text};
use super::style::Rgb;

/// The family of the bundled font first; a machine without it shows a similar one.
const ROOT_ATTRIBUTES: &str = "font-family=\"Ubuntu, 'DejaVu Sans', sans-serif\" font-weight=\"300\" shape-rendering=\"crispEdges\" xml:space=\"preserve\"";

/// The whole picture at `width` × `height` px. `provenance` is JSON.
pub(super) fn document(
    scene: &Scene,
    width: f32,
    height: f32,
    provenance: &str,
) -> Result<String, FigureError> {
    let mut out = String::new();
    open(&mut out, scene, width, height);
    push(
        &mut out,
        format_args!("<title>{}</title>\n", escape(&scene.title)),
    );
    push(
        &mut out,
        format_args!("<desc>{}</desc>\n", escape(&scene.description)),
    );
    push(
        &mut out,
        format_args!(
            "<metadata>{}</metadata>\n",
            escape(&escape_json(provenance))
        ),
    );
    push(
        &mut out,
        format_args!(
            "<rect width=\"{}\" height=\"{}\" fill=\"{}\"/>\n",
            Num(scene.width),
            Num(scene.height),
            Hex(scene.background)
        ),
    );
    for image in &scene.images {
        write_image(&mut out, image)?;
    }
    close(&mut out, scene);
    Ok(out)
}

/// Only the shapes: the rasteriser has drawn background and images by then.
pub(super) fn shapes(scene: &Scene) -> String {
    let mut out = String::new();
    open(&mut out, scene, scene.width, scene.height);
    close(&mut out, scene);
    out
}

fn open(out: &mut String, scene: &Scene, width: f32, height: f32) {
    push(
        out,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\" {ROOT_ATTRIBUTES}>\n",
            Num(width),
            Num(height),
            Num(scene.width),
            Num(scene.height)
        ),
    );
}

fn close(out: &mut String, scene: &Scene) {
    for shape in &scene.shapes {
        write_shape(out, shape);
    }
    out.push_str("</svg>\n");
}

fn write_shape(out: &mut String, shape: &Shape) {
    match shape {
        Shape::Fill { rect, color } => push(
            out,
            format_args!(
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n",
                Num(rect.x),
                Num(rect.y),
                Num(rect.width),
                Num(rect.height),
                Hex(*color)
            ),
        ),
        Shape::Outline { rect, color, width } => push(
            out,
            format_args!(
                "<path d=\"M{} {}H{}V{}H{}Z\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" shape-rendering=\"auto\"/>\n",
                Num(rect.x),
                Num(rect.y),
                Num(rect.right()),
                Num(rect.bottom()),
                Num(rect.x),
                Hex(*color),
                Num(*width)
            ),
        ),
        Shape::Line {
            from,
            to,
            color,
            width,
        } => push(
            out,
            format_args!(
                "<path d=\"M{} {}L{} {}\" stroke=\"{}\" stroke-width=\"{}\" shape-rendering=\"auto\"/>\n",
                Num(from[0]),
                Num(from[1]),
                Num(to[0]),
                Num(to[1]),
                Hex(*color),
                Num(*width)
            ),
        ),
        Shape::Curve {
            from,
            to,
            color,
            width,
            opacity,
        } => {
            let bend = (to[0] - from[0]) * 0.4;
            push(
                out,
                format_args!(
                    "<path d=\"M{} {}C{} {} {} {} {} {}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-opacity=\"{}\" shape-rendering=\"auto\"/>\n",
                    Num(from[0]),
                    Num(from[1]),
                    Num(from[0] + bend),
                    Num(from[1]),
                    Num(to[0] - bend),
                    Num(to[1]),
                    Num(to[0]),
                    Num(to[1]),
                    Hex(*color),
                    Num(*width),
                    Num(*opacity)
                ),
            );
        }
        Shape::Path {
            points,
            color,
            width,
        } => {
            out.push_str("<path d=\"");
            for (i, [x, y]) in points.iter().enumerate() {
                let to = if i == 0 { 'M' } else { 'L' };
                push(out, format_args!("{to}{} {}", Num(*x), Num(*y)));
            }
            push(
                out,
                format_args!(
                    "\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\" stroke-linecap=\"round\" shape-rendering=\"auto\"/>\n",
                    Hex(*color),
                    Num(*width)
                ),
            );
        }
        Shape::Dot { at, radius, color } => push(
            out,
            format_args!(
                "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\" shape-rendering=\"auto\"/>\n",
                Num(at[0]),
                Num(at[1]),
                Num(*radius),
                Hex(*color)
            ),
        ),
        Shape::Text(text) => write_text(out, text),
    }
}

fn write_text(out: &mut String, text: &Text) {
    let anchor = match text.anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    };
    let (x, y) = (Num(text.x), Num(text.y));
    if text.upright {
        push(
            out,
            format_args!("<text transform=\"translate({x} {y}) rotate(-90)\""),
        );
    } else {
        push(out, format_args!("<text x=\"{x}\" y=\"{y}\""));
    }
    push(
        out,
        format_args!(
            " font-size=\"{}\" fill=\"{}\"{anchor}>{}</text>\n",
            Num(text.size),
            Hex(text.color),
            escape(&text.content)
        ),
    );
}

fn write_image(out: &mut String, image: &Image) -> Result<(), FigureError> {
    let rows = image.pixels.len() / image.columns;
    let png = raster::encode_png(
        image.columns as u32,
        rows as u32,
        image.pixels.as_flattened(),
        &[],
    )?;
    let data = base64::engine::general_purpose::STANDARD.encode(png);
    // xlink:href as well as href would double the file; the former is read by everything.
    push(
        out,
        format_args!(
            "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" xlink:href=\"data:image/png;base64,{data}\"/>\n",
            Num(image.rect.x),
            Num(image.rect.y),
            Num(image.rect.width),
            Num(image.rect.height)
        ),
    );
    Ok(())
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

/// A length with at most two decimals.
struct Num(f32);

impl std::fmt::Display for Num {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", (self.0 * 100.0).round() / 100.0)
    }
}

struct Hex(Rgb);

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

/// For element content and attributes. What XML cannot hold at all becomes U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if is_xml(c) => out.push(c),
            _ => out.push('\u{fffd}'),
        }
    }
    out
}

/// JSON has its own escapes for what XML cannot hold, so no provenance is lost.
fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_xml(c) {
            out.push(c);
        } else {
            push(&mut out, format_args!("\\u{:04x}", c as u32));
        }
    }
    out
}

fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use resvg::usvg::roxmltree;

    #[test]
    fn hostile_text_stays_text() {
        let mut scene = Scene::test(100.0, 50.0);
        let hostile = "<script>&\"'</text>\u{1}\u{fffe}]]> שלום 🙂";
        scene.title = hostile.to_owned();
        scene.text(hostile, [1.0, 2.0], 10.0, [0; 3], Anchor::Start);
        let provenance = serde_json::json!({ "prompt": hostile }).to_string();
        let svg = document(&scene, 100.0, 50.0, &provenance).expect("written");
        let parsed = roxmltree::Document::parse(&svg).expect("well-formed");
        let content = |tag: &str| {
            parsed
                .descendants()
                .find(|node| node.has_tag_name(tag))
                .and_then(|node| node.text())
                .expect(tag)
                .to_owned()
        };
        assert_eq!(
            content("text"),
            hostile.replace(['\u{1}', '\u{fffe}'], "\u{fffd}")
        );
        let metadata: serde_json::Value = serde_json::from_str(&content("metadata")).expect("JSON");
        assert_eq!(metadata["prompt"], hostile);
        assert!(!svg.contains("<script"));
    }

    #[test]
    fn lengths_are_short() {
        assert_eq!(Num(10.0).to_string(), "10");
        assert_eq!(Num(1.0 / 3.0).to_string(), "0.33");
    }
}
