//! The clients in `clients/` against the real server, on a connection that loses requests,
//! responses and streams.
//!
//! Promise: each is built as its README says, from the document of the running server; repeats
//! requests with one idempotency key, so that the log has one hold and one purchase; throws
//! problems with their code; and continues the stream with its last id. The example of the README
//! in TypeScript is compiled. The server is below a path. Limit: as that of `generated.rs`.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

#[path = "client_libraries/proxy.rs"]
mod proxy;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::proxies::BELOW;
use harness::{ADMIN_KEY, App, Launch, Node, Python, run};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use self::proxy::{Fault, Unreliable};

/// The first attempt to create the drop is not recorded, the first hold is; and the first stream
/// ends before it shows the hold.
const FAULTS: &[(&str, Fault)] = &[
    ("POST /shop/v1/drops HTTP", Fault::Unavailable),
    ("/holds HTTP", Fault::ResponseLost),
    ("GET /shop/v1/stream", Fault::CutBefore("\"held\":1")),
];
const LINES: [&str; 5] = [
    "replayed: true",
    "sold_out: 0 available",
    "purchased: 4900",
    "drop_not_found: 404",
    "stream: invalid_query",
];

/// A directory of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A server, its document and a directory to build in.
pub(crate) async fn prepare() -> (App, TempDir) {
    with_document(App::start().await).await
}

/// As [`prepare`], for a shop below a path: its clients have a base URL with a path.
async fn prepare_below() -> (App, TempDir) {
    let launch = Launch::fresh().await;
    with_document(launch.with("HOLDFAST_BASE_PATH", BELOW).start().await).await
}

async fn with_document(app: App) -> (App, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let document = app.get("/openapi.json").await;
    fs::write(directory.path().join("openapi.json"), &document.body).unwrap();
    (app, directory)
}

pub(crate) async fn run_blocking(mut command: Command) -> String {
    spawn_blocking(move || run(&mut command)).await.unwrap()
}

async fn assert_survives(app: &App, mut client: Command) {
    let proxy = Unreliable::new(app.address(), FAULTS);
    client.args([&format!("{}{BELOW}", proxy.start().await), ADMIN_KEY]);
    let output = run_blocking(client).await;
    assert_eq!(output.lines().collect::<Vec<_>>(), LINES);
    let keys = |words: &str| {
        let requests = proxy.requests(words).into_iter();
        let keys = requests.map(|headers| headers["idempotency-key"].clone());
        keys.collect::<Vec<_>>()
    };
    let created = keys("POST /shop/v1/drops HTTP");
    assert_eq!(created.len(), 2);
    assert_eq!(created[0], created[1]);
    let held = keys("/holds HTTP");
    assert_eq!(held.len(), 3, "two attempts of one hold, one of another");
    assert!(held[0] == held[1] && held[1] != held[2], "{held:?}");
    let streams = proxy.requests("GET /shop/v1/stream");
    assert_eq!(streams[0].get("last-event-id"), None);
    let resumed: u64 = streams[1]["last-event-id"].parse().unwrap();
    assert!(resumed > 0);
    assert_eq!(
        app.requested_events().await,
        3,
        "scheduled, held, purchased"
    );
    app.audit_verify().await;
}

/// Returns the first block of code in `language` of a README.
fn example(readme: &str, language: &str) -> String {
    let (_, rest) = readme.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// Builds the client in TypeScript in a directory with the document; returns the command that runs
/// `script`.
pub(crate) async fn typescript_client(build: &Path, script: &str) -> Command {
    let source = repository("clients/typescript");
    let node = Node::with(
        include_str!("../../clients/typescript/package.json"),
        include_str!("../../clients/typescript/package-lock.json"),
    )
    .await;
    symlink(node.packages(), build.join("node_modules")).unwrap();
    fs::create_dir(build.join("src")).unwrap();
    for file in fs::read_dir(source.join("src")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), build.join("src").join(file.file_name())).unwrap();
    }
    for name in ["package.json", "tsconfig.json"] {
        fs::copy(source.join(name), build.join(name)).unwrap();
    }
    let readme = fs::read_to_string(source.join("README.md")).unwrap();
    let readme = example(&readme, "ts").replace("\"holdfast-client\"", "\"./index.js\"");
    let readme = format!("declare const adminKey: string;\n{readme}");
    fs::write(build.join("src/readme.ts"), readme).unwrap();
    let mut npm = Command::new("npm");
    npm.args(["run", "--silent", "build"]).current_dir(build);
    npm.env("HOLDFAST_OPENAPI", "openapi.json");
    run_blocking(npm).await;
    let file = build.join("script.mjs");
    fs::write(&file, script).unwrap();
    let mut client = Command::new("node");
    client.arg(file);
    client
}

#[tokio::test]
async fn typescript_client_survives_an_unreliable_connection() {
    let (app, directory) = prepare_below().await;
    let check = include_str!("client_libraries/check.mjs");
    let client = typescript_client(directory.path(), check).await;
    assert_survives(&app, client).await;
}

/// Generates the client in Python in a directory with the document; returns the command that runs
/// `script`.
pub(crate) async fn python_client(build: &Path, script: &str) -> Command {
    let source = repository("clients/python");
    let python = Python::with(include_str!("requirements.txt")).await;
    let mut generate = python.command();
    generate.arg(source.join("generate.py"));
    generate.arg(build.join("openapi.json"));
    generate.arg(build);
    run_blocking(generate).await;
    let mut client = python.command();
    // Without bytecode next to the sources.
    client.arg("-B").arg("-c");
    client.arg(script);
    client.arg(&source).arg(build);
    client
}

#[tokio::test]
async fn python_client_survives_an_unreliable_connection() {
    let (app, directory) = prepare_below().await;
    let check = include_str!("client_libraries/check.py");
    let client = python_client(directory.path(), check).await;
    assert_survives(&app, client).await;
}
