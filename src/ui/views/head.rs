//! The head that the selection starts with: its factor, its ablations, its strongest edges, plain facts about this prompt.

use egui::{RichText, Ui};

use crate::edit::{Edit, Op, Target};
use crate::ids::HeadId;
use crate::model::tokenizer::Piece;
use crate::session::Shown;
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::focus::Item;
use crate::ui::widgets::map::{Edge, Facts, Map, MapKey};
use crate::ui::widgets::{alpha, edits, head_menu, message, tokens};

#[derive(Debug, Default)]
pub struct State {
    /// What was read off the map last, and of which map.
    seen: Option<(MapKey, Seen)>,
    /// Whether edges to the first key are listed.
    with_first: bool,
}

#[derive(Debug)]
struct Seen {
    edges: Vec<Edge>,
    with_first: bool,
    facts: Option<Facts>,
    /// Smallest, mean and largest ‖v_j‖.
    norms: Option<[f32; 3]>,
}

const EDGES: usize = 8;

pub fn show(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
    let Some(&head) = cx.session.view.selection.first() else {
        message::empty(
            ui,
            cx.theme,
            "No head selected",
            "Click a head in the grid: its factor and its edges appear here.",
        );
        return;
    };
    egui::ScrollArea::vertical()
        .id_salt("head")
        .auto_shrink([false, true])
        .show(ui, |ui| {
            title(cx, ui, head);
            factor(cx, ui, head);
            ablations(cx, ui, head);
            ui.add_space(4.0);
            let Some(map) = Map::new(cx, head, Shown::Attention) else {
                ui.weak("No result yet");
                return;
            };
            let stale = cx.live.is_old(map.layer.run);
            let pieces = cx.resolved.map_or(&[][..], |resolved| &resolved.tokens);
            let seen = state.seen(&map);
            ui.scope(|ui| {
                if stale {
                    ui.multiply_opacity(0.5);
                }
                facts(cx, ui, seen);
                ui.add_space(4.0);
                edges(cx, ui, &map, seen, pieces);
            });
            ui.checkbox(&mut state.with_first, "List edges to the first key")
                .on_hover_text("The first key is a sink: heads that have nothing to do look at it");
        });
}

impl State {
    fn seen(&mut self, map: &Map<'_>) -> &Seen {
        let key = map.key();
        let current = self
            .seen
            .take()
            .filter(|(known, seen)| *known == key && seen.with_first == self.with_first);
        let (_, seen) = self.seen.insert(current.unwrap_or_else(|| {
            let n = map.n_tokens();
            let norms = || (0..n).map(|key| map.value_norm(key));
            let seen = Seen {
                edges: map.strongest(EDGES, usize::from(!self.with_first)),
                with_first: self.with_first,
                facts: Facts::of(map),
                norms: (n > 0).then(|| {
                    [
                        norms().fold(f32::INFINITY, f32::min),
                        norms().sum::<f32>() / n as f32,
                        norms().fold(0.0, f32::max),
                    ]
                }),
            };
            (key, seen)
        }));
        seen
    }
}

fn title(cx: &ViewContext<'_>, ui: &mut Ui, head: HeadId) {
    ui.horizontal(|ui| {
        let name = edits::head_name(&cx.model.spec, head);
        let label = ui.label(RichText::new(name).heading().color(cx.theme.text));
        if label.hovered() {
            cx.push(Action::Hover(Item::Head(head)));
        }
        let others = cx.session.view.selection.len() - 1;
        if others > 0 {
            ui.label(RichText::new(format!("first of {}", others + 1)).color(cx.theme.text_weak));
        }
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            ui.menu_button("More…", |ui| head_menu::show(ui, cx, &[head]));
        });
    });
}

fn factor(cx: &ViewContext<'_>, ui: &mut Ui, head: HeadId) {
    let alpha = edits::scale_of(cx.session, head);
    if let Some(factor) = alpha::slider(ui, &head.to_string(), alpha) {
        cx.push(Action::SetHeadScale {
            heads: vec![head],
            factor,
        });
    }
}

fn ablations(cx: &ViewContext<'_>, ui: &mut Ui, head: HeadId) {
    let has_contrast = cx.session.experiment.contrast.is_some();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let ablated = edits::is_ablated(cx.session, head);
        if ui
            .add(egui::Button::selectable(ablated, "Zero").frame_when_inactive(true))
            .on_hover_text("z becomes 0 (Space in the grid)")
            .clicked()
        {
            cx.push(Action::ToggleAblation(vec![head]));
        }
        for (label, op, hint) in [
            (
                "Mean",
                Op::Mean,
                "z becomes its mean over positions in the unedited run",
            ),
            ("Resample", Op::Resample, "z is taken from prompt B's run"),
            (
                "Uniform",
                Op::Uniform,
                "Equal attention on every key that the mask allows",
            ),
        ] {
            let edit = Edit::new(Target::Head(head), op);
            let row = cx
                .session
                .experiment
                .edits
                .iter()
                .position(|row| row.enabled && row.edit == edit);
            let possible = row.is_some() || edit.op != Op::Resample || has_contrast;
            let button = egui::Button::selectable(row.is_some(), label).frame_when_inactive(true);
            if ui
                .add_enabled(possible, button)
                .on_hover_text(hint)
                .on_disabled_hover_text(head_menu::NEEDS_CONTRAST)
                .clicked()
            {
                cx.push(row.map_or(Action::AddEdit(edit), Action::RemoveEdit));
            }
        }
    });
}

/// Means over this prompt's queries. Not scores of the head: those need many prompts.
fn facts(cx: &ViewContext<'_>, ui: &mut Ui, seen: &Seen) {
    ui.label(
        RichText::new("Mean attention, this prompt")
            .small()
            .color(cx.theme.text_weak),
    );
    match seen.facts {
        None => {
            ui.weak("Two tokens or more are needed");
        }
        Some(facts) => {
            for (label, value) in [
                ("to the first token", Some(facts.to_first)),
                ("to the token before", Some(facts.to_previous)),
                ("to itself", Some(facts.to_self)),
                ("to the token after", facts.to_next),
            ] {
                if let Some(value) = value {
                    bar(cx, ui, label, value);
                }
            }
        }
    }
    if let Some([least, mean, most]) = seen.norms {
        ui.horizontal(|ui| {
            ui.label(RichText::new("Value norms ‖v‖").color(cx.theme.text_weak));
            ui.monospace(format!("{mean:.2}"));
            ui.label(RichText::new(format!("({least:.2} to {most:.2})")).color(cx.theme.text_weak));
        });
    }
}

/// A share between 0 and 1 as a bar with its number.
fn bar(cx: &ViewContext<'_>, ui: &mut Ui, label: &str, value: f32) {
    ui.horizontal(|ui| {
        ui.allocate_ui_with_layout(
            egui::vec2(128.0, 16.0),
            egui::Layout::left_to_right(egui::Align::Center),
            |ui| {
                ui.set_min_width(128.0);
                ui.label(label);
            },
        );
        let width = (ui.available_width() - 52.0).clamp(24.0, 200.0);
        let (rect, _) = ui.allocate_exact_size(egui::vec2(width, 8.0), egui::Sense::HOVER);
        ui.painter().rect_filled(rect, 2.0, cx.theme.line);
        let mut filled = rect;
        filled.set_width(rect.width() * value.clamp(0.0, 1.0));
        ui.painter().rect_filled(filled, 2.0, cx.theme.accent);
        ui.monospace(format!("{value:.2}"));
    });
}

fn edges(cx: &ViewContext<'_>, ui: &mut Ui, map: &Map<'_>, seen: &Seen, pieces: &[Piece]) {
    let (head, n_tokens) = (map.head, map.n_tokens());
    ui.label(
        RichText::new("Strongest edges, query ← key")
            .small()
            .color(cx.theme.text_weak),
    );
    // A knocked-out edge has no weight and so would leave the list, with no way back from here.
    let gone = edits::knocked_out(cx.session, head)
        .filter(|(query, key)| (*query).max(*key) < n_tokens && map.mask().sees(*query, *key))
        .filter(|(query, key)| {
            !seen
                .edges
                .iter()
                .any(|edge| (edge.query, edge.key) == (*query, *key))
        })
        .map(|(query, key)| Edge {
            query,
            key,
            value: 0.0,
        });
    ui.spacing_mut().item_spacing.y = 0.0;
    for edge in gone.chain(seen.edges.iter().copied()) {
        let Edge { query, key, value } = edge;
        let out = edits::is_knocked_out(cx.session, head, query, key);
        let name = format!(
            "{} ← {}",
            tokens::at(pieces, query),
            tokens::at(pieces, key),
        );
        let hovered = cx.focus.hovered() == Some(Item::Cell { head, query, key });
        let text = if out {
            RichText::new(format!("× {name}"))
                .strikethrough()
                .color(cx.theme.cell_edited)
        } else if hovered {
            RichText::new(&name).color(cx.theme.hover_stroke)
        } else {
            RichText::new(&name).color(cx.theme.text)
        };
        let button = egui::Button::new(text)
            .frame_when_inactive(false)
            .right_text(RichText::new(format!("{value:.3}")).monospace())
            .truncate()
            .min_size(egui::vec2(ui.available_width(), 0.0));
        let response = ui.add(button).on_hover_text(if out {
            "Click frees this edge"
        } else {
            "Click knocks this edge out"
        });
        if response.hovered() {
            cx.push(Action::Hover(Item::Cell { head, query, key }));
        }
        if response.clicked() {
            cx.push(Action::ToggleKnockout { head, query, key });
        }
    }
}
