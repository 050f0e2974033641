//! A real PostgreSQL for plain `cargo test`: one private cluster per test program, a new database
//! per test.
//!
//! Promise: nothing needs to be installed or configured, and nothing is left behind: when the test
//! program ends in any way, its cluster stops and its directory is removed.
//! Limit: with `HOLDFAST_TEST_DATABASE_URL` set, that server is used instead, and the databases
//! created there remain.

pub mod replication;
pub mod single;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use nix::sys::statvfs::statvfs;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::error::with_cause;
use crate::{ClusterConfig, PostgresCluster};

/// Names a server to use instead of a private one. Its user must be allowed to create databases.
pub const SERVER_VARIABLE: &str = "HOLDFAST_TEST_DATABASE_URL";

/// Tests run in parallel, each with a pool.
const CONNECTIONS_PER_TEST: u32 = 10;
const CONNECTIONS: u16 = 300;

/// An empty database for one test.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    /// Its address, for a program that is started on it.
    pub url: String,
    /// Connections to it; they belong to the runtime of the test that created it.
    pub pool: PgPool,
}

/// Creates an empty database.
///
/// # Panics
/// If no PostgreSQL is available: the test proves nothing without one.
pub async fn fresh_database() -> TestDatabase {
    fresh_database_from("template1").await
}

/// Creates a copy of the database `template`, after ending all connections to it.
///
/// # Panics
/// As [`fresh_database`].
pub async fn fresh_database_from(template: &str) -> TestDatabase {
    let name = format!("holdfast_test_{}", Uuid::new_v4().simple());
    let server = server().await;
    let mut connection = options(&server.url_for("postgres"))
        .connect()
        .await
        .expect("the test server responds");
    // The last connection of a closed pool may outlive it by seconds, and a template must not be in
    // use.
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
        .bind(template)
        .execute(&mut connection)
        .await
        .expect("the test server lets us end connections");
    let create = format!(r#"CREATE DATABASE "{name}" TEMPLATE "{template}""#);
    sqlx::query(&create)
        .execute(&mut connection)
        .await
        .expect("the test server lets us create a database");
    connection
        .close()
        .await
        .expect("the test server closes the connection");
    let url = server.url_for(&name);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_PER_TEST)
        .connect_lazy_with(options(&url));
    TestDatabase { url, pool }
}

/// The address of another database on the server of this test program, for example of a template.
///
/// # Panics
/// As [`fresh_database`].
pub async fn url_for(database: &str) -> String {
    server().await.url_for(database)
}

fn options(url: &str) -> PgConnectOptions {
    url.parse()
        .unwrap_or_else(|e| panic!("{url} is not a PostgreSQL URL: {e}"))
}

enum Server {
    Given(String),
    Private(Box<Private>),
}

/// A static is never dropped. When the program ends, the kernel closes its pipes: the cluster's own
/// lifeline stops the server, and then the sweeper removes the directory.
struct Private {
    cluster: PostgresCluster,
    _sweeper: Child,
}

static SERVER: OnceCell<Server> = OnceCell::const_new();

async fn server() -> &'static Server {
    SERVER
        .get_or_init(|| async {
            match env::var(SERVER_VARIABLE) {
                Ok(url) => Server::Given(url),
                Err(_) => Server::Private(Box::new(start_private().await)),
            }
        })
        .await
}

impl Server {
    fn url_for(&self, database: &str) -> String {
        match self {
            Self::Given(url) => with_database(url, database),
            Self::Private(private) => private.cluster.url_for(database),
        }
    }
}

async fn start_private() -> Private {
    let directory = temporary_directory().expect("the temporary directory is writable");
    let sweeper = spawn_sweeper(SWEEP, &directory).expect("a shell is available");
    let mut config = ClusterConfig::new(&directory);
    config.max_connections = CONNECTIONS;
    let cluster = PostgresCluster::start(config).await.unwrap_or_else(|e| {
        let error = with_cause(&e);
        panic!("cannot start a PostgreSQL for the tests: {error}")
    });
    Private {
        cluster,
        _sweeper: sweeper,
    }
}

/// Creates a directory for servers. As root, the account that runs PostgreSQL must be able to enter
/// it.
///
/// # Errors
/// [`io::Error`] if it cannot be created.
pub fn temporary_directory() -> io::Result<PathBuf> {
    let name = format!("holdfast-test-{}", Uuid::new_v4().simple());
    let directory = in_memory().unwrap_or_else(env::temp_dir).join(name);
    fs::create_dir(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o711))?;
    Ok(directory)
}

/// Memory that a test program may need for its cluster: some 500 databases of 8 MB each, and a
/// write-ahead log.
const MEMORY: u64 = 8 << 30;

/// Returns a file system in memory that is large enough, unless `TMPDIR` names a directory. Each
/// test creates a database, which is 300 files: on ext4 with its recently deleted inodes that took
/// more than half of the processor time of a test.
fn in_memory() -> Option<PathBuf> {
    let directory = PathBuf::from("/dev/shm");
    let is_chosen = env::var_os("TMPDIR").is_some();
    (!is_chosen && free_memory()? >= MEMORY && free_space(&directory)? >= MEMORY)
        .then_some(directory)
}

fn free_space(directory: &Path) -> Option<u64> {
    let found = statvfs(directory).ok()?;
    found.blocks_available().checked_mul(found.fragment_size())
}

/// In bytes, from Linux's `MemAvailable`.
fn free_memory() -> Option<u64> {
    let found = fs::read_to_string("/proc/meminfo").ok()?;
    let (_, rest) = found.split_once("MemAvailable:")?;
    let kibibytes: u64 = rest.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Waits for the end of the pipe, ends the server without the last checkpoint, which would write
/// hundreds of databases that are about to be removed, waits for its end (at most half a minute),
/// then removes the directory. A server's working directory is its cluster: another process with
/// the same id is not ended.
const SWEEP: &str = r#"
read -r never
read -r server 2>/dev/null <"$1/postgres/postmaster.pid"
[ "$(readlink "/proc/$server/cwd")" = "$1/postgres" ] && kill -QUIT "$server"
seconds=0
while [ -e "$1/postgres/postmaster.pid" ] && [ "$seconds" -lt 30 ]; do sleep 1; seconds=$((seconds + 1)); done
rm -rf "$1"
"#;

/// Starts a shell that outlives the test program and runs `script` with `directory` as `$1`. Its
/// standard input ends with the program, or with the returned child.
///
/// # Errors
/// [`io::Error`] if there is no shell.
pub fn spawn_sweeper(script: &str, directory: &Path) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script, "holdfast-sweeper"])
        .arg(directory)
        .current_dir("/")
        .process_group(0);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Replaces the database in `postgres://user@host/one?x=y`: `postgres://user@host/other?x=y`.
fn with_database(url: &str, database: &str) -> String {
    let (address, query) = url
        .split_once('?')
        .map_or((url, None), |(address, query)| (address, Some(query)));
    let authority_at = address.find("://").map_or(0, |at| at + 3);
    let path_at = address[authority_at..]
        .find('/')
        .map_or(address.len(), |at| authority_at + at);
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    format!("{}/{database}{query}", &address[..path_at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_in_a_url_is_replaced() {
        for (url, expected) in [
            (
                "postgres://me:pw@host:5433/one?sslmode=disable",
                "postgres://me:pw@host:5433/two?sslmode=disable",
            ),
            ("postgres://host", "postgres://host/two"),
            (
                "postgres:///one?host=/run/pg",
                "postgres:///two?host=/run/pg",
            ),
        ] {
            assert_eq!(with_database(url, "two"), expected);
        }
    }
}
