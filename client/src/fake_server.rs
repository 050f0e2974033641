//! A server for tests: the routes that the clients use, with a simple stock and configurable
//! faults.
//!
//! Promise: its responses have the form that the API contract defines.
//! Limit: it enforces only stock, keys and deadlines; the real server's rules are tested elsewhere.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use chrono::Utc;
use domain::DropEvent;
use domain::event::{
    DropScheduled, HoldExpired, HoldPlaced, HoldReleased, PurchaseConfirmed, ReleaseCause,
    StockAdjusted,
};
use domain::stock::Stock;
use domain::terms::DropTerms;
use domain::values::{
    AdjustmentId, Currency, DropId, DropName, HoldId, HoldSeconds, Money, Pseudonym, PurchaseId,
    Quantity, Reason, StockCount, Timestamp,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::access::AccessKey;
use super::calls::{Listed, NewDrop};
use super::pooled::Client;
use super::wire::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED};

pub const ADMIN_KEY: &str = "test-admin-key";

/// The configurable faults.
#[derive(Debug, Clone, Copy, Default)]
pub struct Behaviour {
    /// Units sold beyond the stock.
    pub oversell: u32,
    /// The first this many hold requests get 503.
    pub busy: u32,
    /// Hold requests that are processed but get 503, as if the response had been lost.
    pub lose: u32,
    /// Acknowledge the first hold without recording it.
    pub forget_first: bool,
    /// Record every expiry twice.
    pub expire_twice: bool,
    /// Never record an expiry.
    pub never_expire: bool,
    /// Fail requests for the log's events; only the head is served.
    pub hide_log: bool,
    /// Create the first drop but return 503, as if the response had been lost.
    pub lose_drop: bool,
    /// Fail to create more drops than this.
    pub most_drops: Option<usize>,
}

pub struct FakeServer {
    pub url: String,
    state: Shared,
    task: JoinHandle<()>,
}

type Shared = Arc<Mutex<Shop>>;

#[derive(Default)]
struct Shop {
    behaviour: Behaviour,
    drops: Vec<(DropId, NewDropBody, Stock)>,
    drop_keys: HashMap<String, (DropId, String)>,
    cancelled: HashSet<DropId>,
    holds: HashMap<HoldId, Held>,
    hold_keys: HashMap<String, HoldId>,
    log: Vec<(DropId, Timestamp, DropEvent)>,
}

struct Held {
    drop_id: DropId,
    placed: HoldPlaced,
    open: bool,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDropBody {
    name: DropName,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    image_url: Option<String>,
    price: Money,
    total_stock: StockCount,
    #[serde(default)]
    starts_at: Option<Timestamp>,
    #[serde(default)]
    ends_at: Option<Timestamp>,
    hold_seconds: HoldSeconds,
    max_per_hold: Quantity,
    #[serde(default)]
    max_per_buyer: Option<u32>,
    #[serde(default, rename = "creator_id")]
    _creator_id: Option<String>,
    #[serde(default, rename = "product_id")]
    _product_id: Option<String>,
    #[serde(default, rename = "variant_id")]
    _variant_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewHoldBody {
    buyer_id: String,
    quantity: Quantity,
    #[serde(default)]
    display_name: Option<String>,
}

#[derive(Deserialize)]
struct Adjustment {
    delta: i32,
    reason: Reason,
}

#[derive(Deserialize)]
struct LogQuery {
    after: usize,
    limit: usize,
}

/// A drop of `units` whose holds last `hold_seconds`.
pub fn sample_drop(units: i64, hold_seconds: i64) -> NewDrop {
    NewDrop {
        name: DropName::new("a drop").unwrap(),
        description: None,
        image_url: None,
        price: Money::price(100, Currency::new("USD").unwrap()).unwrap(),
        total_stock: StockCount::new(units).unwrap(),
        starts_at: None,
        ends_at: None,
        hold_seconds: HoldSeconds::new(hold_seconds).unwrap(),
        max_per_hold: Quantity::new(2).unwrap(),
        max_per_buyer: None,
        listed: Listed::default(),
    }
}

impl FakeServer {
    pub async fn start(behaviour: Behaviour) -> Self {
        let state = Arc::new(Mutex::new(Shop {
            behaviour,
            ..Shop::default()
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = routes().with_state(Arc::clone(&state));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, state, task }
    }

    pub fn client(&self) -> Client {
        let key = AccessKey::new(ADMIN_KEY).unwrap();
        Client::new(self.url.parse().unwrap(), key).unwrap()
    }

    pub fn event_types(&self) -> Vec<&'static str> {
        let shop = lock(&self.state);
        shop.log.iter().map(|(_, _, e)| e.event_type()).collect()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/drops", post(create_drop).get(list_drops))
        .route("/v1/drops/{id}", get(get_drop))
        .route("/v1/drops/{id}/cancel", post(cancel_drop))
        .route("/v1/drops/{id}/stock-adjustments", post(adjust_stock))
        .route("/v1/drops/{id}/holds", post(place_hold))
        .route("/v1/holds/{id}/purchase", post(purchase))
        .route("/v1/holds/{id}", delete(release))
        .route("/v1/log/head", get(log_head))
        .route("/v1/log", get(log_page))
}

fn lock(state: &Shared) -> MutexGuard<'_, Shop> {
    let mut shop = state.lock().unwrap();
    shop.expire_due();
    shop
}

fn now() -> Timestamp {
    Utc::now().into()
}

impl Shop {
    fn record(&mut self, drop_id: DropId, event: DropEvent) {
        self.log.push((drop_id, now(), event));
    }

    fn stock(&mut self, drop_id: DropId) -> &mut Stock {
        let found = self.drops.iter_mut().find(|(id, _, _)| *id == drop_id);
        &mut found.unwrap().2
    }

    fn expire_due(&mut self) {
        if self.behaviour.never_expire {
            return;
        }
        let due: Vec<(DropId, HoldPlaced)> = self
            .holds
            .values_mut()
            .filter(|held| held.open && held.placed.expires_at <= now())
            .map(|held| {
                held.open = false;
                (held.drop_id, held.placed.clone())
            })
            .collect();
        for (drop_id, placed) in due {
            let event = DropEvent::HoldExpired(HoldExpired {
                hold_id: placed.hold_id,
                buyer: placed.buyer,
                quantity: placed.quantity,
                expired_at: placed.expires_at,
            });
            self.stock(drop_id).free(placed.quantity.get());
            self.record(drop_id, event.clone());
            if self.behaviour.expire_twice {
                self.record(drop_id, event);
            }
        }
    }

    fn drop_view(&self, drop_id: DropId) -> Value {
        let (id, terms, stock) = self.drops.iter().find(|(id, _, _)| *id == drop_id).unwrap();
        let starts_at = terms.starts_at.unwrap_or_else(now);
        let status = match stock.available {
            _ if self.cancelled.contains(id) => "cancelled",
            _ if starts_at > now() => "scheduled",
            0 => "sold_out",
            _ => "live",
        };
        json!({
            "id": id, "name": terms.name, "description": terms.description, "image_url": terms.image_url,
            "price": terms.price, "status": status, "starts_at": starts_at, "ends_at": terms.ends_at,
            "hold_seconds": terms.hold_seconds, "max_hold_seconds": null, "offer_seconds": null, "low_stock_at": null, "limit_group": null, "visibility": "public",
            "show_stock": "exact", "access": "open", "challenge": null, "product_id": null, "variant_id": null, "creator_id": null,
            "max_per_hold": terms.max_per_hold,
            "max_per_buyer": terms.max_per_buyer, "throttle": null, "stock": stock, "waitlist_length": 0,
            "position": self.log.len(), "created_at": now(), "server_time": now(),
        })
    }

    fn hold_view(&self, hold_id: HoldId) -> Value {
        let held = &self.holds[&hold_id];
        json!({
            "id": hold_id, "drop_id": held.drop_id, "buyer_id": "x", "quantity": held.placed.quantity,
            "status": "held", "placed_at": held.placed.placed_at, "expires_at": held.placed.expires_at,
            "purchased_at": null, "position": self.log.len(), "server_time": now(),
        })
    }

    fn hold(&mut self, drop_id: DropId, quantity: Quantity) -> HoldId {
        let (_, terms, stock) = self.drops.iter().find(|(id, _, _)| *id == drop_id).unwrap();
        let placed_at = now();
        let hold_id = HoldId::for_drop(drop_id, Uuid::new_v4());
        let placed = HoldPlaced {
            hold_id,
            key: None,
            buyer: Pseudonym(Uuid::new_v4()),
            quantity,
            placed_at,
            expires_at: placed_at.plus_seconds(terms.hold_seconds.get()),
            commitment: None,
            waitlist_entry: None,
            order_id: None,
            code: None,
        };
        if stock.available < quantity.get() {
            // Deliberate overselling: the fake stock grows without an event.
            self.behaviour.oversell -= quantity.get();
            self.stock(drop_id).adjust(1);
        }
        self.stock(drop_id).hold(quantity.get());
        let forgotten = std::mem::take(&mut self.behaviour.forget_first);
        if !forgotten {
            self.record(drop_id, DropEvent::HoldPlaced(placed.clone()));
        }
        let open = !forgotten;
        self.holds.insert(
            hold_id,
            Held {
                drop_id,
                placed,
                open,
            },
        );
        hold_id
    }
}

fn problem(status: u16, code: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    let body = json!({
        "type": "about:blank", "title": code, "status": status.as_u16(), "code": code, "detail": "as configured",
    });
    let headers = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, headers, body.to_string()).into_response()
}

fn busy() -> Response {
    let mut response = problem(503, "unavailable");
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, "0".parse().unwrap());
    response
}

fn replayed(status: StatusCode, body: Value) -> Response {
    (status, [(IDEMPOTENT_REPLAYED, "true")], Json(body)).into_response()
}

fn created(body: Value) -> Response {
    (StatusCode::CREATED, Json(body)).into_response()
}

fn admitted(headers: &HeaderMap) -> bool {
    headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| *value == *format!("Bearer {ADMIN_KEY}"))
}

fn key(headers: &HeaderMap) -> String {
    headers[IDEMPOTENCY_KEY].to_str().unwrap().to_owned()
}

async fn create_drop(State(state): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let mut shop = lock(&state);
    if !admitted(&headers) {
        return problem(401, "unauthorized");
    }
    let key = key(&headers);
    if let Some((drop_id, first)) = shop.drop_keys.get(&key) {
        if *first != body {
            return problem(422, "idempotency_key_reused");
        }
        return replayed(StatusCode::CREATED, shop.drop_view(*drop_id));
    }
    let most = shop.behaviour.most_drops;
    if most.is_some_and(|most| shop.drops.len() >= most) {
        return problem(500, "internal");
    }
    let new: NewDropBody = serde_json::from_str(&body).unwrap();
    let drop_id = DropId(Uuid::new_v4());
    let event = DropEvent::DropScheduled(DropScheduled {
        key: None,
        terms: terms(&new),
        total_stock: new.total_stock,
        scheduled_at: now(),
    });
    shop.record(drop_id, event);
    let stock = Stock::new(new.total_stock.get());
    shop.drops.push((drop_id, new, stock));
    shop.drop_keys.insert(key, (drop_id, body));
    if std::mem::take(&mut shop.behaviour.lose_drop) {
        return busy();
    }
    created(shop.drop_view(drop_id))
}

async fn cancel_drop(State(state): State<Shared>, Path(id): Path<Uuid>) -> Response {
    let mut shop = lock(&state);
    shop.cancelled.insert(DropId(id));
    Json(shop.drop_view(DropId(id))).into_response()
}

fn terms(new: &NewDropBody) -> DropTerms {
    DropTerms {
        name: new.name.clone(),
        description: None,
        image_url: None,
        price: new.price,
        starts_at: new.starts_at.unwrap_or_else(now),
        ends_at: new.ends_at,
        hold_seconds: new.hold_seconds,
        max_per_hold: new.max_per_hold,
        max_hold_seconds: None,
        offer_seconds: None,
        low_stock_at: None,
        limit_group: None,
        visibility: Default::default(),
        show_stock: Default::default(),
        access: Default::default(),
        challenge: None,
        product_id: None,
        variant_id: None,
        creator_id: None,
        draft: false,
        max_per_buyer: None,
        throttle: None,
    }
}

async fn list_drops(State(state): State<Shared>) -> Json<Value> {
    let shop = lock(&state);
    let drops: Vec<Value> = shop
        .drops
        .iter()
        .map(|(id, _, _)| shop.drop_view(*id))
        .collect();
    Json(json!({ "data": drops, "has_more": false }))
}

async fn get_drop(State(state): State<Shared>, Path(id): Path<Uuid>) -> Json<Value> {
    Json(lock(&state).drop_view(DropId(id)))
}

async fn adjust_stock(
    State(state): State<Shared>,
    Path(id): Path<Uuid>,
    Json(body): Json<Adjustment>,
) -> Response {
    let mut shop = lock(&state);
    let stock = shop.stock(DropId(id));
    stock.adjust(body.delta);
    let stock = *stock;
    let event = DropEvent::StockAdjusted(StockAdjusted {
        adjustment_id: AdjustmentId(Uuid::new_v4()),
        key: None,
        delta: body.delta,
        reason: body.reason,
        stock,
        adjusted_at: now(),
    });
    shop.record(DropId(id), event);
    created(json!({ "stock": stock }))
}

async fn place_hold(
    State(state): State<Shared>,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
    Json(body): Json<NewHoldBody>,
) -> Response {
    assert!(!body.buyer_id.is_empty() && body.display_name.is_none_or(|name| name.len() > 2));
    let mut shop = lock(&state);
    if shop.behaviour.busy > 0 {
        shop.behaviour.busy -= 1;
        return busy();
    }
    let key = key(&headers);
    if let Some(hold_id) = shop.hold_keys.get(&key) {
        return replayed(StatusCode::CREATED, shop.hold_view(*hold_id));
    }
    let beyond = shop.behaviour.oversell;
    if shop.stock(DropId(id)).available + beyond < body.quantity.get() {
        return problem(409, "sold_out");
    }
    let hold_id = shop.hold(DropId(id), body.quantity);
    shop.hold_keys.insert(key, hold_id);
    if shop.behaviour.lose > 0 {
        shop.behaviour.lose -= 1;
        return busy();
    }
    created(shop.hold_view(hold_id))
}

async fn purchase(State(state): State<Shared>, Path(id): Path<Uuid>) -> Response {
    let mut shop = lock(&state);
    let hold_id = HoldId(id);
    let held = shop.holds.get_mut(&hold_id).unwrap();
    if !std::mem::take(&mut held.open) {
        return problem(410, "hold_expired");
    }
    let (drop_id, placed) = (held.drop_id, held.placed.clone());
    let event = PurchaseConfirmed {
        purchase_id: PurchaseId(Uuid::new_v4()),
        hold_id,
        buyer: placed.buyer,
        quantity: placed.quantity,
        total: Money::price(100, Currency::new("USD").unwrap()).unwrap(),
        purchased_at: now(),
        commitment: None,
    };
    shop.stock(drop_id).sell(placed.quantity.get());
    shop.record(drop_id, DropEvent::PurchaseConfirmed(event.clone()));
    created(json!({
        "id": event.purchase_id, "hold_id": hold_id, "drop_id": drop_id, "buyer_id": "x",
        "quantity": event.quantity, "total": event.total, "purchased_at": event.purchased_at,
        "position": shop.log.len(),
    }))
}

async fn release(State(state): State<Shared>, Path(id): Path<Uuid>) -> Response {
    let mut shop = lock(&state);
    let held = shop.holds.get_mut(&HoldId(id)).unwrap();
    if std::mem::take(&mut held.open) {
        let (drop_id, placed) = (held.drop_id, held.placed.clone());
        let event = DropEvent::HoldReleased(HoldReleased {
            hold_id: placed.hold_id,
            buyer: placed.buyer,
            quantity: placed.quantity,
            released_at: now(),
            cause: ReleaseCause::Buyer,
        });
        shop.stock(drop_id).free(placed.quantity.get());
        shop.record(drop_id, event);
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn log_head(State(state): State<Shared>) -> Json<Value> {
    Json(json!({ "position": lock(&state).log.len(), "hash": "00", "recorded_at": now() }))
}

async fn log_page(
    State(state): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<LogQuery>,
) -> Response {
    if !admitted(&headers) {
        return problem(401, "unauthorized");
    }
    let shop = lock(&state);
    if shop.behaviour.hide_log {
        return problem(500, "internal");
    }
    let event = |(index, (drop_id, at, event)): (usize, &(DropId, Timestamp, DropEvent))| {
        json!({
            "position": index + 1, "aggregate_type": "Drop", "aggregate_id": drop_id, "sequence": index + 1,
            "event_type": event.event_type(), "event_version": event.event_version(), "recorded_at": at,
            "payload": event, "metadata": {}, "hash": "00",
        })
    };
    let all = shop.log.iter().enumerate();
    let page: Vec<Value> = all.skip(query.after).take(query.limit).map(event).collect();
    Json(json!({ "data": page, "head": shop.log.len() })).into_response()
}
