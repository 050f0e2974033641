//! One payment per purchase: another reference is rejected, and administrators can read buyers and
//! references until the buyer is erased.

use harness::{ADMIN_KEY, AUDITOR_KEY, Api, App, Launch, Reply, fetch, key, number, text, token};
use reqwest::Method;
use serde_json::{Value, json};

async fn buy(api: &Api, hold: &str, reference: Option<&str>) -> Reply {
    let request = api.request(Method::POST, &format!("/v1/holds/{hold}/purchase"));
    fetch(match reference {
        Some(reference) => request.json(&json!({ "payment_reference": reference })),
        None => request,
    })
    .await
}

async fn list(api: &Api, drop: &str, query: &str) -> Value {
    let path = format!("/v1/drops/{drop}/purchases{query}");
    fetch(api.admin(Method::GET, &path)).await.ok(200)
}

async fn csv(api: &Api, drop: &str, query: &str) -> Reply {
    let path = format!("/v1/drops/{drop}/purchases{query}");
    fetch(api.admin(Method::GET, &path).header("accept", "text/csv")).await
}

async fn erase(api: &Api, buyer: &str) {
    let path = format!("/v1/admin/buyers/{buyer}");
    assert_eq!(fetch(api.admin(Method::DELETE, &path)).await.status, 204);
}

#[tokio::test]
async fn other_payment_reference_is_a_conflict_on_every_server_and_restart() {
    let app = App::start().await;
    let other = app.launch().clone().start().await;
    let drop = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let (paid, unpaid) = (app.held(&drop, "ann").await, app.held(&drop, "bob").await);
    let first = buy(&app, &paid, Some("pi_1")).await.ok(201);
    let free = buy(&app, &unpaid, None).await.ok(201);

    let app = app.restart().await;
    for api in [app.api(), other.api()] {
        for same in [Some("pi_1"), Some(" pi_1 "), None] {
            let again = buy(&api, &paid, same).await;
            assert!(again.is_replay(), "{same:?}");
            assert_eq!(again.ok(200)["id"], first["id"]);
        }
        for another in ["pi_2", "PI_1", "pi_11"] {
            let refused = buy(&api, &paid, Some(another)).await;
            let refused = refused.problem(409, "payment_reference_conflict");
            assert_eq!(refused["id"], first["id"]);
            assert_eq!(refused["purchased_at"], first["purchased_at"]);
            assert!(!refused.to_string().contains("pi_1\""), "{refused}");
        }
        // Purchased without a payment reference: a later reference is not the recorded one.
        let refused = buy(&api, &unpaid, Some("pi_3")).await;
        let refused = refused.problem(409, "payment_reference_conflict");
        assert_eq!(refused["id"], free["id"]);
        assert!(buy(&api, &unpaid, None).await.is_replay());
    }
    assert_eq!(app.stock(&drop).await, [9, 7, 0, 2]);
    app.audit_verify().await;
}

#[tokio::test]
async fn two_concurrent_payments_are_one_purchase_and_a_conflict() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let hold = app.held(&drop, "ann").await;
    let replies = harness::concurrently((0..20).map(|turn| {
        let (api, hold) = (app.api(), hold.clone());
        async move { buy(&api, &hold, Some(&format!("pi_{turn}"))).await }
    }))
    .await;
    let bought: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(bought.len(), 1);
    let id = &bought[0].json()["id"];
    for refused in replies.iter().filter(|reply| reply.status != 201) {
        let refused = refused.problem(409, "payment_reference_conflict");
        assert_eq!(&refused["id"], id);
    }
}

#[tokio::test]
async fn admin_reads_buyers_and_references_until_they_are_erased() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let mut purchases = vec![];
    for (buyer, reference) in [
        ("ann", Some("pi_1")),
        ("=cmd|' /C calc'!A0", Some("@SUM(1+1)")),
        ("\"carl, jr.\"", None),
        ("dora", Some("-2")),
    ] {
        let hold = app.held(&drop, buyer).await;
        purchases.push(buy(&app, &hold, reference).await.ok(201));
    }
    let listed = list(&app, &drop, "").await;
    let of = |listed: &Value, member: &str| -> Vec<Value> {
        let data = listed["data"].as_array().unwrap();
        data.iter()
            .map(|purchase| purchase[member].clone())
            .collect()
    };
    let ids: Vec<Value> = purchases.iter().map(|made| made["id"].clone()).collect();
    assert_eq!(of(&listed, "id"), ids);
    let buyers = json!(["ann", "=cmd|' /C calc'!A0", "\"carl, jr.\"", "dora"]);
    assert_eq!(json!(of(&listed, "buyer_id")), buyers);
    let references = json!(["pi_1", "@SUM(1+1)", null, "-2"]);
    assert_eq!(json!(of(&listed, "payment_reference")), references);

    // Page by page.
    let page = list(&app, &drop, "?limit=3").await;
    assert_eq!(
        (of(&page, "id"), &page["has_more"]),
        (ids[..3].to_vec(), &json!(true))
    );
    let rest = format!("?limit=3&starting_after={}", text(&ids[2]));
    let page = list(&app, &drop, &rest).await;
    assert_eq!(
        (of(&page, "id"), &page["has_more"]),
        (ids[3..].to_vec(), &json!(false))
    );
    let elsewhere = app.create_drop(1, json!({})).await;
    let path = format!(
        "/v1/drops/{elsewhere}/purchases?starting_after={}",
        text(&ids[0])
    );
    let refused = fetch(app.admin(Method::GET, &path)).await;
    assert_eq!(
        refused.error_pointers(400, "invalid_query"),
        ["/starting_after"]
    );
    assert_eq!(list(&app, &elsewhere, "").await["data"], json!([]));

    // As a CSV file: cells that a spreadsheet would evaluate are quoted as text.
    let file = csv(&app, &drop, "").await;
    assert_eq!(file.header("content-type"), "text/csv; charset=utf-8");
    let text_of_file = file.text();
    let lines: Vec<&str> = text_of_file.split("\r\n").collect();
    assert_eq!(lines.len(), 6, "{text_of_file}");
    assert_eq!(
        lines[0],
        "id,hold_id,drop_id,buyer_id,quantity,amount,currency,purchased_at,payment_reference,position,refunded_quantity,refunded_amount"
    );
    for (line, cells) in lines[1..].iter().zip([
        ",ann,1,19999,USD,",
        ",'=cmd|' /C calc'!A0,1,19999,USD,",
        ",\"\"\"carl, jr.\"\"\",1,",
        ",dora,1,",
    ]) {
        assert!(line.contains(cells), "{line}");
    }
    assert!(
        lines[2].contains(",'@SUM(1+1),") && lines[4].contains(",'-2,"),
        "{text_of_file}"
    );
    let two = csv(&app, &drop, "?limit=2").await.text();
    assert_eq!(two.split("\r\n").count(), 4, "{two}");

    // Only for administrators.
    let path = format!("/v1/drops/{drop}/purchases");
    app.get(&path).await.problem(401, "unauthorized");
    app.audit(&path).await.problem(403, "forbidden");
    let one = format!("/v1/purchases/{}", text(&ids[0]));
    let seen = app.get(&one).await.ok(200);
    assert_eq!(
        (&seen["buyer_id"], seen.get("payment_reference")),
        (&json!("ann"), None)
    );
    let audited = app.audit(&one).await.ok(200);
    assert_eq!(audited.get("payment_reference"), None);
    let admin = fetch(app.admin(Method::GET, &one)).await;
    assert_eq!(admin.json()["payment_reference"], "pi_1");
    for unknown in [uuid::Uuid::new_v4().to_string(), "nothing".to_owned()] {
        let path = format!("/v1/purchases/{unknown}");
        app.get(&path).await.problem(404, "purchase_not_found");
    }

    erase(&app, "ann").await;
    let known = app.admin(Method::GET, &one);
    let known = fetch(known.header("if-none-match", admin.header("etag"))).await;
    let now = known.ok(200);
    assert_eq!(
        (&now["buyer_id"], &now["payment_reference"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(now["id"], ids[0]);
    let listed = list(&app, &drop, "").await;
    assert_eq!(listed["data"][0]["payment_reference"], json!(null));
    assert_eq!(listed["data"][0]["buyer_id"], json!(null));
    assert!(!csv(&app, &drop, "").await.text().contains("pi_1"));
    // An erased reference cannot be compared, before and after a restart alike: a person has to
    // decide.
    let hold = text(&purchases[0]["hold_id"]);
    let app = app.restart().await;
    for reference in ["pi_1", "pi_2"] {
        let refused = buy(&app, &hold, Some(reference)).await;
        refused.problem(409, "payment_reference_conflict");
    }
    assert!(buy(&app, &hold, None).await.is_replay());
    app.audit_verify().await;
}

#[tokio::test]
async fn with_tokens_only_the_buyer_and_the_admin_read_a_purchase() {
    const SECRET: &str = "the shop's secret for its buyers";
    let app = Launch::fresh().await;
    let app = app.with("HOLDFAST_BUYER_SECRET", SECRET).start().await;
    let other = app.launch().clone().start().await;
    let drop = app.create_drop(1, json!({})).await;
    let (ann, bob) = (token(SECRET, "ann", 600), token(SECRET, "bob", 600));
    let hold = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
    let hold = hold.bearer_auth(&ann).header("idempotency-key", key());
    let hold = fetch(hold.json(&json!({ "buyer_id": "ann" })))
        .await
        .ok(201);
    let path = format!("/v1/holds/{}/purchase", text(&hold["id"]));
    let bought = app.request(Method::POST, &path).bearer_auth(&ann);
    let bought = fetch(bought.json(&json!({ "payment_reference": "pi_1" })))
        .await
        .ok(201);
    assert!(number(&bought["position"]) > 0);
    let path = format!("/v1/purchases/{}", text(&bought["id"]));
    let send =
        async |bearer: &str| fetch(other.request(Method::GET, &path).bearer_auth(bearer)).await;
    let seen = send(&ann).await.ok(200);
    assert_eq!(
        (&seen["id"], seen.get("payment_reference")),
        (&bought["id"], None)
    );
    send(&bob).await.problem(403, "forbidden");
    send(AUDITOR_KEY).await.problem(403, "forbidden");
    assert_eq!(send(ADMIN_KEY).await.ok(200)["payment_reference"], "pi_1");
    other.get(&path).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn buyer_who_lost_a_response_finds_only_their_own_holds_and_entry() {
    const SECRET: &str = "the shop's secret for its buyers";
    let without_tokens = App::start().await;
    let drop = without_tokens
        .create_drop(3, json!({ "hold_seconds": 3600 }))
        .await;
    let path = format!("/v1/drops/{drop}/buyers/ann");
    let first = without_tokens.held(&drop, "ann").await;
    let bought = without_tokens.held(&drop, "ann").await;
    assert_eq!(without_tokens.purchase(&bought).await.status, 201);
    let last = without_tokens.held(&drop, "ann").await;
    let entry = without_tokens.joined(&drop, "ann", 1).await;
    // Without tokens the buyer is not authenticated: ids are shown only with the admin key.
    for reply in [
        without_tokens.get(&path).await,
        without_tokens.audit(&path).await,
    ] {
        let seen = reply.ok(200);
        assert_eq!(
            (&seen["held"], seen.get("holds"), seen.get("waitlist")),
            (&json!(2), None, None)
        );
    }
    let wrong = without_tokens
        .request(Method::GET, &path)
        .bearer_auth("not the key");
    assert_eq!(fetch(wrong).await.ok(200).get("holds"), None);
    let admin = async |app: &App| fetch(app.admin(Method::GET, &path)).await.ok(200);
    let seen = admin(&without_tokens).await;
    let ids = |seen: &Value| -> Vec<String> {
        let holds = seen["holds"].as_array().unwrap();
        holds.iter().map(|hold| text(&hold["id"])).collect()
    };
    assert_eq!(ids(&seen), [last.clone(), first.clone()]);
    assert_eq!(
        (&seen["holds"][0]["status"], &seen["waitlist"]["id"]),
        (&json!("held"), &json!(entry))
    );

    let launch = without_tokens.launch().clone();
    let app = launch.with("HOLDFAST_BUYER_SECRET", SECRET).start().await;
    let send = async |buyer: &str| {
        let bearer = token(SECRET, buyer, 600);
        fetch(app.request(Method::GET, &path).bearer_auth(bearer)).await
    };
    assert_eq!(
        ids(&send("ann").await.ok(200)),
        [last.clone(), first.clone()]
    );
    send("bob").await.problem(403, "forbidden");
    assert_eq!(without_tokens.release(&last).await.status, 204);
    // The freed unit went to the waitlist entry.
    let seen = admin(&without_tokens).await;
    assert_eq!((ids(&seen).len(), &seen["waitlist"]), (2, &json!(null)));
    let cancel = without_tokens.admin(Method::POST, &format!("/v1/drops/{drop}/cancel"));
    fetch(cancel).await.ok(200);
    let seen = admin(&without_tokens).await;
    assert_eq!(
        (&seen["holds"], &seen["waitlist"]),
        (&json!([]), &json!(null))
    );
}
