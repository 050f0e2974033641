//! The problems of refusals and errors of the engine.

use std::time::Duration;

use domain::Refusal;
use domain::refusal::Limit;
use domain::values::Timestamp;
use engine::{ClockFault, CommandError};

use super::{Code, Problem, Quota};

/// The advice of a 503 whose request never became part of a batch. It is about this request alone:
/// an earlier one, for the same hold or with the same key, may be in a batch whose outcome is
/// unknown (see [`CommandError::Undecided`]).
const NOT_RECORDED: &str =
    "This request was not recorded; an earlier attempt may have been. Send the same request again.";

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
        ClockFault::Jumped { .. } => "clock_jump_seconds",
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

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        format!("{}{}", first.to_uppercase(), chars.as_str())
    })
}
