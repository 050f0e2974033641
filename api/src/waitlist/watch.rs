//! Waitlist entries on the SSE stream: `?waitlist=ID,ID` adds an event `waitlist` when one of them
//! changes.
//!
//! Promise: the present state of each entry first, then every change that lasts longer than the
//! stream's interval, and always the last one. Limit: no buyer is named, because a browser's stream
//! carries no token; knowing the id grants the right to read.

use std::collections::BTreeSet;

use bytes::BytesMut;
use domain::values::{DropId, Position, Timestamp, WaitlistId};
use projections::views::Views;

use super::{WaitlistEntryState, find};
use crate::app::App;
use crate::extract::listed;
use crate::limiter::Origin;
use crate::problem::Problem;
use crate::stream::Tick;

/// Maximum number of entries that one stream watches: the server keeps the last sent state of each.
pub(crate) const MAX_WATCHED_ENTRIES: usize = 20;

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
    /// Watches one entry of that drop's waitlist.
    #[cfg(test)]
    pub(crate) fn of(entry_id: WaitlistId, drop_id: DropId) -> Self {
        Self(vec![Watched {
            entry_id,
            drop_id,
            sent: None,
        }])
    }

    /// Returns the entries that `ids` names, separated by commas, without duplicates:
    /// [`MAX_WATCHED_ENTRIES`] at most.
    pub(crate) async fn named(
        app: &App,
        origin: Origin,
        ids: Option<&str>,
    ) -> Result<Self, Problem> {
        let ids = ids.map(|ids| listed("waitlist", ids, MAX_WATCHED_ENTRIES));
        let ids = ids.transpose()?.unwrap_or_default().into_iter();
        let entry_ids = ids
            .map(str::parse::<WaitlistId>)
            .collect::<Result<BTreeSet<_>, _>>()
            .map_err(|_| super::entry_not_found())?;
        let mut watched = vec![];
        for entry_id in entry_ids {
            let entry = find(app, origin, entry_id).await?;
            watched.push(Watched {
                entry_id,
                drop_id: entry.row.drop_id,
                sent: None,
            });
        }
        Ok(Self(watched))
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
