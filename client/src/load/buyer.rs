//! One buyer: asks for a hold, buys it if that is the plan, and stays stubborn about both as far as the plan allows.
//!
//! Promise: every try of a request carries the same idempotency key and the same body, so however often the answer is
//! lost, the buyer ends with one hold.
//! Limit: only an absent, silent or busy server is tried again; a refusal is taken for an answer.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use domain::values::{BuyerId, DropId, Quantity};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::outcome::{Miss, Outcome, Visit};
use super::progress::Counts;
use super::retry::pause;
use crate::calls::{self, HoldView, NewHold};
use crate::error::ClientError;
use crate::socket::{Socket, Target};
use crate::wire::{Call, Reply};

/// What all buyers of one stampede have in common.
#[derive(Debug)]
pub struct Plan {
    /// The server.
    pub target: Arc<Target>,
    /// What they are after.
    pub drop_id: DropId,
    /// Units each asks for.
    pub quantity: Quantity,
    /// Whether winners buy.
    pub purchase: bool,
    /// How often one request is tried again.
    pub retries: u32,
    /// Tells this stampede's buyers and keys from any other's.
    pub run: String,
    /// Where they report to.
    pub counts: Arc<Counts>,
}

/// Buyer `number` visits the shop on `socket`, which is opened again if it is lost.
pub async fn visit(plan: &Plan, number: u32, socket: &mut Option<Socket>) -> Visit {
    let name = format!("{}-{number}", plan.run);
    let hold = NewHold {
        buyer_id: BuyerId::new(&format!("{name}@example.com")).expect("short and printable"),
        quantity: plan.quantity,
        display_name: None,
    };
    let call = calls::place_hold(plan.drop_id, &hold, &name);
    let hold: Outcome<HoldView> = persist(plan, socket, &call, "a hold").await;
    plan.counts.note(&hold.result, &plan.counts.held);

    let purchase = match &hold.result {
        Ok(won) if plan.purchase => {
            let call = calls::purchase(won.id);
            let purchase = persist(plan, socket, &call, "a purchase").await;
            plan.counts.note(&purchase.result, &plan.counts.sold);
            Some(purchase)
        }
        Ok(_) | Err(_) => None,
    };
    plan.counts.done.fetch_add(1, Relaxed);
    Visit { hold, purchase }
}

async fn persist<T: DeserializeOwned>(
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
                retried.push(Miss::from(&error));
                plan.counts.retried.fetch_add(1, Relaxed);
                let asked = error.problem().and_then(|problem| problem.retry_after);
                sleep(pause(attempt, asked, rand::random())).await;
            }
            outcome => {
                return Outcome {
                    result: outcome.map_err(|error| Miss::from(&error)),
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
    *slot = Some(socket); // Only after an answer: a socket that failed is done for.
    Ok(reply)
}
