//! The database's clock is shared by all nodes: events from the future are rejected, and a node
//! whose clock is wrong decides nothing, expires nothing and sells nothing, while the others
//! continue.

use std::time::Duration;

use crate::support::build::{all, hold, key, kinds, new_year, purchase, sample, schedule, terms};
use crate::support::database::fresh_database;
use crate::support::node::{Node, SetClock, pass};
use crate::support::request::Request;
use crate::support::shop::refusal;
use domain::values::{DropId, Position, Sequence, StockCount, Timestamp};
use engine::{Clock, ClockFault, CommandError, EngineConfig, Health, NewTerms};
use infrastructure::error::AppendError;
use infrastructure::log::memory::{Faults, MemoryLog};
use infrastructure::log::postgres::PostgresLog;
use infrastructure::log::{Batch, EventLog, Head, StoredEvent, Turn};
use sqlx::PgPool;

const TEN_MINUTES_MS: i64 = 600_000;
/// The limit of the database, and of an engine by default.
const BOUND_MS: i64 = 2_000;

/// The machine's clock, which the database uses too; each copy can be set.
fn right_clock() -> SetClock {
    SetClock::starting_at(chrono::Utc::now().into())
}

fn now() -> Timestamp {
    chrono::Utc::now().into()
}

/// A sample event stamped `off` milliseconds from now.
fn stamped(stream: &str, off: i64) -> StoredEvent {
    StoredEvent {
        recorded_at: now().plus_millis(off),
        ..sample(stream, 1)
    }
}

fn batch_at(head: Head, stream: &str, off: i64) -> Batch {
    Batch::seal(head, vec![stamped(stream, off)])
}

/// A drop that is scheduled now and starts `off` milliseconds from now.
fn schedule_at(key_text: &str, off: i64) -> Request {
    let Request::ScheduleDrop { terms: new, .. } = schedule(key_text, 9, 300) else {
        unreachable!("it returns a ScheduleDrop")
    };
    let mut new = *new;
    new.starts_now = false;
    new.terms.starts_at = now().plus_millis(off);
    Request::ScheduleDrop {
        key: Some(key(key_text)),
        terms: Box::new(new),
        total_stock: StockCount::new(9).unwrap(),
    }
}

/// A drop that ends `off` milliseconds from now.
fn schedule_until(key_text: &str, off: i64) -> Request {
    let mut terms = terms(300);
    terms.ends_at = Some(now().plus_millis(off));
    Request::ScheduleDrop {
        key: Some(key(key_text)),
        terms: Box::new(NewTerms {
            terms,
            starts_now: true,
        }),
        total_stock: StockCount::new(9).unwrap(),
    }
}

/// Waits until `condition` holds.
async fn eventually(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            pass(5).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "condition not met within a minute");
}

fn skew_of(node: &Node) -> Option<i64> {
    match node.handle.health() {
        Health::ClockFault(ClockFault::Skewed { skew_ms }) => Some(skew_ms),
        Health::ClockFault(ClockFault::LogAhead { .. } | ClockFault::Jumped { .. })
        | Health::Live
        | Health::Away { .. }
        | Health::Refused { .. }
        | Health::Stopped => None,
    }
}

#[track_caller]
fn assert_is_about(skew_ms: i64, expected: i64) {
    assert!((skew_ms - expected).abs() < 5_000, "{skew_ms}");
}

#[track_caller]
fn assert_rejected_for_skew<T: std::fmt::Debug>(outcome: Result<T, CommandError>, off: i64) {
    match outcome {
        Err(CommandError::ClockFault(ClockFault::Skewed { skew_ms })) => {
            assert_is_about(skew_ms, off);
        }
        other => panic!("expected a skewed clock, got {other:?}"),
    }
}

async fn expiries(log: &impl EventLog) -> usize {
    let kinds = kinds(&all(log).await);
    kinds.iter().filter(|kind| *kind == "HoldExpired").count()
}

/// Appends an event from the future past all guards: the log of a shop with a wrong clock, from
/// before the database rejected such events.
async fn force_ahead(pool: &PgPool, log: &PostgresLog, off: i64) -> Head {
    let triggers = [
        ("log_head", "refuse_future"),
        ("events", "refuse_later_than_head"),
    ];
    for (table, trigger) in triggers {
        let disable = format!("ALTER TABLE {table} DISABLE TRIGGER {trigger}");
        sqlx::query(&disable).execute(pool).await.unwrap();
    }
    let batch = batch_at(log.head().await.unwrap(), "forced", off);
    log.append(&batch).await.unwrap();
    for (table, trigger) in triggers {
        let enable = format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}");
        sqlx::query(&enable).execute(pool).await.unwrap();
    }
    batch.head()
}

#[tokio::test]
async fn database_rejects_a_batch_from_the_future_and_writes_nothing() {
    let log = PostgresLog::new(fresh_database().await);
    let origin = Head::default();
    let refused = log.append(&batch_at(origin, "a", TEN_MINUTES_MS)).await;
    assert!(
        matches!(refused, Err(AppendError::FromFuture(_))),
        "{refused:?}"
    );
    assert_eq!(log.head().await.unwrap(), origin);
    let turn = log.take_turn().await.unwrap();
    let shared = turn.clock().unwrap();
    assert!(
        (shared.millis() - now().millis()).abs() < 60_000,
        "{shared}"
    );
    let refused = turn.append(&batch_at(origin, "a", BOUND_MS + 60_000)).await;
    assert!(
        matches!(refused, Err(AppendError::FromFuture(_))),
        "{refused:?}"
    );
    // Another head is still a conflict, and an event in the past is accepted.
    let moved = Head {
        position: Position(7),
        ..origin
    };
    let conflict = log.append(&batch_at(moved, "a", TEN_MINUTES_MS)).await;
    assert!(
        matches!(conflict, Err(AppendError::Conflict)),
        "{conflict:?}"
    );
    let past = batch_at(origin, "a", -TEN_MINUTES_MS);
    log.append(&past).await.unwrap();
    log.append(&batch_at(past.head(), "b", 0)).await.unwrap();
    assert_eq!(all(&log).await.len(), 2);
}

#[tokio::test]
async fn no_event_is_later_than_a_head_moved_by_hand() {
    let pool = fresh_database().await;
    let insert = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                                      position, recorded_at, hash)
                  VALUES ('Sample', 'a', 1, 'Sampled', '1.0', '{}', '{}', 1, clock_timestamp() + interval '1 hour', '\\x00')";
    let mut work = pool.begin().await.unwrap();
    // Without a search path, as during a restore.
    for statement in [
        "SELECT set_config('search_path', '', true)",
        "UPDATE public.log_head SET position = 1, hash = '\\x00', recorded_at = clock_timestamp()",
    ] {
        sqlx::query(statement).execute(&mut *work).await.unwrap();
    }
    let insert = insert.replace("INTO events", "INTO public.events");
    let later = "ALTER TABLE public.events DISABLE TRIGGER refuse_beyond_head";
    sqlx::query(later).execute(&mut *work).await.unwrap();
    let refused = sqlx::query(&insert).execute(&mut *work).await.unwrap_err();
    let code = refused
        .as_database_error()
        .unwrap()
        .code()
        .unwrap()
        .into_owned();
    assert_eq!(code, "TF001", "{refused}");
}

#[tokio::test]
async fn head_moved_into_the_future_by_hand_is_rejected() {
    let pool = fresh_database().await;
    let moved = "UPDATE log_head SET position = position + 1, recorded_at = clock_timestamp() + interval '3 seconds'";
    let refused = sqlx::query(moved).execute(&*pool).await.unwrap_err();
    let code = refused
        .as_database_error()
        .unwrap()
        .code()
        .unwrap()
        .into_owned();
    assert_eq!(code, "TF001", "{refused}");
}

#[tokio::test]
async fn node_that_starts_ahead_decides_nothing_and_others_continue() {
    let log = PostgresLog::new(fresh_database().await);
    let clock = right_clock();
    let right = Node::start(&log, clock.clone(), 1).await;
    let open = right.scheduled(schedule("open", 9, 300)).await;
    let future = right.scheduled(schedule_at("future", 300_000)).await;
    let held = right.held(hold(open, "h1", "alice", 2)).await;
    let wrong = Node::start(&log, clock.another(TEN_MINUTES_MS), 2).await;
    assert_is_about(skew_of(&wrong).expect("not live"), TEN_MINUTES_MS);
    assert_is_about(
        wrong.handle.clock_skew().unwrap().estimate_ms(),
        TEN_MINUTES_MS,
    );
    for request in [
        hold(future, "w1", "bob", 1),
        hold(open, "w2", "bob", 1),
        purchase(held),
    ] {
        assert_rejected_for_skew(wrong.submit(request).await, TEN_MINUTES_MS);
    }
    // It keeps following the other node's events.
    let bought = right.submit(purchase(held)).await.unwrap();
    eventually(|| wrong.feed.head().position >= bought.position()).await;
    let early = right.submit(hold(future, "h2", "carol", 1)).await;
    assert!(matches!(refusal(early), domain::Refusal::NotLive { .. }));
    right.held(hold(open, "h3", "dora", 7)).await;
    assert_eq!(expiries(&log).await, 0);
    let ahead = log.head().await.unwrap().recorded_at.millis() - now().millis();
    assert!(ahead <= BOUND_MS, "{ahead}");
    wrong.stop().await.unwrap();
}

#[tokio::test]
async fn node_that_starts_behind_does_not_sell_expired_holds() {
    let log = PostgresLog::new(fresh_database().await);
    let clock = right_clock();
    let right = Node::start(&log, clock.clone(), 1).await;
    let over = right.scheduled(schedule_until("brief", 1_500)).await;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let outcome = right
            .submit(hold(over, &format!("h{attempt}"), "alice", 1))
            .await;
        if let Err(CommandError::Refused { refusal, .. }) = outcome {
            assert!(
                matches!(
                    refusal,
                    domain::Refusal::Ended { .. } | domain::Refusal::SoldOut { .. }
                ),
                "{refusal:?}"
            );
            if matches!(refusal, domain::Refusal::Ended { .. }) {
                break;
            }
        }
        pass(20).await;
    }
    let before = log.head().await.unwrap();
    let wrong = Node::start(&log, clock.another(-TEN_MINUTES_MS), 2).await;
    assert_is_about(skew_of(&wrong).expect("not live"), -TEN_MINUTES_MS);
    assert_rejected_for_skew(
        wrong.submit(hold(over, "w1", "bob", 1)).await,
        -TEN_MINUTES_MS,
    );
    let fault = wrong.submit(hold(over, "w2", "bob", 1)).await.unwrap_err();
    assert!(
        fault.to_string().contains("behind the database's clock"),
        "{fault}"
    );
    assert_eq!(log.head().await.unwrap(), before);
}

/// One node's clock jumps by `off` while it runs, next to a node whose clock is right.
async fn jump_in_flight(off: i64) {
    let log = PostgresLog::new(fresh_database().await);
    let clock = right_clock();
    let jumping = clock.another(0);
    let right = Node::start(&log, clock, 1).await;
    let node = Node::start(&log, jumping.clone(), 2).await;
    let open = right.scheduled(schedule("open", 9, 300)).await;
    let future = right.scheduled(schedule_at("future", 300_000)).await;
    let held = node.held(hold(open, "h1", "alice", 1)).await;
    jumping.set(off);
    // Sent immediately: it waits for the comparison of the clocks, and is not decided at the wrong
    // time.
    assert_rejected_for_skew(node.submit(hold(future, "w1", "bob", 1)).await, off);
    assert_is_about(skew_of(&node).expect("not live"), off);
    let other = right.held(hold(open, "h2", "carol", 1)).await;
    right.submit(purchase(other)).await.unwrap();
    assert_eq!(expiries(&log).await, 0);
    jumping.set(0);
    eventually(|| node.handle.health() == Health::Live).await;
    node.submit(purchase(held)).await.unwrap();
    let ahead = log.head().await.unwrap().recorded_at.millis() - now().millis();
    assert!(ahead <= BOUND_MS, "{ahead}");
}

#[tokio::test]
async fn clock_jump_ahead_expires_no_hold_until_it_is_right_again() {
    jump_in_flight(TEN_MINUTES_MS).await;
}

#[tokio::test]
async fn clock_jump_back_decides_nothing_until_it_is_right_again() {
    jump_in_flight(-TEN_MINUTES_MS).await;
}

#[tokio::test]
async fn clock_jump_within_the_limit_is_tolerated() {
    let log = PostgresLog::new(fresh_database().await);
    let clock = right_clock();
    let node = Node::start(&log, clock.clone(), 1).await;
    let open = node.scheduled(schedule("open", 9, 300)).await;
    for (number, off) in [800, -800, 1_000, 0].into_iter().enumerate() {
        clock.set(off);
        node.held(hold(open, &format!("h{number}"), "alice", 1))
            .await;
        assert_eq!(node.handle.health(), Health::Live);
    }
    assert_eq!(expiries(&log).await, 0);
}

#[tokio::test]
async fn log_that_ends_in_the_future_stops_decisions_unless_tolerated() {
    let pool = fresh_database().await;
    let log = PostgresLog::new(pool.clone());
    let before = Node::start(&log, right_clock(), 1).await;
    let future = before.scheduled(schedule_at("future", 300_000)).await;
    before.stop().await.unwrap();
    let head = force_ahead(&pool, &log, TEN_MINUTES_MS).await;
    let node = Node::start(&log, right_clock(), 2).await;
    let Health::ClockFault(ClockFault::LogAhead { ahead_ms }) = node.handle.health() else {
        panic!("{:?}", node.handle.health())
    };
    assert_is_about(ahead_ms, TEN_MINUTES_MS);
    let refused = node.submit(hold(future, "w1", "bob", 1)).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("the newest event of the log is"),
        "{refused}"
    );
    assert_eq!(log.head().await.unwrap(), head);
    // Stock programs and erasures may append; their time is that of the head, which does not
    // advance.
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('Sample', 'stock', 1, 'Sampled', '1.0', '{}', '{}')",
    )
    .execute(&*pool)
    .await
    .unwrap();
    assert_eq!(log.head().await.unwrap().recorded_at, head.recorded_at);
    let tolerant = EngineConfig {
        max_clock_skew: Duration::from_secs(900),
        ..EngineConfig::default()
    };
    let tolerant = Node::load(&log, right_clock(), 3, tolerant).await.unwrap();
    assert_eq!(tolerant.handle.health(), Health::Live);
    let open = tolerant.scheduled(schedule("open", 9, 60)).await;
    tolerant.held(hold(open, "h1", "alice", 1)).await;
    assert_eq!(log.head().await.unwrap().recorded_at, head.recorded_at);
}

/// A shop on a log in memory with its own clock, both starting at new year's; the node's clock is
/// the second.
async fn shop_in_memory(faults: Faults) -> (MemoryLog, SetClock, SetClock, Node, DropId) {
    let shared = SetClock::starting_at(new_year());
    let of_log = shared.clone();
    let log = MemoryLog::with_faults(Faults::default(), 1).on_clock(move || of_log.now());
    let clock = shared.another(0);
    let node = Node::start(&log, clock.clone(), 1).await;
    let drop_id = node.scheduled(schedule("drop", 9, 60)).await;
    log.set_faults(faults);
    (log, shared, clock, node, drop_id)
}

#[tokio::test(start_paused = true)]
async fn deadline_reached_by_a_clock_jump_does_not_expire_a_hold() {
    let (log, _shared, clock, node, drop_id) = shop_in_memory(Faults::default()).await;
    let held = node.held(hold(drop_id, "h1", "alice", 1)).await;
    clock.set(TEN_MINUTES_MS);
    // The engine checks its deadlines at least once a second.
    pass(5_000).await;
    assert_eq!(expiries(&log).await, 0);
    assert_is_about(skew_of(&node).expect("not live"), TEN_MINUTES_MS);
    clock.set(0);
    pass(5_000).await;
    assert_eq!(node.handle.health(), Health::Live);
    node.submit(purchase(held)).await.unwrap();
    // A hold still expires at its deadline.
    node.held(hold(drop_id, "h2", "alice", 1)).await;
    pass(61_000).await;
    assert_eq!(expiries(&log).await, 1);
}

const HOUR_MS: i64 = 3_600_000;

#[tokio::test(start_paused = true)]
async fn jump_of_both_clocks_is_not_believed_with_a_larger_tolerance_of_skew() {
    let (log, shared, clock, node, drop_id) = shop_in_memory(Faults::default()).await;
    node.held(hold(drop_id, "h1", "alice", 1)).await;
    drop(node);
    // As an operator sets it for a log that ends in the future.
    let tolerant = EngineConfig {
        max_clock_skew: Duration::from_millis(2 * HOUR_MS.unsigned_abs()),
        ..EngineConfig::default()
    };
    let node = Node::load(&log, clock.clone(), 2, tolerant).await.unwrap();
    shared.set(HOUR_MS);
    clock.set(HOUR_MS);
    pass(5_000).await;
    assert!(is_unbelieved(&node, HOUR_MS), "{:?}", node.handle.health());
    assert_eq!(expiries(&log).await, 0);
}

fn is_unbelieved(node: &Node, jump: i64) -> bool {
    match node.handle.health() {
        Health::ClockFault(ClockFault::Jumped { jump_ms }) => (jump_ms - jump).abs() < 5_000,
        Health::ClockFault(ClockFault::LogAhead { .. } | ClockFault::Skewed { .. })
        | Health::Live
        | Health::Away { .. }
        | Health::Refused { .. }
        | Health::Stopped => false,
    }
}

/// The clock of the one machine of a server and its database jumps an hour and returns.
async fn jump_of_both_and_back(off: i64) {
    let (log, shared, clock, node, drop_id) = shop_in_memory(Faults::default()).await;
    let elsewhere = Node::start(&log, shared.another(0), 2).await;
    let held = node.held(hold(drop_id, "h1", "alice", 1)).await;
    let before = log.head().await.unwrap();
    shared.set(off);
    clock.set(off);
    let refused = node.submit(hold(drop_id, "h2", "bob", 1)).await;
    assert!(
        matches!(
            refused,
            Err(CommandError::ClockFault(ClockFault::Jumped { .. }))
        ),
        "{refused:?}"
    );
    pass(30_000).await;
    assert!(is_unbelieved(&node, off), "{:?}", node.handle.health());
    // Reads show the time that was believed.
    let shown = node.handle.corrected(clock.now());
    assert_is_about(shown.millis() - new_year().millis(), 30_000);
    // A server on another machine sees that the database's clock differs, and waits as well.
    assert_is_about(skew_of(&elsewhere).expect("not live"), -off);
    assert_eq!(log.head().await.unwrap(), before);
    shared.set(0);
    clock.set(0);
    pass(2_000).await;
    for node in [&node, &elsewhere] {
        assert_eq!(node.handle.health(), Health::Live);
    }
    node.submit(purchase(held)).await.unwrap();
    elsewhere.held(hold(drop_id, "h3", "carol", 1)).await;
    assert_eq!(expiries(&log).await, 0);
    let last = log.head().await.unwrap().recorded_at;
    assert!(last <= clock.now(), "{last}");
}

#[tokio::test(start_paused = true)]
async fn both_clocks_an_hour_ahead_and_back_leave_nothing_in_the_log() {
    jump_of_both_and_back(HOUR_MS).await;
}

#[tokio::test(start_paused = true)]
async fn both_clocks_an_hour_behind_and_back_leave_nothing_in_the_log() {
    jump_of_both_and_back(-HOUR_MS).await;
}

#[tokio::test(start_paused = true)]
async fn jump_of_both_clocks_is_believed_after_the_hold_off() {
    let (log, shared, clock, node, drop_id) = shop_in_memory(Faults::default()).await;
    node.held(hold(drop_id, "h1", "alice", 1)).await;
    let set = |off| {
        shared.set(off);
        clock.set(off);
    };
    set(2 * HOUR_MS);
    pass(40_000).await;
    // Another jump begins another hold-off.
    set(HOUR_MS);
    pass(58_000).await;
    assert!(is_unbelieved(&node, HOUR_MS), "{:?}", node.handle.health());
    assert_eq!(expiries(&log).await, 0);
    pass(4_000).await;
    assert_eq!(node.handle.health(), Health::Live);
    assert_eq!(expiries(&log).await, 1);
    node.held(hold(drop_id, "h2", "alice", 1)).await;
    // Back again, for good: the log ends in the future, and is waited for.
    set(0);
    pass(65_000).await;
    let health = node.handle.health();
    let Health::ClockFault(ClockFault::LogAhead { ahead_ms }) = health else {
        panic!("{health:?}")
    };
    assert_is_about(ahead_ms, HOUR_MS - 65_000);
    // The return to the time that was believed needs no hold-off.
    set(HOUR_MS);
    pass(2_000).await;
    assert_eq!(node.handle.health(), Health::Live);
}

#[tokio::test(start_paused = true)]
async fn rejected_batch_reveals_a_clock_that_is_ahead() {
    // The log's clock goes back: the node learns of it from a rejected batch.
    let (log, shared, _clock, node, drop_id) = shop_in_memory(Faults::default()).await;
    pass(10).await;
    shared.set(-TEN_MINUTES_MS);
    let refused = node.submit(hold(drop_id, "h1", "alice", 1)).await;
    assert!(
        matches!(refused, Err(CommandError::ClockFault(_))),
        "{refused:?}"
    );
    pass(2_000).await;
    assert_is_about(skew_of(&node).expect("not live"), TEN_MINUTES_MS);
    assert_eq!(kinds(&log.snapshot()), ["DropScheduled"]);
    shared.set(0);
    pass(2_000).await;
    node.held(hold(drop_id, "h1", "alice", 1)).await;
    assert_eq!(kinds(&log.snapshot()), ["DropScheduled", "HoldPlaced"]);
}

#[tokio::test(start_paused = true)]
async fn batch_rejected_after_an_unknown_outcome_is_undecided() {
    let always_late = Faults {
        late_appends: 1_000,
        ..Faults::default()
    };
    let (log, shared, _clock, node, drop_id) = shop_in_memory(always_late).await;
    let sent = node.begin(hold(drop_id, "h1", "alice", 1)).await;
    log.calm();
    shared.set(-TEN_MINUTES_MS);
    pass(2_000).await;
    let outcome = sent.await.unwrap();
    assert!(
        matches!(outcome, Ok(_) | Err(CommandError::Undecided)),
        "{outcome:?}"
    );
    shared.set(0);
    pass(2_000).await;
    assert_eq!(node.handle.health(), Health::Live);
    // The retry finds the committed hold, or records it now.
    node.held(hold(drop_id, "h1", "alice", 1)).await;
    assert_eq!(kinds(&log.snapshot()), ["DropScheduled", "HoldPlaced"]);
    assert_eq!(all(&log).await.last().unwrap().sequence, Sequence(3));
}
