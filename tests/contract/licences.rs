//! The dependencies of the program: none that it must not link, and a notice for each.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use harness::Launch;

/// The platform that NOTICE describes.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Name and licence of every crate that is linked into the product, from cargo without network
/// access.
fn linked(edges: &str) -> BTreeSet<(String, String)> {
    let arguments = [
        "tree",
        "--locked",
        "--offline",
        "--package",
        "holdfast",
        "--edges",
        edges,
        "--prefix",
        "none",
        "--target",
        TARGET,
        "--format",
        "{p}|{l}",
    ];
    let tree = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "{words}");
    let lines = String::from_utf8(tree.stdout).unwrap();
    let linked = lines.lines().map(|line| {
        let (package, licence) = line.split_once('|').unwrap();
        let name = package.split(' ').next().unwrap();
        (name.to_owned(), licence.trim_end_matches(" (*)").to_owned())
    });
    linked.collect()
}

#[test]
fn program_links_neither_rsa_nor_its_companions() {
    let names: BTreeSet<String> = linked("normal,build")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert!(names.contains("sqlx-postgres") && names.contains("hmac"));
    for unwanted in [
        // RUSTSEC-2023-0071, and the crates that came with it.
        "rsa",
        "p256",
        "p384",
        "jsonwebtoken",
        "sqlx-mysql",
        // C libraries that must not be needed on any platform.
        "openssl-sys",
        "aws-lc-sys",
    ] {
        assert!(
            !names.contains(unwanted),
            "{unwanted} is linked: cargo tree -i {unwanted}"
        );
    }
}

/// The crates that NOTICE names, with their licences and the text of each item.
fn named(notice: &str) -> Vec<(String, String, String)> {
    let crates = notice.split("Crates\n------\n").nth(1).unwrap();
    let mut found = vec![];
    for group in crates.split("\n[").skip(1) {
        let (licence, rest) = group.split_once("]\n").unwrap();
        let items = rest.split("\n\n").next().unwrap();
        let with_holders = items.contains(": ");
        // Continuation lines are indented further.
        let items = items.replace("\n    ", " ");
        let separator = if with_holders { "\n" } else { "," };
        for item in items.trim().split(separator).map(str::trim) {
            let name = item.split(':').next().unwrap();
            found.push((name.to_owned(), licence.to_owned(), item.to_owned()));
        }
    }
    found
}

#[test]
fn notice_names_every_linked_crate_with_licence_and_holder() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../NOTICE");
    let notice = fs::read_to_string(file).unwrap();
    let ours = [
        "api",
        "audit",
        "catalogue",
        "client",
        "database",
        "domain",
        "engine",
        "holdfast",
        "infrastructure",
        "payments",
        "private-postgres",
        "projections",
        "push",
        "settlement",
        "telemetry",
        "terminal",
        "tokens",
        "trace-context",
        "webhooks",
    ];
    let linked: BTreeSet<(String, String)> = linked("normal")
        .into_iter()
        .filter(|(name, _)| !ours.contains(&name.as_str()))
        .collect();
    let named = named(&notice);
    let pairs = named
        .iter()
        .map(|(name, licence, _)| (name.clone(), licence.clone()));
    let listed: BTreeSet<(String, String)> = pairs.collect();
    let missing: Vec<_> = linked.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&linked).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "NOTICE must gain {missing:?} and lose {stale:?}; add the copyright holder of each crate without Apache-2.0"
    );
    assert!(listed.len() > 200, "{}", listed.len());
    for (name, licence, item) in &named {
        let offers_apache = licence.contains("Apache-2.0") && !licence.contains(" AND ");
        let has_holder = item.contains("Copyright") || name == "webpki-roots";
        assert!(
            offers_apache || has_holder,
            "no copyright holder for {name}"
        );
        // Every other licence has its text.
        for other in [
            "MIT",
            "BSD-3-Clause",
            "ISC",
            "Zlib",
            "Unicode-3.0",
            "CDLA-Permissive-2.0",
        ] {
            let heading = format!("\n{other}\n{}\n", "-".repeat(other.len()));
            let has_text = notice.contains(&heading);
            assert!(
                offers_apache || !licence.contains(other) || has_text,
                "{other}"
            );
        }
    }
}

#[tokio::test]
async fn program_prints_the_required_notices() {
    let printed = Launch::private().run(&["licences"]).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    for words in [
        "PostgreSQL Global Development Group",
        "tokio: Copyright (c) Tokio Contributors",
        "Permission is hereby granted, free of charge",
        "Apache License",
        "Unicode, Inc",
    ] {
        assert!(printed.stdout.contains(words), "{words}");
    }
}
