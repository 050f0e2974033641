//! The tasks that follow the engine: projections, streams, webhooks, payments, notifications.

use std::time::Duration;

use api::notifications::NotificationShard;
use api::refused::Refused;
use api::stopped::StoppedTasks;
use api::stream::StreamShard;
use catalogue::Catalogue;
use database::Database;
use infrastructure::log::postgres::PostgresLog;
use projections::live_stock::LiveStock;
use projections::runner::{Progress, Runner};
use projections::sales_timeline::SalesTimeline;
use projections::table::Table;
use projections::top_purchasers::TopPurchasers;
use push::service::Push;
use push::vapid::Vapid;
use settlement::Settlement;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use webhooks::service::Webhooks;

use super::http::Http;
use super::observers::Observers;
use crate::config::Settings;
use crate::tasks::{Task, Tasks};

/// The tasks that follow the engine, and the parts that the API reads.
pub(super) struct Followers {
    pub(super) tasks: Tasks,
    pub(super) projections: Watched,
    pub(super) refused: Refused,
}

impl Followers {
    pub(super) fn start(
        observers: &Observers,
        database: &Database,
        log: &PostgresLog,
        stopping: &CancellationToken,
        stopped: StoppedTasks,
    ) -> Self {
        let mut tasks = Tasks::new(stopped);
        let pool = PgPool::clone(&database.pool);
        let runner = Runner::new(pool.clone(), log.clone(), observers.feed.clone());
        let projections = run_projections(&runner, &mut tasks, stopping);
        let (hub, views) = (observers.hub.clone(), observers.views.clone());
        let publish = hub.publish(views, stopping.clone());
        tasks.spawn(Task::essential("stream of drops"), publish);
        let refused = Refused::default();
        let keep = refused.clone().keep(pool, stopping.clone());
        tasks.spawn(Task::optional("counts of refusals"), keep);
        Self {
            tasks,
            projections,
            refused,
        }
    }

    /// Starts the shards of the streams, which end with the HTTP side.
    pub(super) fn stream(
        &mut self,
        shards: Vec<StreamShard>,
        notification_shards: Vec<NotificationShard>,
        settings: &Settings,
        http: &Http,
    ) {
        let (streams, ending) = (&http.streams, &http.ending);
        let interval = Duration::from_millis(u64::from(settings.stream_interval_ms));
        for shard in shards {
            let running = streams.track_future(shard.run(interval, ending.clone()));
            self.tasks
                .spawn(Task::essential("stream of drops"), running);
        }
        for shard in notification_shards {
            let running = streams.track_future(shard.run(ending.clone()));
            let task = Task::essential("stream of notifications");
            self.tasks.spawn(task, running);
        }
    }

    /// Starts the dispatchers of webhooks.
    pub(super) fn dispatch(
        &mut self,
        settings: &Settings,
        observers: &Observers,
        database: &Database,
        log: &PostgresLog,
        stopping: &CancellationToken,
    ) -> Webhooks {
        let settings = settings.webhooks.service();
        let webhooks = Webhooks::new(PgPool::clone(&database.pool), &settings);
        let (feed, notices) = (observers.feed.clone(), observers.notices.clone());
        let running = webhooks
            .clone()
            .run(settings, log.clone(), feed, notices, stopping.clone());
        self.tasks.spawn(Task::optional("webhooks"), running);
        webhooks
    }

    /// Starts what keeps the choices of buyers up to date and cleans up after deleted creators.
    pub(super) fn announce(
        &mut self,
        observers: &Observers,
        database: &Database,
        stopping: &CancellationToken,
    ) -> Catalogue {
        let pool = PgPool::clone(&database.pool);
        let (drops_of, notifications) = (&observers.drops_of, &observers.notifications);
        let catalogue = Catalogue::new(pool, drops_of.clone(), notifications.clone());
        let store = catalogue.store.clone();
        let hub = observers.notification_hub.clone();
        let sending = hub.run(store.clone(), stopping.clone());
        self.tasks.spawn(Task::essential("notifications"), sending);
        let cleaning = store.clean_up(stopping.clone());
        self.tasks
            .spawn(Task::optional("clean-up of the catalogue"), cleaning);
        catalogue
    }

    /// Starts the worker of Web Push.
    pub(super) fn push(
        &mut self,
        settings: &Settings,
        vapid: Vapid,
        observers: &Observers,
        database: &Database,
        stopping: &CancellationToken,
    ) -> Push {
        let push = Push::new(
            PgPool::clone(&database.pool),
            settings.push.service(),
            vapid,
            observers.notifications.clone(),
            observers.views.clone(),
        );
        let head = observers.notification_hub.watch();
        let running = push.clone().run(head, stopping.clone());
        self.tasks.spawn(Task::optional("web push"), running);
        push
    }

    /// Starts the worker of payments.
    pub(super) fn settle(
        &mut self,
        settlement: &Settlement,
        observers: &Observers,
        log: &PostgresLog,
        stopping: &CancellationToken,
    ) {
        let (log, feed) = (log.clone(), observers.feed.clone());
        let running = settlement.clone().run(log, feed, stopping.clone());
        self.tasks.spawn(Task::optional("payments"), running);
    }
}

/// The projections that run, and how far each is.
pub(super) type Watched = Vec<(&'static str, watch::Receiver<Progress>)>;

fn run_projections(
    runner: &Runner<PostgresLog>,
    followers: &mut Tasks,
    stop: &CancellationToken,
) -> Watched {
    vec![
        run_projection::<LiveStock>(runner, followers, stop),
        run_projection::<TopPurchasers>(runner, followers, stop),
        run_projection::<SalesTimeline>(runner, followers, stop),
    ]
}

fn run_projection<F: Table + Clone>(
    runner: &Runner<PostgresLog>,
    followers: &mut Tasks,
    stop: &CancellationToken,
) -> (&'static str, watch::Receiver<Progress>) {
    let (sender, progress) = watch::channel(Progress::default());
    let running = runner.clone().run::<F>(sender, stop.clone());
    followers.spawn(Task::optional(F::NAME), running);
    (F::NAME, progress)
}
