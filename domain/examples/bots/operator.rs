//! The operator of the bots, with a budget of identities, addresses and processors.

use std::collections::VecDeque;
use std::time::Duration;

use domain::terms::DropTerms;
use domain::values::Access;

use super::defences::{AddressLimits, Bots};

pub const IDENTITIES: usize = 400;
pub const ADDRESSES: usize = 20;
const CORES: usize = 4;
/// Access codes that leaked.
pub const LEAKED: usize = 10;
/// Iterations of PBKDF2 that one processor does in a second.
const RATE: f64 = 5_000_000.0;
/// How many times as fast a graphics card is.
const CARD: f64 = 500.0;
/// Processor time of a request without a challenge, in seconds.
const REQUEST: f64 = 0.000_2;

/// Returns whole milliseconds.
pub fn millis(seconds: f64) -> i64 {
    let millis = Duration::from_secs_f64(seconds).as_millis();
    i64::try_from(millis).expect("a short time")
}

#[derive(Debug, Clone, Default)]
struct Address {
    open: usize,
    waiting: usize,
    /// When its holds expired, oldest first.
    expired: VecDeque<i64>,
}

#[derive(Debug, Clone, Default)]
struct Identity {
    held: u32,
    next_hold: i64,
    is_waiting: bool,
    is_busy: bool,
}

/// A request that the operator prepares.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    pub identity: usize,
    pub address: usize,
    pub units: u32,
    pub code: Option<usize>,
    /// When it reaches the shop.
    pub at: i64,
}

pub struct Operator {
    terms: DropTerms,
    /// Iterations of PBKDF2 that one of its processors does in a second.
    rate: f64,
    limits: Option<AddressLimits>,
    identities: Vec<Identity>,
    addresses: Vec<Address>,
    /// When each processor is free.
    cores: [i64; CORES],
    codes: Vec<usize>,
    next: usize,
    pub cpu_seconds: f64,
    /// Units of holds that are prepared.
    pub in_flight: u32,
}

impl Operator {
    pub fn new(terms: DropTerms, limits: Option<AddressLimits>, bots: Bots) -> Self {
        let identities = match bots {
            Bots::None => 0,
            Bots::Processors | Bots::Card => IDENTITIES,
        };
        Self {
            rate: match bots {
                Bots::Card => RATE * CARD,
                Bots::None | Bots::Processors => RATE,
            },
            terms,
            limits,
            identities: vec![Identity::default(); identities],
            addresses: vec![Address::default(); ADDRESSES],
            cores: [0; CORES],
            codes: (0..LEAKED).collect(),
            next: 0,
            cpu_seconds: 0.0,
            in_flight: 0,
        }
    }

    /// Prepares a hold of at most `wanted` units; `None` if the budget does not suffice.
    pub fn plan_hold(&mut self, wanted: u32, now: i64) -> Option<Planned> {
        let planned = self.plan(wanted, now, |address| address.open)?;
        self.addresses[planned.address].open += 1;
        self.in_flight += planned.units;
        Some(planned)
    }

    /// Prepares a waitlist entry.
    pub fn plan_entry(&mut self, now: i64) -> Option<Planned> {
        let planned = self.plan(u32::MAX, now, |address| address.waiting)?;
        self.addresses[planned.address].waiting += 1;
        self.identities[planned.identity].is_waiting = true;
        Some(planned)
    }

    fn plan(&mut self, wanted: u32, now: i64, used: fn(&Address) -> usize) -> Option<Planned> {
        if self.terms.access == Access::Code && self.codes.is_empty() {
            return None;
        }
        let address = self.free_address(now, used)?;
        let identity = self.free_identity(now)?;
        let allowance = self.terms.allowance(self.identities[identity].held);
        let code = match self.terms.access {
            Access::Code => self.codes.pop(),
            Access::Open => None,
        };
        self.identities[identity].is_busy = true;
        Some(Planned {
            identity,
            address,
            units: allowance.min(wanted),
            code,
            at: now + 50,
        })
    }

    fn free_address(&mut self, now: i64, used: fn(&Address) -> usize) -> Option<usize> {
        let limits = self.limits;
        let addresses = self.addresses.iter_mut().enumerate();
        let free = addresses.filter_map(|(index, address)| {
            let since = now - AddressLimits::WINDOW_MILLIS;
            while address.expired.front().is_some_and(|&at| at <= since) {
                address.expired.pop_front();
            }
            // Every open hold of a bot will expire as well.
            let is_free = limits.is_none_or(|limits| {
                used(address) < limits.open && address.expired.len() < limits.expired
            });
            is_free.then_some((used(address), index))
        });
        free.min().map(|(_, index)| index)
    }

    fn free_identity(&mut self, now: i64) -> Option<usize> {
        let identities = self.identities.len();
        for _ in 0..identities {
            let index = self.next;
            self.next = (self.next + 1) % identities;
            let identity = &self.identities[index];
            let can_hold = self.terms.allowance(identity.held) > 0 && identity.next_hold <= now;
            if can_hold && !identity.is_waiting && !identity.is_busy {
                return Some(index);
            }
        }
        None
    }

    /// Computes for `iterations`, on the processor that is free first; returns when it is done.
    pub fn work(&mut self, iterations: f64, now: i64) -> i64 {
        let seconds = iterations / self.rate;
        self.cpu_seconds += seconds;
        let core = self.cores.iter_mut().min().expect("has processors");
        *core = now.max(*core) + millis(seconds);
        *core
    }

    /// Counts a request.
    pub fn requested(&mut self) {
        self.cpu_seconds += REQUEST;
    }

    /// The hold was placed: directly, or as an offer to a waiting entry.
    pub fn placed(&mut self, planned: Planned, is_offer: bool, now: i64) {
        let identity = &mut self.identities[planned.identity];
        identity.held += planned.units;
        identity.is_busy = false;
        let window = self
            .terms
            .throttle
            .map_or(0, |throttle| throttle.window_seconds.get());
        identity.next_hold = now + 1_000 * i64::from(window);
        let address = &mut self.addresses[planned.address];
        if is_offer {
            identity.is_waiting = false;
            address.waiting -= 1;
            address.open += 1;
        } else {
            self.in_flight -= planned.units;
        }
    }

    /// The entry waits.
    pub fn joined(&mut self, planned: Planned) {
        self.identities[planned.identity].is_busy = false;
    }

    /// The shop refused the hold or the entry.
    pub fn refused(&mut self, planned: Planned, is_entry: bool) {
        let identity = &mut self.identities[planned.identity];
        identity.is_busy = false;
        self.codes.extend(planned.code);
        let address = &mut self.addresses[planned.address];
        if is_entry {
            identity.is_waiting = false;
            address.waiting -= 1;
        } else {
            address.open -= 1;
            self.in_flight -= planned.units;
        }
    }

    pub fn expired(&mut self, planned: Planned, now: i64) {
        self.identities[planned.identity].held -= planned.units;
        self.codes.extend(planned.code);
        let address = &mut self.addresses[planned.address];
        address.open -= 1;
        address.expired.push_back(now);
    }
}
