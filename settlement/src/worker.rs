//! The worker: follows the log, does the jobs that follow from it, and sends the demo's webhooks.
//!
//! Promise: a job is attempted until it is done or given up, through crashes and on several
//! servers. Every attempt may be repeated with one effect, because the providers' calls and the
//! engine's requests may.
//! Limit: a call that is in flight when its lease is lost is not recalled.

use std::time::Duration;

use domain::values::{FailureCode, Money, OrderId, PaymentReference, Position, Sequence};
use engine::CommandError;
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use infrastructure::codec::{Recorded, read_any};
use infrastructure::error::LogError;
use infrastructure::feed::{Committed, Feed};
use infrastructure::log::{EventLog, StreamId};
use payments::demo::Delivery;
use payments::{
    IntentState, PaymentError, PaymentProvider, PaymentToStart, Provider, RefundState, RefundToMake,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::counts::Outcome;
use crate::derive::derived;
use crate::schedule::{LOOK_AGAIN, pause_after};
use crate::service::{CANCELLED, Settlement, Subject, UNKNOWN, intent_row, is_unknown};
use crate::store::{Coverage, Derived, Finish, Job, JobKind, RETURN};

/// How often due jobs are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// Jobs that this process works on at once.
const MOST_AT_ONCE: usize = 16;
/// Events that are read at once.
const SCAN_EVENTS: usize = 1_000;
/// Events without consequences after which the position is stored.
const STORE_AFTER_EVENTS: u64 = 10_000;
/// The pause before a return is attempted again whose money is not captured yet.
const UNTIL_CAPTURED: Duration = Duration::from_secs(1);
/// How often old rows are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// How often open jobs are counted for the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// How long a stopping worker waits for its jobs.
const DRAIN: Duration = Duration::from_secs(3);

/// Why a refund waits.
const UNDECIDED: &str =
    "the money is in a refund or dispute at the provider that is not decided yet";

/// Why an attempt at a job did not succeed.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("{}", chain(.0))]
    Provider(#[source] PaymentError),
    #[error("{}", chain(.0))]
    Engine(#[source] CommandError),
    #[error("cannot use the tables of payments")]
    Database(#[source] sqlx::Error),
    #[error("{0}")]
    Impossible(&'static str),
    #[error("only {captured} of {due} was captured at the provider")]
    Short { captured: Money, due: Money },
}

/// Returns the messages of an error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl JobError {
    /// Reports whether the same attempt, repeated later, may succeed.
    fn is_passing(&self) -> bool {
        match self {
            // A person may correct a wrong setting meanwhile.
            Self::Provider(PaymentError::Misconfigured { .. }) => true,
            Self::Provider(error) => error.is_passing(),
            Self::Engine(CommandError::Refused { .. } | CommandError::TooLarge) => false,
            Self::Engine(
                CommandError::Overloaded
                | CommandError::Unavailable
                | CommandError::Quarantined { .. }
                | CommandError::OrderQuarantined { .. }
                | CommandError::LogRefused { .. }
                | CommandError::ClockFault(_)
                | CommandError::Undecided,
            )
            | Self::Database(_) => true,
            Self::Impossible(_) | Self::Short { .. } => false,
        }
    }

    fn required_pause(&self) -> Option<Duration> {
        match self {
            Self::Provider(PaymentError::Retryable { retry_after, .. }) => *retry_after,
            Self::Provider(_)
            | Self::Engine(_)
            | Self::Database(_)
            | Self::Impossible(_)
            | Self::Short { .. } => None,
        }
    }
}

type Worked = Result<Finish, JobError>;

impl Settlement {
    /// Works until `stop`.
    pub async fn run<L: EventLog>(self, log: L, feed: Feed, stop: CancellationToken) {
        tokio::join!(
            self.follow(log, feed, &stop),
            self.do_jobs(&stop),
            self.count_open_jobs(&stop),
            self.send_demo_webhooks(&stop),
        );
    }

    /// Derives jobs from the log.
    async fn follow<L: EventLog>(&self, log: L, feed: Feed, stop: &CancellationToken) {
        let mut head = feed.watch();
        let mut is_away = false;
        while !stop.is_cancelled() {
            let ended = stop.run_until_cancelled(self.follow_on(&log, &feed, &mut head));
            let Some(Err(error)) = ended.await else {
                is_away = false;
                continue;
            };
            if !is_away {
                warn!(%error, "cannot derive the jobs of payments; retrying");
            }
            is_away = true;
            stop.run_until_cancelled(sleep(LOOK_EVERY)).await;
        }
    }

    /// Follows from the stored position until another server has stored another one.
    async fn follow_on<L: EventLog>(
        &self,
        log: &L,
        feed: &Feed,
        head: &mut tokio::sync::watch::Receiver<infrastructure::log::Head>,
    ) -> Result<(), FollowError> {
        let stored = self.store.position().await?;
        self.follow_cut(log, stored).await?;
        let mut position = stored;
        self.counts.follow_up_to(position);
        let withheld = self.store.withheld().await?;
        loop {
            head.borrow_and_update();
            for (order_id, from) in &withheld {
                if !feed.is_order_quarantined(OrderId(*order_id)) {
                    return self
                        .derive_withheld(log, feed, stored, *order_id, *from)
                        .await;
                }
            }
            let batches = feed.after(log, position, SCAN_EVENTS).await?;
            let rows: Vec<Derived> = batches.iter().flat_map(|batch| derived(batch)).collect();
            if let Some(last) = batches.last() {
                position = last.head.position;
            }
            if rows.is_empty() {
                self.counts.follow_up_to(position);
            }
            let is_far = position.0.saturating_sub(stored.0) >= STORE_AFTER_EVENTS;
            if !rows.is_empty() || is_far {
                if self.store.follow(stored, position, &rows).await? {
                    self.wake();
                }
                return Ok(());
            }
            if batches.is_empty() && head.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Derives the rows of the events of an order that were passed while it was in quarantine.
    async fn derive_withheld<L: EventLog>(
        &self,
        log: &L,
        feed: &Feed,
        stored: Position,
        order_id: Uuid,
        from: Position,
    ) -> Result<(), FollowError> {
        let before = Position(from.0.saturating_sub(1));
        let stream = StreamId::Order(OrderId(order_id));
        let start = Sequence::default();
        let events = log.stream_after(stream, before, start, stored, usize::MAX);
        let mut batch = Committed::default();
        for event in events.await? {
            if let Ok(Some(Recorded::Order(recorded))) = read_any(&event)
                && !feed.is_void(event.position)
            {
                batch.orders.push(recorded);
            }
        }
        let mut rows = derived(&batch);
        rows.push(Derived::Readmitted { order_id });
        if self.store.follow(stored, stored, &rows).await? {
            self.wake();
        }
        Ok(())
    }

    /// Goes back to the head of a log that an operator has cut.
    async fn follow_cut<L: EventLog>(&self, log: &L, stored: Position) -> Result<(), FollowError> {
        let head = log.head().await?.position;
        if head < stored {
            warn!("the log ends at position {head}, before position {stored}: it was cut");
            self.store.follow(stored, head, &[]).await?;
        }
        Ok(())
    }

    async fn do_jobs(&self, stop: &CancellationToken) {
        let holder = Uuid::new_v4();
        let mut wake = self.wake.subscribe();
        let mut jobs: JoinSet<()> = JoinSet::new();
        let mut pruned_at: Option<Instant> = None;
        let mut is_away = false;
        while !stop.is_cancelled() {
            wake.borrow_and_update();
            let free = i64::try_from(MOST_AT_ONCE.saturating_sub(jobs.len())).unwrap_or_default();
            match self.store.take_due(holder, free).await {
                Ok(due) => {
                    is_away = false;
                    for job in due {
                        let this = self.clone();
                        jobs.spawn(async move { this.attempt(job, holder).await });
                    }
                }
                Err(error) if !is_away => {
                    is_away = true;
                    warn!(%error, "cannot read the jobs of payments; retrying");
                }
                Err(_) => {}
            }
            if pruned_at.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
                pruned_at = Some(Instant::now());
                if let Err(error) = self.store.prune().await {
                    warn!(%error, "cannot remove old jobs of payments");
                }
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
            info!("some jobs of payments did not end in time; they are attempted again");
        }
    }

    async fn count_open_jobs(&self, stop: &CancellationToken) {
        let mut wake = self.wake.subscribe();
        while !stop.is_cancelled() {
            wake.borrow_and_update();
            // The worker reports a database that is away.
            if let Ok(open) = self.store.open_jobs().await {
                self.counts.set_open(&open);
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(COUNT_EVERY) => {}
                _ = wake.changed() => {}
            }
        }
    }

    /// Attempts a job for as long as its lease is renewed, and stores how that ended.
    async fn attempt(&self, job: Job, holder: Uuid) {
        let mut renewals = interval(RENEW_EVERY);
        renewals.reset();
        let work = self.work(&job);
        tokio::pin!(work);
        let worked = loop {
            tokio::select! {
                worked = &mut work => break worked,
                _ = renewals.tick() => {
                    if !matches!(self.store.renew(job.id, holder).await, Ok(true)) {
                        self.counts.count(job.kind, Outcome::LeaseLost);
                        return;
                    }
                }
            }
        };
        let finish = match worked {
            Ok(finish) => finish,
            Err(error) => finish_of(&job, &error),
        };
        self.counts.count(job.kind, Outcome::from(&finish));
        match &finish {
            Finish::Failed { error, .. } => {
                warn!("{} {} is given up: {error}", job.kind.name(), job.id);
            }
            Finish::Again { error, .. } => {
                info!(
                    "{} {} will be attempted again: {error}",
                    job.kind.name(),
                    job.id
                );
            }
            Finish::Done | Finish::Wait(_) | Finish::WaitFor { .. } => {}
        }
        if let Err(error) = self.store.finish(job.id, holder, &finish).await {
            // The lease ends, and the attempt is repeated.
            warn!(%error, "cannot store the end of {} {}", job.kind.name(), job.id);
        }
    }

    async fn work(&self, job: &Job) -> Worked {
        let unconfigured = JobError::Provider(PaymentError::Misconfigured {
            provider: "the server",
            reason: format!("the provider {} is not configured", job.provider),
        });
        let provider = self.providers.known(&job.provider).ok_or(unconfigured)?;
        match job.kind {
            JobKind::Capture => self.capture(&provider, job).await,
            JobKind::Cancel => self.cancel(&provider, job).await,
            JobKind::Unknown => self.attribute(&provider, job).await,
            JobKind::Refund => self.refund(&provider, job).await,
        }
    }

    async fn reference(&self, job: &Job) -> Result<String, JobError> {
        let intent = job.intent.as_deref().unwrap_or_default();
        let reference = self.store.reference(intent).await;
        let reference = reference.map_err(JobError::Database)?;
        reference.ok_or(JobError::Impossible(
            "the provider's reference of the payment was erased: find the payment at the provider by the order's id \
             in its metadata, settle it there, and cancel this job",
        ))
    }

    async fn capture(&self, provider: &Provider, job: &Job) -> Worked {
        let reference = self.reference(job).await?;
        let captured = provider.capture(&reference, job.amount).await;
        match captured.map_err(JobError::Provider)?.state {
            IntentState::Succeeded { amount } if amount == job.amount => Ok(Finish::Done),
            // A person has captured another amount.
            IntentState::Succeeded { amount } => Err(JobError::Short {
                captured: amount,
                due: job.amount,
            }),
            IntentState::Unpaid
            | IntentState::Processing
            | IntentState::Authorised { .. }
            | IntentState::Cancelled => Err(unsettled(provider, "the capture has no effect yet")),
        }
    }

    /// Cancels the intent of a payment whose order has ended. Money that arrived meanwhile is
    /// recorded, and the engine decides its outcome.
    async fn cancel(&self, provider: &Provider, job: &Job) -> Worked {
        let start = self.store.start(job.payment_id).await;
        let start = start.map_err(JobError::Database)?;
        if start.as_ref().is_some_and(|start| start.succeeded) {
            return Ok(Finish::Done);
        }
        let reference = match start.and_then(|start| start.provider_reference) {
            Some(reference) => reference,
            None => match self.learn_reference(provider, job).await? {
                Some(reference) => reference,
                None => return Ok(Finish::Done),
            },
        };
        let found = provider.look_up(&reference).await;
        let mut state = found.map_err(JobError::Provider)?.state;
        if state == IntentState::Unpaid {
            let cancelled = provider.cancel(&reference).await;
            state = cancelled.map_err(JobError::Provider)?.state;
        }
        let subject = Subject {
            order_id: job.order_id,
            payment_id: job.payment_id,
        };
        let reference = PaymentReference::new(&reference)
            .map_err(|_| JobError::Impossible("the provider's reference is not one"))?;
        let recorded = match state {
            IntentState::Authorised { amount } | IntentState::Succeeded { amount } => {
                let row = intent_row(provider, subject, &reference);
                let kept = self.store.keep_intent(&row).await;
                kept.map_err(JobError::Database)?;
                let recorded = self.succeeded(provider, subject, reference, amount).await;
                recorded.map(drop)
            }
            IntentState::Cancelled => {
                let reason = FailureCode::or_unknown(CANCELLED);
                self.ended(provider, subject, reference, reason).await
            }
            IntentState::Unpaid | IntentState::Processing => {
                return Err(unsettled(provider, "the payment is processing"));
            }
        };
        recorded.map_err(JobError::Engine)?;
        Ok(Finish::Done)
    }

    /// Repeats a start whose answer was lost. `None` if the provider refuses it.
    async fn learn_reference(
        &self,
        provider: &Provider,
        job: &Job,
    ) -> Result<Option<String>, JobError> {
        let payment = PaymentToStart {
            payment_id: job.payment_id,
            order_id: job.order_id,
            amount: job.amount,
            scenario: None,
        };
        match provider.start(payment).await {
            Ok(started) => Ok(Some(started.intent.provider_reference)),
            Err(PaymentError::Declined { .. }) => Ok(None),
            Err(error) => Err(JobError::Provider(error)),
        }
    }

    /// Records money of a payment that was unknown before, at an administrator's request.
    async fn attribute(&self, provider: &Provider, job: &Job) -> Worked {
        let reference = self.reference(job).await?;
        let reference = PaymentReference::new(&reference)
            .map_err(|_| JobError::Impossible("the provider's reference is not one"))?;
        let subject = Subject {
            order_id: job.order_id,
            payment_id: job.payment_id,
        };
        match self
            .succeeded(provider, subject, reference, job.amount)
            .await
        {
            Ok(_) => Ok(Finish::Done),
            Err(error) if is_unknown(&error) => Err(JobError::Impossible(UNKNOWN)),
            Err(error) => Err(JobError::Engine(error)),
        }
    }

    async fn refund(&self, provider: &Provider, job: &Job) -> Worked {
        let reference = self.reference(job).await?;
        let is_captured = match job.cause.as_deref() {
            Some(RETURN) => match self.capture_status(job).await?.as_str() {
                "pending" => return Ok(Finish::Wait(UNTIL_CAPTURED)),
                "done" => true,
                // Given up: the intent itself shows whether there is money to return.
                _ => {
                    let found = provider.look_up(&reference).await;
                    match found.map_err(JobError::Provider)?.state {
                        IntentState::Succeeded { .. } => true,
                        IntentState::Cancelled => false,
                        IntentState::Unpaid
                        | IntentState::Processing
                        | IntentState::Authorised { .. } => {
                            return Err(JobError::Impossible(
                                "the payment was not captured: retry its capture first",
                            ));
                        }
                    }
                }
            },
            // Money without goods was never captured here, but the intent may capture by itself.
            _ => {
                let cancelled = provider.cancel(&reference).await;
                match cancelled.map_err(JobError::Provider)?.state {
                    IntentState::Cancelled => false,
                    IntentState::Succeeded { .. } => true,
                    IntentState::Unpaid
                    | IntentState::Processing
                    | IntentState::Authorised { .. } => {
                        return Err(unsettled(provider, "the cancellation has no effect yet"));
                    }
                }
            }
        };
        if !is_captured {
            return self.settled(job, None).await;
        }
        let operation_id = job.operation_id.unwrap_or(job.id);
        let known = provider.refunds(&reference).await;
        let known = known.map_err(JobError::Provider)?;
        let made = known
            .iter()
            .find(|refund| refund.refund_id == Some(operation_id));
        let state = match made.map(|refund| refund.state.clone()) {
            Some(state) => state,
            None => {
                // A person may have returned the money at the provider.
                let subject = Subject {
                    order_id: job.order_id,
                    payment_id: job.payment_id,
                };
                let kept = self.keep_all(provider, subject, &reference, known).await;
                kept.map_err(JobError::Database)?;
                let intent = job.intent.as_deref().unwrap_or_default();
                let covered = self.store.cover(job.id, intent, job.amount).await;
                let Coverage { amount, is_pending } = covered.map_err(JobError::Database)?;
                if is_pending {
                    return Ok(Finish::WaitFor {
                        pause: LOOK_AGAIN,
                        reason: UNDECIDED.to_owned(),
                    });
                }
                let rest = Money {
                    amount: job.amount.amount - amount,
                    ..job.amount
                };
                if rest.amount == 0 {
                    return self.settled(job, None).await;
                }
                let refund = RefundToMake {
                    refund_id: operation_id,
                    provider_reference: &reference,
                    amount: rest,
                };
                let made = provider.refund(refund).await;
                made.map_err(JobError::Provider)?.state
            }
        };
        match state {
            RefundState::Pending => Ok(Finish::Wait(LOOK_AGAIN)),
            RefundState::Succeeded => self.settled(job, None).await,
            RefundState::Failed { reason } => {
                let reason = FailureCode::or_unknown(&reason);
                self.settled(job, Some(reason)).await
            }
        }
    }

    async fn capture_status(&self, job: &Job) -> Result<String, JobError> {
        let intent = job.intent.as_deref().unwrap_or_default();
        let status = self.store.capture_status(intent).await;
        status.map_err(JobError::Database)
    }

    /// Records the outcome of a refund. The event of a failure gives the job up when it is
    /// followed; if the log has the failure already, no event will.
    async fn settled(&self, job: &Job, failure: Option<FailureCode>) -> Worked {
        let error = failure
            .as_ref()
            .map(|reason| format!("the provider failed the refund: {}", reason.as_str()));
        let answer = self.settle(job.order_id, job.id, failure).await;
        let answer = answer.map_err(JobError::Engine)?;
        Ok(match error {
            None => Finish::Done,
            Some(error) if answer.is_replay() => Finish::Failed {
                error,
                is_operation: true,
            },
            Some(_) => Finish::Wait(LOOK_AGAIN),
        })
    }

    /// Delivers the demo's webhooks to this process, signed, as if they came over HTTP.
    async fn send_demo_webhooks(&self, stop: &CancellationToken) {
        let demo = self.providers.demo();
        let mut changes = demo.changes();
        while !stop.is_cancelled() {
            changes.borrow_and_update();
            for delivery in demo.take_due() {
                let is_accepted = self.deliver(&delivery).await;
                demo.settle(delivery, is_accepted);
            }
            let next = demo.next_due().map(|due| {
                let millis = due.millis().saturating_sub(self.now().millis());
                Duration::from_millis(millis.max(1).unsigned_abs())
            });
            tokio::select! {
                () = stop.cancelled() => {}
                _ = changes.changed() => {}
                () = sleep(next.unwrap_or(LOOK_EVERY)) => {}
            }
        }
    }

    async fn deliver(&self, delivery: &Delivery) -> bool {
        let Some(provider) = self.providers.known(payments::demo::NAME) else {
            return false;
        };
        let (name, value) = self.providers.demo().sign(delivery);
        let mut headers = HeaderMap::new();
        match HeaderValue::from_str(&value) {
            Ok(value) => drop(headers.insert(name, value)),
            Err(_) => return false,
        }
        match self.receive(&provider, &headers, &delivery.body).await {
            Ok(()) => true,
            Err(error) => {
                info!(
                    "the demo repeats webhook {}: {}",
                    delivery.event_id,
                    chain(&error)
                );
                false
            }
        }
    }
}

/// Why the log could not be followed.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("cannot read the log")]
    Log(#[from] LogError),
    #[error("cannot use the tables of payments")]
    Database(#[from] sqlx::Error),
}

fn unsettled(provider: &Provider, cause: &str) -> JobError {
    JobError::Provider(PaymentError::Retryable {
        provider: provider.name(),
        cause: cause.to_owned(),
        retry_after: None,
    })
}

fn finish_of(job: &Job, error: &JobError) -> Finish {
    let text = error.to_string();
    let mut rng = StdRng::from_os_rng();
    let pause = pause_after(job.attempts + 1, error.required_pause(), &mut rng);
    match pause.filter(|_| error.is_passing()) {
        Some(pause) => Finish::Again { pause, error: text },
        None => Finish::Failed {
            error: text,
            is_operation: false,
        },
    }
}
