//! Bounds for one client address: requests for stock, unresolved holds, waiting entries, holds left
//! to expire, and attempts with wrong keys and unknown ids.
//!
//! Promise: bounded by default, exactly, until the memory bound is met; concurrent requests cannot
//! exceed a bound, a refused request does not count, and a retry that the log has an answer for is
//! neither refused nor counted. An address is the one that [`address`] finds, which no header can
//! forge. What becomes of a hold is taken from the log's events. Buying and giving up are never
//! refused here: each hold and each entry takes one such event, so bounding these bounds those.
//! Limit: each process counts for itself, in memory, and forgets at a restart; what must be exact
//! across processes is the drop's own throttle, decided from the log. Beyond [`MOST_REMEMBERED`] and
//! [`MOST_OPEN`], clients are not bounded. No address is in an event, an answer or a log line.
//!
//! Source: docs/decisions/0036-addresses-are-bounded-by-default.md.

pub mod address;
mod attempt;
mod keys;
mod open;
mod origin;
mod reports;
pub mod settings;
mod window;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use domain::values::{DropId, KeyDigest};
use engine::{Answer, Clock, CommandError, Observer, SystemClock};
use infrastructure::codec::RecordedEvent;
use infrastructure::feed::{Committed, Readmitted};

pub(crate) use self::address::Origin;
use self::address::{Client, TrustedProxies, UnlimitedNetworks};
pub(crate) use self::attempt::{Attempt, Tried};
use self::keys::{AnsweredKeys, MOST_KEYS};
pub(crate) use self::open::Asked;
use self::open::Open;
use self::reports::{Happened, Reports};
use self::settings::{Bound, Bounds, Count, Rate};
use self::window::Window;
use crate::app::App;
use crate::extract::BuyersKey;
use crate::problem::{Code, Problem, Quota};
use crate::refused::Reason;

/// The most requests remembered, over all addresses: some 60 MB.
pub const MOST_REMEMBERED: usize = 1_000_000;

/// The most expiries and the most attempts remembered, over all addresses: some 12 MB each.
const MOST_FAULTS_REMEMBERED: usize = 200_000;

/// The most holds, entries and requests for them that count, over all addresses: some 80 MB.
pub const MOST_OPEN: usize = 500_000;

/// When to try again where no instant is known.
const SOME_TIME: Duration = Duration::from_secs(60);

/// Lets requests in, or says when to come back. Clones share it.
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
    expired: Option<Window>,
    attempts: Option<Window>,
    open: Open,
    answered: AnsweredKeys,
}

/// Why a request is refused.
enum Full {
    Requests(Rate, Duration),
    Open(Asked, Count, Duration),
    Expired(Rate, Duration),
}

impl Limiter {
    /// A limiter that believes what `trusted` proxies say about their clients.
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

    fn note(&self, happened: Happened) {
        self.0.reports.note(happened, self.now());
    }

    /// Where a request comes from that a connection from `peer` sent with these headers.
    fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Origin {
        let Shared {
            trusted, unlimited, ..
        } = &*self.0;
        let forwards = ["x-forwarded-for", "forwarded"];
        if forwards.iter().any(|name| headers.contains_key(*name)) && !trusted.trust(peer) {
            self.note(if unlimited.contains(peer) {
                Happened::UnnamedUnlimitedProxy
            } else {
                Happened::UnnamedProxy
            });
        }
        trusted.origin(peer, headers, unlimited)
    }

    /// Lets a request for stock in, and counts it until it is settled; or refuses it with 429.
    ///
    /// # Errors
    /// 429, with the bound that is met and when to try again.
    pub(crate) fn admit(
        &self,
        app: &App,
        origin: Origin,
        drop_id: DropId,
        asked: Asked,
        keys: BuyersKey,
    ) -> Result<Admission, Problem> {
        let Origin::Limited(client) = origin else {
            return Ok(Admission(None));
        };
        let now = self.now();
        // Bound before it is looked at, so that the lock is free by then.
        let bounds = &self.0.bounds;
        let admitted = bounds.admit(&mut self.state(), client, asked, keys, now);
        match admitted {
            Ok(None) => Ok(Admission(None)),
            Ok(Some(charged_at)) => Ok(Admission(Some(Admitted {
                limiter: self.clone(),
                client,
                asked,
                key: keys.key,
                charged_at,
            }))),
            Err(full) => {
                self.note(Happened::Refused);
                app.refused.count_known(app, drop_id, Reason::Throttled);
                Err(full.into())
            }
        }
    }
}

/// When a request was counted among the address's requests, if they are bounded.
type Charged = Option<Duration>;

impl Bounds {
    /// Counts a request everywhere or nowhere. None: it is a retry, which counts nowhere.
    fn admit(
        &self,
        state: &mut State,
        client: Client,
        asked: Asked,
        BuyersKey { key, other_key }: BuyersKey,
        now: Duration,
    ) -> Result<Option<Charged>, Full> {
        if state.answered.contain(key) {
            return Ok(None);
        }
        // Of several requests for the same with one key at most one is accepted.
        // The engine knows whether the other key was used for the same buyer: if so, this is a retry
        // and is refunded; if not, it counts. Once accepted, its own key is known.
        let may_be_retry = state.answered.contain(other_key);
        if !may_be_retry && !state.open.is_pending(key, asked) {
            self.refuse_more(state, client, asked, now)?;
        }
        let charged = match (&mut state.requests, self.requests) {
            (Some(window), Bound(Some(_))) if may_be_retry => Some(window.count(client, now)),
            (Some(window), Bound(Some(rate))) => {
                let admitted = window.admit(client, now);
                Some(admitted.map_err(|wait| Full::Requests(rate, wait))?)
            }
            (Some(_) | None, _) => None,
        };
        state.open.begin(client, asked, key, now);
        Ok(Some(charged))
    }

    /// Refuses one more hold or entry of an address that has let too many holds expire, or that has
    /// as many as it may have.
    fn refuse_more(
        &self,
        state: &mut State,
        client: Client,
        asked: Asked,
        now: Duration,
    ) -> Result<(), Full> {
        if let (Some(window), Bound(Some(rate))) = (&mut state.expired, self.expired)
            && let Some(wait) = window.wait(client, now)
        {
            return Err(Full::Expired(rate, wait));
        }
        let holds = state.open.of(client, Asked::Hold);
        let (Bound(most), open, until) = match asked {
            Asked::Hold => (self.holds, holds, state.open.first_expiry(client)),
            Asked::Entry => {
                // Entries became them: a request for a hold would have been refused.
                let beyond = |most: Count| holds.saturating_sub(most.0 as usize);
                let beyond = self.holds.0.map_or(0, beyond);
                let open = state.open.of(client, Asked::Entry) + beyond;
                (self.entries, open, None)
            }
        };
        if let Some(most) = most.filter(|most| open >= most.0 as usize) {
            let left = until.map(|until| until.millis() - SystemClock.now().millis());
            let left = left.map(|left| Duration::from_millis(left.max(1).unsigned_abs()));
            return Err(Full::Open(asked, most, left.unwrap_or(SOME_TIME)));
        }
        Ok(())
    }
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        match full {
            Full::Requests(
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
            .used_up("Too many requests from this address lately.", wait),
            Full::Open(asked, Count(most), wait) => {
                let (name, limit_name, things) = match asked {
                    Asked::Hold => ("address-holds", "holds", "unresolved holds"),
                    Asked::Entry => (
                        "address-waitlist",
                        "waitlist_entries",
                        "waitlist entries or holds that they became",
                    ),
                };
                let quota = Quota {
                    name,
                    most,
                    window_seconds: None,
                };
                let detail = format!("This address has {most} {things}, the most that it may.");
                quota
                    .refuse(Code::AddressLimitReached, detail, wait)
                    .with("limit", most)
                    .with("limit_name", limit_name)
            }
            Full::Expired(
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
                let detail = format!(
                    "{most} holds from this address were left to expire within {window_seconds} seconds."
                );
                quota
                    .refuse(Code::CoolingDown, detail, wait)
                    .with("limit", most)
            }
        }
    }
}

/// A request that was let in. Dropped before it is settled, it counts as one without an outcome.
#[derive(Debug)]
#[must_use]
pub(crate) struct Admission(Option<Admitted>);

#[derive(Debug)]
struct Admitted {
    limiter: Limiter,
    client: Client,
    asked: Asked,
    key: KeyDigest,
    charged_at: Charged,
}

impl Admission {
    /// Takes note of the outcome: a retry that the log had an answer for is not counted.
    pub(crate) fn settle(mut self, outcome: &Result<Answer, CommandError>) {
        let Some(admitted) = self.0.take() else {
            return;
        };
        let is_known = !matches!(outcome, Err(CommandError::Undecided));
        let is_replay = outcome.as_ref().is_ok_and(Answer::is_replay);
        let now = admitted.limiter.now();
        let mut state = admitted.limiter.state();
        state
            .open
            .settle(admitted.key, admitted.asked, is_known, now);
        if let (Some(window), Some(at), true) =
            (&mut state.requests, admitted.charged_at, is_replay)
        {
            window.refund(admitted.client, at);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        // The caller went away; the engine may still record the request.
        if let Some(admitted) = self.0.take() {
            let Admitted {
                limiter,
                asked,
                key,
                ..
            } = admitted;
            let now = limiter.now();
            limiter.state().open.settle(key, asked, false, now);
        }
    }
}

impl Limiter {
    /// Learns from events of the log.
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
}

impl Observer for Limiter {
    fn committed(&mut self, committed: &Arc<Committed>) {
        self.follow(committed.events.iter());
        for drop_id in committed.quarantined.iter().filter_map(|why| why.drop_id) {
            self.state().open.forget(drop_id, &[]);
        }
    }

    /// What was followed before is not followed again.
    fn readmitted(&mut self, readmitted: &Readmitted) {
        let Readmitted {
            drop_id, events, ..
        } = readmitted;
        self.state().open.forget(*drop_id, events);
        let new = |event: &&RecordedEvent| event.position > readmitted.told;
        self.follow(readmitted.events.iter().filter(new));
    }
}

#[cfg(test)]
mod tests;
