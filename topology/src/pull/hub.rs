//! Requests to the hub: redirects, and which host receives the token.
//!
//! Redirects are followed here, not in the HTTP client: the response with the redirect has the properties of a large
//! file, and the token must not go to another host.

use std::{cell::Cell, path::PathBuf};

use hf_hub::{Cache, Repo, RepoType, api::sync::Api};
use ureq::{
    Agent, Body,
    http::{Method, Request, Response, Uri, header},
    tls::{RootCerts, TlsConfig},
};

use super::{
    error::{PullError, Result},
    response::{ConnectError, checked, connect_error, content_range, is_commit, number, text},
    retry::{Backoff, Retryable},
    settings::{Settings, proxy},
    timeouts::Timeouts,
    verify::Hash,
};

/// Redirects from a file's address to its bytes: the hub needs one, a renamed repository one more.
const MOST_REDIRECTS: usize = 5;
/// Requests without an answer after which a host counts as out of reach, if it never answered before.
const MOST_UNANSWERED: u32 = 3;
const USER_AGENT: &str = concat!("heartstream/", env!("CARGO_PKG_VERSION"));

/// The hub, or a mirror of it.
pub(crate) struct Hub<'a> {
    endpoint: Uri,
    token: Option<String>,
    api: Api,
    cache: Cache,
    agent: Agent,
    /// How long a server may take.
    pub timeouts: Timeouts,
    /// Whether any request was answered yet.
    reached: Cell<bool>,
    /// Requests without a response, before the first response.
    unanswered: Cell<u32>,
    /// The remedy where the hub cannot be reached.
    by_hand: String,
    /// Receives a sentence about each wait.
    say: &'a dyn Fn(&str),
}

/// Which bytes of a file are asked for.
#[derive(Clone, Copy)]
enum Range {
    All,
    From(u64),
    FirstByte,
}

/// Properties of a file, from the hub, before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Length in bytes.
    pub size: u64,
    /// Its hash; a mirror may give none.
    pub hash: Option<Hash>,
    /// The commit that the revision stood for; a mirror may give none.
    pub commit: Option<String>,
}

/// The bytes of a file, as they come.
pub(crate) struct Opened {
    /// The place in the file at which they begin.
    pub from: u64,
    /// The length of the whole file, if the server says it.
    pub size: Option<u64>,
    /// The bytes.
    pub body: Body,
}

impl<'a> Hub<'a> {
    /// The hub of `settings`. No request is made yet.
    pub(crate) fn new(settings: Settings, by_hand: String, say: &'a dyn Fn(&str)) -> Self {
        let Settings { endpoint, token, cache, api, timeouts, .. } = settings;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(timeouts.response))
            .timeout_recv_response(Some(timeouts.response))
            .timeout_per_read(Some(timeouts.part))
            .user_agent(USER_AGENT)
            // The machine's trust store, so that a mirror with its own certificates can be used.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .build();
        let (reached, unanswered) = (Cell::new(false), Cell::new(0));
        Self { endpoint, token, api, cache, agent: agent.into(), timeouts, reached, unanswered, by_hand, say }
    }

    /// The address of a file.
    pub(crate) fn url(&self, repository: &str, revision: &str, file: &str) -> String {
        let repo = Repo::with_revision(repository.to_owned(), RepoType::Model, revision.to_owned());
        self.api.repo(repo).url(file)
    }

    /// Where the hub's own programs keep a file of this hash on this machine, if they have fetched it.
    pub(crate) fn cached(&self, repository: &str, hash: Hash) -> PathBuf {
        self.cache.model(repository.to_owned()).blob_path(&hash.digits())
    }

    /// The properties of the file at `url`.
    ///
    /// # Errors
    /// When the hub cannot be reached, does not have it, or does not say how long it is.
    pub(crate) fn facts(&self, url: &str) -> Result<Facts> {
        let mut backoff = Backoff::default();
        loop {
            match self.facts_once(url) {
                Ok(facts) => return Ok(facts),
                Err(retryable) => self.wait(&mut backoff, retryable, url)?,
            }
        }
    }

    /// Waits until another try at `url` makes sense, and says so.
    ///
    /// # Errors
    /// When it makes none.
    pub(crate) fn wait(&self, backoff: &mut Backoff, retryable: Retryable, url: &str) -> Result<()> {
        backoff.wait(retryable, url, self.say)
    }

    fn facts_once(&self, url: &str) -> Result<Facts, Retryable> {
        let (mut at, mut commit) = (url.to_owned(), None);
        for _ in 0..=MOST_REDIRECTS {
            let response = self.ask_for_facts(&at)?;
            let headers = response.headers();
            let of_hub = text(headers, "x-repo-commit").filter(|commit| is_commit(commit)).map(str::to_owned);
            commit = commit.or(of_hub);
            let (size, hash) = (number(headers, "x-linked-size"), text(headers, "x-linked-etag"));
            if let (Some(size), Some(hash)) = (size, hash) {
                // The next address is that of a store, whose own ETag may be a hash of something else.
                return Ok(Facts { size, hash: Hash::from_etag(hash), commit });
            }
            if let Some(next) = self.redirect(&at, &response)? {
                at = next;
                continue;
            }
            let whole = text(headers, "content-range").and_then(content_range).and_then(|(_, whole)| whole);
            let length = || number(headers, "content-length").filter(|_| response.status().as_u16() != 206);
            let Some(size) = size.or(whole).or_else(length) else {
                let (expected, found) = ("the length of the file", "none".to_owned());
                return Err(PullError::Answer { url: at, expected, found }.into());
            };
            let hash = hash.or_else(|| text(headers, "etag").filter(|_| commit.is_some()));
            return Ok(Facts { size, hash: hash.and_then(Hash::from_etag), commit });
        }
        Err(too_many_redirects(url))
    }

    /// Requests the properties of the file at `url`: by HEAD, or where a server does not support that or gives no
    /// length, by a request for the first byte.
    fn ask_for_facts(&self, url: &str) -> Result<Response<Body>, Retryable> {
        let response = match self.ask(Method::HEAD, url, Range::All) {
            Ok(response) => response,
            Err(Retryable::NoHead) => return self.ask(Method::GET, url, Range::FirstByte),
            Err(retryable) => return Err(retryable),
        };
        let headers = response.headers();
        let says = ["x-linked-size", "content-length"].iter().any(|name| number(headers, name).is_some());
        if says || response.status().is_redirection() {
            return Ok(response);
        }
        self.ask(Method::GET, url, Range::FirstByte)
    }

    /// Asks for the bytes of the file at `url` from byte `from` on. The server may begin at 0 all the same.
    pub(crate) fn open(&self, url: &str, from: u64) -> Result<Opened, Retryable> {
        let mut at = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.ask(Method::GET, &at, Range::From(from))?;
            if let Some(next) = self.redirect(&at, &response)? {
                at = next;
                continue;
            }
            let headers = response.headers();
            let (from, size) = match response.status().as_u16() {
                206 => match text(headers, "content-range").and_then(content_range) {
                    Some((begin, size)) if begin == from => (from, size),
                    _ => {
                        let found = text(headers, "content-range").unwrap_or("no place at all").to_owned();
                        return Err(PullError::Answer { url: at, expected: "the bytes asked for", found }.into());
                    }
                },
                _ => (0, number(headers, "content-length")),
            };
            return Ok(Opened { from, size, body: response.into_body() });
        }
        Err(too_many_redirects(url))
    }

    /// One request. Only the endpoint itself receives the token.
    fn ask(&self, method: Method, url: &str, range: Range) -> Result<Response<Body>, Retryable> {
        let uri = url.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
        let Some(uri) = uri else {
            let (expected, found) = ("an address that can be followed", "a redirect elsewhere".to_owned());
            return Err(PullError::Answer { url: url.to_owned(), expected, found }.into());
        };
        let host = uri.host().unwrap_or_default().to_owned();
        let token = self.token.as_deref().filter(|_| same_origin(&uri, &self.endpoint));
        // A compressed response would have another length and no ranges.
        let mut request = Request::builder().method(method).uri(uri).header(header::ACCEPT_ENCODING, "identity");
        match range {
            Range::All | Range::From(0) => (),
            Range::From(from) => request = request.header(header::RANGE, format!("bytes={from}-")),
            Range::FirstByte => request = request.header(header::RANGE, "bytes=0-0"),
        }
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(()).map_err(|error| {
            let expected = "an address that can be followed";
            PullError::Answer { url: url.to_owned(), expected, found: error.to_string() }
        })?;
        let is_head = request.method() == Method::HEAD;
        match self.agent.run(request) {
            Ok(response) => {
                self.reached.set(true);
                // Not allowed, or not implemented.
                if is_head && [405, 501].contains(&response.status().as_u16()) {
                    return Err(Retryable::NoHead);
                }
                checked(url, &host, token.is_some(), response)
            }
            Err(error) => Err(self.failed(host, &error)),
        }
    }

    /// Target of a redirect, if the response is one.
    fn redirect(&self, url: &str, response: &Response<Body>) -> Result<Option<String>, Retryable> {
        if !response.status().is_redirection() {
            return Ok(None);
        }
        let here: Uri = url.parse().unwrap_or_default();
        let (scheme, authority) = (here.scheme_str().unwrap_or("https"), here.authority());
        let next = match text(response.headers(), "location") {
            Some(place) if place.starts_with("//") => Some(format!("{scheme}:{place}")),
            Some(place) if place.starts_with('/') => authority.map(|host| format!("{scheme}://{host}{place}")),
            Some(place) if place.starts_with("https://") => Some(place.to_owned()),
            // Never from an encrypted connection to a plain one.
            Some(place) if place.starts_with("http://") && scheme == "http" => Some(place.to_owned()),
            _ => None,
        };
        match next {
            Some(next) => Ok(Some(next)),
            None => {
                let expected = "an address that can be followed";
                let found = text(response.headers(), "location").unwrap_or("a redirect to nowhere").to_owned();
                Err(PullError::Answer { url: url.to_owned(), expected, found }.into())
            }
        }
    }

    /// A request without a response.
    fn failed(&self, host: String, error: &ureq::Error) -> Retryable {
        let (connect_error, mut reason) = connect_error(error, &self.timeouts);
        if let Some(proxy) = proxy(&host) {
            reason += &format!(", through the proxy {proxy}");
        }
        if !self.reached.get() {
            self.unanswered.set(self.unanswered.get() + 1);
        }
        // A host that answered before is likely to answer again.
        let certain = match connect_error {
            ConnectError::Distrust => true,
            ConnectError::Unreachable => !self.reached.get(),
            ConnectError::Broken => self.unanswered.get() >= MOST_UNANSWERED,
        };
        if certain {
            return PullError::Unreachable { host, reason, by_hand: self.by_hand.clone() }.into();
        }
        Retryable::Passing { reason: format!("{host} does not answer ({reason})"), delay: None }
    }
}

fn too_many_redirects(url: &str) -> Retryable {
    let (expected, found) = ("a file", format!("more than {MOST_REDIRECTS} redirects"));
    PullError::Answer { url: url.to_owned(), expected, found }.into()
}

fn same_origin(one: &Uri, other: &Uri) -> bool {
    one.scheme() == other.scheme() && one.authority() == other.authority()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_for_the_endpoint_alone() {
        let uri = |text: &str| text.parse::<Uri>().expect("an address");
        let endpoint = uri("https://hub.example");
        assert!(same_origin(&uri("https://hub.example/a/b"), &endpoint));
        for other in ["http://hub.example/", "https://hub.example:444/", "https://cdn.hub.example/", "https://evil/"] {
            assert!(!same_origin(&uri(other), &endpoint), "{other}");
        }
    }
}
