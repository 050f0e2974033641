//! Places in line on the live stream: `?waitlist=ID,ID` adds an event `waitlist` whenever one of them has news.
//!
//! Promise: the present state of each place first, then every change that lasts longer than the stream's interval, the last
//! one always. Limit: no buyer is named, because a browser's stream carries no token; the id is the right to look.

use std::collections::BTreeSet;

use bytes::BytesMut;
use domain::values::{DropId, Position, WaitlistId};
use engine::{Clock, SystemClock};
use projections::views::Views;

use super::{PlaceNews, find};
use crate::app::App;
use crate::limiter::Origin;
use crate::problem::Problem;
use crate::stream::{Tick, must_be_few};

/// The most places that one stream watches: each keeps what was told of it last.
pub(crate) const MOST_PLACES: usize = 20;

#[derive(Debug)]
struct Watched {
    entry_id: WaitlistId,
    drop_id: DropId,
    /// What was told last.
    told: Option<PlaceNews>,
}

/// The places that one watcher waits for.
#[derive(Debug, Default)]
pub(crate) struct WatchedPlaces(Vec<Watched>);

impl WatchedPlaces {
    /// One place, in the line of that drop.
    #[cfg(test)]
    pub(crate) fn of(entry_id: WaitlistId, drop_id: DropId) -> Self {
        Self(vec![Watched {
            entry_id,
            drop_id,
            told: None,
        }])
    }

    /// The places that `ids` names, separated by commas: each once, and [`MOST_PLACES`] at most.
    pub(crate) async fn named(
        app: &App,
        origin: Origin,
        ids: Option<&str>,
    ) -> Result<Self, Problem> {
        let ids = ids.into_iter().flat_map(|ids| ids.split(','));
        let entry_ids = ids
            .map(|id| id.trim().parse::<WaitlistId>())
            .collect::<Result<BTreeSet<_>, _>>()
            .map_err(|_| super::no_such_place())?;
        must_be_few("waitlist", entry_ids.len(), MOST_PLACES)?;
        let mut watched = vec![];
        for entry_id in entry_ids {
            let place = find(app, origin, entry_id).await?;
            watched.push(Watched {
                entry_id,
                drop_id: place.row.drop_id,
                told: None,
            });
        }
        Ok(Self(watched))
    }

    /// Whether no place was named.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any place is in the line of a drop that changed.
    pub(crate) fn are_in(&self, tick: &Tick) -> bool {
        self.0.iter().any(|watched| tick.is_about(watched.drop_id))
    }

    /// Writes a frame for each place that is not as it was told last. Its id is `told`, up to where the watcher was told of drops: the
    /// place may be newer, and what else is newer is still to come.
    pub(crate) fn write_news(&mut self, views: &Views, told: Position, to: &mut BytesMut) {
        let now = SystemClock.now();
        for watched in &mut self.0 {
            let Some(place) = views.place(watched.entry_id) else {
                continue;
            };
            let news = PlaceNews::of(views, &place, now);
            if watched.told.as_ref() != Some(&news) {
                let data = serde_json::to_string(&news).unwrap_or_default();
                let frame = format!("event: waitlist\nid: {told}\ndata: {data}\n\n");
                to.extend_from_slice(frame.as_bytes());
                watched.told = Some(news);
            }
        }
    }
}
