//! Large states for scenarios with disturbances: a million unresolved holds, a long waitlist, holds
//! that expire together, thousands of drops. Written by `COPY`, to a log that may be in use.
//!
//! Promise: chain, positions, sequences, keys and commitments are real, so a server reads the log
//! like its own and an auditor verifies it; no time is in the future. Rows are appended in
//! transactions of [`CHUNK`] events under the head's lock, as another node would append them.
//! Limit: events are generated directly, not decided, so that the limits of one build (the length
//! of a waitlist, holds per address) do not restrict the seeded state.

use domain::DropEvent;
use domain::event::{DropScheduled, HoldPlaced, PurchaseConfirmed, WaitlistJoined};
use domain::private::Private;
use domain::terms::DropTerms;
use domain::values::{
    BuyerId, DropId, HoldId, KeyDigest, Pseudonym, PurchaseId, Quantity, Salt, Sequence,
    StockCount, Timestamp, WaitlistId,
};
use infrastructure::codec::encode;
use infrastructure::log::{Batch, Hash, Head, StoredEvent};
use infrastructure::sql_values::from_sql;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use uuid::Uuid;

use crate::contenders::http::now;
use crate::error::{BenchError, Doing};
use crate::round::PLENTY;
use crate::seed_log::terms;

/// Events appended in one transaction: a tenth of a second under the head's lock.
const CHUNK: usize = 10_000;

const COPY: &str = "COPY events (aggregate_type, aggregate_id, sequence, event_type, event_version, \
                    payload, metadata, position, recorded_at, hash, private) FROM STDIN";

#[derive(Debug)]
pub struct Seeder {
    connection: PgConnection,
    waiting: Vec<StoredEvent>,
}

/// Holds that expire together, and others that are purchasable meanwhile.
#[derive(Debug, Clone)]
pub struct MassExpiry {
    /// The drop whose holds expire together.
    pub drop_id: Uuid,
    /// When these holds expire.
    pub expires_at: Timestamp,
    /// Holds of another drop, and when each expires.
    pub purchasable: Vec<(Uuid, Timestamp)>,
}

/// The holds of another drop that are purchased while the others expire.
#[derive(Debug, Clone, Copy)]
pub struct Purchasable {
    pub count: u32,
    /// When the first of them expires, in milliseconds after the expiries.
    pub first_ms: i64,
    /// The interval between their expiries, in milliseconds.
    pub every_ms: i64,
}

impl Seeder {
    /// Connects to the database at `url`, which its program has migrated.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn connect(url: &str) -> Result<Self, BenchError> {
        let connection = PgConnection::connect(url).await;
        Ok(Self {
            connection: connection.doing("connect to a database to seed it")?,
            waiting: vec![],
        })
    }

    /// Seeds a drop with `count` unresolved holds, which expire in an hour; returns its id.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn holds(&mut self, count: u32) -> Result<Uuid, BenchError> {
        let at = now();
        let mut drop = Stream::open(at, 3_600, PLENTY)?;
        self.push(drop.opening()?).await?;
        for _hold in 0..count {
            let (_, event) = drop.hold(at)?;
            self.push(event).await?;
        }
        self.flush().await?;
        Ok(drop.id.0)
    }

    /// Seeds a drop of one unit, which is sold, with `count` waitlist entries; returns its id.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn waitlist(&mut self, count: u32) -> Result<Uuid, BenchError> {
        let at = now();
        let mut drop = Stream::open(at, 3_600, 1)?;
        self.push(drop.opening()?).await?;
        let (hold, event) = drop.hold(at)?;
        self.push(event).await?;
        self.push(drop.purchase(&hold, at)).await?;
        for _entry in 0..count {
            let event = drop.entry(at)?;
            self.push(event).await?;
        }
        self.flush().await?;
        Ok(drop.id.0)
    }

    /// Seeds two drops: one with `count` holds that expire in the same millisecond, `seconds` from
    /// now, and one with holds that are purchasable then.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn mass_expiry(
        &mut self,
        count: u32,
        seconds: u32,
        others: Purchasable,
    ) -> Result<MassExpiry, BenchError> {
        let last_ms = others.first_ms + others.every_ms * i64::from(others.count);
        // The holds of the other drop last longer and are placed earlier, but not before any event
        // in the log, because recorded times never decrease.
        let longer = u32::try_from(last_ms / 1000 + 1).unwrap_or(u32::MAX);
        let earliest = self.head().await?.recorded_at.plus_seconds(longer + 1);
        wait_until(earliest).await;
        let at = now();
        let expires_at = at.plus_seconds(seconds);
        let opened_at = at.plus_millis(-i64::from(longer) * 1000);
        let mut drop = Stream::open(opened_at, seconds + longer, PLENTY)?;
        self.push(drop.opening()?).await?;
        let mut purchasable = vec![];
        for number in 0..others.count {
            let later = others.first_ms + others.every_ms * i64::from(number);
            let (hold, event) = drop.hold(opened_at.plus_millis(later))?;
            purchasable.push((hold.hold_id.0, hold.expires_at));
            self.push(event).await?;
        }
        let mut crowd = Stream::open(at, seconds, PLENTY)?;
        self.push(crowd.opening()?).await?;
        for _hold in 0..count {
            let (_, event) = crowd.hold(at)?;
            self.push(event).await?;
        }
        self.flush().await?;
        Ok(MassExpiry {
            drop_id: crowd.id.0,
            expires_at,
            purchasable,
        })
    }

    /// Seeds `count` live drops without holds.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn drops(&mut self, count: u32) -> Result<(), BenchError> {
        let at = now();
        for _drop in 0..count {
            let mut drop = Stream::open(at, 60, 100)?;
            self.push(drop.opening()?).await?;
        }
        self.flush().await
    }

    async fn push(&mut self, event: StoredEvent) -> Result<(), BenchError> {
        self.waiting.push(event);
        if self.waiting.len() >= CHUNK {
            self.flush().await?;
        }
        Ok(())
    }

    async fn head(&mut self) -> Result<Head, BenchError> {
        let query = sqlx::query("SELECT position, hash, recorded_at FROM log_head");
        let row = query.fetch_one(&mut self.connection).await;
        head_from(&row.doing("read the head of the log")?)
    }

    async fn flush(&mut self) -> Result<(), BenchError> {
        let events = std::mem::take(&mut self.waiting);
        if events.is_empty() {
            return Ok(());
        }
        let doing = "append to the log by COPY";
        let mut transaction = self.connection.begin().await.doing(doing)?;
        let row = sqlx::query("SELECT position, hash, recorded_at FROM log_head FOR UPDATE")
            .fetch_one(&mut *transaction)
            .await
            .doing(doing)?;
        let batch = Batch::seal(head_from(&row)?, events);
        let head = batch.head();
        sqlx::query("UPDATE log_head SET position = $1, hash = $2, recorded_at = $3")
            .bind(i64::try_from(head.position.0).doing(doing)?)
            .bind(&head.hash.0[..])
            .bind(chrono::DateTime::<chrono::Utc>::from(head.recorded_at))
            .execute(&mut *transaction)
            .await
            .doing(doing)?;
        let mut copy = transaction.copy_in_raw(COPY).await.doing(doing)?;
        copy.send(rows(&batch.events)).await.doing(doing)?;
        copy.finish().await.doing(doing)?;
        transaction.commit().await.doing(doing)
    }
}

fn head_from(row: &PgRow) -> Result<Head, BenchError> {
    let doing = "read the head of the log";
    let position: i64 = row.try_get(0).doing(doing)?;
    let hash: Vec<u8> = row.try_get(1).doing(doing)?;
    let recorded_at: chrono::DateTime<chrono::Utc> = row.try_get(2).doing(doing)?;
    Ok(Head {
        position: from_sql(position),
        hash: Hash::from_slice(&hash).doing(doing)?,
        recorded_at: recorded_at.into(),
    })
}

async fn wait_until(at: Timestamp) {
    let left = u64::try_from(at.millis() - now().millis()).unwrap_or_default();
    tokio::time::sleep(std::time::Duration::from_millis(left)).await;
}

/// Formats events in PostgreSQL's text format of `COPY`.
fn rows(events: &[StoredEvent]) -> Vec<u8> {
    let mut text = String::with_capacity(events.len() * 1_024);
    for event in events {
        let recorded_at = chrono::DateTime::<chrono::Utc>::from(event.recorded_at);
        let fields = [
            event.aggregate_type.as_ref(),
            &event.aggregate_id,
            &event.sequence.0.to_string(),
            &event.event_type,
            &event.event_version,
            &event.payload,
            &event.metadata,
            &event.position.0.to_string(),
            &recorded_at.to_rfc3339(),
        ];
        for field in fields {
            escape(field, &mut text);
            text.push('\t');
        }
        // A bytea in hexadecimal begins with a backslash, which is escaped as well.
        text.push_str("\\\\x");
        text.push_str(&event.hash.to_string());
        text.push('\t');
        match &event.private {
            Some(private) => escape(private, &mut text),
            None => text.push_str("\\N"),
        }
        text.push('\n');
    }
    text.into_bytes()
}

fn escape(field: &str, text: &mut String) {
    for character in field.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            other => text.push(other),
        }
    }
}

#[derive(Debug)]
struct Stream {
    id: DropId,
    terms: DropTerms,
    total_stock: StockCount,
    opened_at: Timestamp,
    sequence: Sequence,
}

impl Stream {
    fn open(at: Timestamp, hold_seconds: u32, units: u32) -> Result<Self, BenchError> {
        let doing = "describe a drop";
        Ok(Self {
            id: DropId(Uuid::new_v4()),
            terms: terms(at, hold_seconds).doing(doing)?,
            total_stock: StockCount::new(units.into()).doing(doing)?,
            opened_at: at,
            sequence: Sequence::default(),
        })
    }

    fn next(&mut self, at: Timestamp, event: &DropEvent, private: Option<&Private>) -> StoredEvent {
        self.sequence = Sequence(self.sequence.0 + 1);
        encode(self.id, self.sequence, at, event, private)
    }

    fn opening(&mut self) -> Result<StoredEvent, BenchError> {
        let event = DropEvent::DropScheduled(DropScheduled {
            key: Some(key()?),
            terms: self.terms.clone(),
            total_stock: self.total_stock,
            scheduled_at: self.opened_at,
        });
        Ok(self.next(self.opened_at, &event, None))
    }

    fn hold(&mut self, at: Timestamp) -> Result<(HoldPlaced, StoredEvent), BenchError> {
        let private = new_buyer()?;
        let hold = HoldPlaced {
            hold_id: HoldId::for_drop(self.id, Uuid::new_v4()),
            key: Some(key()?),
            buyer: Pseudonym(Uuid::new_v4()),
            quantity: one()?,
            placed_at: at,
            expires_at: at.plus_seconds(self.terms.hold_seconds.get()),
            commitment: Some(private.commitment()),
            waitlist_entry: None,
            order_id: None,
            code: None,
        };
        let event = DropEvent::HoldPlaced(hold.clone());
        Ok((hold, self.next(at, &event, Some(&private))))
    }

    fn purchase(&mut self, hold: &HoldPlaced, at: Timestamp) -> StoredEvent {
        let event = DropEvent::PurchaseConfirmed(PurchaseConfirmed {
            purchase_id: PurchaseId(Uuid::new_v4()),
            hold_id: hold.hold_id,
            buyer: hold.buyer,
            quantity: hold.quantity,
            total: self.terms.price.times(hold.quantity),
            purchased_at: at,
            commitment: None,
        });
        self.next(at, &event, None)
    }

    fn entry(&mut self, at: Timestamp) -> Result<StoredEvent, BenchError> {
        let private = new_buyer()?;
        let event = DropEvent::WaitlistJoined(WaitlistJoined {
            entry_id: WaitlistId::for_drop(self.id, Uuid::new_v4()),
            hold_id: HoldId::for_drop(self.id, Uuid::new_v4()),
            key: Some(key()?),
            buyer: Pseudonym(Uuid::new_v4()),
            quantity: one()?,
            joined_at: at,
            commitment: Some(private.commitment()),
            code: None,
        });
        Ok(self.next(at, &event, Some(&private)))
    }
}

fn one() -> Result<Quantity, BenchError> {
    Quantity::new(1).doing("count to one")
}

fn key() -> Result<KeyDigest, BenchError> {
    let key = KeyDigest::new(b"seeded", Uuid::new_v4().to_string().as_bytes());
    key.doing("make up a key")
}

fn new_buyer() -> Result<Private, BenchError> {
    let buyer_id = BuyerId::new(&format!("buyer {}", Uuid::new_v4()));
    let buyer_id = buyer_id.doing("name a buyer")?;
    Ok(Private::buyer(Salt(rand::random()), buyer_id, None))
}

#[cfg(test)]
mod tests {
    use domain::drop::DropAggregate;

    use super::*;

    fn fold(events: &[StoredEvent]) -> DropAggregate {
        let mut drop = DropAggregate::default();
        for event in events {
            let recorded = infrastructure::codec::decode(event).unwrap().unwrap();
            assert_eq!(recorded.sequence, drop.sequence().next());
            drop.evolve(&recorded.event);
        }
        drop
    }

    #[test]
    fn seeded_holds_are_unresolved_and_expire_together() {
        let at = Timestamp::from_millis(1_000_000);
        let mut stream = Stream::open(at, 3_600, PLENTY).unwrap();
        let mut events = vec![stream.opening().unwrap()];
        let mut expiries = vec![];
        for _hold in 0..50 {
            let (hold, event) = stream.hold(at).unwrap();
            expiries.push(hold.expires_at);
            events.push(event);
        }
        expiries.dedup();
        assert_eq!(expiries, [at.plus_seconds(3_600)]);
        assert_eq!(fold(&events).stock().held, 50);
    }

    #[test]
    fn seeded_waitlist_belongs_to_a_sold_out_drop() {
        let at = Timestamp::from_millis(1_000_000);
        let mut stream = Stream::open(at, 3_600, 1).unwrap();
        let mut events = vec![stream.opening().unwrap()];
        let (hold, placed) = stream.hold(at).unwrap();
        events.extend([placed, stream.purchase(&hold, at)]);
        for _entry in 0..20 {
            events.push(stream.entry(at).unwrap());
        }
        let drop = fold(&events);
        assert_eq!((drop.stock().available, drop.stock().sold), (0, 1));
        assert_eq!(drop.waitlist().len(), 20);
    }

    #[test]
    fn rows_are_escaped_for_copy() {
        let at = Timestamp::from_millis(1_000_000);
        let mut stream = Stream::open(at, 60, 1).unwrap();
        let mut event = stream.opening().unwrap();
        event.payload = "a\\b\tc\nd".to_owned();
        let text = String::from_utf8(rows(&[event])).unwrap();
        let fields: Vec<&str> = text.strip_suffix('\n').unwrap().split('\t').collect();
        assert_eq!(fields.len(), 11, "{text}");
        assert_eq!(fields[5], "a\\\\b\\tc\\nd");
        assert_eq!(fields[9], format!("\\\\x{}", "00".repeat(32)));
        assert_eq!(fields[10], "\\N");
    }
}
