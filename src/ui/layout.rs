//! The arrangement of the panels: docked, tabbed, closed and opened again. What is inside a panel is `views`' business.

use egui_tiles::{
    Container, EditAction, Linear, LinearDir, SimplificationOptions, TabState, Tile, TileId, Tiles,
    Tree, UiResponse,
};
use serde::{Deserialize, Serialize};

use super::context::ViewContext;
use super::theme::{Theme, space};
use super::views::{self, States};

/// A panel. Each stands exactly once in a layout, be it hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pane {
    Heads,
    Attention,
    Arcs,
    Interventions,
    Head,
    Readout,
    Atlas,
    Lab,
}

impl Pane {
    pub const ALL: [Self; 8] = [
        Self::Heads,
        Self::Attention,
        Self::Arcs,
        Self::Interventions,
        Self::Head,
        Self::Readout,
        Self::Atlas,
        Self::Lab,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Heads => "Heads",
            Self::Attention => "Attention",
            Self::Arcs => "Arcs",
            Self::Interventions => "Interventions",
            Self::Head => "Head",
            Self::Readout => "Readout",
            Self::Atlas => "Head atlas",
            Self::Lab => "Lab",
        }
    }

    /// The key that shows or hides it, with Ctrl.
    pub(super) const fn digit(self) -> egui::Key {
        match self {
            Self::Heads => egui::Key::Num1,
            Self::Attention => egui::Key::Num2,
            Self::Arcs => egui::Key::Num3,
            Self::Interventions => egui::Key::Num4,
            Self::Head => egui::Key::Num5,
            Self::Readout => egui::Key::Num6,
            Self::Atlas => egui::Key::Num7,
            Self::Lab => egui::Key::Num8,
        }
    }
}

/// The tree of panels.
#[derive(Debug)]
pub struct Layout {
    tree: Tree<Pane>,
    /// Whether the user has changed it since [`Layout::take_changed`].
    changed: bool,
}

/// The form in which a session keeps it. A tree of another version is not read.
#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    root: TileId,
    tiles: Tiles<Pane>,
}

const VERSION: u32 = 1;
const TREE_ID: &str = "panels";

impl Default for Layout {
    fn default() -> Self {
        let mut tiles = Tiles::default();
        let mut tabs = |panes: &[Pane]| {
            let ids = panes.iter().map(|pane| tiles.insert_pane(*pane)).collect();
            tiles.insert_tab_tile(ids)
        };
        let heads = tabs(&[Pane::Heads, Pane::Atlas]);
        let maps = tabs(&[Pane::Attention, Pane::Arcs, Pane::Lab]);
        let interventions = tabs(&[Pane::Interventions]);
        let head = tabs(&[Pane::Head]);
        let readout = tabs(&[Pane::Readout]);
        let right = linear(
            &mut tiles,
            LinearDir::Vertical,
            &[(interventions, 0.45), (head, 0.55)],
        );
        let top = linear(
            &mut tiles,
            LinearDir::Horizontal,
            &[(heads, 0.31), (maps, 0.44), (right, 0.25)],
        );
        let root = linear(
            &mut tiles,
            LinearDir::Vertical,
            &[(top, 0.68), (readout, 0.32)],
        );
        Self {
            tree: Tree::new(egui::Id::unique(TREE_ID), root, tiles),
            changed: false,
        }
    }
}

fn linear(tiles: &mut Tiles<Pane>, dir: LinearDir, children: &[(TileId, f32)]) -> TileId {
    let mut linear = Linear::new(dir, children.iter().map(|(id, _)| *id).collect());
    for (id, share) in children {
        linear.shares.set_share(*id, *share);
    }
    tiles.insert_container(linear)
}

impl Layout {
    /// Reads what [`Layout::to_value`] wrote; `None` for anything that would not draw every panel once.
    pub fn from_value(value: &serde_json::Value) -> Option<Self> {
        let saved = Saved::deserialize(value).ok()?;
        let mut tree = Tree::new(egui::Id::unique(TREE_ID), saved.root, saved.tiles);
        adopt_newer(&mut tree);
        (saved.version == VERSION && is_sound(&tree)).then_some(Self {
            tree,
            changed: false,
        })
    }

    pub fn to_value(&self) -> Option<serde_json::Value> {
        serde_json::to_value(Saved {
            version: VERSION,
            root: self.tree.root()?,
            tiles: self.tree.tiles.clone(),
        })
        .ok()
    }

    /// Whether the user has changed the arrangement since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub fn is_shown(&self, pane: Pane) -> bool {
        self.tree
            .tiles
            .find_pane(&pane)
            .is_some_and(|id| self.tree.is_visible(id))
    }

    /// Hides a panel that is on screen; shows one that is closed, or behind another tab.
    pub fn toggle(&mut self, pane: Pane) {
        let Some(id) = self.tree.tiles.find_pane(&pane) else {
            return;
        };
        if self.tree.active_tiles().contains(&id) {
            self.tree.set_visible(id, false);
        } else {
            self.tree.set_visible(id, true);
            self.tree.make_active(|tile, _| tile == id);
        }
        self.changed = true;
    }

    /// Brings a panel to the front.
    pub fn open(&mut self, pane: Pane) {
        if let Some(id) = self.tree.tiles.find_pane(&pane)
            && !self.tree.active_tiles().contains(&id)
        {
            self.tree.set_visible(id, true);
            self.tree.make_active(|tile, _| tile == id);
            self.changed = true;
        }
    }

    pub fn show(&mut self, cx: &ViewContext<'_>, states: &mut States, ui: &mut egui::Ui) {
        let mut docking = Docking {
            cx,
            states,
            edited: false,
        };
        self.tree.ui(&mut docking, ui);
        self.changed |= docking.edited;
    }
}

/// Panels that were not there when a layout was saved come beside the one that they belong to.
fn adopt_newer(tree: &mut Tree<Pane>) {
    for (pane, beside) in [(Pane::Atlas, Pane::Heads), (Pane::Lab, Pane::Attention)] {
        let tiles = &mut tree.tiles;
        let home = tiles.find_pane(&beside).and_then(|id| tiles.parent_of(id));
        if let (None, Some(home)) = (tiles.find_pane(&pane), home) {
            let id = tiles.insert_pane(pane);
            if let Some(Tile::Container(container)) = tiles.get_mut(home) {
                container.add_child(id);
            }
        }
    }
}

/// Whether the tree reaches each panel exactly once and nothing that is not there.
fn is_sound(tree: &Tree<Pane>) -> bool {
    let mut open: Vec<TileId> = tree.root().into_iter().collect();
    let mut seen = std::collections::HashSet::new();
    let mut panes = Vec::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            return false;
        }
        match tree.tiles.get(id) {
            Some(Tile::Pane(pane)) => panes.push(*pane),
            None | Some(Tile::Container(Container::Grid(_))) => return false,
            Some(Tile::Container(container)) => open.extend(container.children()),
        }
    }
    panes.len() == Pane::ALL.len() && Pane::ALL.iter().all(|pane| panes.contains(pane))
}

/// What the docking asks of us while it draws.
struct Docking<'a, 'b> {
    cx: &'a ViewContext<'b>,
    states: &'a mut States,
    edited: bool,
}

impl Docking<'_, '_> {
    fn theme(&self) -> &Theme {
        self.cx.theme
    }
}

impl egui_tiles::Behavior<Pane> for Docking<'_, '_> {
    fn pane_ui(&mut self, ui: &mut egui::Ui, _tile: TileId, pane: &mut Pane) -> UiResponse {
        let frame = egui::Frame::new()
            .fill(self.theme().panel_bg)
            .inner_margin(space::S);
        frame.show(ui, |ui| {
            ui.set_min_size(ui.available_size());
            let Self { cx, states, .. } = self;
            match pane {
                Pane::Heads => views::heads::show(cx, &mut states.heads, ui),
                Pane::Attention => views::attention::show(cx, &mut states.attention, ui),
                Pane::Arcs => views::arcs::show(cx, &mut states.arcs, ui),
                Pane::Interventions => {
                    views::interventions::show(cx, &mut states.interventions, ui);
                }
                Pane::Head => views::head::show(cx, &mut states.head, ui),
                Pane::Readout => views::readout::show(cx, &mut states.readout, ui),
                Pane::Atlas => views::atlas::show(cx, &mut states.atlas, ui),
                Pane::Lab => views::lab::show(cx, &mut states.lab, ui),
            }
        });
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, pane: &Pane) -> egui::WidgetText {
        egui::RichText::new(pane.title())
            .size(super::theme::size::SMALL)
            .strong()
            .into()
    }

    fn is_tab_closable(&self, _tiles: &Tiles<Pane>, _tile: TileId) -> bool {
        true
    }

    /// A closed panel keeps its place, and comes back there.
    fn on_tab_close(&mut self, tiles: &mut Tiles<Pane>, tile: TileId) -> bool {
        tiles.set_visible(tile, false);
        self.edited = true;
        false
    }

    fn on_edit(&mut self, _action: EditAction) {
        self.edited = true;
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions {
            all_panes_must_have_tabs: true,
            ..SimplificationOptions::default()
        }
    }

    fn tab_bar_height(&self, _style: &egui::Style) -> f32 {
        space::ROW
    }

    fn close_button_inner_margin(&self) -> f32 {
        3.0
    }

    fn gap_width(&self, _style: &egui::Style) -> f32 {
        space::XS
    }

    fn min_size(&self) -> f32 {
        96.0
    }

    fn tab_bar_color(&self, _visuals: &egui::Visuals) -> egui::Color32 {
        self.theme().surface
    }

    fn tab_bg_color(
        &self,
        _visuals: &egui::Visuals,
        _tiles: &Tiles<Pane>,
        _tile: TileId,
        state: &TabState,
    ) -> egui::Color32 {
        if state.active {
            self.theme().panel_bg
        } else {
            self.theme().surface
        }
    }

    fn tab_text_color(
        &self,
        _visuals: &egui::Visuals,
        _tiles: &Tiles<Pane>,
        _tile: TileId,
        state: &TabState,
    ) -> egui::Color32 {
        if state.active {
            self.theme().text
        } else {
            self.theme().text_weak
        }
    }

    fn tab_outline_stroke(
        &self,
        _visuals: &egui::Visuals,
        _tiles: &Tiles<Pane>,
        _tile: TileId,
        _state: &TabState,
    ) -> egui::Stroke {
        egui::Stroke::NONE
    }

    fn tab_bar_hline_stroke(&self, _visuals: &egui::Visuals) -> egui::Stroke {
        egui::Stroke::new(1.0, self.theme().line)
    }

    fn resize_stroke(&self, style: &egui::Style, state: egui_tiles::ResizeState) -> egui::Stroke {
        match state {
            egui_tiles::ResizeState::Idle => {
                egui::Stroke::new(self.gap_width(style), self.theme().canvas)
            }
            _ => egui::Stroke::new(2.0, self.theme().accent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_reads_back_as_it_was_written() {
        let mut layout = Layout::default();
        layout.toggle(Pane::Readout);
        let value = layout.to_value().unwrap();
        let back = Layout::from_value(&value).unwrap();
        assert!(!back.is_shown(Pane::Readout));
        assert!(back.is_shown(Pane::Heads));
        assert_eq!(back.to_value().unwrap(), value);
    }

    #[test]
    fn a_closed_panel_comes_back() {
        let mut layout = Layout::default();
        layout.toggle(Pane::Heads);
        assert!(!layout.is_shown(Pane::Heads));
        layout.toggle(Pane::Heads);
        assert!(layout.is_shown(Pane::Heads));
        assert!(layout.take_changed());
        assert!(!layout.take_changed());
    }

    #[test]
    fn a_layout_that_would_not_draw_every_panel_once_is_refused() {
        let good = Layout::default().to_value().unwrap();
        let broken = |change: &dyn Fn(String) -> String| {
            let text = change(good.to_string());
            assert_ne!(text, good.to_string());
            let value = serde_json::from_str(&text).unwrap();
            assert!(Layout::from_value(&value).is_none(), "{text}");
        };
        broken(&|text| text.replace("\"readout\"", "\"heads\""));
        broken(&|text| text.replace("\"readout\"", "\"unheard-of\""));
        broken(&|text| text.replace("\"version\":1", "\"version\":99"));
        assert!(Layout::from_value(&serde_json::json!(7)).is_none());
        let mut tree = Layout::default().tree;
        let id = tree.tiles.find_pane(&Pane::Arcs).unwrap();
        tree.tiles.remove(id);
        assert!(!is_sound(&tree));
    }
}
