//! A running server: wires its parts, starts them in order and stops them in order.
//!
//! Promise: when [`Server::run`] returns after a stop, every in-flight request was answered, every
//! stream has ended, and everything that was answered is in the log. Limit: requests that are not
//! done [`GRACE`] after the drain delay are cut off, and so is the rest [`REST`] later, so that a
//! silent database does not hold a stop up.

mod http;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use api::app::{App, Parts};
use api::base_path;
use api::brand::{Brand, ThemeError};
use api::connections::AddressLimit;
use api::keys::Keys;
use api::lateness::ReleaseLateness;
use api::limiter::Limiter;
use api::metrics::{MeasuredLog, Metrics, scrape};
use api::notifications::{self, NotificationHub, NotificationShard};
use api::pages::ShopPages;
use api::pages::catalogue_facts::CatalogueFacts;
use api::pages::templates::Templates;
use api::refused::Refused;
use api::router::router;
use api::session::Sessions;
use api::starting::Step;
use api::stopped::StoppedTasks;
use api::stream::{self, StreamHub, StreamShard};
use catalogue::Catalogue;
use catalogue::drops::DropsOf;
use catalogue::notifications::Notifications;
use database::{Database, DatabaseError};
use domain::values::Position;
use engine::{
    Clock as _, EngineConfig, EngineError, EngineHandle, EnginePanicked, EngineThread,
    LatePayments, Observer, RandomIds, SystemClock,
};
use infrastructure::error::LogError;
use infrastructure::feed::Feed;
use infrastructure::log::postgres::{CannotAppend, PostgresLog};
use infrastructure::log::{EventLog as _, Head};
use payments::{Demo, Secret, Stripe};
use projections::live_stock::LiveStock;
use projections::runner::{Progress, Runner};
use projections::sales_timeline::SalesTimeline;
use projections::table::Table;
use projections::top_purchasers::TopPurchasers;
use projections::views::Views;
use push::service::Push;
use push::vapid::Vapid;
use settlement::store::Store;
use settlement::{Providers, Settlement};
use sqlx::PgPool;
use telemetry::Exporter;
use tokens::buyers::BuyerTokens;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use webhooks::notices::Notices;
use webhooks::service::Webhooks;

use self::http::{Http, exemptions};
use crate::config::buyers::{buyer_tokens, demo_sign_in, load_key_set};
use crate::config::push::VapidError;
use crate::config::{
    ConfigError, LatePaymentsSetting, Settings, is_demo_offered, load_keys, mounted_at, stripe,
};
use crate::tasks::{Task, Tasks};

/// How long a stopping server waits for in-flight requests.
pub const GRACE: Duration = Duration::from_secs(5);
/// How long everything behind the HTTP side may take to stop.
pub const REST: Duration = Duration::from_secs(3);
/// The part of [`REST`] in which the engine and then the background tasks must end; what is left
/// is for the database.
const REST_OF_TASKS: Duration = Duration::from_millis(1_500);
/// How long the database may take to end the sessions of appends.
const END_SESSIONS: Duration = Duration::from_millis(500);

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
    /// Each connection is an open file.
    #[error(
        "the system permits {files} open files, and a server needs {fewest} or more: raise the \
         limit (ulimit -n; LimitNOFILE= of a systemd unit)"
    )]
    OpenFiles { files: u64, fewest: u64 },
    /// A signal arrived during the start.
    #[error("interrupted before the server had started")]
    Stopped,
    #[error(transparent)]
    Vapid(#[from] VapidError),
    #[error("cannot read the event log")]
    Load(#[source] LogError),
    /// The database accepts no appends, or the log has no head.
    #[error(transparent)]
    CannotAppend(#[from] CannotAppend),
    /// The log violates its invariants.
    #[error("the event log is refused: run `holdfast log check`, and see docs/LOG_REFUSED.md")]
    Refused(#[source] LogError),
    /// The engine stopped because continuing could do harm.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A task that clients depend on panicked: it has a defect.
    #[error("the background task \"{0}\" failed")]
    Task(&'static str),
    /// The engine panicked: it cannot apply an event, or it has a defect.
    #[error("the engine failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot start the engine's thread")]
    Thread(#[source] std::io::Error),
}

/// A server that accepts requests.
#[derive(Debug)]
pub struct Server {
    http: Http,
    core: Core,
    /// How long it goes on serving after it has become unready.
    drain: Duration,
}

/// Everything behind the HTTP side.
#[derive(Debug)]
struct Core {
    database: Database,
    /// Ends the engine and the projections, after the HTTP side.
    stopping: CancellationToken,
    engine: EngineThread,
    appended: PostgresLog,
    tasks: Tasks,
}

/// Everything that follows from the settings alone: the keys and tokens of clients, payments and
/// pushes, and the brand with its pages.
struct Access {
    keys: Keys,
    buyer_tokens: Option<BuyerTokens>,
    stripe: Option<Stripe>,
    vapid: Option<Vapid>,
    brand: Brand,
    templates: Templates,
    exporter: Option<Exporter>,
}

impl Server {
    /// Starts everything, and returns once the application serves requests; until then it responds
    /// as [`api::starting`] describes. To read a long log, or to wait for a synchronous standby,
    /// may take minutes, so `stop` interrupts the start.
    ///
    /// # Errors
    /// [`ServerError`]; everything that was started has been stopped by then.
    pub async fn start(settings: &Settings, stop: &CancellationToken) -> Result<Self, ServerError> {
        let brand = settings.brand.load(&settings.database.data_dir)?;
        let mounted = mounted_at(settings.edge.base_path.as_ref(), &brand.path())?;
        base_path::set(mounted);
        api::pages::render(shop_pages(settings));
        let templates = Templates::new(&brand).map_err(|error| ServerError::Pages(error.into()))?;
        let keys = load_keys(&settings.keys, &settings.database.data_dir, settings.listen)?;
        let buyer_tokens = buyer_tokens(settings).map_err(ConfigError::Buyers)?;
        if let Some(tokens) = &buyer_tokens {
            load_key_set(tokens).await.map_err(ConfigError::Buyers)?;
        }
        let stripe = stripe(&settings.payments)?;
        let vapid = settings.push.given_key()?;
        let exporter = exporter(settings)?;
        let mut http = Http::start(settings)?;
        let access = Access {
            keys,
            buyer_tokens,
            stripe,
            vapid,
            brand,
            templates,
            exporter,
        };
        match Core::start(settings, access, &http, stop).await {
            Ok(core) => Ok(Self {
                http,
                core,
                drain: Duration::from_secs(settings.drain_seconds.into()),
            }),
            Err(error) => {
                http.stop().await;
                Err(error)
            }
        }
    }

    /// The address it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.http.address
    }

    /// Describes the database for people.
    #[must_use]
    pub fn database(&self) -> String {
        self.core.database.describe()
    }

    /// Runs until `stop`, then drains in-flight requests and stops everything in order.
    ///
    /// # Errors
    /// [`ServerError`] when the engine, or a task that clients depend on, ended unexpectedly.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ServerError> {
        let (mut engine, mut task) = (None, None);
        let site = self.http.site.clone();
        let drained = async {
            stop.cancelled().await;
            site.become_unready();
            if !self.drain.is_zero() {
                info!(
                    "not ready any more: serving for {:?} until proxies notice",
                    self.drain
                );
                sleep(self.drain).await;
            }
            info!("refusing new commands, ending streams, completing requests in flight");
        };
        tokio::select! {
            () = drained => {}
            ended = self.core.engine.ended() => engine = Some(ended),
            name = self.core.tasks.essential_panicked() => task = Some(name),
            () = self.http.ended() => task = Some("HTTP"),
        }
        self.http.stop().await;
        info!("stopping the engine, the background tasks and the database");
        let engine = self.core.stop(engine).await;
        match (engine, task) {
            (Some(Err(panic)), _) => Err(ServerError::Failed(panic.into())),
            (Some(Ok(Err(error))), _) => Err(error.into()),
            (_, Some(task)) => Err(ServerError::Task(task)),
            (Some(Ok(Ok(()))) | None, None) => Ok(()),
        }
    }
}

/// How the engine's thread ended.
type EngineEnded = Result<Result<(), EngineError>, EnginePanicked>;

impl Core {
    /// Opens the database, reads the event log, starts everything and opens the site of `http`.
    async fn start(
        settings: &Settings,
        access: Access,
        http: &Http,
        stop: &CancellationToken,
    ) -> Result<Self, ServerError> {
        let Access {
            keys,
            buyer_tokens,
            stripe,
            vapid,
            brand,
            templates,
            exporter,
        } = access;
        let database = tokio::select! {
            opened = Database::open(&settings.database) => opened?,
            () = stop.cancelled() => return Err(ServerError::Stopped),
        };
        // Not before: a start that fails for its settings prints its reason alone.
        info!(
            "listening on {}, opened {}; reading the event log",
            http.address,
            database.describe()
        );
        let database = database.requiring(settings.require_sync);
        let log = PostgresLog::new(database.pool.clone());
        let engine_pool = database.engine_pool().await?;
        let appended = PostgresLog::new(engine_pool.clone());
        let key_secret = log.secret().await.map_err(ServerError::Load)?;
        let stopping = CancellationToken::new();

        let (observers, shards, notification_shards) = Observers::open(settings);
        observers.metrics.watch_pool("reads", &database.pool);
        observers.metrics.watch_pool("engine", &engine_pool);
        let engine_log = MeasuredLog::new(appended.clone(), observers.metrics.appends());
        let loading = engine::load(
            engine_log,
            SystemClock,
            RandomIds::from_os(),
            observers.as_one(),
            engine_config(settings),
            stopping.clone(),
        );
        let loading = async {
            let begin = |head| {
                let views = observers.views.clone();
                http.site.begin(Step::Log { views, head });
            };
            if let Ok(head) = log.head().await {
                begin(head.position);
            }
            let head = prove_append(&appended, &log).await?.position;
            begin(head);
            tokio::select! {
                loaded = loading => loaded.map_err(not_loaded),
                never = report(&observers.views, head) => match never {},
            }
        };
        let (engine, handle) = loaded(loading, &appended, stop).await?;
        info!(
            position = observers.views.position().0,
            "read the event log up to position {}",
            observers.views.position()
        );
        observers.hub.follow_clock(handle.clone());
        let stopped = StoppedTasks::default();
        let mut followers =
            Followers::start(&observers, &database, &log, &stopping, stopped.clone());
        followers.stream(shards, notification_shards, settings, http);
        let webhooks = followers.dispatch(settings, &observers, &database, &log, &stopping);
        let store = Store::new(PgPool::clone(&database.pool));
        let seed = store.demo_seed().await.map_err(unreadable)?;
        let providers = providers(settings, stripe, seed, &handle);
        let settlement = Settlement::new(store, providers, handle.clone());
        followers.settle(&settlement, &observers, &log, &stopping);
        if let Some(keys) = buyer_tokens.as_ref().and_then(|tokens| tokens.keys.clone()) {
            let current = keys.keep_current(stopping.clone());
            followers
                .tasks
                .spawn(Task::optional("keys of buyers' tokens"), current);
        }

        let catalogue = followers.announce(&observers, &database, &stopping);
        let vapid = match vapid {
            Some(vapid) => vapid,
            None => {
                let store = push::store::Store::new(PgPool::clone(&database.pool));
                settings.push.kept_key(&store).await?
            }
        };
        let push = followers.push(settings, vapid, &observers, &database, &stopping);
        let app = App::new(Parts {
            engine: handle,
            views: observers.views,
            log,
            hub: observers.hub,
            streams: AddressLimit::of_streams(
                settings.edge.max_streams_per_address,
                exemptions(settings),
            ),
            sessions: Sessions::new(&keys.admins, &key_secret),
            keys,
            key_secret,
            buyer_tokens,
            sign_in_url: settings.buyers.sign_in_url.clone(),
            demo_sign_in: demo_sign_in(&settings.buyers),
            projections: followers.projections,
            stopped,
            refused: followers.refused,
            webhooks,
            settlement,
            catalogue,
            push,
            notification_hub: observers.notification_hub,
            metrics: observers.metrics,
            limiter: observers.limiter,
            lateness: observers.lateness,
            brand,
            templates,
            facts: CatalogueFacts::default(),
            stop: http.ending.clone(),
        });
        let engine = EngineThread::start(engine).map_err(ServerError::Thread)?;
        if let Some(exporter) = exporter {
            let measured = app.clone();
            let running = exporter.run(move || scrape::families(&measured), stopping.clone());
            let task = Task::optional("telemetry");
            followers.tasks.spawn(task, running);
        }
        http.site.open(router(app));
        info!("started: every request is served");
        Ok(Self {
            database,
            engine,
            appended,
            stopping,
            tasks: followers.tasks,
        })
    }

    /// Stops the engine, unless it has ended already, and everything that follows it, within
    /// [`REST`].
    async fn stop(mut self, ended: Option<EngineEnded>) -> Option<EngineEnded> {
        let began = Instant::now();
        self.stopping.cancel();
        let ended = match ended {
            Some(ended) => Some(ended),
            None => self.stop_engine(began + REST_OF_TASKS).await,
        };
        let tasks = timeout_at(began + REST_OF_TASKS, self.tasks.join_all()).await;
        if tasks.is_err() {
            warn!(
                "a background task did not stop in time; it resumes from its checkpoint at the next start"
            );
        }
        let closed = timeout_at(began + REST, self.database.close()).await;
        if closed.is_err() {
            warn!("the database did not close its connections in time");
        }
        ended
    }

    async fn stop_engine(&mut self, deadline: Instant) -> Option<EngineEnded> {
        let ended = timeout_at(deadline, self.engine.ended()).await.ok();
        if ended.is_none() {
            warn!(
                "the event log did not respond in time; the outcome of in-flight appends is known at the next start"
            );
            let _silent = timeout(END_SESSIONS, self.appended.end_sessions()).await;
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
                    (self.lateness.clone(), self.metrics.observer()),
                ),
            ),
        )
    }
}

/// The tasks that follow the engine, and the parts that the API reads.
struct Followers {
    tasks: Tasks,
    projections: Watched,
    refused: Refused,
}

impl Followers {
    fn start(
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
    fn stream(
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
        self.tasks.spawn(Task::optional("webhooks"), running);
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
        let sending = hub.run(store.clone(), stopping.clone());
        self.tasks.spawn(Task::essential("notifications"), sending);
        let cleaning = store.clean_up(stopping.clone());
        self.tasks
            .spawn(Task::optional("clean-up of the catalogue"), cleaning);
        catalogue
    }

    /// Starts the worker of Web Push.
    fn push(
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
    fn settle(
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

/// Switches telemetry on, if there is a collector: that of the settings, or of the variable that
/// OpenTelemetry has for it, unless `OTEL_SDK_DISABLED` is true.
fn exporter(settings: &Settings) -> Result<Option<Exporter>, ConfigError> {
    let standard = || {
        let is_disabled = std::env::var("OTEL_SDK_DISABLED");
        let is_disabled = is_disabled.is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        let url = std::env::var(OTLP_VARIABLE).ok();
        url.filter(|url| !url.is_empty() && !is_disabled)
    };
    let endpoint = match (&settings.otlp_endpoint, standard()) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, Some(url)) => url.parse().map_err(ConfigError::OtlpVariable)?,
        (None, None) => return Ok(None),
    };
    Exporter::new(endpoint).map_err(ConfigError::Exporter)
}

/// The variable of OpenTelemetry that names the collector.
const OTLP_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The settings that the pages of the shop know.
fn shop_pages(settings: &Settings) -> ShopPages {
    let buyers = &settings.buyers;
    ShopPages {
        needs_token: !buyers.are_believed(),
        sign_in_url: buyers.sign_in_url.clone(),
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

/// Time between two reports of the progress of a start.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Logs the progress of reading the event log up to `head`.
async fn report(views: &Views, head: Position) -> Infallible {
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        let position = views.position();
        info!(
            position = position.0,
            head = head.0,
            "reading the event log: position {position} of {head}"
        );
    }
}

fn not_loaded(error: LogError) -> ServerError {
    match error {
        corrupt @ LogError::Corrupt { .. } => ServerError::Refused(corrupt),
        unavailable @ LogError::Unavailable(_) => ServerError::Load(unavailable),
    }
}

/// Between two attempts to prove at a start that the log can be appended to.
const PROVE_AGAIN: Duration = Duration::from_secs(1);

/// Returns once the session that appends is open and may append. Waits while the database is
/// temporarily unable to respond, for example while its tables are locked.
async fn prove_append(appended: &PostgresLog, log: &PostgresLog) -> Result<Head, ServerError> {
    let mut has_waited = false;
    loop {
        let proven = match appended.prove_append().await {
            // The head is read only while the standbys that are required are attached.
            Ok(()) => log.head().await.map_err(CannotAppend::Log),
            Err(error) => Err(error),
        };
        match proven {
            Err(CannotAppend::Log(error)) if error.is_away() => {
                let error = &error as &dyn std::error::Error;
                if !std::mem::replace(&mut has_waited, true) {
                    warn!(
                        error,
                        "waiting to start: the session that appends cannot be opened"
                    );
                }
                tokio::time::sleep(PROVE_AGAIN).await;
            }
            proven => return Ok(proven?),
        }
    }
}

/// Returns what `loading` loads from the log, unless `stop` interrupts it.
async fn loaded<T>(
    loading: impl Future<Output = Result<T, ServerError>>,
    appended: &PostgresLog,
    stop: &CancellationToken,
) -> Result<T, ServerError> {
    tokio::select! {
        loaded = loading => loaded,
        () = stop.cancelled() => {
            // A commit that waits for a standby would stay on the database server, one for each
            // start.
            appended.end_sessions().await;
            Err(ServerError::Stopped)
        }
    }
}

/// Half as many shards as processors: serving streams must leave capacity for sales, and stream
/// clients on the same machine must keep up.
fn stream_shard_count() -> usize {
    let processors = std::thread::available_parallelism();
    processors.map_or(1, |processors| processors.get().div_ceil(2))
}

type Watched = Vec<(&'static str, watch::Receiver<Progress>)>;

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
