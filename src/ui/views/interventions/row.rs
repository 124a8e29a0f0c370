//! One edit of the stack.

use egui::{
    Button, Color32, Frame, Key, Margin, RichText, Role, Sense, Stroke, Ui, WidgetInfo, vec2,
};

use super::State;
use crate::edit::{Edit, Finite, Op, Positions, Target, VectorRef, describe};
use crate::model::tokenizer::Piece;
use crate::session::EditRow;
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::focus::Item;
use crate::ui::widgets::icons::{self, Icon};
use crate::ui::widgets::{alpha, head_menu, message, tokens};

/// From this width on, target, operation and positions stand on one line.
const ONE_LINE: f32 = 300.0;

/// The row that a drag carries.
#[derive(Clone, Copy, Debug)]
struct Carried(usize);

/// Draws row `i`; `error` is why the newest run refused it.
pub(super) fn show(
    cx: &ViewContext<'_>,
    state: &mut State,
    ui: &mut Ui,
    i: usize,
    error: Option<&str>,
) {
    let EditRow { edit, enabled } = &cx.session.experiment.edits[i];
    let border = if error.is_some() {
        cx.theme.error
    } else {
        cx.theme.line
    };
    let frame = Frame::NONE
        .fill(cx.theme.surface)
        .stroke(Stroke::new(1.0, border))
        .corner_radius(4)
        .inner_margin(Margin::symmetric(6, 4));
    let shown = frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.push_id(("edit", i), |ui| {
            ui.spacing_mut().item_spacing = vec2(5.0, 3.0);
            if !*enabled {
                ui.multiply_opacity(0.6);
            }
            if state.typing.as_ref().is_some_and(|(row, _)| *row == i) {
                typed(cx, state, ui, i);
            } else {
                first_line(cx, state, ui, i);
                factor(cx, ui, i, edit);
            }
            if edit.changes_nothing() {
                let text = "No change: it leaves every value as it is";
                ui.label(RichText::new(text).small().color(cx.theme.text_weak));
            }
            if let Some(error) = error {
                // The row itself says which edit it is.
                let quoted = format!("edit `{edit}`: ");
                message::error(ui, cx.theme, error.strip_prefix(&quoted).unwrap_or(error));
            }
        });
    });
    drop_target(cx, ui, i, &shown.response);
}

fn first_line(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui, i: usize) {
    let EditRow { edit, enabled } = &cx.session.experiment.edits[i];
    let is_edge = matches!(edit.target, Target::Edge { .. });
    let one_line = is_edge || ui.available_width() >= ONE_LINE;
    ui.horizontal(|ui| {
        handle(cx, ui, i);
        let mut on = *enabled;
        if ui
            .add(egui::Checkbox::without_text(&mut on))
            .on_hover_text(if on { "Switch off" } else { "Switch on" })
            .accessible_name(format!("Row {}: {edit}", i + 1))
            .clicked()
        {
            cx.push(Action::SetEnabled {
                row: i,
                enabled: on,
            });
        }
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 0.0;
            if icons::button(ui, Icon::Delete, &format!("Delete row {}", i + 1)).clicked() {
                cx.push(Action::RemoveEdit(i));
            }
            if icons::button(ui, Icon::Duplicate, &format!("Duplicate row {}", i + 1)).clicked() {
                cx.push(Action::DuplicateEdit(i));
            }
            ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                target(cx, state, ui, i, edit);
                if one_line {
                    operation(cx, ui, i, edit);
                    positions(cx, ui, i, edit);
                }
            });
        });
    });
    if !one_line {
        ui.horizontal(|ui| {
            operation(cx, ui, i, edit);
            positions(cx, ui, i, edit);
        });
    }
}

/// Drag it, or press the arrows while it has the focus, to move the row.
fn handle(cx: &ViewContext<'_>, ui: &mut Ui, i: usize) {
    let last = cx.session.experiment.edits.len() - 1;
    let (rect, response) =
        ui.allocate_exact_size(vec2(12.0, 18.0), Sense::drag() | Sense::FOCUSABLE);
    let name = format!("Move row {}", i + 1);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
    let color = if response.hovered() || response.has_focus() {
        cx.theme.accent
    } else {
        cx.theme.text_weak
    };
    for dx in [-2.0, 2.0] {
        for dy in [-4.0, 0.0, 4.0] {
            ui.painter()
                .circle_filled(rect.center() + vec2(dx, dy), 1.2, color);
        }
    }
    response.dnd_set_drag_payload(Carried(i));
    if response.has_focus() {
        let filter = egui::EventFilter {
            vertical_arrows: true,
            ..Default::default()
        };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
        let pressed = |key| ui.input(|input| input.key_pressed(key));
        if pressed(Key::ArrowUp) && i > 0 {
            cx.push(Action::MoveEdit { from: i, to: i - 1 });
        }
        if pressed(Key::ArrowDown) && i < last {
            cx.push(Action::MoveEdit { from: i, to: i + 1 });
        }
        if pressed(Key::Delete) {
            cx.push(Action::RemoveEdit(i));
        }
    }
    response
        .on_hover_cursor(egui::CursorIcon::Grab)
        .on_hover_text("Drag to reorder; edits act from the top down");
}

/// A row that is carried over this one will stand in its place.
fn drop_target(cx: &ViewContext<'_>, ui: &Ui, i: usize, response: &egui::Response) {
    if let Some(carried) = response.dnd_hover_payload::<Carried>()
        && carried.0 != i
    {
        let y = if carried.0 > i {
            response.rect.top() - 2.0
        } else {
            response.rect.bottom() + 2.0
        };
        ui.painter()
            .hline(response.rect.x_range(), y, (2.0, cx.theme.accent));
    }
    if let Some(carried) = response.dnd_release_payload::<Carried>()
        && carried.0 != i
    {
        cx.push(Action::MoveEdit {
            from: carried.0,
            to: i,
        });
    }
}

fn target(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui, i: usize, edit: &Edit) {
    let text = RichText::new(edit.target.to_string())
        .monospace()
        .color(cx.theme.text);
    let response = ui
        .add(Button::new(text).frame_when_inactive(false))
        .on_hover_text(format!(
            "{}\nClick selects; right click to type it anew",
            in_words(edit.target)
        ));
    if response.hovered()
        && let Some(item) = item_of(edit.target)
    {
        cx.push(Action::Hover(item));
    }
    if response.clicked() {
        let heads = heads_of(cx, edit.target);
        if !heads.is_empty() {
            cx.push(Action::Select {
                heads,
                extend: false,
            });
        }
    }
    response.context_menu(|ui| {
        if ui.button("Edit as text…").clicked() {
            state.typing = Some((i, edit.to_string()));
            ui.close();
        }
        if ui.button("Copy").clicked() {
            ui.ctx().copy_text(edit.to_string());
            ui.close();
        }
    });
}

fn in_words(target: Target) -> String {
    match target {
        Target::Head(head) => format!("Output z of head {head}"),
        Target::Query(head) => format!("Queries of head {head}"),
        Target::Pattern(head) => format!("Attention pattern of head {head}"),
        Target::KvHead(head) => format!("Values of key/value head {head}"),
        Target::Key(head) => format!("Keys of key/value head {head}"),
        Target::Edge { head, query, key } => {
            format!("What query {query} of {head} reads from key {key}")
        }
        Target::Attention(layer) => format!("Attention output of layer {layer}"),
        Target::Mlp(layer) => format!("MLP output of layer {layer}"),
        Target::Resid(layer) => format!("Residual stream before layer {layer}"),
    }
}

fn item_of(target: Target) -> Option<Item> {
    match target {
        Target::Head(head) | Target::Query(head) | Target::Pattern(head) => Some(Item::Head(head)),
        Target::Edge { head, query, key } => Some(Item::Cell { head, query, key }),
        _ => None,
    }
}

fn heads_of(cx: &ViewContext<'_>, target: Target) -> Vec<crate::ids::HeadId> {
    let spec = &cx.model.spec;
    let all = |layer| (0..spec.n_heads).map(move |head| crate::ids::HeadId::new(layer, head));
    match target {
        Target::Head(head)
        | Target::Query(head)
        | Target::Pattern(head)
        | Target::Edge { head, .. } => vec![head],
        Target::KvHead(kv) | Target::Key(kv) => all(kv.layer)
            .filter(|head| spec.kv_head_of(head.head) == kv.kv_head)
            .collect(),
        Target::Attention(layer) => all(layer).collect(),
        Target::Mlp(_) | Target::Resid(_) => Vec::new(),
    }
}

fn operation(cx: &ViewContext<'_>, ui: &mut Ui, i: usize, edit: &Edit) {
    let current = describe::words(&edit.op);
    let set = |op: Op| {
        cx.push(Action::SetEdit {
            row: i,
            edit: Edit { op, ..edit.clone() },
        });
    };
    let menu = ui.menu_button(current.clone(), |ui| {
        let factor = match &edit.op {
            Op::Scale(factor) => *factor,
            // A factor of 1 would be an edit that does nothing.
            _ => Finite::new(2.0).unwrap_or(Finite::ONE),
        };
        for op in [
            Op::Zero,
            Op::ZeroKeepBias,
            Op::Mean,
            Op::Resample,
            Op::Scale(factor),
            Op::Uniform,
            Op::Knockout,
        ] {
            if !edit.target.allows(&op) {
                continue;
            }
            let possible = op != Op::Resample || cx.session.experiment.contrast.is_some();
            let chosen = op == edit.op;
            let button = Button::selectable(chosen, describe::words(&op));
            if ui
                .add_enabled(possible, button)
                .on_disabled_hover_text(head_menu::NEEDS_CONTRAST)
                .clicked()
            {
                if !chosen {
                    set(op);
                }
                ui.close();
            }
        }
    });
    menu.response
        .accessible_name(format!("Operation of row {}: {current}", i + 1));
}

fn positions(cx: &ViewContext<'_>, ui: &mut Ui, i: usize, edit: &Edit) {
    if matches!(edit.target, Target::Edge { .. }) {
        return;
    }
    let pieces: &[Piece] = cx.resolved.map_or(&[], |resolved| &resolved.tokens);
    let label = match &edit.at {
        Positions::All => "all".to_owned(),
        Positions::Last => "last".to_owned(),
        Positions::At(at) => match at[..] {
            [one] => tokens::at(pieces, one),
            [one, two] => format!("[{one}] [{two}]"),
            _ => format!("{} tokens", at.len()),
        },
    };
    let set = |at: Positions| {
        cx.push(Action::SetEdit {
            row: i,
            edit: Edit { at, ..edit.clone() },
        });
    };
    let config = egui::containers::menu::MenuConfig::new()
        .close_behavior(egui::PopupCloseBehavior::CloseOnClickOutside);
    let (response, _) = egui::containers::menu::MenuButton::new(format!("@ {label}"))
        .config(config)
        .ui(ui, |ui| {
            for (at, name) in [
                (Positions::All, "All positions"),
                (Positions::Last, "The last token"),
            ] {
                if ui.selectable_label(edit.at == at, name).clicked() {
                    set(at);
                }
            }
            ui.separator();
            let chosen: &[usize] = match &edit.at {
                Positions::At(at) => at,
                Positions::All | Positions::Last => &[],
            };
            if let Some(position) =
                tokens::list(ui, cx.theme, pieces, |position| chosen.contains(&position))
            {
                set(toggled(chosen, position));
            }
        });
    response
        .on_hover_text("The positions at which it acts")
        .accessible_name(format!("Positions of row {}: {label}", i + 1));
}

/// The positions with one more or one fewer; none at all is all.
fn toggled(chosen: &[usize], position: usize) -> Positions {
    let mut next: Vec<usize> = chosen
        .iter()
        .copied()
        .filter(|at| *at != position)
        .collect();
    if next.len() == chosen.len() {
        next.push(position);
        next.sort_unstable();
    }
    if next.is_empty() {
        Positions::All
    } else {
        Positions::At(next)
    }
}

/// Where a vector is from.
fn of_file(cx: &ViewContext<'_>, ui: &mut Ui, vector: &VectorRef) {
    let text = RichText::new(vector.to_string());
    ui.label(text.small().color(cx.theme.text_weak));
}

/// The factor of `scale`, `add` and `mix`.
fn factor(cx: &ViewContext<'_>, ui: &mut Ui, i: usize, edit: &Edit) {
    let (value, with): (f64, Box<dyn Fn(Finite) -> Op>) = match &edit.op {
        Op::Scale(factor) => (factor.get(), Box::new(Op::Scale)),
        Op::Add { vector, factor } => {
            of_file(cx, ui, vector);
            let vector = vector.clone();
            let with = move |factor| Op::Add {
                vector: vector.clone(),
                factor,
            };
            (factor.get(), Box::new(with))
        }
        Op::Mix { vector, share } => {
            of_file(cx, ui, vector);
            let vector = vector.clone();
            let with = move |share| Op::Mix {
                vector: vector.clone(),
                share,
            };
            (share.get(), Box::new(with))
        }
        Op::Affine { gain, shift } => {
            of_file(cx, ui, gain);
            of_file(cx, ui, shift);
            return;
        }
        _ => return,
    };
    let next = alpha::slider(ui, &format!("row {}", i + 1), value).and_then(Finite::new);
    if let Some(factor) = next {
        cx.push(Action::SetEdit {
            row: i,
            edit: Edit {
                op: with(factor),
                ..edit.clone()
            },
        });
    }
}

/// The row as text: Enter takes it, Escape leaves it as it was.
fn typed(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui, i: usize) {
    let Some((_, text)) = &mut state.typing else {
        return;
    };
    let parsed = text.parse::<Edit>();
    let color: Option<Color32> = parsed.is_err().then_some(cx.theme.error);
    let field = ui
        .add(
            egui::TextEdit::singleline(text)
                .font(egui::TextStyle::Monospace)
                .text_color_opt(color)
                .desired_width(f32::INFINITY),
        )
        .accessible_name(format!("Row {} as text", i + 1));
    let (enter, escape) = ui.input(|input| {
        (
            input.key_pressed(Key::Enter),
            input.key_pressed(Key::Escape),
        )
    });
    match parsed {
        Ok(edit) if field.lost_focus() && enter => {
            cx.push(Action::SetEdit { row: i, edit });
            state.typing = None;
        }
        Err(error) if !escape => message::error(ui, cx.theme, &error.reason),
        _ if escape || field.lost_focus() => state.typing = None,
        _ => {
            if !field.has_focus() {
                field.request_focus();
            }
        }
    }
}
