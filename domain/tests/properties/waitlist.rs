//! The waitlist of the model. The next entry is found by a linear search from the front, once for
//! each offer, on a copy of the list that includes all earlier offers.

use domain::command::{JoinWaitlist, LeaveWaitlist};
use domain::drop::waitlist::EntryStatus;
use domain::event::{HoldPlaced, LeaveCause, WaitlistJoined, WaitlistLeft};
use domain::values::{Timestamp, WaitlistId};
use domain::{DropAggregate, DropEvent, Refusal, Subject};

use super::model::{Model, Predicted, one, replay};

/// How a waitlist entry was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Offered,
    Left,
}

#[derive(Debug, Clone)]
pub struct Waiting {
    pub joined: WaitlistJoined,
    settled: Option<Settled>,
}

impl Waiting {
    pub fn waits(&self) -> bool {
        self.settled.is_none()
    }
}

impl Model {
    fn entry(&self, id: WaitlistId) -> Option<&Waiting> {
        self.entries
            .iter()
            .find(|entry| entry.joined.entry_id == id)
    }

    /// Returns the first entry that could be served at `at`.
    fn next_entry_to_offer(&self, at: Timestamp) -> Option<&WaitlistJoined> {
        self.first_that_fits(at).filter(|_| self.paused.is_none())
    }

    /// The same in a drop that is not paused.
    fn first_that_fits(&self, at: Timestamp) -> Option<&WaitlistJoined> {
        let terms = self.terms()?;
        self.on_sale(terms, at).ok()?;
        let mut waiting = self.entries.iter().filter(|entry| entry.waits());
        let fits = |joined: &WaitlistJoined| {
            let units = i64::from(joined.quantity.get());
            units <= self.available() && units <= self.allowance(joined.buyer, terms)
        };
        let next = waiting.find(|entry| fits(&entry.joined))?;
        Some(&next.joined)
    }

    /// Returns the offers at `at`, in order.
    pub fn offers(&self, at: Timestamp) -> Vec<DropEvent> {
        let mut later = self.clone();
        let mut offers = vec![];
        while let Some(joined) = later.next_entry_to_offer(at) {
            let seconds = later.terms().map_or(0, |terms| {
                let offer = terms.offer_seconds.map(|seconds| seconds.get());
                offer.unwrap_or(terms.hold_seconds.get())
            });
            let offer = DropEvent::HoldPlaced(HoldPlaced {
                hold_id: joined.hold_id,
                key: None,
                buyer: joined.buyer,
                quantity: joined.quantity,
                placed_at: at,
                expires_at: Timestamp::from_millis(at.millis() + i64::from(seconds) * 1000),
                commitment: None,
                waitlist_entry: Some(joined.entry_id),
                order_id: None,
                code: None,
            });
            later.record(&offer);
            offers.push(offer);
        }
        offers
    }

    /// Returns the units that a direct hold may have while offers are pending: the units that
    /// remain if every eligible entry receives its units.
    pub fn available_for_direct_holds(&self, at: Timestamp) -> u32 {
        let available = self.stock_after(0).available;
        let Some(terms) = self.terms().filter(|_| self.first_that_fits(at).is_some()) else {
            return available;
        };
        let waiting = self.entries.iter().filter(|entry| entry.waits());
        let eligible = waiting.filter(|entry| {
            let joined = &entry.joined;
            i64::from(joined.quantity.get()) <= self.allowance(joined.buyer, terms)
        });
        let wanted = eligible.map(|entry| entry.joined.quantity.get()).sum();
        available.saturating_sub(wanted)
    }

    /// Returns the units that remain after every offer is made.
    pub fn left_after_offers(&self, at: Timestamp) -> u32 {
        let mut later = self.clone();
        for offer in self.offers(at) {
            later.record(&offer);
        }
        later.stock_after(0).available
    }

    pub fn join(&self, command: &JoinWaitlist) -> Predicted {
        let terms = self.terms().ok_or(Refusal::DropNotFound)?;
        let same_key =
            |entry: &&Waiting| entry.joined.key.is_some() && entry.joined.key == command.key;
        let known_key = command.key.is_some_and(|key| self.key_is_known(key));
        let earlier = match self.entries.iter().find(same_key) {
            None if known_key => return Err(Refusal::IdempotencyKeyReused),
            None => self.entry(command.entry_id),
            by_key => by_key,
        };
        if let Some(Waiting { joined, .. }) = earlier {
            let alike = (joined.key, joined.buyer, joined.quantity)
                == (command.key, command.buyer, command.quantity);
            return if alike {
                replay(Subject::Waitlist(joined.entry_id))
            } else {
                Err(Refusal::IdempotencyKeyReused)
            };
        }
        Self::found(terms, command.pass)?;
        self.on_sale(terms, command.at)?;
        let (requested, available) = (
            command.quantity.get(),
            self.available_for_direct_holds(command.at),
        );
        if requested <= available {
            self.not_paused()?;
            return Err(Refusal::NotSoldOut {
                requested,
                available,
            });
        }
        let mut theirs = self.entries.iter().filter(|entry| entry.waits());
        if let Some(entry) = theirs.find(|entry| entry.joined.buyer == command.buyer) {
            return Err(Refusal::AlreadyWaiting {
                joined_at: entry.joined.joined_at,
                quantity: entry.joined.quantity.get(),
            });
        }
        self.within_limits(terms, command.buyer, command.quantity)?;
        self.not_throttled(terms, command.buyer, command.at)?;
        let waiting = self.entries.iter().filter(|entry| entry.waits());
        if waiting.count() >= command.max_waiting as usize {
            let limit = command.max_waiting;
            return Err(Refusal::WaitlistFull { limit });
        }
        one(
            DropEvent::WaitlistJoined(WaitlistJoined {
                entry_id: command.entry_id,
                hold_id: command.hold_id,
                key: command.key,
                buyer: command.buyer,
                quantity: command.quantity,
                joined_at: command.at,
                commitment: command.commitment,
                code: None,
            }),
            Subject::Waitlist(command.entry_id),
        )
    }

    pub fn leave(&self, command: &LeaveWaitlist) -> Predicted {
        let entry = self.entry(command.entry_id);
        let Waiting { joined, settled } = entry.ok_or(Refusal::WaitlistEntryNotFound)?;
        let subject = Subject::Waitlist(command.entry_id);
        match settled {
            Some(Settled::Left) => replay(subject),
            None if self.cancelled.is_some() => replay(subject),
            Some(Settled::Offered) => Err(Refusal::AlreadyOffered {
                hold_id: joined.hold_id,
            }),
            None => one(
                DropEvent::WaitlistLeft(WaitlistLeft {
                    entry_id: joined.entry_id,
                    buyer: joined.buyer,
                    quantity: joined.quantity,
                    left_at: command.at,
                    cause: LeaveCause::Buyer,
                }),
                subject,
            ),
        }
    }
}

impl Model {
    pub fn record_joining(&mut self, event: &WaitlistJoined) {
        assert!(self.cancelled.is_none(), "joined after cancelling");
        assert!(self.entry(event.entry_id).is_none(), "an id of two entries");
        let mut waiting = self.entries.iter().filter(|entry| entry.waits());
        assert!(
            waiting.all(|entry| entry.joined.buyer != event.buyer),
            "one buyer with two waiting entries"
        );
        assert!(
            i64::from(event.quantity.get()) > self.available()
                || self.first_that_fits(event.joined_at).is_some(),
            "waits for available units"
        );
        self.claim_key(event.key);
        self.entries.push(Waiting {
            joined: event.clone(),
            settled: None,
        });
    }

    /// Asserts that an offered hold is next in turn, and that a direct hold takes no unit that a
    /// waiting entry could use.
    pub fn record_turn(&mut self, event: &HoldPlaced) {
        let next = self.next_entry_to_offer(event.placed_at);
        let Some(entry_id) = event.waitlist_entry else {
            let left = i64::from(self.left_after_offers(event.placed_at));
            assert!(
                i64::from(event.quantity.get()) <= left,
                "not next on the waitlist: {next:?}"
            );
            return;
        };
        assert_eq!(
            next.map(|joined| joined.entry_id),
            Some(entry_id),
            "an earlier entry was skipped"
        );
        let joined = self.settle(entry_id, Settled::Offered);
        assert_eq!(
            (event.hold_id, event.buyer, event.quantity),
            (joined.hold_id, joined.buyer, joined.quantity)
        );
    }

    pub fn settle(&mut self, id: WaitlistId, settled: Settled) -> &WaitlistJoined {
        let mut all = self.entries.iter_mut();
        let entry = all
            .find(|entry| entry.joined.entry_id == id)
            .expect("an entry to settle");
        assert_eq!(entry.settled.replace(settled), None, "settled twice");
        &entry.joined
    }

    pub fn compare_line(&self, drop: &DropAggregate, at: Timestamp) {
        let next = self.next_entry_to_offer(at).map(|joined| joined.entry_id);
        assert_eq!(drop.next_entry_to_offer(at).map(|entry| entry.id), next);
        assert_eq!(
            drop.available_for_direct_holds(at),
            self.available_for_direct_holds(at)
        );
        let waitlist = drop.waitlist();
        assert_eq!(waitlist.entries().len(), self.entries.len());
        for (theirs, ours) in waitlist.entries().iter().zip(&self.entries) {
            let status = match ours.settled {
                None => EntryStatus::Waiting,
                Some(Settled::Offered) => EntryStatus::Offered,
                Some(Settled::Left) => EntryStatus::Left,
            };
            assert_eq!((theirs.id, theirs.status), (ours.joined.entry_id, status));
        }
        let waiting = self.entries.iter().filter(|entry| entry.waits());
        assert_eq!(waitlist.len(), waiting.count());
    }
}
