//! Errors and untrusted text in a form that is safe to print.
//!
//! Promise: [`one_line`] writes a whole chain of causes without repetition and without control
//! characters.

use std::borrow::Cow;
use std::error::Error;

/// `error` and its causes in one line. A cause whose text the line already contains is left out.
#[must_use]
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(visible("“drei” Stück 🎟"), "“drei” Stück 🎟");
        assert_eq!(
            visible("x\nverified\u{1b}[2J\u{9b}"),
            r"x\nverified\u{1b}[2J\u{9b}"
        );
    }
}
