//! A database that PostgreSQL's own tools copied: `pg_dump` in three forms, logical replication and
//! a base backup.
//!
//! Promise: each copy verifies, and a server sells on it. The schema of the log need not be
//! `public`.
//! Limit: needs an installed PostgreSQL with its client programs.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use harness::{App, Launch, eventually, install, on_path, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_postgres::testing::TestDatabase;
use private_postgres::testing::replication::Pair;
use serde_json::json;
use sqlx::{Executor, PgPool};
use tokio::task::spawn_blocking;

const SCHEMA: &str = "shop";

fn program(name: &str) -> Command {
    if on_path(name).is_none() {
        install(&["postgresql-client"]);
    }
    Command::new(on_path(name).expect("PostgreSQL's client programs (Debian: postgresql-client)"))
}

/// Runs `command` to its end, without blocking the test's runtime.
async fn finish(mut command: Command) -> String {
    spawn_blocking(move || run(&mut command)).await.unwrap()
}

/// A dump of `database`, in this form.
async fn dump(database: &TestDatabase, form: &[&str]) -> String {
    let mut command = program("pg_dump");
    command.args(form).arg("--dbname").arg(&database.url);
    finish(command).await
}

/// Executes a script, and stops at its first error.
async fn execute(database: &TestDatabase, script: String) {
    let mut command = program("psql");
    command.args([
        "--quiet",
        "--no-psqlrc",
        "--set=ON_ERROR_STOP=1",
        "--dbname",
    ]);
    command.arg(&database.url).stdin(Stdio::piped());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let ended = spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writing = std::thread::spawn(move || {
            // A script that failed is not read to its end; the status has that.
            let _closed = std::io::Write::write_all(&mut stdin, script.as_bytes());
        });
        let ended = child.wait_with_output().unwrap();
        writing.join().unwrap();
        ended
    });
    let ended = ended.await.unwrap();
    let words = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{words}");
}

/// An empty database, whose sessions use the schema of the shop once it exists.
async fn database(pair: &Pair) -> TestDatabase {
    let database = pair.fresh_database().await;
    let name: String = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    let set = format!("ALTER DATABASE \"{name}\" SET search_path = {SCHEMA}");
    database.pool.execute(set.as_str()).await.unwrap();
    // Later sessions have it.
    database.pool.close().await;
    database
}

/// The copy verifies, and a server on it sells the next unit of `drop`.
async fn assert_sells(copy: TestDatabase, drop: &str, verified: &str) {
    let launch = Launch::on(copy);
    let app = launch.start().await;
    assert_eq!(app.audit_verify().await.lines().next(), Some(verified));
    let hold = app.held(drop, "of the copy").await;
    app.purchase(&hold).await.ok(201);
    app.audit_verify().await;
    app.stop().await;
}

async fn count(pool: &PgPool, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {SCHEMA}.{table}");
    sqlx::query_scalar(&sql).fetch_one(pool).await.unwrap()
}

fn file_in(directory: &tempfile::TempDir, name: &str) -> String {
    let path = directory.path().join(name);
    path.to_str().unwrap().to_owned()
}

/// Dumps of one database in each form, and a copy that has sold since.
struct Dumps {
    custom: String,
    script: String,
    data: String,
    restored: String,
    directory: tempfile::TempDir,
}

impl Dumps {
    /// `backup verify` accepts the dumps, and finds the fault of each other one.
    async fn are_proved(&self, app: &App, drop: &str, verified: &str) {
        let written = |name: &str, bytes: &[u8]| {
            let path = file_in(&self.directory, name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let export = file_in(&self.directory, "export");
        let exported = app
            .launch()
            .run(&["audit", "export", "--output", &export])
            .await;
        assert_eq!(exported.code, Some(0), "{exported:?}");
        // From here on the dumps are older than the log.
        app.held(drop, "cleo").await;
        let head = app.kept_head().await;
        for (backup, is_database) in [
            (self.custom.clone(), true),
            (written("plain", self.script.as_bytes()), true),
            (written("data", self.data.as_bytes()), true),
            (export, false),
        ] {
            let found = app.launch().run(&["backup", "verify", &backup]).await;
            assert_eq!(found.code, Some(0), "{found:?}");
            assert_eq!(found.stdout.lines().next(), Some(verified), "{found:?}");
            if is_database {
                let age = "s older than the last head that a server acknowledged, at position ";
                assert!(
                    found.stdout.contains(&format!("{age}{head}\n")),
                    "{found:?}"
                );
                assert!(
                    found.stdout.ends_with(" and a server can append\n"),
                    "{found:?}"
                );
            }
        }
        let custom = std::fs::read(&self.custom).unwrap();
        let half = self.script.len() / 2;
        let altered = self.script.replace("\"quantity\":1", "\"quantity\":2");
        assert_ne!(altered, self.script);
        let unguarded = |line: &&str| !line.contains("TRIGGER refuse_rewriting");
        let unguarded: Vec<&str> = self.script.lines().filter(unguarded).collect();
        for (backup, code, words) in [
            (
                written("half", &custom[..custom.len() / 2]),
                1,
                "cannot be restored: pg_restore",
            ),
            (
                written("cut", &self.script.as_bytes()[..half]),
                1,
                "it is truncated",
            ),
            (written("altered", altered.as_bytes()), 1, "position "),
            (
                written(
                    "unguarded",
                    format!("{}\n", unguarded.join("\n")).as_bytes(),
                ),
                1,
                "the trigger refuse_rewriting of table events is missing",
            ),
            (
                written("other", b"something else"),
                2,
                "neither an uncompressed dump",
            ),
            // It has sold other units than the log since.
            (self.restored.clone(), 1, "hash claimed by heads.json"),
        ] {
            let found = app.launch().run(&["backup", "verify", &backup]).await;
            assert_eq!(found.code, Some(code), "{backup}: {found:?}");
            assert!(found.stderr.contains(words), "{backup}: {found:?}");
            assert!(!found.stdout.contains("can append"), "{found:?}");
        }
        self.is_removed_after_a_signal(app).await;
        let found = app.launch().run(&["backup", "verify"]).await;
        assert_eq!(found.code, Some(0), "{found:?}");
        let last = format!("it has the last head that a server acknowledged, at position {head}");
        assert!(found.stdout.contains(&last), "{found:?}");
    }

    /// What was restored has the data of buyers.
    async fn is_removed_after_a_signal(&self, app: &App) {
        let temporary = tempfile::tempdir().unwrap();
        set_permissions(temporary.path(), Permissions::from_mode(0o777)).unwrap();
        let entries = || std::fs::read_dir(temporary.path()).unwrap().count();
        let mut verifying = app
            .launch()
            .command(&["backup", "verify", &self.custom])
            .env("TMPDIR", temporary.path())
            .spawn()
            .unwrap();
        eventually("the dump is restored", || async {
            (entries() > 0).then_some(())
        })
        .await;
        kill(Pid::from_raw(verifying.id().cast_signed()), Signal::SIGTERM).unwrap();
        let ended = spawn_blocking(move || verifying.wait()).await.unwrap();
        assert_eq!(ended.unwrap().code(), Some(2));
        assert_eq!(entries(), 0);
    }
}

#[tokio::test]
async fn every_copy_of_a_database_verifies_and_sells() {
    let mut pair = Pair::start().await;
    let source = database(&pair).await;
    let pool = PgPool::connect(&source.url).await.unwrap();
    let create = format!("CREATE SCHEMA {SCHEMA}");
    pool.execute(create.as_str()).await.unwrap();
    let app: App = Launch::on(source.clone()).start().await;
    let drop = app.create_drop(10, json!({ "hold_seconds": 3600 })).await;
    let hold = app.held(&drop, "ann").await;
    app.purchase(&hold).await.ok(201);
    let verified = app.audit_verify().await;
    let verified = verified.lines().next().unwrap().to_owned();

    let custom = database(&pair).await;
    let directory = tempfile::tempdir().unwrap();
    let path = file_in(&directory, "custom");
    dump(&source, &["--format=custom", "--file", &path]).await;
    let mut restore = program("pg_restore");
    restore.args(["--exit-on-error", "--dbname", &custom.url, &path]);
    finish(restore).await;
    assert_sells(custom, &drop, &verified).await;

    let plain = database(&pair).await;
    let script = dump(&source, &["--format=plain"]).await;
    execute(&plain, script.clone()).await;
    let restored = plain.url.clone();
    assert_sells(plain, &drop, &verified).await;

    let data_only = database(&pair).await;
    let schema = dump(&source, &["--schema-only"]).await;
    execute(&data_only, schema.clone()).await;
    let data = dump(&source, &["--data-only"]).await;
    execute(&data_only, data.clone()).await;
    assert_sells(data_only, &drop, &verified).await;

    let dumps = Dumps {
        custom: path,
        script,
        data,
        restored,
        directory,
    };
    dumps.are_proved(&app, &drop, &verified).await;

    // Logical replication: what was there, and what comes while it runs.
    let replica = database(&pair).await;
    execute(&replica, schema).await;
    let tables = ["events", "log_head", "log_secret", "_sqlx_migrations"];
    let published = tables.map(|table| format!("{SCHEMA}.{table}")).join(", ");
    let publish = format!("CREATE PUBLICATION log FOR TABLE {published}");
    pool.execute(publish.as_str()).await.unwrap();
    // In one cluster, CREATE SUBSCRIPTION would wait for itself if it made the slot.
    pool.execute("SELECT pg_create_logical_replication_slot('log', 'pgoutput')")
        .await
        .unwrap();
    let there = PgPool::connect(&replica.url).await.unwrap();
    let subscribe = format!(
        "CREATE SUBSCRIPTION log CONNECTION '{}' PUBLICATION log WITH (create_slot = false, slot_name = 'log')",
        source.url
    );
    there.execute(subscribe.as_str()).await.unwrap();
    let events = count(&pool, "events").await;
    eventually("the log is copied", || async {
        let copied =
            count(&there, "events").await == events && count(&there, "log_secret").await == 1;
        copied.then_some(())
    })
    .await;
    app.held(&drop, "bob").await;
    let verified = app.audit_verify().await;
    let verified = verified.lines().next().unwrap().to_owned();
    let position = "SELECT position FROM shop.log_head";
    let head: i64 = sqlx::query_scalar(position).fetch_one(&pool).await.unwrap();
    eventually("the next event arrives", || async {
        let reached: Option<i64> = sqlx::query_scalar(position)
            .fetch_optional(&there)
            .await
            .unwrap();
        (reached == Some(head)).then_some(())
    })
    .await;
    for statement in [
        "ALTER SUBSCRIPTION log DISABLE",
        "ALTER SUBSCRIPTION log SET (slot_name = NONE)",
        "DROP SUBSCRIPTION log",
    ] {
        there.execute(statement).await.unwrap();
    }
    assert_sells(replica, &drop, &verified).await;

    // The standby began as a base backup (`pg_basebackup`), and followed.
    app.kept_head().await;
    let launch = app.stop().await;
    pair.kill_primary();
    pair.revive_standby().await;
    pair.promote().await;
    let promoted = pair.on_standby(&source);
    let found = launch.run(&["backup", "verify", &promoted.url]).await;
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(found.stdout.contains("it has the last head"), "{found:?}");
    assert_sells(promoted, &drop, found.stdout.lines().next().unwrap()).await;
}
