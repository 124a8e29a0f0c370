//! The direction of imports: a module may use only those above it in `lib.rs`, and what each may see of others' crates.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Who may use whom, in the order of `lib.rs`. What is not named is not allowed.
#[rustfmt::skip]
const ALLOWED: [(&str, &[&str]); 21] = [
    ("atomic", &[]),
    ("colormap", &[]),
    ("compute", &[]),
    ("ids", &[]),
    ("mask", &[]),
    ("panics", &[]),
    ("prompt", &[]),
    ("pyramid", &["mask"]),
    ("task", &[]),
    ("edit", &["ids"]),
    ("model", &["compute", "ids", "mask", "panics", "prompt"]),
    ("experiment", &["ids", "mask", "prompt", "edit", "model"]),
    ("verify", &["ids", "mask", "prompt", "edit", "model", "experiment"]),
    ("analysis", &["atomic", "ids", "mask", "prompt", "task", "edit", "model", "experiment"]),
    ("figure", &["colormap", "ids", "mask"]),
    ("session", &["atomic", "colormap", "compute", "ids", "prompt", "edit", "experiment"]),
    ("export", &["colormap", "ids", "mask", "edit", "model", "experiment", "analysis", "figure", "session"]),
    ("render", &["colormap", "mask", "pyramid"]),
    ("worker", &["compute", "ids", "panics", "prompt", "pyramid", "task", "model", "experiment", "verify", "analysis"]),
    ("ui", &["atomic", "colormap", "compute", "ids", "mask", "prompt", "pyramid", "task", "edit", "model", "experiment", "verify", "analysis", "figure", "session", "export", "render", "worker"]),
    ("cli", &["atomic", "colormap", "compute", "ids", "prompt", "task", "edit", "model", "experiment", "verify", "analysis", "figure", "session", "export", "render", "ui"]),
];

/// Crates that only some modules may see.
const CRATES: [(&str, &[&str]); 7] = [
    ("candle_core", &["model", "experiment"]),
    ("egui", &["render", "ui"]),
    ("wgpu", &["render"]),
    ("resvg", &["figure"]),
    ("rfd", &["ui"]),
    ("clap", &["cli"]),
    ("tokenizers", &["model"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Source files by top-level module, without comments and without their tests.
fn modules() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut modules: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for path in files {
        let inner = path.strip_prefix(&root).unwrap();
        let first = inner
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        if ["lib", "main", "bin"].contains(&module.as_str()) || path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code: Vec<&str> = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        let code = code.join("\n");
        modules.entry(module).or_default().push((path, code));
    }
    modules
}

#[test]
fn modules_use_only_what_stands_above_them() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into();
    let modules = modules();
    assert!(modules.len() > 8);
    let mut wrong = Vec::new();
    for (module, files) in &modules {
        let may_use = allowed
            .get(module.as_str())
            .unwrap_or_else(|| panic!("`{module}` has no line in ALLOWED"));
        for (path, code) in files {
            if code.contains("crate::{") {
                wrong.push(format!(
                    "{} groups modules, which this test does not read",
                    path.display()
                ));
            }
            for other in ALLOWED.map(|(name, _)| name) {
                let used = code.contains(&format!("crate::{other}::"))
                    || code.contains(&format!("crate::{other};"));
                if used && other != module && !may_use.contains(&other) {
                    wrong.push(format!("{} uses {other}", path.display()));
                }
            }
            for (name, users) in CRATES {
                let used = [
                    format!(" {name}::"),
                    format!("({name}::"),
                    format!("<{name}::"),
                    format!("&{name}::"),
                ];
                if used.iter().any(|used| code.contains(used)) && !users.contains(&module.as_str())
                {
                    wrong.push(format!("{} sees {name}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_is_in_the_order_of_lib_rs_and_only_looks_up() {
    let lib =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let order: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(ALLOWED.map(|(name, _)| name).to_vec(), order);
    for (at, (module, may_use)) in ALLOWED.iter().enumerate() {
        for other in *may_use {
            assert!(
                order[..at].contains(other),
                "`{other}` does not stand above `{module}`"
            );
        }
    }
}

#[test]
fn every_module_is_in_the_architecture_map() {
    let map =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md"))
            .unwrap();
    for module in modules().keys() {
        assert!(
            map.contains(&format!("`{module}")),
            "ARCHITECTURE.md does not name `{module}`"
        );
    }
}

#[test]
fn only_the_hub_touches_the_network() {
    let mut wrong = Vec::new();
    let hub = Path::new("src").join("model").join("hub");
    for (path, code) in modules().values().flatten() {
        let touches = ["ureq::", "hf_hub::", "std::net", "TcpStream"]
            .iter()
            .any(|name| code.contains(name));
        let is_hub = path.parent().is_some_and(|folder| folder.ends_with(&hub));
        if touches && !is_hub {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    for (_, files) in modules() {
        for (path, _) in files {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(
                lines <= 800,
                "{} has {lines} lines: split it",
                path.display()
            );
        }
    }
}
