//! Where the picture of a drop is, as a request may say it.
//!
//! Promise: what is accepted is a URL by the standard that browsers follow
//! (<https://url.spec.whatwg.org>), read by the crate `url`: an http or https address with a host, a
//! path on this server, or a `data:image/` URL. The text is kept as it was sent. Limit: nothing is
//! fetched. Events hold what earlier versions accepted, so this is a rule of requests alone.

use std::cell::Cell;

use domain::values::{Entered, ImageUrl};
use serde::{Deserialize, Deserializer, de};
use url::{SyntaxViolation, Url};

/// Stands for this server, whose own address a request cannot know.
const HERE: &str = "http://server.invalid";

/// A picture in a request that may leave it out.
pub(super) fn picture<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Entered<ImageUrl>>, D::Error> {
    let picture = Option::<Entered<ImageUrl>>::deserialize(deserializer)?;
    if let Some(Entered(picture)) = &picture {
        check(picture.as_str()).map_err(de::Error::custom)?;
    }
    Ok(picture)
}

/// Why `text` is not where a picture can be.
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
        // A path that leads to another host (`//host/`) is no path on this server.
        "http" | "https" => !is_path || url.origin() == here.origin(),
        "data" => url.path().starts_with("image/"),
        _ => false,
    };
    if is_picture {
        return Ok(());
    }
    Err("must be an http or https URL, a path on this server, or a data:image/ URL".to_owned())
}

/// What browsers repair in silence and other programs read as another address, or should not be
/// shown to the public.
fn objection(violation: SyntaxViolation) -> Option<&'static str> {
    match violation {
        SyntaxViolation::Backslash => Some("must not have a backslash"),
        SyntaxViolation::EmbeddedCredentials => Some("must not have a user name or password"),
        SyntaxViolation::ExpectedDoubleSlash => Some("must have two slashes after the scheme"),
        SyntaxViolation::TabOrNewlineIgnored => Some("must not have a tab or line break"),
        SyntaxViolation::UnencodedAtSign => Some("must have its @ encoded as %40"),
        // Browsers and libraries encode these alike.
        SyntaxViolation::NonUrlCodePoint
        | SyntaxViolation::NullInFragment
        | SyntaxViolation::PercentDecode => None,
        // Of the scheme `file`, which is refused, and of white space, which is trimmed before.
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
