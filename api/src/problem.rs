//! Maps errors to HTTP responses: `application/problem+json` (RFC 9457). No other module does.
//!
//! Promise: every problem has a stable `code`, and the numbers that a client can act on. An
//! internal error reveals no detail except an `instance` that identifies the log line.

mod remedy;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base_path::at;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use domain::Refusal;
use domain::refusal::Limit;
use domain::values::{DropId, OrderId, Position, Timestamp};
use engine::{ClockFault, CommandError};
use problem_details::ProblemDetails;
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// `Retry-After` when the log is unreachable or the queue is full.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// `Retry-After` when an operator has to repair something first.
const RETRY_REPAIRED: Duration = Duration::from_secs(30);

/// The advice of a 503 whose request never became part of a batch. It is about this request alone:
/// an earlier one, for the same hold or with the same key, may be in a batch whose outcome is
/// unknown (see [`CommandError::Undecided`]).
const NOT_RECORDED: &str =
    "This request was not recorded; an earlier attempt may have been. Send the same request again.";

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// Every kind of problem, with its stable code, status and title.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[doc = $doc])* $name,)*
        }

        impl Code {
            /// All codes, in the order of this table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the stable name that clients compare.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// Returns the title, which is the same for every problem with this code.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// Returns when the problem occurs, in sentences, if that is more than its title: the
            /// comment of its row.
            #[must_use]
            pub fn meaning(self) -> Option<&'static str> {
                let text = match self { $(Self::$name => concat!($($doc),*),)* };
                Some(text.trim()).filter(|text| !text.is_empty())
            }
        }
    };
}

codes! {
    /// The request head is not valid HTTP, or does not have exactly one `Host`.
    MalformedRequest = "malformed_request", BAD_REQUEST, "The request is not valid HTTP";
    /// The body ends too early, or is not JSON at all. Nothing was recorded.
    MalformedJson = "malformed_json", BAD_REQUEST, "The body is not valid JSON";
    /// A parameter is unknown, repeated, empty, or out of its range.
    InvalidQuery = "invalid_query", BAD_REQUEST, "A query parameter is not valid";
    /// The operation creates something, so a retry must be recognisable.
    IdempotencyKeyRequired = "idempotency_key_required", BAD_REQUEST, "An Idempotency-Key header is required";
    /// The `Idempotency-Key` is not 1 to 255 visible ASCII characters.
    InvalidIdempotencyKey = "invalid_idempotency_key", BAD_REQUEST, "The Idempotency-Key is not valid";
    /// The provider did not sign the webhook, or too long ago.
    SignatureInvalid = "signature_invalid", BAD_REQUEST, "The webhook's signature is not valid";
    /// The key or token is missing or not valid.
    Unauthorized = "unauthorized", UNAUTHORIZED, "A valid bearer key or token is required";
    /// The key or token is valid, but does not permit the operation.
    Forbidden = "forbidden", FORBIDDEN, "The key or token does not permit this operation";
    /// The drop's terms require an access code.
    CodeRequired = "code_required", FORBIDDEN, "An access code is required";
    /// The drop has no such access code, or it has expired.
    CodeInvalid = "code_invalid", FORBIDDEN, "The access code is not valid";
    /// The drop's terms require the solution of a challenge, which the problem has.
    ChallengeRequired = "challenge_required", FORBIDDEN, "The solution of a challenge is required";
    /// The solution is wrong, or belongs to another request. The problem has a new challenge.
    ChallengeInvalid = "challenge_invalid", FORBIDDEN, "The solution of the challenge is not valid";
    /// The solution came too late. The problem has a new challenge.
    ChallengeExpired = "challenge_expired", FORBIDDEN, "The challenge has expired";
    /// The path itself is unknown. An unknown id has a code of its own.
    NotFound = "not_found", NOT_FOUND, "No resource exists at this path";
    /// No drop has this id, or the id is not a UUID.
    DropNotFound = "drop_not_found", NOT_FOUND, "Drop not found";
    /// No hold has this id. A hold that has ended is still found.
    HoldNotFound = "hold_not_found", NOT_FOUND, "Hold not found";
    /// No purchase has this id. The id of a hold is not that of its purchase.
    PurchaseNotFound = "purchase_not_found", NOT_FOUND, "Purchase not found";
    /// No order has this id, or the id is not a UUID.
    OrderNotFound = "order_not_found", NOT_FOUND, "Order not found";
    /// No waitlist entry has this id. An entry that was offered a hold is still found.
    WaitlistEntryNotFound = "waitlist_entry_not_found", NOT_FOUND, "Waitlist entry not found";
    /// No endpoint has this id, or it was deleted.
    WebhookNotFound = "webhook_not_found", NOT_FOUND, "Webhook endpoint not found";
    /// The endpoint has no delivery of this id, or an old one that was removed.
    DeliveryNotFound = "delivery_not_found", NOT_FOUND, "Delivery not found";
    /// No job has this id, or an old one that was removed.
    JobNotFound = "job_not_found", NOT_FOUND, "Job not found";
    /// No matter has this id, or it is part of a job.
    MatterNotFound = "matter_not_found", NOT_FOUND, "Matter not found";
    /// No creator has this id, or it was deleted.
    CreatorNotFound = "creator_not_found", NOT_FOUND, "Creator not found";
    /// No product has this id, or it was deleted.
    ProductNotFound = "product_not_found", NOT_FOUND, "Product not found";
    /// The path exists, but has no operation of this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The path does not support this \
        method";
    /// The body was received too slowly.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request was not received in time";
    /// Fewer units are available than were requested. Units of holds may return.
    SoldOut = "sold_out", CONFLICT, "Not enough units are available";
    /// A limit of units for one hold or one buyer would be exceeded.
    LimitReached = "limit_reached", CONFLICT, "A limit of units is reached";
    /// The drop is scheduled: nothing is sold before `starts_at`.
    NotLive = "not_live", CONFLICT, "The drop has not started";
    /// An administrator interrupted the sale: nothing is held until it is resumed.
    Paused = "paused", CONFLICT, "The drop is paused";
    /// The drop is not published. Callers that are no administrators get `drop_not_found`.
    Draft = "draft", CONFLICT, "The drop is a draft";
    /// The drop reached its end, or was cancelled.
    Ended = "ended", CONFLICT, "The drop has ended";
    /// All uses of the access code are taken.
    CodeSpent = "code_spent", CONFLICT, "The access code has been used";
    /// The limit of access codes of one drop is reached.
    TooManyCodes = "too_many_codes", CONFLICT, "Too many access codes of the drop";
    /// The hold cannot be released or changed any more, because it was purchased.
    HoldPurchased = "hold_purchased", CONFLICT, "The hold was purchased";
    /// The hold or order was paid with another payment.
    PaymentReferenceConflict = "payment_reference_conflict", CONFLICT,
        "The hold or order was paid with another payment reference";
    /// The hold would last longer than the drop's `max_hold_seconds`.
    ExtensionLimit = "extension_limit", CONFLICT, "The hold cannot be extended so far";
    /// Fewer units of the purchase are left to refund than were requested, or none.
    NothingToRefund = "nothing_to_refund", CONFLICT, "Not so many units can be refunded";
    /// The hold is purchased and released with its order.
    HoldInOrder = "hold_in_order", CONFLICT, "The hold belongs to an order";
    /// The order cannot be cancelled any more, because it was paid.
    OrderPaid = "order_paid", CONFLICT, "The order was paid";
    /// The limit of payments of one order is reached.
    TooManyPayments = "too_many_payments", CONFLICT, "Too many payments of the order";
    /// The provider cannot charge the total of the order.
    AmountNotSupported = "amount_not_supported", CONFLICT, "The provider cannot charge this amount";
    /// The provider refused to start the payment.
    PaymentRefused = "payment_refused", CONFLICT, "The provider refused the payment";
    /// Only a paid order is fulfilled.
    OrderNotPaid = "order_not_paid", CONFLICT, "The order is not paid";
    /// The order is further already.
    FulfilmentOrder = "fulfilment_order", CONFLICT, "Fulfilment only goes forward";
    /// A stock adjustment would remove units that are held or sold.
    InsufficientStock = "insufficient_stock", CONFLICT, "Not enough available units to remove";
    /// Units are available, so there is nothing to wait for.
    NotSoldOut = "not_sold_out", CONFLICT, "The drop is not sold out";
    /// A buyer has at most one waitlist entry per drop.
    AlreadyWaiting = "already_waiting", CONFLICT, "The buyer is already on the waitlist";
    /// The limit of waiting entries is reached.
    WaitlistFull = "waitlist_full", CONFLICT, "The waitlist is full";
    /// The entry cannot be left any more, because it has become a hold.
    AlreadyOffered = "already_offered", CONFLICT, "The waitlist entry has already received a hold";
    /// The limit of webhook endpoints is reached.
    WebhookLimitReached = "webhook_limit_reached", CONFLICT, "Too many webhook endpoints";
    /// The buyer follows as many creators as are allowed.
    FollowLimitReached = "follow_limit_reached", CONFLICT, "The buyer follows too many creators";
    /// The buyer is reminded of as many drops as are allowed.
    ReminderLimitReached = "reminder_limit_reached", CONFLICT, "The buyer has too many reminders";
    /// The buyer is notified in as many browsers as are allowed.
    PushLimitReached = "push_limit_reached", CONFLICT, "The buyer is notified in too many browsers";
    /// Nothing is sent to the endpoint.
    WebhookDisabled = "webhook_disabled", CONFLICT, "The webhook endpoint is disabled";
    /// The job cannot be cancelled any more.
    JobDone = "job_done", CONFLICT, "The job is done";
    /// The hold expired before the request.
    HoldExpired = "hold_expired", GONE, "The hold has expired";
    /// The hold was released before the request.
    HoldReleased = "hold_released", GONE, "The hold was released";
    /// The order expired before the payment or the cancellation.
    OrderExpired = "order_expired", GONE, "The order has expired";
    /// The order was cancelled before the payment.
    OrderCancelled = "order_cancelled", GONE, "The order was cancelled";
    /// The terms changed after the caller read them.
    StaleVersion = "stale_version", PRECONDITION_FAILED, "The drop was edited since it was read";
    /// The stock was adjusted after the caller read it.
    StaleStock = "stale_stock", PRECONDITION_FAILED, "The stock was adjusted since it was read";
    /// The body exceeds 16 KiB, or 96 KiB where a drop is scheduled or edited.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The request line exceeds 32 KiB.
    UriTooLong = "uri_too_long", URI_TOO_LONG, "The request line is too long";
    /// The `Content-Type` is not `application/json`.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body must be application/json";
    /// A value is malformed or out of range.
    InvalidValue = "invalid_value", UNPROCESSABLE_ENTITY, "A value is not valid";
    /// The key was used for a different request.
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY,
        "The Idempotency-Key was used for a different request";
    /// The operation overwrites, so the version that was read must be named.
    PreconditionRequired = "precondition_required", PRECONDITION_REQUIRED, "An If-Match header is required";
    /// The rate limit of a buyer or an address is exceeded.
    Throttled = "throttled", TOO_MANY_REQUESTS, "Too many holds in a short time";
    /// The limit of open holds or waitlist entries per address is reached.
    AddressLimitReached = "address_limit_reached", TOO_MANY_REQUESTS,
        "The limit of holds or waitlist entries for this address is reached";
    /// Too many holds of the address expired without a purchase.
    CoolingDown = "cooling_down", TOO_MANY_REQUESTS, "Too many holds from this address expired \
        unpurchased";
    /// The address sent too many wrong keys or unknown ids.
    TooManyAttempts = "too_many_attempts", TOO_MANY_REQUESTS, "Too many wrong keys or unknown ids \
        from this address";
    /// The limit of connections or streams per address is reached.
    TooManyConnections = "too_many_connections", TOO_MANY_REQUESTS, "Too many connections from this address";
    /// The request head exceeds 32 KiB or 100 fields.
    HeadTooLarge = "head_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The request head is too large";
    /// A defect of the server.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal server error";
    /// The log is unreachable, or the queue is full.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Temporarily unavailable";
    /// The payment provider cannot be reached, or refused the request.
    ProviderUnavailable = "provider_unavailable", SERVICE_UNAVAILABLE, "The payment provider cannot be used";
    /// An event of the drop cannot be applied on this node.
    DropQuarantined = "drop_quarantined", SERVICE_UNAVAILABLE, "The drop is in quarantine";
    /// An event of the order cannot be applied on this node.
    OrderQuarantined = "order_quarantined", SERVICE_UNAVAILABLE, "The order is in quarantine";
    /// The log does not continue the history that this node has applied.
    LogRefused = "log_refused", SERVICE_UNAVAILABLE, "The event log failed a consistency check";
    /// The version is neither HTTP/1.1 nor HTTP/1.0.
    HttpVersionNotSupported = "http_version_not_supported", HTTP_VERSION_NOT_SUPPORTED,
        "The HTTP version is not supported";
}

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
        let mut members = self.numbers;
        members.insert("code".to_owned(), self.code.name().into());
        let mut details = ProblemDetails::from_status_code(self.code.status())
            .with_title(self.code.title())
            .with_detail(self.detail);
        if let Ok(kind) = at(&format!("/problems/{}", self.code.name())).parse::<Uri>() {
            details = details.with_type(kind);
        }
        if let Some(Ok(instance)) = self
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
        headers.extend(self.headers);
        response
    }
}

/// A rate limit or a concurrency limit, as it is reported in a 429.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    /// The scope: `buyer`, `address`, or `address-` followed by the counted resource.
    pub(crate) name: &'static str,
    /// The limit within one window, or at the same time.
    pub(crate) most: u32,
    /// The length of the sliding window, in seconds; `None` for a concurrency limit.
    pub(crate) window_seconds: Option<u32>,
}

impl Quota {
    /// 429 `throttled`. See [`Quota::refuse`].
    pub(crate) fn throttled_problem(self, detail: impl Into<String>, wait: Duration) -> Problem {
        self.refuse(Code::Throttled, detail, wait)
    }

    /// 429 with the `RateLimit` and `RateLimit-Policy` fields of
    /// draft-ietf-httpapi-ratelimit-headers.
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
            CommandError::Overloaded => {
                Self::unavailable(format!("Too many requests are queued. {NOT_RECORDED}"))
            }
            CommandError::Unavailable => {
                Self::unavailable(format!("The event log is unreachable. {NOT_RECORDED}"))
            }
            CommandError::Quarantined { drop_id, position } => Self::quarantined(
                drop_id,
                position,
                &format!("The drop is in quarantine on this server. {NOT_RECORDED}"),
            ),
            CommandError::OrderQuarantined { order_id, position } => Self::order_quarantined(
                order_id,
                position,
                &format!("The order is in quarantine on this server. {NOT_RECORDED}"),
            ),
            CommandError::LogRefused { position } => Self::log_refused(position, NOT_RECORDED),
            too_large @ CommandError::TooLarge => Self::internal(&too_large),
            CommandError::ClockFault(fault) => clock_fault(fault, NOT_RECORDED),
            CommandError::Undecided => Self::unavailable(
                "The event log did not respond in time, so it is unknown whether the request was \
                 recorded. Send the same request again, with the same Idempotency-Key if it has \
                 one, to learn the outcome. If an edit is then rejected as stale, the newer \
                 version may be this edit.",
            ),
        }
    }
}

/// Maps an error of a read that the engine answers. Nothing can have been recorded.
pub(crate) fn unanswered(error: CommandError) -> Problem {
    match error {
        refused @ (CommandError::Refused { .. }
        | CommandError::TooLarge
        | CommandError::Quarantined { .. }
        | CommandError::OrderQuarantined { .. }
        | CommandError::LogRefused { .. }) => refused.into(),
        CommandError::Overloaded => Problem::unavailable("Too many requests are queued. Retry."),
        CommandError::ClockFault(fault) => clock_fault(fault, "Retry later."),
        CommandError::Unavailable | CommandError::Undecided => Problem::unavailable(
            "The event log is unreachable, so a consistent answer cannot be given. Retry.",
        ),
    }
}

/// 503 while a clock fault stops decisions: reports the fault, its size, and the next step.
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
        Refusal::OtherSpelling => problem(Code::Forbidden),
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
                .throttled_problem(sentence(refusal), Duration::from_millis(millis))
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
        Refusal::Paused { paused_at } => {
            problem(Code::Paused).with("paused_at", paused_at.to_string())
        }
        Refusal::Draft => problem(Code::Draft),
        Refusal::Ended {
            ended_at,
            cancelled,
        } => problem(Code::Ended)
            .with("ended_at", ended_at.to_string())
            .with("cancelled", cancelled),
        Refusal::CodeRequired => problem(Code::CodeRequired),
        Refusal::CodeInvalid => problem(Code::CodeInvalid),
        Refusal::CodeExpired { expired_at } => {
            problem(Code::CodeInvalid).with("expired_at", expired_at.to_string())
        }
        Refusal::ChallengeRequired { .. } => problem(Code::ChallengeRequired),
        Refusal::CodeSpent { uses } => problem(Code::CodeSpent).with("uses", uses),
        Refusal::TooManyCodes { max } => problem(Code::TooManyCodes).with("limit", max),
        Refusal::CodesExpireBeforeOpening { .. } => {
            Problem::invalid("/expires_at", refusal.to_string())
        }
        Refusal::ExtensionLimit { expires_at_max } => {
            problem(Code::ExtensionLimit).with("expires_at_max", expires_at_max.to_string())
        }
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
        Refusal::PurchaseNotFound => problem(Code::PurchaseNotFound),
        Refusal::NothingToRefund { refundable } => {
            problem(Code::NothingToRefund).with("refundable", refundable)
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
        Refusal::HoldInOrder { order_id } => {
            problem(Code::HoldInOrder).with("order_id", order_id.to_string())
        }
        Refusal::OrderNotFound => problem(Code::OrderNotFound),
        Refusal::OrderPaid { paid_at } => {
            problem(Code::OrderPaid).with("paid_at", paid_at.to_string())
        }
        Refusal::OrderReferenceConflict { paid_at } => {
            problem(Code::PaymentReferenceConflict).with("paid_at", paid_at.to_string())
        }
        Refusal::OrderCancelled { cancelled_at } => {
            problem(Code::OrderCancelled).with("cancelled_at", cancelled_at.to_string())
        }
        Refusal::OrderExpired { expired_at } => {
            problem(Code::OrderExpired).with("expired_at", expired_at.to_string())
        }
        Refusal::OrderNotPaid { status } => {
            problem(Code::OrderNotPaid).with("status_of_order", status.name())
        }
        Refusal::FulfilmentOrder { current } => {
            problem(Code::FulfilmentOrder).with("fulfilment", current.name())
        }
        Refusal::TooManyPayments { max } => problem(Code::TooManyPayments).with("limit", max),
        // Requests name neither: a payment and a refund are found by the order.
        Refusal::PaymentNotFound | Refusal::RefundNotFound => problem(Code::NotFound),
        Refusal::RefundSucceeded { .. } => problem(Code::JobDone),
        Refusal::MixedCurrencies { .. } => Problem::invalid("/items", refusal.to_string()),
        Refusal::OfItem { item, ref refusal } => {
            let pointer = format!("/items/{item}");
            if let Refusal::MixedCurrencies { .. } = **refusal {
                return Problem::invalid(format!("{pointer}/drop_id"), refusal.to_string());
            }
            refused(refusal, at).with("pointer", pointer)
        }
    }
}

fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::PerHold => "max_per_hold",
        Limit::PerBuyer => "max_per_buyer",
    }
}

/// The problem for a caller without a right to the numbers of the stock: without the number of
/// available units.
pub(crate) fn without_numbers(error: CommandError) -> Problem {
    let mut problem = Problem::from(error);
    let detail = if problem.code == Code::SoldOut {
        "Not enough units are available."
    } else if problem.code == Code::NotSoldOut {
        "Enough units are available: place a hold instead of waiting."
    } else {
        return problem;
    };
    problem.numbers.remove("available");
    detail.clone_into(&mut problem.detail);
    problem
}

/// Returns the refusal as a sentence.
fn sentence(refusal: &Refusal) -> String {
    format!("{}.", capitalised(&refusal.to_string()))
}

/// Writes a number with its noun: `1 hold`, `2 holds`.
pub(crate) fn counted(number: u32, one: &str, several: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {several}"),
    }
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
