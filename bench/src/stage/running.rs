//! A running contender, and the store that it leaves when it is stopped.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sqlx::postgres::PgPool;
use uuid::Uuid;

use super::STOPPING;
use crate::contenders::http::Opened;
use crate::contenders::{Contender, redis_lua};
use crate::error::{BenchError, Doing};
use crate::process::Process;
use crate::wire::{Call, send};

/// A database of the run.
#[derive(Debug)]
pub struct Database {
    pub name: String,
    /// Its URL.
    pub url: String,
    /// For counting its rows.
    pub pool: PgPool,
}

/// A Redis of the run.
#[derive(Debug)]
pub struct Redis {
    pub(super) url: String,
    pub(super) process: Process,
}

/// The store of a stopped contender.
#[derive(Debug)]
pub enum Kept {
    Nothing,
    Postgres(Database),
    Redis(Box<Redis>),
}

impl Kept {
    /// Returns its URL; empty without a store.
    pub fn url(&self) -> &str {
        match self {
            Self::Nothing => "",
            Self::Postgres(database) => &database.url,
            Self::Redis(redis) => &redis.url,
        }
    }
}

#[derive(Debug)]
pub struct Running {
    pub contender: Contender,
    pub address: SocketAddr,
    pub(super) process: Process,
    pub(super) kept: Kept,
}

impl Running {
    pub const fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the URL of its store.
    pub fn store(&self) -> &str {
        self.kept.url()
    }

    /// Returns its database.
    ///
    /// # Errors
    /// If it has none.
    pub fn pool(&self) -> Result<&PgPool, BenchError> {
        match &self.kept {
            Kept::Postgres(database) => Ok(&database.pool),
            Kept::Nothing | Kept::Redis(_) => Err(BenchError::Unexpected(format!(
                "{} has no database",
                self.contender.name()
            ))),
        }
    }

    /// Stops the server like an operator, and returns its store.
    pub async fn stop(self) -> Kept {
        self.process.stop(STOPPING).await;
        self.kept
    }

    /// Opens a drop of `units`, whose holds last `hold_seconds`.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn open_drop(&self, units: u32, hold_seconds: u32) -> Result<Uuid, BenchError> {
        let body = json!({
            "name": "A limited drop",
            "price": { "amount": 19_999, "currency": "USD" },
            "total_stock": units,
            "hold_seconds": hold_seconds,
        });
        let key = Uuid::new_v4().to_string();
        let response = send(self.address, post("/v1/drops", &key), Some(&body)).await?;
        Ok(response.read::<Opened>(201)?.id)
    }

    /// # Errors
    /// [`BenchError`].
    pub async fn place(&self, drop_id: Uuid) -> Result<(), BenchError> {
        place_hold(self.address, drop_id).await
    }

    /// Creates a webhook endpoint for one type of events.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn subscribe(&self, url: &str, event_type: &str) -> Result<(), BenchError> {
        let body = json!({ "url": url, "event_types": [event_type] });
        let call = Call {
            method: "POST",
            path: "/v1/admin/webhooks",
            key: None,
        };
        let response = send(self.address, call, Some(&body)).await?;
        response.read::<Value>(201).map(drop)
    }

    /// Returns the body of a `GET`.
    ///
    /// # Errors
    /// [`BenchError`] unless the status is 200.
    pub async fn get(&self, path: &str) -> Result<Value, BenchError> {
        let call = Call {
            method: "GET",
            path,
            key: None,
        };
        send(self.address, call, None::<&()>).await?.read(200)
    }

    /// Returns how many holds of `drops` are stored, counted in the store itself and not by the
    /// server.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn stored(&self, drops: &[Uuid]) -> Result<Option<u64>, BenchError> {
        match &self.kept {
            Kept::Nothing => Ok(None),
            Kept::Postgres(database) => {
                let counted = self.count_rows(&database.pool, drops).await;
                let rows = counted.doing("count the stored holds")?;
                Ok(Some(rows.unsigned_abs()))
            }
            Kept::Redis(redis) => {
                let counted = count_fields(&redis.url, drops).await;
                counted.map(Some).doing("count the stored holds")
            }
        }
    }

    async fn count_rows(&self, pool: &PgPool, drops: &[Uuid]) -> Result<i64, sqlx::Error> {
        let is_log = self.contender.is_holdfast() || self.contender == Contender::CqrsEs;
        let counted = if is_log {
            let streams: Vec<String> = drops.iter().map(Uuid::to_string).collect();
            sqlx::query_scalar(
                "SELECT count(*) FROM events
                  WHERE aggregate_type = 'Drop' AND aggregate_id = ANY($1) AND event_type = 'HoldPlaced'",
            )
            .bind(streams)
        } else {
            // A hold that is counted in the stock and has no row, or the reverse, is reported as a
            // mismatch.
            sqlx::query_scalar(
                "SELECT CASE WHEN rows = taken THEN rows ELSE -1 END
                   FROM (SELECT count(*) AS rows FROM holds WHERE drop_id = ANY($1)) AS counted,
                        (SELECT sum(total - available)::bigint AS taken FROM drops WHERE id = ANY($1)) AS stock",
            )
            .bind(drops)
        };
        counted.fetch_one(pool).await
    }
}

async fn count_fields(url: &str, drops: &[Uuid]) -> Result<u64, redis::RedisError> {
    use redis::AsyncCommands;
    let mut connection = redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    let mut stored = 0;
    for drop_id in drops {
        let fields: u64 = connection.hlen(redis_lua::keys_of(*drop_id)).await?;
        stored += fields;
    }
    Ok(stored)
}

/// Places one hold, for a new buyer.
///
/// # Errors
/// [`BenchError`].
pub async fn place_hold(address: SocketAddr, drop_id: Uuid) -> Result<(), BenchError> {
    let key = Uuid::new_v4().to_string();
    let body = json!({ "buyer_id": format!("buyer {key}") });
    let path = format!("/v1/drops/{drop_id}/holds");
    let response = send(address, post(&path, &key), Some(&body)).await?;
    response.read::<Value>(201).map(drop)
}

const fn post<'a>(path: &'a str, key: &'a str) -> Call<'a> {
    Call {
        method: "POST",
        path,
        key: Some(key),
    }
}
