//! The message about a notification: its text, how long it is of use, and how urgent it is.
//!
//! Promise: a message has a title, a text, a path of this shop and a tag, and nothing else. No name
//! of a buyer. The id of an order, which is the right to cancel it, only for a buyer with a token.
//! Limit: in English, as the pages are.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use catalogue::notifications::{Audience, Facts, Notification};
use domain::values::{Position, Timestamp};
use projections::views::Views;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use webhooks::kind::Kind;

/// The most characters of a drop's name in a title. Systems show fewer.
const MOST_TITLE: usize = 120;
/// Bytes of a digest in a topic: 32 characters, the most of RFC 8030.
const TOPIC_BYTES: usize = 24;

const MINUTE: i64 = 60 * 1_000;
const HOUR: i64 = 60 * MINUTE;

/// Returns when a notification is of no use any more. A start that is announced hours late would
/// lead to a drop that is sold out.
pub(crate) fn expires_at(notification: &Notification) -> Timestamp {
    let after = |millis| notification.recorded_at.plus_millis(millis);
    match &notification.facts {
        Facts::Started { .. } | Facts::Low { .. } => after(30 * MINUTE),
        Facts::SoldOut => after(HOUR),
        Facts::Offered { expires_at, .. } => *expires_at,
        Facts::Confirmed { .. } | Facts::Refunded { .. } => after(24 * HOUR),
    }
}

/// Returns the header `Urgency` (RFC 8030, section 5.3): a device that saves power receives only
/// urgent messages immediately.
pub(crate) const fn urgency(facts: &Facts) -> &'static str {
    match facts {
        Facts::Started { .. } | Facts::Offered { .. } => "high",
        Facts::Low { .. } | Facts::Confirmed { .. } | Facts::Refunded { .. } => "normal",
        Facts::SoldOut => "low",
    }
}

/// Returns the header `Topic`, which is also the tag: a later message replaces an earlier one about
/// the same drop, the same offers or the same order. It differs between subscriptions, so that a
/// push service cannot see which of them are about the same thing.
pub(crate) fn topic(notification: &Notification, subscription_id: Uuid) -> String {
    let (subject, id) = match &notification.audience {
        Audience::Drop(drop_id, _) => ("drop", drop_id.0),
        Audience::Buyer(drop_id, _) => ("offer", drop_id.0),
        Audience::Order(order_id) => (notification.kind.name(), order_id.0),
    };
    let digest = Sha256::new()
        .chain_update(subscription_id.as_bytes())
        .chain_update(subject)
        .chain_update(id.as_bytes())
        .finalize();
    BASE64_URL_SAFE_NO_PAD.encode(&digest[..TOPIC_BYTES])
}

/// The text of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    title: String,
    body: String,
    /// A path of this shop.
    url: String,
    /// The same for a browser that must not have the id of an order.
    url_without_ids: String,
}

impl Text {
    /// Returns the text; `None` if the drop is hidden from its readers meanwhile.
    pub(crate) fn of(notification: &Notification, views: &Views) -> Option<Self> {
        let is_own = !matches!(notification.audience, Audience::Drop(..));
        let drop = notification.drop_id.and_then(|id| views.drop(id));
        // A drop that was hidden meanwhile may have another name.
        let drop = drop.filter(|drop| is_own || drop.row.terms.visibility.is_found());
        let name = drop.map(|drop| shortened(drop.row.terms.name.as_str()));
        let of_drop = || name.clone();
        let (title, body) = match &notification.facts {
            Facts::Started { .. } => (of_drop()?, "The drop has started.".to_owned()),
            Facts::SoldOut => (of_drop()?, "The drop is sold out.".to_owned()),
            Facts::Low {
                available: Some(available),
            } => (of_drop()?, format!("{} left.", units(*available))),
            Facts::Low { available: None } => (of_drop()?, "Low on stock.".to_owned()),
            Facts::Offered { quantity, .. } => {
                let are = if *quantity == 1 { "is" } else { "are" };
                let body = format!("{} {are} held for you from the waitlist.", units(*quantity));
                (of_drop()?, body)
            }
            Facts::Confirmed { .. } => (
                "Your order is confirmed".to_owned(),
                "The payment has arrived.".to_owned(),
            ),
            Facts::Refunded { amount, .. } => (
                "A refund of your order".to_owned(),
                format!("{amount} will be refunded."),
            ),
        };
        let url_without_ids = match notification.audience {
            Audience::Drop(drop_id, _) | Audience::Buyer(drop_id, _) => {
                format!("/drops/{drop_id}")
            }
            Audience::Order(_) => "/cart".to_owned(),
        };
        let url = match notification.audience {
            Audience::Order(order_id) => format!("/orders/{order_id}"),
            Audience::Drop(..) | Audience::Buyer(..) => url_without_ids.clone(),
        };
        Some(Self {
            title,
            body,
            url,
            url_without_ids,
        })
    }

    /// Returns the plaintext of a message, in JSON.
    pub(crate) fn plaintext(&self, sees_ids: bool, tag: &str) -> Vec<u8> {
        let url = match sees_ids {
            true => &self.url,
            false => &self.url_without_ids,
        };
        let message = json!({ "title": self.title, "body": self.body, "url": url, "tag": tag });
        message.to_string().into_bytes()
    }
}

fn units(number: u32) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} unit{ending}")
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= MOST_TITLE {
        return name.to_owned();
    }
    let kept = name.chars().take(MOST_TITLE - 1);
    kept.chain(['…']).collect()
}

/// Returns the id of a job: a notification that is derived again, or fails again for the same
/// subscription, is the same job.
pub(crate) fn job_id(position: Position, kind: Kind, subscription_id: Option<Uuid>) -> Uuid {
    let digest = Sha256::new()
        .chain_update(b"push job")
        .chain_update(position.0.to_be_bytes())
        .chain_update(kind.name())
        .chain_update(subscription_id.unwrap_or_default().as_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use domain::values::{DropId, OrderId};

    use super::*;

    fn notification(kind: Kind, audience: Audience, facts: Facts) -> Notification {
        Notification {
            position: Position(7),
            kind,
            recorded_at: "2026-03-01T12:00:00.000Z".parse().unwrap(),
            drop_id: match audience {
                Audience::Drop(drop_id, _) | Audience::Buyer(drop_id, _) => Some(drop_id),
                Audience::Order(_) => None,
            },
            audience,
            facts,
        }
    }

    fn started(drop_id: DropId) -> Notification {
        let started_at = "2026-03-01T12:00:00.000Z".parse().unwrap();
        let facts = Facts::Started { started_at };
        notification(Kind::DropStarted, Audience::Drop(drop_id, None), facts)
    }

    #[test]
    fn topic_conflates_messages_about_a_drop_in_one_browser_only() {
        let (drop, browser) = (DropId(Uuid::from_u128(1)), Uuid::from_u128(2));
        let sold_out = notification(
            Kind::DropSoldOut,
            Audience::Drop(drop, None),
            Facts::SoldOut,
        );
        let one = topic(&started(drop), browser);
        assert_eq!(one, topic(&sold_out, browser));
        assert_eq!(one.len(), 32);
        assert_ne!(one, topic(&started(DropId(Uuid::from_u128(3))), browser));
        assert_ne!(one, topic(&started(drop), Uuid::from_u128(4)));
        let order = OrderId(drop.0);
        let paid_at = "2026-03-01T12:00:00.000Z".parse().unwrap();
        let facts = Facts::Confirmed {
            paid_at,
            late: false,
        };
        let paid = notification(Kind::OrderConfirmed, Audience::Order(order), facts);
        assert_ne!(one, topic(&paid, browser));
    }

    #[test]
    fn order_id_is_only_for_a_buyer_with_a_token() {
        let order = OrderId(Uuid::from_u128(9));
        let paid_at = "2026-03-01T12:00:00.000Z".parse().unwrap();
        let facts = Facts::Confirmed {
            paid_at,
            late: false,
        };
        let paid = notification(Kind::OrderConfirmed, Audience::Order(order), facts);
        let text = Text::of(&paid, &Views::default()).unwrap();
        let message = |sees_ids| {
            let bytes = text.plaintext(sees_ids, "t");
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
        };
        assert_eq!(message(true)["url"], format!("/orders/{order}"));
        assert_eq!(
            message(false),
            json!({
                "title": "Your order is confirmed", "body": "The payment has arrived.",
                "url": "/cart", "tag": "t",
            })
        );
    }

    #[test]
    fn message_about_a_drop_that_does_not_exist_for_its_readers_is_not_made() {
        let unknown = started(DropId(Uuid::from_u128(1)));
        assert_eq!(Text::of(&unknown, &Views::default()), None);
    }

    #[test]
    fn longest_name_fits_into_a_message() {
        let name = shortened(&"🐎".repeat(MOST_TITLE + 1));
        assert_eq!(name.chars().count(), MOST_TITLE);
        assert!(name.ends_with("🐎…"));
        // At most 12 bytes for each character in JSON, and a path with an id.
        const { assert!(12 * MOST_TITLE + 500 < crate::encryption::MOST_BYTES) };
        assert_eq!(shortened("kůň"), "kůň");
    }

    #[test]
    fn start_is_announced_for_half_an_hour_and_an_offer_until_it_ends() {
        let start = started(DropId(Uuid::from_u128(1)));
        assert_eq!(
            expires_at(&start),
            "2026-03-01T12:30:00.000Z".parse().unwrap()
        );
        assert_eq!(urgency(&start.facts), "high");
        assert_eq!(urgency(&Facts::SoldOut), "low");
    }

    #[test]
    fn same_notification_is_the_same_job() {
        let id =
            |position, subscription| job_id(Position(position), Kind::DropStarted, subscription);
        assert_eq!(id(1, None), id(1, None));
        assert_ne!(id(1, None), id(2, None));
        assert_ne!(id(1, None), id(1, Some(Uuid::from_u128(1))));
        assert_ne!(id(1, None), job_id(Position(1), Kind::DropSoldOut, None));
    }
}
