//! The routes of the waitlist: join, read, leave.
//!
//! An entry's id is unguessable. Knowing it grants the right to read the entry and to leave, as a
//! hold's id grants the right to buy.

mod watch;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::drop::HoldStatus;
use domain::drop::waitlist::EntryStatus;
use domain::values::{
    BuyerId, DisplayName, DropId, Entered, HoldId, Money, Position, Quantity, Timestamp, WaitlistId,
};
use engine::{JoinWaitlist, LeaveWaitlist};
use projections::views::{EntryView, Views};
use projections::waitlist::Block;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::watch::WatchedEntries;
use crate::app::App;
use crate::auth::Caller;
use crate::drops::quarantine;
use crate::extract::{Body, DropPath, Fresh, IdempotencyKey, follow_to_head};
use crate::limiter::{AttemptKind, Origin, RequestKind};
use crate::problem::{Code, Problem};
use crate::render::{conditional_at, insert, private, replayed};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewWaitlistEntry")]
pub(crate) struct NewWaitlistEntry {
    /// The shop's id of the buyer. Compared in NFC, without regard to case (full case folding) and
    /// surrounding white space. Consists of graphic characters and U+0020; characters that are
    /// invisible (default ignorable) or change the direction of text are rejected.
    buyer_id: Entered<BuyerId>,
    /// The number of units.
    #[schemars(extend("default" = 1))]
    quantity: Option<Quantity>,
    /// The name in the public list of purchasers. Default: a few digits of the buyer's pseudonym.
    /// Must contain a visible character, and none that changes the direction of surrounding text.
    display_name: Option<Entered<DisplayName>>,
}

/// The status of a waitlist entry, and then of the hold that it received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "WaitlistStatus")]
enum EntryProgress {
    /// The entry waits for units.
    Waiting,
    /// The entry received a hold, which can be purchased.
    Offered,
    /// The hold was purchased.
    Purchased,
    /// The hold expired.
    Expired,
    /// The hold was released.
    Released,
    /// The buyer left the waitlist.
    Left,
    /// The drop ended or was cancelled first. If the end of the drop is postponed, the entry waits
    /// again.
    Closed,
}

/// The reason why no number of returned units can serve an entry. It keeps its rank and is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "WaitlistBlock")]
enum BlockedBy {
    /// The entry requests more units than one hold may have.
    MaxPerHold,
    /// With the units that the buyer holds and has purchased, it exceeds the limit per buyer.
    MaxPerBuyer,
    /// The entry requests more units than are unsold: `total - sold`.
    TotalStock,
}

impl From<Block> for BlockedBy {
    fn from(block: Block) -> Self {
        match block {
            Block::MaxPerHold => Self::MaxPerHold,
            Block::MaxPerBuyer => Self::MaxPerBuyer,
            Block::TotalStock => Self::TotalStock,
        }
    }
}

/// The current state of a waitlist entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[schemars(rename = "WaitlistNews")]
pub(crate) struct WaitlistEntryState {
    id: WaitlistId,
    drop_id: DropId,
    quantity: Quantity,
    status: EntryProgress,
    /// The rank in the waitlist, from 1; null if the entry does not wait any more.
    place: Option<u32>,
    /// The reason why the entry cannot be served until the stock, the terms or the buyer's holds
    /// change; null if it can be served.
    blocked_by: Option<BlockedBy>,
    /// The hold that the entry received.
    hold_id: Option<HoldId>,
    /// The time at which the entry received the hold.
    offered_at: Option<Timestamp>,
    /// The price of one unit in that hold.
    price: Option<Money>,
    /// The time at which that hold expires.
    expires_at: Option<Timestamp>,
    joined_at: Timestamp,
    position: Position,
}

/// A waitlist entry.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WaitlistEntry")]
pub(crate) struct WaitlistEntryBody {
    #[serde(flatten)]
    state: WaitlistEntryState,
    /// Null after the erasure of the buyer.
    buyer_id: Option<BuyerId>,
    server_time: Timestamp,
}

impl WaitlistEntryState {
    fn of(views: &Views, view: &EntryView, now: Timestamp) -> Self {
        let row = &view.row;
        let was_offered = row.status == EntryStatus::Offered;
        let hold = views.hold(row.hold_id).filter(|_| was_offered);
        let status = match (row.status, &hold) {
            (EntryStatus::Waiting, _) if is_over(views, row.drop_id, now) => EntryProgress::Closed,
            (EntryStatus::Waiting, _) => EntryProgress::Waiting,
            (EntryStatus::Left, _) if row.removed_by_cancellation => EntryProgress::Closed,
            (EntryStatus::Left, _) => EntryProgress::Left,
            (EntryStatus::Offered, None) => EntryProgress::Offered,
            (EntryStatus::Offered, Some(hold)) => match hold.row.status {
                HoldStatus::Held if now >= hold.row.expires_at => EntryProgress::Expired,
                HoldStatus::Held => EntryProgress::Offered,
                HoldStatus::Purchased => EntryProgress::Purchased,
                HoldStatus::Expired => EntryProgress::Expired,
                HoldStatus::Released => EntryProgress::Released,
            },
        };
        let is_waiting = status == EntryProgress::Waiting;
        Self {
            id: view.entry_id,
            drop_id: row.drop_id,
            quantity: row.quantity,
            status,
            place: view.place.filter(|_| is_waiting),
            blocked_by: view.block.filter(|_| is_waiting).map(BlockedBy::from),
            hold_id: was_offered.then_some(row.hold_id),
            offered_at: hold.as_ref().map(|hold| hold.row.placed_at),
            price: hold.as_ref().map(|hold| hold.price),
            expires_at: hold.as_ref().map(|hold| hold.row.expires_at),
            joined_at: row.joined_at,
            position: hold.map_or(row.position, |hold| hold.position.max(row.position)),
        }
    }
}

fn is_over(views: &Views, drop_id: DropId, now: Timestamp) -> bool {
    let drop = views.drop(drop_id);
    drop.is_some_and(|drop| drop.row.status(now).is_over())
}

impl WaitlistEntryBody {
    fn new(app: &App, view: EntryView) -> Self {
        Self::at(app, view, app.now())
    }

    /// Returns the body as of `now`.
    pub(crate) fn at(app: &App, view: EntryView, now: Timestamp) -> Self {
        Self {
            state: WaitlistEntryState::of(&app.views, &view, now),
            buyer_id: view.buyer.map(|buyer| buyer.buyer_id),
            server_time: now,
        }
    }
}

/// `POST /v1/drops/{id}/waitlist`
pub(crate) async fn join(
    State(app): State<App>,
    DropPath(drop_id): DropPath,
    caller: Caller,
    origin: Origin,
    key: IdempotencyKey,
    Body(new): Body<NewWaitlistEntry>,
) -> Result<Response, Problem> {
    let Entered(buyer_id) = new.buyer_id;
    caller.must_be(&buyer_id)?;
    let keys = key.of_buyer(&app, &caller, drop_id, &buyer_id)?;
    let one = || Quantity::new(1).map_err(|error| Problem::invalid("/quantity", error.to_string()));
    let request = JoinWaitlist {
        drop_id,
        key: Some(keys.key),
        other_key: Some(keys.other_key),
        buyer_id,
        is_from_token: caller.has_token(),
        display_name: new.display_name.map(|Entered(name)| name),
        quantity: new.quantity.map_or_else(one, Ok)?,
    };
    let admission = app
        .limiter
        .admit(&app, origin, drop_id, RequestKind::Entry, keys)?;
    let answer = app.engine.join_waitlist(request).await;
    admission.settle(&answer);
    let answer = answer.map_err(|error| app.refused.problem(drop_id, error))?;
    let entry_id = answer.subject;
    let entry = app.views.entry(entry_id).ok_or_else(entry_not_found)?;
    let body = Json(WaitlistEntryBody::new(&app, entry));
    let mut response = (StatusCode::CREATED, body).into_response();
    let location = format!("/v1/waitlist/{entry_id}");
    insert(&mut response, header::LOCATION, &location);
    Ok(replayed(response, &answer))
}

/// `GET /v1/waitlist/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    EntryPath(entry_id): EntryPath,
    caller: Caller,
    origin: Origin,
    _: Fresh,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let entry = find(&app, origin, entry_id).await?;
    caller.must_own(entry.buyer.as_ref().map(|buyer| &buyer.buyer_id))?;
    let body = WaitlistEntryBody::new(&app, entry);
    Ok(private(conditional_at(&headers, body.server_time, &body)))
}

/// `DELETE /v1/waitlist/{id}`
pub(crate) async fn leave(
    State(app): State<App>,
    EntryPath(entry_id): EntryPath,
    caller: Caller,
    origin: Origin,
) -> Result<Response, Problem> {
    if caller != Caller::Trusted || origin != Origin::Unlimited {
        let entry = find(&app, origin, entry_id).await?;
        caller.must_own(entry.buyer.as_ref().map(|buyer| &buyer.buyer_id))?;
    }
    let answer = app
        .engine
        .leave_waitlist(LeaveWaitlist { entry_id })
        .await?;
    let position = [("holdfast-position", answer.position().to_string())];
    let response = (StatusCode::NO_CONTENT, position).into_response();
    Ok(replayed(response, &answer))
}

/// Finds an entry. One that is unknown here may have joined on another node a moment ago.
async fn find(app: &App, origin: Origin, entry_id: WaitlistId) -> Result<EntryView, Problem> {
    if let Some(entry) = app.views.entry(entry_id) {
        return Ok(entry);
    }
    let quarantined = || quarantine(app.views.quarantine_of_entry(entry_id));
    if let Some(problem) = quarantined() {
        return Err(problem);
    }
    let attempt = app.limiter.attempt(origin, AttemptKind::Id)?;
    follow_to_head(app).await?;
    let entry = app.views.entry(entry_id).ok_or_else(quarantined);
    // A drop that was quarantined meanwhile may have such an entry, so the attempt has not failed.
    if !matches!(entry, Err(None)) {
        attempt.succeeded();
    }
    entry.map_err(|quarantined| quarantined.unwrap_or_else(entry_not_found))
}

fn entry_not_found() -> Problem {
    let detail = "No waitlist entry has this id.";
    Problem::new(Code::WaitlistEntryNotFound, detail)
}

/// The entry id in the path. A value that is not a UUID gets the same problem as an unknown entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryPath(WaitlistId);

impl FromRequestParts<App> for EntryPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| entry_not_found())?;
        id.parse().map(Self).map_err(|_| entry_not_found())
    }
}
