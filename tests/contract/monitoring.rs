//! `ops/` and docs/OPERATING.md agree with `/metrics` of a running server, and Prometheus accepts
//! all of them.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use harness::{App, eventually, install, on_path, run};
use regex::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// Returns the path of a program of Debian's package `prometheus`.
fn program(name: &str) -> PathBuf {
    if on_path(name).is_none() {
        install(&["prometheus"]);
    }
    on_path(name).expect("this test needs Prometheus (Debian: apt-get install prometheus)")
}

/// Runs `promtool check metrics` on the text of a scrape.
fn check_metrics(text: &str) {
    let mut checking = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = checking.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let checked = checking.wait_with_output().unwrap();
    let complaints = [checked.stdout, checked.stderr].concat();
    let complaints = String::from_utf8_lossy(&complaints);
    assert!(
        checked.status.success() && complaints.is_empty(),
        "{complaints}"
    );
}

/// A metric family: its type, and the names of its labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    is_of_log: bool,
}

/// The families of a scrape, by name.
fn families(text: &str) -> BTreeMap<String, Family> {
    let label = Regex::new(r#"(\w+)=""#).unwrap();
    let mut families = BTreeMap::<String, Family>::new();
    let mut of_log = BTreeSet::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            if help.contains("the same at every instance") {
                of_log.insert(name.to_owned());
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            current = name.to_owned();
            let family = families.entry(current.clone()).or_default();
            family.kind = kind.to_owned();
            family.is_of_log = of_log.contains(name);
        } else {
            let names = label.captures_iter(line).map(|found| found[1].to_owned());
            let names = names.filter(|name| name != "le");
            families.get_mut(&current).unwrap().labels.extend(names);
        }
    }
    families
}

/// The rows of the table of all metrics in docs/OPERATING.md: the family, and the scope.
fn documented() -> BTreeMap<String, (Family, String)> {
    let page = read("docs/OPERATING.md");
    let (_, table) = page.split_once("### All metrics\n").unwrap();
    let table = table.split("\n#").next().unwrap();
    let code = Regex::new("`([^`]+)`").unwrap();
    let mut rows = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [name, kind, labels, scope, _meaning] = cells[..] else {
            panic!("five cells: {line}");
        };
        let name = name.trim_start_matches("| ").trim_matches('`').to_owned();
        let labels = code.captures_iter(labels).map(|found| found[1].to_owned());
        let family = Family {
            kind: kind.to_owned(),
            labels: labels.collect(),
            is_of_log: scope == "log",
        };
        assert!(
            ["log", "shop", "instance"].contains(&scope),
            "unknown scope: {line}"
        );
        assert_eq!(
            rows.insert(name, (family, scope.to_owned())),
            None,
            "twice: {line}"
        );
    }
    rows
}

/// The names of metrics in a query.
fn names(query: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(?:holdfast|process)_\w+").unwrap();
    name.find_iter(query)
        .map(|found| found.as_str().to_owned())
        .collect()
}

/// Asserts that each metric in `query` exists.
#[track_caller]
fn assert_known(query: &str, families: &BTreeMap<String, Family>) {
    for name in names(query) {
        let of_histogram = || {
            let stems = ["_bucket", "_sum", "_count"].map(|suffix| name.strip_suffix(suffix));
            let kinds = stems.into_iter().flatten().map(|stem| families.get(stem));
            kinds.flatten().any(|family| family.kind == "histogram")
        };
        assert!(
            families.contains_key(&name) || of_histogram(),
            "no metric {name}: {query}"
        );
    }
}

/// The queries of the dashboard, with a value for each variable.
fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("ops/grafana/holdfast.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let charts = panels.filter(|panel| panel["type"] != "row");
    let queries: Vec<String> = charts
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap())
        .map(|query| {
            query
                .replace("$__rate_interval", "1m")
                .replace("$job", ".+")
        })
        .collect();
    assert!(queries.len() > 30, "{queries:?}");
    queries
}

#[tokio::test]
async fn every_metric_is_documented_and_every_query_uses_existing_ones() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    app.held(&drop, "ann").await;
    app.get("/metrics").await;
    let text = app.get("/metrics").await.text();
    let families = families(&text);
    for (name, (family, scope)) in &documented() {
        let found = families
            .get(name)
            .unwrap_or_else(|| panic!("{name} is documented and not reported"));
        assert_eq!(family, found, "{name}, documented with the scope {scope}");
    }
    let documented: BTreeSet<_> = documented().into_keys().collect();
    let reported: BTreeSet<_> = families.keys().cloned().collect();
    assert_eq!(documented, reported);
    assert_known(&read("ops/prometheus/alerts.yml"), &families);
    assert_known(&read("ops/prometheus/alerts.test.yml"), &families);
    for query in dashboard_queries() {
        assert!(!names(&query).is_empty(), "{query}");
        assert_known(&query, &families);
    }
    spawn_blocking(move || check_metrics(&text)).await.unwrap();
}

#[test]
fn alert_rules_pass_their_tests_and_each_has_a_runbook() {
    let rules = read("ops/prometheus/alerts.yml");
    let alert = Regex::new(r"(?m)^ +- alert: (\w+)$").unwrap();
    let alerts: BTreeSet<_> = alert
        .captures_iter(&rules)
        .map(|found| found[1].to_owned())
        .collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    let tests = read("ops/prometheus/alerts.test.yml");
    let manual = read("docs/OPERATING.md");
    for alert in &alerts {
        for case in ["fires", "is quiet"] {
            let case = format!("- name: {alert} {case}\n");
            assert!(tests.contains(&case), "no test {case}");
        }
        let heading = format!("\n#### {alert}\n");
        assert!(manual.contains(&heading), "no runbook for {alert}");
        let link = format!("runbook_url: docs/OPERATING.md#{}\n", alert.to_lowercase());
        assert!(
            rules.contains(&link),
            "{alert} does not link to its runbook"
        );
    }
    let headings = Regex::new(r"(?m)^#### (Holdfast\w+)$").unwrap();
    let headings: BTreeSet<_> = headings
        .captures_iter(&manual)
        .map(|found| found[1].to_owned())
        .collect();
    assert_eq!(headings, alerts);
    let promtool = |arguments: &[&str]| {
        let mut command = Command::new(program("promtool"));
        let folder = root().join("ops/prometheus");
        run(command.current_dir(folder).args(arguments))
    };
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "alerts.test.yml"]);
}

/// A Prometheus with the configuration of `ops/`, which scrapes one server.
struct Prometheus {
    process: Child,
    address: String,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `target` every second.
    fn start(target: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let configuration = read("ops/prometheus/prometheus.yml");
        let scraped = configuration
            .replace("127.0.0.1:8080", target)
            .replace("15s", "1s");
        assert!(
            scraped.contains(target) && scraped.contains("1s"),
            "{scraped}"
        );
        fs::write(at("prometheus.yml"), scraped).unwrap();
        fs::write(at("alerts.yml"), read("ops/prometheus/alerts.yml")).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let process = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            address,
            _folder: folder,
        }
    }

    /// Returns the `data` of a response of its API; `None` while it does not respond.
    async fn data(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let url = reqwest::Url::parse_with_params(&url, parameters).unwrap();
        let response: Value = reqwest::get(url).await.ok()?.json().await.ok()?;
        assert_eq!(response["status"], "success", "{parameters:?}: {response}");
        Some(response["data"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _already_ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[tokio::test]
async fn prometheus_scrapes_a_server_and_evaluates_rules_and_dashboard() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    app.held(&drop, "ann").await;
    let target = app.address().to_string();
    let prometheus = spawn_blocking(move || Prometheus::start(&target))
        .await
        .unwrap();
    eventually("the hold is in Prometheus", || async {
        let query = [("query", "holdfast_open_holds")];
        let data = prometheus.data("query", &query).await?;
        (data["result"][0]["value"][1] == "1").then_some(())
    })
    .await;
    for query in dashboard_queries() {
        let asked = [("query", query.as_str())];
        let data = prometheus.data("query", &asked).await;
        assert_eq!(data.unwrap()["resultType"], "vector", "{query}");
    }
    eventually("every rule is evaluated", || async {
        let data = prometheus.data("rules", &[]).await?;
        let rules = data["groups"][0]["rules"].as_array()?;
        let is_healthy = |rule: &Value| rule["health"] == "ok";
        (rules.len() > 20 && rules.iter().all(is_healthy)).then_some(())
    })
    .await;
}
