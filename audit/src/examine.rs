//! What can be checked of an event by itself, or with the event before it: done for many pages beside one another.
//!
//! Promise: nothing is judged here. What was found waits in each [`Examined`], for the [`super::verify::Verifier`] to judge in
//! the order of the log. Limit: a page's first event is linked by the verifier, who knows the event before it.

use domain::erasure::{self, BuyerErased, ErasureEvent};
use domain::incident::{self, LogEvent};
use domain::private::Private;
use domain::values::{BuyerId, Commitment, DropId, Sequence};
use infrastructure::codec::{RecordedEvent, decode, is_named};
use infrastructure::error::LogError;
use infrastructure::log::{EventRef, Hash, Head, StoredEvent, chain};
use sha2::{Digest, Sha256};

use super::source::Page;
use super::violation::{Fault, differs, expect};

/// A page's events, up to the first that cannot be one.
#[derive(Debug)]
pub struct ExaminedPage {
    /// In order.
    pub events: Vec<Examined>,
    /// What comes after them and is no event.
    pub broken: Option<LogError>,
}

/// One event.
#[derive(Debug)]
pub struct Examined {
    /// What the log says of its place.
    pub head: Head,
    /// Place in its stream.
    pub sequence: Sequence,
    /// What its hash should be.
    pub link: Link,
    /// What it says.
    pub said: Said,
}

/// The hash that an event should have.
#[derive(Debug)]
pub enum Link {
    /// After the event before it in the page.
    To(Hash),
    /// The first of a page: still to be computed.
    Unknown(Box<StoredEvent>),
}

/// What an event says.
#[derive(Debug)]
pub enum Said {
    /// About a drop.
    Drop {
        /// What happened. Its personal data is checked, and gone.
        recorded: Box<RecordedEvent>,
        /// What was said of that data.
        introduction: Introduction,
        /// Whether it was stored in a former form.
        is_old: bool,
    },
    /// That somebody was erased.
    Erasure {
        /// Events that lost their personal data.
        events: u64,
        /// The stream.
        stream: String,
    },
    /// That the log itself was repaired.
    Incident {
        /// How.
        event: LogEvent,
        /// The stream.
        stream: String,
    },
    /// About something else.
    Other {
        /// The kind of stream.
        aggregate_type: String,
        /// The stream.
        aggregate_id: String,
    },
    /// Nothing that can be read, or not what it is filed under.
    Unreadable {
        /// The stream.
        aggregate_id: String,
        /// What is wrong.
        fault: Fault,
    },
}

/// What an event says of personal data.
#[derive(Debug)]
pub struct Introduction {
    /// Whether it commits to some.
    pub is_committed: bool,
    /// Whether there is some.
    pub is_present: bool,
    /// Whether that is there no more.
    pub is_erased: bool,
    /// Who it introduces, if it does.
    pub person: Option<Person>,
    /// Whether what is there is something else.
    pub fault: Option<Box<Fault>>,
}

/// A person in a drop: the first half of a SHA-256 of both, so that no name waits on disk for the end of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Person(pub [u8; 16]);

impl Person {
    /// Compared as ids were before they had a normal form: canonically equivalent ids were two
    /// buyers then, by the rule of that time. Ids that came in since are in NFC, for which both
    /// comparisons are the same.
    fn new(drop_id: DropId, buyer_id: &BuyerId) -> Self {
        let digest = Sha256::new()
            .chain_update(drop_id.0)
            .chain_update(&*buyer_id.comparable_before_nfc())
            .finalize();
        let (half, _) = digest.split_at(16);
        Self(half.try_into().unwrap_or_default())
    }
}

/// Examines a page; without personal data (`knows_private`) commitments are not checked.
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
            said: said(event, knows_private),
        });
    }
    examined
}

fn said(event: EventRef<'_>, knows_private: bool) -> Said {
    let unreadable = |fault: Fault| Said::Unreadable {
        aggregate_id: event.aggregate_id.to_owned(),
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
            let introduction =
                Introduction::check(recorded.drop_id, private.as_ref(), committed, knows_private);
            let is_old = event.event_version != recorded.event.event_version();
            Said::Drop {
                recorded: Box::new(recorded),
                introduction,
                is_old,
            }
        }
        Ok(None) if event.private.is_some() => unreadable(
            "there is private data that nothing commits to"
                .to_owned()
                .into(),
        ),
        Ok(None) if event.aggregate_type == erasure::AGGREGATE_TYPE => match erased_events(event) {
            Ok(events) => Said::Erasure {
                events,
                stream: event.aggregate_id.to_owned(),
            },
            Err(fault) => unreadable(fault),
        },
        Ok(None) if event.aggregate_type == incident::AGGREGATE_TYPE => match incident_of(event) {
            Ok(said) => Said::Incident {
                event: said,
                stream: event.aggregate_id.to_owned(),
            },
            Err(fault) => unreadable(fault),
        },
        Ok(None) => Said::Other {
            aggregate_type: event.aggregate_type.to_owned(),
            aggregate_id: event.aggregate_id.to_owned(),
        },
        Err(LogError::Corrupt { reason, .. }) => unreadable(reason.into()),
        Err(unavailable @ LogError::Unavailable(_)) => unreadable(unavailable.to_string().into()),
    }
}

/// How many events an erasure says that it took personal data from; it says nothing else.
fn erased_events(event: EventRef<'_>) -> Result<u64, Fault> {
    expect("aggregate_id", erasure::STREAM, event.aggregate_id)?;
    expect("event_type", erasure::BUYER_ERASED, event.event_type)?;
    expect("event_version", erasure::VERSION, event.event_version)?;
    let ErasureEvent::BuyerErased(BuyerErased { events }) = serde_json::from_str(event.payload)
        .map_err(|error| format!("the payload cannot be read: {error}"))?;
    Ok(events)
}

/// What a repair of the log says.
fn incident_of(event: EventRef<'_>) -> Result<LogEvent, Fault> {
    expect("aggregate_id", incident::STREAM, event.aggregate_id)?;
    expect("event_version", incident::VERSION, event.event_version)?;
    let said: LogEvent = serde_json::from_str(event.payload)
        .map_err(|error| format!("the payload cannot be read: {error}"))?;
    expect("event_type", said.event_type(), event.event_type)?;
    match &said {
        LogEvent::PositionVoided(void) if void.position >= event.position => {
            let reason = format!("position {} is not before this one", void.position);
            Err(reason.into())
        }
        LogEvent::PositionVoided(_) | LogEvent::TailCut(_) => Ok(said),
    }
}

impl Introduction {
    fn check(
        drop_id: DropId,
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
                let reason = "there is private data that the payload does not commit to";
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
                .map(|buyer_id| Person::new(drop_id, buyer_id)),
            fault: fault.map(Box::new),
        }
    }
}
