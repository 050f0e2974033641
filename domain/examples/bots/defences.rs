//! The defences of a shop: terms of the drop, and limits per address.

use domain::terms::DropTerms;
use domain::testing::{
    buyer_limit, challenge, hold_seconds, quantity, terms, throttle as throttled,
};
use domain::values::Access;

/// How a shop defends a drop.
#[derive(Debug, Clone)]
pub struct Defence {
    pub name: &'static str,
    pub terms: DropTerms,
    pub addresses: Option<AddressLimits>,
    /// Returned units are offered to the waitlist, and buyers join it.
    pub has_waitlist: bool,
    pub bots: Bots,
}

/// The operator of the bots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bots {
    None,
    /// Computes with processors.
    Processors,
    /// Computes with a graphics card.
    Card,
}

/// The limits of one client address: those of `HOLDFAST_ADDRESS_…`.
#[derive(Debug, Clone, Copy)]
pub struct AddressLimits {
    /// Unresolved holds, and waiting entries.
    pub open: usize,
    /// Holds that may be left to expire within [`AddressLimits::WINDOW_MILLIS`].
    pub expired: usize,
}

impl AddressLimits {
    pub const WINDOW_MILLIS: i64 = 900_000;
    /// Those of the server.
    const DEFAULT: Self = Self {
        open: 100,
        expired: 100,
    };
    /// Those of an operator who expects few buyers from one address.
    const STRICT: Self = Self {
        open: 5,
        expired: 5,
    };
}

/// A change of a defence.
pub type Change = fn(&mut Defence);

pub const PER_BUYER: Change = |defence| {
    defence.terms.max_per_hold = quantity(1);
    defence.terms.max_per_buyer = Some(buyer_limit(1));
};
pub const THROTTLE: Change = |defence| defence.terms.throttle = Some(throttled(1, 3_600));
pub const ADDRESSES: Change = |defence| defence.addresses = Some(AddressLimits::DEFAULT);
pub const STRICT: Change = |defence| defence.addresses = Some(AddressLimits::STRICT);
pub const WAITLIST: Change = |defence| defence.has_waitlist = true;
pub const CODES: Change = |defence| defence.terms.access = Access::Code;
pub const SHORT: Change = |defence| defence.terms.hold_seconds = hold_seconds(60);
pub const CHALLENGE: Change = |defence| defence.terms.challenge = Some(challenge(4));
pub const CARD: Change = |defence| defence.bots = Bots::Card;
pub const NO_BOTS: Change = |defence| defence.bots = Bots::None;
pub const HARD: Change = |defence| defence.terms.challenge = Some(challenge(20));

/// Returns a defence with these changes of a drop without any.
pub fn defence(name: &'static str, changes: &[Change]) -> Defence {
    let mut defence = Defence {
        name,
        terms: DropTerms {
            hold_seconds: hold_seconds(300),
            max_per_hold: quantity(10),
            ..terms()
        },
        addresses: None,
        has_waitlist: false,
        bots: Bots::Processors,
    };
    for change in changes {
        change(&mut defence);
    }
    defence
}

/// Every row of the table.
pub fn all() -> Vec<Defence> {
    vec![
        defence("none, and no bots", &[NO_BOTS]),
        defence("none", &[]),
        defence("one unit per buyer (`max_per_buyer`)", &[PER_BUYER]),
        defence("one hold an hour (`throttle`)", &[THROTTLE]),
        defence("limits per address, defaults", &[ADDRESSES]),
        defence("limits per address, strict (5 holds, 5 expired)", &[STRICT]),
        defence("holds of 60 s in the stead of 300 s", &[SHORT]),
        defence("waitlist", &[WAITLIST]),
        defence("challenge, difficulty 4", &[CHALLENGE]),
        defence("challenge, difficulty 20", &[HARD]),
        defence("access codes for 400 of the buyers", &[CODES]),
        defence("one unit per buyer, throttle", &[PER_BUYER, THROTTLE]),
        defence("one unit per buyer, addresses strict", &[PER_BUYER, STRICT]),
        defence("one unit per buyer, waitlist", &[PER_BUYER, WAITLIST]),
        defence("one unit per buyer, access codes", &[PER_BUYER, CODES]),
        defence("one unit per buyer, challenge 4", &[PER_BUYER, CHALLENGE]),
        defence("one unit per buyer, challenge 20", &[PER_BUYER, HARD]),
        defence("the same against a graphics card", &[PER_BUYER, HARD, CARD]),
        defence(
            "one unit per buyer, waitlist, challenge 20",
            &[PER_BUYER, WAITLIST, HARD],
        ),
        defence(
            "all but codes",
            &[PER_BUYER, THROTTLE, STRICT, WAITLIST, SHORT, HARD],
        ),
        defence(
            "all",
            &[PER_BUYER, THROTTLE, STRICT, WAITLIST, SHORT, HARD, CODES],
        ),
    ]
}
