//! Describes events in sentences, for readers without knowledge of the code.

use domain::DropEvent;
use domain::event::{LeaveCause, ReleaseCause};
use domain::order::{CancelCause, OrderEvent, RefundCause, RefundOutcome};
use domain::terms::DropTerms;
use domain::values::{CodeDigest, DropName, FailureCode, Pseudonym, Quantity};

/// Describes one event in a sentence, without its time.
#[must_use]
pub fn sentence(event: &DropEvent) -> String {
    match event {
        DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) => format!(
            "{} was {}: {} at {}, from {}{}",
            quoted(&event.terms),
            if event.terms.draft {
                "drafted"
            } else {
                "scheduled"
            },
            number_of_units(event.total_stock.get()),
            event.terms.price,
            event.terms.starts_at,
            until(&event.terms),
        ),
        DropEvent::DropPublished(event) => {
            format!(
                "the drop was published, to start at {}",
                event.terms.starts_at
            )
        }
        DropEvent::DropPaused(event) => format!("the drop was paused at {}", event.paused_at),
        DropEvent::DropResumed(event) => format!("the drop was resumed at {}", event.resumed_at),
        DropEvent::DropRescheduled(event) => format!(
            "the terms of {} were changed: {} a unit, from {}{}",
            quoted(&event.terms),
            event.terms.price,
            event.terms.starts_at,
            until(&event.terms),
        ),
        DropEvent::DropCancelled(_) => "the drop was cancelled".to_owned(),
        DropEvent::DropStarted(event) => format!("the drop started at {}", event.started_at),
        DropEvent::DropEnded(event) => format!("the drop ended at {}", event.ended_at),
        DropEvent::HoldPlaced(event) => format!(
            "{} held for buyer {} until {}{}{} (hold {})",
            units_were(event.quantity),
            short(event.buyer),
            event.expires_at,
            match (event.waitlist_entry, event.order_id) {
                (Some(_), _) => ", offered from the waitlist".to_owned(),
                (None, Some(order_id)) => format!(", of order {order_id}"),
                (None, None) => String::new(),
            },
            with_code(event.code),
            event.hold_id
        ),
        DropEvent::CodesCreated(event) => format!(
            "{} access codes were created, numbers {} to {} of {}, for {} holds each{}{}",
            event.digests.len(),
            event.first + 1,
            event.first as usize + event.digests.len(),
            event.of,
            event.uses.get(),
            event
                .opens_at
                .map_or_else(String::new, |at| format!(", from {at}")),
            event
                .expires_at
                .map_or_else(String::new, |at| format!(" until {at}")),
        ),
        DropEvent::WaitlistJoined(event) => format!(
            "buyer {} joined the waitlist for {}{} (entry {}, to become hold {})",
            short(event.buyer),
            units(event.quantity),
            with_code(event.code),
            event.entry_id,
            event.hold_id
        ),
        DropEvent::WaitlistLeft(event) => format!(
            "the waitlist entry of buyer {}, for {}, was removed {} (entry {})",
            short(event.buyer),
            units(event.quantity),
            match event.cause {
                LeaveCause::Buyer => "by its buyer",
                LeaveCause::DropCancelled => "because the drop was cancelled",
            },
            event.entry_id
        ),
        DropEvent::HoldExtended(event) => format!(
            "the hold of buyer {} was extended from {} to {} (hold {})",
            short(event.buyer),
            event.previous_expires_at,
            event.expires_at,
            event.hold_id
        ),
        DropEvent::HoldChanged(event) => format!(
            "the hold of buyer {} was changed from {} to {} (hold {})",
            short(event.buyer),
            units(event.previous_quantity),
            units(event.quantity),
            event.hold_id
        ),
        DropEvent::HoldExpired(event) => format!(
            "the hold of buyer {} expired at {}; {} available again (hold {})",
            short(event.buyer),
            event.expired_at,
            units_were(event.quantity),
            event.hold_id
        ),
        DropEvent::HoldReleased(event) => format!(
            "the hold of buyer {} was released {}; {} available again (hold {})",
            short(event.buyer),
            match event.cause {
                ReleaseCause::Buyer => "by its buyer",
                ReleaseCause::DropCancelled => "because the drop was cancelled",
                ReleaseCause::OrderCancelled => "because its order was cancelled",
            },
            units_were(event.quantity),
            event.hold_id
        ),
        DropEvent::PurchaseConfirmed(event) => format!(
            "buyer {} paid {} for {} (hold {}, purchase {})",
            short(event.buyer),
            event.total,
            units(event.quantity),
            event.hold_id,
            event.purchase_id
        ),
        DropEvent::PurchaseRefunded(event) => format!(
            "buyer {} got {} back for {}, which {}: {} (hold {}, purchase {}, refund {})",
            short(event.buyer),
            event.amount,
            units(event.quantity),
            match (event.restocked, event.quantity.get()) {
                (true, 1) => "is available again",
                (true, _) => "are available again",
                (false, _) => "left the drop",
            },
            event.reason.as_str(),
            event.hold_id,
            event.purchase_id,
            event.refund_id
        ),
        DropEvent::StockAdjusted(event) => {
            let (verb, count) = if event.delta < 0 {
                ("removed", event.delta.unsigned_abs())
            } else {
                ("added", event.delta.unsigned_abs())
            };
            let stock = event.stock;
            format!(
                "{} {verb}: {}; then {} in total, {} available, {} held, {} sold",
                number_were(count),
                event.reason.as_str(),
                stock.total,
                stock.available,
                stock.held,
                stock.sold
            )
        }
    }
}

/// Describes one event of an order in a sentence, without its time.
#[must_use]
pub fn sentence_of_order(event: &OrderEvent) -> String {
    match event {
        OrderEvent::OrderPlaced(event) => format!(
            "buyer {} ordered units of {} for {}, to be paid before {}",
            short(event.buyer),
            match event.items.len() {
                1 => "1 drop".to_owned(),
                many => format!("{many} drops"),
            },
            event.total,
            event.expires_at
        ),
        OrderEvent::OrderPaid(event) => format!(
            "the order was paid{}: {}{}",
            event
                .payment_id
                .map_or_else(String::new, |id| format!(" by payment {id}")),
            event.total,
            if event.late {
                ", after its deadline"
            } else {
                ""
            }
        ),
        OrderEvent::OrderCancelled(event) => match event.cause {
            CancelCause::Buyer => "the order was cancelled by its buyer".to_owned(),
            CancelCause::DropCancelled => {
                "the order was cancelled because one of its drops was".to_owned()
            }
        },
        OrderEvent::OrderExpired(event) => format!("the order expired at {}", event.expired_at),
        OrderEvent::OrderFulfilled(event) => format!("the order is {}", event.fulfilment.name()),
        OrderEvent::PaymentStarted(event) => format!(
            "a payment of {} with {} was started; the order is to be paid before {} (payment {})",
            event.amount,
            event.provider.as_str(),
            event.expires_at,
            event.payment_id
        ),
        OrderEvent::PaymentSucceeded(event) => format!(
            "{} arrived (payment {}, intent {})",
            event.amount, event.payment_id, event.intent
        ),
        OrderEvent::PaymentFailed(event) => format!(
            "a payment failed: {} (payment {})",
            event.reason.as_str(),
            event.payment_id
        ),
        OrderEvent::PaymentArrivedLate(event) => format!(
            "the money arrived after the order was over (payment {})",
            event.payment_id
        ),
        OrderEvent::RefundRequested(event) => format!(
            "{} are to be returned, because {} (payment {}, refund {})",
            event.amount,
            match (event.cause, &event.reason) {
                (RefundCause::Late, _) => "they arrived after the order had expired",
                (RefundCause::Double, _) => "the order was paid before",
                (RefundCause::WrongAmount, _) => "they are not the price of the order",
                (RefundCause::OrderOver, _) => "the order was cancelled",
                (RefundCause::Return, Some(reason)) => reason.as_str(),
                (RefundCause::Return, None) => "an administrator requested it",
            },
            event.payment_id,
            event.refund_id
        ),
        OrderEvent::RefundSettled(event) => match event.outcome {
            RefundOutcome::Succeeded => {
                format!("the money was returned (refund {})", event.refund_id)
            }
            RefundOutcome::Failed => format!(
                "the money was not returned: {} (refund {})",
                event
                    .reason
                    .as_ref()
                    .map_or("no reason", FailureCode::as_str),
                event.refund_id
            ),
        },
    }
}

fn quoted(terms: &DropTerms) -> String {
    format!("“{}”", shown(&terms.name))
}

/// A drop's name, safe for one line of a terminal. Old logs may contain names with characters that
/// end the line or reverse its direction; those are written as code points.
#[must_use]
pub fn shown(name: &DropName) -> String {
    let acts = |c: char| matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut text = String::new();
    for c in name.as_str().chars() {
        match acts(c) {
            true => text.push_str(&format!("<U+{:04X}>", u32::from(c))),
            false => text.push(c),
        }
    }
    text
}

fn until(terms: &DropTerms) -> String {
    let ends_at = terms.ends_at;
    ends_at.map_or_else(String::new, |ends_at| format!(" until {ends_at}"))
}

fn units(quantity: Quantity) -> String {
    number_of_units(quantity.get())
}

/// A number of units, with the noun that agrees with it.
pub(crate) fn number_of_units(number: u32) -> String {
    match number {
        1 => "1 unit".to_owned(),
        other => format!("{other} units"),
    }
}

fn units_were(quantity: Quantity) -> String {
    number_were(quantity.get())
}

fn number_were(number: u32) -> String {
    let verb = if number == 1 { "was" } else { "were" };
    format!("{} {verb}", number_of_units(number))
}

fn with_code(code: Option<CodeDigest>) -> String {
    code.map_or_else(String::new, |code| format!(", with access code {code}"))
}

/// Enough digits of a pseudonym to distinguish the buyers of one drop.
fn short(buyer: Pseudonym) -> String {
    let digits = buyer.0.simple().to_string();
    digits[..6].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_and_verbs_agree_with_numbers() {
        for (number, words) in [(0, "0 units were"), (1, "1 unit was"), (2, "2 units were")] {
            assert_eq!(number_were(number), words);
        }
    }

    #[test]
    fn names_cannot_break_or_reverse_a_line() {
        for (name, expected) in [
            ("Walnut lamp", "Walnut lamp"),
            ("a\u{202e}b", "a<U+202E>b"),
            ("a\u{2028}b\u{2069}", "a<U+2028>b<U+2069>"),
            ("שלום", "שלום"),
        ] {
            assert_eq!(shown(&DropName::stored(name).unwrap()), expected);
        }
    }
}
