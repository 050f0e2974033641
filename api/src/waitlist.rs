//! The routes of the waitlist: join, read, leave.
//!
//! An entry's id is unguessable. Knowing it grants the right to read the entry and to leave, as a
//! hold's id grants the right to buy.

pub(crate) mod state;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::values::{AccessCode, BuyerId, DisplayName, Entered, Quantity, Timestamp, WaitlistId};
use engine::{JoinWaitlist, LeaveWaitlist};
use projections::views::EntryView;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::state::WaitlistEntryState;
use crate::app::App;
use crate::auth::{Caller, Visitor};
use crate::base_path::at;
use crate::challenge::SolutionHeader;
use crate::drops::codes::PresentedCode;
use crate::drops::quarantine;
use crate::extract::{Body, DropPath, Fresh, IdempotencyKey, follow_to_head};
use crate::limiter::{AttemptKind, Origin, RequestKind};
use crate::problem::{Code, Problem};
use crate::render::{conditional_at, insert, private, recorded};

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
    /// An access code of the drop, required if the drop's `access` is `code`. Letter case, hyphens
    /// and spaces do not matter.
    code: Option<AccessCode>,
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
    visitor: Visitor,
    key: IdempotencyKey,
    solution: SolutionHeader,
    Body(new): Body<NewWaitlistEntry>,
) -> Result<Response, Problem> {
    let Visitor { viewer, origin, .. } = visitor;
    let Entered(buyer_id) = new.buyer_id;
    caller.must_be(&buyer_id)?;
    let keys = key.of_buyer(&app, &caller, drop_id, &buyer_id)?;
    let one = || Quantity::new(1).map_err(|error| Problem::invalid("/quantity", error.to_string()));
    let code = PresentedCode::of(&app, origin, drop_id, new.code.as_ref())?;
    let solution = solution.of(&app, keys, visitor.is_admin);
    let request = JoinWaitlist {
        drop_id,
        key: Some(keys.key),
        other_key: Some(keys.other_key),
        buyer_id,
        is_from_token: caller.has_token(),
        display_name: new.display_name.map(|Entered(name)| name),
        quantity: new.quantity.map_or_else(one, Ok)?,
        pass: code.pass(visitor.is_admin, solution),
    };
    let admission = app.admit(origin, drop_id, RequestKind::Entry, keys)?;
    let answer = app.engine.join_waitlist(request).await;
    admission.settle(&answer);
    code.settle(&answer);
    let answer = answer.map_err(|error| {
        solution.problem(&app, &[drop_id], error, |error| {
            app.refused.problem(&app.views, viewer, drop_id, error)
        })
    })?;
    let entry_id = answer.subject;
    let entry = app.views.entry(entry_id).ok_or_else(entry_not_found)?;
    let body = Json(WaitlistEntryBody::new(&app, entry));
    let mut response = (StatusCode::CREATED, body).into_response();
    let location = format!("/v1/waitlist/{entry_id}");
    insert(&mut response, header::LOCATION, &at(&location));
    Ok(recorded(response, &answer))
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
    let entry = find(&app, caller.guesses_from(origin), entry_id).await?;
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
        let entry = find(&app, caller.guesses_from(origin), entry_id).await?;
        caller.must_own(entry.buyer.as_ref().map(|buyer| &buyer.buyer_id))?;
    }
    let answer = app
        .engine
        .leave_waitlist(LeaveWaitlist { entry_id })
        .await?;
    let response = StatusCode::NO_CONTENT.into_response();
    Ok(recorded(response, &answer))
}

/// Finds an entry. One that is unknown here may have joined on another node a moment ago.
pub(crate) async fn find(
    app: &App,
    origin: Origin,
    entry_id: WaitlistId,
) -> Result<EntryView, Problem> {
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

pub(crate) fn entry_not_found() -> Problem {
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
