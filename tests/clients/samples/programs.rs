//! Runs samples in their languages: one process for each language.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use harness::{ADMIN_KEY, AUDITOR_KEY, finish, install, on_path};
use regex::Regex;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::task::spawn_blocking;

/// What precedes the output of each sample.
const MARK: &str = "@@ ";

/// The program of a language, and the package that contains it.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("curl", "sh", "curl"),
    ("JavaScript", "node", "nodejs"),
    ("Python", "python3", "python3"),
];

/// Runs the modules that its arguments name, one after another.
const NODE: &str = "for (const id of process.argv.slice(1)) {
  console.log(`@@ ${id}`);
  await import(`${process.cwd()}/${id}.mjs`);
}";

/// As [`NODE`]. An error of HTTP is an exception in Python; its response is printed as well.
const PYTHON: &str = "
import runpy, sys, urllib.error
for id in sys.argv[1:]:
    print('@@', id, flush=True)
    try:
        runpy.run_path(id + '.py')
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode(), flush=True)
";

/// What one sample printed.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) output: String,
}

impl Outcome {
    fn of(output: &str) -> Self {
        let status = output.split_whitespace().next();
        let status = status.and_then(|word| word.parse().ok());
        Self {
            status: status.unwrap_or_default(),
            output: output.to_owned(),
        }
    }

    /// The code of the problem that was printed, as any of the languages prints it; empty if there
    /// is none.
    pub(super) fn code(&self) -> String {
        let code = Regex::new(r#"\bcode["']?: ?["'](\w+)["']"#).unwrap();
        let found = code.captures(&self.output).filter(|_| self.status >= 400);
        found.map(|found| found[1].to_owned()).unwrap_or_default()
    }
}

/// Runs samples, one after another, and returns the outcome of each.
pub(super) async fn run(language: &str, samples: &[(String, String)]) -> Vec<(String, Outcome)> {
    let directory = TempDir::new().unwrap();
    let ids = samples.iter().map(|(id, _)| id.as_str());
    let mut command = command(language, directory.path()).await.into_std();
    match language {
        "curl" => {
            let mut script = String::new();
            for (id, text) in samples {
                // The status precedes the body, as the other languages print it.
                writeln!(script, "echo '{MARK}{id}'").unwrap();
                writeln!(script, "{text} -o body -w '%{{http_code}} '").unwrap();
                writeln!(script, "cat body; echo; : > body").unwrap();
            }
            command.args(["-c", &script]);
        }
        "JavaScript" => {
            write_files(directory.path(), samples, "mjs");
            command
                .args(["--input-type=module", "--eval", NODE])
                .args(ids);
        }
        _ => {
            write_files(directory.path(), samples, "py");
            command.args(["-c", PYTHON]).args(ids);
        }
    }
    let finished = finish(command).await;
    assert_eq!(finished.code, Some(0), "{language}: {finished:?}");
    let parts = finished.stdout.split(MARK).skip(1);
    let outcome = |part: &str| {
        let (id, output) = part.split_once('\n').unwrap();
        (id.to_owned(), Outcome::of(output))
    };
    parts.map(outcome).collect()
}

/// Runs a sample that does not end, until it has printed an event.
pub(super) async fn run_until_first_event(language: &str, text: &str) {
    let directory = TempDir::new().unwrap();
    let mut command = command(language, directory.path()).await;
    match language {
        "curl" => command.args(["-c", &format!("exec {text}")]),
        "JavaScript" => command.args(["--input-type=module", "--eval", text]),
        _ => command.args(["-c", text]),
    };
    let mut program = command
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut printed = String::new();
    while !printed.contains("\ndata:") {
        let line = tokio::time::timeout(harness::TIMEOUT, lines.next_line()).await;
        let line = line.unwrap().unwrap();
        printed.push('\n');
        printed.push_str(&line.unwrap_or_else(|| panic!("{language} ended: {printed}")));
    }
}

/// The program of a language, with the credentials in its environment.
async fn command(language: &str, directory: &Path) -> Command {
    let found = PROGRAMS.iter().find(|(name, ..)| *name == language);
    let (_, program, package) = *found.unwrap();
    if on_path(program).is_none() || on_path("curl").is_none() {
        spawn_blocking(move || install(&[package, "curl"]))
            .await
            .unwrap();
    }
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .env("HOLDFAST_ADMIN_KEY", ADMIN_KEY)
        .env("HOLDFAST_AUDITOR_KEY", AUDITOR_KEY)
        // "The buyer's token, or the admin key".
        .env("BUYER_TOKEN", ADMIN_KEY)
        .env("no_proxy", "*");
    command
}

fn write_files(directory: &Path, samples: &[(String, String)], extension: &str) {
    for (id, text) in samples {
        fs::write(directory.join(format!("{id}.{extension}")), text).unwrap();
    }
}
