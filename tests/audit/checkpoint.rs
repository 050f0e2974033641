//! A checkpoint that an auditor has kept shows later whether the log still begins with the stated
//! events.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, VerifyingKey};
use harness::{Finished, Launch, SampleLog};
use serde_json::Value;
use sha2::{Digest, Sha256};
use signed_note::{StandardVerifier, VerifierList};

/// Creates the log's key and a checkpoint; returns the note.
async fn checkpoint(launch: &Launch) -> String {
    let made = launch.run(&["audit", "checkpoint"]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    made.stdout
}

fn keep(launch: &Launch, note: &str) -> String {
    let file = launch.data_dir().join("kept.txt");
    fs::write(&file, note).unwrap();
    file.to_str().unwrap().to_owned()
}

async fn verify(launch: &Launch, note: &str, more: &[&str]) -> Finished {
    let file = keep(launch, note);
    launch
        .run(&[&["audit", "verify", "--checkpoint", &file], more].concat())
        .await
}

#[tokio::test]
async fn checkpoint_is_a_signed_note_that_third_parties_can_verify() {
    let sample = SampleLog::create().await;
    let launch = Launch::on(sample.altered("SELECT 1").await);
    let note = checkpoint(&launch).await;
    let last = sample.log.last().unwrap();

    // From the description of the format alone: three lines, an empty line, and a signature of the
    // three.
    let (body, signature) = note.split_once("\n\n").unwrap();
    let hash = BASE64.encode(hex::decode(&last.hash).unwrap());
    assert_eq!(body, format!("holdfast/log\n{}\n{hash}", last.position));
    let signed = signature
        .trim_end()
        .strip_prefix("— holdfast/log ")
        .unwrap();
    let signed = BASE64.decode(signed).unwrap();

    let public = fs::read_to_string(launch.data_dir().join("checkpoint.pub")).unwrap();
    // Third-party verifiers accept the file as written. With a line break after the key,
    // signed_note 0.2.0 and the parse_vkey of aics-tlog 0.2.1 reject it; Go's sumdb/note accepts
    // both.
    let theirs = StandardVerifier::new(&public).unwrap();
    let known = VerifierList::new(vec![Box::new(theirs)]);
    let opened = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    let (verified, unverified) = opened.verify(&known).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    let mut parts = public.splitn(3, '+');
    let (name, id, key) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let key = BASE64.decode(key).unwrap();
    assert_eq!((name, key[0], key.len()), ("holdfast/log", 1, 33));
    let expected_id = &Sha256::digest([b"holdfast/log\n", key.as_slice()].concat())[..4];
    assert_eq!(
        (hex::decode(id).unwrap().as_slice(), &signed[..4]),
        (expected_id, expected_id)
    );
    let verifier = VerifyingKey::from_bytes(key[1..].try_into().unwrap()).unwrap();
    let signature = Signature::from_slice(&signed[4..]).unwrap();
    verifier
        .verify_strict(format!("{body}\n").as_bytes(), &signature)
        .unwrap();

    let mode = fs::metadata(launch.data_dir().join("checkpoint.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        checkpoint(&launch).await,
        note,
        "the same log, the same statement"
    );
}

#[tokio::test]
async fn only_a_log_that_extends_the_checkpoint_is_verified() {
    let sample = SampleLog::create().await;
    let cut = sample.log.len() - 3;
    let earlier: String = sample.export.split_inclusive('\n').take(cut).collect();
    let launch = Launch::on(sample.altered("SELECT 1").await);
    let start = launch.data_dir().join("start.ndjson");
    fs::write(&start, &earlier).unwrap();
    let start = start.to_str().unwrap();

    let note = launch
        .run(&["audit", "checkpoint", "--file", start])
        .await
        .stdout;
    let verdict = verify(&launch, &note, &[]).await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
    assert!(
        verdict
            .stdout
            .starts_with(&format!("verified {} events, head ", sample.log.len())),
        "{verdict:?}"
    );
    assert!(
        verdict.stdout.contains(&format!("at position {cut}\n")),
        "{verdict:?}"
    );

    // The reverse: the stated events are missing from the shorter log.
    let whole = checkpoint(&launch).await;
    let verdict = verify(&launch, &whole, &["--file", start]).await;
    assert_eq!(verdict.code, Some(1), "{verdict:?}");
    assert!(
        verdict
            .stderr
            .contains(&format!("position {}: the log ends at", cut + 1)),
        "{verdict:?}"
    );

    // A different log that is valid by itself.
    let other = SampleLog::create().await;
    let file = launch.data_dir().join("other.ndjson");
    fs::write(&file, &other.export).unwrap();
    let verdict = verify(&launch, &note, &["--file", file.to_str().unwrap()]).await;
    assert_eq!(verdict.code, Some(1), "{verdict:?}");
    assert!(
        verdict.stderr.contains("hash claimed by checkpoint "),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn altered_or_foreign_checkpoint_is_rejected() {
    let sample = SampleLog::create().await;
    let launch = Launch::on(sample.altered("SELECT 1").await);
    let note = checkpoint(&launch).await;
    let last = sample.log.last().unwrap();
    let altered = note.replacen(&format!("\n{}\n", last.position), "\n1\n", 1);
    assert_ne!(altered, note);
    let verdict = verify(&launch, &altered, &[]).await;
    assert_eq!(verdict.code, Some(1), "{verdict:?}");
    assert!(
        verdict.stderr.contains("is not signed by holdfast/log"),
        "{verdict:?}"
    );

    let stranger = Launch::on(sample.altered("SELECT 1").await);
    let forged = checkpoint(&stranger).await;
    assert_eq!(verify(&launch, &forged, &[]).await.code, Some(1));
    let key = stranger.data_dir().join("checkpoint.pub");
    let verdict = verify(
        &launch,
        &forged,
        &["--checkpoint-key", key.to_str().unwrap()],
    )
    .await;
    assert_eq!(
        verdict.code,
        Some(0),
        "with the stranger's key: {verdict:?}"
    );

    assert_eq!(verify(&launch, "hello\n", &[]).await.code, Some(2));
    let keyless = Launch::on(sample.altered("SELECT 1").await);
    assert_eq!(verify(&keyless, &note, &[]).await.code, Some(2));

    // A separate key under a separate name.
    let own = Launch::on(sample.altered("SELECT 1").await);
    let made = own
        .run(&["audit", "checkpoint", "--origin", "shop.example/log"])
        .await;
    assert!(made.stdout.starts_with("shop.example/log\n"), "{made:?}");
    let private = own.data_dir().join("checkpoint.key");
    let again = launch
        .run(&["audit", "checkpoint", "--key", private.to_str().unwrap()])
        .await;
    assert_eq!(again.stdout, made.stdout);
    for arguments in [
        ["--origin", "a b"],
        ["--origin", "a+b"],
        ["--origin", ""],
        ["--key", "/nowhere"],
    ] {
        let refused = launch
            .run(&[&["audit", "checkpoint"], arguments.as_slice()].concat())
            .await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
    }
}

#[tokio::test]
async fn existing_files_are_not_overwritten() {
    let sample = SampleLog::create().await;
    let launch = Launch::on(sample.altered("SELECT 1").await);
    let note = checkpoint(&launch).await;
    let file = launch.data_dir().join("kept of old.txt");
    let arguments = ["audit", "checkpoint", "--output", file.to_str().unwrap()];
    let state = || launch.run(&arguments);
    assert_eq!(state().await.code, Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), note);
    let refused = state().await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("kept of old.txt"), "{refused:?}");
    fs::write(&file, "the only copy").unwrap();
    assert_eq!(state().await.code, Some(2));
    assert_eq!(fs::read_to_string(&file).unwrap(), "the only copy");

    // A log does not change its name either.
    for origin in ["holdfast/log", "shop.example/log"] {
        let named = launch
            .run(&["audit", "checkpoint", "--origin", origin])
            .await;
        match origin {
            "holdfast/log" => assert_eq!((named.code, named.stdout), (Some(0), note.clone())),
            _ => {
                assert_eq!((named.code, named.stdout.as_str()), (Some(2), ""));
                let reason = "has the name holdfast/log, not shop.example/log";
                assert!(named.stderr.contains(reason), "{}", named.stderr);
            }
        }
    }
}

#[tokio::test]
async fn known_key_is_never_replaced_silently() {
    let sample = SampleLog::create().await;
    let launch = Launch::on(sample.altered("SELECT 1").await);
    let note = checkpoint(&launch).await;
    let file = |name: &str| launch.data_dir().join(name);
    let public = fs::read_to_string(file("checkpoint.pub")).unwrap();
    let refused = async |reason: &str| {
        let refused = launch.run(&["audit", "checkpoint"]).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
        assert!(refused.stderr.contains(reason), "{refused:?}");
    };
    fs::rename(file("checkpoint.key"), file("elsewhere")).unwrap();
    refused("exists, but its private key ").await;
    assert!(!file("checkpoint.key").exists());
    assert_eq!(fs::read_to_string(file("checkpoint.pub")).unwrap(), public);

    // A lost public key is written again; a foreign public key stops signing.
    fs::rename(file("elsewhere"), file("checkpoint.key")).unwrap();
    fs::remove_file(file("checkpoint.pub")).unwrap();
    assert_eq!(checkpoint(&launch).await, note);
    assert_eq!(fs::read_to_string(file("checkpoint.pub")).unwrap(), public);
    // As written until 2026, with a line break.
    fs::write(file("checkpoint.pub"), format!("{public}\n")).unwrap();
    assert_eq!(checkpoint(&launch).await, note);
    let stranger = Launch::on(sample.altered("SELECT 1").await);
    checkpoint(&stranger).await;
    fs::copy(
        stranger.data_dir().join("checkpoint.pub"),
        file("checkpoint.pub"),
    )
    .unwrap();
    refused("does not belong to").await;
}

/// The first of several concurrent runs creates the key; all of them sign with it.
#[tokio::test]
async fn concurrent_checkpoints_are_signed_by_one_key() {
    let sample = SampleLog::create().await;
    let launch = Launch::on(sample.altered("SELECT 1").await);
    let notes = futures::future::join_all((0..8).map(|_| checkpoint(&launch))).await;
    assert!(notes.iter().all(|note| *note == notes[0]), "{notes:?}");
    assert_eq!(verify(&launch, &notes[0], &[]).await.code, Some(0));
}

#[tokio::test]
async fn file_that_is_not_a_log_is_not_signed() {
    let sample = SampleLog::create().await;
    let launch = Launch::private();
    let file = launch.data_dir().join("log.ndjson");
    let kept = launch.data_dir().join("kept.txt");
    let (log, output) = (file.to_str().unwrap(), kept.to_str().unwrap());
    let arguments = ["audit", "checkpoint", "--file", log, "--output", output];
    let bought = sample.position_of("PurchaseConfirmed");
    let altered = sample
        .export
        .replacen("\"quantity\":2", "\"quantity\":3", 1);
    assert_ne!(altered, sample.export);
    fs::write(&file, altered).unwrap();
    let refused = launch.run(&arguments).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    let has_reason = refused.stderr.contains("hash: expected ");
    assert!(
        has_reason && refused.stderr.starts_with("holdfast: position "),
        "{refused:?}"
    );
    assert!(!kept.exists() && !launch.data_dir().join("checkpoint.key").exists());

    fs::write(&file, &sample.export).unwrap();
    let made = launch.run(&arguments).await;
    assert_eq!(
        (made.code, made.stderr.lines().count()),
        (Some(0), 2),
        "{made:?}"
    );
    // The end of the file is signed, with a note that the end was not verified.
    assert!(
        made.stderr.starts_with("note: the end was not verified"),
        "{made:?}"
    );
    let stated = fs::read_to_string(&kept).unwrap();
    let position = stated.lines().nth(1).unwrap();
    assert_eq!(position, sample.log.last().unwrap().position.to_string());
    assert!(bought < position.parse().unwrap());
}

#[tokio::test]
async fn checkpoint_with_trailing_text_is_rejected() {
    let sample = SampleLog::create().await;
    let launch = Launch::on(sample.altered("SELECT 1").await);
    let note = checkpoint(&launch).await;
    for more in ["and more\n", "\n", "\nP.S.\n"] {
        let refused = verify(&launch, &format!("{note}{more}"), &["--json"]).await;
        assert_eq!(
            (refused.code, refused.stdout.as_str()),
            (Some(2), ""),
            "{more:?}"
        );
        assert!(
            refused
                .stderr
                .contains("is not a checkpoint in a signed note: "),
            "{refused:?}"
        );
    }
    let endless = ["audit", "verify", "--checkpoint", "/dev/zero"];
    assert_eq!(launch.run(&endless).await.code, Some(2));
}

#[tokio::test]
async fn forged_checkpoint_is_reported_in_json_too() {
    let sample = SampleLog::create().await;
    let launch = Launch::on(sample.altered("SELECT 1").await);
    let note = checkpoint(&launch).await;
    let forged = note.replacen("holdfast/log\n", "holdfast/lag\n", 1);
    let verdict = verify(&launch, &forged, &["--json"]).await;
    assert_eq!(verdict.code, Some(1), "{verdict:?}");
    let output: Value = serde_json::from_str(&verdict.stdout).unwrap();
    assert_eq!(output["verified"], false, "{output}");
    let reason = output["violation"]["reason"].as_str().unwrap();
    assert!(reason.contains("is not signed by holdfast/log"), "{output}");
    assert_eq!(verdict.stderr, "", "as with any other output in JSON");
}
