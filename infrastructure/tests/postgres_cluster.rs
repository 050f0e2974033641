//! A private PostgreSQL, tried for real: every test starts one in a directory of its own.
//!
//! They pass as root and as an ordinary user. What only root can do has its counterpart for everybody else in the same test.

#![expect(
    clippy::unwrap_used,
    reason = "tests may; clippy.toml does not reach the helpers of an integration test"
)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use infrastructure::postgres_cluster::{
    ClusterConfig, ClusterError, FoundBy, PostgresCluster, Source,
};
use infrastructure::testing::{fresh_database, fresh_database_from, url_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tempfile::TempDir;

#[tokio::test]
async fn an_empty_directory_becomes_a_durable_database_that_nobody_else_can_reach() {
    let room = Room::new();
    let cluster = room.start().await;
    for (setting, expected) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("shared_buffers", "256MB"),
        ("max_connections", "50"),
    ] {
        assert_eq!(show(&cluster, setting).await, expected, "{setting}");
    }
    let socket_dir = fs::metadata(socket_dir_of(&cluster).await).unwrap();
    assert_eq!(socket_dir.mode() & 0o777, 0o700);
    assert_eq!(
        fs::metadata(cluster.home().join("postgres"))
            .unwrap()
            .mode()
            & 0o777,
        0o700
    );
}

#[tokio::test]
async fn durability_is_not_for_sale() {
    let room = Room::new();
    let mut config = room.config();
    config.settings = vec![
        ("fsync".to_owned(), "off".to_owned()),
        ("work_mem".to_owned(), "5MB".to_owned()),
    ];
    let cluster = started(config).await;
    assert_eq!(show(&cluster, "fsync").await, "on");
    assert_eq!(show(&cluster, "work_mem").await, "5MB");
}

#[tokio::test]
async fn the_server_is_nobody_important_and_knows_no_secrets() {
    let room = Room::new();
    let cluster = room.start().await;
    let pid = cluster.pid().unwrap();
    let uid = fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    assert_ne!(uid, 0);
    assert!(Uid::effective().is_root() || uid == Uid::effective().as_raw());
    // Its own process group: Ctrl-C in our terminal is not for it.
    assert_eq!(stat_field(pid, 5), pid.to_string());
    let environment = environment_of(&cluster).await;
    assert!(
        environment.contains("PATH="),
        "inherited nothing at all: {environment}"
    );
    assert!(!environment.contains("CARGO"), "inherited: {environment}");
}

#[tokio::test]
async fn a_restart_keeps_the_data() {
    let room = Room::new();
    let cluster = room.start().await;
    write_sale(&cluster, 1).await;
    let first = cluster.pid().unwrap();
    cluster.stop().await.unwrap();
    assert!(!is_alive(first));

    let cluster = room.start().await;
    assert_eq!(sales(&cluster).await, [1]);
}

#[tokio::test]
async fn a_dropped_cluster_leaves_no_server_behind() {
    let room = Room::new();
    let cluster = room.start().await;
    let pid = cluster.pid().unwrap();
    drop(cluster);
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_data_at_the_same_address() {
    let room = Room::new();
    let cluster = room.start().await;
    let url = cluster.database_url();
    for round in 1..=3 {
        write_sale(&cluster, round).await;
        let killed = cluster.pid().unwrap();
        kill_hard(killed);
        eventually("a new server", || {
            cluster.pid().is_some_and(|pid| pid != killed)
        });
        eventually_connects(&cluster).await;
    }
    assert_eq!(cluster.database_url(), url);
    assert_eq!(sales(&cluster).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_second_owner_is_refused_in_one_line_that_names_the_first() {
    let room = Room::new();
    let _cluster = room.start().await;
    let message = room.refusal().await.to_string();
    assert!(
        message.contains(&format!("is in use by process {}", process::id())),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[tokio::test]
async fn a_killed_owner_takes_its_server_with_it() {
    let room = Room::new();
    let mut owner = Owner::start(&room);
    owner.kill();
    eventually("the end of the server", || !is_alive(owner.server));
    // Not killed but asked: the server had the time to say good-bye properly.
    assert!(
        fs::read_to_string(room.data_dir().join("postgres.log"))
            .unwrap()
            .contains("database system is shut down")
    );
    let cluster = room.start().await;
    assert_eq!(sales(&cluster).await, [7]);
}

#[tokio::test]
async fn an_owner_killed_with_its_watcher_leaves_an_orphan_that_the_next_start_replaces() {
    let room = Room::new();
    let mut owner = Owner::start(&room);
    kill_hard(owner.watcher());
    owner.kill();
    assert!(is_alive(owner.server), "nobody is left to stop it");

    let cluster = room.start().await;
    assert!(!is_alive(owner.server));
    assert_eq!(sales(&cluster).await, [7]);
}

#[tokio::test]
async fn everything_killed_at_once_is_no_loss() {
    let room = Room::new();
    let mut owner = Owner::start(&room);
    kill_hard(owner.watcher());
    owner.kill();
    kill_hard(owner.server);
    let cluster = room.start().await;
    assert_eq!(sales(&cluster).await, [7]);
}

#[tokio::test]
async fn a_stale_pid_file_that_names_somebody_alive_does_not_stop_the_start() {
    let room = Room::new();
    room.start().await.stop().await.unwrap();
    // PostgreSQL itself sees through its own parents' numbers, so it has to be somebody else, of the same user.
    let mut somebody = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let cluster_dir = room.data_dir().join("postgres");
    let stale = format!("{}\n{}\n", somebody.id(), cluster_dir.display());
    fs::write(cluster_dir.join("postmaster.pid"), stale).unwrap();
    let cluster = room.start().await;
    assert_eq!(show(&cluster, "fsync").await, "on");
    assert!(
        somebody.try_wait().unwrap().is_none(),
        "it must not be harmed"
    );
    // It ends with its standard input, also if an assertion failed before.
    drop(somebody.stdin.take());
    somebody.wait().unwrap();
}

/// Root's own home is such a place. An ordinary user runs PostgreSQL itself and needs no refuge.
#[tokio::test]
async fn where_the_account_cannot_go_the_data_is_kept_in_the_refuge_for_good() {
    let room = Room::new();
    let closed = room.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let mut config = room.config();
    config.data_dir = closed.join("shop");

    let cluster = started(config.clone()).await;
    write_sale(&cluster, 1).await;
    let home = cluster.home().to_owned();
    cluster.stop().await.unwrap();
    if Uid::effective().is_root() {
        assert!(
            home.starts_with(fs::canonicalize(&config.refuge).unwrap()),
            "{}",
            home.display()
        );
        assert_eq!(
            fs::read_to_string(config.data_dir.join("postgres-is-at"))
                .unwrap()
                .trim(),
            home.to_str().unwrap()
        );
    } else {
        assert_eq!(home, fs::canonicalize(&config.data_dir).unwrap());
    }

    // Opened up later, the directory still leads to the same data.
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    let cluster = started(config).await;
    assert_eq!(cluster.home(), home);
    assert_eq!(sales(&cluster).await, [1]);
}

/// The other way round: a cluster that was reachable once must not be replaced by an empty one elsewhere.
#[tokio::test]
async fn a_cluster_that_became_unreachable_is_an_error_and_not_an_empty_shop() {
    let room = Room::new();
    room.start().await.stop().await.unwrap();
    fs::set_permissions(room.path(), fs::Permissions::from_mode(0o700)).unwrap();
    if Uid::effective().is_root() {
        let error = room.refusal().await;
        assert!(matches!(error, ClusterError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("chmod o+x"), "{error}");
    } else {
        room.start().await;
    }
}

#[tokio::test]
async fn a_long_or_awkward_path_is_no_hindrance() {
    for name in ["long".repeat(50), "a b, 'c' %d é".to_owned()] {
        let room = Room::new();
        let mut config = room.config();
        config.data_dir = room.path().join(name).join("shop");
        let cluster = started(config).await;
        let mut by_url = PgConnection::connect(&cluster.database_url())
            .await
            .unwrap();
        let database: String = sqlx::query_scalar("SELECT current_database()")
            .fetch_one(&mut by_url)
            .await
            .unwrap();
        assert_eq!(database, "holdfast");
        let socket_dir = socket_dir_of(&cluster).await;
        assert!(socket_dir.exists());
        assert!(
            socket_dir.as_os_str().len() < 104,
            "{}",
            socket_dir.display()
        );
        cluster.stop().await.unwrap();
        assert!(
            !socket_dir.exists(),
            "nothing of ours stays in the temporary directory"
        );
    }
}

#[cfg(all(
    feature = "bundled-postgres",
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu"
))]
#[tokio::test]
async fn the_bundled_programs_serve_where_none_are_installed() {
    let room = Room::new();
    let mut config = room.config();
    config.source = Source::Bundled;
    let cluster = started(config.clone()).await;
    assert_eq!(
        (cluster.origin().found_by, cluster.origin().major),
        (FoundBy::Bundled, 17)
    );
    assert!(
        cluster.origin().to_string().contains("a patched build"),
        "{}",
        cluster.origin()
    );
    assert!(cluster.origin().bin_dir.starts_with(cluster.home()));
    assert_eq!(show(&cluster, "fsync").await, "on");
    assert_eq!(show(&cluster, "max_connections").await, "50");
    write_sale(&cluster, 1).await;
    let killed = cluster.pid().unwrap();
    kill_hard(killed);
    eventually("a new server", || {
        cluster.pid().is_some_and(|pid| pid != killed)
    });
    eventually_connects(&cluster).await;
    cluster.stop().await.unwrap();

    // Its cluster stays with it, also when the choice is free again.
    config.source = Source::Auto;
    let cluster = started(config.clone()).await;
    assert_eq!(cluster.origin().found_by, FoundBy::Bundled);
    assert_eq!(sales(&cluster).await, [1]);
    cluster.stop().await.unwrap();

    config.source = Source::Installed;
    let error = PostgresCluster::start(config).await.unwrap_err();
    assert!(
        matches!(error, ClusterError::OtherVersion { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("bundled PostgreSQL 17"),
        "{error}"
    );
}

#[cfg(not(all(
    feature = "bundled-postgres",
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu"
)))]
#[tokio::test]
async fn a_build_without_bundled_programs_says_so() {
    let room = Room::new();
    let mut config = room.config();
    config.source = Source::Bundled;
    let message = PostgresCluster::start(config)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("bundled: this build does not include it"),
        "{message}"
    );
}

/// An initdb that lies below such a path cannot be run; one that is installed elsewhere can work on it.
#[cfg(all(
    feature = "bundled-postgres",
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu"
))]
#[tokio::test]
async fn a_path_that_a_shell_would_read_differently_is_refused_to_the_bundled_programs() {
    for name in ["a\"b", "a$b", "a`b", "a\\b"] {
        let room = Room::new();
        let mut config = room.config();
        config.data_dir = room.path().join(name);
        config.source = Source::Bundled;
        let message = PostgresCluster::start(config)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("its programs cannot run below a path"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_wrong_pg_bin_dir_is_refused_and_not_passed_over() {
    let room = Room::new();
    let empty = room.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let broken = room.path().join("broken");
    fs::create_dir(&broken).unwrap();
    for program in ["postgres", "initdb"] {
        fs::write(broken.join(program), "#!/bin/sh\necho not really\n").unwrap();
        fs::set_permissions(broken.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (directory, reason) in [
        (empty, "it has no 'postgres'"),
        (broken, "printed 'not really'"),
    ] {
        let mut config = room.config();
        config.pg_bin_dir = Some(directory.clone());
        let message = PostgresCluster::start(config)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with(&format!("PG_BIN_DIR={}", directory.display())),
            "{message}"
        );
        assert!(message.contains(reason), "{message}");
    }
    assert!(
        !room.data_dir().join("postgres").exists(),
        "nothing was made"
    );
}

#[tokio::test]
async fn a_named_pg_bin_dir_is_what_runs() {
    let room = Room::new();
    let any = room.start().await;
    let bin_dir = any.origin().bin_dir.clone();
    let bundled = any.origin().found_by == FoundBy::Bundled;
    any.stop().await.unwrap();
    // What the bundled build made, a named one does not open; so that case takes a fresh directory.
    let other = Room::new();
    let mut config = if bundled {
        other.config()
    } else {
        room.config()
    };
    config.pg_bin_dir = Some(bin_dir.clone());
    let cluster = started(config).await;
    assert_eq!(cluster.origin().found_by, FoundBy::Configured);
    assert_eq!(cluster.origin().bin_dir, bin_dir);
}

#[tokio::test]
async fn a_cluster_of_another_version_is_named_and_left_alone() {
    let room = Room::new();
    room.start().await.stop().await.unwrap();
    let version = room.data_dir().join("postgres/PG_VERSION");
    fs::write(&version, "99\n").unwrap();
    let error = room.refusal().await;
    assert!(
        matches!(error, ClusterError::OtherVersion { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("PostgreSQL 99"), "{error}");
    assert_eq!(fs::read_to_string(version).unwrap(), "99\n");
}

#[tokio::test]
async fn what_is_no_cluster_is_not_overwritten() {
    let room = Room::new();
    let precious = room.data_dir().join("postgres/precious");
    fs::create_dir_all(precious.parent().unwrap()).unwrap();
    fs::write(&precious, "mine").unwrap();
    let error = room.refusal().await;
    assert!(matches!(error, ClusterError::NotACluster { .. }), "{error}");
    assert_eq!(fs::read_to_string(precious).unwrap(), "mine");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_one_is_named() {
    let room = Room::new();
    let file = room.path().join("file");
    fs::write(&file, "").unwrap();
    let mut config = room.config();
    config.data_dir = file.clone();
    let message = PostgresCluster::start(config.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(message.contains(file.to_str().unwrap()), "{message}");

    let foreign = room.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("PG_VERSION"), "15\n").unwrap();
    config.data_dir = foreign;
    let error = PostgresCluster::start(config).await.unwrap_err();
    assert!(
        matches!(error, ClusterError::ForeignCluster { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why_in_its_own_words() {
    let room = Room::new();
    let mut config = room.config();
    config.settings = vec![("work_mem".to_owned(), "lots".to_owned())];
    let message = PostgresCluster::start(config)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("invalid value for parameter \"work_mem\""),
        "{message}"
    );
    // And it gave everything up again.
    room.start().await;
}

#[tokio::test]
async fn an_interrupted_initdb_is_done_again() {
    let room = Room::new();
    let half = room.data_dir().join("postgres.initdb/base");
    fs::create_dir_all(&half).unwrap();
    fs::set_permissions(room.data_dir(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(half.join("half"), "").unwrap();
    let cluster = room.start().await;
    assert_eq!(show(&cluster, "fsync").await, "on");
    assert!(!room.data_dir().join("postgres.initdb").exists());
}

#[tokio::test]
async fn every_test_gets_a_database_of_its_own() {
    let (one, two) = (fresh_database().await, fresh_database().await);
    sqlx::query("CREATE TABLE only_here (id int)")
        .execute(&one.pool)
        .await
        .unwrap();
    let elsewhere: Option<String> = sqlx::query_scalar("SELECT to_regclass('only_here')::text")
        .fetch_one(&two.pool)
        .await
        .unwrap();
    assert_eq!(elsewhere, None);
}

#[tokio::test]
async fn a_database_can_be_a_copy_of_another() {
    let template = fresh_database().await;
    sqlx::query("CREATE TABLE migrated (id int)")
        .execute(&template.pool)
        .await
        .unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(&template.pool)
        .await
        .unwrap();
    assert_eq!(url_for(&name).await, template.url);
    template.pool.close().await;
    let copy = fresh_database_from(&name).await;
    sqlx::query("INSERT INTO migrated VALUES (1)")
        .execute(&copy.pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_test_program_that_ends_leaves_neither_server_nor_directory() {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "as_a_test_program", "--nocapture"])
        .env(TEST_PROGRAM, "1")
        .env_remove(infrastructure::testing::SERVER_VARIABLE)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let data = PathBuf::from(
        said.lines()
            .find_map(|line| line.strip_prefix("data "))
            .expect("its directory"),
    );
    eventually("an empty place", || !data.parent().unwrap().exists());
}

// Not tests but other processes' parts: this program is started again with one of these variables set.
const OWNER: &str = "HOLDFAST_TEST_OWNS";
const TEST_PROGRAM: &str = "HOLDFAST_TEST_PROGRAM";

#[tokio::test]
async fn as_an_owner() {
    let Some(path) = env::var_os(OWNER) else {
        return;
    };
    let cluster = started(config_in(Path::new(&path))).await;
    write_sale(&cluster, 7).await;
    println!("\nserver {}", cluster.pid().unwrap());
    // Whoever started us kills us; if it dies itself, we end with our standard input.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[tokio::test]
async fn as_a_test_program() {
    if env::var_os(TEST_PROGRAM).is_none() {
        return;
    }
    let database = fresh_database().await;
    let data: String = sqlx::query_scalar("SHOW data_directory")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    println!("\ndata {data}");
}

/// A place for one test. As root, the account that runs PostgreSQL must be able to pass through it.
struct Room(TempDir);

impl Room {
    fn new() -> Self {
        let room = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir()
            .unwrap();
        Self(room)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn data_dir(&self) -> PathBuf {
        self.path().join("shop")
    }

    fn config(&self) -> ClusterConfig {
        config_in(self.path())
    }

    async fn start(&self) -> PostgresCluster {
        started(self.config()).await
    }

    async fn refusal(&self) -> ClusterError {
        PostgresCluster::start(self.config()).await.unwrap_err()
    }
}

fn config_in(room: &Path) -> ClusterConfig {
    ClusterConfig {
        refuge: room.join("refuge"),
        ..ClusterConfig::new(room.join("shop"))
    }
}

async fn started(config: ClusterConfig) -> PostgresCluster {
    PostgresCluster::start(config)
        .await
        .unwrap_or_else(|e| panic!("{e}: {:?}", std::error::Error::source(&e)))
}

/// Another process that owns a cluster, so that an owner can be killed.
struct Owner {
    process: Child,
    server: u32,
}

impl Owner {
    fn start(room: &Room) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "as_an_owner", "--nocapture"])
            .env(OWNER, room.path())
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
            server: server.expect("the owner tells its server"),
        }
    }

    fn watcher(&self) -> u32 {
        let owner = self.process.id().to_string();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut pids =
            processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.find(|pid| {
            command_line(*pid).contains("holdfast-lifeline") && stat_field(*pid, 4) == owner
        })
        .unwrap()
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn command_line(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())
        .into_owned()
}

/// A field of `/proc/<pid>/stat`, counted from 1 as proc(5) does; only those after the name (2) are asked for.
fn stat_field(pid: u32, number: usize) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default().to_owned();
    after_name
        .split(' ')
        .nth(number - 3)
        .unwrap_or_default()
        .to_owned()
}

/// A zombie is dead: an orphan is collected by whoever adopted it, in its own time.
fn is_alive(pid: u32) -> bool {
    !["", "Z", "X"].contains(&stat_field(pid, 3).as_str())
}

fn kill_hard(pid: u32) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
}

async fn show(cluster: &PostgresCluster, setting: &str) -> String {
    let mut connection = connected(cluster).await;
    sqlx::query_scalar(&format!("SHOW {setting}"))
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

/// The setting is a list of one, quoted.
async fn socket_dir_of(cluster: &PostgresCluster) -> PathBuf {
    let setting = show(cluster, "unix_socket_directories").await;
    PathBuf::from(setting.trim_matches('"').replace("\"\"", "\""))
}

/// Asked of a child of the server: `/proc` shows nothing, because PostgreSQL writes its process title over it.
async fn environment_of(cluster: &PostgresCluster) -> String {
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

async fn write_sale(cluster: &PostgresCluster, id: i32) {
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

async fn sales(cluster: &PostgresCluster) -> Vec<i32> {
    let mut connection = connected(cluster).await;
    sqlx::query_scalar("SELECT id FROM sales ORDER BY id")
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

async fn connected(cluster: &PostgresCluster) -> PgConnection {
    cluster.connect_options().connect().await.unwrap()
}

async fn eventually_connects(cluster: &PostgresCluster) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = cluster.connect_options().connect().await {
        assert!(Instant::now() < deadline, "no connection: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Not a claim about speed: past this, something is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
