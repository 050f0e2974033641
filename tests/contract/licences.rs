//! What the program is made of: nothing that it must not link, and everything with its notice.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use harness::Launch;

/// Where NOTICE speaks of: the platform that most people run it on.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Name and licence of every crate that is linked into the product, asked of cargo without any
/// network.
fn linked(edges: &str) -> BTreeSet<(String, String)> {
    let arguments = [
        "tree",
        "--locked",
        "--offline",
        "--package",
        "api",
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
fn the_program_links_no_rsa_and_nothing_that_brings_it() {
    let names: BTreeSet<String> = linked("normal,build")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert!(names.contains("sqlx-postgres") && names.contains("hmac"));
    for unwanted in [
        // RUSTSEC-2023-0071, and what it used to come with.
        "rsa",
        "p256",
        "p384",
        "jsonwebtoken",
        "sqlx-mysql",
        // C libraries that no platform may need.
        "openssl-sys",
        "aws-lc-sys",
    ] {
        assert!(
            !names.contains(unwanted),
            "{unwanted} is linked: cargo tree -i {unwanted}"
        );
    }
}

/// The crates that NOTICE names, under their licences; the text of each item.
fn named(notice: &str) -> Vec<(String, String, String)> {
    let crates = notice.split("Crates\n------\n").nth(1).unwrap();
    let mut found = vec![];
    for group in crates.split("\n[").skip(1) {
        let (licence, rest) = group.split_once("]\n").unwrap();
        let items = rest.split("\n\n").next().unwrap();
        let with_holders = items.contains(": ");
        // A line that goes on is indented further.
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
fn a_notice_names_every_crate_in_the_program_with_its_licence_and_whose_it_is() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../NOTICE");
    let notice = fs::read_to_string(file).unwrap();
    let ours = ["api", "domain", "infrastructure", "projections"];
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
        "NOTICE must gain {missing:?} and lose {stale:?}; write who holds the copyright of what offers no Apache-2.0"
    );
    assert!(listed.len() > 200, "{}", listed.len());
    for (name, licence, item) in &named {
        let offers_apache = licence.contains("Apache-2.0") && !licence.contains(" AND ");
        let has_holder = item.contains("Copyright") || name == "webpki-roots";
        assert!(offers_apache || has_holder, "whose is {name}?");
        // Each other licence has its text.
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
async fn the_program_prints_the_notices_that_must_go_with_it() {
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
