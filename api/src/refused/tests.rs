//! Tests of counting, on a database of their own.

use infrastructure::log::postgres::connect;
use private_postgres::testing::fresh_database;

use super::*;

/// Returns the time one hour ago.
fn hour() -> Timestamp {
    now().plus_millis(-3_600_000)
}

/// Returns two connection pools to one migrated database.
async fn database() -> [PgPool; 2] {
    let options = fresh_database().await.url.parse().unwrap();
    let pool = connect(options, 2).await.unwrap();
    let again = PgPool::connect_with((*pool.connect_options()).clone());
    [PgPool::clone(&pool), again.await.unwrap()]
}

async fn in_table(pool: &PgPool) -> i64 {
    let sum = "SELECT coalesce(sum(sold_out + limit_reached + throttled), 0)::bigint FROM refusals";
    sqlx::query_scalar(sum).fetch_one(pool).await.unwrap()
}

fn drop_id(number: u128) -> DropId {
    DropId(Uuid::from_u128(number))
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn tally(sold_out: u64, limit_reached: u64, throttled: u64) -> Tally {
    Tally {
        sold_out,
        limit_reached,
        throttled,
    }
}

fn count(refused: &Refused, drop: u128, reason: Reason, times: u64) {
    for _ in 0..times {
        refused.count(drop_id(drop), reason, now());
    }
}

#[tokio::test]
async fn counts_are_visible_before_and_after_they_are_written() {
    let [pool, _] = database().await;
    let refused = Refused::default();
    count(&refused, 1, Reason::SoldOut, 3);
    count(&refused, 1, Reason::Throttled, 1);
    count(&refused, 2, Reason::LimitReached, 2);
    let expected = tally(3, 2, 1);
    assert_eq!(refused.totals(hour()), expected);
    let since = refused.exchange(&pool, Timestamp::default()).await;
    assert_eq!(refused.totals(hour()), expected);
    assert_eq!(in_table(&pool).await, 6);
    // Reading back its own rows does not count anything twice.
    refused.exchange(&pool, since).await;
    assert_eq!(refused.totals(hour()), expected);
    count(&refused, 1, Reason::SoldOut, 1);
    assert_eq!(refused.totals(hour()), tally(4, 2, 1));
    let of_one = refused.by_minute(Some(drop_id(1)), hour());
    let sum: u64 = of_one.values().map(|tally| tally.sold_out).sum();
    assert_eq!(sum, 4);
    assert!(of_one.values().all(|tally| tally.limit_reached == 0));
}

#[tokio::test]
async fn counts_are_summed_over_processes_and_read_at_startup() {
    let [pool, _] = database().await;
    let [here, there] = [Refused::default(), Refused::default()];
    count(&here, 1, Reason::SoldOut, 5);
    count(&there, 1, Reason::SoldOut, 7);
    let since = here.exchange(&pool, Timestamp::default()).await;
    there.exchange(&pool, Timestamp::default()).await;
    assert_eq!(there.totals(hour()), tally(12, 0, 0));
    here.exchange(&pool, since).await;
    assert_eq!(here.totals(hour()), tally(12, 0, 0));
    let next = Refused::default();
    assert_eq!(next.totals(hour()), Tally::default());
    next.exchange(&pool, Timestamp::default()).await;
    assert_eq!(next.totals(hour()), tally(12, 0, 0));
}

#[tokio::test]
async fn an_outage_of_the_database_loses_and_duplicates_no_count() {
    let [away, back] = database().await;
    let refused = Refused::default();
    count(&refused, 1, Reason::LimitReached, 4);
    away.close().await;
    let since = refused.exchange(&away, Timestamp::default()).await;
    assert_eq!(since, Timestamp::default(), "will be read again");
    assert_eq!(refused.totals(hour()), tally(0, 4, 0));
    refused.exchange(&back, since).await;
    assert_eq!(refused.totals(hour()), tally(0, 4, 0));
    assert_eq!(in_table(&back).await, 4);
}

#[test]
fn totals_include_the_whole_first_minute() {
    let refused = Refused::default();
    let now = now().minute();
    for minutes_ago in [0, 1, 2, 90] {
        let at = now.plus_millis(-minutes_ago * 60_000);
        refused.count(drop_id(1), Reason::SoldOut, at);
    }
    let since = |millis_ago: i64| refused.totals(now.plus_millis(-millis_ago)).sold_out;
    assert_eq!((since(60 * 60_000), since(90 * 60_000)), (3, 4));
    // Each minute counts as a whole, at its first and last millisecond.
    assert_eq!((since(60_001), since(60_000), since(59_999)), (3, 2, 2));
    assert_eq!((since(1), since(0)), (2, 1));
}

#[tokio::test]
async fn counts_are_kept_as_long_as_they_can_be_queried() {
    let [pool, _] = database().await;
    let refused = Refused::default();
    let far = |past: i64| now().plus_millis(past - kept_ms());
    for at in [far(120_000), far(-120_000)] {
        refused.count(drop_id(1), Reason::SoldOut, at);
    }
    refused.exchange(&pool, Timestamp::default()).await;
    assert_eq!(in_table(&pool).await, 2);
    assert_eq!(refused.totals(Timestamp::default()), tally(1, 0, 0));
}

#[test]
fn counters_of_past_minutes_are_dropped() {
    let refused = Refused::default();
    refused.count(drop_id(1), Reason::SoldOut, now().plus_millis(-10 * 60_000));
    refused.count(drop_id(1), Reason::SoldOut, now());
    assert_eq!(refused.take().len(), 2);
    assert_eq!(read(&refused.pending).len(), 1);
}
