//! `holdfast audit export`: every event once, as it is stored, in each format; and the schema of
//! the events.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod format;
mod head;
mod range;
mod resume;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};

use harness::{Finished, Launch, SampleLog};

/// The database of a stopped server, and a directory for files.
struct Auditor {
    launch: Launch,
}

impl Auditor {
    async fn of(sample: &SampleLog) -> Self {
        let launch = Launch::on(sample.altered("SELECT 1").await);
        Self { launch }
    }

    async fn export(&self, arguments: &[&str]) -> Finished {
        self.launch
            .run(&[&["audit", "export"], arguments].concat())
            .await
    }

    async fn exported(&self, arguments: &[&str]) -> String {
        let done = self.export(arguments).await;
        assert_eq!(
            (done.code, done.stderr.as_str()),
            (Some(0), ""),
            "no progress bar without a terminal"
        );
        done.stdout
    }

    fn file(&self, name: &str) -> PathBuf {
        self.launch.data_dir().join(name)
    }
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

#[tokio::test]
async fn export_equals_the_servers_stream() {
    let sample = SampleLog::create().await;
    let auditor = Auditor::of(&sample).await;
    assert_eq!(auditor.exported(&[]).await, sample.export);
    assert_eq!(
        auditor.exported(&["--format", "ndjson"]).await,
        sample.export
    );

    let file = auditor.file("log.ndjson");
    assert_eq!(auditor.exported(&["--output", path(&file)]).await, "");
    assert_eq!(fs::read_to_string(&file).unwrap(), sample.export);
    let again = auditor.export(&["--output", path(&file)]).await;
    assert_eq!(
        again.code,
        Some(2),
        "never over an existing file: {again:?}"
    );

    let verdict = auditor
        .launch
        .run(&["audit", "verify", "--file", path(&file)])
        .await;
    let from_database = auditor.launch.run(&["audit", "verify"]).await;
    assert_eq!(
        (verdict.code, verdict.stdout),
        (Some(0), from_database.stdout)
    );

    for name in ["alice", "bob", "carol", "dora", "The real"] {
        assert!(!sample.export.contains(name), "{name}");
    }
}

/// Runs docs/verify.py, the verifier that shares no code with the product.
async fn python(arguments: &[&str]) -> Finished {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify.py");
    let mut python = std::process::Command::new("python3");
    python.arg(script).args(arguments);
    harness::finish(python).await
}
