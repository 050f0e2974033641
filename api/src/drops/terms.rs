//! The terms of a drop in requests.

use std::borrow::Cow;

use domain::terms::{DropTerms, TermsPatch};
use domain::values::{
    Access, BuyerLimit, CatalogueId, Currency, Description, DropName, Entered, HoldSeconds,
    ImageUrl, LimitGroup, LowStock, MaxHoldSeconds, Money, OfferSeconds, Quantity, ShowStock,
    StockCount, Throttle, ThrottleHolds, ThrottleSeconds, Timestamp, Visibility,
};
use engine::NewTerms;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use super::challenge::ChallengeBody;
use super::picture::picture;
use crate::openapi::schemas::AnyTime;
use crate::problem::Problem;

/// A price in a request.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Price")]
struct PriceBody {
    /// The amount in minor units of the currency.
    #[serde(deserialize_with = "price_amount")]
    #[schemars(range(min = 0, max = Money::MAX_PRICE))]
    amount: i64,
    /// A current ISO 4217 code with a minor unit. ISO 4217 defines the number of decimals: HUF has
    /// two, JPY none, KWD three.
    #[serde(deserialize_with = "current_currency")]
    currency: Currency,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDrop {
    name: Entered<DropName>,
    price: PriceBody,
    /// Units that the drop offers.
    total_stock: StockCount,
    description: Option<Entered<Description>>,
    /// An http or https URL, a path on this server, or a `data:image/` URL. Spaces and other
    /// characters that a URL cannot contain must be percent-encoded. The scheme is stored in lower
    /// case.
    #[serde(default, deserialize_with = "picture")]
    image_url: Option<Entered<ImageUrl>>,
    /// The time from which holds can be placed. Default: immediately.
    #[schemars(with = "Option<AnyTime>")]
    starts_at: Option<Timestamp>,
    /// The end of the drop. Default: no end.
    #[schemars(with = "Option<AnyTime>")]
    ends_at: Option<Timestamp>,
    /// The duration of a hold, in seconds.
    #[schemars(extend("default" = 60))]
    hold_seconds: Option<HoldSeconds>,
    /// How long a hold may last with all of its extensions, in seconds. Default, and at least:
    /// `hold_seconds`.
    max_hold_seconds: Option<MaxHoldSeconds>,
    /// The duration of a hold that is offered to a waitlist entry, in seconds. Default:
    /// `hold_seconds`.
    offer_seconds: Option<OfferSeconds>,
    /// The maximum number of units in one hold.
    #[schemars(extend("default" = 1))]
    max_per_hold: Option<Quantity>,
    /// The maximum number of units held and purchased by one buyer. Default: unlimited.
    max_per_buyer: Option<BuyerLimit>,
    /// The maximum number of holds placed by one buyer within a sliding window. Default: unlimited.
    throttle: Option<ThrottleBody>,
    /// The number of available units at which the webhook `stock.low` is sent. Default: never.
    low_stock_at: Option<LowStock>,
    /// The group of drops that share `max_per_buyer`, as the sizes of a shoe do. It cannot be
    /// changed later. Default: none.
    limit_group: Option<Entered<LimitGroup>>,
    /// `public`: in lists. `unlisted`: by id only. `hidden`: for administrators only.
    #[schemars(extend("default" = "public"))]
    visibility: Option<Visibility>,
    /// Whether the public sees the numbers of the stock, or a level.
    #[schemars(extend("default" = "exact"))]
    show_stock: Option<ShowStock>,
    /// Whether every buyer may place a hold, or only one with a code of the drop.
    #[schemars(extend("default" = "open"))]
    access: Option<Access>,
    /// The challenge that a buyer solves for each hold, order and waitlist entry. Default: none.
    challenge: Option<ChallengeBody>,
    /// The product that the drop offers. The catalogue need not have it yet.
    product_id: Option<Entered<CatalogueId>>,
    /// The variant of the product.
    variant_id: Option<Entered<CatalogueId>>,
    /// The creator in whose name the drop is offered.
    creator_id: Option<Entered<CatalogueId>>,
    /// True creates a draft: only administrators and auditors see it, and nothing can be held until
    /// it is published.
    #[schemars(extend("default" = false))]
    draft: Option<bool>,
}

/// A throttle in a request: at most `holds` holds per buyer within any `window_seconds`.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewThrottle")]
struct ThrottleBody {
    holds: ThrottleHolds,
    window_seconds: ThrottleSeconds,
}

impl From<ThrottleBody> for Throttle {
    fn from(body: ThrottleBody) -> Self {
        Self {
            holds: body.holds,
            window_seconds: body.window_seconds,
        }
    }
}

/// Checks the bounds while reading, so that a fault is reported together with all others.
fn price_amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    // No price has this amount, so any other value gets the message with the bounds.
    let amount = i64::deserialize(deserializer).unwrap_or(-1);
    Money::check_price(amount).map_err(de::Error::custom)?;
    Ok(amount)
}

/// Accepts current codes only. Events may contain withdrawn ones.
fn current_currency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
    let code = Cow::<str>::deserialize(deserializer)?;
    Currency::new(&code).map_err(de::Error::custom)
}

impl PriceBody {
    fn checked(self) -> Result<Money, Problem> {
        Money::price(self.amount, self.currency)
            .map_err(|error| Problem::invalid("/price/amount", error.to_string()))
    }
}

impl NewDrop {
    pub(super) fn into_terms(self) -> Result<(NewTerms, StockCount), Problem> {
        let default = |problem| Problem::invalid("", format!("{problem}"));
        let terms = DropTerms {
            name: self.name.0,
            description: self.description.map(|Entered(text)| text),
            image_url: self.image_url.map(|Entered(url)| url),
            price: self.price.checked()?,
            starts_at: self.starts_at.unwrap_or_default(),
            ends_at: self.ends_at,
            hold_seconds: self
                .hold_seconds
                .map_or_else(|| HoldSeconds::new(60).map_err(default), Ok)?,
            max_per_hold: self
                .max_per_hold
                .map_or_else(|| Quantity::new(1).map_err(default), Ok)?,
            max_hold_seconds: self.max_hold_seconds,
            offer_seconds: self.offer_seconds,
            max_per_buyer: self.max_per_buyer,
            throttle: self.throttle.map(Throttle::from),
            low_stock_at: self.low_stock_at,
            limit_group: self.limit_group.map(|Entered(group)| group),
            visibility: self.visibility.unwrap_or_default(),
            show_stock: self.show_stock.unwrap_or_default(),
            access: self.access.unwrap_or_default(),
            challenge: self.challenge.map(ChallengeBody::challenge),
            product_id: self.product_id.map(|Entered(id)| id),
            variant_id: self.variant_id.map(|Entered(id)| id),
            creator_id: self.creator_id.map(|Entered(id)| id),
            draft: self.draft.unwrap_or_default(),
        };
        Ok((
            NewTerms {
                terms,
                starts_now: self.starts_at.is_none(),
            },
            self.total_stock,
        ))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DropEdit")]
pub(crate) struct EditedDrop {
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "DropName")]
    name: Option<Entered<DropName>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<Description>")]
    description: Option<Option<Entered<Description>>>,
    /// An http or https URL, a path on this server, or a `data:image/` URL. Spaces and other
    /// characters that a URL cannot contain must be percent-encoded. The scheme is stored in lower
    /// case.
    #[serde(default, deserialize_with = "present_picture")]
    #[schemars(with = "Option<ImageUrl>")]
    image_url: Option<Option<Entered<ImageUrl>>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "PriceBody")]
    price: Option<PriceBody>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "AnyTime")]
    starts_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<AnyTime>")]
    ends_at: Option<Option<Timestamp>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "HoldSeconds")]
    hold_seconds: Option<HoldSeconds>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<MaxHoldSeconds>")]
    max_hold_seconds: Option<Option<MaxHoldSeconds>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<OfferSeconds>")]
    offer_seconds: Option<Option<OfferSeconds>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Quantity")]
    max_per_hold: Option<Quantity>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<BuyerLimit>")]
    max_per_buyer: Option<Option<BuyerLimit>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<ThrottleBody>")]
    throttle: Option<Option<ThrottleBody>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<LowStock>")]
    low_stock_at: Option<Option<LowStock>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Visibility")]
    visibility: Option<Visibility>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "ShowStock")]
    show_stock: Option<ShowStock>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Access")]
    access: Option<Access>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<ChallengeBody>")]
    challenge: Option<Option<ChallengeBody>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<CatalogueId>")]
    product_id: Option<Option<Entered<CatalogueId>>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<CatalogueId>")]
    variant_id: Option<Option<Entered<CatalogueId>>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<CatalogueId>")]
    creator_id: Option<Option<Entered<CatalogueId>>>,
}

/// A field that is present: null removes an optional value, a value replaces it. An absent field
/// changes nothing.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn present_picture<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Entered<ImageUrl>>>, D::Error> {
    picture(deserializer).map(Some)
}

impl EditedDrop {
    pub(super) fn into_patch(self) -> Result<TermsPatch, Problem> {
        Ok(TermsPatch {
            name: self.name.map(|Entered(name)| name),
            description: self.description.map(|text| text.map(|Entered(text)| text)),
            image_url: self.image_url.map(|url| url.map(|Entered(url)| url)),
            price: self.price.map(PriceBody::checked).transpose()?,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            hold_seconds: self.hold_seconds,
            max_hold_seconds: self.max_hold_seconds,
            offer_seconds: self.offer_seconds,
            max_per_hold: self.max_per_hold,
            max_per_buyer: self.max_per_buyer,
            throttle: self.throttle.map(|throttle| throttle.map(Throttle::from)),
            low_stock_at: self.low_stock_at,
            visibility: self.visibility,
            show_stock: self.show_stock,
            access: self.access,
            challenge: self
                .challenge
                .map(|challenge| challenge.map(ChallengeBody::challenge)),
            product_id: self.product_id.map(|id| id.map(|Entered(id)| id)),
            variant_id: self.variant_id.map(|id| id.map(|Entered(id)| id)),
            creator_id: self.creator_id.map(|id| id.map(|Entered(id)| id)),
        })
    }
}
