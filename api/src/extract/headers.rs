//! Header fields with one value.
//!
//! Promise: a request that repeats one is refused by name, even if both values are equal: a proxy
//! in front may have read the other (RFC 9110, section 5.3, forbids a sender to repeat a field that
//! is not a list). Limit: `Host` is checked for each connection, hyper refuses different values of
//! `Content-Length`, and equal values of `Idempotency-Key` are accepted. `Cookie` may be repeated,
//! because proxies of HTTP/2 split it; the session tries every value.

use axum::http::{HeaderMap, HeaderName, header};

use crate::problem::{Code, Problem};

/// The fields that the server reads, and whose definitions allow one value; with their usual
/// spelling.
const SINGLE: [(HeaderName, &str); 5] = [
    (header::AUTHORIZATION, "Authorization"),
    (header::CONTENT_TYPE, "Content-Type"),
    (HeaderName::from_static("last-event-id"), "Last-Event-ID"),
    (header::ORIGIN, "Origin"),
    (HeaderName::from_static("sec-fetch-site"), "Sec-Fetch-Site"),
];

/// Returns the problem if a header with one value occurs more than once.
pub(crate) fn repeated_header(headers: &HeaderMap) -> Option<Problem> {
    let is_repeated = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    let (_, name) = SINGLE.into_iter().find(|(name, _)| is_repeated(name))?;
    let detail = format!("The request has more than one {name} header. Send one.");
    Some(Problem::new(Code::MalformedRequest, detail))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn found(name: &HeaderName, values: &[&'static str]) -> Option<Code> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        repeated_header(&headers).map(|problem| problem.code())
    }

    #[test]
    fn header_with_one_value_is_refused_when_it_is_repeated() {
        for (name, _) in SINGLE {
            assert_eq!(found(&name, &[]), None);
            assert_eq!(found(&name, &["Bearer abc"]), None);
            // A proxy may choose another one of two headers.
            for second in ["Bearer abc", "Bearer x", ""] {
                let twice = found(&name, &["Bearer abc", second]);
                assert_eq!(twice, Some(Code::MalformedRequest), "{name}");
            }
        }
        for list in [header::ACCEPT, header::IF_MATCH, header::COOKIE] {
            assert_eq!(found(&list, &["a", "a"]), None, "{list}");
        }
    }
}
