//! Every reason to say no, with the numbers that the caller can act on. A refusal is no failure.

use crate::values::{HoldId, Throttle, Timestamp};

/// Which limit a hold would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Units in one hold.
    PerHold,
    /// Units that one buyer may hold and have bought.
    PerBuyer,
}

/// Why a command was refused. Nothing was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such drop.
    #[error("there is no such drop")]
    DropNotFound,
    /// There is no such hold.
    #[error("there is no such hold")]
    HoldNotFound,
    /// A drop with this id exists already.
    #[error("the drop is scheduled already")]
    AlreadyScheduled,
    /// The idempotency key was used before, for something else.
    #[error("the idempotency key was used for a different request")]
    IdempotencyKeyReused,
    /// Fewer units are available than were asked for.
    #[error("{requested} asked for, {available} available")]
    SoldOut {
        /// Units asked for.
        requested: u32,
        /// Units available.
        available: u32,
    },
    /// The buyer would have more than the drop allows.
    #[error("the limit is {max}, and {allowance} more may be held")]
    LimitReached {
        /// Which limit.
        limit: Limit,
        /// The limit, in units.
        max: u32,
        /// Units that this buyer could still hold in one request.
        allowance: u32,
    },
    /// The buyer placed too many holds lately.
    #[error("too many holds within the window; the next may be placed at {retry_at}")]
    Throttled {
        /// When the next hold may be placed.
        retry_at: Timestamp,
        /// The drop's throttle.
        throttle: Throttle,
    },
    /// The drop has not started.
    #[error("the drop starts at {starts_at}")]
    NotLive {
        /// When it starts.
        starts_at: Timestamp,
    },
    /// The drop is over.
    #[error("the drop ended at {ended_at}")]
    Ended {
        /// Since when.
        ended_at: Timestamp,
        /// Whether it was called off.
        cancelled: bool,
    },
    /// The hold is over.
    #[error("the hold expired at {expired_at}")]
    HoldExpired {
        /// Since when.
        expired_at: Timestamp,
    },
    /// The hold was given up.
    #[error("the hold was released at {released_at}")]
    HoldReleased {
        /// Since when.
        released_at: Timestamp,
    },
    /// The hold was paid for.
    #[error("the hold was purchased at {purchased_at}")]
    HoldPurchased {
        /// Since when.
        purchased_at: Timestamp,
    },
    /// The hold was paid for, and not with the payment reference that came now.
    #[error("the hold was purchased at {purchased_at}, not with this payment reference")]
    PaymentReferenceConflict {
        /// Since when.
        purchased_at: Timestamp,
    },
    /// An adjustment would take away units that are held or sold.
    #[error("{} to be taken away, {available} available", .delta.unsigned_abs())]
    InsufficientStock {
        /// The adjustment asked for: negative, for only what is taken away can be too much.
        delta: i32,
        /// Units available.
        available: u32,
    },
    /// An adjustment would offer more units than a drop can have.
    #[error("a drop offers at most {max} units")]
    TooMuchStock {
        /// The most units that a drop can offer.
        max: u32,
    },
    /// Nobody needs to wait for what is there.
    #[error("{requested} asked for, {available} available: hold them instead of waiting")]
    NotSoldOut {
        /// Units asked for.
        requested: u32,
        /// Units available.
        available: u32,
    },
    /// The buyer waits already: one place per buyer at a time.
    #[error("the buyer is in line already, since {joined_at}")]
    AlreadyWaiting {
        /// Since when.
        joined_at: Timestamp,
        /// Units that they wait for.
        quantity: u32,
    },
    /// As many entries wait as the operator allows.
    #[error("the waitlist is full: limit of {limit} entries")]
    WaitlistFull {
        /// The limit, in entries.
        limit: u32,
    },
    /// There is no such place in line.
    #[error("there is no such place in line")]
    WaitlistEntryNotFound,
    /// The place has become a hold; that can be released.
    #[error("the place in line has become hold {hold_id}")]
    AlreadyOffered {
        /// The hold.
        hold_id: HoldId,
    },
    /// The terms were edited by somebody else meanwhile.
    #[error("the terms are at version {current}")]
    StaleVersion {
        /// The version now.
        current: u32,
    },
    /// The stock was adjusted meanwhile.
    #[error("the stock was adjusted meanwhile: {total} units in all, {available} available")]
    StaleStock {
        /// Units in all now.
        total: u32,
        /// Units available now.
        available: u32,
    },
    /// The end would not come after the start.
    #[error("the end must come after the start, {starts_at}")]
    EndsBeforeStart {
        /// The start, after the edit.
        starts_at: Timestamp,
    },
}
