//! The environment that all contenders of a run share: one directory and one private Postgres.
//!
//! Promise: every contender has its own database (or Redis), on the same server with the same
//! settings and with `fsync` on; every started process ends with the [`Stage`], and its directories
//! are removed with it.

mod running;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use private_postgres::{ClusterConfig, PostgresCluster};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::process::Command;

pub use self::running::{Database, Kept, Redis, Running, place_hold};
use crate::contenders::{Contender, Store, holdfast};
use crate::error::{BenchError, Doing};
use crate::process::{Process, Reaper};
use crate::procfs;

/// The timeout of a start: a server that loads ten million events needs time.
const START_TIMEOUT: Duration = Duration::from_secs(900);
const STOPPING: Duration = Duration::from_secs(15);
const CONNECTIONS: u16 = 300;

pub struct Stage {
    /// The directory of the run, on the measured disk.
    directory: PathBuf,
    /// The directory of sockets, whose paths must be short.
    sockets: PathBuf,
    cluster: PostgresCluster,
    admin: PgPool,
    reaper: Reaper,
    holdfast: PathBuf,
    against: Option<PathBuf>,
    /// Connections of each rival that uses Postgres.
    pool: u32,
    numbers: AtomicU32,
}

/// The parameters of a stage.
#[derive(Debug)]
pub struct Plan {
    /// The parent of every run's directory.
    pub directory: PathBuf,
    /// The path of the program.
    pub holdfast: PathBuf,
    /// The path of another build.
    pub against: Option<PathBuf>,
    /// Connections of each rival that uses Postgres.
    pub pool: u32,
}

impl Stage {
    /// Starts the Postgres that all contenders share.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn build(plan: Plan) -> Result<Self, BenchError> {
        let reaper = Reaper::start()?;
        let id = std::process::id();
        let directory = plan.directory.join(format!("run-{id}"));
        let sockets = std::env::temp_dir().join(format!("holdfast-bench-{id}"));
        for made in [&directory, &sockets] {
            std::fs::create_dir_all(made).doing(format!("create {}", made.display()))?;
            reaper.remove(made);
        }
        let mut config = ClusterConfig::new(directory.join("cluster"));
        config.max_connections = CONNECTIONS;
        let cluster = PostgresCluster::start(config)
            .await
            .doing("start a private PostgreSQL")?;
        reaper.remove(cluster.home());
        let admin = PgPoolOptions::new()
            .max_connections(2)
            .connect_with(cluster.connect_options())
            .await
            .doing("connect to the private PostgreSQL")?;
        Ok(Self {
            directory,
            sockets,
            cluster,
            admin,
            reaper,
            holdfast: plan.holdfast,
            against: plan.against,
            pool: plan.pool,
            numbers: AtomicU32::new(0),
        })
    }

    /// Returns the version of PostgreSQL.
    pub fn postgres(&self) -> String {
        self.cluster.origin().to_string()
    }

    pub fn holdfast(&self) -> &Path {
        &self.holdfast
    }

    /// Returns the reaper of the stage's processes.
    pub const fn reaper(&self) -> &Reaper {
        &self.reaper
    }

    /// Stops Postgres and removes the run's directories.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn clear(self) -> Result<(), BenchError> {
        self.admin.close().await;
        let home = self.cluster.home().to_owned();
        self.cluster
            .stop()
            .await
            .doing("stop the private PostgreSQL")?;
        for gone in [&home, &self.directory, &self.sockets] {
            if gone.exists() {
                std::fs::remove_dir_all(gone).doing(format!("remove {}", gone.display()))?;
            }
        }
        Ok(())
    }

    /// Runs a checkpoint, so that no contender pays for the dirty pages of another.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn checkpoint(&self) -> Result<(), BenchError> {
        let done = sqlx::query("CHECKPOINT").execute(&self.admin).await;
        done.map(drop).doing("run a checkpoint")
    }

    /// Creates an empty database.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn database(&self) -> Result<Database, BenchError> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench_{number}");
        let create = format!("CREATE DATABASE {name}");
        let created = sqlx::query(&create).execute(&self.admin).await;
        created.doing("create a database")?;
        let url = self.cluster.url_for(&name);
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect_lazy(&url)
            .doing("connect to a database")?;
        Ok(Database { name, url, pool })
    }

    /// Drops a database and closes its connections.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn drop_database(&self, database: Database) -> Result<(), BenchError> {
        database.pool.close().await;
        let drop = format!("DROP DATABASE {} WITH (FORCE)", database.name);
        let dropped = sqlx::query(&drop).execute(&self.admin).await;
        dropped.map(std::mem::drop).doing("drop a database")
    }

    /// Starts `contender` on a new store.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn start(&self, contender: Contender) -> Result<Running, BenchError> {
        match contender.store() {
            Store::None => self.start_with(contender, Kept::Nothing).await,
            Store::Postgres => {
                let database = self.database().await?;
                self.start_with(contender, Kept::Postgres(database)).await
            }
            Store::Redis { durable } => {
                let redis = self.start_redis(durable).await?;
                self.start_with(contender, Kept::Redis(redis.into())).await
            }
        }
    }

    /// Starts `contender` on an existing store.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn start_with(
        &self,
        contender: Contender,
        kept: Kept,
    ) -> Result<Running, BenchError> {
        let command = self.command(contender, &kept)?;
        self.spawn(contender, command, kept).await
    }

    async fn spawn(
        &self,
        contender: Contender,
        command: Command,
        kept: Kept,
    ) -> Result<Running, BenchError> {
        let mut process = Process::spawn(&self.reaper, contender.name(), command)?;
        let address = process.line("listening on http://", START_TIMEOUT).await?;
        let address = address.parse().doing("read a server's address")?;
        Ok(Running {
            contender,
            address,
            process,
            kept,
        })
    }

    /// Starts another process of the same build on the database of `first`, which keeps it.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn join(&self, first: &Running) -> Result<Running, BenchError> {
        let contender = first.contender;
        let command = self.command(contender, &first.kept)?;
        self.spawn(contender, command, Kept::Nothing).await
    }

    /// Returns the program of a build of Holdfast.
    ///
    /// # Errors
    /// [`BenchError`] if no other build was given.
    pub fn program(&self, contender: Contender) -> Result<&Path, BenchError> {
        let program = if contender == Contender::Against {
            self.against.as_deref()
        } else {
            Some(self.holdfast.as_path())
        };
        program
            .ok_or_else(|| BenchError::Unexpected("pass --against PATH for the other build".into()))
    }

    fn command(&self, contender: Contender, kept: &Kept) -> Result<Command, BenchError> {
        let store = kept.url();
        if contender.is_holdfast() {
            let program = self.program(contender)?;
            let data_dir = self.directory.join(contender.name());
            return Ok(holdfast::serve(program, store, &data_dir));
        }
        let mut command = Command::new(std::env::current_exe().doing("find this program")?);
        command
            .args(["serve-rival", contender.name(), "--store", store])
            .args(["--connections", &self.pool.to_string()]);
        Ok(command)
    }

    async fn start_redis(&self, durable: bool) -> Result<Redis, BenchError> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.join(format!("redis-{number}"));
        std::fs::create_dir_all(&directory).doing("make a directory for Redis")?;
        let socket = self.sockets.join(format!("redis-{number}"));
        let mut command = Command::new("redis-server");
        command
            .args(["--port", "0", "--daemonize", "no", "--save", ""])
            .args(["--appendonly", if durable { "yes" } else { "no" }])
            .args(["--appendfsync", "always"])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(&directory);
        let mut process = Process::spawn(&self.reaper, "redis-server", command)?;
        // Up to version 7.0 with a "* ", later without; both print this when they accept
        // connections.
        process
            .wait_for("eady to accept connections", STOPPING)
            .await?;
        Ok(Redis {
            url: format!("redis+unix://{}", socket.display()),
            process,
        })
    }

    /// Returns the CPU time so far of all processes that work for `running`.
    pub fn cpu(&self, running: &Running) -> Cpu {
        let server = procfs::cpu_of(running.process.pid());
        match &running.kept {
            Kept::Nothing => Cpu {
                server,
                ..Cpu::default()
            },
            Kept::Redis(redis) => Cpu {
                server,
                store: procfs::cpu_of(redis.process.pid()),
                ..Cpu::default()
            },
            Kept::Postgres(database) => {
                let postmaster = self.cluster.pid().unwrap_or_default();
                let postgres = procfs::postgres_cpu(postmaster, &database.name);
                Cpu {
                    server,
                    store: postgres.backends,
                    rest: postgres.rest,
                }
            }
        }
    }

    /// Stops `running` and drops its store.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn end(&self, running: Running) -> Result<(), BenchError> {
        match running.stop().await {
            Kept::Nothing => Ok(()),
            Kept::Postgres(database) => self.drop_database(database).await,
            Kept::Redis(redis) => {
                redis.process.stop(STOPPING).await;
                Ok(())
            }
        }
    }
}

/// Returns true if a `redis-server` is installed.
pub async fn has_redis() -> bool {
    let mut command = Command::new("redis-server");
    let version = command.arg("--version").output().await;
    version.is_ok_and(|output| output.status.success())
}

/// CPU time by process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    /// The contender's server.
    pub server: Duration,
    /// Its backends in Postgres, or its Redis.
    pub store: Duration,
    /// The rest of Postgres.
    pub rest: Duration,
}

/// Returns the directory of runs and results: `target/bench`.
pub fn results_directory() -> Result<PathBuf, BenchError> {
    let me = std::env::current_exe().doing("find this program")?;
    let target = me.parent().and_then(Path::parent);
    Ok(target.unwrap_or(Path::new(".")).join("bench"))
}
