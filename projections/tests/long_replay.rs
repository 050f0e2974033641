//! Rows that do not fit into memory: folded in parts, joined at the end, and compared with a table.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails where it unwraps, helpers included"
)]

use domain::DropEvent;
use domain::testing::*;
use domain::values::{Position, Sequence, Timestamp};
use infrastructure::codec::RecordedEvent;
use infrastructure::log::postgres::connect;
use private_postgres::testing::fresh_database;
use projections::checked::{CheckedTable, checked_tables};
use projections::fold::Placed;
use projections::live_stock::LiveStock;
use projections::replay::{LongReplay, Replay};
use projections::sales_timeline::SalesTimeline;
use projections::table::{self, Table};
use projections::top_purchasers::TopPurchasers;
use sqlx::{Connection, PgConnection};

const HOLDS: i64 = 300;
const BUYERS: i64 = 7;

/// Two drops, in which seven buyers purchase, release and let holds expire repeatedly, over ten
/// minutes.
fn history() -> Vec<RecordedEvent> {
    let mut history = vec![];
    let mut push = |drop: &str, event: DropEvent| {
        history.push(RecordedEvent {
            position: Position(history.len() as u64 + 1),
            recorded_at: Timestamp::default(),
            drop_id: drop_id(drop),
            sequence: Sequence::default(),
            event,
            private: None,
        });
    };
    for drop in ["d", "e"] {
        push(drop, drop_opened(1_000));
    }
    for number in 0..HOLDS {
        let drop = ["d", "e"][usize::from(number % 3 == 0)];
        let (hold, buyer) = (format!("h{number}"), format!("b{}", number % BUYERS));
        push(
            drop,
            hold_placed(&hold, 1).by(&buyer).at(second(2 * number)),
        );
        let resolved = match number % 4 {
            0 | 1 => purchase_confirmed(&hold, 1)
                .by(&buyer)
                .at(second(2 * number + 1)),
            2 => hold_released(&hold, 1)
                .by(&buyer)
                .at(second(2 * number + 1)),
            _ => hold_expired(&hold, 1).by(&buyer),
        };
        push(drop, resolved);
    }
    history
}

fn whole<F: Table>() -> Vec<Placed<F>> {
    let mut replay = Replay::default();
    for recorded in &history() {
        replay.apply(recorded).unwrap();
    }
    replay.take()
}

fn in_parts<F: Table>(most: usize) -> Vec<Placed<F>> {
    let mut replay = LongReplay::with_most(most);
    for recorded in &history() {
        replay.apply(recorded).unwrap();
    }
    replay.into_rows().unwrap().map(Result::unwrap).collect()
}

fn are_joined<F: Table + PartialEq>() {
    let whole = whole::<F>();
    assert!(whole.len() >= 2);
    for most in [1, 2, 3, 5, 13, 1_000] {
        assert_eq!(
            in_parts::<F>(most),
            whole,
            "{} with {most} in memory",
            F::NAME
        );
    }
}

#[test]
fn rows_folded_in_parts_equal_rows_folded_together() {
    are_joined::<LiveStock>();
    are_joined::<TopPurchasers>();
    are_joined::<SalesTimeline>();
}

#[test]
fn taken_rows_are_removed_from_the_replay() {
    let mut replay = Replay::<TopPurchasers>::default();
    for recorded in &history() {
        replay.apply(recorded).unwrap();
    }
    let taken = replay.take();
    assert!(taken.is_sorted_by_key(|placed| placed.key));
    assert!(replay.is_empty() && replay.take().is_empty());
}

/// A database whose tables are a fold of the history, at its head.
async fn tables() -> PgConnection {
    let database = fresh_database().await;
    drop(connect(database.url.parse().unwrap(), 2).await.unwrap());
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    fill::<LiveStock>(&mut connection).await;
    fill::<TopPurchasers>(&mut connection).await;
    fill::<SalesTimeline>(&mut connection).await;
    connection
}

async fn fill<F: Table>(connection: &mut PgConnection) {
    let rows = whole::<F>();
    let rows: Vec<&Placed<F>> = rows.iter().collect();
    table::insert(&mut *connection, &rows).await.unwrap();
    sqlx::query("INSERT INTO projection_checkpoints (name, position) VALUES ($1, $2)")
        .bind(F::NAME)
        .bind(i64::try_from(history().len()).unwrap())
        .execute(connection)
        .await
        .unwrap();
}

/// Returns the differences found in each table after `sql`.
async fn differences_after(sql: &str) -> Vec<(u64, Option<Position>)> {
    let mut connection = tables().await;
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let mut checked = checked_tables(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
    for table in &mut checked {
        for recorded in &history() {
            table.apply(recorded).unwrap();
        }
    }
    let compared = checked.into_iter().map(|table| table.compare().unwrap());
    compared
        .map(|compared| {
            (
                compared.rows,
                compared.mismatch.map(|mismatch| mismatch.position),
            )
        })
        .collect()
}

#[tokio::test]
async fn first_difference_is_reported_by_position() {
    let purchasers = whole::<TopPurchasers>();
    let rows = purchasers.len() as u64;
    let all: Vec<Position> = purchasers.iter().map(|placed| placed.position).collect();
    let first = *all.iter().min().unwrap();
    let of_purchasers = async |sql: &str| differences_after(sql).await[1];

    assert_eq!(of_purchasers("SELECT 1").await, (rows, None));
    let all_altered = "UPDATE top_purchasers SET quantity = quantity + 1";
    assert_eq!(of_purchasers(all_altered).await, (rows, Some(first)));
    assert_eq!(
        of_purchasers("DELETE FROM top_purchasers").await,
        (0, Some(first))
    );
    for position in &all {
        let missing = format!("DELETE FROM top_purchasers WHERE position = {position}");
        assert_eq!(of_purchasers(&missing).await, (rows - 1, Some(*position)));
    }
    let more = "INSERT INTO top_purchasers SELECT drop_id, gen_random_uuid(), 1, last_purchased_at, 7 FROM top_purchasers LIMIT 1";
    assert_eq!(of_purchasers(more).await, (rows + 1, Some(Position(7))));
}

#[tokio::test]
async fn unreadable_row_is_reported_with_the_expected_one() {
    let mut connection = tables().await;
    let sql = "ALTER TABLE top_purchasers DROP CONSTRAINT top_purchasers_quantity_check;
               UPDATE top_purchasers SET quantity = -quantity, last_purchased_at = 'infinity'";
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let mut checked = checked_tables(&mut transaction).await.unwrap();
    let mut purchasers: Box<dyn CheckedTable> = checked.swap_remove(1);
    for recorded in &history() {
        purchasers.apply(recorded).unwrap();
    }
    let mismatch = purchasers.compare().unwrap().mismatch.unwrap();
    let (expected, found) = (mismatch.expected.unwrap(), mismatch.found.unwrap());
    let [expected, found] =
        [expected, found].map(|row| serde_json::from_str::<serde_json::Value>(&row).unwrap());
    assert_eq!(expected["buyer"], found["buyer"]);
    assert_eq!(
        expected["quantity"].as_i64().unwrap(),
        -found["quantity"].as_i64().unwrap()
    );
    assert_eq!(found["last_purchased_at"], "\\x7fffffffffffffff");
}
