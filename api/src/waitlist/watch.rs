//! Places in line on the live stream: `?waitlist=ID,ID` adds an event `waitlist` whenever one of them has news.
//!
//! Promise: the present state of each place first, then every change that lasts longer than the stream's interval, the last
//! one always. Limit: no buyer is named, because a browser's stream carries no token; the id is the right to look.

use bytes::Bytes;
use domain::values::{DropId, WaitlistId};

use super::{PlaceNews, find};
use crate::app::App;
use crate::problem::Problem;

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
    /// The places that `ids` names, separated by commas.
    pub(crate) async fn named(app: &App, ids: Option<&str>) -> Result<Self, Problem> {
        let mut watched = vec![];
        for id in ids.into_iter().flat_map(|ids| ids.split(',')) {
            let Ok(entry_id) = id.trim().parse() else {
                return Err(super::no_such_place());
            };
            let place = find(app, entry_id).await?;
            watched.push(Watched {
                entry_id,
                drop_id: place.row.drop_id,
                told: None,
            });
        }
        Ok(Self(watched))
    }

    /// Whether any place is in this drop's line.
    pub(crate) fn are_about(&self, drop_id: DropId) -> bool {
        self.0.iter().any(|watched| watched.drop_id == drop_id)
    }

    /// A frame for each place that is not as it was told last.
    pub(crate) fn news(&mut self, app: &App) -> Vec<Bytes> {
        let now = app.now();
        // Before the state, so that the state is at least as new as the id says.
        let position = app.views.position();
        let mut frames = vec![];
        for watched in &mut self.0 {
            let Some(place) = app.views.place(watched.entry_id) else {
                continue;
            };
            let news = PlaceNews::of(app, &place, now);
            if watched.told.as_ref() != Some(&news) {
                let data = serde_json::to_string(&news).unwrap_or_default();
                let frame = format!("event: waitlist\nid: {position}\ndata: {data}\n\n");
                frames.push(Bytes::from(frame));
                watched.told = Some(news);
            }
        }
        frames
    }
}
