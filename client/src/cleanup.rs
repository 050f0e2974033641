//! Drops that a command creates for its own purposes and cancels at its end.
//!
//! Promise: once [`Created::cancel`] has succeeded, no drop that was created through it is on sale,
//! even if the response to the creation was lost. Limit: after `kill -9`, or while the server is
//! unreachable, nothing is cancelled; the drops of `load` then end on schedule.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use terminal::{fail, wait_for_signal};
use tokio::time::sleep;

use super::calls::{self, DropView, NewDrop};
use super::error::ClientError;
use super::pooled::Client;

/// How often a cancellation is tried while the server is unreachable.
const ATTEMPTS: u32 = 5;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// Tolerance between elapsed time here and the server's timestamps.
const SLACK_MS: i64 = 1_000;

/// Runs `work` until it ends, or until the first signal that asks it to stop.
///
/// # Errors
/// The error of `work`, or [`ClientError::Interrupted`].
pub(super) async fn until_interrupted<T>(
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::select! {
        outcome = work => outcome,
        () = wait_for_signal() => Err(ClientError::Interrupted),
    }
}

/// Combines the outcome of a command with the outcome of its cleanup. If both failed, reports both.
pub(super) fn settled<T>(
    outcome: Result<T, ClientError>,
    cancelled: Result<(), ClientError>,
) -> Result<T, ClientError> {
    match (outcome, cancelled) {
        (Err(error), Err(left_behind)) => {
            // The caller reports the other error.
            let _failure = fail(&left_behind);
            Err(error)
        }
        (Ok(_), Err(left_behind)) => Err(left_behind),
        (outcome, Ok(())) => outcome,
    }
}

/// The drops that were created, or may have been.
#[derive(Debug, Default)]
pub(super) struct Created(Mutex<Vec<Creation>>);

#[derive(Debug, Clone)]
struct Creation {
    drop: NewDrop,
    key: String,
    began: Instant,
    answered: Option<DropView>,
}

impl Created {
    /// Creates a drop, or returns the one that was created under this key.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(super) async fn create(
        &self,
        client: &Client,
        drop: &NewDrop,
        key: &str,
    ) -> Result<DropView, ClientError> {
        self.with(|all| {
            all.push(Creation {
                drop: drop.clone(),
                key: key.to_owned(),
                began: Instant::now(),
                answered: None,
            });
        });
        let reply = client.send(&calls::create_drop(drop, key)).await;
        let replayed = reply.as_ref().is_ok_and(|reply| reply.replayed);
        let outcome: Result<DropView, _> = reply.and_then(|reply| reply.read("a drop"));
        match &outcome {
            Ok(made) if !replayed => self.with(|all| {
                let creation = all.iter_mut().find(|creation| creation.key == key);
                if let Some(creation) = creation {
                    creation.answered = Some(made.clone());
                }
            }),
            // The drop may have been created.
            Err(error) if error.is_passing() => {}
            Ok(_) | Err(_) => self.with(|all| all.retain(|creation| creation.key != key)),
        }
        outcome
    }

    /// Cancels every drop that was created here. A second signal ends the attempt.
    ///
    /// # Errors
    /// [`ClientError::LeftBehind`] names the first drop that could not be cancelled.
    pub(super) async fn cancel(&self, client: &Client) -> Result<(), ClientError> {
        let all = self.with(std::mem::take);
        let mut first_failure = None;
        for creation in all {
            let outcome = until_interrupted(cancel_with_retries(client, &creation)).await;
            if let Err(source) = outcome {
                let name = creation.drop.name.as_str().to_owned();
                let source = Box::new(source);
                first_failure.get_or_insert(ClientError::LeftBehind { name, source });
            }
        }
        first_failure.map_or(Ok(()), Err)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Creation>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn cancel_with_retries(client: &Client, creation: &Creation) -> Result<(), ClientError> {
    let mut attempt = 1;
    loop {
        match undo(client, creation).await {
            Err(error) if error.is_passing() && attempt < ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
        sleep(PAUSE).await;
    }
}

async fn undo(client: &Client, creation: &Creation) -> Result<(), ClientError> {
    let made = match &creation.answered {
        Some(made) => made.clone(),
        None => {
            // Under the same key the server returns the drop, if it was created.
            let call = calls::create_drop(&creation.drop, &creation.key);
            let reply = client.send(&call).await?;
            let found: DropView = reply.read("a drop")?;
            if reply.replayed && !is_young_enough(creation, &found) {
                return Ok(());
            }
            found
        }
    };
    client.cancel_drop(made.id).await
}

/// Reports whether this process can have created the drop, judged by the server's own timestamps.
fn is_young_enough(creation: &Creation, found: &DropView) -> bool {
    let age = found.server_time.millis() - found.created_at.millis();
    let passed = i64::try_from(creation.began.elapsed().as_millis()).unwrap_or(i64::MAX);
    age <= passed.saturating_add(SLACK_MS)
}
