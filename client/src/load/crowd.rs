//! All buyers together: every socket is connected first, then all of them start at the same moment.
//!
//! Promise: with as many connections as buyers, each buyer has its own socket and sends one request
//! on it at the common start; with fewer, each socket serves a fixed share of the buyers, one after
//! another.
//! Limit: one process on one machine; the measurements include its own share of the processor.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::buyer::{Plan, visit};
use super::outcome::Visit;
use crate::error::ClientError;
use crate::socket::{Socket, Target};

/// Sockets connected concurrently: fewer than a listener's backlog, so that none waits for a second
/// SYN.
const CONNECTING: usize = 128;

/// Opens `count` sockets. A socket that could not be opened is `None`; its buyer tries again.
///
/// # Errors
/// The first failure, if no socket could be opened.
pub async fn connect(
    target: &Arc<Target>,
    count: u32,
    mut opened: impl FnMut(),
) -> Result<Vec<Option<Socket>>, ClientError> {
    let mut connecting = stream::iter(0..count)
        .map(|_| Socket::open(Arc::clone(target)))
        .buffer_unordered(CONNECTING);
    let mut sockets = vec![];
    let mut first_failure = None;
    while let Some(outcome) = connecting.next().await {
        match outcome {
            Ok(socket) => {
                sockets.push(Some(socket));
                opened();
            }
            Err(error) => {
                sockets.push(None);
                first_failure.get_or_insert(error);
            }
        }
    }
    match first_failure {
        Some(error) if sockets.iter().all(Option::is_none) => Err(error),
        Some(_) | None => Ok(sockets),
    }
}

/// Runs `buyers` on `sockets`, with a common start. Returns every visit, and the time from the
/// start to the last response.
pub async fn run(
    plan: Arc<Plan>,
    buyers: u32,
    sockets: Vec<Option<Socket>>,
) -> (Vec<Visit>, Duration) {
    let gate = Arc::new(Barrier::new(sockets.len() + 1));
    let stride = u32::try_from(sockets.len()).expect("no more sockets than buyers");
    let mut lanes = JoinSet::new();
    for (first, socket) in (0..buyers).zip(sockets) {
        let (plan, gate) = (Arc::clone(&plan), Arc::clone(&gate));
        let share = (first..buyers).step_by(stride as usize);
        lanes.spawn(async move {
            gate.wait().await;
            serve(&plan, share, socket).await
        });
    }
    plan.counts.done.store(0, Relaxed);
    gate.wait().await;
    let began = Instant::now();
    let visits = lanes.join_all().await;
    (visits.into_iter().flatten().collect(), began.elapsed())
}

async fn serve(
    plan: &Plan,
    share: impl Iterator<Item = u32>,
    mut socket: Option<Socket>,
) -> Vec<Visit> {
    let mut visits = vec![];
    for number in share {
        visits.push(visit(plan, number, &mut socket).await);
    }
    visits
}
