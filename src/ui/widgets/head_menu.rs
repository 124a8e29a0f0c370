//! The menu of everything that can be done to heads: on a grid cell, a header, a head's panel.

use egui::Ui;

use super::alpha;
use super::edits::{self, head_name};
use crate::edit::{Edit, Op, Target, describe};
use crate::ids::{HeadId, KvHeadId};
use crate::ui::action::Action;
use crate::ui::context::ViewContext;

/// Why a resampling edit is not on offer.
pub const NEEDS_CONTRAST: &str = "Resampling takes its values from prompt B: type one first";

/// Factors worth one click.
const FACTORS: [f64; 6] = [-1.0, 0.0, 0.5, 1.0, 2.0, 5.0];

/// Fills a context menu for `heads`, which are not empty.
pub fn show(ui: &mut Ui, cx: &ViewContext<'_>, heads: &[HeadId]) {
    let [first, rest @ ..] = heads else { return };
    ui.set_min_width(190.0);
    let title = if rest.is_empty() {
        head_name(&cx.model.spec, *first)
    } else {
        format!("{} heads", heads.len())
    };
    ui.label(egui::RichText::new(title).strong());
    let all_ablated = heads
        .iter()
        .all(|head| edits::is_ablated(cx.session, *head));
    let toggle = if all_ablated { "Free" } else { "Ablate (zero)" };
    if ui
        .add(egui::Button::new(toggle).shortcut_text("Space"))
        .clicked()
    {
        cx.push(Action::ToggleAblation(heads.to_vec()));
        ui.close();
    }
    for (label, op) in [
        ("Zero, keep bias", Op::ZeroKeepBias),
        ("Mean over positions", Op::Mean),
        ("Resample from prompt B", Op::Resample),
        ("Uniform attention", Op::Uniform),
    ] {
        add_button(
            ui,
            cx,
            label,
            &op,
            heads.iter().map(|head| Target::Head(*head)),
        );
    }
    ui.menu_button("Scale", |ui| scale_menu(ui, cx, heads));
    let rows: Vec<usize> = heads
        .iter()
        .flat_map(|head| edits::rows_of(cx.session, &cx.model.spec, *head))
        .map(|(row, ..)| row)
        .collect();
    if ui
        .add_enabled(!rows.is_empty(), egui::Button::new("Remove their edits"))
        .clicked()
    {
        remove(cx, rows);
        ui.close();
    }
    ui.separator();
    let mut layers: Vec<usize> = heads.iter().map(|head| head.layer).collect();
    layers.dedup();
    if let [layer] = *layers {
        if cx.model.spec.group_size() > 1 && rest.is_empty() {
            let kv = KvHeadId {
                layer,
                kv_head: cx.model.spec.kv_head_of(first.head),
            };
            target_menu(ui, cx, &format!("Key/value head {kv}"), Target::KvHead(kv));
        }
        target_menu(
            ui,
            cx,
            &format!("Attention of layer {layer}"),
            Target::Attention(layer),
        );
        target_menu(ui, cx, &format!("MLP of layer {layer}"), Target::Mlp(layer));
        target_menu(
            ui,
            cx,
            &format!("Residual before layer {layer}"),
            Target::Resid(layer),
        );
        ui.separator();
    }
    let names: Vec<String> = heads.iter().map(ToString::to_string).collect();
    if ui
        .button(if rest.is_empty() {
            "Copy name"
        } else {
            "Copy names"
        })
        .clicked()
    {
        ui.ctx().copy_text(names.join(" "));
        ui.close();
    }
}

/// A submenu with the operations that a target other than a head takes.
pub fn target_menu(ui: &mut Ui, cx: &ViewContext<'_>, label: &str, target: Target) {
    ui.menu_button(label, |ui| {
        for (label, op) in [
            ("Zero", Op::Zero),
            ("Mean over positions", Op::Mean),
            ("Resample from prompt B", Op::Resample),
            ("Uniform attention", Op::Uniform),
        ] {
            if target.allows(&op) {
                add_button(ui, cx, label, &op, std::iter::once(target));
            }
        }
        for factor in [0.5, 2.0] {
            if let Some(finite) = crate::edit::Finite::new(factor) {
                let label = format!("Scale ×{}", describe::trimmed(factor));
                add_button(ui, cx, &label, &Op::Scale(finite), std::iter::once(target));
            }
        }
    });
}

fn add_button(
    ui: &mut Ui,
    cx: &ViewContext<'_>,
    label: &str,
    op: &Op,
    targets: impl Iterator<Item = Target>,
) {
    let possible = *op != Op::Resample || cx.session.experiment.contrast.is_some();
    let button = ui
        .add_enabled(possible, egui::Button::new(label))
        .on_disabled_hover_text(NEEDS_CONTRAST);
    if button.clicked() {
        for target in targets {
            cx.push(Action::AddEdit(Edit::new(target, op.clone())));
        }
        ui.close();
    }
}

fn scale_menu(ui: &mut Ui, cx: &ViewContext<'_>, heads: &[HeadId]) {
    let push = |factor| {
        cx.push(Action::SetHeadScale {
            heads: heads.to_vec(),
            factor,
        });
    };
    for factor in FACTORS {
        if ui
            .button(format!("×{}", describe::trimmed(factor)))
            .clicked()
        {
            push(factor);
            ui.close();
        }
    }
    ui.set_min_width(220.0);
    if let Some(factor) = alpha::slider(ui, "the heads", edits::scale_of(cx.session, heads[0])) {
        push(factor);
    }
}

/// Removes rows, the last one first so that the others keep their numbers.
fn remove(cx: &ViewContext<'_>, mut rows: Vec<usize>) {
    rows.sort_unstable();
    rows.dedup();
    for row in rows.into_iter().rev() {
        cx.push(Action::RemoveEdit(row));
    }
}
