//! Redis: one Lua script decides and records atomically; one multiplexed connection pipelines all
//! callers.
//!
//! The durability of a response depends on the server's setting: `appendfsync always`, or no
//! persistence.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Script};
use uuid::Uuid;

use super::http::{NewDrop, Order, Placed, Rival, RivalError, Stock};

/// `KEYS`: the drop, its keys, its expiries. `ARGV`: units, idempotency key, hold id, buyer, now in
/// milliseconds.
const PLACE: &str = "
local drop = redis.call('HMGET', KEYS[1], 'total', 'available', 'hold_ms')
if not drop[2] then return redis.error_reply('no such drop') end
local available = tonumber(drop[2])
if available < tonumber(ARGV[1]) then return {0, available, 0} end
local expires_at = tonumber(ARGV[5]) + tonumber(drop[3])
if redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[1] .. ' ' .. ARGV[5]) == 0 then
  return redis.error_reply('this key was used before')
end
local left = redis.call('HINCRBY', KEYS[1], 'available', -tonumber(ARGV[1]))
redis.call('ZADD', KEYS[3], expires_at, ARGV[3])
return {1, tonumber(drop[1]) - left, expires_at}";

#[derive(Clone)]
pub struct RedisLua {
    connection: MultiplexedConnection,
    script: Arc<Script>,
}

/// Returns the name of the hash of a drop's idempotency keys: one field per hold.
pub fn keys_of(drop_id: Uuid) -> String {
    format!("drop:{drop_id}:keys")
}

impl RedisLua {
    /// # Errors
    /// [`RivalError`].
    pub async fn open(url: &str) -> Result<Self, RivalError> {
        let connection = redis::Client::open(url)?
            .get_multiplexed_async_connection()
            .await?;
        Ok(Self {
            connection,
            script: Arc::new(Script::new(PLACE)),
        })
    }
}

impl Rival for RedisLua {
    async fn open_drop(&self, drop: NewDrop) -> Result<Uuid, RivalError> {
        let id = Uuid::new_v4();
        let total = drop.total_stock.get();
        let hold_ms = u64::from(drop.hold_seconds.get()) * 1000;
        let fields = [
            ("total", total.to_string()),
            ("available", total.to_string()),
            ("hold_ms", hold_ms.to_string()),
        ];
        let mut connection = self.connection.clone();
        let () = connection
            .hset_multiple(format!("drop:{id}"), &fields)
            .await?;
        Ok(id)
    }

    async fn place(&self, order: &Order) -> Result<Placed, RivalError> {
        let mut connection = self.connection.clone();
        let drop = format!("drop:{}", order.drop_id);
        let (held, number, expires_at): (u8, u64, i64) = self
            .script
            .key(&drop)
            .key(format!("{drop}:keys"))
            .key(format!("{drop}:expiries"))
            .arg(order.quantity.get())
            .arg(&order.key)
            .arg(order.hold_id.to_string())
            .arg(order.buyer_id.as_str())
            .arg(order.at.millis())
            .invoke_async(&mut connection)
            .await?;
        if held == 0 {
            return Ok(Placed::SoldOut { available: number });
        }
        Ok(Placed::Held {
            expires_at: domain::values::Timestamp::from_millis(expires_at),
            position: number,
        })
    }

    async fn stock(&self, drop_id: Uuid) -> Result<Option<Stock>, RivalError> {
        let mut connection = self.connection.clone();
        let found: (Option<u64>, Option<u64>) = connection
            .hmget(format!("drop:{drop_id}"), &["total", "available"])
            .await?;
        let (Some(total), Some(available)) = found else {
            return Ok(None);
        };
        Ok(Some(Stock {
            total,
            available,
            held: total - available,
            sold: 0,
        }))
    }
}
