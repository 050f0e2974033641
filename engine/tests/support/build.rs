//! Builders: a stored event, a chain, a drop's terms, a request.

#[path = "../../../infrastructure/tests/support/build.rs"]
mod events;

use domain::command::{AdjustStock, Pass, PlaceHold, ScheduleDrop};
use domain::terms::DropTerms;
use domain::values::{
    AdjustmentId, Currency, DisplayName, DropId, DropName, HoldId, HoldSeconds, KeyDigest,
    MaxHoldSeconds, Money, Pseudonym, Reason, StockCount, Timestamp,
};
use domain::{DropAggregate, DropCommand, DropEvent};
use engine::NewTerms;
use infrastructure::codec::encode;
use infrastructure::log::StoredEvent;
use infrastructure::log::memory::MemoryLog;
use uuid::Uuid;

pub use self::events::*;
use super::request::Request;

/// Event types only, without the starts of drops, of which each drop here has one.
pub fn kinds(events: &[StoredEvent]) -> Vec<String> {
    let types = events.iter().map(|event| event.event_type.to_string());
    types.filter(|kind| kind != "DropStarted").collect()
}

/// Applies a drop's events to an aggregate.
pub fn aggregate(events: &[StoredEvent], drop_id: DropId) -> DropAggregate {
    let mut aggregate = DropAggregate::default();
    for recorded in decoded(events) {
        if recorded.drop_id == drop_id {
            aggregate.evolve(&recorded.event);
        }
    }
    aggregate
}

/// The next event of a drop's stream as a stock program would store it.
pub fn stock_event(history: &[StoredEvent], drop_id: DropId, event: &DropEvent) -> StoredEvent {
    let sequence = aggregate(history, drop_id).sequence().next();
    encode(drop_id, sequence, Timestamp::default(), event, None)
}

pub fn key(text: &str) -> KeyDigest {
    KeyDigest::new(b"test", text.as_bytes()).unwrap()
}

pub fn reason(text: &str) -> Reason {
    Reason::new(text).unwrap()
}

/// How long a hold may last with all of its extensions, in seconds; holds of the usual tests are
/// shorter.
pub const LONGEST_HOLD: u32 = 6;

/// Plain terms: holds of `hold_seconds`, up to 1,000 units each, no other limits, open from the
/// epoch.
pub fn terms(hold_seconds: i64) -> DropTerms {
    DropTerms {
        name: DropName::new("Sneaker").unwrap(),
        description: None,
        image_url: None,
        price: Money::price(19_999, Currency::new("USD").unwrap()).unwrap(),
        starts_at: Timestamp::default(),
        ends_at: None,
        hold_seconds: HoldSeconds::new(hold_seconds).unwrap(),
        max_per_hold: quantity(1_000),
        max_hold_seconds: Some(MaxHoldSeconds::new(LONGEST_HOLD.into()).unwrap()),
        offer_seconds: None,
        low_stock_at: None,
        limit_group: None,
        visibility: Default::default(),
        show_stock: Default::default(),
        access: Default::default(),
        challenge: None,
        product_id: None,
        variant_id: None,
        creator_id: None,
        draft: false,
        max_per_buyer: None,
        throttle: None,
    }
}

pub fn schedule(key_text: &str, total: i64, hold_seconds: i64) -> Request {
    Request::ScheduleDrop {
        key: Some(key(key_text)),
        terms: Box::new(NewTerms {
            terms: terms(hold_seconds),
            starts_now: true,
        }),
        total_stock: StockCount::new(total).unwrap(),
    }
}

pub fn hold(drop_id: DropId, key_text: &str, buyer_name: &str, units: i64) -> Request {
    hold_as(drop_id, key_text, buyer_name, None, units)
}

pub fn hold_as(
    drop_id: DropId,
    key_text: &str,
    buyer_name: &str,
    shown: Option<&str>,
    units: i64,
) -> Request {
    Request::PlaceHold {
        drop_id,
        key: Some(key(key_text)),
        other_key: None,
        buyer_id: buyer(buyer_name),
        display_name: shown.map(|name| DisplayName::new(name).unwrap()),
        quantity: quantity(units),
        pass: Pass::default(),
    }
}

/// A request to join the waitlist.
pub fn join(drop_id: DropId, key_text: &str, buyer_name: &str, units: i64) -> Request {
    Request::JoinWaitlist {
        drop_id,
        key: Some(key(key_text)),
        other_key: None,
        buyer_id: buyer(buyer_name),
        display_name: None,
        quantity: quantity(units),
        pass: Pass::default(),
    }
}

pub fn purchase(hold_id: HoldId) -> Request {
    Request::ConfirmPurchase {
        hold_id,
        payment_reference: None,
    }
}

pub fn release(hold_id: HoldId) -> Request {
    Request::ReleaseHold { hold_id }
}

pub fn adjust(drop_id: DropId, key_text: &str, delta: i32) -> Request {
    Request::AdjustStock {
        drop_id,
        key: Some(key(key_text)),
        expected_stock_version: None,
        delta,
        reason: reason("counted again"),
    }
}

/// Decides `command` as a stock program does, on the current log, and appends the resulting events.
#[track_caller]
pub fn stock_program(log: &MemoryLog, drop_id: DropId, command: &DropCommand) {
    let decision = aggregate(&log.snapshot(), drop_id).decide(command).unwrap();
    for event in &decision.events {
        let stored = stock_event(&log.snapshot(), drop_id, event);
        log.append_stock(stored);
    }
}

/// A stock program's command: a stock adjustment by `delta`.
pub fn stock_adjust(delta: i32, at: Timestamp) -> DropCommand {
    DropCommand::AdjustStock(AdjustStock {
        // Differs by `delta`, because an id can be used only once.
        adjustment_id: AdjustmentId(Uuid::from_u128(7 + u128::from(delta.unsigned_abs()))),
        key: None,
        expected_stock_version: None,
        delta,
        reason: reason("adjusted by a stock program"),
        at,
    })
}

/// A stock program's command: a hold whose id does not carry its drop.
pub fn stray_hold(hold: u128, buyer: u128, units: i64, at: Timestamp) -> DropCommand {
    DropCommand::PlaceHold(PlaceHold {
        hold_id: HoldId(Uuid::from_u128(hold)),
        key: None,
        buyer: Pseudonym(Uuid::from_u128(buyer)),
        quantity: quantity(units),
        pass: Pass::default(),
        commitment: None,
        at,
    })
}

/// A stock program's command: a drop.
pub fn stock_schedule(total: i64, hold_seconds: i64, at: Timestamp) -> DropCommand {
    DropCommand::ScheduleDrop(ScheduleDrop {
        key: None,
        terms: terms(hold_seconds),
        total_stock: StockCount::new(total).unwrap(),
        at,
    })
}
