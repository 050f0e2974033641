//! The effect on other drops while one drop's decision has a hundred thousand or a million
//! consequences: a restock with a long waitlist, holds that expire in the same millisecond, a
//! cancelled drop.
//!
//! Each build has its own database with all three drops, and runs on one node, then (on a new
//! database) on two. Builds alternate, so that their figures are comparable. One round only:
//! seeding takes longer than measuring.
//!
//! While the holds expire, holds of another drop are purchased [`IN_TIME_MS`] before they expire. A
//! purchase that is sent in time and gets 410 is counted: it was starved by expiries.
//! Limit: the end of a disturbance is observed through the API, at most one interval late.

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
use crate::contenders::http::now;
use crate::error::{BenchError, Doing};
use crate::report::disturbances::{Disturbance, Purchases};
use crate::seed_state::{MassExpiry, Purchasable, Seeder};
use crate::wire::{Call, send};

/// The most waitlist entries, and the most holds that expire together.
const MOST_TOGETHER: u32 = 100_000;
/// Purchases are sent this long before their holds expire.
pub const IN_TIME_MS: i64 = 1_700;
/// One every ten milliseconds, for two seconds from the expiries on.
const PURCHASES: Purchasable = Purchasable {
    count: 200,
    first_ms: IN_TIME_MS,
    every_ms: 10,
};
/// The longest duration of the holds that expire together, in seconds; the purchasable holds last
/// four seconds longer.
const LONGEST_HOLD: u32 = 600;
/// The pause before a refused request is sent again.
const PAUSE: Duration = Duration::from_millis(200);

/// The disturbances' names, without their sizes.
pub const RESTOCK: &str = "restock with a waitlist of ";
/// See [`RESTOCK`].
pub const EXPIRIES: &str = "holds that expire in one millisecond: ";
/// See [`RESTOCK`].
pub const CANCEL: &str = "cancel with unresolved holds: ";

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
    // Last, because a build that never completes it would spoil the other disturbances.
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
        let is_begun = repeat_until_accepted(shop.nodes[0].address, &path, &body, deadline).await;
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
    let mass_expiry = mass_expiry(play, shop, seeder, holds).await?;
    // In a separate task: the purchases take longer than the expiries, whose end ends the phase.
    let nodes = shop.nodes.iter().map(|node| node.address).collect();
    let purchases = tokio::spawn(purchase_all(nodes, mass_expiry.purchasable));
    let disturbance = async |shop: &Shop| {
        let is_over = |drop: &Value| drop["stock"]["held"] == 0;
        let deadline = Instant::now() + LONGEST;
        Ok(shop.until(mass_expiry.drop_id, is_over, deadline).await)
    };
    let from = instant(mass_expiry.expires_at.millis());
    let (outcome, is_complete) = shop.disturb(play.stage, pace, from, disturbance).await?;
    let purchases = purchases.await.doing("wait for the purchases")?;
    let name = format!("{EXPIRIES}{holds}");
    let disturbance = Disturbance::new("consequences", name, shop, outcome);
    play.disturbed(disturbance.complete(is_complete).purchases(purchases));
    Ok(())
}

/// Seeds holds that expire late enough for every node to load them, and for the undisturbed server
/// to be measured, before they do.
async fn mass_expiry(
    play: &Play<'_>,
    shop: &Shop,
    seeder: &mut Seeder,
    holds: u32,
) -> Result<MassExpiry, BenchError> {
    let (_, calm) = play.paced();
    let calm_seconds = u32::try_from(calm.as_secs()).unwrap_or(u32::MAX);
    let mut seconds = 10 + holds / 10_000 + calm_seconds;
    while seconds < LONGEST_HOLD {
        let mass_expiry = seeder.mass_expiry(holds, seconds, PURCHASES).await?;
        let held = async |units: u32| {
            let is_so = |drop: &Value| drop["stock"]["held"] == units;
            let deadline = Instant::now() + LONGEST;
            shop.until(mass_expiry.drop_id, is_so, deadline).await
        };
        let is_known = held(holds).await;
        shop.settle(play.stage).await?;
        if is_known && instant(mass_expiry.expires_at.millis()) > soon(calm) {
            return Ok(mass_expiry);
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
        let is_begun =
            repeat_until_accepted(shop.nodes[0].address, &path, &json!({}), deadline).await;
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

/// Repeats the request until it is accepted. Returns true if that was before `deadline`.
async fn repeat_until_accepted(
    address: SocketAddr,
    path: &str,
    body: &Value,
    deadline: Instant,
) -> bool {
    let key = Uuid::new_v4().to_string();
    let call = Call {
        method: "POST",
        path,
        key: Some(&key),
    };
    let body = (body != &json!({})).then_some(body);
    while Instant::now() < deadline {
        match send(address, call, body).await {
            Ok(response) if response.status < 300 => return true,
            Ok(response) => println!("consequences: POST {path} got status {}", response.status),
            Err(error) => println!("consequences: POST {path}: {error}"),
        }
        sleep(PAUSE).await;
    }
    false
}

/// Returns the instant at which the wall clock shows `millis`.
fn instant(millis: i64) -> Instant {
    let left = u64::try_from(millis - now().millis()).unwrap_or_default();
    Instant::now() + Duration::from_millis(left)
}

/// Purchases each hold [`IN_TIME_MS`] before it expires, at alternating nodes.
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
        let response = send(address, call, None::<&()>).await;
        (response.map_or(0, |response| response.status), late_ms)
    }));
    let mut purchases = Purchases::default();
    for (status, late_ms) in statuses.await {
        *purchases.answers.entry(status).or_default() += 1;
        purchases.sent_late_ms = purchases.sent_late_ms.max(late_ms);
    }
    purchases
}
