//! Each response against the log: an acknowledged event is recorded, and the reason of a refusal
//! was true.

use std::collections::BTreeSet;

use domain::decide::Subject;
use domain::values::{HoldId, PaymentReference, Position};
use domain::{DropEvent, Refusal};
use engine::CommandError;
use infrastructure::codec::RecordedEvent;

use super::super::client::SentRequest;
use super::super::pauses::State;
use super::{End, Ledger, Recorded, key_of, keyless_request, may_belong_to_any_node};
use crate::support::build::LONGEST_HOLD;
use crate::support::request::Request;

/// Acknowledged events are in the log, unchanged, at the position in the response.
pub(super) fn response_is_in_the_log(
    sent: &SentRequest,
    ledger: &Ledger,
    events: &[RecordedEvent],
) {
    let Ok(answer) = &sent.outcome else { return };
    for event in answer.events() {
        let at = events.binary_search_by_key(&event.position, |event| event.position);
        assert_eq!(&events[at.expect("acknowledged but not in the log")], event);
        assert!(
            event.position > sent.window.0 || may_belong_to_any_node(&event.event),
            "recorded before it was sent: {sent:?}"
        );
    }
    match answer.subject {
        Subject::Drop | Subject::Adjustment(_) | Subject::Refund(_) => {}
        Subject::Hold(hold_id) | Subject::Purchase(hold_id) => {
            let row = ledger.holds.get(&hold_id).expect("a hold in the log");
            assert!(row.placed <= answer.position());
        }
        Subject::Waitlist(entry_id) => {
            let joined = ledger
                .waitlists
                .joined(entry_id)
                .expect("an entry in the log");
            assert!(joined <= answer.position());
        }
    }
}

/// The limit of two seconds, plus an undetected jump and the uncertainty of a comparison on a slow
/// log.
const MOST_OFF_MS: i64 = 2_600;

/// Independent of the clocks, nothing was decided at a time far from the correct one.
pub(super) fn decided_at_the_right_time(sent: &SentRequest) {
    let at = match &sent.outcome {
        Ok(answer) => answer.at,
        Err(CommandError::Refused { at, .. }) => *at,
        Err(_) => return,
    };
    let (from, to) = sent.times;
    let possible = from.plus_millis(-MOST_OFF_MS)..=to.plus_millis(MOST_OFF_MS);
    assert!(possible.contains(&at), "{at} {possible:?} {sent:?}");
}

/// An acknowledged payment is the one that the purchase was recorded with.
pub(super) fn acknowledged_payment_is_recorded(
    sent: &SentRequest,
    ledger: &Ledger,
    events: &[RecordedEvent],
) {
    let (
        Ok(_),
        Request::ConfirmPurchase {
            hold_id,
            payment_reference: Some(reference),
        },
    ) = (&sent.outcome, &sent.request)
    else {
        return;
    };
    assert_eq!(
        recorded_payment(ledger, events, *hold_id),
        Some(reference),
        "{sent:?}"
    );
}

/// The payment reference that the purchase of a hold was recorded with.
fn recorded_payment<'a>(
    ledger: &Ledger,
    events: &'a [RecordedEvent],
    hold_id: HoldId,
) -> Option<&'a PaymentReference> {
    let bought = ledger.resolved[&hold_id];
    let bought = events.iter().find(|event| event.position == bought)?;
    bought.private.as_ref()?.payment_reference.as_ref()
}

/// A refusal was true at some moment between request and response.
pub(super) fn refusal_was_true(sent: &SentRequest, ledger: &Ledger, events: &[RecordedEvent]) {
    let Err(CommandError::Refused { refusal, .. }) = &sent.outcome else {
        return;
    };
    // A cancellation resolves a hold before its release is recorded.
    let resolved_as = |hold_id: &HoldId, end: End| {
        let row = &ledger.holds[hold_id];
        assert_eq!(row.end, Some(end), "{sent:?}");
        let cancelled = ledger.cancelled.get(&row.drop_id);
        let cancelled = cancelled.map_or(Position(u64::MAX), |(position, _)| *position);
        ledger.resolved[hold_id].min(cancelled)
    };
    match (refusal, &sent.request) {
        // While offers are pending, fewer units than are available can be held directly.
        (
            Refusal::SoldOut {
                requested,
                available,
            },
            Request::PlaceHold { drop_id, .. },
        ) => {
            let seen = ledger.available_within(*drop_id, sent.window);
            let most = seen.last().copied().unwrap_or_default();
            assert!(available < requested && i64::from(*available) <= most);
        }
        (
            Refusal::SoldOut {
                requested,
                available,
            },
            Request::ChangeHold { hold_id, .. },
        ) => {
            let drop_id = ledger.holds[hold_id].drop_id;
            let seen = ledger.available_within(drop_id, sent.window);
            let most = seen.last().copied().unwrap_or_default();
            assert!(available < requested && i64::from(*available) <= most);
        }
        (
            Refusal::LimitReached { allowance, .. },
            Request::PlaceHold {
                drop_id,
                buyer_id,
                quantity,
                ..
            }
            | Request::JoinWaitlist {
                drop_id,
                buyer_id,
                quantity,
                ..
            },
        ) => {
            let seen = ledger.groups.allowances(*drop_id, buyer_id, sent.window);
            assert!(seen.contains(&i64::from(*allowance)), "{seen:?} {sent:?}");
            assert!(*allowance < quantity.get(), "{sent:?}");
        }
        (Refusal::LimitReached { allowance, .. }, Request::ChangeHold { hold_id, quantity }) => {
            let drop_id = ledger.holds[hold_id].drop_id;
            let placed = events.iter().find(|event| matches!(&event.event, DropEvent::HoldPlaced(event) if event.hold_id == *hold_id));
            let buyer = placed.and_then(|placed| placed.event.buyer());
            let seen = ledger.groups.allowances_of(drop_id, buyer, sent.window);
            assert!(seen.contains(&i64::from(*allowance)), "{seen:?} {sent:?}");
            assert!(*allowance < quantity.get(), "{sent:?}");
        }
        (Refusal::ExtensionLimit { expires_at_max }, Request::ExtendHold { hold_id, .. }) => {
            let longest = ledger.holds[hold_id].placed_at.plus_seconds(LONGEST_HOLD);
            assert!(*expires_at_max <= longest, "{sent:?}");
        }
        (Refusal::WaitlistFull { .. }, Request::JoinWaitlist { .. }) => {}
        (
            Refusal::InsufficientStock { available, .. },
            Request::AdjustStock { drop_id, .. } | Request::SetStock { drop_id, .. },
        ) => {
            let seen = ledger.available_within(*drop_id, sent.window);
            assert!(seen.contains(&i64::from(*available)), "{seen:?} {sent:?}");
        }
        (
            Refusal::NothingToRefund { refundable },
            Request::RefundPurchase {
                hold_id, quantity, ..
            },
        ) => {
            let row = &ledger.holds[hold_id];
            assert!(i64::from(*refundable) >= row.units - row.refunded);
            let requested = quantity.map_or(1, |quantity| quantity.get());
            assert!(*refundable < requested, "{sent:?}");
        }
        (
            Refusal::HoldPurchased { .. },
            Request::ReleaseHold { hold_id }
            | Request::ExtendHold { hold_id, .. }
            | Request::ChangeHold { hold_id, .. },
        ) => {
            assert!(resolved_as(hold_id, End::Purchased) <= sent.window.1);
        }
        (
            Refusal::HoldReleased { .. },
            Request::ConfirmPurchase { hold_id, .. }
            | Request::ExtendHold { hold_id, .. }
            | Request::ChangeHold { hold_id, .. },
        ) => {
            assert!(resolved_as(hold_id, End::Released) <= sent.window.1);
        }
        (
            Refusal::PaymentReferenceConflict { .. },
            Request::ConfirmPurchase {
                hold_id,
                payment_reference: Some(reference),
            },
        ) => {
            assert!(resolved_as(hold_id, End::Purchased) <= sent.window.1);
            assert_ne!(recorded_payment(ledger, events, *hold_id), Some(reference));
        }
        (
            Refusal::HoldExpired { expired_at },
            Request::ReleaseHold { hold_id }
            | Request::ConfirmPurchase { hold_id, .. }
            | Request::ExtendHold { hold_id, .. }
            | Request::ChangeHold { hold_id, .. },
        ) => {
            assert_eq!(*expired_at, ledger.holds[hold_id].expires_at);
            assert!(resolved_as(hold_id, End::Expired) <= sent.window.1);
        }
        (Refusal::NotSoldOut { available, .. }, Request::JoinWaitlist { drop_id, .. }) => {
            let seen = ledger.available_within(*drop_id, sent.window);
            let most = seen.last().copied().unwrap_or_default();
            assert!(i64::from(*available) <= most, "{seen:?} {sent:?}");
        }
        (Refusal::AlreadyWaiting { .. }, Request::JoinWaitlist { .. }) => {}
        (Refusal::AlreadyOffered { hold_id }, Request::LeaveWaitlist { .. }) => {
            assert!(ledger.holds[hold_id].placed <= sent.window.1);
        }
        (Refusal::StaleVersion { .. }, Request::RescheduleDrop { .. }) => {}
        (
            Refusal::Paused { .. },
            Request::PlaceHold { drop_id, .. } | Request::JoinWaitlist { drop_id, .. },
        ) => assert!(ledger.pauses.was(*drop_id, State::Paused, sent.window)),
        (Refusal::Paused { .. }, Request::ChangeHold { hold_id, .. }) => {
            let drop_id = ledger.holds[hold_id].drop_id;
            assert!(ledger.pauses.was(drop_id, State::Paused, sent.window));
        }
        (Refusal::Draft, Request::ChangeSale { drop_id, .. })
        | (
            Refusal::DropNotFound,
            Request::PlaceHold { drop_id, .. } | Request::JoinWaitlist { drop_id, .. },
        ) if ledger.pauses.was(*drop_id, State::Draft, sent.window) => {}
        (Refusal::Ended { cancelled, .. }, _) => assert!(*cancelled),
        (
            Refusal::DropNotFound | Refusal::HoldNotFound | Refusal::IdempotencyKeyReused,
            Request::PlaceHold { .. }
            | Request::AdjustStock { .. }
            | Request::ScheduleDrop { .. }
            | Request::JoinWaitlist { .. },
        ) => panic!("this simulation sends no such request: {sent:?}"),
        other => panic!("impossible refusal: {other:?}"),
    }
}

/// `Unavailable`, `Overloaded` and `LogRefused` mean that nothing was recorded.
pub(super) fn rejected_requests_were_not_recorded(sent: &[SentRequest], recorded: &Recorded) {
    let may_be_recorded =
        |sent: &SentRequest| matches!(sent.outcome, Ok(_) | Err(CommandError::Undecided));
    let possible = || sent.iter().filter(|sent| may_be_recorded(sent));
    let keys: BTreeSet<_> = possible()
        .filter_map(|sent| key_of(&sent.request))
        .collect();
    for key in recorded.keys.keys() {
        assert!(keys.contains(key), "{key:?} was rejected but recorded");
    }
    let keyless: BTreeSet<_> = possible()
        .filter_map(|sent| keyless_request(&sent.request))
        .collect();
    for request_without_key in &recorded.keyless {
        assert!(
            keyless.contains(request_without_key),
            "{request_without_key:?} was rejected but recorded"
        );
    }
}
