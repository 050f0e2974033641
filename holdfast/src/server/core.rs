//! Everything behind the HTTP side: how it starts and how it stops.

use std::time::Duration;

use api::app::{App, Parts};
use api::connections::AddressLimit;
use api::metrics::{MeasuredLog, scrape};
use api::pages::catalogue_facts::CatalogueFacts;
use api::router::router;
use api::session::Sessions;
use api::starting::Step;
use api::stopped::StoppedTasks;
use database::Database;
use engine::{
    Clock as _, EngineConfig, EngineError, EngineHandle, EnginePanicked, EngineThread,
    LatePayments, RandomIds, SystemClock,
};
use infrastructure::head_keeper::HeadKeeper;
use infrastructure::log::EventLog as _;
use infrastructure::log::postgres::PostgresLog;
use payments::{Demo, Secret, Stripe};
use settlement::store::Store;
use settlement::{Providers, Settlement};
use sqlx::PgPool;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::access::Access;
use super::error::{ServerError, not_loaded, unless_stopped, unreadable};
use super::followers::Followers;
use super::http::{Http, exemptions};
use super::load::{loaded, prove_append, report};
use super::observers::Observers;
use super::{END_SESSIONS, REST, REST_OF_TASKS};
use crate::config::buyers::demo_sign_in;
use crate::config::{LatePaymentsSetting, Settings, is_demo_offered};
use crate::known_head;
use crate::tasks::{Task, Tasks};

/// Everything behind the HTTP side.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) database: Database,
    /// Ends the engine and the projections, after the HTTP side.
    stopping: CancellationToken,
    pub(super) engine: EngineThread,
    appended: PostgresLog,
    pub(super) tasks: Tasks,
    head_keeper: HeadKeeper,
}

/// How the engine's thread ended.
pub(super) type EngineEnded = Result<Result<(), EngineError>, EnginePanicked>;

impl Core {
    /// Opens the database, reads the event log, starts everything and opens the site of `http`.
    ///
    /// # Errors
    /// [`ServerError`]; the database is closed by then.
    pub(super) async fn start(
        settings: &Settings,
        access: Access,
        http: &Http,
        stop: &CancellationToken,
    ) -> Result<Self, ServerError> {
        let database = Database::open(&settings.database, stop).await?;
        // Not before: a start that fails for its settings prints its reason alone.
        info!(
            "listening on {}, opened {}; reading the event log",
            http.address,
            database.describe()
        );
        let database = database.requiring(settings.require_sync);
        let stopping = CancellationToken::new();
        let started = Started::on(&database, settings, access, http, &stopping, stop).await;
        match started {
            Ok(Started {
                engine,
                appended,
                tasks,
                head_keeper,
            }) => Ok(Self {
                database,
                stopping,
                engine,
                appended,
                tasks,
                head_keeper,
            }),
            Err(error) => {
                stopping.cancel();
                // A silent database must not hold the end up.
                let _closed = timeout(REST, database.close()).await;
                Err(error)
            }
        }
    }

    /// Stops the engine, unless it has ended already, and everything that follows it, within
    /// [`REST`].
    pub(super) async fn stop(mut self, ended: Option<EngineEnded>) -> Option<EngineEnded> {
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
        // After the last append.
        let keeping = self.head_keeper.keep_last(&self.appended);
        if timeout_at(began + REST_OF_TASKS, keeping).await.is_err() {
            warn!("the last head of the event log was not written to the data directory in time");
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

/// What was started on a database.
struct Started {
    engine: EngineThread,
    appended: PostgresLog,
    tasks: Tasks,
    head_keeper: HeadKeeper,
}

impl Started {
    async fn on(
        database: &Database,
        settings: &Settings,
        access: Access,
        http: &Http,
        stopping: &CancellationToken,
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
        let log = PostgresLog::new(database.pool.clone());
        let engine_pool = unless_stopped(stop, database.engine_pool()).await?;
        let appended = PostgresLog::new(engine_pool.clone());
        let secret = async { log.secret().await.map_err(ServerError::Load) };
        let key_secret = unless_stopped(stop, secret).await?;

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
            let data_dir = &settings.database.data_dir;
            known_head::compare(&log, data_dir, &observers.head_keeper).await?;
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
        let mut followers = Followers::start(&observers, database, &log, stopping, stopped.clone());
        followers.stream(shards, notification_shards, settings, http);
        let head_keeper = observers.head_keeper.clone();
        followers.tasks.spawn(
            Task::optional("head outside the database"),
            head_keeper.clone().run(log.clone(), stopping.clone()),
        );
        let webhooks = followers.dispatch(settings, &observers, database, &log, stopping);
        let store = Store::new(PgPool::clone(&database.pool));
        let seed = async { store.demo_seed().await.map_err(unreadable) };
        let seed = unless_stopped(stop, seed).await?;
        let providers = providers(settings, stripe, seed, &handle);
        let settlement = Settlement::new(store, providers, handle.clone());
        followers.settle(&settlement, &observers, &log, stopping);
        if let Some(keys) = buyer_tokens.as_ref().and_then(|tokens| tokens.keys.clone()) {
            let current = keys.keep_current(stopping.clone());
            followers
                .tasks
                .spawn(Task::optional("keys of buyers' tokens"), current);
        }

        let catalogue = followers.announce(&observers, database, stopping);
        let vapid = match vapid {
            Some(vapid) => vapid,
            None => {
                let store = push::store::Store::new(PgPool::clone(&database.pool));
                unless_stopped(stop, settings.push.kept_key(&store)).await?
            }
        };
        let push = followers.push(settings, vapid, &observers, database, stopping);
        let app = App::new(Parts {
            engine: handle,
            views: observers.views,
            log,
            head_keeper: head_keeper.clone(),
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
            followers.tasks.spawn(Task::optional("telemetry"), running);
        }
        http.site.open(router(app));
        info!("started: every request is served");
        Ok(Self {
            engine,
            appended,
            tasks: followers.tasks,
            head_keeper,
        })
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

fn engine_config(settings: &Settings) -> EngineConfig {
    EngineConfig {
        queue: settings.queue as usize,
        max_waitlist: settings.max_waitlist,
        max_clock_skew: Duration::from_millis(u64::from(settings.max_clock_skew_ms)),
        clock_hold_off: Duration::from_secs(settings.clock_hold_off_seconds.into()),
        late_payments: match settings.payments.late_payments {
            LatePaymentsSetting::Honour => LatePayments::Honour,
            LatePaymentsSetting::Refund => LatePayments::Refund,
        },
        ..EngineConfig::default()
    }
}
