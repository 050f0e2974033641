//! The table of problems: each with its stable code, its status and its title.

use axum::http::StatusCode;

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
