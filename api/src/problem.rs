//! Maps errors to HTTP responses: `application/problem+json` (RFC 9457). No other module does.
//!
//! Promise: every problem has a stable `code`, and the numbers that a client can act on. An
//! internal error reveals no detail except an `instance` that identifies the log line.

mod code;
pub mod log_cut;
mod of_engine;
mod quota;
mod remedy;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use domain::values::{DropId, OrderId, Position};
use problem_details::ProblemDetails;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::base_path::at;
use uuid::Uuid;

pub use self::code::Code;
pub(crate) use self::of_engine::{clock_fault, unanswered, without_numbers};
pub(crate) use self::quota::Quota;

/// `Retry-After` when the log is unreachable or the queue is full.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// `Retry-After` when an operator has to repair something first.
const RETRY_REPAIRED: Duration = Duration::from_secs(30);

/// The most faults that one problem lists. More than these repeat one mistake.
pub const MAX_FAULTS: usize = 20;

/// An error in one value of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// A JSON pointer to the value (RFC 6901).
    pub pointer: String,
    /// A description for people.
    pub detail: String,
}

/// An error response.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    detail: String,
    numbers: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    instance: Option<Uuid>,
}

impl Problem {
    /// Creates a problem; `detail` is a sentence for people.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            numbers: Map::new(),
            headers: vec![],
            instance: None,
        }
    }

    /// Adds a member for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.numbers.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.push((name, value));
        }
        self
    }

    /// Reports one value that is not valid, by its JSON pointer.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.into(), detail.into());
        Self::invalid_values(vec![Fault { pointer, detail }])
    }

    /// Reports values of the body or the path that are not valid: at most [`MAX_FAULTS`], in the
    /// order of their pointers.
    pub fn invalid_values(faults: Vec<Fault>) -> Self {
        Self::faulty(Code::InvalidValue, "the body", faults)
    }

    /// Reports that the query parameter `name` is malformed or cannot be satisfied.
    pub fn invalid_query(name: &str, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (format!("/{name}"), detail.into());
        Self::invalid_queries(vec![Fault { pointer, detail }])
    }

    /// Reports query parameters that are not valid; a pointer is a slash and the name.
    pub fn invalid_queries(faults: Vec<Fault>) -> Self {
        Self::faulty(Code::InvalidQuery, "the query", faults)
    }

    fn faulty(code: Code, whole: &str, mut faults: Vec<Fault>) -> Self {
        // Sorted, so that equal requests get equal responses.
        faults.sort_by(|one, other| one.pointer.cmp(&other.pointer));
        faults.truncate(MAX_FAULTS);
        Self::new(code, sentence_of(whole, &faults)).with("errors", json!(faults))
    }

    /// 503 `unavailable`, with [`RETRY_AFTER`].
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, detail)
            .with("retry_after", RETRY_AFTER.as_secs())
            .header(header::RETRY_AFTER, RETRY_AFTER.as_secs().to_string())
    }

    /// 503 for a recorded outcome that the views do not have: an operator has declared its event
    /// void since the engine's response. A repeated request is decided anew.
    pub fn declared_void() -> Self {
        Self::unavailable(
            "The event that recorded this request was declared void a moment ago. Send the same \
             request again.",
        )
    }

    /// 503 for a drop in quarantine: its event at `position` cannot be applied on this node.
    /// `detail` describes the effect on the caller.
    pub fn quarantined(drop_id: DropId, position: Position, detail: &str) -> Self {
        let detail = format!("{detail} Operators: see docs/LOG_REFUSED.md.");
        Self::unrepaired(Code::DropQuarantined, detail, position)
            .with("drop_id", drop_id.to_string())
    }

    /// 503 for an order in quarantine; see [`Problem::quarantined`].
    pub fn order_quarantined(order_id: OrderId, position: Position, detail: &str) -> Self {
        let detail = format!("{detail} Operators: see docs/LOG_REFUSED.md.");
        Self::unrepaired(Code::OrderQuarantined, detail, position)
            .with("order_id", order_id.to_string())
    }

    /// 503 for a log that is not accepted from `position` on. `detail` describes the effect on the
    /// caller.
    pub fn log_refused(position: Position, detail: &str) -> Self {
        let detail = format!(
            "The event log does not continue, at position {position}, the history that this \
             server has applied. {detail} Operators: see docs/LOG_REFUSED.md."
        );
        Self::unrepaired(Code::LogRefused, detail, position)
    }

    fn unrepaired(code: Code, detail: String, position: Position) -> Self {
        let seconds = RETRY_REPAIRED.as_secs();
        Self::new(code, detail)
            .with("position", position.0)
            .with("retry_after", seconds)
            .header(header::RETRY_AFTER, seconds.to_string())
    }

    /// 500 for a defect. Logs the error with its causes under a new id, and returns only the id.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let instance = Uuid::new_v4();
        tracing::error!(%instance, error, "request failed with an internal error: {error}");
        Self {
            instance: Some(instance),
            ..Self::new(
                Code::Internal,
                "An internal error occurred. Report the instance: it identifies the cause in the \
                 server's log.",
            )
        }
    }

    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    #[cfg(test)]
    pub(crate) fn faulty_pointers(&self) -> Vec<String> {
        let errors = self.numbers["errors"].as_array().into_iter().flatten();
        let pointers = errors.filter_map(|error| error["pointer"].as_str());
        pointers.map(str::to_owned).collect()
    }
}

/// Returns the first fault as a sentence, and the number of others.
fn sentence_of(whole: &str, faults: &[Fault]) -> String {
    let Some(Fault { pointer, detail }) = faults.first() else {
        return "A value is not valid.".to_owned();
    };
    let subject = if pointer.is_empty() { whole } else { pointer };
    match faults.len() - 1 {
        0 => format!("{subject}: {detail}"),
        more => format!("{subject}: {detail}; `errors` lists {more} more"),
    }
}

/// Writes a number with its noun: `1 hold`, `2 holds`.
pub(crate) fn counted(number: u32, one: &str, several: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {several}"),
    }
}

/// Returns how many problems of each code were sent since the program started.
pub(crate) fn sent_counts() -> impl Iterator<Item = (Code, u64)> {
    let counts = SENT.iter().map(|count| count.load(Ordering::Relaxed));
    Code::ALL.iter().copied().zip(counts)
}

/// Global, because [`IntoResponse`] has no argument that could carry the counters. One process runs
/// one server.
static SENT: [AtomicU64; Code::ALL.len()] = [const { AtomicU64::new(0) }; Code::ALL.len()];

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // The codes are numbered in the order of `ALL`.
        SENT[self.code as usize].fetch_add(1, Ordering::Relaxed);
        let this = self.with_cut_of_ids();
        let mut members = this.numbers;
        members.insert("code".to_owned(), this.code.name().into());
        let mut details = ProblemDetails::from_status_code(this.code.status())
            .with_title(this.code.title())
            .with_detail(this.detail);
        if let Ok(kind) = at(&format!("/problems/{}", this.code.name())).parse::<Uri>() {
            details = details.with_type(kind);
        }
        if let Some(Ok(instance)) = this
            .instance
            .map(|id| at(&format!("/problems/instances/{id}")).parse::<Uri>())
        {
            details = details.with_instance(instance);
        }
        let mut response = details.with_extensions(members).into_response();
        let no_store = HeaderValue::from_static("no-store");
        let headers = response.headers_mut();
        // A cache may store a 404 or a 410 heuristically (RFC 9111, section 4.2.2), but these
        // can become outdated at any moment.
        headers.insert(header::CACHE_CONTROL, no_store);
        headers.extend(this.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use domain::Refusal;
    use domain::values::{Throttle, ThrottleHolds, ThrottleSeconds, Timestamp};
    use engine::CommandError;

    use super::*;

    #[test]
    fn codes_are_distinct() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn sent_problems_are_counted_by_code() {
        let count = |code| sent_counts().find(|(sent, _)| *sent == code).unwrap().1;
        let before = count(Code::Internal);
        drop(Problem::new(Code::Internal, "once").into_response());
        assert_eq!(count(Code::Internal), before + 1);
        assert!(
            Code::ALL
                .iter()
                .enumerate()
                .all(|(i, &code)| code as usize == i)
        );
    }

    #[test]
    fn retry_after_of_a_throttled_buyer_is_rounded_up_to_seconds() {
        let at = Timestamp::from_millis(10_000);
        let refusal = Refusal::Throttled {
            retry_at: Timestamp::from_millis(11_001),
            throttle: Throttle {
                holds: ThrottleHolds::new(3).unwrap(),
                window_seconds: ThrottleSeconds::new(10).unwrap(),
            },
        };
        let response = Problem::from(CommandError::Refused { refusal, at }).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(
            response.headers()["ratelimit-policy"],
            r#""buyer";q=3;w=10"#
        );
        assert_eq!(response.headers()["ratelimit"], r#""buyer";r=0;t=2"#);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
    }
}
