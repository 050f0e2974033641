//! Results of requests: the lane continues, waits for its next attempt, or gives the message up.

use std::time::Duration;

use domain::values::Timestamp;

use super::{Key, Lanes, Row, Status};
use crate::message::{Message, delivery_id};
use crate::schedule::{LONGEST_REQUESTED_SLOWDOWN, LONGEST_RETRY_AFTER, jittered, slowdown_after};
use crate::sender::Failure;

impl Lanes {
    /// Reports that the receiver accepted a message.
    pub(crate) fn delivered(&mut self, key: Key, now: Timestamp) {
        self.in_flight -= 1;
        self.recover(now);
        let Some((message, retry)) = self.take(key) else {
            return;
        };
        let row = retry.unwrap_or_else(|| self.row(key, &message, now));
        let row = Row {
            status: Status::Done,
            attempts: row.attempts + 1,
            next_attempt_at: None,
            finished_at: Some(now),
            ..row
        };
        self.changes.rows.insert(row.id, row);
    }

    /// Reports a failure. Returns true if the delivery is given up.
    pub(crate) fn failed(&mut self, key: Key, failure: Failure, now: Timestamp) -> bool {
        self.in_flight -= 1;
        let requested = failure.retry_after.unwrap_or_default();
        if failure.is_of_endpoint {
            self.slow = self.slow.saturating_add(1);
            let slowdown = jittered(slowdown_after(self.slow), &mut self.rng);
            let requested = requested.min(LONGEST_REQUESTED_SLOWDOWN);
            self.resume_at = self.resume_at.max(later(now, slowdown.max(requested)));
        }
        let Some(row) = self.attempted(key, now) else {
            return false;
        };
        let attempts = row.attempts + 1;
        let pause = self.schedule.pause_after(attempts);
        let pause = pause
            .map(|pause| jittered(pause, &mut self.rng).max(requested.min(LONGEST_RETRY_AFTER)));
        let next_attempt_at = pause.map(|pause| later(now, pause));
        let row = Row {
            status: match next_attempt_at {
                Some(_) => Status::Pending,
                None => Status::Failed,
            },
            attempts,
            next_attempt_at,
            last_error: Some(failure.error),
            is_of_endpoint: failure.is_of_endpoint,
            finished_at: next_attempt_at.is_none().then_some(now),
            ..row
        };
        self.changes.rows.insert(row.id, row.clone());
        match next_attempt_at {
            Some(at) => self.retry_at(key, row, at),
            None => drop(self.take(key)),
        }
        next_attempt_at.is_none()
    }

    /// Returns the row of the message in flight, before this attempt. Holds its lane back.
    fn attempted(&mut self, key: Key, now: Timestamp) -> Option<Row> {
        match key {
            Key::Lane(stream) => {
                self.hold_back(stream);
                let lane = self.lanes.get(&stream)?;
                let retry = lane.held.as_ref().and_then(|held| held.retry.clone());
                let message = lane.queue.front()?;
                Some(retry.unwrap_or_else(|| self.row(key, message, now)))
            }
            Key::Alone(id) => self.alone.get(&id).map(|alone| alone.row.clone()),
        }
    }

    fn retry_at(&mut self, key: Key, row: Row, at: Timestamp) {
        match key {
            Key::Lane(stream) => {
                if let Some(lane) = self.lanes.get_mut(&stream) {
                    lane.is_in_flight = false;
                    if let Some(held) = &mut lane.held {
                        held.retry = Some(row);
                    }
                }
            }
            Key::Alone(id) => {
                if let Some(alone) = self.alone.get_mut(&id) {
                    alone.row = row;
                    alone.is_busy = false;
                }
            }
        }
        self.timers.insert((at, key));
    }

    /// Removes the message in flight, which is delivered or given up, and continues its lane.
    pub(super) fn take(&mut self, key: Key) -> Option<(Message, Option<Row>)> {
        let stream = match key {
            Key::Lane(stream) => stream,
            Key::Alone(id) => {
                let alone = self.alone.remove(&id)?;
                return Some((alone.message?, Some(alone.row)));
            }
        };
        let lane = self.lanes.get_mut(&stream)?;
        lane.is_in_flight = false;
        let message = lane.queue.pop_front()?;
        self.queued -= 1;
        let retry = match &mut lane.held {
            Some(held) => {
                held.progress = (message.position, message.part + 1);
                self.changes.lanes.insert(stream, Some(held.progress));
                held.retry.take()
            }
            None => {
                if let Some(count) = self.outstanding.get_mut(&message.position) {
                    *count -= 1;
                    if *count == 0 {
                        self.outstanding.remove(&message.position);
                    }
                }
                None
            }
        };
        self.make_ready(stream);
        Some((message, retry))
    }

    /// Ends the slowdown after a success, and brings forward all deliveries that failed because of
    /// the endpoint.
    fn recover(&mut self, now: Timestamp) {
        if self.slow == 0 {
            return;
        }
        self.slow = 0;
        self.resume_at = Timestamp::default();
        let of_lanes = self.lanes.iter_mut().filter_map(|(stream, lane)| {
            let row = lane.held.as_mut()?.retry.as_mut()?;
            Some((Key::Lane(*stream), row))
        });
        let alone = self.alone.iter_mut();
        let alone = alone.map(|(id, alone)| (Key::Alone(*id), &mut alone.row));
        for (key, row) in of_lanes.chain(alone) {
            let Some(at) = row.next_attempt_at.filter(|_| row.is_of_endpoint) else {
                continue;
            };
            if self.timers.remove(&(at, key)) {
                row.next_attempt_at = Some(now.min(at));
                self.timers.insert((now.min(at), key));
                self.changes.rows.insert(row.id, row.clone());
            }
        }
    }

    pub(super) fn row(&self, key: Key, message: &Message, now: Timestamp) -> Row {
        Row {
            id: delivery_id(self.endpoint_id, &message.webhook_id),
            webhook_id: message.webhook_id.clone(),
            event_type: message.event_type.to_owned(),
            stream: match key {
                Key::Lane(stream) => Some(stream),
                Key::Alone(_) => None,
            },
            position: message.position,
            part: message.part,
            status: Status::Pending,
            attempts: 0,
            next_attempt_at: None,
            last_error: None,
            holds_drop: true,
            is_of_endpoint: false,
            is_cancelled: false,
            created_at: now,
            finished_at: None,
        }
    }
}

/// Returns the row of a delivery whose message does not exist any more: given up.
pub(super) fn withdrawn(row: Row, now: Timestamp) -> Row {
    let error =
        "the event was declared void, or the endpoint does not subscribe to its type any more";
    Row {
        status: Status::Failed,
        next_attempt_at: None,
        last_error: Some(error.to_owned()),
        is_cancelled: true,
        finished_at: Some(now),
        ..row
    }
}

pub(super) fn later(now: Timestamp, pause: Duration) -> Timestamp {
    now.plus_millis(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}
