//! Counts refusals by drop and minute. They are telemetry and not events, because nothing changed.
//!
//! Promise: counting takes no contended lock, and allocates only for a drop's first refusal in a
//! minute. Counts reach the table `refusals` within about a second and at shutdown, are summed over
//! all processes, and are read again at startup. Limit: `kill -9` loses the last second; a flush
//! with an unknown outcome is counted again. Minutes older than [`KEPT`] stay in the table and are
//! not reported.

mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use domain::Refusal;
use domain::values::{DropId, Timestamp};
use engine::{Clock, CommandError, SystemClock};
use projections::views::Views;
use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::admin::window::FURTHEST_BACK;
use crate::problem::{Problem, without_numbers};
use crate::viewer::Viewer;

/// The interval at which counts are added to the table.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How far back counts can be queried: as far as sales, which are reported with them.
pub const KEPT: Duration = FURTHEST_BACK;
/// Counters without a change for this time are dropped, in milliseconds.
const IDLE_MS: i64 = 120_000;

/// The refusals that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// More units were requested than were available: a blocked oversell attempt.
    SoldOut,
    /// A limit per hold or per buyer.
    LimitReached,
    /// The rate limit of a buyer or an address.
    Throttled,
}

impl Reason {
    fn of(refusal: &Refusal) -> Option<Self> {
        match refusal {
            Refusal::SoldOut { .. } => Some(Self::SoldOut),
            Refusal::LimitReached { .. } => Some(Self::LimitReached),
            Refusal::Throttled { .. } => Some(Self::Throttled),
            Refusal::OfItem { refusal, .. } => Self::of(refusal),
            Refusal::DropNotFound
            | Refusal::HoldNotFound
            | Refusal::OtherSpelling
            | Refusal::AlreadyScheduled
            | Refusal::IdempotencyKeyReused
            | Refusal::NotLive { .. }
            | Refusal::Paused { .. }
            | Refusal::Draft
            | Refusal::Ended { .. }
            | Refusal::CodeRequired
            | Refusal::CodeInvalid
            | Refusal::CodeExpired { .. }
            | Refusal::CodeSpent { .. }
            | Refusal::TooManyCodes { .. }
            | Refusal::CodesExpireBeforeOpening { .. }
            | Refusal::ChallengeRequired { .. }
            | Refusal::ExtensionLimit { .. }
            | Refusal::HoldExpired { .. }
            | Refusal::HoldReleased { .. }
            | Refusal::HoldPurchased { .. }
            | Refusal::PaymentReferenceConflict { .. }
            | Refusal::PurchaseNotFound
            | Refusal::NothingToRefund { .. }
            | Refusal::InsufficientStock { .. }
            | Refusal::TooMuchStock { .. }
            | Refusal::NotSoldOut { .. }
            | Refusal::AlreadyWaiting { .. }
            | Refusal::WaitlistFull { .. }
            | Refusal::WaitlistEntryNotFound
            | Refusal::AlreadyOffered { .. }
            | Refusal::StaleVersion { .. }
            | Refusal::StaleStock { .. }
            | Refusal::EndsBeforeStart { .. }
            | Refusal::HoldInOrder { .. }
            | Refusal::OrderNotFound
            | Refusal::OrderPaid { .. }
            | Refusal::OrderReferenceConflict { .. }
            | Refusal::OrderCancelled { .. }
            | Refusal::OrderExpired { .. }
            | Refusal::OrderNotPaid { .. }
            | Refusal::FulfilmentOrder { .. }
            | Refusal::MixedCurrencies { .. }
            | Refusal::PaymentNotFound
            | Refusal::TooManyPayments { .. }
            | Refusal::RefundNotFound
            | Refusal::RefundSucceeded { .. } => None,
        }
    }
}

/// The number of refused requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// More units were requested than were available: blocked oversell attempts.
    pub sold_out: u64,
    /// A limit per hold or per buyer was reached.
    pub limit_reached: u64,
    /// The rate limit of a buyer or an address was exceeded.
    pub throttled: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.sold_out += more.sold_out;
        self.limit_reached += more.limit_reached;
        self.throttled += more.throttled;
    }
}

/// One minute of one drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Slot {
    minute: Timestamp,
    drop_id: DropId,
}

#[derive(Debug, Default)]
struct Counters {
    sold_out: AtomicU64,
    limit_reached: AtomicU64,
    throttled: AtomicU64,
}

impl Counters {
    fn add(&self, more: Tally) {
        self.sold_out.fetch_add(more.sold_out, Ordering::Relaxed);
        self.limit_reached
            .fetch_add(more.limit_reached, Ordering::Relaxed);
        self.throttled.fetch_add(more.throttled, Ordering::Relaxed);
    }

    fn count(&self, reason: Reason) {
        let counter = match reason {
            Reason::SoldOut => &self.sold_out,
            Reason::LimitReached => &self.limit_reached,
            Reason::Throttled => &self.throttled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> Tally {
        Tally {
            sold_out: self.sold_out.load(Ordering::Relaxed),
            limit_reached: self.limit_reached.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
        }
    }

    fn take(&self) -> Tally {
        Tally {
            sold_out: self.sold_out.swap(0, Ordering::Relaxed),
            limit_reached: self.limit_reached.swap(0, Ordering::Relaxed),
            throttled: self.throttled.swap(0, Ordering::Relaxed),
        }
    }
}

/// The rows of the table as last read, and the counts that are being written to it.
#[derive(Debug, Default)]
struct Known {
    rows: BTreeMap<Slot, Tally>,
    in_flight: Vec<(Slot, Tally)>,
}

/// Counts refusals. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct Refused {
    pending: Arc<RwLock<HashMap<Slot, Counters>>>,
    known: Arc<RwLock<Known>>,
    since_start: Arc<Counters>,
}

impl Refused {
    /// Converts an error of the engine into a problem, and counts it if it has a [`Reason`]. The
    /// problem has no numbers of a stock that `viewer` does not see.
    pub(crate) fn problem(
        &self,
        views: &Views,
        viewer: Viewer,
        drop_id: DropId,
        error: CommandError,
    ) -> Problem {
        if let CommandError::Refused { refusal, at } = &error
            && let Some(reason) = Reason::of(refusal)
        {
            self.count(drop_id, reason, *at);
        }
        let terms = views.terms(drop_id);
        match terms.is_some_and(|terms| !viewer.sees_numbers(&terms)) {
            true => without_numbers(error),
            false => error.into(),
        }
    }

    /// As [`Refused::problem`], for an order with these items: counts for the drop of the refused
    /// one.
    pub(crate) fn problem_of_order(
        &self,
        views: &Views,
        viewer: Viewer,
        drops: &[DropId],
        error: CommandError,
    ) -> Problem {
        let refused = if let CommandError::Refused { refusal, .. } = &error
            && let Refusal::OfItem { item, .. } = refusal
        {
            drops.get(*item as usize)
        } else {
            None
        };
        match refused {
            Some(drop_id) => self.problem(views, viewer, *drop_id, error),
            None => Problem::from(error),
        }
    }

    /// Counts a refusal that was made before the engine. Drops that do not exist or have ended are
    /// not counted: rows are kept for a long time, and rejected clients must not create many.
    pub(crate) fn count_known(
        &self,
        views: &Views,
        drop_id: DropId,
        reason: Reason,
        now: Timestamp,
    ) {
        let drop = views.drop(drop_id);
        if drop.is_some_and(|drop| !drop.row.status(now).is_over()) {
            self.count(drop_id, reason, now);
        }
    }

    /// Returns the refusals of this process since it started, over all drops.
    pub(crate) fn since_start(&self) -> Tally {
        self.since_start.now()
    }

    fn count(&self, drop_id: DropId, reason: Reason, at: Timestamp) {
        self.since_start.count(reason);
        let minute = at.minute();
        let slot = Slot { minute, drop_id };
        if let Some(counters) = read(&self.pending).get(&slot) {
            return counters.count(reason);
        }
        let mut pending = write(&self.pending);
        pending.entry(slot).or_default().count(reason);
    }

    /// Returns the refusals since the minute of `from`, over all drops.
    #[must_use]
    pub fn totals(&self, from: Timestamp) -> Tally {
        let mut total = Tally::default();
        self.visit(from, |_, tally| total += tally);
        total
    }

    /// Returns the refusals of one drop since the minute of `from`.
    #[must_use]
    pub fn of_drop(&self, drop_id: DropId, from: Timestamp) -> Tally {
        let mut total = Tally::default();
        self.visit(from, |slot, tally| {
            if slot.drop_id == drop_id {
                total += tally;
            }
        });
        total
    }

    /// Returns the refusals of each minute since that of `from`, of one drop or of all. Empty
    /// minutes are omitted.
    #[must_use]
    pub fn by_minute(
        &self,
        drop_id: Option<DropId>,
        from: Timestamp,
    ) -> BTreeMap<Timestamp, Tally> {
        let mut minutes = BTreeMap::<Timestamp, Tally>::new();
        self.visit(from, |slot, tally| {
            if drop_id.is_none_or(|drop_id| drop_id == slot.drop_id) {
                *minutes.entry(slot.minute).or_default() += tally;
            }
        });
        minutes
    }

    fn visit(&self, from: Timestamp, mut look: impl FnMut(Slot, Tally)) {
        let first = Slot {
            minute: from.minute(),
            drop_id: DropId(Uuid::nil()),
        };
        let known = read(&self.known);
        for (slot, tally) in known.rows.range(first..) {
            look(*slot, *tally);
        }
        for (slot, tally) in known.in_flight.iter().filter(|(slot, _)| *slot >= first) {
            look(*slot, *tally);
        }
        for (slot, counters) in read(&self.pending).iter() {
            let tally = counters.now();
            if *slot >= first && tally != Tally::default() {
                look(*slot, tally);
            }
        }
    }

    /// Reads the counts of earlier processes, then adds new counts to the table until `stop`, and a
    /// last time after it.
    pub async fn keep(self, pool: PgPool, stop: CancellationToken) {
        let mut changed_since = SystemClock.now().plus_millis(-kept_ms());
        while !stop.is_cancelled() {
            changed_since = self.exchange(&pool, changed_since).await;
            stop.run_until_cancelled(sleep(FLUSH_EVERY)).await;
        }
        self.exchange(&pool, changed_since).await;
    }

    /// Writes new counts and reads changed rows. Returns the time from which to read next.
    async fn exchange(&self, pool: &PgPool, changed_since: Timestamp) -> Timestamp {
        let exchanged = async {
            self.flush(pool).await?;
            let (rows, read_until) = table::changed_since(pool, changed_since).await?;
            self.learn(rows);
            Ok::<_, sqlx::Error>(read_until)
        };
        exchanged.await.unwrap_or_else(|error| {
            warn!(%error, "cannot write refusal counts to the database; counting in memory until \
                           it is available");
            changed_since
        })
    }

    async fn flush(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let counted = self.take();
        if counted.is_empty() {
            return Ok(());
        }
        let added = table::add(pool, &counted).await;
        let mut known = write(&self.known);
        known.in_flight.clear();
        match added {
            Ok(rows) => {
                known.rows.extend(rows);
                Ok(())
            }
            Err(error) => {
                drop(known);
                let mut pending = write(&self.pending);
                for (slot, tally) in counted {
                    pending.entry(slot).or_default().add(tally);
                }
                Err(error)
            }
        }
    }

    /// Takes the counts out of the counters, and drops counters of past minutes.
    fn take(&self) -> Vec<(Slot, Tally)> {
        let idle = SystemClock.now().plus_millis(-IDLE_MS);
        let mut known = write(&self.known);
        let mut pending = write(&self.pending);
        let taken = pending
            .iter()
            .map(|(slot, counters)| (*slot, counters.take()));
        let counted: Vec<_> = taken
            .filter(|(_, tally)| *tally != Tally::default())
            .collect();
        pending.retain(|slot, _| slot.minute >= idle);
        known.in_flight.clone_from(&counted);
        counted
    }

    fn learn(&self, rows: Vec<(Slot, Tally)>) {
        let oldest = SystemClock.now().plus_millis(-kept_ms());
        let mut known = write(&self.known);
        known.rows.extend(rows);
        known.rows.retain(|slot, _| slot.minute >= oldest);
    }
}

fn kept_ms() -> i64 {
    i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
