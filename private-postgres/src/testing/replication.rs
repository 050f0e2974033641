//! A primary and its synchronous standby, for tests of failovers.
//!
//! Promise: both are real, separate servers, and nothing is left behind, as with the cluster of
//! [`super`].
//! Limit: needs an installed PostgreSQL with `pg_basebackup`, which the bundled one lacks. `fsync`
//! is off: servers crash in these tests, the machine does not.

use std::fs;
use std::io::Write;
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
/// Timeout for a state of the servers. Generous: it is reached only when something is broken.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Between two checks of an awaited state.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// It waits for no standby once it is promoted, and reports only records that it stores.
const STANDBY_SETTINGS: [&str; 2] = [
    "synchronous_standby_names=",
    "wal_receiver_status_interval=600s",
];

/// Ends both servers when the test program has ended.
const SWEEP: &str = r#"
read -r never
for lock in "$1"/*/data/postmaster.pid; do [ -e "$lock" ] && kill -QUIT "$(head -n 1 "$lock")"; done
for lock in "$1"/*/data/postmaster.pid; do while [ -e "$lock" ]; do sleep 1; done; done
rm -rf "$1"
"#;

/// A primary whose every commit waits for its standby, and that standby. Dropping it ends both.
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
    own_settings: &'static [&'static str],
    process: Option<Child>,
}

impl Pair {
    /// Starts both, and returns once they replicate.
    ///
    /// # Panics
    /// When no installed PostgreSQL has the programs, or they fail: the test proves nothing without
    /// them.
    pub async fn start() -> Self {
        let installed = Installed::with(&["postgres", "initdb", "pg_basebackup"])
            .expect("an account for PostgreSQL exists")
            .expect("an installed PostgreSQL with pg_basebackup (Debian: postgresql)");
        let directory = temporary_directory().expect("the temporary directory is writable");
        let sweeper = spawn_sweeper(SWEEP, &directory).expect("a shell is available");
        let server = |name: &str, own_settings| {
            let home = directory.join(name);
            installed.create_dir(&home).expect("it can be created");
            Server {
                home,
                own_settings,
                process: None,
            }
        };
        let mut pair = Self {
            primary: server("primary", &[]),
            standby: server("standby", &STANDBY_SETTINGS),
            installed,
            _sweeper: sweeper,
        };
        let mut initdb = pair.installed.command("initdb", &pair.primary.home);
        initdb
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .args(["--username", USER, "--pgdata"])
            .arg(pair.primary.data());
        finish(initdb);
        // In the file, so that it can be changed later.
        let file = pair.primary.data().join("postgresql.conf");
        let file = fs::OpenOptions::new().append(true).open(file);
        let mut file = file.expect("initdb has written it");
        writeln!(file, "synchronous_standby_names = '*'").expect("it can be written");
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

    /// Creates an empty database on both.
    ///
    /// # Panics
    /// When the servers do not respond.
    pub async fn fresh_database(&self) -> TestDatabase {
        let name = format!("holdfast_test_{}", Uuid::new_v4().simple());
        let mut operator = self.operator().await;
        let create = format!(r#"CREATE DATABASE "{name}""#);
        operator
            .execute(create.as_str())
            .await
            .expect("the primary allows us to create a database");
        self.primary.database(&name)
    }

    /// A connection to the primary that needs no setup.
    ///
    /// # Panics
    /// When it does not respond.
    pub async fn operator(&self) -> PgConnection {
        let options = options(&self.primary.url("postgres"));
        options.connect().await.expect("the primary responds")
    }

    /// Sets `synchronous_standby_names` of the primary, and returns once it is in force.
    ///
    /// # Panics
    /// When the primary does not respond.
    pub async fn set_standby_names(&self, names: &str) {
        let mut operator = self.operator().await;
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
        for statement in [set.as_str(), "SELECT pg_reload_conf()"] {
            let done = operator.execute(statement).await;
            done.expect("the primary changes a setting");
        }
        let in_force = format!(
            "SELECT count(*) FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting = '{names}'"
        );
        until_count(&mut operator, &in_force, |count| count == 1).await;
    }

    /// Ends the standby immediately.
    ///
    /// # Panics
    /// When it is not running.
    pub fn stop_standby(&mut self) {
        self.standby.end();
    }

    /// Starts the standby, and returns once commits wait for it.
    ///
    /// # Panics
    /// When the servers do not respond.
    pub async fn start_standby(&mut self) {
        self.standby.launch(&self.installed);
        let attached = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'";
        until_count(&mut self.operator().await, attached, |count| count > 0).await;
    }

    /// Waits until everything committed so far can be read on the standby; until then it is only
    /// stored there.
    ///
    /// # Panics
    /// When the servers do not respond.
    pub async fn until_replayed(&self) {
        let position = "SELECT (pg_current_wal_lsn() - '0/0')::bigint";
        let committed = count(&mut self.operator().await, position).await;
        let options = options(&self.standby.url("postgres"));
        let mut standby = options.connect().await.expect("the standby responds");
        let replayed = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint";
        until_count(&mut standby, replayed, |replayed| replayed >= committed).await;
    }

    /// Restarts the primary as after a crash.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn restart_primary(&mut self) {
        self.primary.end();
        self.primary.launch(&self.installed);
        self.primary.until_ready().await;
    }

    /// Ends the primary immediately and for good. Data in transit to a running standby may or may
    /// not arrive.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill_primary(&mut self) {
        self.primary.end();
    }

    /// Starts the primary again after [`Pair::kill_primary`], as its operator may after the standby
    /// was promoted: it accepts writes, and knows nothing of the other one.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn revive_primary(&mut self) {
        self.primary.launch(&self.installed);
        self.primary.until_ready().await;
    }

    /// Starts the standby unless it is running: it accepts reads, but not writes.
    ///
    /// # Panics
    /// When it does not respond.
    pub async fn revive_standby(&mut self) {
        if self.standby.process.is_none() {
            self.standby.launch(&self.installed);
        }
        self.standby.until_ready().await;
    }

    /// Promotes the standby, which must be running ([`Pair::revive_standby`]).
    ///
    /// # Panics
    /// When it cannot be promoted.
    pub async fn promote(&self) {
        let options = options(&self.standby.url("postgres"));
        let mut operator = options.connect().await.expect("the standby responds");
        let promoted: bool = sqlx::query_scalar("SELECT pg_promote(true, 60)")
            .fetch_one(&mut operator)
            .await
            .expect("it is a standby");
        assert!(promoted, "the standby was not promoted in time");
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
        // A path below the temporary directory, which needs no escaping.
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
            setting("wal_level", "logical"),
            setting("wal_keep_size", "256MB"),
            setting("wal_retrieve_retry_interval", "100ms"),
        ]
        .iter()
        .map(String::as_str)
        .chain(self.own_settings.iter().copied())
        {
            command.arg("-c").arg(setting);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("PostgreSQL starts"));
    }

    async fn until_ready(&self) {
        let options = options(&self.url("postgres"));
        let ready = async {
            while options.connect().await.is_err() {
                sleep(CHECK_EVERY).await;
            }
        };
        timeout(TIMEOUT, ready).await.expect("PostgreSQL starts");
    }

    /// An immediate shutdown: a crash without leaked shared memory.
    fn end(&mut self) {
        let mut process = self.process.take().expect("it is running");
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

/// Runs a count query.
///
/// # Panics
/// When the server does not respond.
pub async fn count(connection: &mut PgConnection, sql: &str) -> i64 {
    let counted = sqlx::query_scalar(sql).fetch_one(connection).await;
    counted.expect("the server responds")
}

/// Waits until a count query meets a condition.
///
/// # Panics
/// When the server does not respond, or the condition is never met.
pub async fn until_count(
    connection: &mut PgConnection,
    sql: &str,
    condition: impl Fn(i64) -> bool,
) {
    let counted = async {
        while !condition(count(connection, sql).await) {
            sleep(CHECK_EVERY).await;
        }
    };
    let came_about = timeout(TIMEOUT, counted).await;
    assert!(came_about.is_ok(), "the condition was never met: {sql}");
}

/// A query for the number of commits of `database` that wait for a standby, to be run on its
/// primary.
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
