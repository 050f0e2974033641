//! `GET /v1/buyers/{buyer_id}/notifications`

use ::catalogue::notifications::parse_id;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Deserialize;

use super::NotificationBody;
use super::sources;
use crate::app::App;
use crate::auth::{Caller, Visitor};
use crate::extract::{BuyerIdPath, Fresh, Limit, Query};
use crate::follows::actor;
use crate::problem::Problem;
use crate::render::{Page, conditional, insert, private};
use crate::webhook_routes::{failed, unknown_start};

/// Maximum number of notifications in one response.
pub(crate) const MOST_LISTED: usize = 100;
/// Default number of notifications in one response.
const USUALLY_LISTED: usize = 20;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NotificationsParams {
    /// The maximum number of notifications.
    #[schemars(extend("default" = USUALLY_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last notification of the previous page.
    starting_after: Option<String>,
}

impl Query for NotificationsParams {}

/// The list, newest first. The header `Holdfast-Position` has the position from which the stream
/// continues it.
pub(crate) async fn list(
    State(app): State<App>,
    BuyerIdPath(buyer_id): BuyerIdPath,
    caller: Caller,
    visitor: Visitor,
    Fresh(params): Fresh<NotificationsParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let actor = actor(&caller, buyer_id)?;
    let unknown = || unknown_start("a notification of the buyer");
    let before = params.starting_after.as_deref().map(parse_id);
    let before = before
        .map(|before| before.ok_or_else(unknown))
        .transpose()?;
    let choices = app.catalogue.store.choices_of(&actor).await;
    let notifications = &app.catalogue.notifications;
    // Read before the notifications, so that they are at least as new.
    let position = notifications.position();
    let sources = sources(&app.views, &actor, choices.map_err(failed)?);
    let limit = params.limit.map_or(USUALLY_LISTED, |Limit(limit)| limit);
    let found = notifications.newest(&sources, before, limit + 1, app.now());
    let mut found = found.ok_or_else(unknown)?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let bodies = found.iter();
    let data: Vec<_> = bodies
        .map(|found| NotificationBody::new(found, &app.views, visitor.may_see_ids(&caller)))
        .collect();
    let mut response = private(conditional(&headers, &Page { data, has_more }));
    let position_header = HeaderName::from_static("holdfast-position");
    insert(&mut response, position_header, &position.to_string());
    Ok(response)
}
