//! Responses of a server, and errors of a connection.

use std::{error::Error, io::ErrorKind, time::Duration};

use ureq::{
    Body, Timeout,
    http::{HeaderMap, Response},
};

use super::{error::PullError, retry::Retryable, timeouts::Timeouts};

/// Kinds of connection errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// No connection: no network, no such host, or refused.
    Unreachable,
    /// The connection broke off or timed out.
    Broken,
    /// The server's certificate is not trusted.
    Distrust,
}

/// The kind of an error of the HTTP client, and its reason in words.
pub(crate) fn connect_error(error: &ureq::Error, timeouts: &Timeouts) -> (ConnectError, String) {
    use ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, InvalidData, TimedOut, UnexpectedEof,
    };
    use ureq::Error::{ConnectProxyFailed, ConnectionFailed, HostNotFound, InvalidProxyUrl, Io, Rustls, Tls};
    let seconds = timeouts.response.as_secs_f64();
    let untrusted = |error: &dyn Error| {
        format!("{error} (for certificates of an authority of your own, set SSL_CERT_FILE to a file of them)")
    };
    match error {
        Io(error) => match error.kind() {
            InvalidData => (ConnectError::Distrust, untrusted(error)),
            BrokenPipe | ConnectionAborted | ConnectionReset | Interrupted | TimedOut | UnexpectedEof => {
                (ConnectError::Broken, error.to_string())
            }
            // Refused, no route, no network; that a name is unknown has no kind of its own.
            _ => (ConnectError::Unreachable, error.to_string()),
        },
        Rustls(_) | Tls(_) => (ConnectError::Distrust, untrusted(error)),
        HostNotFound => (ConnectError::Unreachable, "no such host name".to_owned()),
        ConnectionFailed | ConnectProxyFailed(_) | InvalidProxyUrl => (ConnectError::Unreachable, error.to_string()),
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            (ConnectError::Unreachable, format!("no connection within {seconds} seconds"))
        }
        ureq::Error::Timeout(_) => (ConnectError::Broken, format!("no answer within {seconds} seconds")),
        error => (ConnectError::Broken, error.to_string()),
    }
}

/// A response that is a file or a redirect; everything else is a failure.
pub(crate) fn checked(
    url: &str,
    host: &str,
    with_token: bool,
    response: Response<Body>,
) -> Result<Response<Body>, Retryable> {
    let status = response.status();
    let url = url.to_owned();
    match status.as_u16() {
        200 | 206 if is_page(response.headers()) => Err(PullError::Page { url }.into()),
        200 | 206 | 301 | 302 | 303 | 307 | 308 => Ok(response),
        401 | 403 => {
            let remedy = if with_token {
                "its token is not valid, or its owner has not accepted the terms of the repository. Check HF_TOKEN, and \
                 the repository's page"
            } else {
                "the repository is gated or private. Accept its terms on its page, and set HF_TOKEN to a token of your \
                 account"
            };
            Err(PullError::Refused { host: host.to_owned(), url, status: status.as_u16(), remedy }.into())
        }
        404 | 410 => Err(PullError::NotFound { url, status: status.as_u16() }.into()),
        408 | 425 | 429 | 500 | 502 | 503 | 504 => {
            let delay = number(response.headers(), "retry-after").map(Duration::from_secs);
            Err(Retryable::Passing { reason: format!("the server answers with status {status}"), delay })
        }
        _ => Err(PullError::Answer { url, expected: "a file", found: format!("status {status}") }.into()),
    }
}

/// Whether an answer is a web page. No file of a checkpoint is one.
fn is_page(headers: &HeaderMap) -> bool {
    text(headers, "content-type").is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// A header that is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A header that is a whole number.
pub(crate) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name).and_then(|text| text.trim().parse().ok())
}

/// A commit becomes a part of addresses, so it must be what it says.
pub(crate) fn is_commit(commit: &str) -> bool {
    commit.len() == 40 && commit.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// The begin and, unless it is `*`, the size of the whole of `bytes BEGIN-END/SIZE`.
pub(crate) fn content_range(range: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (begin, _) = range.split_once('-')?;
    Some((begin.trim().parse().ok()?, size.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_part_is_read_or_refused() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for wrong in ["", "bytes", "bytes */10", "items 5-9/10", "bytes 5", "bytes -1-9/10"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_network_is_told_apart_from_a_connection_that_broke() {
        let io = |error: std::io::Error| connect_error(&ureq::Error::Io(error), &Timeouts::default()).0;
        // The error of a lookup without a network.
        let unknown = "failed to lookup address information: Temporary failure in name resolution";
        assert_eq!(io(std::io::Error::other(unknown)), ConnectError::Unreachable);
        assert_eq!(io(ErrorKind::ConnectionRefused.into()), ConnectError::Unreachable);
        assert_eq!(io(ErrorKind::NetworkUnreachable.into()), ConnectError::Unreachable);
        assert_eq!(io(ErrorKind::ConnectionReset.into()), ConnectError::Broken);
        assert_eq!(io(ErrorKind::UnexpectedEof.into()), ConnectError::Broken);
        let untrusted = ureq::Error::Tls("a certificate without a known issuer");
        let (distrust, reason) = connect_error(&untrusted, &Timeouts::default());
        assert!(distrust == ConnectError::Distrust && reason.contains("SSL_CERT_FILE"), "{reason}");
    }
}
