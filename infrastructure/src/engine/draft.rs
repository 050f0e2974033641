//! What was decided but not sent to the log yet: requests with their outcomes, and the events that they became.
//!
//! Promise: a draft can be taken back whole, newest event first, and its requests decided again on another history with
//! the same ids. Its events are written and chained as they are decided, while the batch before is on its way: when that has
//! landed, nothing is left to do but to send this one.

use std::ops::Range;
use std::sync::Arc;

use domain::command::{
    AdjustStock, CancelDrop, ConfirmPurchase, ExpireHold, JoinWaitlist, LeaveWaitlist, PlaceHold,
    ReleaseHold, RescheduleDrop, ScheduleDrop, ServeWaitlist,
};
use domain::decide::{Decision, Subject};
use domain::private::Private;
use domain::values::{
    AdjustmentId, BuyerId, DisplayName, DropId, HoldId, KeyDigest, Position, Pseudonym, PurchaseId,
    Salt, Sequence, Timestamp, WaitlistId,
};
use domain::{DropCommand, DropEvent, Refusal};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::ports::Ids;
use super::request::{Answer, CommandError, NewTerms, Request};
use super::state::{DropState, State, Undo};
use crate::codec::{RecordedEvent, encode};
use crate::feed::Committed;
use crate::log::{Batch, Head, StoredEvent};

/// A request on its way, with the ids that it will use should it be accepted: drawn once, however often it is decided.
#[derive(Debug)]
pub(super) struct Entry {
    request: Request,
    ids: CandidateIds,
    reply: oneshot::Sender<Result<Answer, CommandError>>,
}

#[derive(Debug, Clone, Copy)]
struct CandidateIds {
    subject: Uuid,
    buyer: Uuid,
    salt: Salt,
    /// Of the hold that a place in line becomes; drawn for nothing else.
    offer: Uuid,
}

impl Entry {
    pub(super) fn new(
        request: Request,
        reply: oneshot::Sender<Result<Answer, CommandError>>,
        ids: &mut impl Ids,
    ) -> Self {
        let ids = CandidateIds {
            subject: ids.uuid(),
            buyer: ids.uuid(),
            salt: ids.salt(),
            offer: match request {
                Request::JoinWaitlist { .. } => ids.uuid(),
                Request::ScheduleDrop { .. }
                | Request::RescheduleDrop { .. }
                | Request::CancelDrop { .. }
                | Request::AdjustStock { .. }
                | Request::PlaceHold { .. }
                | Request::AskAboutBuyer { .. }
                | Request::ReleaseHold { .. }
                | Request::ConfirmPurchase { .. }
                | Request::LeaveWaitlist { .. } => Uuid::nil(),
            },
        };
        Self {
            request,
            ids,
            reply,
        }
    }

    /// Whether the caller has stopped waiting. Nothing was recorded for it, so nothing need be.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Answers. A caller that has gone away is no error.
    pub(super) fn answer(self, answer: Result<Answer, CommandError>) {
        let _gone = self.reply.send(answer);
    }
}

#[derive(Debug)]
struct Decided {
    entry: Entry,
    outcome: Result<(DropId, Subject), Refusal>,
    at: Timestamp,
    events: Range<usize>,
}

#[derive(Debug)]
struct Pending {
    drop_id: DropId,
    sequence: Sequence,
    event: DropEvent,
    private: Option<Private>,
    undo: Undo,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The head that it was decided on.
    base: Head,
    decided: Vec<Decided>,
    pending: Vec<Pending>,
    /// What `pending` will be stored as, chained to `base`.
    stored: Vec<StoredEvent>,
}

impl Draft {
    /// An empty draft on top of this one, with room for as much.
    pub(super) fn next(&self) -> Self {
        Self {
            base: self.head(),
            decided: Vec::with_capacity(self.decided.len()),
            pending: Vec::with_capacity(self.pending.len()),
            stored: Vec::with_capacity(self.stored.len()),
        }
    }

    /// Puts an empty draft on top of `base`.
    pub(super) fn rebase(&mut self, base: Head) {
        debug_assert!(self.is_empty(), "what was decided rests on its base");
        self.base = base;
    }

    /// The head of the log once this draft has landed.
    pub(super) fn head(&self) -> Head {
        self.stored.last().map_or(self.base, StoredEvent::head)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.decided.is_empty() && self.pending.is_empty()
    }

    pub(super) fn has_events(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn events(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn requests(&self) -> usize {
        self.decided.len()
    }

    /// Decides `entry` at `at` on top of `state`, applies what it became, and keeps its outcome.
    pub(super) fn decide(&mut self, state: &mut State, entry: Entry, at: Timestamp) {
        let start = self.pending.len();
        let (drop_id, decision, private) = match decide(state, &entry, at) {
            Ok(decided) => decided,
            Err(refusal) => return self.keep(entry, Err(refusal), at, start),
        };
        let subject = decision.subject;
        self.apply(state, drop_id, decision, private, at);
        self.keep(entry, Ok((drop_id, subject)), at, start);
    }

    fn keep(
        &mut self,
        entry: Entry,
        outcome: Result<(DropId, Subject), Refusal>,
        at: Timestamp,
        start: usize,
    ) {
        self.decided.push(Decided {
            entry,
            outcome,
            at,
            events: start..self.pending.len(),
        });
    }

    /// Records that a hold is over.
    pub(super) fn expire(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        hold_id: HoldId,
        at: Timestamp,
    ) {
        let command = DropCommand::ExpireHold(ExpireHold { hold_id, at });
        let decision = state
            .drop(drop_id)
            .map(|drop| drop.aggregate.decide(&command));
        if let Some(Ok(decision)) = decision {
            self.apply(state, drop_id, decision, None, at);
        }
    }

    /// Offers the line of a drop what there is.
    pub(super) fn serve(&mut self, state: &mut State, drop_id: DropId, at: Timestamp) {
        let command = DropCommand::ServeWaitlist(ServeWaitlist { at });
        let decision = state
            .drop(drop_id)
            .map(|drop| drop.aggregate.decide(&command));
        if let Some(Ok(decision)) = decision {
            self.apply(state, drop_id, decision, None, at);
        }
    }

    fn apply(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        decision: Decision,
        mut private: Option<Private>,
        at: Timestamp,
    ) {
        for event in decision.events {
            // The personal data belongs to the one event that commits to it.
            let private = event.commitment().and_then(|_| private.take());
            let undo = state.apply(drop_id, &event, private.as_ref());
            let sequence = state.drop(drop_id).map(|drop| drop.aggregate.sequence());
            let sequence = sequence.unwrap_or_default();
            let mut stored = encode(drop_id, sequence, at, &event, private.as_ref());
            let _head = self.head().place(&mut stored);
            self.stored.push(stored);
            self.pending.push(Pending {
                drop_id,
                sequence,
                event,
                private,
                undo,
            });
        }
    }

    /// The batch that appends this draft where it was decided.
    pub(super) fn take_batch(&mut self) -> Batch {
        Batch {
            expected: self.base,
            events: std::mem::take(&mut self.stored),
        }
    }

    /// Takes every event back out of `state` and returns the requests, to be decided again or refused.
    pub(super) fn take_back(self, state: &mut State) -> impl Iterator<Item = Entry> {
        for pending in self.pending.into_iter().rev() {
            state.revert(pending.drop_id, &pending.event, pending.undo);
        }
        self.decided.into_iter().map(|decided| decided.entry)
    }

    /// The draft is in the log, sealed as `batch`: what followers are told, and the answers to give after that.
    pub(super) fn committed(self, batch: &Batch) -> (Arc<Committed>, Answers) {
        let places = batch
            .events
            .iter()
            .map(|stored| (stored.position, stored.recorded_at));
        let events = self.pending.into_iter().zip(places);
        let committed = Arc::new(Committed {
            events: events
                .map(|(pending, place)| pending.into_recorded(place))
                .collect(),
            head: batch.head(),
        });
        (
            Arc::clone(&committed),
            Answers {
                decided: self.decided,
                committed,
            },
        )
    }

    /// The draft has no events, and `head` was found to be what it was decided on: its answers.
    pub(super) fn confirmed(self, head: Head) -> Answers {
        Answers {
            decided: self.decided,
            committed: Arc::new(Committed {
                events: vec![],
                head,
            }),
        }
    }
}

impl Pending {
    fn into_recorded(self, (position, recorded_at): (Position, Timestamp)) -> RecordedEvent {
        RecordedEvent {
            position,
            recorded_at,
            drop_id: self.drop_id,
            sequence: self.sequence,
            event: self.event,
            private: self.private,
        }
    }
}

/// Answers that may be given now.
#[derive(Debug)]
#[must_use]
pub(super) struct Answers {
    decided: Vec<Decided>,
    committed: Arc<Committed>,
}

impl Answers {
    pub(super) fn give(self) {
        for decided in self.decided {
            let answer = match decided.outcome {
                Ok((drop_id, subject)) => Ok(Answer::new(
                    drop_id,
                    subject,
                    decided.at,
                    Arc::clone(&self.committed),
                    decided.events,
                )),
                Err(refusal) => Err(CommandError::Refused {
                    refusal,
                    at: decided.at,
                }),
            };
            decided.entry.answer(answer);
        }
    }
}

type Found = Result<(DropId, Decision, Option<Private>), Refusal>;

/// Turns a request into a command of the drop that it is about, and decides that.
fn decide(state: &State, entry: &Entry, at: Timestamp) -> Found {
    let ids = entry.ids;
    match &entry.request {
        Request::ScheduleDrop {
            key,
            terms,
            total_stock,
        } => {
            let drop_id = key
                .and_then(|key| state.scheduled_with(key))
                .unwrap_or(DropId(ids.subject));
            let terms = starting(terms, at);
            let command = ScheduleDrop {
                key: *key,
                terms,
                total_stock: *total_stock,
                at,
            };
            let unscheduled = domain::DropAggregate::default();
            let aggregate = state
                .drop(drop_id)
                .map_or(&unscheduled, |drop| &drop.aggregate);
            Ok((
                drop_id,
                aggregate.decide(&DropCommand::ScheduleDrop(command))?,
                None,
            ))
        }
        Request::RescheduleDrop {
            drop_id,
            expected_version,
            patch,
        } => {
            let command = RescheduleDrop {
                expected_version: *expected_version,
                patch: patch.as_ref().clone(),
                at,
            };
            about(
                find(state, *drop_id)?,
                &DropCommand::RescheduleDrop(command),
                None,
            )
        }
        Request::CancelDrop { drop_id } => about(
            find(state, *drop_id)?,
            &DropCommand::CancelDrop(CancelDrop { at }),
            None,
        ),
        Request::AdjustStock {
            drop_id,
            key,
            delta,
            reason,
        } => {
            let command = AdjustStock {
                adjustment_id: AdjustmentId(ids.subject),
                key: *key,
                delta: *delta,
                reason: reason.clone(),
                at,
            };
            about(
                find(state, *drop_id)?,
                &DropCommand::AdjustStock(command),
                None,
            )
        }
        Request::PlaceHold {
            drop_id,
            key,
            other_key,
            buyer_id,
            display_name,
            quantity,
        } => {
            let drop = find(state, *drop_id)?;
            let (buyer, private) = identify(drop, ids, buyer_id, display_name.as_ref());
            let command = PlaceHold {
                hold_id: HoldId::for_drop(*drop_id, ids.subject),
                key: key_used(drop, buyer, [*key, *other_key]),
                buyer,
                quantity: *quantity,
                commitment: private.as_ref().map(Private::commitment),
                at,
            };
            about(drop, &DropCommand::PlaceHold(command), private)
        }
        Request::AskAboutBuyer { drop_id, buyer_id } => {
            let drop = find(state, *drop_id)?;
            let (buyer, _) = identify(drop, ids, buyer_id, None);
            let subject = Subject::Buyer(drop.aggregate.standing(buyer, at)?);
            let events = vec![];
            Ok((*drop_id, Decision { events, subject }, None))
        }
        Request::ReleaseHold { hold_id } => {
            let drop = state.drop_of(*hold_id).ok_or(Refusal::HoldNotFound)?;
            about(
                drop,
                &DropCommand::ReleaseHold(ReleaseHold {
                    hold_id: *hold_id,
                    at,
                }),
                None,
            )
        }
        Request::ConfirmPurchase {
            hold_id,
            payment_reference,
        } => {
            let drop = state.drop_of(*hold_id).ok_or(Refusal::HoldNotFound)?;
            let private = payment_reference
                .clone()
                .map(|reference| Private::payment(ids.salt, reference));
            let command = ConfirmPurchase {
                purchase_id: PurchaseId(ids.subject),
                hold_id: *hold_id,
                commitment: private.as_ref().map(Private::commitment),
                at,
            };
            about(drop, &DropCommand::ConfirmPurchase(command), private)
        }
        Request::JoinWaitlist {
            drop_id,
            key,
            other_key,
            buyer_id,
            display_name,
            quantity,
        } => {
            let drop = find(state, *drop_id)?;
            let (buyer, private) = identify(drop, ids, buyer_id, display_name.as_ref());
            let command = JoinWaitlist {
                entry_id: WaitlistId::for_drop(*drop_id, ids.subject),
                hold_id: HoldId::for_drop(*drop_id, ids.offer),
                key: key_used(drop, buyer, [*key, *other_key]),
                buyer,
                quantity: *quantity,
                commitment: private.as_ref().map(Private::commitment),
                at,
            };
            about(drop, &DropCommand::JoinWaitlist(command), private)
        }
        Request::LeaveWaitlist { entry_id } => {
            let drop = state
                .drop_in_line(*entry_id)
                .ok_or(Refusal::WaitlistEntryNotFound)?;
            let entry_id = *entry_id;
            about(
                drop,
                &DropCommand::LeaveWaitlist(LeaveWaitlist { entry_id, at }),
                None,
            )
        }
    }
}

fn find(state: &State, drop_id: DropId) -> Result<&DropState, Refusal> {
    state.drop(drop_id).ok_or(Refusal::DropNotFound)
}

fn about(drop: &DropState, command: &DropCommand, private: Option<Private>) -> Found {
    Ok((drop.id, drop.aggregate.decide(command)?, private))
}

/// The key to decide with: the one of these that `buyer` used already, else the first.
fn key_used(drop: &DropState, buyer: Pseudonym, keys: [Option<KeyDigest>; 2]) -> Option<KeyDigest> {
    let is_theirs = |key: &KeyDigest| drop.aggregate.key_holder(*key) == Some(buyer);
    keys.into_iter().flatten().find(is_theirs).or(keys[0])
}

/// The terms with their start filled in: now. The drop itself knows a retry of such a request.
fn starting(terms: &NewTerms, at: Timestamp) -> domain::terms::DropTerms {
    let starts_at = if terms.starts_now {
        at
    } else {
        terms.terms.starts_at
    };
    domain::terms::DropTerms {
        starts_at,
        ..terms.terms.clone()
    }
}

/// The pseudonym that the drop knows this buyer by, and what introduces them if it does not, or knows another name.
fn identify(
    drop: &DropState,
    ids: CandidateIds,
    buyer_id: &BuyerId,
    display_name: Option<&DisplayName>,
) -> (Pseudonym, Option<Private>) {
    let introduction = || Private::buyer(ids.salt, buyer_id.clone(), display_name.cloned());
    match drop.buyer(buyer_id) {
        None => (Pseudonym(ids.buyer), Some(introduction())),
        Some(known) => {
            let is_news = display_name.is_some_and(|name| !drop.shows(known, name));
            (drop.pseudonym(known), is_news.then(introduction))
        }
    }
}
