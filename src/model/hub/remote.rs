//! What is said to the hub and what it answers. The only file that touches the network.

use std::fmt::Write as _;
use std::io::Read;
use std::time::Duration;

use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};
use ureq::config::RedirectAuthHeaders;
use ureq::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, LOCATION, RANGE,
};
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use super::cache::is_plain;
use super::env::{Hub, Token};

/// A listing is a few kilobytes; what is larger is none.
const MAX_LISTING: u64 = 32 << 20;
const MAX_REDIRECTS: usize = 8;
const CONNECT: Duration = Duration::from_secs(20);

/// Asks one server.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    /// Knows the addresses, and asks for listings.
    api: Api,
    agent: Agent,
    token: Option<Token>,
}

/// A repository at one commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) names: Vec<String>,
}

/// A file of a commit.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) url: String,
    /// Names its blob. 64 hexadecimal digits are its SHA-256.
    pub(super) etag: String,
    pub(super) size: u64,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No server was heard.
    Unreachable(String),
    Status {
        status: u16,
        /// The hub's own name of the problem, such as `RevisionNotFound`.
        code: String,
        /// What the server says to people.
        said: String,
    },
    /// Not what a hub answers.
    Garbled(String),
}

impl Remote {
    pub(super) fn new(hub: &Hub) -> Result<Self, Refusal> {
        let mut builder = ApiBuilder::from_cache(Cache::new(hub.cache.clone().unwrap_or_default()))
            .with_token(hub.token.as_ref().map(|Token(token)| token.clone()))
            .with_user_agent("headscope", env!("CARGO_PKG_VERSION"));
        if let Some(endpoint) = &hub.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("headscope/", env!("CARGO_PKG_VERSION")))
            .max_redirects(0)
            // The token is for the hub, not for the store that it sends us to.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(hub.patience.silence))
            .timeout_per_read(Some(hub.patience.silence))
            .build()
            .into();
        Ok(Self {
            api: builder
                .build()
                .map_err(|error| Refusal::Unreachable(error.to_string()))?,
            agent,
            token: hub.token.clone(),
        })
    }

    /// The commit that a revision stands for, and its files.
    pub(super) fn listing(&self, repo: &str, revision: &str) -> Result<Listing, Refusal> {
        let request = self.api.repo(at(repo, revision)).info_request();
        let config = self.agent.config();
        let answer = request
            .config()
            .http_status_as_error(false)
            .timeout_connect(config.timeouts().connect)
            .timeout_recv_response(config.timeouts().recv_response)
            .timeout_per_read(config.timeout_per_read())
            .build()
            .call()?;
        let mut answer = checked(answer)?;
        let body = answer.body_mut().with_config().limit(MAX_LISTING);
        let RepoInfo { siblings, sha } = body
            .read_json()
            .map_err(|error| Refusal::Garbled(error.to_string()))?;
        if !is_plain(&sha) {
            return Err(Refusal::Garbled(format!("the commit is {sha:?}")));
        }
        Ok(Listing {
            commit: sha,
            names: siblings.into_iter().map(|file| file.rfilename).collect(),
        })
    }

    /// A file's name in the cache and its size; its bytes stay where they are.
    pub(super) fn meta(&self, repo: &str, commit: &str, file: &str) -> Result<Meta, Refusal> {
        let mut url = self.api.repo(at(repo, commit)).url(&escaped(file));
        for _ in 0..MAX_REDIRECTS {
            let request = self.agent.head(&url).header(ACCEPT_ENCODING, "identity");
            let answer = match &self.token {
                Some(Token(token)) => request.header(AUTHORIZATION, format!("Bearer {token}")),
                None => request,
            };
            let answer = answer.call()?;
            if answer.status().is_redirection()
                && let Some(next) = same_host(&url, text(answer.headers(), LOCATION.as_str()))
            {
                url = next;
                continue;
            }
            return meta(url, &answer);
        }
        Err(Refusal::Garbled("it sends us round in a circle".into()))
    }

    /// The file's bytes from `start` on, or from the beginning where the server cannot do that: the first is the place.
    pub(super) fn bytes(&self, meta: &Meta, start: u64) -> Result<(u64, impl Read), Refusal> {
        let mut request = self
            .agent
            .get(&meta.url)
            .header(ACCEPT_ENCODING, "identity")
            .config()
            .max_redirects(MAX_REDIRECTS as u32)
            .build();
        if let Some(Token(token)) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if start > 0 {
            request = request.header(RANGE, format!("bytes={start}-"));
        }
        let answer = checked(request.call()?)?;
        let place = match (answer.status().as_u16(), start) {
            (206, _) => range_start(text(answer.headers(), CONTENT_RANGE.as_str()))
                .filter(|place| *place == start)
                .ok_or_else(|| Refusal::Garbled("it sends another part of the file".into()))?,
            _ => 0,
        };
        Ok((place, answer.into_body().into_reader()))
    }
}

fn at(repo: &str, revision: &str) -> Repo {
    Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned())
}

/// An answer that is no error.
fn checked(mut answer: Response<Body>) -> Result<Response<Body>, Refusal> {
    if answer.status().is_success() || answer.status().is_redirection() {
        return Ok(answer);
    }
    let said = match text(answer.headers(), "x-error-message") {
        "" => {
            let body = answer.body_mut().with_config().limit(2_000);
            // A page of HTML is no message.
            body.read_to_string()
                .ok()
                .filter(|body| !body.trim_start().starts_with('<'))
                .unwrap_or_default()
        }
        message => message.to_owned(),
    };
    Err(Refusal::Status {
        status: answer.status().as_u16(),
        code: text(answer.headers(), "x-error-code").to_owned(),
        said: one_line(&said),
    })
}

fn meta(url: String, answer: &Response<Body>) -> Result<Meta, Refusal> {
    let status = answer.status();
    let headers = answer.headers();
    if !status.is_success() && !status.is_redirection() {
        return Err(Refusal::Status {
            status: status.as_u16(),
            code: text(headers, "x-error-code").to_owned(),
            said: one_line(text(headers, "x-error-message")),
        });
    }
    // Where the hub sends us on, its own headers tell of the file and not of the redirection.
    let first = |names: [&str; 2]| {
        let mut found = names.into_iter().map(|name| text(headers, name));
        found.find(|value| !value.is_empty()).unwrap_or_default()
    };
    let etag = first(["x-linked-etag", ETAG.as_str()]);
    let etag = etag.trim_start_matches("W/").trim_matches('"');
    if !is_plain(etag) {
        return Err(Refusal::Garbled(format!("the ETag is {etag:?}")));
    }
    let size = if status.is_redirection() {
        text(headers, "x-linked-size")
    } else {
        first(["x-linked-size", CONTENT_LENGTH.as_str()])
    };
    Ok(Meta {
        url,
        etag: etag.to_owned(),
        size: size
            .parse()
            .map_err(|_| Refusal::Garbled(format!("the size is {size:?}")))?,
    })
}

/// Where a redirection leads, if it stays with the server that holds our token.
fn same_host(from: &str, to: &str) -> Option<String> {
    let (base, next): (Uri, Uri) = (from.parse().ok()?, to.parse().ok()?);
    let same = next.host().is_none()
        || (next.scheme(), next.authority()) == (base.scheme(), base.authority());
    let path = next.path_and_query().filter(|_| same)?;
    Some(format!("{}://{}{path}", base.scheme()?, base.authority()?))
}

/// 100 of `bytes 100-199/200`.
fn range_start(range: &str) -> Option<u64> {
    let (start, _) = range.trim().strip_prefix("bytes ")?.split_once('-')?;
    start.parse().ok()
}

/// A header's value; empty where there is none.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// At most a few hundred characters, without line breaks.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

/// A file's path as it stands in an address.
fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().fold(String::new(), |mut escaped, byte| {
        if plain(byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

impl From<ureq::Error> for Refusal {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::HostNotFound => Self::Unreachable("its name is not known here".into()),
            error => Self::Unreachable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_are_followed_to_the_same_host_only() {
        let from = "http://hub.test:1/a/b";
        let to = |to| same_host(from, to);
        assert_eq!(to("/c?x=1"), Some("http://hub.test:1/c?x=1".into()));
        assert_eq!(
            to("http://hub.test:1/d"),
            Some("http://hub.test:1/d".into())
        );
        for other in [
            "http://hub.test/d",
            "http://other.test:1/d",
            "https://hub.test:1/d",
            "",
        ] {
            assert_eq!(to(other), None, "{other}");
        }
    }

    #[test]
    fn addresses_hold_no_character_of_their_own_meaning() {
        assert_eq!(escaped("q/a b#c?%.gguf"), "q/a%20b%23c%3F%25.gguf");
        assert_eq!(range_start("bytes 100-199/200"), Some(100));
        assert_eq!(range_start("bytes */200"), None);
    }
}
