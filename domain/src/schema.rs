//! The JSON Schema of what the log holds, generated from the types that write it.
//!
//! `docs/events.schema.json` is this document; a test compares the two, and every stored fixture with it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::erasure::{self, ErasureEvent};
use crate::event::DropEvent;
use crate::incident::{self, LogEvent};
use crate::values::{
    AdjustmentId, BuyerId, BuyerLimit, Commitment, Currency, Description, DisplayName, DropId,
    DropName, Entered, HoldId, HoldSeconds, ImageUrl, KeyDigest, PaymentReference, Position,
    Pseudonym, PurchaseId, Quantity, Reason, Sequence, StockCount, ThrottleHolds, ThrottleSeconds,
    Timestamp, WaitlistId,
};

/// One event, as `GET /v1/log` and `audit export` write it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only described, never made")]
struct Event {
    /// Place in the whole log: dense, in commit order, from 1.
    #[schemars(range(min = 1))]
    position: u64,
    /// The kind of stream: `Drop`, `Erasure`, `Log`, or that of another program.
    aggregate_type: String,
    /// The stream: the drop, or as the other program names it.
    aggregate_id: String,
    /// Place in the stream: from 1, without gaps.
    #[schemars(range(min = 1))]
    sequence: u64,
    /// The kind of event: in our own, the one name in the payload.
    event_type: String,
    /// Version of the payload's schema.
    event_version: String,
    /// When it was recorded. Never runs backwards along the log.
    recorded_at: Timestamp,
    /// What happened: in our own, under the name of its type.
    payload: Value,
    /// What a program noted beside it.
    metadata: serde_json::Map<String, Value>,
    /// SHA-256 over this event and the hash before it: docs/AUDIT.md.
    hash: Sha256,
    /// In a line: the stored text of `payload`, which is hashed, where that has line breaks, for
    /// each of which `payload` then has a space.
    payload_text: Option<String>,
    /// As `payload_text`, of `metadata`.
    metadata_text: Option<String>,
}

/// A hold as version 0.9, of the prototype, recorded it: how long it lasts, and not when it is over.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only described: an upcaster reads it")]
struct HoldPlacedUntil0_9 {
    /// The hold.
    hold_id: HoldId,
    /// The caller's idempotency key.
    key: Option<KeyDigest>,
    /// Whose it is.
    buyer: Pseudonym,
    /// Units set aside.
    quantity: Quantity,
    /// When it was placed.
    placed_at: Timestamp,
    /// How long it lasts from then on.
    hold_seconds: u32,
    /// Commits to the personal data stored beside this event, if it introduces the buyer.
    commitment: Option<Commitment>,
}

/// The document: what all events have in common, and then whose they are.
#[must_use]
pub fn document() -> Value {
    let mut generator = SchemaGenerator::default();
    let whose = [
        of_a_drop(&mut generator),
        of_a_drop_until_0_9(&mut generator),
        of_an_erasure(&mut generator),
        of_an_incident(&mut generator),
        of_another_program(),
    ];
    let mut document = generator.into_root_schema_for::<Event>();
    document.insert("oneOf".to_owned(), whose.map(Value::from).to_vec().into());
    document.to_value()
}

fn of_a_drop(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "An event of a drop.",
        "properties": {
            "aggregate_type": { "const": crate::AGGREGATE_TYPE },
            "aggregate_id": generator.subschema_for::<DropId>(),
            "event_type": { "enum": DropEvent::TYPES },
            "event_version": { "const": "1.0" },
            "payload": generator.subschema_for::<DropEvent>(),
        },
    })
}

/// No program writes these any more; every program reads them (`infrastructure/src/upcasters.rs`).
fn of_a_drop_until_0_9(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "An event of a drop, in a form that is no longer written.",
        "properties": {
            "aggregate_type": { "const": crate::AGGREGATE_TYPE },
            "aggregate_id": generator.subschema_for::<DropId>(),
            "event_type": { "const": "HoldPlaced" },
            "event_version": { "const": "0.9" },
            "payload": {
                "type": "object",
                "properties": { "HoldPlaced": generator.subschema_for::<HoldPlacedUntil0_9>() },
                "required": ["HoldPlaced"],
                "additionalProperties": false,
            },
        },
    })
}

fn of_an_erasure(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "An event that tells that a buyer was erased, and not whom.",
        "properties": {
            "aggregate_type": { "const": erasure::AGGREGATE_TYPE },
            "aggregate_id": { "const": erasure::STREAM },
            "event_type": { "const": erasure::BUYER_ERASED },
            "event_version": { "const": erasure::VERSION },
            "payload": generator.subschema_for::<ErasureEvent>(),
        },
    })
}

fn of_an_incident(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "An event that records a repair of the log: docs/LOG_REFUSED.md.",
        "properties": {
            "aggregate_type": { "const": incident::AGGREGATE_TYPE },
            "aggregate_id": { "const": incident::STREAM },
            "event_type": { "enum": [incident::POSITION_VOIDED, incident::TAIL_CUT] },
            "event_version": { "const": incident::VERSION },
            "payload": generator.subschema_for::<LogEvent>(),
        },
    })
}

/// Stock programs may keep other streams in the same log; they are chained, and otherwise left alone.
fn of_another_program() -> Schema {
    json_schema!({
        "description": "An event of another program, about which no more is known.",
        "properties": {
            "aggregate_type": { "not": { "enum": [
                crate::AGGREGATE_TYPE, erasure::AGGREGATE_TYPE, incident::AGGREGATE_TYPE,
            ] } },
        },
    })
}

/// A request's text is described as the text.
impl<T: JsonSchema> JsonSchema for Entered<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
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

struct Sha256;

described! {
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
    DropName: some_text(DropName::MAX_CHARS);
    Description: text(Description::MAX_CHARS);
    ImageUrl: some_text(ImageUrl::MAX_CHARS);
    Reason: some_text(Reason::MAX_CHARS);
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
