//! The open session, kept on disk while the program runs, and found again after a crash.
//!
//! Every running program keeps one session in the data folder and holds a lock beside it. The operating system frees the
//! lock when the program ends, however it ends: a session whose lock is free was left behind.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::file::{self, Problem, Saved};
use super::paths;
use crate::atomic;

const SESSION: &str = "autosave.json";
const LOCK: &str = "lock";

/// This program's place in the data folder.
#[derive(Debug)]
pub struct Autosave {
    folder: PathBuf,
    /// Taken with the first write.
    slot: Option<Slot>,
}

/// A session left behind by a program that ended without [`Autosave::finish`].
#[derive(Debug)]
pub struct Recovered {
    pub saved: Saved,
    /// The file that the session was opened from or saved to.
    pub original: Option<PathBuf>,
    pub when: SystemTime,
    slot: Slot,
}

/// Why the session could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum AutosaveError {
    #[error("autosave failed: {source}: {path}", path = path.display())]
    Io { source: io::Error, path: PathBuf },
    #[error("autosave failed: {source}")]
    Session { source: Problem },
}

/// Two files with one stem: the session, and the lock that says who it belongs to.
#[derive(Debug)]
struct Slot {
    session: PathBuf,
    lock: PathBuf,
    /// Holds the lock for as long as it is open.
    _held: File,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    original: Option<PathBuf>,
    /// A session file with all paths absolute.
    session: String,
}

impl Autosave {
    /// `None` where there is no folder to keep sessions in. Touches nothing before the first write.
    pub fn new() -> Option<Self> {
        default_folder().map(Self::in_folder)
    }

    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder, slot: None }
    }

    /// Replaces what is kept. `original` is the session's own file, if it has one.
    pub fn write(&mut self, saved: &Saved, original: Option<&Path>) -> Result<(), AutosaveError> {
        let base = original.and_then(Path::parent);
        let session =
            file::encode(saved, base, None).map_err(|source| AutosaveError::Session { source })?;
        let kept = Kept {
            // JSON is text: a path that is none cannot be kept.
            original: original
                .and_then(|path| std::path::absolute(path).ok())
                .filter(|path| path.to_str().is_some()),
            session,
        };
        self.write_kept(&kept).map_err(|source| AutosaveError::Io {
            source,
            path: self.folder.clone(),
        })
    }

    fn write_kept(&mut self, kept: &Kept) -> io::Result<()> {
        let text = serde_json::to_string(kept)?;
        let slot = match &mut self.slot {
            Some(slot) => slot,
            empty => empty.insert(Slot::create(&self.folder)?),
        };
        atomic::write(&slot.session, text.as_bytes())
    }

    /// The orderly end, or a session closed on purpose: nothing is left to recover.
    pub fn finish(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.remove();
        }
    }
}

impl Slot {
    fn create(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        let stem = format!("{}-{nanos}", std::process::id());
        let lock = folder.join(format!("{stem}.{LOCK}"));
        let held = File::create_new(&lock)?;
        held.try_lock()?;
        Ok(Self {
            session: folder.join(format!("{stem}.{SESSION}")),
            lock,
            _held: held,
        })
    }

    /// Takes over a session whose program has ended; `None` while it runs, or where another is taking it over.
    fn take_over(session: PathBuf) -> io::Result<Option<Self>> {
        let name = session.to_string_lossy();
        let Some(stem) = name.strip_suffix(SESSION) else {
            return Ok(None);
        };
        let lock = PathBuf::from(format!("{stem}{LOCK}"));
        let held = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock)?;
        match held.try_lock() {
            Ok(()) => Ok(Some(Self {
                session,
                lock,
                _held: held,
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The session first: a lock alone is no session, a session alone would be recovered.
    fn remove(self) {
        for path in [&self.session, &self.lock] {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!("autosave not removed: {error}: {}", path.display());
            }
        }
    }
}

/// Sessions left behind, newest first. Each is this program's until it is dropped (left for the next start) or
/// [`Recovered::discard`]ed.
pub fn recoverable() -> Vec<Recovered> {
    default_folder().map_or_else(Vec::new, |folder| recoverable_in(&folder))
}

pub fn recoverable_in(folder: &Path) -> Vec<Recovered> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(SESSION))
        .filter_map(|path| match recover(path.clone()) {
            Ok(recovered) => recovered,
            Err(error) => {
                tracing::warn!("autosave not read: {error}: {}", path.display());
                None
            }
        })
        .collect();
    found.sort_by_key(|recovered| std::cmp::Reverse(recovered.when));
    found
}

fn recover(path: PathBuf) -> anyhow::Result<Option<Recovered>> {
    let Some(slot) = Slot::take_over(path)? else {
        return Ok(None);
    };
    let when = std::fs::metadata(&slot.session)?.modified()?;
    let kept: Kept = serde_json::from_str(&std::fs::read_to_string(&slot.session)?)?;
    Ok(Some(Recovered {
        saved: file::decode(&kept.session, None)?,
        original: kept.original,
        when,
        slot,
    }))
}

impl Recovered {
    /// Removes it: the user opened it, or does not want it.
    pub fn discard(self) {
        self.slot.remove();
    }
}

fn default_folder() -> Option<PathBuf> {
    paths::data_dir().map(|folder| folder.join("autosave"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Experiment, Prompt, Session};

    fn saved(text: &str) -> Saved {
        let prompt = Prompt::Text(text.into());
        Saved {
            session: Session::new("demo", Experiment::new(prompt)),
            record: None,
        }
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("autosave");
        (root, folder)
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    }

    #[test]
    fn a_session_is_found_after_a_kill_with_the_path_it_came_from() {
        let (root, folder) = folder();
        let original = root.path().join("mine.headscope.json");
        let mut autosave = Autosave::in_folder(folder.clone());
        autosave.write(&saved("first"), None).unwrap();
        autosave.write(&saved("second"), Some(&original)).unwrap();
        // A killed program runs no clean-up; the system closes its files.
        drop(autosave);
        let found = recoverable_in(&folder);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].saved, saved("second"));
        assert_eq!(found[0].original.as_ref(), Some(&original));
    }

    #[test]
    fn an_orderly_exit_leaves_nothing() {
        let (_root, folder) = folder();
        let mut autosave = Autosave::in_folder(folder.clone());
        autosave.write(&saved("x"), None).unwrap();
        assert_eq!(files(&folder), 2);
        autosave.finish();
        assert_eq!(files(&folder), 0);
        assert!(recoverable_in(&folder).is_empty());
    }

    #[test]
    fn a_running_programs_session_is_not_taken() {
        let (_root, folder) = folder();
        let mut running = Autosave::in_folder(folder.clone());
        running.write(&saved("running"), None).unwrap();
        let mut killed = Autosave::in_folder(folder.clone());
        killed.write(&saved("killed"), None).unwrap();
        drop(killed);
        let found = recoverable_in(&folder);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].saved, saved("killed"));
        // A second program that starts now must not offer the same one.
        assert!(recoverable_in(&folder).is_empty());
        drop(found);
        assert_eq!(recoverable_in(&folder).len(), 1);
    }

    #[test]
    fn what_was_discarded_does_not_come_back() {
        let (_root, folder) = folder();
        let mut autosave = Autosave::in_folder(folder.clone());
        autosave.write(&saved("x"), None).unwrap();
        drop(autosave);
        for recovered in recoverable_in(&folder) {
            recovered.discard();
        }
        assert_eq!(files(&folder), 0);
    }

    #[test]
    fn damaged_files_are_passed_over() {
        let (_root, folder) = folder();
        std::fs::create_dir_all(&folder).unwrap();
        for (name, content) in [("a", ""), ("b", "{}"), ("c", r#"{"session":"{}"}"#)] {
            std::fs::write(folder.join(format!("{name}.{SESSION}")), content).unwrap();
        }
        let mut autosave = Autosave::in_folder(folder.clone());
        autosave.write(&saved("good"), None).unwrap();
        drop(autosave);
        let found = recoverable_in(&folder);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].saved, saved("good"));
    }
}
