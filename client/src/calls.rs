//! The routes of the public contract that this side uses: a typed call for each, and the typed answer to it.
//!
//! Promise: what the contract names, these types name alike; a field that this side does not need is skipped, so a
//! server may add fields freely.
//! Limit: requests are built from the domain's values, so nothing that the server must refuse for its form can be sent.

use domain::values::{
    BuyerId, BuyerLimit, Description, DisplayName, DropId, DropName, HoldId, HoldSeconds, ImageUrl,
    Money, Position, PurchaseId, Quantity, Reason, Sequence, StockCount, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::wire::Call;

/// The body of `POST /v1/drops`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewDrop {
    /// As shoppers read it.
    pub name: DropName,
    /// Longer text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// A picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<ImageUrl>,
    /// Price of one unit.
    pub price: Money,
    /// Units offered.
    pub total_stock: StockCount,
    /// When it starts; none: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// When it ends; none: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// How long a hold lasts.
    pub hold_seconds: HoldSeconds,
    /// The most units in one hold.
    pub max_per_hold: Quantity,
    /// The most units that one buyer may hold and have bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_buyer: Option<BuyerLimit>,
}

/// The body of `POST /v1/drops/{id}/holds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewHold {
    /// For whom.
    pub buyer_id: BuyerId,
    /// Units to set aside.
    pub quantity: Quantity,
    /// The name to show to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<DisplayName>,
}

/// The body of `POST /v1/drops/{id}/stock-adjustments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewAdjustment {
    /// Units to add, or to take away when negative.
    pub delta: i32,
    /// Why.
    pub reason: Reason,
}

#[derive(Serialize)]
struct Empty {}

/// A drop as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DropView {
    /// Its id.
    pub id: DropId,
    /// Its name.
    pub name: String,
    /// Price of one unit.
    pub price: Money,
    /// `scheduled`, `live`, `sold_out`, `ended` or `cancelled`.
    pub status: String,
    /// When it starts.
    pub starts_at: Timestamp,
    /// How long a hold lasts.
    pub hold_seconds: u32,
    /// The most units in one hold.
    pub max_per_hold: u32,
    /// The most units that one buyer may hold and have bought.
    #[serde(default)]
    pub max_per_buyer: Option<u32>,
    /// Where its units are.
    pub stock: StockView,
    /// When it was created, by the server's clock.
    pub created_at: Timestamp,
    /// When the server answered.
    pub server_time: Timestamp,
}

/// Where a drop's units are, as the server shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct StockView {
    /// Units offered in all.
    pub total: u32,
    /// Units that can be held now.
    pub available: u32,
    /// Units set aside.
    pub held: u32,
    /// Units paid for.
    pub sold: u32,
}

/// A hold as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HoldView {
    /// Its id, which is the right to buy or release it.
    pub id: HoldId,
    /// Units set aside.
    pub quantity: u32,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// The first instant at which it is over.
    pub expires_at: Timestamp,
    /// The log position that it stands at.
    pub position: Position,
}

/// A purchase as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PurchaseView {
    /// Its id.
    pub id: PurchaseId,
    /// The hold that was paid for.
    pub hold_id: HoldId,
    /// Units sold.
    pub quantity: u32,
    /// The log position that it stands at.
    pub position: Position,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub data: Vec<T>,
    /// Whether more follow.
    #[serde(default)]
    pub has_more: bool,
}

/// Where the log ends.
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

/// An event as the log serves it.
#[derive(Debug, Deserialize)]
pub struct LogEvent {
    /// Its place in the log.
    pub position: Position,
    /// The stream that it belongs to; for a drop, the drop's id.
    pub aggregate_id: String,
    /// Its place in that stream.
    pub sequence: Sequence,
    /// What kind of event it is.
    pub event_type: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The stored text; a `domain::DropEvent` for a drop.
    pub payload: Box<RawValue>,
}

/// `POST /v1/drops`, answered with a [`DropView`].
#[must_use]
pub fn create_drop(drop: &NewDrop, key: &str) -> Call {
    Call::post("/v1/drops".into(), drop).keyed(key)
}

/// `GET /v1/drops`, answered with a [`Page`] of [`DropView`].
#[must_use]
pub fn list_drops(after: Option<DropId>) -> Call {
    let after = after.map_or_else(String::new, |id| format!("&starting_after={id}"));
    Call::get(format!("/v1/drops?limit=100{after}"))
}

/// `GET /v1/drops/{id}`, answered with a [`DropView`].
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

/// `POST /v1/drops/{id}/holds`, answered with a [`HoldView`].
#[must_use]
pub fn place_hold(drop_id: DropId, hold: &NewHold, key: &str) -> Call {
    Call::post(format!("/v1/drops/{drop_id}/holds"), hold).keyed(key)
}

/// `POST /v1/holds/{id}/purchase`, answered with a [`PurchaseView`]. Safe to repeat without a key.
#[must_use]
pub fn purchase(hold_id: HoldId) -> Call {
    Call::post(format!("/v1/holds/{hold_id}/purchase"), &Empty {})
}

/// `DELETE /v1/holds/{id}`.
#[must_use]
pub fn release(hold_id: HoldId) -> Call {
    Call::delete(format!("/v1/holds/{hold_id}"))
}

/// `GET /v1/log/head`, answered with a [`LogHead`].
#[must_use]
pub fn log_head() -> Call {
    Call::get("/v1/log/head".into())
}

/// `GET /v1/log`, answered with a [`LogPage`].
#[must_use]
pub fn log_page(after: Position, limit: usize) -> Call {
    Call::get(format!("/v1/log?after={after}&limit={limit}"))
}
