//! Orders in the auditors' commands: the export, the history, the state, and the second page of the
//! Python verifier.

use std::fs;
use std::path::Path;

use harness::{App, Finished, eventually, fetch, key, text};
use reqwest::Method;
use serde_json::{Value, json};

async fn ordered(app: &App, drops: &[&str]) -> String {
    let items: Vec<Value> = drops
        .iter()
        .map(|drop| json!({ "drop_id": drop }))
        .collect();
    let request = app.request(Method::POST, "/v1/orders");
    let request = request.header("idempotency-key", key());
    let body = json!({ "buyer_id": "ann", "items": items });
    text(&fetch(request.json(&body)).await.ok(201)["id"])
}

async fn post(app: &App, order: &str, what: &str) {
    let path = format!("/v1/orders/{order}/{what}");
    fetch(app.request(Method::POST, &path)).await.ok(200);
}

async fn in_python(file: &Path) -> Finished {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify_orders.py");
    let mut python = std::process::Command::new("python3");
    python.arg("-B").arg(script).arg(file);
    harness::finish(python).await
}

/// The index of the first event of this type.
fn first(lines: &[String], event_type: &str) -> usize {
    let is_it = |line: &String| line.contains(&format!("\"event_type\":\"{event_type}\""));
    lines.iter().position(is_it).expect("such an event")
}

#[tokio::test]
async fn orders_are_exported_and_verified_by_another_program() {
    let app = App::start().await;
    let lasting = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let short = app.create_drop(9, json!({ "hold_seconds": 1 })).await;
    let stopped = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let paid = ordered(&app, &[&lasting, &stopped]).await;
    post(&app, &paid, "purchase").await;
    let step = app.admin(Method::PATCH, &format!("/v1/orders/{paid}"));
    fetch(step.json(&json!({ "fulfilment": "delivered" })))
        .await
        .ok(200);
    let followed = json!({ "fulfilment": "delivered", "tracking": "parcel 9" });
    let step = app.admin(Method::PATCH, &format!("/v1/orders/{paid}"));
    fetch(step.json(&followed)).await.ok(200);
    let cancelled = ordered(&app, &[&lasting]).await;
    post(&app, &cancelled, "cancel").await;
    let expired = ordered(&app, &[&short, &lasting]).await;
    eventually("the order to expire", async || {
        let order = app.get(&format!("/v1/orders/{expired}")).await.ok(200);
        (order["status"] == "expired").then_some(())
    })
    .await;
    eventually("its holds to be free", async || {
        (app.stock(&lasting).await == [9, 8, 0, 1]).then_some(())
    })
    .await;
    ordered(&app, &[&stopped, &lasting]).await;
    let cancel = app.admin(Method::POST, &format!("/v1/drops/{stopped}/cancel"));
    fetch(cancel).await.ok(200);

    let launch = app.launch();
    let file = launch.data_dir().join("orders.ndjson");
    let file_name = file.to_str().expect("a path in UTF-8");
    let export = ["audit", "export", "--output", file_name];
    assert_eq!(launch.run(&export).await.code, Some(0));
    let again = launch.run(&export).await;
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(
        again
            .stderr
            .contains("exists already, and no file is overwritten"),
        "{again:?}"
    );
    let sheet = launch.data_dir().join("orders.csv");
    fs::write(&sheet, "order_id,status\n1,paid\n").expect("writable");
    let sheet = sheet.to_str().expect("a path in UTF-8");
    let refused = launch.run(&["audit", "verify", "--file", sheet]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("it is not a JSON object"), "{said}");
    assert!(!said.contains("expected value"), "{said}");
    let found = in_python(&file).await;
    assert_eq!(
        (found.code, found.stdout.trim()),
        (Some(0), "verified 4 orders"),
        "{found:?}"
    );
    let text_of_file = fs::read_to_string(&file).expect("the export");
    let lines: Vec<String> = text_of_file.lines().map(str::to_owned).collect();
    for event_type in [
        "OrderPlaced",
        "HoldPlaced",
        "OrderPaid",
        "PurchaseConfirmed",
        "OrderCancelled",
    ] {
        let mut altered = lines.clone();
        altered.remove(first(&lines, event_type));
        fs::write(&file, altered.join("\n")).expect("writable");
        let refused = in_python(&file).await;
        assert_eq!(refused.code, Some(1), "{event_type}: {refused:?}");
        assert!(
            refused.stderr.starts_with("verify_orders.py: position "),
            "{refused:?}"
        );
    }
    let within = first(&lines, "HoldPlaced");
    fs::write(&file, lines[..within].join("\n")).expect("writable");
    let refused = in_python(&file).await;
    assert!(
        refused.stderr.contains("ends within an order"),
        "{refused:?}"
    );

    let history = launch.run(&["audit", "history", "--order", &paid]).await;
    assert_eq!(history.code, Some(0), "{history:?}");
    for words in [
        "ordered units of 2 drops",
        "the order was paid",
        "the order is delivered\n",
        "the tracking was changed",
        "is delivered.",
    ] {
        assert!(history.stdout.contains(words), "{words}: {history:?}");
    }
    assert_eq!(history.stdout.lines().count(), 9, "{history:?}");
    let as_json = launch
        .run(&["audit", "history", "--json", "--order", &expired])
        .await;
    let as_json: Value = serde_json::from_str(&as_json.stdout).expect("JSON");
    assert_eq!(
        (&as_json["status"], &as_json["order_id"]),
        (&json!("expired"), &json!(expired))
    );
    let unknown = uuid::Uuid::new_v4().to_string();
    let absent = launch.run(&["audit", "history", "--order", &unknown]).await;
    assert_eq!(absent.code, Some(1), "{absent:?}");
    let state = launch.run(&["audit", "state"]).await.stdout;
    assert!(
        state.contains("4 orders: 0 pending, 1 paid, 2 cancelled, 1 expired"),
        "{state}"
    );
    let state = launch.run(&["audit", "state", "--json"]).await.stdout;
    let state: Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!(state["orders"].as_array().map(Vec::len), Some(4));
    app.audit_verify().await;
}
