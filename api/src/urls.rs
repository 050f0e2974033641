//! Validates the URLs in requests: pictures of drops, and endpoints of webhooks.
//!
//! Promise: an accepted value is a URL by the standard that browsers follow
//! (<https://url.spec.whatwg.org>), parsed by the crate `url`, and nothing in it had to be
//! repaired. A repair is refused, because other programs repair differently or not at all. A host
//! name may have non-ASCII letters; it is converted by IDNA (UTS 46) when it is resolved. The text
//! is stored as it was sent, with its scheme in lower case, so its length is that of the request.
//! Limit: nothing is fetched or resolved. Stored values may be older than a rule, so the rules
//! apply to requests only.

use std::borrow::Cow;
use std::cell::Cell;

use domain::values::require_visible_characters;
use url::{Host, ParseError, SyntaxViolation, Url};

/// A placeholder for this server, whose address a request does not contain.
const HERE: &str = "http://server.invalid";

/// The purpose of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An http or https URL, a path on this server, or a `data:image/` URL.
    Picture,
    /// An http or https URL without a fragment.
    Endpoint,
}

impl Purpose {
    /// The fault of a text that is something else.
    pub(crate) const fn rule(self) -> &'static str {
        match self {
            Self::Picture => {
                "must be an http or https URL, a path on this server, or a data:image/ URL"
            }
            Self::Endpoint => "must be an http or https URL with a host",
        }
    }
}

/// Parses the URL in a request; a path on this server gets a placeholder as its host.
///
/// # Errors
/// The rule that it breaks, which begins with "must".
pub(crate) fn parse(text: &str, purpose: Purpose) -> Result<Url, Cow<'static, str>> {
    let is_path = purpose == Purpose::Picture && text.starts_with('/');
    let is_data = purpose == Purpose::Picture && has_scheme(text, "data:");
    // The standard keeps the characters of a `data:` URL, so the parser repairs nothing in them.
    if !is_data && let Some(objection) = unsafe_character(text) {
        return Err(objection);
    }
    let repaired = Cell::new(None);
    let note = |violation| {
        if let Some(objection) = objection(violation, is_data) {
            repaired.set(repaired.take().or(Some(objection)));
        }
    };
    let here = Url::parse(HERE).map_err(|_| purpose.rule())?;
    let parsed = Url::options()
        .base_url(is_path.then_some(&here))
        .syntax_violation_callback(Some(&note))
        .parse(text);
    // The first repair of the parser also explains a later failure.
    if let Some(objection) = repaired.get() {
        return Err(objection.into());
    }
    let url = parsed.map_err(|error| fault(error, purpose))?;
    if is_path {
        return match url.origin() == here.origin() {
            true => Ok(url),
            false => Err("must not begin with two slashes, which lead to another server".into()),
        };
    }
    match url.scheme() {
        "http" | "https" if url.has_host() => check_authority(text, &url)?,
        "data" if is_data => check_data(text)?,
        _ => return Err(purpose.rule().into()),
    }
    if purpose == Purpose::Endpoint && url.fragment().is_some() {
        return Err("must not have a fragment (#), which is never sent".into());
    }
    Ok(url)
}

fn has_scheme(text: &str, scheme: &str) -> bool {
    let start = text.get(..scheme.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// Checks the host and the port of an http or https URL as they were written.
fn check_authority(text: &str, url: &Url) -> Result<(), Cow<'static, str>> {
    let (_, rest) = text.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // An address of version 6 is in brackets and contains colons.
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        Some(_) | None => authority,
    };
    if host.contains('%') {
        return Err("must have a host name that is not percent-encoded".into());
    }
    if let Some(Host::Ipv4(address)) = url.host()
        && host != address.to_string()
    {
        let detail = format!("must have an IPv4 address as four decimal numbers: {address}");
        return Err(detail.into());
    }
    match url.port() {
        Some(0) => Err("must have a port from 1 to 65535".into()),
        Some(_) | None => Ok(()),
    }
}

/// Checks a `data:` URL by RFC 2397: a media type of a picture, a comma, and the data.
fn check_data(text: &str) -> Result<(), Cow<'static, str>> {
    let data = text.get("data:".len()..).unwrap_or_default();
    let subtype = data.get("image/".len()..).unwrap_or_default();
    if !has_scheme(data, "image/") || subtype.starts_with([',', ';']) || subtype.is_empty() {
        return Err(Purpose::Picture.rule().into());
    }
    let data = data.split('#').next().unwrap_or_default();
    match data.contains(',') {
        true => Ok(()),
        false => Err("must have a comma between the media type and the data".into()),
    }
}

/// Returns the objection to a character that a parser repairs outside `data:` URLs: it drops tabs
/// and line breaks, takes a backslash for a slash, and encodes the others. Characters that no
/// reader sees must be percent-encoded.
fn unsafe_character(text: &str) -> Option<Cow<'static, str>> {
    let is_unsafe = |c: char| c.is_ascii_control() || " \"<>\\^`{|}".contains(c);
    let Some(c) = text.chars().find(|c| is_unsafe(*c)) else {
        let fault = require_visible_characters(text).err()?;
        return Some(fault.to_string().into());
    };
    Some(match c {
        '\t' | '\n' | '\r' => "must not have a tab or line break".into(),
        '\\' => "must not have a backslash".into(),
        ' ' => "must not have a space; write it as %20".into(),
        c if c.is_ascii_control() => "must not have a control character".into(),
        c => format!("must not have {c}; write it as %{:02X}", u32::from(c)).into(),
    })
}

/// Returns the reason to reject a violation that browsers repair silently and other programs
/// interpret differently, or that must not be published.
fn objection(violation: SyntaxViolation, is_data: bool) -> Option<&'static str> {
    match violation {
        SyntaxViolation::Backslash => Some("must not have a backslash"),
        SyntaxViolation::EmbeddedCredentials => Some("must not have a user name or password"),
        SyntaxViolation::ExpectedDoubleSlash => Some("must have two slashes after the scheme"),
        SyntaxViolation::TabOrNewlineIgnored => Some("must not have a tab or line break"),
        SyntaxViolation::UnencodedAtSign => Some("must have its @ encoded as %40"),
        // Pictures in SVG have bare percent signs, which every browser keeps.
        SyntaxViolation::PercentDecode if !is_data => {
            Some("must have two hexadecimal digits after each %; write the sign itself as %25")
        }
        // Browsers and libraries keep these. A character that they encode was rejected before.
        SyntaxViolation::NonUrlCodePoint
        | SyntaxViolation::NullInFragment
        | SyntaxViolation::PercentDecode => None,
        // Violations of the rejected scheme `file`, and white space, which was trimmed before.
        SyntaxViolation::C0SpaceIgnored
        | SyntaxViolation::ExpectedFileDoubleSlash
        | SyntaxViolation::FileWithHostAndWindowsDrive
        | _ => None,
    }
}

/// Returns the reason why a text is not a URL.
fn fault(error: ParseError, purpose: Purpose) -> Cow<'static, str> {
    let words = match error {
        ParseError::EmptyHost => "must have a host name",
        ParseError::InvalidPort => "must have a port from 1 to 65535",
        ParseError::IdnaError | ParseError::InvalidDomainCharacter => {
            "must have a host name without characters that no host name has"
        }
        ParseError::InvalidIpv4Address | ParseError::InvalidIpv6Address => {
            "must have a host name or a valid IP address"
        }
        ParseError::RelativeUrlWithoutBase
        | ParseError::RelativeUrlWithCannotBeABaseBase
        | ParseError::SetHostOnCannotBeABaseUrl
        | ParseError::Overflow
        | _ => purpose.rule(),
    };
    words.into()
}

/// Returns the text with its scheme in lower case, as it is stored: schemes have no case (RFC 3986,
/// section 3.1).
pub(crate) fn stored(text: &str) -> String {
    match text.split_once(':') {
        Some((scheme, rest)) => format!("{}:{rest}", scheme.to_ascii_lowercase()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Faults of URLs, which do not depend on their purpose.
    const FAULTS: [(&str, &str); 26] = [
        ("https:\\\\shop.example", "must not have a backslash"),
        ("https:///a\\b", "must not have a backslash"),
        (
            "https:/shop.example",
            "must have two slashes after the scheme",
        ),
        (
            "https:////shop.example",
            "must have two slashes after the scheme",
        ),
        ("https://a:b@", "must not have a user name or password"),
        (
            "https://user@shop.example/",
            "must not have a user name or password",
        ),
        (
            "https://shop.example/a b",
            "must not have a space; write it as %20",
        ),
        (
            "https://shop.example/a|b",
            "must not have |; write it as %7C",
        ),
        (
            "https://shop.example/a\u{7f}b",
            "must not have a control character",
        ),
        (
            "https://shop.example/a\u{85}b",
            "must not contain control characters",
        ),
        (
            "https://shop.example/gpj\u{202e}.html",
            "must not contain U+202E, which changes the direction of text",
        ),
        (
            "https://sh\u{ad}op.example/",
            "must not contain U+00AD, which is invisible",
        ),
        (
            "https://shop.example/a\u{2028}b",
            "must not contain U+2028, white space other than U+0020",
        ),
        ("https://", "must have a host name"),
        ("https://?q", "must have a host name"),
        ("https://a:x/", "must have a port from 1 to 65535"),
        ("https://a:99999/", "must have a port from 1 to 65535"),
        (
            "https://shop.example:0/",
            "must have a port from 1 to 65535",
        ),
        (
            "https://[::1",
            "must have a host name or a valid IP address",
        ),
        (
            "https://shop.example/100%",
            "must have two hexadecimal digits after each %; write the sign itself as %25",
        ),
        (
            "https://shop.example/?discount=5%&x=%zz",
            "must have two hexadecimal digits after each %; write the sign itself as %25",
        ),
        (
            "https://%73hop.example/",
            "must have a host name that is not percent-encoded",
        ),
        (
            "http://127.1",
            "must have an IPv4 address as four decimal numbers: 127.0.0.1",
        ),
        (
            "http://2130706433:80/",
            "must have an IPv4 address as four decimal numbers: 127.0.0.1",
        ),
        (
            "http://0x7f.0.0.01?q",
            "must have an IPv4 address as four decimal numbers: 127.0.0.1",
        ),
        (
            "http://\u{ff11}27.0.0.1/",
            "must have an IPv4 address as four decimal numbers: 127.0.0.1",
        ),
    ];

    #[test]
    fn every_purpose_has_the_same_rules() {
        for purpose in [Purpose::Picture, Purpose::Endpoint] {
            for (text, reason) in FAULTS {
                assert_eq!(parse(text, purpose).unwrap_err(), reason, "{text:?}");
            }
            for text in [
                "https://shop.example/a.jpg",
                "http://shop.example:8080/a.jpg?w=200",
                "http://127.0.0.1:9/",
                "http://[2001:db8::1]:8080/a.jpg",
                "http://[::ffff:10.0.0.1]/",
                "https://bücher.example/schöne/😀.png",
                "HTTPS://SHOP.example:443/a/../b.jpg",
                "https://shop.example/a%20b?c=%C3%A9",
                "https://shop.example?a:0",
            ] {
                assert!(parse(text, purpose).is_ok(), "{text}");
            }
        }
    }

    #[test]
    fn paths_and_data_are_pictures_only() {
        for text in [
            "/",
            "/a.jpg",
            "data:image/png;base64,AA==",
            "data:image/svg+xml,<a b='5%'>",
        ] {
            assert!(parse(text, Purpose::Picture).is_ok(), "{text}");
            let refused = parse(text, Purpose::Endpoint);
            assert!(refused.is_err(), "{text}");
        }
        let fragment = "https://shop.example/#top";
        assert!(parse(fragment, Purpose::Picture).is_ok());
        let reason = parse(fragment, Purpose::Endpoint).unwrap_err();
        assert_eq!(reason, "must not have a fragment (#), which is never sent");
        let comma = "must have a comma between the media type and the data";
        for (text, reason) in [
            ("data:image/png", comma),
            ("data:image/png;base64", comma),
            ("data:image/png#a,b", comma),
            ("data:image/,x", Purpose::Picture.rule()),
            ("data:image/", Purpose::Picture.rule()),
            ("data:text/html,x", Purpose::Picture.rule()),
        ] {
            assert_eq!(parse(text, Purpose::Picture).unwrap_err(), reason, "{text}");
        }
    }

    #[test]
    fn only_the_scheme_is_rewritten() {
        for (text, kept) in [
            ("HTTPS://Shop.Example/A", "https://Shop.Example/A"),
            ("https://shop.example", "https://shop.example"),
        ] {
            assert_eq!(stored(text), kept);
        }
    }
}
