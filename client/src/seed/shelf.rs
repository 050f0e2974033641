//! The creators and products of the sample drops.
//!
//! Promise: however often it runs, each exists once.

use serde_json::{Value, json};

use crate::calls::put_listed;
use crate::error::ClientError;
use crate::pooled::Client;

/// Id, name and description.
const CREATORS: [[&str; 3]; 2] = [
    [
        "halcyon",
        "Halcyon Works",
        "Keyboards, milled and tuned by hand.",
    ],
    [
        "low-tide",
        "Low Tide Press",
        "Prints, bowls and records, in small editions.",
    ],
];

/// Id, creator, title, and the variants with their names.
const PRODUCTS: [(&str, &str, &str, &[[&str; 2]]); 4] = [
    (
        "halcyon-65",
        "halcyon",
        "Halcyon 65",
        &[["ansi", "ANSI layout"], ["iso", "ISO layout"]],
    ),
    (
        "low-tide-print",
        "low-tide",
        "Low Tide",
        &[["a3", "30 × 40 cm"], ["a2", "40 × 60 cm"]],
    ),
    (
        "morning-bowl",
        "low-tide",
        "Morning bowl",
        &[["small", "Small"], ["large", "Large"]],
    ),
    (
        "far-side-sessions",
        "low-tide",
        "Far Side Sessions",
        &[["lp", "180 g vinyl"]],
    ),
];

/// Adds or replaces the creators and products.
///
/// # Errors
/// [`ClientError`]
pub async fn fill(client: &Client) -> Result<(), ClientError> {
    for [id, name, description] in CREATORS {
        let body = json!({ "name": name, "description": description });
        put(client, "creators", id, &body).await?;
    }
    for (id, creator_id, title, variants) in PRODUCTS {
        let variants = variants.iter();
        let variants = variants.map(|[id, name]| json!({ "id": id, "name": name }));
        let variants: Vec<Value> = variants.collect();
        let body = json!({ "title": title, "creator_id": creator_id, "variants": variants });
        put(client, "products", id, &body).await?;
    }
    Ok(())
}

async fn put(client: &Client, kind: &str, id: &str, body: &Value) -> Result<(), ClientError> {
    let reply = client.send(&put_listed(kind, id, body)).await?;
    reply.succeeded()
}
