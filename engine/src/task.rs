//! The engine's loop: the choice of the next step, and the handling of append outcomes. See
//! [`backlog`] for the order of decisions, [`follow`] for other nodes' events, and [`outage`] for
//! an unreachable log.

mod admit;
mod backlog;
mod clock;
mod follow;
mod outage;
mod proof;

use std::collections::VecDeque;
use std::sync::Arc;

use domain::values::Timestamp;
use infrastructure::error::{AppendError, LogError};
use infrastructure::log::{Batch, EventLog, Head, Turn, append_durably};
use infrastructure::ports::{Clock, Ids, Observer, Step};
use infrastructure::quarantine::Voids;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::clock::{Compared, Comparing};
use self::proof::HeldBack;
use super::EngineConfig;
use super::draft::{Draft, Entry};
use super::handle::{Health, Stamp};
use super::request::CommandError;
use super::skew::{ClockSkew, ClockWatch, Comparison};
use super::state::State;
use super::submission::Submission;

/// After a conflict, this many appends in a row are made in turn; if no other node appended
/// meanwhile, the engine appends without turns again.
const QUIET_TURNS: u32 = 8;

/// Why the engine stopped for good. The log is unchanged; an operator has to intervene.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Shutdown was requested while the log was unreachable during an append. The next engine finds
    /// out whether that append was committed.
    #[error("the engine stopped before it knew whether its last batch is in the log")]
    LeftUnknown(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The engine's ends of the channels to its handle.
pub(super) struct EngineChannels {
    pub(super) requests: mpsc::Receiver<Submission>,
    pub(super) health: watch::Sender<Health>,
    pub(super) skew: watch::Sender<Option<ClockSkew>>,
    pub(super) nudge: Arc<Notify>,
    /// Many requests are queued: worth deciding them while a batch is in flight.
    pub(super) many_queued: Arc<Notify>,
    /// Receives the time of every decision.
    pub(super) stamp: Stamp,
    pub(super) stop: CancellationToken,
}

/// Made by [`super::load`]; does nothing until [`Engine::run`]. See [`super`].
pub struct Engine<L, C, I, O> {
    log: L,
    clock: C,
    ids: I,
    observer: O,
    config: EngineConfig,
    channels: EngineChannels,
    state: State,
    voids: Voids,
    /// The head that all responses so far rest on.
    head: Head,
    /// Other nodes' events up to the head that are not known to be durable yet.
    held_back: Vec<HeldBack>,
    /// Requests that wait to be decided again after a conflict, oldest first.
    backlog: VecDeque<Entry>,
    draft: Draft,
    in_flight: Option<InFlight>,
    /// Remaining appends to be made in turn, because another node appends too.
    turns: u32,
    /// The latest time at which anything was decided.
    latest: Timestamp,
    clock_watch: ClockWatch,
    comparing: Option<Comparing>,
    /// When the last batch was sent.
    sent_at: Instant,
    /// When the log is polled next, if nothing is appended before.
    next_poll: Instant,
}

/// A draft that was sent to the log. Without events it only confirms that the head is still the one
/// it was decided on: a refusal may rest on state that another node has changed, so it is confirmed
/// before the response.
struct InFlight {
    draft: Draft,
    batch: Arc<Batch>,
    outcome: JoinHandle<Result<(), AppendError>>,
}

/// Why the loop woke up.
enum Wake {
    Landed(Result<(), AppendError>),
    Compared(Compared),
    Compare,
    Deadline,
    Request(Option<Submission>),
    ManyQueued,
    Look,
    Stop,
}

impl<L: EventLog, C: Clock, I: Ids, O: Observer> Engine<L, C, I, O> {
    pub(super) fn new(
        log: L,
        clock: C,
        ids: I,
        observer: O,
        config: EngineConfig,
        channels: EngineChannels,
    ) -> Self {
        Self {
            log,
            clock,
            ids,
            observer,
            config,
            channels,
            state: State::default(),
            voids: Voids::default(),
            head: Head::default(),
            held_back: vec![],
            backlog: VecDeque::new(),
            draft: Draft::default(),
            in_flight: None,
            turns: 0,
            latest: Timestamp::default(),
            clock_watch: ClockWatch::new(config.max_clock_skew, config.clock_hold_off),
            comparing: None,
            sent_at: Instant::now(),
            next_poll: Instant::now(),
        }
    }

    /// Reads the log up to its current head, and returns once that is known to be durable.
    pub(super) async fn load(&mut self) -> Result<(), LogError> {
        let head = self.log.head().await?;
        self.load_to(head).await?;
        self.compare_at_start().await?;
        self.pass_barrier_at_start().await
    }

    /// Runs until shutdown is requested, then resolves the queued requests and returns.
    ///
    /// # Errors
    /// [`EngineError`] when continuing would do harm.
    pub async fn run(mut self) -> Result<(), EngineError> {
        let outcome = self.work().await;
        if let Err(stopped) = &outcome {
            error!(
                error = stopped as &dyn std::error::Error,
                "the engine stopped"
            );
            self.channels.health.send_replace(Health::Stopped);
        }
        outcome
    }

    async fn work(&mut self) -> Result<(), EngineError> {
        loop {
            match self.wake().await {
                Wake::Landed(outcome) => {
                    if let Some(InFlight { draft, batch, .. }) = self.in_flight.take() {
                        self.settle(draft, &batch, outcome).await?;
                    }
                }
                Wake::Compared(compared) => self.compared(compared)?,
                Wake::Compare => self.begin_to_compare(),
                Wake::Deadline => self.accept_waiting(),
                Wake::Request(Some(submission)) => self.accept(submission),
                Wake::ManyQueued => self.accept_waiting(),
                Wake::Look => self.look().await,
                Wake::Stop => self.channels.requests.close(),
                Wake::Request(None) if self.is_idle() => return Ok(()),
                Wake::Request(None) => {}
            }
            self.send_off().await?;
        }
    }

    async fn wake(&mut self) -> Wake {
        let has_room = self.has_room();
        // While nothing can be recorded or decided, a deadline would wake the loop again and again.
        let may_decide = self.is_live() && self.clock_watch.is_sound();
        // While nodes take turns, due work waits for the next turn, which waits for the batch in
        // flight.
        let may_decide = may_decide && (self.turns == 0 || self.in_flight.is_none());
        let may_work = may_decide && !self.must_stop() && self.draft.has_share(self.share());
        let next_deadline = self.state.next_deadline().filter(|_| may_work);
        let is_suspect = self.clock_watch.is_suspect();
        let compare_at = self.clock_watch.next_comparison();
        let is_comparing = self.comparing.is_some();
        let is_idle = self.is_idle();
        let is_in_flight = self.in_flight.is_some();
        let is_closed = self.channels.requests.is_closed();
        tokio::select! {
            biased;
            landed = landed(&mut self.in_flight) => Wake::Landed(landed),
            compared = clock::compared(&mut self.comparing) => Wake::Compared(compared),
            () = sleep_until(compare_at), if !is_comparing => Wake::Compare,
            () = until(&self.clock, next_deadline), if has_room => Wake::Deadline,
            () = self.channels.stop.cancelled(), if !is_closed => Wake::Stop,
            request = self.channels.requests.recv(), if !is_in_flight && !is_suspect && has_room && (!is_closed || is_idle || !self.channels.requests.is_empty()) => Wake::Request(request),
            () = self.channels.many_queued.notified(), if is_in_flight && has_room => Wake::ManyQueued,
            () = self.channels.nudge.notified(), if is_idle => Wake::Look,
            () = sleep_until(self.next_poll), if is_idle => Wake::Look,
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.draft.is_empty() && self.backlog.is_empty()
    }

    fn must_stop(&self) -> bool {
        self.channels.stop.is_cancelled()
    }

    fn is_live(&self) -> bool {
        *self.channels.health.borrow() == Health::Live
    }

    /// Sends the pending work to the log unless a batch is in flight.
    async fn send_off(&mut self) -> Result<(), EngineError> {
        if self.in_flight.is_some() {
            return Ok(());
        }
        // Until nothing is queued: one turn takes no more than one batch.
        while self.turns > 0 && self.is_live() && self.has_work() && self.clock_watch.is_sound() {
            self.take_turn().await?;
        }
        self.dispatch();
        Ok(())
    }

    /// Sends the draft unless a batch is in flight.
    fn dispatch(&mut self) {
        if self.in_flight.is_some() || !self.is_live() {
            return;
        }
        // While nodes take turns, new requests wait for the next turn.
        if self.turns == 0 {
            self.take_in_waiting();
        }
        self.decide_backlog();
        if self.draft.is_empty() {
            return;
        }
        let next = self.draft.next();
        let mut draft = std::mem::replace(&mut self.draft, next);
        let batch = Arc::new(draft.take_batch());
        debug_assert_eq!(batch.expected, self.head, "a draft rests on the head");
        self.report_waits(&draft);
        let (log, sent) = (self.log.clone(), Arc::clone(&batch));
        let is_durable = self.is_durable();
        let outcome = tokio::spawn(async move { append_durably(&log, &sent, is_durable).await });
        self.in_flight = Some(InFlight {
            draft,
            batch,
            outcome,
        });
    }

    /// Notes that `draft` is sent now.
    fn report_waits(&mut self, draft: &Draft) {
        self.sent_at = Instant::now();
        for wait in draft.waits(self.sent_at) {
            self.observer.waited(wait);
        }
        for (trace, queued_at) in draft.traced() {
            let took = self.sent_at.saturating_duration_since(queued_at);
            self.observer.traced(trace, Step::Queued { took });
        }
    }

    /// Reports the append to the traces of the requests in it.
    fn report_append(&mut self, draft: &Draft, batch: &Batch, outcome: &Result<(), AppendError>) {
        let step = Step::Appended {
            took: self.sent_at.elapsed(),
            events: batch.events.len(),
            outcome: match outcome {
                Ok(()) => "committed",
                Err(AppendError::Conflict) => "conflict",
                Err(AppendError::Unknown(_)) => "unknown",
                Err(
                    AppendError::TooLarge { .. }
                    | AppendError::FromFuture(_)
                    | AppendError::Rejected(_),
                ) => "refused",
            },
        };
        for (trace, _) in draft.traced() {
            self.observer.traced(trace, step);
        }
    }

    /// Reports whether anything is waiting to be decided or sent, or may be due.
    fn has_work(&mut self) -> bool {
        if !(self.draft.is_empty() && self.backlog.is_empty()) {
            return true;
        }
        let next_deadline = self.state.next_deadline().filter(|_| !self.must_stop());
        let now = self.now();
        next_deadline.zip(now).is_some_and(|(at, now)| at <= now)
    }

    /// Commits, retries or rolls back a draft, depending on the append's outcome.
    async fn settle(
        &mut self,
        draft: Draft,
        batch: &Batch,
        outcome: Result<(), AppendError>,
    ) -> Result<(), EngineError> {
        self.report_append(&draft, batch, &outcome);
        match outcome {
            Ok(()) => {
                self.commit(draft, batch);
                Ok(())
            }
            Err(AppendError::Conflict) => {
                self.lose_race(draft);
                Ok(())
            }
            Err(AppendError::Unknown(cause)) => self.resolve_unknown(draft, batch, cause).await,
            Err(too_large @ AppendError::TooLarge { .. }) => {
                self.refuse_draft(draft, &too_large);
                Ok(())
            }
            Err(AppendError::FromFuture(_)) => {
                self.reject_from_future(draft);
                Ok(())
            }
            Err(AppendError::Rejected(cause)) => {
                self.stop_writing(draft, &*cause);
                Ok(())
            }
        }
    }

    /// The draft was committed. The next batch is sent first, so that the log works while these
    /// responses are sent; not while nodes take turns, because a turn ends only after its own
    /// responses.
    fn commit(&mut self, draft: Draft, batch: &Batch) {
        self.head = batch.head();
        // Followed by an append of this engine, or by a barrier.
        self.release();
        self.postpone_poll();
        if self.turns == 0 {
            self.dispatch();
        }
        self.publish(draft, batch);
    }

    /// Observers come first, so that callers with a response can read their own write.
    fn publish(&mut self, draft: Draft, batch: &Batch) {
        let responses = if draft.has_events() {
            let (committed, responses) = draft.committed(batch);
            self.observer.committed(&committed);
            responses
        } else {
            draft.confirmed(batch.head())
        };
        responses.send();
    }

    /// The log's head is known: the next poll can wait.
    fn postpone_poll(&mut self) {
        self.next_poll = Instant::now() + self.config.follow_every;
    }

    /// Another node appended first: nothing that was decided since is valid.
    fn lose_race(&mut self, lost: Draft) {
        self.set_draft_aside();
        self.requeue(lost);
        self.turns = QUIET_TURNS;
        if !self.is_live() {
            // Nothing is decided again for now: an engine with queued requests does not poll the
            // log.
            let health = self.channels.health.borrow().clone();
            self.reject_waiting_with(health);
        }
    }

    /// The batch is larger than the log accepts, and a retry cannot succeed: its requests are
    /// rejected.
    fn refuse_draft(&mut self, refused: Draft, reason: &AppendError) {
        error!(
            error = reason as &dyn std::error::Error,
            "rejecting the requests of a batch that is too large"
        );
        self.set_draft_aside();
        for entry in refused.roll_back(&mut self.state) {
            entry.reject(CommandError::TooLarge);
        }
    }

    /// Several nodes append: wait for the append turn, follow the log to its head, decide
    /// everything that is queued, append.
    async fn take_turn(&mut self) -> Result<(), EngineError> {
        self.set_draft_aside();
        let asked = Instant::now();
        let turn = match self.log.take_turn().await {
            Ok(turn) => turn,
            Err(error) => {
                self.enter_outage(error);
                return Ok(());
            }
        };
        let clock = turn.clock();
        let comparison = clock.map(|shared| Comparison::since(asked, shared, &self.clock));
        let head = turn.head();
        self.turns = if head == self.head {
            self.turns - 1
        } else {
            QUIET_TURNS
        };
        if let Err(error) = self.follow_to(head).await {
            turn.pass().await;
            self.enter_outage(error);
            return Ok(());
        }
        if let Some(comparison) = &comparison {
            self.learn(comparison);
        }
        self.become_live();
        // As long as anything is due, turn follows turn; requests that arrived meanwhile must not
        // wait for the last turn.
        self.take_in_waiting();
        self.decide_backlog();
        let mut draft = std::mem::take(&mut self.draft);
        if !draft.has_events() {
            turn.pass().await;
            if let Err(error) = self.pass_barrier().await {
                self.requeue(draft);
                self.enter_outage(error);
                return Ok(());
            }
            draft.confirmed(self.head).send();
            return Ok(());
        }
        let batch = draft.take_batch();
        self.report_waits(&draft);
        let outcome = turn.append(&batch).await;
        self.settle(draft, &batch, outcome).await
    }

    /// A draft made before a turn is decided again in it, on the log as it is then.
    fn set_draft_aside(&mut self) {
        let draft = std::mem::take(&mut self.draft);
        self.requeue(draft);
    }

    /// Rolls a draft back and puts its requests at the front of the backlog.
    fn requeue(&mut self, draft: Draft) {
        let entries: Vec<Entry> = draft.roll_back(&mut self.state).collect();
        for entry in entries.into_iter().rev() {
            self.backlog.push_front(entry);
        }
    }
}

impl<L, C, I, O> Drop for Engine<L, C, I, O> {
    /// Marks the engine as stopped however it ends: by shutdown, by a panic, or with its runtime.
    fn drop(&mut self) {
        self.channels.health.send_if_modified(|health| {
            let is_news = !matches!(health, Health::Stopped);
            if is_news {
                *health = Health::Stopped;
            }
            is_news
        });
    }
}

async fn landed(in_flight: &mut Option<InFlight>) -> Result<(), AppendError> {
    let Some(in_flight) = in_flight else {
        return std::future::pending().await;
    };
    (&mut in_flight.outcome)
        .await
        .unwrap_or_else(|stopped| Err(AppendError::Unknown(stopped.into())))
}

async fn until<C: Clock>(clock: &C, deadline: Option<Timestamp>) {
    match deadline {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}
