//! A server that reads the event log responds: a supervisor sees that it is alive, an operator its
//! progress, and a client that it has to retry.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use harness::{Api, App, Launch, eventually};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use serde_json::json;
use sqlx::{PgPool, Postgres, Transaction};

/// An address that was free a moment ago.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

/// The log cannot be read until the returned transaction ends.
async fn locked_log(pool: &PgPool) -> Transaction<'static, Postgres> {
    let mut lock = pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .expect("the lock");
    lock
}

#[tokio::test]
async fn server_responds_while_it_reads_the_log() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let head = app.log().await.len();
    let pool = app.pool().clone();
    let launch = app.stop().await;

    let lock = locked_log(&pool).await;
    let address = free_address();
    let api = Api::new(format!("http://{address}"));
    let start = tokio::spawn(async move { launch.start_at(&address, &["serve"]).await });
    let progress = eventually("the server reads the log", || async {
        let ready = api.try_get("/health/ready").await?;
        let problem = ready.problem(503, "unavailable");
        (problem["step"] == "log").then_some(problem)
    })
    .await;
    assert_eq!(
        (&progress["position"], &progress["head"]),
        (&json!(0), &json!(head))
    );
    let detail = progress["detail"].as_str().unwrap();
    assert!(
        detail.contains(&format!("position 0 of {head}")),
        "{detail}"
    );
    assert_eq!(
        api.get("/health/live").await.ok(200),
        json!({ "status": "live" })
    );
    for path in ["/v1/drops", "/v1/stream"] {
        let reply = api.get(path).await;
        reply.problem(503, "unavailable");
        assert!(!reply.header("retry-after").is_empty(), "{path}");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    // After a 503, an `EventSource` would never reconnect.
    let stream = api.request(Method::GET, "/v1/stream");
    let stream = stream.header("accept", "text/event-stream");
    let stream = stream.send().await.unwrap();
    assert_eq!(stream.status().as_u16(), 200);
    let events = stream.text().await.unwrap();
    assert_eq!(events, ": the server is starting\n\n");
    // Not described: an application that exists serves these in every state.
    for path in ["/", "/metrics"] {
        let reply = api.request(Method::GET, path).send().await.unwrap();
        assert_eq!(reply.status().as_u16(), 503, "{path}");
    }
    let hold = api.hold(&drop, "ann").await;
    hold.problem(503, "unavailable");
    assert!(!start.is_finished());

    lock.rollback().await.unwrap();
    let app = start.await.unwrap();
    // The same client, whose connections are older than the application.
    assert_eq!(api.get("/health/ready").await.ok(200)["status"], "ready");
    api.hold(&drop, "ann").await.ok(201);
    app.audit_verify().await;
}

#[tokio::test]
async fn start_that_is_interrupted_ends_while_the_log_is_locked() {
    let app = App::start().await;
    let pool = app.pool().clone();
    let launch = app.stop().await;
    let lock = locked_log(&pool).await;
    let address = free_address();
    let api = Api::new(format!("http://{address}"));
    let mut command = launch.command(&["serve", "--listen", &address]);
    command.envs([
        ("HOLDFAST_ADMIN_KEY", "k".repeat(40)),
        ("HOLDFAST_AUDITOR_KEY", "a".repeat(40)),
    ]);
    let mut server = command.spawn().unwrap();
    let pid = server.id().to_string();
    eventually("the server is alive", || async {
        Some(api.try_get("/health/live").await?.ok(200))
    })
    .await;
    let killed = std::process::Command::new("kill")
        .arg(&pid)
        .status()
        .unwrap();
    assert!(killed.success());
    let ended = tokio::task::spawn_blocking(move || server.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        ended.code(),
        Some(0),
        "a stop is no failure, whenever it arrives"
    );
    lock.rollback().await.unwrap();
}

#[tokio::test]
async fn start_that_waits_for_a_silent_database_or_key_set_is_stopped_by_a_signal() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let database = ("DATABASE_URL", format!("postgres://{silent}/shop"));
    let keys = ("HOLDFAST_BUYER_JWKS", format!("http://{silent}/keys"));
    for (command, (name, value)) in [("serve", &database), ("demo", &database), ("serve", &keys)] {
        let launch = Launch::private().with(name, value);
        let mut starting = launch.command(&[command, "--listen", "127.0.0.1:0"]);
        let mut server = starting.spawn().unwrap();
        let pid = server.id().to_string();
        // The keys are generated after the settings were checked, and before anything waits.
        let last = launch.data_dir().join("auditor.key");
        eventually("the start waits", || async { last.exists().then_some(()) }).await;
        let killed = std::process::Command::new("kill").arg(&pid).status();
        assert!(killed.unwrap().success());
        let ended = tokio::task::spawn_blocking(move || server.wait());
        let ended = ended.await.unwrap().unwrap();
        assert_eq!(ended.code(), Some(0), "{command} {name}");
    }
}

/// Programs whose initdb never ends by itself. It writes its process id.
fn endless_initdb(directory: &Path) -> PathBuf {
    // Another account may run it.
    let pids = directory.join("pids");
    fs::create_dir(&pids).unwrap();
    fs::set_permissions(&pids, Permissions::from_mode(0o777)).unwrap();
    for (name, script) in [
        ("postgres", "echo 'postgres (PostgreSQL) 15.0'"),
        (
            "initdb",
            "cd \"$(dirname \"$0\")/pids\"\necho $$ >new\nmv new pid\nexec sleep 1000",
        ),
    ] {
        let file = directory.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    }
    pids.join("pid")
}

#[tokio::test]
async fn signal_during_the_first_start_ends_initdb_and_is_a_normal_stop() {
    for command in ["serve", "demo"] {
        let launch = Launch::private();
        let programs = tempfile::tempdir().unwrap();
        fs::set_permissions(programs.path(), Permissions::from_mode(0o755)).unwrap();
        let pid_file = endless_initdb(programs.path());
        let first = launch
            .clone()
            .with("PG_BIN_DIR", programs.path().to_str().unwrap());
        let mut server = first
            .command(&[command, "--listen", "127.0.0.1:0"])
            .spawn()
            .unwrap();
        let initdb: i32 = eventually("initdb runs", || async {
            fs::read_to_string(&pid_file).ok()?.trim().parse().ok()
        })
        .await;
        kill(Pid::from_raw(server.id().cast_signed()), Signal::SIGTERM).unwrap();
        let ended = tokio::task::spawn_blocking(move || server.wait())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(ended.code(), Some(0), "{command}");
        assert_eq!(kill(Pid::from_raw(initdb), None), Err(Errno::ESRCH));
        let left = launch.data_dir().join("postgres.initdb");
        assert!(!left.exists(), "{command}");
        if command == "serve" {
            launch.start().await.stop().await;
        }
    }
}
