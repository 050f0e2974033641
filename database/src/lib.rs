//! The database of a server: the configured one, or a private one in the data directory.

pub mod copy;
mod temporary;
pub mod upgrade;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use infrastructure::log::postgres::{
    Address, AddressError, ConnectionLimit, LogPool, POOLER, Unfit, connect, connect_as_is,
    connect_for_commands, examine, is_from_pooler, migrate_at,
};
use infrastructure::sqlstate::SqlState;
use infrastructure::unwritable::Unwritable;
use private_postgres::{ClusterConfig, ClusterError, PostgresCluster, Source};
use sqlx::postgres::PgConnectOptions;
use terminal::arguments::whole;
use terminal::text::one_line;
use tokio_util::sync::CancellationToken;

use self::copy::CopyError;

pub use self::temporary::Temporary;

/// The engine runs one read at a time; the second connection covers the time while one is replaced.
const ENGINE_READERS: u32 = 2;

/// The engine's readers, the session that appends, and one for an erasure.
const OWN: u32 = ENGINE_READERS + 2;

/// The smallest value of `HOLDFAST_CONNECTIONS`: each projection keeps a connection while it reads
/// the log through another.
const LEAST_CONNECTIONS: u32 = 6;

/// For a command that copies: it reads and compares, and an audit of the copy reads ahead.
const COMMAND_CONNECTIONS: u32 = 10;

/// Where the event log is stored.
#[derive(Debug, Clone, Args)]
pub struct DatabaseSettings {
    /// URL of the PostgreSQL database; without it, a private PostgreSQL is started in the data
    /// directory. Several hosts, separated by commas, are tried in order; a server uses the first
    /// that accepts writes.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,

    /// URL of the PostgreSQL server itself, where DATABASE_URL leads to a connection pooler that
    /// shares sessions (pool_mode = transaction); it is then used instead.
    #[arg(long, env = "HOLDFAST_DIRECT_URL", hide_env_values = true)]
    pub direct_url: Option<String>,

    /// Directory of the private PostgreSQL and the generated keys.
    #[arg(long, env = "HOLDFAST_DATA_DIR", default_value = ".holdfast")]
    pub data_dir: PathBuf,

    /// Directory with the programs `postgres` and `initdb` for the private PostgreSQL.
    #[arg(long, env = "PG_BIN_DIR")]
    pub pg_bin_dir: Option<PathBuf>,

    /// Which PostgreSQL to start as the private one: auto, installed or bundled.
    #[arg(long, env = "HOLDFAST_POSTGRES", default_value = "auto")]
    pub postgres: Source,

    /// Connections to PostgreSQL for reads and projections; the engine has four more of its own.
    /// Lowered to the limit of the database.
    #[arg(long, env = "HOLDFAST_CONNECTIONS", default_value_t = 10, value_parser = whole::<u32, LEAST_CONNECTIONS, 500>)]
    pub connections: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// An address cannot be used.
    #[error("{setting} {error}")]
    Address {
        /// The variable that has it.
        setting: &'static str,
        error: AddressError,
    },
    /// The address of a process that writes asks for servers that accept no writes.
    #[error(
        "{setting} has a target_session_attrs of servers that accept no writes; a server needs \
         read-write"
    )]
    NoTarget { setting: &'static str },
    /// The database responds, but a server cannot use it. The message says what to change.
    #[error("{0}")]
    Unfit(Unfit),
    /// The database accepts no writes.
    #[error("the database accepts no writes: {}; {}", .0, .0.remedy())]
    Unwritable(Unwritable),
    /// The database grants fewer connections than a server needs.
    #[error(
        "the database grants {} connections, and a server needs at least {least}: raise {}",
        .limit.connections, .limit.setting
    )]
    Connections { limit: ConnectionLimit, least: u32 },
    /// The database has no connection left; in PostgreSQL's words.
    #[error(
        "the database has no free connection ({}); a server needs {OWN} and HOLDFAST_CONNECTIONS", .0
    )]
    NoConnection(String),
    /// No connection to the server of `DATABASE_URL`, or to the private one.
    #[error("cannot connect to the database: {0}")]
    Unreachable(String),
    /// The database cannot be reached, or its migrations failed.
    #[error("cannot use the database")]
    Connect(#[source] sqlx::Error),
    /// The data directory contains no database.
    #[error("no log found in {0}: set --data-dir or --database-url")]
    NoLog(PathBuf),
    #[error("cannot start a private PostgreSQL")]
    Private(#[source] ClusterError),
    /// A temporary directory cannot be created.
    #[error("cannot use the temporary directory")]
    Temporary(#[source] std::io::Error),
    /// Only a private PostgreSQL is upgraded by this program.
    #[error(
        "{setting} is set, and only the private PostgreSQL of a data directory can be upgraded: \
         unset it, or upgrade that server with its own tools"
    )]
    NotPrivate { setting: &'static str },
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The start was interrupted.
    #[error("interrupted before the database was open")]
    Stopped,
}

/// A connected database.
#[derive(Debug)]
pub struct Database {
    /// For reads and projections.
    pub pool: LogPool,
    cluster: Option<PostgresCluster>,
}

impl Database {
    /// Starts the private database if none is configured, connects, and migrates, unless `stop` is
    /// cancelled before.
    ///
    /// # Errors
    /// [`DatabaseError`]; the private database is stopped by then.
    pub async fn open(
        settings: &DatabaseSettings,
        stop: &CancellationToken,
    ) -> Result<Self, DatabaseError> {
        // Ends by itself, so that it leaves no process behind.
        let (address, cluster) = writable(settings, stop).await?;
        let opening = async {
            let limit = examine(&address).await.map_err(not_connected)?;
            let connections = granted(settings.connections, limit)?;
            connect(address, connections).await.map_err(not_connected)
        };
        let opened = tokio::select! {
            opened = opening => opened,
            () = stop.cancelled() => Err(DatabaseError::Stopped),
        };
        match opened {
            Ok(pool) => Ok(Self { pool, cluster }),
            Err(error) => {
                stop_private(cluster).await;
                Err(error)
            }
        }
    }

    /// Opens the empty database at `url`, the value of `setting`, and migrates it.
    ///
    /// # Errors
    /// [`DatabaseError`], also if the database has a log already.
    pub async fn open_empty(setting: &'static str, url: &str) -> Result<Self, DatabaseError> {
        let address = parse(setting, url)?;
        if address.excludes_writes() {
            return Err(DatabaseError::NoTarget { setting });
        }
        let pool = empty(&address.for_writes()).await?;
        Ok(Self {
            pool,
            cluster: None,
        })
    }

    /// Starts a private database in `data_dir`, with the programs that `settings` name, and
    /// migrates it.
    ///
    /// # Errors
    /// [`DatabaseError`], also if it has a log already.
    pub async fn open_empty_private(
        settings: &DatabaseSettings,
        data_dir: &Path,
    ) -> Result<Self, DatabaseError> {
        let mut config = private(settings);
        config.data_dir = data_dir.to_owned();
        let cluster = start_private(config).await?;
        match empty(&cluster.connect_options().into()).await {
            Ok(pool) => Ok(Self {
                pool,
                cluster: Some(cluster),
            }),
            Err(error) => {
                stop_private(Some(cluster)).await;
                Err(error)
            }
        }
    }

    /// Applies the migrations and closes the database. Returns how many were applied, and the
    /// version of the schema.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn migrate(settings: &DatabaseSettings) -> Result<(usize, i64), DatabaseError> {
        let (address, cluster) = writable(settings, &CancellationToken::new()).await?;
        let migrating = async {
            examine(&address).await?;
            migrate_at(&address).await
        };
        let migrated = migrating.await.map_err(not_connected);
        stop_private(cluster).await;
        migrated
    }

    /// Opens an existing database for reading: does not migrate, works while a server runs on it,
    /// and creates nothing.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open_existing(settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        if let Some((setting, url)) = address_of(settings) {
            let address = parse(setting, url)?;
            let pool = connect_for_commands(&address, settings.connections).await;
            let pool = pool.map_err(not_connected)?;
            return Ok(Self {
                pool,
                cluster: None,
            });
        }
        let (options, cluster) = existing_private(settings).await?;
        let pool = connect_as_is(options, settings.connections)
            .await
            .map_err(not_connected)?;
        Ok(Self { pool, cluster })
    }

    /// Makes its logs acknowledge nothing without this many synchronous standbys.
    #[must_use]
    pub fn requiring(mut self, standbys: u32) -> Self {
        self.pool = self.pool.requiring(standbys);
        self
    }

    /// Opens connections for the engine alone, so that neither auditors nor projections delay it.
    ///
    /// # Errors
    /// [`DatabaseError::Connect`].
    pub async fn engine_pool(&self) -> Result<LogPool, DatabaseError> {
        let opened = self.pool.open_separate(ENGINE_READERS).await;
        opened.map_err(not_connected)
    }

    /// A description for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.cluster {
            Some(cluster) => format!(
                "a private {} in {}",
                cluster.origin(),
                cluster.home().display()
            ),
            None => "the PostgreSQL of DATABASE_URL".to_owned(),
        }
    }

    /// Closes every connection, and stops the private PostgreSQL if there is one.
    pub async fn close(self) {
        self.pool.close().await;
        stop_private(self.cluster).await;
    }
}

async fn stop_private(cluster: Option<PostgresCluster>) {
    if let Some(cluster) = cluster
        && let Err(error) = cluster.stop().await
    {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the private PostgreSQL did not stop cleanly"
        );
    }
}

impl DatabaseError {
    /// Returns true if the settings alone are at fault, with any database.
    #[must_use]
    pub const fn is_of_settings(&self) -> bool {
        matches!(
            self,
            Self::Address { .. } | Self::NoTarget { .. } | Self::NotPrivate { .. }
        )
    }
}

/// Checks the address of a process that writes, without connecting to it.
///
/// # Errors
/// [`DatabaseError::Address`] or [`DatabaseError::NoTarget`].
pub fn check_address(settings: &DatabaseSettings) -> Result<(), DatabaseError> {
    writable_address(settings).map(|_| ())
}

/// Returns the address of a process that writes; `None` for a private PostgreSQL.
fn writable_address(settings: &DatabaseSettings) -> Result<Option<Address>, DatabaseError> {
    let Some((setting, url)) = address_of(settings) else {
        return Ok(None);
    };
    let address = parse(setting, url)?;
    if address.excludes_writes() {
        return Err(DatabaseError::NoTarget { setting });
    }
    Ok(Some(address.for_writes()))
}

/// Connects to a database without a log, and migrates it.
async fn empty(address: &Address) -> Result<LogPool, DatabaseError> {
    let _limit = examine(address).await.map_err(not_connected)?;
    let pool = connect_for_commands(address, COMMAND_CONNECTIONS).await;
    let pool = pool.map_err(not_connected)?;
    // Before the migrations, which would change another shop's database.
    copy::require_no_log(&pool).await?;
    migrate_at(address).await.map_err(not_connected)?;
    Ok(pool)
}

/// Returns the address, with the variable that has it; `None` for a private PostgreSQL.
fn address_of(settings: &DatabaseSettings) -> Option<(&'static str, &str)> {
    let direct = settings.direct_url.as_deref();
    let direct = direct.map(|url| ("HOLDFAST_DIRECT_URL", url));
    let url = settings.database_url.as_deref();
    direct.or(url.map(|url| ("DATABASE_URL", url)))
}

fn parse(setting: &'static str, url: &str) -> Result<Address, DatabaseError> {
    Address::parse(url).map_err(|error| DatabaseError::Address { setting, error })
}

/// The address for a process that writes. Starts the private database if none is configured.
async fn writable(
    settings: &DatabaseSettings,
    stop: &CancellationToken,
) -> Result<(Address, Option<PostgresCluster>), DatabaseError> {
    if let Some(address) = writable_address(settings)? {
        return Ok((address, None));
    }
    let mut config = private(settings);
    config.stop = stop.clone();
    let cluster = start_private(config).await?;
    Ok((cluster.connect_options().into(), Some(cluster)))
}

/// Returns the size of the pool: `wanted`, or the rest that `limit` leaves.
fn granted(wanted: u32, limit: ConnectionLimit) -> Result<u32, DatabaseError> {
    let left = limit.connections.saturating_sub(OWN);
    if left < LEAST_CONNECTIONS {
        let least = LEAST_CONNECTIONS + OWN;
        return Err(DatabaseError::Connections { limit, least });
    }
    if left < wanted {
        tracing::warn!(
            "the database grants {} connections ({}): HOLDFAST_CONNECTIONS is lowered from {wanted} to {left}",
            limit.connections,
            limit.setting
        );
    }
    Ok(wanted.min(left))
}

/// Describes a failed connection; the words of PostgreSQL itself are kept.
fn not_connected(error: sqlx::Error) -> DatabaseError {
    if let Some(reason) = Unwritable::of(&error) {
        return DatabaseError::Unwritable(reason);
    }
    let code = SqlState::of(&error);
    if code.is_some_and(|code| code.is_without_connections()) {
        let words = error.as_database_error().map(|error| error.message());
        return DatabaseError::NoConnection(words.unwrap_or_default().to_owned());
    }
    if let sqlx::Error::Configuration(source) = &error
        && let Some(unfit) = source.downcast_ref::<Unfit>()
    {
        return DatabaseError::Unfit(unfit.clone());
    }
    let sqlx::Error::Io(source) = &error else {
        return DatabaseError::Connect(error);
    };
    let is_lookup = source.to_string().starts_with("failed to lookup address");
    DatabaseError::Unreachable(match is_lookup {
        true => "the host name cannot be resolved".to_owned(),
        false => one_line(source),
    })
}

/// Connects to the existing private cluster: through its socket while a server runs on it;
/// otherwise starts it.
async fn existing_private(
    settings: &DatabaseSettings,
) -> Result<(PgConnectOptions, Option<PostgresCluster>), DatabaseError> {
    if !PostgresCluster::exists(&settings.data_dir).map_err(DatabaseError::Private)? {
        return Err(DatabaseError::NoLog(settings.data_dir.clone()));
    }
    match start_private(private(settings)).await {
        Ok(cluster) => Ok((cluster.connect_options(), Some(cluster))),
        Err(DatabaseError::Private(ClusterError::InUse { .. })) => {
            let options =
                PostgresCluster::shared(&private(settings)).map_err(DatabaseError::Private)?;
            Ok((options, None))
        }
        Err(error) => Err(error),
    }
}

async fn start_private(config: ClusterConfig) -> Result<PostgresCluster, DatabaseError> {
    let started = PostgresCluster::start(config).await;
    started.map_err(|error| match matches!(error, ClusterError::Abandoned) {
        true => DatabaseError::Stopped,
        false => DatabaseError::Private(error),
    })
}

fn private(settings: &DatabaseSettings) -> ClusterConfig {
    let mut config = ClusterConfig::new(&settings.data_dir);
    config.pg_bin_dir.clone_from(&settings.pg_bin_dir);
    config.source = settings.postgres;
    config.max_connections = u16::try_from(settings.connections)
        .unwrap_or(u16::MAX)
        .saturating_add(40);
    config
}

/// One line with the error and its causes; of a connection pooler, what to do about it.
pub fn fail(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    if is_from_pooler(error) {
        terminal::say_failure(POOLER);
        ExitCode::FAILURE
    } else {
        terminal::fail(error)
    }
}
