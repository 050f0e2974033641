//! The URL of a drop's picture in a request, by the rules of [`crate::urls`]. The text is stored as
//! it was sent, with its scheme in lower case.

use std::borrow::Cow;

use domain::values::{Entered, ImageUrl};
use serde::{Deserialize, Deserializer, de};

use crate::urls::{self, Purpose};

/// Deserializes an optional picture.
pub(crate) fn picture<'de, D: Deserializer<'de>>(
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

/// Returns an error if `text` is not the URL of a picture.
fn check(text: &str) -> Result<(), Cow<'static, str>> {
    urls::parse(text, Purpose::Picture).map(drop)
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
            "https://shop.example/100%25",
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
            "https://shop.example/100%",
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
            ("https://a:x/", "must have a port from 1 to 65535"),
            (
                "https://[::1",
                "must have a host name or a valid IP address",
            ),
            (
                "//other.example",
                "must not begin with two slashes, which lead to another server",
            ),
            ("a.jpg", Purpose::Picture.rule()),
            ("data:text/html,x", Purpose::Picture.rule()),
        ] {
            assert_eq!(check(text).unwrap_err(), reason, "{text:?}");
        }
    }
}
