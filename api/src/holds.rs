//! The routes of holds: place, read, change, extend, release, purchase.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::values::{
    AccessCode, BuyerId, DisplayName, Entered, HoldId, MaxHoldSeconds, PaymentReference, Quantity,
};
use domain::{DropEvent, Refusal};
use engine::{
    Accepted, ChangeHold, CommandError, ConfirmPurchase, ExtendHold, PlaceHold, ReleaseHold,
};
use projections::buyers::BuyerRow;
use projections::holds::HoldRow;
use projections::views::HoldView;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::App;
use crate::auth::{Admin, Caller, Visitor};
use crate::base_path::at;
use crate::challenge::SolutionHeader;
use crate::drops::codes::PresentedCode;
use crate::drops::quarantine;
use crate::extract::{
    Body, DropPath, Fresh, HoldPath, IdempotencyKey, OptionalBody, follow_to_head,
};
use crate::limiter::{Attempt, AttemptKind, ChangeKind, Origin, RequestKind};
use crate::problem::{Code, Problem};
use crate::render::{
    HoldBody, PurchaseBody, conditional_at, insert, positioned, private, recorded,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewHold {
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

/// `POST /v1/drops/{id}/holds`
pub(crate) async fn place(
    State(app): State<App>,
    DropPath(drop_id): DropPath,
    caller: Caller,
    visitor: Visitor,
    key: IdempotencyKey,
    solution: SolutionHeader,
    Body(new): Body<NewHold>,
) -> Result<Response, Problem> {
    let Visitor { viewer, origin, .. } = visitor;
    let Entered(buyer_id) = new.buyer_id;
    let display_name = new.display_name.map(|Entered(name)| name);
    caller.must_be(&buyer_id)?;
    let keys = key.of_buyer(&app, &caller, drop_id, &buyer_id)?;
    let one = || Quantity::new(1).map_err(|error| Problem::invalid("/quantity", error.to_string()));
    let quantity = new.quantity.map_or_else(one, Ok)?;
    let code = PresentedCode::of(&app, origin, drop_id, new.code.as_ref())?;
    let solution = solution.of(&app, keys, visitor.is_admin);
    let request = PlaceHold {
        drop_id,
        key: Some(keys.key),
        other_key: Some(keys.other_key),
        buyer_id: buyer_id.clone(),
        is_from_token: caller.has_token(),
        display_name: display_name.clone(),
        quantity,
        pass: code.pass(visitor.is_admin, solution),
    };
    let admission = app.admit(origin, drop_id, RequestKind::Hold, keys)?;
    let answer = app.engine.place_hold(request).await;
    admission.settle(&answer);
    code.settle(&answer);
    let answer = answer.map_err(|error| {
        solution.problem(&app, &[drop_id], error, |error| {
            app.refused.problem(&app.views, viewer, drop_id, error)
        })
    })?;
    let buyer = BuyerRow {
        buyer_id,
        display_name,
    };
    let hold = match newly_placed(&app, &answer, buyer) {
        Some(hold) => hold,
        None => find(&app, answer.subject)?,
    };
    let location = format!("/v1/holds/{}", hold.hold_id);
    let mut response = (StatusCode::CREATED, Json(HoldBody::new(hold, app.now()))).into_response();
    insert(&mut response, header::LOCATION, &at(&location));
    Ok(recorded(response, &answer))
}

/// Builds the hold from its event, without a lookup in the views, which the engine updates all the
/// time. Only possible if its event introduces the buyer: otherwise the drop stores an earlier
/// spelling of the buyer's id.
fn newly_placed(app: &App, answer: &Accepted<HoldId>, buyer: BuyerRow) -> Option<HoldView> {
    let placed = answer.events().first()?;
    let DropEvent::HoldPlaced(event) = &placed.event else {
        return None;
    };
    event.commitment?;
    Some(HoldView {
        hold_id: event.hold_id,
        row: HoldRow::placed(placed.drop_id, event),
        price: app.views.price_at(placed.drop_id, placed.position)?,
        position: placed.position,
        purchased: None,
        buyer: Some(buyer),
    })
}

/// `GET /v1/holds/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    HoldPath(hold_id): HoldPath,
    caller: Caller,
    origin: Origin,
    _: Fresh,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let hold = find_anywhere(&app, caller.guesses_from(origin), hold_id).await?;
    caller.must_own(hold.buyer.as_ref().map(|buyer| &buyer.buyer_id))?;
    let now = app.now();
    let body = HoldBody::new(hold, now);
    Ok(private(conditional_at(&headers, now, &body)))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldEdit {
    /// The number of units from now on.
    quantity: Quantity,
}

/// `PATCH /v1/holds/{id}`
pub(crate) async fn change(
    State(app): State<App>,
    HoldPath(hold_id): HoldPath,
    caller: Caller,
    visitor: Visitor,
    Body(HoldEdit { quantity }): Body<HoldEdit>,
) -> Result<Response, Problem> {
    let Visitor { viewer, origin, .. } = visitor;
    let attempt = must_own(&app, &caller, origin, hold_id).await?;
    let admission = app.limiter.admit_change(origin, ChangeKind::Hold)?;
    let answer = app
        .engine
        .change_hold(ChangeHold { hold_id, quantity })
        .await;
    admission.settle(&answer);
    let answer = found(attempt, answer);
    let answer = answer.map_err(|error| match app.views.hold(hold_id) {
        Some(hold) => {
            let drop_id = hold.row.drop_id;
            app.refused.problem(&app.views, viewer, drop_id, error)
        }
        None => error.into(),
    })?;
    Ok(positioned(hold_now(&app, hold_id)?, &answer))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Extension {
    /// The hold then lasts at least this long from now on.
    seconds: MaxHoldSeconds,
}

/// `POST /v1/holds/{id}/extend`
pub(crate) async fn extend(
    State(app): State<App>,
    Admin { name }: Admin,
    HoldPath(hold_id): HoldPath,
    Body(Extension { seconds }): Body<Extension>,
) -> Result<Response, Problem> {
    let request = ExtendHold { hold_id, seconds };
    let answer = app.engine.by(name).extend_hold(request).await?;
    Ok(positioned(hold_now(&app, hold_id)?, &answer))
}

/// Responds with the present hold.
fn hold_now(app: &App, hold_id: HoldId) -> Result<Response, Problem> {
    let hold = find(app, hold_id)?;
    Ok(private(
        Json(HoldBody::new(hold, app.now())).into_response(),
    ))
}

/// `DELETE /v1/holds/{id}`
pub(crate) async fn release(
    State(app): State<App>,
    HoldPath(hold_id): HoldPath,
    caller: Caller,
    origin: Origin,
) -> Result<Response, Problem> {
    let attempt = must_own(&app, &caller, origin, hold_id).await?;
    let answer = app.engine.release_hold(ReleaseHold { hold_id }).await;
    let answer = found(attempt, answer)?;
    Ok(recorded(StatusCode::NO_CONTENT.into_response(), &answer))
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payment {
    /// The shop's identifier of the payment.
    payment_reference: Option<Entered<PaymentReference>>,
}

impl Payment {
    pub(crate) fn reference(self) -> Option<PaymentReference> {
        self.payment_reference.map(|Entered(reference)| reference)
    }
}

/// `POST /v1/holds/{id}/purchase`
pub(crate) async fn purchase(
    State(app): State<App>,
    HoldPath(hold_id): HoldPath,
    caller: Caller,
    origin: Origin,
    OptionalBody(payment): OptionalBody<Payment>,
) -> Result<Response, Problem> {
    let attempt = must_own(&app, &caller, origin, hold_id).await?;
    let request = ConfirmPurchase {
        hold_id,
        payment_reference: payment.reference(),
    };
    let answer = found(attempt, app.engine.confirm_purchase(request).await);
    let answer = answer.map_err(|error| with_purchase(&app, hold_id, error))?;
    let purchase = find_purchase(&app, hold_id)?;
    let status = if answer.is_replay() {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok(recorded((status, Json(purchase)).into_response(), &answer))
}

/// Adds the purchase's id to a conflict with another payment.
fn with_purchase(app: &App, hold_id: HoldId, error: CommandError) -> Problem {
    let is_conflict = matches!(
        &error,
        CommandError::Refused {
            refusal: Refusal::PaymentReferenceConflict { .. },
            ..
        }
    );
    let problem = Problem::from(error);
    if !is_conflict {
        return problem;
    }
    match find_purchase(app, hold_id) {
        Ok(purchase) => problem.with("id", purchase.id().to_string()),
        Err(problem) => problem,
    }
}

/// Rejects another buyer's token. Trusted callers skip the lookup, because the engine reports an
/// unknown hold. For a limited address an id that is unknown here counts as an attempt, which
/// [`found`] settles.
async fn must_own(
    app: &App,
    caller: &Caller,
    origin: Origin,
    hold_id: HoldId,
) -> Result<Option<Attempt>, Problem> {
    if *caller != Caller::Trusted {
        let hold = find_anywhere(app, caller.guesses_from(origin), hold_id).await?;
        caller.must_own(hold.buyer.as_ref().map(|buyer| &buyer.buyer_id))?;
        return Ok(None);
    }
    if origin == Origin::Unlimited || app.views.hold(hold_id).is_some() {
        return Ok(None);
    }
    app.limiter.attempt(origin, AttemptKind::Id).map(Some)
}

/// Settles the attempt, which has failed if the engine does not know the hold either.
fn found(
    attempt: Option<Attempt>,
    answer: Result<Accepted, CommandError>,
) -> Result<Accepted, CommandError> {
    let refusal = Refusal::HoldNotFound;
    let is_unknown =
        matches!(&answer, Err(CommandError::Refused { refusal: found, .. }) if *found == refusal);
    if let Some(attempt) = attempt.filter(|_| !is_unknown) {
        attempt.succeeded();
    }
    answer
}

/// Finds a hold. A hold that is unknown here may have been placed by another node a moment ago.
async fn find_anywhere(app: &App, origin: Origin, hold_id: HoldId) -> Result<HoldView, Problem> {
    if let Some(hold) = app.views.hold(hold_id) {
        return Ok(hold);
    }
    if let Some(problem) = quarantine(app.views.quarantine_of_hold(hold_id)) {
        return Err(problem);
    }
    let attempt = app.limiter.attempt(origin, AttemptKind::Id)?;
    follow_to_head(app).await?;
    let hold = find(app, hold_id);
    // A drop that was quarantined meanwhile may have such a hold, so the attempt has not failed.
    if !matches!(&hold, Err(problem) if problem.code() == Code::HoldNotFound) {
        attempt.succeeded();
    }
    hold
}

fn find(app: &App, hold_id: HoldId) -> Result<HoldView, Problem> {
    app.views.hold(hold_id).ok_or_else(|| {
        quarantine(app.views.quarantine_of_hold(hold_id)).unwrap_or_else(hold_not_found)
    })
}

/// Finds the purchase of a hold that was purchased according to the engine.
fn find_purchase(app: &App, hold_id: HoldId) -> Result<PurchaseBody, Problem> {
    PurchaseBody::new(find(app, hold_id)?).ok_or_else(Problem::declared_void)
}

fn hold_not_found() -> Problem {
    Problem::new(Code::HoldNotFound, "No hold has this id.")
}
