//! The text that the model writes after the prompt, without the edits and with them: a chip a token, steps over steps.
//!
//! ```text
//!  Text after the prompt [20 tokens] [Stop]  7 of 20 · parts at step 2          ‹ step 3 of 7 › Prompt ✕
//!  Unedited  │·London│.│·The│·capital│
//!  Edited    │·Warsaw│.│·It │·is     │
//! ```
//! A chip's bar is its token's probability. A click steps there; the text that is run is then the prompt and the tokens
//! up to the chip.

use egui::{Rect, Sense, Stroke, StrokeKind, pos2, vec2};

use super::action::{Action, ActionQueue};
use super::command::Command;
use super::icons::{self, Icon};
use super::theme::{Theme, size, space};
use super::token_strip::{CHIP_HEIGHT, GAP, chip_width, paint_text};
use super::widgets::tokens;
use crate::experiment::Side;
use crate::model::Model;
use crate::session::{Continuation, ReadPosition};
use crate::worker::{LineState, LiveText, TextId, TextToken};

/// The most tokens that the window generates.
const MOST_TOKENS: usize = 256;
/// Alternatives in a chip's tooltip.
const TOP: usize = 6;
/// Of the lines' names.
const NAME: f32 = 64.0;

/// What is wanted of the text, and where its chips stand.
#[derive(Debug)]
pub(super) struct TextStrip {
    pub open: bool,
    /// Text is generated whenever it is not that of the prompt and the edits. False once the user stopped it.
    pub running: bool,
    pub n_tokens: usize,
    /// The side that was stepped along last.
    pub side: Side,
    /// Where the logits were read before the first step.
    pub position: ReadPosition,
    columns: Columns,
    /// The step that was last brought into view.
    followed: usize,
}

impl Default for TextStrip {
    fn default() -> Self {
        Self {
            open: false,
            running: false,
            n_tokens: 20,
            side: Side::After,
            position: ReadPosition::default(),
            columns: Columns::default(),
            followed: 0,
        }
    }
}

/// Left edge and width of each step, and what they were measured for.
#[derive(Debug, Default)]
struct Columns {
    ids: Vec<Vec<u32>>,
    edges: Vec<(f32, f32)>,
}

pub(super) struct Context<'a> {
    pub theme: &'a Theme,
    pub model: &'a Model,
    pub text: &'a LiveText,
    pub continuation: &'a Continuation,
    /// Steps that there are on the side that is walked along.
    pub n_steps: usize,
    pub actions: &'a ActionQueue,
}

impl TextStrip {
    /// Other work is shown: its text is generated again where it had one.
    pub(super) fn follow(&mut self, continuation: &Continuation) {
        let n_saved = continuation.ids.len();
        self.open |= n_saved > 0;
        self.running = self.open;
        self.n_tokens = self.n_tokens.max(n_saved).min(MOST_TOKENS);
        self.position = ReadPosition::default();
    }

    pub(super) fn show(&mut self, cx: &Context<'_>, ui: &mut egui::Ui) {
        ui.spacing_mut().item_spacing.y = space::XS;
        self.controls(cx, ui);
        let sides = cx.text.sides();
        self.columns.update(cx, ui);
        let height = sides.len() as f32 * (CHIP_HEIGHT + GAP);
        let named = sides.len() > 1;
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 0.0;
            if named {
                names(cx.theme, ui);
            }
            egui::ScrollArea::horizontal()
                .id_salt("generated tokens")
                .auto_shrink([false, true])
                .show_viewport(ui, |ui, viewport| {
                    ui.set_height(height);
                    ui.set_width(self.columns.end() + space::XL * 8.0);
                    let origin = ui.max_rect().min;
                    self.bring_into_view(cx, origin, ui);
                    let visible = self.columns.visible(viewport.left(), viewport.right());
                    for (row, side) in sides.iter().enumerate() {
                        let origin = origin + vec2(0.0, row as f32 * (CHIP_HEIGHT + GAP));
                        self.line(cx, *side, visible.clone(), origin, ui);
                    }
                    self.parting(cx, origin, height, ui);
                });
        });
    }

    fn controls(&self, cx: &Context<'_>, ui: &mut egui::Ui) {
        ui.horizontal(|ui| {
            ui.set_min_height(space::ROW);
            ui.label(egui::RichText::new("Text after the prompt").color(cx.theme.text_weak));
            let mut n_tokens = self.n_tokens;
            let number = egui::DragValue::new(&mut n_tokens)
                .range(1..=MOST_TOKENS)
                .speed(0.2)
                .suffix(" tokens");
            let response = ui.add(number).on_hover_text(
                "The most that are generated; the model's end-of-text token ends the text before",
            );
            response.widget_info(|| {
                egui::WidgetInfo::labeled(egui::Role::SpinButton, true, "Number of tokens")
            });
            if n_tokens != self.n_tokens {
                cx.actions.push(Action::SetTextLength(n_tokens));
            }
            let command = if self.running && !cx.text.is_complete() {
                Some((Command::StopGenerating, "Stop"))
            } else if self.running {
                None
            } else {
                Some((Command::Generate, "Generate"))
            };
            if let Some((command, name)) = command
                && ui.button(name).on_hover_text(command.tooltip()).clicked()
            {
                cx.actions.push(Action::Run(command));
            }
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                Self::steps(cx, ui);
                ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                    let (text, color) = Self::state(cx);
                    ui.add(egui::Label::new(egui::RichText::new(text).color(color)).truncate());
                });
            });
        });
    }

    /// How far the text is, and what is to be known of it.
    fn state(cx: &Context<'_>) -> (String, egui::Color32) {
        let theme = cx.theme;
        let shown = cx.continuation.text();
        let sides = cx.text.sides();
        let mut parts = Vec::new();
        // First: a narrow window cuts the rest off.
        if let Some(step) = cx.text.parts_at() {
            parts.push(format!("the texts part at step {}", step + 1));
        }
        if cx.text.stopped {
            parts.push("stopped".to_owned());
        } else if !cx.text.is_complete() {
            let waiting = |side: &&Side| cx.text.line(**side).state == LineState::Waiting;
            let side = sides.iter().find(waiting).unwrap_or(&sides[0]);
            let wanted = cx.text.wanted.as_ref().map_or(0, |(.., n)| *n);
            parts.push(format!("{} of {wanted}", cx.text.ids(*side).len()));
        } else if let LineState::Done {
            millis: Some(millis),
            ..
        } = cx.text.line(sides[sides.len() - 1]).state
        {
            parts.push(format!("{millis:.1} ms a token"));
        }
        let is_on = |side: &Side| cx.text.ids(*side).starts_with(shown);
        if !shown.is_empty() && cx.text.is_complete() && !sides.iter().any(is_on) {
            let text =
                "what is shown is no longer what the model writes: step along a text to follow it";
            return (text.to_owned(), theme.warn);
        }
        (parts.join("  ·  "), theme.text_weak)
    }

    /// Laid out from the right.
    fn steps(cx: &Context<'_>, ui: &mut egui::Ui) {
        let step = cx.continuation.text().len();
        let button = |ui: &mut egui::Ui, icon, command: Command, enabled| {
            let keys = command.shortcuts();
            let keys = keys.first().map(|key| ui.ctx().format_shortcut(key));
            let tip = match keys {
                Some(keys) => format!("{} ({keys})", command.text()),
                None => command.text(),
            };
            let response = icons::button(ui, cx.theme, icon, &command.text(), enabled)
                .on_hover_text(&tip)
                .on_disabled_hover_text(&tip);
            if response.clicked() {
                cx.actions.push(Action::Run(command));
            }
        };
        button(ui, Icon::Close, Command::CloseText, true);
        let back = ui
            .add_enabled(step > 0, egui::Button::new("Back to the prompt"))
            .on_hover_text(Command::BackToPrompt.tooltip());
        if back.clicked() {
            cx.actions.push(Action::Run(Command::BackToPrompt));
        }
        button(ui, Icon::Next, Command::NextGenerated, step < cx.n_steps);
        let text = if step == 0 {
            "at the prompt".to_owned()
        } else {
            format!("step {step} of {}", cx.n_steps.max(step))
        };
        ui.add_sized([88.0, space::ROW], egui::Label::new(text));
        button(ui, Icon::Previous, Command::PreviousGenerated, step > 0);
    }

    fn line(
        &self,
        cx: &Context<'_>,
        side: Side,
        visible: std::ops::Range<usize>,
        origin: egui::Pos2,
        ui: &mut egui::Ui,
    ) {
        let line = cx.text.line(side);
        let shown = cx.continuation.text();
        // Steps of this side that are part of the text.
        let n_shown = if cx.text.ids(side).starts_with(shown) {
            shown.len()
        } else {
            0
        };
        for step in visible {
            if let (Some((of, token)), Some((left, width))) =
                (line.tokens.get(step), self.columns.edges.get(step))
            {
                let rect =
                    Rect::from_min_size(pos2(origin.x + left, origin.y), vec2(*width, CHIP_HEIGHT));
                chip(cx, (side, step), n_shown, (*of, token), rect, ui);
            }
        }
        let end = match line.tokens.len() {
            0 => 0.0,
            n => self
                .columns
                .edges
                .get(n - 1)
                .map_or(0.0, |(left, width)| left + width),
        };
        let at = pos2(origin.x + end + space::S, origin.y + CHIP_HEIGHT / 2.0);
        let note = |text: &str, color| {
            let font = egui::FontId::proportional(size::SMALL);
            ui.painter()
                .text(at, egui::Align2::LEFT_CENTER, text, font, color);
        };
        match &line.state {
            LineState::Done { ended: true, .. } => {
                note("end of text", cx.theme.text_weak);
            }
            LineState::Failed(message) => {
                let rect = Rect::from_min_size(
                    pos2(origin.x, origin.y),
                    vec2(ui.clip_rect().width(), CHIP_HEIGHT),
                );
                let label = egui::RichText::new(message).color(cx.theme.error);
                ui.put(
                    rect,
                    egui::Label::new(label).truncate().halign(egui::Align::LEFT),
                );
            }
            LineState::Waiting if line.tokens.is_empty() && !cx.text.stopped && self.running => {
                note("…", cx.theme.text_weak);
            }
            LineState::Done { .. } | LineState::Waiting => {}
        }
    }

    /// A seam before the first step at which the texts differ.
    fn parting(&self, cx: &Context<'_>, origin: egui::Pos2, height: f32, ui: &egui::Ui) {
        let Some(step) = cx.text.parts_at() else {
            return;
        };
        let x = self.columns.edges.get(step).map_or(0.0, |(left, _)| *left) - GAP / 2.0;
        let y = origin.y..=origin.y + height - GAP;
        ui.painter()
            .vline(origin.x + x, y, Stroke::new(2.0, cx.theme.cell_edited));
    }

    fn bring_into_view(&mut self, cx: &Context<'_>, origin: egui::Pos2, ui: &egui::Ui) {
        let step = cx.continuation.text().len();
        if std::mem::replace(&mut self.followed, step) == step {
            return;
        }
        let column = self.columns.edges.get(step.saturating_sub(1));
        if let Some((left, width)) = column {
            let at = pos2(origin.x + left, origin.y);
            ui.scroll_to_rect(Rect::from_min_size(at, vec2(*width, CHIP_HEIGHT)), None);
        }
    }
}

impl Columns {
    fn update(&mut self, cx: &Context<'_>, ui: &egui::Ui) {
        let ids = |side: &Side| -> Vec<u32> {
            let tokens = cx.text.line(*side).tokens.iter();
            tokens.map(|(_, token)| token.chosen.id).collect()
        };
        let ids: Vec<Vec<u32>> = cx.text.sides().iter().map(ids).collect();
        if ids == self.ids {
            return;
        }
        let count = ids.iter().map(Vec::len).max().unwrap_or(0);
        // The seam and the first chip's outline have room.
        let mut left = GAP;
        self.edges = (0..count)
            .map(|step| {
                let texts = ids.iter().filter_map(|line| line.get(step));
                let width = texts
                    .map(|id| chip_width(&cx.model.token_text(*id), ui))
                    .fold(0.0, f32::max);
                let column = (left, width);
                left += width + GAP;
                column
            })
            .collect();
        self.ids = ids;
    }

    fn end(&self) -> f32 {
        self.edges.last().map_or(0.0, |(left, width)| left + width)
    }

    fn visible(&self, from: f32, to: f32) -> std::ops::Range<usize> {
        let first = self.edges.partition_point(|(left, w)| left + w < from);
        let last = self.edges.partition_point(|(left, _)| *left <= to);
        first..last.max(first)
    }
}

const fn name(side: Side) -> &'static str {
    match side {
        Side::Before => "Unedited",
        Side::After => "Edited",
    }
}

fn names(theme: &Theme, ui: &mut egui::Ui) {
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = GAP;
        for side in [Side::Before, Side::After] {
            let (rect, _) = ui.allocate_exact_size(vec2(NAME, CHIP_HEIGHT), Sense::hover());
            let at = rect.left_center();
            let font = egui::FontId::proportional(size::BODY);
            let color = theme.text_weak;
            ui.painter()
                .text(at, egui::Align2::LEFT_CENTER, name(side), font, color);
        }
    });
}

fn chip(
    cx: &Context<'_>,
    (side, step): (Side, usize),
    n_shown: usize,
    (of, token): (TextId, &TextToken),
    rect: Rect,
    ui: &mut egui::Ui,
) {
    let theme = cx.theme;
    let is_old = cx.text.is_old(of);
    let is_part = step < n_shown;
    let is_newest = step + 1 == n_shown;
    let id = ui.scope_id().with(("generated", side, step));
    let sense = if is_old {
        Sense::hover()
    } else {
        Sense::click()
    };
    let response = ui.interact(rect, id, sense);
    let fill = match (response.hovered() && !is_old, is_newest, is_part) {
        (true, ..) => theme.hover,
        (_, true, _) => theme.accent_fill,
        (_, _, true) => theme.generated_fill,
        _ => theme.surface,
    };
    let outline = if is_newest || response.has_focus() {
        theme.accent
    } else if is_part {
        theme.generated_line
    } else {
        theme.line
    };
    let faded = |color: egui::Color32| {
        if is_old {
            color.gamma_multiply(0.5)
        } else {
            color
        }
    };
    let text = cx.model.token_text(token.chosen.id);
    let painter = ui.painter();
    painter.rect(
        rect,
        space::RADIUS,
        faded(fill),
        Stroke::new(1.0, faded(outline)),
        StrokeKind::Inside,
    );
    let bar = Rect::from_min_max(
        pos2(rect.left() + 4.0, rect.bottom() - 4.0),
        pos2(rect.right() - 4.0, rect.bottom() - 2.0),
    );
    painter.rect_filled(bar, 1.0, faded(theme.line));
    let filled = bar.with_max_x(bar.left() + bar.width() * token.chosen.prob.clamp(0.0, 1.0));
    let color = match side {
        Side::Before => theme.bar_before,
        Side::After => theme.bar_after,
    };
    painter.rect_filled(filled, 1.0, faded(color));
    paint_text(
        ui,
        rect.translate(vec2(0.0, -1.0)),
        &text,
        faded(theme.text),
    );
    response.widget_info(|| {
        let text = tokens::visible(&text);
        let name = format!("{} step {} {text}", name(side), step + 1);
        egui::WidgetInfo::selected(egui::Role::Button, !is_old, is_newest, name)
    });
    let response = response.on_hover_ui(|ui| {
        details(cx.model, step, token, ui);
        ui.weak(match (is_old, is_newest) {
            (true, _) => "Older than the edits: newer ones are on their way",
            (_, true) => "Maps and logits are those of the text up to here",
            _ => "Click to look at the text up to here",
        });
    });
    if response.clicked() {
        cx.actions.push(Action::StepTo {
            side,
            step: step + 1,
        });
    }
}

/// The token and what else was likely.
fn details(model: &Model, step: usize, token: &TextToken, ui: &mut egui::Ui) {
    ui.strong(format!("{:?}", model.token_text(token.chosen.id)));
    ui.weak(format!("Step {}, id {}", step + 1, token.chosen.id));
    egui::Grid::new("likeliest")
        .num_columns(3)
        .min_row_height(space::L)
        .show(ui, |ui| {
            for score in token.top.iter().take(TOP) {
                ui.label(tokens::short(&model.token_text(score.id), 24));
                ui.monospace(format!("{:.1}%", score.prob * 100.0));
                ui.monospace(format!("logit {:.3}", score.logit));
                ui.end_row();
            }
        });
}
