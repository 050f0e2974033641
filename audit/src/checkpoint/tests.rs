use domain::values::{Position, Timestamp};
use infrastructure::log::Hash;
use tempfile::TempDir;

use super::*;

fn head() -> Head {
    Head {
        position: Position(4711),
        hash: Hash([0xd7; 32]),
        recorded_at: Timestamp::default(),
    }
}

fn key(name: &str) -> PrivateKey {
    PrivateKey {
        name: name.to_owned(),
        key: SigningKey::from_bytes(&[7; 32]),
    }
}

/// Opens a note with the public key of `house`.
fn opened(note: impl AsRef<[u8]>) -> Result<Claim, CheckpointError> {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("note");
    fs::write(&file, note).unwrap();
    key("house").public().open(&file)
}

#[track_caller]
fn assert_forged(note: impl AsRef<[u8]>) {
    let refused = opened(note);
    assert!(
        matches!(refused, Err(CheckpointError::Forged { .. })),
        "{refused:?}"
    );
}

#[track_caller]
fn assert_no_checkpoint(note: impl AsRef<[u8]>, why: &str) {
    match opened(note) {
        Err(CheckpointError::NoCheckpoint { reason, .. }) => {
            assert!(reason.contains(why), "{reason}")
        }
        other => panic!("{why}: {other:?}"),
    }
}

/// A signature line for `text`.
fn signature(key: &PrivateKey, text: &str) -> String {
    let signature = key.key.sign(text.as_bytes()).to_bytes();
    let signed = [key.public().id().as_slice(), &signature].concat();
    format!("— {} {}\n", key.name, BASE64.encode(signed))
}

/// A note with any text, signed by `house`.
fn signed(text: &str) -> String {
    format!("{text}\n{}", signature(&key("house"), text))
}

#[test]
fn signed_head_becomes_the_claim() {
    let note = key("house").sign(head());
    let claim = opened(&note).unwrap();
    assert_eq!((claim.position, claim.hash), (head().position, head().hash));
    let text = note.split_inclusive('\n').take(3).collect::<String>();
    assert_eq!(note, signed(&text));
}

#[test]
fn changing_any_byte_invalidates_a_checkpoint() {
    let note = key("house").sign(head()).into_bytes();
    for at in 0..note.len() {
        for flip in [1, 0x20] {
            let mut altered = note.clone();
            altered[at] ^= flip;
            assert!(opened(&altered).is_err(), "byte {at} ^ {flip}");
        }
        let without = [&note[..at], &note[at + 1..]].concat();
        assert!(opened(&without).is_err(), "without byte {at}");
        let with = [&note[..=at], &note[at..]].concat();
        assert!(opened(&with).is_err(), "byte {at} twice");
    }
}

#[test]
fn note_contains_only_text_and_signatures() {
    let note = key("house").sign(head());
    for more in [
        "\n",
        " ",
        "and more\n",
        "\nand more\n",
        "— house\n",
        "— house Zm9v\n",
    ] {
        assert!(opened(format!("{note}{more}")).is_err(), "{more:?}");
        assert!(opened(format!("{more}{note}")).is_err(), "{more:?}");
    }
    assert_no_checkpoint(note.trim_end(), "does not end");
    assert_no_checkpoint(note.replace('\n', "\r\n"), "control characters");
    assert_no_checkpoint("hello\n", "no empty line");
    assert_no_checkpoint("\n\n", "does not end");
}

#[test]
fn additional_signatures_are_allowed() {
    let note = key("house").sign(head());
    let text = note.split_inclusive('\n').take(3).collect::<String>();
    let witness = signature(&key("witness"), &text);
    let long = format!("— witness {}\n", BASE64.encode([9; 4_000]));
    for both in [
        format!("{note}{witness}{long}"),
        note.replacen("\n\n", &format!("\n\n{witness}"), 1),
    ] {
        assert_eq!(opened(&both).unwrap().position, head().position);
    }
    // But every signature in the name of the house's key must be valid.
    let forged = signature(&key("house"), "something else\n");
    assert_forged(format!("{note}{forged}"));
    assert_forged(format!("{text}\n{witness}"));
}

#[test]
fn signed_text_must_be_a_valid_checkpoint() {
    let hash = BASE64.encode(head().hash.0);
    // Extension lines are allowed, and the log's name may differ from the key's.
    for text in [
        format!("house\n0\n{hash}\n"),
        format!("another name\n4711\n{hash}\nmore\nand more\n"),
    ] {
        opened(signed(&text)).unwrap();
    }
    for (text, why) in [
        ("house\n1\n".to_owned(), "fewer than three"),
        (format!("\n1\n{hash}\n"), "empty line"),
        (format!("house\n1\n{hash}\n\nmore\n"), "empty line"),
        (format!("house\n+1\n{hash}\n"), "not a position"),
        (format!("house\n01\n{hash}\n"), "not a position"),
        (format!("house\n1 \n{hash}\n"), "not a position"),
        (
            format!("house\n18446744073709551616\n{hash}\n"),
            "not a position",
        ),
        (format!("house\n1\n{hash}=\n"), "not a hash"),
        (format!("house\n1\n{}\n", &hash[4..]), "not a hash"),
        (
            format!("house\n1\n{}\n", hash.replace('=', "")),
            "not a hash",
        ),
    ] {
        assert_no_checkpoint(signed(&text), why);
    }
}

#[test]
fn key_keeps_its_name() {
    let dir = TempDir::new().unwrap();
    let made = PrivateKey::load_or_create(dir.path(), Some("shop.example/log")).unwrap();
    for requested in [None, Some("shop.example/log")] {
        let kept = PrivateKey::load_or_create(dir.path(), requested).unwrap();
        assert_eq!((kept.name, kept.key), (made.name.clone(), made.key.clone()));
    }
    let file = private_key_file(dir.path());
    for refused in [
        PrivateKey::load_or_create(dir.path(), Some("holdfast/log")),
        PrivateKey::read(&file, Some("holdfast/log")),
    ] {
        let Err(CheckpointError::OtherName {
            name, requested, ..
        }) = refused
        else {
            panic!("another name was accepted");
        };
        assert_eq!(
            (name.as_str(), requested.as_str()),
            ("shop.example/log", "holdfast/log")
        );
    }
}
