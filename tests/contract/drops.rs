//! docs/CONTRACT.md on drops: schedule, read, list, edit, cancel, adjust, and purchases.

mod adjust;
mod cancel;
mod edit;
mod list;
mod purchasers;
mod read;
mod sale;
mod schedule;

use harness::{App, Reply, fetch, text};
use reqwest::Method;
use serde_json::{Value, json};

fn small() -> Value {
    json!({ "name": "Small", "price": { "amount": 100, "currency": "EUR" }, "total_stock": 3 })
}

async fn edit(app: &App, drop: &str, if_match: Option<&str>, body: &Value) -> Reply {
    let mut request = app
        .admin(Method::PATCH, &format!("/v1/drops/{drop}"))
        .json(body);
    if let Some(etag) = if_match {
        request = request.header("if-match", etag);
    }
    fetch(request).await
}

async fn cancel(app: &App, drop: &str) -> Reply {
    fetch(app.admin(Method::POST, &format!("/v1/drops/{drop}/cancel"))).await
}

async fn adjust(app: &App, drop: &str, key: &str, body: &Value) -> Reply {
    let path = format!("/v1/drops/{drop}/stock-adjustments");
    fetch(
        app.admin(Method::POST, &path)
            .header("idempotency-key", key)
            .json(body),
    )
    .await
}

#[track_caller]
fn assert_time(value: &Value) {
    let at = text(value);
    let parsed =
        chrono::DateTime::parse_from_rfc3339(&at).unwrap_or_else(|error| panic!("{at}: {error}"));
    let expected = parsed
        .with_timezone(&chrono::Utc)
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    assert_eq!(at, expected, "UTC, with milliseconds");
}
