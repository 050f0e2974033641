//! Entity tags in `If-Match` or `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1).
//!
//! Promise: a list is parsed completely, over several header lines too; a comma within a tag is not
//! a separator. Limit: anything that is not a tag is skipped.

use axum::http::{HeaderMap, HeaderName, header};

/// The value of one of the two headers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tags<'a> {
    /// `*`: any present representation.
    Any,
    Listed(Vec<Tag<'a>>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    is_weak: bool,
    /// Including its quotes.
    text: &'a str,
}

impl<'a> Tags<'a> {
    /// Parses the header `name`; `None` if it is absent.
    pub(crate) fn of(headers: &'a HeaderMap, name: HeaderName) -> Option<Self> {
        if !headers.contains_key(&name) {
            return None;
        }
        let is_write = name == header::IF_MATCH;
        let lines = headers.get_all(name).iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        let is_star = |line: &&str| line.trim() == "*";
        // A star next to tags is not valid. A write must not take it for any version; for a read it
        // saves a transfer.
        let is_any = if is_write {
            lines.len() == 1 && lines.iter().all(is_star)
        } else {
            lines.iter().any(is_star)
        };
        if is_any {
            return Some(Self::Any);
        }
        Some(Self::Listed(lines.into_iter().flat_map(tags_in).collect()))
    }

    /// Returns the tags that `If-Match` may match: a weak tag is not sufficient for a write.
    pub(crate) fn strong(&self) -> impl Iterator<Item = &'a str> {
        let tags = match self {
            Self::Any => &[],
            Self::Listed(tags) => tags.as_slice(),
        };
        tags.iter().filter(|tag| !tag.is_weak).map(|tag| tag.text)
    }

    /// Returns true if `etag` is among the tags, weak or strong, as `If-None-Match` compares.
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
        // Includes both quotes.
        let text = &rest[before.len()..before.len() + inside.len() + 2];
        // Text before the last comma is not part of this tag.
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
    use axum::http::HeaderValue;

    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn list_is_parsed_completely() {
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
    fn star_matches_anything_and_a_missing_header_nothing() {
        let star = headers(&[" * "]);
        assert_eq!(Tags::of(&star, header::IF_MATCH), Some(Tags::Any));
        assert_eq!(Tags::of(&star, header::IF_NONE_MATCH), None);
        let quoted = headers(&["\"*\""]);
        assert_ne!(Tags::of(&quoted, header::IF_MATCH), Some(Tags::Any));
        // A list has tags only, so the star is skipped and the tag compared.
        let both = headers(&["\"a\"", "*"]);
        let tags = Tags::of(&both, header::IF_MATCH).unwrap();
        assert_eq!(tags.strong().collect::<Vec<_>>(), ["\"a\""]);
    }

    #[test]
    fn if_none_match_accepts_weak_tags() {
        let headers = headers(&["\"x\", W/\"a\""]);
        let tags = Tags::of(&headers, header::IF_MATCH).unwrap();
        assert!(tags.include("\"a\"") && tags.include("\"x\"") && !tags.include("\"b\""));
    }
}
