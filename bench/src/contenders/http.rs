//! The HTTP interface of every rival: the routes, requests and responses of Holdfast's contract
//! that the benchmark uses.
//!
//! Requests are parsed with Holdfast's own value types, and responses have its fields, so a rival
//! differs only in how it processes an order.
//! Limit: no authorization, and no problem details except `sold_out`.

use std::error::Error;
use std::net::SocketAddr;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use domain::values::{BuyerId, DropName, HoldSeconds, Money, Quantity, StockCount, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

/// The error of a rival.
pub type RivalError = Box<dyn Error + Send + Sync>;

/// The largest body accepted, the same as Holdfast's.
const MAX_BODY: usize = 16 * 1024;

/// A request to open a drop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewDrop {
    pub name: DropName,
    /// The price of one unit.
    pub price: Money,
    pub total_stock: StockCount,
    /// How long a hold lasts.
    pub hold_seconds: HoldSeconds,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Opened {
    pub id: Uuid,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewHold {
    buyer_id: BuyerId,
    quantity: Option<Quantity>,
}

/// A request to hold units.
#[derive(Debug)]
pub struct Order {
    pub drop_id: Uuid,
    pub key: String,
    pub buyer_id: BuyerId,
    pub quantity: Quantity,
    /// The id that the hold receives if it is placed.
    pub hold_id: Uuid,
    pub at: Timestamp,
}

/// The result of an order.
#[derive(Debug, Clone, Copy)]
pub enum Placed {
    Held {
        /// The first instant at which the hold is over.
        expires_at: Timestamp,
        /// Replaces the position in the log, for example by the number of earlier holds.
        position: u64,
    },
    /// Fewer units are available than were requested.
    SoldOut {
        /// The units available.
        available: u64,
    },
}

/// The `Hold` of the contract.
#[derive(Debug, Serialize)]
struct Hold<'a> {
    id: Uuid,
    drop_id: Uuid,
    buyer_id: &'a str,
    quantity: Quantity,
    status: &'static str,
    placed_at: Timestamp,
    expires_at: Timestamp,
    purchased_at: Option<Timestamp>,
    position: u64,
    server_time: Timestamp,
}

/// The stock of a drop.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Stock {
    pub total: u64,
    pub available: u64,
    pub held: u64,
    pub sold: u64,
}

/// The `Drop` of the contract.
#[derive(Debug, Serialize)]
struct DropBody {
    id: Uuid,
    name: &'static str,
    description: Option<&'static str>,
    image_url: Option<&'static str>,
    price: serde_json::Value,
    status: &'static str,
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
    hold_seconds: u32,
    max_per_hold: u32,
    max_per_buyer: Option<u32>,
    throttle: Option<u32>,
    stock: Stock,
    waitlist_length: u32,
    position: u64,
    created_at: Timestamp,
    server_time: Timestamp,
}

/// The part of a rival that processes orders.
pub trait Rival: Clone + Send + Sync + 'static {
    fn open_drop(&self, drop: NewDrop) -> impl Future<Output = Result<Uuid, RivalError>> + Send;
    /// Places a hold, if enough units are available.
    fn place(&self, order: &Order) -> impl Future<Output = Result<Placed, RivalError>> + Send;
    /// Returns the stock of a drop; `None` if the drop does not exist.
    fn stock(
        &self,
        drop_id: Uuid,
    ) -> impl Future<Output = Result<Option<Stock>, RivalError>> + Send;
}

/// Serves `rival` until the process is killed. Prints its address to standard output, as Holdfast
/// does.
///
/// # Errors
/// [`RivalError`] if it cannot listen on the address.
pub async fn serve<R: Rival>(rival: R, listen: SocketAddr) -> Result<(), RivalError> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router(rival)).await?;
    Ok(())
}

fn router<R: Rival>(rival: R) -> Router {
    Router::new()
        .route("/v1/drops", post(open_drop::<R>))
        .route("/v1/drops/{id}", get(read::<R>))
        .route("/v1/drops/{id}/holds", post(place::<R>))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(rival)
}

async fn open_drop<R: Rival>(State(rival): State<R>, Json(drop): Json<NewDrop>) -> Response {
    match rival.open_drop(drop).await {
        Ok(id) => (StatusCode::CREATED, Json(Opened { id })).into_response(),
        Err(error) => failed(&*error),
    }
}

async fn place<R: Rival>(
    State(rival): State<R>,
    Path(drop_id): Path<Uuid>,
    headers: HeaderMap,
    Json(new): Json<NewHold>,
) -> Response {
    let key = headers.get("idempotency-key").map(HeaderValue::to_str);
    let (Some(Ok(key)), Some(quantity)) = (key, new.quantity.or_else(|| Quantity::new(1).ok()))
    else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let order = Order {
        drop_id,
        key: key.to_owned(),
        buyer_id: new.buyer_id,
        quantity,
        hold_id: Uuid::new_v4(),
        at: now(),
    };
    match rival.place(&order).await {
        Ok(Placed::Held {
            expires_at,
            position,
        }) => held(&order, expires_at, position),
        Ok(Placed::SoldOut { available }) => sold_out(available),
        Err(error) => failed(&*error),
    }
}

async fn read<R: Rival>(State(rival): State<R>, Path(drop_id): Path<Uuid>) -> Response {
    match rival.stock(drop_id).await {
        Ok(Some(stock)) => drop_body(drop_id, stock),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => failed(&*error),
    }
}

/// Returns the present time, to the millisecond.
pub fn now() -> Timestamp {
    DateTime::<Utc>::from(std::time::SystemTime::now()).into()
}

fn held(order: &Order, expires_at: Timestamp, position: u64) -> Response {
    let hold = Hold {
        id: order.hold_id,
        drop_id: order.drop_id,
        buyer_id: order.buyer_id.as_str(),
        quantity: order.quantity,
        status: "held",
        placed_at: order.at,
        expires_at,
        purchased_at: None,
        position,
        server_time: now(),
    };
    let location = [(header::LOCATION, format!("/v1/holds/{}", order.hold_id))];
    (StatusCode::CREATED, location, Json(hold)).into_response()
}

fn sold_out(available: u64) -> Response {
    let problem = json!({
        "type": "/problems/sold_out", "title": "Not enough units are available", "status": 409,
        "detail": "Not enough units are available.", "code": "sold_out", "available": available,
    });
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (StatusCode::CONFLICT, kind, Json(problem)).into_response()
}

fn drop_body(id: Uuid, stock: Stock) -> Response {
    let now = now();
    let body = DropBody {
        id,
        name: "A limited drop",
        description: None,
        image_url: None,
        price: json!({ "amount": 19_999, "currency": "USD" }),
        status: "live",
        starts_at: now,
        ends_at: None,
        hold_seconds: 3_600,
        max_per_hold: 1,
        max_per_buyer: None,
        throttle: None,
        stock,
        waitlist_length: 0,
        position: stock.held,
        created_at: now,
        server_time: now,
    };
    let headers = [
        (header::ETAG, format!("\"1-{}-Live\"", stock.held)),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, Json(body)).into_response()
}

fn failed(error: &(dyn Error + 'static)) -> Response {
    static PRINTED: std::sync::Once = std::sync::Once::new();
    // The generator counts every 503; its cause is printed once.
    PRINTED.call_once(|| eprintln!("responding with 503: {}", terminal::text::one_line(error)));
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}
