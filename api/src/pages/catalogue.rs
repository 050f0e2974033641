//! The pages of creators and products, with their [first state](super::first_state). The page
//! itself reads the present one, and reports an unknown creator or product.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::values::CatalogueId;

use super::{Reader, first_state, live, shop_page};
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
    let found = match id_in(path) {
        Some(id) => app.catalogue.store.creator(&id).await,
        None => Ok(None),
    };
    match found {
        Ok(Some(creator)) => {
            let first = first_state::of_creator(&app, &reader, &headers, &creator);
            live(
                &app,
                &reader,
                &headers,
                ("creator.html", StatusCode::OK),
                first,
            )
        }
        Ok(None) => shop_page(
            &app,
            &reader,
            &headers,
            ("creator.html", StatusCode::NOT_FOUND),
        ),
        // Without the database the page shows the problem.
        Err(_) => shop_page(&app, &reader, &headers, ("creator.html", StatusCode::OK)),
    }
}

/// `GET /products/{id}`
pub(crate) async fn product(
    State(app): State<App>,
    reader: Reader,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let found = match id_in(path) {
        Some(id) => app.catalogue.store.product(&id).await,
        None => Ok(None),
    };
    match found {
        Ok(Some(product)) => {
            let creator = match product.creator_id.as_deref().map(CatalogueId::stored) {
                Some(Ok(id)) => app.catalogue.store.creator(&id).await.ok().flatten(),
                Some(Err(_)) | None => None,
            };
            let of = (&product, creator.as_ref());
            let first = first_state::of_product(&app, &reader, &headers, of);
            live(
                &app,
                &reader,
                &headers,
                ("product.html", StatusCode::OK),
                first,
            )
        }
        Ok(None) => shop_page(
            &app,
            &reader,
            &headers,
            ("product.html", StatusCode::NOT_FOUND),
        ),
        Err(_) => shop_page(&app, &reader, &headers, ("product.html", StatusCode::OK)),
    }
}

fn id_in(path: Result<Path<String>, PathRejection>) -> Option<CatalogueId> {
    let Path(id) = path.ok()?;
    CatalogueId::stored(&id).ok()
}
