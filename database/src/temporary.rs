//! A PostgreSQL for one command, in a temporary directory.
//!
//! Promise: it has nothing of any shop, and its directory is removed with it. Limit: it needs as
//! much space in the temporary directory as the restored database.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use private_postgres::{ClusterConfig, PostgresCluster};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{DatabaseError, DatabaseSettings, stop_private};

/// A running temporary cluster.
#[derive(Debug)]
pub struct Temporary {
    cluster: PostgresCluster,
    directory: TempDir,
}

impl Temporary {
    /// Starts it, with the programs of the settings, unless `stop` interrupts that.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn start(
        settings: &DatabaseSettings,
        stop: &CancellationToken,
    ) -> Result<Self, DatabaseError> {
        let directory =
            TempDir::with_prefix("holdfast-backup-").map_err(DatabaseError::Temporary)?;
        // If this runs as root, the account that runs PostgreSQL must be able to enter it.
        set_permissions(directory.path(), Permissions::from_mode(0o711))
            .map_err(DatabaseError::Temporary)?;
        let mut config = ClusterConfig::new(directory.path());
        config.pg_bin_dir.clone_from(&settings.pg_bin_dir);
        config.source = settings.postgres;
        config.fallback_dir = directory.path().join("fallback");
        config.stop = stop.clone();
        let cluster = PostgresCluster::start(config).await;
        let cluster = cluster.map_err(DatabaseError::Private)?;
        Ok(Self { cluster, directory })
    }

    /// The directory of its programs.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.cluster.origin().bin_dir
    }

    /// Creates a database whose sessions use `schema`, an SQL identifier. Returns its URL.
    ///
    /// # Errors
    /// [`DatabaseError::Connect`].
    pub async fn create(&self, name: &str, schema: &str) -> Result<String, DatabaseError> {
        let connecting = async {
            let mut connection = self.connect_options().connect().await?;
            for statement in [
                format!("CREATE DATABASE {name}"),
                format!("ALTER DATABASE {name} SET search_path = {schema}"),
            ] {
                connection.execute(statement.as_str()).await?;
            }
            connection.close().await
        };
        connecting.await.map_err(DatabaseError::Connect)?;
        Ok(self.cluster.url_for(name))
    }

    fn connect_options(&self) -> PgConnectOptions {
        self.cluster.connect_options()
    }

    /// Stops it and removes its directory.
    pub async fn remove(self) {
        stop_private(Some(self.cluster)).await;
        if let Err(error) = self.directory.close() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot remove the temporary directory"
            );
        }
    }
}
