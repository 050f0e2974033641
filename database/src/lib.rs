//! The database of a server: the configured one, or a private one in the data directory.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use infrastructure::log::postgres::{LogPool, POOLER, connect, connect_as_is, is_from_pooler};
use private_postgres::{ClusterConfig, ClusterError, PostgresCluster, Source};
use sqlx::postgres::PgConnectOptions;
use terminal::arguments::whole;
use terminal::text::one_line;

/// The engine runs one read at a time; the second connection covers the time while one is replaced.
const ENGINE_READERS: u32 = 2;

/// Where the event log is stored.
#[derive(Debug, Clone, Args)]
pub struct DatabaseSettings {
    /// URL of the PostgreSQL database; without it, a private PostgreSQL is started in the data
    /// directory.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,

    /// Directory of the private PostgreSQL and the generated keys.
    #[arg(long, env = "HOLDFAST_DATA_DIR", default_value = ".holdfast")]
    pub data_dir: PathBuf,

    /// Directory with the programs `postgres` and `initdb` for the private PostgreSQL.
    #[arg(long, env = "PG_BIN_DIR")]
    pub pg_bin_dir: Option<PathBuf>,

    /// Which PostgreSQL to start as the private one: auto, installed or bundled.
    #[arg(long, env = "HOLDFAST_POSTGRES", default_value = "auto")]
    pub postgres: Source,

    /// Connections to PostgreSQL for reads and projections; the engine has three more of its own.
    #[arg(long, env = "HOLDFAST_CONNECTIONS", default_value_t = 10, value_parser = whole::<u32, 6, 500>)]
    pub connections: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// `DATABASE_URL` cannot be parsed.
    #[error(
        "DATABASE_URL is not a PostgreSQL address; expected postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    Url,
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
}

/// A connected database.
#[derive(Debug)]
pub struct Database {
    /// For reads and projections.
    pub pool: LogPool,
    cluster: Option<PostgresCluster>,
}

impl Database {
    /// Starts the private database if none is configured, connects, and migrates.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open(settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        let (options, cluster) = match &settings.database_url {
            Some(url) => (parse(url)?, None),
            None => {
                let cluster = start_private(settings).await?;
                (cluster.connect_options(), Some(cluster))
            }
        };
        let pool = connect(options, settings.connections)
            .await
            .map_err(not_connected)?;
        Ok(Self { pool, cluster })
    }

    /// Opens an existing database for reading: does not migrate, works while a server runs on it,
    /// and creates nothing.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open_existing(settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        let (options, cluster) = match &settings.database_url {
            Some(url) => (parse(url)?, None),
            None => existing_private(settings).await?,
        };
        let pool = connect_as_is(options, settings.connections)
            .await
            .map_err(not_connected)?;
        Ok(Self { pool, cluster })
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
        if let Some(cluster) = self.cluster
            && let Err(error) = cluster.stop().await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the private PostgreSQL did not stop cleanly"
            );
        }
    }
}

fn parse(url: &str) -> Result<PgConnectOptions, DatabaseError> {
    let is_postgres = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    let options = url.parse().ok().filter(|_| is_postgres);
    options.ok_or(DatabaseError::Url)
}

/// Describes a failed connection; the words of PostgreSQL itself are kept.
fn not_connected(error: sqlx::Error) -> DatabaseError {
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
    match start_private(settings).await {
        Ok(cluster) => Ok((cluster.connect_options(), Some(cluster))),
        Err(DatabaseError::Private(ClusterError::InUse { .. })) => {
            let options =
                PostgresCluster::shared(&private(settings)).map_err(DatabaseError::Private)?;
            Ok((options, None))
        }
        Err(error) => Err(error),
    }
}

async fn start_private(settings: &DatabaseSettings) -> Result<PostgresCluster, DatabaseError> {
    PostgresCluster::start(private(settings))
        .await
        .map_err(DatabaseError::Private)
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
        terminal::say(&format!("holdfast: {POOLER}"));
        ExitCode::FAILURE
    } else {
        terminal::fail(error)
    }
}
