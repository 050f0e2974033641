//! Values that a test names briefly.

use uuid::Uuid;

use super::{HOLD_SECONDS, T0};
use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::{
    AccessCode, AdjustmentId, BuyerLimit, CatalogueId, Challenge, ChallengeKind, CodeDigest,
    CodeUses, Currency, Difficulty, DropId, DropName, HoldId, HoldSeconds, KeyDigest, LimitGroup,
    LowStock, MaxHoldSeconds, Money, OfferSeconds, Pseudonym, PurchaseId, Quantity, Reason,
    RefundId, StockCount, Throttle, ThrottleHolds, ThrottleSeconds, Timestamp, WaitlistId,
};

/// The instant `seconds` after [`T0`] (before, when negative).
#[must_use]
pub fn second(seconds: i64) -> Timestamp {
    millisecond(seconds * 1000)
}

/// The instant `millis` milliseconds after [`T0`] (before, when negative).
#[must_use]
pub fn millisecond(millis: i64) -> Timestamp {
    Timestamp::from_millis(T0 + millis)
}

/// A UUID that spells `name`, of at most 12 bytes, after four zeros, so that every hold has the
/// prefix of every drop.
#[track_caller]
pub(super) fn named(name: &str) -> Uuid {
    let mut bytes = [0; 16];
    let room = &mut bytes[4..];
    assert!(name.len() <= room.len(), "{name:?} has more than 12 bytes");
    room[..name.len()].copy_from_slice(name.as_bytes());
    Uuid::from_bytes(bytes)
}

#[must_use]
#[track_caller]
pub fn drop_id(name: &str) -> DropId {
    DropId(named(name))
}

#[must_use]
#[track_caller]
pub fn hold_id(name: &str) -> HoldId {
    HoldId(named(name))
}

#[must_use]
#[track_caller]
pub fn purchase_id(name: &str) -> PurchaseId {
    PurchaseId(named(name))
}

#[must_use]
#[track_caller]
pub fn refund_id(name: &str) -> RefundId {
    RefundId(named(name))
}

#[must_use]
#[track_caller]
pub fn adjustment_id(name: &str) -> AdjustmentId {
    AdjustmentId(named(name))
}

/// A waitlist entry of this name; the hold that it is offered has the same name.
#[must_use]
#[track_caller]
pub fn waitlist_id(name: &str) -> WaitlistId {
    WaitlistId(named(name))
}

#[must_use]
#[track_caller]
pub fn buyer(name: &str) -> Pseudonym {
    Pseudonym(named(name))
}

/// The digest of an idempotency key.
///
/// # Panics
/// If `name` is not a valid key.
#[must_use]
#[track_caller]
pub fn key(name: &str) -> KeyDigest {
    KeyDigest::new(b"test", name.as_bytes()).expect("a valid key")
}

/// The digest of an access code.
///
/// # Panics
/// If `name` is not a text that a code can have.
#[must_use]
#[track_caller]
pub fn code(name: &str) -> CodeDigest {
    let code = AccessCode::new(name).expect("a text that a code can have");
    CodeDigest::new(b"test", drop_id("d1"), &code)
}

/// # Panics
/// If a code cannot be used so often.
#[must_use]
#[track_caller]
pub fn code_uses(uses: u32) -> CodeUses {
    CodeUses::new(uses.into()).expect("a valid number of uses")
}

/// # Panics
/// If a hold cannot have this many units.
#[must_use]
#[track_caller]
pub fn quantity(units: u32) -> Quantity {
    Quantity::new(units.into()).expect("a valid quantity")
}

/// # Panics
/// If a drop cannot have this many units.
#[must_use]
#[track_caller]
pub fn stock_count(units: u32) -> StockCount {
    StockCount::new(units.into()).expect("a valid count of stock")
}

/// # Panics
/// If a drop cannot have this limit.
#[must_use]
#[track_caller]
pub fn buyer_limit(units: u32) -> BuyerLimit {
    BuyerLimit::new(units.into()).expect("a valid limit")
}

/// # Panics
/// If a hold cannot last this long.
#[must_use]
#[track_caller]
pub fn hold_seconds(seconds: u32) -> HoldSeconds {
    HoldSeconds::new(seconds.into()).expect("a valid length of holds")
}

/// # Panics
/// If no hold can last this long.
#[must_use]
#[track_caller]
pub fn max_hold_seconds(seconds: u32) -> MaxHoldSeconds {
    MaxHoldSeconds::new(seconds.into()).expect("a valid limit of the length of holds")
}

/// # Panics
/// If no group can have this name.
#[must_use]
#[track_caller]
pub fn limit_group(name: &str) -> LimitGroup {
    LimitGroup::new(name).expect("a valid name")
}

/// # Panics
/// If the shop's catalogue cannot have this id.
#[must_use]
#[track_caller]
pub fn catalogue_id(text: &str) -> CatalogueId {
    CatalogueId::new(text).expect("a valid id")
}

/// # Panics
/// If no drop has so many units.
#[must_use]
#[track_caller]
pub fn low_stock(units: u32) -> LowStock {
    LowStock::new(units.into()).expect("a valid number of units")
}

/// # Panics
/// If an offer cannot last this long.
#[must_use]
#[track_caller]
pub fn offer_seconds(seconds: u32) -> OfferSeconds {
    OfferSeconds::new(seconds.into()).expect("a valid length of offers")
}

/// At most `holds` holds of one buyer in any `window_seconds`.
///
/// # Panics
/// If a drop cannot have this throttle.
#[must_use]
#[track_caller]
pub fn throttle(holds: u32, window_seconds: u32) -> Throttle {
    Throttle {
        holds: ThrottleHolds::new(holds.into()).expect("a valid number of holds"),
        window_seconds: ThrottleSeconds::new(window_seconds.into()).expect("a valid window"),
    }
}

/// A challenge of this difficulty.
///
/// # Panics
/// If a drop cannot have this difficulty.
#[must_use]
#[track_caller]
pub fn challenge(difficulty: u32) -> Challenge {
    Challenge {
        kind: ChallengeKind::ProofOfWork,
        difficulty: Difficulty::new(difficulty.into()).expect("a valid difficulty"),
    }
}

/// # Panics
/// If a price cannot be this high.
#[must_use]
#[track_caller]
pub fn cents(amount: i64) -> Money {
    let usd = Currency::new("USD").expect("a known currency");
    Money::price(amount, usd).expect("a valid price")
}

/// The default reason for a stock adjustment.
#[must_use]
pub fn reason() -> Reason {
    Reason::new("counted again").expect("a valid reason")
}

#[must_use]
pub fn stock(available: u32, held: u32, sold: u32) -> Stock {
    Stock {
        total: available + held + sold,
        available,
        held,
        sold,
    }
}

/// Terms that allow everything: open from [`T0`] on, the largest hold, no limit and no throttle.
#[must_use]
pub fn terms() -> DropTerms {
    DropTerms {
        name: DropName::new("Lamp").expect("a valid name"),
        description: None,
        image_url: None,
        price: cents(10_00),
        starts_at: second(0),
        ends_at: None,
        hold_seconds: hold_seconds(HOLD_SECONDS),
        max_hold_seconds: None,
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
        max_per_hold: quantity(Quantity::MAX),
        max_per_buyer: None,
        throttle: None,
    }
}
