//! Reads rows of the log: the head, and events.

use std::borrow::Cow;

use domain::values::{Position, Sequence, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{ColumnIndex, Row};

use crate::binary_copy::instant;
use crate::error::LogError;
use crate::log::{Hash, Head, StoredEvent};

pub(in crate::log) fn head_from(row: &PgRow) -> Result<Head, LogError> {
    let position: i64 = row.try_get("position").unwrap_or_default();
    let read = || -> Result<Head, String> {
        let hash: &[u8] = row.try_get("hash").map_err(|_| "hash is NULL")?;
        Ok(Head {
            position: Position(u64::try_from(position).map_err(|_| "position is out of range")?),
            hash: Hash::from_slice(hash)
                .map_err(|_| format!("hash: expected 32 bytes, found {}", hash.len()))?,
            recorded_at: instant_from(row, "recorded_at")?,
        })
    };
    read().map_err(|reason| LogError::Corrupt {
        position: Position(u64::try_from(position).unwrap_or_default()),
        reason: format!("log_head is damaged: {reason}"),
    })
}

/// The server's clock.
pub(super) fn clock_from(row: &PgRow) -> Result<Timestamp, LogError> {
    instant_from(row, "clock").map_err(|reason| LogError::Unavailable(reason.into()))
}

/// Reads the raw bytes: chrono panics for values outside its range, such as `infinity`.
fn instant_from(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<Timestamp, String> {
    let value = row.try_get_raw(column).map_err(|error| error.to_string())?;
    let bytes = value.as_bytes().map_err(|_| "recorded_at is NULL")?;
    instant(bytes).map_err(|reason| format!("recorded_at {reason}"))
}

/// A row of [`super::READ`], by column index: a start reads millions of them.
pub(super) fn event_from(row: &PgRow) -> Result<StoredEvent, sqlx::Error> {
    let hash = Hash::from_slice(row.try_get(9)?).map_err(|error| sqlx::Error::Decode(error.into()));
    Ok(StoredEvent {
        aggregate_type: known(row.try_get(0)?),
        aggregate_id: row.try_get(1)?,
        sequence: Sequence(from_sql(row.try_get(2)?)?),
        event_type: known(row.try_get(3)?),
        event_version: known(row.try_get(4)?),
        payload: row.try_get(5)?,
        metadata: known(row.try_get(6)?),
        position: Position(from_sql(row.try_get(7)?)?),
        recorded_at: instant_from(row, 8).map_err(|reason| sqlx::Error::Decode(reason.into()))?,
        hash: hash?,
        private: row.try_get(10)?,
    })
}

/// Texts that nearly every event has are not copied.
fn known(text: &str) -> Cow<'static, str> {
    const KNOWN: [&str; 7] = [
        "Drop",
        "HoldPlaced",
        "HoldExpired",
        "HoldReleased",
        "PurchaseConfirmed",
        "1.0",
        "{}",
    ];
    match KNOWN.iter().find(|known| **known == text) {
        Some(known) => Cow::Borrowed(*known),
        None => Cow::Owned(text.to_owned()),
    }
}

/// Positions and sequences are `bigint` in SQL, which 9 × 10^18 events would exceed.
pub(super) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).expect("fewer than 2^63 events")
}

fn from_sql(number: i64) -> Result<u64, sqlx::Error> {
    u64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
}
