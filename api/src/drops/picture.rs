//! Validates the URL of a drop's picture in a request.
//!
//! Promise: an accepted value is a URL by the standard that browsers follow
//! (<https://url.spec.whatwg.org>), parsed by the crate `url`: an http or https address with a
//! host, a path on this server, or a `data:image/` URL. A text that a browser would have to repair
//! is refused, because other programs repair it differently or not at all. The text is stored as it
//! was sent, with its scheme in lower case. Limit: nothing is fetched. Events may contain values
//! that earlier versions accepted, so the rule applies to requests only.

use std::borrow::Cow;
use std::cell::Cell;

use domain::values::{Entered, ImageUrl};
use serde::{Deserialize, Deserializer, de};
use url::{ParseError, SyntaxViolation, Url};

/// A placeholder for this server, whose address a request does not contain.
const HERE: &str = "http://server.invalid";

/// Deserializes an optional picture.
pub(super) fn picture<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Entered<ImageUrl>>, D::Error> {
    let Some(text) = Option::<Cow<'_, str>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let text = text.trim();
    // The length first: its message would be hidden by those of an endless or an empty URL.
    if !text.is_empty() && text.chars().count() <= ImageUrl::MAX_CHARS {
        check(text).map_err(de::Error::custom)?;
    }
    let picture = ImageUrl::new(text).map_err(de::Error::custom)?;
    Ok(Some(Entered(picture)))
}

const PICTURE: &str = "must be an http or https URL, a path on this server, or a data:image/ URL";

/// Returns an error if `text` is not the URL of a picture.
fn check(text: &str) -> Result<(), Cow<'static, str>> {
    let is_path = text.starts_with('/');
    let is_data = text
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("data:"));
    // The standard keeps the characters of a `data:` URL, so the parser repairs nothing in them.
    if !is_data && let Some(objection) = unsafe_character(text) {
        return Err(objection);
    }
    let repaired = Cell::new(None);
    let note = |violation| {
        if let Some(objection) = objection(violation) {
            repaired.set(repaired.take().or(Some(objection)));
        }
    };
    let here = Url::parse(HERE).map_err(|_| PICTURE)?;
    let parsed = Url::options()
        .base_url(is_path.then_some(&here))
        .syntax_violation_callback(Some(&note))
        .parse(text);
    // The first repair of the parser also explains a later failure.
    if let Some(objection) = repaired.get() {
        return Err(objection.into());
    }
    let url = parsed.map_err(fault)?;
    if is_path && url.origin() != here.origin() {
        return Err("must not begin with two slashes, which lead to another server".into());
    }
    let is_picture = match url.scheme() {
        "http" | "https" => true,
        "data" => {
            let start = url.path().get(..6);
            start.is_some_and(|start| start.eq_ignore_ascii_case("image/"))
        }
        _ => false,
    };
    if is_picture {
        Ok(())
    } else {
        Err(PICTURE.into())
    }
}

/// Returns the objection to a character that a parser repairs outside `data:` URLs: it drops tabs
/// and line breaks, takes a backslash for a slash, and encodes the others.
fn unsafe_character(text: &str) -> Option<Cow<'static, str>> {
    let is_unsafe = |c: char| c.is_ascii_control() || " \"<>\\^`{|}".contains(c);
    let c = text.chars().find(|c| is_unsafe(*c))?;
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
fn objection(violation: SyntaxViolation) -> Option<&'static str> {
    match violation {
        SyntaxViolation::Backslash => Some("must not have a backslash"),
        SyntaxViolation::EmbeddedCredentials => Some("must not have a user name or password"),
        SyntaxViolation::ExpectedDoubleSlash => Some("must have two slashes after the scheme"),
        SyntaxViolation::TabOrNewlineIgnored => Some("must not have a tab or line break"),
        SyntaxViolation::UnencodedAtSign => Some("must have its @ encoded as %40"),
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
fn fault(error: ParseError) -> Cow<'static, str> {
    let words = match error {
        ParseError::EmptyHost => "must have a host name",
        ParseError::InvalidPort => "must have a port from 0 to 65535",
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
        | _ => PICTURE,
    };
    words.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_paths_and_data_urls_are_accepted() {
        for text in [
            "https://shop.example/a.jpg",
            "http://shop.example:8080/a.jpg?w=200#top",
            "http://[2001:db8::1]/a.jpg",
            "https://bücher.example/schöne/😀.png",
            "HTTPS://shop.example/a.jpg",
            "https://SHOP.example:443/a/../b.jpg",
            "https://shop.example/100%",
            "Data:Image/PNG;base64,iVBORw0KGgo=",
            "https://shop.example/a%20b.png",
            "/pictures/a.jpg",
            "/",
            "/a//b",
            "/pictures/user@host.png",
            "data:image/png;base64,iVBORw0KGgo=",
            "data:image/svg+xml,<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "https://",
            "https:///",
            "https://shop.example/a b.jpg",
            "https://shop.example/a?b c",
            "https://shop.example/a#b c",
            "https://shop.example/<a>",
            "https://shop.example/{a}",
            "https://shop.example/a\tb",
            "ht\ntps://shop.example/",
            "/a b.jpg",
            "https://?q",
            "http://[::1",
            "https://shop.example:99999/a.jpg",
            "https://shop .example/a.jpg",
            "https://%zz/a.jpg",
            "https:shop.example/a.jpg",
            "https:/shop.example/a.jpg",
            "https:\\\\shop.example\\a.jpg",
            "https://user:secret@shop.example/a.jpg",
            "https://user@shop.example/a.jpg",
            "//other.example/a.jpg",
            "/\\other.example/a.jpg",
            "/a\\b.jpg",
            "a.jpg",
            "../a.jpg",
            "?q",
            "#top",
            "data:text/html,<p>",
            "data:,image/",
            "javascript:alert(1)",
            "ftp://shop.example/a.jpg",
            "file:///etc/passwd",
            "blob:https://shop.example/1",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reason_names_the_first_thing_that_a_browser_would_repair() {
        for (text, reason) in [
            ("/\\other.example", "must not have a backslash"),
            ("\\\\other.example", "must not have a backslash"),
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
                "https://shop.example/a b",
                "must not have a space; write it as %20",
            ),
            ("/a|b", "must not have |; write it as %7C"),
            ("/a\u{7f}b", "must not have a control character"),
            ("https://", "must have a host name"),
            ("https://a:x/", "must have a port from 0 to 65535"),
            (
                "https://[::1",
                "must have a host name or a valid IP address",
            ),
            (
                "//other.example",
                "must not begin with two slashes, which lead to another server",
            ),
            ("a.jpg", PICTURE),
            ("data:text/html,x", PICTURE),
        ] {
            assert_eq!(check(text).unwrap_err(), reason, "{text:?}");
        }
    }
}
