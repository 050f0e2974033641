//! The remedy for each kind of problem.

use super::Code;

impl Code {
    /// Returns the next step of the caller, one sentence without its full stop. It is the
    /// same for every problem with this code; `detail` has the case at hand.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table with an entry for each code")]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::MalformedRequest => {
                "Correct the request line or the header that `detail` names; a client library does \
                 this by itself"
            }
            Self::MalformedJson => {
                "Send one complete JSON document in UTF-8; `line` and `column` show where reading \
                 stopped"
            }
            Self::InvalidQuery => "Correct or omit the query parameters that `errors` names",
            Self::IdempotencyKeyRequired => {
                "Send an Idempotency-Key, one for each operation, and repeat it on every retry"
            }
            Self::InvalidIdempotencyKey => {
                "Send one Idempotency-Key of 1 to 255 visible ASCII characters, such as a UUID"
            }
            Self::Unauthorized => {
                "Send the key or the token that the operation requires, as Authorization: Bearer KEY; \
                 a buyer gets a token at `sign_in_url`, where the problem has it"
            }
            Self::Forbidden => {
                "Use the key or the token that `detail` names; repeating the request does not help"
            }
            Self::CodeRequired => {
                "Send one of the drop's access codes as `code`; the shop gives them out"
            }
            Self::CodeInvalid => {
                "Compare the access code with the one that the shop gave out; each drop has its own"
            }
            Self::CodeSpent => {
                "Use another access code, or wait until the hold that uses this one ends"
            }
            Self::TooManyCodes => "Use the codes that the drop has, or create fewer",
            Self::NotFound => "Compare the path with the API reference at /docs",
            Self::DropNotFound => "Check the id of the drop; GET /v1/drops lists all drops",
            Self::HoldNotFound => {
                "Check the id of the hold, which is in the response that placed it"
            }
            Self::PurchaseNotFound => {
                "Check the id of the purchase, which is in the response that recorded it"
            }
            Self::SignatureInvalid => {
                "Compare the webhook secret here with the provider's, and the clocks of both; the \
                 provider sends the webhook again"
            }
            Self::TooManyPayments => {
                "Finish one of the order's payments, or cancel the order and place a new one"
            }
            Self::AmountNotSupported => {
                "Use another provider, or a price that the provider can charge exactly; complete an \
                 order of 0 with POST /v1/orders/{id}/purchase"
            }
            Self::PaymentRefused => {
                "Start another payment, or ask the provider about the code in `detail`"
            }
            Self::ProviderUnavailable => {
                "Send the same request again, with the same Idempotency-Key, after Retry-After"
            }
            Self::OrderNotFound => {
                "Check the id of the order, which is in the response that placed it"
            }
            Self::WaitlistEntryNotFound => {
                "Check the id of the entry, which is in the response that joined the waitlist"
            }
            Self::WebhookNotFound => {
                "Check the id of the endpoint; GET /v1/admin/webhooks lists all endpoints"
            }
            Self::DeliveryNotFound => {
                "List the endpoint's deliveries again: old ones are removed from the list"
            }
            Self::JobNotFound => "List the jobs again: old ones are removed from the list",
            Self::MatterNotFound => {
                "Cancel the job of the matter instead, or list the matters again"
            }
            Self::CreatorNotFound => "Use an id from GET /v1/creators",
            Self::ProductNotFound => "Use an id from GET /v1/products",
            Self::MethodNotAllowed => "Use one of the methods that the header Allow lists",
            Self::RequestTimeout => "Send the same request again, over a faster connection",
            Self::SoldOut => {
                "Request at most `available` units, join the waitlist, or follow the stream until \
                 units return"
            }
            Self::LimitReached => "Request at most `allowance` units, or none if it is 0",
            Self::NotLive => "Repeat the request from `starts_at` on",
            Self::Ended => "Offer the buyer another drop: nothing more is sold in this one",
            Self::HoldPurchased => "Refund the purchase instead",
            Self::PaymentReferenceConflict => {
                "Compare the two payments, and refund the second one at the payment system"
            }
            Self::ExtensionLimit => {
                "Request an end up to `expires_at_max`, or raise the drop's max_hold_seconds"
            }
            Self::NothingToRefund => "Refund at most `refundable` units",
            Self::HoldInOrder => "Purchase or cancel the order `order_id` instead",
            Self::OrderPaid => "Refund the order's purchases instead",
            Self::OrderNotPaid => "Wait until the order is paid",
            Self::FulfilmentOrder => "Send a step after `fulfilment`, or the same step",
            Self::InsufficientStock => "Remove at most `available` units",
            Self::NotSoldOut => "Place a hold: units are available",
            Self::AlreadyWaiting => "Keep the entry that the buyer has, or remove it first",
            Self::WaitlistFull => "Try again later, when entries have left the waitlist",
            Self::AlreadyOffered => "Purchase or release the hold `hold_id`",
            Self::WebhookLimitReached => "Delete an endpoint that is no longer used",
            Self::FollowLimitReached => "Let the buyer follow fewer creators first",
            Self::ReminderLimitReached => "Delete reminders of drops that are over first",
            Self::WebhookDisabled => "Enable the endpoint first, with the status enabled",
            Self::JobDone => "Nothing: the job has ended",
            Self::HoldExpired | Self::HoldReleased => "Place a new hold",
            Self::OrderExpired | Self::OrderCancelled => "Place a new order",
            Self::StaleVersion => {
                "Read the drop again, decide with its present terms, and send its new ETag"
            }
            Self::StaleStock => {
                "Read the drop again, decide with its present stock, and send its new ETag"
            }
            Self::BodyTooLarge => "Send a shorter body; shorten the longest texts in it",
            Self::UriTooLong => "Send fewer or shorter query parameters",
            Self::UnsupportedMediaType => {
                "Send the body as application/json in UTF-8, without a Content-Encoding"
            }
            Self::InvalidValue => "Correct the values that `errors` names, by their JSON pointers",
            Self::IdempotencyKeyReused => {
                "Use a new key for a new operation, or repeat the first request unchanged"
            }
            Self::PreconditionRequired => {
                "Send the ETag of the drop that you have read as If-Match, or * for any version"
            }
            Self::Throttled | Self::CoolingDown => {
                "Wait for the seconds in Retry-After, then send the same request again"
            }
            Self::AddressLimitReached => {
                "Purchase or release holds, or leave the waitlist, before requesting more"
            }
            Self::TooManyAttempts => {
                "Wait for the seconds in Retry-After, and correct the key or the id meanwhile"
            }
            Self::TooManyConnections => {
                "Close connections that are not used, and use each for several requests"
            }
            Self::HeadTooLarge => {
                "Send fewer or shorter header fields; cookies are the usual cause"
            }
            Self::Internal => "Report `instance` to the operator, who finds it in the server's log",
            Self::Unavailable => {
                "Wait for the seconds in Retry-After, then send the same request with the same \
                 Idempotency-Key"
            }
            Self::DropQuarantined | Self::OrderQuarantined | Self::LogRefused => {
                "Try again later; operators follow docs/LOG_REFUSED.md"
            }
            Self::HttpVersionNotSupported => "Use HTTP/1.1",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_sentence_that_says_what_to_do() {
        for code in Code::ALL {
            let remedy = code.remedy();
            assert!(remedy.len() > 10, "{code:?}");
            assert!(remedy.starts_with(char::is_uppercase), "{remedy}");
            assert!(!remedy.ends_with(['.', ' ']), "{remedy}");
            assert!(!remedy.contains("  "), "{remedy}");
            assert_ne!(remedy, code.title());
        }
    }
}
