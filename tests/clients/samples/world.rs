//! The resources that samples use: new ones for every sample, so that none depends on another.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::{ADMIN_KEY, App, fetch, key, text};
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

/// Operations of an order that was paid.
const OF_PAID_ORDERS: [&str; 2] = ["refundOrder", "fulfilOrder"];

/// Prepares the values of placeholders.
#[derive(Debug)]
pub(super) struct World<'a> {
    app: &'a App,
}

impl<'a> World<'a> {
    pub(super) const fn of(app: &'a App) -> Self {
        Self { app }
    }

    /// Returns a value for each of the placeholders: of new resources that belong together. The
    /// second value is false if one of them is unknown to the server, because it is of a kind that
    /// is not prepared here.
    pub(super) async fn values(
        &self,
        operation: &str,
        names: &[String],
    ) -> (BTreeMap<String, String>, bool) {
        let app = self.app;
        let units = if operation == "joinWaitlist" { 0 } else { 10 };
        let terms = json!({ "max_hold_seconds": 900, "max_per_hold": 10 });
        let drop = app.create_drop(units, terms).await;
        let mut values = BTreeMap::new();
        let mut is_complete = true;
        for name in names {
            let value = match name.as_str() {
                "origin" => format!("http://{}", app.address()),
                "key" => key(),
                "admin_key" => ADMIN_KEY.to_owned(),
                "drop_id" => drop.clone(),
                "hold_id" => app.held(&drop, "buyer-1").await,
                "purchase_id" => {
                    let hold = app.held(&drop, "buyer-1").await;
                    text(&app.purchase(&hold).await.ok(201)["id"])
                }
                "order_id" => self.order(&drop, OF_PAID_ORDERS.contains(&operation)).await,
                "entry_id" => {
                    let sold_out = app.create_drop(0, json!({})).await;
                    app.joined(&sold_out, "buyer-1", 1).await
                }
                "creator_id" => self.creator().await,
                "product_id" => self.product().await,
                "endpoint_id" => self.endpoint().await,
                // The test message of an endpoint is a job as well, under the same id.
                "delivery_id" | "job_id" => {
                    let endpoint = self.endpoint().await;
                    let delivery = self.delivery(&endpoint).await;
                    values.insert("endpoint_id".to_owned(), endpoint);
                    delivery
                }
                _ => {
                    is_complete = false;
                    Uuid::nil().to_string()
                }
            };
            values.insert(name.clone(), value);
        }
        (values, is_complete)
    }

    async fn order(&self, drop: &str, is_paid: bool) -> String {
        let items = json!([{ "drop_id": drop, "quantity": 1 }]);
        let request = self.app.request(Method::POST, "/v1/orders");
        let request = request.header("idempotency-key", key());
        let order = request.json(&json!({ "buyer_id": "buyer-1", "items": items }));
        let order = text(&fetch(order).await.ok(201)["id"]);
        if is_paid {
            let path = format!("/v1/orders/{order}/purchase");
            let paid = fetch(self.app.admin(Method::POST, &path)).await;
            paid.ok(200);
        }
        order
    }

    async fn creator(&self) -> String {
        let id = format!("creator-{}", Uuid::new_v4());
        let request = self.app.admin(Method::PUT, &format!("/v1/creators/{id}"));
        fetch(request.json(&json!({ "name": "Nord" })))
            .await
            .ok(201);
        id
    }

    async fn product(&self) -> String {
        let id = format!("product-{}", Uuid::new_v4());
        let request = self.app.admin(Method::PUT, &format!("/v1/products/{id}"));
        fetch(request.json(&json!({ "title": "Boot" })))
            .await
            .ok(201);
        id
    }

    /// Notifies the buyer of the samples of a paid order, until the future is dropped.
    pub(super) async fn notify_again_and_again(&self) {
        loop {
            let drop = self.app.create_drop(1, json!({})).await;
            self.order(&drop, true).await;
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// An endpoint to which nothing is delivered: no drop is cancelled with a hold, and the port
    /// refuses connections.
    async fn endpoint(&self) -> String {
        let endpoint = json!({ "url": "http://127.0.0.1:9/", "event_types": ["drop.cancelled"] });
        let request = self.app.admin(Method::POST, "/v1/admin/webhooks");
        text(&fetch(request.json(&endpoint)).await.ok(201)["id"])
    }

    /// A delivery that is pending.
    async fn delivery(&self, endpoint: &str) -> String {
        let path = format!("/v1/admin/webhooks/{endpoint}/test");
        text(&fetch(self.app.admin(Method::POST, &path)).await.ok(202)["id"])
    }
}
