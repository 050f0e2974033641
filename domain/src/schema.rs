//! The JSON Schema of the log's events, generated from the types that write them.
//!
//! A test compares this document with `docs/events.schema.json`, and every stored fixture with the
//! document.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::erasure::{self, ErasureEvent};
use crate::event::DropEvent;
use crate::incident::{self, LogEvent};
use crate::order::{self, OrderEvent};
use crate::values::{
    AccessCode, AdjustmentId, AdminName, BuyerId, BuyerLimit, CatalogueId, CodeCount, CodeDigest,
    CodeUses, Commitment, Currency, Description, Difficulty, DisplayName, DropId, DropName,
    EndpointLabel, Entered, FailureCode, HoldId, HoldSeconds, ImageUrl, IntentDigest, KeyDigest,
    LimitGroup, LowStock, MaxHoldSeconds, OfferSeconds, OrderId, PaymentId, PaymentReference,
    Position, ProviderName, Pseudonym, PurchaseId, Quantity, Reason, RefundId, Sequence,
    StockCount, ThrottleHolds, ThrottleSeconds, Timestamp, Tracking, WaitlistId,
};

/// One event, as `GET /v1/log` and `audit export` write it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "used for its schema only")]
struct Event {
    /// Position in the log: dense, in commit order, from 1.
    #[schemars(range(min = 1))]
    position: u64,
    /// The aggregate type: `Drop`, `Order`, `Erasure`, `Log`, or that of another program.
    aggregate_type: String,
    /// The id of the aggregate: the drop's or order's, or as the other program defines it.
    aggregate_id: String,
    /// Sequence in the stream: from 1, without gaps.
    #[schemars(range(min = 1))]
    sequence: u64,
    /// The event type. For Holdfast's events, it is also the only key of the payload.
    event_type: String,
    /// Version of the payload's schema.
    event_version: String,
    /// When the event was recorded. Never decreases along the log.
    recorded_at: Timestamp,
    /// The payload. For Holdfast's events, an object whose only key is the event type.
    payload: Value,
    /// Metadata that a program stored with the event.
    metadata: serde_json::Map<String, Value>,
    /// SHA-256 over this event and the preceding hash: docs/AUDIT.md.
    hash: Sha256,
    /// In exports: the stored text of `payload`, if it contains line breaks. The hash covers this
    /// text; `payload` has a space for each line break.
    payload_text: Option<String>,
    /// As `payload_text`, for `metadata`.
    metadata_text: Option<String>,
}

/// A hold as version 0.9, of the prototype, recorded it: with its duration instead of its deadline.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "used for its schema only: an upcaster reads it")]
struct HoldPlacedUntil0_9 {
    /// The hold.
    hold_id: HoldId,
    /// The caller's idempotency key.
    key: Option<KeyDigest>,
    /// The buyer.
    buyer: Pseudonym,
    /// Units set aside.
    quantity: Quantity,
    /// When the hold was placed.
    placed_at: Timestamp,
    /// How long the hold lasts.
    hold_seconds: u32,
    /// Commits to the personal data that is stored with this event, if it introduces the buyer.
    commitment: Option<Commitment>,
}

/// Returns the document: the fields of every event, then one schema for each kind of stream.
#[must_use]
pub fn document() -> Value {
    let mut generator = SchemaGenerator::default();
    let whose = [
        of_a_drop(&mut generator),
        of_a_drop_until_0_9(&mut generator),
        of_an_order(&mut generator),
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

/// These versions are no longer written, but still read (`infrastructure/src/upcasters.rs`).
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

fn of_an_order(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "An event of an order.",
        "properties": {
            "aggregate_type": { "const": order::AGGREGATE_TYPE },
            "aggregate_id": generator.subschema_for::<OrderId>(),
            "event_type": { "enum": OrderEvent::TYPES },
            "event_version": { "const": "1.0" },
            "payload": generator.subschema_for::<OrderEvent>(),
        },
    })
}

fn of_an_erasure(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "An event that records the erasure of a buyer, without identifying the \
            buyer.",
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

/// Stock programs may keep other streams in the same log; they are chained, but not interpreted.
fn of_another_program() -> Schema {
    json_schema!({
        "description": "An event of another program, whose payload is not interpreted.",
        "properties": {
            "aggregate_type": { "not": { "enum": [
                crate::AGGREGATE_TYPE, order::AGGREGATE_TYPE, erasure::AGGREGATE_TYPE, incident::AGGREGATE_TYPE,
            ] } },
        },
    })
}

/// Described as the text that a request contains.
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
    PaymentId: uuid();
    RefundId: uuid();
    AdjustmentId: uuid();
    WaitlistId: uuid();
    OrderId: uuid();
    Pseudonym: uuid();
    KeyDigest: hex(32);
    IntentDigest: hex(32);
    CodeDigest: hex(32);
    AccessCode: some_text(AccessCode::MAX_CHARS);
    CodeCount: whole(CodeCount::MIN, CodeCount::MAX);
    CodeUses: whole(CodeUses::MIN, CodeUses::MAX);
    ProviderName: code(ProviderName::MAX_CHARS);
    FailureCode: code(FailureCode::MAX_CHARS);
    Commitment: hex(64);
    Quantity: whole(Quantity::MIN, Quantity::MAX);
    StockCount: whole(StockCount::MIN, StockCount::MAX);
    HoldSeconds: whole(HoldSeconds::MIN, HoldSeconds::MAX);
    MaxHoldSeconds: whole(MaxHoldSeconds::MIN, MaxHoldSeconds::MAX);
    OfferSeconds: whole(OfferSeconds::MIN, OfferSeconds::MAX);
    BuyerLimit: whole(BuyerLimit::MIN, BuyerLimit::MAX);
    LowStock: whole(LowStock::MIN, LowStock::MAX);
    Difficulty: whole(Difficulty::MIN, Difficulty::MAX);
    ThrottleHolds: whole(ThrottleHolds::MIN, ThrottleHolds::MAX);
    ThrottleSeconds: whole(ThrottleSeconds::MIN, ThrottleSeconds::MAX);
    DropName: some_text(DropName::MAX_CHARS);
    Description: text(Description::MAX_CHARS);
    ImageUrl: some_text(ImageUrl::MAX_CHARS);
    Reason: some_text(Reason::MAX_CHARS);
    BuyerId: some_text(BuyerId::MAX_CHARS);
    DisplayName: some_text(DisplayName::MAX_CHARS);
    PaymentReference: some_text(PaymentReference::MAX_CHARS);
    Tracking: some_text(Tracking::MAX_CHARS);
    CatalogueId: some_ascii(CatalogueId::MAX_CHARS, "[A-Za-z0-9._-]");
    LimitGroup: some_ascii(LimitGroup::MAX_CHARS, "[!-~]");
    AdminName: some_ascii(AdminName::MAX_CHARS, "[A-Za-z0-9._-]");
    EndpointLabel: text(EndpointLabel::MAX_CHARS);
    Position: log_number();
    Sequence: log_number();
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

fn log_number() -> Schema {
    json_schema!({ "type": "integer", "minimum": 0, "maximum": i64::MAX })
}

fn some_text(most: usize) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": most })
}

/// One to `most` characters of a class of a regular expression.
fn some_ascii(most: usize, class: &str) -> Schema {
    let pattern = format!("^{class}{{1,{most}}}$");
    json_schema!({ "type": "string", "pattern": pattern, "minLength": 1, "maxLength": most })
}

fn code(most: usize) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[a-z0-9_]+$", "maxLength": most })
}

fn text(most: usize) -> Schema {
    json_schema!({ "type": "string", "maxLength": most })
}
