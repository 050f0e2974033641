//! What other drops notice while one drop's decision has a hundred thousand or a million
//! consequences: a restock with a long waitlist, holds that expire in one millisecond, a drop that
//! is cancelled.
//!
//! Each build has a database of its own with all three drops, and plays on one node, then (on a new
//! database) on two; builds take turns, so that each figure of one stands next to the other's. One
//! round: the states take longer to make than to measure.
//!
//! While the holds expire, holds of another drop are purchased [`IN_TIME_MS`] before they expire. A
//! purchase that is sent in time and is answered 410 is counted: expiries starved it.
//! Limit: the end of a disturbance is seen through the API, at most one look later than it was.

use std::net::SocketAddr;
use std::time::Duration;

use domain::values::Timestamp;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::Play;
use super::disturbed::{LONGEST, Shop, WARM_UP, migrated};
use crate::contenders::Contender;
use crate::contenders::desk::now;
use crate::error::{BenchError, Doing};
use crate::report::disturbances::{Disturbance, Purchases};
use crate::seed_state::{Purchasable, Seeder, Stampede};
use crate::wire::{Call, send};

/// Entries of the waitlist and holds that expire together, at most; the sizes.
const MOST_TOGETHER: u32 = 100_000;
/// Purchases are sent so long before their holds expire.
pub const IN_TIME_MS: i64 = 1_700;
/// One every ten milliseconds for two seconds from the instant of the expiries on.
const PURCHASES: Purchasable = Purchasable {
    count: 200,
    first_ms: IN_TIME_MS,
    every_ms: 10,
};
/// Seconds that the holds of the stampede last at most: the others last four longer.
const LONGEST_HOLD: u32 = 600;
/// After a refusal to begin, and before the same request is sent again.
const PAUSE: Duration = Duration::from_millis(200);

/// The disturbances' names, before their sizes.
pub const RESTOCK: &str = "restock with a waitlist of ";
/// See [`RESTOCK`].
pub const EXPIRIES: &str = "holds that expire in one millisecond: ";
/// See [`RESTOCK`].
pub const CANCEL: &str = "cancel with unresolved holds: ";

/// Plays it.
///
/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>) -> Result<(), BenchError> {
    for nodes in play.settings.nodes.clone() {
        for contender in play.builds() {
            on(play, contender, nodes).await?;
        }
    }
    Ok(())
}

async fn on(play: &mut Play<'_>, contender: Contender, nodes: usize) -> Result<(), BenchError> {
    let stage = play.stage;
    let most = play.settings.consequences;
    let together = most.min(MOST_TOGETHER);
    let name = contender.name();
    println!(
        "consequences: {name}, {nodes} node(s): seeding {most} holds and a waitlist of {together}"
    );
    let began = Instant::now();
    let (kept, mut seeder) = migrated(stage, contender).await?;
    let cancelled = seeder.holds(most).await?;
    let restocked = seeder.waitlist(together).await?;
    let seeded = began.elapsed().as_secs_f64();
    let mut shop = Shop::open(stage, contender, kept, nodes).await?;
    let ready = began.elapsed().as_secs_f64();
    println!("consequences: seeded in {seeded:.1} s, ready after {ready:.1} s");
    restock(play, &mut shop, restocked, together).await?;
    shop.settle(stage).await?;
    expiries(play, &mut shop, &mut seeder, together).await?;
    shop.settle(stage).await?;
    // Last: a build that never ends it would spoil the others.
    cancel(play, &mut shop, cancelled, most).await?;
    drop(seeder);
    play.close(shop).await
}

fn soon(calm: Duration) -> Instant {
    Instant::now() + WARM_UP + calm
}

async fn restock(
    play: &mut Play<'_>,
    shop: &mut Shop,
    drop_id: Uuid,
    entries: u32,
) -> Result<(), BenchError> {
    let pace = play.paced();
    let disturbance = async |shop: &Shop| {
        let deadline = Instant::now() + LONGEST;
        let path = format!("/v1/drops/{drop_id}/stock-adjustments");
        let body = json!({ "delta": entries, "reason": "a delivery" });
        let is_begun = insist(shop.nodes[0].address, &path, &body, deadline).await;
        let is_over = |drop: &Value| drop["waitlist_length"] == 0;
        Ok(is_begun && shop.until(drop_id, is_over, deadline).await)
    };
    let (outcome, is_complete) = shop
        .disturb(play.stage, pace, soon(pace.1), disturbance)
        .await?;
    let name = format!("{RESTOCK}{entries}");
    let disturbance = Disturbance::new("consequences", name, shop, outcome);
    play.disturbed(disturbance.complete(is_complete));
    Ok(())
}

async fn expiries(
    play: &mut Play<'_>,
    shop: &mut Shop,
    seeder: &mut Seeder,
    holds: u32,
) -> Result<(), BenchError> {
    let pace = play.paced();
    let stampede = stampede(play, shop, seeder, holds).await?;
    // On their own: what they measure lasts longer than the expiries may, whose end ends the phase.
    let nodes = shop.nodes.iter().map(|node| node.address).collect();
    let purchases = tokio::spawn(purchase_all(nodes, stampede.purchasable));
    let disturbance = async |shop: &Shop| {
        let is_over = |drop: &Value| drop["stock"]["held"] == 0;
        let deadline = Instant::now() + LONGEST;
        Ok(shop.until(stampede.drop_id, is_over, deadline).await)
    };
    let from = instant(stampede.expires_at.millis());
    let (outcome, is_complete) = shop.disturb(play.stage, pace, from, disturbance).await?;
    let purchases = purchases.await.doing("wait for the purchases")?;
    let name = format!("{EXPIRIES}{holds}");
    let disturbance = Disturbance::new("consequences", name, shop, outcome);
    play.disturbed(disturbance.complete(is_complete).purchases(purchases));
    Ok(())
}

/// Seeds holds that expire so late that every node knows them, and the undisturbed server can be
/// measured, before they do.
async fn stampede(
    play: &Play<'_>,
    shop: &Shop,
    seeder: &mut Seeder,
    holds: u32,
) -> Result<Stampede, BenchError> {
    let (_, calm) = play.paced();
    let calm_seconds = u32::try_from(calm.as_secs()).unwrap_or(u32::MAX);
    let mut seconds = 10 + holds / 10_000 + calm_seconds;
    while seconds < LONGEST_HOLD {
        let stampede = seeder.stampede(holds, seconds, PURCHASES).await?;
        let held = async |units: u32| {
            let is_so = |drop: &Value| drop["stock"]["held"] == units;
            let deadline = Instant::now() + LONGEST;
            shop.until(stampede.drop_id, is_so, deadline).await
        };
        let is_known = held(holds).await;
        shop.settle(play.stage).await?;
        if is_known && instant(stampede.expires_at.millis()) > soon(calm) {
            return Ok(stampede);
        }
        println!(
            "consequences: holds of {seconds} s expired before they could be used; trying longer"
        );
        held(0).await;
        shop.settle(play.stage).await?;
        seconds *= 2;
    }
    Err(BenchError::Unexpected(
        "this machine is too slow to prepare holds that expire together".into(),
    ))
}

async fn cancel(
    play: &mut Play<'_>,
    shop: &mut Shop,
    drop_id: Uuid,
    holds: u32,
) -> Result<(), BenchError> {
    let pace = play.paced();
    let disturbance = async |shop: &Shop| {
        let deadline = Instant::now() + LONGEST;
        let path = format!("/v1/drops/{drop_id}/cancel");
        let is_begun = insist(shop.nodes[0].address, &path, &json!({}), deadline).await;
        let is_over = |drop: &Value| drop["status"] == "cancelled" && drop["stock"]["held"] == 0;
        Ok(is_begun && shop.until(drop_id, is_over, deadline).await)
    };
    let (outcome, is_complete) = shop
        .disturb(play.stage, pace, soon(pace.1), disturbance)
        .await?;
    let name = format!("{CANCEL}{holds}");
    let disturbance = Disturbance::new("consequences", name, shop, outcome);
    play.disturbed(disturbance.complete(is_complete));
    Ok(())
}

/// Sends the same request until it is accepted; whether that was before `deadline`.
async fn insist(address: SocketAddr, path: &str, body: &Value, deadline: Instant) -> bool {
    let key = Uuid::new_v4().to_string();
    let call = Call {
        method: "POST",
        path,
        key: Some(&key),
    };
    let body = (body != &json!({})).then_some(body);
    while Instant::now() < deadline {
        match send(address, call, body).await {
            Ok(answer) if answer.status < 300 => return true,
            Ok(answer) => println!("consequences: POST {path} was answered {}", answer.status),
            Err(error) => println!("consequences: POST {path}: {error}"),
        }
        sleep(PAUSE).await;
    }
    false
}

/// When the wall clock shows `millis`.
fn instant(millis: i64) -> Instant {
    let left = u64::try_from(millis - now().millis()).unwrap_or_default();
    Instant::now() + Duration::from_millis(left)
}

/// Purchases each hold [`IN_TIME_MS`] before it expires, at the nodes in turn.
async fn purchase_all(nodes: Vec<SocketAddr>, holds: Vec<(Uuid, Timestamp)>) -> Purchases {
    let each = holds.into_iter().zip(nodes.into_iter().cycle());
    let statuses = join_all(each.map(|((hold_id, expires_at), address)| async move {
        let due = instant(expires_at.millis() - IN_TIME_MS);
        sleep_until(due).await;
        let late_ms = due.elapsed().as_secs_f64() * 1000.0;
        let path = format!("/v1/holds/{hold_id}/purchase");
        let call = Call {
            method: "POST",
            path: &path,
            key: None,
        };
        let answer = send(address, call, None::<&()>).await;
        (answer.map_or(0, |answer| answer.status), late_ms)
    }));
    let mut purchases = Purchases::default();
    for (status, late_ms) in statuses.await {
        *purchases.answers.entry(status).or_default() += 1;
        purchases.sent_late_ms = purchases.sent_late_ms.max(late_ms);
    }
    purchases
}
