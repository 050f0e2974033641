//! The demo's day: a visitor's first impression is true of the log, and is played once.

use harness::{App, Launch, eventually, fetch};
use reqwest::Method;

/// Waits until the demo has printed the webhooks of its day, and returns the lines of its orders.
async fn day(app: &App) -> Vec<String> {
    let output = eventually("the demo's webhooks are counted", || async {
        let output = app.stdout();
        output.contains("Webhooks:").then_some(output)
    })
    .await;
    let lines: Vec<String> = output.lines().map(str::to_owned).collect();
    let webhooks = lines.iter().find(|line| line.starts_with("Webhooks:"));
    let webhooks = webhooks.expect("a line about webhooks");
    assert!(webhooks.contains(", 0 rejected"), "{webhooks}");
    lines
        .into_iter()
        .filter(|line| line.starts_with("Orders:"))
        .collect()
}

async fn orders(app: &App) -> usize {
    let log = app.log().await;
    log.iter()
        .filter(|event| event.event_type == "OrderPlaced")
        .count()
}

#[tokio::test]
async fn demo_plays_its_day_once_and_its_log_is_sound() {
    // Without shoppers the day is not played, so there are as few as possible.
    const DEMO: [&str; 3] = ["demo", "--shoppers-per-second", "0.001"];
    let app = Launch::private().start_as(&DEMO).await;
    let outcomes = day(&app).await;
    for (outcome, words) in outcomes.iter().zip([
        "paid in time",
        "declined",
        "so the order is paid",
        "the money went back",
        "offered to the waitlist",
    ]) {
        assert!(outcome.contains(words), "{outcome}");
    }
    assert_eq!(outcomes.len(), 5, "{outcomes:?}");
    let verified = app.audit_verify().await;
    assert!(verified.starts_with("verified "), "{verified}");
    let matters = fetch(app.admin(Method::GET, "/v1/admin/needs-attention")).await;
    assert_eq!(matters.ok(200)["data"], serde_json::json!([]));
    let placed = orders(&app).await;

    let app = app.stop().await.start_as(&DEMO).await;
    assert_eq!(day(&app).await, [] as [String; 0]);
    assert_eq!(orders(&app).await, placed);
    app.audit_verify().await;
    app.stop().await;
}
