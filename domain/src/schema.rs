//! The JSON Schema of what the log holds, generated from the types that write it.
//!
//! `docs/events.schema.json` is this document; a test compares the two, and every stored fixture with it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};
use serde_json::Value;

use crate::event::DropEvent;
use crate::values::{
    AdjustmentId, BuyerId, BuyerLimit, Commitment, Currency, Description, DisplayName, DropId,
    DropName, HoldId, HoldSeconds, ImageUrl, KeyDigest, PaymentReference, Position, Pseudonym,
    PurchaseId, Quantity, Reason, Sequence, StockCount, ThrottleHolds, ThrottleSeconds, Timestamp,
    WaitlistId,
};

/// One event of a drop, as `GET /v1/log` and `audit export` write it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only described, never made")]
struct Event {
    /// Place in the whole log: dense, in commit order, from 1.
    position: u64,
    /// The kind of stream: `Drop`.
    aggregate_type: DropStream,
    /// The stream: the drop.
    aggregate_id: DropId,
    /// Place in the stream: from 1, without gaps.
    sequence: u64,
    /// The kind of event: the one name in the payload.
    event_type: String,
    /// Version of the payload's schema.
    event_version: String,
    /// When it was recorded. Never runs backwards along the log.
    recorded_at: Timestamp,
    /// What happened, under the name of its type.
    payload: DropEvent,
    /// What a program noted beside it.
    metadata: serde_json::Map<String, Value>,
    /// SHA-256 over this event and the hash before it: docs/AUDIT.md.
    hash: Sha256,
}

/// The document.
#[must_use]
pub fn document() -> Value {
    schema_for!(Event).to_value()
}

macro_rules! described {
    ($($name:ident: $schema:expr;)*) => {
        $(impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        })*
    };
}

struct DropStream;
struct Sha256;

described! {
    DropStream: json_schema!({ "const": crate::AGGREGATE_TYPE });
    Sha256: hex(64);
    DropId: uuid();
    HoldId: uuid();
    PurchaseId: uuid();
    AdjustmentId: uuid();
    WaitlistId: uuid();
    Pseudonym: uuid();
    KeyDigest: hex(32);
    Commitment: hex(64);
    Quantity: whole(Quantity::MIN, Quantity::MAX);
    StockCount: whole(StockCount::MIN, StockCount::MAX);
    HoldSeconds: whole(HoldSeconds::MIN, HoldSeconds::MAX);
    BuyerLimit: whole(BuyerLimit::MIN, BuyerLimit::MAX);
    ThrottleHolds: whole(ThrottleHolds::MIN, ThrottleHolds::MAX);
    ThrottleSeconds: whole(ThrottleSeconds::MIN, ThrottleSeconds::MAX);
    DropName: text(DropName::MAX_CHARS);
    Description: text(Description::MAX_CHARS);
    ImageUrl: text(ImageUrl::MAX_CHARS);
    Reason: text(Reason::MAX_CHARS);
    BuyerId: some_text(BuyerId::MAX_CHARS);
    DisplayName: some_text(DisplayName::MAX_CHARS);
    PaymentReference: some_text(PaymentReference::MAX_CHARS);
    Position: place_in_log();
    Sequence: place_in_log();
    Currency: json_schema!({ "type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217." });
    Timestamp: json_schema!({
        "type": "string", "format": "date-time",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$",
    });
}

fn uuid() -> Schema {
    json_schema!({ "type": "string", "format": "uuid" })
}

fn hex(digits: u32) -> Schema {
    json_schema!({ "type": "string", "pattern": format!("^[0-9a-f]{{{digits}}}$") })
}

fn whole(least: u32, most: u32) -> Schema {
    json_schema!({ "type": "integer", "minimum": least, "maximum": most })
}

fn place_in_log() -> Schema {
    json_schema!({ "type": "integer", "minimum": 0, "maximum": i64::MAX })
}

fn some_text(most: usize) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": most })
}

fn text(most: usize) -> Schema {
    json_schema!({ "type": "string", "maxLength": most })
}
