//! The pages. All files are embedded in the binary.
//!
//! A page is rendered from its [template](templates) when the server starts, once for each language
//! of the [brand](crate::brand); `/` and the pages of drops, products and creators are rendered for
//! each request, with their [first state](first_state). With a page go one stylesheet and ES
//! modules, from `web/`. There is no build step, and pages use only the public API. Browsers
//! revalidate each file at every load and get 304 while it is unchanged, so a new version appears
//! immediately. The API reference is rendered in [`crate::openapi`], because it shows the document.

pub(crate) mod branded;
pub(crate) mod catalogue;
pub mod catalogue_facts;
pub(crate) mod embed;
mod first_state;
mod preloads;
mod reader;
mod shop;
pub mod templates;

use std::borrow::Cow;
use std::sync::LazyLock;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use domain::values::{DropId, OrderId};

use self::embed::FOR_OTHER_SITES;
pub(crate) use self::reader::Reader;
pub use self::shop::ShopPages;
pub(crate) use self::templates::parts;
use self::templates::{STANDARD, is_of_shop, is_part};
use crate::app::App;
use crate::base_path::at;
use crate::negotiate::{preferred, varied};
use crate::problem::{Code, Problem};
use crate::render::{is_known, private};
use crate::viewer::Viewer;
pub(crate) use crate::web_files::Page;
use crate::web_files::{Files, etag};

/// The content security policy: pages load only files of this server, and pictures of drops, whose
/// URLs the shop chooses. There are no inline scripts and styles, and text is never evaluated as
/// either. One
/// policy of trusted types exists, for the address of the service worker of Web Push.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https: http:; \
    connect-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types push-worker";

/// The headers of every page that protect its reader.
const PROTECTION: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// Renders the pages that no brand changes, with the settings of the shop: an error in a template
/// must not wait for a request. The pages of a brand are rendered after it.
///
/// # Panics
/// If there is such an error, which a test rules out.
pub fn render(shop: ShopPages) {
    shop::set(shop);
    LazyLock::force(&STANDARD);
    embed::prepare();
}

/// `GET /`
pub(crate) async fn storefront(
    State(app): State<App>,
    reader: Reader,
    headers: HeaderMap,
) -> Response {
    let first = first_state::front(&app, &reader, &headers);
    live(
        &app,
        &reader,
        &headers,
        ("index.html", StatusCode::OK),
        first,
    )
}

/// `GET /drops/{id}`: an unknown drop has the same page without a first state; the page itself
/// reports it.
pub(crate) async fn drop_page(
    State(app): State<App>,
    reader: Reader,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let drop_id = path.ok().and_then(|Path(id)| id.parse::<DropId>().ok());
    let viewer = match app.sessions.is_open(&headers, app.now()) {
        true => Viewer::Staff,
        false => Viewer::Public,
    };
    let drop = drop_id.and_then(|id| app.views.drop(id));
    let is_unlisted = drop
        .as_ref()
        .is_some_and(|drop| !drop.row.terms.are_listed());
    let found = drop.filter(|drop| viewer.finds(&drop.row.terms));
    let mut response = match &found {
        Some(drop) => {
            let first = first_state::of_drop(&app, &reader, &headers, (viewer, drop)).await;
            live(
                &app,
                &reader,
                &headers,
                ("drop.html", StatusCode::OK),
                first,
            )
        }
        None => shop_page(
            &app,
            &reader,
            &headers,
            ("drop.html", StatusCode::NOT_FOUND),
        ),
    };
    // A drop that is not in the shop's own lists is not for those of search engines either.
    if is_unlisted {
        let unlisted = HeaderValue::from_static("noindex");
        let robots = HeaderName::from_static("x-robots-tag");
        response.headers_mut().insert(robots, unlisted);
    }
    match viewer {
        Viewer::Public => response,
        // An administrator also sees hidden drops and numbers.
        Viewer::Staff => private(response),
    }
}

/// `GET /cart`
pub(crate) async fn cart(State(app): State<App>, reader: Reader, headers: HeaderMap) -> Response {
    shop_page(&app, &reader, &headers, ("cart.html", StatusCode::OK))
}

/// `GET /orders/{id}`: the same page for every order. The page itself reads the order, because
/// reads of unknown orders are limited by address.
pub(crate) async fn order_page(
    State(app): State<App>,
    reader: Reader,
    headers: HeaderMap,
) -> Response {
    shop_page(&app, &reader, &headers, ("order.html", StatusCode::OK))
}

/// Responds with a page of the shop in the language of its reader.
fn shop_page(
    app: &App,
    reader: &Reader,
    headers: &HeaderMap,
    (name, status): (&str, StatusCode),
) -> Response {
    let tag = &reader.language(&app.brand).tag;
    let Some(page) = app.templates.page(tag, name) else {
        return Problem::new(Code::NotFound, "No file has this name.").into_response();
    };
    let content = page.text.clone().into_bytes().into();
    reader.mark(file(headers, media_type(name), content, &page.etag, status))
}

/// Responds with a page of the shop that shows the present state of drops.
fn live(
    app: &App,
    reader: &Reader,
    headers: &HeaderMap,
    (name, status): (&str, StatusCode),
    first: minijinja::Value,
) -> Response {
    let tag = &reader.language(&app.brand).tag;
    let values = minijinja::context! { first, is_shop => is_of_shop(name) };
    match app.templates.render(tag, name, values) {
        Ok(text) => {
            let Page { text, etag } = Page::new(text);
            let content = text.into_bytes().into();
            reader.mark(file(headers, media_type(name), content, &etag, status))
        }
        Err(error) => Problem::internal(&error).into_response(),
    }
}

/// `GET /admin`: the dashboard for a signed-in browser, otherwise the sign-in page.
pub(crate) async fn dashboard(State(app): State<App>, headers: HeaderMap) -> Response {
    for_admin(&app, &headers, "admin.html")
}

/// The rooms of the dashboard: the last segment of the path, and the file.
const ROOMS: [(&str, &str); 6] = [
    ("orders", "rooms/orders.html"),
    ("revenue", "rooms/revenue.html"),
    ("buyers", "rooms/buyers.html"),
    ("catalogue", "rooms/catalogue.html"),
    ("webhooks", "rooms/webhooks.html"),
    ("attention", "rooms/attention.html"),
];

/// `GET /admin/{room}`: as [`dashboard`].
pub(crate) async fn room(
    State(app): State<App>,
    reader: Reader,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let name = path.map(|Path(name)| name).unwrap_or_default();
    match ROOMS.iter().find(|(room, _)| *room == name) {
        Some((_, file)) => for_admin(&app, &headers, file),
        None => absent(&app, &reader, &headers, "No resource has this path."),
    }
}

/// `GET /admin/orders/{id}`: as [`dashboard`], the same page for every order.
pub(crate) async fn order_room(State(app): State<App>, headers: HeaderMap) -> Response {
    for_admin(&app, &headers, "rooms/order.html")
}

/// `GET /admin/drops/{id}`: as [`dashboard`], the same page for every drop.
pub(crate) async fn drop_room(State(app): State<App>, headers: HeaderMap) -> Response {
    for_admin(&app, &headers, "rooms/drop.html")
}

/// A page for a signed-in browser, otherwise the sign-in page.
fn for_admin(app: &App, headers: &HeaderMap, name: &str) -> Response {
    let name = if app.sessions.is_open(headers, app.now()) {
        name
    } else {
        "sign-in.html"
    };
    // The page of another language would be in no cache: rooms are in English.
    let mut response = match app.templates.page("", name) {
        Some(Page { text, etag }) => {
            let content = text.clone().into_bytes().into();
            file(headers, media_type(name), content, etag, StatusCode::OK)
        }
        None => Problem::new(Code::NotFound, "No file has this name.").into_response(),
    };
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Cookie"));
    response
}

/// Redirects a page's path with trailing slashes, `/drops` and `/orders`, to the page.
pub(crate) fn canonical_page(path: &str) -> Option<Redirect> {
    let bare = path.trim_end_matches('/');
    let to = |path: &str| Some(Redirect::temporary(&at(path)));
    match bare {
        "/drops" => return to("/"),
        "/orders" => return to("/cart"),
        "/admin/drops" => return to("/admin"),
        "/admin" | "/cart" | "/creators" | "/docs" | "/problems" => return to(bare),
        _ => {}
    }
    if let Some(id) = bare.strip_prefix("/drops/") {
        let drop_id: DropId = id.parse().ok()?;
        return to(&format!("/drops/{drop_id}"));
    }
    if let Some(room) = bare.strip_prefix("/admin/") {
        let (room, _) = ROOMS.iter().find(|(name, _)| *name == room)?;
        return to(&format!("/admin/{room}"));
    }
    let order_id: OrderId = bare.strip_prefix("/orders/")?.parse().ok()?;
    to(&format!("/orders/{order_id}"))
}

/// Media types of the response to an unknown path: a problem by default, a page for browsers.
const NOT_FOUND_MEDIA_TYPES: [&str; 2] = ["application/problem+json", "text/html"];

/// Responds to an unknown path: with a page for a browser, with a problem for a program, and
/// always with a problem below `/v1`.
pub(crate) fn not_found(
    app: &App,
    (method, uri): (&Method, &Uri),
    headers: &HeaderMap,
) -> Response {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    if !is_read || uri.path().starts_with("/v1/") {
        return Problem::new(Code::NotFound, "No resource has this path.").into_response();
    }
    let reader = Reader::of(&app.brand, uri.query(), headers);
    absent(app, &reader, headers, "No resource has this path.")
}

/// Responds that nothing is there: with a page in the reader's language, or with a problem.
fn absent(app: &App, reader: &Reader, headers: &HeaderMap, detail: &str) -> Response {
    match NOT_FOUND_MEDIA_TYPES[preferred(headers, &NOT_FOUND_MEDIA_TYPES)] {
        "text/html" => {
            let page = ("absent.html", StatusCode::NOT_FOUND);
            let mut response = shop_page(app, reader, headers, page);
            let vary = HeaderValue::from_static("Accept, Accept-Language, Cookie");
            response.headers_mut().insert(header::VARY, vary);
            response
        }
        _ => varied(Problem::new(Code::NotFound, detail).into_response()),
    }
}

/// As [`absent`], for the pages of the program: in English.
pub(crate) fn not_found_page(headers: &HeaderMap, detail: &str) -> Response {
    varied(
        match NOT_FOUND_MEDIA_TYPES[preferred(headers, &NOT_FOUND_MEDIA_TYPES)] {
            "text/html" => page(headers, "absent.html", StatusCode::NOT_FOUND),
            _ => Problem::new(Code::NotFound, detail).into_response(),
        },
    )
}

/// `GET /assets/{path}`: a file of the pages, a catalogue of texts, or a picture of the theme.
pub(crate) async fn asset(
    State(app): State<App>,
    reader: Reader,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let name = path.map(|Path(name)| name).unwrap_or_default();
    let file = match branded::asset(&app.brand, &name, &headers) {
        Some(response) => response,
        None if find(&name).is_none() => {
            return absent(&app, &reader, &headers, "No file has this name.");
        }
        None => page(&headers, &name, StatusCode::OK),
    };
    (FOR_OTHER_SITES, file).into_response()
}

/// `GET /push.js`: the service worker of Web Push. At the root, because a browser shows a
/// notification's page below the path of its worker.
pub(crate) async fn push_worker(headers: HeaderMap) -> Response {
    page(&headers, "push.js", StatusCode::OK)
}

fn page(headers: &HeaderMap, name: &str, status: StatusCode) -> Response {
    match find(name) {
        Some((content, etag)) => file(headers, media_type(name), content, &etag, status),
        None => Problem::new(Code::NotFound, "No file has this name.").into_response(),
    }
}

/// Responds with a page of another module, or with 304 if the client has it.
pub(crate) fn rendered(
    headers: &HeaderMap,
    media_type: &'static str,
    page: &'static Page,
) -> Response {
    let content = page.text.as_bytes().into();
    file(headers, media_type, content, &page.etag, StatusCode::OK)
}

fn file(
    headers: &HeaderMap,
    media_type: &'static str,
    content: Cow<'static, [u8]>,
    etag: &str,
    status: StatusCode,
) -> Response {
    let cached = [(header::ETAG, etag), (header::CACHE_CONTROL, "no-cache")];
    if status == StatusCode::OK && is_known(headers, etag) {
        return (StatusCode::NOT_MODIFIED, PROTECTION, cached).into_response();
    }
    let kind = [(header::CONTENT_TYPE, media_type)];
    (status, PROTECTION, cached, kind, content).into_response()
}

/// Returns the page or the file of this name, with its tag.
fn find(name: &str) -> Option<(Cow<'static, [u8]>, Cow<'static, str>)> {
    if let Some(page) = STANDARD.page("en", name) {
        return Some((page.text.as_bytes().into(), page.etag.as_str().into()));
    }
    let file = Files::get(name).filter(|_| !is_part(name))?;
    let etag = etag(&file);
    Some((file.data, etag.into()))
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

/// Responds with 404 and all codes: as a list of links for a browser, as a problem for a program.
pub(crate) fn unknown_code(headers: &HeaderMap) -> Response {
    let is_page = NOT_FOUND_MEDIA_TYPES[preferred(headers, &NOT_FOUND_MEDIA_TYPES)] == "text/html";
    if is_page {
        let page = STANDARD.page("en", "unknown-code.html");
        let html = page.map_or("", |page| page.text.as_str());
        let kind = [(header::CONTENT_TYPE, media_type("unknown-code.html"))];
        return (StatusCode::NOT_FOUND, PROTECTION, kind, html).into_response();
    }
    let names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    let detail = format!(
        "No problem has this code. The codes are {}.",
        names.join(", ")
    );
    Problem::new(Code::NotFound, detail).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::values::Currency;

    use super::*;

    #[test]
    fn pages_and_server_agree_on_the_decimals_of_every_currency() {
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
    fn unchanged_file_is_not_sent_again_in_any_form_of_its_tag() {
        let request = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::IF_NONE_MATCH, HeaderValue::from_str(line).unwrap());
            }
            page(&headers, "style.css", StatusCode::OK)
        };
        let sent = request(&[]);
        assert_eq!(sent.status(), StatusCode::OK);
        let etag = sent.headers()[header::ETAG].to_str().unwrap();
        // A proxy that compresses turns the tag into a weak one.
        for known in [etag, &format!("W/{etag}"), &format!("\"a,b\", {etag}"), "*"] {
            assert_eq!(
                request(&[known]).status(),
                StatusCode::NOT_MODIFIED,
                "{known}"
            );
            assert_eq!(
                request(&["\"a\"", known]).status(),
                StatusCode::NOT_MODIFIED
            );
        }
        assert_eq!(request(&["\"a\"", "b"]).status(), StatusCode::OK);
    }
}
