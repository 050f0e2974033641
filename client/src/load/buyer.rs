//! One buyer: requests a hold, buys it if the plan includes that, and retries both as often as the
//! plan allows.
//!
//! Promise: every attempt of a request carries the same idempotency key and the same body, so the
//! buyer ends with one hold, however many responses are lost.
//! Limit: only an unreachable, silent or busy server is retried; a refusal is final.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use domain::values::{BuyerId, DropId, Quantity};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::outcome::{Outcome, Unsuccessful, Visit};
use super::progress::Counts;
use super::retry::pause;
use crate::calls::{self, HoldView, NewHold};
use crate::error::ClientError;
use crate::socket::{Socket, Target};
use crate::wire::{Call, Reply};

/// Settings that all buyers of one load test share.
#[derive(Debug)]
pub struct Plan {
    pub target: Arc<Target>,
    pub drop_id: DropId,
    /// Units that each buyer requests.
    pub quantity: Quantity,
    /// True if winners buy.
    pub purchase: bool,
    /// How often one request is retried.
    pub retries: u32,
    /// Distinguishes this run's buyers and keys from those of other runs.
    pub run: String,
    /// The shared counters.
    pub counts: Arc<Counts>,
}

/// Runs buyer `number` on `socket`, which is opened again if it is lost.
pub async fn visit(plan: &Plan, number: u32, socket: &mut Option<Socket>) -> Visit {
    let name = format!("{}-{number}", plan.run);
    let hold = NewHold {
        buyer_id: BuyerId::new(&format!("{name}@example.com")).expect("short and printable"),
        quantity: plan.quantity,
        display_name: None,
    };
    let call = calls::place_hold(plan.drop_id, &hold, &name);
    let hold: Outcome<HoldView> = send_with_retries(plan, socket, &call, "a hold").await;
    plan.counts.note(&hold.result, &plan.counts.held);

    let purchase = match &hold.result {
        Ok(won) if plan.purchase => {
            let call = calls::purchase(won.id);
            let purchase = send_with_retries(plan, socket, &call, "a purchase").await;
            plan.counts.note(&purchase.result, &plan.counts.sold);
            Some(purchase)
        }
        Ok(_) | Err(_) => None,
    };
    plan.counts.done.fetch_add(1, Relaxed);
    Visit { hold, purchase }
}

async fn send_with_retries<T: DeserializeOwned>(
    plan: &Plan,
    socket: &mut Option<Socket>,
    call: &Call,
    what: &'static str,
) -> Outcome<T> {
    let mut retried = vec![];
    for attempt in 0_u32.. {
        let began = Instant::now();
        let reply = attempt_once(plan, socket, call).await;
        let latency = began.elapsed();
        match reply.and_then(|reply| reply.read(what)) {
            Err(error) if error.is_passing() && attempt < plan.retries => {
                retried.push(Unsuccessful::from(&error));
                plan.counts.retried.fetch_add(1, Relaxed);
                let retry_after = error.problem().and_then(|problem| problem.retry_after);
                sleep(pause(attempt, retry_after, rand::random())).await;
            }
            outcome => {
                return Outcome {
                    result: outcome.map_err(|error| Unsuccessful::from(&error)),
                    latency,
                    retried,
                };
            }
        }
    }
    unreachable!("the last attempt returns")
}

async fn attempt_once(
    plan: &Plan,
    slot: &mut Option<Socket>,
    call: &Call,
) -> Result<Reply, ClientError> {
    let mut socket = match slot.take() {
        Some(socket) => socket,
        None => Socket::open(Arc::clone(&plan.target)).await?,
    };
    let reply = socket.send(call).await?;
    *slot = Some(socket); // Only after a response: a failed socket is unusable.
    Ok(reply)
}
