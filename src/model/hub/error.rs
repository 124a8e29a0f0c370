//! Why a model of the hub is not there, and what to do about it.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("loading was stopped")]
    Stopped,
    #[error(
        "{missing}, and the network is not asked while HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set: \
         unset it, or put the files there by hand (`hf download {repo}` on a machine with network fills its cache; \
         files copied into any folder open from that): {}",
        cache.display()
    )]
    Offline {
        missing: String,
        repo: String,
        cache: PathBuf,
    },
    #[error(
        "{missing}, and the hub cannot be reached ({reason}): connect this machine (HTTPS_PROXY and HF_ENDPOINT \
         are heeded), or put the files there by hand (`hf download {repo}` on another machine fills its cache; files \
         copied into any folder open from that): {}",
        cache.display()
    )]
    Unreachable {
        missing: String,
        reason: String,
        repo: String,
        cache: PathBuf,
    },
    #[error("there is no home folder to keep models in: set HF_HOME or HF_HUB_CACHE")]
    NoCache,
    #[error(
        "no file or folder here is called `{repo}`, and the hub shows no repository of that name: check the spelling; \
         if it is private or gated, {}{}",
        token_advice(*has_token),
        quoted(said)
    )]
    NoRepository {
        repo: String,
        has_token: bool,
        said: String,
    },
    #[error("`{repo}` has no revision `{revision}`: give a branch, a tag or a commit that it has")]
    NoRevision { repo: String, revision: String },
    #[error(
        "the files of `{repo}` are not given to everybody: accept its terms on its page, and {}{}",
        token_advice(*has_token),
        quoted(said)
    )]
    NotAllowed {
        repo: String,
        has_token: bool,
        said: String,
    },
    #[error(
        "the hub answered {status} when asked for {what}: try again later{}",
        quoted(said)
    )]
    Status {
        what: String,
        status: u16,
        said: String,
    },
    #[error(
        "the answer for {what} is not a hub's ({problem}): check HF_ENDPOINT and what stands between this machine \
         and the network"
    )]
    Garbled { what: String, problem: String },
    #[error(
        "`{repo}` holds no model that can be read: expected model.safetensors, model.safetensors.index.json or a .gguf; \
         it has {found}"
    )]
    NoModel { repo: String, found: String },
    #[error("`{repo}` holds several .gguf files; name one of them: {}", ids.join(", "))]
    SeveralGguf { repo: String, ids: Vec<String> },
    #[error("`{repo}` has no file `{file}`; its .gguf files: {known}")]
    NoSuchFile {
        repo: String,
        file: String,
        known: String,
    },
    #[error(
        "`{repo}` has its weights only as a PyTorch pickle ({file}), which can run code and is not read; convert it with \
         `{command}` and open NEW_FOLDER"
    )]
    Pickle {
        repo: String,
        file: String,
        command: String,
    },
    #[error(
        "the download of {file} broke off at {at} ({reason}): what has come is kept; open it again to go on from there"
    )]
    Cut {
        file: String,
        at: String,
        reason: String,
    },
    #[error(
        "{file} arrived damaged ({problem}) and was thrown away: open it again to fetch it anew"
    )]
    Damaged { file: String, problem: String },
    #[error(transparent)]
    Memory(#[from] crate::model::memory::MemoryError),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

const fn token_advice(has_token: bool) -> &'static str {
    if has_token {
        "give a token (HF_TOKEN, or `hf auth login`) that may read it: the present one may not"
    } else {
        "give a token that may read it (HF_TOKEN, or `hf auth login`)"
    }
}

/// What the server itself said, where it said something.
fn quoted(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!(" (it said: {said})")
    }
}
