//! Proving a log, one event at a time, with code that shares nothing with what wrote it but the event types and the hash.
//!
//! Promise: the first position at which the log breaks a promise is named. Checked: density, the chain, monotone time,
//! sequences without gaps, payloads that decode (after upcasting) and are filed under their type, commitments to personal
//! data that is still there, and at every position `available + held + sold = total` with none negative, every hold placed
//! once and resolved at most once, no purchase at or after `expires_at`, and every place in line settled at most once, by an
//! offer of what it waited for or by leaving.
//! Limit: memory grows with drops, with holds that are not resolved and with places that wait, not with the log. That a hold
//! was placed twice is known at the end only, unless the first was not resolved yet: ids that are done with are sorted on disk
//! ([`super::distinct`]).

use std::collections::HashMap;

use domain::DropEvent;
use domain::values::{DropId, HoldId, Position, Pseudonym, Sequence, Timestamp, WaitlistId};
use infrastructure::codec::{RecordedEvent, decode};
use infrastructure::erasure::{BUYER_ERASED, ERASURE_TYPE};
use infrastructure::error::LogError;
use infrastructure::log::{Head, StoredEvent, chain};

use super::distinct::Distinct;
use super::violation::{Claim, Fault, Stop, Violation, differs, expect};

/// Units of one drop, by arithmetic that may go wrong where the engine's panics.
#[derive(Debug, Default)]
struct Units {
    sequence: Sequence,
    is_scheduled: bool,
    is_cancelled: bool,
    total: i64,
    available: i64,
    held: i64,
    sold: i64,
}

#[derive(Debug)]
struct OpenHold {
    drop_id: DropId,
    quantity: i64,
    expires_at: Timestamp,
}

#[derive(Debug)]
struct OpenPlace {
    drop_id: DropId,
    hold_id: HoldId,
    buyer: Pseudonym,
    quantity: u32,
}

/// Takes every event of a log in order; see the module.
#[derive(Debug, Default)]
pub struct Verifier {
    head: Head,
    events: u64,
    introductions: u64,
    erased: u64,
    erasures: u64,
    drops: HashMap<DropId, Units>,
    foreign: HashMap<String, HashMap<String, Sequence>>,
    holds: HashMap<HoldId, OpenHold>,
    places: HashMap<WaitlistId, OpenPlace>,
    placed: Distinct,
    claims: Vec<Claim>,
    knows_private: bool,
}

/// What was proved of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// Events.
    pub events: u64,
    /// Where it ends.
    pub head: Head,
    /// Drops.
    pub drops: usize,
    /// Holds that are not resolved.
    pub open_holds: usize,
    /// Events that personal data belongs to.
    pub introductions: u64,
    /// Erasures that were recorded.
    pub erasures: u64,
    /// Introductions whose personal data is erased; none when the reader may not see any.
    pub erased: Option<u64>,
}

type Check = Result<(), Fault>;

impl Verifier {
    /// A verifier that holds the log to `claims`. Without personal data (`knows_private`) commitments are not checked.
    #[must_use]
    pub fn new(claims: Vec<Claim>, knows_private: bool) -> Self {
        Self {
            claims,
            knows_private,
            ..Self::default()
        }
    }

    /// Where it has come to.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Checks the next event; returns what it says, if it is a drop's.
    ///
    /// # Errors
    /// [`Stop`] when it breaks a promise.
    pub fn check(&mut self, stored: &StoredEvent) -> Result<Option<RecordedEvent>, Stop> {
        let next = self.head.position.next();
        if stored.position != next {
            return Err(differs("position", next, stored.position).at(next).into());
        }
        let recorded = self.check_parts(stored).map_err(|fault| Violation {
            stream: Some(stored.aggregate_id.clone()),
            ..fault.at(next)
        })?;
        if let Some(RecordedEvent {
            event: DropEvent::HoldPlaced(event),
            ..
        }) = &recorded
        {
            self.placed.add(event.hold_id.0, next)?;
        }
        self.head = stored.head();
        self.events += 1;
        Ok(recorded)
    }

    /// Checks that the log's own head is what its events lead to.
    ///
    /// # Errors
    /// [`Violation`] when it is not.
    pub fn ends_at(&self, head: Head) -> Result<(), Violation> {
        if self.head == head {
            return Ok(());
        }
        let say = |head: Head| format!("{} at {}", head.hash, head.recorded_at);
        Err(differs("the head of the log", say(self.head), say(head)).at(head.position))
    }

    /// Ends the proof.
    ///
    /// # Errors
    /// [`Stop`] when the log ends before what was claimed, or a hold was placed again after it was resolved.
    pub fn finish(self) -> Result<Proved, Stop> {
        let after = self.head.position.next();
        if let Some(claim) = self.claims.iter().find(|claim| claim.position >= after) {
            let (ends, claimed) = (self.head.position, claim.position);
            let reason = format!(
                "the log ends at position {ends}, but {} knows position {claimed}",
                claim.source
            );
            return Err(Violation::at(after, reason).into());
        }
        let start = Head::default();
        let before_all =
            |claim: &&Claim| claim.position == Position::default() && claim.hash != start.hash;
        if let Some(claim) = self.claims.iter().find(before_all) {
            let what = format!("hash that {} knows", claim.source);
            return Err(differs(&what, claim.hash, start.hash)
                .at(start.position)
                .into());
        }
        if let Some((hold, position)) = self.placed.first_repeat()? {
            return Err(Violation::at(position, format!("hold {hold} was placed twice")).into());
        }
        Ok(Proved {
            events: self.events,
            head: self.head,
            drops: self.drops.len(),
            open_holds: self.holds.len(),
            introductions: self.introductions,
            erasures: self.erasures,
            erased: self.knows_private.then_some(self.erased),
        })
    }

    fn check_parts(&mut self, stored: &StoredEvent) -> Result<Option<RecordedEvent>, Fault> {
        expect("hash", chain::link(&self.head.hash, stored), stored.hash)?;
        for claim in &self.claims {
            if claim.position == stored.position && claim.hash != stored.hash {
                let what = format!("hash that {} knows", claim.source);
                return Err(differs(&what, claim.hash, stored.hash));
            }
        }
        if stored.recorded_at < self.head.recorded_at {
            return Err(format!(
                "recorded at {}, before {} at the position before",
                stored.recorded_at, self.head.recorded_at
            )
            .into());
        }
        match decode(stored) {
            Ok(Some(recorded)) => {
                if stored.aggregate_id != recorded.drop_id.to_string() {
                    return Err(differs(
                        "aggregate_id",
                        recorded.drop_id.to_string(),
                        stored.aggregate_id.clone(),
                    ));
                }
                let units = self.drops.entry(recorded.drop_id).or_default();
                follows(&mut units.sequence, stored.sequence)?;
                self.check_event(&recorded)?;
                Ok(Some(recorded))
            }
            Ok(None) => {
                let streams = self
                    .foreign
                    .entry(stored.aggregate_type.to_string())
                    .or_default();
                let last = streams.entry(stored.aggregate_id.clone()).or_default();
                follows(last, stored.sequence)?;
                let is_erasure =
                    stored.aggregate_type == ERASURE_TYPE && stored.event_type == BUYER_ERASED;
                self.erasures += u64::from(is_erasure);
                Ok(None)
            }
            Err(LogError::Corrupt { reason, .. }) => Err(reason.into()),
            Err(unavailable @ LogError::Unavailable(_)) => Err(unavailable.to_string().into()),
        }
    }

    fn check_event(&mut self, recorded: &RecordedEvent) -> Check {
        self.check_commitment(recorded)?;
        let drop_id = recorded.drop_id;
        match &recorded.event {
            DropEvent::DropScheduled(event) => {
                let total = i64::from(event.total_stock.get());
                let units = self.drops.entry(drop_id).or_default();
                if units.is_scheduled {
                    return Err(format!("drop {drop_id} was scheduled twice").into());
                }
                (units.is_scheduled, units.total, units.available) = (true, total, total);
            }
            DropEvent::DropRescheduled(_) => drop(self.open_drop(drop_id)?),
            DropEvent::DropCancelled(_) => self.open_drop(drop_id)?.is_cancelled = true,
            DropEvent::HoldPlaced(event) => {
                let quantity = i64::from(event.quantity.get());
                let hold = OpenHold {
                    drop_id,
                    quantity,
                    expires_at: event.expires_at,
                };
                if self.holds.insert(event.hold_id, hold).is_some() {
                    return Err(format!("hold {} was placed twice", event.hold_id).into());
                }
                if let Some(entry_id) = event.waitlist_entry {
                    let quantity = event.quantity.get();
                    let place = self.settle(entry_id, drop_id, event.buyer, quantity)?;
                    expect("hold of the place", place.hold_id, event.hold_id)?;
                }
                let units = self.open_drop(drop_id)?;
                units.available -= quantity;
                units.held += quantity;
            }
            DropEvent::HoldExpired(event) => {
                let hold = self.resolve(event.hold_id, drop_id, event.quantity.get())?;
                expect("expired_at", hold.expires_at, event.expired_at)?;
                if recorded.recorded_at < hold.expires_at {
                    return Err(format!(
                        "hold {} expired at {}, before its time, {}",
                        event.hold_id, recorded.recorded_at, hold.expires_at
                    )
                    .into());
                }
                self.give_back(drop_id, hold.quantity)?;
            }
            DropEvent::HoldReleased(event) => {
                let hold = self.resolve(event.hold_id, drop_id, event.quantity.get())?;
                if event.released_at >= hold.expires_at {
                    return Err(format!(
                        "hold {} was released at {}, but it was over at {}",
                        event.hold_id, event.released_at, hold.expires_at
                    )
                    .into());
                }
                self.give_back(drop_id, hold.quantity)?;
            }
            DropEvent::PurchaseConfirmed(event) => {
                let hold = self.resolve(event.hold_id, drop_id, event.quantity.get())?;
                if event.purchased_at >= hold.expires_at {
                    return Err(format!(
                        "hold {} was purchased at {}, but it was over at {}",
                        event.hold_id, event.purchased_at, hold.expires_at
                    )
                    .into());
                }
                let units = self.open_drop(drop_id)?;
                units.held -= hold.quantity;
                units.sold += hold.quantity;
            }
            DropEvent::StockAdjusted(event) => {
                let units = self.open_drop(drop_id)?;
                units.total += i64::from(event.delta);
                units.available += i64::from(event.delta);
                let claimed = [
                    event.stock.total,
                    event.stock.available,
                    event.stock.held,
                    event.stock.sold,
                ]
                .map(i64::from);
                let found = [units.total, units.available, units.held, units.sold];
                if claimed != found {
                    let what = "total, available, held, sold after the adjustment";
                    return Err(differs(what, format!("{found:?}"), format!("{claimed:?}")));
                }
            }
            DropEvent::WaitlistJoined(event) => {
                let place = OpenPlace {
                    drop_id,
                    hold_id: event.hold_id,
                    buyer: event.buyer,
                    quantity: event.quantity.get(),
                };
                if self.places.insert(event.entry_id, place).is_some() {
                    return Err(format!("place {} was taken twice", event.entry_id).into());
                }
            }
            DropEvent::WaitlistLeft(event) => {
                self.settle(event.entry_id, drop_id, event.buyer, event.quantity.get())?;
            }
        }
        self.units(drop_id)?.check()
    }

    /// The place, which waited until now.
    fn settle(
        &mut self,
        entry_id: WaitlistId,
        drop_id: DropId,
        buyer: Pseudonym,
        quantity: u32,
    ) -> Result<OpenPlace, Fault> {
        let place = self.places.remove(&entry_id).ok_or_else(|| {
            format!("place {entry_id} is settled, but it does not wait: it was never taken, or settled before")
        })?;
        expect("drop of the place", place.drop_id, drop_id)?;
        expect("buyer of the place", place.buyer, buyer)?;
        expect("quantity of the place", place.quantity, quantity)?;
        Ok(place)
    }

    fn check_commitment(&mut self, recorded: &RecordedEvent) -> Check {
        let committed = recorded.event.commitment();
        self.introductions += u64::from(committed.is_some());
        if !self.knows_private {
            return Ok(());
        }
        match (&recorded.private, committed) {
            (Some(private), Some(committed)) => {
                expect("commitment to private", committed, private.commitment())
            }
            (Some(_), None) => Err("there is private data that the payload does not commit to"
                .to_owned()
                .into()),
            (None, Some(_)) => {
                self.erased += 1;
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    fn units(&mut self, drop_id: DropId) -> Result<&mut Units, Fault> {
        self.drops
            .get_mut(&drop_id)
            .filter(|units| units.is_scheduled)
            .ok_or_else(|| format!("drop {drop_id} was never scheduled").into())
    }

    /// The drop, in which something happened that cannot happen any more once it is cancelled.
    fn open_drop(&mut self, drop_id: DropId) -> Result<&mut Units, Fault> {
        let units = self.units(drop_id)?;
        if units.is_cancelled {
            return Err(format!("drop {drop_id} was cancelled before").into());
        }
        Ok(units)
    }

    fn resolve(
        &mut self,
        hold_id: HoldId,
        drop_id: DropId,
        quantity: u32,
    ) -> Result<OpenHold, Fault> {
        let hold = self.holds.remove(&hold_id).ok_or_else(|| format!("hold {hold_id} is resolved, but it is not open: it was never placed, or resolved before"))?;
        expect("drop of the hold", hold.drop_id, drop_id)?;
        expect("quantity of the hold", hold.quantity, i64::from(quantity))?;
        Ok(hold)
    }

    fn give_back(&mut self, drop_id: DropId, quantity: i64) -> Check {
        let units = self.units(drop_id)?;
        units.held -= quantity;
        units.available += quantity;
        Ok(())
    }
}

impl Units {
    fn check(&self) -> Check {
        let Self {
            total,
            available,
            held,
            sold,
            ..
        } = self;
        if [total, available, held, sold]
            .iter()
            .any(|units| **units < 0)
        {
            return Err(format!(
                "oversold: available {available}, held {held}, sold {sold}, total {total}"
            )
            .into());
        }
        if available + held + sold != *total {
            return Err(format!(
                "units are not conserved: available {available} + held {held} + sold {sold} is not total {total}"
            )
            .into());
        }
        Ok(())
    }
}

fn follows(last: &mut Sequence, sequence: Sequence) -> Check {
    expect("sequence", last.next(), sequence)?;
    *last = sequence;
    Ok(())
}
