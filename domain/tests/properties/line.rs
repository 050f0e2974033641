//! The line in the second opinion: who is next is found by walking from the front, once for each offer, on a copy of the list
//! to which everything before is already added.

use domain::command::{JoinWaitlist, LeaveWaitlist};
use domain::drop::line::EntryStatus;
use domain::event::{HoldPlaced, LeaveCause, WaitlistJoined, WaitlistLeft};
use domain::values::{Timestamp, WaitlistId};
use domain::{DropAggregate, DropEvent, Refusal, Subject};

use crate::model::{Model, Predicted, one, replay};

/// How a place in line ended.
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

// ---- what a command must come to ----

impl Model {
    fn entry(&self, id: WaitlistId) -> Option<&Waiting> {
        self.entries
            .iter()
            .find(|entry| entry.joined.entry_id == id)
    }

    /// The first in line who could be served at `at`.
    fn next_in_line(&self, at: Timestamp) -> Option<&WaitlistJoined> {
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

    /// What the line is offered at `at`, one after another.
    pub fn offers(&self, at: Timestamp) -> Vec<DropEvent> {
        let mut later = self.clone();
        let mut offers = vec![];
        while let Some(joined) = later.next_in_line(at) {
            let seconds = later.terms().map_or(0, |terms| terms.hold_seconds.get());
            let offer = DropEvent::HoldPlaced(HoldPlaced {
                hold_id: joined.hold_id,
                key: None,
                buyer: joined.buyer,
                quantity: joined.quantity,
                placed_at: at,
                expires_at: Timestamp::from_millis(at.millis() + i64::from(seconds) * 1000),
                commitment: None,
                waitlist_entry: Some(joined.entry_id),
            });
            later.record(&offer);
            offers.push(offer);
        }
        offers
    }

    /// What a direct hold may have while offers are still to be made: what everybody in line
    /// leaves, who may hold what they want.
    pub fn beside_line(&self, at: Timestamp) -> u32 {
        let available = self.stock_after(0).available;
        let Some(terms) = self.terms().filter(|_| self.next_in_line(at).is_some()) else {
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

    /// What the line leaves once every offer is made.
    fn left_by_line(&self, at: Timestamp) -> u32 {
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
        self.on_sale(terms, command.at)?;
        let (requested, available) = (command.quantity.get(), self.beside_line(command.at));
        if requested <= available {
            return Err(Refusal::NotSoldOut {
                requested,
                available,
            });
        }
        let mut theirs = self.entries.iter().filter(|entry| entry.waits());
        if let Some(place) = theirs.find(|entry| entry.joined.buyer == command.buyer) {
            return Err(Refusal::AlreadyWaiting {
                joined_at: place.joined.joined_at,
                quantity: place.joined.quantity.get(),
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
            }),
            Subject::Waitlist(command.entry_id),
        )
    }

    pub fn leave(&self, command: &LeaveWaitlist) -> Predicted {
        let place = self.entry(command.entry_id);
        let Waiting { joined, settled } = place.ok_or(Refusal::WaitlistEntryNotFound)?;
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

// ---- what an event must satisfy, whoever decided it ----

impl Model {
    pub fn record_joining(&mut self, event: &WaitlistJoined) {
        assert!(self.cancelled.is_none(), "joined after cancelling");
        assert!(self.entry(event.entry_id).is_none(), "an id for two places");
        let mut waiting = self.entries.iter().filter(|entry| entry.waits());
        assert!(
            waiting.all(|entry| entry.joined.buyer != event.buyer),
            "one buyer in two places"
        );
        assert!(
            i64::from(event.quantity.get()) > self.available()
                || self.next_in_line(event.joined_at).is_some(),
            "waits for what is there"
        );
        self.claim_key(event.key);
        self.entries.push(Waiting {
            joined: event.clone(),
            settled: None,
        });
    }

    /// A hold is its place's turn, or takes no unit that somebody in line could use.
    pub fn record_turn(&mut self, event: &HoldPlaced) {
        let next = self.next_in_line(event.placed_at);
        let Some(entry_id) = event.waitlist_entry else {
            let left = i64::from(self.left_by_line(event.placed_at));
            assert!(
                i64::from(event.quantity.get()) <= left,
                "jumped the line: {next:?}"
            );
            return;
        };
        assert_eq!(
            next.map(|joined| joined.entry_id),
            Some(entry_id),
            "somebody before was passed over"
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
            .expect("a place to settle");
        assert_eq!(entry.settled.replace(settled), None, "settled twice");
        &entry.joined
    }

    pub fn compare_line(&self, drop: &DropAggregate, at: Timestamp) {
        let next = self.next_in_line(at).map(|joined| joined.entry_id);
        assert_eq!(drop.next_in_line(at).map(|entry| entry.id), next);
        assert_eq!(drop.beside_line(at), self.beside_line(at));
        let line = drop.line();
        assert_eq!(line.entries().len(), self.entries.len());
        for (theirs, ours) in line.entries().iter().zip(&self.entries) {
            let status = match ours.settled {
                None => EntryStatus::Waiting,
                Some(Settled::Offered) => EntryStatus::Offered,
                Some(Settled::Left) => EntryStatus::Left,
            };
            assert_eq!((theirs.id, theirs.status), (ours.joined.entry_id, status));
        }
        let waiting = self.entries.iter().filter(|entry| entry.waits());
        assert_eq!(line.len(), waiting.count());
    }
}
