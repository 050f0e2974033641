//! Checks of single events, and of an event with the one before it. Pages are examined in parallel.
//!
//! Promise: nothing is judged here. Each [`Examined`] carries the findings, which
//! [`super::verify::Verifier`] judges in log order. Limit: the verifier computes the link of a
//! page's first event, because only it knows the event before.

use domain::erasure::{self, BuyerErased, ErasureEvent};
use domain::incident::{self, LogEvent};
use domain::order;
use domain::private::Private;
use domain::values::{BuyerId, Commitment, PaymentReference, Sequence};
use infrastructure::codec::{
    RecordedEvent, RecordedOrderEvent, decode, decode_order, is_canonical, is_named,
};
use infrastructure::error::LogError;
use infrastructure::log::{EventRef, Hash, Head, StoredEvent, chain};
use sha2::{Digest, Sha256};

use super::source::Page;
use super::violation::{Fault, differs, expect};

/// The events of a page, up to the first one that cannot be decoded.
#[derive(Debug)]
pub struct ExaminedPage {
    /// In log order.
    pub events: Vec<Examined>,
    /// The error that ended the page, if any.
    pub broken: Option<LogError>,
}

#[derive(Debug)]
pub struct Examined {
    /// The position, hash and time that the log records.
    pub head: Head,
    /// The number in its stream.
    pub sequence: Sequence,
    /// The hash that it should have.
    pub link: Link,
    /// The decoded content.
    pub content: Content,
}

/// The hash that an event should have.
#[derive(Debug)]
pub enum Link {
    /// Computed from the preceding event of the page.
    To(Hash),
    /// The first event of a page: still to be computed.
    Unknown(Box<StoredEvent>),
}

/// The content of an event.
#[derive(Debug)]
pub enum Content {
    /// An event of a drop.
    Drop {
        /// The event. Its personal data was checked and removed.
        recorded: Box<RecordedEvent>,
        /// The result of checking that data.
        introduction: Introduction,
        /// True if the event was stored in an old version.
        is_old: bool,
    },
    /// An event of an order.
    Order {
        /// The event. Its personal data was checked and removed.
        recorded: Box<RecordedOrderEvent>,
        /// The result of checking that data.
        introduction: Introduction,
    },
    /// An erasure.
    Erasure {
        /// The number of events that lost their personal data.
        events: u64,
        stream: String,
    },
    /// A repair of the log.
    Incident { event: LogEvent, stream: String },
    /// An event of another kind of stream.
    Other {
        aggregate_type: String,
        aggregate_id: String,
    },
    /// Content that cannot be decoded, or that contradicts its columns.
    Unreadable {
        aggregate_id: String,
        is_of_order: bool,
        fault: Fault,
    },
}

/// The personal data of an event.
#[derive(Debug)]
pub struct Introduction {
    /// True if the payload commits to personal data.
    pub is_committed: bool,
    /// True if personal data is present.
    pub is_present: bool,
    /// True if personal data was erased.
    pub is_erased: bool,
    /// The person whom the event introduces, if any.
    pub person: Option<Person>,
    /// The reference of an order's payment, which its intent is compared with.
    pub reference: Option<PaymentReference>,
    /// The mismatch between data and commitment, if any.
    pub fault: Option<Box<Fault>>,
}

/// A person: the first halves of SHA-256 of both, so that no name is written to disk during an
/// audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Person {
    /// Of the form in which ids are compared.
    pub caseless: [u8; 16],
    /// Of the form in which the first logs compared ids: lower case alone.
    pub spelled: [u8; 16],
}

impl Person {
    fn new(buyer_id: &BuyerId) -> Self {
        let digest = |form: &str| {
            let digest = Sha256::digest(form);
            let (half, _) = digest.split_at(16);
            half.try_into().unwrap_or_default()
        };
        let (form, spelling) = (buyer_id.comparable(), buyer_id.comparable_before_nfc());
        let caseless = digest(&form);
        let spelled = match form == spelling {
            true => caseless,
            false => digest(&spelling),
        };
        Self { caseless, spelled }
    }
}

/// Examines a page. Without access to personal data (`knows_private`), commitments are not checked.
#[must_use]
pub fn examine(page: &Page, knows_private: bool) -> ExaminedPage {
    let mut examined = ExaminedPage {
        events: Vec::with_capacity(page.len()),
        broken: None,
    };
    let (mut scratch, mut before) = (vec![], None);
    for event in page.events() {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                examined.broken = Some(error);
                break;
            }
        };
        let link = match before {
            Some(before) => Link::To(chain::link_in(&mut scratch, &before, event)),
            None => Link::Unknown(Box::new(event.into())),
        };
        before = Some(event.hash);
        examined.events.push(Examined {
            head: event.head(),
            sequence: event.sequence,
            link,
            content: content(event, knows_private),
        });
    }
    examined
}

fn content(event: EventRef<'_>, knows_private: bool) -> Content {
    let unreadable = |fault: Fault| Content::Unreadable {
        aggregate_id: event.aggregate_id.to_owned(),
        is_of_order: false,
        fault,
    };
    match decode(event) {
        Ok(Some(mut recorded)) => {
            if !is_named(recorded.drop_id, event.aggregate_id) {
                let (expected, found) =
                    (recorded.drop_id.to_string(), event.aggregate_id.to_owned());
                return unreadable(differs("aggregate_id", expected, found));
            }
            let private = recorded.private.take();
            let committed = recorded.event.commitment();
            let introduction = Introduction::check(private.as_ref(), committed, knows_private);
            let is_old = event.event_version != recorded.event.event_version();
            Content::Drop {
                recorded: Box::new(recorded),
                introduction,
                is_old,
            }
        }
        Ok(None) if event.aggregate_type == order::AGGREGATE_TYPE => {
            order_content(event, knows_private)
        }
        Ok(None) if event.private.is_some() => unreadable(
            "the event has private data without a commitment"
                .to_owned()
                .into(),
        ),
        Ok(None) if event.aggregate_type == erasure::AGGREGATE_TYPE => match erased_events(event) {
            Ok(events) => Content::Erasure {
                events,
                stream: event.aggregate_id.to_owned(),
            },
            Err(fault) => unreadable(fault),
        },
        Ok(None) if event.aggregate_type == incident::AGGREGATE_TYPE => match incident_of(event) {
            Ok(content) => Content::Incident {
                event: content,
                stream: event.aggregate_id.to_owned(),
            },
            Err(fault) => unreadable(fault),
        },
        Ok(None) => Content::Other {
            aggregate_type: event.aggregate_type.to_owned(),
            aggregate_id: event.aggregate_id.to_owned(),
        },
        Err(LogError::Corrupt { reason, .. }) => unreadable(reason.into()),
        Err(unavailable @ LogError::Unavailable(_)) => unreadable(unavailable.to_string().into()),
    }
}

fn order_content(event: EventRef<'_>, knows_private: bool) -> Content {
    let unreadable = |fault: Fault| Content::Unreadable {
        aggregate_id: event.aggregate_id.to_owned(),
        is_of_order: true,
        fault,
    };
    let mut recorded = match decode_order(event) {
        Ok(Some(recorded)) => recorded,
        Ok(None) => return unreadable("not an event of an order".to_owned().into()),
        Err(LogError::Corrupt { reason, .. }) => return unreadable(reason.into()),
        Err(unavailable @ LogError::Unavailable(_)) => {
            return unreadable(unavailable.to_string().into());
        }
    };
    let order_id = recorded.order_id;
    if !is_canonical(order_id.0, event.aggregate_id) {
        let (expected, found) = (order_id.to_string(), event.aggregate_id.to_owned());
        return unreadable(differs("aggregate_id", expected, found));
    }
    let private = recorded.private.take();
    let committed = recorded.event.commitment();
    let introduction = Introduction::check(private.as_ref(), committed, knows_private);
    Content::Order {
        recorded: Box::new(recorded),
        introduction: Introduction {
            reference: private.and_then(|private| private.payment_reference),
            ..introduction
        },
    }
}

/// Returns how many events lost their personal data through an erasure. The payload may contain
/// nothing else.
fn erased_events(event: EventRef<'_>) -> Result<u64, Fault> {
    expect("aggregate_id", erasure::STREAM, event.aggregate_id)?;
    expect("event_type", erasure::BUYER_ERASED, event.event_type)?;
    expect("event_version", erasure::VERSION, event.event_version)?;
    let ErasureEvent::BuyerErased(BuyerErased { events }) = serde_json::from_str(event.payload)
        .map_err(|error| format!("the payload cannot be read: {error}"))?;
    Ok(events)
}

/// Decodes a repair of the log.
fn incident_of(event: EventRef<'_>) -> Result<LogEvent, Fault> {
    expect("aggregate_id", incident::STREAM, event.aggregate_id)?;
    expect("event_version", incident::VERSION, event.event_version)?;
    let content: LogEvent = serde_json::from_str(event.payload)
        .map_err(|error| format!("the payload cannot be read: {error}"))?;
    expect("event_type", content.event_type(), event.event_type)?;
    match &content {
        LogEvent::PositionVoided(void) if void.position >= event.position => {
            let reason = format!("position {} is not before this one", void.position);
            Err(reason.into())
        }
        LogEvent::PositionVoided(_) | LogEvent::TailCut(_) => Ok(content),
    }
}

impl Introduction {
    fn check(
        private: Option<&Private>,
        committed: Option<Commitment>,
        knows_private: bool,
    ) -> Self {
        let (mut is_erased, mut fault) = (false, None);
        match (private, committed) {
            (Some(private), Some(committed)) if knows_private => {
                fault = expect("commitment to private", committed, private.commitment()).err();
            }
            (Some(_), None) if knows_private => {
                let reason = "the event has private data that the payload does not commit to";
                fault = Some(reason.to_owned().into());
            }
            (None, Some(_)) => is_erased = knows_private,
            (Some(_) | None, Some(_) | None) => {}
        }
        Self {
            is_committed: committed.is_some(),
            is_present: private.is_some(),
            is_erased,
            person: private
                .and_then(|private| private.buyer_id.as_ref())
                .map(Person::new),
            reference: None,
            fault: fault.map(Box::new),
        }
    }
}
