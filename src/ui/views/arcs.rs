//! The tokens twice, queries left and keys right, with lines between them by weight. Unlike the maps, several heads lie
//! over each other.

use egui::{Align2, Color32, FontId, Pos2, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use crate::ids::HeadId;
use crate::model::tokenizer::Piece;
use crate::session::Shown;
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::focus::Item;
use crate::ui::widgets::map::{Edge, Map, MapKey};
use crate::ui::widgets::scale::number;
use crate::ui::widgets::{edits, message, tokens};

#[derive(Debug)]
pub struct State {
    /// Lines weaker than this share of the strongest are left out.
    threshold: f32,
    /// The token under the pointer, in the last frame.
    hovered: Option<(Column, usize)>,
    lines: Vec<Lines>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            threshold: 0.05,
            hovered: None,
            lines: Vec::new(),
        }
    }
}

/// The lines of one head that pass the threshold, by query.
#[derive(Debug)]
struct Lines {
    key: MapKey,
    threshold: f32,
    hide_sink: bool,
    head: HeadId,
    edges: Vec<Edge>,
    /// The strength of a full line.
    full: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Query,
    Key,
}

const ROW: f32 = 18.0;
const MAX_CHARS: usize = 18;
/// More heads over each other cannot be told apart.
const MOST_HEADS: usize = 7;

pub fn show(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
    toolbar(cx, state, ui);
    let maps: Vec<Map<'_>> = cx
        .session
        .view
        .selection
        .iter()
        .take(MOST_HEADS)
        .filter_map(|head| Map::new(cx, *head, cx.session.view.shown))
        .collect();
    let Some(first) = maps.first() else {
        message::empty(
            ui,
            cx.theme,
            "No lines to draw",
            "Select one or more heads: their attention is drawn between the tokens.",
        );
        return;
    };
    let n_tokens = first.n_tokens();
    let stale = maps.iter().any(|map| cx.live.is_old(map.layer.run));
    state.update_lines(cx.session.view.hide_sink, &maps);
    let pieces = cx.resolved.map_or(&[][..], |resolved| &resolved.tokens);
    ui.horizontal(|ui| {
        ui.label(
            egui::RichText::new("Query")
                .small()
                .color(cx.theme.text_weak),
        );
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            ui.label(egui::RichText::new("Key").small().color(cx.theme.text_weak));
        });
    });
    let column = column_width(ui, pieces, n_tokens);
    egui::ScrollArea::vertical()
        .id_salt("arcs")
        .auto_shrink(false)
        .show_viewport(ui, |ui, viewport| {
            ui.set_min_height(ROW * n_tokens as f32);
            let rect = Rect::from_min_size(
                ui.min_rect().min,
                vec2(ui.available_width(), ROW * n_tokens as f32),
            );
            let sheet = Sheet {
                rect,
                column,
                visible: (viewport.top() / ROW).max(0.0) as usize
                    ..((viewport.bottom() / ROW).ceil() as usize).min(n_tokens),
            };
            if stale {
                ui.multiply_opacity(0.5);
            }
            sheet.lines(cx, state, ui);
            let hovered = sheet.tokens(cx, ui, pieces, state.hovered);
            if hovered != state.hovered {
                state.hovered = hovered;
                ui.ctx().request_repaint();
            }
        });
}

fn toolbar(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
    ui.horizontal_wrapped(|ui| {
        let label = ui.label(egui::RichText::new("Lines from").color(cx.theme.text_weak));
        ui.spacing_mut().slider_width = 110.0;
        ui.add(
            egui::Slider::new(&mut state.threshold, 0.0..=1.0)
                .logarithmic(true)
                .smallest_positive(0.001)
                .custom_formatter(|value, _| format!("{:.1} %", value * 100.0))
                .custom_parser(|text| {
                    Some(
                        text.trim()
                            .trim_end_matches('%')
                            .trim()
                            .parse::<f64>()
                            .ok()?
                            / 100.0,
                    )
                }),
        )
        .labelled_by(label.id)
        .on_hover_text("Lines weaker than this share of the strongest are left out");
        ui.separator();
        for (i, head) in cx
            .session
            .view
            .selection
            .iter()
            .take(MOST_HEADS)
            .enumerate()
        {
            let (rect, _) = ui.allocate_exact_size(vec2(14.0, 4.0), Sense::HOVER);
            ui.painter().rect_filled(rect, 2.0, cx.theme.series(i));
            ui.label(edits::head_name(&cx.model.spec, *head));
        }
        let more = cx.session.view.selection.len().saturating_sub(MOST_HEADS);
        if more > 0 {
            ui.weak(format!("and {more} more, not drawn"));
        }
    });
}

impl State {
    fn update_lines(&mut self, hide_sink: bool, maps: &[Map<'_>]) {
        let mut known = std::mem::take(&mut self.lines);
        for map in maps {
            let key = map.key();
            let at = known.iter().position(|lines| {
                lines.key == key
                    && lines.threshold.to_bits() == self.threshold.to_bits()
                    && lines.hide_sink == hide_sink
            });
            self.lines.push(match at {
                Some(at) => known.swap_remove(at),
                None => Lines::new(map, key, self.threshold, hide_sink),
            });
        }
    }
}

impl Lines {
    fn new(map: &Map<'_>, key: MapKey, threshold: f32, hide_sink: bool) -> Self {
        let from_key = usize::from(hide_sink);
        let full = match map.shown {
            Shown::Attention => 1.0,
            Shown::ValueWeighted | Shown::Change => map.largest(from_key).max(f32::MIN_POSITIVE),
        };
        let mut edges = Vec::new();
        for (query, key) in map.cells(from_key) {
            if let Some(value) = map.value(query, key)
                && value.abs() >= threshold * full
                && value != 0.0
            {
                edges.push(Edge { query, key, value });
            }
        }
        Self {
            key,
            threshold,
            hide_sink,
            head: map.head,
            edges,
            full,
        }
    }
}

fn column_width(ui: &Ui, pieces: &[Piece], n_tokens: usize) -> f32 {
    let longest = (0..n_tokens)
        .map(|position| tokens::label(pieces, position, MAX_CHARS).chars().count())
        .max()
        .unwrap_or(1);
    let glyph = ui.fonts_mut(|fonts| fonts.glyph_width(&font(), 'm'));
    (longest as f32 * glyph + 14.0).min(ui.available_width() * 0.35)
}

fn font() -> FontId {
    FontId::monospace(12.0)
}

/// Where the two columns stand, and which rows are in view.
struct Sheet {
    rect: Rect,
    column: f32,
    visible: std::ops::Range<usize>,
}

impl Sheet {
    fn row(&self, column: Column, position: usize) -> Rect {
        let top = self.rect.top() + ROW * position as f32;
        let left = match column {
            Column::Query => self.rect.left(),
            Column::Key => self.rect.right() - self.column,
        };
        Rect::from_min_size(pos2(left, top), vec2(self.column, ROW))
    }

    fn ends(&self, edge: &Edge) -> [Pos2; 2] {
        [
            self.row(Column::Query, edge.query).right_center(),
            self.row(Column::Key, edge.key).left_center(),
        ]
    }

    /// Lines with at least one end, or their middle, in view.
    fn lines(&self, cx: &ViewContext<'_>, state: &State, ui: &Ui) {
        let several = state.lines.len() > 1;
        for (i, lines) in state.lines.iter().enumerate() {
            let scale = cx.session.view.color_scale(lines.full);
            for edge in &lines.edges {
                let (low, high) = (edge.key.min(edge.query), edge.key.max(edge.query));
                if high < self.visible.start || low >= self.visible.end {
                    continue;
                }
                let strength = (edge.value.abs() / lines.full).clamp(0.0, 1.0);
                let color = if scale.map.is_diverging() && !several {
                    if edge.value > 0.0 {
                        cx.theme.positive
                    } else {
                        cx.theme.negative
                    }
                } else {
                    cx.theme.series(i)
                };
                let lit = is_lit(cx, state.hovered, lines.head, edge);
                let opacity = match lit {
                    Some(true) => 0.35 + 0.65 * strength,
                    // Not quite gone while another line is looked at.
                    Some(false) => 0.05 * strength,
                    None => strength.powf(0.8),
                };
                let width = if lit == Some(true) {
                    1.5 + 2.0 * strength
                } else {
                    0.5 + 2.0 * strength
                };
                let stroke = Stroke::new(width, color.gamma_multiply(opacity));
                ui.painter().line_segment(self.ends(edge), stroke);
            }
        }
    }

    /// Both columns; the token under the pointer.
    fn tokens(
        &self,
        cx: &ViewContext<'_>,
        ui: &Ui,
        pieces: &[Piece],
        last: Option<(Column, usize)>,
    ) -> Option<(Column, usize)> {
        let mut hovered = None;
        let lit = cx.focus.hovered_positions();
        for position in self.visible.clone() {
            for column in [Column::Query, Column::Key] {
                let rect = self.row(column, position);
                let name = match column {
                    Column::Query => format!("Query {}", tokens::at(pieces, position)),
                    Column::Key => format!("Key {}", tokens::at(pieces, position)),
                };
                let id = ui.scope_id().with((position, column == Column::Query));
                let response = ui.interact(rect, id, Sense::CLICK);
                response.widget_info(|| WidgetInfo::labeled(Role::ListItem, true, &name));
                if response.hovered() || response.has_focus() {
                    hovered = Some((column, position));
                    cx.push(Action::Hover(Item::Token(position)));
                }
                let is_lit = last == Some((column, position))
                    || lit.is_some_and(|(query, key)| match column {
                        Column::Query => query == position,
                        Column::Key => key == position,
                    });
                if is_lit {
                    ui.painter().rect_filled(rect, 3.0, cx.theme.surface);
                }
                let (at, anchor) = match column {
                    Column::Query => (rect.right_center() - vec2(6.0, 0.0), Align2::RIGHT_CENTER),
                    Column::Key => (rect.left_center() + vec2(6.0, 0.0), Align2::LEFT_CENTER),
                };
                let text = tokens::label(pieces, position, MAX_CHARS);
                let color = token_color(cx, pieces, position, is_lit);
                ui.painter()
                    .with_clip_rect(rect.intersect(ui.clip_rect()))
                    .text(at, anchor, text, font(), color);
                if response.hovered() {
                    response.on_hover_ui(|ui| tooltip(cx, ui, pieces, column, position));
                }
            }
        }
        hovered
    }
}

fn token_color(cx: &ViewContext<'_>, pieces: &[Piece], position: usize, lit: bool) -> Color32 {
    if lit {
        cx.theme.hover_stroke
    } else if pieces.get(position).is_some_and(|piece| piece.special) {
        cx.theme.text_weak
    } else {
        cx.theme.text
    }
}

/// Whether a line belongs to what is hovered, here or in another view; `None` while nothing is.
fn is_lit(
    cx: &ViewContext<'_>,
    hovered: Option<(Column, usize)>,
    head: HeadId,
    edge: &Edge,
) -> Option<bool> {
    if let Some((column, position)) = hovered {
        return Some(match column {
            Column::Query => edge.query == position,
            Column::Key => edge.key == position,
        });
    }
    match cx.focus.hovered()? {
        Item::Token(position) => Some(edge.query == position || edge.key == position),
        Item::Cell {
            head: other,
            query,
            key,
        } if other == head => Some((edge.query, edge.key) == (query, key)),
        Item::Cell { .. } => Some(false),
        Item::Head(other) => cx
            .session
            .view
            .selection
            .contains(&other)
            .then_some(other == head),
    }
}

/// The strongest partners of a token, for each head.
fn tooltip(cx: &ViewContext<'_>, ui: &mut Ui, pieces: &[Piece], column: Column, position: usize) {
    let (title, arrow) = match column {
        Column::Query => ("reads from", "←"),
        Column::Key => ("is read by", "→"),
    };
    ui.strong(format!("{} {title}", tokens::at(pieces, position)));
    for head in cx.session.view.selection.iter().take(3) {
        let Some(map) = Map::new(cx, *head, cx.session.view.shown) else {
            continue;
        };
        let n = map.n_tokens();
        let mut partners: Vec<(usize, f32)> = match column {
            Column::Query => (0..n)
                .filter_map(|key| Some((key, map.value(position, key)?)))
                .collect(),
            Column::Key => (0..n)
                .filter_map(|query| Some((query, map.value(query, position)?)))
                .collect(),
        };
        partners.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        let listed: Vec<String> = partners
            .iter()
            .take(3)
            .map(|(other, value)| format!("{} {}", tokens::at(pieces, *other), number(*value)))
            .collect();
        ui.label(format!("{head} {arrow} {}", listed.join(", ")));
    }
}
