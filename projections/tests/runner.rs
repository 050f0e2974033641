//! The runner on a real Postgres: exactly once, one process at a time, and a logged error if an
//! event cannot be applied.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails where it unwraps, helpers included"
)]

use std::sync::Arc;

use domain::DropEvent;
use domain::testing::*;
use domain::values::{Position, Sequence, Timestamp};
use infrastructure::codec::{decode, encode};
use infrastructure::feed::{Committed, Feed};
use infrastructure::log::postgres::{LogPool, PostgresLog, connect};
use infrastructure::log::{Batch, EventLog};
use infrastructure::quarantine::{Fault, RefusedEvent};
use private_postgres::testing::fresh_database;
use projections::fold::{Fold, Rows};
use projections::live_stock::LiveStock;
use projections::runner::{Progress, Runner};
use projections::sales_timeline::SalesTimeline;
use projections::table::{ByKey, Table, load_all};
use projections::top_purchasers::TopPurchasers;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

struct World {
    pool: LogPool,
    log: PostgresLog,
    feed: Feed,
    sequence: u64,
}

impl World {
    async fn new() -> Self {
        let database = fresh_database().await;
        let pool = connect(database.url.parse().unwrap(), 8).await.unwrap();
        let log = PostgresLog::new(pool.clone());
        Self {
            pool,
            log,
            feed: Feed::default(),
            sequence: 0,
        }
    }

    /// Appends and publishes to the feed, like the engine.
    async fn record(&mut self, events: &[DropEvent]) {
        let stored = events.iter().map(|event| {
            self.sequence += 1;
            encode(
                drop_id("d"),
                Sequence(self.sequence),
                Timestamp::default(),
                event,
                None,
            )
        });
        let batch = Batch::seal(self.log.head().await.unwrap(), stored.collect());
        self.log.append(&batch).await.unwrap();
        let events = batch
            .events
            .iter()
            .map(|stored| decode(stored).unwrap().unwrap())
            .collect();
        self.feed.publish(&Arc::new(Committed {
            events,
            head: batch.head(),
            ..Committed::default()
        }));
    }

    fn run<F: Table + Clone>(&self) -> (watch::Receiver<Progress>, CancellationToken) {
        let (sender, progress) = watch::channel(Progress::default());
        let stop = CancellationToken::new();
        let runner = Runner::new(
            PgPool::clone(&self.pool),
            self.log.clone(),
            self.feed.clone(),
        );
        tokio::spawn(runner.run::<F>(sender, stop.clone()));
        (progress, stop)
    }

    async fn run_to_head<F: Table + Clone>(&self) {
        let (mut progress, stop) = self.run::<F>();
        let head = self.log.head().await.unwrap().position;
        progress
            .wait_for(|progress| progress.checkpoint >= head)
            .await
            .unwrap();
        stop.cancel();
    }

    async fn table<F: Table>(&self) -> ByKey<F> {
        load_all::<F>(&mut self.pool.acquire().await.unwrap())
            .await
            .unwrap()
    }

    /// The positions from which on drops are excluded from a table.
    async fn marks(&self, name: &str) -> Vec<i64> {
        sqlx::query_scalar("SELECT position FROM projection_quarantines WHERE name = $1")
            .bind(name)
            .fetch_all(&*self.pool)
            .await
            .unwrap()
    }

    async fn fresh_fold<F: Fold + Clone>(&self) -> ByKey<F> {
        let mut rows = Rows::<F>::default();
        for stored in self.log.read(Position(0), 10_000).await.unwrap() {
            let recorded = decode(&stored).unwrap().unwrap();
            rows.apply(recorded.position, (&recorded).into()).unwrap();
        }
        rows.0
    }
}

fn sales(number: u32) -> Vec<DropEvent> {
    let name = |kind: &str| format!("{kind}{number}");
    vec![
        hold_placed(&name("sold"), 1).by(&name("buyer")),
        hold_placed(&name("lost"), 2).by(&name("buyer")),
        purchase_confirmed(&name("sold"), 1)
            .by(&name("buyer"))
            .at(second(i64::from(number % 50))),
        hold_expired(&name("lost"), 2).by(&name("buyer")),
    ]
}

#[tokio::test]
async fn tables_equal_a_fresh_fold_of_the_log() {
    let mut world = World::new().await;
    world.record(&[drop_opened(1_000)]).await;
    for number in 0..100 {
        world.record(&sales(number)).await;
    }
    world.run_to_head::<LiveStock>().await;
    world.run_to_head::<TopPurchasers>().await;
    world.run_to_head::<SalesTimeline>().await;
    assert_eq!(
        world.table::<LiveStock>().await,
        world.fresh_fold::<LiveStock>().await
    );
    assert_eq!(
        world.table::<TopPurchasers>().await,
        world.fresh_fold::<TopPurchasers>().await
    );
    assert_eq!(
        world.table::<SalesTimeline>().await,
        world.fresh_fold::<SalesTimeline>().await
    );
}

#[tokio::test]
async fn repeatedly_killed_runner_applies_every_event_once() {
    let mut world = World::new().await;
    world.record(&[drop_opened(10_000)]).await;
    for number in 0..300 {
        world.record(&sales(number)).await;
        if number % 10 == 0 {
            let (sender, _progress) = watch::channel(Progress::default());
            let runner = Runner::new(
                PgPool::clone(&world.pool),
                world.log.clone(),
                world.feed.clone(),
            );
            let task = tokio::spawn(runner.run::<TopPurchasers>(sender, CancellationToken::new()));
            for _ in 0..number {
                tokio::task::yield_now().await;
            }
            task.abort();
            let _aborted = task.await;
        }
    }
    world.run_to_head::<TopPurchasers>().await;
    assert_eq!(
        world.table::<TopPurchasers>().await,
        world.fresh_fold::<TopPurchasers>().await
    );
}

#[tokio::test]
async fn runner_behind_the_feeds_buffer_reads_the_log() {
    let mut world = World::new().await;
    world.record(&[drop_opened(10)]).await;
    world.record(&sales(1)).await;
    world.feed = Feed::starting_at(world.log.head().await.unwrap());
    world.run_to_head::<SalesTimeline>().await;
    assert_eq!(
        world.table::<SalesTimeline>().await,
        world.fresh_fold::<SalesTimeline>().await
    );
}

#[tokio::test]
async fn two_runners_of_one_projection_take_turns() {
    let mut world = World::new().await;
    world.record(&[drop_opened(10_000)]).await;
    let (mut one, stop_one) = world.run::<SalesTimeline>();
    let (_other, stop_other) = world.run::<SalesTimeline>();
    for number in 0..100 {
        world.record(&sales(number)).await;
    }
    let head = world.log.head().await.unwrap().position;
    one.wait_for(|progress| progress.checkpoint >= head)
        .await
        .unwrap();
    stop_one.cancel();
    stop_other.cancel();
    assert_eq!(
        world.table::<SalesTimeline>().await,
        world.fresh_fold::<SalesTimeline>().await
    );
}

#[tokio::test]
async fn event_that_cannot_be_applied_stops_only_its_projection() {
    let mut world = World::new().await;
    world.record(&[drop_opened(1), hold_placed("h1", 1)]).await;
    world.run_to_head::<LiveStock>().await;
    // More units than the drop has: no engine would record it, so it stands for a defect or a
    // forgery.
    world.record(&[hold_placed("h2", 1)]).await;
    let (mut progress, _stop) = world.run::<LiveStock>();
    let stopped = progress
        .wait_for(|progress| progress.stopped.is_some())
        .await
        .unwrap()
        .clone();
    let reason = "projection live_stock stopped at position 3: more units held than available";
    assert_eq!(stopped.stopped.as_deref(), Some(reason));
    let noted: (i64, Option<String>) = sqlx::query_as(
        "SELECT position, stopped FROM projection_checkpoints WHERE name = 'live_stock'",
    )
    .fetch_one(&*world.pool)
    .await
    .unwrap();
    assert_eq!(noted, (2, Some(reason.to_owned())));
    world.run_to_head::<SalesTimeline>().await;
    assert_eq!(
        world.table::<SalesTimeline>().await,
        world.fresh_fold::<SalesTimeline>().await
    );
}

#[tokio::test]
async fn excluded_drop_is_folded_later_by_a_process_that_can_apply_it() {
    let mut world = World::new().await;
    world.record(&[drop_opened(9), hold_placed("h1", 1)]).await;
    world.record(&[hold_placed("h2", 2)]).await;
    let able = world.feed.clone();
    // An earlier release, for which the drop is in quarantine from position 3 on.
    let refused = RefusedEvent {
        order_id: None,
        position: Position(3),
        drop_id: Some(drop_id("d")),
        stream: drop_id("d").to_string(),
        sequence: Some(Sequence(3)),
        event_type: "HoldPlaced".to_owned(),
        event_version: "1.0".to_owned(),
        fault: Fault::UnknownVersion,
        reason: String::new(),
    };
    let head = world.log.head().await.unwrap();
    world.feed = Feed::default();
    world.feed.publish(&Arc::new(Committed {
        quarantined: vec![Arc::new(refused)],
        head,
        ..Committed::default()
    }));
    world.feed.forget();
    world.run_to_head::<LiveStock>().await;
    world.run_to_head::<TopPurchasers>().await;
    world.run_to_head::<SalesTimeline>().await;
    let rows = world.table::<LiveStock>().await;
    assert_eq!(rows.values().next().unwrap().row.stock.held, 1);
    for name in ["live_stock", "top_purchasers", "sales_timeline"] {
        assert_eq!(world.marks(name).await, [3], "{name}");
    }
    // The later release takes over, without new events in the log.
    world.feed = able;
    for (name, (_, stop)) in [
        ("live_stock", world.run::<LiveStock>()),
        ("top_purchasers", world.run::<TopPurchasers>()),
        ("sales_timeline", world.run::<SalesTimeline>()),
    ] {
        while !world.marks(name).await.is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    }
    assert_eq!(
        world.table::<LiveStock>().await,
        world.fresh_fold::<LiveStock>().await
    );
    assert_eq!(
        world.table::<SalesTimeline>().await,
        world.fresh_fold::<SalesTimeline>().await
    );
}

#[tokio::test]
async fn row_that_its_table_refuses_stops_its_projection() {
    let mut world = World::new().await;
    world.record(&[drop_opened(5), hold_placed("h1", 1)]).await;
    world.run_to_head::<LiveStock>().await;
    // The same drop again, as a program without our aggregate might write it.
    world.record(&[drop_opened(5)]).await;
    let (mut progress, _stop) = world.run::<LiveStock>();
    let stopped = progress
        .wait_for(|progress| progress.stopped.is_some())
        .await
        .unwrap()
        .clone();
    let reason = stopped.stopped.unwrap();
    assert!(
        reason.starts_with("projection live_stock stopped at position 3: the table refuses"),
        "{reason}"
    );
}
