//! Guarantees of the log in Postgres only: the database itself rejects changes of history, a stock
//! program's plain INSERT becomes part of the chain, and a connection that dies leaves no unknown
//! state behind.

use domain::values::Position;
use infrastructure::error::{AppendError, LogError};
use infrastructure::log::postgres::{LogPool, PostgresLog, connect};
use infrastructure::log::{Batch, EventLog, Head, Turn, append_or_confirm};
use private_postgres::testing::replication::{count, until_count};
use private_postgres::testing::url_for;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Acquire, Connection, Executor};
use uuid::Uuid;

use crate::support::build::{all, assert_is_chain, one, sample};
use crate::support::database::fresh_database;

const STOCK_INSERT: &str = "
INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
VALUES ($1, $2, $3, CASE $1 WHEN 'Drop' THEN 'HoldPlaced' ELSE 'Sampled' END, '1.0', $4::json, $5::json)";

/// Stores an event as `postgres-es` does: seven columns, without position or hash.
async fn insert_as_stock(
    connection: &mut PgConnection,
    aggregate: (&str, &str),
    sequence: i64,
    payload: &str,
    metadata: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(STOCK_INSERT)
        .bind(aggregate.0)
        .bind(aggregate.1)
        .bind(sequence)
        .bind(payload)
        .bind(metadata)
        .execute(connection)
        .await
        .map(|_| ())
}

/// A log with two events, the first with private data.
async fn log_of_two(pool: &LogPool) -> PostgresLog {
    let log = PostgresLog::new(pool.clone());
    let mut introduced = sample("a", 1);
    introduced.private = Some(r#"{"name":"Zoë"}"#.to_owned());
    let batch = Batch::seal(Head::default(), vec![introduced, sample("a", 2)]);
    log.append(&batch).await.unwrap();
    log
}

#[track_caller]
fn assert_refused(outcome: Result<sqlx::postgres::PgQueryResult, sqlx::Error>, sql: &str) {
    let code = outcome
        .expect_err(sql)
        .as_database_error()
        .and_then(|error| error.code().map(|code| code.to_string()));
    assert_eq!(code.as_deref(), Some("23001"), "{sql}");
}

#[tokio::test]
async fn database_rejects_changes_of_history() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    let before = all(&log).await;
    for sql in [
        "UPDATE events SET payload = '{}'",
        "UPDATE events SET payload = '{\"a\":1}' WHERE position = 1",
        "UPDATE events SET recorded_at = now()",
        "UPDATE events SET hash = decode(repeat('00', 32), 'hex')",
        "UPDATE events SET position = position + 10",
        "UPDATE events SET sequence = 9 WHERE position = 2",
        "UPDATE events SET aggregate_id = 'b'",
        "UPDATE events SET metadata = '{ }', private = NULL",
        "DELETE FROM events",
        "DELETE FROM events WHERE position = 2",
        "TRUNCATE events",
        "TRUNCATE events, log_head CASCADE",
    ] {
        assert_refused(pool.execute(sql).await, sql);
    }
    assert_eq!(all(&log).await, before);
}

#[tokio::test]
async fn database_rejects_moving_the_head_back() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    let before = log.head().await.unwrap();
    for sql in [
        "UPDATE log_head SET position = position - 1",
        "UPDATE log_head SET hash = decode(repeat('00', 32), 'hex')",
        "UPDATE log_head SET position = position + 1, recorded_at = recorded_at - interval '1 second'",
        "DELETE FROM log_head",
        "TRUNCATE log_head",
    ] {
        assert_refused(pool.execute(sql).await, sql);
    }
    assert_eq!(log.head().await.unwrap(), before);
}

#[tokio::test]
async fn only_one_head_can_exist() {
    let pool = fresh_database().await;
    let second =
        "INSERT INTO log_head (only_row, position, hash, recorded_at) VALUES (false, 0, '', now())";
    assert!(pool.execute(second).await.is_err());
    let same = "INSERT INTO log_head (position, hash, recorded_at) VALUES (0, '', now())";
    assert!(pool.execute(same).await.is_err());
}

#[tokio::test]
async fn private_data_can_be_erased_but_not_changed() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    for sql in [
        r#"UPDATE events SET private = '{"name":"Zoe"}' WHERE position = 1"#,
        r#"UPDATE events SET private = '{"name":"Zoë"}' WHERE position = 2"#,
    ] {
        assert_refused(pool.execute(sql).await, sql);
    }
    let erase = "UPDATE events SET private = NULL";
    assert_eq!(pool.execute(erase).await.unwrap().rows_affected(), 2);
    let events = all(&log).await;
    assert!(events.iter().all(|event| event.private.is_none()));
    assert_is_chain(&events);
}

#[tokio::test]
async fn stock_insert_gets_the_position_time_and_hash_that_rust_computes() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    let mut stock = pool.acquire().await.unwrap();
    for (sequence, payload) in (1..).zip([
        r#"{ "b" : 1,   "a":2 }"#,
        "{\n\t\"line\": \"break\"\r\n}",
        r#"{"unicode":"Zoë 猫 🛒","escaped":"\u00eb\ud83d\uded2"}"#,
        r#"{"quote":"\"","slash":"\/","back":"\\","nul":"\u0000","twice":1,"twice":2}"#,
        r#"  "only a text"  "#,
        "1.00",
        "[]",
    ]) {
        insert_as_stock(
            &mut stock,
            ("Sample", "straße 🛒"),
            sequence,
            payload,
            r#"{"by": "Ü"}"#,
        )
        .await
        .unwrap();
    }
    let events = all(&log).await;
    assert_eq!(events.len(), 9);
    assert_is_chain(&events);
    assert_eq!(log.head().await.unwrap(), events[8].head());
    log.append(&one(events[8].head(), "a", 3)).await.unwrap();
    assert_is_chain(&all(&log).await);
}

#[tokio::test]
async fn stock_drop_is_stored_under_the_canonical_form_of_its_id() {
    let pool = fresh_database().await;
    let log = PostgresLog::new(pool.clone());
    let id = Uuid::new_v4();
    let mut stock = pool.acquire().await.unwrap();
    let shouted = id.to_string().to_uppercase();
    insert_as_stock(&mut stock, ("Drop", &shouted), 1, "{}", "{}")
        .await
        .unwrap();
    assert_eq!(all(&log).await[0].aggregate_id, id.to_string());
    assert_is_chain(&all(&log).await);
}

#[tokio::test]
async fn drop_whose_id_is_not_a_uuid_is_rejected() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    let mut stock = pool.acquire().await.unwrap();
    let outcome = insert_as_stock(&mut stock, ("Drop", "sneaker"), 1, "{}", "{}").await;
    assert!(outcome.is_err());
    assert_eq!(all(&log).await.len(), 2);
    log.append(&one(log.head().await.unwrap(), "a", 3))
        .await
        .unwrap();
}

#[tokio::test]
async fn rolled_back_stock_insert_leaves_no_gap() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    let mut stock = pool.acquire().await.unwrap();
    let mut transaction = stock.begin().await.unwrap();
    insert_as_stock(&mut transaction, ("Sample", "b"), 1, "{}", "{}")
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    insert_as_stock(&mut stock, ("Sample", "b"), 1, "{}", "{}")
        .await
        .unwrap();
    let events = all(&log).await;
    assert_eq!(events.len(), 3);
    assert_is_chain(&events);
}

#[tokio::test]
async fn conflicting_stock_insert_leaves_no_gap() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    let mut stock = pool.acquire().await.unwrap();
    let error = insert_as_stock(&mut stock, ("Sample", "a"), 2, "{}", "{}")
        .await
        .unwrap_err();
    let code = error
        .as_database_error()
        .and_then(|error| error.code().map(|code| code.to_string()));
    assert_eq!(
        code.as_deref(),
        Some("23505"),
        "the error that postgres-es treats as a conflict"
    );
    log.append(&one(log.head().await.unwrap(), "a", 3))
        .await
        .unwrap();
    assert_is_chain(&all(&log).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_inserts_and_batch_writers_make_one_dense_chain() {
    let pool = fresh_database().await;
    let stock: Vec<_> = (0..4)
        .map(|n| tokio::spawn(insert_many(PgPool::clone(&pool), format!("stock-{n}"), 40)))
        .collect();
    let writers: Vec<_> = (0..2)
        .map(|n| {
            let log = PostgresLog::new(pool.clone());
            tokio::spawn(append_many(log, format!("batch-{n}"), 20))
        })
        .collect();
    for task in stock.into_iter().chain(writers) {
        task.await.unwrap();
    }
    let events = all(&PostgresLog::new(pool)).await;
    assert_is_chain(&events);
    assert_eq!(events.len(), 4 * 40 + 2 * 20 * 3);
    for stream in ["stock-0", "stock-3", "batch-0", "batch-1"] {
        let of_stream = events.iter().filter(|event| event.aggregate_id == stream);
        let sequences: Vec<u64> = of_stream.map(|event| event.sequence.0).collect();
        let dense: Vec<u64> = (1..).take(sequences.len()).collect();
        assert_eq!(sequences, dense, "{stream}");
    }
}

async fn insert_many(pool: PgPool, stream: String, count: i64) {
    let mut connection = pool.acquire().await.unwrap();
    for sequence in 1..=count {
        insert_as_stock(&mut connection, ("Sample", &stream), sequence, "{}", "{}")
            .await
            .unwrap();
    }
}

/// Half of them competing and half in turn.
async fn append_many(log: PostgresLog, stream: String, batches: u64) {
    for n in 0..batches {
        let events = |n: u64| (1..=3).map(|k| sample(&stream, 3 * n + k)).collect();
        if n % 2 == 0 {
            let turn = log.take_turn().await.unwrap();
            let batch = Batch::seal(turn.head(), events(n));
            turn.append(&batch).await.unwrap();
            continue;
        }
        loop {
            let batch = Batch::seal(log.head().await.unwrap(), events(n));
            match log.append(&batch).await {
                Ok(()) => break,
                Err(AppendError::Conflict) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

#[tokio::test]
async fn writer_waits_for_the_disk_despite_database_settings() {
    let pool = fresh_database().await;
    let name: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(&*pool)
        .await
        .unwrap();
    pool.execute(format!("ALTER DATABASE {name} SET synchronous_commit = off").as_str())
        .await
        .unwrap();
    // A trigger that records the setting of the writing session.
    pool.execute("CREATE TABLE witness (setting text)")
        .await
        .unwrap();
    pool.execute(
        "CREATE FUNCTION testify() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO witness VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$",
    )
    .await
    .unwrap();
    pool.execute(
        "CREATE TRIGGER testify AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION testify()",
    )
    .await
    .unwrap();
    let log = PostgresLog::new(pool.clone());
    log.append(&one(Head::default(), "a", 1)).await.unwrap();
    let turn = log.take_turn().await.unwrap();
    let batch = one(turn.head(), "a", 2);
    turn.append(&batch).await.unwrap();
    let recorded: Vec<String> = sqlx::query_scalar("SELECT setting FROM witness")
        .fetch_all(&*pool)
        .await
        .unwrap();
    assert_eq!(recorded, ["on", "on"]);
}

/// Ends the appending session, and returns once it is gone.
async fn kill_writer(pool: &PgPool) {
    let killed: Vec<bool> = sqlx::query_scalar(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
          WHERE datname = current_database() AND query LIKE '%UPDATE log_head SET position = $3%'
            AND pid <> pg_backend_pid()",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(killed, [true], "exactly one writer");
}

#[tokio::test]
async fn killed_writer_leaves_an_unknown_outcome_resolved_by_a_retry() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    kill_writer(&pool).await;
    let batch = one(log.head().await.unwrap(), "a", 3);
    let outcome = log.append(&batch).await;
    assert!(
        matches!(outcome, Err(AppendError::Unknown(_))),
        "{outcome:?}"
    );
    append_or_confirm(&log, &batch).await.unwrap();
    append_or_confirm(&log, &batch).await.unwrap();
    assert_eq!(all(&log).await.len(), 3, "once");
}

#[tokio::test]
async fn killed_writer_does_not_cost_a_turn() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    kill_writer(&pool).await;
    let turn = log.take_turn().await.unwrap();
    let batch = one(turn.head(), "a", 3);
    turn.append(&batch).await.unwrap();
    assert_eq!(all(&log).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_killed_during_an_append_leaves_nothing_behind() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    let batch = one(log.head().await.unwrap(), "a", 3);
    let blocker = PostgresLog::new(pool.clone()).take_turn().await.unwrap();
    let appending = tokio::spawn({
        let (log, batch) = (log.clone(), batch.clone());
        async move { log.append(&batch).await }
    });
    until_a_session_waits_for_the_head(&pool).await;
    kill_writer(&pool).await;
    let outcome = appending.await.unwrap();
    assert!(
        matches!(outcome, Err(AppendError::Unknown(_))),
        "{outcome:?}"
    );
    blocker.pass().await;
    append_or_confirm(&log, &batch).await.unwrap();
    assert_eq!(all(&log).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_append_is_committed_at_most_once() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    let batch = one(log.head().await.unwrap(), "a", 3);
    let blocker = PostgresLog::new(pool.clone()).take_turn().await.unwrap();
    let given_up = tokio::spawn({
        let (log, batch) = (log.clone(), batch.clone());
        async move { log.append(&batch).await }
    });
    until_a_session_waits_for_the_head(&pool).await;
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    // The server does not notice: the statement still waits, and commits now, before or after this
    // one.
    let again = tokio::spawn({
        let (log, batch) = (log.clone(), batch.clone());
        async move { append_or_confirm(&log, &batch).await }
    });
    blocker.pass().await;
    again.await.unwrap().unwrap();
    let events = all(&log).await;
    assert_eq!(events.len(), 3);
    assert_is_chain(&events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turn_of_a_dead_holder_passes_on() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    let turn = log.take_turn().await.unwrap();
    let batch = one(turn.head(), "a", 3);
    let holders: Vec<bool> = sqlx::query_scalar(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
          WHERE datname = current_database() AND state = 'idle in transaction'",
    )
    .fetch_all(&*pool)
    .await
    .unwrap();
    assert_eq!(holders, [true]);
    let other = PostgresLog::new(pool.clone());
    other.append(&one(turn.head(), "b", 1)).await.unwrap();
    let outcome = turn.append(&batch).await;
    assert!(
        matches!(outcome, Err(AppendError::Unknown(_))),
        "{outcome:?}"
    );
    let resolved = append_or_confirm(&log, &batch).await;
    assert!(
        matches!(resolved, Err(AppendError::Conflict)),
        "{resolved:?}"
    );
    assert_eq!(all(&log).await.len(), 3);
}

/// Waits for a state of the server, not for a time.
async fn until_a_session_waits_for_the_head(pool: &PgPool) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'";
    loop {
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(pool).await.unwrap();
        if count > 0 {
            return;
        }
    }
}

#[tokio::test]
async fn batch_with_invalid_data_is_rejected_and_leaves_nothing() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    let head = log.head().await.unwrap();
    let batch = Batch::seal(head, vec![sample("b", 1), sample("a", 2)]);
    let outcome = log.append(&batch).await;
    assert!(
        matches!(outcome, Err(AppendError::Rejected(_))),
        "{outcome:?}"
    );
    assert_eq!(log.head().await.unwrap(), head, "the head moved alone");
    log.append(&one(head, "a", 3)).await.unwrap();
}

/// Runs a statement with every right and with triggers disabled.
async fn intrude(pool: &PgPool, sql: &str) {
    let mut intruder = PgConnection::connect_with(&pool.connect_options())
        .await
        .unwrap();
    for table in ["events", "log_head"] {
        let disarm = format!("ALTER TABLE {table} DISABLE TRIGGER USER");
        intruder.execute(disarm.as_str()).await.unwrap();
    }
    intruder.execute(sql).await.unwrap();
}

#[tokio::test]
async fn replication_role_does_not_disable_the_guards() {
    let pool = fresh_database().await;
    let _log = log_of_two(&pool).await;
    let mut replica = pool.acquire().await.unwrap();
    replica
        .execute("SET session_replication_role = replica")
        .await
        .unwrap();
    for sql in [
        "DELETE FROM events WHERE position = 1",
        "UPDATE events SET payload = '{}' WHERE position = 1",
        "TRUNCATE events",
        "UPDATE log_head SET position = 1",
    ] {
        assert!(replica.execute(sql).await.is_err(), "{sql}");
    }
}

#[tokio::test]
async fn event_beyond_the_head_is_rejected_and_the_log_continues() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    for position in [3, 1_000_000, 0, -1] {
        let outcome = sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                                 position, recorded_at, hash)
             VALUES ('Sample', 'a', 99, 'T', '1.0', '{}', '{}', $1, now(), '\x00')",
        )
        .bind(position)
        .execute(&*pool)
        .await;
        assert!(outcome.is_err(), "position {position}");
    }
    let head = log.head().await.unwrap();
    log.append(&one(head, "z", 1)).await.unwrap();
    assert_is_chain(&all(&log).await);
}

#[tokio::test]
async fn stock_program_that_stalls_before_its_commit_is_disconnected() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    let mut asleep = PgConnection::connect_with(&pool.connect_options())
        .await
        .unwrap();
    asleep.execute("BEGIN").await.unwrap();
    let id = Uuid::new_v4().to_string();
    insert_as_stock(&mut asleep, ("Drop", &id), 1, "{}", "{}")
        .await
        .unwrap();
    // It holds the head and never commits; the append waits for it, but not forever.
    let head = log.head().await.unwrap();
    log.append(&one(head, "z", 1)).await.unwrap();
    assert!(asleep.execute("COMMIT").await.is_err());
    assert_is_chain(&all(&log).await);
}

#[track_caller]
fn assert_corrupt_at<T: std::fmt::Debug>(found: Result<T, LogError>, expected: u64) {
    assert!(
        matches!(&found, Err(LogError::Corrupt { position, .. }) if position.0 == expected),
        "{found:?}"
    );
}

#[tokio::test]
async fn missing_position_is_reported_as_corruption() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    intrude(&pool, "DELETE FROM events WHERE position = 1").await;
    assert_corrupt_at(log.read(Position(0), 10).await, 1);
}

#[tokio::test]
async fn invalid_row_is_reported_as_corruption() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    intrude(&pool, "UPDATE events SET hash = 'short' WHERE position = 2").await;
    assert_corrupt_at(log.read(Position(0), 10).await, 2);
    assert_eq!(log.read(Position(0), 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn invalid_head_is_reported_as_corruption() {
    let pool = fresh_database().await;
    let log = log_of_two(&pool).await;
    intrude(&pool, "UPDATE log_head SET hash = 'short'").await;
    assert_corrupt_at(log.head().await, 2);
}

#[tokio::test]
async fn stock_insert_that_leaves_a_gap_in_a_drop_is_rejected() {
    let pool = fresh_database().await;
    let log = PostgresLog::new(pool.clone());
    let id = Uuid::new_v4().to_string();
    let mut stock = pool.acquire().await.unwrap();
    for (sequence, is_next) in [(0, false), (2, false), (1, true), (3, false), (2, true)] {
        let outcome = insert_as_stock(&mut stock, ("Drop", &id), sequence, "{}", "{}").await;
        assert_eq!(outcome.is_ok(), is_next, "{sequence}: {outcome:?}");
    }
    let events = all(&log).await;
    assert_eq!(events.len(), 2);
    assert_is_chain(&events);
}

#[tokio::test]
async fn database_that_lacks_characters_is_rejected_before_creation() {
    let mut operator = PgConnection::connect(&url_for("postgres").await)
        .await
        .unwrap();
    let name = format!("latin_{}", Uuid::new_v4().simple());
    let create = format!(
        "CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    );
    operator.execute(create.as_str()).await.unwrap();
    let url = url_for(&name).await;
    let refused = connect(url.parse().unwrap(), 1).await.unwrap_err();
    let reason = refused.to_string();
    assert!(
        reason.contains("LATIN1") && reason.contains("ENCODING 'UTF8'"),
        "{reason}"
    );
    let mut there = PgConnection::connect(&url).await.unwrap();
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .fetch_one(&mut there)
            .await
            .unwrap();
    assert_eq!(tables, 0);
    there.close().await.unwrap();
    let remove = format!("DROP DATABASE {name} WITH (FORCE)");
    operator.execute(remove.as_str()).await.unwrap();
}

/// The time to find a row grows with its dead versions, so an append must not search for it.
/// An update by address prunes no page.
#[tokio::test]
async fn appends_leave_the_table_of_the_head_small() {
    let pool = fresh_database().await;
    let log = PostgresLog::new(pool.clone());
    let mut head = Head::default();
    let mut connection = pool.acquire().await.unwrap();
    let pages = "SELECT pg_relation_size('log_head') / 8192";
    // A transaction of another test that runs for long keeps versions, and pages, too.
    for _ in 0..20 {
        let before = count(&mut connection, pages).await;
        for _ in 0..300 {
            let batch = one(head, "a", head.position.0 + 1);
            log.append(&batch).await.unwrap();
            head = batch.head();
        }
        if count(&mut connection, pages).await == before {
            return;
        }
    }
    panic!("every 300 appends, the table grew");
}

#[tokio::test]
async fn append_beside_a_long_snapshot_does_not_search_for_the_head() {
    const APPENDS: usize = 500;
    let pool = fresh_database().await;
    let mut snapshot = pool.begin().await.unwrap();
    snapshot
        .execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .await
        .unwrap();
    snapshot.execute("SELECT 1 FROM log_head").await.unwrap();
    let log = PostgresLog::new(pool.clone());
    let mut head = Head::default();
    for count in 1..=APPENDS {
        let batch = one(head, "a", u64::try_from(count).unwrap());
        log.append(&batch).await.unwrap();
        head = batch.head();
    }
    // Another writer moves the head: a conflict, and then a search.
    let other = PostgresLog::new(pool.clone());
    let batch = one(head, "b", 1);
    other.append(&batch).await.unwrap();
    let late = one(head, "b", 1);
    assert!(matches!(
        log.append(&late).await,
        Err(AppendError::Conflict)
    ));
    let next = one(batch.head(), "b", 2);
    log.append(&next).await.unwrap();
    snapshot.rollback().await.unwrap();
    assert_is_chain(&all(&log).await);

    // A session reports its counts before it is gone.
    log.end_sessions().await;
    other.end_sessions().await;
    let mut connection = pool.acquire().await.unwrap();
    let writers = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'holdfast writer %'";
    until_count(&mut connection, writers, |writers| writers == 0).await;
    let read = "SELECT coalesce(sum(seq_tup_read), 0)::bigint FROM pg_stat_user_tables
         WHERE relname = 'log_head'";
    let read = count(&mut connection, read).await;
    assert!(read > 0, "the conflict searched for it");
    let few = i64::try_from(APPENDS).unwrap() * 10;
    assert!(read < few, "{read} rows were read");
}
