//! The JSON form of a drop: in the API, on the SSE stream and in `audit state`.

use domain::status::DropStatus;
use domain::stock::Stock;
use domain::stock_level::StockLevel;
use domain::values::{
    Access, CatalogueId, Challenge, DropId, LimitGroup, Money, Position, Pseudonym, ShowStock,
    Throttle, Timestamp, Visibility,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::views::{DropView, Purchaser};

/// The stock of a drop: its numbers, or under `show_stock: level` a level in their stead.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DropStock")]
struct StockBody {
    /// All units that the drop offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32")]
    total: Option<u32>,
    /// Units that can be held now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32")]
    available: Option<u32>,
    /// Units set aside by holds that are not resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32")]
    held: Option<u32>,
    /// Units that were paid for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32")]
    sold: Option<u32>,
    /// Present if the numbers are absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "StockLevel")]
    level: Option<StockLevel>,
}

impl From<Stock> for StockBody {
    fn from(stock: Stock) -> Self {
        Self {
            total: Some(stock.total),
            available: Some(stock.available),
            held: Some(stock.held),
            sold: Some(stock.sold),
            level: None,
        }
    }
}

impl From<StockLevel> for StockBody {
    fn from(level: StockLevel) -> Self {
        Self {
            total: None,
            available: None,
            held: None,
            sold: None,
            level: Some(level),
        }
    }
}

/// A drop: its terms, status and stock.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Drop")]
pub struct DropBody<'a> {
    id: DropId,
    name: &'a str,
    description: Option<&'a str>,
    image_url: Option<&'a str>,
    price: Money,
    status: DropStatus,
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
    hold_seconds: u32,
    /// How long a hold may last with all of its extensions; null means `hold_seconds`.
    max_hold_seconds: Option<u32>,
    /// How long a hold lasts that was offered to a waitlist entry; null means `hold_seconds`.
    offer_seconds: Option<u32>,
    max_per_hold: u32,
    max_per_buyer: Option<u32>,
    throttle: Option<Throttle>,
    /// At so many available units, or fewer, the drop is low on stock; null means never.
    low_stock_at: Option<u32>,
    /// The group of drops that share `max_per_buyer`.
    limit_group: Option<&'a str>,
    visibility: Visibility,
    show_stock: ShowStock,
    access: Access,
    /// The challenge that a buyer solves for each hold, order and waitlist entry.
    challenge: Option<Challenge>,
    product_id: Option<&'a str>,
    variant_id: Option<&'a str>,
    creator_id: Option<&'a str>,
    stock: StockBody,
    waitlist_length: u32,
    /// The log position of the drop's last event; under `show_stock: level`, of the last that
    /// changed this state.
    position: Position,
    created_at: Timestamp,
    server_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_purchasers: Option<Vec<PurchaserBody>>,
}

impl<'a> DropBody<'a> {
    /// Renders the drop as of `now`.
    #[must_use]
    pub fn new(drop: &'a DropView, now: Timestamp) -> Self {
        let terms = &drop.row.terms;
        let status = drop.row.status(now);
        Self {
            id: drop.drop_id,
            name: terms.name.as_str(),
            description: terms
                .description
                .as_ref()
                .map(domain::values::Description::as_str),
            image_url: terms
                .image_url
                .as_ref()
                .map(domain::values::ImageUrl::as_str),
            price: terms.price,
            status,
            starts_at: terms.starts_at,
            ends_at: terms.ends_at,
            hold_seconds: terms.hold_seconds.get(),
            max_hold_seconds: terms
                .max_hold_seconds
                .map(domain::values::MaxHoldSeconds::get),
            offer_seconds: terms.offer_seconds.map(domain::values::OfferSeconds::get),
            max_per_hold: terms.max_per_hold.get(),
            max_per_buyer: terms.max_per_buyer.map(domain::values::BuyerLimit::get),
            throttle: terms.throttle,
            low_stock_at: terms.low_stock_at.map(domain::values::LowStock::get),
            limit_group: terms.limit_group.as_ref().map(LimitGroup::as_str),
            visibility: terms.visibility,
            show_stock: terms.show_stock,
            access: terms.access,
            challenge: terms.challenge,
            product_id: terms.product_id.as_ref().map(CatalogueId::as_str),
            variant_id: terms.variant_id.as_ref().map(CatalogueId::as_str),
            creator_id: terms.creator_id.as_ref().map(CatalogueId::as_str),
            stock: drop.row.stock.into(),
            waitlist_length: waitlist_length(drop, now),
            position: drop.position,
            created_at: drop.row.scheduled_at,
            server_time: now,
            top_purchasers: None,
        }
    }

    /// Renders the drop as of `now` without the numbers of its stock, and without the values that
    /// would reveal them: the position of its last event, which moves with every hold, and
    /// `low_stock_at`.
    #[must_use]
    pub fn with_level(drop: &'a DropView, now: Timestamp) -> Self {
        Self {
            stock: StockLevel::of(drop.row.stock, &drop.row.terms).into(),
            position: drop.shown_at,
            low_stock_at: None,
            ..Self::new(drop, now)
        }
    }

    /// Adds the purchasers.
    #[must_use]
    pub fn with_purchasers(self, purchasers: Vec<PurchaserBody>) -> Self {
        Self {
            top_purchasers: Some(purchasers),
            ..self
        }
    }
}

/// Returns the number of waiting entries: zero for a drop that is over.
#[must_use]
pub fn waitlist_length(drop: &DropView, now: Timestamp) -> u32 {
    match drop.row.status(now).is_over() {
        true => 0,
        false => drop.row.waitlist_length,
    }
}

/// A purchaser, in the form that is public.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Purchaser")]
pub struct PurchaserBody {
    /// The display name that the buyer provided; otherwise a few digits of the buyer's pseudonym.
    buyer: String,
    /// Units purchased and not refunded.
    quantity: u64,
    last_purchased_at: Timestamp,
}

impl From<Purchaser> for PurchaserBody {
    fn from(purchaser: Purchaser) -> Self {
        let buyer = purchaser
            .display_name
            .map_or_else(|| masked(purchaser.buyer), |name| name.as_str().to_owned());
        Self {
            buyer,
            quantity: purchaser.row.kept(),
            last_purchased_at: purchaser.row.last_purchased_at,
        }
    }
}

fn masked(buyer: Pseudonym) -> String {
    let digits = buyer.0.simple().to_string();
    format!("Buyer {}", &digits[..6])
}
