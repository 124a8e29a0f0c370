//! Hub ids as they are written: `owner/name`, `owner/name/file.gguf`, each with `@revision` or without.

use std::fmt;

/// Endings that tell a file from a repository: `models/x.gguf` is a path that is mistyped, not a hub id.
const FILE_ENDINGS: [&str; 8] = [
    ".gguf",
    ".safetensors",
    ".json",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".onnx",
];

/// A model of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    /// `owner/name`
    pub repo: String,
    /// A `.gguf` of the repository, with the folders it lies in.
    pub file: Option<String>,
    /// Branch, tag or commit; `main` where none is given.
    pub revision: Option<String>,
}

impl HubId {
    /// `None` for what is no hub id: one word, a path such as `./owner/name`, a file's name.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, revision) = match text.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (text, None),
        };
        if !revision.is_none_or(is_revision) {
            return None;
        }
        let mut parts = name.splitn(3, '/');
        let (owner, model, file) = (parts.next()?, parts.next()?, parts.next());
        let file_is_fine = file.is_none_or(|file| ends_with(file, ".gguf") && is_inside(file));
        let is_file = |name: &str| FILE_ENDINGS.iter().any(|ending| ends_with(name, ending));
        let is_id = is_name(owner) && is_name(model) && !is_file(model) && file_is_fine;
        is_id.then(|| Self {
            repo: format!("{owner}/{model}"),
            file: file.map(str::to_owned),
            revision: revision.map(str::to_owned),
        })
    }

    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// The same model at another revision.
    #[must_use]
    pub fn at(&self, revision: &str) -> Self {
        Self {
            revision: Some(revision.to_owned()),
            ..self.clone()
        }
    }

    /// The name for people: the file's without its ending, or the repository's without its owner.
    pub fn short_name(&self) -> &str {
        let whole = self.file.as_deref().unwrap_or(&self.repo);
        let last = whole.rsplit('/').next().unwrap_or(whole);
        match &self.file {
            Some(_) => last.get(..last.len() - ".gguf".len()).unwrap_or(last),
            None => last,
        }
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

fn is_name(name: &str) -> bool {
    let outer = |c: char| matches!(c, '.' | '-');
    !name.is_empty()
        && name.len() <= 96
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        && !name.starts_with(outer)
        && !name.ends_with(outer)
        && !name.contains("--")
        && !name.contains("..")
}

fn is_revision(revision: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '/');
    revision.len() <= 250 && revision.chars().all(allowed) && is_inside(revision)
}

/// Whether a path with `/` names something inside its folder, on every system.
pub(super) fn is_inside(path: &str) -> bool {
    !path.contains(['\\', ':', '\0'])
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

fn ends_with(name: &str, ending: &str) -> bool {
    name.len() > ending.len()
        && name
            .get(name.len() - ending.len()..)
            .is_some_and(|end| end.eq_ignore_ascii_case(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_written_the_same() {
        for (text, repo, file, revision) in [
            (
                "openai-community/gpt2",
                "openai-community/gpt2",
                None,
                "main",
            ),
            ("a/b.c-d_e@v1.0", "a/b.c-d_e", None, "v1.0"),
            ("a/b@refs/pr/1", "a/b", None, "refs/pr/1"),
            ("a/b/c.gguf", "a/b", Some("c.gguf"), "main"),
            ("a/b/Q4/c.GGUF@main", "a/b", Some("Q4/c.GGUF"), "main"),
        ] {
            let id = HubId::parse(text).unwrap();
            assert_eq!(
                (&*id.repo, id.file.as_deref(), id.revision()),
                (repo, file, revision)
            );
            assert_eq!(id.to_string(), text);
        }
        assert_eq!(HubId::parse("a/b").unwrap().short_name(), "b");
        assert_eq!(HubId::parse("a/b/q/c.gguf@x").unwrap().short_name(), "c");
    }

    #[test]
    fn paths_and_what_would_lead_out_of_the_cache_are_no_ids() {
        for text in [
            "",
            "demo",
            "gpt2",
            "./a/b",
            "../a/b",
            "/a/b",
            "~/a",
            "a//b",
            "a/b/",
            "a/b/c",
            "a/b.gguf",
            "models/x.safetensors",
            "a/b/c.bin",
            "a\\b",
            "C:/x",
            "a/..",
            "a/b/../c.gguf",
            "a/b/c\\d.gguf",
            "a/b@",
            "a/b@..",
            "a/b@../../x",
            "a/b@/x",
            "a/b@x y",
            "a/b@x?y",
            "a--b/c",
            ".a/b",
            "a/b.",
            "ä/b",
            "a/b/.gguf",
        ] {
            assert_eq!(HubId::parse(text), None, "{text}");
        }
    }
}
