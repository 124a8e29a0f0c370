//! Where the hub and its cache are, from the variables that Python's `huggingface_hub` reads.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The hub, and the cache shared with Python.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The folder with `models--owner--name`; `None` where there is no home folder.
    pub cache: Option<PathBuf>,
    /// Another server than the public one.
    pub endpoint: Option<String>,
    pub token: Option<Token>,
    /// The network is not asked, whatever is missing.
    pub offline: bool,
    /// How long a silent connection is waited for, and how long before it is tried again.
    pub patience: Patience,
}

#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub silence: Duration,
    pub before_retry: Duration,
}

/// A secret: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub(super) String);

impl Hub {
    pub fn from_env() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        Self::from_variables(variable, std::env::home_dir().as_deref())
    }

    /// No network, and an empty cache there: for tests and for machines that must not ask.
    pub fn offline(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: Some(cache.into()),
            endpoint: None,
            token: None,
            offline: true,
            patience: Patience::default(),
        }
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>, home: Option<&Path>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let folder = |name: &str| Some(expanded(&set(name)?, home));
        let is_on =
            |value: String| ["1", "ON", "YES", "TRUE"].contains(&&*value.to_ascii_uppercase());
        let own = folder("HF_HOME").or_else(|| {
            let caches = folder("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache")));
            Some(caches?.join("huggingface"))
        });
        let token_file = folder("HF_TOKEN_PATH").or_else(|| Some(own.as_ref()?.join("token")));
        let from_file = || std::fs::read_to_string(token_file?).ok();
        let token = set("HF_TOKEN")
            .or_else(|| set("HUGGING_FACE_HUB_TOKEN"))
            .or_else(from_file)
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        Self {
            cache: folder("HF_HUB_CACHE")
                .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
                .or_else(|| Some(own.as_ref()?.join("hub"))),
            endpoint: set("HF_ENDPOINT").map(|url| url.trim_end_matches('/').to_owned()),
            token: token.map(Token),
            offline: set("HF_HUB_OFFLINE")
                .or_else(|| set("TRANSFORMERS_OFFLINE"))
                .is_some_and(is_on),
            patience: Patience::default(),
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(30),
            before_retry: Duration::from_secs(2),
        }
    }
}

impl Token {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A path with its leading `~`, which no shell has expanded, for the home folder.
fn expanded(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        let find = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        };
        Hub::from_variables(find, Some(Path::new("/home/me")))
    }

    #[test]
    fn the_cache_is_where_python_looks() {
        for (variables, cache) in [
            (&[][..], "/home/me/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/c")], "/c/huggingface/hub"),
            (&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/c")], "/h/hub"),
            (&[("HF_HOME", "~/h")], "/home/me/h/hub"),
            (
                &[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")],
                "/old",
            ),
            (
                &[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")],
                "/new",
            ),
            (&[("HF_HUB_CACHE", "")], "/home/me/.cache/huggingface/hub"),
        ] {
            assert_eq!(
                hub(variables).cache.unwrap(),
                Path::new(cache),
                "{variables:?}"
            );
        }
        let nowhere = Hub::from_variables(|_| None, None);
        assert!(nowhere.cache.is_none() && nowhere.token.is_none());
    }

    #[test]
    fn offline_is_what_python_takes_for_true() {
        for (name, value, offline) in [
            ("HF_HUB_OFFLINE", "1", true),
            ("HF_HUB_OFFLINE", "yes", true),
            ("TRANSFORMERS_OFFLINE", "True", true),
            ("HF_HUB_OFFLINE", "0", false),
            ("HF_HUB_OFFLINE", "", false),
        ] {
            assert_eq!(hub(&[(name, value)]).offline, offline, "{name}={value}");
        }
    }

    #[test]
    fn the_token_is_the_variables_then_the_files_and_is_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "from file\n").unwrap();
        let home = folder.path().to_str().unwrap();
        let file = hub(&[("HF_HOME", home)]);
        assert_eq!(file.token, Some(Token("from file".into())));
        let both = hub(&[("HF_HOME", home), ("HF_TOKEN", " secret ")]);
        assert_eq!(both.token, Some(Token("secret".into())));
        assert!(!format!("{both:?}").contains("secret"));
        assert_eq!(hub(&[("HF_HOME", "/nowhere")]).token, None);
    }
}
