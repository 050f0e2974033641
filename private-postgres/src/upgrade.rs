//! Moves a cluster to the programs of a newer PostgreSQL: both run, next to each other, while the
//! caller copies the data.
//!
//! Promise: the old cluster is the one that a start uses until [`ClusterUpgrade::finish`], and its
//! data is not changed here. An attempt that ended in any way leaves at most a directory
//! `postgres.new`, which the next attempt replaces.
//! Limit: needs the programs of both versions, and the disk space of both clusters. The caller
//! copies and compares; this module knows no tables.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::cluster_files::{self, MadeBy};
use super::error::ClusterError;
use super::leftovers::Traces;
use super::owner_lock::OwnerLock;
use super::place::{Location, Which};
use super::programs::{self, Newer, Origin};
use super::{ClusterConfig, PostgresCluster, sockets, swap};

/// The beginning of an upgrade.
#[derive(Debug)]
pub enum UpgradeStart {
    /// The cluster belongs to these programs already.
    UpToDate(Origin),
    /// Both clusters run.
    Both(Box<ClusterUpgrade>),
}

/// A cluster and its empty successor, both running, under one owner's lock.
#[derive(Debug)]
pub struct ClusterUpgrade {
    old: PostgresCluster,
    new: PostgresCluster,
    home: PathBuf,
    made_by: MadeBy,
    lock: Arc<OwnerLock>,
}

impl ClusterUpgrade {
    /// Starts the cluster of `config.data_dir` with the programs that created it, from
    /// `from_bin_dir` or where they are found, and a new cluster with the programs that `config`
    /// names: the newest that are installed, unless it names others.
    ///
    /// # Errors
    /// [`ClusterError`], also if there is no newer PostgreSQL.
    pub async fn start(
        config: ClusterConfig,
        from_bin_dir: Option<PathBuf>,
    ) -> Result<UpgradeStart, ClusterError> {
        let started =
            spawn_blocking(move || Self::start_blocking(&config, from_bin_dir.as_deref())).await;
        let started = started.map_err(|_| ClusterError::Abandoned)??;
        if let UpgradeStart::Both(both) = &started {
            both.new.create_database().await?;
        }
        Ok(started)
    }

    fn start_blocking(
        config: &ClusterConfig,
        from_bin_dir: Option<&Path>,
    ) -> Result<UpgradeStart, ClusterError> {
        let location = Location::find(&config.data_dir, &config.fallback_dir)?;
        let lock = Arc::new(OwnerLock::take(&location.home)?);
        swap::complete(&location.home)?;
        let made_by =
            cluster_files::made_by(&location)?.ok_or_else(|| ClusterError::NotACluster {
                cluster: location.cluster(),
                reason: "it is empty".to_owned(),
            })?;
        let newer = match programs::choose_newer(config, made_by, &location)? {
            Newer::Same(origin) => return Ok(UpgradeStart::UpToDate(origin)),
            Newer::Found(origin) => origin,
        };
        let older = programs::choose_older(made_by, from_bin_dir, &location)?;
        let successor = Location {
            which: Which::Successor,
            ..location.clone()
        };
        let home = location.home.clone();
        let old = PostgresCluster::run(config, location, older, &lock)?;
        remove_attempt(&successor)?;
        cluster_files::create(&successor, &newer, &config.stop)?;
        let new = PostgresCluster::run(config, successor, newer, &lock)?;
        Ok(UpgradeStart::Both(Box::new(Self {
            old,
            new,
            home,
            made_by,
            lock,
        })))
    }

    /// The cluster as it is.
    #[must_use]
    pub fn old(&self) -> &PostgresCluster {
        &self.old
    }

    /// Its successor.
    #[must_use]
    pub fn successor(&self) -> &PostgresCluster {
        &self.new
    }

    /// Stops both servers, makes the successor the cluster of the data directory, and returns the
    /// directory of the old one.
    ///
    /// # Errors
    /// [`ClusterError`]. If a step of the swap failed, the next start completes it.
    pub async fn finish(self) -> Result<PathBuf, ClusterError> {
        let Self {
            old,
            new,
            home,
            made_by,
            lock,
        } = self;
        old.stop().await?;
        new.stop().await?;
        let log = home.join(format!("postgres{}.log", Which::Successor.suffix()));
        let swapped = spawn_blocking(move || {
            let kept = swap::swap(&home, made_by.major)?;
            // The next server writes to the other log.
            let _ = fs::remove_file(log);
            drop(lock);
            Ok(kept)
        });
        swapped.await.map_err(|_| ClusterError::Abandoned)?
    }

    /// Stops both servers and removes the successor.
    ///
    /// # Errors
    /// [`ClusterError`]; the old cluster is as it was.
    pub async fn abandon(self) -> Result<(), ClusterError> {
        self.old.stop().await?;
        self.new.stop().await?;
        let successor = Which::Successor.directory();
        // Without its cluster it means nothing.
        let _ = fs::remove_file(swap::mark_of(&self.home, successor));
        let successor = self.home.join(successor);
        fs::remove_dir_all(&successor).map_err(ClusterError::file("remove", &successor))
    }
}

/// Removes the successor of an earlier attempt. Its server may have survived, if its watcher was
/// killed as well.
fn remove_attempt(successor: &Location) -> Result<(), ClusterError> {
    let cluster = successor.cluster();
    if !cluster.exists() {
        return Ok(());
    }
    let cluster_name = successor.cluster_name();
    let socket_dir = sockets::directory(successor)?;
    Traces {
        cluster: &cluster,
        cluster_name: &cluster_name,
        socket_dir: &socket_dir,
    }
    .clear()?;
    fs::remove_dir_all(&cluster).map_err(ClusterError::file("remove", &cluster))
}
