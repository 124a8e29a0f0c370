//! The cache that Python's libraries share: `refs` from branch to commit, `snapshots` of a commit's files, which are links
//! to `blobs`.
//!
//! ```text
//! models--owner--name/
//!   refs/main                          the commit's hash
//!   snapshots/COMMIT/config.json       → ../../blobs/ETAG
//!   blobs/ETAG
//!   .no_exist/COMMIT/tokenizer.json    empty: the commit has no such file
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::id::HubId;
use crate::model::checkpoint::{INDEX, SINGLE, is_pickle, shards_of};

/// One repository's part of the cache.
#[derive(Debug)]
pub(super) struct Cached {
    folder: PathBuf,
    repo: CacheRepo,
    id: HubId,
    /// The commit that the id's revision stands for, as far as the cache knows.
    commit: Option<String>,
}

/// How much of a model is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All: what to open.
    Complete(PathBuf),
    /// It opens, but its tokens will be ids.
    NoTokenizer(PathBuf),
    /// Of several `.gguf` none is named: all of them.
    Several(Vec<String>),
    /// What lacks, for people.
    Lacks(String),
}

impl Cached {
    pub(super) fn new(cache: &Path, id: &HubId) -> Self {
        let repo = Repo::with_revision(id.repo.clone(), RepoType::Model, id.revision().to_owned());
        let folder = cache.join(repo.folder_name());
        let revision = id.revision();
        let commit = if is_commit(revision) {
            Some(revision.to_owned())
        } else {
            fs::read_to_string(folder.join("refs").join(revision))
                .ok()
                .map(|commit| commit.trim().to_owned())
                .filter(|commit| is_plain(commit))
        };
        Self {
            folder,
            repo: Cache::new(cache.to_owned()).repo(repo),
            id: id.clone(),
            commit,
        }
    }

    pub(super) fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    /// Whether the commit's snapshot can be opened as it is.
    pub(super) fn state(&self) -> State {
        let id = &self.id;
        let Some(commit) = &self.commit else {
            return State::Lacks(format!("`{id}` is not in the cache"));
        };
        let folder = self.snapshot(commit);
        let has = |name: &str| folder.join(name).is_file();
        let lacks = |names: &str| State::Lacks(format!("the cache has `{id}` without {names}"));
        if let Some(file) = &id.file {
            return if has(file) {
                State::Complete(folder.join(file))
            } else {
                lacks(file)
            };
        }
        if !has(SINGLE) && has(INDEX) {
            // A damaged index is the loader's to refuse.
            let shards = shards_of(&folder.join(INDEX)).unwrap_or_default();
            let missing: Vec<_> = shards.into_iter().filter(|shard| !has(shard)).collect();
            if let Some(first) = missing.first() {
                let more = match missing.len() - 1 {
                    0 => String::new(),
                    n => format!(" and {n} more"),
                };
                return lacks(&format!("{first}{more}"));
            }
        } else if !has(SINGLE) {
            let mut ggufs = files(&folder);
            ggufs.retain(|name| Path::new(name).extension().is_some_and(|e| e == "gguf"));
            return match &ggufs[..] {
                [] => lacks("its weights"),
                [one] => State::Complete(folder.join(one)),
                _ => State::Several(ggufs),
            };
        }
        if !has("config.json") {
            return lacks("config.json");
        }
        let has_tokenizer = has("tokenizer.json")
            || has("vocab.txt")
            || (has("vocab.json") && has("merges.txt"))
            || self.no_exist(commit, "tokenizer.json").is_file();
        if has_tokenizer {
            State::Complete(folder)
        } else {
            State::NoTokenizer(folder)
        }
    }

    /// The first Python pickle of the snapshot.
    pub(super) fn pickle(&self) -> Option<String> {
        let names = files(&self.snapshot(self.commit.as_ref()?));
        names.into_iter().find(|name| is_pickle(name))
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.pointer_path(commit)
    }

    /// Where a file of a commit is, or will be.
    pub(super) fn file(&self, commit: &str, name: &str) -> PathBuf {
        self.snapshot(commit).join(name)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.repo.blob_path(etag)
    }

    /// The lock that Python's downloads of the same blob take.
    pub(super) fn lock(&self, etag: &str) -> PathBuf {
        let name = self.folder.file_name().unwrap_or_default();
        let cache = self.folder.parent().unwrap_or(&self.folder);
        cache.join(".locks").join(name).join(format!("{etag}.lock"))
    }

    /// Makes a blob the file of a commit.
    pub(super) fn link(&self, commit: &str, name: &str, etag: &str) -> io::Result<()> {
        let file = self.file(commit, name);
        if file.exists() {
            return Ok(());
        }
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        // From snapshots/COMMIT/a/name, each folder of the name is one more to leave.
        let up = "../".repeat(2 + name.matches('/').count());
        link_or_move(&format!("{up}blobs/{etag}"), &self.blob(etag), &file)
    }

    /// Notes that the commit has no such file, so that nobody asks again.
    pub(super) fn note_absent(&self, commit: &str, name: &str) -> io::Result<()> {
        let marker = self.no_exist(commit, name);
        if let Some(folder) = marker.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::File::create(marker).map(drop)
    }

    /// Notes which commit the revision stands for.
    pub(super) fn note_commit(&self, commit: &str) -> io::Result<()> {
        if self.id.revision() == commit {
            return Ok(());
        }
        self.repo.create_ref(commit)
    }

    fn no_exist(&self, commit: &str, name: &str) -> PathBuf {
        self.folder.join(".no_exist").join(commit).join(name)
    }
}

/// A whole hash, which stands for itself.
fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What may be a file's name in the cache: hashes and ETags, wherever they come from.
pub(super) fn is_plain(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.bytes().all(fine)
}

/// The files of a folder and of the folders in it, sorted, with `/`; none where it cannot be read.
fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        // Files are links, folders are not: no circle.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let inner = files(&entry.path());
            names.extend(inner.into_iter().map(|file| format!("{name}/{file}")));
        } else {
            names.push(name);
        }
    }
    names.sort();
    names
}

#[cfg(unix)]
fn link_or_move(target: &str, _blob: &Path, file: &Path) -> io::Result<()> {
    // What is there and does not exist is a link to a blob that was removed.
    fs::remove_file(file).or_else(missing_is_fine)?;
    std::os::unix::fs::symlink(target, file)
}

/// Links need a right that few have: like Python, the blob itself becomes the file.
#[cfg(windows)]
fn link_or_move(target: &str, blob: &Path, file: &Path) -> io::Result<()> {
    fs::remove_file(file).or_else(missing_is_fine)?;
    std::os::windows::fs::symlink_file(target.replace('/', "\\"), file)
        .or_else(|_| fs::rename(blob, file))
}

fn missing_is_fine(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}
