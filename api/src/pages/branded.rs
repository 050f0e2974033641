//! The files that follow from the brand: `/theme.css`, `/favicon.ico`, pictures, catalogues of
//! texts, `/robots.txt` and `/sitemap.xml`.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::first_state::listed_after;
use super::templates::escaped;
use super::{file, page};
use crate::app::App;
use crate::base_path::{at, base_path};
use crate::brand::{Brand, Picture};
use crate::render::is_known;
use crate::web_files::Page;

/// The policy of a picture: an SVG that is opened as a page runs no script and loads nothing.
const PICTURE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
/// The most drops in the map of the site: the bound of its standard is 50,000 addresses.
const MOST_MAPPED: usize = 10_000;

/// `GET /theme.css`
pub(crate) async fn stylesheet(State(app): State<App>, headers: HeaderMap) -> Response {
    text(&headers, "text/css; charset=utf-8", app.brand.stylesheet())
}

/// `GET /favicon.ico`: the favicon of the theme, whatever its type, or the mark.
pub(crate) async fn favicon(State(app): State<App>, headers: HeaderMap) -> Response {
    match app.brand.favicon() {
        Some(favicon) => picture(&headers, favicon),
        None => page(&headers, "mark.svg", StatusCode::OK),
    }
}

/// `GET /robots.txt`
pub(crate) async fn robots(State(app): State<App>, headers: HeaderMap) -> Response {
    let map = format!("{}{}", app.brand.origin(&headers), at("/sitemap.xml"));
    let base = base_path();
    let rules = format!(
        "User-agent: *\nDisallow: {base}/admin\nDisallow: {base}/cart\nDisallow: {base}/orders/\n\
         Disallow: {base}/v1/\nAllow: {base}/v1/feeds/\n\nSitemap: {map}\n"
    );
    text(&headers, "text/plain; charset=utf-8", &Page::new(rules))
}

/// `GET /sitemap.xml`: the front page, the creators and the newest public drops (sitemaps.org).
pub(crate) async fn site_map(State(app): State<App>, headers: HeaderMap) -> Response {
    let origin = app.brand.origin(&headers);
    let mut map = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n",
    );
    let mut add = |path: &str| {
        let _ = writeln!(
            map,
            "<url><loc>{}</loc></url>",
            escaped(&format!("{origin}{}", at(path)))
        );
    };
    add("/");
    add("/creators");
    for drop in listed_after(&app, None, MOST_MAPPED) {
        add(&format!("/drops/{}", drop.drop_id));
    }
    map.push_str("</urlset>\n");
    text(&headers, "application/xml; charset=utf-8", &Page::new(map))
}

/// Returns an asset that follows from the brand; `None` for other names.
pub(super) fn asset(brand: &Brand, name: &str, headers: &HeaderMap) -> Option<Response> {
    if let Some(name) = name.strip_prefix("brand/") {
        return brand.picture(name).map(|found| picture(headers, found));
    }
    let tag = name.strip_prefix("texts/")?.strip_suffix(".js")?;
    let kind = "text/javascript; charset=utf-8";
    Some(text(headers, kind, brand.module(tag)))
}

fn text(headers: &HeaderMap, media_type: &'static str, page: &Page) -> Response {
    let content = page.text.clone().into_bytes().into();
    file(headers, media_type, content, &page.etag, StatusCode::OK)
}

fn picture(headers: &HeaderMap, picture: &Picture) -> Response {
    let fixed = [
        (header::ETAG, picture.etag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, PICTURE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    if is_known(headers, &picture.etag) {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    let kind = [(header::CONTENT_TYPE, picture.media_type)];
    (fixed, kind, picture.content.clone()).into_response()
}
