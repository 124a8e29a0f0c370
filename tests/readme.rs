//! What the README says and the code decides: the table of keys, and the families and formats that can be opened.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use egui::ModifierNames;
use headscope::model::families::FAMILIES;
use headscope::ui::command::Command;

const START: &str = "<!-- keys: written by tests/readme.rs from src/ui/command.rs -->\n";
const END: &str = "<!-- end of keys -->\n";

fn readme_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

fn readme() -> String {
    std::fs::read_to_string(readme_path()).unwrap()
}

/// Every command that has keys, in the order of the menus.
fn table_of_keys() -> String {
    let mut table = "| Keys | Command | |\n|---|---|---|\n".to_owned();
    for command in Command::all() {
        let keys: Vec<String> = command
            .shortcuts()
            .iter()
            .map(|shortcut| {
                let text = shortcut.format(&ModifierNames::NAMES, false);
                let keys: Vec<_> = text
                    .split('+')
                    .map(|key| format!("<kbd>{key}</kbd>"))
                    .collect();
                keys.join("+")
            })
            .collect();
        if !keys.is_empty() {
            let (keys, name, tooltip) = (keys.join(", "), command.text(), command.tooltip());
            writeln!(table, "| {keys} | {name} | {tooltip} |").unwrap();
        }
    }
    table
}

#[test]
fn the_table_of_keys_is_the_programs() {
    let readme = readme();
    let (before, rest) = readme.split_once(START).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let expected = table_of_keys();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(
            readme_path(),
            [before, START, &expected, END, after].concat(),
        )
        .unwrap();
    } else {
        assert!(
            table == expected,
            "the README's keys are not the program's; `UPDATE_SNAPSHOTS=1 cargo test --test readme` writes\n{expected}"
        );
    }
}

#[test]
fn every_family_is_named_with_its_examples() {
    for family in FAMILIES {
        let mut row = format!("`{}` | {} |", family.model_type, family.examples);
        if let Some(gguf) = &family.gguf {
            row = format!("{row} `{}` |", gguf.architecture);
        }
        assert!(readme().contains(&row), "the README lacks `{row}`");
    }
}

#[test]
fn every_file_that_the_readme_links_to_is_there() {
    let readme = readme();
    let links: Vec<&str> = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://") && !link.starts_with('#'))
        .collect();
    assert!(links.len() > 3);
    for link in links {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(link);
        assert!(path.exists(), "the README links to {link}");
    }
}
