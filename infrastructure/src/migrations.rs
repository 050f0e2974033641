//! The migrations of the schema, embedded in the program.
//!
//! The macro `sqlx::migrate!` would read the folder by itself, at the price of sqlx's macros, which
//! compile sqlx and tokio a second time, for the build machine. A test compares the list with the
//! folder.

use futures::future::BoxFuture;
use sqlx::error::BoxDynError;
use sqlx::migrate::{MigrateError, Migration, MigrationSource, MigrationType, Migrator};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../migrations/", $name, ".sql")))),*]
    };
}

/// Name and text of each file, in the order in which they are applied.
const FILES: &[(&str, &str)] = files![
    "0001_log",
    "0002_projections",
    "0003_refusals",
    "0004_roles",
    "0005_erasures",
    "0006_fold_versions",
    "0007_event_types",
    "0008_clock",
    "0009_changes_of_holds",
    "0010_orders",
    "0011_webhooks",
    "0012_payments",
    "0013_payment_jobs",
    "0015_facts",
    "0016_open_payment_jobs",
    "0017_withdrawals",
    "0019_catalogue",
    "0021_codes",
    "0023_push",
    "0025_pauses",
    "0026_search_path",
    "0027_appends",
];

/// Returns the migrations of this release.
///
/// # Errors
/// [`MigrateError`] when the name of a file does not begin with a version.
pub async fn migrator() -> Result<Migrator, MigrateError> {
    Migrator::new(Embedded).await
}

#[derive(Debug)]
struct Embedded;

impl MigrationSource<'static> for Embedded {
    fn resolve(self) -> BoxFuture<'static, Result<Vec<Migration>, BoxDynError>> {
        Box::pin(async { FILES.iter().map(|file| migration(*file)).collect() })
    }
}

/// Reads the name as sqlx does: the version, an underscore, the description.
fn migration((name, sql): (&'static str, &'static str)) -> Result<Migration, BoxDynError> {
    let (version, description) = name
        .split_once('_')
        .ok_or_else(|| format!("migration {name} has no version"))?;
    Ok(Migration::new(
        version.parse()?,
        description.replace('_', " ").into(),
        MigrationType::Simple,
        sql.into(),
        sql.starts_with("-- no-transaction"),
    ))
}
