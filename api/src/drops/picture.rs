//! Validates the URL of a drop's picture in a request.
//!
//! Promise: an accepted value is a URL by the standard that browsers follow
//! (<https://url.spec.whatwg.org>), parsed by the crate `url`: an http or https address with a
//! host, a path on this server, or a `data:image/` URL. The text is stored as it was sent. Limit:
//! nothing is fetched. Events may contain values that earlier versions accepted, so the rule
//! applies to requests only.

use std::cell::Cell;

use domain::values::{Entered, ImageUrl};
use serde::{Deserialize, Deserializer, de};
use url::{SyntaxViolation, Url};

/// A placeholder for this server, whose address a request does not contain.
const HERE: &str = "http://server.invalid";

/// Deserializes an optional picture.
pub(super) fn picture<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Entered<ImageUrl>>, D::Error> {
    let picture = Option::<Entered<ImageUrl>>::deserialize(deserializer)?;
    if let Some(Entered(picture)) = &picture {
        check(picture.as_str()).map_err(de::Error::custom)?;
    }
    Ok(picture)
}

/// Returns an error if `text` is not the URL of a picture.
fn check(text: &str) -> Result<(), String> {
    let unsafe_form = Cell::new(None);
    let note = |violation| {
        if let Some(reason) = objection(violation) {
            unsafe_form.set(Some(reason));
        }
    };
    let is_path = text.starts_with('/');
    let here = Url::parse(HERE).map_err(|error| error.to_string())?;
    let url = Url::options()
        .base_url(is_path.then_some(&here))
        .syntax_violation_callback(Some(&note))
        .parse(text)
        .map_err(|error| format!("must be a URL: {error}"))?;
    if let Some(reason) = unsafe_form.get() {
        return Err(reason.to_owned());
    }
    let is_picture = match url.scheme() {
        // A path that leads to another host (`//host/`) is not a path on this server.
        "http" | "https" => !is_path || url.origin() == here.origin(),
        "data" => url.path().starts_with("image/"),
        _ => false,
    };
    if is_picture {
        return Ok(());
    }
    Err("must be an http or https URL, a path on this server, or a data:image/ URL".to_owned())
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
        // Browsers and libraries encode these in the same way.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_paths_and_data_urls_are_accepted() {
        for text in [
            "https://shop.example/a.jpg",
            "http://shop.example:8080/a.jpg?w=200#top",
            "http://[2001:db8::1]/a.jpg",
            "https://bücher.example/schöne bilder/😀.png",
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
}
