//! Moves a private PostgreSQL to a newer version: a new cluster is filled, and replaces the old one
//! once the caller has proved it.
//!
//! Promise and limit: as [`ClusterUpgrade`] and [`copy`].

use std::path::PathBuf;

use infrastructure::log::postgres::{LogPool, connect_as_is, examine, migrate_at};
use private_postgres::{ClusterUpgrade, Origin, PostgresCluster, UpgradeStart};

use super::copy::{Copied, copy};
use super::{
    COMMAND_CONNECTIONS, DatabaseError, DatabaseSettings, address_of, not_connected, private,
};

/// The beginning of an upgrade.
#[derive(Debug)]
pub enum Upgrade {
    /// Nothing: the cluster belongs to the programs already.
    UpToDate(Origin),
    Begun(Box<Upgrading>),
}

/// Both clusters, with the same schema.
#[derive(Debug)]
pub struct Upgrading {
    clusters: ClusterUpgrade,
    old: LogPool,
    new: LogPool,
}

impl Upgrade {
    /// Starts the cluster with its own programs, of `from_bin_dir` or where they are found, and a
    /// new one with the programs that `settings` name. Migrates both.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn begin(
        settings: &DatabaseSettings,
        from_bin_dir: Option<PathBuf>,
    ) -> Result<Self, DatabaseError> {
        if let Some((setting, _)) = address_of(settings) {
            return Err(DatabaseError::NotPrivate { setting });
        }
        if !PostgresCluster::exists(&settings.data_dir).map_err(DatabaseError::Private)? {
            return Err(DatabaseError::NoLog(settings.data_dir.clone()));
        }
        let started = ClusterUpgrade::start(private(settings), from_bin_dir).await;
        let clusters = match started.map_err(DatabaseError::Private)? {
            UpgradeStart::UpToDate(origin) => return Ok(Self::UpToDate(origin)),
            UpgradeStart::Both(clusters) => *clusters,
        };
        let opening = async {
            // As the first start of this version does.
            let old = opened(clusters.old()).await?;
            examine(&clusters.successor().connect_options().into()).await?;
            Ok((old, opened(clusters.successor()).await?))
        };
        match opening.await.map_err(not_connected) {
            Ok((old, new)) => Ok(Self::Begun(Box::new(Upgrading { clusters, old, new }))),
            Err(error) => {
                abandon(clusters).await;
                Err(error)
            }
        }
    }
}

async fn opened(cluster: &PostgresCluster) -> Result<LogPool, sqlx::Error> {
    migrate_at(&cluster.connect_options().into()).await?;
    connect_as_is(cluster.connect_options(), COMMAND_CONNECTIONS).await
}

impl Upgrading {
    /// Fills the new cluster.
    ///
    /// # Errors
    /// [`DatabaseError::Copy`].
    pub async fn copy(&self) -> Result<Copied, DatabaseError> {
        Ok(copy(&self.old, &self.new).await?)
    }

    /// The new cluster, for a proof of it.
    #[must_use]
    pub const fn copied(&self) -> &LogPool {
        &self.new
    }

    /// The programs of the old cluster, and those of the new one.
    #[must_use]
    pub fn origins(&self) -> [Origin; 2] {
        let clusters = [self.clusters.old(), self.clusters.successor()];
        clusters.map(|cluster| cluster.origin().clone())
    }

    /// Puts the new cluster in the place of the old one, and returns the directory in which the old
    /// one is kept.
    ///
    /// # Errors
    /// [`DatabaseError::Private`].
    pub async fn finish(self) -> Result<PathBuf, DatabaseError> {
        self.old.close().await;
        self.new.close().await;
        let finished = self.clusters.finish().await;
        finished.map_err(DatabaseError::Private)
    }

    /// Removes the new cluster; the old one is as it was.
    pub async fn abandon(self) {
        self.old.close().await;
        self.new.close().await;
        abandon(self.clusters).await;
    }
}

async fn abandon(clusters: ClusterUpgrade) {
    if let Err(error) = clusters.abandon().await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "the new cluster was not removed");
    }
}
