//! Content negotiation: selects a route's media type by the request's `Accept` (RFC 9110, section
//! 12.5.1).
//!
//! Promise: the most specific range that covers a media type determines its quality. The type with
//! the highest quality is selected; among equals the one with the most specific range, then the
//! first. A type with `q=0` is not selected. Limit: parameters of a media type other than `q` are
//! ignored. A client that accepts none of the types gets the first, as does one without `Accept`:
//! an unrequested page is more useful than a refusal.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

/// Returns the index in `media_types` of the type to respond with. Types are in lower case, the
/// default first.
pub(crate) fn preferred(headers: &HeaderMap, media_types: &[&str]) -> usize {
    let values = headers.get_all(header::ACCEPT).iter();
    let text: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    let text = text.join(",");
    let ranges: Vec<Range<'_>> = split_outside_quotes(&text, ',')
        .filter_map(Range::parse)
        .collect();
    let rank = |media_type: &&str| Rank::of(media_type, &ranges);
    let ranks = media_types.iter().map(rank).enumerate();
    let accepted = ranks.filter_map(|(index, rank)| Some((rank?, std::cmp::Reverse(index))));
    accepted
        .max()
        .map_or(0, |(_, std::cmp::Reverse(index))| index)
}

/// Adds `Vary: Accept`, so that caches store the response per `Accept`.
pub(crate) fn varied(mut response: Response) -> Response {
    let accept = HeaderValue::from_static("Accept");
    response.headers_mut().insert(header::VARY, accept);
    response
}

/// The rank of one media type; a greater one is preferred.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// In thousandths.
    quality: u16,
    specific: Specificity,
    order: std::cmp::Reverse<usize>,
}

impl Rank {
    /// Returns `None` if no range covers the type, or its quality is 0.
    fn of(media_type: &str, ranges: &[Range<'_>]) -> Option<Self> {
        let covers = |(order, range): (usize, &Range<'_>)| {
            Some((
                range.covers(media_type)?,
                std::cmp::Reverse(order),
                range.quality,
            ))
        };
        let (specific, order, quality) = ranges.iter().enumerate().filter_map(covers).max()?;
        (quality > 0).then_some(Self {
            quality,
            specific,
            order,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Anything,
    Type,
    Subtype,
}

/// One element of `Accept`.
#[derive(Debug)]
struct Range<'a> {
    media: &'a str,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    /// Returns `None` for an element that cannot be parsed.
    fn parse(element: &'a str) -> Option<Self> {
        let mut parts = split_outside_quotes(element, ';').map(str::trim);
        let media = parts.next().filter(|media| media.contains('/'))?;
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
        });
        let quality = quality.map_or(Some(1000), thousandths)?;
        Some(Self { media, quality })
    }

    fn covers(&self, media_type: &str) -> Option<Specificity> {
        let kind = media_type.split('/').next().unwrap_or_default();
        match self.media.split_once('/')? {
            ("*", "*") => Some(Specificity::Anything),
            (wanted, "*") if wanted.eq_ignore_ascii_case(kind) => Some(Specificity::Type),
            _ if self.media.eq_ignore_ascii_case(media_type) => Some(Specificity::Subtype),
            _ => None,
        }
    }
}

/// Parses a quality: 0 to 1, with at most three decimals.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let is_number = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let decimals: u16 = format!("{decimals:0<3}")
        .parse()
        .ok()
        .filter(|_| is_number)?;
    match whole {
        "0" => Some(decimals),
        "1" if decimals == 0 => Some(1000),
        _ => None,
    }
}

fn split_outside_quotes(text: &str, at: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        c == at && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIA_TYPES: [&str; 2] = ["application/json", "text/csv"];

    #[track_caller]
    fn assert_preferred(accept: &[&'static str], media_type: &str) {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_static(value));
        }
        assert_eq!(
            MEDIA_TYPES[preferred(&headers, &MEDIA_TYPES)],
            media_type,
            "{accept:?}"
        );
    }

    #[test]
    fn type_with_the_highest_quality_is_selected() {
        for accept in [
            "text/csv",
            "TEXT/CSV",
            "Text/Csv; charset=utf-8",
            "text/*",
            "text/csv;q=0.001",
            "application/json;q=0.5, text/csv",
            "application/json ; Q=0.899 , text/csv ; q=0.9",
            "application/json;q=0, */*",
            "application/*;q=0.1, */*;q=0.2",
            "*/*, text/csv",
            "text/csv, application/json",
            "text/html, text/*;q=0.8, */*;q=0.1",
            "x/y;p=\"a, application/json\", text/csv",
        ] {
            assert_preferred(&[accept], "text/csv");
        }
        assert_preferred(&["text/html", "text/csv;q=0.5"], "text/csv");
    }

    #[test]
    fn default_type_is_selected_without_a_preference_or_an_acceptable_type() {
        for accept in [
            "",
            "*/*",
            "application/json",
            "application/*, text/csv;q=0.9",
            "text/csv;q=0",
            "text/csv;q=0.000, text/*",
            "text/*;q=0",
            "text/csv;q=0, */*",
            "text/html",
            "text/csvx",
            "xtext/csv",
            "image/png, */*;q=0",
            "application/json, text/csv",
            "text/csv;q=2",
            "text/csv;q=0.1234",
            "text/csv;q=x",
            "x/y;p=\"text/csv\"",
            "x/y;p=\"\\\", text/csv\"",
        ] {
            assert_preferred(&[accept], "application/json");
        }
        assert_preferred(&[], "application/json");
    }
}
