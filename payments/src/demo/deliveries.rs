//! The demo's webhooks that are still to be sent.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use domain::values::Timestamp;

/// A webhook to send: `body`, signed at the time of sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub event_id: String,
    pub body: Bytes,
    /// From 1.
    pub attempt: u32,
}

/// Webhooks that wait at most: two for each payment in memory. Beyond it the one that is due last
/// is lost.
const MAX_QUEUED: usize = 20_000;

/// Attempts before a webhook is given up.
pub const MAX_ATTEMPTS: u32 = 12;

/// The webhooks in order of their time.
#[derive(Debug, Default)]
pub struct Deliveries {
    queued: BTreeMap<(Timestamp, u64), Delivery>,
    /// Queued or being sent.
    open: BTreeSet<String>,
    /// Distinguishes webhooks of the same time.
    next: u64,
}

impl Deliveries {
    pub fn push(&mut self, due: Timestamp, delivery: Delivery) {
        self.open.insert(delivery.event_id.clone());
        self.queued.insert((due, self.next), delivery);
        self.next += 1;
        while self.queued.len() > MAX_QUEUED
            && let Some((_, lost)) = self.queued.pop_last()
        {
            self.open.remove(&lost.event_id);
        }
    }

    pub fn take_due(&mut self, now: Timestamp) -> Vec<Delivery> {
        let later = self.queued.split_off(&(now.plus_millis(1), 0));
        let due = std::mem::replace(&mut self.queued, later);
        due.into_values().collect()
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.queued.keys().next().map(|(due, _)| *due)
    }

    pub fn is_open(&self, event_id: &str) -> bool {
        self.open.contains(event_id)
    }

    /// Repeats a webhook that was not accepted after 1, 2, 4 … at most 60 s.
    pub fn settle(&mut self, mut delivery: Delivery, is_accepted: bool, now: Timestamp) {
        if is_accepted || delivery.attempt >= MAX_ATTEMPTS {
            self.open.remove(&delivery.event_id);
            return;
        }
        let pause = (1 << (delivery.attempt - 1).min(6)).min(60);
        delivery.attempt += 1;
        self.push(now.plus_seconds(pause), delivery);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: payments that are late by a day left their webhooks in memory without a bound.
    #[test]
    fn waiting_webhooks_are_bounded_and_those_due_first_are_kept() {
        let mut deliveries = Deliveries::default();
        let at = |number: usize| Timestamp::from_millis(i64::try_from(number).unwrap());
        for number in 0..MAX_QUEUED + 5 {
            let delivery = Delivery {
                event_id: number.to_string(),
                body: Bytes::new(),
                attempt: 1,
            };
            deliveries.push(at(number), delivery);
        }
        let bounds = (deliveries.queued.len(), deliveries.open.len());
        assert_eq!(bounds, (MAX_QUEUED, MAX_QUEUED));
        assert!(deliveries.is_open("0") && !deliveries.is_open(&MAX_QUEUED.to_string()));
        let due = deliveries.take_due(at(MAX_QUEUED + 5));
        assert_eq!(due.last().unwrap().event_id, (MAX_QUEUED - 1).to_string());
    }
}
