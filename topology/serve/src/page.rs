//! Page: one HTML document with everything in it, and a policy that lets it load nothing else.

use axum::body::Bytes;
use sha2::{Digest, Sha256};

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPTS: [&str; 5] = [
    include_str!("page/server.js"),
    include_str!("page/player.js"),
    include_str!("page/pictures.js"),
    include_str!("page/songs.js"),
    include_str!("page/order.js"),
];

/// The page, and what it may do.
pub(crate) struct Page {
    pub html: Bytes,
    /// `Content-Security-Policy`: the one script and the one style, by their hashes, and this server.
    pub policy: String,
}

impl Page {
    pub fn new() -> Self {
        let script = SCRIPTS.concat();
        let html = HTML.replacen("/* style */", STYLE, 1).replacen("/* script */", &script, 1);
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; media-src 'self' blob:; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            base64(&Sha256::digest(&script)),
            base64(&Sha256::digest(STYLE)),
        );
        Self { html: html.into(), policy }
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_document() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn the_page_names_no_other_host_and_has_its_script_and_its_style() {
        let page = Page::new();
        let html = std::str::from_utf8(&page.html).unwrap();
        assert!(!html.contains("/* script */") && !html.contains("/* style */"));
        let foreign = html
            .match_indices("://")
            .filter(|(place, _)| !html[..*place].ends_with("http") || !html[*place..].starts_with("://www.w3.org/"));
        assert_eq!(foreign.count(), 0, "the page names another host");
        assert!(!html.contains("style=\"") && !html.contains(" onclick="), "the policy forbids it");
    }
}
