//! `holdfast audit erase`: forgets a buyer, without a server.
//!
//! Promise: as `DELETE /v1/admin/buyers/{buyer_id}`; servers that run meanwhile learn of it from the log.

use std::process::ExitCode;

use clap::Args;
use database::Database;
use database::DatabaseSettings;
use domain::values::BuyerId;
use infrastructure::erasure::erase;
use serde_json::json;

use super::{AuditError, print};

/// What `audit erase` is told.
#[derive(Debug, Args)]
pub struct EraseArgs {
    #[command(flatten)]
    database: DatabaseSettings,

    /// What the shop calls the buyer.
    #[arg(value_name = "BUYER_ID", value_parser = buyer_id)]
    buyer_id: BuyerId,

    /// Answer in JSON.
    #[arg(long, env = "HOLDFAST_AUDIT_JSON")]
    json: bool,
}

fn buyer_id(text: &str) -> Result<BuyerId, String> {
    BuyerId::stored(text).map_err(|error| error.to_string())
}

/// Runs it. Nobody to forget is no error: what was asked for is so.
///
/// # Errors
/// [`AuditError`].
pub async fn run(args: &EraseArgs) -> Result<ExitCode, AuditError> {
    let database = Database::open_existing(&args.database).await?;
    let erased = erase(&database.pool, &args.buyer_id).await;
    database.close().await;
    let erasure = erased.map_err(AuditError::Log)?;
    if args.json {
        let position = erasure.map(|erasure| erasure.position);
        let (pseudonyms, events) =
            erasure.map_or((0, 0), |erasure| (erasure.pseudonyms, erasure.events));
        let said =
            json!({ "position": position, "pseudonyms": pseudonyms, "introductions": events });
        return print(&said.to_string());
    }
    match erasure {
        None => print("nobody of that name is known here"),
        Some(erasure) => print(&format!(
            "erased at position {}: {} pseudonyms lead to nobody any more, {} introductions are gone",
            erasure.position, erasure.pseudonyms, erasure.events
        )),
    }
}
