//! The order of decisions: requests in the order of arrival, and a portion of due work with each
//! batch.
//!
//! Promise: an expiry is not recorded before a request that arrived earlier is decided, so a
//! purchase that arrived in time counts, however long it had to wait. Due work does not delay a
//! batch, and requests do not delay due work.
//!
//! Source: docs/decisions/0030-requests-count-from-their-arrival.md.

use super::{Engine, EventLog};
use crate::draft::{Bounds, Entry, MOST_REQUESTS};
use crate::submission::Submission;
use infrastructure::log::Head;
use infrastructure::ports::{Clock, Ids, Observer};

impl<L: EventLog, C: Clock, I: Ids, O: Observer> Engine<L, C, I, O> {
    pub(super) fn has_room(&self) -> bool {
        self.draft.has_room()
    }

    pub(super) fn accept(&mut self, submission: Submission) {
        if !self.is_live() {
            // It was submitted just before the change of health became visible.
            let error = self.channels.health.borrow().command_error();
            return submission.request.reject(error);
        }
        self.backlog
            .push_back(Entry::new(submission, &mut self.ids));
        self.accept_waiting();
    }

    /// Takes requests from the queue, and decides them unless nodes take turns or nothing can be
    /// recorded.
    pub(super) fn accept_waiting(&mut self) {
        self.take_in_waiting();
        if self.turns == 0 && self.is_live() {
            self.decide_backlog();
        }
    }

    pub(super) fn take_in_waiting(&mut self) {
        if !self.is_live() {
            return;
        }
        while self.has_room() && self.backlog.len() < MOST_REQUESTS {
            let Ok(submission) = self.channels.requests.try_recv() else {
                break;
            };
            self.backlog
                .push_back(Entry::new(submission, &mut self.ids));
        }
    }

    /// The head after everything in flight has committed: the base of the next decision.
    fn tip(&self) -> Head {
        let in_flight = self.in_flight.as_ref();
        in_flight.map_or(self.head, |in_flight| in_flight.batch.head())
    }

    /// An empty draft may have been begun before the head moved.
    fn begin_draft(&mut self) {
        if self.draft.is_empty() {
            self.draft.rebase(self.tip());
        }
    }

    /// Decides the backlog and due work, as far as the draft has room.
    pub(super) fn decide_backlog(&mut self) {
        self.begin_draft();
        loop {
            self.record_due();
            if !self.has_room() {
                return;
            }
            // While the clock is suspect, requests wait for the next comparison.
            let Some(now) = self.now() else {
                return;
            };
            let Some(entry) = self.backlog.pop_front() else {
                return;
            };
            if entry.is_abandoned() {
                // After an outage, units must not be held for callers who stopped waiting long ago.
                continue;
            }
            let bounds = Bounds {
                max_waitlist: self.config.max_waitlist,
                due_events: self.config.due_events,
                late_payments: self.config.late_payments,
            };
            if let Some(postponed) = self.draft.decide(&mut self.state, entry, now, bounds) {
                self.backlog.push_front(postponed);
                return;
            }
        }
    }

    /// Maximum due-work events per batch. Halved while nodes take turns, because all of them wait
    /// for each turn.
    pub(super) fn share(&self) -> usize {
        let share = self.config.due_events;
        let share = if self.turns > 0 { share / 2 } else { share };
        share.max(1)
    }

    /// Records work that was due when the oldest undecided request arrived, up to the draft's
    /// share. During shutdown it leaves that to the next engine, which derives the same work.
    fn record_due(&mut self) {
        if self.must_stop() {
            return;
        }
        let Some(now) = self.now() else {
            return;
        };
        let oldest = self.backlog.front();
        let until = oldest.map_or(now, |entry| entry.arrived(now));
        let share = self.share();
        while self.draft.has_share(share)
            && let Some(due) = self.state.next_due(until, now)
        {
            self.draft.record_due(&mut self.state, due, until, now);
        }
    }
}
