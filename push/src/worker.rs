//! The worker: derives jobs from the notifications, and sends their messages.
//!
//! Promise: a job is worked on until it is done or given up, through crashes and on several
//! servers. A walk over the subscriptions reads a page at a time, has a bounded number of requests
//! in flight, and leaves a subscription that fails to a job of its own, so one push service that
//! does not respond delays the others by a few timeouts at most.
//! Limit: notifications of a drop or order that leaves quarantine are not sent, as in streams.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catalogue::notifications::{Audience, Facts, Notification};
use domain::values::{BuyerId, Position, Timestamp};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;
use uuid::Uuid;
use webhooks::schedule::jittered;

use crate::delivery::{Outgoing, Sent, send};
use crate::message::{Text, expires_at, job_id, topic, urgency};
use crate::service::Push;
use crate::store::{Class, Finish, Job, NewJob, PageSent, Readers, Target, Undelivered};

/// How often due jobs are looked for, and the log is followed without a wake-up.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pause between two derivations: a busy log has many events in it.
const DERIVE_PAUSE: Duration = Duration::from_millis(50);
/// Events without jobs after which the position is stored.
const STORE_AFTER_EVENTS: u64 = 10_000;
/// How often a lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// Notifications to followers that this process sends at once.
const MOST_FAN_OUTS: usize = 2;
/// Notifications to one buyer that this process sends at once.
const MOST_OWN: usize = 8;
/// Messages that failed and that this process sends again at once.
const MOST_AGAIN: usize = 16;
/// Subscriptions that a walk reads at once.
const PAGE: i64 = 200;
/// Requests of one walk in flight.
const MOST_IN_FLIGHT: usize = 32;
/// Failures of a push service after which a walk leaves its other subscriptions for later.
const MOST_FAILURES: u32 = 3;
/// How often old rows are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// How often open jobs are counted for the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// How long a stopping worker waits for its jobs.
const DRAIN: Duration = Duration::from_secs(3);
/// How long a job waits for this server to read the log up to its event.
const MOST_BEHIND: Duration = Duration::from_secs(10);

const OUT_OF_DATE: &str = "the message is out of date";

/// The position of this server in the log.
#[derive(Debug, Clone, Copy)]
struct Followed {
    /// As it is stored.
    stored: Position,
    /// Later, without jobs in between.
    seen: Position,
}

/// The push services that failed during a walk, by host.
#[derive(Debug, Default)]
struct Services(Mutex<HashMap<String, Failing>>);

#[derive(Debug, Clone, Copy, Default)]
struct Failing {
    failures: u32,
    /// The longest pause that it has requested.
    pause: Duration,
}

impl Services {
    /// Returns the pause of a push service that is left for later.
    fn paused(&self, host: &str) -> Option<Duration> {
        let services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failing = services.get(host)?;
        (failing.failures >= MOST_FAILURES).then_some(failing.pause)
    }

    fn record(&self, host: &str, sent: &Sent) {
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Sent::Again {
            is_of_service: true,
            retry_after,
            ..
        } = sent
        else {
            // It responds again.
            services.remove(host);
            return;
        };
        let failing = services.entry(host.to_owned()).or_default();
        failing.failures += 1;
        failing.pause = failing.pause.max(retry_after.unwrap_or_default());
    }
}

/// A notification that is being sent.
#[derive(Debug)]
struct Sending {
    notification: Arc<Notification>,
    text: Text,
    readers: Readers,
    ends_at: Instant,
}

impl Sending {
    /// Returns the seconds for which the message is of use.
    fn remaining(&self) -> Duration {
        self.ends_at.saturating_duration_since(Instant::now())
    }

    fn outgoing(&self, target: &Target) -> Outgoing {
        let topic = topic(&self.notification, target.id);
        Outgoing {
            plaintext: self.text.plaintext(target.sees_ids, &topic),
            urgency: urgency(&self.notification.facts),
            ttl: self.remaining().as_secs(),
            topic,
        }
    }
}

impl Push {
    /// Works until `stop`. `head` changes when there may be new notifications.
    pub async fn run(self, head: watch::Receiver<Position>, stop: CancellationToken) {
        tokio::join!(
            self.follow(head, &stop),
            self.do_jobs(Class::FanOut, MOST_FAN_OUTS, &stop),
            self.do_jobs(Class::Own, MOST_OWN, &stop),
            self.do_jobs(Class::Again, MOST_AGAIN, &stop),
            self.clean_up_and_count(&stop),
        );
    }

    /// Derives jobs from the notifications.
    async fn follow(&self, mut head: watch::Receiver<Position>, stop: &CancellationToken) {
        let mut followed = None;
        let mut is_away = false;
        while !stop.is_cancelled() {
            head.borrow_and_update();
            match self.derive(&mut followed).await {
                Ok(()) => is_away = false,
                Err(error) => {
                    if !is_away {
                        warn!(%error, "cannot derive the jobs of Web Push; retrying");
                    }
                    is_away = true;
                    stop.run_until_cancelled(sleep(LOOK_EVERY)).await;
                }
            }
            stop.run_until_cancelled(sleep(DERIVE_PAUSE)).await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(LOOK_EVERY) => {}
                changed = head.changed() => if changed.is_err() { stop.cancelled().await },
            }
        }
    }

    async fn derive(&self, followed: &mut Option<Followed>) -> Result<(), sqlx::Error> {
        let at = match *followed {
            Some(at) => at,
            None => {
                let stored = self.store.position().await?;
                let seen = stored;
                *followed.insert(Followed { stored, seen })
            }
        };
        let (found, position) = self.notifications.since(at.seen);
        if position <= at.seen {
            return Ok(());
        }
        let now = Timestamp::from(chrono::Utc::now());
        let current: Vec<_> = found
            .into_iter()
            .filter(|found| expires_at(found) > now)
            .collect();
        let jobs = self.jobs_of(&current).await?;
        *followed = Some(Followed {
            stored: at.stored,
            seen: position,
        });
        let is_far = position.0.saturating_sub(at.stored.0) >= STORE_AFTER_EVENTS;
        if !jobs.is_empty() || is_far {
            let is_stored = self.store.follow(at.stored, position, &jobs).await?;
            // Otherwise another server has followed: continue from its position.
            *followed = is_stored.then_some(Followed {
                stored: position,
                seen: position,
            });
            if is_stored && !jobs.is_empty() {
                self.wake();
            }
        }
        self.counts.follow_up_to(position.0);
        Ok(())
    }

    /// Returns the jobs of notifications: of those to all followers, and of those to a buyer with a
    /// subscription.
    async fn jobs_of(&self, found: &[Arc<Notification>]) -> Result<Vec<NewJob>, sqlx::Error> {
        if found.is_empty() || !self.store.has_subscriptions().await? {
            return Ok(vec![]);
        }
        let buyers: Vec<Option<String>> = found
            .iter()
            .map(|found| Some(self.buyer_of(found)?.comparable().to_string()))
            .collect();
        let named: Vec<String> = buyers.iter().flatten().cloned().collect();
        let subscribed = self.store.subscribed(&named).await?;
        let mut jobs = vec![];
        let mut repeated = HashSet::new();
        for (notification, buyer) in found.iter().zip(buyers) {
            let repeats = matches!(notification.facts, Facts::SoldOut | Facts::Low { .. });
            if repeats && !repeated.insert((notification.drop_id, notification.kind)) {
                continue;
            }
            let is_fan_out = matches!(notification.audience, Audience::Drop(..));
            if is_fan_out || buyer.is_some_and(|buyer| subscribed.contains(&buyer)) {
                jobs.push(NewJob {
                    id: job_id(notification.position, notification.kind, None),
                    key: notification.key(),
                    drop_id: notification.drop_id,
                    order_id: match notification.audience {
                        Audience::Order(order_id) => Some(order_id),
                        Audience::Drop(..) | Audience::Buyer(..) => None,
                    },
                    is_fan_out,
                    repeats,
                    expires_at: expires_at(notification),
                });
            }
        }
        Ok(jobs)
    }

    /// Returns the buyer of a notification to one buyer; `None` after an erasure.
    fn buyer_of(&self, notification: &Notification) -> Option<BuyerId> {
        match &notification.audience {
            Audience::Drop(..) => None,
            Audience::Buyer(drop_id, buyer) => self.views.buyer_id(*drop_id, *buyer),
            Audience::Order(order_id) => self.views.buyer_of_order(*order_id),
        }
    }

    fn readers(&self, notification: &Notification) -> Option<Readers> {
        if let Audience::Drop(drop_id, creator_id) = &notification.audience {
            return Some(Readers::Followers(*drop_id, creator_id.clone()));
        }
        let buyer_id = self.buyer_of(notification)?;
        Some(Readers::Buyer {
            comparable: buyer_id.comparable().to_string(),
            account: buyer_id.spelling().to_string(),
        })
    }

    async fn do_jobs(&self, class: Class, most: usize, stop: &CancellationToken) {
        let holder = Uuid::new_v4();
        let mut wake = self.wake.subscribe();
        let mut jobs: JoinSet<()> = JoinSet::new();
        let mut is_away = false;
        while !stop.is_cancelled() {
            wake.borrow_and_update();
            let free = i64::try_from(most.saturating_sub(jobs.len())).unwrap_or_default();
            match self.store.take_due(holder, class, free).await {
                Ok(due) => {
                    is_away = false;
                    for job in due {
                        let (this, stop) = (self.clone(), stop.clone());
                        jobs.spawn(async move { this.attempt(job, holder, &stop).await });
                    }
                }
                Err(error) if !is_away => {
                    is_away = true;
                    warn!(%error, "cannot read the jobs of Web Push; retrying");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(LOOK_EVERY) => {}
                _ = wake.changed() => {}
                Some(_) = jobs.join_next() => {}
            }
        }
        let drained = timeout(DRAIN, async { while jobs.join_next().await.is_some() {} });
        if drained.await.is_err() {
            info!("some jobs of Web Push did not end in time; they continue at the next start");
        }
        jobs.abort_all();
        if let Err(error) = self.store.release(holder).await {
            info!(%error, "cannot release the jobs of Web Push; their leases end in seconds");
        }
    }

    /// Works on a job for as long as its lease is renewed, and stores how that ended.
    async fn attempt(&self, job: Job, holder: Uuid, stop: &CancellationToken) {
        let mut renewals = interval(RENEW_EVERY);
        renewals.reset();
        let work = self.work(&job, holder, stop);
        tokio::pin!(work);
        let worked = loop {
            tokio::select! {
                worked = &mut work => break worked,
                _ = renewals.tick() => {
                    if !matches!(self.store.renew(job.id, holder).await, Ok(true)) {
                        return;
                    }
                }
            }
        };
        let finish = match worked {
            Ok(Some(finish)) => finish,
            Ok(None) => return,
            Err(error) => {
                // The lease ends, and the work continues from the last page that was passed.
                warn!(%error, "cannot use the tables of Web Push");
                return;
            }
        };
        if matches!(finish, Finish::Failed { .. }) {
            self.counts.count_given_up();
        }
        if let Err(error) = self.store.finish(job.id, holder, &finish).await {
            warn!(%error, "cannot store the end of push job {}", job.id);
        }
    }

    /// Returns how a job ended; `None` if it has not, or does not exist any more.
    async fn work(
        &self,
        job: &Job,
        holder: Uuid,
        stop: &CancellationToken,
    ) -> Result<Option<Finish>, sqlx::Error> {
        let Ok(remaining) = Duration::try_from_secs_f64(job.remaining_seconds) else {
            return Ok(Some(out_of_date()));
        };
        let ends_at = Instant::now() + remaining;
        if !self.has_read(job.key.0).await {
            return Ok(None);
        }
        // None: the drop is hidden now, or the buyer was erased.
        let sending = self.notifications.get(job.key).and_then(|notification| {
            Some(Sending {
                text: Text::of(&notification, &self.views)?,
                readers: self.readers(&notification)?,
                notification,
                ends_at,
            })
        });
        let Some(sending) = sending else {
            return Ok(Some(Finish::Done));
        };
        match job.subscription_id {
            Some(id) => self.send_again(job, id, &sending).await,
            None => self.walk(job, holder, &sending, stop).await,
        }
    }

    /// Returns false if this server is behind the server that has derived the job.
    async fn has_read(&self, position: Position) -> bool {
        let reached = async {
            while self.notifications.position() < position {
                sleep(DERIVE_PAUSE).await;
            }
        };
        timeout(MOST_BEHIND, reached).await.is_ok()
    }

    /// Sends a message to the one subscription that it failed for.
    async fn send_again(
        &self,
        job: &Job,
        subscription_id: Uuid,
        sending: &Sending,
    ) -> Result<Option<Finish>, sqlx::Error> {
        let key = self.vapid.public_bytes();
        let Some(target) = self.store.target(subscription_id, key).await? else {
            return Ok(Some(Finish::Done));
        };
        let sent = self.send_one(&target, sending).await;
        Ok(match self.undelivered(job.attempts + 1, sent, sending) {
            Next::Delivered => Some(Finish::Done),
            Next::Forget => {
                self.store.forget(subscription_id).await?;
                None
            }
            Next::Later { error, pause } => Some(Finish::Again { pause, error }),
            Next::GivenUp { error } => Some(Finish::Failed { error }),
        })
    }

    /// Sends a notification to the subscriptions of its readers, a page at a time.
    async fn walk(
        &self,
        job: &Job,
        holder: Uuid,
        sending: &Sending,
        stop: &CancellationToken,
    ) -> Result<Option<Finish>, sqlx::Error> {
        let services = Services::default();
        let key = self.vapid.public_bytes();
        let mut after = job.sent_up_to;
        loop {
            if sending.remaining().is_zero() {
                return Ok(Some(out_of_date()));
            }
            let page = self
                .store
                .page(&sending.readers, job.key.0, key, after, PAGE)
                .await?;
            let sent = self.send_page(&page, sending, &services).await;
            after = sent.last.or(after);
            if !self.store.pass(job, holder, &sent).await? || stop.is_cancelled() {
                return Ok(None);
            }
            if !sent.undelivered.is_empty() {
                self.wake();
            }
            if page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                return Ok(Some(Finish::Done));
            }
        }
    }

    async fn send_page(&self, page: &[Target], sending: &Sending, services: &Services) -> PageSent {
        let mut sent = PageSent {
            last: page.last().map(|target| target.id),
            ..PageSent::default()
        };
        let attempts: Vec<BoxFuture<'_, _>> = page
            .iter()
            .map(|target| self.send_first(target, sending, services).boxed())
            .collect();
        let mut attempts = futures::stream::iter(attempts).buffer_unordered(MOST_IN_FLIGHT);
        while let Some((target, result)) = attempts.next().await {
            let undelivered = |attempts, error, pause| Undelivered {
                id: job_id(
                    sending.notification.position,
                    sending.notification.kind,
                    Some(target.id),
                ),
                subscription_id: target.id,
                attempts,
                error,
                pause,
            };
            let next = match result {
                Ok(result) => (1, self.undelivered(1, result, sending)),
                Err(pause) => (
                    0,
                    self.later(1, "the push service does not respond", Some(pause), sending),
                ),
            };
            match next {
                (_, Next::Delivered) => {}
                (_, Next::Forget) => sent.forgotten.push(target.id),
                (attempts, Next::Later { error, pause }) => {
                    sent.undelivered
                        .push(undelivered(attempts, error, Some(pause)));
                }
                (attempts, Next::GivenUp { error }) => {
                    self.counts.count_given_up();
                    sent.undelivered.push(undelivered(attempts, error, None));
                }
            }
        }
        sent
    }

    /// Sends a message for the first time. Returns the pause instead if its push service is left
    /// for later.
    async fn send_first<'a>(
        &self,
        target: &'a Target,
        sending: &Sending,
        services: &Services,
    ) -> (&'a Target, Result<Sent, Duration>) {
        let host = host_of(&target.endpoint);
        if let Some(pause) = services.paused(&host) {
            return (target, Err(pause));
        }
        let sent = self.send_one(target, sending).await;
        services.record(&host, &sent);
        (target, Ok(sent))
    }

    async fn send_one(&self, target: &Target, sending: &Sending) -> Sent {
        let outgoing = sending.outgoing(target);
        let sent = send(&self.sender, &self.vapid, target, &outgoing).await;
        self.counts.count(sent.outcome());
        sent
    }

    /// Decides the next step after this number of attempts.
    fn undelivered(&self, attempts: u32, sent: Sent, sending: &Sending) -> Next {
        match sent {
            Sent::Delivered => Next::Delivered,
            Sent::Forgotten => Next::Forget,
            Sent::Dead { error, .. } => Next::GivenUp { error },
            Sent::Again {
                error, retry_after, ..
            } => self.later(attempts, &error, retry_after, sending),
        }
    }

    fn later(
        &self,
        attempts: u32,
        error: &str,
        requested: Option<Duration>,
        sending: &Sending,
    ) -> Next {
        let error = error.to_owned();
        let Some(pause) = self.schedule.pause_after(attempts) else {
            return Next::GivenUp { error };
        };
        let pause = jittered(pause, &mut StdRng::from_os_rng());
        let pause = pause.max(requested.unwrap_or_default());
        if pause >= sending.remaining() {
            let error = format!("{error}; {OUT_OF_DATE} before the next attempt");
            return Next::GivenUp { error };
        }
        Next::Later { error, pause }
    }

    async fn clean_up_and_count(&self, stop: &CancellationToken) {
        let mut pruned_at: Option<Instant> = None;
        while !stop.is_cancelled() {
            // The other tasks report a database that is away.
            if pruned_at.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
                pruned_at = Some(Instant::now());
                let _repeated = self.store.prune().await;
            }
            if let Ok(pending) = self.store.pending().await {
                self.counts.set_pending(pending);
            }
            stop.run_until_cancelled(sleep(COUNT_EVERY)).await;
        }
    }
}

/// The next step of a message.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Delivered,
    /// The subscription does not exist any more.
    Forget,
    Later {
        error: String,
        pause: Duration,
    },
    GivenUp {
        error: String,
    },
}

fn out_of_date() -> Finish {
    Finish::Failed {
        error: OUT_OF_DATE.to_owned(),
    }
}

fn host_of(endpoint: &str) -> String {
    let url = endpoint.parse::<Url>().ok();
    let host = url.as_ref().and_then(Url::host_str);
    host.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Outcome;

    fn failed(pause: Option<u64>) -> Sent {
        Sent::Again {
            error: String::new(),
            retry_after: pause.map(Duration::from_secs),
            is_of_service: true,
            outcome: Outcome::Rejected,
        }
    }

    #[test]
    fn push_service_that_keeps_failing_is_left_for_later() {
        let services = Services::default();
        for pause in [None, Some(9), Some(4)] {
            assert_eq!(services.paused("a.example"), None);
            services.record("a.example", &failed(pause));
        }
        assert_eq!(services.paused("a.example"), Some(Duration::from_secs(9)));
        assert_eq!(services.paused("b.example"), None);
        // Responses about one subscription show that the service works.
        services.record("a.example", &Sent::Forgotten);
        assert_eq!(services.paused("a.example"), None);
    }
}
