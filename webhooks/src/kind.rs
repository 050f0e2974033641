//! The types of webhooks that are sent today: the one table of them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A type of webhooks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// All types, in the order of this table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the `type` in the body.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// `DropScheduled`; of a draft, `DropPublished`.
    DropScheduled = "drop.scheduled";
    /// `DropStarted`.
    DropStarted = "drop.started";
    /// `DropEnded`.
    DropEnded = "drop.ended";
    /// `DropPaused`.
    DropPaused = "drop.paused";
    /// `DropResumed`.
    DropResumed = "drop.resumed";
    /// `DropCancelled`.
    DropCancelled = "drop.cancelled";
    /// An event after which no unit is available, of a drop that is not over.
    DropSoldOut = "drop.sold_out";
    /// The first event after it by which units are available again.
    DropRestocked = "drop.restocked";
    /// An event by which the available units fall to `low_stock_at` or below it, for the first time
    /// since they were above it.
    StockLow = "stock.low";
    /// `HoldPlaced`, offers to the waitlist included.
    HoldPlaced = "hold.placed";
    /// `HoldExpired`.
    HoldExpired = "hold.expired";
    /// `HoldReleased`.
    HoldReleased = "hold.released";
    /// `PurchaseConfirmed`.
    PurchaseConfirmed = "purchase.confirmed";
    /// `PurchaseRefunded`.
    PurchaseRefunded = "purchase.refunded";
    /// `HoldPlaced` for a waitlist entry.
    WaitlistOffered = "waitlist.offered";
    /// `OrderPlaced`.
    OrderPlaced = "order.placed";
    /// `OrderPaid`.
    OrderConfirmed = "order.confirmed";
    /// `OrderCancelled`.
    OrderCancelled = "order.cancelled";
    /// `OrderExpired`.
    OrderExpired = "order.expired";
    /// `PurchaseRefunded` of a purchase of an order.
    OrderRefunded = "order.refunded";
    /// `OrderFulfilled`.
    OrderFulfilled = "order.fulfilled";
    /// `PaymentArrivedLate`.
    PaymentLate = "payment.late";
}

/// The `type` of a test, which no endpoint can subscribe to or exclude.
pub const TEST: &str = "webhook.test";

/// A name that is not a type of webhooks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a type that is sent: {}", names().join(", "))]
pub struct UnknownKind;

fn names() -> Vec<&'static str> {
    Kind::ALL.iter().map(|kind| kind.name()).collect()
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let mut all = Kind::ALL.iter().copied();
        all.find(|kind| kind.name() == text).ok_or(UnknownKind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        name.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Kind {
    fn schema_name() -> Cow<'static, str> {
        "WebhookType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": names() })
    }
}
