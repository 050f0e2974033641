//! The pages, and the explanations behind a problem's `type`. All of it is inside the binary; nothing is asked of others.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::problem::{Code, Problem};

/// What a page may load: only what this server sends, and pictures.
const POLICY: &str = "default-src 'self'; img-src 'self' data: https: http:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

#[derive(RustEmbed)]
#[folder = "src/web"]
struct Files;

/// `GET /`
pub(crate) async fn storefront() -> Response {
    file("index.html")
}

/// `GET /assets/{name}`
pub(crate) async fn asset(path: Result<Path<String>, PathRejection>) -> Response {
    file(&path.map(|Path(name)| name).unwrap_or_default())
}

fn file(name: &str) -> Response {
    let Some(file) = Files::get(name) else {
        return Problem::new(Code::NotFound, "There is no such file.").into_response();
    };
    let kind = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, file.data).into_response()
}

/// `GET /problems/{code}`: what a problem's `type` leads to.
pub(crate) async fn problem(path: Result<Path<String>, PathRejection>) -> Response {
    let name = path.map(|Path(name)| name).unwrap_or_default();
    let Some(code) = Code::ALL.iter().find(|code| code.name() == name) else {
        return Problem::new(Code::NotFound, "There is no problem of this name.").into_response();
    };
    format!("{} ({})\n\n{}.\n", code.name(), code.status(), code.title()).into_response()
}
