//! ARCHITECTURE.md on the crates: each knows only those below it.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Each crate of the product with the crates of ours that it may use.
const ARROWS: [(&str, &[&str]); 19] = [
    ("domain", &[]),
    ("trace-context", &[]),
    ("telemetry", &["trace-context"]),
    ("terminal", &["trace-context"]),
    ("private-postgres", &[]),
    ("infrastructure", &["domain", "trace-context"]),
    ("engine", &["domain", "infrastructure", "trace-context"]),
    ("projections", &["domain", "infrastructure"]),
    ("webhooks", &["domain", "infrastructure", "telemetry"]),
    ("catalogue", &["domain", "infrastructure", "webhooks"]),
    (
        "push",
        &[
            "catalogue",
            "domain",
            "infrastructure",
            "projections",
            "webhooks",
        ],
    ),
    ("payments", &["domain", "telemetry"]),
    ("tokens", &["domain"]),
    (
        "settlement",
        &["domain", "engine", "infrastructure", "payments"],
    ),
    ("client", &["domain", "terminal"]),
    (
        "database",
        &["infrastructure", "private-postgres", "terminal"],
    ),
    (
        "audit",
        &[
            "database",
            "domain",
            "infrastructure",
            "projections",
            "terminal",
        ],
    ),
    (
        "api",
        &[
            "catalogue",
            "domain",
            "engine",
            "infrastructure",
            "payments",
            "projections",
            "push",
            "settlement",
            "telemetry",
            "tokens",
            "trace-context",
            "webhooks",
        ],
    ),
    (
        "holdfast",
        &[
            "api",
            "audit",
            "catalogue",
            "client",
            "database",
            "domain",
            "engine",
            "infrastructure",
            "payments",
            "private-postgres",
            "projections",
            "push",
            "settlement",
            "telemetry",
            "terminal",
            "tokens",
            "webhooks",
        ],
    ),
];

/// The names in the section `[dependencies]` of a crate's manifest.
fn dependencies(name: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manifest = fs::read_to_string(root.join(name).join("Cargo.toml")).unwrap();
    let lines = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1);
    let section = lines.take_while(|line| !line.starts_with('['));
    let name = |line: &str| {
        line.split(['.', ' ', '='])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    section.map(name).filter(|name| !name.is_empty()).collect()
}

#[test]
fn each_crate_uses_only_those_below_it() {
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (index, (name, allowed)) in ARROWS.iter().enumerate() {
        let used = dependencies(name);
        let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
        let used: Vec<&&str> = used.intersection(&ours).collect();
        assert_eq!(used, allowed.iter().collect::<Vec<_>>(), "{name}");
        let above = &ARROWS[index..];
        let is_below = |used: &&str| above.iter().all(|(name, _)| name != used);
        assert!(allowed.iter().all(is_below), "{name} uses one above it");
    }
}
