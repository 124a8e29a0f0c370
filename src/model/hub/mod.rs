//! Models of the hub, by id: from the cache that Python's libraries use, or downloaded into it.
//!
//! The network is asked only here, and only for an id that the user gave and that the cache does not have: what is cached
//! opens as it is, without asking whether there is something newer.

mod aside;
mod cache;
mod choose;
mod download;
mod env;
mod error;
mod id;
mod remote;

use std::path::{Path, PathBuf};

use self::aside::ask;
use self::cache::{Cached, State};
use self::choose::{Chosen, Weights, choose};
use self::download::Target;
pub use self::env::{Hub, Patience, Token};
pub use self::error::HubError;
pub use self::id::HubId;
use self::remote::{Meta, Refusal, Remote};
use super::checkpoint::{INDEX, SINGLE, shards_of};
use super::load::LoadProgress;
use super::memory::{self, amount};

/// A model of the hub, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// A folder or a file.
    pub path: PathBuf,
    pub commit: Option<String>,
    /// Whether the network was asked.
    pub downloaded: bool,
}

impl Hub {
    /// The model's files: those of the cache, or downloaded.
    pub fn locate(&self, id: &HubId, progress: &mut dyn LoadProgress) -> Result<Located, HubError> {
        let cache = self.cache.as_deref().ok_or(HubError::NoCache)?;
        let cached = Cached::new(cache, id);
        let found = |path| Located {
            path,
            commit: cached.commit().map(str::to_owned),
            downloaded: false,
        };
        let (missing, usable) = match cached.state() {
            State::Complete(path) => return Ok(found(path)),
            State::Several(files) => return Err(choose::several(&files, id)),
            State::NoTokenizer(path) => (String::new(), Some(path)),
            State::Lacks(missing) => (missing, None),
        };
        let fetched = if self.offline {
            Err(Trouble::Offline)
        } else {
            Fetch {
                hub: self,
                cache,
                id,
                progress,
            }
            .run()
        };
        match (fetched, usable) {
            (Ok(located), _) => Ok(located),
            (Err(Trouble::Known(error)), _) => Err(error),
            (Err(trouble), usable) => {
                let error = self.explained(trouble, id, missing, &cached, cache);
                // All but the tokenizer is there, and a model opens without one.
                usable.map(found).ok_or(error)
            }
        }
    }

    /// What a refusal means for the user.
    fn explained(
        &self,
        trouble: Trouble,
        id: &HubId,
        missing: String,
        cached: &Cached,
        cache: &Path,
    ) -> HubError {
        let (repo, cache) = (id.repo.clone(), cache.to_owned());
        if let (Trouble::Offline | Trouble::Refused(_, Refusal::Unreachable(_)), Some(file)) =
            (&trouble, cached.pickle())
        {
            // Python has it, but not in a form that is read: no network would help.
            return HubError::Pickle {
                command: super::checkpoint::convert_command(&repo),
                repo,
                file,
            };
        }
        let has_token = self.token.is_some();
        match trouble {
            Trouble::Known(error) => error,
            Trouble::Offline => HubError::Offline {
                missing,
                repo,
                cache,
            },
            Trouble::Refused(_, Refusal::Unreachable(reason)) => HubError::Unreachable {
                missing,
                reason,
                repo,
                cache,
            },
            Trouble::Refused(what, Refusal::Garbled(problem)) => {
                HubError::Garbled { what, problem }
            }
            Trouble::Refused(what, Refusal::Status { status, code, said }) => {
                match (status, code.as_str()) {
                    (_, "RevisionNotFound") => HubError::NoRevision {
                        repo,
                        revision: id.revision().to_owned(),
                    },
                    (_, "GatedRepo") | (403, _) => HubError::NotAllowed {
                        repo,
                        has_token,
                        said,
                    },
                    // The hub hides private repositories behind both.
                    (401 | 404, _) if what == id.repo => HubError::NoRepository {
                        repo,
                        has_token,
                        said,
                    },
                    // It was listed, so it is only gated.
                    (401, _) => HubError::NotAllowed {
                        repo,
                        has_token,
                        said,
                    },
                    _ => HubError::Status { what, status, said },
                }
            }
        }
    }
}

/// Why there are no files yet.
enum Trouble {
    Known(HubError),
    Offline,
    /// What was asked for, and what came of it.
    Refused(String, Refusal),
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self::Known(error)
    }
}

/// One download of a model.
struct Fetch<'a> {
    hub: &'a Hub,
    cache: &'a Path,
    id: &'a HubId,
    progress: &'a mut dyn LoadProgress,
}

impl Fetch<'_> {
    fn run(mut self) -> Result<Located, Trouble> {
        let id = self.id;
        let remote = Remote::new(self.hub).map_err(|r| Trouble::Refused(id.repo.clone(), r))?;
        let listing = {
            let (remote, id) = (remote.clone(), id.clone());
            self.ask("asking the hub", &self.id.repo, move || {
                remote.listing(&id.repo, id.revision())
            })?
        };
        let commit = listing.commit.as_str();
        let Chosen { weights, beside } = choose(&listing.names, id)?;
        // The small ones first: an index names what else is needed.
        let mut small = beside;
        if weights == Weights::Index {
            small.push(INDEX.to_owned());
        }
        let small = self.metas(&remote, commit, &small)?;
        self.fetch(&remote, commit, &small, 0.0)?;
        let large = match &weights {
            Weights::Single => vec![SINGLE.to_owned()],
            Weights::Gguf(file) => vec![file.clone()],
            Weights::Index => {
                let index = self.cached().file(commit, INDEX);
                shards_of(&index).map_err(|error| HubError::Garbled {
                    what: INDEX.to_owned(),
                    problem: error.to_string(),
                })?
            }
        };
        let large = self.metas(&remote, commit, &large)?;
        // In f32 weights take at least what their files do: better said before the download than after.
        let stored = large.iter().map(|(_, meta)| meta.size).sum();
        memory::check(&memory::Need::stored(stored), memory::available())
            .map_err(HubError::from)?;
        self.fetch(&remote, commit, &large, 1.0)?;

        let cached = self.cached();
        let noted = if listing.names.iter().any(|name| name == "tokenizer.json") {
            Ok(())
        } else {
            cached.note_absent(commit, "tokenizer.json")
        };
        noted
            .and_then(|()| cached.note_commit(commit))
            .map_err(|source| HubError::Io {
                doing: "write to",
                path: self.cache.to_owned(),
                source,
            })?;
        Ok(Located {
            path: match &weights {
                Weights::Gguf(file) => cached.file(commit, file),
                Weights::Single | Weights::Index => cached.snapshot(commit),
            },
            commit: Some(commit.to_owned()),
            downloaded: true,
        })
    }

    fn cached(&self) -> Cached {
        Cached::new(self.cache, self.id)
    }

    fn ask<T: Send + 'static>(
        &mut self,
        shown: &str,
        what: &str,
        question: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Trouble> {
        ask(question, &mut || self.progress.report(0.0, shown))?
            .map_err(|refusal| Trouble::Refused(what.to_owned(), refusal))
    }

    /// Names in the cache and sizes of those files that the snapshot lacks.
    fn metas(
        &mut self,
        remote: &Remote,
        commit: &str,
        names: &[String],
    ) -> Result<Vec<(String, Meta)>, Trouble> {
        let mut metas = Vec::new();
        for name in names {
            if self.cached().file(commit, name).is_file() {
                continue;
            }
            let (remote, repo) = (remote.clone(), self.id.repo.clone());
            let (commit, file) = (commit.to_owned(), name.clone());
            let shown = format!("asking for {name}");
            let meta = self.ask(&shown, name, move || remote.meta(&repo, &commit, &file))?;
            metas.push((name.clone(), meta));
        }
        Ok(metas)
    }

    /// Downloads files, `share` of the whole.
    fn fetch(
        &mut self,
        remote: &Remote,
        commit: &str,
        files: &[(String, Meta)],
        share: f32,
    ) -> Result<(), HubError> {
        let total: u64 = files.iter().map(|(_, meta)| meta.size).sum();
        let mut done = 0;
        for (name, meta) in files {
            let cached = self.cached();
            let target = Target {
                blob: cached.blob(&meta.etag),
                lock: cached.lock(&meta.etag),
            };
            let progress = &mut *self.progress;
            let mut report = |there: u64| {
                let (there, size) = (done + there, amount(total));
                let fraction = (there as f64 / total.max(1) as f64) as f32;
                let text = format!("downloading {name}, {} of {size}", amount(there));
                progress.report(share * fraction, &text)
            };
            download::download(remote, name, meta, &target, self.hub.patience, &mut report)?;
            cached
                .link(commit, name, &meta.etag)
                .map_err(|source| HubError::Io {
                    doing: "write",
                    path: cached.file(commit, name),
                    source,
                })?;
            done += meta.size;
        }
        Ok(())
    }
}
