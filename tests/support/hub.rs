//! A hub of the size of a test: it lists one repository and gives its files as the real one does, large ones from a store
//! under another name, and it misbehaves where a test asks it to.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use headscope::model::hub::{Hub, Patience};
use sha2::{Digest as _, Sha256};

pub(crate) const REPO: &str = "tester/tiny";
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files of this size and more are in the store, and named by their SHA-256.
const LARGE: usize = 4_000;

/// A running server. It ends with the test's process.
pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    manners: Manners,
    port: AtomicUsize,
    asked: Mutex<Vec<Asked>>,
    /// Connections that were cut or that fell silent, so far.
    misbehaved: AtomicUsize,
    released: (Mutex<bool>, Condvar),
    recovered: AtomicBool,
}

/// How the server behaves.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent ways in which a server may behave"
)]
pub(crate) struct Manners {
    /// Only who shows this token gets files.
    pub token: Option<&'static str>,
    /// The listing needs the token too.
    pub is_private: bool,
    /// Large files end after so many bytes, in the first so many connections.
    pub cut: Option<(usize, usize)>,
    /// Large files stop in their middle without an end, until the test releases them.
    pub is_silent: bool,
    /// Ranges are not known: files come as a whole.
    pub ignores_ranges: bool,
    /// One byte of large files is another one.
    pub garbles: bool,
    /// ETag of all files, instead of their own.
    pub etag: Option<&'static str>,
    pub commit: Option<&'static str>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `HEAD /tester/tiny/resolve/…`
    pub line: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

impl Server {
    pub(crate) fn start(files: BTreeMap<String, Vec<u8>>, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            files,
            manners,
            port: AtomicUsize::new(port.into()),
            ..Shared::default()
        });
        let for_thread = Arc::clone(&shared);
        named(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&for_thread);
                // A client that hangs up has its reasons.
                named(move || drop(shared.serve(stream.unwrap())));
            }
        });
        Self { port, shared }
    }

    /// The hub as the program sees it, with a cache of its own.
    pub(crate) fn hub(&self, cache: &Path) -> Hub {
        Hub {
            cache: Some(cache.to_owned()),
            endpoint: Some(self.endpoint()),
            token: None,
            offline: false,
            patience: Patience {
                silence: Duration::from_secs(20),
                before_retry: Duration::ZERO,
            },
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Requests to the store.
    pub(crate) fn asked_store(&self) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(|asked| asked.line.contains(" /store/"));
        asked
    }

    /// From now on it behaves.
    pub(crate) fn recover(&self) {
        self.shared.recovered.store(true, Ordering::SeqCst);
        *self.shared.released.0.lock().unwrap() = true;
        self.shared.released.1.notify_all();
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let header = |name: &str| {
            lines.iter().skip(1).find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let line = lines[0].trim_end_matches(" HTTP/1.1").to_owned();
        let asked = Asked {
            line,
            range: header("range"),
            authorization: header("authorization"),
        };
        self.asked.lock().unwrap().push(asked.clone());
        self.answer(&asked, &mut stream)
    }

    fn answer(&self, asked: &Asked, stream: &mut TcpStream) -> std::io::Result<()> {
        let manners = &self.manners;
        let (method, path) = asked.line.split_once(' ').unwrap();
        let commit = manners.commit.unwrap_or(COMMIT);
        let wanted = manners.token.map(|token| format!("Bearer {token}"));
        let is_known = wanted.is_none() || asked.authorization == wanted;
        if let Some(revision) = path.strip_prefix(&format!("/api/models/{REPO}/revision/")) {
            if manners.is_private && !is_known {
                return refuse(stream, 401, "RepoNotFound", "Invalid username or password.");
            }
            if ![commit, "main", "refs%2Fpr%2F1"].contains(&revision) {
                return refuse(stream, 404, "RevisionNotFound", "Invalid rev id");
            }
            let files: Vec<_> = self
                .files
                .keys()
                .map(|name| serde_json::json!({ "rfilename": name }))
                .collect();
            let body = serde_json::json!({ "sha": commit, "siblings": files, "id": REPO });
            return send(stream, 200, "", body.to_string().as_bytes());
        }
        if path.starts_with("/api/models/") {
            return refuse(stream, 404, "RepoNotFound", "Repository not found");
        }
        if let Some(name) = path.strip_prefix("/store/") {
            return self.send_large(asked, name, stream);
        }
        // Small files take a turn over another path of the same host, as on the hub.
        let turn = format!("/api/resolve-cache/{COMMIT}/");
        let resolve = format!("/{REPO}/resolve/{commit}/");
        let (name, has_turned) = match (path.strip_prefix(&resolve), path.strip_prefix(&turn)) {
            (Some(name), _) => (name, false),
            (_, Some(name)) => (name, true),
            _ => return refuse(stream, 404, "EntryNotFound", "Entry not found"),
        };
        let Some(content) = self.files.get(name) else {
            return refuse(stream, 404, "EntryNotFound", "Entry not found");
        };
        if !is_known {
            return match asked.authorization {
                None => refuse(stream, 401, "GatedRepo", "Access is restricted."),
                Some(_) => refuse(stream, 403, "", "Ask for access."),
            };
        }
        let is_large = content.len() >= LARGE;
        let etag = match manners.etag {
            Some(etag) => etag.to_owned(),
            None if is_large => format!("{:x}", Sha256::digest(content)),
            None => format!("{:040x}", content.len()),
        };
        let of_file = format!("X-Repo-Commit: {commit}\r\nETag: \"{etag}\"\r\n");
        match (is_large, has_turned) {
            (true, _) => {
                let headers = format!(
                    "{of_file}X-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {}\r\nLocation: http://localhost:{}/store/{name}\r\n",
                    content.len(),
                    self.port.load(Ordering::SeqCst)
                );
                send(stream, 302, &headers, b"")
            }
            (false, false) => {
                let location = format!("Location: {turn}{name}\r\n");
                send(stream, 307, &location, b"")
            }
            (false, true) if method == "HEAD" => {
                let headers = format!("{of_file}Content-Length: {}\r\n", content.len());
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\n{headers}Connection: close\r\n\r\n"
                )
            }
            (false, true) => send(stream, 200, &of_file, content),
        }
    }

    fn send_large(&self, asked: &Asked, name: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        let manners = &self.manners;
        let mut content = self.files[name].clone();
        let behaves = self.recovered.load(Ordering::SeqCst);
        if manners.garbles && !behaves {
            content[LARGE / 2] ^= 1;
        }
        let range = asked.range.as_ref().filter(|_| !manners.ignores_ranges);
        let start: usize = range.map_or(0, |range| {
            let start = range.strip_prefix("bytes=").unwrap().trim_end_matches('-');
            start.parse().unwrap()
        });
        let mut head = String::new();
        if range.is_some() {
            write!(
                head,
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{}\r\n",
                content.len() - 1,
                content.len()
            )
            .unwrap();
        } else {
            head.push_str("HTTP/1.1 200 OK\r\n");
        }
        let rest = &content[start..];
        write!(
            stream,
            "{head}Content-Length: {}\r\nConnection: close\r\n\r\n",
            rest.len()
        )?;
        if behaves {
            return stream.write_all(rest);
        }
        if let Some((bytes, times)) = manners.cut
            && self.misbehaved.fetch_add(1, Ordering::SeqCst) < times
        {
            return stream.write_all(&rest[..bytes.min(rest.len())]);
        }
        if manners.is_silent {
            stream.write_all(&rest[..rest.len() / 2])?;
            stream.flush()?;
            let mut released = self.released.0.lock().unwrap();
            while !*released {
                released = self.released.1.wait(released).unwrap();
            }
            return Ok(());
        }
        stream.write_all(rest)
    }
}

fn send(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)
}

fn refuse(stream: &mut TcpStream, status: u16, code: &str, said: &str) -> std::io::Result<()> {
    let headers = format!("X-Error-Code: {code}\r\nX-Error-Message: {said}\r\n");
    send(stream, status, &headers, b"")
}

fn named(work: impl FnOnce() + Send + 'static) {
    let builder = std::thread::Builder::new().name("test hub".into());
    builder.spawn(work).unwrap();
}

/// The files of a fixture model that a repository would have.
pub(crate) fn files_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([("README.md".to_owned(), b"A model.".to_vec())]);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "config.json"
            || name.starts_with("model")
            || path.extension().is_some_and(|e| e == "gguf")
        {
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
    files
}
