//! Other people's client generators read `/openapi.json`, and what they generate lives one life of a
//! drop: schedule, hold, be sold out, join the waitlist, release, be offered, buy, adjust, edit, list,
//! read the log, be refused, cancel.
//!
//! Promise: each generator runs with its default settings on the document that the real server
//! serves, and its client, compiled where the language is, reads every answer and every problem as
//! the type that it is. openapi-python-client 0.29.1 and datamodel-code-generator 0.89.0 (Python),
//! openapi-typescript 7.13.0 (TypeScript), openapi-generator 7.26.0 (Rust).
//! Limit: needs Python, Node, npm and cargo with their registries, the first time.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{ADMIN_KEY, App, Python, install, on_path, run};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

const REQUIREMENTS: &str = include_str!("requirements.txt");

/// A server, and a folder with its document.
struct Subject {
    app: App,
    url: String,
    folder: TempDir,
}

impl Subject {
    async fn new() -> Self {
        let app = App::start().await;
        let url = format!("http://{}", app.address());
        let folder = tempfile::tempdir().unwrap();
        let document = app.get("/openapi.json").await;
        fs::write(folder.path().join("openapi.json"), &document.body).unwrap();
        Self { app, url, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the client, which says at its end that it came so far.
    async fn lives(self, mut client: Command) {
        client.args([&self.url, ADMIN_KEY]);
        let said = spawn_blocking(move || run(&mut client)).await.unwrap();
        assert_eq!(said.lines().last(), Some("lived"), "{said}");
        self.app.verifies().await;
    }
}

async fn run_apart(mut command: Command) -> String {
    spawn_blocking(move || run(&mut command)).await.unwrap()
}

/// A file or folder of these tests.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name)
}

/// A folder for builds that outlasts the test, so that the next run is quick.
fn kept(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("clients")
        .join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test]
async fn the_client_of_openapi_python_client_lives_a_life_of_a_drop() {
    let subject = Subject::new().await;
    let python = Python::with(REQUIREMENTS).await;
    let generated = subject.path("generated");
    let mut generate = python.tool("openapi-python-client");
    generate
        .args(["generate", "--path"])
        .arg(subject.path("openapi.json"));
    generate.arg("--output-path").arg(&generated);
    // It formats what it generates with the `ruff` of its environment.
    generate.env("PATH", python.tools_first());
    let said = run_apart(generate).await;
    assert!(!said.contains("Warning"), "{said}");
    let mut client = python.command();
    client
        .arg(source("openapi_python_client.py"))
        .arg(generated);
    subject.lives(client).await;
}

#[tokio::test]
async fn the_models_of_datamodel_code_generator_live_a_life_of_a_drop() {
    let subject = Subject::new().await;
    let python = Python::with(REQUIREMENTS).await;
    let mut generate = python.tool("datamodel-codegen");
    generate.arg("--input").arg(subject.path("openapi.json"));
    generate.arg("--output").arg(subject.path("models.py"));
    run_apart(generate).await;
    let mut client = python.command();
    client
        .arg(source("datamodel_codegen.py"))
        .arg(subject.folder.path());
    subject.lives(client).await;
}

#[tokio::test]
async fn the_types_of_openapi_typescript_live_a_life_of_a_drop() {
    let subject = Subject::new().await;
    if on_path("npm").is_none() {
        install(&["nodejs", "npm"]);
    }
    let folder = kept("typescript");
    for name in [
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "life.ts",
    ] {
        fs::copy(source("typescript").join(name), folder.join(name)).unwrap();
    }
    let in_folder = |program: &str| {
        let mut command = Command::new(on_path(program).expect("Node and npm are installed"));
        command.current_dir(&folder);
        command
    };
    let lock = fs::read_to_string(folder.join("package-lock.json")).unwrap();
    let installed = folder.join("node_modules/.installed-from");
    if !fs::read_to_string(&installed).is_ok_and(|from| from == lock) {
        let mut npm = in_folder("npm");
        npm.args(["ci", "--no-audit", "--no-fund"]);
        run_apart(npm).await;
        fs::write(&installed, lock).unwrap();
    }
    let mut generate = in_folder("node");
    generate
        .arg("node_modules/openapi-typescript/bin/cli.js")
        .arg(subject.path("openapi.json"));
    generate.args(["--output", "api.d.ts"]);
    run_apart(generate).await;
    let mut compile = in_folder("node");
    compile.args(["node_modules/typescript/bin/tsc", "--project", "."]);
    run_apart(compile).await;
    let mut client = in_folder("node");
    client.arg("life.js");
    subject.lives(client).await;
}

#[tokio::test]
async fn the_rust_client_of_openapi_generator_lives_a_life_of_a_drop() {
    let subject = Subject::new().await;
    let python = Python::with(REQUIREMENTS).await;
    let folder = kept("rust");
    let client = folder.join("client");
    if client.exists() {
        // Files of an earlier document.
        fs::remove_dir_all(&client).unwrap();
    }
    fs::create_dir_all(folder.join("src")).unwrap();
    for name in ["Cargo.toml", "Cargo.lock", "src/main.rs"] {
        fs::copy(source("rust").join(name), folder.join(name)).unwrap();
    }
    let mut generate = python.tool("openapi-generator-cli");
    generate.args(["generate", "--generator-name", "rust", "--input-spec"]);
    generate
        .arg(subject.path("openapi.json"))
        .arg("--output")
        .arg(&client);
    run_apart(generate).await;
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--locked", "--quiet"])
        .current_dir(&folder);
    build.env("CARGO_TARGET_DIR", folder.join("target"));
    build.env("CARGO_PROFILE_DEV_DEBUG", "0");
    run_apart(build).await;
    let client = Command::new(folder.join("target/debug/life"));
    subject.lives(client).await;
}
