//! The pages of creators and products. Each is the same for every creator or product; the page
//! itself reads it, and reports an unknown one.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::values::CatalogueId;

use super::{Reader, shop_page};
use crate::app::App;

/// `GET /creators`
pub(crate) async fn creators(
    State(app): State<App>,
    reader: Reader,
    headers: HeaderMap,
) -> Response {
    shop_page(&app, &reader, &headers, ("creators.html", StatusCode::OK))
}

/// `GET /creators/{id}`
pub(crate) async fn creator(
    State(app): State<App>,
    reader: Reader,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let is_known = match id_in(path) {
        // Without the database the page shows the problem.
        Some(id) => !matches!(app.catalogue.store.creator(&id).await, Ok(None)),
        None => false,
    };
    shop_page(&app, &reader, &headers, ("creator.html", status(is_known)))
}

/// `GET /products/{id}`
pub(crate) async fn product(
    State(app): State<App>,
    reader: Reader,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let is_known = match id_in(path) {
        Some(id) => !matches!(app.catalogue.store.product(&id).await, Ok(None)),
        None => false,
    };
    shop_page(&app, &reader, &headers, ("product.html", status(is_known)))
}

fn id_in(path: Result<Path<String>, PathRejection>) -> Option<CatalogueId> {
    let Path(id) = path.ok()?;
    CatalogueId::stored(&id).ok()
}

const fn status(is_known: bool) -> StatusCode {
    match is_known {
        true => StatusCode::OK,
        false => StatusCode::NOT_FOUND,
    }
}
