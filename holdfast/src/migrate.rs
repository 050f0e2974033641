//! `holdfast migrate`: applies the migrations of the database, and nothing else.
//!
//! Promise: an up-to-date schema is left as it is, so the command may run before each deployment.
//! Limit: it needs the database user that owns the tables, and the server's own address.

use clap::Args;
use database::{Database, DatabaseError, DatabaseSettings};
use terminal::print_line;

/// Arguments of `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Why the database was not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
}

impl MigrateError {
    /// Returns true if the settings alone are at fault.
    #[must_use]
    pub const fn is_of_settings(&self) -> bool {
        match self {
            Self::Database(error) => error.is_of_settings(),
            Self::Output(_) => false,
        }
    }
}

/// Applies the migrations and prints how many there were.
///
/// # Errors
/// [`MigrateError`].
pub async fn run(args: &MigrateArgs) -> Result<(), MigrateError> {
    let (applied, version) = Database::migrate(&args.database).await?;
    let line = match applied {
        0 => format!("the schema is up to date: version {version}"),
        applied => format!("migrations applied: {applied}; the schema has version {version}"),
    };
    print_line(&line).map_err(MigrateError::Output)
}
