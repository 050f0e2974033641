//! Removes the base path from requests, and responds to those for other paths of the host.
//!
//! Promise: a request loses the base path once, and only if no proxy states that it has removed it,
//! so a path that a proxy refuses is not reached by writing the base path twice.

use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::base_path;
use crate::problem::{Code, Problem};

/// The paths that probes and Prometheus ask a server for directly: they exist without the base path
/// as well.
const OF_OPERATORS: [&str; 3] = ["/health/live", "/health/ready", "/metrics"];

/// The header in which a proxy states the part of the path that it has removed.
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Removes the base path from a request.
///
/// # Errors
/// The response, if the request is for another path of the host, or for the base path itself.
pub(crate) fn place<B>(request: &mut Request<B>) -> Result<(), Box<Response>> {
    match base_path() {
        "" => Ok(()),
        base => place_below(base, request),
    }
}

fn place_below<B>(base: &str, request: &mut Request<B>) -> Result<(), Box<Response>> {
    let path = request.uri().path();
    if OF_OPERATORS.contains(&path) || is_removed(base, request.headers()) {
        return Ok(());
    }
    let query = request.uri().query();
    match path.strip_prefix(base) {
        Some("") if request.method().is_safe() => {
            let query = query.map_or_else(String::new, |query| format!("?{query}"));
            Err(Box::new(redirect(&format!("{base}/{query}"))))
        }
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let rest = if rest.is_empty() { "/" } else { rest };
            let query = query.map_or_else(String::new, |query| format!("?{query}"));
            let mut parts = request.uri().clone().into_parts();
            // A part of a valid path that begins with a slash is one.
            parts.path_and_query = PathAndQuery::try_from(format!("{rest}{query}")).ok();
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
            Ok(())
        }
        _ => Err(Box::new(elsewhere(base))),
    }
}

/// Returns true if the nearest proxy states that it has removed the base path. Anyone may state it:
/// the path is then read as it is, and cannot become another one.
fn is_removed(base: &str, headers: &HeaderMap) -> bool {
    let lines = headers.get_all(PREFIX).iter();
    let nearest = lines.filter_map(|line| line.to_str().ok()).next_back();
    let nearest = nearest.and_then(|line| line.rsplit(',').next());
    nearest.is_some_and(|prefix| prefix.trim().trim_end_matches('/') == base)
}

fn redirect(to: &str) -> Response {
    let location = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::TEMPORARY_REDIRECT, headers).into_response()
}

fn elsewhere(base: &str) -> Response {
    let detail = format!(
        "This server is mounted below {base} (HOLDFAST_BASE_PATH), and the path of this request \
         does not begin with it. If a proxy in front removes that part, let it pass the path on \
         unchanged, or set the header X-Forwarded-Prefix: {base}."
    );
    let mut response = Problem::new(Code::NotFound, detail).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    /// Returns the path that the application sees, or the status of the response before it.
    fn placed(uri: &str, prefix: Option<&str>) -> Result<String, u16> {
        let mut request = Request::builder().method(Method::GET).uri(uri);
        if let Some(line) = prefix {
            request = request.header(PREFIX, line);
        }
        let mut request = request.body(()).unwrap();
        place_below("/shop", &mut request)
            .map(|()| request.uri().to_string())
            .map_err(|response| response.status().as_u16())
    }

    #[test]
    fn request_loses_the_base_path_once() {
        for (uri, path) in [
            ("/shop/", "/"),
            ("/shop/drops/1?a=b%20c", "/drops/1?a=b%20c"),
            ("/shop/?q", "/?q"),
            ("/shop/shop/x", "/shop/x"),
            ("/shop//x", "//x"),
            ("/health/live", "/health/live"),
            ("/metrics", "/metrics"),
            ("/shop/health/ready", "/health/ready"),
        ] {
            assert_eq!(placed(uri, None).as_deref(), Ok(path), "{uri}");
        }
        for uri in [
            "/",
            "/drops/1",
            "/shopping",
            "/Shop/x",
            "/sho%70/x",
            "/v1/drops",
            "/health",
        ] {
            assert_eq!(placed(uri, None), Err(404), "{uri}");
        }
        assert_eq!(placed("/shop?lang=de", None), Err(307));
    }

    #[test]
    fn proxy_that_removes_the_base_path_says_so() {
        for prefix in ["/shop", "/shop/", "/outer, /shop"] {
            for path in ["/", "/drops/1?a=b", "/shop/admin"] {
                assert_eq!(placed(path, Some(prefix)).as_deref(), Ok(path), "{prefix}");
            }
        }
        for prefix in ["", "/", "/other", "shop", "/shop, /other"] {
            assert_eq!(placed("/drops/1", Some(prefix)), Err(404), "{prefix}");
            assert_eq!(placed("/shop/x", Some(prefix)).as_deref(), Ok("/x"));
        }
    }
}
