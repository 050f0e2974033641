//! docs/CONTRACT.md on revenue: money and units by drop and time, as the log has them.

use std::collections::BTreeMap;

use harness::{AUDITOR_KEY, App, Reply, fetch, key, number, text};
use reqwest::Method;
use serde_json::{Value, json};

async fn revenue(app: &App, query: &str) -> Value {
    read(app, query).await.ok(200)
}

async fn read(app: &App, query: &str) -> Reply {
    fetch(app.admin(Method::GET, &format!("/v1/admin/revenue{query}"))).await
}

async fn bought(app: &App, drop: &str, quantity: u32) -> Value {
    let body = json!({ "buyer_id": key(), "quantity": quantity });
    let hold = app.hold_with(drop, &key(), &body).await.ok(201);
    app.purchase(&text(&hold["id"])).await.ok(201)
}

async fn refund(app: &App, purchase: &Value, quantity: u32) {
    let path = format!("/v1/purchases/{}/refunds", text(&purchase["id"]));
    let request = app.admin(Method::POST, &path);
    let body = json!({ "quantity": quantity, "reason": "returned" });
    fetch(request.header("idempotency-key", key()).json(&body))
        .await
        .ok(201);
}

fn terms(amount: u64, currency: &str) -> Value {
    json!({ "price": { "amount": amount, "currency": currency }, "max_per_hold": 9 })
}

fn sum(purchases: u64, units: [u64; 2], money: [u64; 3], currency: &str) -> Value {
    let money = money.map(|amount| json!({ "amount": amount, "currency": currency }));
    json!({
        "purchases": purchases, "units_sold": units[0], "units_refunded": units[1],
        "gross": money[0], "refunded": money[1], "net": money[2],
    })
}

/// Three drops: two in euros, one of which sold in an order as well, and one in dollars, which
/// returned everything.
async fn shop(app: &App) -> [String; 3] {
    let lamp = app.create_drop(20, terms(500, "EUR")).await;
    let chair = app.create_drop(20, terms(700, "EUR")).await;
    let poster = app.create_drop(20, terms(90, "USD")).await;
    bought(app, &lamp, 2).await;
    let one = bought(app, &lamp, 3).await;
    refund(app, &one, 1).await;
    let two = bought(app, &poster, 2).await;
    refund(app, &two, 2).await;
    let items = json!([{ "drop_id": lamp }, { "drop_id": chair, "quantity": 2 }]);
    let order = app.request(Method::POST, "/v1/orders");
    let order = order
        .header("idempotency-key", key())
        .json(&json!({ "buyer_id": "ann", "items": items }));
    let order = text(&fetch(order).await.ok(201)["id"]);
    let path = format!("/v1/orders/{order}/purchase");
    fetch(app.request(Method::POST, &path)).await.ok(200);
    // Not sold.
    app.held(&chair, "bob").await;
    [lamp, chair, poster]
}

#[tokio::test]
async fn revenue_is_by_drop_and_time_for_each_currency_and_net_of_refunds() {
    let app = App::start().await;
    let [lamp, chair, poster] = shop(&app).await;
    let of_lamp = sum(3, [5, 1], [3_000, 500, 2_500], "EUR");
    let of_chair = sum(1, [2, 0], [1_400, 0, 1_400], "EUR");
    let of_poster = sum(1, [0, 2], [180, 180, 0], "USD");
    let euros = sum(4, [7, 1], [4_400, 500, 3_900], "EUR");
    let of = |drop: &str, sum: &Value| json!({ "id": drop, "name": "Test drop", "sums": [sum] });

    let app = {
        let head = number(&app.audit("/v1/log/head").await.ok(200)["position"]);
        let whole = revenue(&app, "?window=2h&bucket=1h").await;
        assert_eq!(whole["totals"], json!([euros, of_poster]));
        assert_eq!(
            whole["drops"],
            json!([
                of(&poster, &of_poster),
                of(&chair, &of_chair),
                of(&lamp, &of_lamp)
            ]),
            "newest first"
        );
        assert_eq!(
            (
                &whole["has_more"],
                &whole["bucket_seconds"],
                &whole["position"]
            ),
            (&json!(false), &json!(3600), &json!(head))
        );
        assert_eq!(whole["buckets"].as_array().unwrap().len(), 2);
        assert_eq!(whole["buckets"][0]["start"], whole["starts_at"]);
        // The same from the log, after a restart.
        app.restart().await
    };
    for query in [
        "",
        "?window=1h",
        "?window=7d",
        "?window=all",
        "?window=all&bucket=1m",
    ] {
        let whole = revenue(&app, query).await;
        assert_eq!(whole["totals"], json!([euros, of_poster]), "{query}");
        let mut units: BTreeMap<String, u64> = BTreeMap::new();
        for bucket in whole["buckets"].as_array().unwrap() {
            for sum in bucket["sums"].as_array().unwrap() {
                let currency = text(&sum["net"]["currency"]);
                *units.entry(currency).or_default() += number(&sum["units_sold"]);
            }
        }
        assert_eq!(units["EUR"], 7, "{query}");
    }
    let one = revenue(&app, &format!("?drop_id={lamp}")).await;
    assert_eq!(one["totals"], json!([of_lamp]));
    assert_eq!(one["drops"], json!([of(&lamp, &of_lamp)]));
    let page = revenue(&app, "?limit=2").await;
    assert_eq!(page["drops"].as_array().unwrap().len(), 2);
    assert_eq!(page["has_more"], true);
    let page = revenue(&app, &format!("?limit=2&starting_after={chair}")).await;
    assert_eq!(page["drops"], json!([of(&lamp, &of_lamp)]));
    assert_eq!(page["has_more"], false);
    assert_eq!(page["totals"], json!([euros, of_poster]), "of all drops");
    app.audit_verify().await;
}

#[tokio::test]
async fn csv_of_revenue_has_a_line_for_each_drop_bucket_and_currency() {
    let app = App::start().await;
    let [lamp, chair, poster] = shop(&app).await;
    let named = app.admin(Method::PATCH, &format!("/v1/drops/{chair}"));
    let named = named
        .header("if-match", "*")
        .json(&json!({ "name": "=1+1, wide" }));
    fetch(named).await.ok(200);
    let path = "/v1/admin/revenue?window=all&bucket=1d";
    let file = fetch(app.admin(Method::GET, path).header("accept", "text/csv")).await;
    assert_eq!(file.status, 200);
    assert_eq!(file.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(
        file.header("content-disposition"),
        "attachment; filename=\"revenue.csv\""
    );
    let day = revenue(&app, "?window=all&bucket=1d").await;
    let start = text(&day["buckets"].as_array().unwrap().last().unwrap()["start"]);
    let sold_today = |id: &str, rest: &str| format!("{start},{id},{rest}\r\n");
    let expected = [
        "start,drop_id,drop_name,currency,purchases,units_sold,units_refunded,gross,refunded,net\r\n"
            .to_owned(),
        sold_today(&poster, "Test drop,USD,1,0,2,180,180,0"),
        sold_today(&chair, "\"'=1+1, wide\",EUR,1,2,0,1400,0,1400"),
        sold_today(&lamp, "Test drop,EUR,3,5,1,3000,500,2500"),
    ];
    assert_eq!(file.text(), expected.concat());
}

#[tokio::test]
async fn revenue_without_purchases_is_empty_and_its_queries_are_checked() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    for query in [
        "?window=all".to_owned(),
        format!("?drop_id={drop}&window=1h"),
    ] {
        let nothing = revenue(&app, &query).await;
        assert_eq!(
            (&nothing["totals"], &nothing["drops"], &nothing["has_more"]),
            (&json!([]), &json!([]), &json!(false))
        );
    }
    for query in [
        "?window=2h&bucket=3h",
        "?window=2d&bucket=1m",
        "?window=everything",
        "?bucket=all",
        "?limit=101",
        "?starting_after=0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4",
    ] {
        read(&app, query).await.problem(400, "invalid_query");
    }
    let unknown = "?drop_id=0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4";
    read(&app, unknown).await.problem(404, "drop_not_found");
    app.get("/v1/admin/revenue")
        .await
        .problem(401, "unauthorized");
    let auditor = app.request(Method::GET, "/v1/admin/revenue");
    fetch(auditor.bearer_auth(AUDITOR_KEY))
        .await
        .problem(403, "forbidden");
}
