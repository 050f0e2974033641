//! Entity tags that a caller lists in `If-Match` or `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1).
//!
//! Promise: a list is read to its end, over several header lines too; a comma within a tag divides nothing.
//! Limit: what is no tag is passed over.

use axum::http::{HeaderMap, HeaderName};

/// What one of the two headers says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tags<'a> {
    /// `*`: whatever is there.
    Any,
    Listed(Vec<Tag<'a>>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    is_weak: bool,
    /// With its quotes.
    text: &'a str,
}

impl<'a> Tags<'a> {
    /// What the header `name` says; none when there is none.
    pub(crate) fn of(headers: &'a HeaderMap, name: HeaderName) -> Option<Self> {
        if !headers.contains_key(&name) {
            return None;
        }
        let lines = headers.get_all(name).iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        if lines.iter().any(|line| line.trim() == "*") {
            return Some(Self::Any);
        }
        Some(Self::Listed(lines.into_iter().flat_map(tags_in).collect()))
    }

    /// The tags that `If-Match` may match: a weak one promises too little to write on.
    pub(crate) fn strong(&self) -> impl Iterator<Item = &'a str> {
        let tags = match self {
            Self::Any => &[],
            Self::Listed(tags) => tags.as_slice(),
        };
        tags.iter().filter(|tag| !tag.is_weak).map(|tag| tag.text)
    }

    /// Whether `etag` is among them as `If-None-Match` compares: weak or not.
    pub(crate) fn include(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|tag| tag.text == etag),
        }
    }
}

fn tags_in(line: &str) -> Vec<Tag<'_>> {
    let (mut tags, mut rest) = (vec![], line);
    while let Some((before, after)) = rest.split_once('"') {
        let Some((inside, beyond)) = after.split_once('"') else {
            break;
        };
        // Both quotes with what is between them.
        let text = &rest[before.len()..before.len() + inside.len() + 2];
        // What stands before the last comma is no tag.
        let mark = before.rsplit(',').next().unwrap_or_default();
        match mark.trim() {
            "" => tags.push(Tag {
                is_weak: false,
                text,
            }),
            "W/" => tags.push(Tag {
                is_weak: true,
                text,
            }),
            _ => {}
        }
        rest = beyond;
    }
    tags
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_list_is_read_to_its_end() {
        for (lines, strong) in [
            (vec!["\"a\""], vec!["\"a\""]),
            (vec!["\"a\", \"b\""], vec!["\"a\"", "\"b\""]),
            (vec!["\"a\",W/\"b\",\t\"c\""], vec!["\"a\"", "\"c\""]),
            (vec!["\"a,b\" , , \"c\""], vec!["\"a,b\"", "\"c\""]),
            (vec!["\"a\"", "\"b\""], vec!["\"a\"", "\"b\""]),
            (vec!["\"\""], vec!["\"\""]),
            (vec!["bare, \"a\", \"open"], vec!["\"a\""]),
            (vec!["bare \"a\", \"b\""], vec!["\"b\""]),
            (vec!["w/\"a\""], vec![]),
            (vec![""], vec![]),
        ] {
            let headers = headers(&lines);
            let tags = Tags::of(&headers, header::IF_MATCH).unwrap();
            assert_eq!(tags.strong().collect::<Vec<_>>(), strong, "{lines:?}");
        }
    }

    #[test]
    fn a_star_is_anything_and_no_header_is_nothing() {
        let star = headers(&[" * "]);
        assert_eq!(Tags::of(&star, header::IF_MATCH), Some(Tags::Any));
        assert_eq!(Tags::of(&star, header::IF_NONE_MATCH), None);
        let quoted = headers(&["\"*\""]);
        assert_ne!(Tags::of(&quoted, header::IF_MATCH), Some(Tags::Any));
    }

    #[test]
    fn what_is_known_may_be_known_by_a_weak_tag() {
        let headers = headers(&["\"x\", W/\"a\""]);
        let tags = Tags::of(&headers, header::IF_MATCH).unwrap();
        assert!(tags.include("\"a\"") && tags.include("\"x\"") && !tags.include("\"b\""));
    }
}
