//! Waitlist entries on the SSE stream: `?waitlist=ID,ID` adds an event `waitlist` when one of them
//! changes.
//!
//! Promise: the present state of each entry first, then every change that lasts longer than the
//! stream's interval, and always the last one. Limit: no buyer is named, because a browser's stream
//! carries no token; knowing the id grants the right to read.

use bytes::BytesMut;
use domain::values::{DropId, Position, Timestamp, WaitlistId};
use projections::views::Views;

use super::tick::Tick;
use crate::waitlist::state::WaitlistEntryState;

#[derive(Debug)]
struct Watched {
    entry_id: WaitlistId,
    drop_id: DropId,
    /// The state that was sent last.
    sent: Option<WaitlistEntryState>,
}

/// The waitlist entries that one subscriber watches.
#[derive(Debug, Default)]
pub(crate) struct WatchedEntries(Vec<Watched>);

impl WatchedEntries {
    /// Watches these entries, each of which waits for that drop.
    pub(crate) fn new(entries: impl IntoIterator<Item = (WaitlistId, DropId)>) -> Self {
        let watched = |(entry_id, drop_id)| Watched {
            entry_id,
            drop_id,
            sent: None,
        };
        Self(entries.into_iter().map(watched).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if `tick` contains the drop of any of the entries.
    pub(crate) fn any_in(&self, tick: &Tick) -> bool {
        self.0.iter().any(|watched| tick.contains(watched.drop_id))
    }

    /// Writes a frame for each entry whose state differs from the one sent last. The id is
    /// `complete`, the position up to which drops were sent: the entry may be newer, and drops
    /// that are newer are still to be sent. Statuses are as of `now`.
    pub(crate) fn write_changes(
        &mut self,
        views: &Views,
        complete: Position,
        now: Timestamp,
        to: &mut BytesMut,
    ) {
        for watched in &mut self.0 {
            let Some(entry) = views.entry(watched.entry_id) else {
                continue;
            };
            let state = WaitlistEntryState::of(views, &entry, now);
            if watched.sent.as_ref() != Some(&state) {
                let data = serde_json::to_string(&state).unwrap_or_default();
                let frame = format!("event: waitlist\nid: {complete}\ndata: {data}\n\n");
                to.extend_from_slice(frame.as_bytes());
                watched.sent = Some(state);
            }
        }
    }
}
