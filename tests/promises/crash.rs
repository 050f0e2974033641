//! Acknowledged results survive a kill of the server or of the database under it.

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

/// A request for a hold and the response that its buyer received before the crash.
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

/// Buyers who place holds one after another and purchase every second one, until the server is gone
/// or `enough` is set.
struct Shoppers {
    buyers: JoinSet<(Vec<Attempt>, Vec<Reply>)>,
    acknowledged: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
}

impl Shoppers {
    fn start(api: &Api, drop: &str, round: usize) -> Self {
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

    /// Waits until this number of requests was acknowledged.
    async fn wait_for(&self, acknowledged: usize) {
        eventually("requests are acknowledged", || async {
            (self.acknowledged.load(Ordering::SeqCst) >= acknowledged).then_some(())
        })
        .await;
    }

    /// Stops the buyers and returns their attempts and refusals.
    async fn finish(self) -> (Vec<Attempt>, Vec<Reply>) {
        self.enough.store(true, Ordering::SeqCst);
        self.wait_until_cut_off().await
    }

    /// Waits until the last buyer has noticed that the server is gone.
    async fn wait_until_cut_off(self) -> (Vec<Attempt>, Vec<Reply>) {
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
        // Well-behaved clients repeat a request with the same key until it is answered.
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

/// Asserts that every acknowledged result is kept, and that repeating a request with its key
/// returns the same hold.
async fn assert_kept(app: &App, drop: &str, attempts: &[Attempt]) {
    let ledger = app.ledger().await; // Asserts that no result is recorded twice.
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
async fn server_killed_ten_times_loses_nothing_acknowledged() {
    let mut app = Launch::private().start().await;
    let drop = app
        .create_drop(1_000_000, json!({ "hold_seconds": 3600 }))
        .await;
    let mut attempts = vec![];
    for round in 0..10 {
        let shoppers = Shoppers::start(&app, &drop, round);
        shoppers.wait_for(60).await;
        app.kill();
        let (made, refusals) = shoppers.wait_until_cut_off().await;
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
async fn killed_private_postgres_restarts_and_clients_get_retry_after() {
    let app = Launch::private().start().await;
    let drop = app
        .create_drop(1_000_000, json!({ "hold_seconds": 3600 }))
        .await;
    let shoppers = Shoppers::start(&app, &drop, 0);
    for killed in 1..=3 {
        shoppers.wait_for(killed * 60).await;
        let before = postmaster(app.launch().data_dir()).expect("Postgres runs");
        kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
        eventually("Postgres is started again", || async {
            postmaster(app.launch().data_dir()).filter(|pid| *pid != before)
        })
        .await;
        let served = shoppers.acknowledged.load(Ordering::SeqCst);
        shoppers.wait_for(served + 60).await;
    }
    let (attempts, refusals) = shoppers.finish().await;

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

/// The process id that Postgres wrote to its lock file.
fn postmaster(data_dir: &Path) -> Option<i32> {
    let lock = fs::read_to_string(data_dir.join("postgres/postmaster.pid")).ok()?;
    lock.lines().next()?.trim().parse().ok()
}
