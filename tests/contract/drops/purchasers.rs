//! `GET /v1/drops/{id}/purchasers`: order and pages, without ids of buyers.

use harness::{App, key, text};
use serde_json::{Value, json};

use super::assert_time;

#[tokio::test]
async fn purchasers_are_listed_by_units_or_time_without_their_ids() {
    let app = App::start().await;
    let drop = app.create_drop(100, json!({ "max_per_hold": 10 })).await;
    for (buyer, name, quantity) in [
        ("secret-a", Some("Ann"), 1),
        ("secret-b", None, 5),
        ("secret-c", Some("Cy"), 3),
        ("secret-d", Some("Di"), 2),
    ] {
        let body = json!({ "buyer_id": buyer, "display_name": name, "quantity": quantity });
        let hold = text(&app.hold_with(&drop, &key(), &body).await.ok(201)["id"]);
        app.purchase(&hold).await.ok(201);
    }
    app.hold_with(
        &drop,
        &key(),
        &json!({ "buyer_id": "secret-e", "display_name": "Holder" }),
    )
    .await
    .ok(201);
    let list = |query: &'static str| {
        let (api, path) = (app.api(), format!("/v1/drops/{drop}/purchasers{query}"));
        async move { api.get(&path).await.ok(200) }
    };
    let quantities = |list: &Value| {
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|buyer| harness::number(&buyer["quantity"]))
            .collect::<Vec<_>>()
    };
    let top = list("").await;
    assert_eq!(
        (quantities(&top), &top["has_more"]),
        (vec![5, 3, 2], &json!(true))
    );
    assert_eq!(
        (&top["data"][1]["buyer"], &top["data"][2]["buyer"]),
        (&json!("Cy"), &json!("Di"))
    );
    assert_time(&top["data"][0]["last_purchased_at"]);
    let masked = text(&top["data"][0]["buyer"]);
    assert!(!masked.is_empty() && !masked.contains("secret"), "{masked}");
    assert_eq!(
        quantities(&list("?limit=10&order=recent").await),
        [2, 3, 5, 1]
    );
    assert_eq!(quantities(&list("?limit=1&order=units").await), [5]);
    assert_eq!(list("?limit=10").await["has_more"], false);
    assert!(!list("?limit=10").await.to_string().contains("secret"));
    for query in ["limit=0", "limit=101", "order=name", "order="] {
        app.get(&format!("/v1/drops/{drop}/purchasers?{query}"))
            .await
            .problem(400, "invalid_query");
    }
    let after = app
        .get(&format!(
            "/v1/drops/{drop}/purchasers?starting_after={drop}"
        ))
        .await;
    assert_eq!(
        after.error_pointers(400, "invalid_query"),
        ["/starting_after"]
    );
}
