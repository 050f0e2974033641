//! What a drop offers and on which conditions; everything about it that an admin may edit.

use serde::{Deserialize, Serialize};

use crate::values::{
    BuyerLimit, Description, DropName, HoldSeconds, ImageUrl, Money, Quantity, Throttle, Timestamp,
};

/// The conditions of a drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropTerms {
    /// As shoppers read it.
    pub name: DropName,
    /// Longer text, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// A picture, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<ImageUrl>,
    /// Price of one unit.
    pub price: Money,
    /// The first instant at which holds may be placed.
    pub starts_at: Timestamp,
    /// The first instant at which holds may no longer be placed; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// How long a hold lasts.
    pub hold_seconds: HoldSeconds,
    /// The most units in one hold.
    pub max_per_hold: Quantity,
    /// The most units that one buyer may hold and have bought; none: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_buyer: Option<BuyerLimit>,
    /// How often one buyer may place a hold; none: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
}

impl DropTerms {
    /// Whether holds may be placed at `at`: from the start on, and before the end.
    #[must_use]
    pub fn are_on_sale_at(&self, at: Timestamp) -> bool {
        at >= self.starts_at && self.ends_at.is_none_or(|ends_at| at < ends_at)
    }

    /// The most units in one hold of a buyer who has none.
    #[must_use]
    pub fn most_in_one_hold(&self) -> u32 {
        self.allowance(0)
    }

    /// The most units in the next hold of a buyer who holds and has bought `taken`.
    #[must_use]
    pub fn allowance(&self, taken: u32) -> u32 {
        let per_buyer = self
            .max_per_buyer
            .map_or(u32::MAX, |max| max.get().saturating_sub(taken));
        per_buyer.min(self.max_per_hold.get())
    }

    /// Whether the end, if there is one, comes after the start.
    #[must_use]
    pub fn ends_after_start(&self) -> bool {
        self.ends_at.is_none_or(|ends_at| ends_at > self.starts_at)
    }
}

/// An edit: `None` leaves a field as it is; for what may be absent, `Some(None)` removes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TermsPatch {
    /// New name.
    pub name: Option<DropName>,
    /// New description.
    pub description: Option<Option<Description>>,
    /// New picture.
    pub image_url: Option<Option<ImageUrl>>,
    /// New price; holds already placed keep theirs.
    pub price: Option<Money>,
    /// New start.
    pub starts_at: Option<Timestamp>,
    /// New end.
    pub ends_at: Option<Option<Timestamp>>,
    /// New length of later holds.
    pub hold_seconds: Option<HoldSeconds>,
    /// New limit for later holds.
    pub max_per_hold: Option<Quantity>,
    /// New limit for later holds.
    pub max_per_buyer: Option<Option<BuyerLimit>>,
    /// New throttle.
    pub throttle: Option<Option<Throttle>>,
}

impl TermsPatch {
    /// `terms` with this edit applied.
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
            max_per_hold: self.max_per_hold.unwrap_or(old.max_per_hold),
            max_per_buyer: self.max_per_buyer.unwrap_or(old.max_per_buyer),
            throttle: self.throttle.unwrap_or(old.throttle),
        }
    }
}
