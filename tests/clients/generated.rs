//! Third-party client generators read `/openapi.json`, and the generated clients run the life of a
//! drop: schedule, hold, sell out, join the waitlist, release, receive an offer, purchase, adjust,
//! edit, list, read the log, be refused, cancel.
//!
//! Promise: each generator runs with its default settings on the document that the real server
//! serves, and its client, compiled where the language is compiled, reads every response and every
//! problem as the right type. openapi-python-client 0.29.1 and datamodel-code-generator 0.89.0
//! (Python), openapi-typescript 7.13.0 (TypeScript), openapi-generator 7.26.0 (Rust). Limit: needs
//! Python, Node, npm and cargo, and access to their registries on the first run.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{ADMIN_KEY, App, Node, Python, run};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

const REQUIREMENTS: &str = include_str!("requirements.txt");

/// A server, and a directory with its document.
struct GeneratorTest {
    app: App,
    url: String,
    directory: TempDir,
}

impl GeneratorTest {
    async fn new() -> Self {
        let app = App::start().await;
        let url = format!("http://{}", app.address());
        let directory = tempfile::tempdir().unwrap();
        let document = app.get("/openapi.json").await;
        fs::write(directory.path().join("openapi.json"), &document.body).unwrap();
        Self {
            app,
            url,
            directory,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the client, which prints a line when it has finished.
    async fn assert_completes(self, mut client: Command) {
        client.args([&self.url, ADMIN_KEY]);
        let output = spawn_blocking(move || run(&mut client)).await.unwrap();
        assert_eq!(output.lines().last(), Some("lived"), "{output}");
        self.app.audit_verify().await;
    }
}

async fn run_blocking(mut command: Command) -> String {
    spawn_blocking(move || run(&mut command)).await.unwrap()
}

/// A file or directory of these tests.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name)
}

/// A build directory that outlasts the test, so that the next run is fast.
fn build_directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("clients")
        .join(name);
    fs::create_dir_all(&directory).unwrap();
    directory
}

#[tokio::test]
async fn openapi_python_client_runs_the_life_of_a_drop() {
    let subject = GeneratorTest::new().await;
    let python = Python::with(REQUIREMENTS).await;
    let generated = subject.path("generated");
    let mut generate = python.tool("openapi-python-client");
    generate
        .args(["generate", "--path"])
        .arg(subject.path("openapi.json"));
    generate.arg("--output-path").arg(&generated);
    // The generator formats its output with the `ruff` of its environment.
    generate.env("PATH", python.tools_first());
    let output = run_blocking(generate).await;
    assert!(!output.contains("Warning"), "{output}");
    let mut client = python.command();
    client
        .arg(source("openapi_python_client.py"))
        .arg(generated);
    subject.assert_completes(client).await;
}

#[tokio::test]
async fn datamodel_code_generator_models_run_the_life_of_a_drop() {
    let subject = GeneratorTest::new().await;
    let python = Python::with(REQUIREMENTS).await;
    let mut generate = python.tool("datamodel-codegen");
    generate.arg("--input").arg(subject.path("openapi.json"));
    generate.arg("--output").arg(subject.path("models.py"));
    run_blocking(generate).await;
    let mut client = python.command();
    client
        .arg(source("datamodel_codegen.py"))
        .arg(subject.directory.path());
    subject.assert_completes(client).await;
}

#[tokio::test]
async fn openapi_typescript_types_run_the_life_of_a_drop() {
    let subject = GeneratorTest::new().await;
    let node = Node::with(
        include_str!("../../clients/typescript/package.json"),
        include_str!("../../clients/typescript/package-lock.json"),
    )
    .await;
    let directory = subject.directory.path().to_owned();
    symlink(node.packages(), directory.join("node_modules")).unwrap();
    for name in ["tsconfig.json", "life.ts"] {
        fs::copy(source("typescript").join(name), directory.join(name)).unwrap();
    }
    // The client is compiled to a module.
    fs::write(directory.join("package.json"), r#"{ "type": "module" }"#).unwrap();
    let in_folder = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(&directory);
        command
    };
    let mut generate = in_folder("node");
    generate
        .arg("node_modules/openapi-typescript/bin/cli.js")
        .arg(subject.path("openapi.json"));
    generate.args(["--output", "api.d.ts"]);
    run_blocking(generate).await;
    let mut compile = in_folder("node");
    compile.args(["node_modules/typescript/bin/tsc", "--project", "."]);
    run_blocking(compile).await;
    let mut client = in_folder("node");
    client.arg("life.js");
    subject.assert_completes(client).await;
}

#[tokio::test]
async fn openapi_generator_rust_client_runs_the_life_of_a_drop() {
    let subject = GeneratorTest::new().await;
    let python = Python::with(REQUIREMENTS).await;
    let directory = build_directory("rust");
    let client = directory.join("client");
    if client.exists() {
        // Files of an earlier document.
        fs::remove_dir_all(&client).unwrap();
    }
    fs::create_dir_all(directory.join("src")).unwrap();
    for name in ["Cargo.toml", "Cargo.lock", "src/main.rs"] {
        fs::copy(source("rust").join(name), directory.join(name)).unwrap();
    }
    let mut generate = python.tool("openapi-generator-cli");
    generate.args(["generate", "--generator-name", "rust", "--input-spec"]);
    generate
        .arg(subject.path("openapi.json"))
        .arg("--output")
        .arg(&client);
    run_blocking(generate).await;
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--locked", "--quiet"])
        .current_dir(&directory);
    build.env("CARGO_TARGET_DIR", directory.join("target"));
    build.env("CARGO_PROFILE_DEV_DEBUG", "0");
    run_blocking(build).await;
    let client = Command::new(directory.join("target/debug/life"));
    subject.assert_completes(client).await;
}
