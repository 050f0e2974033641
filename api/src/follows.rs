//! The routes of a buyer's follows and reminders.
//!
//! Promise: a choice is in the database, and known to the buyer's streams on this server, before
//! its response. Another server's streams know it within 30 s.
//! Limit: as of creators.

use ::catalogue::store::{Actor, Chosen, Follow, MOST_FOLLOWS, MOST_REMINDERS, Reminder};
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::values::{BuyerId, CatalogueId, DropId, Entered, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::auth::{Caller, Visitor};
use crate::creators;
use crate::drops::quarantine;
use crate::extract::{BuyerIdPath, Fresh, Limit, Query, is_not_utf8};
use crate::limiter::{ChangeKind, Origin};
use crate::problem::{Code, Problem};
use crate::render::{Page, conditional, private};
use crate::webhook_routes::{failed, one_more, page, unknown_start};

/// Maximum number of follows or reminders in one response.
pub(crate) const MOST_LISTED: usize = 100;

/// A creator that the buyer follows.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Follow")]
pub(crate) struct FollowBody {
    creator_id: String,
    /// Of the creator.
    name: String,
    /// Of the creator.
    image_url: Option<String>,
    followed_at: Timestamp,
}

impl From<Follow> for FollowBody {
    fn from(follow: Follow) -> Self {
        Self {
            creator_id: follow.creator_id,
            name: follow.name,
            image_url: follow.image_url,
            followed_at: follow.followed_at,
        }
    }
}

/// A drop of which the buyer is reminded.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Reminder")]
pub(crate) struct ReminderBody {
    drop_id: DropId,
    created_at: Timestamp,
}

impl From<Reminder> for ReminderBody {
    fn from(reminder: Reminder) -> Self {
        Self {
            drop_id: reminder.drop_id,
            created_at: reminder.created_at,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct FollowsParams {
    /// The maximum number of follows.
    #[schemars(extend("default" = MOST_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last creator of the previous page.
    starting_after: Option<Entered<CatalogueId>>,
}

impl Query for FollowsParams {}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct RemindersParams {
    /// The maximum number of reminders.
    #[schemars(extend("default" = MOST_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last drop of the previous page.
    starting_after: Option<DropId>,
}

impl Query for RemindersParams {}

/// The buyer and the creator in the path.
#[derive(Debug, Clone)]
pub(crate) struct FollowPath(BuyerId, CatalogueId);

impl FromRequestParts<App> for FollowPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let (buyer_id, creator_id) = of_buyer(parts, app, creators::not_found).await?;
        let creator_id = CatalogueId::stored(&creator_id);
        Ok(Self(
            buyer_id,
            creator_id.map_err(|_| creators::not_found())?,
        ))
    }
}

/// The buyer and the drop in the path.
#[derive(Debug, Clone)]
pub(crate) struct ReminderPath(BuyerId, DropId);

impl FromRequestParts<App> for ReminderPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let not_found = || Problem::new(Code::DropNotFound, "No drop has this id.");
        let (buyer_id, drop_id) = of_buyer(parts, app, not_found).await?;
        Ok(Self(buyer_id, drop_id.parse().map_err(|_| not_found())?))
    }
}

/// Reads a path of a buyer and of something else.
async fn of_buyer(
    parts: &mut Parts,
    app: &App,
    not_found: fn() -> Problem,
) -> Result<(BuyerId, String), Problem> {
    let path = Path::<(String, String)>::from_request_parts(parts, app).await;
    let Path((buyer_id, other)) = path.map_err(|rejection| {
        if is_not_utf8(&rejection, "buyer_id") {
            Problem::invalid("/buyer_id", "must be UTF-8")
        } else {
            not_found()
        }
    })?;
    let buyer_id = BuyerId::stored(&buyer_id);
    let buyer_id = buyer_id.map_err(|error| Problem::invalid("/buyer_id", error.to_string()))?;
    Ok((buyer_id, other))
}

/// Returns the buyer for whom the caller acts.
///
/// # Errors
/// 403 for another buyer.
pub(crate) fn actor(caller: &Caller, buyer_id: BuyerId) -> Result<Actor, Problem> {
    caller.must_be(&buyer_id)?;
    Ok(Actor {
        buyer_id,
        is_account: caller.has_token(),
    })
}

/// Admits a change of a buyer's choices, which counts among those of the address.
pub(crate) fn admit(app: &App, origin: Origin) -> Result<(), Problem> {
    let _counted = app.limiter.admit_change(origin, ChangeKind::Choice)?;
    Ok(())
}

/// Finishes a change: the buyer's streams follow it.
async fn finish(app: &App, actor: &Actor) -> StatusCode {
    app.notification_hub.reload(&actor.buyer_id).await;
    StatusCode::NO_CONTENT
}

fn refused(chosen: Chosen, full: Code, most: u32) -> Result<(), Problem> {
    match chosen {
        Chosen::Done => Ok(()),
        Chosen::NotFound => Err(creators::not_found()),
        Chosen::Full => {
            let detail = format!("The buyer has {most}, as many as are allowed. Delete one first.");
            Err(Problem::new(full, detail).with("limit", most))
        }
        Chosen::OtherAccount => Err(other_account()),
    }
}

pub(crate) fn other_account() -> Problem {
    Problem::new(
        Code::Forbidden,
        "The shop records this buyer in another spelling, that of another account.",
    )
}

/// `PUT /v1/buyers/{buyer_id}/follows/{creator_id}`
pub(crate) async fn follow(
    State(app): State<App>,
    FollowPath(buyer_id, creator_id): FollowPath,
    caller: Caller,
    visitor: Visitor,
) -> Result<StatusCode, Problem> {
    let actor = actor(&caller, buyer_id)?;
    admit(&app, visitor.origin)?;
    let chosen = app.catalogue.store.follow(&actor, &creator_id).await;
    refused(
        chosen.map_err(failed)?,
        Code::FollowLimitReached,
        MOST_FOLLOWS,
    )?;
    Ok(finish(&app, &actor).await)
}

/// `DELETE /v1/buyers/{buyer_id}/follows/{creator_id}`: 204, also if the buyer does not follow the
/// creator.
pub(crate) async fn unfollow(
    State(app): State<App>,
    FollowPath(buyer_id, creator_id): FollowPath,
    caller: Caller,
    visitor: Visitor,
) -> Result<StatusCode, Problem> {
    let actor = actor(&caller, buyer_id)?;
    admit(&app, visitor.origin)?;
    let ended = app.catalogue.store.unfollow(&actor, &creator_id).await;
    ended.map_err(failed)?;
    Ok(finish(&app, &actor).await)
}

/// `GET /v1/buyers/{buyer_id}/follows`
pub(crate) async fn follows(
    State(app): State<App>,
    BuyerIdPath(buyer_id): BuyerIdPath,
    caller: Caller,
    Fresh(params): Fresh<FollowsParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let actor = actor(&caller, buyer_id)?;
    let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
    let after = params.starting_after.map(|Entered(id)| id);
    let store = &app.catalogue.store;
    let found = store.follows(&actor, after.as_ref(), one_more(limit));
    let found = found.await.map_err(failed)?;
    if let (Some(after), true) = (&after, found.is_empty()) {
        let own = store.choices_of(&actor).await.map_err(failed)?.creators;
        let is_known = own.iter().any(|(id, _)| id == after);
        is_known
            .then_some(())
            .ok_or_else(|| unknown_start("a creator that the buyer follows"))?;
    }
    let page: Page<FollowBody> = page(found, limit);
    Ok(private(conditional(&headers, &page)))
}

/// `PUT /v1/buyers/{buyer_id}/reminders/{drop_id}`
pub(crate) async fn remind(
    State(app): State<App>,
    ReminderPath(buyer_id, drop_id): ReminderPath,
    caller: Caller,
    visitor: Visitor,
) -> Result<StatusCode, Problem> {
    let actor = actor(&caller, buyer_id)?;
    let drop = app.views.drop(drop_id);
    if drop.is_none_or(|drop| !visitor.viewer.finds(&drop.row.terms)) {
        let refused = quarantine(app.views.quarantine_of(drop_id));
        let unknown = || Problem::new(Code::DropNotFound, "No drop has this id.");
        return Err(refused.unwrap_or_else(unknown));
    }
    admit(&app, visitor.origin)?;
    let chosen = app.catalogue.store.remind(&actor, drop_id).await;
    let chosen = chosen.map_err(failed)?;
    refused(chosen, Code::ReminderLimitReached, MOST_REMINDERS)?;
    Ok(finish(&app, &actor).await)
}

/// `DELETE /v1/buyers/{buyer_id}/reminders/{drop_id}`: 204, also without a reminder.
pub(crate) async fn forget(
    State(app): State<App>,
    ReminderPath(buyer_id, drop_id): ReminderPath,
    caller: Caller,
    visitor: Visitor,
) -> Result<StatusCode, Problem> {
    let actor = actor(&caller, buyer_id)?;
    admit(&app, visitor.origin)?;
    let ended = app.catalogue.store.forget_reminder(&actor, drop_id).await;
    ended.map_err(failed)?;
    Ok(finish(&app, &actor).await)
}

/// `GET /v1/buyers/{buyer_id}/reminders`
pub(crate) async fn reminders(
    State(app): State<App>,
    BuyerIdPath(buyer_id): BuyerIdPath,
    caller: Caller,
    Fresh(params): Fresh<RemindersParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let actor = actor(&caller, buyer_id)?;
    let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
    let store = &app.catalogue.store;
    let found = store.reminders(&actor, params.starting_after, one_more(limit));
    let found = found.await.map_err(failed)?;
    if let (Some(after), true) = (params.starting_after, found.is_empty()) {
        let own = store.choices_of(&actor).await.map_err(failed)?.drops;
        let is_known = own.iter().any(|(id, _)| *id == after);
        is_known
            .then_some(())
            .ok_or_else(|| unknown_start("a drop of which the buyer is reminded"))?;
    }
    let page: Page<ReminderBody> = page(found, limit);
    Ok(private(conditional(&headers, &page)))
}
