//! `holdfast audit erase`: erases a buyer's personal data, without a server.
//!
//! Promise: the same as `DELETE /v1/admin/buyers/{buyer_id}`. Running servers learn of the erasure
//! from the log.

use std::process::ExitCode;

use clap::Args;
use database::Database;
use database::DatabaseSettings;
use domain::values::BuyerId;
use infrastructure::erasure::erase;
use serde_json::json;

use super::{AuditError, print};

/// Arguments of `audit erase`.
#[derive(Debug, Args)]
pub struct EraseArgs {
    #[command(flatten)]
    database: DatabaseSettings,

    /// The shop's id of the buyer.
    #[arg(value_name = "BUYER_ID", value_parser = buyer_id)]
    buyer_id: BuyerId,

    /// Print JSON.
    #[arg(long, env = "HOLDFAST_AUDIT_JSON")]
    json: bool,
}

fn buyer_id(text: &str) -> Result<BuyerId, String> {
    BuyerId::stored(text).map_err(|error| error.to_string())
}

/// Runs the erasure. An unknown buyer is not an error: there is nothing to erase.
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
        let report = json!({ "position": position, "pseudonyms": pseudonyms, "events": events });
        return print(&report.to_string());
    }
    match erasure {
        None => print("this buyer is not known here"),
        Some(erasure) => print(&format!(
            "erased at position {}: {} pseudonyms no longer identify a buyer, the personal data of {} events is removed",
            erasure.position, erasure.pseudonyms, erasure.events
        )),
    }
}
