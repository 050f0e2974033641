//! The routes of drops: schedule, read, edit, cancel, adjust, and who bought.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::decide::{Standing, Subject};
use domain::event::StockAdjusted;
use domain::stock::Stock;
use domain::terms::{DropTerms, TermsPatch};
use domain::values::{
    AdjustmentId, BuyerId, BuyerLimit, Currency, Description, DropId, DropName, HoldSeconds,
    ImageUrl, Money, Position, Quantity, Reason, StockCount, Throttle, Timestamp,
};
use infrastructure::engine::{Answer, NewTerms, Request};
use projections::views::{AdjustmentView, DropView, PurchaserOrder};
use serde::{Deserialize, Deserializer, Serialize};

use crate::app::App;
use crate::auth::{Admin, Caller};
use crate::extract::{Body, BuyerPath, DropPath, Fresh, IdempotencyKey, Params};
use crate::problem::{Code, Problem};
use crate::render::{
    DropBody, DropStatus, Page, PurchaserBody, conditional, drop_etag, etag_of, version_in_etag,
};

const MOST_LISTED: usize = 100;

/// A price in a request: checked as a whole.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceBody {
    amount: i64,
    currency: Currency,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDrop {
    name: DropName,
    price: PriceBody,
    total_stock: StockCount,
    description: Option<Description>,
    image_url: Option<ImageUrl>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    hold_seconds: Option<HoldSeconds>,
    max_per_hold: Option<Quantity>,
    max_per_buyer: Option<BuyerLimit>,
    throttle: Option<ThrottleBody>,
}

/// As [`Throttle`], but strict about what it does not know.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct ThrottleBody {
    holds: domain::values::ThrottleHolds,
    window_seconds: domain::values::ThrottleSeconds,
}

impl From<ThrottleBody> for Throttle {
    fn from(body: ThrottleBody) -> Self {
        Self {
            holds: body.holds,
            window_seconds: body.window_seconds,
        }
    }
}

impl PriceBody {
    fn checked(self) -> Result<Money, Problem> {
        Money::price(self.amount, self.currency)
            .map_err(|error| Problem::invalid("/price/amount", error.to_string()))
    }
}

impl NewDrop {
    fn into_terms(self) -> Result<(NewTerms, StockCount), Problem> {
        let default = |problem| Problem::invalid("", format!("{problem}"));
        let terms = DropTerms {
            name: self.name,
            description: self.description,
            image_url: self.image_url,
            price: self.price.checked()?,
            starts_at: self.starts_at.unwrap_or_default(),
            ends_at: self.ends_at,
            hold_seconds: self
                .hold_seconds
                .map_or_else(|| HoldSeconds::new(60).map_err(default), Ok)?,
            max_per_hold: self
                .max_per_hold
                .map_or_else(|| Quantity::new(1).map_err(default), Ok)?,
            max_per_buyer: self.max_per_buyer,
            throttle: self.throttle.map(Throttle::from),
        };
        Ok((
            NewTerms {
                terms,
                starts_now: self.starts_at.is_none(),
            },
            self.total_stock,
        ))
    }
}

/// `POST /v1/drops`
pub(crate) async fn create(
    State(app): State<App>,
    _: Admin,
    key: IdempotencyKey,
    Body(new): Body<NewDrop>,
) -> Result<Response, Problem> {
    let key = Some(key.within(&app.key_scope(b"drops"))?);
    let (terms, total_stock) = new.into_terms()?;
    let request = Request::ScheduleDrop {
        key,
        terms: Box::new(terms),
        total_stock,
    };
    let answer = app.engine.submit(request).await?;
    let mut response = drop_now(&app, StatusCode::CREATED, answer.drop_id)?;
    insert(
        &mut response,
        header::LOCATION,
        &format!("/v1/drops/{}", answer.drop_id),
    );
    Ok(replayed(response, &answer))
}

#[derive(Debug, Deserialize)]
pub(crate) struct ListParams {
    status: Option<DropStatus>,
    expand: Option<String>,
    limit: Option<usize>,
    starting_after: Option<DropId>,
}

/// `GET /v1/drops`
pub(crate) async fn list(
    State(app): State<App>,
    _: Fresh,
    Params(params): Params<ListParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = app.now();
    let limit = listed(params.limit, MOST_LISTED)?;
    let expand = expands_purchasers(params.expand.as_deref())?;
    let wanted = |drop: &DropView| {
        params
            .status
            .is_none_or(|status| status == DropStatus::at(&drop.row, now))
    };
    let rest = listed_after(app.views.drops(), params.starting_after)?;
    let mut page: Vec<DropView> = rest.filter(wanted).take(limit + 1).collect();
    let has_more = page.len() > limit;
    page.truncate(limit);
    let tags: Vec<String> = page.iter().map(|drop| drop_etag(drop, now)).collect();
    let bodies = page.iter().map(|drop| {
        let body = DropBody::new(drop, now);
        if expand {
            body.with_purchasers(purchasers_of(&app, drop.drop_id, PurchaserOrder::Units, 3))
        } else {
            body
        }
    });
    let body = Page {
        data: bodies.collect(),
        has_more,
    };
    Ok(conditional(
        &headers,
        &etag_of(&(tags, expand, has_more)),
        body,
    ))
}

/// The drops after the one that the page before ended with, whatever has become of that one since.
fn listed_after(
    drops: Vec<DropView>,
    starting_after: Option<DropId>,
) -> Result<impl Iterator<Item = DropView>, Problem> {
    let start = match starting_after {
        None => 0,
        Some(id) => {
            let place = drops.iter().position(|drop| drop.drop_id == id);
            let unknown = || Problem::new(Code::InvalidQuery, "starting_after names no drop.");
            place.ok_or_else(unknown)? + 1
        }
    };
    Ok(drops.into_iter().skip(start))
}

fn expands_purchasers(expand: Option<&str>) -> Result<bool, Problem> {
    match expand {
        None => Ok(false),
        Some("top_purchasers") => Ok(true),
        Some(_) => Err(Problem::new(
            Code::InvalidQuery,
            "Only top_purchasers can be expanded.",
        )),
    }
}

fn listed(limit: Option<usize>, most: usize) -> Result<usize, Problem> {
    match limit {
        None => Ok(most),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::new(
            Code::InvalidQuery,
            format!("limit must be from 1 to {most}."),
        )),
    }
}

/// `GET /v1/drops/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    DropPath(drop_id): DropPath,
    _: Fresh,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = app.now();
    let drop = find(&app, drop_id)?;
    Ok(conditional(
        &headers,
        &drop_etag(&drop, now),
        DropBody::new(&drop, now),
    ))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditedDrop {
    #[serde(default, deserialize_with = "present")]
    name: Option<DropName>,
    #[serde(default, deserialize_with = "present")]
    description: Option<Option<Description>>,
    #[serde(default, deserialize_with = "present")]
    image_url: Option<Option<ImageUrl>>,
    #[serde(default, deserialize_with = "present")]
    price: Option<PriceBody>,
    #[serde(default, deserialize_with = "present")]
    starts_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    ends_at: Option<Option<Timestamp>>,
    #[serde(default, deserialize_with = "present")]
    hold_seconds: Option<HoldSeconds>,
    #[serde(default, deserialize_with = "present")]
    max_per_hold: Option<Quantity>,
    #[serde(default, deserialize_with = "present")]
    max_per_buyer: Option<Option<BuyerLimit>>,
    #[serde(default, deserialize_with = "present")]
    throttle: Option<Option<ThrottleBody>>,
}

/// A field that is there: null removes where that can be, a value replaces. One that is not there leaves things as they are.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl EditedDrop {
    fn into_patch(self) -> Result<TermsPatch, Problem> {
        Ok(TermsPatch {
            name: self.name,
            description: self.description,
            image_url: self.image_url,
            price: self.price.map(PriceBody::checked).transpose()?,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            hold_seconds: self.hold_seconds,
            max_per_hold: self.max_per_hold,
            max_per_buyer: self.max_per_buyer,
            throttle: self.throttle.map(|throttle| throttle.map(Throttle::from)),
        })
    }
}

/// `PATCH /v1/drops/{id}`
pub(crate) async fn edit(
    State(app): State<App>,
    _: Admin,
    DropPath(drop_id): DropPath,
    headers: HeaderMap,
    Body(edited): Body<EditedDrop>,
) -> Result<Response, Problem> {
    let expected_version = expected_version(&headers)?;
    let patch = Box::new(edited.into_patch()?);
    app.engine
        .submit(Request::RescheduleDrop {
            drop_id,
            expected_version,
            patch,
        })
        .await?;
    drop_now(&app, StatusCode::OK, drop_id)
}

/// The version that `If-Match` asks for: none for `*`.
fn expected_version(headers: &HeaderMap) -> Result<Option<u32>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        let detail = "Send the ETag of the drop that you edit as If-Match, or * to overwrite whatever is there.";
        return Err(Problem::new(Code::PreconditionRequired, detail));
    };
    let value = value.to_str().unwrap_or_default().trim();
    if value == "*" {
        return Ok(None);
    }
    let stale = || Problem::new(Code::StaleVersion, "If-Match is no ETag of this drop.");
    version_in_etag(value).map(Some).ok_or_else(stale)
}

/// `POST /v1/drops/{id}/cancel`
pub(crate) async fn cancel(
    State(app): State<App>,
    _: Admin,
    DropPath(drop_id): DropPath,
) -> Result<Response, Problem> {
    let answer = app.engine.submit(Request::CancelDrop { drop_id }).await?;
    Ok(replayed(drop_now(&app, StatusCode::OK, drop_id)?, &answer))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAdjustment {
    delta: i32,
    reason: Reason,
}

#[derive(Debug, Serialize)]
struct AdjustmentBody {
    id: AdjustmentId,
    drop_id: DropId,
    delta: i32,
    reason: Reason,
    stock: Stock,
    position: Position,
}

/// `POST /v1/drops/{id}/stock-adjustments`
pub(crate) async fn adjust(
    State(app): State<App>,
    _: Admin,
    DropPath(drop_id): DropPath,
    key: IdempotencyKey,
    Body(new): Body<NewAdjustment>,
) -> Result<Response, Problem> {
    if new.delta == 0 {
        return Err(Problem::invalid("/delta", "must not be zero"));
    }
    let key = Some(key.within(&app.key_scope(drop_id.0.as_bytes()))?);
    let request = Request::AdjustStock {
        drop_id,
        key,
        delta: new.delta,
        reason: new.reason,
    };
    let answer = app.engine.submit(request).await?;
    let Subject::Adjustment(id) = answer.subject else {
        return Err(Problem::internal(&std::io::Error::other(
            "an adjustment was answered with something else",
        )));
    };
    let made = app
        .views
        .adjustment(id)
        .map(AdjustmentBody::from)
        .ok_or_else(|| {
            Problem::internal(&std::io::Error::other(
                "an adjustment is missing from the views",
            ))
        })?;
    Ok(replayed(
        (StatusCode::CREATED, Json(made)).into_response(),
        &answer,
    ))
}

impl From<AdjustmentView> for AdjustmentBody {
    fn from(view: AdjustmentView) -> Self {
        let AdjustmentView {
            drop_id,
            position,
            event,
        } = view;
        let StockAdjusted {
            adjustment_id: id,
            delta,
            reason,
            stock,
            ..
        } = event;
        Self {
            id,
            drop_id,
            delta,
            reason,
            stock,
            position,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OrderParam {
    Units,
    Recent,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PurchasersParams {
    limit: Option<usize>,
    order: Option<OrderParam>,
}

/// `GET /v1/drops/{id}/purchasers`
pub(crate) async fn purchasers(
    State(app): State<App>,
    DropPath(drop_id): DropPath,
    _: Fresh,
    Params(params): Params<PurchasersParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let drop = find(&app, drop_id)?;
    let limit = match params.limit {
        None => 3,
        given @ Some(_) => listed(given, MOST_LISTED)?,
    };
    let order = match params.order {
        None | Some(OrderParam::Units) => PurchaserOrder::Units,
        Some(OrderParam::Recent) => PurchaserOrder::Recent,
    };
    let mut data = purchasers_of(&app, drop_id, order, limit + 1);
    let has_more = data.len() > limit;
    data.truncate(limit);
    let etag = etag_of(&(drop.position, limit, order == PurchaserOrder::Units));
    Ok(conditional(&headers, &etag, Page { data, has_more }))
}

#[derive(Debug, Serialize)]
struct BuyerBody {
    buyer_id: BuyerId,
    held: u32,
    purchased: u32,
    allowance: u32,
    next_hold_at: Option<Timestamp>,
    server_time: Timestamp,
}

/// `GET /v1/drops/{id}/buyers/{buyer_id}`
pub(crate) async fn buyer(
    State(app): State<App>,
    BuyerPath(drop_id, buyer_id): BuyerPath,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.must_be(&buyer_id)?;
    let request = Request::AskAboutBuyer {
        drop_id,
        buyer_id: buyer_id.clone(),
    };
    let answer = app.engine.submit(request).await?;
    let Subject::Buyer(standing) = answer.subject else {
        let defect = std::io::Error::other("a buyer was answered with something else");
        return Err(Problem::internal(&defect));
    };
    let Standing {
        held,
        purchased,
        allowance,
        next_hold_at,
    } = standing;
    let etag = etag_of(&(held, purchased, allowance, next_hold_at));
    let server_time = answer.at;
    let body = BuyerBody {
        buyer_id,
        held,
        purchased,
        allowance,
        next_hold_at,
        server_time,
    };
    Ok(conditional(&headers, &etag, body))
}

fn purchasers_of(
    app: &App,
    drop_id: DropId,
    order: PurchaserOrder,
    limit: usize,
) -> Vec<PurchaserBody> {
    app.views
        .purchasers(drop_id, order, limit)
        .into_iter()
        .map(PurchaserBody::from)
        .collect()
}

fn find(app: &App, drop_id: DropId) -> Result<DropView, Problem> {
    app.views
        .drop(drop_id)
        .ok_or_else(|| Problem::new(Code::DropNotFound, "There is no drop with this id."))
}

/// The drop as it is now, with its entity tag.
fn drop_now(app: &App, status: StatusCode, drop_id: DropId) -> Result<Response, Problem> {
    let now = app.now();
    let drop = find(app, drop_id)?;
    let etag = [(header::ETAG, drop_etag(&drop, now))];
    Ok((status, etag, Json(DropBody::new(&drop, now))).into_response())
}

/// Marks an answer that history already held.
pub(crate) fn replayed(mut response: Response, answer: &Answer) -> Response {
    if answer.is_replay() {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}

pub(crate) fn insert(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
