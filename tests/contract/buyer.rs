//! docs/CONTRACT.md on one buyer over all drops: holds, purchases, waitlist entries and orders in
//! one response.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{AUDITOR_KEY, App, Reply, fetch, key, text};
use reqwest::Method;
use serde_json::{Value, json};

async fn read(app: &App, path: &str) -> Reply {
    fetch(app.admin(Method::GET, &format!("/v1/admin/buyers/{path}"))).await
}

async fn ordered(app: &App, buyer: &str, items: Value) -> String {
    let request = app.request(Method::POST, "/v1/orders");
    let request = request.header("idempotency-key", key());
    let order = request.json(&json!({ "buyer_id": buyer, "items": items }));
    text(&fetch(order).await.ok(201)["id"])
}

fn ids(list: &Value, member: &str) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|item| text(&item[member])).collect()
}

#[tokio::test]
async fn everything_of_a_buyer_is_in_one_response_by_drop() {
    let app = App::start().await;
    let terms = json!({ "hold_seconds": 3600, "max_per_hold": 5 });
    let (lamp, chair) = (
        app.create_drop(9, terms.clone()).await,
        app.create_drop(9, terms.clone()).await,
    );
    let sold_out = app.create_drop(1, terms).await;
    app.held(&sold_out, "bob").await;
    app.held(&lamp, "bob").await;
    let entry = app.joined(&sold_out, "ANN", 1).await;
    let released = app.held(&lamp, "Ann").await;
    assert_eq!(app.release(&released).await.status, 204);
    let live = app.held(&lamp, "ann").await;
    let bought = app.held(&lamp, "ann").await;
    let paid = app.request(Method::POST, &format!("/v1/holds/{bought}/purchase"));
    let paid = paid.json(&json!({ "payment_reference": "pi_1" }));
    let purchase = text(&fetch(paid).await.ok(201)["id"]);
    let items = json!([{ "drop_id": chair, "quantity": 3 }]);
    let order = ordered(&app, "aNN", items).await;
    let path = format!("/v1/orders/{order}/purchase");
    let sold = fetch(app.request(Method::POST, &path)).await.ok(200);
    let refund = format!(
        "/v1/purchases/{}/refunds",
        text(&sold["items"][0]["purchase_id"])
    );
    let refund = app.admin(Method::POST, &refund);
    let one = json!({ "quantity": 1, "reason": "returned" });
    fetch(refund.header("idempotency-key", key()).json(&one))
        .await
        .ok(201);
    let app = app.restart().await;

    let buyer = read(&app, "ann").await.ok(200);
    let drops = &buyer["drops"];
    assert_eq!(
        ids(drops, "drop_id"),
        [&sold_out, &chair, &lamp].map(Clone::clone)
    );
    let units =
        |drop: &Value| ["held", "purchased", "refunded"].map(|name| drop[name].as_u64().unwrap());
    assert_eq!(units(&drops[0]), [0, 0, 0]);
    assert_eq!(ids(&drops[0]["waitlist"], "id"), [entry]);
    assert_eq!(drops[0]["waitlist"][0]["place"], 1);
    assert_eq!(units(&drops[1]), [0, 2, 1]);
    assert_eq!(drops[1]["purchases"][0]["refunded"]["quantity"], 1);
    assert_eq!(units(&drops[2]), [1, 1, 0]);
    let holds = &drops[2]["holds"];
    assert_eq!(ids(holds, "id"), [live, released], "newest first");
    assert_eq!(
        [&holds[0]["status"], &holds[1]["status"]],
        [&json!("held"), &json!("released")]
    );
    let purchases = &drops[2]["purchases"];
    assert_eq!(ids(purchases, "id"), [purchase]);
    assert_eq!(purchases[0]["payment_reference"], "pi_1");
    assert_eq!(ids(&buyer["orders"]["data"], "id"), [order]);
    assert_eq!(
        (&buyer["has_more"], &buyer["orders"]["has_more"]),
        (&json!(false), &json!(false))
    );
    assert!(
        drops
            .as_array()
            .unwrap()
            .iter()
            .all(|drop| drop["has_more"] == false)
    );
    // The links lead to the lists.
    let all = fetch(app.admin(Method::GET, &text(&buyer["orders"]["url"]))).await;
    assert_eq!(
        all.ok(200)["data"],
        buyer["orders"]["data"].clone_untimed(&all)
    );
    let standing = fetch(app.admin(Method::GET, &text(&drops[2]["url"]))).await;
    assert_eq!(standing.ok(200)["held"], 1);
    let list = fetch(app.admin(Method::GET, &text(&drops[2]["purchases_url"]))).await;
    assert_eq!(list.ok(200)["data"].as_array().unwrap().len(), 1);
}

/// Takes the time of another response, so that the rest can be compared.
trait Untimed {
    fn clone_untimed(&self, of: &Reply) -> Value;
}

impl Untimed for Value {
    fn clone_untimed(&self, of: &Reply) -> Value {
        let mut copy = self.clone();
        let time = of.json()["data"][0]["server_time"].clone();
        for item in copy.as_array_mut().unwrap() {
            item["server_time"] = time.clone();
        }
        copy
    }
}

#[tokio::test]
async fn drops_of_a_buyer_are_paged_and_bounded() {
    let app = App::start().await;
    let mut drops = vec![];
    for _ in 0..3 {
        let drop = app.create_drop(60, json!({ "hold_seconds": 3600 })).await;
        app.held(&drop, "ann").await;
        drops.push(drop);
    }
    drops.reverse();
    let page = read(&app, "ann?limit=2").await.ok(200);
    assert_eq!(ids(&page["drops"], "drop_id"), drops[..2]);
    assert_eq!(page["has_more"], true);
    let rest = read(&app, &format!("ann?limit=2&starting_after={}", drops[1])).await;
    let rest = rest.ok(200);
    assert_eq!(ids(&rest["drops"], "drop_id"), drops[2..]);
    assert_eq!(rest["has_more"], false);
    for _ in 0..49 {
        app.held(&drops[0], "ann").await;
    }
    let of_first = async || read(&app, "ann?limit=1").await.ok(200)["drops"][0].clone();
    let full = of_first().await;
    assert_eq!(full["holds"].as_array().unwrap().len(), 50);
    assert_eq!(
        (&full["has_more"], &full["held"]),
        (&json!(false), &json!(50))
    );
    app.held(&drops[0], "ann").await;
    let more = of_first().await;
    assert_eq!(more["holds"].as_array().unwrap().len(), 50);
    assert_eq!(
        (&more["has_more"], &more["held"]),
        (&json!(true), &json!(51))
    );
    for _ in 0..21 {
        ordered(&app, "ann", json!([{ "drop_id": drops[1] }])).await;
    }
    let orders = read(&app, "ann").await.ok(200)["orders"].clone();
    assert_eq!(orders["data"].as_array().unwrap().len(), 20);
    assert_eq!(orders["has_more"], true);
    for query in ["ann?limit=0", "ann?limit=101", "ann?starting_after=x"] {
        read(&app, query).await.problem(400, "invalid_query");
    }
}

#[tokio::test]
async fn unknown_and_erased_buyers_have_empty_lists() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    app.held(&drop, "weißmann").await;
    let nothing = async |path: &str| {
        let buyer = read(&app, path).await.ok(200);
        assert_eq!(
            (
                &buyer["drops"],
                &buyer["orders"]["data"],
                &buyer["has_more"]
            ),
            (&json!([]), &json!([]), &json!(false)),
            "{path}"
        );
        text(&buyer["buyer_id"])
    };
    assert_eq!(nothing("unknown").await, "unknown");
    // Found in any case, by full case folding.
    let known = read(&app, "WEISSMANN").await.ok(200);
    assert_eq!(
        (&known["buyer_id"], &known["drops"][0]["held"]),
        (&json!("weißmann"), &json!(1))
    );
    let erase = app.admin(Method::DELETE, "/v1/admin/buyers/weissmann");
    assert_eq!(fetch(erase).await.status, 204);
    nothing("weissmann").await;
    // A buyer that returns is a new one.
    app.held(&drop, "weissmann").await;
    let known = read(&app, "weissmann").await.ok(200);
    assert_eq!(known["drops"].as_array().unwrap().len(), 1);
    assert_eq!(known["drops"][0]["held"], 1);

    let path = "/v1/admin/buyers/ann";
    app.get(path).await.problem(401, "unauthorized");
    let auditor = app.request(Method::GET, path).bearer_auth(AUDITOR_KEY);
    fetch(auditor).await.problem(403, "forbidden");
    let control = read(&app, "%01").await;
    assert_eq!(control.error_pointers(422, "invalid_value"), ["/buyer_id"]);
}
