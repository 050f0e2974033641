//! Everything that follows the engine's events in memory, in one order.

use api::lateness::ReleaseLateness;
use api::limiter::Limiter;
use api::metrics::Metrics;
use api::notifications::{self, NotificationHub, NotificationShard};
use api::stream::{self, StreamHub, StreamShard};
use catalogue::drops::DropsOf;
use catalogue::notifications::Notifications;
use engine::Observer;
use infrastructure::feed::Feed;
use infrastructure::head_keeper::HeadKeeper;
use infrastructure::kept_heads::file_in;
use projections::views::Views;
use webhooks::notices::Notices;

use crate::config::Settings;

/// Everything that follows the engine's events in memory.
pub(super) struct Observers {
    pub(super) feed: Feed,
    /// Before the feed, whose followers look events up here.
    pub(super) notices: Notices,
    pub(super) limiter: Limiter,
    pub(super) views: Views,
    pub(super) hub: StreamHub,
    pub(super) drops_of: DropsOf,
    /// After the notices, and before the views, whose position is that of fresh reads.
    pub(super) notifications: Notifications,
    /// After the views, in which it looks buyers up.
    pub(super) notification_hub: NotificationHub,
    pub(super) lateness: ReleaseLateness,
    pub(super) metrics: Metrics,
    pub(super) head_keeper: HeadKeeper,
}

impl Observers {
    /// Returns them with the shards of the stream, which do not run yet.
    pub(super) fn open(settings: &Settings) -> (Self, Vec<StreamShard>, Vec<NotificationShard>) {
        let views = Views::default();
        let (hub, shards) = stream::open(&views, settings.max_watchers, stream_shard_count());
        let notices = Notices::default();
        let notifications = Notifications::new(notices.clone());
        let (notification_hub, notification_shards) =
            notifications::open(&notifications, &views, stream_shard_count());
        let observers = Self {
            feed: Feed::default(),
            notices,
            limiter: settings.edge.limiter(),
            views,
            hub,
            drops_of: DropsOf::default(),
            notifications,
            notification_hub,
            lateness: ReleaseLateness::default(),
            metrics: Metrics::default(),
            head_keeper: HeadKeeper::new(file_in(&settings.database.data_dir)),
        };
        (observers, shards, notification_shards)
    }

    /// Returns one observer for all, which passes events on in this order.
    pub(super) fn as_one(&self) -> impl Observer + use<> {
        (
            (
                (self.notices.clone(), self.feed.clone()),
                (
                    self.limiter.clone(),
                    (self.drops_of.clone(), self.notifications.clone()),
                ),
            ),
            (
                self.views.clone(),
                (
                    (self.hub.clone(), self.notification_hub.clone()),
                    (
                        self.lateness.clone(),
                        (self.metrics.observer(), self.head_keeper.clone()),
                    ),
                ),
            ),
        )
    }
}

/// Half as many shards as processors: serving streams must leave capacity for sales, and stream
/// clients on the same machine must keep up.
fn stream_shard_count() -> usize {
    let processors = std::thread::available_parallelism();
    processors.map_or(1, |processors| processors.get().div_ceil(2))
}
