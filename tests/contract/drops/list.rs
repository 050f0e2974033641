//! `GET /v1/drops`: pages, selection by status or id, position.

use harness::{App, distinct, in_seconds, key, text};
use serde_json::{Value, json};

use super::cancel;

#[tokio::test]
async fn drops_are_listed_in_pages_by_status_and_with_top_purchasers() {
    let app = App::start().await;
    let mut live = vec![];
    for _ in 0..5 {
        live.push(app.create_drop(2, json!({})).await);
    }
    let upcoming = app
        .create_drop(1, json!({ "starts_at": in_seconds(3600) }))
        .await;
    let cancelled = app.create_drop(1, json!({})).await;
    cancel(&app, &cancelled).await.ok(200);
    let ids = |list: &Value| {
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|drop| text(&drop["id"]))
            .collect::<Vec<_>>()
    };

    let all = app.get("/v1/drops").await.ok(200);
    assert_eq!((ids(&all).len(), &all["has_more"]), (7, &json!(false)));
    assert_eq!(
        ids(&app.get("/v1/drops?status=live").await.ok(200)).len(),
        5
    );
    assert_eq!(
        ids(&app.get("/v1/drops?status=scheduled").await.ok(200)),
        [upcoming]
    );
    assert_eq!(
        ids(&app.get("/v1/drops?status=cancelled").await.ok(200)),
        [cancelled]
    );
    assert_eq!(
        ids(&app.get("/v1/drops?status=ended").await.ok(200)).len(),
        0
    );
    let empty = app.get("/v1/drops?status=&expand=").await;
    assert_eq!(
        empty.error_pointers(400, "invalid_query"),
        ["/expand", "/status"]
    );

    let (mut after, mut seen, mut pages) = (String::new(), vec![], 0);
    loop {
        let page = app.get(&format!("/v1/drops?limit=3{after}")).await.ok(200);
        seen.extend(ids(&page));
        pages += 1;
        if page["has_more"] == false {
            break;
        }
        assert_eq!(ids(&page).len(), 3);
        after = format!("&starting_after={}", seen.last().unwrap());
    }
    assert_eq!((pages, &seen), (3, &ids(&all)));
    assert_eq!(distinct(seen).len(), 7);

    let hold = text(
        &app.hold_with(
            &live[0],
            &key(),
            &json!({ "buyer_id": "a", "display_name": "Ann" }),
        )
        .await
        .ok(201)["id"],
    );
    app.purchase(&hold).await.ok(201);
    let expanded = app
        .get("/v1/drops?status=live&expand=top_purchasers")
        .await
        .ok(200);
    let found = expanded["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|drop| drop["id"] == live[0].as_str())
        .unwrap();
    assert_eq!(found["top_purchasers"][0]["buyer"], "Ann");
    assert!(all["data"][0].get("top_purchasers").is_none());
    for query in [
        "status=open",
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=x",
        "starting_after=x",
        "expand=everything",
        "at_least=x",
        "at_least=9223372036854775808",
    ] {
        app.get(&format!("/v1/drops?{query}"))
            .await
            .problem(400, "invalid_query");
    }
}

#[tokio::test]
async fn list_can_select_drops_and_reports_its_position() {
    let app = App::start().await;
    let mut drops = vec![];
    for _ in 0..4 {
        drops.push(app.create_drop(2, json!({})).await);
    }
    cancel(&app, &drops[1]).await.ok(200);
    let hold = app.hold(&drops[0], "ann").await.ok(201);
    let bought = app.purchase(&text(&hold["id"])).await.ok(201);
    let unknown = uuid::Uuid::new_v4();
    let ids = |list: &Value| {
        let data = list["data"].as_array().unwrap();
        data.iter()
            .map(|drop| text(&drop["id"]))
            .collect::<Vec<_>>()
    };

    let named = format!("{},{unknown},{},{}", drops[0], drops[2], drops[1]);
    let path = format!("/v1/drops?ids={named}&expand=top_purchasers");
    let reply = app.get(&path).await;
    let list = reply.ok(200);
    // Of two drops that were scheduled in the same millisecond, the one with the greater id comes
    // first.
    let newest_first = ids(&app.get("/v1/drops").await.ok(200));
    let expected = newest_first.iter().filter(|id| named.contains(*id));
    let expected: Vec<String> = expected.cloned().collect();
    assert_eq!(
        (ids(&list), &list["has_more"]),
        (expected.clone(), &json!(false))
    );
    let position = reply.header("holdfast-position").parse::<u64>().unwrap();
    assert!(
        position >= bought["position"].as_u64().unwrap(),
        "{position}"
    );
    let first =
        &list["data"].as_array().unwrap()[expected.iter().position(|id| *id == drops[0]).unwrap()];
    assert_eq!(first["top_purchasers"][0]["quantity"], 1);

    let of_status = format!("/v1/drops?ids={named}&status=cancelled");
    assert_eq!(ids(&app.get(&of_status).await.ok(200)), [drops[1].clone()]);
    let page = app
        .get(&format!("/v1/drops?ids={named}&limit=2"))
        .await
        .ok(200);
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (expected[..2].to_vec(), &json!(true))
    );
    let rest = format!(
        "/v1/drops?ids={named}&limit=2&starting_after={}",
        expected[1]
    );
    let rest = app.get(&rest).await.ok(200);
    assert_eq!(
        (ids(&rest), &rest["has_more"]),
        (expected[2..].to_vec(), &json!(false))
    );

    let many: Vec<String> = (0..101).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    for (ids, found) in [
        (&many[..100], true),
        (&many[..], false),
        (&["x".to_owned()][..], false),
    ] {
        let reply = app.get(&format!("/v1/drops?ids={}", ids.join(","))).await;
        if found {
            assert_eq!(reply.ok(200)["data"], json!([]));
        } else {
            reply.problem(400, "invalid_query");
        }
    }
}
