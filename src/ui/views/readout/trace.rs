//! How the logit difference moved: against α while a head's factor is dragged, against steps otherwise.

use std::sync::Arc;

use egui::{RichText, Ui};
use egui_plot::{AxisHints, HLine, Line, LineStyle, Plot, PlotPoints, Points};

use super::table::Difference;
use crate::edit::{Edit, Op, Positions, Target};
use crate::experiment::{RunSpec, Side};
use crate::ui::context::ViewContext;
use crate::ui::widgets::message;

/// The results of successive runs.
#[derive(Debug, Default)]
pub(super) struct Trace {
    points: Vec<Point>,
    axis: Axis,
    /// The run that the last point came from, and the answers it is about.
    last: Option<(Arc<RunSpec>, [String; 2])>,
    before: f32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    x: f64,
    difference: f64,
}

/// What runs along the trace.
#[derive(Clone, Debug, Default, PartialEq)]
enum Axis {
    /// Number of the run.
    #[default]
    Step,
    /// The factor of this `scale`.
    Alpha(Scaled),
}

/// A `scale` edit without its factor.
type Scaled = (Target, Positions);

/// Beyond this the oldest points go.
const MOST: usize = 2000;

impl Trace {
    /// Notes the newest result, once.
    pub(super) fn update(&mut self, cx: &ViewContext<'_>, difference: Option<&Difference>) {
        let (Some(difference), Some((run, spec))) = (difference, &cx.live.wanted) else {
            return;
        };
        let side = cx.live.current_side();
        let fresh = cx.live.pass(side).run == *run && cx.live.before.run <= *run;
        let value = match side {
            Side::Before => Some(difference.before),
            Side::After => difference.after,
        };
        let (true, Some(value)) = (fresh, value) else {
            return;
        };
        self.before = difference.before;
        self.record(spec, &difference.names, f64::from(value));
    }

    fn record(&mut self, spec: &Arc<RunSpec>, names: &[String; 2], difference: f64) {
        let Some((last, last_names)) = self.last.replace((Arc::clone(spec), names.clone())) else {
            self.push(0.0, difference);
            return;
        };
        if last_names != *names || !same_question(&last, spec) {
            self.points.clear();
            self.axis = Axis::Step;
            self.push(0.0, difference);
            return;
        }
        if last.edits == spec.edits {
            return;
        }
        let previous = self.points.last().copied();
        if let Some(scaled) = scaled(&last.edits, &spec.edits) {
            let (from, to) = (factor(&last.edits, &scaled), factor(&spec.edits, &scaled));
            self.start(Axis::Alpha(scaled), previous, from);
            self.push(to, difference);
        } else {
            self.start(Axis::Step, previous, 0.0);
            let next = self.points.last().map_or(0.0, |point| point.x + 1.0);
            self.push(next, difference);
        }
    }

    /// Goes over to another axis, on which the newest point stands at `x`.
    fn start(&mut self, axis: Axis, newest: Option<Point>, x: f64) {
        if self.axis != axis {
            self.axis = axis;
            self.points.clear();
            self.points.extend(newest.map(|point| Point { x, ..point }));
        }
    }

    fn push(&mut self, x: f64, difference: f64) {
        if matches!(self.axis, Axis::Alpha(_)) {
            // The same factor again: the newer result stands for it.
            self.points.retain(|point| point.x.to_bits() != x.to_bits());
        }
        if self.points.len() == MOST {
            self.points.remove(0);
        }
        self.points.push(Point { x, difference });
    }

    pub(super) fn show(&mut self, cx: &ViewContext<'_>, ui: &mut Ui, height: f32) {
        let mut clear = false;
        ui.horizontal(|ui| {
            let title = match &self.axis {
                Axis::Step => "Trace over runs".to_owned(),
                Axis::Alpha((target, at)) => format!("Trace over α of {target}{at}"),
            };
            ui.label(RichText::new(title).color(cx.theme.text_weak));
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                clear = ui
                    .add_enabled(self.points.len() > 1, egui::Button::new("Clear").small())
                    .on_hover_text("Forget the trace")
                    .clicked();
            });
        });
        if clear {
            // The next point continues from the one that is shown.
            self.points.drain(..self.points.len() - 1);
        }
        if self.points.len() < 2 {
            let hint = if cx.session.experiment.answers.len() < 2 {
                "Give two answers, then drag a head's α: their difference is traced here."
            } else {
                "Drag a head's α: the logit difference is traced here."
            };
            message::empty(ui, cx.theme, "No trace yet", hint);
            return;
        }
        let mut ordered = self.points.clone();
        ordered.sort_by(|a, b| a.x.total_cmp(&b.x));
        let series = |points: &[Point]| -> PlotPoints<'static> {
            points
                .iter()
                .map(|point| [point.x, point.difference])
                .collect()
        };
        let newest = self.points.last().map(|point| [point.x, point.difference]);
        let (line, dots, before) = (series(&ordered), series(&ordered), f64::from(self.before));
        let theme = cx.theme;
        let axis = match &self.axis {
            Axis::Step => "run",
            Axis::Alpha(_) => "α",
        };
        let room = (height - 34.0).max(80.0);
        Plot::new("trace")
            .height(room.min(ui.available_height().max(80.0)))
            .allow_drag(false)
            .allow_zoom(false)
            .allow_scroll(false)
            .allow_boxed_zoom(false)
            .allow_double_click_reset(false)
            .show_background(false)
            .grid_color(theme.line)
            .grid_spacing(egui::Rangef::new(10.0, 90.0))
            // egui_plot keeps labels twice as far apart: in a panel of this size there would be none.
            .custom_x_axes(vec![
                AxisHints::new_x()
                    .label(axis)
                    .label_spacing(egui::Rangef::new(30.0, 45.0)),
            ])
            .include_y(before)
            .set_margin_fraction(egui::vec2(0.04, 0.12))
            .show(ui, |plot| {
                plot.hline(
                    HLine::new("before", before)
                        .color(theme.bar_before)
                        .style(LineStyle::dashed_loose()),
                );
                plot.line(
                    Line::new("logit difference", line)
                        .color(theme.bar_after)
                        .width(1.5),
                );
                plot.points(Points::new("runs", dots).color(theme.bar_after).radius(2.0));
                if let Some(newest) = newest {
                    plot.points(
                        Points::new("now", vec![newest])
                            .color(theme.cell_edited)
                            .radius(4.5),
                    );
                }
            });
    }
}

/// Whether two runs differ in nothing but their edits.
fn same_question(a: &RunSpec, b: &RunSpec) -> bool {
    a.ids == b.ids && a.contrast == b.contrast && a.position == b.position
}

/// The `scale` whose factor is all that differs between two lists; one that is absent counts as 1.
fn scaled(before: &[Edit], after: &[Edit]) -> Option<Scaled> {
    let without = |edits: &[Edit], scaled: &Scaled| -> Vec<Edit> {
        edits
            .iter()
            .filter(|edit| scaled_by(edit).as_ref() != Some(scaled))
            .cloned()
            .collect()
    };
    after
        .iter()
        .chain(before)
        .filter_map(scaled_by)
        .find(|scaled| without(before, scaled) == without(after, scaled))
}

fn scaled_by(edit: &Edit) -> Option<Scaled> {
    matches!(edit.op, Op::Scale(_)).then(|| (edit.target, edit.at.clone()))
}

/// The product of a list's factors on one target.
fn factor(edits: &[Edit], scaled: &Scaled) -> f64 {
    edits
        .iter()
        .filter(|edit| scaled_by(edit).as_ref() == Some(scaled))
        .map(|edit| match edit.op {
            Op::Scale(factor) => factor.get(),
            _ => 1.0,
        })
        .product()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(edits: &[&str]) -> Arc<RunSpec> {
        Arc::new(RunSpec {
            ids: vec![1, 2, 3].into(),
            n_prompt: 3,
            reach: 3,
            contrast: None,
            edits: edits.iter().map(|edit| edit.parse().unwrap()).collect(),
            position: 2,
            last: 2,
            bos_count: 0,
            folder: None,
        })
    }

    fn record(trace: &mut Trace, edits: &[&str], difference: f64) {
        trace.record(&spec(edits), &[" a".into(), " b".into()], difference);
    }

    fn xs(trace: &Trace) -> Vec<f64> {
        trace.points.iter().map(|point| point.x).collect()
    }

    #[test]
    fn dragging_a_factor_runs_along_alpha_from_the_unedited_value() {
        let mut trace = Trace::default();
        record(&mut trace, &[], 3.0);
        record(&mut trace, &["L9H6=scale(0.5)"], 2.0);
        record(&mut trace, &["L9H6=scale(-1)"], 1.0);
        record(&mut trace, &["L9H6=scale(-1)"], 1.0);
        assert_eq!(xs(&trace), [1.0, 0.5, -1.0]);
        record(&mut trace, &[], 3.0);
        assert_eq!(xs(&trace), [0.5, -1.0, 1.0]);
    }

    #[test]
    fn other_edits_run_along_steps_and_another_head_starts_anew() {
        let mut trace = Trace::default();
        record(&mut trace, &[], 3.0);
        record(&mut trace, &["L9H6=zero"], 2.0);
        record(&mut trace, &["L9H6=zero", "L5H1=mean"], 1.0);
        assert_eq!(xs(&trace), [0.0, 1.0, 2.0]);
        record(
            &mut trace,
            &["L9H6=zero", "L5H1=mean", "L2H2=scale(3)"],
            0.5,
        );
        assert_eq!(xs(&trace), [1.0, 3.0]);
        assert!((trace.points[0].difference - 1.0).abs() < 1e-9);
    }

    #[test]
    fn another_question_forgets_the_trace() {
        let mut trace = Trace::default();
        record(&mut trace, &[], 3.0);
        record(&mut trace, &["L9H6=zero"], 2.0);
        trace.record(&spec(&[]), &[" b".into(), " a".into()], -3.0);
        assert_eq!(xs(&trace), [0.0]);
    }
}
