//! An independent account of drafts and pauses: no unit is held in either.

use std::collections::BTreeMap;

use domain::DropEvent;
use domain::values::{DropId, Position};
use infrastructure::codec::RecordedEvent;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Draft,
    Paused,
    Selling,
}

/// Every change of each drop.
#[derive(Debug, Default)]
pub struct Pauses(BTreeMap<DropId, Vec<(Position, State)>>);

impl Pauses {
    pub fn enter(&mut self, recorded: &RecordedEvent) {
        let changes = self.0.entry(recorded.drop_id).or_default();
        let before = changes.last().map(|(_, state)| *state);
        let at = recorded.position;
        let mut becomes = |state, from| {
            assert_eq!(before, from, "at {at}");
            changes.push((at, state));
        };
        match &recorded.event {
            DropEvent::DropScheduled(_) => becomes(State::Selling, None),
            DropEvent::DropDrafted(_) => becomes(State::Draft, None),
            DropEvent::DropPublished(_) => becomes(State::Selling, Some(State::Draft)),
            DropEvent::DropPaused(_) => becomes(State::Paused, Some(State::Selling)),
            DropEvent::DropResumed(_) => becomes(State::Selling, Some(State::Paused)),
            DropEvent::HoldPlaced(_) => {
                assert_eq!(before, Some(State::Selling), "held units at {at}");
            }
            DropEvent::HoldChanged(event) => {
                let adds = event.units_added() > 0;
                assert!(
                    !adds || before == Some(State::Selling),
                    "added units at {at}"
                );
            }
            DropEvent::DropStarted(_) | DropEvent::DropEnded(_) | DropEvent::WaitlistJoined(_) => {
                assert_ne!(before, Some(State::Draft), "a draft at {at}");
            }
            DropEvent::DropRescheduled(event) => {
                assert_eq!(event.terms.draft, before == Some(State::Draft), "at {at}");
            }
            DropEvent::DropCancelled(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => {}
        }
    }

    /// Reports whether the drop is paused after the last event.
    pub fn is_paused(&self, drop_id: DropId) -> bool {
        let changes = self.0.get(&drop_id);
        changes
            .and_then(|changes| changes.last())
            .map(|(_, state)| *state)
            == Some(State::Paused)
    }

    /// Reports whether the drop was in `state` at some position of the window.
    pub fn was(&self, drop_id: DropId, state: State, (from, to): (Position, Position)) -> bool {
        let changes = self.0.get(&drop_id).map_or(&[][..], Vec::as_slice);
        let before = changes.iter().rev().find(|(position, _)| *position <= from);
        let within = changes.iter().filter(|(at, _)| (from..=to).contains(at));
        before
            .into_iter()
            .chain(within)
            .any(|(_, found)| *found == state)
    }
}
