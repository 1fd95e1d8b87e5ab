//! Settings of a pull: hub, token, cache. What the environment says, by the names that the hub's own programs use.

use std::{env, path::PathBuf};

use hf_hub::{
    Cache,
    api::sync::{Api, ApiBuilder},
};
use ureq::http::{HeaderValue, Uri};

use heartstream_models::foreign_text::shown;

use super::{
    error::{PullError, Result},
    offline::OFFLINE,
    timeouts::Timeouts,
};

const ENDPOINT: &str = "HF_ENDPOINT";
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const HOME: &str = "HF_HOME";
const CACHE: &str = "HF_HUB_CACHE";
const TOKEN: &str = "HF_TOKEN";

/// How the hub is reached.
pub(crate) struct Settings {
    /// Its address, or that of a mirror.
    pub endpoint: Uri,
    /// The access token.
    pub token: Option<String>,
    /// Where its own programs keep what they have fetched.
    pub cache: Cache,
    /// Makes addresses of files.
    pub api: Api,
    /// Whether requests are forbidden.
    pub is_offline: bool,
    /// How long a server may take.
    pub timeouts: Timeouts,
}

impl Settings {
    /// Reads HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_TOKEN; without HF_TOKEN, the token that `hf auth
    /// login` left in HF_HOME.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub(crate) fn from_environment() -> Result<Self> {
        let (address, endpoint) = endpoint(variable(ENDPOINT))?;
        let home = Cache::new(home().join("hub"));
        let token = token(variable(TOKEN).or_else(|| home.token()))?;
        let cache = variable(CACHE).map_or(home, |path| Cache::new(path.into()));
        let api = ApiBuilder::from_cache(cache.clone()).with_endpoint(address).with_token(token.clone()).build();
        let api = api.map_err(|error| PullError::Setting {
            variable: ENDPOINT,
            expected: "an address that can be used",
            found: error.to_string(),
        })?;
        let is_offline = variable(OFFLINE).is_some_and(|value| is_true(&value));
        Ok(Self { endpoint, token, cache, api, is_offline, timeouts: Timeouts::default() })
    }
}

/// The directory that belongs to the hub on this machine: HF_HOME, or what the hub's own programs take without it.
pub(crate) fn home() -> PathBuf {
    if let Some(home) = variable(HOME) {
        return home.into();
    }
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    // Without a home directory, the one that is the current one is as good as any.
    let cache = cache.unwrap_or_else(|| env::home_dir().unwrap_or_default().join(".cache"));
    cache.join("huggingface")
}

/// Whether a variable is set to what the hub's own programs take for yes.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// The proxy that connections to `host` go through, with the variable that names it: in the order in which the HTTP
/// client looks. Names and passwords in it are left out.
pub(super) fn proxy(host: &str) -> Option<String> {
    let without = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
    if without
        .split(',')
        .map(str::trim)
        .any(|end| end == "*" || !end.is_empty() && host.ends_with(end.trim_start_matches(['*', '.'])))
    {
        return None;
    }
    let names = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
    let (name, proxy) = names.into_iter().find_map(|name| Some((name, variable(name)?)))?;
    let address = match proxy.rsplit_once('@') {
        Some((_, host)) => host,
        None => &proxy,
    };
    Some(format!("{} ({name})", shown(address)))
}

/// An environment variable that is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// The address as it is put before a path, and taken apart.
fn endpoint(given: Option<String>) -> Result<(String, Uri)> {
    let address = given.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()).trim_end_matches('/').to_owned();
    let uri = address.parse::<Uri>().ok().filter(|uri| {
        let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("http" | "https")) && plain && uri.query().is_none()
    });
    let expected = "an address such as https://mirror.example, with no name or password in it";
    match uri {
        Some(uri) => Ok((address, uri)),
        None => {
            let found = if address.contains('@') { "one that has".to_owned() } else { address };
            Err(PullError::Setting { variable: ENDPOINT, expected, found })
        }
    }
}

/// The token, which goes into a header. It is never printed.
fn token(given: Option<String>) -> Result<Option<String>> {
    match &given {
        Some(token) if HeaderValue::from_str(token).is_err() => Err(PullError::Setting {
            variable: TOKEN,
            expected: "a token of letters, digits and underscores",
            found: format!("{} bytes with others among them", token.len()),
        }),
        _ => Ok(given),
    }
}

/// Where a version is put where no directory is named: beside the hub's own cache, which is on the disk meant for such files.
pub(crate) fn default_directory(version: &str) -> PathBuf {
    home().join("heartstream").join(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_of_a_server() {
        let (address, uri) = endpoint(Some("http://127.0.0.1:8080/hub/".to_owned())).expect("an address");
        assert_eq!((address.as_str(), uri.host()), ("http://127.0.0.1:8080/hub", Some("127.0.0.1")));
        assert_eq!(endpoint(None).expect("the hub").0, "https://huggingface.co");
        for wrong in ["hub", "hub.example", "ftp://hub.example", "https://", "https://me:secret@hub", "https://h/?a=b"]
        {
            let error = endpoint(Some(wrong.to_owned())).expect_err(wrong).to_string();
            assert!(error.contains("HF_ENDPOINT") && error.contains("must be"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_token_that_is_none_is_refused_and_not_printed() {
        let error = token(Some("hf_se\ncret".to_owned())).expect_err("a line feed").to_string();
        assert!(error.contains("HF_TOKEN") && !error.contains("cret"), "{error}");
        assert_eq!(token(Some("hf_abc".to_owned())).expect("a token").as_deref(), Some("hf_abc"));
    }
}
