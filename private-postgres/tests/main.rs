//! Tests of a private PostgreSQL: every test starts a real one in its own directory.
//!
//! They pass as root and as an ordinary user. Where only root has a case, the same test covers its
//! counterpart for ordinary users.

#![expect(
    clippy::unwrap_used,
    reason = "tests may; clippy.toml does not reach the helpers of an integration test"
)]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, process};

use nix::unistd::Uid;

use private_postgres::testing::{fresh_database, fresh_database_from, url_for};
use private_postgres::{
    ClusterError, ClusterUpgrade, FoundBy, PostgresCluster, Source, UpgradeStart,
};
use sqlx::{Connection, PgConnection};

use self::support::{
    Owner, TestDir, config_in, environment_of, eventually, is_alive, kill_and_reconnect, kill_hard,
    refusal, sales, show, socket_dir_of, started, stat_field, write_sale,
};

#[tokio::test]
async fn empty_directory_becomes_a_durable_private_database() {
    let dir = TestDir::new();
    let cluster = dir.start().await;
    for (setting, expected) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("shared_buffers", "256MB"),
        ("max_connections", "50"),
        ("data_checksums", "on"),
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
async fn durability_settings_cannot_be_changed() {
    let dir = TestDir::new();
    let mut config = dir.config();
    config.settings = vec![
        ("fsync".to_owned(), "off".to_owned()),
        ("work_mem".to_owned(), "5MB".to_owned()),
    ];
    let cluster = started(config).await;
    assert_eq!(show(&cluster, "fsync").await, "on");
    assert_eq!(show(&cluster, "work_mem").await, "5MB");
}

#[tokio::test]
async fn server_runs_unprivileged_without_our_environment() {
    let dir = TestDir::new();
    let cluster = dir.start().await;
    let pid = cluster.pid().unwrap();
    let uid = fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    assert_ne!(uid, 0);
    assert!(Uid::effective().is_root() || uid == Uid::effective().as_raw());
    // Its own process group: Ctrl-C in our terminal does not reach it.
    assert_eq!(stat_field(pid, 5), pid.to_string());
    let environment = environment_of(&cluster).await;
    assert!(
        environment.contains("PATH="),
        "no variables at all: {environment}"
    );
    assert!(!environment.contains("CARGO"), "inherited: {environment}");
}

#[tokio::test]
async fn restart_keeps_the_data() {
    let dir = TestDir::new();
    let cluster = dir.start().await;
    write_sale(&cluster, 1).await;
    let first = cluster.pid().unwrap();
    cluster.stop().await.unwrap();
    assert!(!is_alive(first));

    let cluster = dir.start().await;
    assert_eq!(sales(&cluster).await, [1]);
}

#[tokio::test]
async fn dropped_cluster_leaves_no_server_behind() {
    let dir = TestDir::new();
    let cluster = dir.start().await;
    let pid = cluster.pid().unwrap();
    drop(cluster);
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn killed_server_is_restarted_with_its_data_at_the_same_address() {
    let dir = TestDir::new();
    let cluster = dir.start().await;
    let url = cluster.database_url();
    for round in 1..=3 {
        write_sale(&cluster, round).await;
        kill_and_reconnect(&cluster).await;
    }
    assert_eq!(cluster.database_url(), url);
    assert_eq!(sales(&cluster).await, [1, 2, 3]);
}

#[tokio::test]
async fn second_owner_is_refused_with_the_id_of_the_first() {
    let dir = TestDir::new();
    let _cluster = dir.start().await;
    let message = dir.refusal().await.to_string();
    assert!(
        message.contains(&format!("is in use by process {}", process::id())),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[tokio::test]
async fn server_ends_when_its_owner_is_killed() {
    let dir = TestDir::new();
    let mut owner = Owner::start(&dir);
    owner.kill();
    eventually("the end of the server", || !is_alive(owner.server));
    // A graceful shutdown, not a kill: the server had the time to complete it.
    assert!(
        fs::read_to_string(dir.data_dir().join("postgres.log"))
            .unwrap()
            .contains("database system is shut down")
    );
    let cluster = dir.start().await;
    assert_eq!(sales(&cluster).await, [7]);
}

#[tokio::test]
async fn next_start_replaces_an_orphaned_server() {
    let dir = TestDir::new();
    let mut owner = Owner::start(&dir);
    kill_hard(owner.watcher());
    owner.kill();
    assert!(is_alive(owner.server), "the orphaned server ended");

    let cluster = dir.start().await;
    assert!(!is_alive(owner.server));
    assert_eq!(sales(&cluster).await, [7]);
}

#[tokio::test]
async fn killing_all_processes_loses_no_data() {
    let dir = TestDir::new();
    let mut owner = Owner::start(&dir);
    kill_hard(owner.watcher());
    owner.kill();
    kill_hard(owner.server);
    let cluster = dir.start().await;
    assert_eq!(sales(&cluster).await, [7]);
}

#[tokio::test]
async fn stale_pid_file_with_a_reused_id_does_not_prevent_a_start() {
    let dir = TestDir::new();
    dir.start().await.stop().await.unwrap();
    // PostgreSQL ignores the ids of its own parents, so another process of the same user is needed.
    let mut unrelated = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let cluster_dir = dir.data_dir().join("postgres");
    let stale = format!("{}\n{}\n", unrelated.id(), cluster_dir.display());
    fs::write(cluster_dir.join("postmaster.pid"), stale).unwrap();
    let cluster = dir.start().await;
    assert_eq!(show(&cluster, "fsync").await, "on");
    assert!(
        unrelated.try_wait().unwrap().is_none(),
        "the unrelated process was ended"
    );
    // It ends with its standard input, also if an assertion failed before.
    drop(unrelated.stdin.take());
    unrelated.wait().unwrap();
}

/// Root's own home is such a directory. An ordinary user runs PostgreSQL itself and needs no
/// fallback.
#[tokio::test]
async fn data_stays_in_the_fallback_if_the_account_cannot_enter() {
    let dir = TestDir::new();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let mut config = dir.config();
    config.data_dir = closed.join("shop");

    let cluster = started(config.clone()).await;
    write_sale(&cluster, 1).await;
    let home = cluster.home().to_owned();
    cluster.stop().await.unwrap();
    if Uid::effective().is_root() {
        assert!(
            home.starts_with(fs::canonicalize(&config.fallback_dir).unwrap()),
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

    // Made accessible later, the directory still leads to the same data.
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    let cluster = started(config).await;
    assert_eq!(cluster.home(), home);
    assert_eq!(sales(&cluster).await, [1]);
}

/// The opposite case: a cluster that was reachable before must not be replaced by an empty one
/// elsewhere.
#[tokio::test]
async fn unreachable_cluster_is_an_error_and_not_an_empty_shop() {
    let dir = TestDir::new();
    dir.start().await.stop().await.unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    if Uid::effective().is_root() {
        let error = dir.refusal().await;
        assert!(matches!(error, ClusterError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("chmod o+x"), "{error}");
    } else {
        dir.start().await;
    }
}

#[tokio::test]
async fn long_and_unusual_paths_work() {
    for name in ["long".repeat(50), "a b, 'c' %d é".to_owned()] {
        let dir = TestDir::new();
        let mut config = dir.config();
        config.data_dir = dir.path().join(name).join("shop");
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
            "files remain in the temporary directory"
        );
    }
}

#[cfg(bundled_postgres)]
#[tokio::test]
async fn bundled_programs_work_without_installed_ones() {
    let dir = TestDir::new();
    let mut config = dir.config();
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
    kill_and_reconnect(&cluster).await;
    cluster.stop().await.unwrap();

    // The cluster stays with the bundled programs, even when others are allowed again.
    config.source = Source::Auto;
    let cluster = started(config.clone()).await;
    assert_eq!(cluster.origin().found_by, FoundBy::Bundled);
    assert_eq!(sales(&cluster).await, [1]);
    cluster.stop().await.unwrap();

    config.source = Source::Installed;
    let error = refusal(config).await;
    assert!(
        matches!(error, ClusterError::OtherVersion { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("bundled PostgreSQL 17"),
        "{error}"
    );
}

#[cfg(not(bundled_postgres))]
#[tokio::test]
async fn build_without_bundled_programs_reports_it() {
    let dir = TestDir::new();
    let mut config = dir.config();
    config.source = Source::Bundled;
    let message = refusal(config).await.to_string();
    assert!(
        message.contains("bundled: this build does not include it"),
        "{message}"
    );
}

/// An initdb below such a path cannot be run; one installed elsewhere can use the path.
#[cfg(bundled_postgres)]
#[tokio::test]
async fn bundled_programs_reject_paths_with_shell_characters() {
    for name in ["a\"b", "a$b", "a`b", "a\\b"] {
        let dir = TestDir::new();
        let mut config = dir.config();
        config.data_dir = dir.path().join(name);
        config.source = Source::Bundled;
        let message = refusal(config).await.to_string();
        assert!(
            message.contains("its programs cannot run below a path"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn invalid_pg_bin_dir_is_rejected_and_not_skipped() {
    let dir = TestDir::new();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let broken = dir.path().join("broken");
    fs::create_dir(&broken).unwrap();
    for program in ["postgres", "initdb"] {
        fs::write(broken.join(program), "#!/bin/sh\necho not really\n").unwrap();
        fs::set_permissions(broken.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (directory, reason) in [
        (empty, "it has no 'postgres'"),
        (broken, "printed 'not really'"),
    ] {
        let mut config = dir.config();
        config.pg_bin_dir = Some(directory.clone());
        let message = refusal(config).await.to_string();
        assert!(
            message.starts_with(&format!("PG_BIN_DIR={}", directory.display())),
            "{message}"
        );
        assert!(message.contains(reason), "{message}");
    }
    assert!(
        !dir.data_dir().join("postgres").exists(),
        "something was created"
    );
}

#[tokio::test]
async fn configured_pg_bin_dir_is_used() {
    let dir = TestDir::new();
    let any = dir.start().await;
    let bin_dir = any.origin().bin_dir.clone();
    let bundled = any.origin().found_by == FoundBy::Bundled;
    any.stop().await.unwrap();
    // A configured PostgreSQL cannot open a cluster of the bundled build, so that case takes a new
    // directory.
    let other = TestDir::new();
    let mut config = if bundled {
        other.config()
    } else {
        dir.config()
    };
    config.pg_bin_dir = Some(bin_dir.clone());
    let cluster = started(config).await;
    assert_eq!(cluster.origin().found_by, FoundBy::Configured);
    assert_eq!(cluster.origin().bin_dir, bin_dir);
}

#[tokio::test]
async fn cluster_of_another_version_is_reported_and_left_unchanged() {
    let dir = TestDir::new();
    dir.start().await.stop().await.unwrap();
    let version = dir.data_dir().join("postgres/PG_VERSION");
    fs::write(&version, "99\n").unwrap();
    let error = dir.refusal().await;
    assert!(
        matches!(error, ClusterError::OtherVersion { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("PostgreSQL 99"), "{error}");
    assert!(
        error.to_string().contains("`holdfast database upgrade`"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(version).unwrap(), "99\n");
}

#[tokio::test]
async fn other_files_are_not_overwritten_by_a_cluster() {
    let dir = TestDir::new();
    let precious = dir.data_dir().join("postgres/precious");
    fs::create_dir_all(precious.parent().unwrap()).unwrap();
    fs::write(&precious, "mine").unwrap();
    let error = dir.refusal().await;
    assert!(matches!(error, ClusterError::NotACluster { .. }), "{error}");
    assert_eq!(fs::read_to_string(precious).unwrap(), "mine");
}

#[tokio::test]
async fn unusable_data_directory_is_reported() {
    let dir = TestDir::new();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let mut config = dir.config();
    config.data_dir = file.clone();
    let message = refusal(config.clone()).await.to_string();
    assert!(message.contains(file.to_str().unwrap()), "{message}");

    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("PG_VERSION"), "15\n").unwrap();
    config.data_dir = foreign;
    let error = refusal(config).await;
    assert!(
        matches!(error, ClusterError::ForeignCluster { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn failed_start_reports_the_servers_own_message() {
    let dir = TestDir::new();
    let mut config = dir.config();
    config.settings = vec![("work_mem".to_owned(), "lots".to_owned())];
    let message = refusal(config).await.to_string();
    assert!(
        message.contains("invalid value for parameter \"work_mem\""),
        "{message}"
    );
    // All resources were released.
    dir.start().await;
}

#[tokio::test]
async fn interrupted_initdb_is_repeated() {
    let dir = TestDir::new();
    let half = dir.data_dir().join("postgres.initdb/base");
    fs::create_dir_all(&half).unwrap();
    fs::set_permissions(dir.data_dir(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(half.join("half"), "").unwrap();
    let cluster = dir.start().await;
    assert_eq!(show(&cluster, "fsync").await, "on");
    assert!(!dir.data_dir().join("postgres.initdb").exists());
}

/// Programs whose initdb runs `script` and never ends by itself. It writes its process id first.
fn endless_initdb(dir: &TestDir, script: &str) -> (PathBuf, PathBuf) {
    let (programs, pid_file) = (dir.path().join("programs"), dir.path().join("pids/initdb"));
    for directory in [&programs, pid_file.parent().unwrap()] {
        fs::create_dir(directory).unwrap();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let initdb = format!(
        "echo $$ >{0}.new\nmv {0}.new {0}\n{script}",
        pid_file.display()
    );
    for (name, script) in [
        ("postgres", "echo 'postgres (PostgreSQL) 15.0'"),
        ("initdb", &initdb),
    ] {
        let file = programs.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    (programs, pid_file)
}

fn pid_in(file: &Path) -> u32 {
    eventually("initdb runs", || file.exists());
    fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn stop_during_initdb_ends_it_and_its_children() {
    let dir = TestDir::new();
    // A child that would survive its parent.
    let script = "sleep 1000 &\necho $! >\"$(dirname \"$0\")/../pids/child\"\nwait";
    let (programs, pid_file) = endless_initdb(&dir, script);
    let mut config = dir.config();
    config.pg_bin_dir = Some(programs);
    let stop = config.stop.clone();
    let start = tokio::spawn(PostgresCluster::start(config));
    let child = dir.path().join("pids/child");
    let (initdb, child) = tokio::task::spawn_blocking(move || (pid_in(&pid_file), pid_in(&child)))
        .await
        .unwrap();
    stop.cancel();
    let error = start.await.unwrap().unwrap_err();
    assert!(matches!(error, ClusterError::Abandoned), "{error}");
    assert!(!is_alive(initdb));
    eventually("the end of its child", || !is_alive(child));
    assert!(!dir.data_dir().join("postgres.initdb").exists());
    let cluster = dir.start().await;
    assert_eq!(show(&cluster, "fsync").await, "on");
}

#[tokio::test]
async fn initdb_ends_when_its_owner_is_killed() {
    let dir = TestDir::new();
    let (programs, pid_file) = endless_initdb(&dir, "exec sleep 1000");
    let mut owner = Command::new(env::current_exe().unwrap())
        .args(["--exact", "as_an_owner", "--nocapture"])
        .env(OWNER, dir.path())
        .env("PG_BIN_DIR", programs)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let initdb = pid_in(&pid_file);
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the end of initdb", || !is_alive(initdb));
    dir.start().await;
}

#[track_caller]
fn both(started: UpgradeStart) -> Box<ClusterUpgrade> {
    match started {
        UpgradeStart::Both(both) => both,
        UpgradeStart::UpToDate(origin) => panic!("up to date: {origin}"),
    }
}

/// Towards the bundled build, which is in every test program. The data is copied by the caller.
#[cfg(bundled_postgres)]
#[tokio::test]
async fn successor_replaces_the_cluster_only_when_the_upgrade_is_finished() {
    let dir = TestDir::new();
    let cluster = dir.start().await;
    write_sale(&cluster, 1).await;
    let before = cluster.origin().clone();
    cluster.stop().await.unwrap();
    let mut newer = dir.config();
    newer.source = Source::Bundled;
    let start = || ClusterUpgrade::start(newer.clone(), None);
    if before.found_by == FoundBy::Bundled {
        // No other PostgreSQL is installed.
        let started = start().await.unwrap();
        assert!(matches!(started, UpgradeStart::UpToDate(_)), "{started:?}");
        return;
    }
    let elsewhere = Some(dir.path().to_owned());
    let error = ClusterUpgrade::start(newer.clone(), elsewhere).await;
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("--from-bin-dir="), "{error}");
    let upgrade = both(start().await.unwrap());
    assert_eq!(sales(upgrade.old()).await, [1]);
    write_sale(upgrade.successor(), 2).await;
    assert!(matches!(dir.refusal().await, ClusterError::InUse { .. }));
    upgrade.abandon().await.unwrap();
    for file in ["postgres.new", "postgres.new.made-by"] {
        assert!(!dir.data_dir().join(file).exists(), "{file}");
    }
    // As an attempt that was killed.
    drop(both(start().await.unwrap()));
    let cluster = dir.start().await;
    assert_eq!(sales(&cluster).await, [1]);
    cluster.stop().await.unwrap();

    let upgrade = both(start().await.unwrap());
    write_sale(upgrade.successor(), 3).await;
    let kept = upgrade.finish().await.unwrap();
    let version = fs::read_to_string(kept.join("PG_VERSION")).unwrap();
    assert_eq!(version.trim(), before.major.to_string());
    let cluster = dir.start().await;
    assert_eq!(cluster.origin().found_by, FoundBy::Bundled);
    assert_eq!(sales(&cluster).await, [3]);
    cluster.stop().await.unwrap();
    let again = start().await.unwrap();
    assert!(matches!(again, UpgradeStart::UpToDate(_)), "{again:?}");

    // Back is not an upgrade.
    let mut older = dir.config();
    older.pg_bin_dir = Some(before.bin_dir.clone());
    if before.major < 17 {
        let error = ClusterUpgrade::start(older, None).await.unwrap_err();
        assert!(error.to_string().contains("older than"), "{error}");
    }
}

#[tokio::test]
async fn every_test_gets_its_own_database() {
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
async fn database_can_be_a_copy_of_another() {
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
async fn ended_test_program_leaves_neither_server_nor_directory() {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "as_a_test_program", "--nocapture"])
        .env(TEST_PROGRAM, "1")
        .env_remove(private_postgres::testing::SERVER_VARIABLE)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let data = PathBuf::from(
        said.lines()
            .find_map(|line| line.strip_prefix("data "))
            .expect("its directory"),
    );
    eventually("the removal of the directory", || {
        !data.parent().unwrap().exists()
    });
}

// Helper processes, not tests: this program is started again with one of these variables set.
const OWNER: &str = "HOLDFAST_TEST_OWNS";
const TEST_PROGRAM: &str = "HOLDFAST_TEST_PROGRAM";

#[tokio::test]
async fn as_an_owner() {
    let Some(path) = env::var_os(OWNER) else {
        return;
    };
    let mut config = config_in(Path::new(&path));
    config.pg_bin_dir = env::var_os("PG_BIN_DIR").map(PathBuf::from);
    let cluster = started(config).await;
    write_sale(&cluster, 7).await;
    println!("\nserver {}", cluster.pid().unwrap());
    // The parent process kills this one; if the parent dies itself, this one ends with its standard
    // input.
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
