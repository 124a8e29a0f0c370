//! The table of predicted tokens: probability and logit, before, after and their change.

use std::ops::Range;
use std::sync::Arc;

use egui::{Align2, FontId, Rect, RichText, Sense, Ui, pos2, vec2};

use super::change;
use crate::experiment::{Readout, Side, TokenScore};
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::widgets::scale::minus;
use crate::ui::widgets::tokens;
use crate::worker::LivePass;

/// The likeliest tokens of each run; the table has their union.
const TOP: usize = 20;
const ROW: f32 = 19.0;

/// The rows of the table, kept until the logits or the answers change: a vocabulary is too long to be sorted each frame.
#[derive(Debug, Default)]
pub(super) struct Cache {
    before: Option<Arc<[f32]>>,
    after: Option<Arc<[f32]>>,
    answers: Vec<u32>,
    rows: Vec<Row>,
    difference: Option<Difference>,
    /// Of the shown results: whether newer ones are on their way.
    stale: bool,
}

#[derive(Debug)]
struct Row {
    token: String,
    before: TokenScore,
    after: Option<TokenScore>,
    is_answer: bool,
}

/// First answer minus second, in logits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    /// The two answers as typed.
    pub(super) names: [String; 2],
    pub(super) before: f32,
    /// `None` without edits, and until their first result.
    pub(super) after: Option<f32>,
    stale: bool,
}

impl Cache {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn difference(&self) -> Option<&Difference> {
        self.difference.as_ref()
    }

    pub(super) fn update(&mut self, cx: &ViewContext<'_>) {
        let edited = cx.live.current_side() == Side::After;
        let before = cx.live.before.logits.clone();
        let after = cx.live.after.logits.clone().filter(|_| edited);
        let resolved = cx.resolved.map_or(&[][..], |resolved| &resolved.answers);
        let answers: Vec<u32> = resolved.iter().map(|answer| answer.id).collect();
        let is_old = |pass: &LivePass| cx.live.is_old(pass.run);
        self.stale = is_old(&cx.live.before) || (edited && is_old(&cx.live.after));
        if let Some(difference) = &mut self.difference {
            difference.stale = self.stale;
        }
        if same(self.before.as_ref(), before.as_ref())
            && same(self.after.as_ref(), after.as_ref())
            && self.answers == answers
        {
            return;
        }
        self.before = before;
        self.after = after;
        self.answers = answers;
        let Some(logits) = &self.before else {
            self.rows.clear();
            self.difference = None;
            return;
        };
        let before = Readout::new(logits);
        let after = self.after.as_deref().map(Readout::new);
        self.rows = rows(cx, &before, after.as_ref(), &self.answers);
        self.difference = before
            .logit_diff(&self.answers)
            .map(|difference| Difference {
                names: [&resolved[0].text, &resolved[1].text].map(Clone::clone),
                before: difference,
                after: after.and_then(|after| after.logit_diff(&self.answers)),
                stale: self.stale,
            });
    }

    pub(super) fn show(&self, cx: &ViewContext<'_>, ui: &mut Ui, height: f32) {
        if self.stale {
            ui.multiply_opacity(0.5);
        }
        let columns = Columns::new(ui.available_width() - 10.0, self.after.is_some());
        columns.header(cx, ui);
        let bottom = ROW + ui.spacing().item_spacing.y;
        ui.spacing_mut().item_spacing.y = 0.0;
        egui::ScrollArea::vertical()
            .id_salt("next tokens")
            .auto_shrink([false, true])
            .max_height((height - bottom).max(3.0 * ROW))
            .show_rows(ui, ROW, self.rows.len(), |ui, range| {
                for row in &self.rows[range] {
                    columns.row(cx, ui, row);
                }
            });
    }
}

/// What the rows are.
fn predicted(cx: &ViewContext<'_>) -> &'static str {
    if cx.model.spec.predicts_in_place() {
        "Masked token"
    } else {
        "Next token"
    }
}

fn same(a: Option<&Arc<[f32]>>, b: Option<&Arc<[f32]>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

fn rows(
    cx: &ViewContext<'_>,
    before: &Readout<'_>,
    after: Option<&Readout<'_>>,
    answers: &[u32],
) -> Vec<Row> {
    let mut ids: Vec<u32> = before.top(TOP).iter().map(|score| score.id).collect();
    ids.extend(
        after
            .iter()
            .flat_map(|after| after.top(TOP))
            .map(|score| score.id),
    );
    ids.extend(answers);
    ids.sort_unstable();
    ids.dedup();
    let mut rows: Vec<Row> = ids
        .iter()
        .filter_map(|id| {
            Some(Row {
                token: tokens::visible(&cx.model.token_text(*id)),
                before: before.score(*id)?,
                after: after.and_then(|after| after.score(*id)),
                is_answer: answers.contains(id),
            })
        })
        .collect();
    let rank = |row: &Row| row.after.unwrap_or(row.before).logit;
    rows.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
    rows
}

/// Where the columns of the table stand, from the left edge.
struct Columns {
    width: f32,
    token: Range<f32>,
    before: Run,
    after: Option<Run>,
    /// Right edges of the changes of probability and of logit.
    change: Option<[f32; 2]>,
}

/// The columns of one run.
struct Run {
    bar: Range<f32>,
    /// Right edges.
    prob: f32,
    /// Left out where there is no room.
    logit: Option<f32>,
}

const PROB: f32 = 50.0;
const LOGIT: f32 = 48.0;
/// Between the runs.
const SPACE: f32 = 14.0;
/// Bars smaller than this say nothing, and are left out.
const MIN_BAR: f32 = 10.0;

impl Columns {
    fn new(width: f32, edited: bool) -> Self {
        let token = (width * 0.2).clamp(72.0, 170.0);
        if !edited {
            let bar = (width - token - PROB - LOGIT).clamp(16.0, 260.0);
            let at = token;
            return Self {
                width,
                token: 0.0..token,
                before: Run::new(at, bar, true),
                after: None,
                change: None,
            };
        }
        let room = (width - token - PROB - LOGIT - 2.0 * SPACE) / 2.0;
        let with_logits = room - PROB - LOGIT > 36.0;
        let numbers = PROB + if with_logits { LOGIT } else { 0.0 };
        let bar = (room - numbers).min(150.0);
        let bar = if bar < MIN_BAR { 0.0 } else { bar };
        let before = Run::new(token, bar, with_logits);
        let end = before.logit.unwrap_or(before.prob);
        let after = Run::new(end + SPACE, bar, with_logits);
        let end = after.logit.unwrap_or(after.prob) + SPACE;
        Self {
            width,
            token: 0.0..token,
            before,
            after: Some(after),
            change: Some([end + PROB, end + PROB + LOGIT]),
        }
    }

    fn header(&self, cx: &ViewContext<'_>, ui: &mut Ui) {
        let (rect, _) = ui.allocate_exact_size(vec2(self.width, ROW), Sense::HOVER);
        let text = |x: f32, anchor: Align2, text: &str, strong: bool| {
            let color = if strong {
                cx.theme.text
            } else {
                cx.theme.text_weak
            };
            let at = pos2(rect.left() + x, rect.center().y);
            ui.painter()
                .text(at, anchor, text, FontId::proportional(11.0), color);
        };
        text(4.0, Align2::LEFT_CENTER, predicted(cx), true);
        let runs = [
            Some((&self.before, "Before")),
            self.after.as_ref().map(|after| (after, "After")),
        ];
        for (run, name) in runs.into_iter().flatten() {
            let name = if self.after.is_none() {
                "Probability"
            } else {
                name
            };
            text(run.bar.start, Align2::LEFT_CENTER, name, true);
            if let Some(logit) = run.logit {
                text(logit, Align2::RIGHT_CENTER, "logit", false);
            }
        }
        if let Some([prob, logit]) = self.change {
            text(prob, Align2::RIGHT_CENTER, "Change", true);
            text(logit, Align2::RIGHT_CENTER, "logit", false);
        }
        ui.painter()
            .hline(rect.x_range(), rect.bottom(), (1.0, cx.theme.line));
    }

    fn row(&self, cx: &ViewContext<'_>, ui: &mut Ui, row: &Row) {
        let (rect, response) = ui.allocate_exact_size(vec2(self.width, ROW), Sense::CLICK);
        response.widget_info(|| {
            egui::WidgetInfo::labeled(
                egui::Role::Row,
                true,
                format!("{} {}", predicted(cx), row.token),
            )
        });
        if response.hovered() {
            ui.painter().rect_filled(rect, 2.0, cx.theme.surface);
        }
        let y = rect.center().y;
        let number = |x: f32, text: String, color| {
            let at = pos2(rect.left() + x, y);
            ui.painter().text(
                at,
                Align2::RIGHT_CENTER,
                text,
                FontId::monospace(11.5),
                color,
            );
        };
        let token = Rect::from_x_y_ranges(
            rect.left() + self.token.start + 4.0..=rect.left() + self.token.end - 6.0,
            rect.y_range(),
        );
        let color = if row.is_answer {
            cx.theme.accent
        } else {
            cx.theme.text
        };
        let job = egui::text::LayoutJob {
            wrap: egui::text::TextWrapping::truncate_at_width(token.width()),
            ..egui::text::LayoutJob::simple_singleline(
                row.token.clone(),
                FontId::monospace(12.5),
                color,
            )
        };
        let galley = ui.painter().layout_job(job);
        ui.painter()
            .galley(pos2(token.left(), y - galley.size().y / 2.0), galley, color);
        let runs = [
            Some((&self.before, row.before, cx.theme.bar_before)),
            self.after
                .as_ref()
                .zip(row.after)
                .map(|(columns, score)| (columns, score, cx.theme.bar_after)),
        ];
        for (columns, score, fill) in runs.into_iter().flatten() {
            let bar = Rect::from_x_y_ranges(
                rect.left() + columns.bar.start..=rect.left() + columns.bar.end,
                y - 4.0..=y + 4.0,
            );
            if bar.width() > 0.0 {
                ui.painter().rect_filled(bar, 2.0, cx.theme.line);
                let mut filled = bar;
                filled.set_width((bar.width() * score.prob).max(1.0));
                ui.painter().rect_filled(filled, 2.0, fill);
            }
            number(columns.prob, percent(score.prob), cx.theme.text);
            if let Some(logit) = columns.logit {
                number(
                    logit,
                    minus(&format!("{:.2}", score.logit)),
                    cx.theme.text_weak,
                );
            }
        }
        if let (Some([prob, logit]), Some(after)) = (self.change, row.after) {
            let by_prob = after.prob - row.before.prob;
            let by_logit = after.logit - row.before.logit;
            let (text, color) = change(cx.theme, by_prob * 100.0, 1);
            number(prob, text, color);
            let (text, color) = change(cx.theme, by_logit, 2);
            number(logit, text, color);
        }
        menu(cx, &response, row);
        response.on_hover_ui(|ui| tooltip(cx, ui, row));
    }
}

impl Run {
    fn new(start: f32, bar: f32, with_logit: bool) -> Self {
        let prob = start + bar + PROB;
        Self {
            bar: start..start + bar,
            prob,
            logit: with_logit.then_some(prob + LOGIT),
        }
    }
}

fn menu(cx: &ViewContext<'_>, response: &egui::Response, row: &Row) {
    response.context_menu(|ui| {
        let name = format!("#{}", row.before.id);
        if ui.button("Add to the answers").clicked() {
            let mut answers = cx.session.experiment.answers.clone();
            answers.push(name.clone());
            cx.push(Action::SetAnswers(answers));
            ui.close();
        }
        if ui.button("Make it the first answer").clicked() {
            let mut answers = cx.session.experiment.answers.clone();
            answers.insert(0, name);
            cx.push(Action::SetAnswers(answers));
            ui.close();
        }
    });
}

fn tooltip(cx: &ViewContext<'_>, ui: &mut Ui, row: &Row) {
    ui.strong(format!("{}  #{}", row.token, row.before.id));
    egui::Grid::new("score").num_columns(3).show(ui, |ui| {
        for (name, score) in [("before", Some(row.before)), ("after", row.after)] {
            let Some(score) = score else { continue };
            ui.label(RichText::new(name).color(cx.theme.text_weak));
            ui.monospace(format!("p {:.6}", score.prob));
            ui.monospace(format!("logit {:.5}", score.logit));
            ui.end_row();
        }
    });
    ui.weak("Right click makes it an answer");
}

fn percent(prob: f32) -> String {
    let percent = prob * 100.0;
    if percent >= 0.095 {
        format!("{percent:.1}%")
    } else if percent >= 0.005 {
        format!("{percent:.2}%")
    } else {
        "<0.01%".into()
    }
}

impl Difference {
    /// The three numbers, large.
    pub(super) fn show(&self, cx: &ViewContext<'_>, ui: &mut Ui) {
        let [first, second] = self.names.each_ref().map(|name| tokens::short(name, 14));
        ui.label(
            RichText::new(format!("Logit difference  {first} − {second}"))
                .color(cx.theme.text_weak),
        );
        ui.scope(|ui| {
            if self.stale {
                ui.multiply_opacity(0.5);
            }
            ui.horizontal(|ui| {
                let mut number = |caption: &str, text: String, color| {
                    ui.vertical(|ui| {
                        ui.spacing_mut().item_spacing.y = 0.0;
                        ui.set_min_width(66.0);
                        ui.label(RichText::new(caption).small().color(cx.theme.text_weak));
                        ui.label(RichText::new(text).size(21.0).color(color));
                    });
                };
                let Some(after) = self.after else {
                    number("Now", minus(&format!("{:+.3}", self.before)), cx.theme.text);
                    return;
                };
                let (changed, color) = change(cx.theme, after - self.before, 2);
                number(
                    "Before",
                    minus(&format!("{:+.2}", self.before)),
                    cx.theme.text_weak,
                );
                number("After", minus(&format!("{after:+.2}")), cx.theme.text);
                number("Change", changed, color);
            });
        });
    }
}
