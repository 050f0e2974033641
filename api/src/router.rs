//! The router: the routes of the table in [`openapi`], and what applies to all of them.

use std::any::Any;
use std::collections::BTreeSet;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::edge::Edge;
use crate::problem::{Code, Problem};
use crate::{demo_sign_in, openapi, pages};

/// Builds the router of `app`.
pub fn router(app: App) -> Router {
    let routes = openapi::routes();
    let measure = app.metrics.measure(&distinct_paths(&routes));
    let mount = |router: Router<App>, (path, handler)| router.route(path, handler);
    // Not in the table: it is no part of the API, and only the demo has it.
    let demo = app
        .demo_sign_in
        .as_ref()
        .map(|_| demo_sign_in::routes::page());
    routes
        .into_iter()
        .chain(demo)
        .fold(Router::new(), mount)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer((
            measure,
            CatchPanicLayer::custom(panicked),
            map_response(disable_caching),
            Edge::of(app.clone()),
        ))
        .with_state(app)
}

/// Returns the path of every route, as the router spells it.
#[must_use]
pub fn paths() -> Vec<&'static str> {
    distinct_paths(&openapi::routes())
}

fn distinct_paths(routes: &[(&'static str, MethodRouter<App>)]) -> Vec<&'static str> {
    let paths: BTreeSet<_> = routes.iter().map(|(path, _)| *path).collect();
    paths.into_iter().collect()
}

/// Disables caching unless the handler has set a policy: most responses are for one caller, and
/// all of them become outdated soon.
async fn disable_caching(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    response
}

async fn not_found(
    State(app): State<App>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let page = pages::canonical_page(uri.path()).filter(|_| method == Method::GET);
    page.map_or_else(
        || pages::not_found(&app, (&method, &uri), &headers),
        IntoResponse::into_response,
    )
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        "This path does not have this method; the Allow header lists its methods.",
    )
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    Problem::internal(&std::io::Error::other(message.to_owned())).into_response()
}
