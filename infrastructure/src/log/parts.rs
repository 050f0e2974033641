//! Reads and decodes a log in parts, ahead of their consumer: for starts.
//!
//! Promise: parts follow each other without a gap, and each hash is recomputed, so a start refuses
//! a chain that a running server would refuse. An event of a drop that cannot be decoded is
//! reported in order, and reading continues.
//! Limit: if reading begins after the first position, the first event's hash cannot be checked
//! here.

use domain::values::Position;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use super::copy::{Block, Blocks};
use super::{EventLog, EventRef, Hash, Head, StoredEvent, ahead, chain};
use crate::codec::{Recorded, RecordedEvent, RecordedOrderEvent, read_any};
use crate::error::LogError;
use crate::quarantine::RefusedEvent;

/// Consecutive events of drops and orders, and the head after them.
#[derive(Debug, Default)]
pub struct Part {
    /// Decoded events of drops, in position order.
    pub events: Vec<RecordedEvent>,
    /// Decoded events of orders, in position order.
    pub orders: Vec<RecordedOrderEvent>,
    /// Events that cannot be decoded, in position order.
    pub refused: Vec<RefusedEvent>,
    /// The head of the log after this part.
    pub head: Head,
}

/// Consecutive parts, from a task that ends with this receiver.
pub type Parts = mpsc::Receiver<Result<Part, LogError>>;

/// Parts that may wait to be applied.
pub(super) const AHEAD: usize = 10;
/// Events per part, for logs without a faster way to read many.
const PART: usize = 10_000;

/// A part under construction.
#[derive(Debug, Default)]
pub(super) struct PartBuilder {
    head: Head,
    /// The hash that the next event follows from, if known.
    previous: Option<Hash>,
    /// The first event, if it was added before `previous` was known.
    unlinked: Option<StoredEvent>,
    scratch: Vec<u8>,
    events: Vec<RecordedEvent>,
    orders: Vec<RecordedOrderEvent>,
    refused: Vec<RefusedEvent>,
}

impl PartBuilder {
    /// Begins after position `after`.
    pub(super) fn after(after: Position) -> Self {
        Self {
            head: Head {
                position: after,
                ..Head::default()
            },
            previous: (after == Position(0)).then(Hash::default),
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, stored: EventRef<'_>) -> Result<(), LogError> {
        let (expected, found) = (self.head.position.next(), stored.position);
        if found != expected {
            return Err(missing(expected, found));
        }
        match &self.previous {
            Some(previous)
                if chain::link_in(&mut self.scratch, previous, stored) != stored.hash =>
            {
                return Err(chain::broken(found));
            }
            Some(_) => {}
            None => self.unlinked = Some(stored.into()),
        }
        self.previous = Some(stored.hash);
        match read_any(stored) {
            Ok(Some(Recorded::Drop(recorded))) => self.events.push(recorded),
            Ok(Some(Recorded::Order(recorded))) => self.orders.push(recorded),
            Ok(None) => {}
            Err(refused) => self.refused.push(*refused),
        }
        self.head = stored.head();
        Ok(())
    }

    /// Takes the finished part; the next one begins after it.
    pub(super) fn take(&mut self) -> Part {
        let room = self.events.len();
        let events = std::mem::replace(&mut self.events, Vec::with_capacity(room));
        Part {
            events,
            orders: std::mem::take(&mut self.orders),
            refused: std::mem::take(&mut self.refused),
            head: self.head,
        }
    }
}

/// One block, decoded on its own, and its first position.
struct Decoded {
    first: Option<Position>,
    /// The first event, whose hash is still to be checked.
    unlinked: Option<StoredEvent>,
    part: Result<Part, LogError>,
}

impl Decoded {
    fn from(block: &Block) -> Self {
        let first = block.positions().next();
        let before = first.map_or(0, |first| first.0.saturating_sub(1));
        let mut growing = PartBuilder::after(Position(before));
        let part = block
            .events()
            .try_for_each(|stored| growing.add(stored?))
            .map(|()| growing.take());
        Self {
            first,
            unlinked: growing.unlinked,
            part,
        }
    }

    /// The part, if it begins right after `last` and, where known, its hash follows.
    fn after(self, last: Position, hash: Option<Hash>) -> Result<Part, LogError> {
        match (self.first, self.unlinked, hash) {
            (Some(first), _, _) if first != last.next() => Err(missing(last.next(), first)),
            (_, Some(event), Some(hash)) if chain::link(&hash, &event) != event.hash => {
                Err(chain::broken(event.position))
            }
            _ => self.part,
        }
    }
}

/// Decodes blocks in parallel, in their wire form.
pub(super) fn decoded(blocks: Blocks, after: Position) -> Parts {
    let (sender, parts) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let blocks = stream::unfold(blocks, async |mut blocks| {
            let block: Result<Block, LogError> = blocks.recv().await?;
            Some((block, blocks))
        });
        let decode = |block: Result<Block, LogError>| Ok(Decoded::from(&block?));
        let mut decoded = std::pin::pin!(ahead::in_order(blocks, decode));
        let (mut last, mut hash) = (after, None);
        while let Some(decoded) = decoded.next().await {
            let part = decoded.and_then(|decoded: Decoded| decoded.after(last, hash));
            if let Ok(part) = &part {
                (last, hash) = (part.head.position, Some(part.head.hash));
            }
            let is_last = part.is_err();
            if sender.send(part).await.is_err() || is_last {
                return;
            }
        }
    });
    parts
}

fn missing(expected: Position, found: Position) -> LogError {
    LogError::Corrupt {
        position: expected,
        reason: format!("the next event found is at position {found}"),
    }
}

/// Reads `log` through [`EventLog::read`].
pub(super) fn read<L: EventLog>(log: L, after: Position, until: Position) -> Parts {
    let (sender, parts) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut growing = PartBuilder::after(after);
        while growing.head.position < until {
            let part = next(&log, &mut growing, until).await;
            let is_last = !matches!(&part, Ok(part) if part.head.position < until);
            if sender.send(part).await.is_err() || is_last {
                return;
            }
        }
    });
    parts
}

async fn next<L: EventLog>(
    log: &L,
    growing: &mut PartBuilder,
    until: Position,
) -> Result<Part, LogError> {
    let last = growing.head.position;
    let missing = usize::try_from(until.0 - last.0).unwrap_or(PART);
    let page = log.read(last, missing.min(PART)).await?;
    if page.is_empty() {
        return Err(LogError::Corrupt {
            position: last.next(),
            reason: "the head is beyond the last event".to_owned(),
        });
    }
    for stored in &page {
        growing.add(stored.into())?;
    }
    Ok(growing.take())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode;
    use crate::log::{Batch, StoredEvent};
    use domain::event::{DropCancelled, DropEvent};
    use domain::values::{DropId, Sequence, Timestamp};

    fn events(count: u64) -> Vec<StoredEvent> {
        let event = DropEvent::DropCancelled(DropCancelled {
            cancelled_at: Timestamp::default(),
        });
        let drop_id = DropId(uuid::Uuid::from_u128(1));
        let stored = |n| encode(drop_id, Sequence(n), Timestamp::default(), &event, None);
        Batch::seal(Head::default(), (1..=count).map(stored).collect()).events
    }

    #[test]
    fn first_event_follows_from_the_zero_hash() {
        let mut events = events(1);
        events[0].hash.0[0] ^= 1;
        let mut growing = PartBuilder::after(Position(0));
        let added = growing.add((&events[0]).into());
        assert!(
            matches!(
                added,
                Err(LogError::Corrupt {
                    position: Position(1),
                    ..
                })
            ),
            "{added:?}"
        );
    }

    #[test]
    fn parts_follow_each_other() {
        let (events, mut growing) = (events(3), PartBuilder::after(Position(0)));
        growing.add((&events[0]).into()).unwrap();
        let first = growing.take();
        assert_eq!((first.events.len(), first.head), (1, events[0].head()));
        growing.add((&events[1]).into()).unwrap();
        growing.add((&events[2]).into()).unwrap();
        let second = growing.take();
        assert_eq!((second.events.len(), second.head), (2, events[2].head()));
    }

    #[test]
    fn missing_or_repeated_position_is_corruption_at_the_expected_one() {
        let events = events(3);
        for (next, is_fine) in [(0, false), (1, true), (2, false)] {
            let mut growing = PartBuilder::after(Position(0));
            growing.add((&events[0]).into()).unwrap();
            match growing.add((&events[next]).into()) {
                Ok(()) => assert!(is_fine),
                Err(LogError::Corrupt { position, .. }) => {
                    assert_eq!((position, is_fine), (Position(2), false));
                }
                Err(LogError::Unavailable(error)) => panic!("{error}"),
            }
        }
    }
}
