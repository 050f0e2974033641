//! Behind a connection pooler that does not keep a session, the program fails at the start and
//! names the setting to change.
//!
//! Promise: with PgBouncer (Debian's; 1.18.0 on Debian 12) and `pool_mode = transaction` or
//! `statement`, every start fails with one sentence, and none with a message of a library; with
//! `HOLDFAST_DIRECT_URL`, or with `pool_mode = session` and any other settings, the server sells,
//! and every commit is synchronous. Limit: needs PgBouncer; as root where apt-get exists, it is
//! installed if missing.

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

const IGNORING: &str = "ignore_startup_parameters = extra_float_digits, options";

#[tokio::test]
async fn pooler_that_shares_sessions_is_reported_and_a_direct_address_is_used() {
    // With Debian's default settings, and with those used for drivers that send settings at the
    // start.
    for settings in [
        "pool_mode = transaction".to_owned(),
        format!("pool_mode = transaction\n{IGNORING}"),
        "pool_mode = statement".to_owned(),
    ] {
        let pooler = Pooler::start(&settings).await;
        for (arguments, code) in [
            (&["serve", "--listen", "127.0.0.1:0"][..], 1),
            (&["serve", "--listen", "127.0.0.1:0"], 1),
            (&["migrate"], 1),
            (&["audit", "verify"], 2),
            (&["projections", "list"], 2),
            (&["log", "check"], 2),
        ] {
            pooler.assert_reported(arguments, code).await;
        }
    }
    let pooler = Pooler::start("pool_mode = transaction").await;
    let direct = pooler.launch.database_url().unwrap().to_owned();
    let launch = pooler.launch.clone().with("HOLDFAST_DIRECT_URL", &direct);
    let migrated = launch.run(&["migrate"]).await;
    assert!(
        migrated.stdout.starts_with("migrations applied: "),
        "{migrated:?}"
    );
    let again = launch.run(&["migrate"]).await;
    assert!(
        again.stdout.starts_with("the schema is up to date"),
        "{again:?}"
    );
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
    let app = launch.start().await;
    let drop = app.create_drop(1, json!({})).await;
    app.held(&drop, "buyer").await;
    app.audit_verify().await;
    app.stop().await;
}

/// Records the setting in force at each append.
const WITNESS: [&str; 3] = [
    "CREATE TABLE witness (setting text)",
    "CREATE FUNCTION testify() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         INSERT INTO witness VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$",
    "CREATE TRIGGER testify AFTER UPDATE ON log_head FOR EACH ROW EXECUTE FUNCTION testify()",
];

#[tokio::test]
async fn session_pooling_works_with_any_settings_and_keeps_commits_synchronous() {
    for settings in ["", IGNORING] {
        let pooler = Pooler::start(&format!("pool_mode = session\n{settings}")).await;
        let pool = sqlx::PgPool::connect(pooler.launch.database_url().unwrap())
            .await
            .unwrap();
        let migrated = pooler.launch.run(&["migrate"]).await;
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
        let database: String = sqlx::query_scalar("SELECT current_database()::text")
            .fetch_one(&pool)
            .await
            .unwrap();
        let off = format!("ALTER DATABASE \"{database}\" SET synchronous_commit = off");
        for statement in WITNESS.into_iter().chain([off.as_str()]) {
            sqlx::query(statement).execute(&pool).await.unwrap();
        }
        let app = pooler.launch.clone().start().await;
        let drop = app.create_drop(1, json!({})).await;
        let hold = app.held(&drop, "buyer").await;
        app.purchase(&hold).await.ok(201);
        assert!(!app.stderr().contains("pooler"), "{}", app.stderr());
        app.stop().await;
        let recorded: Vec<String> = sqlx::query_scalar("SELECT DISTINCT setting FROM witness")
            .fetch_all(&pool)
            .await
            .unwrap();
        assert_eq!(recorded, ["on"]);
    }
}
