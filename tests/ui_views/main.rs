//! The panels, driven as a user would, over made-up results: what they show, and the actions they push.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod look;
mod snapshots;

use egui::{Key, Modifiers, Pos2, pos2, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use headscope::edit::{Edit, Op, Target};
use headscope::ids::HeadId;
use headscope::model::spec::Head;
use headscope::session::{ReadPosition, Shown};
use headscope::ui::action::Action;
use headscope::ui::focus::Item;
use headscope::ui::views::{arcs, attention, head, heads, interventions, readout};

use fixture::{Fixture, Shape};

const GPT2: Shape = Shape(12, 12, 12);

type Driven<'a> = Harness<'a, Fixture>;

fn drive<'a>(size: [f32; 2], fixture: Fixture) -> Driven<'a> {
    let mut harness = Harness::builder()
        .with_size(size)
        .with_max_steps(60)
        // Fast enough for a double click, as people see frames.
        .with_step_dt(1.0 / 60.0)
        .with_context_setup(fixture::install)
        .build_ui_state(|ui, fixture: &mut Fixture| fixture.show(ui), fixture);
    harness.run();
    harness
}

fn grid(shape: Shape) -> Fixture {
    Fixture::new(shape, 15, |cx, states, ui| {
        heads::show(cx, &mut states.heads, ui);
    })
}

fn maps(n_tokens: usize) -> Fixture {
    let mut fixture = Fixture::new(GPT2, n_tokens, |cx, states, ui| {
        attention::show(cx, &mut states.attention, ui);
    });
    fixture.select(&[(3, 4)]);
    fixture
}

fn stack(edits: &[&str]) -> Fixture {
    let mut fixture = Fixture::new(GPT2, 15, |cx, states, ui| {
        interventions::show(cx, &mut states.interventions, ui);
    });
    fixture.edit(edits);
    fixture
}

fn taken(harness: &mut Driven<'_>) -> Vec<Action> {
    harness.run();
    std::mem::take(&mut harness.state_mut().actions)
}

fn select(layer: usize, head: usize, extend: bool) -> Action {
    Action::Select {
        heads: vec![HeadId::new(layer, head)],
        extend,
    }
}

fn click_at(harness: &mut Driven<'_>, at: Pos2) {
    harness.hover_at(at);
    harness.run();
    for pressed in [true, false] {
        harness.event(egui::Event::PointerButton {
            pos: at,
            button: egui::PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        });
    }
    harness.run();
}

#[test]
fn a_click_selects_a_head_and_a_second_one_ablates_it() {
    let mut harness = drive([400.0, 400.0], grid(GPT2));
    harness.get_by_label("L9H6").click();
    harness.step();
    assert_eq!(harness.state().actions, [select(9, 6, false)]);
    harness.get_by_label("L9H6").click();
    let ablate = Action::ToggleAblation(vec![HeadId::new(9, 6)]);
    assert_eq!(
        taken(&mut harness),
        [select(9, 6, false), select(9, 6, false), ablate]
    );
}

#[test]
fn a_click_with_ctrl_adds_to_the_selection() {
    let mut harness = drive([400.0, 400.0], grid(GPT2));
    harness
        .get_by_label("L2H3")
        .click_modifiers(Modifiers::COMMAND);
    assert_eq!(taken(&mut harness), [select(2, 3, true)]);
}

#[test]
fn headers_select_their_row_or_column() {
    let mut harness = drive([400.0, 400.0], grid(GPT2));
    harness.get_by_label("Layer 9").click();
    let layer = (0..12).map(|head| HeadId::new(9, head)).collect();
    assert_eq!(
        taken(&mut harness),
        [Action::Select {
            heads: layer,
            extend: false
        }]
    );
    harness.get_by_label("Head 3 of all layers").click();
    let column = (0..12).map(|layer| HeadId::new(layer, 3)).collect();
    assert_eq!(
        taken(&mut harness),
        [Action::Select {
            heads: column,
            extend: false
        }]
    );
}

#[test]
fn the_keyboard_walks_the_grid_and_space_ablates_the_selection() {
    let mut fixture = grid(GPT2);
    fixture.select(&[(4, 4)]);
    let mut harness = drive([400.0, 400.0], fixture);
    harness.key_press(Key::Tab);
    harness.run();
    harness.key_press(Key::ArrowDown);
    assert_eq!(taken(&mut harness), [select(5, 4, false)]);
    harness.key_press(Key::ArrowLeft);
    assert_eq!(taken(&mut harness), [select(4, 3, false)]);
    harness.key_press(Key::Space);
    assert_eq!(
        taken(&mut harness),
        [Action::ToggleAblation(vec![HeadId::new(4, 4)])]
    );
}

#[test]
fn a_drag_with_alt_scales_the_selected_heads() {
    let mut fixture = grid(GPT2);
    fixture.select(&[(4, 4), (5, 5)]);
    let mut harness = drive([400.0, 400.0], fixture);
    let from = harness.get_by_label("L4H4").rect().center();
    harness.event(egui::Event::ModifiersChanged(Modifiers::ALT));
    harness.drag_at(from);
    harness.run();
    harness.hover_at(from + vec2(0.0, -50.0));
    harness.run();
    let actions = taken(&mut harness);
    let heads = vec![HeadId::new(4, 4), HeadId::new(5, 5)];
    assert_eq!(
        actions.last(),
        Some(&Action::SetHeadScale { heads, factor: 2.0 })
    );
}

#[test]
fn the_menu_of_a_head_offers_what_can_be_done_and_says_why_not() {
    let mut harness = drive([500.0, 500.0], grid(Shape(12, 12, 4)));
    harness.get_by_label("L2H3 (kv 1)").click_secondary();
    harness.run();
    assert!(
        harness
            .get_by_label("Resample from prompt B")
            .accesskit_node()
            .is_disabled()
    );
    harness.get_by_label("Mean over positions").click();
    let edit = Edit::new(Target::Head(HeadId::new(2, 3)), Op::Mean);
    assert_eq!(taken(&mut harness), [Action::AddEdit(edit)]);
}

#[test]
fn every_shape_of_model_fits_and_edited_heads_say_their_edit() {
    for (shape, size) in [
        (GPT2, [320.0, 400.0]),
        (Shape(30, 9, 3), [260.0, 400.0]),
        (Shape(4, 8, 8), [420.0, 300.0]),
        (Shape(48, 25, 25), [420.0, 520.0]),
    ] {
        let mut fixture = grid(shape);
        fixture.edit(&["L1H2=scale(2.5)"]);
        let harness = drive(size, fixture);
        let node = harness.get_by_label_contains("×2.5");
        assert!(
            node.accesskit_node()
                .label()
                .is_some_and(|label| label.starts_with("L1H2"))
        );
        assert!(node.rect().width() >= 14.0, "{:?}", node.rect());
    }
}

/// The middle of a cell of the only map.
fn cell(harness: &Driven<'_>, n_tokens: usize, query: usize, key: usize) -> Pos2 {
    let map = harness.get_by_label_contains("attention map").rect();
    let side = map.width() / n_tokens as f32;
    map.min + vec2(key as f32 + 0.5, query as f32 + 0.5) * side
}

#[test]
fn a_click_on_a_cell_knocks_the_edge_out_and_the_mask_cannot_be_clicked() {
    let mut harness = drive([600.0, 500.0], maps(15));
    let at = cell(&harness, 15, 9, 3);
    click_at(&mut harness, at);
    let knockout = Action::ToggleKnockout {
        head: HeadId::new(3, 4),
        query: 9,
        key: 3,
    };
    assert_eq!(taken(&mut harness), [knockout]);
    let masked = cell(&harness, 15, 3, 9);
    click_at(&mut harness, masked);
    assert_eq!(taken(&mut harness), []);
}

#[test]
fn hovering_a_cell_links_it_and_says_its_exact_value() {
    let mut harness = drive([600.0, 500.0], maps(15));
    let at = cell(&harness, 15, 10, 4);
    harness.hover_at(at);
    harness.run_steps(60);
    let hovered = harness.state().focus.hovered();
    assert_eq!(
        hovered,
        Some(Item::Cell {
            head: HeadId::new(3, 4),
            query: 10,
            key: 4
        })
    );
    let value = harness.state().live.before.layers[3]
        .as_ref()
        .unwrap()
        .maps
        .patterns
        .value(4, 10, 4);
    harness.get_by_label(&format!("{value:.6}"));
    harness.get_by_label("[10] ·John");
}

#[test]
fn the_wheel_zooms_and_the_click_still_finds_its_cell() {
    let mut harness = drive([600.0, 500.0], maps(60));
    let at = cell(&harness, 60, 30, 10);
    harness.hover_at(at);
    harness.run();
    for _ in 0..8 {
        harness.event(egui::Event::MouseWheel {
            unit: egui::MouseWheelUnit::Point,
            delta: vec2(0.0, 120.0),
            phase: egui::TouchPhase::Move,
            source: egui::MouseWheelSource::Wheel,
            modifiers: Modifiers::NONE,
        });
        harness.run();
    }
    click_at(&mut harness, at);
    let knockout = Action::ToggleKnockout {
        head: HeadId::new(3, 4),
        query: 30,
        key: 10,
    };
    assert_eq!(taken(&mut harness), [knockout]);
}

#[test]
fn the_map_can_be_worked_by_keyboard() {
    let mut harness = drive([600.0, 500.0], maps(15));
    harness.get_by_label_contains("attention map").focus();
    harness.run();
    harness.key_press(Key::ArrowUp);
    harness.run();
    harness.key_press(Key::ArrowRight);
    harness.run();
    harness.key_press(Key::Space);
    let knockout = Action::ToggleKnockout {
        head: HeadId::new(3, 4),
        query: 13,
        key: 1,
    };
    assert_eq!(taken(&mut harness), [knockout]);
}

#[test]
fn the_toolbar_sets_what_is_shown() {
    let mut harness = drive([600.0, 500.0], maps(15));
    harness.get_by_label("Value-weighted").click();
    let actions = taken(&mut harness);
    let [Action::SetView(view)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(view.shown, Shown::ValueWeighted);
    assert_eq!(view.selection, [HeadId::new(3, 4)]);
}

#[test]
fn the_arcs_list_every_token_twice_and_hovering_links_it() {
    let mut fixture = Fixture::new(GPT2, 300, |cx, states, ui| {
        arcs::show(cx, &mut states.arcs, ui);
    });
    fixture.select(&[(3, 4), (2, 0)]);
    let mut harness = drive([420.0, 400.0], fixture);
    harness.get_by_label("Query [2] ·Mary").hover();
    harness.run();
    assert_eq!(harness.state().focus.hovered(), Some(Item::Token(2)));
    harness.get_by_label("Key [2] ·Mary");
    assert!(
        harness.query_by_label_contains("Query [200]").is_none(),
        "only visible rows are there"
    );
}

#[test]
fn rows_are_switched_duplicated_and_deleted() {
    let mut harness = drive(
        [340.0, 400.0],
        stack(&["L9H6=zero", "L9H6[12->3]=knockout", "M5=mean@last"]),
    );
    harness.get_by_label("Row 2: L9H6[12->3]=knockout").click();
    assert_eq!(
        taken(&mut harness),
        [Action::SetEnabled {
            row: 1,
            enabled: false
        }]
    );
    harness.get_by_label("Duplicate row 1").click();
    assert_eq!(taken(&mut harness), [Action::DuplicateEdit(0)]);
    harness.get_by_label("Delete row 3").click();
    assert_eq!(taken(&mut harness), [Action::RemoveEdit(2)]);
    harness.get_by_label("Clear all").click();
    assert_eq!(taken(&mut harness), [Action::ClearEdits]);
}

#[test]
fn rows_move_by_drag_and_by_keyboard() {
    let mut harness = drive(
        [340.0, 400.0],
        stack(&["L9H6=zero", "L8H1=mean", "M5=zero"]),
    );
    let from = harness.get_by_label("Move row 1").rect().center();
    let to = harness.get_by_label("Move row 3").rect().center();
    harness.drag_at(from);
    harness.run();
    harness.hover_at(pos2(to.x + 40.0, to.y));
    harness.run();
    harness.drop_at(pos2(to.x + 40.0, to.y));
    assert_eq!(taken(&mut harness), [Action::MoveEdit { from: 0, to: 2 }]);
    harness.get_by_label("Move row 2").focus();
    harness.run();
    harness.key_press(Key::ArrowUp);
    assert_eq!(taken(&mut harness), [Action::MoveEdit { from: 1, to: 0 }]);
}

#[test]
fn an_edit_is_typed_and_a_mistake_is_explained() {
    let mut harness = drive([340.0, 400.0], stack(&[]));
    let field = |harness: &mut Driven<'_>, text: &str| {
        harness.get_by_label("New edit").focus();
        harness.run();
        harness.get_by_label("New edit").type_text(text);
        harness.run();
        harness.key_press(Key::Enter);
        taken(harness)
    };
    let edit = "L9H6=scale(2)@last".parse().unwrap();
    assert_eq!(
        field(&mut harness, "9.6=scale(2)@last"),
        [Action::AddEdit(edit)]
    );
    assert_eq!(field(&mut harness, "L9H6=explode"), []);
    harness.get_by_label_contains("is no operation");
}

#[test]
fn an_error_stands_at_the_row_that_it_names() {
    let mut fixture = stack(&["L9H6=zero", "L99H1=mean"]);
    fixture.live.error = Some("edit `L99H1=mean`: the model has 12 layers".into());
    let harness = drive([340.0, 400.0], fixture);
    let error = harness.get_by_label("the model has 12 layers").rect();
    let row = harness.get_by_label("Move row 2").rect();
    assert!(
        error.top() > row.top() && error.top() < row.bottom() + 40.0,
        "{error:?} {row:?}"
    );
}

#[test]
fn the_factor_of_a_row_and_of_the_head_can_be_set() {
    let mut harness = drive([340.0, 400.0], stack(&["L9H6=scale(2)@last"]));
    harness.get_by_label("α of row 1").set_value_accesskit(5.0);
    let edit = "L9H6=scale(5)@last".parse().unwrap();
    assert_eq!(taken(&mut harness), [Action::SetEdit { row: 0, edit }]);

    let mut fixture = Fixture::new(GPT2, 15, |cx, states, ui| {
        head::show(cx, &mut states.head, ui);
    });
    fixture.select(&[(9, 6)]);
    let mut harness = drive([340.0, 500.0], fixture);
    harness.get_by_label("α of L9H6").set_value_accesskit(-3.0);
    let heads = vec![HeadId::new(9, 6)];
    assert_eq!(
        taken(&mut harness),
        [Action::SetHeadScale {
            heads,
            factor: -3.0
        }]
    );
}

#[test]
fn the_head_panel_ablates_and_cuts_its_strongest_edge() {
    let mut fixture = Fixture::new(GPT2, 15, |cx, states, ui| {
        head::show(cx, &mut states.head, ui);
    });
    fixture.select(&[(0, 0)]);
    let mut harness = drive([340.0, 600.0], fixture);
    harness.get_by_label("Zero").click();
    assert_eq!(
        taken(&mut harness),
        [Action::ToggleAblation(vec![HeadId::new(0, 0)])]
    );
    assert!(
        harness
            .get_by_label("Resample")
            .accesskit_node()
            .is_disabled()
    );
    // The head looks at the token before: its strongest edge past the first key is 2 ← 1.
    harness
        .get_by_label_contains("[2] ·Mary ← [1] When")
        .click();
    let knockout = Action::ToggleKnockout {
        head: HeadId::new(0, 0),
        query: 2,
        key: 1,
    };
    assert_eq!(taken(&mut harness), [knockout]);
}

#[test]
fn the_readout_compares_both_runs_and_traces_the_factor() {
    let mut fixture = Fixture::new(GPT2, 15, |cx, states, ui| {
        readout::show(cx, &mut states.readout, ui);
    });
    fixture.run(1);
    let mut harness = drive([1200.0, 260.0], fixture);
    harness.get_by_label("+3.200");
    for (run, edit) in [(2, "L3H4=scale(2)"), (3, "L3H4=scale(2.5)")] {
        harness.state_mut().edit(&[edit]);
        harness.state_mut().run(run);
        harness.run();
    }
    harness.get_by_label("Trace over α of L3H4");
    harness.get_by_label("After");
    harness.get_by_label("−1.35");
}

#[test]
fn answers_and_the_position_are_chosen_in_the_readout() {
    let fixture = Fixture::new(GPT2, 15, |cx, states, ui| {
        readout::show(cx, &mut states.readout, ui);
    });
    let mut harness = drive([1200.0, 300.0], fixture);
    harness.get_by_label("New answer").focus();
    harness.run();
    harness.get_by_label("New answer").type_text(" Anne");
    harness.run();
    harness.key_press(Key::Enter);
    let answers = [" Mary", " John", " Anne"].map(String::from).to_vec();
    assert_eq!(taken(&mut harness), [Action::SetAnswers(answers)]);
    harness.get_by_label_contains("Read after [14]").click();
    harness.run();
    harness.get_by_label("[2] ·Mary").click();
    assert_eq!(
        taken(&mut harness),
        [Action::SetPosition(ReadPosition::At(2))]
    );
}

#[test]
fn a_model_without_a_head_and_an_error_are_said() {
    let mut fixture = Fixture::new(GPT2, 15, |cx, states, ui| {
        readout::show(cx, &mut states.readout, ui);
    });
    let model = std::sync::Arc::get_mut(&mut fixture.model).unwrap();
    model.spec.head = Head::None;
    let mut harness = drive([700.0, 300.0], fixture);
    harness.get_by_label("No language-model head");
    harness.state_mut().live.error = Some("out of memory".into());
    harness.run();
    harness.get_by_label("out of memory");
}
