//! What figures are made of: plain numbers and texts, with no model, session or window behind them.
//!
//! The caller fills these; `attention`, `heads`, `arcs` and `readout` draw them, `data` writes them as tables. What the
//! reports of methods are made of is in `parts`.

use crate::colormap::ColorScale;
use crate::ids::HeadId;
use crate::mask::Mask;

use super::FigureError;

/// Where a figure comes from. It travels in the metadata of every export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    pub model: String,
    /// `h1:…`, of the model's weights.
    pub fingerprint: String,
    pub prompt: String,
    /// Canonical spelling, in order.
    pub edits: Vec<String>,
    /// Of this program.
    pub version: String,
    /// Which method gave the numbers; `None` for those of the run itself.
    pub method: Option<MethodRun>,
}

/// A method with what it was run with, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodRun {
    pub name: String,
    pub settings: Vec<(String, serde_json::Value)>,
}

/// A token of the prompt, with its text as the tokenizer decodes it (leading space included).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenLabel {
    pub index: usize,
    pub text: String,
}

/// One head's map.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadPanel {
    /// What is written above it: `L9H6`, or `L9H6 unedited`.
    pub title: String,
    pub head: HeadId,
    /// [query, key], row-major, one value for each pair of tokens. NaN is drawn as masked.
    pub values: Vec<f32>,
    /// What it hides is masked, whatever its value.
    pub mask: Mask,
    /// An edit acts on this head.
    pub edited: bool,
}

/// Attention maps of one or several heads side by side: rows are queries, columns are keys.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionFigure {
    pub panels: Vec<HeadPanel>,
    pub tokens: Vec<TokenLabel>,
    pub scale: ColorScale,
    /// What the colours mean: `attention`, `attention × ‖v‖`, `change`.
    pub value_label: String,
}

/// All heads of a model: rows are layers (0 on top), columns are heads.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadsFigure {
    pub n_layers: usize,
    pub n_heads: usize,
    /// [layer, head], row-major; `None` for a head without data.
    pub cells: Vec<HeadCell>,
    pub scale: ColorScale,
    pub value_label: String,
}

/// One head of the grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadCell {
    pub thumb: Option<Thumb>,
    /// What an edit does to this head: `×`, `×2.5`, `⇄`; empty without one.
    pub badge: String,
}

/// A small square map, or with side 1 the colour of one score.
#[derive(Clone, Debug, PartialEq)]
pub struct Thumb {
    /// 1 to [`Thumb::MAX_SIDE`].
    pub side: usize,
    /// [query, key] of pooled tokens, row-major; NaN is drawn as masked.
    pub values: Vec<f32>,
    /// How many tokens were pooled: row `i` has those from `⌈i · n / side⌉` on.
    pub n_tokens: usize,
    /// Between tokens; a cell of which it leaves nothing is masked.
    pub mask: Mask,
}

impl Thumb {
    /// More could not be told apart in a grid.
    pub const MAX_SIDE: usize = 64;

    /// Whether the mask covers all of a cell.
    pub(super) fn hides(&self, row: usize, column: usize) -> bool {
        let tokens = |cell: usize| {
            let start = |cell: usize| (cell * self.n_tokens).div_ceil(self.side);
            start(cell)..=start(cell + 1).saturating_sub(1)
        };
        !self.mask.sees_any(tokens(row), tokens(column))
    }
}

impl HeadPanel {
    /// Whether the mask covers a cell.
    pub(super) fn hides(&self, query: usize, key: usize) -> bool {
        !self.mask.sees(query, key)
    }
}

/// The tokens twice, queries left and keys right, with a line for each weight.
#[derive(Clone, Debug, PartialEq)]
pub struct ArcsFigure {
    /// At most [`ArcsFigure::MAX_HEADS`], each in a colour of its own.
    pub panels: Vec<HeadPanel>,
    pub tokens: Vec<TokenLabel>,
    /// Its range sets which weight is drawn strongest. With a diverging map and one head, lines have its end colours by sign.
    pub scale: ColorScale,
    pub value_label: String,
    /// Weights whose magnitude is below are not drawn.
    pub threshold: f32,
}

impl ArcsFigure {
    /// As many as there are colours that everyone can tell apart.
    pub const MAX_HEADS: usize = 6;
}

/// The table of predicted tokens at one position, and the answers whose difference is followed.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadoutFigure {
    /// The token whose prediction this is.
    pub position: TokenLabel,
    /// Predicted is what stands at the position, not what follows it.
    pub masked_token: bool,
    /// In the order to show.
    pub rows: Vec<ReadoutRow>,
    pub answers: Vec<ReadoutRow>,
    /// First answer minus second, in logits; `None` with fewer than two answers.
    pub logit_diff: Option<BeforeAfter>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReadoutRow {
    pub token: String,
    pub id: u32,
    pub logit: BeforeAfter,
    /// 0 to 1.
    pub prob: BeforeAfter,
}

/// A number without and with the edits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeforeAfter {
    pub before: f32,
    /// `None` when there are no edits.
    pub after: Option<f32>,
}

impl BeforeAfter {
    /// After minus before.
    pub fn change(self) -> Option<f32> {
        self.after.map(|after| after - self.before)
    }
}

/// The values of a map that are shown, in row-major order; masked cells are NaN.
pub(super) fn shown(
    values: &[f32],
    side: usize,
    hides: impl Fn(usize, usize) -> bool,
) -> impl Iterator<Item = f32> {
    values.iter().enumerate().map(move |(i, &value)| {
        if hides(i / side, i % side) {
            f32::NAN
        } else {
            value
        }
    })
}

/// `attention of L9H6, L9H9`: names a figure in its file.
pub(super) fn title(value_label: &str, panels: &[HeadPanel]) -> String {
    let heads: Vec<&str> = panels.iter().map(|panel| panel.title.as_str()).collect();
    format!("{value_label} of {}", heads.join(", "))
}

/// Every panel has one value for each pair of tokens, and there is something to show.
pub(super) fn check_panels(panels: &[HeadPanel], n_tokens: usize) -> Result<(), FigureError> {
    check_count("tokens", n_tokens, 1, usize::MAX)?;
    check_count("heads", panels.len(), 1, usize::MAX)?;
    panels
        .iter()
        .try_for_each(|panel| check_values(&panel.title, panel.values.len(), n_tokens * n_tokens))
}

pub(super) fn check_heads(figure: &HeadsFigure) -> Result<(), FigureError> {
    check_count("layers", figure.n_layers, 1, usize::MAX)?;
    check_count("heads", figure.n_heads, 1, usize::MAX)?;
    let (found, expected) = (figure.cells.len(), figure.n_layers * figure.n_heads);
    if found != expected {
        return Err(FigureError::Values {
            of: "the grid of heads".to_owned(),
            found,
            expected,
        });
    }
    for (i, cell) in figure.cells.iter().enumerate() {
        if let Some(thumb) = &cell.thumb {
            let head = HeadId::new(i / figure.n_heads, i % figure.n_heads).to_string();
            check_count("rows of a thumbnail", thumb.side, 1, Thumb::MAX_SIDE)?;
            check_values(&head, thumb.values.len(), thumb.side * thumb.side)?;
        }
    }
    Ok(())
}

pub(super) fn check_count(
    what: &'static str,
    found: usize,
    least: usize,
    most: usize,
) -> Result<(), FigureError> {
    if (least..=most).contains(&found) {
        Ok(())
    } else {
        Err(FigureError::Count {
            what,
            found,
            least,
            most,
        })
    }
}

pub(super) fn check_values(of: &str, found: usize, expected: usize) -> Result<(), FigureError> {
    if found == expected {
        Ok(())
    } else {
        Err(FigureError::Values {
            of: of.to_owned(),
            found,
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnails_cell_is_masked_if_the_mask_leaves_nothing_of_it() {
        let (n_tokens, side) = (70, 32);
        for mask in [
            Mask::CAUSAL,
            Mask::causal_window(5),
            Mask::to_either_side(4),
        ] {
            let thumb = Thumb {
                side,
                values: vec![0.0; side * side],
                n_tokens,
                mask,
            };
            let cell_of = |token: usize| token * side / n_tokens;
            let mut seen = vec![false; side * side];
            for query in 0..n_tokens {
                for key in mask.keys(query, n_tokens) {
                    seen[cell_of(query) * side + cell_of(key)] = true;
                }
            }
            for (i, seen) in seen.into_iter().enumerate() {
                assert_eq!(thumb.hides(i / side, i % side), !seen, "{mask:?} {i}");
            }
        }
    }
}
