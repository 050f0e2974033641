//! Clusters in directories of their own, their processes, and reads of both.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_postgres::{ClusterConfig, ClusterError, PostgresCluster};
use sqlx::{ConnectOptions, PgConnection};
use tempfile::TempDir;

use super::OWNER;

/// A directory for one test. As root, the account that runs PostgreSQL must be able to enter it.
pub(crate) struct TestDir(TempDir);

impl TestDir {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir()
            .unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path().join("shop")
    }

    pub(crate) fn config(&self) -> ClusterConfig {
        config_in(self.path())
    }

    pub(crate) async fn start(&self) -> PostgresCluster {
        started(self.config()).await
    }

    pub(crate) async fn refusal(&self) -> ClusterError {
        refusal(self.config()).await
    }
}

pub(crate) fn config_in(dir: &Path) -> ClusterConfig {
    ClusterConfig {
        fallback_dir: dir.join("fallback"),
        ..ClusterConfig::new(dir.join("shop"))
    }
}

pub(crate) async fn started(config: ClusterConfig) -> PostgresCluster {
    PostgresCluster::start(config)
        .await
        .unwrap_or_else(|e| panic!("{e}: {:?}", std::error::Error::source(&e)))
}

pub(crate) async fn refusal(config: ClusterConfig) -> ClusterError {
    PostgresCluster::start(config).await.unwrap_err()
}

/// Kills the server, and waits until another one runs in its stead and accepts connections.
pub(crate) async fn kill_and_reconnect(cluster: &PostgresCluster) {
    let killed = cluster.pid().unwrap();
    kill_hard(killed);
    eventually("a new server", || {
        cluster.pid().is_some_and(|pid| pid != killed)
    });
    eventually_connects(cluster).await;
}

/// Another process that owns a cluster and can be killed.
pub(crate) struct Owner {
    pub(crate) process: Child,
    pub(crate) server: u32,
}

impl Owner {
    pub(crate) fn start(dir: &TestDir) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "as_an_owner", "--nocapture"])
            .env(OWNER, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let server = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("server ")?.parse().ok());
        Self {
            process,
            server: server.expect("the owner prints its server's id"),
        }
    }

    pub(crate) fn watcher(&self) -> u32 {
        let owner = self.process.id().to_string();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut pids =
            processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.find(|pid| {
            command_line(*pid).contains("holdfast-lifeline") && stat_field(*pid, 4) == owner
        })
        .unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

pub(crate) fn command_line(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())
        .into_owned()
}

/// A field of `/proc/<pid>/stat`, counted from 1 as in proc(5); valid only for those after the name
/// (2).
pub(crate) fn stat_field(pid: u32, number: usize) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default().to_owned();
    after_name
        .split(' ')
        .nth(number - 3)
        .unwrap_or_default()
        .to_owned()
}

/// A zombie counts as dead: its new parent reaps an orphan at some later time.
pub(crate) fn is_alive(pid: u32) -> bool {
    !["", "Z", "X"].contains(&stat_field(pid, 3).as_str())
}

pub(crate) fn kill_hard(pid: u32) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
}

pub(crate) async fn show(cluster: &PostgresCluster, setting: &str) -> String {
    let mut connection = connected(cluster).await;
    sqlx::query_scalar(&format!("SHOW {setting}"))
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

/// The setting is a list of one, quoted.
pub(crate) async fn socket_dir_of(cluster: &PostgresCluster) -> PathBuf {
    let setting = show(cluster, "unix_socket_directories").await;
    PathBuf::from(setting.trim_matches('"').replace("\"\"", "\""))
}

/// Read by a child of the server: `/proc` shows nothing, because PostgreSQL overwrites it with its
/// process title.
pub(crate) async fn environment_of(cluster: &PostgresCluster) -> String {
    let mut connection = connected(cluster).await;
    sqlx::query("CREATE TEMP TABLE environment (line text)")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("COPY environment FROM PROGRAM 'env'")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query_scalar("SELECT string_agg(line, E'\\n') FROM environment")
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

pub(crate) async fn write_sale(cluster: &PostgresCluster, id: i32) {
    let mut connection = connected(cluster).await;
    sqlx::query("CREATE TABLE IF NOT EXISTS sales (id int)")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("INSERT INTO sales VALUES ($1)")
        .bind(id)
        .execute(&mut connection)
        .await
        .unwrap();
}

pub(crate) async fn sales(cluster: &PostgresCluster) -> Vec<i32> {
    let mut connection = connected(cluster).await;
    sqlx::query_scalar("SELECT id FROM sales ORDER BY id")
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

pub(crate) async fn connected(cluster: &PostgresCluster) -> PgConnection {
    cluster.connect_options().connect().await.unwrap()
}

pub(crate) async fn eventually_connects(cluster: &PostgresCluster) {
    let deadline = Instant::now() + TIMEOUT;
    while let Err(error) = cluster.connect_options().connect().await {
        assert!(Instant::now() < deadline, "no connection: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Not a performance limit: beyond this, something is stuck.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

#[track_caller]
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
