//! Due work that follows from one event delays no other drop: the cancellation of a large drop, and
//! many holds that expire simultaneously.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use domain::DropEvent;
use domain::event::HoldPlaced;
use domain::values::{DropId, HoldId, Pseudonym, Quantity, Sequence, Timestamp};
use harness::{App, Event, Launch, eventually, number, text};
use infrastructure::codec::encode;
use infrastructure::log::postgres::PostgresLog;
use infrastructure::log::{Batch, EventLog};
use serde_json::{Value, json};
use uuid::Uuid;

/// Enough holds that an engine needs dozens of batches to record how they end.
const MANY: usize = 20_000;

/// Places [`MANY`] holds of one unit without a server, as a program on stock `cqrs-es` may; returns
/// the last one.
async fn fill(app: App, drop: &str, hold_seconds: u32) -> (Launch, HoldId) {
    let log = PostgresLog::new(app.pool().clone().into());
    let launch = app.stop().await;
    let drop_id: DropId = drop.parse().unwrap();
    let placed_at = Timestamp::from(chrono::Utc::now());
    let mut last = HoldId(Uuid::nil());
    // The drop was scheduled and has started.
    let mut sequence = Sequence(2);
    for _ in 0..MANY / 1_000 {
        let events = (0..1_000).map(|_| {
            last = HoldId::for_drop(drop_id, Uuid::new_v4());
            sequence = sequence.next();
            let event = DropEvent::HoldPlaced(HoldPlaced {
                hold_id: last,
                key: None,
                buyer: Pseudonym(Uuid::new_v4()),
                quantity: Quantity::new(1).unwrap(),
                placed_at,
                expires_at: placed_at.plus_seconds(hold_seconds),
                commitment: None,
                waitlist_entry: None,
                order_id: None,
                code: None,
            });
            encode(drop_id, sequence, placed_at, &event, None)
        });
        let events = events.collect();
        let batch = Batch::seal(log.head().await.unwrap(), events);
        log.append(&batch).await.unwrap();
    }
    (launch, last)
}

async fn cancel(app: &App, drop: &str) -> Value {
    let path = format!("/v1/drops/{drop}/cancel");
    harness::fetch(app.admin(reqwest::Method::POST, &path))
        .await
        .json()
}

/// Counts the events of other drops between the first and the last event of this drop of this type.
fn between(log: &[Event], drop: &str, kind: &str) -> usize {
    let is_one = |event: &Event| event.aggregate_id == drop && event.event_type == kind;
    let first = log.iter().position(is_one).unwrap();
    let last = log.iter().rposition(is_one).unwrap();
    let others = log[first..last]
        .iter()
        .filter(|event| event.aggregate_id != drop);
    others.count()
}

/// Purchases from `other` repeatedly until the first drop has no open holds.
async fn buy_until_free(app: &App, drop: &str, other: &str) {
    for number in 0.. {
        let hold = app.held(other, &format!("buyer-{number}")).await;
        assert_eq!(app.purchase(&hold).await.status, 201);
        if app.stock(drop).await[2] == 0 {
            return;
        }
    }
}

#[tokio::test]
async fn many_simultaneous_expiries_delay_no_other_drop() {
    let app = App::start().await;
    let units = u32::try_from(MANY).unwrap();
    let drop = app.create_drop(units, json!({ "hold_seconds": 10 })).await;
    let other = app
        .create_drop(10_000, json!({ "hold_seconds": 600 }))
        .await;
    let (launch, _) = fill(app, &drop, 10).await;
    let app = launch.start().await;
    buy_until_free(&app, &drop, &other).await;
    let log = app.log().await;
    let others = between(&log, &drop, "HoldExpired");
    assert!(others >= 5, "{others} events of the other drop meanwhile");
    app.audit_verify().await;
}

#[tokio::test]
async fn large_drop_is_cancelled_immediately_and_releases_survive_a_crash() {
    let app = App::start().await;
    let units = u32::try_from(MANY).unwrap();
    let drop = app
        .create_drop(units, json!({ "hold_seconds": 3_600 }))
        .await;
    let other = app
        .create_drop(10_000, json!({ "hold_seconds": 600 }))
        .await;
    let (launch, last) = fill(app, &drop, 3_600).await;
    let mut app = launch.start().await;
    let last = last.to_string();
    assert_eq!(text(&app.read_hold(&last).await.json()["status"]), "held");

    let cancelled = cancel(&app, &drop).await;
    assert_eq!(text(&cancelled["status"]), "cancelled");
    let left = number(&cancelled["stock"]["held"]);
    assert!(
        left > 0,
        "cancelling released all {MANY} holds in one batch"
    );
    // From then on nothing is held, even if releases are not recorded yet.
    app.purchase(&last).await.problem(410, "hold_released");
    assert_eq!(
        text(&app.read_hold(&last).await.json()["status"]),
        "released"
    );
    assert_eq!(app.release(&last).await.status, 204);
    app.hold(&drop, "late").await.problem(409, "ended");

    app.kill();
    let verdict = app.launch().run(&["audit", "verify"]).await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
    let noted = "1 cancelled drop still has ";
    assert!(verdict.stderr.contains(noted), "{verdict:?}");

    let app = app.restart().await;
    buy_until_free(&app, &drop, &other).await;
    let log = app.log().await;
    let others = between(&log, &drop, "HoldReleased");
    assert!(others >= 5, "{others} events of the other drop meanwhile");
    let ledger = app.ledger().await;
    assert_eq!(ledger.count(&drop, "HoldReleased"), MANY);
    assert_eq!(ledger.count(&drop, "HoldExpired"), 0);
    eventually("tables follow", || async {
        let verdict = app.launch().run(&["audit", "verify"]).await;
        (verdict.code == Some(0) && !verdict.stderr.contains(noted)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn small_drop_has_no_holds_once_its_cancellation_is_answered() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let hold = app.held(&drop, "ann").await;
    let entry = app.joined(&drop, "bob", 1).await;
    let cancelled = cancel(&app, &drop).await;
    assert_eq!(number(&cancelled["stock"]["held"]), 0);
    assert_eq!(number(&cancelled["waitlist_length"]), 0);
    assert_eq!(
        text(&app.read_hold(&hold).await.json()["status"]),
        "released"
    );
    assert_eq!(text(&app.waitlist_entry(&entry).await["status"]), "closed");
}

#[tokio::test]
async fn waitlist_is_full_at_the_configured_limit() {
    let launch = Launch::fresh().await;
    let app = launch.with("HOLDFAST_MAX_WAITLIST", "2").start().await;
    let drop = app.create_drop(1, json!({})).await;
    app.held(&drop, "ann").await;
    let first = app.joined(&drop, "bob", 1).await;
    app.joined(&drop, "cid", 1).await;
    let full = app
        .join(&drop, "dan", 1)
        .await
        .problem(409, "waitlist_full");
    assert_eq!(number(&full["limit"]), 2);
    assert_eq!(app.leave(&first).await.status, 204);
    app.joined(&drop, "dan", 1).await;
}
