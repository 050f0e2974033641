//! The documentation: its links lead somewhere, the book has every page, and the commands that it
//! shows for copying run.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use harness::{ADMIN_KEY, App, finish};
use regex::Regex;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The Markdown files of the project, relative to its root.
fn pages() -> Vec<PathBuf> {
    let mut found = vec![];
    let mut open = vec![root()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir()
                && !name.starts_with('.')
                && !["target", "node_modules"].contains(&name)
            {
                open.push(path);
            } else if path.extension().is_some_and(|kind| kind == "md") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found
}

/// The text of a page without its blocks of code.
fn prose(page: &Path) -> String {
    let code = Regex::new(r"(?ms)^```.*?^```$|`[^`\n]*`").unwrap();
    let text = fs::read_to_string(root().join(page)).unwrap();
    code.replace_all(&text, "_").into_owned()
}

/// The anchors of a page's headings, as hosts of repositories and mdBook make them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let fence = Regex::new(r"(?ms)^```.*?^```$").unwrap();
    let link = Regex::new(r"\[([^\]]*)\]\([^)]*\)").unwrap();
    let text = fs::read_to_string(root().join(page)).unwrap();
    let text = fence.replace_all(&text, "").into_owned();
    let mut counts = BTreeMap::<String, usize>::new();
    let heading = |line: &str| {
        let title = line
            .strip_prefix('#')?
            .trim_start_matches('#')
            .strip_prefix(' ')?;
        let title = link.replace_all(title, "$1").to_lowercase();
        let is_kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
        let anchor: String = title.chars().filter(is_kept).collect();
        let anchor = anchor.trim().replace(' ', "-");
        let count = counts.entry(anchor.clone()).or_default();
        *count += 1;
        Some(if *count == 1 {
            anchor
        } else {
            format!("{anchor}-{}", *count - 1)
        })
    };
    text.lines().filter_map(heading).collect()
}

/// Resolves `..` without looking at the file system.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(normal.pop(), "{path:?} leaves the project"),
            Component::Normal(_) => normal.push(part),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    normal
}

#[test]
fn every_relative_link_of_a_page_leads_to_a_file_and_a_heading() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut seen = 0;
    for page in pages() {
        for found in link.captures_iter(&prose(&page)) {
            let target = &found[1];
            if target.contains(':') {
                continue;
            }
            seen += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() {
                page.clone()
            } else {
                normal(&page.parent().unwrap().join(path))
            };
            assert!(root().join(&file).exists(), "{}: {target}", page.display());
            let is_page = file.extension().is_some_and(|kind| kind == "md");
            let is_known = anchor.is_empty() || is_page && anchors(&file).contains(anchor);
            assert!(
                is_known,
                "{}: {target} in {:?}",
                page.display(),
                anchors(&file)
            );
        }
    }
    assert!(seen > 300, "{seen}");
}

/// The targets of the links in a file of `docs/`.
fn targets(file: &str, pattern: &str) -> Vec<String> {
    let link = Regex::new(pattern).unwrap();
    let text = read(file);
    let found = link.captures_iter(&text);
    found.map(|found| found[1].to_owned()).collect()
}

/// The names of the Markdown files in a folder.
fn files(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".md")).collect()
}

#[test]
fn book_has_every_page_of_the_documentation_once() {
    let listed = targets("docs/SUMMARY.md", r"(?m)^(?:- )?\[[^\]]+\]\(([^)]+)\)$");
    let mut expected = files("docs");
    expected.remove("SUMMARY.md");
    expected.insert("decisions/README.md".to_owned());
    assert_eq!(listed.len(), expected.len(), "{listed:?}");
    assert_eq!(BTreeSet::from_iter(listed), expected);
    // The index has each of them as well.
    let index = targets("docs/README.md", r"(?m)^\| \[[^\]]+\]\(([\w/]+\.md)\) \|");
    let index: BTreeSet<String> = index.into_iter().chain(["README.md".to_owned()]).collect();
    assert_eq!(index, expected);
    // `docs/book.py` takes the records from their index.
    let records = targets(
        "docs/decisions/README.md",
        r"(?m)^\| \[\d{4}\]\((\d{4}-[\w-]+\.md)\) \| .+? \|",
    );
    let mut expected = files("docs/decisions");
    expected.remove("README.md");
    assert_eq!(records.len(), expected.len());
    assert_eq!(BTreeSet::from_iter(records), expected);
}

/// The blocks of shell commands of a page.
fn blocks(page: &str) -> Vec<String> {
    let block = Regex::new(r"(?ms)^```sh\n(.*?)^```$").unwrap();
    let text = read(page);
    block
        .captures_iter(&text)
        .map(|found| found[1].to_owned())
        .collect()
}

/// Runs the commands of the guide as a reader does: one block after the other, with the ids that
/// the responses have.
#[tokio::test]
async fn commands_of_the_guide_sell_the_first_drop() {
    let app = App::start().await;
    let mut drop_id = String::new();
    let mut hold_id = String::new();
    let mut statuses = vec![];
    for block in blocks("docs/GUIDE.md")
        .iter()
        .filter(|block| block.contains("curl -s "))
    {
        let command = block
            .lines()
            .filter(|line| !line.starts_with("HOLD_ID="))
            .collect::<Vec<_>>()
            .join("\n");
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            &format!("{} -w '\\n%{{http_code}}'", command.trim_end()),
        ]);
        let url = format!("http://{}", app.address());
        shell
            .env("URL", url)
            .env("KEY", ADMIN_KEY)
            .env("DROP_ID", &drop_id)
            .env("HOLD_ID", &hold_id)
            .env("no_proxy", "*");
        let ran = finish(shell).await;
        let (body, status) = ran
            .stdout
            .rsplit_once('\n')
            .unwrap_or_else(|| panic!("{ran:?}"));
        statuses.push(status.to_owned());
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let id = body["id"].as_str().unwrap_or_default().to_owned();
        match statuses.len() {
            1 => drop_id = id,
            2 => hold_id = id,
            4 => assert_eq!(body["code"], "sold_out", "{body}"),
            _ => {}
        }
    }
    let expected = ["201", "201", "201", "409", "201", "200", "200"];
    assert_eq!(statuses, expected);
    assert_eq!(app.stock(&drop_id).await, [1, 0, 0, 1]);
}

/// The two commands that a newcomer needs are blocks of their own, and the program knows every
/// command of README.
#[tokio::test]
async fn commands_of_readme_exist() {
    let blocks = blocks("README.md");
    for command in ["cargo run --release -- demo\n", "cargo test --workspace\n"] {
        assert!(blocks.iter().any(|block| block == command), "{command}");
    }
    let app = App::start().await;
    let lines = blocks.iter().flat_map(|block| block.lines());
    let commands = lines.filter_map(|line| line.strip_prefix("holdfast "));
    let mut seen = 0;
    for command in commands {
        let words = command.split('#').next().unwrap().split_whitespace();
        let mut arguments: Vec<&str> = words.collect();
        // Flags are checked as well: `--help` does not hide an unknown one before it.
        arguments.push("--help");
        let ran = app.launch().run(&arguments).await;
        assert_eq!(ran.code, Some(0), "{command}: {ran:?}");
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
}
