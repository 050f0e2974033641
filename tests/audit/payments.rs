//! Payments of an order in the auditors' commands, from a file: no provider and no database.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::path::{Path, PathBuf};

use harness::{Finished, Launch, text};
use infrastructure::log::lines::LineWriter;
use infrastructure::log::{Hash, StoredEvent, chain};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::{Value, json};

const DROP: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const ORDER: &str = "cccccccc-0000-4000-8000-000000000003";

fn id(number: u8) -> String {
    format!("aaaaaaaa-0000-4000-9000-0000000000{number:02x}")
}

fn at(seconds: u8) -> String {
    format!("2026-01-01T00:00:{seconds:02}.000Z")
}

fn money(amount: u32) -> Value {
    json!({ "amount": amount, "currency": "EUR" })
}

/// Two units are ordered, paid twice, and one of them is returned; its refund fails.
fn story() -> Vec<(&'static str, u8, Value)> {
    let price = money(150);
    let (until, moved) = (at(31), at(51));
    let (first, second) = ("1".repeat(32), "2".repeat(32));
    let hold = json!({ "hold_id": id(1), "buyer": id(2), "quantity": 2 });
    let with = |more: Value| {
        let mut all = hold.clone();
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let terms = json!({
        "name": "Lamp", "price": price, "starts_at": at(0), "hold_seconds": 30,
        "max_hold_seconds": 50, "max_per_hold": 9,
    });
    let item = json!({ "drop_id": DROP, "hold_id": id(1), "quantity": 2, "price": price });
    let purchase = json!({ "hold_id": id(1), "purchase_id": id(4) });
    let success = |intent: &str, seconds| {
        json!({
            "payment_id": id(3), "intent": intent, "amount": money(300),
            "succeeded_at": at(seconds),
        })
    };
    let mut returned = with(json!({
        "refund_id": id(5), "purchase_id": id(4), "amount": price, "restocked": true,
        "reason": "too small", "purchased_at": at(5), "refunded_at": at(6),
    }));
    returned["quantity"] = json!(1);
    vec![
        (
            "DropScheduled",
            0,
            json!({ "terms": terms, "total_stock": 5, "scheduled_at": at(0) }),
        ),
        (
            "OrderPlaced",
            1,
            json!({
                "buyer": id(9), "items": [item], "total": money(300), "placed_at": at(1),
                "expires_at": until,
            }),
        ),
        (
            "HoldPlaced",
            1,
            with(json!({ "placed_at": at(1), "expires_at": until, "order_id": ORDER })),
        ),
        (
            "PaymentStarted",
            2,
            json!({
                "payment_id": id(3), "provider": "demo", "amount": money(300),
                "started_at": at(2), "expires_at": moved,
            }),
        ),
        (
            "HoldExtended",
            2,
            json!({
                "hold_id": id(1), "buyer": id(2), "previous_expires_at": until,
                "expires_at": moved, "extended_at": at(2),
            }),
        ),
        (
            "PaymentFailed",
            3,
            json!({ "payment_id": id(3), "reason": "card_declined", "failed_at": at(3) }),
        ),
        ("PaymentSucceeded", 5, success(&first, 5)),
        (
            "OrderPaid",
            5,
            json!({
                "paid_at": at(5), "total": money(300), "purchases": [purchase],
                "payment_id": id(3), "intent": first,
            }),
        ),
        (
            "PurchaseConfirmed",
            5,
            with(json!({ "purchase_id": id(4), "total": money(300), "purchased_at": at(5) })),
        ),
        (
            "RefundRequested",
            6,
            json!({
                "refund_id": id(5), "payment_id": id(3), "intent": first, "amount": price,
                "cause": "return", "requested_at": at(6), "reason": "too small",
            }),
        ),
        ("PurchaseRefunded", 6, returned),
        (
            "RefundSettled",
            7,
            json!({
                "refund_id": id(5), "outcome": "failed", "reason": "expired_card",
                "settled_at": at(7),
            }),
        ),
        ("PaymentSucceeded", 8, success(&second, 8)),
        (
            "RefundRequested",
            8,
            json!({
                "refund_id": id(6), "payment_id": id(3), "intent": second, "amount": money(300),
                "cause": "double", "requested_at": at(8),
            }),
        ),
    ]
}

/// The story as an export, without the event of this index.
fn export(without: Option<usize>) -> String {
    let (mut last, mut position) = (Hash::default(), domain::values::Position::default());
    let mut sequences = [domain::values::Sequence::default(); 2];
    let mut lines = vec![];
    for (index, (kind, seconds, fields)) in story().into_iter().enumerate() {
        if without == Some(index) {
            continue;
        }
        let is_order = domain::OrderEvent::TYPES.contains(&kind);
        let sequence = &mut sequences[usize::from(is_order)];
        (position, *sequence) = (position.next(), sequence.next());
        let (aggregate_type, aggregate_id) = match is_order {
            true => ("Order", ORDER),
            false => ("Drop", DROP),
        };
        let mut event = StoredEvent {
            position,
            recorded_at: at(seconds).parse().unwrap(),
            aggregate_type: aggregate_type.into(),
            aggregate_id: aggregate_id.to_owned(),
            sequence: *sequence,
            event_type: kind.into(),
            event_version: "1.0".into(),
            payload: json!({ kind: fields }).to_string(),
            metadata: "{}".into(),
            hash: Hash::default(),
            private: None,
        };
        event.hash = chain::link(&last, &event);
        last = event.hash;
        LineWriter::default().write(&event, &mut lines);
    }
    String::from_utf8(lines).unwrap()
}

/// A directory with the export.
struct Auditor {
    launch: Launch,
    file: PathBuf,
}

impl Auditor {
    fn with(text: &str) -> Self {
        let launch = Launch::private();
        fs::create_dir_all(launch.data_dir()).unwrap();
        let file = launch.data_dir().join("payments.ndjson");
        fs::write(&file, text).unwrap();
        Self { launch, file }
    }

    async fn run(&self, command: &str, more: &[&str]) -> Finished {
        let from = ["audit", command, "--file", path(&self.file)];
        self.launch.run(&[&from[..], more].concat()).await
    }

    async fn printed(&self, command: &str, more: &[&str]) -> String {
        let done = self.run(command, more).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        done.stdout
    }

    async fn json(&self, command: &str, more: &[&str]) -> Value {
        let more = [&["--json"], more].concat();
        serde_json::from_str(&self.printed(command, &more).await).unwrap()
    }
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

async fn in_python(script: &str, file: &Path) -> Finished {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(script);
    let mut python = std::process::Command::new("python3");
    python.arg("-B").arg(script).arg(file);
    harness::finish(python).await
}

#[tokio::test]
async fn payments_and_refunds_are_counted_and_described() {
    let auditor = Auditor::with(&export(None));
    let counts = "payments: 1 started, 2 succeeded, 1 sales, 0 refunds settled, 2 refunds open";
    let verified = auditor.printed("verify", &[]).await;
    assert_eq!(verified.lines().nth(1), Some(counts), "{verified}");
    let verified = auditor.json("verify", &[]).await;
    assert_eq!(
        verified["payments"],
        json!({ "started": 1, "succeeded": 2, "sales": 1, "refunds_settled": 0, "refunds_open": 2 })
    );

    let history = auditor.printed("history", &["--order", ORDER]).await;
    for words in [
        "a payment of 3.00 EUR with demo was started; the order is to be paid before 2026-01-01T00:00:51.000Z",
        "the hold of buyer aaaaaa was extended",
        "a payment failed: card_declined",
        "3.00 EUR arrived",
        "the order was paid by payment aaaaaaaa",
        "1.50 EUR are to be returned, because too small",
        "the money was not returned: expired_card",
        "3.00 EUR are to be returned, because the order was paid before",
        "According to the log, the order is paid.",
    ] {
        assert!(history.contains(words), "{words}: {history}");
    }
    let (failed, pending) = (id(5), id(6));
    let open = format!(
        "Still to be returned: 1.50 EUR (refund {failed}, failed), 3.00 EUR (refund {pending}, pending)."
    );
    assert_eq!(history.lines().last(), Some(&*open));
    let history = auditor.json("history", &["--order", ORDER]).await;
    let payment = json!({
        "id": id(3), "provider": "demo", "amount": money(300), "status": "succeeded",
        "late": false,
    });
    assert_eq!(history["payments"], json!([payment]));
    assert_eq!(history["refunds"][0]["cause"], "return");
    let state = auditor.json("state", &[]).await;
    let order = &state["orders"][0];
    assert_eq!(order["payments"], history["payments"]);
    assert_eq!(order["refunds"], history["refunds"]);
    assert_eq!(text(&order["expires_at"]), at(51));
}

#[tokio::test]
async fn every_format_has_the_events_of_payments() {
    let auditor = Auditor::with(&export(None));
    let kinds: Vec<&str> = story().iter().map(|(kind, ..)| *kind).collect();
    let csv = auditor.printed("export", &["--format", "csv"]).await;
    let mut csv = csv::Reader::from_reader(csv.as_bytes());
    let column = csv
        .headers()
        .unwrap()
        .iter()
        .position(|name| name == "event_type");
    let rows: Vec<String> = csv
        .records()
        .map(|row| row.unwrap()[column.unwrap()].to_owned())
        .collect();
    assert_eq!(rows, kinds);
    let clouds = auditor
        .printed("export", &["--format", "cloudevents"])
        .await;
    let types: Vec<String> = clouds
        .lines()
        .map(|line| text(&serde_json::from_str::<Value>(line).unwrap()["type"]))
        .collect();
    let expected: Vec<String> = kinds
        .iter()
        .map(|kind| format!("holdfast.{kind}"))
        .collect();
    assert_eq!(types, expected);
    let file = auditor.launch.data_dir().join("payments.parquet");
    let output = ["--format", "parquet", "--output", path(&file)];
    auditor.printed("export", &output).await;
    let reader = SerializedFileReader::new(fs::File::open(&file).unwrap()).unwrap();
    let columns = reader.metadata().file_metadata().schema().get_fields();
    let column = columns
        .iter()
        .position(|field| field.name() == "event_type");
    let rows: Vec<String> = reader
        .get_row_iter(None)
        .unwrap()
        .map(|row| row.unwrap().get_string(column.unwrap()).unwrap().clone())
        .collect();
    assert_eq!(rows, kinds);
}

#[tokio::test]
async fn both_verifiers_notice_each_missing_event_of_a_payment() {
    let auditor = Auditor::with(&export(None));
    for (script, printed) in [
        ("verify.py", "verified 14 events"),
        (
            "verify_orders.py",
            "verified 1 orders\npayments: 2 succeeded, 1 sales, 0 refunds settled, 2 refunds open",
        ),
    ] {
        let found = in_python(script, &auditor.file).await;
        assert_eq!(found.code, Some(0), "{found:?}");
        assert!(found.stdout.starts_with(printed), "{found:?}");
    }
    for (index, (kind, ..)) in story().into_iter().enumerate() {
        // Without a failure the log is another one, and as sound.
        let expected = Some(i32::from(
            !["PaymentFailed", "RefundSettled"].contains(&kind),
        ));
        fs::write(&auditor.file, export(Some(index))).unwrap();
        let found = auditor.run("verify", &[]).await;
        assert_eq!(found.code, expected, "{kind}: {found:?}");
        let found = in_python("verify_orders.py", &auditor.file).await;
        assert_eq!(found.code, expected, "{kind}: {found:?}");
    }
}
