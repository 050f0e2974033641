//! Pages of other origins (CORS).
//!
//! Promise: pages of exactly the listed origins may send requests with keys, tokens or no
//! credentials, and may read every response: the stream, and problems of connections that are
//! refused, too. Cookies are not among the credentials: no response permits them, and a session is
//! refused to other origins ([`crate::session`]). Every other origin gets no header of CORS at all.
//! Limit: a head that cannot be parsed gets none either, because its origin is unknown. Preflight
//! requests are not counted in the metrics.
//!
//! Source: docs/decisions/0071-pages-of-other-origins.md.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use axum::response::Response;
use tower::{Layer, Service, ServiceExt};
use tower_http::cors::{AllowOrigin, CorsLayer};
use url::Url;

/// Headers of responses that scripts may read, in addition to those that browsers always show.
const EXPOSED: [HeaderName; 8] = [
    header::LOCATION,
    header::ETAG,
    header::RETRY_AFTER,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("idempotent-replayed"),
    HeaderName::from_static("holdfast-position"),
    HeaderName::from_static("holdfast-server-time"),
];

/// Headers that scripts may send.
const ACCEPTED: [HeaderName; 7] = [
    header::AUTHORIZATION,
    HeaderName::from_static("challenge-solution"),
    header::CONTENT_TYPE,
    HeaderName::from_static("idempotency-key"),
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    HeaderName::from_static("last-event-id"),
];

const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// How long a browser may keep the response to a preflight request. Chromium keeps none longer.
const KEPT: Duration = Duration::from_secs(2 * 60 * 60);

/// The origins whose pages may use the API, each as browsers write it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PermittedOrigins(Vec<HeaderValue>);

impl FromStr for PermittedOrigins {
    type Err = String;

    /// Origins (`https://shop.example`), separated by commas; empty for none.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts.map(origin).collect::<Result<_, _>>().map(Self)
    }
}

/// Parses one origin. Any other spelling than that of the header `Origin` would never match.
fn origin(text: &str) -> Result<HeaderValue, String> {
    if text == "null" {
        return Err(
            "null stands for local files, frames without an origin and others, whichever page \
             they belong to: list the origin of each page"
                .to_owned(),
        );
    }
    // Not quoted: error lines are collected, and this may be a password.
    if text.contains('@') {
        return Err("an origin must not have a user name or password".to_owned());
    }
    if text.contains('*') {
        return Err(format!("{text:?} has a wildcard: list each origin"));
    }
    let form = || format!("{text:?} is not an origin like https://shop.example");
    let url = Url::parse(text).map_err(|_| form())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(form());
    }
    let written = url.origin().ascii_serialization();
    if written != text {
        return Err(format!(
            "{text:?} is not an origin as browsers send it: write {written}"
        ));
    }
    HeaderValue::from_str(&written).map_err(|_| form())
}

/// Adds the headers of CORS. Clones share the list.
#[derive(Clone)]
pub(crate) struct CrossOrigin(Option<Permitted>);

#[derive(Clone)]
struct Permitted {
    origins: Arc<[HeaderValue]>,
    cors: CorsLayer,
}

impl CrossOrigin {
    pub(crate) fn new(PermittedOrigins(origins): PermittedOrigins) -> Self {
        // The layer mirrors the origin, because it sees the requests of listed origins only. With
        // the list it would also name methods and headers to other origins.
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::mirror_request())
            .allow_methods(METHODS)
            .allow_headers(ACCEPTED)
            .expose_headers(EXPOSED)
            .max_age(KEPT)
            .vary([header::ORIGIN]);
        let is_used = !origins.is_empty();
        let origins = origins.into();
        Self(is_used.then_some(Permitted { origins, cors }))
    }

    /// Responds to the preflight request of a listed origin, and to any other request with `inner`.
    pub(crate) async fn respond<B, S>(&self, inner: S, request: Request<B>) -> Response
    where
        S: Service<Request<B>, Response = Response, Error = Infallible>,
    {
        let Some(permitted) = &self.0 else {
            let Ok(response) = inner.oneshot(request).await;
            return response;
        };
        if permitted.lists(request.headers()) {
            let Ok(response) = permitted.cors.layer(inner).oneshot(request).await;
            return response;
        }
        let Ok(mut response) = inner.oneshot(request).await;
        // A cache must not send this response to a listed origin.
        let vary = HeaderValue::from_static("origin");
        response.headers_mut().append(header::VARY, vary);
        response
    }
}

impl Permitted {
    /// Returns true if the request has exactly one origin, and it is listed.
    fn lists(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(origin), None) => self.origins.contains(origin),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_listed_as_browsers_write_them() {
        for (text, count) in [
            ("", 0),
            ("https://shop.example", 1),
            ("http://localhost:3000, https://xn--bcher-kva.example", 2),
            ("http://[::1]:8080,http://127.0.0.1:1,", 2),
        ] {
            let listed = text.parse::<PermittedOrigins>().unwrap();
            assert_eq!(listed.0.len(), count, "{text}");
        }
    }

    #[test]
    fn other_spelling_is_refused_with_the_right_one() {
        for (text, written) in [
            ("https://shop.example/", "https://shop.example"),
            ("https://shop.example/path", "https://shop.example"),
            ("https://shop.example?a=b", "https://shop.example"),
            ("https://Shop.example", "https://shop.example"),
            ("https://shop.example:443", "https://shop.example"),
            ("http://shop.example:80", "http://shop.example"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
        ] {
            let error = text.parse::<PermittedOrigins>().unwrap_err();
            let expected =
                format!("{text:?} is not an origin as browsers send it: write {written}");
            assert_eq!(error, expected);
        }
        // It is not quoted: it may be a password.
        let error = "https://user@shop.example".parse::<PermittedOrigins>();
        let expected = "an origin must not have a user name or password";
        assert_eq!(error.unwrap_err(), expected);
    }

    #[test]
    fn wildcard_null_and_texts_that_are_no_origin_are_refused() {
        let refused = |text: &str| text.parse::<PermittedOrigins>().unwrap_err();
        for text in ["*", "https://*.shop.example"] {
            assert!(refused(text).contains("has a wildcard"), "{text}");
        }
        assert!(refused("https://shop.example,null").starts_with("null stands for"));
        for text in ["shop.example", "localhost:3000", "ftp://shop.example", "/"] {
            let error = refused(text);
            assert!(
                error.ends_with("is not an origin like https://shop.example"),
                "{error}"
            );
        }
    }
}
