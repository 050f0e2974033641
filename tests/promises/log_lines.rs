//! Standard error and standard output that cannot be written: on a full disk, without a reader, or
//! with a reader that does not read. Neither a server nor a command fails because of it.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use harness::{ADMIN_KEY, Api, App, Finished, Launch, eventually};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::O_NONBLOCK;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::json;
use tokio::task::spawn_blocking;

/// Sells a unit and shuts down gracefully.
async fn assert_works(app: App) {
    let drop = app.create_drop(10, json!({ "hold_seconds": 3600 })).await;
    for buyer in 0..10 {
        app.held(&drop, &format!("buyer-{buyer}")).await;
    }
    assert_eq!(app.hold(&drop, "late").await.status, 409);
    assert_eq!(app.get("/health/ready").await.status, 200);
    app.stop().await;
}

/// A server that writes many log lines, started after this line of script.
async fn started(launch: Launch, script: &str) -> App {
    launch.with("RUST_LOG", "debug").after(script).start().await
}

#[tokio::test]
async fn full_disk_under_the_log_stops_no_server() {
    let app = started(Launch::fresh().await, "exec 2>/dev/full").await;
    assert_works(app).await;
}

#[tokio::test]
async fn closed_standard_error_stops_no_server() {
    let app = started(Launch::fresh().await, "exec 2>&-").await;
    assert_works(app).await;
}

/// A named pipe to which a server writes its log.
struct Pipe(PathBuf);

impl Pipe {
    fn of(launch: &Launch) -> Self {
        let path = launch.data_dir().join("log-pipe");
        mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("the directory is ours");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// A reader, even if no writer has opened the pipe.
    fn reader(&self) -> File {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(O_NONBLOCK);
        options.open(&self.0).expect("it is a pipe")
    }
}

/// A server with a reader of its standard error.
async fn started_with(pipe: &Pipe, launch: Launch) -> (App, File) {
    let reader = pipe.reader();
    let script = format!("exec 2>{}", pipe.path().display());
    (started(launch, &script).await, reader)
}

/// Reads the bytes that are available now.
fn available(reader: &mut File) -> String {
    let (mut text, mut chunk) = (vec![], vec![0; 1 << 16]);
    while let Ok(length @ 1..) = reader.read(&mut chunk) {
        text.extend_from_slice(&chunk[..length]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

async fn until_losses_are_reported(app: &App, reader: &mut File) {
    let mut text = String::new();
    let reported = async {
        loop {
            text.push_str(&available(reader));
            let report = text
                .lines()
                .find(|line| line.contains("log lines were lost"));
            if let Some(report) = report {
                return report.to_owned();
            }
            // Requests that are logged.
            app.get("/v1/drops").await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let report = tokio::time::timeout(harness::TIMEOUT, reported)
        .await
        .expect("the report is in the log");
    let lost = report
        .split_whitespace()
        .find_map(|word| word.parse::<u64>().ok());
    assert!(lost.is_some_and(|lost| lost > 0), "{report}");
}

#[tokio::test]
async fn server_outlives_its_log_reader_and_reports_lost_lines_to_the_next() {
    let launch = Launch::fresh().await;
    let pipe = Pipe::of(&launch);
    let (app, reader) = started_with(&pipe, launch).await;
    std::mem::drop(reader);
    let drop = app.create_drop(10, json!({ "hold_seconds": 3600 })).await;
    for buyer in 0..5 {
        app.held(&drop, &format!("buyer-{buyer}")).await;
    }
    let mut reader = pipe.reader();
    until_losses_are_reported(&app, &mut reader).await;
    assert_eq!(app.stock(&drop).await, [10, 5, 5, 0]);
    app.stop().await;
}

#[tokio::test]
async fn blocked_log_reader_delays_no_request() {
    let launch = Launch::fresh().await;
    let pipe = Pipe::of(&launch);
    let reader = pipe.reader();
    // A small pipe, which the log lines of a start at this level fill many times over.
    fcntl(&reader, FcntlArg::F_SETPIPE_SZ(4_096)).expect("a smaller pipe is allowed");
    let script = format!("exec 2>{}", pipe.path().display());
    assert_works(started(launch, &script).await).await;
}

#[tokio::test]
async fn server_needs_no_reader_of_its_standard_output() {
    let launch = Launch::fresh()
        .await
        .with("HOLDFAST_ADMIN_KEY", ADMIN_KEY)
        .after("exec >/dev/full");
    // Its standard output cannot be read, so its address is chosen here.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = free
        .local_addr()
        .expect("the listener is bound")
        .to_string();
    std::mem::drop(free);
    let mut command = launch.command(&["serve", "--listen", &address]);
    let mut server = command.spawn().expect("the program can be started");
    let api = Api::new(format!("http://{address}"));
    eventually("it is ready", || async {
        let response = reqwest::get(format!("http://{address}/health/ready")).await;
        response
            .is_ok_and(|response| response.status() == 200)
            .then_some(())
    })
    .await;
    let drop = api.create_drop(1, json!({ "hold_seconds": 3600 })).await;
    api.held(&drop, "alice").await;
    let pid = i32::try_from(server.id()).expect("a process id is positive");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the process is a child of this test");
    let status = spawn_blocking(move || server.wait()).await;
    let status = status
        .expect("the process can be waited for")
        .expect("the process is a child of this test");
    assert!(status.success(), "{status}");
}

/// Runs a command in a shell, as the first part of a pipeline.
async fn piped(launch: &Launch, arguments: &[&str], into: &str) -> Finished {
    let script = format!("({}) {into}", "\"$0\" \"$@\"; echo \"exit $?\" >&2");
    let launch = launch.clone().after(&format!("{script}; exit 0; true"));
    launch.run(arguments).await
}

#[tokio::test]
async fn commands_with_unread_output_exit_as_usual() {
    let app = App::start().await;
    let drop = app.create_drop(10, json!({ "hold_seconds": 3600 })).await;
    let hold = app.held(&drop, "alice").await;
    for arguments in [
        &["audit", "verify"][..],
        &["audit", "export"],
        &["audit", "export", "--format", "csv"],
        &["audit", "history", "--hold", &hold],
        &["audit", "state"],
        &["audit", "replay"],
        &["audit", "schema"],
        &["projections", "list"],
    ] {
        let closed = piped(app.launch(), arguments, "| true").await;
        assert!(
            !closed.stderr.contains("panicked"),
            "{arguments:?}: {closed:?}"
        );
        assert!(
            closed.stderr.contains("exit 0"),
            "{arguments:?}: {closed:?}"
        );
        let full = piped(app.launch(), arguments, ">/dev/full").await;
        assert!(!full.stderr.contains("panicked"), "{arguments:?}: {full:?}");
        assert!(!full.stderr.contains("exit 101"), "{arguments:?}: {full:?}");
        assert!(
            full.stderr.contains("the disk is full"),
            "{arguments:?}: {full:?}"
        );
    }
}

#[tokio::test]
async fn commands_with_unread_standard_error_exit_as_usual() {
    let app = App::start().await;
    app.create_drop(10, json!({ "hold_seconds": 3600 })).await;
    let unknown = "00000000-0000-4000-8000-000000000000.00000000-0000-4000-8000-000000000000";
    for arguments in [
        &["audit", "verify"][..],
        &["audit", "history", "--hold", unknown],
        &["audit", "state", "--at", "999"],
        &["seed", "--url", "http://127.0.0.1:1", "--admin-key", "k"],
        &["audit", "nonsense"],
    ] {
        let with_reader = app.launch().run(arguments).await;
        let without_reader = app.launch().clone().after("exec 2>/dev/full");
        let without_reader = without_reader.run(arguments).await;
        assert_eq!(
            with_reader.code, without_reader.code,
            "{arguments:?}: {with_reader:?}"
        );
        assert_ne!(without_reader.code, Some(101), "{arguments:?}");
    }
}
