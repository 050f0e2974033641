//! `holdfast seed`: creates the sample drops on a server.
//!
//! Promise: however often it runs, each sample drop exists once, because its idempotency key never
//! changes; a cancelled one is created again under the next key. On failure or Ctrl-C, it cancels
//! the drops that it created.
//! Limit: an existing sample drop is neither edited nor restocked.

pub mod catalog;
pub mod shelf;

use std::process::ExitCode;

use chrono::Utc;
use domain::values::Timestamp;
use terminal::print_line;
use terminal::table::{columns, grouped};

use self::catalog::Sample;
use super::access::ServerArgs;
use super::calls::DropView;
use super::cleanup::{Created, settled, until_interrupted};
use super::error::ClientError;
use super::pooled::Client;

/// Create the sample drops: three live and one upcoming; existing ones are left unchanged
#[derive(Debug, Clone, clap::Args)]
pub struct SeedArgs {
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Seeds the server and prints the sample drops.
///
/// # Errors
/// [`ClientError`]
pub async fn run(args: SeedArgs) -> Result<ExitCode, ClientError> {
    let client = args.server.client()?;
    let drops = seed_or_cancel(&client).await?;
    print_line(&table(&drops)).map_err(ClientError::Output)?;
    Ok(ExitCode::SUCCESS)
}

/// Creates the missing sample drops and returns all of them, the upcoming one last.
///
/// # Errors
/// [`ClientError`]
pub async fn seed(client: &Client) -> Result<Vec<DropView>, ClientError> {
    seed_into(client, &Created::default()).await
}

/// Like [`seed`], but cancels the drops it created if not all could be created.
async fn seed_or_cancel(client: &Client) -> Result<Vec<DropView>, ClientError> {
    let created = Created::default();
    let outcome = until_interrupted(seed_into(client, &created)).await;
    if outcome.is_ok() {
        return outcome;
    }
    settled(outcome, created.cancel(client).await)
}

async fn seed_into(client: &Client, created: &Created) -> Result<Vec<DropView>, ClientError> {
    // Finds out that the server is unreachable before anything may have been created.
    client.log_head().await?;
    let now = Timestamp::from(Utc::now());
    let mut drops = vec![];
    for sample in catalog::samples(now) {
        drops.push(create_or_find(client, created, &sample).await?);
    }
    Ok(drops)
}

/// How often one sample can be created again.
const MOST_GENERATIONS: u32 = 1_000;

async fn create_or_find(
    client: &Client,
    created: &Created,
    sample: &Sample,
) -> Result<DropView, ClientError> {
    let mut generation = 1;
    loop {
        let key = sample.key(generation);
        match created.create(client, &sample.drop, &key).await {
            Ok(found) if is_cancelled(&found) && generation < MOST_GENERATIONS => {}
            Err(ClientError::Problem(problem)) if problem.code == "idempotency_key_reused" => {
                // An earlier run created it with another start time: the same key with another
                // body.
                let name = sample.drop.name.as_str();
                let drops = client.drops().await?;
                let is_it = |drop: &DropView| drop.name == name && !is_cancelled(drop);
                if let Some(found) = drops.into_iter().find(is_it) {
                    return Ok(found);
                }
                if generation == MOST_GENERATIONS {
                    return Err(ClientError::Problem(problem));
                }
            }
            outcome => return outcome,
        }
        generation += 1;
    }
}

fn is_cancelled(drop: &DropView) -> bool {
    drop.status == "cancelled"
}

fn table(drops: &[DropView]) -> String {
    let titles = [
        "name",
        "status",
        "units",
        "available",
        "price (minor units)",
        "hold",
        "id",
    ];
    let mut rows = vec![titles.map(String::from).to_vec()];
    rows.extend(drops.iter().map(row));
    columns(&rows, &[2, 3, 4, 5])
}

fn row(drop: &DropView) -> Vec<String> {
    vec![
        drop.name.clone(),
        drop.status.clone(),
        grouped(drop.stock.total.into()),
        grouped(drop.stock.available.into()),
        price(drop),
        format!("{} s", drop.hold_seconds),
        drop.id.to_string(),
    ]
}

/// In minor units, as in the API; only the pages know the decimals of a currency.
fn price(drop: &DropView) -> String {
    format!("{} {}", drop.price.amount, drop.price.currency.code())
}

#[cfg(test)]
mod tests {
    use super::super::fake_server::{Behaviour, FakeServer};
    use super::*;

    #[tokio::test]
    async fn seeding_twice_leaves_four_drops() {
        let server = FakeServer::start(Behaviour::default()).await;
        let first = seed(&server.client()).await.unwrap();
        let again = seed(&server.client()).await.unwrap();
        assert_eq!(first.len(), 4);
        let ids = |drops: &[DropView]| drops.iter().map(|drop| drop.id).collect::<Vec<_>>();
        assert_eq!(ids(&first), ids(&again));
        assert_eq!(server.client().drops().await.unwrap().len(), 4);
        let statuses: Vec<&str> = first.iter().map(|drop| drop.status.as_str()).collect();
        assert_eq!(statuses, ["live", "live", "live", "scheduled"]);
        assert_eq!(table(&first).lines().count(), 5);
    }

    #[tokio::test]
    async fn cancelled_sample_is_created_again() {
        let server = FakeServer::start(Behaviour::default()).await;
        let client = server.client();
        let first = seed(&client).await.unwrap();
        for drop in &first {
            client.cancel_drop(drop.id).await.unwrap();
        }
        for _ in 0..2 {
            let again = seed(&client).await.unwrap();
            let statuses: Vec<&str> = again.iter().map(|drop| drop.status.as_str()).collect();
            assert_eq!(statuses, ["live", "live", "live", "scheduled"]);
            assert_eq!(client.drops().await.unwrap().len(), 8);
        }
    }

    #[tokio::test]
    async fn failed_seeding_cancels_its_drops() {
        let behaviour = Behaviour {
            most_drops: Some(2),
            ..Behaviour::default()
        };
        let server = FakeServer::start(behaviour).await;
        let client = server.client();
        let earlier = catalog::samples(Timestamp::default()).remove(0);
        client
            .create_drop(&earlier.drop, &earlier.key(1))
            .await
            .unwrap();
        assert!(seed_or_cancel(&client).await.is_err());
        let drops = client.drops().await.unwrap();
        let statuses: Vec<&str> = drops.iter().map(|drop| drop.status.as_str()).collect();
        assert_eq!(statuses, ["live", "cancelled"], "earlier drops stay");
    }
}
