//! The address at which a buyer gets a token: the shop's own sign-in page.
//!
//! Promise: the token that such a page hands over arrives at a page that was loaded from this
//! server, and the address itself cannot be read or changed on its way. Limit: the page at the
//! address is the shop's; it must check `return_to` itself.
//!
//! Source: docs/decisions/0077-pages-take-tokens-from-the-fragment.md.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::urls::is_protected;

/// The name of the parameter that a page adds: the address to return to.
pub const RETURN_TO: &str = "return_to";

/// The address of a sign-in page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInUrl(String);

/// Why a text is not the address of a sign-in page.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInUrlError {
    #[error("must be an absolute https URL, for example https://shop.example/sign-in")]
    Url,
    /// An attacker on the way could show a page of their own.
    #[error("must be https, because buyers enter passwords there; http is for loopback only")]
    Unencrypted,
    #[error("must not have a user name or password")]
    Credentials,
    /// Buyers' tokens return in a fragment of another address.
    #[error("must not have a fragment (#…)")]
    Fragment,
    #[error("must not have the parameter {RETURN_TO}: the pages add it")]
    ReturnTo,
}

impl SignInUrl {
    /// The sign-in page of the demo: a path of the same server.
    #[must_use]
    pub fn of_demo(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// Returns the address, absolute except in the demo.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SignInUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SignInUrl {
    type Err = SignInUrlError;

    fn from_str(text: &str) -> Result<Self, SignInUrlError> {
        let url = Url::parse(text).map_err(|_| SignInUrlError::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(SignInUrlError::Url);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SignInUrlError::Credentials);
        }
        if !is_protected(&url) {
            return Err(SignInUrlError::Unencrypted);
        }
        if url.fragment().is_some() {
            return Err(SignInUrlError::Fragment);
        }
        if url.query_pairs().any(|(name, _)| name == RETURN_TO) {
            return Err(SignInUrlError::ReturnTo);
        }
        Ok(Self(url.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, SignInUrlError> {
        text.parse::<SignInUrl>().map(|url| url.to_string())
    }

    #[test]
    fn sign_in_page_is_encrypted_or_on_this_machine() {
        for (text, url) in [
            (
                "https://shop.example/sign-in",
                "https://shop.example/sign-in",
            ),
            ("https://shop.example", "https://shop.example/"),
            (
                "HTTPS://Shop.Example/in?from=drops&x=1",
                "https://shop.example/in?from=drops&x=1",
            ),
            ("http://127.0.0.1:3000/in", "http://127.0.0.1:3000/in"),
            ("http://localhost/in", "http://localhost/in"),
            ("http://[::1]:8/in", "http://[::1]:8/in"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(url), "{text}");
        }
        for (text, error) in [
            ("", SignInUrlError::Url),
            ("/sign-in", SignInUrlError::Url),
            ("shop.example/sign-in", SignInUrlError::Url),
            ("//shop.example/sign-in", SignInUrlError::Url),
            ("javascript:alert(1)", SignInUrlError::Url),
            ("data:text/html,sign-in", SignInUrlError::Url),
            ("ftp://shop.example/sign-in", SignInUrlError::Url),
            ("http://shop.example/sign-in", SignInUrlError::Unencrypted),
            (
                "http://localhost.example/sign-in",
                SignInUrlError::Unencrypted,
            ),
            ("https://ann@shop.example/", SignInUrlError::Credentials),
            ("https://:x@shop.example/", SignInUrlError::Credentials),
            ("https://shop.example/#in", SignInUrlError::Fragment),
            ("https://shop.example/#", SignInUrlError::Fragment),
            (
                "https://shop.example/?a=1&return%5Fto=x",
                SignInUrlError::ReturnTo,
            ),
        ] {
            assert_eq!(parsed(text), Err(error), "{text}");
        }
    }

    #[test]
    fn markup_in_an_address_is_encoded() {
        let url = parsed("https://shop.example/\"><script>?a=\"'<b>").unwrap();
        assert!(!url.contains(['"', '<', '>', '\'']), "{url}");
    }
}
