//! A server whose clock differs from the database's decides nothing and reports why. Other servers
//! are unaffected, and this one resumes once its clock is right. The program uses the machine's
//! clock; the tests shift the database's clock for one server.
//!
//! The clock of one machine, that of a server and its own PostgreSQL, is set by libfaketime.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use chrono::{DateTime, Utc};
use harness::{App, Launch, eventually, install, key, number, text};
use private_postgres::testing::{TestDatabase, fresh_database};
use serde_json::{Value, json};
use sqlx::Executor;

/// A server for which the clock of `database` is `off_seconds` ahead, until [`set`] changes it.
async fn start_off(database: &TestDatabase, off_seconds: i64) -> App {
    let shim = "
        CREATE SCHEMA IF NOT EXISTS shim;
        CREATE TABLE IF NOT EXISTS shim.off (by interval NOT NULL);
        CREATE OR REPLACE FUNCTION shim.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
        $$ BEGIN RETURN (SELECT pg_catalog.clock_timestamp() + by FROM shim.off); END $$";
    database.pool.execute(shim).await.unwrap();
    set(database, off_seconds).await;
    let path = "options[search_path]=public,shim,pg_catalog";
    let separator = if database.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}{path}", database.url);
    Launch::on(database.clone())
        .with("DATABASE_URL", &url)
        .start()
        .await
}

async fn set(database: &TestDatabase, off_seconds: i64) {
    let set = format!("DELETE FROM shim.off; INSERT INTO shim.off VALUES ('{off_seconds} s')");
    database.pool.execute(set.as_str()).await.unwrap();
}

async fn metric(app: &App, name: &str) -> Option<f64> {
    let text = app.get("/metrics").await.text();
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(name))?;
    line.split(' ').nth(1)?.parse().ok()
}

#[track_caller]
fn assert_about(seconds: f64, expected: f64) {
    assert!((seconds - expected).abs() < 30.0, "{seconds}");
}

async fn expired(app: &App) -> usize {
    let log = app.log().await;
    let is_expiry = |event: &&harness::Event| event.event_type == "HoldExpired";
    log.iter().filter(is_expiry).count()
}

async fn is_ready(app: &App) -> Option<()> {
    (app.get("/health/ready").await.status == 200).then_some(())
}

/// The server is not ready and rejects requests, with the clock skew.
async fn assert_waits(app: &App, drop: &str, off_seconds: f64, direction: &str) {
    let unready = app.get("/health/ready").await.problem(503, "unavailable");
    assert_about(unready["clock_skew_seconds"].as_f64().unwrap(), off_seconds);
    assert!(text(&unready["detail"]).contains(direction), "{unready}");
    let refused = app.hold(drop, "bob").await.problem(503, "unavailable");
    assert_about(refused["clock_skew_seconds"].as_f64().unwrap(), off_seconds);
    assert!(text(&refused["detail"]).contains(direction), "{refused}");
    assert_about(
        metric(app, "holdfast_clock_skew_seconds").await.unwrap(),
        off_seconds,
    );
    assert_eq!(metric(app, "holdfast_engine_up").await, Some(0.0));
    eventually("the server logs the skew", || async {
        app.stderr().contains(direction).then_some(())
    })
    .await;
}

async fn check_server_with_clock_skew(database_off: i64, direction: &str) {
    let database = fresh_database().await;
    let right = Launch::on(database.clone()).start().await;
    let drop = right.create_drop(9, json!({ "hold_seconds": 300 })).await;
    let held = right.held(&drop, "alice").await;
    #[expect(clippy::cast_precision_loss, reason = "ten minutes")]
    let skew = -database_off as f64;
    let wrong = start_off(&database, database_off).await;
    assert_waits(&wrong, &drop, skew, direction).await;
    assert!(is_ready(&right).await.is_some());
    // Reads and streams continue, by the database's clock, including events that the other server
    // records.
    let read = wrong.get(&format!("/v1/drops/{drop}")).await.ok(200);
    let streamed = wrong.watch("").await.drop().await.json();
    for shown in [&read, &streamed] {
        let server_time: DateTime<Utc> = text(&shown["server_time"]).parse().unwrap();
        let off = (server_time - Utc::now()).as_seconds_f64();
        #[expect(clippy::cast_precision_loss, reason = "ten minutes")]
        assert_about(off, database_off as f64);
    }
    right.held(&drop, "carol").await;
    eventually("it has applied the event", || async {
        (wrong.stock(&drop).await == right.stock(&drop).await).then_some(())
    })
    .await;
    assert_eq!(expired(&right).await, 0);
    set(&database, 0).await;
    eventually("it is ready again", || is_ready(&wrong)).await;
    assert_eq!(wrong.purchase(&held).await.status, 201);
    // Requests in flight as well.
    set(&database, database_off).await;
    eventually("it has detected the skew", || async {
        is_ready(&wrong).await.is_none().then_some(())
    })
    .await;
    assert_waits(&wrong, &drop, skew, direction).await;
    right.held(&drop, "dora").await;
    assert_eq!(expired(&right).await, 0);
    right.audit_verify().await;
}

#[tokio::test]
async fn server_with_a_fast_clock_waits_and_expires_no_hold() {
    check_server_with_clock_skew(-600, "ahead of the database's clock").await;
}

#[tokio::test]
async fn server_with_a_slow_clock_waits_and_sells_nothing() {
    check_server_with_clock_skew(600, "behind the database's clock").await;
}

#[tokio::test]
async fn log_that_ends_in_the_future_is_waited_for_and_noted_by_verify() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({ "hold_seconds": 300 })).await;
    // The event that a server with a fast clock left before the database rejected events from the
    // future.
    let forced = "
        ALTER TABLE log_head DISABLE TRIGGER refuse_future;
        ALTER TABLE events DISABLE TRIGGER refuse_later_than_head;
        ALTER TABLE events DISABLE TRIGGER place_stock_event;
        WITH head AS (
            UPDATE log_head SET position = position + 1, recorded_at = date_trunc('milliseconds', now()) + interval '10 minutes',
                   hash = event_hash(hash, position + 1, date_trunc('milliseconds', now()) + interval '10 minutes', 'Sample', 'a', 1, 'Sampled', '1.0', '{}', '{}')
            RETURNING position, recorded_at, hash
        )
        INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at, hash)
        SELECT 'Sample', 'a', 1, 'Sampled', '1.0', '{}', '{}', position, recorded_at, hash FROM head;
        ALTER TABLE events ENABLE ALWAYS TRIGGER refuse_later_than_head;
        ALTER TABLE events ENABLE ALWAYS TRIGGER place_stock_event;
        ALTER TABLE log_head ENABLE ALWAYS TRIGGER refuse_future";
    app.pool().execute(forced).await.unwrap();
    eventually("it has read the event from the future", || async {
        is_ready(&app).await.is_none().then_some(())
    })
    .await;
    let unready = app.get("/health/ready").await.problem(503, "unavailable");
    assert_about(unready["log_ahead_seconds"].as_f64().unwrap(), 600.0);
    let refused = app.hold(&drop, "bob").await.problem(503, "unavailable");
    assert_about(refused["log_ahead_seconds"].as_f64().unwrap(), 600.0);
    let restarted = app.restart().await;
    let unready = restarted
        .get("/health/ready")
        .await
        .problem(503, "unavailable");
    assert!(number(&unready["position"]) > 1, "{unready}");
    let audit = restarted.launch().run(&["audit", "verify"]).await;
    assert_eq!(audit.code, Some(0), "{audit:?}");
    assert!(
        audit
            .stderr
            .contains("in the future of this machine's clock"),
        "{audit:?}"
    );
    // An operator can choose to tolerate a time that stands still.
    let tolerant = restarted
        .stop()
        .await
        .with("HOLDFAST_MAX_CLOCK_SKEW_MS", "900000")
        .start()
        .await;
    let body: Value = json!({ "buyer_id": "bob" });
    assert_eq!(tolerant.hold_with(&drop, &key(), &body).await.status, 201);
    assert!(is_ready(&tolerant).await.is_some());
}

/// The clock of a server and of its private PostgreSQL, ahead of the machine's by the offset in a
/// file.
struct Machine {
    directory: tempfile::TempDir,
    library: String,
}

impl Machine {
    fn new() -> Self {
        let find = || {
            let directories = std::fs::read_dir("/usr/lib").ok()?.flatten();
            let file = |entry: std::fs::DirEntry| entry.path().join("faketime/libfaketime.so.1");
            directories.map(file).find(|library| library.is_file())
        };
        if find().is_none() {
            install(&["faketime"]);
        }
        let library = find().expect("libfaketime (Debian: faketime)");
        let machine = Self {
            directory: tempfile::tempdir().unwrap(),
            library: library.to_str().unwrap().to_owned(),
        };
        // As root, PostgreSQL runs as another account, which must be able to read it.
        permit(machine.directory.path());
        machine.set("+0");
        let programs = postgres_programs();
        for (name, preload) in [("initdb", String::new()), ("postgres", machine.exports())] {
            let program = programs.join(name);
            let script = format!("#!/bin/sh\n{preload}exec {} \"$@\"\n", program.display());
            let path = machine.directory.path().join(name);
            std::fs::write(&path, script).unwrap();
            permit(&path);
        }
        machine
    }

    fn clock(&self) -> std::path::PathBuf {
        self.directory.path().join("clock")
    }

    /// Sets the clock, as `+SECONDS`.
    fn set(&self, offset: &str) {
        let next = self.directory.path().join("next");
        std::fs::write(&next, offset).unwrap();
        permit(&next);
        std::fs::rename(next, self.clock()).unwrap();
    }

    fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", self.library.clone()),
            (
                "FAKETIME_TIMESTAMP_FILE",
                self.clock().display().to_string(),
            ),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    fn exports(&self) -> String {
        let export = |(name, value): (&str, String)| format!("export {name}='{value}'\n");
        self.variables().map(export).concat()
    }

    fn launch(&self) -> Launch {
        let programs = self.directory.path().to_str().unwrap();
        let launch = Launch::private().with("PG_BIN_DIR", programs);
        let variables = self.variables().into_iter();
        variables.fold(launch, |launch, (name, value)| launch.with(name, &value))
    }
}

fn permit(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The directory of an installed server's programs.
fn postgres_programs() -> std::path::PathBuf {
    let find = || {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        let programs = versions.map(|version| version.path().join("bin"));
        programs.filter(|bin| bin.join("initdb").is_file()).max()
    };
    if find().is_none() {
        install(&["postgresql"]);
    }
    find().expect("an installed PostgreSQL (Debian: postgresql)")
}

async fn until_ready(app: &App) {
    eventually("it is ready", || is_ready(app)).await;
}

/// Waits until readiness has this member, and returns it.
async fn unready_by(app: &App, member: &str) -> f64 {
    eventually("it reports the clock", || async {
        let ready = app.get("/health/ready").await;
        (ready.status == 503).then(|| ready.json()[member].as_f64())?
    })
    .await
}

#[tokio::test]
async fn machine_whose_clock_jumps_an_hour_and_back_goes_on_as_if_it_had_not() {
    let machine = Machine::new();
    let app = machine.launch().start().await;
    let drop = app.create_drop(9, json!({ "hold_seconds": 300 })).await;
    for (offset, jump, direction) in [("+3600", 3600.0, "ahead"), ("-3600", -3600.0, "back")] {
        let held = app.held(&drop, direction).await;
        machine.set(offset);
        assert_about(unready_by(&app, "clock_jump_seconds").await, jump);
        let refused = app.hold(&drop, "bob").await.problem(503, "unavailable");
        assert_about(refused["clock_jump_seconds"].as_f64().unwrap(), jump);
        app.wait_for_log(&format!("s {direction} together: deciding no requests"))
            .await;
        let shown = metric(&app, "holdfast_clock_jump_seconds").await;
        assert_about(shown.unwrap(), jump);
        machine.set("+0");
        until_ready(&app).await;
        app.purchase(&held).await.ok(201);
    }
    assert_eq!(expired(&app).await, 0);
    app.audit_verify().await;

    // A time that stays is believed after the hold-off.
    let launch = app.stop().await;
    let app = launch
        .with("HOLDFAST_CLOCK_HOLD_OFF_SECONDS", "1")
        .start()
        .await;
    app.held(&drop, "carol").await;
    machine.set("+3600");
    eventually("the hold is over at the new time", || async {
        (expired(&app).await == 1).then_some(())
    })
    .await;
    until_ready(&app).await;
    app.held(&drop, "dora").await;
    // Its last events are in the future once the clock is right. The operator has a way out.
    machine.set("+0");
    let ahead = unready_by(&app, "log_ahead_seconds").await;
    assert_about(ahead, 3600.0);
    app.wait_for_log("with HOLDFAST_MAX_CLOCK_SKEW_MS above")
        .await;
    let launch = app.stop().await;
    let app = launch
        .with("HOLDFAST_MAX_CLOCK_SKEW_MS", "4000000")
        .start()
        .await;
    app.held(&drop, "erin").await;
    assert_eq!(expired(&app).await, 1);
    app.audit_verify().await;
}
