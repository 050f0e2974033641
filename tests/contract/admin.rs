//! docs/CONTRACT.md on the dashboard's routes: counts that agree with the log, and a session that
//! only the server's own pages can use.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{ADMIN_KEY, AUDITOR_KEY, App, Reply, eventually, fetch, key, number, text};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

async fn admin(app: &App, path: &str) -> Reply {
    fetch(app.admin(Method::GET, path)).await
}

async fn hold_of(app: &App, drop: &str, buyer: &str, quantity: u32) -> String {
    let body = json!({ "buyer_id": buyer, "quantity": quantity });
    text(&app.hold_with(drop, &key(), &body).await.ok(201)["id"])
}

/// Five holds of nine units: two purchased (3 units), one released (2), one expired (2), one open
/// (2).
async fn some_sales(app: &App) -> String {
    let terms = json!({ "max_per_hold": 5, "hold_seconds": 1 });
    let drop = app.create_drop(20, terms).await;
    let quick = hold_of(app, &drop, "ann", 2).await;
    recorded_as_expired(app, &quick).await;
    let patch = app
        .admin(Method::PATCH, &format!("/v1/drops/{drop}"))
        .header("if-match", "*")
        .json(&json!({ "hold_seconds": 3600 }));
    fetch(patch).await.ok(200);
    for (buyer, quantity) in [("bob", 1), ("cid", 2)] {
        let hold = hold_of(app, &drop, buyer, quantity).await;
        app.purchase(&hold).await.ok(201);
    }
    let released = hold_of(app, &drop, "dee", 2).await;
    assert_eq!(app.release(&released).await.status, 204);
    hold_of(app, &drop, "eve", 2).await;
    drop
}

async fn recorded_as_expired(app: &App, hold: &str) {
    eventually("the hold is recorded as expired", || async {
        let log = app.log().await;
        let expired = log.iter().find(|event| event.event_type == "HoldExpired")?;
        expired.payload.get().contains(hold).then_some(())
    })
    .await;
}

#[tokio::test]
async fn metrics_count_holds_purchases_and_units_of_the_window() {
    let app = App::start().await;
    let drop = some_sales(&app).await;
    let other = app.create_drop(1, json!({ "name": "Other" })).await;
    let head = number(&app.audit("/v1/log/head").await.ok(200)["position"]);

    let metrics = admin(&app, "/v1/admin/metrics?window=1h").await.ok(200);
    for (name, count) in [
        ("holds_placed", 5),
        ("holds_expired", 1),
        ("holds_released", 1),
        ("purchases_confirmed", 2),
        ("units_held", 9),
        ("units_sold", 3),
        ("units_refunded", 0),
        ("units_expired", 2),
        ("units_released", 2),
        ("oversell_attempts_blocked", 0),
        ("throttle_blocks", 0),
        ("position", head),
    ] {
        assert_eq!(metrics[name], count, "{name}: {metrics}");
    }
    assert_eq!(
        metrics["drops"],
        json!([
            { "id": other, "name": "Other", "status": "live", "total": 1, "available": 1, "held": 0, "sold": 0, "expired": 0, "refunded": 0 },
            { "id": drop, "name": "Test drop", "status": "live", "total": 20, "available": 15, "held": 2, "sold": 3, "expired": 2, "refunded": 0 },
        ])
    );
    let timeline = metrics["timeline"].as_array().unwrap();
    assert_eq!(timeline.len(), 60, "an hour by the minute");
    let sum = |name: &str| {
        timeline
            .iter()
            .map(|bucket| number(&bucket[name]))
            .sum::<u64>()
    };
    assert_eq!((sum("held"), sum("sold"), sum("expired")), (9, 3, 2));
    assert_eq!(metrics["release_lateness"]["count"], 1);
    assert_eq!(metrics["engine"], json!({ "state": "live", "queued": 0 }));
    assert_eq!(
        admin(&app, "/v1/admin/metrics").await.ok(200)["timeline"]
            .as_array()
            .unwrap()
            .len(),
        60,
        "an hour by default"
    );
}

#[tokio::test]
async fn metrics_list_drops_by_page_and_count_all_of_them() {
    let app = App::start().await;
    let mut names = vec![];
    for number in 0..5 {
        let name = format!("Lantern {number}");
        let drop = app.create_drop(5, json!({ "name": name })).await;
        hold_of(&app, &drop, "ann", 1).await;
        if number == 3 {
            let cancel = app.admin(Method::POST, &format!("/v1/drops/{drop}/cancel"));
            fetch(cancel).await.ok(200);
        }
        names.insert(0, name);
        // A pause, so that the list is in order of creation.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let listed = async |query: &str| {
        let metrics = admin(&app, &format!("/v1/admin/metrics?{query}")).await;
        let metrics = metrics.ok(200);
        assert_eq!(
            metrics["holds_placed"], 5,
            "the filter does not change the totals: {query}"
        );
        let drops = metrics["drops"].as_array().unwrap().clone();
        let names: Vec<String> = drops.iter().map(|drop| text(&drop["name"])).collect();
        let last = drops.last().map(|drop| text(&drop["id"]));
        (names, metrics["has_more"] == true, last)
    };
    let (all, has_more, _) = listed("").await;
    assert_eq!((all, has_more), (names.clone(), false));

    let (first, has_more, last) = listed("limit=2").await;
    assert_eq!((&first[..], has_more), (&names[..2], true));
    let after = format!("limit=3&starting_after={}", last.unwrap());
    let (rest, has_more, _) = listed(&after).await;
    assert_eq!((&rest[..], has_more), (&names[2..], false));

    let found = async |query: &str| listed(query).await.0;
    assert_eq!(found("status=cancelled").await, ["Lantern 3"]);
    assert_eq!(
        found("status=ended,cancelled,sold_out").await,
        ["Lantern 3"]
    );
    assert_eq!(found("status=live,scheduled").await.len(), 4);
    assert_eq!(found("search=LANTERN%203").await, ["Lantern 3"]);
    assert_eq!(
        found("search=lantern&status=live&limit=1").await,
        ["Lantern 4"]
    );
    assert_eq!(found("search=nothing").await, [""; 0]);
    let (_, _, last) = listed("search=lantern%201").await;
    let by_id = format!("search={}", last.unwrap());
    assert_eq!(found(&by_id).await, ["Lantern 1"]);
    assert_eq!(found(&format!("{by_id}&status=cancelled")).await, [""; 0]);
    let longest = format!("search={}", "n".repeat(200));
    assert_eq!(found(&longest).await, [""; 0]);
    assert_eq!(found("search=%20lantern%203%20").await, ["Lantern 3"]);
    assert_eq!(
        found("status=live,live,live,live,scheduled").await.len(),
        4,
        "as many as there are statuses"
    );

    for query in [
        "search=",
        "search=%20%09",
        &format!("search={}", "n".repeat(201)),
        "status=",
        "status=live,",
        "status=live,live,live,live,live,live,live,live",
        "limit=0",
        "limit=101",
        "status=live,open",
        "starting_after=x",
        "starting_after=0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4",
        "starting_after=0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4&search=x",
    ] {
        let reply = admin(&app, &format!("/v1/admin/metrics?{query}")).await;
        reply.problem(400, "invalid_query");
    }
}

#[tokio::test]
async fn metrics_of_many_drops_are_bounded() {
    let app = App::start().await;
    for _ in 0..101 {
        app.create_drop(1, json!({})).await;
    }
    let metrics = admin(&app, "/v1/admin/metrics").await.ok(200);
    assert_eq!(metrics["drops"].as_array().unwrap().len(), 100);
    assert_eq!(metrics["has_more"], true);
}

#[tokio::test]
async fn refusals_are_counted_over_the_same_window() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let path = "/v1/admin/metrics?window=31d&bucket=1d";
    let from = text(&admin(&app, path).await.ok(200)["timeline"][0]["start"]);
    // The given number of minutes after it. The last refusal is written last, so all of them have
    // been written once it is visible.
    for (minutes, units) in [(-1, 100), (25 * 60, 20), (40 * 60, 3)] {
        let refused = "INSERT INTO refusals (drop_id, minute, sold_out, limit_reached, throttled)
                       VALUES ($1::uuid, $2::timestamptz + $3::int * interval '1 minute', $4, 0, 0)";
        let refused = sqlx::query(refused).bind(&drop).bind(&from);
        let inserted = refused.bind(minutes).bind(units).execute(app.pool()).await;
        inserted.unwrap();
    }
    eventually("refusals are reported", || async {
        let blocked = number(&admin(&app, path).await.ok(200)["oversell_attempts_blocked"]);
        assert!([0, 20, 23].contains(&blocked), "{blocked}");
        (blocked == 23).then_some(())
    })
    .await;
}

#[tokio::test]
async fn timeline_has_every_bucket_of_its_window_also_as_csv() {
    let app = App::start().await;
    let drop = some_sales(&app).await;
    let empty = app.create_drop(1, json!({})).await;
    let path = format!("/v1/admin/timeline?drop_id={drop}&window=1h&bucket=1m");
    let reply = admin(&app, &path).await;
    let body = reply.ok(200);
    let buckets = body["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), 60);
    let sum = |buckets: &[Value], name: &str| {
        buckets
            .iter()
            .map(|bucket| number(&bucket[name]))
            .sum::<u64>()
    };
    for (name, units) in [("held", 9), ("sold", 3), ("expired", 2), ("released", 2)] {
        assert_eq!(sum(buckets, name), units, "{name}");
    }
    for pair in buckets.windows(2) {
        assert!(text(&pair[0]["start"]) < text(&pair[1]["start"]));
    }
    assert!(text(&buckets[0]["start"]).ends_with(":00.000Z"));

    let all = admin(&app, "/v1/admin/timeline?window=2h&bucket=5m")
        .await
        .ok(200);
    let all = all["buckets"].as_array().unwrap();
    assert_eq!((all.len(), sum(all, "sold")), (24, 3));
    let none = format!("/v1/admin/timeline?drop_id={empty}");
    let none = admin(&app, &none).await.ok(200);
    assert_eq!(sum(none["buckets"].as_array().unwrap(), "held"), 0);

    let request = app.admin(Method::GET, &path).header("accept", "text/csv");
    let csv = fetch(request).await;
    assert_eq!(csv.status, 200);
    assert!(csv.header("content-type").starts_with("text/csv"));
    let lines: Vec<String> = csv.text().lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "start,held,sold,expired,released,refunded");
    let rows: Vec<String> = buckets
        .iter()
        .map(|bucket| {
            let count = |name: &str| number(&bucket[name]).to_string();
            let names = ["held", "sold", "expired", "released", "refunded"];
            let counts = names.map(count).join(",");
            format!("{},{counts}", text(&bucket["start"]))
        })
        .collect();
    assert_eq!(lines[1..], rows);
}

#[tokio::test]
async fn timeline_negotiates_its_format_and_each_format_has_its_tag() {
    let app = App::start().await;
    // Buckets of a day, so that no new bucket begins except at midnight.
    let path = "/v1/admin/timeline?window=31d&bucket=1d";
    let request = |accept: &'static str| app.admin(Method::GET, path).header("accept", accept);
    let mut tags = vec![];
    for (accept, form) in [
        ("*/*", "application/json"),
        ("text/csv;q=0", "application/json"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("text/csvx", "application/json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("TEXT/CSV", "text/csv; charset=utf-8"),
        ("text/*", "text/csv; charset=utf-8"),
        ("application/json;q=0.5, text/*", "text/csv; charset=utf-8"),
        ("application/json;q=0, */*", "text/csv; charset=utf-8"),
    ] {
        let reply = fetch(request(accept)).await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, form),
            "{accept}"
        );
        assert_eq!(reply.header("vary").to_lowercase(), "accept", "{accept}");
        let etag = reply.header("etag").to_owned();
        let again = fetch(request(accept).header("if-none-match", &etag)).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{accept}");
        assert_eq!(again.header("vary").to_lowercase(), "accept", "{accept}");
        tags.push((form, etag));
    }
    assert_eq!(harness::distinct(tags).len(), 2, "a tag for each form");
}

#[tokio::test]
async fn invalid_queries_are_rejected_and_known_bodies_get_304() {
    let app = App::start().await;
    for query in [
        "window=0m",
        "window=1w",
        "window=90s",
        "window=1h&bucket=2h",
        "window=2d&bucket=1m",
        "bucket=x",
    ] {
        for route in ["metrics", "timeline"] {
            let path = format!("/v1/admin/{route}?{query}");
            admin(&app, &path).await.problem(400, "invalid_query");
        }
    }
    let path = format!("/v1/admin/timeline?drop_id={}", uuid::Uuid::new_v4());
    admin(&app, &path).await.problem(404, "drop_not_found");
    for path in ["/v1/admin/metrics", "/v1/admin/timeline"] {
        app.get(path).await.problem(401, "unauthorized");
        app.audit(path).await.problem(403, "forbidden");
    }
    let path = "/v1/admin/timeline?window=31d&bucket=1d";
    let etag = admin(&app, path).await.header("etag").to_owned();
    let again = app.admin(Method::GET, path).header("if-none-match", etag);
    assert_eq!(fetch(again).await.status, 304);
}

/// Signs in as a page does and returns the cookie as a browser sends it back.
async fn signed_in(app: &App) -> String {
    let reply = fetch(sign_in(app, ADMIN_KEY).header("origin", origin(app))).await;
    assert!(text(&reply.ok(201)["expires_at"]) > harness::now());
    let cookie = reply.header("set-cookie").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(ADMIN_KEY));
    cookie.split(';').next().unwrap().to_owned()
}

fn sign_in(app: &App, key: &str) -> RequestBuilder {
    app.request(Method::POST, "/v1/admin/session")
        .json(&json!({ "key": key }))
}

fn origin(app: &App) -> String {
    format!("http://{}", app.address())
}

/// A request that schedules a drop, as a signed-in browser would send it.
fn schedule(app: &App, cookie: &str) -> RequestBuilder {
    let body = json!({ "name": "From a page", "price": { "amount": 1, "currency": "EUR" }, "total_stock": 1 });
    app.request(Method::POST, "/v1/drops")
        .header("idempotency-key", key())
        .header("cookie", cookie)
        .json(&body)
}

#[tokio::test]
async fn session_has_admin_rights_from_own_pages_only() {
    let app = App::start().await;
    let cookie = signed_in(&app).await;
    for path in ["/v1/admin/metrics", "/v1/log", "/v1/log/head"] {
        let read = app.request(Method::GET, path).header("cookie", &cookie);
        fetch(read).await.ok(200);
    }
    for (name, value) in [
        ("sec-fetch-site", "same-origin".to_owned()),
        ("origin", origin(&app)),
    ] {
        fetch(schedule(&app, &cookie).header(name, value))
            .await
            .ok(201);
    }
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("accept", "*/*"),
    ] {
        let forged = fetch(schedule(&app, &cookie).header(name, value)).await;
        forged.problem(403, "forbidden");
    }
    assert_eq!(
        app.requested_events().await,
        2,
        "rejected requests record nothing"
    );
    let elsewhere = app
        .request(Method::GET, "/v1/admin/metrics")
        .header("cookie", &cookie)
        .header("sec-fetch-site", "cross-site");
    fetch(elsewhere).await.problem(403, "forbidden");
    let wrong_key = schedule(&app, &cookie)
        .header("origin", origin(&app))
        .bearer_auth("wrong");
    fetch(wrong_key).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn sign_in_needs_the_key_and_the_same_site() {
    let app = App::start().await;
    fetch(sign_in(&app, "a guess"))
        .await
        .problem(401, "unauthorized");
    fetch(sign_in(&app, AUDITOR_KEY))
        .await
        .problem(403, "forbidden");
    let forged = sign_in(&app, ADMIN_KEY).header("origin", "http://evil.example");
    let forged = fetch(forged).await;
    forged.problem(403, "forbidden");
    assert_eq!(forged.header("set-cookie"), "");
    for cookie in [
        "holdfast_admin=",
        "holdfast_admin=guess",
        "holdfast_admin=eyJhbGciOiJub25lIn0.eyJleHAiOjQwMDAwMDAwMDB9.",
    ] {
        let read = app
            .request(Method::GET, "/v1/admin/metrics")
            .header("cookie", cookie);
        fetch(read).await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn cookie_is_invalid_after_sign_out() {
    let app = App::start().await;
    let (cookie, other) = (signed_in(&app).await, signed_in(&app).await);
    let sign_out = |site: &'static str| {
        app.request(Method::DELETE, "/v1/admin/session")
            .header("cookie", &cookie)
            .header("sec-fetch-site", site)
    };
    fetch(sign_out("cross-site"))
        .await
        .problem(403, "forbidden");
    let read = |cookie: &str| {
        fetch(
            app.request(Method::GET, "/v1/admin/metrics")
                .header("cookie", cookie),
        )
    };
    read(&cookie).await.ok(200);
    for _ in 0..2 {
        let reply = fetch(sign_out("same-origin")).await;
        assert_eq!(reply.status, 204);
        assert!(reply.header("set-cookie").contains("Max-Age=0"));
    }
    read(&cookie).await.problem(401, "unauthorized");
    read(&other).await.ok(200);
}
