//! docs/verify.py, the verifier that shares no code with the product, reaches the same verdict.

use std::fs;
use std::path::Path;

use harness::{Finished, Launch, SampleLog, text};
use infrastructure::log::StoredEvent;
use uuid::Uuid;

use super::{assert_disproved, in_the_format_until_2026, lines, reseal, stored, verify_text};

/// Runs docs/verify.py, the verifier that shares no code with the product, on a file.
async fn python(options: &[&str], file: &Path) -> Finished {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify.py");
    let mut python = std::process::Command::new("python3");
    python.args(options).arg(script).arg(file);
    harness::finish(python).await
}

/// Runs it on an export; it must not depend on Python's assertions being enabled.
async fn verify_in_python(export: &str) -> Finished {
    let launch = Launch::private();
    let file = launch.data_dir().join("export.ndjson");
    fs::write(&file, export).unwrap();
    let (usual, optimised) = (python(&[], &file).await, python(&["-O"], &file).await);
    assert_eq!(
        (usual.code, &usual.stdout, &usual.stderr),
        (optimised.code, &optimised.stdout, &optimised.stderr)
    );
    usual
}

/// One line, without a Python traceback.
#[track_caller]
fn assert_refused_in_python(verdict: &Finished, code: i32, reason: &str) {
    assert_eq!(verdict.code, Some(code), "{verdict:?}");
    assert_eq!(verdict.stdout, "");
    let lines: Vec<&str> = verdict.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{verdict:?}");
    assert!(
        lines[0].starts_with("verify.py: ") && lines[0].contains(reason),
        "{reason}: {verdict:?}"
    );
}

#[tokio::test]
async fn one_page_python_verifier_reaches_the_same_verdict() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify.py");
    let program = fs::read_to_string(program).unwrap();
    assert!(
        program.lines().count() <= 80,
        "one page, including the incidents"
    );

    let sample = SampleLog::create().await;
    let ours = verify_text(&sample.export, &[]).await;
    let theirs = verify_in_python(&sample.export).await;
    assert_eq!(
        (theirs.code, &theirs.stdout),
        (Some(0), &ours.stdout),
        "{theirs:?}"
    );

    let bought = usize::try_from(sample.position_of("PurchaseConfirmed")).unwrap();
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let kept = lines(&sample.export).into_iter();
        let mut lines: Vec<String> = kept.map(str::to_owned).collect();
        change(&mut lines);
        lines.concat()
    };
    let altered = |from: &'static str, to: &'static str| {
        with(&|lines| {
            assert!(lines[bought - 1].contains(from), "{}", lines[bought - 1]);
            lines[bought - 1] = lines[bought - 1].replacen(from, to, 1);
        })
    };
    let at = |reason: &str| format!("position {bought}: {reason}");
    let hash = at("expected hash ");
    for (export, reason) in [
        (altered("\"quantity\":2", "\"quantity\":3"), &hash),
        (altered("\"quantity\":2", "\"quantity\": 2"), &hash),
        (altered("\"metadata\":{}", "\"metadata\":{ }"), &hash),
        (altered("\"1.0\"", "\"1.1\""), &hash),
        (
            altered("Z\",\"payload", "1Z\",\"payload"),
            &at("expected characters of recorded_at 24, found 25"),
        ),
        (altered("\"hash\":\"", "\"hash\":\"0"), &hash),
        (
            altered("\"hash\"", "\"hush\""),
            &at("no event of an export: "),
        ),
        (altered("}", ""), &at("no event of an export: ")),
        (
            with(&|lines| drop(lines.remove(bought - 1))),
            &at("expected position "),
        ),
        (
            with(&|lines| lines.swap(bought - 1, bought)),
            &at("expected position "),
        ),
    ] {
        assert_refused_in_python(&verify_in_python(&export).await, 1, reason);
    }

    let forge = |change: &dyn Fn(&mut StoredEvent)| {
        let mut forged = stored(&sample.export);
        change(&mut forged[bought - 1]);
        reseal(forged)
    };
    let hold = text(&sample.log[bought - 1].fields()["hold_id"]);
    let purchased_at = text(&sample.log[bought - 1].fields()["purchased_at"]);
    let replace =
        |from: &str, to: &str| forge(&|event| event.payload = event.payload.replace(from, to));
    for (export, reason) in [
        (
            replace(&hold, &Uuid::new_v4().to_string()),
            "resolved twice, or never placed",
        ),
        (
            replace(&purchased_at, "2101-01-01T00:00:00.000Z"),
            "sold after it was over",
        ),
        (
            replace("PurchaseConfirmed", "HoldExpired"),
            "expected type PurchaseConfirmed, found HoldExpired",
        ),
        (
            forge(&|event| event.sequence = event.sequence.next()),
            "expected sequence ",
        ),
    ] {
        assert_refused_in_python(&verify_in_python(&export).await, 1, &at(reason));
    }
}

#[tokio::test]
async fn both_verifiers_find_forged_changes_and_refunds() {
    let sample = SampleLog::create().await;
    let field = |kind: &str, name: &str| {
        let at = usize::try_from(sample.position_of(kind)).unwrap();
        text(&sample.log[at - 1].fields()[name])
    };
    let until = field("HoldExtended", "expires_at");
    let before = field("HoldExtended", "previous_expires_at");
    let extended_at = field("HoldExtended", "extended_at");
    let (purchase, late) = (
        field("PurchaseRefunded", "purchase_id"),
        "2101-01-01T00:00:00.000Z",
    );
    let other = Uuid::new_v4().to_string();
    let one = (
        "\"quantity\":1,\"amount\":{\"amount\":19999",
        "\"quantity\":3,\"amount\":{\"amount\":59997",
    );
    for (kind, [from, to], theirs, ours) in [
        (
            "HoldChanged",
            ["\"previous_quantity\":2", "\"previous_quantity\":1"],
            "expected quantity of the hold 2, found 1",
            "previous_quantity: expected 2, found 1",
        ),
        (
            "HoldExtended",
            [&until, &before],
            "expected end ",
            "not later than its deadline",
        ),
        (
            "HoldExtended",
            [&extended_at, late],
            "changed after it was over",
            "was extended at",
        ),
        (
            "PurchaseRefunded",
            ["\"amount\":19999", "\"amount\":19998"],
            "expected amount 19999, found 19998",
            "expected 19999 USD, found 19998 USD",
        ),
        (
            "PurchaseRefunded",
            [one.0, one.1],
            "expected units left to refund 0, found -2",
            "it has only 1",
        ),
        (
            "PurchaseRefunded",
            [&purchase, &other],
            "expected drop of the purchase",
            "it was not made before",
        ),
    ] {
        let position = sample.position_of(kind);
        let mut forged = stored(&sample.export);
        let event = &mut forged[usize::try_from(position).unwrap() - 1];
        assert!(event.payload.contains(from), "{from}: {}", event.payload);
        event.payload = event.payload.replace(from, to);
        let export = reseal(forged);
        let reason = format!("position {position}: {theirs}");
        assert_refused_in_python(&verify_in_python(&export).await, 1, &reason);
        assert_disproved(&verify_text(&export, &[]).await, position, ours);
    }
}

#[tokio::test]
async fn python_verifier_reads_the_same_input_and_reports_unreadable_input() {
    let sample = SampleLog::create().await;
    let payload = "{\n \"a\": \"}]\\\\\\\"[{\",\n \"metadata\":{}, \"payload\":\n[\n]\n}";
    let stock = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) VALUES";
    let altered = format!(
        "ALTER TABLE events ENABLE TRIGGER USER; ALTER TABLE log_head ENABLE TRIGGER USER;
         {stock} ('Other', 'x', 1, 'Happened', '1.0', '{payload}', E'{{\n\"metadata\":{{}},\"hash\":1}}');
         {stock} ('Other', 'x', 2, 'Happened', '1.0', '1', '{{}}')"
    );
    let launch = Launch::on(sample.altered(&altered).await);
    let lines = launch.run(&["audit", "export"]).await.stdout;
    assert_eq!(lines.lines().count(), sample.log.len() + 2, "{lines}");
    let export = in_the_format_until_2026(&lines);
    assert!(export.contains("\n \"a\": "), "{export}");
    let ours = launch.run(&["audit", "verify"]).await;
    assert_eq!(ours.code, Some(0), "{ours:?}");
    for export in [
        lines.as_str(),
        export.as_str(),
        export.trim_end(),
        &export.replace("\n{\"pos", "\n\n{\"pos"),
    ] {
        let theirs = verify_in_python(export).await;
        assert_eq!(theirs.stdout, ours.stdout, "{theirs:?}");
        assert_eq!(verify_text(export, &[]).await.stdout, ours.stdout);
    }
    let seen = sample.log.len() + 1;
    let broken = export.replace("\n[\n]\n", "\n[\n ]\n");
    let reason = format!("position {seen}: expected hash ");
    assert_refused_in_python(&verify_in_python(&broken).await, 1, &reason);
    let broken = lines.replace("\\n[\\n]\\n", "\\n[\\n ]\\n");
    assert_ne!(broken, lines);
    let reason = format!("position {seen}: expected text on one line ");
    assert_refused_in_python(&verify_in_python(&broken).await, 1, &reason);

    assert_refused_in_python(&verify_in_python("").await, 2, "there is no event");
    for garbage in ["not a log\n", "[]\n", "{", "1", "{\"position\":1}\n", "\0"] {
        let refused = verify_in_python(garbage).await;
        assert_refused_in_python(&refused, 1, "position 1: no event of an export: ");
    }
    for file in ["/bin/sh", "/dev/zero"] {
        let refused = python(&[], Path::new(file)).await;
        assert_refused_in_python(&refused, 1, "position 1: no event of an export: ");
    }
    for unreadable in ["/nowhere", "/"] {
        assert_refused_in_python(&python(&[], Path::new(unreadable)).await, 2, unreadable);
    }
}
