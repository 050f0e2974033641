//! A shop's day in seconds, on a drop of its own: an order that is paid in time, one whose payment
//! is declined, one that is paid late and honoured, one that is paid late and refunded, and a
//! return whose unit goes to the waitlist.
//!
//! Promise: everything happens through the public API, with the payment provider `demo`. Each
//! outcome is read from the server before it is reported.
//! Limit: an outcome that does not come within [`PATIENCE`] is an error; nothing is repeated.

use std::future::Future;
use std::time::Duration;

use chrono::Utc;
use domain::values::{
    Currency, Description, DropId, DropName, HoldSeconds, InvalidValue, Money, OrderId, Quantity,
    StockCount, Timestamp,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::calls::{Listed, NewDrop, Page};
use super::error::ClientError;
use super::pooled::Client;
use super::wire::Call;

/// The longest wait for one outcome.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// The drop's name, by which a repeated demo finds that the day is over.
const DROP_NAME: &str = "Notebook, sewn binding";
const STOCK: i64 = 3;
const HOLD_SECONDS: i64 = 5;
/// After the holds have ended, while units are free.
const LATE_SECONDS: u32 = 7;
/// After the last unit was sold to another buyer.
const TOO_LATE_SECONDS: u32 = 12;
/// The drop ends by itself.
const DROP_SECONDS: u32 = 120;

/// An order, as the server returns it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct OrderView {
    id: OrderId,
    status: String,
    /// True if the payment arrived after `expires_at` and was honoured.
    #[serde(default)]
    late: bool,
}

/// Why the day ended early.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the sample drop is invalid")]
    Sample(#[from] InvalidValue),
    /// An outcome did not come.
    #[error("waited {} s, and it is still not true that {outcome}", PATIENCE.as_secs())]
    Overdue { outcome: String },
    #[error("order {order} was paid late and is not marked as late")]
    NotLate { order: OrderId },
}

/// A job, as the server returns it.
#[derive(Debug, Deserialize)]
struct JobView {
    /// The path of the order.
    subject: String,
}

/// Plays the day once for each data directory; `report` receives each outcome in words.
///
/// # Errors
/// [`StoryError`]
pub async fn play(client: &Client, mut report: impl FnMut(String)) -> Result<(), StoryError> {
    if client
        .drops()
        .await?
        .iter()
        .any(|drop| drop.name == DROP_NAME)
    {
        return Ok(());
    }
    let drop = sample()?;
    let drop_id = client.create_drop(&drop, &fresh_key()).await?.id;
    let day = Day { client, drop_id };

    let paid = day.order("demo-punctual").await?;
    day.pay(&paid, "pays").await?;
    day.reaches(&paid, "paid").await?;
    report(format!("an order was paid in time: {}", paid.id));

    let declined = day.order("demo-declined").await?;
    day.pay(&declined, "declines").await?;
    day.payment_reaches(&declined, "failed").await?;
    day.cancel(&declined).await?;
    day.reaches(&declined, "cancelled").await?;
    report(format!(
        "a payment was declined, and its buyer cancelled the order: {}",
        declined.id
    ));

    let late = day.order("demo-late").await?;
    let too_late = day.order("demo-too-late").await?;
    day.pay(&late, &format!("pays_late={LATE_SECONDS}")).await?;
    day.pay(&too_late, &format!("pays_late={TOO_LATE_SECONDS}"))
        .await?;
    let honoured = day.reaches(&late, "paid").await?;
    if !honoured.late {
        return Err(StoryError::NotLate { order: late.id });
    }
    report(format!(
        "a payment arrived after its hold had ended; a unit was free, so the order is paid: {}",
        late.id
    ));

    let quick = day.order("demo-quick").await?;
    day.pay(&quick, "pays").await?;
    day.reaches(&quick, "paid").await?;
    day.refund_settles(&too_late).await?;
    report(format!(
        "a payment arrived after the last unit was sold; the money went back: {}",
        too_late.id
    ));

    day.join_waitlist("demo-waiting").await?;
    day.give_back(&paid).await?;
    day.reaches(&paid, "refunded").await?;
    day.is_offered("demo-waiting").await?;
    report(format!(
        "a return was refunded, and its unit was offered to the waitlist: {}",
        paid.id
    ));
    Ok(())
}

struct Day<'a> {
    client: &'a Client,
    drop_id: DropId,
}

impl Day<'_> {
    async fn order(&self, buyer: &str) -> Result<OrderView, ClientError> {
        let items = json!([{ "drop_id": self.drop_id, "quantity": 1 }]);
        let body = json!({ "buyer_id": buyer, "items": items });
        self.post("/v1/orders", &body, "an order").await
    }

    async fn pay(&self, order: &OrderView, scenario: &str) -> Result<(), ClientError> {
        let path = format!("/v1/orders/{}/payments", order.id);
        let body = json!({ "provider": "demo", "scenario": scenario });
        let _payment: Value = self.post(&path, &body, "a payment").await?;
        Ok(())
    }

    async fn cancel(&self, order: &OrderView) -> Result<(), ClientError> {
        let path = format!("/v1/orders/{}/cancel", order.id);
        let _cancelled: OrderView = self.post(&path, &json!({}), "an order").await?;
        Ok(())
    }

    /// Refunds the whole order; its units are on sale again.
    async fn give_back(&self, order: &OrderView) -> Result<(), ClientError> {
        let path = format!("/v1/orders/{}/refunds", order.id);
        let body = json!({ "reason": "returned unused" });
        let _refund: Value = self.post(&path, &body, "a refund").await?;
        Ok(())
    }

    async fn join_waitlist(&self, buyer: &str) -> Result<(), ClientError> {
        let path = format!("/v1/drops/{}/waitlist", self.drop_id);
        let body = json!({ "buyer_id": buyer, "quantity": 1 });
        let _entry: Value = self.post(&path, &body, "a waitlist entry").await?;
        Ok(())
    }

    async fn reaches(&self, order: &OrderView, status: &str) -> Result<OrderView, StoryError> {
        let what = format!("order {} is {status}", order.id);
        until(&what, async || {
            let present: OrderView = self.get(&order_path(order), "an order").await?;
            Ok((present.status == status).then_some(present))
        })
        .await
    }

    async fn payment_reaches(&self, order: &OrderView, status: &str) -> Result<(), StoryError> {
        let what = format!("the payment of order {} is {status}", order.id);
        until(&what, async || {
            let present: Value = self.get(&order_path(order), "an order").await?;
            Ok((present["payment"]["status"] == status).then_some(()))
        })
        .await
    }

    /// Waits until the order's money was requested back and the provider has settled it.
    async fn refund_settles(&self, order: &OrderView) -> Result<(), StoryError> {
        let what = format!("the late payment of order {} is refunded", order.id);
        until(&what, async || {
            let path = "/v1/admin/jobs?kind=refund&status=done";
            let jobs: Page<JobView> = self.get(path, "a list of jobs").await?;
            let is_done = jobs.data.iter().any(|job| job.subject == order_path(order));
            Ok(is_done.then_some(()))
        })
        .await
    }

    async fn is_offered(&self, buyer: &str) -> Result<(), StoryError> {
        let path = format!("/v1/drops/{}/buyers/{buyer}", self.drop_id);
        until("the waitlist is offered the returned unit", async || {
            let present: Value = self.get(&path, "a buyer").await?;
            Ok((present["held"] == 1).then_some(()))
        })
        .await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        what: &'static str,
    ) -> Result<T, ClientError> {
        let reply = self.client.send(&Call::get(path.to_owned())).await?;
        reply.read(what)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        what: &'static str,
    ) -> Result<T, ClientError> {
        let call = Call::post(path.to_owned(), body).keyed(&fresh_key());
        self.client.send(&call).await?.read(what)
    }
}

fn order_path(order: &OrderView) -> String {
    format!("/v1/orders/{}", order.id)
}

/// Reads until `read` returns a value.
async fn until<T, F>(outcome: &str, mut read: impl FnMut() -> F) -> Result<T, StoryError>
where
    F: Future<Output = Result<Option<T>, ClientError>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = read().await? {
            return Ok(value);
        }
        if Instant::now() >= end {
            return Err(StoryError::Overdue {
                outcome: outcome.to_owned(),
            });
        }
        sleep(PAUSE).await;
    }
}

fn fresh_key() -> String {
    Uuid::new_v4().to_string()
}

fn sample() -> Result<NewDrop, InvalidValue> {
    Ok(NewDrop {
        name: DropName::new(DROP_NAME)?,
        description: Some(Description::new(
            "Sixty-four leaves of cotton paper. The demo's orders are for these.",
        )?),
        image_url: None,
        price: Money::price(1_400, Currency::new("EUR")?)?,
        total_stock: StockCount::new(STOCK)?,
        starts_at: None,
        ends_at: Some(Timestamp::from(Utc::now()).plus_seconds(DROP_SECONDS)),
        hold_seconds: HoldSeconds::new(HOLD_SECONDS)?,
        max_per_hold: Quantity::new(1)?,
        max_per_buyer: None,
        listed: Listed::default(),
    })
}
