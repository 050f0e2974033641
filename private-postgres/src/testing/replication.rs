//! A primary and its synchronous standby, for tests of what a failover leaves.
//!
//! Promise: both are real servers of their own, and nothing is left behind, as with the cluster of [`super`].
//! Limit: needs an installed PostgreSQL with `pg_basebackup`; the bundled one has none. `fsync` is off: servers crash in
//! these tests, the machine does not.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Executor};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{CONNECTIONS_PER_TEST, TestDatabase, options, spawn_sweeper, temporary_directory};
use crate::Installed;

const USER: &str = "holdfast";
const PORT: u16 = 5432;
/// How long a state is waited for. Generous: it is met only when something is broken.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a state that is waited for.
const GLANCE: Duration = Duration::from_millis(20);

/// Ends both servers when the test program has ended.
const SWEEP: &str = r#"
read -r never
for lock in "$1"/*/data/postmaster.pid; do [ -e "$lock" ] && kill -QUIT "$(head -n 1 "$lock")"; done
for lock in "$1"/*/data/postmaster.pid; do while [ -e "$lock" ]; do sleep 1; done; done
rm -rf "$1"
"#;

/// A primary whose every commit waits for its standby, and that standby. Dropped, both are ended.
#[derive(Debug)]
pub struct Pair {
    installed: Installed,
    primary: Server,
    standby: Server,
    _sweeper: Child,
}

#[derive(Debug)]
struct Server {
    home: PathBuf,
    /// What its commits wait for.
    standby_names: &'static str,
    process: Option<Child>,
}

impl Pair {
    /// Starts both, and returns once they replicate.
    ///
    /// # Panics
    /// When no installed PostgreSQL has the programs, or they fail: without one the test says nothing.
    pub async fn start() -> Self {
        let installed = Installed::with(&["postgres", "initdb", "pg_basebackup"])
            .expect("there is an account for PostgreSQL")
            .expect("an installed PostgreSQL with pg_basebackup (Debian: postgresql)");
        let directory = temporary_directory().expect("the temporary directory is writable");
        let sweeper = spawn_sweeper(SWEEP, &directory).expect("there is a shell");
        let server = |name: &str, standby_names| {
            let home = directory.join(name);
            installed.create_dir(&home).expect("it can be made");
            Server {
                home,
                standby_names,
                process: None,
            }
        };
        let mut pair = Self {
            primary: server("primary", "*"),
            standby: server("standby", ""),
            installed,
            _sweeper: sweeper,
        };
        let mut initdb = pair.installed.command("initdb", &pair.primary.home);
        initdb
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .args(["--username", USER, "--pgdata"])
            .arg(pair.primary.data());
        finish(initdb);
        pair.primary.launch(&pair.installed);
        pair.primary.until_ready().await;
        let source = format!(
            "host={} port={PORT} user={USER}",
            pair.primary.home.display()
        );
        let mut copy = pair.installed.command("pg_basebackup", &pair.standby.home);
        copy.args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf"])
            .args(["--dbname", &source, "--pgdata"])
            .arg(pair.standby.data());
        finish(copy);
        pair.start_standby().await;
        pair
    }

    /// Makes an empty database on both.
    ///
    /// # Panics
    /// When the servers do not answer.
    pub async fn fresh_database(&self) -> TestDatabase {
        let name = format!("holdfast_test_{}", Uuid::new_v4().simple());
        let mut operator = self.operator().await;
        let create = format!(r#"CREATE DATABASE "{name}""#);
        operator
            .execute(create.as_str())
            .await
            .expect("the primary lets us create a database");
        self.primary.database(&name)
    }

    /// A way into the primary that needs no other.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn operator(&self) -> PgConnection {
        let options = options(&self.primary.url("postgres"));
        options.connect().await.expect("the primary answers")
    }

    /// Ends the standby, at once.
    ///
    /// # Panics
    /// When it does not run.
    pub fn stop_standby(&mut self) {
        self.standby.end();
    }

    /// Starts the standby, and returns once commits wait for it.
    ///
    /// # Panics
    /// When the servers do not answer.
    pub async fn start_standby(&mut self) {
        self.standby.launch(&self.installed);
        let attached = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'";
        until_count(&mut self.operator().await, attached, |count| count > 0).await;
    }

    /// Waits until what is committed now can be read on the standby; until then it is only stored there.
    ///
    /// # Panics
    /// When the servers do not answer.
    pub async fn until_replayed(&self) {
        let position = "SELECT (pg_current_wal_lsn() - '0/0')::bigint";
        let wanted = count(&mut self.operator().await, position).await;
        let options = options(&self.standby.url("postgres"));
        let mut standby = options.connect().await.expect("the standby answers");
        let replayed = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint";
        until_count(&mut standby, replayed, |replayed| replayed >= wanted).await;
    }

    /// Restarts the primary as after a crash.
    ///
    /// # Panics
    /// When it does not come back.
    pub async fn restart_primary(&mut self) {
        self.primary.end();
        self.primary.launch(&self.installed);
        self.primary.until_ready().await;
    }

    /// Ends the primary, at once and for good. What is on its way to a standby that runs may get there or not.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_primary(&mut self) {
        self.primary.end();
    }

    /// Starts the standby if it does not run: it takes reads, and no writes.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn revive_standby(&mut self) {
        if self.standby.process.is_none() {
            self.standby.launch(&self.installed);
        }
        self.standby.until_ready().await;
    }

    /// Promotes the standby, which [`Pair::revive_standby`] has made sure of.
    ///
    /// # Panics
    /// When it cannot be promoted.
    pub async fn promote(&self) {
        let options = options(&self.standby.url("postgres"));
        let mut operator = options.connect().await.expect("the standby answers");
        let promoted: bool = sqlx::query_scalar("SELECT pg_promote(true, 60)")
            .fetch_one(&mut operator)
            .await
            .expect("it is a standby");
        assert!(promoted, "the standby is not promoted in time");
    }

    /// The same database on the standby.
    #[must_use]
    pub fn on_standby(&self, database: &TestDatabase) -> TestDatabase {
        let options: PgConnectOptions = options(&database.url);
        self.standby
            .database(options.get_database().unwrap_or_default())
    }
}

impl Server {
    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn url(&self, database: &str) -> String {
        // The temporary directory's path; a socket's needs no more care than that.
        let home = self.home.display();
        format!("postgres://{USER}@localhost:{PORT}/{database}?host={home}&sslmode=disable")
    }

    fn database(&self, name: &str) -> TestDatabase {
        let url = self.url(name);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_PER_TEST)
            .connect_lazy_with(options(&url));
        TestDatabase { url, pool }
    }

    fn launch(&mut self, installed: &Installed) {
        let setting = |name: &str, value: &str| format!("{name}={value}");
        let mut command = installed.command("postgres", &self.home);
        command.arg("-D").arg(self.data());
        for setting in [
            setting("listen_addresses", ""),
            setting("unix_socket_directories", &self.home.to_string_lossy()),
            setting("port", &PORT.to_string()),
            setting("max_connections", "60"),
            setting("fsync", "off"),
            setting("wal_keep_size", "256MB"),
            setting("wal_retrieve_retry_interval", "100ms"),
            setting("synchronous_standby_names", self.standby_names),
        ] {
            command.arg("-c").arg(setting);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("PostgreSQL can be started"));
    }

    async fn until_ready(&self) {
        let options = options(&self.url("postgres"));
        let ready = async {
            while options.connect().await.is_err() {
                sleep(GLANCE).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("PostgreSQL starts");
    }

    /// An immediate shutdown, which is how a server crashes without losing its shared memory to us.
    fn end(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let pid = i32::try_from(process.id()).expect("a process id is positive");
        kill(Pid::from_raw(pid), Signal::SIGQUIT).expect("it is our child");
        process.wait().expect("it is our child");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.end();
        }
    }
}

/// Counts on a server.
///
/// # Panics
/// When it does not answer.
pub async fn count(connection: &mut PgConnection, sql: &str) -> i64 {
    let counted = sqlx::query_scalar(sql).fetch_one(connection).await;
    counted.expect("the server answers")
}

/// Waits until a count on a server is as wanted.
///
/// # Panics
/// When it does not answer, or that never comes about.
pub async fn until_count(connection: &mut PgConnection, sql: &str, wanted: impl Fn(i64) -> bool) {
    let counted = async {
        while !wanted(count(connection, sql).await) {
            sleep(GLANCE).await;
        }
    };
    let came_about = timeout(PATIENCE, counted).await;
    assert!(came_about.is_ok(), "never as wanted: {sql}");
}

/// How many commits of `database` wait for a standby, on its primary.
#[must_use]
pub fn waiting_for_standby(database: &TestDatabase) -> String {
    let options: PgConnectOptions = options(&database.url);
    let name = options.get_database().unwrap_or_default().to_owned();
    format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND wait_event = 'SyncRep'"
    )
}

fn finish(mut command: Command) {
    let output = command.output().expect("the program can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
