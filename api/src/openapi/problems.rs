//! Every problem, with its status and the numbers that it carries.
//!
//! One arm for each code: a new one is met here by the compiler, and a member that is not described by the tests.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::problem::{Code, MOST_FAULTS};

/// One member beside the five that every problem has.
struct Member {
    name: &'static str,
    schema: Value,
    example: Value,
    is_always_there: bool,
}

fn must(name: &'static str, schema: Value, example: impl Into<Value>) -> Member {
    Member {
        name,
        schema,
        example: example.into(),
        is_always_there: true,
    }
}

fn may(name: &'static str, schema: Value, example: impl Into<Value>) -> Member {
    Member {
        is_always_there: false,
        ..must(name, schema, example)
    }
}

fn whole() -> Value {
    json!({ "type": "integer", "format": "int64" })
}

fn seconds() -> Value {
    json!({ "type": "number" })
}

fn time() -> Value {
    json!({ "$ref": "#/components/schemas/Timestamp" })
}

/// All that is wrong, each with its place.
fn faults(pointer: &str) -> Value {
    let fault = json!({
        "type": "object", "required": ["pointer", "detail"], "additionalProperties": false,
        "properties": {
            "pointer": { "type": "string", "description": pointer },
            "detail": { "type": "string" },
        },
    });
    json!({ "type": "array", "minItems": 1, "maxItems": MOST_FAULTS, "items": fault })
}

fn fault(pointer: &str, detail: &str) -> Value {
    json!([{ "pointer": pointer, "detail": detail }])
}

fn members(code: Code) -> Vec<Member> {
    const AT: &str = "2026-03-01T12:00:00.000Z";
    let place = || json!({ "$ref": "#/components/schemas/Position" });
    match code {
        Code::MalformedJson => vec![may("line", whole(), 1), may("column", whole(), 12)],
        Code::InvalidQuery => {
            let example = fault("/limit", "must be from 1 to 100");
            vec![
                must(
                    "errors",
                    faults("Which parameter: a slash and its name."),
                    example,
                ),
                may("most", whole(), 1440),
            ]
        }
        Code::InvalidValue => {
            let example = fault(
                "/quantity",
                "must be a whole number of units from 1 to 1000",
            );
            vec![must(
                "errors",
                faults("Where in the body: a JSON pointer (RFC 6901)."),
                example,
            )]
        }
        Code::BodyTooLarge => vec![must("max_bytes", whole(), 16_384)],
        Code::SoldOut | Code::NotSoldOut => {
            vec![must("requested", whole(), 2), must("available", whole(), 1)]
        }
        Code::LimitReached => {
            let names = json!({ "type": "string", "enum": ["max_per_hold", "max_per_buyer"] });
            vec![
                must("limit", whole(), 2),
                must("allowance", whole(), 0),
                must("limit_name", names, "max_per_buyer"),
            ]
        }
        Code::NotLive => vec![must("starts_at", time(), AT)],
        Code::Ended => {
            let cancelled = json!({ "type": "boolean" });
            vec![
                must("ended_at", time(), AT),
                must("cancelled", cancelled, false),
            ]
        }
        Code::HoldPurchased => vec![must("purchased_at", time(), AT)],
        Code::PaymentReferenceConflict => {
            let id = json!({ "$ref": "#/components/schemas/PurchaseId" });
            vec![
                must("id", id, "0197d3f3-4455-4f6a-9b8c-0d1e2f3a4b5c"),
                must("purchased_at", time(), AT),
            ]
        }
        Code::HoldExpired => vec![must("expired_at", time(), AT)],
        Code::HoldReleased => vec![must("released_at", time(), AT)],
        Code::InsufficientStock => vec![must("delta", whole(), -5), must("available", whole(), 3)],
        Code::AlreadyWaiting => vec![must("joined_at", time(), AT), must("quantity", whole(), 1)],
        Code::WaitlistFull => vec![must("limit", whole(), 200_000)],
        Code::AlreadyOffered => {
            let id = json!({ "$ref": "#/components/schemas/HoldId" });
            vec![must("hold_id", id, "6f1c2a9e-3b4d-4c5e-8f60-718293a4b5c6")]
        }
        Code::StaleVersion => vec![may("version", whole(), 2)],
        Code::StaleStock => vec![must("total", whole(), 6), must("available", whole(), 6)],
        Code::Throttled => vec![
            must("retry_after", whole(), 42),
            may("retry_at", time(), AT),
        ],
        Code::AddressLimitReached => {
            let names = json!({ "type": "string", "enum": ["holds", "waitlist_entries"] });
            vec![
                must("retry_after", whole(), 42),
                must("limit", whole(), 100),
                must("limit_name", names, "holds"),
            ]
        }
        Code::CoolingDown => vec![
            must("retry_after", whole(), 42),
            must("limit", whole(), 100),
        ],
        Code::TooManyAttempts => vec![must("retry_after", whole(), 42)],
        Code::Unavailable => {
            let projections = json!({ "type": "object" });
            vec![
                must("retry_after", whole(), 1),
                may("clock_skew_seconds", seconds(), 600.25),
                may("log_ahead_seconds", seconds(), 600.25),
                may("position", place(), 17),
                may("projections", projections, json!({})),
            ]
        }
        Code::TooManyConnections => {
            vec![must("limit", whole(), 500), must("retry_after", whole(), 1)]
        }
        Code::UriTooLong => vec![must("max_bytes", whole(), 32_768)],
        Code::HeadTooLarge => vec![
            must("max_bytes", whole(), 32_768),
            must("max_fields", whole(), 100),
        ],
        Code::DropQuarantined => {
            let id = json!({ "$ref": "#/components/schemas/DropId" });
            vec![
                must("retry_after", whole(), 30),
                must("drop_id", id, "0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4"),
                must("position", place(), 17),
            ]
        }
        Code::LogRefused => {
            let projections = json!({ "type": "object" });
            vec![
                must("retry_after", whole(), 30),
                must("position", place(), 17),
                may("projections", projections, json!({})),
            ]
        }
        Code::Internal => {
            let instance = json!({ "type": "string", "format": "uri-reference" });
            let example = "/problems/instances/6f1c2a9e-3b4d-4c5e-8f60-718293a4b5c6";
            vec![must("instance", instance, example)]
        }
        Code::MalformedRequest
        | Code::HttpVersionNotSupported
        | Code::IdempotencyKeyRequired
        | Code::InvalidIdempotencyKey
        | Code::Unauthorized
        | Code::Forbidden
        | Code::NotFound
        | Code::DropNotFound
        | Code::HoldNotFound
        | Code::PurchaseNotFound
        | Code::WaitlistEntryNotFound
        | Code::MethodNotAllowed
        | Code::RequestTimeout
        | Code::UnsupportedMediaType
        | Code::IdempotencyKeyReused
        | Code::PreconditionRequired => vec![],
    }
}

/// The name of a problem's schema.
pub(super) fn name(code: Code) -> String {
    format!("{code:?}Problem")
}

fn reference(code: Code) -> Value {
    json!(format!("#/components/schemas/{}", name(code)))
}

/// The schema of a problem.
pub(super) fn schema(code: Code) -> Value {
    let mut properties = Map::from_iter([
        (
            "type".to_owned(),
            json!({ "type": "string", "const": format!("/problems/{}", code.name()) }),
        ),
        // No constant: a client must not break when the words become better.
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
    let mut required: Vec<&str> = vec!["type", "title", "status", "detail", "code"];
    for member in members(code) {
        if member.is_always_there {
            required.push(member.name);
        }
        properties.insert(member.name.to_owned(), member.schema);
    }
    json!({
        "type": "object", "description": format!("{}.", code.title()), "properties": properties, "required": required,
    })
}

fn example(code: Code) -> Value {
    let mut example = json!({
        "type": format!("/problems/{}", code.name()), "title": code.title(), "status": code.status().as_u16(),
        "detail": format!("{}.", code.title()), "code": code.name(),
    });
    for member in members(code) {
        if member.is_always_there {
            example[member.name] = member.example;
        }
    }
    example
}

/// The answers to what goes wrong, by status.
pub(super) fn answers(codes: &[Code]) -> BTreeMap<String, Value> {
    let mut by_status = BTreeMap::<String, Vec<Code>>::new();
    for &code in codes {
        let same = by_status
            .entry(code.status().as_str().to_owned())
            .or_default();
        if !same.contains(&code) {
            same.push(code);
        }
    }
    let answer = |(status, codes): (String, Vec<Code>)| (status, answer(&codes));
    by_status.into_iter().map(answer).collect()
}

/// The answer that one of `codes` gives; they have one status.
pub(super) fn answer(codes: &[Code]) -> Value {
    let schema = match codes {
        [code] => json!({ "$ref": reference(*code) }),
        codes => {
            let kinds: Vec<Value> = codes
                .iter()
                .map(|&code| json!({ "$ref": reference(code) }))
                .collect();
            // The constant `code` says which it is. A `discriminator` would repeat that, and
            // openapi-generator 7.26 makes of it a Rust enum that takes `code` away from the
            // variant that requires it, so that no such problem could be read.
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
    let mut answer = json!({
        "description": titles.join(" "),
        "content": { "application/problem+json": { "schema": schema, "examples": examples } },
    });
    if !headers.is_empty() {
        answer["headers"] = headers.into();
    }
    answer
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
