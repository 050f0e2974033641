//! Errors and untrusted text in a form that is safe to print.
//!
//! Promise: [`one_line`] writes a whole chain of causes without repetition and without control
//! characters; [`without_credentials`] never shows a password of a URL.

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, ErrorKind};

/// The usual causes of failed input and output in words that need no knowledge of the library;
/// `None` for any other.
#[must_use]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other kinds keep the system's words"
)]
pub fn reason(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::NotFound => "there is no such file or directory",
        ErrorKind::PermissionDenied => "permission denied",
        ErrorKind::AlreadyExists => "the file exists already",
        ErrorKind::IsADirectory => "it is a directory",
        ErrorKind::NotADirectory => "a part of the path is not a directory",
        ErrorKind::ConnectionRefused => "the connection was refused",
        ErrorKind::ConnectionReset => "the other side closed the connection",
        ErrorKind::TimedOut => "there was no response in time",
        ErrorKind::AddrInUse => "the address is in use",
        ErrorKind::AddrNotAvailable => "the address is not one of this machine",
        ErrorKind::StorageFull => "the disk is full",
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        _ => return None,
    })
}

/// The text of one cause.
fn words(error: &(dyn Error + 'static)) -> String {
    let of_system = error.downcast_ref::<io::Error>();
    // An error with an inner one describes itself in its own words.
    let of_system = of_system.filter(|error| error.get_ref().is_none());
    let reason = of_system.and_then(|error| reason(error.kind()));
    reason.map_or_else(|| error.to_string(), str::to_owned)
}

/// `error` and its causes in one line. A cause whose text the line already contains is left out.
#[must_use]
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = words(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = words(error);
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    visible(&line.replace('\n', " ")).into_owned()
}

/// Escapes the control characters of `text`, so that a terminal shows them instead of executing
/// them.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => shown.extend(char.escape_default()),
            false => shown.push(char),
        }
    }
    Cow::Owned(shown)
}

/// Returns a setting that may be a URL, or a list of URLs, with `***` for the user name and the
/// password, so that a message can quote it. Settings that are not valid URLs are masked as well:
/// their errors quote them too. A path with an `@` can be masked with it.
#[must_use]
pub fn without_credentials(setting: &str) -> Cow<'_, str> {
    let start = match setting.find("//") {
        Some(slashes) => slashes + 2,
        // An address that has no password, and may be the contact of a shop.
        None if setting.starts_with("mailto:") => return Cow::Borrowed(setting),
        None => 0,
    };
    // The last one: a password may have an `@` or a slash that should have been encoded.
    match setting[start..].rfind('@') {
        Some(at) => Cow::Owned(format!(
            "{}***{}",
            &setting[..start],
            &setting[start + at..]
        )),
        None => Cow::Borrowed(setting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_urls_are_masked() {
        for (setting, shown) in [
            ("https://shop.example/a?b#c", "https://shop.example/a?b#c"),
            ("https://ann:pw@shop.example/", "https://***@shop.example/"),
            ("https://token@shop.example", "https://***@shop.example"),
            ("https://:pw@shop.example", "https://***@shop.example"),
            ("https://ann:p@w@shop.example", "https://***@shop.example"),
            (
                "https://ann:p/w?x#y@shop.example",
                "https://***@shop.example",
            ),
            ("https://ann:p w@shop.example", "https://***@shop.example"),
            (
                "postgres://ann:pw@/shop?host=/run",
                "postgres://***@/shop?host=/run",
            ),
            ("//ann:pw@shop.example", "//***@shop.example"),
            ("ann:pw@shop.example", "***@shop.example"),
            ("https:ann:pw@shop.example", "***@shop.example"),
            (
                "https://a.example,https://ann:pw@b.example",
                "https://***@b.example",
            ),
            ("mailto:shop@shop.example", "mailto:shop@shop.example"),
            ("/etc/keys.json", "/etc/keys.json"),
            ("", ""),
        ] {
            assert_eq!(without_credentials(setting), shown, "{setting}");
        }
    }

    #[test]
    fn errors_of_the_system_are_in_plain_words() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(one_line(&refused), "the connection was refused");
        let exists = io::Error::from(ErrorKind::AlreadyExists);
        assert_eq!(one_line(&exists), "the file exists already");
        let own = io::Error::new(ErrorKind::NotFound, "the host name has no address");
        assert_eq!(one_line(&own), "the host name has no address");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(visible("“drei” Stück 🎟"), "“drei” Stück 🎟");
        assert_eq!(
            visible("x\nverified\u{1b}[2J\u{9b}"),
            r"x\nverified\u{1b}[2J\u{9b}"
        );
    }
}
