//! Behind a connection pooler that does not keep a session, the program fails at the start and
//! names the setting to change.
//!
//! Promise: with PgBouncer (Debian's; 1.18.0 on Debian 12) and `pool_mode = transaction`, every
//! start fails with one sentence, and none with a message of a library; with `pool_mode = session`
//! the server sells. Limit: needs PgBouncer; as root where apt-get exists, it is installed if
//! missing.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;

use harness::{Launch, eventually, install, on_path};
use infrastructure::log::postgres::POOLER;
use nix::unistd::{Uid, User};
use private_postgres::testing::{TestDatabase, fresh_database};
use reqwest::Url;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::spawn_blocking;

/// A PgBouncer in front of one database, killed when dropped.
struct Pooler {
    launch: Launch,
    _process: Child,
    _folder: TempDir,
}

impl Pooler {
    async fn start(settings: &str) -> Self {
        let program = spawn_blocking(pgbouncer).await.unwrap();
        let database = fresh_database().await;
        let url: Url = database.url.parse().unwrap();
        let query = |name| {
            let mut pairs = url.query_pairs();
            pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
        };
        let host = query("host").or_else(|| url.host_str().map(str::to_owned));
        let host = host.unwrap();
        let password = url.password().map(|word| format!("password={word}"));
        let (port, folder) = (
            free_port(),
            TempDir::with_prefix("holdfast-pgbouncer-").unwrap(),
        );
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let configuration = format!(
            "[databases]\n* = host={host} port={} user={} {}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\n{settings}\n",
            url.port().unwrap_or(5432),
            url.username(),
            password.unwrap_or_default(),
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, configuration).unwrap();
        let mut command = Command::new(program);
        // PgBouncer refuses to run as root; a private server's socket belongs to the account that
        // runs it.
        if Uid::effective().is_root() {
            let owner = fs::metadata(&host).map_or(65534, |socket| socket.uid());
            let account = User::from_uid(owner.into()).unwrap().unwrap();
            command.arg("--user").arg(account.name);
        }
        let process = command
            .arg("--quiet")
            .arg(file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually("PgBouncer listens", || async {
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        let launch = through(port, &url, database);
        Self {
            launch,
            _process: process,
            _folder: folder,
        }
    }

    async fn assert_reported(&self, arguments: &[&str], code: i32) {
        let refused = self.launch.run(arguments).await;
        assert_eq!(refused.stderr, format!("holdfast: {POOLER}\n"));
        assert_eq!(refused.code, Some(code));
    }
}

/// Starts programs on the same database through `port`.
fn through(port: u16, url: &Url, database: TestDatabase) -> Launch {
    let pooled = format!(
        "postgres://{}@127.0.0.1:{port}{}?sslmode=disable",
        url.username(),
        url.path()
    );
    Launch::on(database).with("DATABASE_URL", &pooled)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn pgbouncer() -> std::path::PathBuf {
    if on_path("pgbouncer").is_none() {
        install(&["pgbouncer"]);
    }
    on_path("pgbouncer").expect(
        "this test needs PgBouncer (Debian: apt-get install pgbouncer): install it and run again",
    )
}

#[tokio::test]
async fn transaction_pooling_is_reported_at_every_start() {
    // With Debian's default settings, and with those used for drivers that send settings at the
    // start.
    for ignored in [
        "",
        "ignore_startup_parameters = extra_float_digits, options",
    ] {
        let pooler = Pooler::start(&format!("pool_mode = transaction\n{ignored}")).await;
        for _ in 0..3 {
            pooler
                .assert_reported(&["serve", "--listen", "127.0.0.1:0"], 1)
                .await;
        }
    }
}

#[tokio::test]
async fn audit_behind_transaction_pooling_reports_the_pooler() {
    let pooler = Pooler::start("pool_mode = transaction").await;
    pooler.assert_reported(&["audit", "verify"], 2).await;
    pooler.assert_reported(&["projections", "list"], 2).await;
    pooler.assert_reported(&["log", "check"], 2).await;
    let ignored = "ignore_startup_parameters = extra_float_digits, options";
    let pooler = Pooler::start(&format!("pool_mode = transaction\n{ignored}")).await;
    for _ in 0..5 {
        let read = pooler.launch.run(&["audit", "verify"]).await;
        assert!(!read.stderr.contains("prepared statement"), "{read:?}");
    }
}

#[tokio::test]
async fn session_pooling_works_once_it_passes_startup_settings() {
    let pooler = Pooler::start("pool_mode = session").await;
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    pooler.assert_reported(&serve, 1).await;
    let ignored = "ignore_startup_parameters = extra_float_digits, options";
    let pooler = Pooler::start(&format!("pool_mode = session\n{ignored}")).await;
    let app = pooler.launch.clone().start().await;
    let drop = app.create_drop(1, json!({})).await;
    let hold = app.held(&drop, "buyer").await;
    app.purchase(&hold).await.ok(201);
    assert!(!app.stderr().contains("pooler"), "{}", app.stderr());
    app.stop().await;
}
