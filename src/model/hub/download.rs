//! One file's way into the cache: under a lock, in pieces that survive a cut connection and a closed program, and only
//! under its own name once it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::HubError;
use super::aside::{Heard, listen, wait};
use super::env::Patience;
use super::remote::{Meta, Refusal, Remote};
use crate::model::memory::amount;

/// Bytes that travel together from the network to the disk.
const PIECE: usize = 256 << 10;
/// Connections that give nothing, one after the other, before the download gives up.
const TRIES: usize = 4;

/// Where a file goes.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) blob: PathBuf,
    pub(super) lock: PathBuf,
}

enum Message {
    /// The bytes that follow begin here.
    From(u64),
    Bytes(Vec<u8>),
}

/// Fetches what is not there yet. `report` is told the bytes that are there; false stops, and keeps them for later.
pub(super) fn download(
    remote: &Remote,
    file: &str,
    meta: &Meta,
    target: &Target,
    patience: Patience,
    report: &mut dyn FnMut(u64) -> bool,
) -> Result<(), HubError> {
    let _held = held(&target.lock, &mut || report(0))?;
    if target.blob.is_file() {
        // Another program was faster.
        return Ok(());
    }
    let path = partial(&target.blob);
    let mut part = Part::open(&path, meta, report)?;
    let mut tries = 0;
    while part.len < meta.size {
        let (remote, meta_aside, start) = (remote.clone(), meta.clone(), part.len);
        let talk = move |sender: &_| pieces(&remote, &meta_aside, start, sender);
        let len = std::cell::Cell::new(part.len);
        let heard = listen(talk, &mut || report(len.get()), |message, go_on| {
            part.take(message, meta.size, go_on)?;
            len.set(part.len);
            Ok(())
        })?;
        if part.len == meta.size {
            break;
        }
        tries = if part.len > start { 0 } else { tries + 1 };
        let closed = || Refusal::Unreachable("the server closes the connection".into());
        let refusal = heard.err().unwrap_or_else(closed);
        if tries >= TRIES || !refusal.is_passing() {
            return Err(refusal.while_fetching(file, part.len, meta.size));
        }
        wait(patience.before_retry, &mut || report(part.len))?;
    }
    if let Some(problem) = part.problem(meta) {
        drop(part);
        fs::remove_file(&path).map_err(|source| io("remove", &path, source))?;
        return Err(HubError::Damaged {
            file: file.to_owned(),
            problem,
        });
    }
    part.file
        .sync_all()
        .map_err(|source| io("write", &path, source))?;
    drop(part);
    fs::rename(&path, &target.blob).map_err(|source| io("rename", &path, source))
}

/// Not Python's own name for it: no two programs write to one file.
fn partial(blob: &Path) -> PathBuf {
    let mut name = blob.as_os_str().to_owned();
    name.push(".headscope.incomplete");
    PathBuf::from(name)
}

/// Takes the lock that Python takes too; as long as another program has it, that one downloads.
fn held(path: &Path, go_on: &mut dyn FnMut() -> bool) -> Result<File, HubError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| io("make", folder, source))?;
    }
    let file = File::create(path).map_err(|source| io("write", path, source))?;
    loop {
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => {
                wait(std::time::Duration::from_millis(200), go_on)?;
            }
            // Some network folders know no locks: what is written is checked at the end anyway.
            Ok(()) | Err(fs::TryLockError::Error(_)) => return Ok(file),
        }
    }
}

/// Runs aside: hands the file's bytes on as they come.
fn pieces(
    remote: &Remote,
    meta: &Meta,
    start: u64,
    sender: &std::sync::mpsc::SyncSender<Message>,
) -> Heard<()> {
    let (place, mut body) = remote.bytes(meta, start)?;
    let mut next = Message::From(place);
    while sender.send(next).is_ok() {
        let mut piece = vec![0; PIECE];
        let read = body
            .read(&mut piece)
            .map_err(|error| Refusal::Unreachable(error.to_string()))?;
        if read == 0 {
            break;
        }
        piece.truncate(read);
        next = Message::Bytes(piece);
    }
    Ok(())
}

/// The part of a file that is there.
struct Part {
    file: File,
    path: PathBuf,
    len: u64,
    /// Of all bytes so far, where the file's hash is known.
    hash: Option<Sha256>,
}

impl Part {
    /// With what an earlier attempt left.
    fn open(
        path: &Path,
        meta: &Meta,
        report: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Self, HubError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|source| io("make", folder, source))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|source| io("write", path, source))?;
        let mut part = Self {
            file,
            path: path.to_owned(),
            len: 0,
            hash: sha256_of(meta).map(|_| Sha256::new()),
        };
        let there = part.file.metadata().map_or(0, |file| file.len());
        if there > meta.size {
            part.restart()?;
            return Ok(part);
        }
        let mut piece = vec![0; PIECE];
        loop {
            let read = part.file.read(&mut piece);
            let read = read.map_err(|source| io("read", path, source))?;
            if read == 0 {
                return Ok(part);
            }
            part.count(&piece[..read]);
            if !report(part.len) {
                return Err(HubError::Stopped);
            }
        }
    }

    fn restart(&mut self) -> Result<(), HubError> {
        let emptied = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|source| io("write", &self.path, source))?;
        self.len = 0;
        self.hash = self.hash.take().map(|_| Sha256::new());
        Ok(())
    }

    fn take(
        &mut self,
        message: Message,
        size: u64,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(), HubError> {
        match message {
            Message::From(place) if place == self.len => Ok(()),
            // The server gives the file as a whole only.
            Message::From(_) => self.restart(),
            // More than was announced is no part of it; what is there is checked.
            Message::Bytes(bytes) => {
                let room = usize::try_from(size - self.len).unwrap_or(usize::MAX);
                let bytes = &bytes[..bytes.len().min(room)];
                self.file
                    .write_all(bytes)
                    .map_err(|source| io("write", &self.path, source))?;
                self.count(bytes);
                if go_on() {
                    Ok(())
                } else {
                    Err(HubError::Stopped)
                }
            }
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
    }

    /// What is wrong with a file of full length.
    fn problem(&mut self, meta: &Meta) -> Option<String> {
        let found = format!("{:x}", self.hash.take()?.finalize());
        let expected = sha256_of(meta)?;
        (found != expected).then(|| format!("its SHA-256 is {found}, not {expected}"))
    }
}

/// Large files are named by their SHA-256.
fn sha256_of(meta: &Meta) -> Option<&str> {
    let digits = meta.etag.len() == 64 && meta.etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then_some(meta.etag.as_str())
}

impl Refusal {
    /// Whether asking again soon may help.
    fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Status { status, .. } => matches!(status, 416 | 429 | 500..),
            Self::Garbled(_) => false,
        }
    }

    fn while_fetching(self, file: &str, len: u64, size: u64) -> HubError {
        HubError::Cut {
            file: file.to_owned(),
            at: format!("{} of {}", amount(len), amount(size)),
            reason: match self {
                Self::Unreachable(reason) | Self::Garbled(reason) => reason,
                Self::Status { status, said, .. } => format!("the server answers {status} {said}")
                    .trim_end()
                    .to_owned(),
            },
        }
    }
}

fn io(doing: &'static str, path: &Path, source: io::Error) -> HubError {
    HubError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}
