//! The JSON bodies of resources, and their HTTP headers.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::drop::HoldStatus;
use domain::status::DropStatus;
use domain::values::{BuyerId, DropId, HoldId, Money, Position, PurchaseId, Quantity, Timestamp};
use engine::Accepted;
use projections::order_payments::MoneyStatus;
use projections::views::HoldView;
use schemars::JsonSchema;
use serde::de::{self, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use crate::preconditions::Tags;
use crate::problem::Problem;

/// Statuses in a query, separated by commas: at most as many as there are.
#[derive(Debug, Clone, Default)]
pub struct Statuses(Vec<DropStatus>);

impl Statuses {
    #[must_use]
    pub fn all(&self) -> &[DropStatus] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = String::deserialize(deserializer)?;
        let most = DropStatus::ALL.len();
        if words.split(',').count() > most {
            return Err(de::Error::custom(format!(
                "must have at most {most} statuses"
            )));
        }
        let status = |word: &str| DropStatus::deserialize(word.trim().into_deserializer());
        words
            .split(',')
            .map(status)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The parts of a drop's entity tag, `"VERSION-DIGEST-sSTOCK-MARK"`, that writes compare. The
/// mark is that of the drop: a tag of another drop matches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DropTag {
    /// The version of the terms.
    pub(crate) version: u32,
    /// The version of the total stock. Its letter distinguishes it from the total, which earlier
    /// releases had there.
    pub(crate) stock_version: u32,
}

impl DropTag {
    /// Parses a tag of this drop; `None` for every other text.
    pub(crate) fn of(drop_id: DropId, etag: &str) -> Option<Self> {
        let text = etag.trim().strip_prefix('"')?.strip_suffix('"')?;
        let parts: Vec<&str> = text.split('-').collect();
        let [version, digest, stock, mark] = parts[..] else {
            return None;
        };
        let tag = Self {
            version: version.parse().ok()?,
            stock_version: stock.strip_prefix('s')?.parse().ok()?,
        };
        // Numbers have one spelling each.
        let is_ours = tag.written(digest, &mark_of(drop_id)) == etag.trim();
        (is_ours && !digest.is_empty() && mark == mark_of(drop_id)).then_some(tag)
    }

    fn written(self, digest: &str, mark: &str) -> String {
        let Self {
            version,
            stock_version,
        } = self;
        format!("\"{version}-{digest}-s{stock_version}-{mark}\"")
    }
}

/// The last eight hexadecimal digits of the drop's id, which are random.
fn mark_of(drop_id: DropId) -> String {
    let text = drop_id.0.simple().to_string();
    text[24..].to_owned()
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
    /// Renders the hold as of `now`. A hold past its deadline is shown as expired, even before the
    /// expiry is recorded.
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
    pub(crate) refunded: RefundedBody,
    /// The log position of the purchase.
    pub(crate) position: Position,
}

/// The refunds of a purchase, in sum.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RefundTotal")]
pub struct RefundedBody {
    /// Units returned.
    pub(crate) quantity: u32,
    pub(crate) amount: Money,
}

impl RefundedBody {
    pub(crate) fn new(price: Money, units: u32) -> Self {
        Self {
            quantity: units,
            amount: Money {
                amount: price.amount * i64::from(units),
                currency: price.currency,
            },
        }
    }
}

/// How far the money of a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefundStatus {
    /// The provider has not returned the money yet.
    Pending,
    /// The money was returned.
    Succeeded,
    /// The provider could not return the money. It is attempted again at an administrator's
    /// request.
    Failed,
}

impl From<MoneyStatus> for RefundStatus {
    fn from(status: MoneyStatus) -> Self {
        match status {
            MoneyStatus::Pending => Self::Pending,
            MoneyStatus::Succeeded => Self::Succeeded,
            MoneyStatus::Failed => Self::Failed,
        }
    }
}

impl PurchaseBody {
    pub(crate) const fn id(&self) -> PurchaseId {
        self.id
    }

    /// Renders the purchase of a hold; `None` if the hold was not purchased.
    #[must_use]
    pub fn new(hold: HoldView) -> Option<Self> {
        let purchase = hold.row.purchase?;
        let refunded = RefundedBody::new(hold.price, purchase.refunded);
        Some(Self {
            id: purchase.id,
            hold_id: hold.hold_id,
            drop_id: hold.row.drop_id,
            buyer_id: hold.buyer.map(|buyer| buyer.buyer_id),
            quantity: hold.row.quantity,
            total: purchase.total,
            purchased_at: purchase.purchased_at,
            refunded,
            position: hold.purchased.unwrap_or(hold.position),
        })
    }
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

/// Responds with the resource and its entity tag, or with 304 if the client has the same version.
pub(crate) fn conditional(headers: &HeaderMap, body: &impl Serialize) -> Response {
    Representation::json(body)
        .map_or_else(Problem::into_response, |body| body.unless_known(headers))
}

/// [`conditional`] for a body with `server_time`, which is `now`.
pub(crate) fn conditional_at(
    headers: &HeaderMap,
    now: Timestamp,
    body: &impl Serialize,
) -> Response {
    let timed = Representation::json(body).map(|body| body.at(now));
    timed.map_or_else(Problem::into_response, |body| body.unless_known(headers))
}

/// Restricts caching to the client's own cache: the response is about one buyer, or only for
/// administrators or auditors.
#[must_use]
pub(crate) fn private(mut response: Response) -> Response {
    let private = HeaderValue::from_static("private, no-cache");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, private);
    response
}

/// The time of a response that may be confirmed by 304. A 304 renews this header in a stored
/// response, whose body keeps its old `server_time`. If the body has none, the router adds this
/// header.
pub(crate) const SERVER_TIME: HeaderName = HeaderName::from_static("holdfast-server-time");

/// The bytes of a response and their entity tag.
///
/// Promise: the tag is a digest of the bytes, so a 304 never confirms different ones, for any
/// cause of a change. Only `server_time` is excluded, because no response would ever be confirmed
/// with it; the header `Holdfast-Server-Time` has it, also on a 304.
///
/// Source: docs/decisions/0040-entity-tags-are-digests-of-bodies.md.
#[derive(Debug)]
pub(crate) struct Representation {
    bytes: Bytes,
    kind: &'static str,
    server_time: Option<Timestamp>,
    /// For the tag of a drop.
    of_drop: Option<(DropId, DropTag)>,
}

impl Representation {
    /// A body that is serialized as JSON.
    ///
    /// # Errors
    /// 500 when the body cannot be serialized.
    pub(crate) fn json(body: &impl Serialize) -> Result<Self, Problem> {
        let bytes = serde_json::to_vec(body).map_err(|error| Problem::internal(&error))?;
        Ok(Self::new(bytes, "application/json"))
    }

    /// A body of another media type.
    pub(crate) fn new(bytes: impl Into<Bytes>, kind: &'static str) -> Self {
        Self {
            bytes: bytes.into(),
            kind,
            server_time: None,
            of_drop: None,
        }
    }

    /// Declares that every `server_time` in the body is `now`.
    pub(crate) fn at(self, now: Timestamp) -> Self {
        Self {
            server_time: Some(now),
            ..self
        }
    }

    /// Adds the versions of a drop's terms and of its total stock to the tag. An edit's `If-Match`
    /// compares only the first, and an adjustment's only the second: so a drop can be edited and
    /// adjusted while it sells.
    pub(crate) fn of_drop(self, drop_id: DropId, tag: DropTag) -> Self {
        Self {
            of_drop: Some((drop_id, tag)),
            ..self
        }
    }

    fn etag(&self) -> String {
        let digest = digest_but(&self.bytes, self.server_time);
        match self.of_drop {
            Some((drop_id, tag)) => tag.written(&digest, &mark_of(drop_id)),
            None => format!("\"{digest}\""),
        }
    }

    /// Responds with the body and its tag, or with 304 if the client has the same version.
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

    /// Responds to a write, with the body and its tag.
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

/// Returns the first half of a SHA-256, in hexadecimal digits: equal for equal bytes in every
/// process.
pub(crate) fn digest(bytes: &[u8]) -> String {
    digest_but(bytes, None)
}

/// Computes the digest without any member `server_time` of `now`. Inside a JSON string the quotes
/// would be escaped, so only members match.
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

/// The header with a position by which the log contains the outcome of a write; of a list, the
/// position up to which it reflects the log.
pub(crate) const POSITION: HeaderName = HeaderName::from_static("holdfast-position");

/// Adds the position by which the log contains the outcome of a write.
pub(crate) fn positioned<S>(mut response: Response, accepted: &Accepted<S>) -> Response {
    let position = HeaderValue::from(accepted.position().0);
    response.headers_mut().insert(POSITION, position);
    response
}

/// As [`positioned`], and marks the response to a retry of a recorded request.
pub(crate) fn recorded<S>(response: Response, accepted: &Accepted<S>) -> Response {
    let mut response = positioned(response, accepted);
    if accepted.is_replay() {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}

/// Adds a header, if `value` is a valid header value.
pub(crate) fn insert(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Returns true if the client's `If-None-Match` contains `etag`.
#[must_use]
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    Tags::of(headers, header::IF_NONE_MATCH).is_some_and(|known| known.include(etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etag_excludes_server_time_and_nothing_similar() {
        let (noon, later) = (Timestamp::from_millis(0), Timestamp::from_millis(1));
        let tag =
            |body: &serde_json::Value, now| Representation::json(body).unwrap().at(now).etag();
        let body = |name: &str, now: Timestamp| {
            let time = now.to_string();
            serde_json::json!({ "data": [{ "name": name, "server_time": time }, { "server_time": time }] })
        };
        assert_eq!(tag(&body("a", noon), noon), tag(&body("a", later), later));
        assert_ne!(tag(&body("a", noon), noon), tag(&body("b", noon), noon));
        // The time inside a string, or another time, is content.
        let spelled = format!("\"server_time\":\"{noon}\"");
        assert_ne!(tag(&body(&spelled, noon), noon), tag(&body("", noon), noon));
        assert_ne!(tag(&body("a", later), noon), tag(&body("a", noon), noon));
    }

    #[test]
    fn tag_of_a_drop_has_both_versions_and_is_of_no_other_drop() {
        let [one, two] = [1, 2].map(|number| DropId(uuid::Uuid::from_u128(number)));
        let tag = DropTag {
            version: 3,
            stock_version: 9,
        };
        let body = Representation::json(&1).unwrap().of_drop(one, tag);
        let etag = body.etag();
        assert_eq!(DropTag::of(one, &etag), Some(tag));
        assert_eq!(DropTag::of(two, &etag), None);
        for other in [
            "\"3-1f0a-s9\"",
            "\"3-1f0a-9-00000001\"",
            "\"03-1f0a-s9-00000001\"",
            "\"3-1f0a-s09-00000001\"",
            "\"3-1f0a-s9-00000001-1\"",
            "\"3--s9-00000001\"",
            "\"+3-1f0a-s9-00000001\"",
            "3-1f0a-s9-00000001",
            "\"x\"",
        ] {
            assert_eq!(DropTag::of(one, other), None, "{other}");
        }
    }
}
