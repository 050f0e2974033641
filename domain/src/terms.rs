//! The terms of a drop: everything that an administrator may edit.

use serde::{Deserialize, Serialize};

use crate::values::{
    Access, BuyerLimit, CatalogueId, Challenge, Description, DropName, HoldSeconds, ImageUrl,
    LimitGroup, LowStock, MaxHoldSeconds, Money, OfferSeconds, Quantity, ShowStock, Throttle,
    Timestamp, Visibility,
};

/// The terms of a drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropTerms {
    /// The name that shoppers see.
    pub name: DropName,
    /// A longer text, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// A picture, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<ImageUrl>,
    /// Price of one unit.
    pub price: Money,
    /// The first instant at which holds may be placed.
    pub starts_at: Timestamp,
    /// The first instant at which holds may no longer be placed; none means no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// How long a hold lasts.
    pub hold_seconds: HoldSeconds,
    /// How long a hold may last with all of its extensions; none means `hold_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_hold_seconds: Option<MaxHoldSeconds>,
    /// How long a hold lasts that was offered to a waitlist entry; none means `hold_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer_seconds: Option<OfferSeconds>,
    /// The most units in one hold.
    pub max_per_hold: Quantity,
    /// The most units that one buyer may hold and have purchased together; none means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_buyer: Option<BuyerLimit>,
    /// How often one buyer may place a hold; none means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// At so many available units, or fewer, the drop is low on stock; none means never. It limits
    /// nothing: a webhook informs the shop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_stock_at: Option<LowStock>,
    /// The group of drops that share `max_per_buyer`, if the drop is in one. Set when the drop is
    /// scheduled, and never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_group: Option<LimitGroup>,
    /// The callers that can find the drop.
    #[serde(default, skip_serializing_if = "Visibility::is_default")]
    pub visibility: Visibility,
    /// The form in which the stock is public.
    #[serde(default, skip_serializing_if = "ShowStock::is_default")]
    pub show_stock: ShowStock,
    /// The buyers that may place a hold.
    #[serde(default, skip_serializing_if = "Access::is_default")]
    pub access: Access,
    /// The challenge that a buyer solves for each hold, order and waitlist entry; none means that
    /// there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
    /// The product that the drop offers, in the shop's catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<CatalogueId>,
    /// The variant of the product, as a size is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant_id: Option<CatalogueId>,
    /// The creator in whose name the drop is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator_id: Option<CatalogueId>,
    /// True until the drop is published: it exists for administrators and auditors only, and
    /// nothing can be held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draft: bool,
}

impl DropTerms {
    /// Returns true if the public finds the drop by its id. See [`Visibility::is_found`].
    #[must_use]
    pub const fn are_found(&self) -> bool {
        !self.draft && self.visibility.is_found()
    }

    /// Returns true if the drop is in the lists of the public. See [`Visibility::is_listed`].
    #[must_use]
    pub const fn are_listed(&self) -> bool {
        !self.draft && self.visibility.is_listed()
    }

    /// Returns true if holds may be placed at `at`: from the start on, and before the end.
    #[must_use]
    pub fn are_on_sale_at(&self, at: Timestamp) -> bool {
        at >= self.starts_at && self.ends_at.is_none_or(|ends_at| at < ends_at)
    }

    /// Returns how long a hold lasts that was offered to a waitlist entry, in seconds.
    #[must_use]
    pub fn offer_lasts(&self) -> u32 {
        self.offer_seconds
            .map_or(self.hold_seconds.get(), OfferSeconds::get)
    }

    /// Returns the latest time to which a hold can be extended that was placed at `placed_at`. A
    /// limit that is shorter than `hold_seconds` has no effect.
    #[must_use]
    pub fn latest_expiry(&self, placed_at: Timestamp) -> Timestamp {
        let longest = self.max_hold_seconds.map_or(0, MaxHoldSeconds::get);
        placed_at.plus_seconds(longest.max(self.hold_seconds.get()))
    }

    /// Returns the most units in the first hold of a buyer.
    #[must_use]
    pub fn most_in_one_hold(&self) -> u32 {
        self.allowance(0)
    }

    /// Returns the most units in the next hold of a buyer with `taken` units held or purchased.
    #[must_use]
    pub fn allowance(&self, taken: u32) -> u32 {
        let per_buyer = self
            .max_per_buyer
            .map_or(u32::MAX, |max| max.get().saturating_sub(taken));
        per_buyer.min(self.max_per_hold.get())
    }

    /// Returns true if there is no end, or if it is after the start.
    #[must_use]
    pub fn ends_after_start(&self) -> bool {
        self.ends_at.is_none_or(|ends_at| ends_at > self.starts_at)
    }
}

/// An edit of the terms. `None` leaves a field unchanged; `Some(None)` removes an optional field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TermsPatch {
    pub name: Option<DropName>,
    pub description: Option<Option<Description>>,
    pub image_url: Option<Option<ImageUrl>>,
    /// The new price; existing holds keep theirs.
    pub price: Option<Money>,
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Option<Timestamp>>,
    /// The new duration of later holds.
    pub hold_seconds: Option<HoldSeconds>,
    /// The new limit, also for present holds.
    pub max_hold_seconds: Option<Option<MaxHoldSeconds>>,
    /// The new duration of later offers.
    pub offer_seconds: Option<Option<OfferSeconds>>,
    /// The new limit for later holds.
    pub max_per_hold: Option<Quantity>,
    /// The new limit for later holds.
    pub max_per_buyer: Option<Option<BuyerLimit>>,
    pub throttle: Option<Option<Throttle>>,
    pub low_stock_at: Option<Option<LowStock>>,
    pub visibility: Option<Visibility>,
    pub show_stock: Option<ShowStock>,
    /// The new rule for later holds.
    pub access: Option<Access>,
    /// The new rule for later requests.
    pub challenge: Option<Option<Challenge>>,
    pub product_id: Option<Option<CatalogueId>>,
    pub variant_id: Option<Option<CatalogueId>>,
    pub creator_id: Option<Option<CatalogueId>>,
}

impl TermsPatch {
    /// Returns `terms` with this edit applied.
    #[must_use]
    pub fn apply(self, terms: &DropTerms) -> DropTerms {
        let old = terms.clone();
        DropTerms {
            name: self.name.unwrap_or(old.name),
            description: self.description.unwrap_or(old.description),
            image_url: self.image_url.unwrap_or(old.image_url),
            price: self.price.unwrap_or(old.price),
            starts_at: self.starts_at.unwrap_or(old.starts_at),
            ends_at: self.ends_at.unwrap_or(old.ends_at),
            hold_seconds: self.hold_seconds.unwrap_or(old.hold_seconds),
            max_hold_seconds: self.max_hold_seconds.unwrap_or(old.max_hold_seconds),
            offer_seconds: self.offer_seconds.unwrap_or(old.offer_seconds),
            max_per_hold: self.max_per_hold.unwrap_or(old.max_per_hold),
            max_per_buyer: self.max_per_buyer.unwrap_or(old.max_per_buyer),
            throttle: self.throttle.unwrap_or(old.throttle),
            low_stock_at: self.low_stock_at.unwrap_or(old.low_stock_at),
            limit_group: old.limit_group,
            visibility: self.visibility.unwrap_or(old.visibility),
            show_stock: self.show_stock.unwrap_or(old.show_stock),
            access: self.access.unwrap_or(old.access),
            challenge: self.challenge.unwrap_or(old.challenge),
            product_id: self.product_id.unwrap_or(old.product_id),
            variant_id: self.variant_id.unwrap_or(old.variant_id),
            creator_id: self.creator_id.unwrap_or(old.creator_id),
            draft: old.draft,
        }
    }
}
