//! What the program has to say: toasts that go by themselves, and the list of all of them.
//!
//! A failure that belongs to one place (a prompt that cannot be resolved, a model that cannot be read) is also shown
//! there; this is for what happened, not for what is the case.

use super::theme::{Theme, space};

/// How long toasts stay, in seconds. Errors stay until they are put away.
const INFO_SECS: f64 = 4.0;
const WARNING_SECS: f64 = 8.0;
/// The most toasts on screen; older ones are in the list.
const MAX_TOASTS: usize = 4;
/// Width of a message's text, and where the corner stands: above the status bar.
const WIDTH: f32 = 320.0;
const OFFSET: [f32; 2] = [-space::L, -space::XL - space::L];
/// The most notifications kept.
const MAX_KEPT: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Worth telling.
    Info,
    /// Done, but differently.
    Warning,
    /// Not done.
    Error,
}

#[derive(Clone, Debug)]
struct Notification {
    number: u64,
    level: Level,
    text: String,
    /// When it came, in egui's seconds; set when it is first drawn.
    since: Option<f64>,
    /// Still a toast.
    floats: bool,
}

#[derive(Debug, Default)]
pub struct Notifications {
    /// Oldest first.
    kept: Vec<Notification>,
    count: u64,
    unread: usize,
    /// Whether the list is open.
    pub open: bool,
}

impl Level {
    const fn color(self, theme: &Theme) -> egui::Color32 {
        match self {
            Self::Info => theme.accent,
            Self::Warning => theme.warn,
            Self::Error => theme.error,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Info => "Note",
            Self::Warning => "Warning",
            Self::Error => "Error",
        }
    }

    const fn secs(self) -> f64 {
        match self {
            Self::Info => INFO_SECS,
            Self::Warning => WARNING_SECS,
            Self::Error => f64::INFINITY,
        }
    }
}

impl Notifications {
    pub fn add(&mut self, level: Level, text: impl Into<String>) {
        self.push(level, text.into(), true);
    }

    /// Lists what is shown elsewhere, without a toast.
    pub fn list_only(&mut self, level: Level, text: impl Into<String>) {
        self.push(level, text.into(), false);
    }

    fn push(&mut self, level: Level, text: String, floats: bool) {
        // The same message again says nothing new: a drag may repeat it every frame.
        if let Some(last) = self.kept.last_mut()
            && last.floats
            && last.text == text
        {
            last.since = None;
            return;
        }
        self.count += 1;
        self.unread += 1;
        self.kept.push(Notification {
            number: self.count,
            level,
            text,
            since: None,
            floats,
        });
        if self.kept.len() > MAX_KEPT {
            self.kept.remove(0);
        }
    }

    pub fn info(&mut self, text: impl Into<String>) {
        self.add(Level::Info, text);
    }

    pub fn warn(&mut self, text: impl Into<String>) {
        self.add(Level::Warning, text);
    }

    pub fn error(&mut self, text: impl Into<String>) {
        self.add(Level::Error, text);
    }

    /// Those that came since the list was last open.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// All that is kept, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Level, &str)> {
        self.kept.iter().map(|n| (n.level, n.text.as_str()))
    }

    /// Draws the toasts at the lower right, newest at the bottom, and the list if it is open.
    pub fn show(&mut self, theme: &Theme, ctx: &egui::Context) {
        if self.open {
            self.unread = 0;
            self.list(theme, ctx);
        } else {
            self.toasts(theme, ctx);
        }
    }

    fn toasts(&mut self, theme: &Theme, ctx: &egui::Context) {
        let now = ctx.input(|input| input.time);
        let mut next_end = f64::INFINITY;
        for toast in &mut self.kept {
            let end = *toast.since.get_or_insert(now) + toast.level.secs();
            toast.floats &= now < end;
            if toast.floats {
                next_end = next_end.min(end);
            }
        }
        if next_end.is_finite() {
            ctx.request_repaint_after(std::time::Duration::from_secs_f64(next_end - now));
        }
        let floating = self.kept.iter_mut().filter(|toast| toast.floats);
        let newest: Vec<_> = floating.rev().take(MAX_TOASTS).collect();
        if newest.is_empty() {
            return;
        }
        egui::Area::new(egui::Id::unique("toasts"))
            .anchor(egui::Align2::RIGHT_BOTTOM, OFFSET)
            .order(egui::Order::Foreground)
            .show(ctx, |ui| {
                ui.spacing_mut().item_spacing.y = space::S;
                for toast in newest.into_iter().rev() {
                    ui.push_id(toast.number, |ui| {
                        if card(theme, ui, toast.level, &toast.text, true) {
                            toast.floats = false;
                        }
                    });
                }
            });
    }

    fn list(&mut self, theme: &Theme, ctx: &egui::Context) {
        let frame = egui::Frame::popup(&ctx.global_style()).inner_margin(space::M);
        egui::Area::new(egui::Id::unique("notifications"))
            .anchor(egui::Align2::RIGHT_BOTTOM, OFFSET)
            .order(egui::Order::Foreground)
            .show(ctx, |ui| {
                frame.show(ui, |ui| {
                    ui.set_width(WIDTH + 2.0 * space::M);
                    ui.horizontal(|ui| {
                        ui.heading("Notifications");
                        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                            if ui.button("Close").clicked() {
                                self.open = false;
                            }
                            let any = !self.kept.is_empty();
                            if ui.add_enabled(any, egui::Button::new("Clear")).clicked() {
                                self.kept.clear();
                            }
                        });
                    });
                    ui.add_space(space::S);
                    if self.kept.is_empty() {
                        ui.weak("Nothing yet");
                    }
                    let list = egui::ScrollArea::vertical().max_height(320.0);
                    list.show(ui, |ui| {
                        for item in self.kept.iter().rev() {
                            ui.push_id(item.number, |ui| {
                                card(theme, ui, item.level, &item.text, false);
                            });
                        }
                    });
                });
            });
    }
}

/// One message. Says whether it was put away.
fn card(theme: &Theme, ui: &mut egui::Ui, level: Level, text: &str, closable: bool) -> bool {
    let frame = egui::Frame::new()
        .fill(theme.overlay)
        .stroke(egui::Stroke::new(1.0, theme.line_strong))
        .corner_radius(6)
        .inner_margin(egui::Margin::symmetric(space::M as i8, space::S as i8));
    let shown = frame.show(ui, |ui| {
        ui.set_width(WIDTH);
        ui.horizontal_top(|ui| {
            ui.vertical(|ui| {
                ui.set_width(ui.available_width() - space::XL);
                ui.label(
                    egui::RichText::new(level.word())
                        .small()
                        .strong()
                        .color(level.color(theme)),
                );
                ui.label(text);
            });
            closable && put_away(ui)
        })
        .inner
    });
    let rect = shown.response.rect;
    let edge = egui::Rect::from_min_size(rect.min, egui::vec2(3.0, rect.height()));
    ui.painter().rect_filled(edge, 2.0, level.color(theme));
    shown.inner
}

fn put_away(ui: &mut egui::Ui) -> bool {
    let button = egui::Button::new("×").small().frame(false);
    let response = ui.add(button).on_hover_text("Put away");
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, "Put away"));
    response.clicked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_message_is_kept_once() {
        let mut notifications = Notifications::default();
        notifications.warn("a");
        notifications.warn("a");
        notifications.error("b");
        notifications.warn("a");
        let texts: Vec<_> = notifications.iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["a", "b", "a"]);
        assert_eq!(notifications.unread(), 3);
    }

    #[test]
    fn the_list_is_bounded() {
        let mut notifications = Notifications::default();
        for i in 0..2 * MAX_KEPT {
            notifications.info(i.to_string());
        }
        assert_eq!(notifications.iter().count(), MAX_KEPT);
        let newest = notifications.iter().next_back().unwrap();
        assert_eq!(newest, (Level::Info, "399"));
    }
}
