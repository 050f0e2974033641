//! Builders: a stored event, a chain.

use std::borrow::Cow;

use domain::values::{BuyerId, Position, Quantity, Sequence, Timestamp};
use infrastructure::codec::{RecordedEvent, decode};
use infrastructure::log::{Batch, EventLog, Hash, Head, StoredEvent, chain};

/// 2026-01-01T00:00:00Z, the start of most of these tests.
pub fn new_year() -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000)
}

/// An event of a stream that does not belong to a drop.
pub fn sample(stream: &str, sequence: u64) -> StoredEvent {
    sample_with(stream, sequence, "{}")
}

/// The same with this payload.
pub fn sample_with(stream: &str, sequence: u64, payload: &str) -> StoredEvent {
    StoredEvent {
        position: Position::default(),
        recorded_at: new_year(),
        aggregate_type: Cow::Borrowed("Sample"),
        aggregate_id: stream.to_owned(),
        sequence: Sequence(sequence),
        event_type: Cow::Borrowed("Sampled"),
        event_version: Cow::Borrowed("1.0"),
        payload: payload.to_owned(),
        metadata: Cow::Borrowed("{}"),
        hash: Hash::default(),
        private: None,
    }
}

/// A batch of one sample event on `expected`.
pub fn one(expected: Head, stream: &str, sequence: u64) -> Batch {
    Batch::seal(expected, vec![sample(stream, sequence)])
}

/// All events of the log.
pub async fn all<L: EventLog>(log: &L) -> Vec<StoredEvent> {
    log.read(Position(0), 1_000_000).await.unwrap()
}

/// Panics unless positions are 1, 2, 3 …, times never decrease and every hash follows from the one
/// before.
#[track_caller]
pub fn assert_is_chain(events: &[StoredEvent]) {
    let mut head = Head::default();
    for event in events {
        assert_eq!(event.position, head.position.next(), "dense");
        assert!(
            event.recorded_at >= head.recorded_at,
            "recorded_at decreased"
        );
        assert_eq!(
            event.hash,
            chain::link(&head.hash, event),
            "hash at {}",
            event.position
        );
        head = event.head();
    }
}

pub fn decoded(events: &[StoredEvent]) -> Vec<RecordedEvent> {
    events
        .iter()
        .filter_map(|event| decode(event).unwrap())
        .collect()
}

pub fn quantity(units: i64) -> Quantity {
    Quantity::new(units).unwrap()
}

pub fn buyer(name: &str) -> BuyerId {
    BuyerId::new(name).unwrap()
}
