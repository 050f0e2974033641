//! The log in Postgres while its head is locked or its synchronous standby is unreachable: commits
//! that count, and the sessions left on the server.

use std::time::Duration;

use domain::values::BuyerId;
use infrastructure::erasure::erase;
use infrastructure::error::{AppendError, LogError};
use infrastructure::log::postgres::{LogPool, PostgresLog, connect, connect_to_primary};
use infrastructure::log::{Batch, EventLog, Head, Turn, append_or_confirm};
use infrastructure::unwritable::Unwritable;
use private_postgres::testing::replication::{Pair, count, until_count, waiting_for_standby};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection, Executor};

use crate::support::build::{all, one, sample};
use crate::support::database::fresh_database;

/// Much shorter than in production, so that many of them elapse in a test.
const TIMEOUT: Duration = Duration::from_millis(250);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(600);

/// Sessions of writers, in use or not.
const WRITERS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'holdfast writer %'";
/// Statements that wait for a lock or a standby.
const STUCK: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
      AND (wait_event_type = 'Lock' OR wait_event = 'SyncRep')";

async fn observer(pool: &PgPool) -> PgConnection {
    PgConnection::connect_with(&pool.connect_options())
        .await
        .unwrap()
}

#[track_caller]
fn assert_unknown(outcome: &Result<(), AppendError>) {
    assert!(
        matches!(outcome, Err(AppendError::Unknown(_))),
        "{outcome:?}"
    );
}

#[track_caller]
fn assert_away<T: std::fmt::Debug>(outcome: &Result<T, LogError>) {
    assert!(
        matches!(outcome, Err(error @ LogError::Unavailable(_)) if error.is_away()),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn locked_head_leaves_at_most_one_session_of_a_writer() {
    let pool = fresh_database().await;
    let log = PostgresLog::with_timeout(pool.clone(), TIMEOUT);
    let batch = one(Head::default(), "a", 1);
    let mut observer = observer(&pool).await;
    let mut idle = pool.begin().await.unwrap();
    idle.execute("SELECT 1 FROM log_head FOR UPDATE")
        .await
        .unwrap();
    for _ in 0..4 {
        assert_unknown(&append_or_confirm(&log, &batch).await);
        assert!(log.take_turn().await.is_err());
        assert!(count(&mut observer, WRITERS).await <= 1);
        until_count(&mut observer, STUCK, |stuck| stuck == 0).await;
    }
    idle.rollback().await.unwrap();
    append_or_confirm(&log, &batch).await.unwrap();
    assert_eq!(all(&log).await.len(), 1);
}

/// The server does not time out on this lock: an abandoned session is ended before another one is
/// opened.
#[tokio::test]
async fn abandoned_writer_session_is_ended_before_it_is_replaced() {
    let pool = fresh_database().await;
    let log = PostgresLog::with_timeout(pool.clone(), TIMEOUT);
    let batch = one(Head::default(), "a", 1);
    let mut observer = observer(&pool).await;
    pool.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_advisory_lock(1); RETURN NEW; END $$",
    )
    .await
    .unwrap();
    pool.execute("ALTER FUNCTION dawdle() SET lock_timeout = 0")
        .await
        .unwrap();
    pool.execute(
        "CREATE TRIGGER dawdle BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION dawdle()",
    )
    .await
    .unwrap();
    observer
        .execute("SELECT pg_advisory_lock(1)")
        .await
        .unwrap();
    for _ in 0..5 {
        assert_unknown(&append_or_confirm(&log, &batch).await);
        until_count(&mut observer, STUCK, |stuck| stuck <= 1).await;
    }
    observer
        .execute("SELECT pg_advisory_unlock(1)")
        .await
        .unwrap();
    append_or_confirm(&log, &batch).await.unwrap();
    assert_eq!(all(&log).await.len(), 1);
}

/// The pair, a log on it with one event, and an observing connection that needs no standby.
async fn pair() -> (Pair, LogPool, PgConnection) {
    let pair = Pair::start().await;
    let database = pair.fresh_database().await;
    let pool = connect(database.url.parse().unwrap(), 8).await.unwrap();
    let log = PostgresLog::new(pool.clone());
    log.append(&one(Head::default(), "a", 1)).await.unwrap();
    let observer = observer(&pool).await;
    (pair, pool, observer)
}

/// The standby reports that it has stored the commit while it does not count, as when a cluster
/// manager changes the names of standbys after a failover. It has nothing more to report.
#[tokio::test]
async fn commit_whose_release_was_missed_is_completed() {
    let (pair, pool, mut observer) = pair().await;
    // Its timeout is shorter than the 15 s after which the primary writes a record by itself.
    let log = PostgresLog::new(pool.clone());
    let batch = one(log.head().await.unwrap(), "a", 2);
    pair.set_standby_names("another").await;
    let counts = "SELECT count(*) FROM pg_stat_replication WHERE sync_state <> 'async'";
    until_count(&mut observer, counts, |counts| counts == 0).await;
    let appending = tokio::spawn(async move { log.append(&batch).await });
    until_count(&mut observer, STUCK, |stuck| stuck == 1).await;
    let stored =
        "SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_flush_lsn()";
    until_count(&mut observer, stored, |stored| stored == 1).await;
    assert!(!appending.is_finished(), "no standby counts");
    pair.set_standby_names("*").await;
    appending.await.unwrap().unwrap();
}

#[tokio::test]
async fn log_without_its_standby_acknowledges_nothing() {
    let (mut pair, pool, mut observer) = pair().await;
    let log = PostgresLog::with_timeout(pool.clone(), TIMEOUT);
    let batch = one(log.head().await.unwrap(), "a", 2);
    pair.stop_standby();
    for _ in 0..5 {
        assert_unknown(&append_or_confirm(&log, &batch).await);
        assert_away(&log.barrier().await);
        until_count(&mut observer, STUCK, |stuck| stuck <= 1).await;
        assert!(count(&mut observer, WRITERS).await <= 2, "one is ending");
    }
    // The abandoned statement does not lock the head forever: it can be read, appended to in turn,
    // and erased from.
    assert_eq!(log.head().await.unwrap(), batch.head());
    pair.start_standby().await;
    append_or_confirm(&log, &batch).await.unwrap();
    log.barrier().await.unwrap();
    assert_eq!(all(&log).await.len(), 2);
}

/// Cancels the wait for the standby, as an operator or a `statement_timeout` may.
async fn cancel_wait(observer: &mut PgConnection) {
    until_count(observer, STUCK, |stuck| stuck == 1).await;
    observer
        .execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND wait_event = 'SyncRep'",
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn cancelled_wait_for_the_standby_is_not_a_success() {
    let (mut pair, pool, mut observer) = pair().await;
    // The server reports the cancelled wait by a warning, whichever messages the role wants.
    observer
        .execute("ALTER ROLE current_user SET client_min_messages = error")
        .await
        .unwrap();
    let log = PostgresLog::with_timeout(pool.clone(), NEVER);
    pair.stop_standby();

    let batch = one(log.head().await.unwrap(), "a", 2);
    let appending = tokio::spawn({
        let (log, batch) = (log.clone(), batch.clone());
        async move { log.append(&batch).await }
    });
    cancel_wait(&mut observer).await;
    assert_unknown(&appending.await.unwrap());
    assert_eq!(
        log.head().await.unwrap(),
        batch.head(),
        "the batch is visible"
    );

    let finding = tokio::spawn({
        let (log, batch) = (log.clone(), batch.clone());
        async move { append_or_confirm(&log, &batch).await }
    });
    cancel_wait(&mut observer).await;
    assert_unknown(&finding.await.unwrap());

    let barrier = tokio::spawn({
        let log = log.clone();
        async move { log.barrier().await }
    });
    cancel_wait(&mut observer).await;
    assert!(barrier.await.unwrap().is_err());

    let in_turn = tokio::spawn({
        let log = log.clone();
        async move {
            let turn = log.take_turn().await.unwrap();
            let batch = Batch::seal(turn.head(), vec![sample("a", 3)]);
            turn.append(&batch).await
        }
    });
    cancel_wait(&mut observer).await;
    assert_unknown(&in_turn.await.unwrap());

    pair.start_standby().await;
    append_or_confirm(&log, &batch).await.unwrap();
    let database = pair.on_standby(&private_postgres::testing::TestDatabase {
        url: url_of(&pool),
        pool: PgPool::clone(&pool),
    });
    pair.kill_primary();
    pair.promote().await;
    let found = all(&PostgresLog::new(database.pool.into())).await;
    assert_eq!(found.len(), 3, "durable events are missing");
}

fn url_of(pool: &PgPool) -> String {
    let options = pool.connect_options();
    format!(
        "postgres://localhost/{}",
        options.get_database().unwrap_or_default()
    )
}

#[tokio::test]
async fn erasure_results_are_returned_only_once_replicated() {
    let (mut pair, pool, mut observer) = pair().await;
    let log = PostgresLog::new(pool.clone());
    let mut introduced = sample("a", 2);
    introduced.aggregate_type = "Drop".into();
    introduced.aggregate_id = uuid::Uuid::new_v4().to_string();
    introduced.event_type = "HoldPlaced".into();
    introduced.sequence = domain::values::Sequence(1);
    let buyer = uuid::Uuid::new_v4();
    introduced.payload = format!(r#"{{"HoldPlaced":{{"buyer":"{buyer}"}}}}"#);
    introduced.private = Some(r#"{"buyer_id":"ann"}"#.to_owned());
    let batch = Batch::seal(log.head().await.unwrap(), vec![introduced]);
    log.append(&batch).await.unwrap();
    pool.execute(
        format!(
            "ALTER ROLE holdfast IN DATABASE {} SET synchronous_commit = off",
            name_of(&pool)
        )
        .as_str(),
    )
    .await
    .unwrap();
    pair.stop_standby();
    // Existing sessions keep their settings; these are new.
    let pool = PgPool::connect_with(pool.connect_options().as_ref().clone())
        .await
        .unwrap();
    let pool = LogPool::from(pool);
    for _ in 0..2 {
        let erasing = tokio::spawn({
            let pool = pool.clone();
            async move { erase(&pool, &BuyerId::new("ann").unwrap()).await }
        });
        cancel_wait(&mut observer).await;
        assert_away(&erasing.await.unwrap());
        until_count(&mut observer, STUCK, |stuck| stuck == 0).await;
    }
    let erased = "SELECT count(*) FROM events WHERE event_type = 'BuyerErased'";
    assert_eq!(count(&mut observer, erased).await, 1, "visible, once");
    pair.start_standby().await;
    let unknown = erase(&pool, &BuyerId::new("ann").unwrap()).await.unwrap();
    assert_eq!(unknown, None);
}

fn name_of(pool: &PgPool) -> String {
    let options = pool.connect_options();
    options.get_database().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn standby_counts_as_unreachable_and_is_not_read() {
    let (pair, pool, _) = pair().await;
    let database = pair.on_standby(&private_postgres::testing::TestDatabase {
        url: url_of(&pool),
        pool: PgPool::clone(&pool),
    });
    pair.until_replayed().await;
    let options: sqlx::postgres::PgConnectOptions = database.url.parse().unwrap();
    let refused = connect_to_primary(options.clone(), 2).await.unwrap_err();
    assert!(refused.to_string().contains("standby"), "{refused}");
    let log = PostgresLog::with_timeout(database.pool.clone().into(), TIMEOUT);
    assert_unknown(&log.append(&one(Head::default(), "a", 1)).await);
    assert_away(&log.take_turn().await);
    assert_away(&log.barrier().await);
    let waiting = waiting_for_standby(&database);
    let mut operator = pair.operator().await;
    assert_eq!(count(&mut operator, &waiting).await, 0);
}

#[tokio::test]
async fn stronger_synchronous_commit_is_kept() {
    let pool = fresh_database().await;
    pool.execute(
        format!(
            "ALTER DATABASE {} SET synchronous_commit = remote_apply",
            name_of(&pool)
        )
        .as_str(),
    )
    .await
    .unwrap();
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
    assert_eq!(recorded, ["remote_apply", "remote_apply"]);
}

#[tokio::test]
async fn nothing_is_appended_without_the_required_standbys() {
    // The setting is empty on this server: a commit waits for no standby.
    let pool = fresh_database().await;
    let strict = PostgresLog::new(pool.clone().requiring(1));
    let batch = one(Head::default(), "a", 1);
    let refused = |error: &(dyn std::error::Error + 'static)| {
        assert_eq!(
            Unwritable::of(error),
            Some(Unwritable::Standbys),
            "{error:?}"
        );
    };
    refused(&strict.append(&batch).await.unwrap_err());
    refused(&strict.take_turn().await.unwrap_err());
    refused(&strict.barrier().await.unwrap_err());
    refused(&strict.head().await.unwrap_err());
    let log = PostgresLog::new(pool.clone());
    assert_eq!(log.head().await.unwrap(), Head::default());
    log.append(&batch).await.unwrap();
    for (names, standbys) in [
        ("", 0),
        ("one", 1),
        ("one, two", 1),
        ("*", 1),
        ("2 (one, two, three)", 2),
        ("FIRST 2 (one, two)", 2),
        ("any 3(a, b, c, d)", 3),
    ] {
        for required in 0..=4 {
            let mut connection = pool.acquire().await.unwrap();
            // As the setting would be after a reload; only the server itself may change it.
            let text = sqlx::query_scalar::<_, String>(
                "SELECT pg_get_functiondef('require_standbys(integer, boolean)'::regprocedure)",
            );
            let text = text.fetch_one(&mut *connection).await.unwrap();
            let quoted = format!("pg_catalog.btrim('{names}'");
            let text = text
                .replace(
                    "pg_catalog.btrim(pg_catalog.current_setting('synchronous_standby_names')",
                    &quoted,
                )
                .replace("require_standbys(", "pg_temp.require_standbys(");
            assert!(text.contains(&quoted), "{text}");
            connection
                .execute(text.replace("public.pg_temp", "pg_temp").as_str())
                .await
                .unwrap();
            let found = sqlx::query_scalar::<_, bool>("SELECT pg_temp.require_standbys($1)")
                .bind(required)
                .fetch_one(&mut *connection)
                .await;
            assert_eq!(found.is_ok(), standbys >= required, "{names}, {required}");
            drop(connection.close().await);
        }
    }
}
