//! A shop on the HTTP API: creates a drop of one unit, places a hold, retries it, purchases it, and
//! follows the stream. `shop.mjs` is the same in JavaScript.
//!
//! `cargo run -p examples -- http://127.0.0.1:8080 "$(cat .holdfast/admin.key)"`

use std::error::Error;
use std::{env, time::Duration};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Repeats a request until it has a response other than 503. This is safe, also after a lost
/// response: reads change nothing, a hold is purchased once, and other requests carry a key.
async fn send(request: RequestBuilder) -> Result<Response> {
    for _ in 0..10 {
        let copy = request.try_clone().ok_or("the body cannot be sent again")?;
        let seconds = match copy.send().await {
            Ok(response) if response.status() == 503 => {
                let header = response.headers().get("retry-after");
                header.and_then(|value| value.to_str().ok()?.parse().ok())
            }
            Ok(response) => return Ok(response),
            Err(_) => None,
        };
        let seconds = seconds.unwrap_or(1);
        println!("no result yet: the same request again in {seconds} s");
        sleep(Duration::from_secs(seconds)).await;
    }
    Err("the server is unavailable".into())
}

/// Returns the body of a response. A problem is an error.
async fn body(response: Response) -> Result<Value> {
    let is_success = response.status().is_success();
    let body: Value = response.json().await?;
    if is_success {
        Ok(body)
    } else {
        Err(body.to_string().into())
    }
}

/// Returns the next state of a drop from the stream.
async fn next_state(stream: &mut Response, received: &mut Vec<u8>) -> Result<Value> {
    loop {
        while let Some(end) = received.windows(2).position(|two| two == b"\n\n") {
            let event = String::from_utf8(received.drain(..end + 2).collect())?;
            // Other lines are the event's name and id, and heartbeats.
            if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                return Ok(serde_json::from_str(data)?);
            }
        }
        // A program that runs longer connects again, with the last id as `Last-Event-ID`.
        received.extend(stream.chunk().await?.ok_or("the stream ended")?);
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, admin_key] = arguments.as_slice() else {
        return Err("arguments: URL ADMIN_KEY".into());
    };
    let shop = Client::new();
    let post = |path: &str, body: Value| shop.post(format!("{url}{path}")).json(&body);
    // One key per operation. A shop stores it before it sends the request.
    let new_key = || Uuid::new_v4().to_string();

    let lamp =
        json!({ "name": "Lamp", "price": { "amount": 4900, "currency": "EUR" }, "total_stock": 1 });
    let create = post("/v1/drops", lamp)
        .bearer_auth(admin_key)
        .header("Idempotency-Key", new_key());
    let drop = body(send(create).await?).await?;
    let id = drop["id"].as_str().ok_or("no id")?;
    let list = body(send(shop.get(format!("{url}/v1/drops?status=live"))).await?).await?;
    for drop in list["data"].as_array().ok_or("no list")? {
        let name = drop["name"].as_str().unwrap_or_default();
        println!("on sale: {name} ({} available)", drop["stock"]["available"]);
    }
    let mut stream = shop
        .get(format!("{url}/v1/stream?drops={id}"))
        .send()
        .await?;

    let holds = format!("/v1/drops/{id}/holds");
    let hold = |buyer: &str, key: &str| {
        send(post(&holds, json!({ "buyer_id": buyer })).header("Idempotency-Key", key))
    };
    let key = new_key();
    let held = body(hold("ann", &key).await?).await?;
    // The response might have been lost: the same key returns the same hold.
    let again = hold("ann", &key).await?;
    println!(
        "replayed: {}",
        again.headers().contains_key("idempotent-replayed")
    );
    println!("same hold: {}", body(again).await?["id"] == held["id"]);

    let late: Value = hold("ben", &new_key()).await?.json().await?;
    if late["code"] == "sold_out" {
        println!("sold out: {} available", late["available"]);
    }

    let hold_id = held["id"].as_str().ok_or("no id")?;
    let payment = json!({ "payment_reference": "payment-1" });
    let purchase = send(post(&format!("/v1/holds/{hold_id}/purchase"), payment)).await?;
    println!("purchased: {}", body(purchase).await?["total"]);

    let mut received = vec![];
    while next_state(&mut stream, &mut received).await?["stock"]["sold"] != 1 {}
    println!("the stream shows 1 unit sold");
    Ok(())
}
