//! The path below which a shop is mounted on its host: `/shop` for `https://example.com/shop/`.
//!
//! Promise: every path that the server writes into a page, a header or a document goes through
//! [`at`], and requests lose the base path before anything else reads them ([`requests::place`]),
//! so routes, limits and metrics know nothing of it. Limit: it is set once, before the first page
//! is rendered.
//!
//! Source: docs/decisions/0098-a-shop-below-a-path.md.

pub(crate) mod requests;

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::OnceLock;

/// The most characters of a base path.
const MAX_LENGTH: usize = 200;

/// A path without a slash at its end; empty at the root of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePath(String);

impl FromStr for BasePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        let fault = if !text.starts_with('/') {
            "must begin with a slash, as /shop does"
        } else if text == "/" {
            "must name a path, as /shop does; leave it out if the shop is at the root of its host"
        } else if text.ends_with('/') {
            "must not end with a slash"
        } else if text.contains("//") {
            "must not have two slashes in a row"
        } else if text.contains(['?', '#']) {
            "must be a path without a query or fragment"
        } else if text.contains('%') {
            "must not have percent-escapes"
        } else if text.split('/').any(|part| part == "." || part == "..") {
            "must not have a segment of dots"
        } else if !text.chars().all(is_plain) {
            "must have letters and digits of ASCII, and - . _ ~ only"
        } else if text.len() > MAX_LENGTH {
            "must have at most 200 characters"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(fault.to_owned())
    }
}

impl BasePath {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

static BASE_PATH: OnceLock<BasePath> = OnceLock::new();

/// Sets the base path. One process runs one server.
pub fn set(base_path: BasePath) {
    BASE_PATH.get_or_init(|| base_path);
}

/// Returns the base path; empty at the root of a host.
#[must_use]
pub fn base_path() -> &'static str {
    BASE_PATH.get().map_or("", BasePath::as_str)
}

/// Returns the path at which clients find `path`, which begins with a slash. Another address is
/// returned as it is.
pub(crate) fn at(path: &str) -> Cow<'_, str> {
    match base_path() {
        base if !base.is_empty() && path.starts_with('/') => format!("{base}{path}").into(),
        _ => path.into(),
    }
}

/// Returns the `Path` of the shop's cookies.
pub(crate) fn of_cookies() -> &'static str {
    match base_path() {
        "" => "/",
        base => base,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_path_is_a_plain_path_of_segments() {
        for text in ["/shop", "/a/b-c/d.e_f~1", "/v1", "/.well-known"] {
            assert_eq!(text.parse::<BasePath>().unwrap().as_str(), text);
        }
        for (text, fault) in [
            ("", "must begin with a slash, as /shop does"),
            ("shop", "must begin with a slash, as /shop does"),
            (
                "https://a.example/shop",
                "must begin with a slash, as /shop does",
            ),
            ("/shop/", "must not end with a slash"),
            ("//shop", "must not have two slashes in a row"),
            ("/a//b", "must not have two slashes in a row"),
            ("/a/../b", "must not have a segment of dots"),
            ("/.", "must not have a segment of dots"),
            ("/shop?a=b", "must be a path without a query or fragment"),
            ("/shop#a", "must be a path without a query or fragment"),
            ("/sh%6Fp", "must not have percent-escapes"),
        ] {
            assert_eq!(text.parse::<BasePath>().unwrap_err(), fault, "{text}");
        }
        assert!(
            "/".parse::<BasePath>()
                .unwrap_err()
                .starts_with("must name a path")
        );
        for text in ["/a b", "/\u{e9}", "/a\\b", "/a\"b", "/{id}", "/a;b", "/<b>"] {
            let fault = text.parse::<BasePath>().unwrap_err();
            assert!(fault.starts_with("must have letters"), "{text}: {fault}");
        }
        let longest = format!("/{}", "a".repeat(MAX_LENGTH - 1));
        assert!(longest.parse::<BasePath>().is_ok());
        assert!(format!("{longest}a").parse::<BasePath>().is_err());
    }
}
