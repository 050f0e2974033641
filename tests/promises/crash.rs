//! What was acknowledged is kept, whatever is killed: the server, or the database under it.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use harness::{Api, App, Launch, Reply, eventually, key, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// One request to hold, and what its buyer was told before the power went.
#[derive(Debug)]
struct Attempt {
    key: String,
    body: Value,
    hold: Option<Value>,
    wants_to_buy: bool,
    purchase: Option<Value>,
}

impl Attempt {
    fn was_cut_off(&self) -> bool {
        self.hold.is_none() || (self.wants_to_buy && self.purchase.is_none())
    }
}

/// Buyers who hold, and every other time buy, one after another, until the server is gone or `enough`.
struct Shoppers {
    buyers: JoinSet<(Vec<Attempt>, Vec<Reply>)>,
    acknowledged: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
}

impl Shoppers {
    fn go(api: &Api, drop: &str, round: usize) -> Self {
        let (acknowledged, enough) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut buyers = JoinSet::new();
        for buyer in 0..16 {
            let (api, drop, buyer) = (
                api.clone(),
                drop.to_owned(),
                format!("buyer-{round}-{buyer}"),
            );
            let (acknowledged, enough) = (Arc::clone(&acknowledged), Arc::clone(&enough));
            buyers.spawn(async move { shop(&api, &drop, &buyer, &acknowledged, &enough).await });
        }
        Self {
            buyers,
            acknowledged,
            enough,
        }
    }

    /// Waits until so many requests were acknowledged.
    async fn have(&self, acknowledged: usize) {
        eventually("shoppers are served", || async {
            (self.acknowledged.load(Ordering::SeqCst) >= acknowledged).then_some(())
        })
        .await;
    }

    /// Has had enough, and tells what happened.
    async fn leave(self) -> (Vec<Attempt>, Vec<Reply>) {
        self.enough.store(true, Ordering::SeqCst);
        self.are_gone().await
    }

    /// Waits until the last has found the server gone.
    async fn are_gone(self) -> (Vec<Attempt>, Vec<Reply>) {
        let (mut attempts, mut refusals) = (vec![], vec![]);
        for (made, refused) in self.buyers.join_all().await {
            attempts.extend(made);
            refusals.extend(refused);
        }
        (attempts, refusals)
    }
}

async fn shop(
    api: &Api,
    drop: &str,
    buyer: &str,
    acknowledged: &AtomicUsize,
    enough: &AtomicBool,
) -> (Vec<Attempt>, Vec<Reply>) {
    let (mut attempts, mut refusals) = (vec![], vec![]);
    while !enough.load(Ordering::SeqCst) {
        let body = json!({ "buyer_id": buyer, "display_name": "A buyer" });
        attempts.push(Attempt {
            key: key(),
            body,
            hold: None,
            wants_to_buy: attempts.len() % 2 == 0,
            purchase: None,
        });
        let attempt = attempts.last_mut().unwrap();
        // As a good caller does: the same request with the same key until it is answered.
        let reply = loop {
            match api.try_hold_with(drop, &attempt.key, &attempt.body).await {
                Ok(reply) if reply.status == 201 => break reply,
                Ok(refusal) => refusals.push(refusal),
                Err(_) => return (attempts, refusals),
            }
        };
        acknowledged.fetch_add(1, Ordering::SeqCst);
        let hold = attempt.hold.insert(reply.json())["id"].clone();
        if attempt.wants_to_buy {
            match api.try_purchase(&text(&hold)).await {
                Ok(reply) if reply.status == 201 => {
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                    attempts.last_mut().unwrap().purchase = Some(reply.json());
                }
                Ok(reply) => refusals.push(reply),
                Err(_) => break,
            }
        }
    }
    (attempts, refusals)
}

/// Claims that everything acknowledged is kept, and that asking again with the same key gives the same hold.
async fn assert_kept(app: &App, drop: &str, attempts: &[Attempt]) {
    let ledger = app.ledger().await; // Asserts that nothing is in it twice.
    for attempt in attempts {
        let again = app
            .hold_with(drop, &attempt.key, &attempt.body)
            .await
            .ok(201);
        let Some(hold) = &attempt.hold else { continue };
        let id = text(&hold["id"]);
        assert!(ledger.has_hold(&id), "acknowledged hold {id} is lost");
        for field in [
            "id",
            "drop_id",
            "buyer_id",
            "quantity",
            "placed_at",
            "expires_at",
        ] {
            assert_eq!(again[field], hold[field], "{field} of hold {id}");
        }
        if let Some(purchase) = &attempt.purchase {
            assert_eq!(
                ledger.end_of(&id),
                Some("PurchaseConfirmed"),
                "acknowledged purchase of {id} is lost"
            );
            assert_eq!(&app.purchase(&id).await.ok(200), purchase);
        }
    }
    let ledger = app.ledger().await;
    let placed: Vec<String> = harness::distinct(attempts.iter().map(|attempt| attempt.key.clone()));
    assert_eq!(
        ledger.count(drop, "HoldPlaced"),
        placed.len(),
        "every key is one hold"
    );
}

#[tokio::test]
async fn a_server_that_is_killed_ten_times_loses_nothing_that_it_acknowledged() {
    let mut app = Launch::private().start().await;
    let drop = app
        .create_drop(1_000_000, json!({ "hold_seconds": 3600 }))
        .await;
    let mut attempts = vec![];
    for round in 0..10 {
        let shoppers = Shoppers::go(&app, &drop, round);
        shoppers.have(60).await;
        app.kill();
        let (made, refusals) = shoppers.are_gone().await;
        assert!(refusals.is_empty(), "{refusals:?}");
        assert!(made.iter().any(Attempt::was_cut_off), "killed in mid-load");
        attempts.extend(made);
        app = app.restart().await;
    }

    assert_kept(&app, &drop, &attempts).await;
    let units = app.ledger().await.units(&drop);
    assert_eq!(
        [units.total, units.available, units.held, units.sold].map(i64::unsigned_abs),
        app.stock(&drop).await
    );
    let launch = app.stop().await;
    let verdict = launch.run(&["audit", "verify"]).await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
}

#[tokio::test]
async fn a_private_postgres_that_is_killed_comes_back_and_callers_are_told_to_try_again() {
    let app = Launch::private().start().await;
    let drop = app
        .create_drop(1_000_000, json!({ "hold_seconds": 3600 }))
        .await;
    let shoppers = Shoppers::go(&app, &drop, 0);
    for killed in 1..=3 {
        shoppers.have(killed * 60).await;
        let before = postmaster(app.launch().data_dir()).expect("Postgres runs");
        kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
        eventually("Postgres is started again", || async {
            postmaster(app.launch().data_dir()).filter(|pid| *pid != before)
        })
        .await;
        let served = shoppers.acknowledged.load(Ordering::SeqCst);
        shoppers.have(served + 60).await;
    }
    let (attempts, refusals) = shoppers.leave().await;

    for refusal in &refusals {
        refusal.problem(503, "unavailable");
        assert!(!refusal.header("retry-after").is_empty(), "{refusal:?}");
    }
    eventually("the server is ready", || async {
        (app.get("/health/ready").await.status == 200).then_some(())
    })
    .await;
    assert_kept(&app, &drop, &attempts).await;
    let launch = app.stop().await;
    let verdict = launch.run(&["audit", "verify"]).await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
}

/// The process id that Postgres wrote into its lock file.
fn postmaster(data_dir: &Path) -> Option<i32> {
    let lock = fs::read_to_string(data_dir.join("postgres/postmaster.pid")).ok()?;
    lock.lines().next()?.trim().parse().ok()
}
