//! What resources look like on the wire.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
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
use sha2::{Digest, Sha256};

use crate::preconditions::Tags;
use crate::problem::Problem;

/// The status of a drop, according to the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropStatus {
    /// The drop has not started.
    Scheduled,
    /// Units can be held.
    Live,
    /// Live, with nothing available.
    SoldOut,
    /// The drop has ended.
    Ended,
    /// The drop was cancelled.
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

/// A drop: its terms, status and stock.
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
    let mut parts = parts.split('-').skip(2);
    let total = parts.next()?.parse().ok();
    total.filter(|_| parts.next().is_none())
}

/// A hold: a buyer's claim on units until `expires_at`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Hold")]
pub struct HoldBody {
    id: HoldId,
    drop_id: DropId,
    /// Null after the erasure of the buyer.
    buyer_id: Option<BuyerId>,
    quantity: Quantity,
    /// The price of one unit when the hold was placed. Later price changes do not affect it.
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

/// A purchase: a hold that was paid for.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Purchase")]
pub struct PurchaseBody {
    id: PurchaseId,
    pub(crate) hold_id: HoldId,
    pub(crate) drop_id: DropId,
    /// Null after the erasure of the buyer.
    pub(crate) buyer_id: Option<BuyerId>,
    pub(crate) quantity: Quantity,
    pub(crate) total: Money,
    pub(crate) purchased_at: Timestamp,
    pub(crate) position: Position,
}

impl PurchaseBody {
    /// Its own id.
    pub(crate) const fn id(&self) -> PurchaseId {
        self.id
    }

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

/// A purchaser, in the form that is public.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Purchaser")]
pub struct PurchaserBody {
    /// The display name that the buyer provided; otherwise a few digits of the buyer's pseudonym.
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

/// One page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub struct Page<T> {
    /// The items of this page.
    pub data: Vec<T>,
    /// True if there is another page.
    pub has_more: bool,
}

/// The resource with its entity tag, or 304 when the caller has it already.
pub(crate) fn conditional(headers: &HeaderMap, body: &impl Serialize) -> Response {
    Representation::json(body)
        .map_or_else(Problem::into_response, |body| body.unless_known(headers))
}

/// The same for a body that says `server_time`, which is `now`.
pub(crate) fn conditional_at(
    headers: &HeaderMap,
    now: Timestamp,
    body: &impl Serialize,
) -> Response {
    let timed = Representation::json(body).map(|body| body.at(now));
    timed.map_or_else(Problem::into_response, |body| body.unless_known(headers))
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

/// When an answer that may be confirmed by 304 was given: a 304 renews it in a stored answer, whose
/// body keeps the `server_time` that it was stored with.
const SERVER_TIME: HeaderName = HeaderName::from_static("holdfast-server-time");

/// The bytes of an answer, and the entity tag that stands for them.
///
/// Promise: the tag is a digest of the bytes, so a 304 never confirms others, whatever changed
/// them. `server_time` alone is left out, as no answer would ever be confirmed with it; the header
/// `Holdfast-Server-Time` has it, on a 304 too.
///
/// Source: docs/decisions/0040-entity-tags-are-digests-of-bodies.md.
#[derive(Debug)]
pub(crate) struct Representation {
    bytes: Bytes,
    kind: &'static str,
    server_time: Option<Timestamp>,
    /// What the tag of a drop begins and ends with: the version of its terms, and its units in all.
    of_drop: Option<(u32, u32)>,
}

impl Representation {
    /// As JSON.
    ///
    /// # Errors
    /// 500 when the body cannot be written as JSON.
    pub(crate) fn json(body: &impl Serialize) -> Result<Self, Problem> {
        let bytes = serde_json::to_vec(body).map_err(|error| Problem::internal(&error))?;
        Ok(Self::new(bytes, "application/json"))
    }

    /// Text of another media type.
    pub(crate) fn new(bytes: impl Into<Bytes>, kind: &'static str) -> Self {
        Self {
            bytes: bytes.into(),
            kind,
            server_time: None,
            of_drop: None,
        }
    }

    /// The same, in which every `server_time` is `now`.
    pub(crate) fn at(self, now: Timestamp) -> Self {
        Self {
            server_time: Some(now),
            ..self
        }
    }

    /// The same with a tag that begins with the version of a drop's terms and ends with its units in
    /// all. An edit's `If-Match` compares the version alone, and that of an adjustment the units in
    /// all, which only adjustments change: so a drop that sells can be edited and adjusted.
    pub(crate) fn of_drop(self, version: u32, total: u32) -> Self {
        Self {
            of_drop: Some((version, total)),
            ..self
        }
    }

    fn etag(&self) -> String {
        let digest = digest_but(&self.bytes, self.server_time);
        match self.of_drop {
            Some((version, total)) => format!("\"{version}-{digest}-{total}\""),
            None => format!("\"{digest}\""),
        }
    }

    /// With its tag, or 304 when the caller has it already.
    pub(crate) fn unless_known(self, headers: &HeaderMap) -> Response {
        let etag = self.etag();
        let server_time = self.server_time;
        let mut response = match is_known(headers, &etag) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => self.into_body(),
        };
        insert(&mut response, header::ETAG, &etag);
        if let Some(now) = server_time {
            insert(&mut response, SERVER_TIME, &now.to_string());
        }
        let no_cache = HeaderValue::from_static("no-cache");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, no_cache);
        response
    }

    /// With its tag, as the answer to a write.
    pub(crate) fn with_status(self, status: StatusCode) -> Response {
        let etag = self.etag();
        let mut response = (status, self.into_body()).into_response();
        insert(&mut response, header::ETAG, &etag);
        response
    }

    fn into_body(self) -> Response {
        ([(header::CONTENT_TYPE, self.kind)], self.bytes).into_response()
    }
}

/// The first half of a SHA-256, in hexadecimal digits: the same for the same bytes in every process.
pub(crate) fn digest(bytes: &[u8]) -> String {
    digest_but(bytes, None)
}

/// The same with every member `server_time` of `now` left out. Within a JSON text its quotes would
/// be escaped, so only the member itself is spelled so.
fn digest_but(bytes: &[u8], now: Option<Timestamp>) -> String {
    let mut hasher = Sha256::new();
    match now.map(|now| format!("\"server_time\":\"{now}\"")) {
        None => hasher.update(bytes),
        Some(member) => {
            let mut rest = bytes;
            while let Some(at) = memchr::memmem::find(rest, member.as_bytes()) {
                hasher.update(&rest[..at]);
                rest = &rest[at + member.len()..];
            }
            hasher.update(rest);
        }
    }
    hex::encode(&hasher.finalize()[..16])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_leaves_out_the_time_of_the_server_and_nothing_that_looks_like_it() {
        let (noon, later) = (Timestamp::from_millis(0), Timestamp::from_millis(1));
        let tag =
            |body: &serde_json::Value, now| Representation::json(body).unwrap().at(now).etag();
        let body = |name: &str, now: Timestamp| {
            let time = now.to_string();
            serde_json::json!({ "data": [{ "name": name, "server_time": time }, { "server_time": time }] })
        };
        assert_eq!(tag(&body("a", noon), noon), tag(&body("a", later), later));
        assert_ne!(tag(&body("a", noon), noon), tag(&body("b", noon), noon));
        // The time in a text, or of another moment, is content.
        let spelled = format!("\"server_time\":\"{noon}\"");
        assert_ne!(tag(&body(&spelled, noon), noon), tag(&body("", noon), noon));
        assert_ne!(tag(&body("a", later), noon), tag(&body("a", noon), noon));
    }

    #[test]
    fn an_etag_gives_back_the_version_of_the_terms() {
        assert_eq!(version_in_etag("\"3-1f0a-9\""), Some(3));
        assert_eq!(version_in_etag("\"x\""), None);
        assert_eq!(version_in_etag("3-17"), None);
    }

    #[test]
    fn an_etag_gives_back_the_units_in_all() {
        assert_eq!(total_in_etag("\"3-1f0a-9\""), Some(9));
        for other in ["\"3-17-Live\"", "\"3-17-Live-9-1\"", "3-17-Live-9", "\"x\""] {
            assert_eq!(total_in_etag(other), None, "{other}");
        }
    }
}
