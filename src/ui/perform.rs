//! What each command does.

use super::action::Action;
use super::actions::Opened;
use super::app::App;
use super::command::Command;
use super::dialogs::Purpose;
use super::export;
use super::layout::Layout;
use super::notifications::Level;
use super::palette::Palette;
use super::prompt_bar::Which;
use super::sheets::Sheet;
use super::welcome::FirstSteps;
use crate::colormap::Colormap;
use crate::export::ExportView;
use crate::figure::Format;
use crate::ids::HeadId;
use crate::session::file::SUFFIX;
use crate::session::settings::ThemeChoice;
use crate::session::{BosRule, ReadPosition, Shown};

const ZOOM_STEP: f32 = 0.1;

impl App {
    pub(super) fn run_command(&mut self, command: Command, ctx: &egui::Context) {
        if !self.availability().enabled(command) {
            return;
        }
        match command {
            Command::OpenModelFolder => self.ask_path(Purpose::ModelFolder, "", ctx),
            Command::OpenModelFile => self.ask_path(Purpose::ModelFile, "", ctx),
            Command::OpenFromHub => {
                self.ui.sheet = Some(Sheet::Hub {
                    id: String::new(),
                    is_new: true,
                });
            }
            Command::OpenDemo => self.apply(Action::OpenModel("demo".into()), ctx),
            Command::Verify => self.results.ask_check(true),
            Command::ComputeIn(dtype) => self.compute_in(dtype),
            Command::ComputeOn(device) => {
                self.settings.device = device;
                self.compute_in(self.work.session.dtype);
            }
            Command::OpenSession => self.ask_path(Purpose::OpenSession, "", ctx),
            Command::CancelLoad => self.apply(Action::CancelLoad, ctx),
            Command::Save => match self.work.file.clone() {
                Some(path) => {
                    self.save_to(&path);
                }
                None => self.run_command(Command::SaveAs, ctx),
            },
            Command::SaveAs => {
                let name = format!("{}{SUFFIX}", self.work.name());
                self.ask_path(Purpose::SaveSession, &name, ctx);
            }
            Command::Export(view, format) => {
                let name = self.export_name(view, format);
                self.ask_path(Purpose::Export(view, format), &name, ctx);
            }
            Command::Screenshot => self.ask_path(Purpose::Screenshot, "headscope.png", ctx),
            Command::Quit if self.must_ask() => self.ask(Action::Run(Command::Quit)),
            Command::Quit => {
                self.is_closing = true;
                ctx.send_viewport_cmd(egui::ViewportCommand::Close);
            }

            Command::Undo => self.apply(Action::Undo, ctx),
            Command::Redo => self.apply(Action::Redo, ctx),
            Command::AblateSelected => {
                let heads = self.work.session.view.selection.clone();
                self.apply(Action::ToggleAblation(heads), ctx);
            }
            Command::ClearEdits => self.apply(Action::ClearEdits, ctx),
            Command::FocusPrompt => self.ui.prompts.focus(Which::A),
            Command::FocusContrast => {
                let experiment = &self.work.session.experiment;
                if experiment.contrast.is_none() {
                    // A contrast is A with one thing changed: start from A.
                    let copy = Some(experiment.prompt.clone());
                    self.apply(Action::SetContrast(copy), ctx);
                }
                self.ui.prompts.focus(Which::B);
            }
            Command::RemoveContrast => self.apply(Action::SetContrast(None), ctx),
            Command::BosAuto => self.apply(Action::SetBos(BosRule::Auto), ctx),
            Command::BosAlways => self.apply(Action::SetBos(BosRule::Always), ctx),
            Command::BosNever => self.apply(Action::SetBos(BosRule::Never), ctx),
            Command::PreviousPosition => self.step_position(-1, ctx),
            Command::NextPosition => self.step_position(1, ctx),
            Command::UsualPosition => {
                self.apply(Action::SetPosition(ReadPosition::Usual), ctx);
            }

            Command::Generate => self.generate(),
            Command::StopGenerating => self.stop_generating(),
            Command::CloseText => self.close_text(),
            Command::NextGenerated => self.step_text(1),
            Command::PreviousGenerated => self.step_text(-1),
            Command::BackToPrompt => self.step_to(self.stepping_along(), 0),

            Command::NextHead => self.step_head(0, 1),
            Command::PreviousHead => self.step_head(0, -1),
            Command::NextLayer => self.step_head(1, 0),
            Command::PreviousLayer => self.step_head(-1, 0),
            Command::SelectLayer => self.select_layer(),
            Command::ClearSelection => self.work.session.view.selection.truncate(1),

            Command::ShowAttention => self.work.session.view.shown = Shown::Attention,
            Command::ShowValueWeighted => self.work.session.view.shown = Shown::ValueWeighted,
            Command::ShowChange => self.work.session.view.shown = Shown::Change,
            Command::ToggleLog => self.work.session.view.log_scale ^= true,
            Command::ToggleSink => self.work.session.view.hide_sink ^= true,
            Command::CycleColormap => {
                let next = next_map(self.work.session.view.colormap);
                self.work.session.view.colormap = next;
                self.settings.colormap = next;
            }
            Command::CycleDiverging => {
                let next = next_map(self.work.session.view.diverging);
                self.work.session.view.diverging = next;
                self.settings.diverging = next;
            }
            Command::Gallery => self.ui.sheet = Some(Sheet::Gallery),
            Command::StopMethod => self.stop_method(),
            Command::TogglePane(pane) => self.ui.layout.toggle(pane),
            Command::ResetLayout => {
                self.ui.layout = Layout::default();
                self.work.session.layout = None;
            }
            Command::CycleTheme => {
                self.settings.theme = match self.settings.theme {
                    ThemeChoice::System => ThemeChoice::Dark,
                    ThemeChoice::Dark => ThemeChoice::Light,
                    ThemeChoice::Light => ThemeChoice::System,
                };
                let name = match self.settings.theme {
                    ThemeChoice::System => "as the system has it",
                    ThemeChoice::Dark => "dark",
                    ThemeChoice::Light => "light",
                };
                self.ui.notifications.info(format!("Theme: {name}"));
            }
            Command::ZoomIn => self.zoom_by(ZOOM_STEP),
            Command::ZoomOut => self.zoom_by(-ZOOM_STEP),
            Command::ZoomReset => self.settings.zoom = 1.0,
            Command::Palette => {
                self.ui.palette = match self.ui.palette {
                    Some(_) => None,
                    None => Some(Palette::default()),
                };
            }
            Command::Notifications => self.ui.notifications.open ^= true,

            Command::Keyboard => self.ui.sheet = Some(Sheet::Keyboard),
            Command::FirstSteps => {
                self.ui.first_steps = match self.ui.first_steps {
                    Some(_) => None,
                    None => Some(FirstSteps::default()),
                };
                self.settings.hint_seen = self.ui.first_steps.is_none();
            }
            Command::Restore => self.restore(),
            Command::DropRecovered => {
                if !self.recovered.is_empty() {
                    self.recovered.remove(0).discard();
                }
            }
            Command::About => self.ui.sheet = Some(Sheet::About),
        }
    }

    /// A path from a file dialog.
    pub(super) fn take_path(
        &mut self,
        purpose: Purpose,
        path: &std::path::Path,
        ctx: &egui::Context,
    ) {
        match purpose {
            Purpose::ModelFolder | Purpose::ModelFile => {
                let source = path.to_string_lossy().into_owned();
                self.apply(Action::OpenModel(source), ctx);
            }
            Purpose::OpenSession => self.apply(Action::OpenSession(path.to_owned()), ctx),
            Purpose::SaveSession => self.apply(Action::SaveSession(path.to_owned()), ctx),
            Purpose::Export(view, format) => match export::write(self, view, format, path) {
                Ok(()) => self
                    .ui
                    .notifications
                    .info(format!("Exported {}", path.display())),
                Err(error) => self.ui.notifications.error(error),
            },
            Purpose::Learned => self.save_learned(path),
            Purpose::Report => self.save_report(path),
            Purpose::Screenshot => {
                let (path, outbox, ctx) = (path.to_owned(), self.ui.outbox.clone(), ctx.clone());
                ctx.clone().request_screenshot(move |image| {
                    let message = match export::write_png(&image, &path) {
                        Ok(()) => (Level::Info, format!("Saved {}", path.display())),
                        Err(error) => (Level::Error, error),
                    };
                    // A full inbox has enough to say.
                    outbox.try_send(message).ok();
                    ctx.request_repaint();
                });
            }
        }
    }

    pub(super) fn ask_path(&mut self, purpose: Purpose, name: &str, ctx: &egui::Context) {
        if let Err(error) = self.ui.dialogs.ask(purpose, name, ctx) {
            let text = format!("The file dialog cannot be shown: {error}");
            self.ui.notifications.error(text);
        }
    }

    fn export_name(&self, view: ExportView, format: Format) -> String {
        let head = self.work.session.view.selection.first();
        let head = match (view, head) {
            (ExportView::Attention | ExportView::Arcs, Some(head)) => format!("-{head}"),
            _ => String::new(),
        };
        format!("{}{head}.{}", view.name(), format.extension())
    }

    fn restore(&mut self) {
        if self.recovered.is_empty() {
            return;
        }
        let recovered = self.recovered.remove(0);
        self.show_session(Opened {
            saved: recovered.saved.clone(),
            file: recovered.original.clone(),
            recovered: true,
        });
        // From here on this program's own autosave keeps it.
        recovered.discard();
    }

    fn step_position(&mut self, step: isize, ctx: &egui::Context) {
        let Some(resolved) = self.results.resolved() else {
            return;
        };
        let next = resolved.spec.position.saturating_add_signed(step);
        if next < resolved.tokens.len() {
            self.apply(Action::SetPosition(ReadPosition::At(next)), ctx);
        }
    }

    /// Moves the selection, stopping at the edges of the grid.
    fn step_head(&mut self, layers: isize, heads: isize) {
        let Some(model) = &self.results.model else {
            return;
        };
        let view = &mut self.work.session.view;
        let next = match view.selection.first() {
            None => HeadId::new(0, 0),
            Some(at) => HeadId::new(
                step(at.layer, layers, model.spec.n_layers),
                step(at.head, heads, model.spec.n_heads),
            ),
        };
        view.selection = vec![next];
    }

    fn select_layer(&mut self) {
        let view = &mut self.work.session.view;
        if let (Some(model), Some(first)) = (&self.results.model, view.selection.first().copied()) {
            let layer = (0..model.spec.n_heads).map(|head| HeadId::new(first.layer, head));
            view.selection = std::iter::once(first)
                .chain(layer.filter(|head| *head != first))
                .collect();
        }
    }

    fn zoom_by(&mut self, step: f32) {
        let zoom = ((self.settings.zoom + step) * 10.0).round() / 10.0;
        self.settings.zoom = zoom.clamp(0.5, 3.0);
    }
}

fn step(at: usize, by: isize, count: usize) -> usize {
    at.saturating_add_signed(by).min(count.saturating_sub(1))
}

/// The next map of the same kind, sequential or diverging.
fn next_map(map: Colormap) -> Colormap {
    let kind: Vec<_> = Colormap::ALL
        .into_iter()
        .filter(|other| other.is_diverging() == map.is_diverging())
        .collect();
    let at = kind.iter().position(|other| *other == map);
    at.and_then(|at| kind.get(at + 1))
        .or(kind.first())
        .copied()
        .unwrap_or(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycling_colour_maps_stays_within_their_kind_and_comes_round() {
        for start in Colormap::ALL {
            let mut map = start;
            for _ in 0..6 {
                map = next_map(map);
                assert_eq!(map.is_diverging(), start.is_diverging());
            }
            assert_eq!(map, start, "2 and 3 both divide 6");
        }
    }

    #[test]
    fn steps_stop_at_the_edges() {
        assert_eq!(step(0, -1, 4), 0);
        assert_eq!(step(3, 1, 4), 3);
        assert_eq!(step(1, 1, 4), 2);
    }
}
