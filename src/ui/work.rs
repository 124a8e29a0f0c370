//! The user's work: the session, its past, its file. What is lost if it is not saved.

use std::path::{Path, PathBuf};

use crate::session::file::SUFFIX;
use crate::session::history::History;
use crate::session::{Prompt, Session};

#[derive(Debug)]
pub(super) struct Work {
    pub session: Session,
    pub history: History,
    /// Where the session was opened from or saved to.
    pub file: Option<PathBuf>,
    /// The session as it is on disk, or as it began.
    saved: Session,
}

impl Default for Work {
    fn default() -> Self {
        let empty = crate::session::Experiment::new(Prompt::Text(String::new()));
        Self::new(Session::new("", empty), None)
    }
}

impl Work {
    pub(super) fn new(session: Session, file: Option<PathBuf>) -> Self {
        Self {
            saved: session.clone(),
            session,
            history: History::default(),
            file,
        }
    }

    /// A session that no file holds yet.
    pub(super) fn unsaved(session: Session, file: Option<PathBuf>) -> Self {
        let mut work = Self::new(session, file);
        work.saved = Self::default().session;
        work
    }

    /// Whether something would be lost. How things are looked at does not count.
    pub(super) fn is_unsaved(&self) -> bool {
        self.session.experiment != self.saved.experiment
            || self.session.notes != self.saved.notes
            || self.session.dtype != self.saved.dtype
    }

    pub(super) fn now_saved(&mut self, file: &Path) {
        self.saved = self.session.clone();
        self.file = Some(file.to_owned());
    }

    /// The file's name without its ending.
    pub(super) fn name(&self) -> String {
        let name = self.file.as_deref().and_then(Path::file_name);
        name.map_or_else(
            || "Untitled".to_owned(),
            |name| {
                let name = name.to_string_lossy();
                let stem = name.strip_suffix(SUFFIX).unwrap_or(&name);
                stem.to_owned()
            },
        )
    }

    pub(super) fn folder(&self) -> Option<&Path> {
        self.file.as_deref().and_then(Path::parent)
    }
}
