//! Faults in the words of this API: a JSON pointer, and the rule for the value.
//!
//! Promise: no text of serde, serde_json or uuid reaches a client, because a client cannot act on
//! it and an upgrade may change it. Messages of this project's types begin with "must" and are
//! kept; the known forms of libraries are translated; any other becomes a general message.

/// Converts the path of a value to a JSON pointer (RFC 6901).
pub(super) fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .fold(String::new(), |parent, segment| match segment {
            Segment::Seq { index } => at(&parent, &index.to_string()),
            Segment::Map { key } => at(&parent, key),
            Segment::Enum { .. } | Segment::Unknown => parent,
        })
}

/// Returns the pointer to the member `name` of the value at `pointer`.
pub(super) fn at(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Returns the field that serde reports at its parent. `message` is serde's.
pub(super) fn field_named(message: &str) -> Option<&str> {
    let named = [MISSING, DUPLICATE]
        .iter()
        .find_map(|start| message.strip_prefix(start));
    named.and_then(|rest| rest.split('`').next())
}

const MISSING: &str = "missing field `";
const DUPLICATE: &str = "duplicate field `";

/// The fault of a member that is required.
pub(super) const IS_MISSING: &str = "is missing";

/// Translates serde's message about one value.
pub(super) fn in_words(message: &str) -> String {
    // serde_json adds the position in the text.
    let message = message
        .rsplit_once(" at line ")
        .map_or(message, |(message, _)| message);
    if message.starts_with("must ") {
        return message.to_owned();
    }
    if message.starts_with(MISSING) {
        return IS_MISSING.to_owned();
    }
    if message.starts_with(DUPLICATE) {
        return "must occur once".to_owned();
    }
    // The last part, because a client's text may precede it.
    let expected = message
        .rsplit_once(", expected ")
        .map(|(_, expected)| expected);
    if message.starts_with("unknown field `") {
        return unknown_member(message, expected);
    }
    if message.starts_with("unknown variant `") {
        return format!("must be {}", expected.unwrap_or("one of the known names"));
    }
    if message.starts_with("UUID parsing failed") {
        return "must be a UUID".to_owned();
    }
    if message.starts_with("provided string was not `true`") {
        return "must be `true` or `false`".to_owned();
    }
    let kind = match expected {
        Some("i8" | "i16" | "i32" | "i64") => "a whole number",
        Some("u8" | "u16" | "u32" | "u64" | "usize") => "a whole number of at least 0",
        Some("a string" | "a borrowed string" | "string or bytes") => "a text",
        Some("a boolean") => "true or false",
        Some(expected) if expected.starts_with("struct ") => "a JSON object",
        // A type of this project describes itself.
        Some(own) if own.starts_with("a whole number of ") => own,
        Some(_) | None => return "is not valid here".to_owned(),
    };
    format!("must be {kind}")
}

fn unknown_member(message: &str, expected: Option<&str>) -> String {
    let expected = expected.filter(|_| !message.ends_with(", there are no fields"));
    let Some(names) = expected else {
        return "is unknown here, where no member is allowed".to_owned();
    };
    let names = names
        .trim_start_matches("one of ")
        .replace("` or `", "`, `");
    if names.contains(", ") {
        format!("is unknown here; the members are {names}")
    } else {
        format!("is unknown here; the only member is {names}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_libraries_are_translated() {
        for (message, words) in [
            ("must be a UUID", "must be a UUID"),
            ("missing field `name` at line 1 column 2", "is missing"),
            ("duplicate field `name`", "must occur once"),
            (
                "invalid type: string \"x, expected u32\", expected i64 at line 1 column 9",
                "must be a whole number",
            ),
            (
                "invalid value: integer `-1`, expected u64 at line 1 column 9",
                "must be a whole number of at least 0",
            ),
            ("invalid type: null, expected a string", "must be a text"),
            (
                "invalid type: integer `1`, expected struct PriceBody",
                "must be a JSON object",
            ),
            (
                "invalid type: floating point `1.5`, expected a whole number of units from 1 to 9",
                "must be a whole number of units from 1 to 9",
            ),
            (
                "unknown field `x`, there are no fields",
                "is unknown here, where no member is allowed",
            ),
            (
                "unknown field `x, expected `y`, there are no fields",
                "is unknown here, where no member is allowed",
            ),
            (
                "unknown field `x`, expected `a`",
                "is unknown here; the only member is `a`",
            ),
            (
                "unknown field `x`, expected `a` or `b`",
                "is unknown here; the members are `a`, `b`",
            ),
            (
                "unknown variant `must`, expected one of `a`, `b`, `c`",
                "must be one of `a`, `b`, `c`",
            ),
            (
                "UUID parsing failed: invalid length: expected length 32 for simple format, found 1",
                "must be a UUID",
            ),
            ("a message of a later release", "is not valid here"),
            ("invalid type: map, expected a thing", "is not valid here"),
        ] {
            assert_eq!(in_words(message), words, "{message}");
        }
    }
}
