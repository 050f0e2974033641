//! The pages, and the explanations behind a problem's `type`. All of it is inside the binary; nothing is asked of others.
//!
//! A page is HTML, one stylesheet and ES modules, as they are in `web/`: nothing is built, and they use the public API alone.
//! Each file is asked for again at every load and answered 304 while it is the same, so a new version shows at once.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use domain::values::DropId;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::app::App;
use crate::negotiate::{preferred, varied};
use crate::problem::{Code, Problem};
use crate::render::is_known;

/// What a page may load: only what this server sends, and pictures of drops, whose addresses are the shop's to choose.
/// No script and no style stands inside a page, and no text ever becomes either.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https: http:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
    trusted-types 'none'";

#[derive(RustEmbed)]
#[folder = "src/web"]
struct Files;

/// `GET /`
pub(crate) async fn storefront(headers: HeaderMap) -> Response {
    page(&headers, "index.html", StatusCode::OK)
}

/// `GET /drops/{id}`: the same page for every drop; it says itself when there is none.
pub(crate) async fn drop_page(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let drop_id = path.ok().and_then(|Path(id)| id.parse::<DropId>().ok());
    let is_known = drop_id.is_some_and(|id| app.views.drop(id).is_some());
    let status = if is_known {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    page(&headers, "drop.html", status)
}

/// `GET /admin`: the dashboard for who signed in, otherwise the way in.
pub(crate) async fn dashboard(State(app): State<App>, headers: HeaderMap) -> Response {
    let name = if app.sessions.is_open(&headers, app.now()) {
        "admin.html"
    } else {
        "sign-in.html"
    };
    let mut response = page(&headers, name, StatusCode::OK);
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Cookie"));
    response
}

/// `GET /docs`
pub(crate) async fn reference(headers: HeaderMap) -> Response {
    page(&headers, "docs.html", StatusCode::OK)
}

/// The page that somebody meant who wrote a slash too many, or asks where all drops are.
pub(crate) fn meant_by(path: &str) -> Option<Redirect> {
    let bare = path.trim_end_matches('/');
    match bare {
        "/drops" => Some(Redirect::temporary("/")),
        "/admin" => Some(Redirect::temporary("/admin")),
        "/docs" => Some(Redirect::temporary("/docs")),
        _ => {
            let drop_id: DropId = bare.strip_prefix("/drops/")?.parse().ok()?;
            Some(Redirect::temporary(&format!("/drops/{drop_id}")))
        }
    }
}

/// What a path is answered in that leads nowhere: a problem, unless a page is asked for.
const ABSENT_FORMS: [&str; 2] = ["application/problem+json", "text/html"];

/// The answer to a path that leads nowhere: a page for a browser, a problem for a program, and
/// always a problem below `/v1`.
pub(crate) fn absent(method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    if !is_read || uri.path().starts_with("/v1/") {
        return Problem::new(Code::NotFound, "Nothing is at this path.").into_response();
    }
    absent_page(headers, "Nothing is at this path.")
}

fn absent_page(headers: &HeaderMap, detail: &str) -> Response {
    varied(match ABSENT_FORMS[preferred(headers, &ABSENT_FORMS)] {
        "text/html" => page(headers, "absent.html", StatusCode::NOT_FOUND),
        _ => Problem::new(Code::NotFound, detail).into_response(),
    })
}

/// `GET /assets/{path}`
pub(crate) async fn asset(
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let name = path.map(|Path(name)| name).unwrap_or_default();
    if Files::get(&name).is_none() {
        return absent_page(&headers, "There is no such file.");
    }
    page(&headers, &name, StatusCode::OK)
}

fn page(headers: &HeaderMap, name: &str, status: StatusCode) -> Response {
    let Some(file) = Files::get(name) else {
        return Problem::new(Code::NotFound, "There is no such file.").into_response();
    };
    let etag = etag(&file);
    let common = [
        (header::ETAG, etag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    if status == StatusCode::OK && is_known(headers, &etag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(header::CONTENT_TYPE, media_type(name))];
    (status, common, kind, file.data).into_response()
}

/// The file's digest: the same bytes have the same tag in every process.
fn etag(file: &EmbeddedFile) -> String {
    format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]))
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// `GET /problems/{code}`: what a problem's `type` leads to.
pub(crate) async fn problem(
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let name = path.map(|Path(name)| name).unwrap_or_default();
    let Some(code) = Code::ALL.iter().find(|code| code.name() == name) else {
        return absent_page(&headers, "There is no problem of this name.");
    };
    format!("{} ({})\n\n{}.\n", code.name(), code.status(), code.title()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::values::Currency;

    use super::*;

    #[test]
    fn pages_and_server_count_the_decimals_of_every_currency_alike() {
        let script = Files::get("lib/currencies.js").unwrap();
        let script = std::str::from_utf8(&script.data).unwrap();
        let (_, table) = script.split_once("const ODD = {").unwrap();
        let (table, _) = table.split_once("};").unwrap();
        let mut of_pages = BTreeMap::new();
        for line in table.lines().filter(|line| line.contains(':')) {
            let (exponent, codes) = line.split_once(':').unwrap();
            let exponent: u16 = exponent.trim().parse().unwrap();
            let codes = codes.trim().trim_matches(&['"', ','][..]);
            of_pages.extend(codes.split(' ').map(|code| (code, exponent)));
        }
        let odd = |currency: &Currency| currency.exponent() != 2;
        let of_server: BTreeMap<&str, u16> = Currency::all()
            .into_iter()
            .filter(odd)
            .map(|currency| (currency.code(), currency.exponent()))
            .collect();
        assert_eq!(of_pages, of_server);
    }

    #[test]
    fn a_file_that_is_known_is_not_sent_again_however_its_tag_is_sent_back() {
        let ask = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::IF_NONE_MATCH, HeaderValue::from_str(line).unwrap());
            }
            page(&headers, "style.css", StatusCode::OK)
        };
        let sent = ask(&[]);
        assert_eq!(sent.status(), StatusCode::OK);
        let etag = sent.headers()[header::ETAG].to_str().unwrap();
        // A proxy that compresses makes it a weak one.
        for known in [etag, &format!("W/{etag}"), &format!("\"a,b\", {etag}"), "*"] {
            assert_eq!(ask(&[known]).status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(ask(&["\"a\"", known]).status(), StatusCode::NOT_MODIFIED);
        }
        assert_eq!(ask(&["\"a\"", "b"]).status(), StatusCode::OK);
    }
}
