//! Proving a log, one event at a time, with code that shares nothing with what wrote it but the event types and the hash.
//!
//! Promise: the first position at which the log breaks a promise is named. Checked: density, the chain, monotone time,
//! sequences without gaps, payloads that decode and are filed under their type, commitments to personal data that is still
//! there, and at every position `available + held + sold = total` with none negative, every hold resolved at most once, no
//! purchase at or after `expires_at`, and every place in line settled at most once, by an offer of what it waited for or by
//! leaving.
//! Limit: memory grows with the holds that are not resolved and with the places that wait, not with the log.

use std::collections::HashMap;
use std::fmt;

use domain::DropEvent;
use domain::values::{DropId, HoldId, Position, Pseudonym, Sequence, Timestamp, WaitlistId};
use infrastructure::codec::{RecordedEvent, decode};
use infrastructure::error::LogError;
use infrastructure::log::{Head, StoredEvent, chain};

/// The first thing that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub position: Position,
    /// What, with what was expected and what was found.
    pub reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "position {}: {}", self.position, self.reason)
    }
}

/// Units of one drop, by arithmetic that may go wrong where the engine's panics.
#[derive(Debug, Default)]
struct Units {
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
    sequences: HashMap<(String, String), Sequence>,
    drops: HashMap<DropId, Units>,
    holds: HashMap<HoldId, OpenHold>,
    places: HashMap<WaitlistId, OpenPlace>,
}

type Check = Result<(), String>;

impl Verifier {
    /// Where it has come to.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// What was proved, in one line.
    #[must_use]
    pub fn verdict(&self) -> String {
        let erased = match self.erased {
            0 => String::new(),
            erased => format!(" ({erased} of {} introductions erased)", self.introductions),
        };
        format!(
            "verified {} events, head {} {}{erased}",
            self.events, self.head.position, self.head.hash
        )
    }

    /// Checks the next event.
    ///
    /// # Errors
    /// [`Violation`] when it breaks a promise.
    pub fn check(&mut self, stored: &StoredEvent) -> Result<(), Violation> {
        self.check_parts(stored).map_err(|reason| Violation {
            position: stored.position,
            reason,
        })?;
        self.head = stored.head();
        self.events += 1;
        Ok(())
    }

    /// Checks that the log's own head is what its events lead to.
    ///
    /// # Errors
    /// [`Violation`] when it is not.
    pub fn ends_at(&self, head: Head) -> Result<(), Violation> {
        if self.head == head {
            return Ok(());
        }
        let reason = format!(
            "the head says {} at {}, the events lead to {} at {}",
            head.hash, head.recorded_at, self.head.hash, self.head.recorded_at
        );
        Err(Violation {
            position: head.position,
            reason,
        })
    }

    fn check_parts(&mut self, stored: &StoredEvent) -> Check {
        expect("position", self.head.position.next(), stored.position)?;
        expect("hash", chain::link(&self.head.hash, stored), stored.hash)?;
        if stored.recorded_at < self.head.recorded_at {
            return Err(format!(
                "recorded at {}, before {} at the position before",
                stored.recorded_at, self.head.recorded_at
            ));
        }
        self.check_sequence(stored)?;
        match decode(stored) {
            Ok(Some(recorded)) => self.check_event(&recorded),
            Ok(None) => Ok(()),
            Err(LogError::Corrupt { reason, .. }) => Err(reason),
            Err(unavailable @ LogError::Unavailable(_)) => Err(unavailable.to_string()),
        }
    }

    fn check_sequence(&mut self, stored: &StoredEvent) -> Check {
        let stream = (
            stored.aggregate_type.to_string(),
            stored.aggregate_id.clone(),
        );
        let last = self.sequences.entry(stream).or_default();
        expect("sequence", last.next(), stored.sequence)?;
        *last = stored.sequence;
        Ok(())
    }

    fn check_event(&mut self, recorded: &RecordedEvent) -> Check {
        self.check_commitment(recorded)?;
        let drop_id = recorded.drop_id;
        match &recorded.event {
            DropEvent::DropScheduled(event) => {
                let total = i64::from(event.total_stock.get());
                let units = Units {
                    total,
                    available: total,
                    ..Units::default()
                };
                if self.drops.insert(drop_id, units).is_some() {
                    return Err(format!("drop {drop_id} was scheduled twice"));
                }
            }
            DropEvent::DropRescheduled(_) | DropEvent::DropCancelled(_) => {}
            DropEvent::HoldPlaced(event) => {
                let quantity = i64::from(event.quantity.get());
                let hold = OpenHold {
                    drop_id,
                    quantity,
                    expires_at: event.expires_at,
                };
                if self.holds.insert(event.hold_id, hold).is_some() {
                    return Err(format!("hold {} was placed twice", event.hold_id));
                }
                if let Some(entry_id) = event.waitlist_entry {
                    let quantity = event.quantity.get();
                    let place = self.settle(entry_id, drop_id, event.buyer, quantity)?;
                    expect("hold of the place", place.hold_id, event.hold_id)?;
                }
                let units = self.units(drop_id)?;
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
                    ));
                }
                self.give_back(drop_id, hold.quantity)?;
            }
            DropEvent::HoldReleased(event) => {
                let hold = self.resolve(event.hold_id, drop_id, event.quantity.get())?;
                self.give_back(drop_id, hold.quantity)?;
            }
            DropEvent::PurchaseConfirmed(event) => {
                let hold = self.resolve(event.hold_id, drop_id, event.quantity.get())?;
                if event.purchased_at >= hold.expires_at {
                    return Err(format!(
                        "hold {} was purchased at {}, but it was over at {}",
                        event.hold_id, event.purchased_at, hold.expires_at
                    ));
                }
                let units = self.units(drop_id)?;
                units.held -= hold.quantity;
                units.sold += hold.quantity;
            }
            DropEvent::StockAdjusted(event) => {
                let units = self.units(drop_id)?;
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
                    return Err(format!(
                        "the adjustment claims total, available, held, sold {claimed:?}, history has {found:?}"
                    ));
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
                    return Err(format!("place {} was taken twice", event.entry_id));
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
    ) -> Result<OpenPlace, String> {
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
        match (&recorded.private, committed) {
            (Some(private), Some(committed)) => {
                expect("commitment to private", committed, private.commitment())
            }
            (Some(_), None) => {
                Err("there is private data that the payload does not commit to".to_owned())
            }
            (None, Some(_)) => {
                self.erased += 1;
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    fn units(&mut self, drop_id: DropId) -> Result<&mut Units, String> {
        self.drops
            .get_mut(&drop_id)
            .ok_or_else(|| format!("drop {drop_id} was never scheduled"))
    }

    fn resolve(
        &mut self,
        hold_id: HoldId,
        drop_id: DropId,
        quantity: u32,
    ) -> Result<OpenHold, String> {
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
        } = self;
        if [total, available, held, sold]
            .iter()
            .any(|units| **units < 0)
        {
            return Err(format!(
                "oversold: available {available}, held {held}, sold {sold}, total {total}"
            ));
        }
        if available + held + sold != *total {
            return Err(format!(
                "units are not conserved: available {available} + held {held} + sold {sold} is not total {total}"
            ));
        }
        Ok(())
    }
}

fn expect<T: PartialEq + fmt::Display>(what: &str, expected: T, found: T) -> Check {
    if expected == found {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected}, found {found}"))
    }
}
