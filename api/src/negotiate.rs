//! Which of the forms that a route can answer in the caller's `Accept` asks for (RFC 9110, section 12.5.1).
//!
//! Promise: the most specific range that a form falls under says what it is worth; the form that is worth most is chosen, of
//! equals the one that is asked for most specifically, then first. One that is refused (`q=0`) is not chosen.
//! Limit: parameters of a media type, but for `q`, are not looked at. Whoever accepts none of the forms gets the first, as who
//! says nothing does: a page that was not asked for tells more than a refusal.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

/// The place in `forms` of the one to answer in. Forms are media types in lower case, the usual one first.
pub(crate) fn preferred(headers: &HeaderMap, forms: &[&str]) -> usize {
    let values = headers.get_all(header::ACCEPT).iter();
    let text: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    let text = text.join(",");
    let ranges: Vec<Range<'_>> = split_outside_quotes(&text, ',')
        .filter_map(Range::parse)
        .collect();
    let worth = |form: &&str| Worth::of(form, &ranges);
    let worths = forms.iter().map(worth).enumerate();
    let accepted = worths.filter_map(|(place, worth)| Some((worth?, std::cmp::Reverse(place))));
    accepted
        .max()
        .map_or(0, |(_, std::cmp::Reverse(place))| place)
}

/// Tells caches that the answer depends on what was accepted.
pub(crate) fn varied(mut response: Response) -> Response {
    let accept = HeaderValue::from_static("Accept");
    response.headers_mut().insert(header::VARY, accept);
    response
}

/// What one form is worth to the caller; the greater, the better.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    /// In thousandths.
    quality: u16,
    specific: Specific,
    order: std::cmp::Reverse<usize>,
}

impl Worth {
    /// None when the form is refused, or not asked for.
    fn of(form: &str, ranges: &[Range<'_>]) -> Option<Self> {
        let covers = |(order, range): (usize, &Range<'_>)| {
            Some((range.covers(form)?, std::cmp::Reverse(order), range.quality))
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
enum Specific {
    Anything,
    Kind,
    Form,
}

/// One element of `Accept`.
#[derive(Debug)]
struct Range<'a> {
    media: &'a str,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    /// What cannot be read asks for nothing.
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

    fn covers(&self, form: &str) -> Option<Specific> {
        let kind = form.split('/').next().unwrap_or_default();
        match self.media.split_once('/')? {
            ("*", "*") => Some(Specific::Anything),
            (wanted, "*") if wanted.eq_ignore_ascii_case(kind) => Some(Specific::Kind),
            _ if self.media.eq_ignore_ascii_case(form) => Some(Specific::Form),
            _ => None,
        }
    }
}

/// A weight: 0 to 1, with at most three decimals.
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

    const FORMS: [&str; 2] = ["application/json", "text/csv"];

    #[track_caller]
    fn assert_preferred(accept: &[&'static str], form: &str) {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_static(value));
        }
        assert_eq!(FORMS[preferred(&headers, &FORMS)], form, "{accept:?}");
    }

    #[test]
    fn the_form_that_is_worth_most_is_chosen() {
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
    fn the_usual_form_is_for_who_says_nothing_refuses_the_other_or_accepts_neither() {
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
