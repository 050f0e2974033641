//! The reasons for which a command is refused, with the numbers that the caller can act on. A
//! refusal is not a failure.

use crate::order::{FulfilmentStep, OrderStatus};
use crate::values::{Currency, Difficulty, HoldId, OrderId, Throttle, Timestamp};

/// The limit that a hold would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Units in one hold.
    PerHold,
    /// Units that one buyer may hold and have purchased together.
    PerBuyer,
}

impl Limit {
    const fn scope(self) -> &'static str {
        match self {
            Self::PerHold => "per hold",
            Self::PerBuyer => "per buyer",
        }
    }
}

/// Why a command was refused. No event was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the drop does not exist; check its id")]
    DropNotFound,
    #[error("the hold does not exist; check its id")]
    HoldNotFound,
    #[error("a drop with this id is already scheduled")]
    AlreadyScheduled,
    /// The drop knows the buyer by another spelling of the id, which is another account.
    #[error(
        "the drop knows this buyer id in another spelling, which is the same without regard to \
         case; use a token with that spelling"
    )]
    OtherSpelling,
    /// The idempotency key was used for a different request.
    #[error(
        "the idempotency key was used for a different request; use a new key for a new \
        request"
    )]
    IdempotencyKeyReused,
    /// Fewer units are available than were requested.
    #[error("{} requested, {available} available", units(*.requested))]
    SoldOut { requested: u32, available: u32 },
    /// The buyer would exceed a limit of the drop.
    #[error("limit of {} {}; {allowance} more may be held", units(*.max), .limit.scope())]
    LimitReached {
        limit: Limit,
        max: u32,
        /// Units that this buyer could still hold in one request.
        allowance: u32,
    },
    /// The buyer placed too many holds within the window.
    #[error("too many holds within the window; place the next one at {retry_at} or later")]
    Throttled {
        /// When the next hold may be placed.
        retry_at: Timestamp,
        throttle: Throttle,
    },
    /// The drop has not started.
    #[error("the drop starts at {starts_at}")]
    NotLive { starts_at: Timestamp },
    /// The sale is interrupted, so no units are held.
    #[error("the drop has been paused since {paused_at}; wait until it is resumed")]
    Paused { paused_at: Timestamp },
    /// The drop is not published. Only administrators receive this refusal: for others, it does not
    /// exist.
    #[error("the drop is a draft; publish it first")]
    Draft,
    #[error("the drop ended at {ended_at}")]
    Ended {
        ended_at: Timestamp,
        /// True if the drop was cancelled.
        cancelled: bool,
    },
    /// The drop's terms require an access code.
    #[error("the drop requires an access code")]
    CodeRequired,
    /// The drop has no such access code.
    #[error("the drop has no such access code")]
    CodeInvalid,
    /// The access code can no longer be used.
    #[error("the access code expired at {expired_at}")]
    CodeExpired { expired_at: Timestamp },
    /// All uses of the access code are taken.
    #[error("the access code has been used {}, as often as it may be", times(*.uses))]
    CodeSpent { uses: u32 },
    /// The drop's terms require the solution of a challenge, of this difficulty at least.
    #[error("the drop requires the solution of a challenge")]
    ChallengeRequired { difficulty: Difficulty },
    /// The drop would have more access codes than it can have.
    #[error("a drop has at most {max} access codes")]
    TooManyCodes { max: u32 },
    /// The codes would expire before they can be used.
    #[error("access codes must expire after they open, {opens_at}")]
    CodesExpireBeforeOpening { opens_at: Timestamp },
    /// The hold would last longer than the terms allow.
    #[error("the hold can be extended until {expires_at_max} at most")]
    ExtensionLimit {
        /// The latest time until which the hold may last.
        expires_at_max: Timestamp,
    },
    #[error("the hold expired at {expired_at}")]
    HoldExpired { expired_at: Timestamp },
    #[error("the hold was released at {released_at}")]
    HoldReleased { released_at: Timestamp },
    #[error("the hold was purchased at {purchased_at}")]
    HoldPurchased { purchased_at: Timestamp },
    /// The hold was purchased with a different payment reference, or with one that was erased and
    /// cannot be compared.
    #[error(
        "the hold was purchased at {purchased_at} with a different payment reference, or with one \
         that was erased: compare the payments before a refund"
    )]
    PaymentReferenceConflict { purchased_at: Timestamp },
    /// The purchase does not exist, or its hold was not purchased.
    #[error("the purchase does not exist; check its id")]
    PurchaseNotFound,
    /// More units would be refunded than are left of the purchase.
    #[error("{} of the purchase can be refunded", units(*.refundable))]
    NothingToRefund {
        /// Units that can still be refunded.
        refundable: u32,
    },
    /// An adjustment would remove units that are held or sold.
    #[error(
        "cannot remove {}; {available} {} available",
        units(.delta.unsigned_abs()),
        if *.available == 1 { "is" } else { "are" }
    )]
    InsufficientStock {
        /// The requested adjustment: negative, because only a removal can be too large.
        delta: i32,
        available: u32,
    },
    /// An adjustment would offer more units than a drop can have.
    #[error("a drop offers at most {}", units(*.max))]
    TooMuchStock {
        /// The largest number of units that a drop can offer.
        max: u32,
    },
    /// The requested units are available, so there is no reason to wait.
    #[error(
        "{} requested, {available} available: place a hold instead of waiting",
        units(*.requested)
    )]
    NotSoldOut { requested: u32, available: u32 },
    /// The buyer is waiting already: at most one waiting entry per buyer.
    #[error("the buyer has been on the waitlist since {joined_at}")]
    AlreadyWaiting {
        joined_at: Timestamp,
        /// Units that their entry requests.
        quantity: u32,
    },
    /// The waitlist has reached the operator's limit.
    #[error("the waitlist has reached its limit of {}; try again later", entries(*.limit))]
    WaitlistFull { limit: u32 },
    #[error("the waitlist entry does not exist; check its id")]
    WaitlistEntryNotFound,
    /// The entry was offered a hold, which can be released.
    #[error("the waitlist entry was offered hold {hold_id}; release the hold instead")]
    AlreadyOffered { hold_id: HoldId },
    /// The terms were edited in the meantime.
    #[error("the terms are at version {current}; read them and edit again")]
    StaleVersion { current: u32 },
    /// The stock was adjusted in the meantime.
    #[error(
        "the stock was adjusted in the meantime: {} in total, {available} available",
        units(*.total)
    )]
    StaleStock { total: u32, available: u32 },
    /// The end would not be after the start.
    #[error("the end must be after the start, {starts_at}")]
    EndsBeforeStart {
        /// The start after the edit.
        starts_at: Timestamp,
    },
    /// The hold belongs to an order: it is purchased, released and changed with it.
    #[error("the hold belongs to order {order_id}; purchase or cancel the order instead")]
    HoldInOrder { order_id: OrderId },
    #[error("the order does not exist; check its id")]
    OrderNotFound,
    #[error("the order was paid at {paid_at}")]
    OrderPaid { paid_at: Timestamp },
    /// The order was paid with a different payment reference, or with one that was erased and
    /// cannot be compared.
    #[error(
        "the order was paid at {paid_at} with a different payment reference, or with one that was \
         erased: compare the payments before a refund"
    )]
    OrderReferenceConflict { paid_at: Timestamp },
    #[error("the order was cancelled at {cancelled_at}")]
    OrderCancelled { cancelled_at: Timestamp },
    #[error("the order expired at {expired_at}")]
    OrderExpired { expired_at: Timestamp },
    /// Only a paid order is fulfilled.
    #[error("the order is {}; only a paid order is fulfilled", .status.name())]
    OrderNotPaid { status: OrderStatus },
    /// Fulfilment only goes forward.
    #[error("the order is {} already; fulfilment only goes forward", .current.name())]
    FulfilmentOrder { current: FulfilmentStep },
    /// The order has no such payment.
    #[error("the payment does not exist; check its id")]
    PaymentNotFound,
    /// No more payments of this order may be started.
    #[error("{max} payments of the order were started, which is the limit")]
    TooManyPayments { max: u32 },
    /// The order has no such refund.
    #[error("the refund does not exist; check its id")]
    RefundNotFound,
    /// The refund has succeeded, so it cannot fail any more.
    #[error("the refund succeeded at {settled_at}")]
    RefundSucceeded { settled_at: Timestamp },
    /// The items of an order have different currencies.
    #[error("the order is in {}, this item in {}", .expected.code(), .found.code())]
    MixedCurrencies { expected: Currency, found: Currency },
    /// An item of an order is refused, and with it the order.
    #[error("item {item}: {refusal}")]
    OfItem {
        /// The index of the first item of the request that asks for this drop.
        item: u32,
        refusal: Box<Refusal>,
    },
}

/// Writes a number of units: `1 unit`, `2 units`.
fn units(number: u32) -> String {
    match number {
        1 => "1 unit".to_owned(),
        number => format!("{number} units"),
    }
}

/// Writes a number of times: `once`, `2 times`.
fn times(number: u32) -> String {
    match number {
        1 => "once".to_owned(),
        number => format!("{number} times"),
    }
}

/// Writes a number of waitlist entries: `1 entry`, `2 entries`.
fn entries(number: u32) -> String {
    match number {
        1 => "1 entry".to_owned(),
        number => format!("{number} entries"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_nouns_agree() {
        for (refusal, message) in [
            (
                Refusal::InsufficientStock {
                    delta: -1,
                    available: 0,
                },
                "cannot remove 1 unit; 0 are available",
            ),
            (
                Refusal::InsufficientStock {
                    delta: -2,
                    available: 1,
                },
                "cannot remove 2 units; 1 is available",
            ),
            (
                Refusal::WaitlistFull { limit: 1 },
                "the waitlist has reached its limit of 1 entry; try again later",
            ),
            (
                Refusal::WaitlistFull { limit: 2 },
                "the waitlist has reached its limit of 2 entries; try again later",
            ),
            (
                Refusal::StaleStock {
                    total: 1,
                    available: 1,
                },
                "the stock was adjusted in the meantime: 1 unit in total, 1 available",
            ),
            (
                Refusal::SoldOut {
                    requested: 1,
                    available: 0,
                },
                "1 unit requested, 0 available",
            ),
        ] {
            assert_eq!(refusal.to_string(), message);
        }
    }
}
