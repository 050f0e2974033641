//! What proxies state about a request: `Forwarded` (RFC 7239), and the headers that precede it,
//! `X-Forwarded-For`, `-Host` and `-Proto`.
//!
//! Promise: the host and the scheme are those that a trusted proxy states; from other peers the
//! headers are removed before a handler sees them. If a proxy states a fact in both ways, the
//! standard's header precedes. Limit: of several proxies the nearest is
//! believed about the host and the scheme, because only its statement is certain to be no copy. A
//! proxy that does not set the host passes on what a client wrote: it is used only where a page of
//! another site cannot have written it.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

const FORWARDED: &str = "forwarded";
pub(crate) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What one proxy states, as it was written, without quotes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    /// The client of the proxy.
    pub(crate) client: Option<String>,
    host: Option<String>,
    scheme: Option<String>,
}

/// Returns the elements of all lines of `Forwarded`, the nearest proxy's first.
pub(crate) fn elements(headers: &HeaderMap) -> impl Iterator<Item = Element> {
    let lines = headers.get_all(FORWARDED).iter().rev();
    lines.flat_map(|line| {
        let text = line.to_str().unwrap_or_default();
        let elements = split(text, ',').into_iter().rev();
        elements.map(element).collect::<Vec<_>>()
    })
}

/// Splits at a character outside of quoted strings.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(|c| {
        let is_end = c == at && !is_quoted;
        if is_escaped {
            is_escaped = false;
        } else if c == '"' {
            is_quoted = !is_quoted;
        } else if c == '\\' && is_quoted {
            is_escaped = true;
        }
        is_end
    })
    .collect()
}

fn element(text: &str) -> Element {
    let mut element = Element::default();
    for pair in split(text, ';') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.trim();
        let quoted = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        // Addresses, hosts and schemes have no characters that need an escape.
        let value = quoted.unwrap_or(value).to_owned();
        match name.trim().to_ascii_lowercase().as_str() {
            "for" => element.client = Some(value),
            "host" => element.host = Some(value),
            "proto" => element.scheme = Some(value),
            _ => {}
        }
    }
    element
}

/// Keeps the statements about host and scheme of a trusted proxy, in `X-Forwarded-Host` and
/// `X-Forwarded-Proto`, and removes those of any other peer.
pub(crate) fn keep_trusted(headers: &mut HeaderMap, is_proxy: bool) {
    if !is_proxy {
        headers.remove(FORWARDED_HOST);
        headers.remove(FORWARDED_PROTO);
        return;
    }
    if !headers.contains_key(FORWARDED) {
        return;
    }
    let nearest = elements(headers).next().unwrap_or_default();
    for (name, value) in [
        (FORWARDED_HOST, nearest.host),
        (FORWARDED_PROTO, nearest.scheme),
    ] {
        let value = value.and_then(|value| HeaderValue::from_str(&value).ok());
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// Returns the host that a trusted proxy was asked for.
pub(crate) fn host(headers: &HeaderMap) -> Option<&str> {
    nearest(headers, &FORWARDED_HOST)
}

/// Returns true if a trusted proxy was asked by HTTPS.
pub(crate) fn is_https(headers: &HeaderMap) -> bool {
    nearest(headers, &FORWARDED_PROTO).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

/// Returns the last value, which the nearest proxy wrote.
fn nearest<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let line = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    let value = line.rsplit(',').next().unwrap_or(line).trim();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn elements_are_read_from_the_nearest_proxy_on() {
        let headers = headers(&[
            (
                "forwarded",
                "for=192.0.2.43, For=\"[2001:db8::1]:4711\";Proto=https",
            ),
            ("forwarded", "by=_x;for=\"a,b;c\\\"d\" ; host=shop.example"),
        ]);
        let clients: Vec<_> = elements(&headers).map(|one| one.client).collect();
        let clients: Vec<_> = clients.iter().flatten().map(String::as_str).collect();
        assert_eq!(clients, ["a,b;c\\\"d", "[2001:db8::1]:4711", "192.0.2.43"]);
        let nearest = elements(&headers).next().unwrap();
        assert_eq!(nearest.host.as_deref(), Some("shop.example"));
        for malformed in ["", ";", "for", "=", "\"", "for=\"x", ",,"] {
            let headers = self::headers(&[("forwarded", malformed)]);
            assert!(
                elements(&headers).all(|one| one.host.is_none()),
                "{malformed}"
            );
        }
    }

    #[test]
    fn host_and_scheme_are_believed_of_trusted_proxies_only() {
        for stated in [
            &[
                ("x-forwarded-host", "evil.example, shop.example"),
                ("x-forwarded-proto", "https"),
            ][..],
            &[("forwarded", "for=192.0.2.1;host=shop.example;proto=HTTPS")],
        ] {
            let mut through = headers(stated);
            keep_trusted(&mut through, true);
            assert_eq!(host(&through), Some("shop.example"), "{stated:?}");
            assert!(is_https(&through), "{stated:?}");
            let mut direct = headers(stated);
            keep_trusted(&mut direct, false);
            assert_eq!(host(&direct), None, "{stated:?}");
            assert!(!is_https(&direct), "{stated:?}");
        }
    }

    #[test]
    fn forwarded_precedes_the_older_headers_fact_by_fact() {
        let older = [
            ("x-forwarded-host", "old.example"),
            ("x-forwarded-proto", "https"),
        ];
        for (forwarded, expected) in [
            ("host=new.example;proto=http", (Some("new.example"), false)),
            ("proto=http, host=new.example", (Some("new.example"), true)),
            ("for=192.0.2.1;proto=http", (Some("old.example"), false)),
            ("for=192.0.2.1", (Some("old.example"), true)),
        ] {
            let mut through = headers(&[&older[..], &[("forwarded", forwarded)]].concat());
            keep_trusted(&mut through, true);
            assert_eq!(
                (host(&through), is_https(&through)),
                expected,
                "{forwarded}"
            );
        }
    }
}
