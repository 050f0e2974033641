//! `holdfast seed`: puts the sample drops into a server.
//!
//! Promise: however often it runs, each sample drop exists once, because its idempotency key never changes.
//! Limit: a sample that is there already stays as it is; nothing is edited or restocked.

pub mod catalog;

use std::process::ExitCode;

use chrono::Utc;
use domain::values::Timestamp;

use self::catalog::Sample;
use super::access::ServerArgs;
use super::calls::DropView;
use super::error::ClientError;
use super::pooled::Client;
use super::table::{columns, grouped};
use crate::cli::print_line;

/// Create the sample drops: three live and one upcoming; those that exist already are left alone
#[derive(Debug, Clone, clap::Args)]
pub struct SeedArgs {
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Seeds the server and prints what is there now.
///
/// # Errors
/// [`ClientError`]
pub async fn run(args: SeedArgs) -> Result<ExitCode, ClientError> {
    let client = args.server.client()?;
    let drops = seed(&client).await?;
    print_line(&table(&drops)).map_err(ClientError::Output)?;
    Ok(ExitCode::SUCCESS)
}

/// Creates every sample drop that is not there yet, and gives them all, the upcoming one last.
///
/// # Errors
/// [`ClientError`]
pub async fn seed(client: &Client) -> Result<Vec<DropView>, ClientError> {
    let now = Timestamp::from(Utc::now());
    let mut drops = vec![];
    for sample in catalog::samples(now) {
        drops.push(create_or_find(client, &sample).await?);
    }
    Ok(drops)
}

async fn create_or_find(client: &Client, sample: &Sample) -> Result<DropView, ClientError> {
    let refused = match client.create_drop(&sample.drop, sample.key).await {
        Err(ClientError::Problem(problem)) if problem.code == "idempotency_key_reused" => problem,
        outcome => return outcome,
    };
    // It was created by an earlier run, whose clock gave it another start: same key, other body.
    let name = sample.drop.name.as_str();
    let drops = client.drops().await?;
    drops
        .into_iter()
        .find(|drop| drop.name == name)
        .ok_or(ClientError::Problem(refused))
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

/// In minor units, as the contract gives it: how many decimals a currency has is for the pages to know.
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
}
