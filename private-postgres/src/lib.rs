//! A private PostgreSQL in a data directory, started and stopped by this process, without any
//! set-up.
//!
//! Promise: the same data directory has the same data on every start, through `kill -9` of either
//! process; `fsync` is on; nothing listens on the network; no PostgreSQL program runs as root; one
//! process at a time owns the directory.
//! Limit: for one machine. It is not replicated and not backed up: a shop that needs these sets
//! `DATABASE_URL`. Decisions: docs/decisions/0005-postgres-without-setup.md.
//!
//! ```text
//! PostgresCluster::start
//!   place        where the cluster is, and the account that runs it   (account)
//!   owner_lock   one owner                                            -> InUse
//!   swap         the end of an interrupted upgrade
//!   programs     named, installed, or bundled, of the right version   (bundled)
//!   cluster_files  initdb, once
//!   sockets      the only access
//!   supervisor   leftovers of a killed owner -> server -> ready -> a thread that restarts it
//!                lifeline: a process that ends the server if this one is killed
//!
//! ClusterUpgrade::start        both clusters run; the caller copies
//! ClusterUpgrade::finish       swap
//! ```

mod account;
mod bundled;
mod cluster_files;
mod error;
#[cfg(feature = "testing")]
mod installed;
mod leftovers;
mod lifeline;
mod owner_lock;
mod place;
mod programs;
mod server;
mod sockets;
mod supervisor;
mod swap;
#[cfg(feature = "testing")]
pub mod testing;
mod upgrade;

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use self::error::ClusterError;
#[cfg(feature = "testing")]
pub use self::installed::Installed;
pub use self::programs::{FoundBy, OLDEST_MAJOR, Origin, Source};
pub use self::upgrade::{ClusterUpgrade, UpgradeStart};

use self::cluster_files::USER;
use self::owner_lock::OwnerLock;
use self::place::Location;
use self::programs::Requirements;
use self::server::Recipe;
use self::supervisor::Supervisor;

const DATABASE: &str = "holdfast";

/// Settings of a private cluster. [`ClusterConfig::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The data directory. Created if it does not exist.
    pub data_dir: PathBuf,
    /// The directory of `postgres` and `initdb`, if configured (`PG_BIN_DIR`). Default: none.
    pub pg_bin_dir: Option<PathBuf>,
    /// Allowed sources of the programs. Default: [`Source::Auto`].
    pub source: Source,
    /// The fallback for the data when running as root and the unprivileged account cannot enter
    /// `data_dir`. Default: `/var/lib/holdfast`.
    pub fallback_dir: PathBuf,
    /// PostgreSQL's `shared_buffers`, in MiB. Default: 256; far more was slower.
    pub shared_buffers_mib: u32,
    /// PostgreSQL's `max_connections`. Default: 50.
    pub max_connections: u16,
    /// Further settings for the server's command line. Durability settings cannot be changed.
    pub settings: Vec<(String, String)>,
    /// Timeout of a start, including crash recovery. Default: 120 s.
    pub start_timeout: Duration,
    /// Timeout of a fast shutdown, after which an immediate one follows. Default: 20 s.
    pub stop_timeout: Duration,
    /// Ends a start early when it is cancelled: [`ClusterError::Abandoned`]. Default: a token that
    /// never is.
    pub stop: CancellationToken,
}

impl ClusterConfig {
    /// The defaults, for this data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            pg_bin_dir: None,
            source: Source::Auto,
            fallback_dir: PathBuf::from("/var/lib/holdfast"),
            shared_buffers_mib: 256,
            max_connections: 50,
            settings: Vec::new(),
            start_timeout: Duration::from_secs(120),
            stop_timeout: Duration::from_secs(20),
            stop: CancellationToken::new(),
        }
    }
}

/// A running private cluster. Dropping it stops the server, which blocks the thread;
/// [`PostgresCluster::stop`] does not.
#[derive(Debug)]
pub struct PostgresCluster {
    running: Option<Running>,
    origin: Origin,
    home: PathBuf,
    socket_dir: PathBuf,
}

/// Fields are dropped in this order: the lock is released after the server has stopped.
#[derive(Debug)]
struct Running {
    supervisor: Supervisor,
    socket_dir: PathBuf,
    stop_timeout: Duration,
    _lock: Arc<OwnerLock>,
}

impl PostgresCluster {
    /// Starts the cluster of `config.data_dir`, creating it if necessary, and returns when it
    /// accepts connections.
    ///
    /// # Errors
    /// [`ClusterError`], worded for the person who starts the program.
    pub async fn start(config: ClusterConfig) -> Result<Self, ClusterError> {
        // If this future is dropped, the blocking part still completes, and dropping its result
        // stops the server.
        let started = spawn_blocking(move || Self::start_blocking(&config)).await;
        let cluster = started.map_err(|_| ClusterError::Abandoned)??;
        cluster.create_database().await?;
        Ok(cluster)
    }

    fn start_blocking(config: &ClusterConfig) -> Result<Self, ClusterError> {
        let location = Location::find(&config.data_dir, &config.fallback_dir)?;
        let lock = Arc::new(OwnerLock::take(&location.home)?);
        swap::complete(&location.home)?;
        let origin = prepare(config, &location)?;
        Self::run(config, location, origin, &lock)
    }

    /// Starts the server of the cluster at `location`, which exists.
    fn run(
        config: &ClusterConfig,
        location: Location,
        origin: Origin,
        lock: &Arc<OwnerLock>,
    ) -> Result<Self, ClusterError> {
        info!(
            version = %origin.version, found_by = ?origin.found_by, home = %location.home.display(),
            "starting a private {origin} on {}", location.home.display()
        );
        let socket_dir = sockets::directory(&location)?;
        let home = location.home.clone();
        let recipe = Recipe {
            location,
            origin: origin.clone(),
            socket_dir: socket_dir.clone(),
            shared_buffers_mib: config.shared_buffers_mib,
            max_connections: config.max_connections,
            settings: config.settings.clone(),
            start_timeout: config.start_timeout,
        };
        let supervisor = Supervisor::start(recipe, &config.stop)?;
        let running = Some(Running {
            supervisor,
            socket_dir: socket_dir.clone(),
            stop_timeout: config.stop_timeout,
            _lock: Arc::clone(lock),
        });
        Ok(Self {
            running,
            origin,
            home,
            socket_dir,
        })
    }

    /// Reports whether `data_dir` has a cluster that a start would use. Creates nothing.
    ///
    /// # Errors
    /// [`ClusterError`] when the directory cannot be read.
    pub fn exists(data_dir: &Path) -> Result<bool, ClusterError> {
        Location::has(data_dir)
    }

    /// Connects to the cluster of `config.data_dir` while another process runs it
    /// ([`ClusterError::InUse`]).
    ///
    /// # Errors
    /// [`ClusterError`] when its socket cannot be found.
    pub fn shared(config: &ClusterConfig) -> Result<PgConnectOptions, ClusterError> {
        let location = Location::find(&config.data_dir, &config.fallback_dir)?;
        Ok(options_through(&sockets::directory(&location)?, DATABASE))
    }

    /// Creates the database with default settings: the cluster serves nothing else.
    async fn create_database(&self) -> Result<(), ClusterError> {
        let failed = |source| ClusterError::Database {
            database: DATABASE,
            source,
        };
        let mut connection = self
            .options_for("postgres")
            .connect()
            .await
            .map_err(failed)?;
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(DATABASE)
                .fetch_one(&mut connection)
                .await
                .map_err(failed)?;
        if !exists {
            let create = format!("CREATE DATABASE {DATABASE}");
            sqlx::query(&create)
                .execute(&mut connection)
                .await
                .map_err(failed)?;
        }
        connection.close().await.map_err(failed)
    }

    /// The URL for sqlx or `psql`, over the Unix socket.
    #[must_use]
    pub fn database_url(&self) -> String {
        self.url_for(DATABASE)
    }

    /// The same, for another database of this cluster.
    #[must_use]
    pub fn url_for(&self, database: &str) -> String {
        let (database, host) = (
            percent_encoded(database.as_bytes()),
            percent_encoded(self.socket_dir.as_os_str().as_bytes()),
        );
        format!(
            "postgres://{USER}@localhost:{}/{database}?host={host}&sslmode=disable",
            sockets::PORT
        )
    }

    /// Connection options for sqlx.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.options_for(DATABASE)
    }

    fn options_for(&self, database: &str) -> PgConnectOptions {
        options_through(&self.socket_dir, database)
    }

    /// The process id of the server; `None` while it is being restarted.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running
            .as_ref()
            .and_then(|running| running.supervisor.pid())
    }

    /// The PostgreSQL in use, for a log line.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The directory of the cluster and its log: the data directory, or its directory in the
    /// fallback location.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Stops the server (fast; immediate after `stop_timeout`) and releases the data directory.
    ///
    /// # Errors
    /// [`ClusterError::StillRunning`] if even SIGKILL did not end it.
    pub async fn stop(mut self) -> Result<(), ClusterError> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        spawn_blocking(move || running.stop())
            .await
            .unwrap_or(Err(ClusterError::Abandoned))
    }
}

/// Every option is set, because sqlx takes missing ones from `PGPORT`, `PGSSLMODE` and similar
/// variables.
fn options_through(socket_dir: &Path, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(socket_dir)
        .port(sockets::PORT)
        .username(USER)
        .database(database)
        .ssl_mode(PgSslMode::Disable)
}

impl Running {
    fn stop(mut self) -> Result<(), ClusterError> {
        self.supervisor.stop(self.stop_timeout)?;
        // It may be in the temporary directory. Removal may fail without harm: the next start uses
        // it again.
        let _ = std::fs::remove_dir(&self.socket_dir);
        Ok(())
    }
}

impl Drop for PostgresCluster {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.running.take().map(Running::stop) {
            tracing::error!(%error, "{error}");
        }
    }
}

/// Finds the programs for the cluster and creates the cluster if necessary.
fn prepare(config: &ClusterConfig, location: &Location) -> Result<Origin, ClusterError> {
    let existing = cluster_files::made_by(location)?;
    let requirements = Requirements {
        source: config.source,
        pg_bin_dir: config.pg_bin_dir.as_deref(),
        existing,
    };
    let origin = programs::choose(&requirements, location)?;
    if existing.is_none() {
        cluster_files::create(location, &origin, &config.stop)?;
    }
    Ok(origin)
}

fn percent_encoded(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}
