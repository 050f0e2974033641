//! All routes.

use std::any::Any;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::extract::no_parameters;
use crate::problem::{Code, Problem};
use crate::{
    admin, drops, erasure, health, holds, jobs, log, metrics, openapi, pages, session, stream,
    waitlist, webhook_routes,
};

/// Builds the router of `app`.
pub fn router(app: App) -> Router {
    let Routes { router, paths } = routes();
    let measure = app.metrics.measure(&paths);
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer((
            measure,
            CatchPanicLayer::custom(panicked),
            map_response(disable_caching),
            from_fn(known_parameters_only),
        ))
        .with_state(app)
}

/// Returns the path of every route, as the router spells it.
#[must_use]
pub fn paths() -> Vec<&'static str> {
    routes().paths
}

/// A router that records its paths.
#[derive(Default)]
struct Routes {
    router: Router<App>,
    paths: Vec<&'static str>,
}

impl Routes {
    fn route(mut self, path: &'static str, methods: MethodRouter<App>) -> Self {
        self.paths.push(path);
        self.router = self.router.route(path, methods);
        self
    }
}

fn routes() -> Routes {
    Routes::default()
        .route("/v1/drops/{id}/holds", post(holds::place))
        .route("/v1/drops/{id}/waitlist", post(waitlist::join))
        .route("/v1/drops", post(drops::create).get(drops::list))
        .route("/v1/drops/{id}", get(drops::read).patch(drops::edit))
        .route("/v1/drops/{id}/cancel", post(drops::cancel))
        .route("/v1/drops/{id}/stock-adjustments", post(drops::adjust))
        .route("/v1/drops/{id}/purchasers", get(drops::buyers::purchasers))
        .route(
            "/v1/drops/{id}/buyers/{buyer_id}",
            get(drops::buyers::standing),
        )
        .route("/v1/holds/{id}", get(holds::read).delete(holds::release))
        .route("/v1/holds/{id}/purchase", post(holds::purchase))
        .route("/v1/purchases/{id}", get(drops::purchases::read))
        .route("/v1/drops/{id}/purchases", get(drops::purchases::list))
        .route(
            "/v1/waitlist/{id}",
            get(waitlist::read).delete(waitlist::leave),
        )
        .route("/v1/stream", get(stream::watch))
        .route("/v1/admin/buyers/{buyer_id}", delete(erasure::delete))
        .route(
            "/v1/admin/session",
            post(session::sign_in).delete(session::sign_out),
        )
        .route("/v1/admin/metrics", get(admin::metrics))
        .route("/v1/admin/timeline", get(admin::timeline))
        .route(
            "/v1/admin/webhooks",
            post(webhook_routes::create).get(webhook_routes::list),
        )
        .route(
            "/v1/admin/webhooks/{id}",
            get(webhook_routes::read)
                .patch(webhook_routes::edit)
                .delete(webhook_routes::delete),
        )
        .route("/v1/admin/webhooks/{id}/test", post(webhook_routes::test))
        .route(
            "/v1/admin/webhooks/{id}/rotate-secret",
            post(webhook_routes::rotate_secret),
        )
        .route(
            "/v1/admin/webhooks/{id}/replay",
            post(webhook_routes::replay),
        )
        .route(
            "/v1/admin/webhooks/{id}/deliveries",
            get(webhook_routes::deliveries),
        )
        .route(
            "/v1/admin/webhooks/{id}/deliveries/{delivery_id}/retry",
            post(webhook_routes::retry),
        )
        .route("/v1/admin/jobs", get(jobs::list))
        .route("/v1/admin/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/admin/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/admin/needs-attention", get(jobs::needs_attention))
        .route("/v1/log", get(log::list))
        .route("/v1/log/head", get(log::head))
        .route("/metrics", get(metrics::scrape))
        .route("/openapi.json", get(openapi::openapi))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/", get(pages::storefront))
        .route("/drops/{id}", get(pages::drop_page))
        .route("/admin", get(pages::dashboard))
        .route("/docs", get(pages::reference))
        .route("/assets/{*path}", get(pages::asset))
        .route("/problems/{code}", get(pages::problem))
}

/// Rejects query parameters of operations that have none. Other operations reject unknown
/// parameters when they read their own ([`crate::extract::Params`]). Pages ignore them, because
/// campaigns and mail programs append parameters to links.
async fn known_parameters_only(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let takes_none =
        path.is_some_and(|path| openapi::takes_no_query(path.as_str(), request.method()));
    if takes_none && let Err(problem) = no_parameters(request.uri().query()) {
        return problem.into_response();
    }
    next.run(request).await
}

/// Disables caching unless the handler has set a policy: most responses are for one caller, and
/// all of them become outdated soon.
async fn disable_caching(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    response
}

async fn not_found(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let page = pages::canonical_page(uri.path()).filter(|_| method == Method::GET);
    page.map_or_else(
        || pages::not_found(&method, &uri, &headers),
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
