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

use domain::DropEvent;
use domain::values::{DropId, HoldId, Position, Pseudonym, Sequence, Timestamp, WaitlistId};
use hashbrown::HashMap;
use infrastructure::codec::RecordedEvent;
use infrastructure::log::{Head, chain};

use super::distinct::Distinct;
use super::examine::{Examined, Introduction, Link, Said};
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

    /// Whether it is to be told personal data.
    #[must_use]
    pub const fn knows_private(&self) -> bool {
        self.knows_private
    }

    /// Checks the next event; returns what it says, if it is a drop's.
    ///
    /// # Errors
    /// [`Stop`] when it breaks a promise.
    pub fn check(&mut self, event: Examined) -> Result<Option<RecordedEvent>, Stop> {
        let next = self.head.position.next();
        let Examined {
            head,
            sequence,
            link,
            said,
        } = event;
        if head.position != next {
            return Err(differs("position", next, head.position).at(next).into());
        }
        let followed = self.check_link(head, link);
        let checked = followed.and_then(|()| self.check_said(sequence, &said));
        checked.map_err(|fault| Violation {
            stream: Some(said.stream()),
            ..fault.at(next)
        })?;
        self.head = head;
        self.events += 1;
        let Said::Drop(recorded, _) = said else {
            return Ok(None);
        };
        if let DropEvent::HoldPlaced(event) = &recorded.event {
            self.placed.add(event.hold_id.0, next)?;
        }
        Ok(Some(*recorded))
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

    /// That it follows from what came before: the chain, what others know of it, time.
    fn check_link(&self, head: Head, link: Link) -> Check {
        let linked = match link {
            Link::To(hash) => hash,
            Link::Unknown(stored) => chain::link(&self.head.hash, &*stored),
        };
        expect("hash", linked, head.hash)?;
        for claim in &self.claims {
            if claim.position == head.position && claim.hash != head.hash {
                let what = format!("hash that {} knows", claim.source);
                return Err(differs(&what, claim.hash, head.hash));
            }
        }
        if head.recorded_at < self.head.recorded_at {
            return Err(format!(
                "recorded at {}, before {} at the position before",
                head.recorded_at, self.head.recorded_at
            )
            .into());
        }
        Ok(())
    }

    fn check_said(&mut self, sequence: Sequence, said: &Said) -> Check {
        match said {
            Said::Drop(recorded, introduction) => {
                let units = self.drops.entry(recorded.drop_id).or_default();
                follows(&mut units.sequence, sequence)?;
                self.check_introduction(introduction)?;
                self.check_event(recorded)
            }
            Said::Other {
                aggregate_type,
                aggregate_id,
                is_erasure,
            } => {
                let streams = self.foreign.entry(aggregate_type.clone()).or_default();
                follows(streams.entry(aggregate_id.clone()).or_default(), sequence)?;
                self.erasures += u64::from(*is_erasure);
                Ok(())
            }
            Said::Unreadable { fault, .. } => Err(fault.clone()),
        }
    }

    fn check_introduction(&mut self, introduction: &Introduction) -> Check {
        self.introductions += u64::from(introduction.is_committed);
        self.erased += u64::from(introduction.is_erased);
        match &introduction.fault {
            Some(fault) => Err((**fault).clone()),
            None => Ok(()),
        }
    }

    fn check_event(&mut self, recorded: &RecordedEvent) -> Check {
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

impl Said {
    fn stream(&self) -> String {
        match self {
            Self::Drop(recorded, _) => recorded.drop_id.to_string(),
            Self::Other { aggregate_id, .. } | Self::Unreadable { aggregate_id, .. } => {
                aggregate_id.clone()
            }
        }
    }
}

fn follows(last: &mut Sequence, sequence: Sequence) -> Check {
    expect("sequence", last.next(), sequence)?;
    *last = sequence;
    Ok(())
}

#[cfg(test)]
mod tests;
