//! The only place where an error becomes an HTTP status: RFC 9457 `application/problem+json`, for everything.
//!
//! Promise: every problem has a stable `code`, and the numbers that its reader can act on. A fault of ours tells no detail
//! but an `instance` that finds the log line.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use domain::Refusal;
use domain::refusal::Limit;
use domain::values::{DropId, Position, Timestamp};
use engine::{ClockFault, CommandError};
use problem_details::ProblemDetails;
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// How soon to try again when the log is away or too many requests wait.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How soon to try again what an operator has to repair first.
const RETRY_REPAIRED: Duration = Duration::from_secs(30);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// Every kind of problem: its stable code, its status, and its title.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, in the order of this table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable name that programs compare.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The same for every problem of this code.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// A head that is not HTTP, or without exactly one `Host`.
    MalformedRequest = "malformed_request", BAD_REQUEST, "The request is not valid HTTP";
    /// The body is not JSON.
    MalformedJson = "malformed_json", BAD_REQUEST, "The body is not valid JSON";
    /// A query parameter cannot be read.
    InvalidQuery = "invalid_query", BAD_REQUEST, "A query parameter cannot be read";
    /// No `Idempotency-Key`.
    IdempotencyKeyRequired = "idempotency_key_required", BAD_REQUEST, "An Idempotency-Key header is required";
    /// An `Idempotency-Key` that cannot be one.
    InvalidIdempotencyKey = "invalid_idempotency_key", BAD_REQUEST, "The Idempotency-Key cannot be used";
    /// No key or token.
    Unauthorized = "unauthorized", UNAUTHORIZED, "A valid bearer key or token is required";
    /// A key or token that allows less.
    Forbidden = "forbidden", FORBIDDEN, "The key or token does not allow this";
    /// No such path.
    NotFound = "not_found", NOT_FOUND, "There is nothing at this path";
    /// No such drop.
    DropNotFound = "drop_not_found", NOT_FOUND, "There is no such drop";
    /// No such hold.
    HoldNotFound = "hold_not_found", NOT_FOUND, "There is no such hold";
    /// No such purchase.
    PurchaseNotFound = "purchase_not_found", NOT_FOUND, "There is no such purchase";
    /// No such place in line.
    WaitlistEntryNotFound = "waitlist_entry_not_found", NOT_FOUND, "There is no such place in line";
    /// The path has no such method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The path has no such method";
    /// The body came too slowly.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request did not arrive in time";
    /// Too few units.
    SoldOut = "sold_out", CONFLICT, "Not enough units are available";
    /// Over a buyer's limit.
    LimitReached = "limit_reached", CONFLICT, "The limit is reached";
    /// Too early.
    NotLive = "not_live", CONFLICT, "The drop has not started";
    /// Too late.
    Ended = "ended", CONFLICT, "The drop is over";
    /// Released too late.
    HoldPurchased = "hold_purchased", CONFLICT, "The hold was purchased";
    /// Paid for with another payment.
    PaymentReferenceConflict = "payment_reference_conflict", CONFLICT,
        "The hold was purchased with another payment reference";
    /// An adjustment below what is held and sold.
    InsufficientStock = "insufficient_stock", CONFLICT, "Not enough units are available to take away";
    /// Nobody needs to wait.
    NotSoldOut = "not_sold_out", CONFLICT, "The drop is not sold out";
    /// One place per buyer.
    AlreadyWaiting = "already_waiting", CONFLICT, "The buyer is in line already";
    /// No more entries may wait.
    WaitlistFull = "waitlist_full", CONFLICT, "The waitlist is full";
    /// Left too late.
    AlreadyOffered = "already_offered", CONFLICT, "The place in line has become a hold";
    /// Purchased or released too late.
    HoldExpired = "hold_expired", GONE, "The hold has expired";
    /// Purchased after release.
    HoldReleased = "hold_released", GONE, "The hold was released";
    /// Edited by somebody else meanwhile.
    StaleVersion = "stale_version", PRECONDITION_FAILED, "The drop was edited meanwhile";
    /// Adjusted by somebody else meanwhile.
    StaleStock = "stale_stock", PRECONDITION_FAILED, "The stock was adjusted meanwhile";
    /// Over 16 KiB.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// A request line over 32 KiB.
    UriTooLong = "uri_too_long", URI_TOO_LONG, "The request line is too long";
    /// Not JSON by its header.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body must be application/json";
    /// A value outside its bounds.
    InvalidValue = "invalid_value", UNPROCESSABLE_ENTITY, "A value is not valid";
    /// The key was used for something else.
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY,
        "The Idempotency-Key was used for a different request";
    /// No `If-Match`.
    PreconditionRequired = "precondition_required", PRECONDITION_REQUIRED, "An If-Match header is required";
    /// Too many holds lately.
    Throttled = "throttled", TOO_MANY_REQUESTS, "Too many holds in a short time";
    /// As many holds or entries as one address may have.
    AddressLimitReached = "address_limit_reached", TOO_MANY_REQUESTS, "The address has as many as one address may have";
    /// Holds of the address were left to expire.
    CoolingDown = "cooling_down", TOO_MANY_REQUESTS, "Too many holds from this address were left to expire";
    /// Wrong keys or unknown ids.
    TooManyAttempts = "too_many_attempts", TOO_MANY_REQUESTS, "Too many wrong keys or unknown ids from this address";
    /// More connections or streams than one address may have.
    TooManyConnections = "too_many_connections", TOO_MANY_REQUESTS, "Too many connections from this address";
    /// A head over 32 KiB, or with more than 100 fields.
    HeadTooLarge = "head_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too large";
    /// A fault of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong on our side";
    /// The log is away, or too many requests wait.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Not available right now";
    /// An event of the drop cannot be applied on this node.
    DropQuarantined = "drop_quarantined", SERVICE_UNAVAILABLE, "The drop is in quarantine";
    /// The log does not continue what is known here.
    LogRefused = "log_refused", SERVICE_UNAVAILABLE, "The event log is refused";
    /// Neither HTTP/1.1 nor HTTP/1.0.
    HttpVersionNotSupported = "http_version_not_supported", HTTP_VERSION_NOT_SUPPORTED,
        "The HTTP version is not supported";
}

/// The most faults of one request that are told: whoever has more made one mistake many times.
pub const MOST_FAULTS: usize = 20;

/// What is wrong with one value of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where it stands: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong, for people.
    pub detail: String,
}

/// A problem on its way to a caller.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    detail: String,
    numbers: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    instance: Option<Uuid>,
}

impl Problem {
    /// A problem with a sentence for people.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            numbers: Map::new(),
            headers: vec![],
            instance: None,
        }
    }

    /// The same with a member for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.numbers.insert(name.to_owned(), value.into());
        self
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.push((name, value));
        }
        self
    }

    /// One value is not valid: where it stands (a JSON pointer) and what is wrong with it.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.into(), detail.into());
        Self::invalid_values(vec![Fault { pointer, detail }])
    }

    /// Some values of the body or the path are not valid. At most [`MOST_FAULTS`] are told, in the order of their pointers.
    pub fn invalid_values(faults: Vec<Fault>) -> Self {
        Self::faulty(Code::InvalidValue, "the body", faults)
    }

    /// The query parameter `name` cannot be read, or not be granted.
    pub fn invalid_query(name: &str, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (format!("/{name}"), detail.into());
        Self::invalid_queries(vec![Fault { pointer, detail }])
    }

    /// Some query parameters cannot be read; their pointers are their names.
    pub fn invalid_queries(faults: Vec<Fault>) -> Self {
        Self::faulty(Code::InvalidQuery, "the query", faults)
    }

    fn faulty(code: Code, whole: &str, mut faults: Vec<Fault>) -> Self {
        // So that the same request is always told the same.
        faults.sort_by(|one, other| one.pointer.cmp(&other.pointer));
        faults.truncate(MOST_FAULTS);
        Self::new(code, sentence_of(whole, &faults)).with("errors", json!(faults))
    }

    /// Try again in a while.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, detail)
            .with("retry_after", RETRY_AFTER.as_secs())
            .header(header::RETRY_AFTER, RETRY_AFTER.as_secs().to_string())
    }

    /// A drop of which an event cannot be applied on this node. `detail` says what that means to
    /// the caller.
    pub fn quarantined(drop_id: DropId, position: Position, detail: &str) -> Self {
        let detail = format!("{detail} An operator finds help in docs/LOG_REFUSED.md.");
        Self::unrepaired(Code::DropQuarantined, detail, position)
            .with("drop_id", drop_id.to_string())
    }

    /// The log is not accepted from `position` on. `detail` says what that means to the caller.
    pub fn log_refused(position: Position, detail: &str) -> Self {
        let detail = format!(
            "The event log does not continue at position {position} what this server knows. {detail} An operator finds \
             help in docs/LOG_REFUSED.md."
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

    /// A fault of ours: logged with its causes under an id, which is all that the caller is told.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let instance = Uuid::new_v4();
        tracing::error!(%instance, error, "a request failed: {error}");
        Self {
            instance: Some(instance),
            ..Self::new(
                Code::Internal,
                "Please report the instance; it finds the cause in the server's log.",
            )
        }
    }

    /// Which kind of problem.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The pointers to what is not valid.
    #[cfg(test)]
    pub(crate) fn faulty_places(&self) -> Vec<String> {
        let errors = self.numbers["errors"].as_array().into_iter().flatten();
        let places = errors.filter_map(|error| error["pointer"].as_str());
        places.map(str::to_owned).collect()
    }
}

/// The first fault in full, and how many more there are.
fn sentence_of(whole: &str, faults: &[Fault]) -> String {
    let Some(Fault { pointer, detail }) = faults.first() else {
        return "A value is not valid.".to_owned();
    };
    let place = if pointer.is_empty() { whole } else { pointer };
    match faults.len() - 1 {
        0 => format!("{place}: {detail}"),
        more => format!("{place}: {detail}; and {more} more in errors"),
    }
}

/// How often each problem was told since the program started.
pub(crate) fn told() -> impl Iterator<Item = (Code, u64)> {
    let times = TOLD.iter().map(|times| times.load(Ordering::Relaxed));
    Code::ALL.iter().copied().zip(times)
}

static TOLD: [AtomicU64; Code::ALL.len()] = [const { AtomicU64::new(0) }; Code::ALL.len()];

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // The codes are numbered in the order of `ALL`.
        TOLD[self.code as usize].fetch_add(1, Ordering::Relaxed);
        let mut members = self.numbers;
        members.insert("code".to_owned(), self.code.name().into());
        let mut details = ProblemDetails::from_status_code(self.code.status())
            .with_title(self.code.title())
            .with_detail(self.detail);
        if let Ok(kind) = format!("/problems/{}", self.code.name()).parse::<Uri>() {
            details = details.with_type(kind);
        }
        if let Some(Ok(instance)) = self
            .instance
            .map(|id| format!("/problems/instances/{id}").parse::<Uri>())
        {
            details = details.with_instance(instance);
        }
        let mut response = details.with_extensions(members).into_response();
        let no_store = HeaderValue::from_static("no-store");
        let headers = response.headers_mut();
        // A cache may keep a 404 or a 410 without being told to (RFC 9111, section 4.2.2), and it
        // is true for this moment only.
        headers.insert(header::CACHE_CONTROL, no_store);
        headers.extend(self.headers);
        response
    }
}

/// So many within any window, and what is told when they are used up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    /// Whose: `buyer`, `address`, or `address-` and what is counted.
    pub(crate) name: &'static str,
    /// The most within one window, or at the same time.
    pub(crate) most: u32,
    /// The length of the sliding window, in seconds; none for what counts at the same time.
    pub(crate) window_seconds: Option<u32>,
}

impl Quota {
    /// 429 `throttled`. See [`Quota::refuse`].
    pub(crate) fn used_up(self, detail: impl Into<String>, wait: Duration) -> Problem {
        self.refuse(Code::Throttled, detail, wait)
    }

    /// 429, with the header fields of draft-ietf-httpapi-ratelimit-headers: which policy, and when there is something left.
    pub(crate) fn refuse(self, code: Code, detail: impl Into<String>, wait: Duration) -> Problem {
        let Self {
            name,
            most,
            window_seconds,
        } = self;
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let policy = HeaderName::from_static("ratelimit-policy");
        let now = HeaderName::from_static("ratelimit");
        let window = window_seconds.map_or_else(String::new, |seconds| format!(";w={seconds}"));
        Problem::new(code, detail)
            .with("retry_after", seconds)
            .header(header::RETRY_AFTER, seconds.to_string())
            .header(policy, format!("\"{name}\";q={most}{window}"))
            .header(now, format!("\"{name}\";r=0;t={seconds}"))
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused { refusal, at } => refused(&refusal, at),
            CommandError::Overloaded => Self::unavailable(
                "Too many requests are waiting. Nothing was recorded; send the same request again.",
            ),
            CommandError::Unavailable => Self::unavailable(
                "The event log cannot be reached. Nothing was recorded; send the same request again.",
            ),
            CommandError::Quarantined { drop_id, position } => Self::quarantined(
                drop_id,
                position,
                "The drop is in quarantine on this server. Nothing was recorded; send the same request again later.",
            ),
            CommandError::LogRefused { position } => Self::log_refused(
                position,
                "Nothing was recorded; send the same request again later.",
            ),
            too_large @ CommandError::TooLarge => Self::internal(&too_large),
            CommandError::ClockFault(fault) => {
                clock_fault(fault, "Nothing was recorded; send the same request again.")
            }
            CommandError::Undecided => Self::unavailable(
                "The event log has not answered in time, and it is not known whether this was recorded. Send the same request again, with its key if \
                 it has one: that finds out. An edit that is then refused as stale may be this one.",
            ),
        }
    }
}

/// As for a command, but for who only asked: nothing could have been recorded.
pub(crate) fn unanswered(error: CommandError) -> Problem {
    match error {
        refused @ (CommandError::Refused { .. }
        | CommandError::TooLarge
        | CommandError::Quarantined { .. }
        | CommandError::LogRefused { .. }) => refused.into(),
        CommandError::Overloaded => {
            Problem::unavailable("Too many requests are waiting. Ask again.")
        }
        CommandError::ClockFault(fault) => clock_fault(fault, "Retry later."),
        CommandError::Unavailable | CommandError::Undecided => Problem::unavailable(
            "This is answered as the event log has it, which cannot be reached. Ask again.",
        ),
    }
}

/// Nothing is decided because of the clocks: which is wrong, by how much, and what to do.
pub(crate) fn clock_fault(fault: ClockFault, advice: &str) -> Problem {
    let member = match fault {
        ClockFault::Skewed { .. } => "clock_skew_seconds",
        ClockFault::LogAhead { .. } => "log_ahead_seconds",
    };
    let detail = format!("{}. {advice}", capitalised(&fault.to_string()));
    Problem::unavailable(detail).with(member, fault.seconds())
}

fn refused(refusal: &Refusal, at: Timestamp) -> Problem {
    let problem = |code| Problem::new(code, sentence(refusal));
    match *refusal {
        Refusal::DropNotFound => problem(Code::DropNotFound),
        Refusal::HoldNotFound => problem(Code::HoldNotFound),
        Refusal::AlreadyScheduled | Refusal::IdempotencyKeyReused => {
            problem(Code::IdempotencyKeyReused)
        }
        Refusal::SoldOut {
            requested,
            available,
        } => problem(Code::SoldOut)
            .with("requested", requested)
            .with("available", available),
        Refusal::LimitReached {
            limit,
            max,
            allowance,
        } => problem(Code::LimitReached)
            .with("limit", max)
            .with("allowance", allowance)
            .with("limit_name", limit_name(limit)),
        Refusal::Throttled { retry_at, throttle } => {
            let quota = Quota {
                name: "buyer",
                most: throttle.holds.get(),
                window_seconds: Some(throttle.window_seconds.get()),
            };
            let millis = (retry_at.millis() - at.millis()).max(0).unsigned_abs();
            quota
                .used_up(sentence(refusal), Duration::from_millis(millis))
                .with("retry_at", retry_at.to_string())
        }
        Refusal::NotSoldOut {
            requested,
            available,
        } => problem(Code::NotSoldOut)
            .with("requested", requested)
            .with("available", available),
        Refusal::AlreadyWaiting {
            joined_at,
            quantity,
        } => problem(Code::AlreadyWaiting)
            .with("joined_at", joined_at.to_string())
            .with("quantity", quantity),
        Refusal::WaitlistFull { limit } => problem(Code::WaitlistFull).with("limit", limit),
        Refusal::WaitlistEntryNotFound => problem(Code::WaitlistEntryNotFound),
        Refusal::AlreadyOffered { hold_id } => {
            problem(Code::AlreadyOffered).with("hold_id", hold_id.to_string())
        }
        Refusal::NotLive { starts_at } => {
            problem(Code::NotLive).with("starts_at", starts_at.to_string())
        }
        Refusal::Ended {
            ended_at,
            cancelled,
        } => problem(Code::Ended)
            .with("ended_at", ended_at.to_string())
            .with("cancelled", cancelled),
        Refusal::HoldExpired { expired_at } => {
            problem(Code::HoldExpired).with("expired_at", expired_at.to_string())
        }
        Refusal::HoldReleased { released_at } => {
            problem(Code::HoldReleased).with("released_at", released_at.to_string())
        }
        Refusal::HoldPurchased { purchased_at } => {
            problem(Code::HoldPurchased).with("purchased_at", purchased_at.to_string())
        }
        // The purchase's id is known to the views.
        Refusal::PaymentReferenceConflict { purchased_at } => {
            problem(Code::PaymentReferenceConflict).with("purchased_at", purchased_at.to_string())
        }
        Refusal::InsufficientStock { delta, available } => problem(Code::InsufficientStock)
            .with("delta", delta)
            .with("available", available),
        Refusal::TooMuchStock { .. } => Problem::invalid("/delta", refusal.to_string()),
        Refusal::StaleVersion { current } => problem(Code::StaleVersion).with("version", current),
        Refusal::StaleStock { total, available } => problem(Code::StaleStock)
            .with("total", total)
            .with("available", available),
        Refusal::EndsBeforeStart { .. } => Problem::invalid("/ends_at", refusal.to_string()),
    }
}

fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::PerHold => "max_per_hold",
        Limit::PerBuyer => "max_per_buyer",
    }
}

/// A refusal as a sentence: capital first, full stop last.
fn sentence(refusal: &Refusal) -> String {
    format!("{}.", capitalised(&refusal.to_string()))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        format!("{}{}", first.to_uppercase(), chars.as_str())
    })
}

#[cfg(test)]
mod tests {
    use domain::values::{Throttle, ThrottleHolds, ThrottleSeconds};

    use super::*;

    #[test]
    fn codes_are_distinct() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn a_problem_that_is_told_is_counted_under_its_code() {
        let times = |code| told().find(|(told, _)| *told == code).unwrap().1;
        let before = times(Code::Internal);
        drop(Problem::new(Code::Internal, "once").into_response());
        assert_eq!(times(Code::Internal), before + 1);
        assert!(
            Code::ALL
                .iter()
                .enumerate()
                .all(|(i, &code)| code as usize == i)
        );
    }

    #[test]
    fn a_throttled_buyer_is_told_whole_seconds_rounded_up() {
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
