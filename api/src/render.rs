//! What resources look like on the wire.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::drop::HoldStatus;
use domain::stock::Stock;
use domain::values::{
    BuyerId, DropId, HoldId, Money, Position, Pseudonym, PurchaseId, Quantity, Throttle, Timestamp,
};
use infrastructure::engine::Answer;
use projections::live_stock::{LiveStockRow, Phase};
use projections::views::{DropView, HoldView, Purchaser};
use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize};

use crate::preconditions::Tags;

/// Where a drop is in its life, as the server's clock has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropStatus {
    /// Not started.
    Scheduled,
    /// Units can be held.
    Live,
    /// Live, with nothing available.
    SoldOut,
    /// Over.
    Ended,
    /// Called off.
    Cancelled,
}

impl DropStatus {
    /// The status of a drop at `now`.
    #[must_use]
    pub fn at(row: &LiveStockRow, now: Timestamp) -> Self {
        match row.phase(now) {
            Phase::Scheduled => Self::Scheduled,
            Phase::Live => Self::Live,
            Phase::SoldOut => Self::SoldOut,
            Phase::Ended => Self::Ended,
            Phase::Cancelled => Self::Cancelled,
        }
    }

    /// The same in the words of the views.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self {
            Self::Scheduled => Phase::Scheduled,
            Self::Live => Phase::Live,
            Self::SoldOut => Phase::SoldOut,
            Self::Ended => Phase::Ended,
            Self::Cancelled => Phase::Cancelled,
        }
    }

    /// Whether nothing can be held any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Cancelled)
    }
}

/// Statuses as a query names them, separated by commas.
#[derive(Debug, Clone, Default)]
pub struct Statuses(Vec<DropStatus>);

impl Statuses {
    /// The same in the words of the views.
    #[must_use]
    pub fn phases(&self) -> Vec<Phase> {
        self.0.iter().map(|status| status.phase()).collect()
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = String::deserialize(deserializer)?;
        let status = |word: &str| DropStatus::deserialize(word.trim().into_deserializer());
        words
            .split(',')
            .map(status)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A `Drop` of the contract.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Drop")]
pub struct DropBody<'a> {
    id: DropId,
    name: &'a str,
    description: Option<&'a str>,
    image_url: Option<&'a str>,
    price: Money,
    status: DropStatus,
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
    hold_seconds: u32,
    max_per_hold: u32,
    max_per_buyer: Option<u32>,
    throttle: Option<Throttle>,
    stock: Stock,
    waitlist_length: u32,
    position: Position,
    created_at: Timestamp,
    server_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_purchasers: Option<Vec<PurchaserBody>>,
}

impl<'a> DropBody<'a> {
    /// The drop at `now`.
    #[must_use]
    pub fn new(drop: &'a DropView, now: Timestamp) -> Self {
        let terms = &drop.row.terms;
        let status = DropStatus::at(&drop.row, now);
        Self {
            id: drop.drop_id,
            name: terms.name.as_str(),
            description: terms
                .description
                .as_ref()
                .map(domain::values::Description::as_str),
            image_url: terms
                .image_url
                .as_ref()
                .map(domain::values::ImageUrl::as_str),
            price: terms.price,
            status,
            starts_at: terms.starts_at,
            ends_at: terms.ends_at,
            hold_seconds: terms.hold_seconds.get(),
            max_per_hold: terms.max_per_hold.get(),
            max_per_buyer: terms.max_per_buyer.map(domain::values::BuyerLimit::get),
            throttle: terms.throttle,
            stock: drop.row.stock,
            waitlist_length: waitlist_length(drop, now),
            position: drop.position,
            created_at: drop.row.scheduled_at,
            server_time: now,
            top_purchasers: None,
        }
    }

    /// The same with its purchasers.
    #[must_use]
    pub fn with_purchasers(self, purchasers: Vec<PurchaserBody>) -> Self {
        Self {
            top_purchasers: Some(purchasers),
            ..self
        }
    }
}

/// How many wait for a drop: none for one that is over.
pub(crate) fn waitlist_length(drop: &DropView, now: Timestamp) -> u32 {
    match DropStatus::at(&drop.row, now).is_over() {
        true => 0,
        false => drop.row.waitlist_length,
    }
}

/// A drop's entity tag: the version of its terms, the position of its last event, its status, and
/// its units in all.
///
/// An edit's `If-Match` compares the version alone, and that of an adjustment the units in all,
/// which only adjustments change: so a drop that sells can be edited and adjusted.
#[must_use]
pub fn drop_etag(drop: &DropView, now: Timestamp) -> String {
    let status = DropStatus::at(&drop.row, now);
    format!(
        "\"{}-{}-{status:?}-{}\"",
        drop.row.terms_version, drop.position, drop.row.stock.total
    )
}

/// The version of the terms that a drop's entity tag stands for.
#[must_use]
pub fn version_in_etag(etag: &str) -> Option<u32> {
    etag.trim()
        .strip_prefix('"')?
        .split('-')
        .next()?
        .parse()
        .ok()
}

/// The units in all that a drop's entity tag stands for.
#[must_use]
pub fn total_in_etag(etag: &str) -> Option<u32> {
    let parts = etag.trim().strip_prefix('"')?.strip_suffix('"')?;
    let mut parts = parts.split('-').skip(3);
    let total = parts.next()?.parse().ok();
    total.filter(|_| parts.next().is_none())
}

/// A `Hold` of the contract.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Hold")]
pub struct HoldBody {
    id: HoldId,
    drop_id: DropId,
    /// Null once the buyer was erased.
    buyer_id: Option<BuyerId>,
    quantity: Quantity,
    /// What one unit costs: the price in force when it was placed, whatever the drop costs now.
    price: Money,
    status: HoldStatus,
    placed_at: Timestamp,
    expires_at: Timestamp,
    purchased_at: Option<Timestamp>,
    position: Position,
    server_time: Timestamp,
}

impl HoldBody {
    /// The hold at `now`. One that is over is shown so, recorded or not.
    #[must_use]
    pub fn new(hold: HoldView, now: Timestamp) -> Self {
        let row = hold.row;
        let is_over = row.status == HoldStatus::Held && now >= row.expires_at;
        Self {
            id: hold.hold_id,
            drop_id: row.drop_id,
            buyer_id: hold.buyer.map(|buyer| buyer.buyer_id),
            quantity: row.quantity,
            price: hold.price,
            status: if is_over {
                HoldStatus::Expired
            } else {
                row.status
            },
            placed_at: row.placed_at,
            expires_at: row.expires_at,
            purchased_at: row.purchase.map(|purchase| purchase.purchased_at),
            position: hold.position,
            server_time: now,
        }
    }
}

/// A `Purchase` of the contract.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Purchase")]
pub struct PurchaseBody {
    id: PurchaseId,
    hold_id: HoldId,
    drop_id: DropId,
    /// Null once the buyer was erased.
    buyer_id: Option<BuyerId>,
    quantity: Quantity,
    total: Money,
    purchased_at: Timestamp,
    position: Position,
}

impl PurchaseBody {
    /// The purchase of a hold; none if it was not paid for.
    #[must_use]
    pub fn new(hold: HoldView) -> Option<Self> {
        let purchase = hold.row.purchase?;
        Some(Self {
            id: purchase.id,
            hold_id: hold.hold_id,
            drop_id: hold.row.drop_id,
            buyer_id: hold.buyer.map(|buyer| buyer.buyer_id),
            quantity: hold.row.quantity,
            total: purchase.total,
            purchased_at: purchase.purchased_at,
            position: hold.position,
        })
    }
}

/// A purchaser, as others may see them.
#[derive(Debug, Hash, Serialize, JsonSchema)]
#[schemars(rename = "Purchaser")]
pub struct PurchaserBody {
    /// The name that they agreed to show; otherwise a few digits of their pseudonym.
    buyer: String,
    quantity: u64,
    last_purchased_at: Timestamp,
}

impl From<Purchaser> for PurchaserBody {
    fn from(purchaser: Purchaser) -> Self {
        let buyer = purchaser
            .display_name
            .map_or_else(|| masked(purchaser.buyer), |name| name.as_str().to_owned());
        Self {
            buyer,
            quantity: purchaser.row.quantity,
            last_purchased_at: purchaser.row.last_purchased_at,
        }
    }
}

fn masked(buyer: Pseudonym) -> String {
    let digits = buyer.0.simple().to_string();
    format!("Buyer {}", &digits[..6])
}

/// A list of the contract.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub struct Page<T> {
    /// What was asked for.
    pub data: Vec<T>,
    /// Whether there is more after it.
    pub has_more: bool,
}

/// The resource with its entity tag, or 304 when the caller has it already.
pub fn conditional(headers: &HeaderMap, etag: &str, body: impl Serialize) -> Response {
    unless_known(headers, etag, Json(body))
}

/// The same answer, which only the caller's own cache may keep: it is about one buyer, or for
/// admins or auditors alone.
#[must_use]
pub(crate) fn private(mut response: Response) -> Response {
    let private = HeaderValue::from_static("private, no-cache");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, private);
    response
}

/// An answer of any form with its entity tag, or 304 when the caller has it already.
pub fn unless_known(headers: &HeaderMap, etag: &str, answer: impl IntoResponse) -> Response {
    let tag = HeaderValue::from_str(etag).ok();
    let mut response = if is_known(headers, etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        answer.into_response()
    };
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
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

/// Adds a header, if the value can stand in one.
pub(crate) fn insert(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Whether the caller says by `If-None-Match` that they have what `etag` stands for.
#[must_use]
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    Tags::of(headers, header::IF_NONE_MATCH).is_some_and(|known| known.include(etag))
}

/// An entity tag for what has no version of its own.
#[must_use]
pub fn etag_of(content: &impl std::hash::Hash) -> String {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_gives_back_the_version_of_the_terms() {
        assert_eq!(version_in_etag("\"3-17-Live-9\""), Some(3));
        assert_eq!(version_in_etag("\"x\""), None);
        assert_eq!(version_in_etag("3-17"), None);
    }

    #[test]
    fn an_etag_gives_back_the_units_in_all() {
        assert_eq!(total_in_etag("\"3-17-Live-9\""), Some(9));
        for other in ["\"3-17-Live\"", "\"3-17-Live-9-1\"", "3-17-Live-9", "\"x\""] {
            assert_eq!(total_in_etag(other), None, "{other}");
        }
    }
}
