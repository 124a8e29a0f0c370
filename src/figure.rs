//! Figures and data of each view, for papers and notebooks: SVG, PNG, CSV and JSON.
//!
//! Everything here works on plain numbers, without a window, a GPU or a model; `render` draws the same views on screen.
//! A view becomes a display list (`scene`), that becomes SVG, and PNG is that SVG in pixels, with the bundled fonts only.

mod arcs;
mod attention;
mod axis;
mod bars;
mod curves;
mod data;
mod heads;
mod input;
mod layout;
mod matrix;
mod page;
mod parts;
mod raster;
mod readout;
mod scene;
mod sheet;
mod style;
mod svg;
mod table;
mod text;

use std::path::{Path, PathBuf};

pub use input::{
    ArcsFigure, AttentionFigure, BeforeAfter, HeadCell, HeadPanel, HeadsFigure, MethodRun,
    Provenance, ReadoutFigure, ReadoutRow, Thumb, TokenLabel,
};
pub use parts::{
    BarPiece, BarRow, BarsFigure, Curve, CurvesFigure, Mark, MatrixFigure, Part, SheetFigure,
    TableCell, TableFigure,
};
pub use style::{FigureSize, Style, Theme};

/// A view with all that it shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    Attention(AttentionFigure),
    Heads(HeadsFigure),
    Arcs(ArcsFigure),
    Readout(ReadoutFigure),
    Part(Part),
    Sheet(SheetFigure),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Png,
    Svg,
    Csv,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    #[error("the file name does not say which format; end it in .png, .svg, .csv or .json: {}", path.display())]
    Format { path: PathBuf },
    #[error(
        "a picture of {width}×{height} px at scale {scale} cannot be drawn; each side must have 1 to {most} pixels"
    )]
    Size {
        width: f32,
        height: f32,
        scale: f32,
        most: u32,
    },
    #[error("{of} has {found} values where {expected} belong")]
    Values {
        of: String,
        found: usize,
        expected: usize,
    },
    #[error("the figure has {found} {what}; it can show {least} to {most}")]
    Count {
        what: &'static str,
        found: usize,
        least: usize,
        most: usize,
    },
    #[error("no memory for a picture of {width}×{height} pixels; ask for a smaller one")]
    Canvas { width: u32, height: u32 },
    #[error("the figure could not be read back for drawing: {0}")]
    Draw(#[from] resvg::usvg::Error),
    #[error("the picture could not be encoded: {0}")]
    Png(#[from] png::EncodingError),
    #[error("the table could not be written: {0}")]
    Csv(#[from] csv::Error),
    #[error("the data could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Figure {
    /// The bytes of a file. Style matters to pictures only.
    pub fn render(
        &self,
        format: Format,
        style: &Style,
        provenance: &Provenance,
    ) -> Result<Vec<u8>, FigureError> {
        self.check()?;
        match format {
            Format::Csv => data::csv(self, provenance),
            Format::Json => data::json(self, provenance),
            Format::Svg => {
                style.check()?;
                let scene = self.scene(style);
                let [width, height] = style.size_of(&scene);
                let metadata = data::metadata(self.view(), provenance);
                Ok(svg::document(&scene, width, height, &metadata)?.into_bytes())
            }
            Format::Png => {
                style.check()?;
                let scene = self.scene(style);
                let [width, height] = style.size_of(&scene);
                let (width, height) = style.pixels(width, height)?;
                let metadata = data::metadata(self.view(), provenance);
                let software = format!("Headscope {}", provenance.version);
                let texts = [
                    ("Title", scene.title.as_str()),
                    ("Description", &scene.description),
                    ("Software", software.trim_end()),
                    ("Headscope", &metadata),
                ];
                raster::png(&scene, width, height, &texts)
            }
        }
    }

    /// As on the command line: `attention`, `heads`, `arcs`, `readout`; of reports `matrix`, `bars`, `curves`, `table`, and
    /// `sheet` for several.
    pub const fn view(&self) -> &'static str {
        match self {
            Self::Attention(_) => "attention",
            Self::Heads(_) => "heads",
            Self::Arcs(_) => "arcs",
            Self::Readout(_) => "readout",
            Self::Part(part) => part.view(),
            Self::Sheet(_) => "sheet",
        }
    }

    fn check(&self) -> Result<(), FigureError> {
        match self {
            Self::Attention(figure) => input::check_panels(&figure.panels, figure.tokens.len()),
            Self::Heads(figure) => input::check_heads(figure),
            Self::Arcs(figure) => {
                input::check_panels(&figure.panels, figure.tokens.len())?;
                input::check_count("heads", figure.panels.len(), 1, ArcsFigure::MAX_HEADS)
            }
            Self::Readout(figure) => {
                input::check_count("rows", figure.rows.len() + figure.answers.len(), 0, 500)
            }
            Self::Part(part) => part.check(),
            Self::Sheet(figure) => {
                input::check_count("parts", figure.parts.len(), 1, usize::MAX)?;
                figure.parts.iter().try_for_each(Part::check)
            }
        }
    }

    fn scene(&self, style: &Style) -> scene::Scene {
        let palette = style.theme.palette();
        let asked = style
            .size
            .map(|size| [size.width as f32, size.height as f32]);
        let mut scene = match self {
            Self::Attention(figure) => attention::build(figure, &palette, asked),
            Self::Heads(figure) => heads::build(figure, &palette, asked),
            Self::Arcs(figure) => arcs::build(figure, &palette, asked),
            Self::Readout(figure) => readout::build(figure, &palette, asked),
            Self::Part(part) => page::of_part(part, &palette, asked),
            Self::Sheet(figure) => sheet::build(figure, &palette, asked),
        };
        if asked.is_none() {
            // Whole px, so that a cell of 24 px has 24 pixels.
            scene.width = scene.width.ceil();
            scene.height = scene.height.ceil();
        }
        scene
    }
}

/// A picture of the whole window as PNG, with where it came from inside. `rgb` has 3 bytes a pixel, row by row.
pub fn window_png(
    width: u32,
    height: u32,
    rgb: &[u8],
    provenance: &Provenance,
) -> Result<Vec<u8>, FigureError> {
    let software = format!("Headscope {}", provenance.version);
    let texts = [
        ("Title", "Headscope"),
        ("Software", software.trim_end()),
        ("Headscope", &data::metadata("window", provenance)),
    ];
    raster::encode_png(width, height, rgb, &texts)
}

impl Format {
    pub const ALL: [Self; 4] = [Self::Png, Self::Svg, Self::Csv, Self::Json];

    /// The ending of its files, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Svg => "svg",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }

    /// By the ending of a file name, in upper or lower case.
    pub fn from_path(path: &Path) -> Result<Self, FigureError> {
        let ending = path.extension().and_then(|ending| ending.to_str());
        Self::ALL
            .into_iter()
            .find(|format| ending.is_some_and(|e| e.eq_ignore_ascii_case(format.extension())))
            .ok_or_else(|| FigureError::Format {
                path: path.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests;
