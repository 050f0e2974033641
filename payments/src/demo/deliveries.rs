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
