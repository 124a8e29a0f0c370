//! The table of commands: what each is called, what it does, which keys run it.
//!
//! Menus, the palette, the keyboard and the README's table of keys all follow from it. A command has no payload that the
//! user would have to type; what carries data is an [`Action`](super::action::Action).

use egui::{Key, KeyboardShortcut, Modifiers};

use super::layout::Pane;
use super::menus::Menu;
use crate::compute::{Device, Dtype};
use crate::export::ExportView;
use crate::figure::Format;

/// Something a user can ask for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    OpenModelFolder,
    OpenModelFile,
    OpenFromHub,
    OpenDemo,
    Verify,
    ComputeIn(Dtype),
    ComputeOn(Device),
    OpenSession,
    CancelLoad,
    Save,
    SaveAs,
    Export(ExportView, Format),
    Screenshot,
    Quit,

    Undo,
    Redo,
    AblateSelected,
    ClearEdits,
    FocusPrompt,
    FocusContrast,
    RemoveContrast,
    BosAuto,
    BosAlways,
    BosNever,
    PreviousPosition,
    NextPosition,
    UsualPosition,
    Generate,
    StopGenerating,
    CloseText,
    NextGenerated,
    PreviousGenerated,
    BackToPrompt,

    NextHead,
    PreviousHead,
    NextLayer,
    PreviousLayer,
    SelectLayer,
    ClearSelection,

    ShowAttention,
    ShowValueWeighted,
    ShowChange,
    ToggleLog,
    ToggleSink,
    CycleColormap,
    CycleDiverging,
    TogglePane(Pane),
    Gallery,
    StopMethod,
    ResetLayout,
    CycleTheme,
    ZoomIn,
    ZoomOut,
    ZoomReset,
    Palette,
    Notifications,

    Keyboard,
    FirstSteps,
    Restore,
    DropRecovered,
    About,
}

const CTRL: Modifiers = Modifiers::COMMAND;
const CTRL_SHIFT: Modifiers = Modifiers::COMMAND.plus(Modifiers::SHIFT);
const CTRL_ALT: Modifiers = Modifiers::COMMAND.plus(Modifiers::ALT);

const fn key(modifiers: Modifiers, key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(modifiers, key)
}

impl Command {
    /// Every command, in the order of the menus.
    pub fn all() -> Vec<Self> {
        use Command as C;
        let mut all = vec![
            C::OpenModelFolder,
            C::OpenModelFile,
            C::OpenFromHub,
            C::OpenDemo,
            C::Verify,
        ];
        all.extend(Dtype::ALL.map(C::ComputeIn));
        let devices = Device::ALL.into_iter().filter(|device| device.is_built());
        // The CPU alone is no choice.
        if devices.clone().count() > 1 {
            all.extend(devices.map(C::ComputeOn));
        }
        all.extend([
            C::OpenSession,
            C::Gallery,
            C::Save,
            C::SaveAs,
            C::Restore,
            C::DropRecovered,
        ]);
        for view in ExportView::ALL {
            all.extend(Format::ALL.map(|format| C::Export(view, format)));
        }
        all.extend([
            C::Screenshot,
            C::CancelLoad,
            C::Quit,
            C::Undo,
            C::Redo,
            C::AblateSelected,
            C::ClearEdits,
            C::FocusPrompt,
            C::FocusContrast,
            C::RemoveContrast,
            C::BosAuto,
            C::BosAlways,
            C::BosNever,
            C::PreviousPosition,
            C::NextPosition,
            C::UsualPosition,
            C::Generate,
            C::NextGenerated,
            C::PreviousGenerated,
            C::BackToPrompt,
            C::StopGenerating,
            C::CloseText,
            C::StopMethod,
            C::NextHead,
            C::PreviousHead,
            C::NextLayer,
            C::PreviousLayer,
            C::SelectLayer,
            C::ClearSelection,
            C::ShowAttention,
            C::ShowValueWeighted,
            C::ShowChange,
            C::ToggleLog,
            C::ToggleSink,
            C::CycleColormap,
            C::CycleDiverging,
        ]);
        all.extend(Pane::ALL.map(C::TogglePane));
        all.extend([
            C::ResetLayout,
            C::CycleTheme,
            C::ZoomIn,
            C::ZoomOut,
            C::ZoomReset,
            C::Palette,
            C::Keyboard,
            C::FirstSteps,
            C::Notifications,
            C::About,
        ]);
        all
    }

    /// The name; it ends in `…` where more input follows.
    pub fn text(self) -> String {
        let text = match self {
            Self::OpenModelFolder => "Open model folder…",
            Self::OpenModelFile => "Open model file…",
            Self::OpenFromHub => "Open model from hub…",
            Self::OpenDemo => "Open the bundled model",
            Self::Verify => "Verify the model",
            Self::ComputeIn(Dtype::Quantized) => "Compute in the file’s own quantised numbers",
            Self::ComputeIn(dtype) => return format!("Compute in {dtype}"),
            Self::ComputeOn(device) => return format!("Compute on {device}"),
            Self::OpenSession => "Open session…",
            Self::Gallery => "Gallery…",
            Self::StopMethod => "Stop the analysis",
            Self::CancelLoad => "Stop loading",
            Self::Save => "Save session",
            Self::SaveAs => "Save session as…",
            Self::Export(view, format) => {
                return format!(
                    "Export {} as {}…",
                    view.name(),
                    format.extension().to_uppercase()
                );
            }
            Self::Screenshot => "Save a picture of the window…",
            Self::Quit => "Quit",
            Self::Undo => "Undo",
            Self::Redo => "Redo",
            Self::AblateSelected => "Ablate the selected heads",
            Self::ClearEdits => "Remove all edits",
            Self::FocusPrompt => "Go to prompt A",
            Self::FocusContrast => "Go to prompt B",
            Self::RemoveContrast => "Remove prompt B",
            Self::BosAuto => "Beginning of text as the tokenizer has it",
            Self::BosAlways => "Beginning of text always",
            Self::BosNever => "Beginning of text never",
            Self::PreviousPosition => "Read one token earlier",
            Self::NextPosition => "Read one token later",
            Self::UsualPosition => "Read at the usual place",
            Self::Generate => "Generate text",
            Self::StopGenerating => "Stop generating",
            Self::CloseText => "Close the generated text",
            Self::NextGenerated => "Step to the next generated token",
            Self::PreviousGenerated => "Step to the previous generated token",
            Self::BackToPrompt => "Step back to the prompt",
            Self::NextHead => "Next head",
            Self::PreviousHead => "Previous head",
            Self::NextLayer => "Same head, next layer",
            Self::PreviousLayer => "Same head, previous layer",
            Self::SelectLayer => "Select all heads of the layer",
            Self::ClearSelection => "Select only the first head",
            Self::ShowAttention => "Show attention",
            Self::ShowValueWeighted => "Show value-weighted attention",
            Self::ShowChange => "Show the change against the unedited run",
            Self::ToggleLog => "Logarithmic colours",
            Self::ToggleSink => "Leave the first token out of the colours",
            Self::CycleColormap => "Next colour map",
            Self::CycleDiverging => "Next colour map for changes",
            Self::TogglePane(pane) => return format!("{} panel", pane.title()),
            Self::ResetLayout => "Reset the panels",
            Self::CycleTheme => "Switch theme",
            Self::ZoomIn => "Zoom in",
            Self::ZoomOut => "Zoom out",
            Self::ZoomReset => "Actual size",
            Self::Palette => "Search commands…",
            Self::Notifications => "Notifications",
            Self::Keyboard => "Keyboard",
            Self::FirstSteps => "First steps",
            Self::Restore => "Restore the session left behind",
            Self::DropRecovered => "Forget the session left behind",
            Self::About => "About Headscope",
        };
        text.to_owned()
    }

    /// One sentence that says more than the name.
    pub fn tooltip(self) -> &'static str {
        match self {
            Self::OpenModelFolder => "A folder with config.json and safetensors files",
            Self::OpenModelFile => "A .safetensors or .gguf file",
            Self::OpenFromHub => {
                "By owner/name: from the cache that Python uses, or downloaded into it"
            }
            Self::OpenDemo => "The small teaching model inside the program",
            Self::Verify => {
                "What holds of any transformer, and a reference’s values where there is one"
            }
            Self::ComputeIn(Dtype::F32) => "As every model is opened: four bytes a weight",
            Self::ComputeIn(Dtype::F16) => "Half the memory; weights are rounded to 11 bits",
            Self::ComputeIn(Dtype::Bf16) => "Half the memory; weights are rounded to 8 bits",
            Self::ComputeIn(Dtype::Quantized) => "No more memory than on disk; for quantised files",
            Self::ComputeOn(_) => {
                "Where matrices lie and are multiplied; compared with the CPU first"
            }
            Self::OpenSession => "A .headscope.json file; it is run again and compared",
            Self::Gallery => "Ready sessions: each shows what a method is for",
            Self::StopMethod => "Ends the method that is running in the Lab",
            Self::CancelLoad => "Keeps the model that is open",
            Self::Save => "Prompts, edits, selection, panels and the numbers on screen",
            Self::SaveAs => "Under another name",
            Self::Export(_, Format::Png) => "A picture, with where it came from inside",
            Self::Export(_, Format::Svg) => "A drawing that can be scaled and edited",
            Self::Export(_, Format::Csv) => "The numbers, as a table",
            Self::Export(_, Format::Json) => "The numbers, for programs",
            Self::Screenshot => "Everything as it is on screen, as PNG",
            Self::Quit => "Asks first if something is unsaved",
            Self::Undo => "Takes the last change of prompt, edits or answers back",
            Self::Redo => "Does it again",
            Self::AblateSelected => "Sets their output to zero; again to free them",
            Self::ClearEdits => "Empties the list; undo brings it back",
            Self::FocusPrompt => "Type the text that the model reads",
            Self::FocusContrast => "Type the text that resampling takes values from",
            Self::RemoveContrast => "Resampling needs it",
            Self::BosAuto => "The model's own rule",
            Self::BosAlways => "Exactly one token at the front",
            Self::BosNever => "Encoded without special tokens",
            Self::PreviousPosition | Self::NextPosition => "Moves where the logits are read",
            Self::UsualPosition => {
                "At the last token; in a model for masked tokens at the last mask"
            }
            Self::Generate => {
                "The likeliest tokens after the prompt, without the edits and with them"
            }
            Self::StopGenerating => "Keeps the tokens that are there",
            Self::CloseText => "Steps back to the prompt",
            Self::NextGenerated => "Maps and logits are those of the text up to there",
            Self::PreviousGenerated => "Before the first one is the prompt alone",
            Self::BackToPrompt => "Without the generated tokens, read where it was",
            Self::NextHead | Self::PreviousHead => "Moves the selection along the layer",
            Self::NextLayer | Self::PreviousLayer => "Moves the selection across layers",
            Self::SelectLayer => "Their maps side by side",
            Self::ClearSelection => "Ends side by side",
            Self::ShowAttention => "A[query, key]",
            Self::ShowValueWeighted => "A[query, key] times the length of the key's value",
            Self::ShowChange => "After the edits, minus before",
            Self::ToggleLog => "Shows small weights too",
            Self::ToggleSink => "The first token often takes most of the attention",
            Self::CycleColormap => "Viridis, cividis, blues",
            Self::CycleDiverging => "Red to blue, orange to purple",
            Self::TogglePane(_) => "Shows or hides it",
            Self::ResetLayout => "All panels, where they were at first",
            Self::CycleTheme => "As the system has it, dark, light",
            Self::ZoomIn => "Makes everything larger",
            Self::ZoomOut => "Makes everything smaller",
            Self::ZoomReset => "One hundred per cent",
            Self::Palette => "Everything the program does, by name",
            Self::Notifications => "What was said, newest first",
            Self::Keyboard => "All keys",
            Self::FirstSteps => "Three things to try",
            Self::Restore => "Kept when the program ended without closing",
            Self::DropRecovered => "It cannot be restored afterwards",
            Self::About => "Version and licences",
        }
    }

    /// The keys that run it, the one to show first.
    pub fn shortcuts(self) -> Vec<KeyboardShortcut> {
        const PLAIN: Modifiers = Modifiers::NONE;
        match self {
            Self::OpenModelFolder => vec![key(CTRL_SHIFT, Key::O)],
            Self::OpenModelFile => vec![key(CTRL_ALT, Key::O)],
            Self::OpenSession => vec![key(CTRL, Key::O)],
            Self::Save => vec![key(CTRL, Key::S)],
            Self::SaveAs => vec![key(CTRL_SHIFT, Key::S)],
            Self::Export(ExportView::Attention, Format::Png) => vec![key(CTRL, Key::E)],
            Self::Export(ExportView::Attention, Format::Svg) => vec![key(CTRL_SHIFT, Key::E)],
            Self::Screenshot => vec![key(PLAIN, Key::F12)],
            Self::Quit => vec![key(CTRL, Key::Q)],
            Self::Undo => vec![key(CTRL, Key::Z)],
            Self::Redo => vec![key(CTRL_SHIFT, Key::Z), key(CTRL, Key::Y)],
            Self::AblateSelected => vec![key(PLAIN, Key::Space)],
            Self::ClearEdits => vec![key(CTRL_SHIFT, Key::Backspace)],
            Self::FocusPrompt => vec![key(CTRL, Key::L)],
            Self::FocusContrast => vec![key(CTRL_SHIFT, Key::L)],
            Self::PreviousPosition => vec![key(PLAIN, Key::Comma)],
            Self::NextPosition => vec![key(PLAIN, Key::Period)],
            Self::UsualPosition => vec![key(PLAIN, Key::End)],
            Self::Generate => vec![key(CTRL, Key::G)],
            Self::NextGenerated => vec![key(PLAIN, Key::PageDown)],
            Self::PreviousGenerated => vec![key(PLAIN, Key::PageUp)],
            Self::BackToPrompt => vec![key(PLAIN, Key::Home)],
            Self::NextHead => vec![key(PLAIN, Key::ArrowRight)],
            Self::PreviousHead => vec![key(PLAIN, Key::ArrowLeft)],
            Self::NextLayer => vec![key(PLAIN, Key::ArrowDown)],
            Self::PreviousLayer => vec![key(PLAIN, Key::ArrowUp)],
            Self::SelectLayer => vec![key(CTRL, Key::A)],
            Self::ClearSelection => vec![key(PLAIN, Key::Escape)],
            Self::ShowAttention => vec![key(PLAIN, Key::Num1)],
            Self::ShowValueWeighted => vec![key(PLAIN, Key::Num2)],
            Self::ShowChange => vec![key(PLAIN, Key::Num3)],
            Self::ToggleLog => vec![key(PLAIN, Key::L)],
            Self::ToggleSink => vec![key(PLAIN, Key::S)],
            Self::CycleColormap => vec![key(PLAIN, Key::C)],
            Self::CycleDiverging => vec![key(PLAIN, Key::D)],
            Self::TogglePane(pane) => vec![key(CTRL, pane.digit())],
            Self::CycleTheme => vec![key(CTRL, Key::T)],
            Self::ZoomIn => vec![
                key(CTRL, Key::Plus),
                key(CTRL, Key::Equals),
                key(CTRL_SHIFT, Key::Plus),
            ],
            Self::ZoomOut => vec![key(CTRL, Key::Minus)],
            Self::ZoomReset => vec![key(CTRL, Key::Num0)],
            Self::Palette => vec![key(CTRL, Key::K), key(CTRL_SHIFT, Key::P)],
            Self::Notifications => vec![key(CTRL_SHIFT, Key::N)],
            Self::Keyboard => vec![key(PLAIN, Key::F1)],
            Self::OpenFromHub
            | Self::OpenDemo
            | Self::Verify
            | Self::ComputeIn(_)
            | Self::ComputeOn(_)
            | Self::CancelLoad
            | Self::Export(..)
            | Self::RemoveContrast
            | Self::BosAuto
            | Self::BosAlways
            | Self::BosNever
            | Self::StopGenerating
            | Self::CloseText
            | Self::Gallery
            | Self::StopMethod
            | Self::ResetLayout
            | Self::FirstSteps
            | Self::Restore
            | Self::DropRecovered
            | Self::About => Vec::new(),
        }
    }

    /// The menu that it stands in, and the group there; groups are parted by lines.
    pub const fn menu(self) -> (Menu, u8) {
        match self {
            Self::OpenModelFolder
            | Self::OpenModelFile
            | Self::OpenFromHub
            | Self::OpenDemo
            | Self::Verify => (Menu::File, 0),
            Self::ComputeIn(_) => (Menu::Compute, 0),
            Self::ComputeOn(_) => (Menu::Compute, 1),
            Self::OpenSession
            | Self::Gallery
            | Self::Save
            | Self::SaveAs
            | Self::Restore
            | Self::DropRecovered => (Menu::File, 1),
            Self::Export(..) => (Menu::Export, 0),
            Self::Screenshot => (Menu::Export, 1),
            Self::CancelLoad | Self::Quit => (Menu::File, 2),
            Self::Undo | Self::Redo => (Menu::Edit, 0),
            Self::AblateSelected | Self::ClearEdits => (Menu::Edit, 1),
            Self::FocusPrompt | Self::FocusContrast | Self::RemoveContrast => (Menu::Edit, 2),
            Self::BosAuto | Self::BosAlways | Self::BosNever => (Menu::Edit, 3),
            Self::PreviousPosition | Self::NextPosition | Self::UsualPosition => (Menu::Edit, 4),
            Self::Generate
            | Self::StopGenerating
            | Self::CloseText
            | Self::StopMethod
            | Self::NextGenerated
            | Self::PreviousGenerated
            | Self::BackToPrompt => (Menu::Edit, 5),
            Self::NextHead
            | Self::PreviousHead
            | Self::NextLayer
            | Self::PreviousLayer
            | Self::SelectLayer
            | Self::ClearSelection => (Menu::Select, 0),
            Self::ShowAttention | Self::ShowValueWeighted | Self::ShowChange => (Menu::View, 0),
            Self::ToggleLog | Self::ToggleSink | Self::CycleColormap | Self::CycleDiverging => {
                (Menu::View, 1)
            }
            Self::TogglePane(_) | Self::ResetLayout => (Menu::View, 2),
            Self::CycleTheme | Self::ZoomIn | Self::ZoomOut | Self::ZoomReset => (Menu::View, 3),
            Self::Palette | Self::Keyboard | Self::FirstSteps => (Menu::Help, 0),
            Self::Notifications | Self::About => (Menu::Help, 1),
        }
    }

    /// Whether its keys belong to a text field while one is being typed in.
    fn yields_to_text(self, shortcut: KeyboardShortcut) -> bool {
        let function_key = matches!(shortcut.logical_key, Key::F1 | Key::F12);
        (shortcut.modifiers.is_none() && !function_key)
            || matches!(
                self,
                Self::Undo | Self::Redo | Self::SelectLayer | Self::ClearEdits
            )
    }
}

/// Takes the keys that run commands out of the input. Keys without Ctrl are left to a widget that has the focus, and all
/// but the palette's own to an open palette.
pub fn take_pressed(ctx: &egui::Context, palette_is_open: bool) -> Vec<Command> {
    let typing = ctx.text_edit_focused();
    let focused = ctx.memory(|memory| memory.focused().is_some());
    let mut pressed = Vec::new();
    ctx.input_mut(|input| {
        for command in Command::all() {
            if palette_is_open && command != Command::Palette {
                continue;
            }
            for shortcut in command.shortcuts() {
                let plain = shortcut.modifiers.is_none();
                if (typing && command.yields_to_text(shortcut))
                    || (focused && plain && command.yields_to_text(shortcut))
                {
                    continue;
                }
                // egui's own matching ignores an extra Shift: Ctrl+Shift+S would save under the old name.
                let before = input.events.len();
                input.events.retain(|event| {
                    !matches!(event, egui::Event::Key { key, modifiers, pressed: true, .. }
                        if *key == shortcut.logical_key && exactly(*modifiers, shortcut.modifiers))
                });
                pressed.extend(std::iter::repeat_n(command, before - input.events.len()));
            }
        }
    });
    pressed
}

/// Whether the same modifiers are down; Ctrl and the Mac's Command count as one.
fn exactly(down: Modifiers, wanted: Modifiers) -> bool {
    down.alt == wanted.alt
        && down.shift == wanted.shift
        && (down.command || down.ctrl) == (wanted.command || wanted.ctrl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_commands_share_a_key_or_a_name() {
        let all = Command::all();
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(a, b);
                assert_ne!(a.text(), b.text());
                for shortcut in a.shortcuts() {
                    assert!(!b.shortcuts().contains(&shortcut), "{a:?}, {b:?}");
                }
            }
        }
    }

    #[test]
    fn groups_of_a_menu_are_not_torn_apart() {
        // The menus draw a line, and File its submenus, wherever the group changes.
        let mut last = std::collections::HashMap::new();
        for command in Command::all() {
            let (menu, group) = command.menu();
            let before = last.insert(format!("{menu:?}"), group).unwrap_or(0);
            assert!(before <= group, "{command:?} in {menu:?}");
        }
    }

    #[test]
    fn names_are_sentences_without_a_full_stop() {
        for command in Command::all() {
            for text in [command.text(), command.tooltip().to_owned()] {
                assert!(!text.ends_with('.'), "{text}");
                assert!(!text.starts_with(char::is_lowercase), "{text}");
            }
        }
    }
}
