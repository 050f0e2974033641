//! What serde says of a value, as its sender may read it: where it stands, and what is wrong, without Rust's names.

/// The path of a value as a JSON pointer (RFC 6901).
pub(super) fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .fold(String::new(), |place, segment| match segment {
            Segment::Seq { index } => at(&place, &index.to_string()),
            Segment::Map { key } => at(&place, key),
            Segment::Enum { .. } | Segment::Unknown => place,
        })
}

/// The pointer to the member `name` of what is at `pointer`.
pub(super) fn at(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The field that serde means when it reports something at the field's parent.
pub(super) fn field_named(detail: &str) -> Option<&str> {
    let named = ["missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| detail.strip_prefix(start));
    named.and_then(|rest| rest.split('`').next())
}

/// Rust's words for what a number is, and ours.
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

/// What serde says, without the place, which the pointer tells, and without Rust's names for numbers.
pub(super) fn in_words(message: &str) -> String {
    let detail = message
        .rsplit_once(" at line ")
        .map_or(message, |(detail, _)| detail);
    NUMBERS
        .iter()
        .fold(detail.to_owned(), |detail, (theirs, ours)| {
            detail.replace(theirs, ours)
        })
}
