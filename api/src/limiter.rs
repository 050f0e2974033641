//! Limits per client address: requests for stock, unresolved holds, waitlist entries, expired
//! holds, and attempts with wrong keys and unknown ids.
//!
//! Promise: limits are on by default, and exact until the memory bound is reached. Concurrent
//! requests cannot exceed a limit, a refused request does not count, and a retry of a recorded
//! request is neither refused nor counted. An address is the one that [`address`] determines, which
//! no header can forge. Holds are followed through the log's events. An order counts as one request
//! for each of its drops. Purchases, releases and the first payment of an order are never refused
//! here: each hold and each entry has one such event, so limiting holds limits those too. A hold
//! can be changed and a payment started any number of times, so changes and further starts count.
//! Limit: each process counts for itself, in memory, and starts from zero. A limit that must be
//! exact across processes is the drop's own throttle, decided from the log. Beyond
//! [`MOST_REMEMBERED`] and [`MOST_OPEN`], clients are not limited. No address is in an event, a
//! response or a log line.
//!
//! Source: docs/decisions/0036-addresses-are-bounded-by-default.md.

pub mod address;
mod attempt;
mod keys;
mod open;
mod reports;
pub mod settings;
mod window;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use domain::OrderEvent;
use domain::values::KeyDigest;
use engine::{Accepted, Clock, CommandError, Observer, SystemClock};
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent};
use infrastructure::feed::{Committed, Readmitted, ReadmittedOrder};

pub(crate) use self::address::Origin;
use self::address::{Client, TrustedProxies, UnlimitedNetworks};
pub(crate) use self::attempt::{Attempt, AttemptKind};
use self::keys::{AnsweredKeys, MOST_KEYS};
use self::open::Open;
pub(crate) use self::open::RequestKind;
use self::reports::{ReportKind, Reports};
use self::settings::{Bound, Bounds, Count, Rate};
use self::window::Window;
use crate::problem::{Code, Problem, Quota, counted};

/// Maximum number of remembered requests, over all addresses: some 60 MB.
pub const MOST_REMEMBERED: usize = 1_000_000;

/// Maximum number of remembered expiries, and of attempts, over all addresses: some 12 MB each.
const MOST_FAULTS_REMEMBERED: usize = 200_000;

/// Maximum number of counted holds, entries and requests for them, over all addresses: some 80 MB.
pub const MOST_OPEN: usize = 500_000;

/// `Retry-After` when the time at which the limit ends is not known.
const SOME_TIME: Duration = Duration::from_secs(60);

/// Admits requests, or refuses them with the time to retry. Clones share their counts.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    trusted: TrustedProxies,
    unlimited: UnlimitedNetworks,
    bounds: Bounds,
    started: Instant,
    reports: Reports,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: Option<Window>,
    payments: Option<Window>,
    choices: Option<Window>,
    expired: Option<Window>,
    attempts: Option<Window>,
    open: Open,
    answered: AnsweredKeys,
}

/// The limit that a request has reached.
enum LimitReached {
    Requests(Rate, Duration),
    Open(RequestKind, Count, Duration),
    Expired(Rate, Duration),
}

impl Limiter {
    /// A limiter that accepts the forwarded addresses of `trusted` proxies.
    #[must_use]
    pub fn new(bounds: Bounds, trusted: TrustedProxies, unlimited: UnlimitedNetworks) -> Self {
        let window = |Bound(rate): Bound<Rate>, capacity| {
            rate.map(
                |Rate {
                     most,
                     window_seconds,
                 }| {
                    Window::new(most, Duration::from_secs(window_seconds.into()), capacity)
                },
            )
        };
        let state = State {
            requests: window(bounds.requests, MOST_REMEMBERED),
            payments: window(bounds.requests, MOST_FAULTS_REMEMBERED),
            choices: window(bounds.requests, MOST_FAULTS_REMEMBERED),
            expired: window(bounds.expired, MOST_FAULTS_REMEMBERED),
            attempts: window(bounds.attempts, MOST_FAULTS_REMEMBERED),
            open: Open::new(MOST_OPEN),
            answered: AnsweredKeys::new(MOST_KEYS),
        };
        Self(Arc::new(Shared {
            trusted,
            unlimited,
            bounds,
            started: Instant::now(),
            reports: Reports::default(),
            state: Mutex::new(state),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.0.started.elapsed()
    }

    fn note(&self, kind: ReportKind) {
        self.0.reports.note(kind, self.now());
    }

    /// Returns the origin of a request that a connection from `peer` sent with these headers.
    pub(crate) fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Origin {
        let Shared {
            trusted, unlimited, ..
        } = &*self.0;
        let forwards = ["x-forwarded-for", "forwarded"];
        if forwards.iter().any(|name| headers.contains_key(*name)) && !trusted.trust(peer) {
            self.note(if unlimited.contains(peer) {
                ReportKind::UnnamedUnlimitedProxy
            } else {
                ReportKind::UnnamedProxy
            });
        }
        trusted.origin(peer, headers, unlimited)
    }

    /// Admits a request for `many` holds or entries and counts it until it is settled, or refuses
    /// it.
    ///
    /// # Errors
    /// 429, with the limit that is reached and the time to retry.
    pub(crate) fn admit(
        &self,
        origin: Origin,
        (kind, many): (RequestKind, usize),
        keys: BuyersKey,
    ) -> Result<Admission, Problem> {
        let Origin::Limited(client) = origin else {
            return Ok(Admission(None));
        };
        let now = self.now();
        // Bind the result before matching, so that the lock is released by then.
        let bounds = &self.0.bounds;
        let admitted = bounds.admit(&mut self.state(), client, (kind, many), keys, now);
        match admitted {
            Ok(None) => Ok(Admission(None)),
            Ok(Some(charged_at)) => Ok(Admission(Some(Admitted {
                limiter: self.clone(),
                client,
                kind,
                many,
                key: keys.key,
                charged_at,
            }))),
            Err(full) => {
                self.note(ReportKind::Refused);
                Err(full.into())
            }
        }
    }

    /// Admits a request that places nothing and counts it, or refuses it.
    ///
    /// # Errors
    /// 429 with the time to retry.
    pub(crate) fn admit_change(
        &self,
        origin: Origin,
        kind: ChangeKind,
    ) -> Result<ChangeAdmission, Problem> {
        let (Origin::Limited(client), Bound(Some(rate))) = (origin, self.0.bounds.requests) else {
            return Ok(ChangeAdmission(None));
        };
        let now = self.now();
        let window = |state: &mut State| {
            let admitted = state.changes(kind).map(|window| window.admit(client, now));
            admitted.transpose()
        };
        // Bind the result before matching, so that the lock is released by then.
        let admitted = window(&mut self.state());
        match admitted {
            Ok(at) => Ok(ChangeAdmission(
                at.map(|at| (self.clone(), kind, client, at)),
            )),
            Err(wait) => {
                self.note(ReportKind::Refused);
                Err(LimitReached::Requests(rate, wait).into())
            }
        }
    }
}

impl State {
    const fn changes(&mut self, kind: ChangeKind) -> Option<&mut Window> {
        match kind {
            ChangeKind::Hold => self.requests.as_mut(),
            ChangeKind::Payment => self.payments.as_mut(),
            ChangeKind::Choice => self.choices.as_mut(),
        }
    }
}

/// An admitted request that places nothing. It counts, unless it had no effect.
#[derive(Debug)]
#[must_use]
pub(crate) struct ChangeAdmission(Option<(Limiter, ChangeKind, Client, Duration)>);

impl ChangeAdmission {
    /// Records the outcome. A request that changed nothing is refunded.
    pub(crate) fn settle<S>(self, outcome: &Result<Accepted<S>, CommandError>) {
        if let Some((limiter, kind, client, at)) = self.0
            && outcome.as_ref().is_ok_and(Accepted::is_replay)
            && let Some(window) = limiter.state().changes(kind)
        {
            window.refund(client, at);
        }
    }
}

/// The idempotency key of a request for one buyer.
#[derive(Debug, Clone, Copy)]
pub struct BuyersKey {
    /// The key to record.
    pub key: KeyDigest,
    /// The key that also identifies a retry.
    pub other_key: KeyDigest,
}

/// The time under which a request was counted among the address's requests, if those are limited.
type Charged = Option<Duration>;

/// Requests that grow the log or call a provider, and place nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// A change of a hold. Counts among the requests for stock.
    Hold,
    /// A repeated or further start of a payment of one order, which calls the provider. Counted
    /// separately, so that requests for stock never keep a buyer from paying.
    Payment,
    /// A follow or a reminder, or the end of one. Counted separately, as payments are. One without
    /// effect counts as well: it costs the database the same.
    Choice,
}

impl Bounds {
    /// Counts a request against every limit or against none. Returns `None` for a retry, which
    /// never counts.
    fn admit(
        &self,
        state: &mut State,
        client: Client,
        (kind, many): (RequestKind, usize),
        BuyersKey { key, other_key }: BuyersKey,
        now: Duration,
    ) -> Result<Option<Charged>, LimitReached> {
        if state.answered.contain(key) {
            return Ok(None);
        }
        // At most one of several requests of the same kind with one key is accepted.
        // The engine knows if the other key was used for the same buyer: then this is a retry
        // and is refunded; otherwise it counts. Once accepted, its own key is known.
        let may_be_retry = state.answered.contain(other_key);
        if !may_be_retry && !state.open.is_pending(key, kind) {
            self.refuse_more(state, client, (kind, many), now)?;
        }
        let charged = match (&mut state.requests, self.requests) {
            (Some(window), Bound(Some(_))) if may_be_retry => {
                Some(window.count_many(client, many, now))
            }
            (Some(window), Bound(Some(rate))) => {
                let admitted = window.admit_many(client, many, now);
                Some(admitted.map_err(|wait| LimitReached::Requests(rate, wait))?)
            }
            (Some(_) | None, _) => None,
        };
        state.open.begin_many(client, (kind, many), key, now);
        Ok(Some(charged))
    }

    /// Refuses `many` more holds or entries if the address has let too many holds expire, or has
    /// reached its limit.
    fn refuse_more(
        &self,
        state: &mut State,
        client: Client,
        (kind, many): (RequestKind, usize),
        now: Duration,
    ) -> Result<(), LimitReached> {
        if let (Some(window), Bound(Some(rate))) = (&mut state.expired, self.expired)
            && let Some(wait) = window.wait(client, now)
        {
            return Err(LimitReached::Expired(rate, wait));
        }
        let holds = state.open.of(client, RequestKind::Hold);
        let (Bound(most), open, until) = match kind {
            RequestKind::Hold => (self.holds, holds, state.open.first_expiry(client)),
            RequestKind::Entry => {
                // Holds beyond the limit came from entries: a request for a hold would have been
                // refused.
                let beyond = |most: Count| holds.saturating_sub(most.0 as usize);
                let beyond = self.holds.0.map_or(0, beyond);
                let open = state.open.of(client, RequestKind::Entry) + beyond;
                (self.entries, open, None)
            }
        };
        if let Some(most) = most.filter(|most| open + many > most.0 as usize) {
            let left = until.map(|until| until.millis() - SystemClock.now().millis());
            let left = left.map(|left| Duration::from_millis(left.max(1).unsigned_abs()));
            return Err(LimitReached::Open(kind, most, left.unwrap_or(SOME_TIME)));
        }
        Ok(())
    }
}

impl From<LimitReached> for Problem {
    fn from(full: LimitReached) -> Self {
        match full {
            LimitReached::Requests(
                Rate {
                    most,
                    window_seconds,
                },
                wait,
            ) => Quota {
                name: "address",
                most,
                window_seconds: Some(window_seconds),
            }
            .throttled_problem("Too many recent requests from this address.", wait),
            LimitReached::Open(kind, Count(most), wait) => {
                let (name, limit_name, things) = match kind {
                    RequestKind::Hold => (
                        "address-holds",
                        "holds",
                        counted(most, "unresolved hold", "unresolved holds"),
                    ),
                    RequestKind::Entry => (
                        "address-waitlist",
                        "waitlist_entries",
                        counted(
                            most,
                            "waitlist entry or hold from the waitlist",
                            "waitlist entries or holds from the waitlist",
                        ),
                    ),
                };
                let quota = Quota {
                    name,
                    most,
                    window_seconds: None,
                };
                let next = match most {
                    1 => "Wait until it ends",
                    _ => "Wait until one of them ends",
                };
                let detail = format!(
                    "This address has {things}, the limit per address. {next}, then retry."
                );
                quota
                    .refuse(Code::AddressLimitReached, detail, wait)
                    .with("limit", most)
                    .with("limit_name", limit_name)
            }
            LimitReached::Expired(
                Rate {
                    most,
                    window_seconds,
                },
                wait,
            ) => {
                let quota = Quota {
                    name: "address-expired",
                    most,
                    window_seconds: Some(window_seconds),
                };
                let holds = counted(
                    most,
                    "hold from this address was",
                    "holds from this address were",
                );
                let seconds = counted(window_seconds, "second", "seconds");
                let detail = format!("{holds} left to expire within {seconds}.");
                quota
                    .refuse(Code::CoolingDown, detail, wait)
                    .with("limit", most)
            }
        }
    }
}

/// An admitted request. If it is dropped before it is settled, its outcome counts as unknown.
#[derive(Debug)]
#[must_use]
pub(crate) struct Admission(Option<Admitted>);

#[derive(Debug)]
struct Admitted {
    limiter: Limiter,
    client: Client,
    kind: RequestKind,
    /// The number of holds or entries that it counts as.
    many: usize,
    key: KeyDigest,
    charged_at: Charged,
}

impl Admission {
    /// Records the outcome. A retry of a recorded request is refunded.
    pub(crate) fn settle<S>(mut self, outcome: &Result<Accepted<S>, CommandError>) {
        let Some(admitted) = self.0.take() else {
            return;
        };
        let is_known = !matches!(outcome, Err(CommandError::Undecided));
        let is_replay = outcome.as_ref().is_ok_and(Accepted::is_replay);
        let now = admitted.limiter.now();
        let mut state = admitted.limiter.state();
        state
            .open
            .settle(admitted.key, admitted.kind, is_known, now);
        if let (Some(window), Some(at), true) =
            (&mut state.requests, admitted.charged_at, is_replay)
        {
            for _ in 0..admitted.many {
                window.refund(admitted.client, at);
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        // The client disconnected; the engine may still record the request.
        if let Some(admitted) = self.0.take() {
            let Admitted {
                limiter, kind, key, ..
            } = admitted;
            let now = limiter.now();
            limiter.state().open.settle(key, kind, false, now);
        }
    }
}

impl Limiter {
    /// Follows events of the log.
    fn follow<'a>(&self, events: impl Iterator<Item = &'a RecordedEvent>) {
        let now = self.now();
        let mut state = self.state();
        let State {
            expired,
            open,
            answered,
            ..
        } = &mut *state;
        for recorded in events {
            if let Some(key) = recorded.event.key() {
                answered.add(key);
            }
            if let (Some(client), Some(window)) = (open.follow(&recorded.event), &mut *expired) {
                window.count(client, now);
            }
        }
    }

    /// Follows events of orders, before those of the holds that they consist of.
    fn follow_orders(&self, events: &[RecordedOrderEvent]) {
        if events.is_empty() {
            return;
        }
        let mut state = self.state();
        for recorded in events {
            if let OrderEvent::OrderPlaced(event) = &recorded.event {
                if let Some(key) = event.key {
                    state.answered.add(key);
                }
                state.open.ordered(event);
            }
        }
    }
}

impl Observer for Limiter {
    fn committed(&mut self, committed: &Arc<Committed>) {
        self.follow_orders(&committed.orders);
        self.follow(committed.events.iter());
        for drop_id in committed.quarantined.iter().filter_map(|why| why.drop_id) {
            self.state().open.forget(drop_id, &[]);
        }
    }

    /// Follows only the events that were not followed before.
    fn readmitted(&mut self, readmitted: &Readmitted) {
        let Readmitted {
            drop_id, events, ..
        } = readmitted;
        self.state().open.forget(*drop_id, events);
        let new = |event: &&RecordedEvent| event.position > readmitted.observed;
        self.follow(readmitted.events.iter().filter(new));
    }

    fn order_readmitted(&mut self, readmitted: &ReadmittedOrder) {
        let observed = readmitted.observed;
        let known = |event: &RecordedOrderEvent| event.position <= observed;
        let first = readmitted.events.partition_point(known);
        self.follow_orders(&readmitted.events[first..]);
    }
}

#[cfg(test)]
mod tests;
