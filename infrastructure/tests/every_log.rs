//! Guarantees of every log, checked on the one in memory and on the one in Postgres.

use domain::DropEvent;
use domain::event::HoldExpired;
use domain::private::Private;
use domain::values::{DropId, HoldId, Position, Pseudonym, Salt, Sequence, Timestamp};
use infrastructure::codec::encode;
use infrastructure::error::{AppendError, LogError};
use infrastructure::log::{
    Batch, EventLog, Hash, Head, MOST_BATCH_BYTES, StoredEvent, Turn, append_or_confirm,
};
use uuid::Uuid;

use crate::support::build::{
    all, assert_is_chain, buyer, decoded, new_year, one, quantity, sample, sample_with,
};

/// Runs every scenario on both logs. A scenario gets a function that opens the log again, as
/// another node would.
macro_rules! on_every_log {
    ($($scenario:ident),* $(,)?) => {
        mod memory {
            use std::time::Duration;

            use infrastructure::log::memory::{Faults, MemoryLog};

            $(
                #[tokio::test(start_paused = true)]
                async fn $scenario() {
                    let slow = Faults { latency: Duration::from_millis(3), ..Faults::default() };
                    let log = MemoryLog::with_faults(slow, 1);
                    super::$scenario(|| log.clone()).await;
                }
            )*
        }

        mod postgres {
            use infrastructure::log::postgres::PostgresLog;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    let pool = crate::support::database::fresh_database().await;
                    super::$scenario(|| PostgresLog::new(pool.clone())).await;
                }
            )*
        }
    };
}

on_every_log!(
    new_log_is_empty_and_its_head_is_the_origin,
    positions_are_dense_across_batches_and_nodes,
    batch_is_appended_atomically,
    conflict_leaves_nothing_behind,
    batch_above_the_size_limit_is_not_sent,
    another_hash_at_the_same_position_is_a_conflict,
    reads_return_windows_in_order_and_nothing_at_the_head,
    events_are_read_as_they_were_written,
    parts_contain_every_event_of_a_range_decoded,
    parts_end_at_a_broken_hash,
    recorded_at_never_decreases,
    chain_can_be_recomputed_from_the_events_read,
    private_data_is_stored_outside_the_chain,
    turn_blocks_all_other_appends,
    batch_waits_for_a_turn_and_succeeds_if_nothing_was_appended,
    dropped_turn_passes_on,
    passed_turn_passes_on,
    turns_can_be_taken_repeatedly,
    retry_recognises_a_committed_batch,
    retry_recognises_a_committed_batch_below_later_events,
    retry_commits_a_lost_batch,
    retry_conflicts_with_foreign_events,
    acknowledged_batches_of_many_appenders_are_in_the_log_once,
    appenders_that_take_turns_never_conflict,
);

async fn new_log_is_empty_and_its_head_is_the_origin<L: EventLog>(node: impl Fn() -> L) {
    assert_eq!(node().head().await.unwrap(), Head::default());
    assert_eq!(all(&node()).await, vec![]);
}

async fn positions_are_dense_across_batches_and_nodes<L: EventLog>(node: impl Fn() -> L) {
    let (here, there) = (node(), node());
    let first = Batch::seal(Head::default(), vec![sample("a", 1), sample("a", 2)]);
    here.append(&first).await.unwrap();
    let second = one(there.head().await.unwrap(), "b", 1);
    there.append(&second).await.unwrap();
    let positions: Vec<u64> = all(&here).await.iter().map(|e| e.position.0).collect();
    assert_eq!(positions, [1, 2, 3]);
    assert_eq!(here.head().await.unwrap(), second.head());
}

async fn batch_is_appended_atomically<L: EventLog>(node: impl Fn() -> L) {
    let events = (1..=300).map(|n| sample("a", n)).collect();
    let batch = Batch::seal(Head::default(), events);
    node().append(&batch).await.unwrap();
    assert_eq!(all(&node()).await, batch.events);
}

async fn conflict_leaves_nothing_behind<L: EventLog>(node: impl Fn() -> L) {
    let (winner, loser) = (node(), node());
    let won = one(Head::default(), "winner", 1);
    winner.append(&won).await.unwrap();
    let lost = Batch::seal(
        Head::default(),
        vec![sample("loser", 1), sample("loser", 2)],
    );
    assert_conflict(loser.append(&lost).await);
    assert_eq!(all(&loser).await, won.events);
    assert_eq!(loser.head().await.unwrap(), won.head());
}

async fn another_hash_at_the_same_position_is_a_conflict<L: EventLog>(node: impl Fn() -> L) {
    let log = node();
    let landed = one(Head::default(), "a", 1);
    log.append(&landed).await.unwrap();
    let elsewhere = one(Head::default(), "b", 1).head();
    assert_eq!(elsewhere.position, landed.head().position);
    assert_conflict(log.append(&one(elsewhere, "b", 2)).await);
    assert_eq!(all(&log).await, landed.events);
}

async fn reads_return_windows_in_order_and_nothing_at_the_head<L: EventLog>(node: impl Fn() -> L) {
    let log = node();
    let batch = Batch::seal(Head::default(), (1..=7).map(|n| sample("a", n)).collect());
    log.append(&batch).await.unwrap();
    assert_eq!(log.read(Position(0), 3).await.unwrap(), batch.events[..3]);
    assert_eq!(log.read(Position(3), 3).await.unwrap(), batch.events[3..6]);
    assert_eq!(log.read(Position(6), 3).await.unwrap(), batch.events[6..]);
    assert_eq!(log.read(Position(7), 3).await.unwrap(), vec![]);
    assert_eq!(log.read(Position(1_000), 3).await.unwrap(), vec![]);
}

async fn parts_contain_every_event_of_a_range_decoded<L: EventLog>(node: impl Fn() -> L) {
    let log = node();
    // More than two pages of the one in Postgres, with foreign streams and personal data among
    // them.
    let events = (1..=4_500).map(|n| {
        if n % 7 == 0 {
            sample("a", n)
        } else {
            expiry(n, n % 3 == 0)
        }
    });
    let batch = Batch::seal(Head::default(), events.collect());
    log.append(&batch).await.unwrap();
    for (after, until) in [(0, 4_500), (1_999, 2_001), (2_000, 4_000), (4_500, 4_500)] {
        let mut parts = log.parts(Position(after), Position(until));
        let (mut found, mut head) = (vec![], None);
        while let Some(part) = parts.recv().await {
            let part = part.unwrap();
            found.extend(part.events.iter().cloned());
            head = Some(part.head);
        }
        let range = usize::try_from(after).unwrap()..usize::try_from(until).unwrap();
        let expected = &batch.events[range];
        assert_eq!(found, decoded(expected));
        assert_eq!(head, expected.last().map(StoredEvent::head));
    }
}

async fn parts_end_at_a_broken_hash<L: EventLog>(node: impl Fn() -> L) {
    let log = node();
    let events = (1..=300).map(|n| expiry(n, false)).collect();
    let mut batch = Batch::seal(Head::default(), events);
    for damaged in [129, 200, 300] {
        batch.events[damaged - 1].hash.0[31] ^= 1;
    }
    log.append(&batch).await.unwrap();
    // The log in Postgres reads 128 events at a time: the damaged event is the first, a middle and
    // the last one.
    for (after, damaged) in [(0, 129), (100, 129), (150, 200), (250, 300)] {
        let mut parts = log.parts(Position(after), Position(300));
        let error = loop {
            match parts.recv().await.expect("an error, not an end") {
                Ok(part) => assert!(part.head.position < Position(damaged), "{damaged}"),
                Err(error) => break error,
            }
        };
        let LogError::Corrupt { position, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(position, Position(damaged));
    }
}

/// An expired hold of some drop, in stored form.
fn expiry(sequence: u64, is_private: bool) -> StoredEvent {
    let event = DropEvent::HoldExpired(HoldExpired {
        hold_id: HoldId(Uuid::from_u128(sequence.into())),
        buyer: Pseudonym(Uuid::from_u128(7)),
        quantity: quantity(1),
        expired_at: new_year(),
    });
    let private = Private::buyer(Salt([7; 16]), buyer("Ann"), None);
    let private = is_private.then_some(&private);
    let drop_id = DropId(Uuid::from_u128(1));
    encode(drop_id, Sequence(sequence), new_year(), &event, private)
}

async fn events_are_read_as_they_were_written<L: EventLog>(node: impl Fn() -> L) {
    let events = ODD_PAYLOADS
        .iter()
        .zip(1..)
        .map(|(payload, n)| sample_with("a", n, payload))
        .collect();
    let batch = Batch::seal(Head::default(), events);
    node().append(&batch).await.unwrap();
    assert_eq!(all(&node()).await, batch.events);
}

/// JSON that normalization would change.
const ODD_PAYLOADS: [&str; 8] = [
    r#"{ "b" : 1,   "a":2 }"#,
    "{\n\t\"line\": \"break\"\n}",
    r#"{"twice":1,"twice":2}"#,
    r#"{"unicode":"Zoë 猫 🛒","escaped":"\u00eb\ud83d\uded2"}"#,
    r#"{"quote":"\"","slash":"\/","back":"\\","nul":"\u0000"}"#,
    r#"{"number":1.00,"big":12345678901234567890123,"small":1e-7}"#,
    r#"  "only a text"  "#,
    "null",
];

async fn recorded_at_never_decreases<L: EventLog>(node: impl Fn() -> L) {
    let log = node();
    log.append(&one(Head::default(), "a", 1)).await.unwrap();
    let mut early = sample("a", 2);
    early.recorded_at = Timestamp::from_millis(5);
    let mut late = sample("a", 3);
    late.recorded_at = new_year().plus_millis(7);
    let batch = Batch::seal(log.head().await.unwrap(), vec![early, late, sample("a", 4)]);
    log.append(&batch).await.unwrap();
    let times: Vec<i64> = all(&log)
        .await
        .iter()
        .map(|event| event.recorded_at.millis() - new_year().millis())
        .collect();
    assert_eq!(times, [0, 0, 7, 7]);
}

async fn chain_can_be_recomputed_from_the_events_read<L: EventLog>(node: impl Fn() -> L) {
    let log = node();
    for (n, payload) in (1..).zip(ODD_PAYLOADS) {
        let mut event = sample_with("straße", n, payload);
        event.metadata = "{\"who\": \"Ü\"}".into();
        event.recorded_at = new_year().plus_millis(i64::try_from(n).unwrap());
        let batch = Batch::seal(log.head().await.unwrap(), vec![event]);
        log.append(&batch).await.unwrap();
    }
    let events = all(&log).await;
    assert_is_chain(&events);
    assert_eq!(
        log.head().await.unwrap(),
        events.last().map(StoredEvent::head).unwrap()
    );
}

async fn private_data_is_stored_outside_the_chain<L: EventLog>(node: impl Fn() -> L) {
    let mut event = sample("a", 1);
    event.private = Some(r#"{ "name":"Zoë" }"#.to_owned());
    let batch = Batch::seal(Head::default(), vec![event, sample("a", 2)]);
    node().append(&batch).await.unwrap();
    let found = all(&node()).await;
    assert_eq!(found[0].private.as_deref(), Some(r#"{ "name":"Zoë" }"#));
    assert_eq!(found[1].private, None);
    assert_eq!(
        found[0].hash,
        one(Head::default(), "a", 1).head().hash,
        "the hash does not cover it"
    );
}

async fn turn_blocks_all_other_appends<L: EventLog>(node: impl Fn() -> L) {
    let (here, there) = (node(), node());
    let turn = here.take_turn().await.unwrap();
    let barging = tokio::spawn({
        let there = there.clone();
        async move { there.append(&one(Head::default(), "there", 1)).await }
    });
    let waiting = tokio::spawn(async move { there.take_turn().await });
    for _ in 0..20 {
        assert_eq!(here.head().await.unwrap(), turn.head(), "the head moved");
    }
    assert!(!barging.is_finished() && !waiting.is_finished());
    let batch = one(turn.head(), "here", 1);
    turn.append(&batch).await.unwrap();
    // Either may come first; the turn has to pass on for the other to proceed.
    let next = waiting.await.unwrap().unwrap();
    assert_eq!(next.head(), batch.head(), "the next turn starts from here");
    next.pass().await;
    assert_conflict(barging.await.unwrap());
    assert_eq!(all(&here).await, batch.events);
}

async fn batch_waits_for_a_turn_and_succeeds_if_nothing_was_appended<L: EventLog>(
    node: impl Fn() -> L,
) {
    let (here, there) = (node(), node());
    let turn = here.take_turn().await.unwrap();
    let batch = one(turn.head(), "there", 1);
    let waiting = tokio::spawn({
        let batch = batch.clone();
        async move { there.append(&batch).await }
    });
    assert_eq!(all(&here).await, vec![]);
    turn.pass().await;
    waiting.await.unwrap().unwrap();
    assert_eq!(all(&here).await, batch.events);
}

async fn dropped_turn_passes_on<L: EventLog>(node: impl Fn() -> L) {
    let (here, there) = (node(), node());
    drop(here.take_turn().await.unwrap());
    let turn = there.take_turn().await.unwrap();
    let batch = one(turn.head(), "a", 1);
    turn.append(&batch).await.unwrap();
    assert_eq!(all(&here).await, batch.events);
}

async fn passed_turn_passes_on<L: EventLog>(node: impl Fn() -> L) {
    let (here, there) = (node(), node());
    here.take_turn().await.unwrap().pass().await;
    let turn = there.take_turn().await.unwrap();
    let batch = one(turn.head(), "a", 1);
    turn.append(&batch).await.unwrap();
    here.append(&one(batch.head(), "a", 2)).await.unwrap();
    assert_is_chain(&all(&here).await);
}

async fn turns_can_be_taken_repeatedly<L: EventLog>(node: impl Fn() -> L) {
    let log = node();
    for n in 1..=5 {
        let turn = log.take_turn().await.unwrap();
        let batch = one(turn.head(), "a", n);
        turn.append(&batch).await.unwrap();
        log.take_turn().await.unwrap().pass().await;
    }
    assert_eq!(log.head().await.unwrap().position, Position(5));
}

async fn retry_recognises_a_committed_batch<L: EventLog>(node: impl Fn() -> L) {
    let log = node();
    let batch = Batch::seal(Head::default(), vec![sample("a", 1), sample("a", 2)]);
    log.append(&batch).await.unwrap();
    append_or_confirm(&log, &batch).await.unwrap();
    assert_eq!(all(&log).await, batch.events, "once");
}

async fn retry_recognises_a_committed_batch_below_later_events<L: EventLog>(node: impl Fn() -> L) {
    let log = node();
    let batch = Batch::seal(Head::default(), vec![sample("a", 1), sample("a", 2)]);
    log.append(&batch).await.unwrap();
    node().append(&one(batch.head(), "b", 1)).await.unwrap();
    append_or_confirm(&log, &batch).await.unwrap();
    assert_eq!(all(&log).await.len(), 3, "once");
}

async fn retry_commits_a_lost_batch<L: EventLog>(node: impl Fn() -> L) {
    let log = node();
    let batch = one(Head::default(), "a", 1);
    append_or_confirm(&log, &batch).await.unwrap();
    assert_eq!(all(&log).await, batch.events);
}

async fn retry_conflicts_with_foreign_events<L: EventLog>(node: impl Fn() -> L) {
    let log = node();
    let foreign = one(Head::default(), "b", 1);
    log.append(&foreign).await.unwrap();
    let same_length = one(Head::default(), "a", 1);
    assert_conflict(append_or_confirm(&log, &same_length).await);
    let longer = Batch::seal(Head::default(), vec![sample("a", 1), sample("a", 2)]);
    assert_conflict(append_or_confirm(&log, &longer).await);
    assert_eq!(all(&log).await, foreign.events);
}

async fn acknowledged_batches_of_many_appenders_are_in_the_log_once<L: EventLog>(
    node: impl Fn() -> L,
) {
    let appenders: Vec<_> = (0..6)
        .map(|n| tokio::spawn(race(node(), format!("racer-{n}"), 8)))
        .collect();
    let mut expected: Vec<Hash> = vec![];
    for appender in appenders {
        expected.extend(appender.await.unwrap());
    }
    assert_holds_exactly(&node(), expected).await;
}

/// Appends `batches` batches of two, following the log after every conflict; returns the hashes of
/// the committed ones.
async fn race<L: EventLog>(log: L, stream: String, batches: u64) -> Vec<Hash> {
    let mut landed = vec![];
    for n in 0..batches {
        loop {
            let events = vec![sample(&stream, 2 * n + 1), sample(&stream, 2 * n + 2)];
            let batch = Batch::seal(log.head().await.unwrap(), events);
            match log.append(&batch).await {
                Ok(()) => break landed.extend(batch.events.iter().map(|event| event.hash)),
                Err(AppendError::Conflict) => {}
                Err(error) => panic!("unexpected error: {error:?}"),
            }
        }
    }
    landed
}

async fn appenders_that_take_turns_never_conflict<L: EventLog>(node: impl Fn() -> L) {
    let appenders: Vec<_> = (0..5)
        .map(|n| tokio::spawn(take_turns(node(), format!("patient-{n}"), 8)))
        .collect();
    let mut expected: Vec<Hash> = vec![];
    for appender in appenders {
        expected.extend(appender.await.unwrap());
    }
    assert_holds_exactly(&node(), expected).await;
}

async fn batch_above_the_size_limit_is_not_sent<L: EventLog>(open: impl Fn() -> L) {
    let log = open();
    let of = |bytes: usize| {
        let events = (1..=16).map(|n| {
            let payload = format!("{:?}", "x".repeat(bytes / 16));
            sample_with("large", n, &payload)
        });
        Batch::seal(Head::default(), events.collect())
    };
    let too_large = of(MOST_BATCH_BYTES);
    let turn = log.take_turn().await.unwrap();
    for outcome in [turn.append(&too_large).await, log.append(&too_large).await] {
        let Err(AppendError::TooLarge { bytes, most }) = outcome else {
            panic!("expected a refusal, got {outcome:?}");
        };
        assert!(bytes > most && most == MOST_BATCH_BYTES);
    }
    assert_eq!(log.head().await.unwrap(), Head::default());
    let large = of(MOST_BATCH_BYTES - 16 * 1_024);
    log.append(&large).await.unwrap();
    assert_eq!(open().head().await.unwrap(), large.head());
}

async fn take_turns<L: EventLog>(log: L, stream: String, batches: u64) -> Vec<Hash> {
    let mut landed = vec![];
    for n in 1..=batches {
        let turn = log.take_turn().await.unwrap();
        let batch = one(turn.head(), &stream, n);
        turn.append(&batch).await.unwrap();
        landed.push(batch.head().hash);
    }
    landed
}

async fn assert_holds_exactly<L: EventLog>(log: &L, mut expected: Vec<Hash>) {
    let events = all(log).await;
    assert_is_chain(&events);
    let mut found: Vec<Hash> = events.iter().map(|event| event.hash).collect();
    expected.sort_unstable_by_key(|hash| hash.0);
    found.sort_unstable_by_key(|hash| hash.0);
    assert_eq!(found, expected);
}

#[track_caller]
fn assert_conflict(outcome: Result<(), AppendError>) {
    assert!(
        matches!(outcome, Err(AppendError::Conflict)),
        "expected a conflict, got {outcome:?}"
    );
}
