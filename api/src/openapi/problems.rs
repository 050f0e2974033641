//! The schema of every problem, with its status and extension members.
//!
//! There is one arm per code: the compiler reports a missing code, and the tests a missing member.

mod challenge;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::base_path::at;
use crate::problem::{Code, MAX_FAULTS};

/// An extension member, in addition to the five members of every problem.
struct Member {
    name: &'static str,
    schema: Value,
    example: Value,
    is_required: bool,
}

fn required(name: &'static str, schema: Value, example: impl Into<Value>) -> Member {
    Member {
        name,
        schema,
        example: example.into(),
        is_required: true,
    }
}

fn optional(name: &'static str, schema: Value, example: impl Into<Value>) -> Member {
    Member {
        is_required: false,
        ..required(name, schema, example)
    }
}

fn integer() -> Value {
    json!({ "type": "integer", "format": "int64" })
}

fn seconds() -> Value {
    json!({ "type": "number" })
}

fn time() -> Value {
    json!({ "$ref": "#/components/schemas/Timestamp" })
}

/// Returns the schema of `errors`: every fault with a pointer to the value.
fn faults(pointer: &str) -> Value {
    let fault = json!({
        "type": "object", "required": ["pointer", "detail"], "additionalProperties": false,
        "properties": {
            "pointer": { "type": "string", "description": pointer },
            "detail": { "type": "string" },
        },
    });
    json!({ "type": "array", "minItems": 1, "maxItems": MAX_FAULTS, "items": fault })
}

fn fault(pointer: &str, detail: &str) -> Value {
    json!([{ "pointer": pointer, "detail": detail }])
}

/// The item of an order that was refused.
fn of_item() -> Member {
    optional("pointer", json!({ "type": "string" }), "/items/1")
}

/// A recent cut of the log, in which the id or the position may have been lost.
fn log_cut() -> Member {
    let cut = json!({
        "type": "object", "required": ["position", "events", "cut_at"],
        "additionalProperties": false,
        "properties": {
            "position": { "$ref": "#/components/schemas/Position" },
            "events": integer(),
            "cut_at": time(),
        },
    });
    let example = json!({ "position": 17, "events": 363, "cut_at": "2026-03-01T12:00:00.000Z" });
    optional("log_cut", cut, example)
}

fn members(code: Code) -> Vec<Member> {
    const AT: &str = "2026-03-01T12:00:00.000Z";
    let position = || json!({ "$ref": "#/components/schemas/Position" });
    match code {
        Code::MalformedJson => vec![
            optional("line", integer(), 1),
            optional("column", integer(), 12),
        ],
        Code::InvalidQuery => {
            let example = fault("/limit", "must be a whole number from 1 to 100");
            vec![
                required(
                    "errors",
                    faults("The parameter: a slash and its name."),
                    example,
                ),
                optional("most", integer(), 1440),
            ]
        }
        Code::InvalidValue => {
            let example = fault(
                "/quantity",
                "must be a whole number of units from 1 to 1000",
            );
            vec![required(
                "errors",
                faults("A JSON pointer to the value in the body (RFC 6901)."),
                example,
            )]
        }
        Code::BodyTooLarge => vec![
            required("max_bytes", integer(), 16_384),
            optional("max_characters", integer(), 16_384),
        ],
        // `available` is absent where the caller does not see the numbers of the stock.
        Code::SoldOut => vec![
            required("requested", integer(), 2),
            optional("available", integer(), 1),
            of_item(),
        ],
        Code::NotSoldOut => vec![
            required("requested", integer(), 2),
            optional("available", integer(), 1),
        ],
        Code::CodeRequired => vec![of_item()],
        Code::CodeInvalid => vec![optional("expired_at", time(), AT), of_item()],
        Code::ChallengeRequired | Code::ChallengeInvalid | Code::ChallengeExpired => vec![
            required("challenge", challenge::schema(), challenge::example()),
            of_item(),
        ],
        Code::CodeSpent => vec![required("uses", integer(), 1), of_item()],
        Code::TooManyCodes => vec![required("limit", integer(), 100_000)],
        Code::LimitReached => {
            let names = json!({ "type": "string", "enum": ["max_per_hold", "max_per_buyer"] });
            vec![
                required("limit", integer(), 2),
                required("allowance", integer(), 0),
                required("limit_name", names, "max_per_buyer"),
                of_item(),
            ]
        }
        Code::NotLive => vec![required("starts_at", time(), AT), of_item()],
        Code::Paused => vec![required("paused_at", time(), AT), of_item()],
        Code::Draft => vec![of_item()],
        Code::DropNotFound => vec![of_item(), log_cut()],
        Code::OrderNotFound
        | Code::HoldNotFound
        | Code::PurchaseNotFound
        | Code::WaitlistEntryNotFound => vec![log_cut()],
        Code::Ended => {
            let cancelled = json!({ "type": "boolean" });
            vec![
                required("ended_at", time(), AT),
                required("cancelled", cancelled, false),
                of_item(),
            ]
        }
        Code::HoldPurchased => vec![required("purchased_at", time(), AT)],
        Code::PaymentReferenceConflict => {
            let id = json!({ "$ref": "#/components/schemas/PurchaseId" });
            let order = json!({ "$ref": "#/components/schemas/OrderId" });
            vec![
                optional("id", id, "0197d3f3-4455-4f6a-9b8c-0d1e2f3a4b5c"),
                optional("purchased_at", time(), AT),
                optional("order_id", order, "0197d3f4-0a1b-4c2d-8e3f-405162738495"),
                optional("paid_at", time(), AT),
            ]
        }
        Code::ExtensionLimit => vec![required("expires_at_max", time(), AT)],
        Code::HoldExpired => vec![required("expired_at", time(), AT)],
        Code::HoldReleased => vec![required("released_at", time(), AT)],
        Code::NothingToRefund => vec![required("refundable", integer(), 0), of_item()],
        Code::HoldInOrder => {
            let id = json!({ "$ref": "#/components/schemas/OrderId" });
            vec![required(
                "order_id",
                id,
                "0197d3f4-0a1b-4c2d-8e3f-405162738495",
            )]
        }
        Code::OrderPaid => vec![required("paid_at", time(), AT)],
        Code::PaymentRefused => {
            let code = json!({ "type": "string" });
            vec![required("reason", code, "amount_too_small")]
        }
        Code::ProviderUnavailable => vec![required("retry_after", integer(), 1)],
        Code::OrderExpired => vec![required("expired_at", time(), AT)],
        Code::OrderCancelled => vec![required("cancelled_at", time(), AT)],
        Code::OrderNotPaid => {
            let names = json!({ "$ref": "#/components/schemas/OrderStatus" });
            vec![required("status_of_order", names, "pending")]
        }
        Code::FulfilmentOrder => {
            let names = json!({ "type": "string", "enum": ["processing", "shipped", "delivered"] });
            vec![required("fulfilment", names, "shipped")]
        }
        Code::InsufficientStock => vec![
            required("delta", integer(), -5),
            required("available", integer(), 3),
        ],
        Code::AlreadyWaiting => vec![
            required("joined_at", time(), AT),
            required("quantity", integer(), 1),
        ],
        Code::TooManyPayments => vec![required("limit", integer(), 10)],
        Code::WaitlistFull => vec![required("limit", integer(), 200_000)],
        Code::WebhookLimitReached => vec![required("limit", integer(), 100)],
        Code::PushLimitReached => vec![required("limit", integer(), 20)],
        Code::FollowLimitReached | Code::ReminderLimitReached => {
            vec![required("limit", integer(), 1_000)]
        }
        Code::AlreadyOffered => {
            let id = json!({ "$ref": "#/components/schemas/HoldId" });
            vec![required(
                "hold_id",
                id,
                "6f1c2a9e-3b4d-4c5e-8f60-718293a4b5c6",
            )]
        }
        Code::StaleVersion => vec![optional("version", integer(), 2)],
        Code::StaleStock => vec![
            required("total", integer(), 6),
            required("available", integer(), 6),
        ],
        Code::Throttled => vec![
            required("retry_after", integer(), 42),
            optional("retry_at", time(), AT),
            of_item(),
        ],
        Code::AddressLimitReached => {
            let names = json!({ "type": "string", "enum": ["holds", "waitlist_entries"] });
            vec![
                required("retry_after", integer(), 42),
                required("limit", integer(), 100),
                required("limit_name", names, "holds"),
            ]
        }
        Code::CoolingDown => vec![
            required("retry_after", integer(), 42),
            required("limit", integer(), 100),
        ],
        Code::TooManyAttempts => vec![required("retry_after", integer(), 42)],
        Code::Unavailable => {
            let step = json!({ "type": "string", "enum": ["database", "log"] });
            let reasons = [
                "standby",
                "read_only",
                "synchronous_standbys",
                "beyond_head",
            ];
            let reason = json!({ "type": "string", "enum": reasons });
            let projections = json!({ "type": "object" });
            vec![
                required("retry_after", integer(), 1),
                optional("clock_skew_seconds", seconds(), 600.25),
                optional("log_ahead_seconds", seconds(), 600.25),
                optional("clock_jump_seconds", seconds(), 3600.5),
                optional("position", position(), 17),
                optional("projections", projections, json!({})),
                // Of the readiness probe, while the database responds but records nothing; of a
                // read at a position that the log does not reach.
                optional("reason", reason, json!("read_only")),
                log_cut(),
                // While the server starts.
                optional("step", step, json!("log")),
                optional("head", integer(), 17),
            ]
        }
        Code::TooManyConnections => {
            vec![
                required("limit", integer(), 500),
                required("retry_after", integer(), 1),
            ]
        }
        Code::UriTooLong => vec![required("max_bytes", integer(), 32_768)],
        Code::HeadTooLarge => vec![
            required("max_bytes", integer(), 32_768),
            required("max_fields", integer(), 100),
        ],
        Code::DropQuarantined => {
            let id = json!({ "$ref": "#/components/schemas/DropId" });
            vec![
                required("retry_after", integer(), 30),
                required("drop_id", id, "0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4"),
                required("position", position(), 17),
            ]
        }
        Code::OrderQuarantined => {
            let id = json!({ "$ref": "#/components/schemas/OrderId" });
            vec![
                required("retry_after", integer(), 30),
                required("order_id", id, "0197d3f4-0a1b-4c2d-8e3f-405162738495"),
                required("position", position(), 17),
            ]
        }
        Code::LogRefused => {
            let projections = json!({ "type": "object" });
            vec![
                required("retry_after", integer(), 30),
                required("position", position(), 17),
                optional("projections", projections, json!({})),
            ]
        }
        Code::Internal => {
            let instance = json!({ "type": "string", "format": "uri-reference" });
            let example = at("/problems/instances/6f1c2a9e-3b4d-4c5e-8f60-718293a4b5c6");
            vec![required("instance", instance, example.into_owned())]
        }
        // On buyers' routes, where the shop has a sign-in page.
        Code::Unauthorized => {
            let url = json!({ "type": "string", "format": "uri-reference" });
            vec![optional("sign_in_url", url, "https://shop.example/sign-in")]
        }
        Code::MalformedRequest
        | Code::HttpVersionNotSupported
        | Code::IdempotencyKeyRequired
        | Code::SignatureInvalid
        | Code::AmountNotSupported
        | Code::InvalidIdempotencyKey
        | Code::Forbidden
        | Code::NotFound
        | Code::WebhookNotFound
        | Code::DeliveryNotFound
        | Code::JobNotFound
        | Code::MatterNotFound
        | Code::CreatorNotFound
        | Code::ProductNotFound
        | Code::WebhookDisabled
        | Code::JobDone
        | Code::MethodNotAllowed
        | Code::RequestTimeout
        | Code::UnsupportedMediaType
        | Code::IdempotencyKeyReused
        | Code::PreconditionRequired => vec![],
    }
}

/// Returns the name of a problem's schema.
pub(super) fn name(code: Code) -> String {
    format!("{code:?}Problem")
}

fn reference(code: Code) -> Value {
    json!(format!("#/components/schemas/{}", name(code)))
}

/// Returns the schema of a problem.
pub(super) fn schema(code: Code) -> Value {
    let mut properties = Map::from_iter([
        (
            "type".to_owned(),
            json!({ "type": "string", "const": at(&format!("/problems/{}", code.name())) }),
        ),
        // Not a constant: a change of the wording must not break clients.
        ("title".to_owned(), json!({ "type": "string" })),
        (
            "status".to_owned(),
            json!({ "type": "integer", "const": code.status().as_u16() }),
        ),
        (
            "detail".to_owned(),
            json!({ "type": "string", "minLength": 1 }),
        ),
        (
            "code".to_owned(),
            json!({ "type": "string", "const": code.name() }),
        ),
    ]);
    let mut required_names: Vec<&str> = vec!["type", "title", "status", "detail", "code"];
    for member in members(code) {
        if member.is_required {
            required_names.push(member.name);
        }
        properties.insert(member.name.to_owned(), member.schema);
    }
    json!({
        "type": "object", "description": format!("{}. {}.", code.title(), code.remedy()), "properties": properties, "required": required_names,
    })
}

/// Returns an example of a problem, with the members that it always has.
pub(super) fn example(code: Code) -> Value {
    let mut example = json!({
        "type": at(&format!("/problems/{}", code.name())), "title": code.title(), "status": code.status().as_u16(),
        "detail": format!("{}.", code.title()), "code": code.name(),
    });
    for member in members(code) {
        if member.is_required {
            example[member.name] = member.example;
        }
    }
    example
}

/// Returns the error responses for `codes`, by status.
pub(super) fn responses(codes: &[Code]) -> BTreeMap<String, Value> {
    let mut by_status = BTreeMap::<String, Vec<Code>>::new();
    for &code in codes {
        let of_status = by_status
            .entry(code.status().as_str().to_owned())
            .or_default();
        if !of_status.contains(&code) {
            of_status.push(code);
        }
    }
    let respond = |(status, codes): (String, Vec<Code>)| (status, response(&codes));
    by_status.into_iter().map(respond).collect()
}

/// Returns the error response for `codes`, which have the same status.
pub(super) fn response(codes: &[Code]) -> Value {
    let schema = match codes {
        [code] => json!({ "$ref": reference(*code) }),
        codes => {
            let kinds: Vec<Value> = codes
                .iter()
                .map(|&code| json!({ "$ref": reference(code) }))
                .collect();
            // The constant `code` identifies the kind. A `discriminator` would repeat it, and
            // openapi-generator 7.26 turns that into a Rust enum that removes `code` from the
            // variant that requires it, so that no such problem could be parsed.
            json!({ "oneOf": kinds })
        }
    };
    let examples: Map<String, Value> = codes
        .iter()
        .map(|&code| (code.name().to_owned(), json!({ "value": example(code) })))
        .collect();
    let titles: Vec<String> = codes
        .iter()
        .map(|code| format!("`{}`: {}.", code.name(), code.title()))
        .collect();
    let mut headers = Map::new();
    for code in codes {
        headers.extend(headers_of(*code).iter().map(|&name| {
            (
                name.to_owned(),
                json!({ "$ref": format!("#/components/headers/{name}") }),
            )
        }));
    }
    let mut response = json!({
        "description": titles.join(" "),
        "content": { "application/problem+json": { "schema": schema, "examples": examples } },
    });
    if !headers.is_empty() {
        response["headers"] = headers.into();
    }
    response
}

fn headers_of(code: Code) -> &'static [&'static str] {
    if code == Code::TooManyConnections {
        return &["Retry-After"];
    }
    match code.status().as_u16() {
        401 => &["Cache-Control", "WWW-Authenticate"],
        405 => &["Cache-Control", "Allow"],
        429 => &[
            "Cache-Control",
            "Retry-After",
            "RateLimit",
            "RateLimit-Policy",
        ],
        503 => &["Cache-Control", "Retry-After"],
        _ => &["Cache-Control"],
    }
}
