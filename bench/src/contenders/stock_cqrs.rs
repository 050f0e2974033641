//! Stock `cqrs-es` and `postgres-es` with Holdfast's own aggregate: every command loads the drop's
//! whole stream, and is retried after a conflict with another command.
//!
//! In their favour: no snapshot or aggregate store (they apply events twice), no query to keep up
//! to date, no personal data, and no bound on retries except the request's timeout.

use std::time::{Duration, Instant};

use cqrs_es::{Aggregate, AggregateError};
use domain::command::{DropCommand, Pass, PlaceHold, ScheduleDrop};
use domain::drop::DropAggregate;
use domain::refusal::Refusal;
use domain::terms::DropTerms;
use domain::values::{HoldId, KeyDigest, Pseudonym, Quantity, Timestamp};
use postgres_es::{PostgresCqrs, PostgresEventRepository, postgres_cqrs};
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::http::{NewDrop, Order, Placed, Rival, RivalError, Stock};

const SCHEMA: &str = "
CREATE TABLE events (
    aggregate_type text                         NOT NULL,
    aggregate_id   text                         NOT NULL,
    sequence       bigint CHECK (sequence >= 0) NOT NULL,
    event_type     text                         NOT NULL,
    event_version  text                         NOT NULL,
    payload        json                         NOT NULL,
    metadata       json                         NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
)";

/// The timeout of a request. A shop would set a far shorter one.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The duration of a hold, the same as in every run.
const HOLD_SECONDS: u32 = 3_600;

#[derive(Clone)]
pub struct StockCqrs {
    framework: std::sync::Arc<PostgresCqrs<DropAggregate>>,
    events: std::sync::Arc<PostgresEventRepository>,
}

impl StockCqrs {
    /// Connects and creates the stock table.
    ///
    /// # Errors
    /// [`RivalError`].
    pub async fn open(url: &str, connections: u32) -> Result<Self, RivalError> {
        let pool = PgPoolOptions::new()
            .min_connections(connections)
            .max_connections(connections)
            .acquire_timeout(TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect(url)
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self {
            framework: postgres_cqrs(pool.clone(), vec![], ()).into(),
            events: PostgresEventRepository::new(pool).into(),
        })
    }

    async fn execute(&self, drop_id: Uuid, command: DropCommand) -> Result<(), CommandError> {
        let began = Instant::now();
        loop {
            let executed = self
                .framework
                .execute(&drop_id.to_string(), command.clone())
                .await;
            match executed {
                Err(AggregateError::AggregateConflict) if began.elapsed() < TIMEOUT => {}
                outcome => return outcome,
            }
        }
    }
}

type CommandError = AggregateError<Refusal>;

impl Rival for StockCqrs {
    async fn open_drop(&self, drop: NewDrop) -> Result<Uuid, RivalError> {
        let (drop_id, at) = (Uuid::new_v4(), super::http::now());
        let terms = DropTerms {
            name: drop.name,
            description: None,
            image_url: None,
            price: drop.price,
            starts_at: at,
            ends_at: None,
            hold_seconds: drop.hold_seconds,
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
        };
        let command = ScheduleDrop {
            key: None,
            terms,
            total_stock: drop.total_stock,
            at,
        };
        self.execute(drop_id, DropCommand::ScheduleDrop(command))
            .await?;
        Ok(drop_id)
    }

    async fn place(&self, order: &Order) -> Result<Placed, RivalError> {
        let command = PlaceHold {
            hold_id: HoldId(order.hold_id),
            key: Some(KeyDigest::new(
                order.drop_id.as_bytes(),
                order.key.as_bytes(),
            )?),
            // Every buyer in a run is new.
            buyer: Pseudonym(Uuid::new_v4()),
            quantity: order.quantity,
            pass: Pass::default(),
            commitment: None,
            at: order.at,
        };
        match self
            .execute(order.drop_id, DropCommand::PlaceHold(command))
            .await
        {
            Ok(()) => Ok(Placed::Held {
                expires_at: expiry(order.at),
                position: 1,
            }),
            Err(AggregateError::UserError(Refusal::SoldOut { available, .. })) => {
                Ok(Placed::SoldOut {
                    available: available.into(),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn stock(&self, drop_id: Uuid) -> Result<Option<Stock>, RivalError> {
        use cqrs_es::persist::PersistedEventRepository;
        let drop_id = drop_id.to_string();
        let stored = self.events.get_events::<DropAggregate>(&drop_id).await?;
        let mut aggregate = DropAggregate::default();
        for event in stored {
            aggregate.apply(serde_json::from_value(event.payload)?);
        }
        let stock = aggregate.stock();
        Ok(Some(Stock {
            total: stock.total.into(),
            available: stock.available.into(),
            held: stock.held.into(),
            sold: stock.sold.into(),
        }))
    }
}

fn expiry(at: Timestamp) -> Timestamp {
    at.plus_seconds(HOLD_SECONDS)
}
