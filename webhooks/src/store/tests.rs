//! Leases, and changes of administrators and dispatchers that meet.

use domain::values::{DropId, OrderId};
use infrastructure::log::StreamId;
use infrastructure::log::postgres::connect;
use private_postgres::testing::fresh_database;

use super::*;
use crate::lanes::{Changes, Row, Status};
use crate::signature::Secret;

async fn store() -> (Store, PgPool) {
    let database = fresh_database().await;
    let migrated = connect(database.url.parse().unwrap(), 5).await.unwrap();
    let pool = PgPool::clone(&migrated);
    (Store::new(pool.clone()), pool)
}

async fn endpoint(store: &Store) -> Endpoint {
    let new = NewEndpoint {
        url: "https://shop.example/".to_owned(),
        event_types: None,
        description: None,
    };
    store
        .create(&new, &Secret::random())
        .await
        .unwrap()
        .unwrap()
}

/// A pending delivery of the event of an order at `position`.
fn row_of_order(position: u64) -> Row {
    Row {
        stream: Some(StreamId::Order(OrderId(Uuid::from_u128(8)))),
        event_type: "order.placed".to_owned(),
        ..row(position)
    }
}

/// A pending delivery of the event at `position`.
fn row(position: u64) -> Row {
    Row {
        id: Uuid::from_u128(position.into()),
        webhook_id: format!("evt_{position}"),
        event_type: "hold.placed".to_owned(),
        stream: Some(StreamId::Drop(DropId(Uuid::from_u128(9)))),
        position: Position(position),
        part: 0,
        status: Status::Pending,
        attempts: 1,
        next_attempt_at: Some(Timestamp::from_millis(1_000)),
        last_error: Some("500".to_owned()),
        holds_drop: true,
        is_of_endpoint: false,
        is_cancelled: false,
        created_at: Timestamp::from_millis(0),
        finished_at: None,
    }
}

fn save(lease: &Lease, holder: Uuid, position: u64, rows: Vec<Row>) -> Save {
    let lanes = rows
        .iter()
        .filter_map(|row| Some((row.stream?, Some((row.position, row.part)))));
    Save {
        endpoint_id: lease.id,
        holder,
        revision: lease.revision,
        position: Position(position),
        changes: Changes {
            lanes: lanes.collect(),
            rows: rows.into_iter().map(|row| (row.id, row)).collect(),
        },
        prune: true,
    }
}

#[tokio::test]
async fn one_server_dispatches_until_its_lease_has_ended_by_the_database_clock() {
    let (store, pool) = store().await;
    let id = endpoint(&store).await.id;
    let [first, second] = [(); 2].map(|()| Uuid::new_v4());
    let lease = store.acquire(id, first).await.unwrap().unwrap();
    assert!(store.acquire(id, second).await.unwrap().is_none());
    assert!(store.available(second).await.unwrap().is_empty());
    assert_eq!(store.available(first).await.unwrap(), [id]);
    let taken = save(&lease, second, 3, vec![row(2)]);
    assert_eq!(store.save(&taken).await.unwrap(), Saved::Superseded);
    sqlx::query("UPDATE webhook_endpoints SET lease_until = clock_timestamp()")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(store.available(second).await.unwrap(), [id]);
    assert!(store.acquire(id, second).await.unwrap().is_some());
    // The first one stores nothing any more, not even rows.
    let late = save(&lease, first, 3, vec![row(2)]);
    assert_eq!(store.save(&late).await.unwrap(), Saved::Superseded);
    assert_eq!(store.endpoint(id).await.unwrap().unwrap().pending, 0);
    store.release(id, first).await.unwrap();
    assert!(
        store.acquire(id, first).await.unwrap().is_none(),
        "it is not the first's to release"
    );
    store.release(id, second).await.unwrap();
    assert!(store.acquire(id, first).await.unwrap().is_some());
    // A lease that was taken while the clock was an hour ahead has ended.
    sqlx::query("UPDATE webhook_endpoints SET lease_until = clock_timestamp() + interval '1 hour'")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(store.available(second).await.unwrap(), [id]);
    assert!(store.acquire(id, second).await.unwrap().is_some());
    assert!(store.acquire(id, first).await.unwrap().is_none());
}

#[tokio::test]
async fn progress_is_read_as_it_was_stored() {
    let (store, _) = store().await;
    let id = endpoint(&store).await.id;
    let holder = Uuid::new_v4();
    let lease = store.acquire(id, holder).await.unwrap().unwrap();
    let stored = save(&lease, holder, 5, vec![row(2)]);
    assert_eq!(
        store.save(&stored).await.unwrap(),
        Saved::Stored(lease.revision)
    );
    let read = store.acquire(id, holder).await.unwrap().unwrap();
    assert_eq!(read.position, Position(5));
    assert_eq!(read.pending, [row(2)]);
    assert_eq!(
        read.held,
        [(StreamId::Drop(DropId(Uuid::from_u128(9))), (Position(2), 0))]
    );
    assert_eq!(read.secrets.len(), 1);
    let mut caught_up = save(&read, holder, 6, vec![]);
    caught_up
        .changes
        .lanes
        .insert(StreamId::Drop(DropId(Uuid::from_u128(9))), None);
    store.save(&caught_up).await.unwrap();
    assert!(
        store
            .acquire(id, holder)
            .await
            .unwrap()
            .unwrap()
            .held
            .is_empty()
    );
}

#[tokio::test]
async fn dispatcher_does_not_overwrite_a_change_that_it_has_not_read() {
    let (store, _) = store().await;
    let id = endpoint(&store).await.id;
    let holder = Uuid::new_v4();
    let lease = store.acquire(id, holder).await.unwrap().unwrap();
    store
        .save(&save(&lease, holder, 5, vec![row(2)]))
        .await
        .unwrap();
    let cancelled = store.cancel(row(2).id).await.unwrap();
    assert!(matches!(cancelled, Changed::Done(ref delivery) if delivery.is_cancelled));
    // The attempt that was in flight has failed; the position and other rows are stored.
    let late = Row {
        attempts: 2,
        ..row(2)
    };
    let stored = store
        .save(&save(&lease, holder, 7, vec![late, row(6)]))
        .await
        .unwrap();
    assert_eq!(
        stored,
        Saved::Stored(lease.revision + 1),
        "so that it reads again"
    );
    let read = store.acquire(id, holder).await.unwrap().unwrap();
    assert_eq!(
        (read.position, &*read.pending),
        (Position(7), &[row(6)][..])
    );
    assert_eq!(
        read.held[0].1,
        (Position(2), 1),
        "the drop continues after it"
    );
    assert!(store.needs_attention(None, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn replay_is_not_undone_by_a_dispatcher() {
    let (store, _) = store().await;
    let id = endpoint(&store).await.id;
    let holder = Uuid::new_v4();
    let lease = store.acquire(id, holder).await.unwrap().unwrap();
    store
        .save(&save(&lease, holder, 5, vec![row(2), row(4)]))
        .await
        .unwrap();
    assert_eq!(
        store.replay(id, Position(6)).await.unwrap(),
        Replay::Ahead(Position(5))
    );
    let replayed = store.replay(id, Position(3)).await.unwrap();
    assert!(matches!(replayed, Replay::Done(ref one) if one.position == Position(3)));
    let late = store.save(&save(&lease, holder, 6, vec![])).await.unwrap();
    assert_eq!(late, Saved::Superseded);
    let read = store.acquire(id, holder).await.unwrap().unwrap();
    assert_eq!(
        (read.position, &*read.pending),
        (Position(3), &[row(2)][..])
    );
}

#[tokio::test]
async fn five_secrets_sign_at_most_and_expired_ones_are_removed() {
    let (store, pool) = store().await;
    let id = endpoint(&store).await.id;
    let holder = Uuid::new_v4();
    let mut newest = Secret::random();
    for _ in 0..7 {
        newest = Secret::random();
        store.rotate(id, &newest).await.unwrap().unwrap();
    }
    let lease = store.acquire(id, holder).await.unwrap().unwrap();
    assert_eq!((lease.secrets.len(), &lease.secrets[0]), (5, &newest));
    sqlx::query(
        "UPDATE webhook_secrets SET expires_at = clock_timestamp() WHERE expires_at IS NOT NULL",
    )
    .execute(&pool)
    .await
    .unwrap();
    let lease = store.acquire(id, holder).await.unwrap().unwrap();
    assert_eq!(lease.secrets, [newest]);
}

#[tokio::test]
async fn done_deliveries_are_listed_up_to_their_bound() {
    let (store, _) = store().await;
    let id = endpoint(&store).await.id;
    let holder = Uuid::new_v4();
    let lease = store.acquire(id, holder).await.unwrap().unwrap();
    let done = |position| Row {
        status: Status::Done,
        next_attempt_at: None,
        last_error: None,
        finished_at: Some(Timestamp::from_millis(5)),
        ..row(position)
    };
    let bound = u64::try_from(KEPT_DONE).unwrap();
    for first in [1, 701, 1_401] {
        let rows = (first..first + 700).map(done).collect();
        let mut progress = save(&lease, holder, first + 700, rows);
        progress.changes.lanes.clear();
        store.save(&progress).await.unwrap();
    }
    let slice = Slice {
        status: Some("done"),
        after: None,
        limit: 10_000,
    };
    let kept = store.deliveries(id, slice).await.unwrap();
    assert_eq!(kept.len() as u64, bound);
    assert_eq!(
        (kept[0].position, kept[999].position),
        (Position(2_100), Position(1_101))
    );
    assert!(
        store
            .jobs_before(Some("done"), None, 10_000)
            .await
            .unwrap()
            .is_empty(),
        "one attempt each"
    );
}

#[tokio::test]
async fn lane_of_an_order_is_stored_cancelled_and_replayed_as_that_of_a_drop() {
    let (store, _) = store().await;
    let id = endpoint(&store).await.id;
    let holder = Uuid::new_v4();
    let lease = store.acquire(id, holder).await.unwrap().unwrap();
    let order = row_of_order(3).stream.unwrap();
    let rows = vec![row(2), row_of_order(3)];
    store.save(&save(&lease, holder, 5, rows)).await.unwrap();
    let read = store.acquire(id, holder).await.unwrap().unwrap();
    assert_eq!(read.pending, [row(2), row_of_order(3)]);
    assert_eq!(read.held.len(), 2);
    assert!(read.held.contains(&(order, (Position(3), 0))));
    // The order continues after the cancelled delivery; the drop still waits.
    store.cancel(row_of_order(3).id).await.unwrap();
    let read = store.acquire(id, holder).await.unwrap().unwrap();
    assert!(read.held.contains(&(order, (Position(3), 1))));
    assert!(
        read.held
            .contains(&(row(2).stream.unwrap(), (Position(2), 0)))
    );
    let mut caught_up = save(&read, holder, 6, vec![]);
    caught_up.changes.lanes.insert(order, None);
    store.save(&caught_up).await.unwrap();
    let read = store.acquire(id, holder).await.unwrap().unwrap();
    assert_eq!(read.held.len(), 1);
    // A replay from before them removes both.
    let lease = store.acquire(id, holder).await.unwrap().unwrap();
    let again = Row {
        id: Uuid::from_u128(30),
        ..row_of_order(4)
    };
    store
        .save(&save(&lease, holder, 6, vec![again]))
        .await
        .unwrap();
    let replayed = store.replay(id, Position(1)).await.unwrap();
    assert!(matches!(replayed, Replay::Done(ref endpoint) if endpoint.failed == 0));
    let read = store.acquire(id, holder).await.unwrap().unwrap();
    assert!(read.held.is_empty() && read.pending.is_empty(), "{read:?}");
}
