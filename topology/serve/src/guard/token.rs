//! Token: the secret that clients show, in a header or, from the page, in a cookie.

use std::fmt;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

/// The cookie's name.
const COOKIE: &str = "heartstream";

/// A secret, of which only a hash is kept: comparing hashes takes as long wherever they differ.
pub(crate) struct ClientToken([u8; 32]);

impl ClientToken {
    pub fn new(secret: &str) -> Self {
        Self(hash(secret))
    }

    /// Whether it is `secret`.
    pub fn is(&self, secret: &str) -> bool {
        self.0 == hash(secret)
    }

    /// Whether a request shows it.
    pub fn is_in(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.split_once(' '));
        let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, secret)| secret);
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookies = cookies.flat_map(|value| value.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        let cookie = cookies.filter(|(name, _)| *name == COOKIE).map(|(_, secret)| secret).next();
        bearer.into_iter().chain(cookie).any(|secret| self.is(secret))
    }
}

/// A cookie that no script reads and no other site makes a browser send; where the page came `encrypted`, neither does a
/// connection that is not.
pub(crate) fn cookie(secret: &str, encrypted: bool) -> String {
    let secure = if encrypted { "; Secure" } else { "" };
    format!("{COOKIE}={secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000{secure}")
}

/// Whether a reverse proxy says that the client's connection is encrypted. A client that says so itself changes nothing
/// but its own cookie.
pub(crate) fn is_encrypted(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

impl fmt::Debug for ClientToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientToken(…)")
    }
}
