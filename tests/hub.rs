//! Models of the hub, against a server of the test's own: what is asked of it, what lies in the cache, what goes wrong.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

#[path = "support/hub.rs"]
mod server;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use headscope::compute::Compute;
use headscope::model::Model;
use headscope::model::hub::{Hub, HubError, HubId, Located, Token};
use headscope::model::load::{LoadError, LoadProgress, Unreported, open_with};
use headscope::verify::Reference;

use server::{COMMIT, Manners, REPO, Server, files_of};
use support::fixture;

const LONG: Duration = Duration::from_secs(10);

fn tiny() -> BTreeMap<String, Vec<u8>> {
    files_of(&fixture("models/tiny-gpt2"))
}

fn locate(hub: &Hub, id: &str) -> Result<Located, HubError> {
    hub.locate(&HubId::parse(id).unwrap(), &mut Unreported)
}

#[track_caller]
fn refused(hub: &Hub, id: &str, parts: &[&str]) -> HubError {
    let error = locate(hub, id).unwrap_err();
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    error
}

fn open(hub: &Hub, id: &str) -> Model {
    open_with(hub, id, Compute::default(), &mut Unreported).unwrap()
}

fn model_folder(cache: &Path) -> PathBuf {
    cache.join("models--tester--tiny")
}

fn snapshot(cache: &Path) -> PathBuf {
    model_folder(cache).join("snapshots").join(COMMIT)
}

/// Names of the blobs that are there, whole or not.
fn blobs(cache: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(model_folder(cache).join("blobs")).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().into_string().unwrap()
    };
    entries.map(name).collect()
}

/// Stops once so many bytes of the weights are there, and keeps what was said.
struct Stopper {
    at: f32,
    said: Vec<(f32, String)>,
}

impl Stopper {
    fn at(at: f32) -> Self {
        Self {
            at,
            said: Vec::new(),
        }
    }
}

impl LoadProgress for Stopper {
    fn report(&mut self, fraction: f32, what: &str) -> bool {
        self.said.push((fraction, what.to_owned()));
        fraction < self.at
    }
}

#[test]
fn a_model_is_downloaded_once_into_the_cache_as_python_lays_it_out() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(tiny(), Manners::default());
    let hub = server.hub(cache.path());
    let model = open(&hub, REPO);
    assert_eq!(model.name, "tiny");
    assert_eq!(
        (&*model.source, model.revision.as_deref()),
        (REPO, Some(COMMIT))
    );
    assert_eq!(model.pinned_source(), format!("{REPO}@{COMMIT}"));
    let path = fixture("models/tiny-gpt2");
    let on_disk = open_with(
        &hub,
        path.to_str().unwrap(),
        Compute::default(),
        &mut Unreported,
    )
    .unwrap();
    assert_eq!(model.fingerprint, on_disk.fingerprint);

    let folder = model_folder(cache.path());
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    assert_eq!(read("refs/main"), COMMIT);
    assert_eq!(read(&format!(".no_exist/{COMMIT}/tokenizer.json")), "");
    let config = format!("snapshots/{COMMIT}/config.json");
    assert_eq!(read(&config).as_bytes(), tiny()["config.json"]);
    #[cfg(unix)]
    {
        let link = std::fs::read_link(folder.join(&config)).unwrap();
        let size = tiny()["config.json"].len();
        assert_eq!(link, PathBuf::from(format!("../../blobs/{size:040x}")));
    }
    let mut names: Vec<_> = std::fs::read_dir(snapshot(cache.path()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["config.json", "model.safetensors"],
        "and nothing that is not read"
    );
    assert_eq!(blobs(cache.path()).len(), 2, "nothing is left over");

    // What is there is not asked for again, by the branch or by the commit.
    let n_asked = server.asked().len();
    for id in [REPO.to_owned(), format!("{REPO}@{COMMIT}")] {
        assert_eq!(open(&hub, &id).fingerprint, model.fingerprint);
    }
    assert_eq!(server.asked().len(), n_asked);
}

#[test]
fn what_lies_beside_the_weights_comes_with_them() {
    let cache = tempfile::tempdir().unwrap();
    let mut files = files_of(&fixture("models/tiny-llama"));
    files.insert(
        "generation_config.json".to_owned(),
        br#"{"eos_token_id": [3, 7]}"#.to_vec(),
    );
    let reference = fixture("models/tiny-llama").join("headscope-reference.json");
    files.insert(
        "headscope-reference.json".to_owned(),
        std::fs::read(reference).unwrap(),
    );
    let server = Server::start(files, Manners::default());
    let model = open(&server.hub(cache.path()), REPO);
    assert_eq!(model.spec.eos_ids, [3, 7]);
    let reference = Reference::beside(&model).unwrap().unwrap();
    assert!(reference.path.unwrap().starts_with(snapshot(cache.path())));
}

#[test]
fn progress_names_the_file_and_its_bytes() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(tiny(), Manners::default());
    let mut heard = Stopper::at(2.0);
    open_with(
        &server.hub(cache.path()),
        REPO,
        Compute::default(),
        &mut heard,
    )
    .unwrap();
    let whole = "downloading model.safetensors, 43 kB of 43 kB";
    let said = |text: &str| heard.said.iter().any(|(_, what)| what == text);
    assert!(said("asking the hub") && said("asking for config.json") && said(whole));
    assert!(
        heard.said.is_sorted_by(|a, b| a.0 <= b.0),
        "the bar goes one way: {:?}",
        heard.said
    );
    assert!(heard.said.last().unwrap().0 >= 1.0);
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let cache = tempfile::tempdir().unwrap();
    let cut = Manners {
        cut: Some((10_000, 3)),
        ..Manners::default()
    };
    let server = Server::start(tiny(), cut);
    open(&server.hub(cache.path()), REPO);
    let ranges: Vec<_> = server
        .asked_store()
        .into_iter()
        .map(|asked| asked.range)
        .collect();
    let from = |at: usize| Some(format!("bytes={at}-"));
    assert_eq!(ranges, [None, from(10_000), from(20_000), from(30_000)]);
}

#[test]
fn a_server_that_gives_nothing_more_is_given_up_and_what_came_is_kept() {
    let cache = tempfile::tempdir().unwrap();
    let cut = Manners {
        cut: Some((0, 100)),
        ..Manners::default()
    };
    let server = Server::start(tiny(), cut);
    let hub = server.hub(cache.path());
    refused(
        &hub,
        REPO,
        &[
            "model.safetensors broke off at 0 B of 43 kB",
            "open it again",
        ],
    );
    assert_eq!(server.asked_store().len(), 4);
    server.recover();
    open(&hub, REPO);
}

#[test]
fn a_stopped_download_goes_on_where_it_stopped() {
    let cache = tempfile::tempdir().unwrap();
    let silent = Manners {
        is_silent: true,
        ..Manners::default()
    };
    let server = Server::start(tiny(), silent);
    let hub = server.hub(cache.path());
    let started = Instant::now();
    let mut stopper = Stopper::at(0.4);
    let stopped = open_with(&hub, REPO, Compute::default(), &mut stopper);
    assert!(matches!(stopped, Err(LoadError::Stopped)), "{stopped:?}");
    assert!(started.elapsed() < LONG, "the server never ends its answer");
    assert!(!snapshot(cache.path()).join("model.safetensors").exists());
    let half = tiny()["model.safetensors"].len() / 2;
    let part = blobs(cache.path());
    let part = part
        .iter()
        .find(|name| name.ends_with(".incomplete"))
        .unwrap();
    let part = model_folder(cache.path()).join("blobs").join(part);
    assert_eq!(part.metadata().unwrap().len(), half as u64);

    server.recover();
    open(&hub, REPO);
    let last = server.asked_store().pop().unwrap();
    assert_eq!(last.range, Some(format!("bytes={half}-")));
    assert!(!part.exists());
}

#[test]
fn stopping_does_not_wait_for_a_silent_server() {
    // A listener that nobody serves: connections are taken and nothing is ever said.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub {
        endpoint: Some(format!("http://{}", silent.local_addr().unwrap())),
        offline: false,
        ..Hub::offline(cache.path())
    };
    let started = Instant::now();
    let mut n_looked = 0;
    let mut patience = Patience(&mut n_looked);
    let stopped = open_with(&hub, REPO, Compute::default(), &mut patience);
    assert!(matches!(stopped, Err(LoadError::Stopped)), "{stopped:?}");
    assert!(started.elapsed() < LONG);
}

/// Stops after it was asked a few times.
struct Patience<'a>(&'a mut usize);

impl LoadProgress for Patience<'_> {
    fn report(&mut self, _fraction: f32, _what: &str) -> bool {
        *self.0 += 1;
        *self.0 < 5
    }
}

#[test]
fn a_server_without_ranges_gives_the_whole_again() {
    let cache = tempfile::tempdir().unwrap();
    let manners = Manners {
        cut: Some((10_000, 1)),
        ignores_ranges: true,
        ..Manners::default()
    };
    let server = Server::start(tiny(), manners);
    open(&server.hub(cache.path()), REPO);
    assert_eq!(server.asked_store().len(), 2);
}

#[test]
fn what_arrives_damaged_is_thrown_away() {
    let cache = tempfile::tempdir().unwrap();
    let garbles = Manners {
        garbles: true,
        ..Manners::default()
    };
    let server = Server::start(tiny(), garbles);
    let hub = server.hub(cache.path());
    refused(
        &hub,
        REPO,
        &["model.safetensors arrived damaged", "its SHA-256 is"],
    );
    assert_eq!(blobs(cache.path()).len(), 1, "config.json is all there is");
    server.recover();
    open(&hub, REPO);
}

#[test]
fn what_is_not_there_is_told_apart() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(tiny(), Manners::default());
    let hub = server.hub(cache.path());
    refused(
        &hub,
        "tester/none",
        &["no repository of that name", "`tester/none`"],
    );
    let revision = format!("{REPO}@v9");
    refused(&hub, &revision, &["has no revision `v9`"]);
    let file = format!("{REPO}/q4.gguf");
    refused(&hub, &file, &["no file `q4.gguf`", "its .gguf files: none"]);
    open(&hub, &format!("{REPO}@refs/pr/1"));
    let noted = model_folder(cache.path()).join("refs/refs/pr/1");
    assert_eq!(std::fs::read_to_string(noted).unwrap(), COMMIT);
}

#[test]
fn private_and_gated_models_need_a_token_and_only_the_hub_sees_it() {
    let cache = tempfile::tempdir().unwrap();
    let private = Manners {
        token: Some("good"),
        is_private: true,
        ..Manners::default()
    };
    let server = Server::start(tiny(), private);
    refused(
        &server.hub(cache.path()),
        REPO,
        &["private or gated", "HF_TOKEN", "Invalid username"],
    );
    let gated = Manners {
        token: Some("good"),
        ..Manners::default()
    };
    let server = Server::start(tiny(), gated);
    let hub = server.hub(cache.path());
    refused(
        &hub,
        REPO,
        &["accept its terms", "HF_TOKEN", "Access is restricted."],
    );
    let with = |token: &str| Hub {
        token: Some(Token::new(token)),
        ..hub.clone()
    };
    refused(
        &with("bad"),
        REPO,
        &["accept its terms", "the present one may not"],
    );
    open(&with("good"), REPO);
    let store = server.asked_store();
    assert_eq!(store.len(), 1);
    assert_eq!(store[0].authorization, None, "the store is another host");
}

#[test]
fn without_a_network_it_says_what_lacks_and_how_to_put_it_there() {
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub {
        // Nobody listens on port 1.
        endpoint: Some("http://127.0.0.1:1".into()),
        offline: false,
        ..Hub::offline(cache.path())
    };
    let place = cache.path().to_str().unwrap();
    refused(
        &hub,
        REPO,
        &[
            "is not in the cache",
            "cannot be reached",
            "hf download tester/tiny",
            place,
        ],
    );
    let offline = Hub::offline(cache.path());
    refused(
        &offline,
        REPO,
        &["HF_HUB_OFFLINE", "hf download tester/tiny", place],
    );
}

/// A cache as Python leaves it: links on Unix.
fn python_cache(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let cache = tempfile::tempdir().unwrap();
    let folder = model_folder(cache.path());
    for inner in ["blobs", "refs", &format!("snapshots/{COMMIT}")] {
        std::fs::create_dir_all(folder.join(inner)).unwrap();
    }
    std::fs::write(folder.join("refs/main"), COMMIT).unwrap();
    for (i, (name, content)) in files.iter().enumerate() {
        let file = snapshot(cache.path()).join(name);
        #[cfg(unix)]
        {
            std::fs::write(folder.join(format!("blobs/{i}")), content).unwrap();
            std::os::unix::fs::symlink(format!("../../blobs/{i}"), file).unwrap();
        }
        #[cfg(not(unix))]
        std::fs::write(file, content).unwrap();
    }
    cache
}

#[test]
fn what_python_has_downloaded_opens_without_a_network() {
    let files = tiny();
    let files: Vec<_> = files
        .iter()
        .map(|(name, content)| (&**name, &**content))
        .collect();
    let cache = python_cache(&files);
    let hub = Hub::offline(cache.path());
    assert_eq!(open(&hub, REPO).revision.as_deref(), Some(COMMIT));
    open(&hub, &format!("{REPO}@{COMMIT}"));
    let other = format!("{REPO}@v1.0");
    refused(&hub, &other, &["`tester/tiny@v1.0` is not in the cache"]);
}

#[test]
fn an_incomplete_cache_says_what_it_lacks_and_only_that_is_fetched() {
    let files = tiny();
    let cache = python_cache(&[("config.json", &files["config.json"])]);
    let hub = Hub::offline(cache.path());
    refused(
        &hub,
        REPO,
        &["the cache has `tester/tiny` without its weights"],
    );
    let sharded = files_of(&fixture("models/tiny-llama-sharded"));
    let index = "model.safetensors.index.json";
    let shard = "model-00001-of-00002.safetensors";
    let half = python_cache(&[
        ("config.json", &sharded["config.json"]),
        (index, &sharded[index]),
        (shard, &sharded[shard]),
    ]);
    let lacks = "without model-00002-of-00002.safetensors";
    refused(&Hub::offline(half.path()), REPO, &[lacks]);

    let server = Server::start(sharded, Manners::default());
    open(&server.hub(half.path()), REPO);
    let store = server.asked_store();
    assert_eq!(store.len(), 1, "{store:?}");
    assert!(store[0].line.ends_with("model-00002-of-00002.safetensors"));
}

#[test]
fn shards_are_downloaded_by_their_index() {
    let cache = tempfile::tempdir().unwrap();
    let files = files_of(&fixture("models/tiny-llama-sharded"));
    let server = Server::start(files, Manners::default());
    open(&server.hub(cache.path()), REPO);
    assert_eq!(server.asked_store().len(), 2);
    open(&Hub::offline(cache.path()), REPO);
}

#[test]
fn a_gguf_is_found_in_a_folder_of_its_repository() {
    let cache = tempfile::tempdir().unwrap();
    let gguf = std::fs::read(fixture("models/tiny-llama-gguf/tiny-llama.gguf")).unwrap();
    let files = BTreeMap::from([
        ("q/a.gguf".to_owned(), gguf.clone()),
        ("q/b.gguf".to_owned(), gguf),
    ]);
    let server = Server::start(files, Manners::default());
    let hub = server.hub(cache.path());
    refused(&hub, REPO, &["tester/tiny/q/a.gguf, tester/tiny/q/b.gguf"]);
    assert_eq!(open(&hub, "tester/tiny/q/b.gguf").name, "b");
    // The only one in the cache.
    open(&Hub::offline(cache.path()), REPO);
}

#[test]
fn a_model_with_pickles_only_is_refused_with_the_command() {
    let pickle = |files: &[(&str, &[u8])]| python_cache(files);
    let cache = pickle(&[("config.json", b"{}"), ("pytorch_model.bin", b"x")]);
    let command = ["PyTorch pickle", "python -c", "'tester/tiny'"];
    refused(&Hub::offline(cache.path()), REPO, &command);
    let files = BTreeMap::from([("pytorch_model.bin".to_owned(), b"x".to_vec())]);
    let server = Server::start(files, Manners::default());
    let cache = tempfile::tempdir().unwrap();
    refused(&server.hub(cache.path()), REPO, &command);
    assert!(!model_folder(cache.path()).exists(), "nothing was fetched");
}

#[test]
fn without_its_tokenizer_a_cached_model_opens_all_the_same() {
    let mut files = tiny();
    let cache = python_cache(&[
        ("config.json", &files["config.json"]),
        ("model.safetensors", &files["model.safetensors"]),
    ]);
    assert!(open(&Hub::offline(cache.path()), REPO).tokenizer.is_none());
    // With a network the tokenizer is fetched, and nothing else.
    let tokenizer = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":null,"post_processor":null,"decoder":null,
        "model":{"type":"WordLevel","vocab":{"a":0,"b":1},"unk_token":"a"}}"#;
    files.insert("tokenizer.json".into(), tokenizer.into());
    let server = Server::start(files, Manners::default());
    assert!(open(&server.hub(cache.path()), REPO).tokenizer.is_some());
    assert_eq!(server.asked_store(), []);
}

#[test]
fn a_hostile_server_cannot_lead_out_of_the_cache() {
    let hostile = [
        Manners {
            etag: Some("../../../escaped"),
            ..Manners::default()
        },
        Manners {
            commit: Some("../../../escaped"),
            ..Manners::default()
        },
    ];
    for manners in hostile {
        let root = tempfile::tempdir().unwrap();
        let cache = root.path().join("a/b");
        let server = Server::start(tiny(), manners);
        refused(&server.hub(&cache), REPO, &["is not a hub's", "escaped"]);
        assert!(!root.path().join("escaped").exists());
    }
    let mut files = files_of(&fixture("models/tiny-llama-sharded"));
    let index = br#"{"weight_map":{"w":"../../escaped"}}"#;
    files.insert("model.safetensors.index.json".into(), index.to_vec());
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(files, Manners::default());
    refused(&server.hub(cache.path()), REPO, &["would leave the folder"]);
}

#[test]
fn another_programs_download_is_waited_for() {
    let cache = tempfile::tempdir().unwrap();
    let files = tiny();
    let size = files["config.json"].len();
    let locks = cache.path().join(".locks/models--tester--tiny");
    std::fs::create_dir_all(&locks).unwrap();
    let lock = std::fs::File::create(locks.join(format!("{size:040x}.lock"))).unwrap();
    lock.lock().unwrap();
    let server = Server::start(files, Manners::default());
    let hub = server.hub(cache.path());
    // Stopped while it waits.
    let mut n_looked = 0;
    let stopped = open_with(&hub, REPO, Compute::default(), &mut Patience(&mut n_looked));
    assert!(matches!(stopped, Err(LoadError::Stopped)), "{stopped:?}");
    // Once it is free, it goes on.
    let (free, waiting) = std::sync::mpsc::sync_channel(1);
    let unlock = std::thread::Builder::new().spawn(move || {
        waiting.recv().unwrap();
        drop(lock);
    });
    let mut heard = Unlocker { free, n_looked: 0 };
    open_with(&hub, REPO, Compute::default(), &mut heard).unwrap();
    unlock.unwrap().join().unwrap();
}

/// Has the lock freed once it was waited for.
struct Unlocker {
    free: std::sync::mpsc::SyncSender<()>,
    n_looked: usize,
}

impl LoadProgress for Unlocker {
    fn report(&mut self, _fraction: f32, what: &str) -> bool {
        self.n_looked += usize::from(what.starts_with("downloading config.json"));
        if self.n_looked == 3 {
            self.free.try_send(()).ok();
        }
        true
    }
}

#[test]
fn the_command_line_takes_ids_wherever_it_takes_models() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(tiny(), Manners::default());
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_headscope"))
            .args(arguments)
            .current_dir(&folder)
            .env("HF_ENDPOINT", server.endpoint())
            .env("HF_HOME", folder.path().join("home"))
            .env_remove("HF_HUB_CACHE")
            .env_remove("HF_HUB_OFFLINE")
            .env_remove("HF_TOKEN")
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            stderr,
        )
    };
    let saved = ["run", REPO, "--ids", "3,1,4", "--save", "s.headscope.json"];
    let (code, _, stderr) = run(&saved);
    assert_eq!((code, &*stderr), (Some(0), ""), "stderr is no terminal");
    let blobs = folder.path().join("home/hub/models--tester--tiny/blobs");
    assert!(blobs.is_dir());

    // The session stands for the commit, and replays.
    let session = std::fs::read_to_string(folder.path().join("s.headscope.json")).unwrap();
    let session: serde_json::Value = serde_json::from_str(&session).unwrap();
    assert_eq!(session["model"]["source"], format!("{REPO}@{COMMIT}"));
    let n_asked = server.asked().len();
    let (code, stdout, stderr) = run(&["run", "s.headscope.json", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains(r#""replay":{"agrees":true"#), "{stdout}");
    assert_eq!(server.asked().len(), n_asked, "it is all in the cache");
    let arguments = [
        "dump",
        REPO,
        "--ids",
        "1",
        "--sites",
        "logits",
        "-o",
        "x.safetensors",
    ];
    assert_eq!(run(&arguments).0, Some(0));

    let (code, stdout, stderr) = run(&["run", "tester/none", "--ids", "1"]);
    assert_eq!((code, &*stdout), (Some(1), ""));
    assert!(
        stderr.starts_with("error: no file or folder here is called `tester/none`"),
        "{stderr}"
    );

    // A path of that name wins.
    let path = folder.path().join("tester");
    std::fs::create_dir_all(path.join("none")).unwrap();
    let (_, _, stderr) = run(&["run", "tester/none", "--ids", "1"]);
    assert!(stderr.contains("holds no model"), "{stderr}");
}
