//! The routes of the public API that the clients use: a typed call and a typed response for each.
//!
//! Promise: the types use the names of the API contract. Unused fields are skipped, so a server may
//! add fields.
//! Limit: requests are built from the domain's values, so malformed requests cannot be sent.

use domain::values::{
    BuyerId, BuyerLimit, CatalogueId, Description, DisplayName, DropId, DropName, HoldId,
    HoldSeconds, ImageUrl, Money, Position, PurchaseId, Quantity, Reason, Sequence, StockCount,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::wire::Call;

/// The body of `POST /v1/drops`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewDrop {
    pub name: DropName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<ImageUrl>,
    pub price: Money,
    pub total_stock: StockCount,
    /// When sales start; `None`: immediately.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// When sales end; `None`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    pub hold_seconds: HoldSeconds,
    pub max_per_hold: Quantity,
    /// The most units that one buyer may hold and have bought together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_buyer: Option<BuyerLimit>,
    /// Its entries in the catalogue.
    #[serde(flatten)]
    pub listed: Listed,
}

/// The creator, the product and the variant of a drop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Listed {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator_id: Option<CatalogueId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_id: Option<CatalogueId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant_id: Option<CatalogueId>,
}

/// The body of `POST /v1/drops/{id}/holds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewHold {
    pub buyer_id: BuyerId,
    pub quantity: Quantity,
    /// The name that other people see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<DisplayName>,
}

/// The body of `POST /v1/drops/{id}/stock-adjustments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewAdjustment {
    /// Units to add, or to remove if negative.
    pub delta: i32,
    pub reason: Reason,
}

#[derive(Serialize)]
struct Empty {}

/// A drop, as the server returns it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DropView {
    pub id: DropId,
    pub name: String,
    pub price: Money,
    /// `scheduled`, `live`, `sold_out`, `ended` or `cancelled`.
    pub status: String,
    pub starts_at: Timestamp,
    pub hold_seconds: u32,
    pub max_per_hold: u32,
    /// The most units that one buyer may hold and have bought together.
    #[serde(default)]
    pub max_per_buyer: Option<u32>,
    pub stock: StockView,
    /// The time of creation, by the server's clock.
    pub created_at: Timestamp,
    /// The time of the response, by the server's clock.
    pub server_time: Timestamp,
}

/// A drop's stock, as the server returns it; zeros where it withholds the numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StockView {
    pub total: u32,
    /// Units that can be held now.
    pub available: u32,
    pub held: u32,
    pub sold: u32,
}

/// A hold, as the server returns it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HoldView {
    /// The id, which also authorizes its purchase and release.
    pub id: HoldId,
    pub quantity: u32,
    pub placed_at: Timestamp,
    /// The first instant at which the hold no longer counts.
    pub expires_at: Timestamp,
    /// The position of its event in the log.
    pub position: Position,
}

/// A purchase, as the server returns it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PurchaseView {
    pub id: PurchaseId,
    pub hold_id: HoldId,
    pub quantity: u32,
    /// The position of its event in the log.
    pub position: Position,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// True if more pages follow.
    #[serde(default)]
    pub has_more: bool,
}

/// The head of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct LogHead {
    /// The last position; 0 for an empty log.
    pub position: Position,
}

/// A page of the log.
#[derive(Debug, Deserialize)]
pub struct LogPage {
    /// The events, in position order.
    pub data: Vec<LogEvent>,
}

/// An event, as the log serves it.
#[derive(Debug, Deserialize)]
pub struct LogEvent {
    pub position: Position,
    /// The id of the event's stream; for a drop, the drop's id.
    pub aggregate_id: String,
    /// The event's number in its stream.
    pub sequence: Sequence,
    pub event_type: String,
    pub recorded_at: Timestamp,
    /// The stored text; a `domain::DropEvent` for a drop.
    pub payload: Box<RawValue>,
}

/// `PUT /v1/{kind}/{id}`, for the `creators` and `products` of the catalogue. Safe to repeat.
#[must_use]
pub fn put_listed(kind: &str, id: &str, body: &impl Serialize) -> Call {
    Call::put(format!("/v1/{kind}/{id}"), body)
}

/// `POST /v1/drops`; returns a [`DropView`].
#[must_use]
pub fn create_drop(drop: &NewDrop, key: &str) -> Call {
    Call::post("/v1/drops".into(), drop).keyed(key)
}

/// `GET /v1/drops`; returns a [`Page`] of [`DropView`].
#[must_use]
pub fn list_drops(after: Option<DropId>) -> Call {
    let after = after.map_or_else(String::new, |id| format!("&starting_after={id}"));
    Call::get(format!("/v1/drops?limit=100{after}"))
}

/// `GET /v1/drops/{id}`; returns a [`DropView`].
#[must_use]
pub fn get_drop(drop_id: DropId) -> Call {
    Call::get(format!("/v1/drops/{drop_id}"))
}

/// `POST /v1/drops/{id}/cancel`. Safe to repeat without a key.
#[must_use]
pub fn cancel_drop(drop_id: DropId) -> Call {
    Call::post(format!("/v1/drops/{drop_id}/cancel"), &Empty {})
}

/// `POST /v1/drops/{id}/stock-adjustments`.
#[must_use]
pub fn adjust_stock(drop_id: DropId, adjustment: &NewAdjustment, key: &str) -> Call {
    Call::post(format!("/v1/drops/{drop_id}/stock-adjustments"), adjustment).keyed(key)
}

/// `POST /v1/drops/{id}/holds`; returns a [`HoldView`].
#[must_use]
pub fn place_hold(drop_id: DropId, hold: &NewHold, key: &str) -> Call {
    Call::post(format!("/v1/drops/{drop_id}/holds"), hold).keyed(key)
}

/// `POST /v1/holds/{id}/purchase`; returns a [`PurchaseView`]. Safe to repeat without a key.
#[must_use]
pub fn purchase(hold_id: HoldId) -> Call {
    Call::post(format!("/v1/holds/{hold_id}/purchase"), &Empty {})
}

/// `DELETE /v1/holds/{id}`.
#[must_use]
pub fn release(hold_id: HoldId) -> Call {
    Call::delete(format!("/v1/holds/{hold_id}"))
}

/// `GET /v1/log/head`; returns a [`LogHead`].
#[must_use]
pub fn log_head() -> Call {
    Call::get("/v1/log/head".into())
}

/// `GET /v1/log`; returns a [`LogPage`].
#[must_use]
pub fn log_page(after: Position, limit: usize) -> Call {
    Call::get(format!("/v1/log?after={after}&limit={limit}"))
}
