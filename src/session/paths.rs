//! Where the program keeps its own files, and how paths are written inside session files.

use std::path::{Component, Path, PathBuf};

/// Preferences. `HEADSCOPE_CONFIG_DIR` overrides the platform's folder; `None` where there is no home folder.
pub fn config_dir() -> Option<PathBuf> {
    from_env("HEADSCOPE_CONFIG_DIR")
        .or_else(|| project().map(|dirs| dirs.config_dir().to_owned()))
}

/// Autosaved sessions. `HEADSCOPE_DATA_DIR` overrides the platform's folder; `None` where there is no home folder.
pub fn data_dir() -> Option<PathBuf> {
    from_env("HEADSCOPE_DATA_DIR")
        .or_else(|| project().map(|dirs| dirs.data_local_dir().to_owned()))
}

fn from_env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn project() -> Option<directories::ProjectDirs> {
    directories::ProjectDirs::from("", "", "headscope")
}

/// How a file in `folder` names `path`: relative and with `/` when it lies below the folder, so that both can move
/// together; absolute otherwise. A relative `path` starts from `base`, or from the working folder.
/// `None` where the path cannot be written as text.
pub(super) fn stored(path: &str, base: Option<&Path>, folder: Option<&Path>) -> Option<String> {
    let path = absolute(Path::new(path), base)?;
    let below = folder
        .and_then(|folder| absolute(folder, None))
        .and_then(|folder| path.strip_prefix(&folder).ok().map(Path::to_owned));
    // `..` after the folder would lead out of it again.
    let parts = below.and_then(|below| {
        below
            .components()
            .map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(|parts| parts.join("/"))
    });
    match parts {
        Some(parts) if !parts.is_empty() => Some(parts),
        _ => path.to_str().map(str::to_owned),
    }
}

fn absolute(path: &Path, base: Option<&Path>) -> Option<PathBuf> {
    let path = base.map_or_else(|| path.to_owned(), |base| base.join(path));
    std::path::absolute(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_the_folder_are_relative_and_others_absolute() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("work");
        let name = |path: &Path| stored(path.to_str().unwrap(), None, Some(&folder)).unwrap();
        assert_eq!(name(&folder.join("models").join("tiny")), "models/tiny");
        let beside = root.path().join("tiny");
        assert_eq!(name(&beside), beside.to_str().unwrap());
        let out = folder.join("..").join("tiny");
        assert!(Path::new(&name(&out)).is_absolute());
        assert_eq!(name(&folder), folder.to_str().unwrap());
    }

    #[test]
    fn a_relative_path_starts_from_its_base() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (root.path().join("old"), root.path());
        assert_eq!(
            stored("v.safetensors", Some(&old), Some(new)).unwrap(),
            "old/v.safetensors"
        );
        assert_eq!(
            stored("v.safetensors", Some(&old), Some(&old)).unwrap(),
            "v.safetensors"
        );
    }
}
