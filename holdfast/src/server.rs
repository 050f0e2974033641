//! A running server: wires its parts, starts them in order and stops them in order.
//!
//! Promise: when [`Server::run`] returns after a stop, every in-flight request was answered, every
//! stream has ended, and everything that was answered is in the log. Limit: each step of the
//! shutdown takes at most [`GRACE`]; requests that are not done by then are cut off.

use std::net::SocketAddr;
use std::time::Duration;

use api::app::{App, Parts};
use api::brand::ThemeError;
use api::connections::{self, AddressLimit, Bounds, Exemptions, Timeouts};
use api::lateness::ReleaseLateness;
use api::limiter::Limiter;
use api::metrics::{MeasuredLog, Metrics};
use api::notifications::{self, NotificationHub, NotificationShard};
use api::pages::catalogue_facts::CatalogueFacts;
use api::pages::templates::Templates;
use api::refused::Refused;
use api::router::router;
use api::session::Sessions;
use api::stream::{self, StreamHub, StreamShard};
use catalogue::Catalogue;
use catalogue::drops::DropsOf;
use catalogue::notifications::Notifications;
use database::{Database, DatabaseError};
use engine::{
    Clock as _, EngineConfig, EngineError, EngineHandle, EnginePanicked, EngineThread,
    LatePayments, Observer, RandomIds, SystemClock,
};
use infrastructure::error::LogError;
use infrastructure::feed::Feed;
use infrastructure::log::postgres::PostgresLog;
use payments::{Demo, Secret, Stripe};
use projections::live_stock::LiveStock;
use projections::runner::{Progress, Runner};
use projections::sales_timeline::SalesTimeline;
use projections::table::Table;
use projections::top_purchasers::TopPurchasers;
use projections::views::Views;
use settlement::store::Store;
use settlement::{Providers, Settlement};
use sqlx::PgPool;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use webhooks::notices::Notices;
use webhooks::service::Webhooks;

use crate::config::{
    ConfigError, LatePaymentsSetting, Settings, buyer_tokens, is_demo_offered, load_key_set,
    load_keys, stripe,
};

/// How long a stopping server waits for in-flight requests.
pub const GRACE: Duration = Duration::from_secs(5);

/// Why a server did not start, or stopped without a request to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The theme has a fault.
    #[error(transparent)]
    Theme(#[from] ThemeError),
    #[error("cannot render the pages")]
    Pages(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The address is in use, or does not belong to this machine.
    #[error("cannot listen on {address} (--listen chooses another; port 0 picks a free one)")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// A signal arrived during the start.
    #[error("interrupted before the server had started")]
    Stopped,
    #[error("cannot read the event log")]
    Load(#[source] LogError),
    /// The log violates its invariants.
    #[error("the event log is refused: run `holdfast log check`, and see docs/LOG_REFUSED.md")]
    Refused(#[source] LogError),
    /// The engine stopped because continuing could do harm.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine panicked: it cannot apply an event, or it has a defect.
    #[error("the engine failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot start the engine's thread")]
    Thread(#[source] std::io::Error),
}

/// A server that accepts requests.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    database: Database,
    /// Ends the HTTP side: it accepts no new connections, and streams end.
    closing: CancellationToken,
    /// Ends the engine and the projections, after the HTTP side.
    stopping: CancellationToken,
    http: JoinHandle<()>,
    engine: EngineThread,
    appended: PostgresLog,
    followers: JoinSet<()>,
}

impl Server {
    /// Starts everything, and returns once requests are served. Waiting for a synchronous standby
    /// can take long, so `stop` interrupts the start.
    ///
    /// # Errors
    /// [`ServerError`]; everything that was started has been stopped by then.
    pub async fn start(settings: &Settings, stop: &CancellationToken) -> Result<Self, ServerError> {
        api::pages::render();
        let brand = settings.brand.load(&settings.database.data_dir)?;
        let templates = Templates::new(&brand).map_err(|error| ServerError::Pages(error.into()))?;
        let keys = load_keys(&settings.keys, &settings.database.data_dir, settings.listen)?;
        let buyer_tokens = buyer_tokens(settings)?;
        if let Some(tokens) = &buyer_tokens {
            load_key_set(tokens).await?;
        }
        let stripe = stripe(&settings.payments)?;
        let bounds = bounds(settings);
        let (listener, address) = listen(settings.listen, bounds.timeouts.idle)?;
        let database = tokio::select! {
            opened = Database::open(&settings.database) => opened?,
            () = stop.cancelled() => return Err(ServerError::Stopped),
        };
        let log = PostgresLog::new(database.pool.clone());
        let appended = PostgresLog::new(database.engine_pool().await?);
        let key_secret = log.secret().await.map_err(ServerError::Load)?;
        let (closing, stopping) = (CancellationToken::new(), CancellationToken::new());

        let (observers, shards, notification_shards) = Observers::open(settings);
        let engine_log = MeasuredLog::new(appended.clone(), observers.metrics.appends());
        let loading = engine::load(
            engine_log,
            SystemClock,
            RandomIds::from_os(),
            observers.as_one(),
            engine_config(settings),
            stopping.clone(),
        );
        let (engine, handle) = loaded(loading, &appended, stop).await?;
        info!(
            position = observers.views.position().0,
            "read the event log up to position {}",
            observers.views.position()
        );
        observers.hub.follow_clock(handle.clone());
        let streams = run_shards(shards, settings, &closing);
        let mut followers = Followers::start(&observers, &database, &log, &stopping);
        let webhooks = followers.dispatch(settings, &observers, &database, &log, &stopping);
        let store = Store::new(PgPool::clone(&database.pool));
        let seed = store.demo_seed().await.map_err(unreadable)?;
        let providers = providers(settings, stripe, seed, &handle);
        let settlement = Settlement::new(store, providers, handle.clone());
        followers.settle(&settlement, &observers, &log, &stopping);
        if let Some(keys) = buyer_tokens.as_ref().and_then(|tokens| tokens.keys.clone()) {
            followers.tasks.spawn(keys.keep_current(stopping.clone()));
        }

        let catalogue = followers.announce(&observers, &database, &stopping);
        for shard in notification_shards {
            streams.spawn(shard.run(closing.clone()));
        }

        let app = App::new(Parts {
            engine: handle,
            views: observers.views,
            log,
            hub: observers.hub,
            streams: AddressLimit::of_streams(
                settings.edge.max_streams_per_address,
                exemptions(settings),
            ),
            sessions: Sessions::new(&keys.admin, &key_secret),
            keys,
            key_secret,
            buyer_tokens,
            projections: followers.projections,
            refused: followers.refused,
            webhooks,
            settlement,
            catalogue,
            notification_hub: observers.notification_hub,
            metrics: observers.metrics,
            limiter: observers.limiter,
            lateness: observers.lateness,
            brand,
            templates,
            facts: CatalogueFacts::default(),
            stop: closing.clone(),
        });
        Ok(Self {
            address,
            database,
            http: tokio::spawn(serve(listener, app, bounds, streams, closing.clone())),
            engine: EngineThread::start(engine).map_err(ServerError::Thread)?,
            appended,
            closing,
            stopping,
            followers: followers.tasks,
        })
    }

    /// The address it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Describes the database for people.
    #[must_use]
    pub fn database(&self) -> String {
        self.database.describe()
    }

    /// Runs until `stop`, then drains in-flight requests and stops everything in order.
    ///
    /// # Errors
    /// [`ServerError`] when the engine stopped without being stopped.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ServerError> {
        let ended = tokio::select! {
            () = stop.cancelled() => None,
            ended = self.engine.ended() => Some(ended),
        };
        self.stop_serving().await;
        self.stopping.cancel();
        let ended = match ended {
            Some(ended) => Some(ended),
            None => self.stop_engine().await,
        };
        if timeout(GRACE, self.followers.join_all()).await.is_err() {
            warn!(
                "a projection did not stop in time; it resumes from its checkpoint at the next start"
            );
        }
        if timeout(GRACE, self.database.close()).await.is_err() {
            warn!("the database did not close its connections in time");
        }
        match ended {
            Some(Ok(outcome)) => Ok(outcome?),
            Some(Err(panic)) => Err(ServerError::Failed(panic.into())),
            None => Ok(()),
        }
    }

    async fn stop_serving(&mut self) {
        self.closing.cancel();
        if timeout(GRACE, &mut self.http).await.is_err() {
            warn!("some requests did not finish in time and are cut off");
            self.http.abort();
        }
    }

    async fn stop_engine(&mut self) -> Option<Result<Result<(), EngineError>, EnginePanicked>> {
        let ended = timeout(GRACE, self.engine.ended()).await.ok();
        if ended.is_none() {
            warn!(
                "the event log did not respond in time; the outcome of in-flight appends is known at the next start"
            );
            self.appended.end_sessions().await;
        }
        ended
    }
}

/// Everything that follows the engine's events in memory.
struct Observers {
    feed: Feed,
    /// Before the feed, whose followers look events up here.
    notices: Notices,
    limiter: Limiter,
    views: Views,
    hub: StreamHub,
    drops_of: DropsOf,
    /// After the notices, and before the views, whose position is that of fresh reads.
    notifications: Notifications,
    /// After the views, in which it looks buyers up.
    notification_hub: NotificationHub,
    lateness: ReleaseLateness,
    metrics: Metrics,
}

impl Observers {
    /// Returns them with the shards of the stream, which do not run yet.
    fn open(settings: &Settings) -> (Self, Vec<StreamShard>, Vec<NotificationShard>) {
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
        };
        (observers, shards, notification_shards)
    }

    /// Returns one observer for all, which passes events on in this order.
    fn as_one(&self) -> impl Observer + use<> {
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
                    (self.lateness.clone(), self.metrics.events()),
                ),
            ),
        )
    }
}

/// The tasks that follow the engine, and the parts that the API reads.
struct Followers {
    tasks: JoinSet<()>,
    projections: Watched,
    refused: Refused,
}

impl Followers {
    fn start(
        observers: &Observers,
        database: &Database,
        log: &PostgresLog,
        stopping: &CancellationToken,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let pool = PgPool::clone(&database.pool);
        let runner = Runner::new(pool.clone(), log.clone(), observers.feed.clone());
        let projections = run_projections(&runner, &mut tasks, stopping);
        let (hub, views) = (observers.hub.clone(), observers.views.clone());
        tasks.spawn(hub.publish(views, stopping.clone()));
        let refused = Refused::default();
        tasks.spawn(refused.clone().keep(pool, stopping.clone()));
        Self {
            tasks,
            projections,
            refused,
        }
    }

    /// Starts the dispatchers of webhooks.
    fn dispatch(
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
        self.tasks.spawn(running);
        webhooks
    }

    /// Starts what keeps the choices of buyers up to date and cleans up after deleted creators.
    fn announce(
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
        self.tasks.spawn(hub.run(store.clone(), stopping.clone()));
        self.tasks.spawn(store.clean_up(stopping.clone()));
        catalogue
    }

    /// Starts the worker of payments.
    fn settle(
        &mut self,
        settlement: &Settlement,
        observers: &Observers,
        log: &PostgresLog,
        stopping: &CancellationToken,
    ) {
        let (log, feed) = (log.clone(), observers.feed.clone());
        let running = settlement.clone().run(log, feed, stopping.clone());
        self.tasks.spawn(running);
    }
}

/// Returns the payment providers, and says which of them buyers may use.
fn providers(
    settings: &Settings,
    stripe: Option<Stripe>,
    seed: Secret,
    engine: &EngineHandle,
) -> Providers {
    let is_demo_offered = is_demo_offered(settings);
    if is_demo_offered {
        let advice = match settings.buyers.are_believed() {
            false => "any buyer can pay without money",
            true => "any client can pay without money, as it can purchase as any buyer",
        };
        info!("payments with the built-in demo are offered: {advice} (HOLDFAST_DEMO_PAYMENTS)");
    }
    if stripe.is_some() {
        info!("payments with Stripe are offered, by default");
    }
    let clock = engine.clone();
    let demo = Demo::new(seed, Box::new(move || clock.corrected(SystemClock.now())));
    Providers::new(stripe, demo, is_demo_offered)
}

fn unreadable(error: sqlx::Error) -> ServerError {
    ServerError::Load(LogError::Unavailable(error.into()))
}

fn engine_config(settings: &Settings) -> EngineConfig {
    EngineConfig {
        queue: settings.queue as usize,
        max_waitlist: settings.max_waitlist,
        max_clock_skew: Duration::from_millis(u64::from(settings.max_clock_skew_ms)),
        late_payments: match settings.payments.late_payments {
            LatePaymentsSetting::Honour => LatePayments::Honour,
            LatePaymentsSetting::Refund => LatePayments::Refund,
        },
        ..EngineConfig::default()
    }
}

/// Returns what `loading` loads from the log, unless `stop` interrupts it.
async fn loaded<T>(
    loading: impl Future<Output = Result<T, LogError>>,
    appended: &PostgresLog,
    stop: &CancellationToken,
) -> Result<T, ServerError> {
    tokio::select! {
        loaded = loading => loaded.map_err(|error| match error {
            corrupt @ LogError::Corrupt { .. } => ServerError::Refused(corrupt),
            unavailable @ LogError::Unavailable(_) => ServerError::Load(unavailable),
        }),
        () = stop.cancelled() => {
            // A commit that waits for a standby would stay on the database server, one for each
            // start.
            appended.end_sessions().await;
            Err(ServerError::Stopped)
        }
    }
}

fn run_shards(
    shards: Vec<StreamShard>,
    settings: &Settings,
    closing: &CancellationToken,
) -> TaskTracker {
    let interval = Duration::from_millis(u64::from(settings.stream_interval_ms));
    let streams = TaskTracker::new();
    for shard in shards {
        streams.spawn(shard.run(interval, closing.clone()));
    }
    streams
}

/// Connections that may wait to be accepted, because a stampede arrives all at the same moment. The
/// system caps it at its own limit (`net.core.somaxconn`).
const LISTEN_BACKLOG: u32 = 65_535;

/// Returns the listener and its address, which has a port even if `address` leaves the choice to
/// the system.
fn listen(address: SocketAddr, idle: Duration) -> Result<(TcpListener, SocketAddr), ServerError> {
    let listener = bind(address, idle).map_err(|source| ServerError::Listen { address, source })?;
    let address = listener.local_addr().unwrap_or(address);
    Ok((listener, address))
}

fn bind(address: SocketAddr, idle: Duration) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the previous run's connections to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    connections::limit_buffers(&socket, idle)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG)
}

/// Open files that are not client connections: the database's, and a reserve.
const OTHER_FILES: u64 = 256;

/// Returns the number of connections that the limit of open files permits, because every buyer and
/// every watcher is an open file. The program raises the limit when it starts.
fn connections_allowed() -> u32 {
    let files = rlimit::Resource::NOFILE.get_soft().unwrap_or(1024);
    u32::try_from(files.saturating_sub(OTHER_FILES).max(1)).unwrap_or(u32::MAX)
}

/// Half as many shards as processors: serving streams must leave capacity for sales, and stream
/// clients on the same machine must keep up.
fn stream_shard_count() -> usize {
    let processors = std::thread::available_parallelism();
    processors.map_or(1, |processors| processors.get().div_ceil(2))
}

fn exemptions(settings: &Settings) -> Exemptions {
    Exemptions {
        unlimited: settings.edge.unlimited_networks.clone(),
        trusted: settings.edge.trusted_proxies.clone(),
    }
}

fn bounds(settings: &Settings) -> Bounds {
    let of_address = settings.edge.max_connections_per_address;
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    Bounds {
        most: settings.max_connections.min(connections_allowed()) as usize,
        address_limit: AddressLimit::of_connections(of_address, exemptions(settings)),
        timeouts: Timeouts {
            head: seconds(settings.head_seconds),
            idle: seconds(settings.idle_seconds),
        },
        origins: settings.edge.cors_origins.clone(),
    }
}

/// Serves until `closing`, and returns when every request is answered and every stream has ended.
async fn serve(
    listener: TcpListener,
    app: App,
    bounds: Bounds,
    streams: TaskTracker,
    closing: CancellationToken,
) {
    // Limits per address need the peer's address.
    let with_peer = true;
    connections::serve(listener, router(app), with_peer, bounds, closing).await;
    streams.close();
    streams.wait().await;
}

type Watched = Vec<(&'static str, watch::Receiver<Progress>)>;

fn run_projections(
    runner: &Runner<PostgresLog>,
    followers: &mut JoinSet<()>,
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
    followers: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> (&'static str, watch::Receiver<Progress>) {
    let (sender, progress) = watch::channel(Progress::default());
    followers.spawn(runner.clone().run::<F>(sender, stop.clone()));
    (F::NAME, progress)
}
