//! A cluster of three PostgreSQL servers under Patroni, whose leader is killed, and then demoted,
//! while the shop sells.
//!
//! Promise: no acknowledged hold or purchase is lost and no unit is sold twice; clients get 503
//! with `Retry-After` and nothing worse, their retries are answered from the log, and no server is
//! restarted.
//! Long form: `HOLDFAST_FAILOVERS=10 cargo test -p tests --test promises patroni -- --nocapture`
//! kills ten leaders one after the other under two servers, and prints the time to the shop's first
//! answer next to Patroni's own.
//! Limit: as [`harness::Patroni`].

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs};

use harness::{Api, App, Launch, Patroni, Promotion, Reply, concurrently, eventually, key, text};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

const BUYERS: usize = 16;
/// Of one buyer: together they place about 80 holds a second.
const BETWEEN_HOLDS: Duration = Duration::from_millis(200);
const BEFORE_RETRY: Duration = Duration::from_millis(50);
const UNITS: u32 = 1_000_000;
/// Acknowledged requests that are repeated after each failover.
const REPEATED: usize = 20;

/// A hold that was acknowledged.
#[derive(Debug, Clone)]
struct Acknowledged {
    key: String,
    body: Value,
    hold: String,
    at: Instant,
}

/// Buyers with holds, of which they buy every third; each repeats a request until it is
/// acknowledged.
struct Load {
    drop: String,
    is_over: Arc<AtomicBool>,
    holds: Arc<Mutex<Vec<Acknowledged>>>,
    purchases: Arc<Mutex<Vec<String>>>,
    refusals: Arc<AtomicUsize>,
    buyers: JoinSet<()>,
}

#[track_caller]
fn assert_unavailable(reply: &Reply) {
    reply.problem(503, "unavailable");
    let seconds = reply.header("retry-after").parse::<u32>();
    assert!(seconds.is_ok_and(|seconds| seconds > 0), "{reply:?}");
}

impl Load {
    fn start(apps: &[App], drop: &str) -> Self {
        let mut load = Self {
            drop: drop.to_owned(),
            is_over: Arc::default(),
            holds: Arc::default(),
            purchases: Arc::default(),
            refusals: Arc::default(),
            buyers: JoinSet::new(),
        };
        for buyer in 0..BUYERS {
            let api = apps[buyer % apps.len()].api();
            let (drop, is_over) = (drop.to_owned(), Arc::clone(&load.is_over));
            let (holds, purchases) = (Arc::clone(&load.holds), Arc::clone(&load.purchases));
            let refusals = Arc::clone(&load.refusals);
            load.buyers.spawn(async move {
                let mut pace = interval(BETWEEN_HOLDS);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let body = json!({ "buyer_id": format!("buyer-{buyer}") });
                for round in 0.. {
                    pace.tick().await;
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let key = key();
                    let place = || api.hold_with(&drop, &key, &body);
                    let hold = text(&acknowledged(place, &refusals).await.json()["id"]);
                    let at = Instant::now();
                    holds.lock().unwrap().push(Acknowledged {
                        key,
                        body: body.clone(),
                        hold: hold.clone(),
                        at,
                    });
                    if round % 3 == 0 {
                        acknowledged(|| api.purchase(&hold), &refusals).await;
                        purchases.lock().unwrap().push(hold);
                    }
                }
            });
        }
        load
    }

    fn count(&self) -> usize {
        self.holds.lock().unwrap().len()
    }

    /// Waits for this many more acknowledged holds.
    async fn continues(&self, more: usize) {
        let before = self.count();
        eventually("holds are acknowledged", || async {
            (self.count() >= before + more).then_some(())
        })
        .await;
    }

    /// Repeats the last requests that were acknowledged before `instant`: the new leader has them.
    async fn assert_answered_from_history(&self, api: &Api, instant: Instant) {
        let before: Vec<Acknowledged> = {
            let holds = self.holds.lock().unwrap();
            let before = holds.iter().filter(|one| one.at < instant);
            before.rev().take(REPEATED).cloned().collect()
        };
        assert_eq!(before.len(), REPEATED);
        concurrently(before.into_iter().map(|one| {
            let (api, drop) = (api.clone(), self.drop.clone());
            let refusals = Arc::clone(&self.refusals);
            async move {
                let repeat = || api.hold_with(&drop, &one.key, &one.body);
                let reply = acknowledged(repeat, &refusals).await;
                assert_eq!(text(&reply.ok(201)["id"]), one.hold);
                assert!(reply.is_replay(), "{reply:?}");
            }
        }))
        .await;
    }

    /// The times of acknowledgements from `since` on.
    fn answers(&self, since: Instant) -> Vec<Duration> {
        let holds = self.holds.lock().unwrap();
        let times = holds.iter().map(|one| one.at);
        let mut times: Vec<Duration> = times
            .filter_map(|at| at.checked_duration_since(since))
            .collect();
        times.sort();
        times
    }
}

/// Repeats a request until it is acknowledged; until then each response is 503 with `Retry-After`.
async fn acknowledged<Response: Future<Output = Reply>>(
    send: impl Fn() -> Response,
    refusals: &AtomicUsize,
) -> Reply {
    loop {
        let reply = send().await;
        if [200, 201].contains(&reply.status) {
            return reply;
        }
        assert_unavailable(&reply);
        refusals.fetch_add(1, Ordering::SeqCst);
        sleep(BEFORE_RETRY).await;
    }
}

/// Reads the readiness of a server until the load is over; returns the reasons of each 503.
fn watch_readiness(app: &App, load: &Load) -> JoinHandle<BTreeSet<String>> {
    let (api, is_over) = (app.api(), Arc::clone(&load.is_over));
    tokio::spawn(async move {
        let mut reasons = BTreeSet::new();
        while !is_over.load(Ordering::SeqCst) {
            let reply = api.get("/health/ready").await;
            if reply.status != 200 {
                assert_unavailable(&reply);
                let reason = reply.json()["reason"].as_str().map(str::to_owned);
                reasons.insert(reason.unwrap_or_else(|| "unreachable".to_owned()));
            }
            sleep(BEFORE_RETRY).await;
        }
        reasons
    })
}

/// Waits until every server is ready, and sells.
async fn until_ready(apps: &[App]) {
    for app in apps {
        eventually("the server is ready", || async {
            (app.get("/health/ready").await.status == 200).then_some(())
        })
        .await;
    }
}

/// A failover as the clients saw it, in time since the end of the former leader.
struct Outage {
    patroni: Promotion,
    first_answer: Duration,
    /// The longest time without an answer after the first one.
    pause: Duration,
}

impl Outage {
    fn of(patroni: Promotion, answers: &[Duration]) -> Self {
        // Answers that were on their way at the kill come before.
        let first = answers.partition_point(|at| *at < patroni.promoted);
        let after = &answers[first..];
        let pauses = after.windows(2).map(|pair| pair[1] - pair[0]);
        Self {
            patroni,
            first_answer: after[0],
            pause: pauses.max().unwrap_or_default(),
        }
    }

    fn after_patroni(&self) -> Duration {
        self.first_answer.saturating_sub(self.patroni.promoted)
    }

    fn print(&self, what: &str) {
        let Promotion {
            promoted,
            committed,
        } = self.patroni;
        println!(
            "{what}: Patroni's leader after {promoted:.2?}, its first commit after {committed:.2?}, \
             first answer after {:.2?}, then no pause longer than {:.2?}",
            self.first_answer, self.pause
        );
    }
}

fn print_percentiles(outages: &[Outage], what: &str, of: impl Fn(&Outage) -> Duration) {
    let mut times: Vec<Duration> = outages.iter().map(of).collect();
    times.sort();
    let (median, longest) = (times[(times.len() - 1) / 2], times[times.len() - 1]);
    println!("{what}: p50 {median:.2?}, longest {longest:.2?}");
}

#[test]
fn documentation_quotes_the_file_that_the_cluster_runs_with() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let (manual, file) = (read("docs/OPERATING.md"), read("ops/patroni.yml"));
    let (_, fragment) = manual.split_once("```yaml\nbootstrap:\n").unwrap();
    let (fragment, _) = fragment.split_once("```").unwrap();
    let settings = |text: &str| -> Vec<String> {
        let is_setting = |line: &&str| !line.trim_start().starts_with('#');
        text.lines().filter(is_setting).map(str::to_owned).collect()
    };
    let (fragment, file) = (settings(fragment), settings(&file));
    assert!(fragment.len() > 5, "{fragment:?}");
    assert!(
        file.windows(fragment.len()).any(|lines| lines == fragment),
        "{fragment:?}"
    );
    let address = "target_session_attrs=read-write";
    assert!(manual.contains(address) && read("ops/patroni.yml").contains(address));
}

#[tokio::test]
async fn leader_killed_under_load_loses_nothing_and_needs_no_restart() {
    let failovers = env::var("HOLDFAST_FAILOVERS").ok();
    let failovers: Option<usize> =
        failovers.map(|count| count.parse().expect("HOLDFAST_FAILOVERS is a number"));
    let mut cluster = Patroni::start().await;
    let database = cluster.database("shop").await;
    let launch = Launch::on(database).with("HOLDFAST_REQUIRE_SYNC", "1");
    let mut apps = vec![launch.clone().start().await];
    if failovers.is_some() {
        apps.push(launch.start().await);
    }
    let drop = apps[0]
        .create_drop(UNITS, json!({ "hold_seconds": 3600 }))
        .await;
    for app in &apps {
        eventually("the server knows the drop", || async {
            let read = app.get(&format!("/v1/drops/{drop}")).await;
            (read.status == 200).then_some(())
        })
        .await;
    }
    let load = Load::start(&apps, &drop);
    let readiness = watch_readiness(&apps[0], &load);

    let mut outages = vec![];
    for failover in 1..=failovers.unwrap_or(1) {
        load.continues(100).await;
        if failover > 1 {
            cluster.until_whole().await;
        }
        let killed_at = Instant::now();
        let killed = cluster.kill_leader().await;
        let patroni = cluster.promotion(killed, killed_at).await;
        cluster.revive(killed);
        load.continues(50).await;
        let outage = Outage::of(patroni, &load.answers(killed_at));
        outage.print(&format!("kill {failover}"));
        if outage.after_patroni().max(outage.pause) > Duration::from_secs(2) {
            for app in &apps {
                eprintln!("--- standard error of a server ---\n{}---", app.stderr());
            }
        }
        outages.push(outage);
        for app in &apps {
            load.assert_answered_from_history(app, killed_at).await;
        }
        until_ready(&apps).await;
    }
    assert!(
        load.refusals.load(Ordering::SeqCst) > 0,
        "clients noticed the failover"
    );

    // The leader is demoted, and stays as a standby.
    cluster.until_whole().await;
    let switched_at = Instant::now();
    let former = cluster.switch_over().await;
    let patroni = cluster.promotion(former, switched_at).await;
    load.continues(50).await;
    Outage::of(patroni, &load.answers(switched_at)).print("switchover");
    load.assert_answered_from_history(&apps[0], switched_at)
        .await;
    until_ready(&apps).await;

    load.is_over.store(true, Ordering::SeqCst);
    let Load {
        holds,
        purchases,
        refusals,
        buyers,
        ..
    } = load;
    buyers.join_all().await;
    let reasons = readiness.await.unwrap();
    assert!(!reasons.is_empty(), "the server was not ready meanwhile");
    let holds = holds.lock().unwrap().clone();
    let purchases = purchases.lock().unwrap().clone();
    for app in &apps {
        let ledger = app.ledger().await;
        for one in &holds {
            assert!(ledger.has_hold(&one.hold), "{} was acknowledged", one.hold);
        }
        for hold in &purchases {
            assert_eq!(ledger.end_of(hold), Some("PurchaseConfirmed"), "{hold}");
        }
        assert_eq!(ledger.count(&drop, "HoldPlaced"), holds.len());
        assert_eq!(ledger.count(&drop, "PurchaseConfirmed"), purchases.len());
        let [total, available, held, sold] = app.stock(&drop).await;
        assert_eq!(available + held + sold, total);
        let expected = [holds.len() - purchases.len(), purchases.len()];
        assert_eq!([held, sold].map(usize::try_from), expected.map(Ok));
        assert!(!app.stderr().contains("ERROR"), "{}", app.stderr());
    }
    let verdict = apps[0].audit_verify().await;
    println!(
        "{} holds and {} purchases acknowledged, {} requests refused, not ready because of {reasons:?}; \
         {}",
        holds.len(),
        purchases.len(),
        refusals.load(Ordering::SeqCst),
        verdict.lines().next().unwrap_or_default()
    );
    if failovers.is_some() {
        print_percentiles(&outages, "Patroni's leader", |one| one.patroni.promoted);
        print_percentiles(&outages, "Patroni's commit", |one| one.patroni.committed);
        print_percentiles(&outages, "first answer", |one| one.first_answer);
        print_percentiles(&outages, "after Patroni", Outage::after_patroni);
        print_percentiles(&outages, "pause", |one| one.pause);
    }
    for app in apps {
        app.stop().await;
    }
}
