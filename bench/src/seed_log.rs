//! Long logs for scenarios: valid histories, written through Holdfast's own log.
//!
//! Every hold is placed, then purchased, released or expired, in the past; drops stay live. Three
//! of four buyers are new; every second payment has a reference. Chain, positions, sequences, keys
//! and commitments are real, so a server reads the log like its own, and an auditor verifies it.

use domain::command::{
    ConfirmPurchase, DropCommand, ExpireHold, Pass, PlaceHold, ReleaseHold, ScheduleDrop,
};
use domain::drop::DropAggregate;
use domain::private::Private;
use domain::terms::DropTerms;
use domain::values::{
    BuyerId, Currency, DropId, DropName, HoldId, HoldSeconds, InvalidValue, KeyDigest, Money,
    PaymentReference, Pseudonym, PurchaseId, Quantity, Salt, StockCount, Timestamp,
};
use infrastructure::codec::encode;
use infrastructure::log::postgres::{PostgresLog, connect};
use infrastructure::log::{Batch, EventLog, Head, StoredEvent};
use uuid::Uuid;

use crate::error::{BenchError, Doing};
use crate::round::PLENTY;

/// Holds that are placed at the same instant and then resolved.
const WAVE: u64 = 1_000;
/// The duration of holds; purchases happen after half of it.
const HOLD_SECONDS: u32 = 60;
/// One in this many holds has the same buyer as the previous hold.
const BUYERS: u64 = 4;
/// Events between two progress lines.
const REPORT_EVERY: u64 = 1_000_000;

#[derive(Debug, Clone, Copy)]
pub struct History {
    /// The approximate number of events.
    pub events: u64,
    /// The number of drops, one after the other.
    pub drops: u64,
}

/// Writes `history` into the empty database at `url`; returns its drops.
///
/// # Errors
/// [`BenchError`].
pub async fn write(url: &str, history: History) -> Result<Vec<Uuid>, BenchError> {
    let options = url.parse().doing("read a database's address")?;
    let pool = connect(options, 2).await.doing("migrate a database")?;
    let mut writer = Writer {
        log: PostgresLog::new(pool.clone()),
        head: Head::default(),
    };
    let waves = history.events.div_ceil(2 * WAVE).max(1);
    let length = i64::try_from(waves).unwrap_or(i64::MAX) * i64::from(HOLD_SECONDS) * 1000;
    let mut at = crate::contenders::http::now().plus_millis(-length);
    let mut drops: Vec<Shop> = vec![];
    for wave in 0..waves {
        let wanted = wave * history.drops / waves + 1;
        let mut events = vec![];
        if drops.len() as u64 != wanted {
            drops.push(Shop::open(at, &mut events)?);
        }
        if let Some(shop) = drops.last_mut() {
            at = shop.wave(at, &mut events)?;
        }
        writer.append(events).await?;
    }
    pool.close().await;
    Ok(drops.into_iter().map(|shop| shop.id.0).collect())
}

struct Writer {
    log: PostgresLog,
    head: Head,
}

impl Writer {
    async fn append(&mut self, events: Vec<StoredEvent>) -> Result<(), BenchError> {
        let batch = Batch::seal(self.head, events);
        self.log.append(&batch).await.doing("write a long log")?;
        let before = self.head.position.0 / REPORT_EVERY;
        self.head = batch.head();
        if self.head.position.0 / REPORT_EVERY > before {
            println!("wrote {} events", self.head.position);
        }
        Ok(())
    }
}

/// A drop and its state.
struct Shop {
    id: DropId,
    aggregate: DropAggregate,
}

impl Shop {
    fn open(at: Timestamp, events: &mut Vec<StoredEvent>) -> Result<Self, BenchError> {
        let mut shop = Self {
            id: DropId(Uuid::new_v4()),
            aggregate: DropAggregate::default(),
        };
        let command = schedule(at).doing("describe a drop")?;
        shop.run(&DropCommand::ScheduleDrop(command), at, None, events)?;
        Ok(shop)
    }

    /// Places a wave of holds and resolves them; returns the time after that.
    fn wave(
        &mut self,
        at: Timestamp,
        events: &mut Vec<StoredEvent>,
    ) -> Result<Timestamp, BenchError> {
        let mut holds = vec![];
        let mut buyer = Pseudonym(Uuid::new_v4());
        for number in 0..WAVE {
            let is_new = number % BUYERS != BUYERS - 1;
            if is_new {
                buyer = Pseudonym(Uuid::new_v4());
            }
            holds.push(self.place(at, buyer, is_new, events)?);
        }
        let (paid, others) = holds.split_at(holds.len() / 2);
        let (given_up, run_out) = others.split_at(others.len() / 4);
        let half_way = at.plus_seconds(HOLD_SECONDS / 2);
        for (number, &hold_id) in paid.iter().enumerate() {
            self.pay(half_way, hold_id, number % 2 == 0, events)?;
        }
        for &hold_id in given_up {
            let command = DropCommand::ReleaseHold(ReleaseHold {
                hold_id,
                at: half_way,
            });
            self.run(&command, half_way, None, events)?;
        }
        let over = at.plus_seconds(HOLD_SECONDS);
        for &hold_id in run_out {
            let command = DropCommand::ExpireHold(ExpireHold { hold_id, at: over });
            self.run(&command, over, None, events)?;
        }
        Ok(over)
    }

    fn place(
        &mut self,
        at: Timestamp,
        buyer: Pseudonym,
        is_new: bool,
        events: &mut Vec<StoredEvent>,
    ) -> Result<HoldId, BenchError> {
        let private = match is_new {
            true => {
                let buyer_id = BuyerId::new(&format!("buyer {}", Uuid::new_v4()));
                let buyer_id = buyer_id.doing("name a buyer")?;
                Some(Private::buyer(Salt(rand::random()), buyer_id, None))
            }
            false => None,
        };
        let hold_id = HoldId::for_drop(self.id, Uuid::new_v4());
        let key = KeyDigest::new(self.id.0.as_bytes(), hold_id.to_string().as_bytes());
        let command = DropCommand::PlaceHold(PlaceHold {
            hold_id,
            key: Some(key.doing("make up a key")?),
            buyer,
            quantity: Quantity::new(1).doing("count to one")?,
            pass: Pass::default(),
            commitment: private.as_ref().map(Private::commitment),
            at,
        });
        self.run(&command, at, private.as_ref(), events)?;
        Ok(hold_id)
    }

    fn pay(
        &mut self,
        at: Timestamp,
        hold_id: HoldId,
        has_reference: bool,
        events: &mut Vec<StoredEvent>,
    ) -> Result<(), BenchError> {
        let private = match has_reference {
            true => {
                let reference = PaymentReference::new(&format!("payment {}", Uuid::new_v4()));
                let reference = reference.doing("name a payment")?;
                Some(Private::payment(Salt(rand::random()), reference))
            }
            false => None,
        };
        let command = DropCommand::ConfirmPurchase(ConfirmPurchase {
            purchase_id: PurchaseId(Uuid::new_v4()),
            hold_id,
            commitment: private.as_ref().map(Private::commitment),
            is_recorded: false,
            at,
        });
        self.run(&command, at, private.as_ref(), events)
    }

    fn run(
        &mut self,
        command: &DropCommand,
        at: Timestamp,
        private: Option<&Private>,
        events: &mut Vec<StoredEvent>,
    ) -> Result<(), BenchError> {
        let decision = self.aggregate.decide(command).doing("make up a history")?;
        for event in decision.events {
            self.aggregate.evolve(&event);
            let sequence = self.aggregate.sequence();
            events.push(encode(self.id, sequence, at, &event, private));
        }
        Ok(())
    }
}

fn schedule(at: Timestamp) -> Result<ScheduleDrop, InvalidValue> {
    Ok(ScheduleDrop {
        key: None,
        terms: terms(at, HOLD_SECONDS)?,
        total_stock: StockCount::new(PLENTY.into())?,
        at,
    })
}

/// Returns the terms of a drop that is live from `at` on, whose holds last `hold_seconds`, without
/// further limits.
pub fn terms(at: Timestamp, hold_seconds: u32) -> Result<DropTerms, InvalidValue> {
    Ok(DropTerms {
        name: DropName::new("A drop with a past")?,
        description: None,
        image_url: None,
        price: Money::price(19_999, Currency::new("USD")?)?,
        starts_at: at,
        ends_at: None,
        hold_seconds: HoldSeconds::new(hold_seconds.into())?,
        max_per_hold: Quantity::new(1)?,
        max_hold_seconds: None,
        offer_seconds: None,
        low_stock_at: None,
        limit_group: None,
        visibility: Default::default(),
        show_stock: Default::default(),
        access: Default::default(),
        challenge: None,
        product_id: None,
        variant_id: None,
        creator_id: None,
        draft: false,
        max_per_buyer: None,
        throttle: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wave_is_a_consistent_history() {
        let (at, mut events) = (Timestamp::from_millis(1_000_000), vec![]);
        let mut shop = Shop::open(at, &mut events).unwrap();
        let after = shop.wave(at, &mut events).unwrap();
        assert_eq!(after, at.plus_seconds(HOLD_SECONDS));
        assert_eq!(events.len() as u64, 1 + 2 * WAVE);
        let stock = shop.aggregate.stock();
        assert_eq!((stock.held, u64::from(stock.sold)), (0, WAVE / 2));
        let times: Vec<Timestamp> = events.iter().map(|event| event.recorded_at).collect();
        assert!(times.is_sorted());
    }
}
