//! Serde's errors in the words of an API client: a JSON pointer, and a message without Rust's
//! names.

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

/// Returns the field that serde reports at its parent.
pub(super) fn field_named(detail: &str) -> Option<&str> {
    let named = ["missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| detail.strip_prefix(start));
    named.and_then(|rest| rest.split('`').next())
}

/// Rust's messages about numbers and their replacements.
const NUMBERS: [(&str, &str); 6] = [
    ("expected i64", "expected a whole number"),
    ("expected i32", "expected a whole number"),
    ("expected u32", "expected a whole number"),
    ("invalid digit found in string", "must be a whole number"),
    (
        "number too large to fit in target type",
        "is too large a number",
    ),
    (
        "number too small to fit in target type",
        "is too small a number",
    ),
];

/// Converts serde's message: removes the position in the text, and replaces Rust's names for
/// numbers.
pub(super) fn in_words(message: &str) -> String {
    let detail = message
        .rsplit_once(" at line ")
        .map_or(message, |(detail, _)| detail);
    NUMBERS
        .iter()
        .fold(detail.to_owned(), |detail, (original, replacement)| {
            detail.replace(original, replacement)
        })
}
