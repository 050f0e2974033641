//! What resources look like on the wire.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::drop::HoldStatus;
use domain::status::DropStatus;
use domain::values::{BuyerId, DropId, HoldId, Money, Position, PurchaseId, Quantity, Timestamp};
use engine::Answer;
use projections::views::HoldView;
use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use crate::preconditions::Tags;
use crate::problem::Problem;

/// Statuses as a query names them, separated by commas.
#[derive(Debug, Clone, Default)]
pub struct Statuses(Vec<DropStatus>);

impl Statuses {
    /// None for any.
    #[must_use]
    pub fn all(&self) -> &[DropStatus] {
        &self.0
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
    pub(crate) hold_id: HoldId,
    pub(crate) drop_id: DropId,
    /// Null once the buyer was erased.
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
