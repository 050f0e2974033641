//! The routes of orders: place, read, list, cancel, purchase, fulfil.
//!
//! An order's id is unguessable. Knowing it grants the right to read, pay and cancel the order, as
//! a hold's id grants the right to buy.

mod list;
mod made_refunds;
pub(crate) mod payment;
pub(crate) mod refunds;
pub(crate) mod state;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::Refusal;
use domain::order::{FulfilmentStep, MAX_ITEMS};
use domain::values::{
    AccessCode, BuyerId, DisplayName, DropId, Entered, OrderId, Quantity, Tracking,
};
use engine::{
    Accepted, CancelOrder, CommandError, FulfilOrder, OrderedItem, PlaceOrder, PurchaseOrder,
};
use projections::orders::OrderRow;
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use self::list::{OrdersReader, list};
pub(crate) use self::state::OrderBody;
use crate::app::App;
use crate::auth::{Admin, Caller, Visitor};
use crate::base_path::at;
use crate::challenge::SolutionHeader;
use crate::drops::codes::PresentedCode;
use crate::extract::{Body, Fresh, IdempotencyKey, OptionalBody, follow_to_head};
use crate::holds::Payment;
use crate::limiter::{Attempt, AttemptKind, Origin};
use crate::problem::{Code, Problem};
use crate::render::{Representation, conditional_at, insert, private, recorded};

/// One line of a new order.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrderItem {
    drop_id: DropId,
    /// The number of units.
    #[schemars(extend("default" = 1))]
    quantity: Option<Quantity>,
    /// An access code of the drop, required if the drop's `access` is `code`. Items of one drop
    /// share one code: it is sufficient to send it with one of them.
    code: Option<AccessCode>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrder {
    /// The shop's id of the buyer. Compared in NFC, without regard to case and surrounding white
    /// space. Consists of graphic characters and U+0020; characters that are invisible (default
    /// ignorable) or change the direction of text are rejected.
    buyer_id: Entered<BuyerId>,
    /// The name in the public list of purchasers. Default: a few digits of the buyer's pseudonym.
    /// Must contain a visible character, and none that changes the direction of surrounding text.
    display_name: Option<Entered<DisplayName>>,
    /// The items. Items of one drop are added up.
    #[schemars(length(min = 1, max = 20))]
    items: Vec<NewOrderItem>,
}

/// `POST /v1/orders`
pub(crate) async fn place(
    State(app): State<App>,
    caller: Caller,
    visitor: Visitor,
    key: IdempotencyKey,
    solution: SolutionHeader,
    Body(new): Body<NewOrder>,
) -> Result<Response, Problem> {
    let Entered(buyer_id) = new.buyer_id;
    caller.must_be(&buyer_id)?;
    if !(1..=MAX_ITEMS).contains(&new.items.len()) {
        let detail = format!("must have 1 to {MAX_ITEMS} items");
        return Err(Problem::invalid("/items", detail));
    }
    let keys = key.of_ordering_buyer(&app, &caller, &buyer_id)?;
    let one = || Quantity::new(1).map_err(|error| Problem::invalid("/items", error.to_string()));
    let mut items = Vec::with_capacity(new.items.len());
    for item in &new.items {
        items.push(OrderedItem {
            drop_id: item.drop_id,
            quantity: item.quantity.map_or_else(one, Ok)?,
        });
    }
    let Visitor {
        viewer,
        origin,
        is_admin,
    } = visitor;
    let codes = codes_of(&new.items)?;
    let mut presented = Vec::with_capacity(codes.len());
    for (item, code) in codes {
        let drop_id = items[item as usize].drop_id;
        let code = PresentedCode::of(&app, origin, drop_id, Some(code))?;
        presented.push((item, code));
    }
    let digests = presented.iter();
    let digests = digests.filter_map(|(item, code)| Some((*item, code.digest?)));
    let solution = solution.of(&app, keys, is_admin);
    let request = PlaceOrder {
        key: Some(keys.key),
        other_key: Some(keys.other_key),
        buyer_id,
        display_name: new.display_name.map(|Entered(name)| name),
        codes: digests.collect(),
        sees_hidden: is_admin,
        solved: solution.solved(),
        items: items.into(),
        is_from_token: caller.has_token(),
    };
    let mut drops: Vec<DropId> = request.items.iter().map(|item| item.drop_id).collect();
    let of_items = drops.clone();
    drops.sort_unstable();
    drops.dedup();
    let admission = app.admit_order(origin, of_items[0], drops.len(), keys)?;
    let answer = app.engine.place_order(request).await;
    admission.settle(&answer);
    for (_, code) in presented {
        code.settle(&answer);
    }
    let answer = answer.map_err(|error| {
        solution.problem(&app, &drops, error, |error| {
            app.refused
                .problem_of_order(&app.views, viewer, &of_items, error)
        })
    })?;
    let order_id = answer.subject;
    let body = body_of(&app, order_id, visitor.is_admin)?;
    let location = format!("/v1/orders/{order_id}");
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    insert(&mut response, header::LOCATION, &at(&location));
    Ok(recorded(response, &answer))
}

/// Returns the codes of the items, each with the index of its item, one for each drop.
///
/// # Errors
/// 422 for two codes of one drop: a hold has one code.
fn codes_of(items: &[NewOrderItem]) -> Result<Vec<(u32, &AccessCode)>, Problem> {
    let mut codes: BTreeMap<DropId, (u32, &AccessCode)> = BTreeMap::new();
    for (index, item) in (0..).zip(items) {
        let Some(code) = &item.code else { continue };
        let (_, first) = codes.entry(item.drop_id).or_insert((index, code));
        if *first != code {
            let detail = "must be the code of the other items of this drop, or absent";
            return Err(Problem::invalid(format!("/items/{index}/code"), detail));
        }
    }
    Ok(codes.into_values().collect())
}

/// `GET /v1/orders/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    OrderPath(order_id): OrderPath,
    caller: Caller,
    visitor: Visitor,
    _: Fresh,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let origin = caller.guesses_from(visitor.origin);
    let order = find_anywhere(&app, origin, order_id).await?;
    caller.must_own(order.buyer.as_ref().map(|buyer| &buyer.buyer_id))?;
    let now = app.now();
    let body = OrderBody::new(order_id, order, now, visitor.is_admin);
    Ok(private(conditional_at(&headers, now, &body)))
}

/// `POST /v1/orders/{id}/cancel`
pub(crate) async fn cancel(
    State(app): State<App>,
    OrderPath(order_id): OrderPath,
    caller: Caller,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let attempt = must_own(&app, &caller, visitor.origin, order_id).await?;
    let answer = app.engine.cancel_order(CancelOrder { order_id }).await;
    let answer = found(attempt, answer)?;
    order_now(&app, &answer, visitor.is_admin)
}

/// `POST /v1/orders/{id}/purchase`
///
/// The shop took the money itself. A buyer with a token cannot state that, but may complete an
/// order of their own that costs nothing: no provider takes a payment of zero.
pub(crate) async fn purchase(
    State(app): State<App>,
    OrderPath(order_id): OrderPath,
    caller: Caller,
    visitor: Visitor,
    OptionalBody(payment): OptionalBody<Payment>,
) -> Result<Response, Problem> {
    let attempt = must_own(&app, &caller, visitor.origin, order_id).await?;
    let payment_reference = payment.reference();
    if let Caller::Buyer(_) = caller {
        let order = app.views.order(order_id);
        let is_free = order.is_some_and(|order| order.total.amount == 0);
        if !is_free || payment_reference.is_some() {
            let detail = "A buyer's token does not allow this: the order has a price, or the \
                          request a payment reference. Start a payment, or use the admin key.";
            return Err(Problem::new(Code::Forbidden, detail));
        }
    }
    let request = PurchaseOrder {
        order_id,
        payment_reference,
    };
    let answer = found(attempt, app.engine.purchase_order(request).await);
    let answer = answer.map_err(|error| with_order(order_id, error))?;
    order_now(&app, &answer, visitor.is_admin)
}

/// Adds the order's id to a conflict with another payment.
fn with_order(order_id: OrderId, error: CommandError) -> Problem {
    let is_conflict = matches!(
        &error,
        CommandError::Refused {
            refusal: Refusal::OrderReferenceConflict { .. },
            ..
        }
    );
    let problem = Problem::from(error);
    match is_conflict {
        true => problem.with("order_id", order_id.to_string()),
        false => problem,
    }
}

/// A step that an administrator can set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderPatch {
    fulfilment: FulfilmentStep,
    /// The carrier's identifier of the parcel, or the address where it is followed. Personal data:
    /// it is erased with the buyer.
    tracking: Option<Entered<Tracking>>,
}

/// `PATCH /v1/orders/{id}`
pub(crate) async fn fulfil(
    State(app): State<App>,
    OrderPath(order_id): OrderPath,
    Admin { name }: Admin,
    Body(patch): Body<OrderPatch>,
) -> Result<Response, Problem> {
    let request = FulfilOrder {
        order_id,
        fulfilment: patch.fulfilment,
        tracking: patch.tracking.map(|Entered(tracking)| tracking),
    };
    let answer = app.engine.by(name).fulfil_order(request).await?;
    order_now(&app, &answer, true)
}

/// Responds with the order as it is after a write, and with its entity tag.
fn order_now(app: &App, answer: &Accepted<OrderId>, is_admin: bool) -> Result<Response, Problem> {
    let body = body_of(app, answer.subject, is_admin)?;
    let now = body.server_time;
    let response = Representation::json(&body)?
        .at(now)
        .with_status(StatusCode::OK);
    Ok(recorded(response, answer))
}

fn body_of(app: &App, order_id: OrderId, is_admin: bool) -> Result<OrderBody, Problem> {
    // The engine has answered, so a row that is missing was removed since.
    let row = app
        .views
        .order(order_id)
        .ok_or_else(|| missing(app, order_id))?;
    Ok(OrderBody::new(order_id, row, app.now(), is_admin))
}

fn missing(app: &App, order_id: OrderId) -> Problem {
    match app.views.quarantine_of_order(order_id) {
        Some(refused) => {
            let detail = "This server has quarantined the order, so its state is unknown here.";
            Problem::order_quarantined(order_id, refused.position, detail)
        }
        None => Problem::new(Code::OrderNotFound, "No order has this id."),
    }
}

/// Rejects another buyer's token; see `must_own` of holds.
pub(crate) async fn must_own(
    app: &App,
    caller: &Caller,
    origin: Origin,
    order_id: OrderId,
) -> Result<Option<Attempt>, Problem> {
    if *caller != Caller::Trusted {
        let order = find_anywhere(app, caller.guesses_from(origin), order_id).await?;
        caller.must_own(order.buyer.as_ref().map(|buyer| &buyer.buyer_id))?;
        return Ok(None);
    }
    if origin == Origin::Unlimited || app.views.order(order_id).is_some() {
        return Ok(None);
    }
    app.limiter.attempt(origin, AttemptKind::Id).map(Some)
}

/// Settles the attempt, which has failed if the engine does not know the order either.
pub(crate) fn found<S>(
    attempt: Option<Attempt>,
    answer: Result<Accepted<S>, CommandError>,
) -> Result<Accepted<S>, CommandError> {
    let is_unknown = matches!(
        &answer,
        Err(CommandError::Refused {
            refusal: Refusal::OrderNotFound,
            ..
        })
    );
    if let Some(attempt) = attempt.filter(|_| !is_unknown) {
        attempt.succeeded();
    }
    answer
}

/// Finds an order. One that is unknown here may have been placed by another node a moment ago.
pub(crate) async fn find_anywhere(
    app: &App,
    origin: Origin,
    order_id: OrderId,
) -> Result<OrderRow, Problem> {
    if let Some(order) = app.views.order(order_id) {
        return Ok(order);
    }
    if app.views.quarantine_of_order(order_id).is_some() {
        return Err(missing(app, order_id));
    }
    let attempt = app.limiter.attempt(origin, AttemptKind::Id)?;
    follow_to_head(app).await?;
    let order = app
        .views
        .order(order_id)
        .ok_or_else(|| missing(app, order_id))?;
    attempt.succeeded();
    Ok(order)
}

/// The order id in the path. A value that is not a UUID gets the same problem as an unknown order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OrderPath(pub(crate) OrderId);

impl FromRequestParts<App> for OrderPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let not_found = || Problem::new(Code::OrderNotFound, "No order has this id.");
        let Path(id) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| not_found())?;
        id.parse().map(Self).map_err(|_| not_found())
    }
}
