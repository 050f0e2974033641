//! Dispatches one endpoint for as long as this server has its lease.
//!
//! Promise: nothing is sent after the lease has ended by this machine's own time, so another server
//! takes over within seconds. Progress is stored at most [`SAVE_EVERY`] apart. An event that was
//! appended after the acknowledged change of an endpoint by this server is not sent as before it.
//! Limit: requests in flight when a lease ends are not recalled.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::values::{Position, Sequence, Timestamp};
use infrastructure::codec::{Recorded, read_any};
use infrastructure::error::LogError;
use infrastructure::feed::Feed;
use infrastructure::log::{EventLog, StreamId};
use infrastructure::ports::{Clock, SystemClock};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::counts::{Counts, Result as Counted};
use crate::kind::TEST;
use crate::lanes::{Key, Lanes, Page, Row, Work};
use crate::message::{Message, messages, order_message};
use crate::notices::Notices;
use crate::schedule::Schedule;
use crate::sender::{Attempt, Outcome, Sender};
use crate::signature::Secret;
use crate::store::{LEASE_SECONDS, Lease, Save, Saved, Store};

/// The shortest time between two stores of progress.
const SAVE_EVERY: Duration = Duration::from_millis(100);
/// How often the lease is renewed, and an administrator's change at another server noticed.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How much earlier than the database a dispatcher considers its lease over.
const MARGIN: Duration = Duration::from_secs(1);
/// How often old rows are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(10);
/// Events that are scanned at once.
const SCAN_EVENTS: usize = 1_000;
/// Events of one stream that are read at once.
const PAGE_EVENTS: usize = 500;
/// How long a stopping dispatcher waits for responses.
const DRAIN: Duration = Duration::from_secs(3);

/// The position of each endpoint that this process dispatches.
pub(crate) type Positions = Arc<Mutex<BTreeMap<Uuid, Position>>>;

/// The parts that all dispatchers of a process share.
#[derive(Debug, Clone)]
pub(crate) struct Shared<L> {
    pub(crate) store: Store,
    pub(crate) log: L,
    pub(crate) feed: Feed,
    pub(crate) notices: Notices,
    pub(crate) sender: Sender,
    pub(crate) schedule: Schedule,
    pub(crate) counts: Counts,
    pub(crate) positions: Positions,
    /// This process, in leases.
    pub(crate) holder: Uuid,
    pub(crate) wake: watch::Receiver<u64>,
    pub(crate) stop: CancellationToken,
}

/// Why a dispatcher ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Stopped,
    /// An administrator changed the endpoint: read it again.
    Changed,
    /// Another server has the lease, or it could not be renewed.
    Lost,
    /// 410.
    Gone,
}

enum Report {
    Sent(Key, Outcome),
    Loaded(StreamId, Result<Page, LogError>),
    Found(Uuid, Result<Option<Message>, LogError>),
}

type Saving = Pin<Box<dyn Future<Output = (Save, Result<Saved, sqlx::Error>)> + Send>>;

/// Dispatches the endpoint until the lease is lost, the endpoint is disabled or the server stops.
pub(crate) async fn dispatch<L: EventLog>(shared: Shared<L>, id: Uuid) {
    loop {
        let taken = Instant::now();
        // A change is in the lease, or it is later.
        let mut wake = shared.wake.clone();
        wake.mark_unchanged();
        let lease = match shared.store.acquire(id, shared.holder).await {
            Ok(Some(lease)) => lease,
            Ok(None) => break,
            Err(error) => {
                warn!(%error, "cannot read webhook endpoint {id}; retrying");
                break;
            }
        };
        let ended = Dispatcher::new(shared.clone(), lease, taken)
            .run(wake)
            .await;
        match ended {
            Ended::Changed => {}
            Ended::Lost => break,
            Ended::Stopped => {
                if let Err(error) = shared.store.release(id, shared.holder).await {
                    warn!(%error, "cannot release webhook endpoint {id}; another server waits for the end of its lease");
                }
                break;
            }
            Ended::Gone => {
                info!("webhook endpoint {id} responded with 410 and is disabled");
                if let Err(error) = shared.store.disable(id, shared.holder).await {
                    warn!(%error, "cannot disable webhook endpoint {id}");
                }
                break;
            }
        }
    }
    lock(&shared.positions).remove(&id);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Dispatcher<L> {
    shared: Shared<L>,
    id: Uuid,
    url: url::Url,
    kinds: Option<BTreeSet<String>>,
    secrets: Arc<Vec<Secret>>,
    revision: i64,
    lanes: Lanes,
    tasks: JoinSet<Report>,
    saved_at: Instant,
    pruned_at: Instant,
    /// Nothing is sent after this.
    valid_until: Instant,
    /// Nothing new is started: an administrator has changed the endpoint.
    is_changed: bool,
    is_gone: bool,
    /// The last attempt to store progress failed, and was logged.
    is_away: bool,
}

impl<L: EventLog> Dispatcher<L> {
    fn new(shared: Shared<L>, lease: Lease, taken: Instant) -> Self {
        let lanes = Lanes::new(
            lease.id,
            lease.position,
            lease.held,
            lease.pending,
            shared.schedule.clone(),
            StdRng::from_os_rng(),
        );
        lock(&shared.positions).insert(lease.id, lease.position);
        Self {
            id: lease.id,
            url: lease.url,
            kinds: lease.kinds.map(|kinds| kinds.into_iter().collect()),
            secrets: Arc::new(lease.secrets),
            revision: lease.revision,
            lanes,
            tasks: JoinSet::new(),
            saved_at: taken,
            pruned_at: taken,
            valid_until: valid_after(taken),
            is_changed: false,
            is_gone: false,
            is_away: false,
            shared,
        }
    }

    /// Runs until one of the reasons to end. `wake` counts the changes since the lease was read.
    async fn run(mut self, mut wake: watch::Receiver<u64>) -> Ended {
        let mut head = self.shared.feed.watch();
        let stop = self.shared.stop.clone();
        let mut saving: Option<Saving> = None;
        let mut save_now = false;
        // An administrator changed an endpoint: nothing new is started until a save that began
        // later shows whether it was this one.
        let mut is_checking = false;
        loop {
            head.mark_unchanged();
            let is_ending = self.is_changed || self.is_gone;
            let mut has_more = false;
            if !is_ending {
                if Instant::now() >= self.valid_until {
                    return Ended::Lost;
                }
                match self.scan().await {
                    Ok(more) => has_more = more,
                    Err(error) => {
                        warn!(%error, "webhooks cannot read the event log; retrying");
                        sleep(RENEW_EVERY).await;
                    }
                }
                // Before the events are sent that were appended after the change.
                if wake.has_changed().unwrap_or(false) {
                    wake.mark_unchanged();
                    save_now = true;
                }
                if !save_now && !is_checking {
                    self.start();
                }
            } else if self.tasks.is_empty() && saving.is_none() {
                // Everything that was under way is in the changes.
                let save = self.progress();
                let outcome = self.shared.store.save(&save).await;
                return match outcome {
                    Ok(Saved::Stored(_)) if self.is_gone => Ended::Gone,
                    Ok(Saved::Stored(_)) => Ended::Changed,
                    // Replayed or removed: the stored rows are right.
                    Ok(Saved::Superseded) if self.is_changed => Ended::Changed,
                    Ok(Saved::Superseded) => Ended::Lost,
                    Err(error) => {
                        warn!(%error, "cannot store the progress of webhook endpoint {}", self.id);
                        Ended::Lost
                    }
                };
            }
            let next_save = self.next_save(save_now);
            if saving.is_none() && Instant::now() >= next_save {
                is_checking |= std::mem::take(&mut save_now);
                saving = Some(self.save());
                self.shared_tick();
            }
            let wakes_at = self.wakes_at(next_save, saving.is_some());
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.drain(saving).await,
                Some(report) = self.tasks.join_next() => {
                    if let Ok(report) = report {
                        self.report(report);
                    }
                    while let Some(Ok(report)) = self.tasks.try_join_next() {
                        self.report(report);
                    }
                }
                (save, outcome) = wait_for(&mut saving) => {
                    saving = None;
                    is_checking &= outcome.is_err();
                    if let Some(ended) = self.saved(save, outcome) {
                        return ended;
                    }
                }
                _ = wake.changed() => save_now = true,
                _ = head.changed(), if !is_ending => {}
                () = sleep_until(wakes_at) => {}
                () = std::future::ready(()), if has_more => {}
            }
        }
    }

    /// Adds the next events of the log to the lanes. Returns true if there are more.
    async fn scan(&mut self) -> Result<bool, LogError> {
        let (feed, lanes) = (&self.shared.feed, &mut self.lanes);
        if !lanes.has_room() || feed.head().position <= lanes.scanned() {
            return Ok(false);
        }
        let batches = feed
            .after(&self.shared.log, lanes.scanned(), SCAN_EVENTS)
            .await?;
        for batch in &batches {
            for recorded in &batch.events {
                // A batch from memory may begin before the position.
                if recorded.position <= lanes.scanned() {
                    continue;
                }
                let mut wanted = messages(recorded, &self.shared.notices.of(recorded));
                wanted.retain(|message| is_wanted(self.kinds.as_ref(), message.event_type));
                lanes.scan(StreamId::Drop(recorded.drop_id), wanted);
            }
            for recorded in &batch.orders {
                let (position, order_id) = (recorded.position, recorded.order_id);
                if position <= lanes.scanned() {
                    continue;
                }
                let order = self.shared.notices.order_at(order_id, position);
                let mut wanted: Vec<Message> = vec![];
                wanted.extend(order.and_then(|order| order_message(recorded, &order)));
                wanted.retain(|message| is_wanted(self.kinds.as_ref(), message.event_type));
                lanes.scan(StreamId::Order(order_id), wanted);
            }
            for (position, drop_id) in &batch.withheld {
                lanes.withhold(StreamId::Drop(*drop_id), *position);
            }
            for (position, order_id) in &batch.withheld_orders {
                lanes.withhold(StreamId::Order(*order_id), *position);
            }
            lanes.scanned_to(batch.head.position);
        }
        Ok(feed.head().position > lanes.scanned() && lanes.has_room())
    }

    fn start(&mut self) {
        let now = SystemClock.now();
        while let Some(work) = self.lanes.next(now) {
            match work {
                Work::Send(key, message) => self.send(key, message, now),
                Work::Load {
                    stream,
                    after,
                    sequence,
                    until,
                } => self.load(stream, after, sequence, until),
                Work::Find(row) => self.find(row),
            }
        }
    }

    fn send(&mut self, key: Key, message: Message, at: Timestamp) {
        let attempt = Attempt {
            url: self.url.clone(),
            webhook_id: message.webhook_id,
            body: message.body,
            secrets: Arc::clone(&self.secrets),
            at,
        };
        let sender = self.shared.sender.clone();
        self.tasks
            .spawn(async move { Report::Sent(key, sender.send(&attempt).await) });
    }

    fn load(&mut self, stream: StreamId, after: Position, sequence: Sequence, until: Position) {
        let (shared, kinds) = (self.shared.clone(), self.kinds.clone());
        self.tasks.spawn(async move {
            let page = page(&shared, kinds.as_ref(), stream, after, sequence, until).await;
            Report::Loaded(stream, page)
        });
    }

    fn find(&mut self, row: Row) {
        let (shared, endpoint_id) = (self.shared.clone(), self.id);
        self.tasks.spawn(async move {
            let found = find(&shared, endpoint_id, &row).await;
            Report::Found(row.id, found)
        });
    }

    fn report(&mut self, report: Report) {
        let now = SystemClock.now();
        match report {
            Report::Sent(key, Outcome::Delivered) => {
                self.shared.counts.count(Counted::Delivered);
                self.lanes.delivered(key, now);
            }
            Report::Sent(_, Outcome::Gone) => {
                self.shared.counts.count(Counted::Rejected);
                self.is_gone = true;
            }
            Report::Sent(key, Outcome::Failed(failure)) => {
                self.shared.counts.count(failure.counted);
                if self.lanes.failed(key, failure, now) {
                    self.shared.counts.count_given_up();
                }
            }
            Report::Loaded(stream, Ok(page)) => self.lanes.loaded(stream, page, now),
            Report::Loaded(stream, Err(error)) => {
                warn!(%error, "webhooks cannot read the stream of {stream}; retrying");
                self.lanes.not_loaded(stream, now);
            }
            Report::Found(id, Ok(message)) => self.lanes.found(id, message, now),
            Report::Found(id, Err(error)) => {
                warn!(%error, "webhooks cannot read the event of delivery {id}; retrying");
                self.lanes.not_found(id, now);
            }
        }
    }

    fn next_save(&self, save_now: bool) -> Instant {
        let has_changes = self.lanes.has_changes();
        match (save_now, has_changes) {
            (true, _) => self.saved_at,
            (false, true) => self.saved_at + SAVE_EVERY,
            (false, false) => self.saved_at + RENEW_EVERY,
        }
    }

    fn wakes_at(&self, next_save: Instant, is_saving: bool) -> Instant {
        let now = Instant::now();
        let is_ending = self.is_changed || self.is_gone;
        let mut at = match is_ending {
            true => now + RENEW_EVERY,
            false => self.valid_until.max(now),
        };
        if !is_saving {
            at = at.min(next_save.max(now));
        }
        if let Some(next) = self.lanes.wakes_at()
            && !is_ending
        {
            let left = next
                .millis()
                .saturating_sub(SystemClock.now().millis())
                .max(1);
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(1));
            at = at.min(now + left);
        }
        at
    }

    fn progress(&mut self) -> Save {
        let prune = self.pruned_at.elapsed() >= PRUNE_EVERY;
        if prune {
            self.pruned_at = Instant::now();
        }
        // The position first: later changes do not belong to it.
        let position = self.lanes.position();
        Save {
            endpoint_id: self.id,
            holder: self.shared.holder,
            revision: self.revision,
            position,
            changes: self.lanes.take_changes(),
            prune,
        }
    }

    fn save(&mut self) -> Saving {
        self.saved_at = Instant::now();
        let save = self.progress();
        let store = self.shared.store.clone();
        Box::pin(async move {
            let outcome = store.save(&save).await;
            (save, outcome)
        })
    }

    fn saved(&mut self, save: Save, outcome: Result<Saved, sqlx::Error>) -> Option<Ended> {
        match outcome {
            Ok(Saved::Stored(revision)) => {
                self.is_away = false;
                lock(&self.shared.positions).insert(self.id, save.position);
                self.valid_until = valid_after(self.saved_at);
                self.is_changed |= revision != self.revision;
                None
            }
            Ok(Saved::Superseded) => Some(Ended::Changed),
            Err(error) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    let id = self.id;
                    warn!(%error, "cannot store the progress of webhook endpoint {id}; retrying");
                }
                self.lanes.restore(save.changes);
                None
            }
        }
    }

    /// Continues with drops and orders that have left quarantine.
    fn shared_tick(&mut self) {
        let feed = &self.shared.feed;
        self.lanes
            .readmit(|stream| is_quarantined(feed, stream), SystemClock.now());
    }

    /// Waits briefly for responses, and stores the progress.
    async fn drain(mut self, saving: Option<Saving>) -> Ended {
        if let Some(saving) = saving {
            let (save, outcome) = saving.await;
            if let Some(ended) = self.saved(save, outcome) {
                return ended;
            }
        }
        let responses = async {
            while let Some(report) = self.tasks.join_next().await {
                if let Ok(report) = report {
                    self.report(report);
                }
            }
        };
        let _cut_off = timeout(DRAIN, responses).await;
        let save = self.progress();
        if let Err(error) = self.shared.store.save(&save).await {
            warn!(%error, "cannot store the progress of webhook endpoint {}; some requests will be sent again", self.id);
        }
        Ended::Stopped
    }
}

fn valid_after(renewed: Instant) -> Instant {
    renewed + Duration::from_secs_f64(LEASE_SECONDS) - MARGIN
}

async fn wait_for(saving: &mut Option<Saving>) -> (Save, Result<Saved, sqlx::Error>) {
    match saving {
        Some(saving) => saving.await,
        None => std::future::pending().await,
    }
}

fn is_wanted(kinds: Option<&BTreeSet<String>>, event_type: &str) -> bool {
    kinds.is_none_or(|kinds| kinds.contains(event_type))
}

fn is_quarantined(feed: &Feed, stream: StreamId) -> bool {
    match stream {
        StreamId::Drop(drop_id) => feed.is_quarantined(drop_id),
        StreamId::Order(order_id) => feed.is_order_quarantined(order_id),
    }
}

/// Returns the messages of an event, subscribed or not.
fn of_event(notices: &Notices, recorded: &Recorded) -> Vec<Message> {
    match recorded {
        Recorded::Drop(recorded) => messages(recorded, &notices.of(recorded)),
        Recorded::Order(recorded) => {
            let order = notices.order_at(recorded.order_id, recorded.position);
            let message = order.and_then(|order| order_message(recorded, &order));
            message.into_iter().collect()
        }
    }
}

/// Reads a part of a stream.
async fn page<L: EventLog>(
    shared: &Shared<L>,
    kinds: Option<&BTreeSet<String>>,
    stream: StreamId,
    after: Position,
    sequence: Sequence,
    until: Position,
) -> Result<Page, LogError> {
    let stuck = || Page {
        is_stuck: true,
        ..Page::default()
    };
    if is_quarantined(&shared.feed, stream) {
        return Ok(stuck());
    }
    let stored = shared
        .log
        .stream_after(stream, after, sequence, until, PAGE_EVENTS)
        .await?;
    let mut page = Page {
        is_complete: stored.len() < PAGE_EVENTS,
        last: stored.last().map(|last| (last.position, last.sequence)),
        ..Page::default()
    };
    for event in &stored {
        if shared.feed.is_void(event.position) {
            continue;
        }
        match read_any(event) {
            Ok(Some(recorded)) => page.messages.extend(of_event(&shared.notices, &recorded)),
            Ok(None) => {}
            // It entered quarantine meanwhile.
            Err(_) => return Ok(stuck()),
        }
    }
    page.messages
        .retain(|message| is_wanted(kinds, message.event_type));
    Ok(page)
}

/// Builds the message of a delivery that is sent by itself.
async fn find<L: EventLog>(
    shared: &Shared<L>,
    endpoint_id: Uuid,
    row: &Row,
) -> Result<Option<Message>, LogError> {
    if row.event_type == TEST {
        let id = row.webhook_id.clone();
        return Ok(Some(Message::test(
            id,
            endpoint_id,
            row.position,
            row.created_at,
        )));
    }
    if shared.feed.is_void(row.position) {
        return Ok(None);
    }
    let before = Position(row.position.0.saturating_sub(1));
    let stored = shared.log.read(before, 1).await?;
    let Some(Ok(Some(recorded))) = stored.first().map(read_any) else {
        return Ok(None);
    };
    let mut parts = of_event(&shared.notices, &recorded).into_iter();
    Ok(parts.find(|message| message.webhook_id == row.webhook_id))
}
