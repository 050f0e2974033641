//! docs/CONTRACT.md on holds and purchases: place, read, release, purchase, the limits, and
//! authorization.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod authorize;
mod place;
mod refuse;

use harness::{App, Reply, fetch, text};
use reqwest::Method;
use serde_json::Value;

async fn buy(app: &App, hold: &str, body: &Value) -> Reply {
    fetch(
        app.request(Method::POST, &format!("/v1/holds/{hold}/purchase"))
            .json(body),
    )
    .await
}

#[track_caller]
fn millis(value: &Value) -> i64 {
    chrono::DateTime::parse_from_rfc3339(&text(value))
        .unwrap()
        .timestamp_millis()
}
