//! Guard: which requests are let in.
//!
//! - A `Host` that is not this server's: a page elsewhere whose name was pointed at this machine (DNS rebinding).
//! - An `Origin` or a `Sec-Fetch-Site` of another site: a page elsewhere that sends requests or embeds songs.
//! - No token where one is demanded.

mod token;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{app::App, error::ApiError};
pub(crate) use token::{ClientToken, cookie, is_encrypted};

/// Paths that need no token: the page has to be there to ask for it.
const OPEN: [&str; 4] = ["/", "/healthz", "/openapi.json", "/v1/session"];

/// Sent with every answer.
const HEADERS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
];

/// Whom the server lets in.
#[derive(Debug)]
pub(crate) struct Guard {
    address: SocketAddr,
    hosts: Vec<String>,
    pub token: Option<ClientToken>,
}

impl Guard {
    pub fn new(address: SocketAddr, hosts: Vec<String>, token: Option<&str>) -> Self {
        Self { address, hosts, token: token.map(ClientToken::new) }
    }

    fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
        let host = text(header::HOST.as_str()).unwrap_or_default();
        if !self.is_own(host) {
            return Err(ApiError::Foreign(
                "the Host header names another server. Use the address that this one listens on",
            ));
        }
        let elsewhere = ApiError::Foreign("another site sent this request. Use the server's own page, or no browser");
        match text("origin") {
            None => (),
            Some(origin) if origin.split_once("://").is_some_and(|(_, origin)| origin == host) => (),
            Some(_) => return Err(elsewhere),
        }
        // Browsers say `none` where a user typed the address.
        if matches!(text("sec-fetch-site"), Some("cross-site" | "same-site")) && path != "/" {
            return Err(elsewhere);
        }
        match &self.token {
            Some(token) if !OPEN.contains(&path) && !token.is_in(headers) => Err(ApiError::Token),
            _ => Ok(()),
        }
    }

    /// Whether a `Host` header means this server. Beyond loopback the token protects it, and it may have any address; so
    /// only there any numeric address will do.
    fn is_own(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if self.hosts.iter().any(|own| own.eq_ignore_ascii_case(&name)) {
            return true;
        }
        match name.parse::<std::net::IpAddr>() {
            Ok(address) => address.is_loopback() || !self.address.ip().is_loopback(),
            Err(_) => name == "localhost",
        }
    }
}

/// Lets a request in or answers it, and counts it.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let checked = app.guard.check(request.uri().path(), request.headers());
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    app.jukebox.metrics.answered(response.status().is_client_error() || response.status().is_server_error());
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(guard: &Guard, path: &str, headers: &[(&'static str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        match guard.check(path, &map) {
            Ok(()) => 200,
            Err(error) => error.into_response().status().as_u16(),
        }
    }

    #[test]
    fn only_the_servers_own_names_are_answered() {
        let guard = Guard::new("127.0.0.1:7878".parse().unwrap(), vec!["songs.example".to_owned()], None);
        for own in ["127.0.0.1:7878", "localhost:7878", "LOCALHOST", "[::1]:7878", "songs.example", "Songs.Example:443"]
        {
            assert_eq!(answer(&guard, "/v1/songs", &[("host", own)]), 200, "{own}");
        }
        for foreign in ["evil.example", "localhost.evil.example", "192.0.2.1", "", "a b", "127.0.0.1.evil.example"] {
            assert_eq!(answer(&guard, "/v1/songs", &[("host", foreign)]), 403, "{foreign}");
        }
        assert_eq!(answer(&guard, "/v1/songs", &[]), 403, "no Host at all");
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let guard = Guard::new("127.0.0.1:7878".parse().unwrap(), Vec::new(), None);
        let host = ("host", "localhost:7878");
        for (headers, expected) in [
            (&[("origin", "http://localhost:7878")][..], 200),
            (&[("sec-fetch-site", "same-origin")], 200),
            (&[("sec-fetch-site", "none")], 200),
            (&[("origin", "http://localhost:3000")], 403),
            (&[("origin", "https://evil.example")], 403),
            (&[("origin", "null")], 403),
            (&[("sec-fetch-site", "cross-site")], 403),
            (&[("sec-fetch-site", "same-site")], 403),
        ] {
            assert_eq!(answer(&guard, "/v1/songs", &[&[host], headers].concat()), expected, "{headers:?}");
        }
    }

    #[test]
    fn with_a_token_only_the_page_is_open() {
        let guard = Guard::new("127.0.0.1:7878".parse().unwrap(), Vec::new(), Some("a-secret-of-letters"));
        let host = ("host", "localhost");
        for (path, headers, expected) in [
            ("/", &[][..], 200),
            ("/healthz", &[], 200),
            ("/v1/songs", &[], 401),
            ("/metrics", &[], 401),
            ("/v1/songs", &[("authorization", "Bearer a-secret-of-letters")], 200),
            ("/v1/songs", &[("authorization", "bearer a-secret-of-letters")], 200),
            ("/v1/songs", &[("authorization", "Bearer a-secret-of-letter")], 401),
            ("/v1/songs", &[("authorization", "a-secret-of-letters")], 401),
            ("/v1/songs", &[("cookie", "x=1; heartstream=a-secret-of-letters")], 200),
            ("/v1/songs", &[("cookie", "heartstream=wrong")], 401),
        ] {
            assert_eq!(answer(&guard, path, &[&[host], headers].concat()), expected, "{path} {headers:?}");
        }
    }
}
