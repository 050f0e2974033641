//! The engine's loop: what it does next, and what it does when the log says no. See [`backlog`] for
//! what is decided when, [`follow`] for what others append, and [`outage`] for when the log says
//! nothing.

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
use infrastructure::log::{Batch, EventLog, Head, Turn, append_proven};
use infrastructure::ports::{Clock, Ids, Observer};
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
use super::handle::{Health, Stamp, Submission};
use super::request::CommandError;
use super::skew::{ClockSkew, ClockWatch, Comparison};
use super::state::State;

/// After a lost race, this many appends in a row are made in turn; if nobody else appended meanwhile, racing resumes.
const QUIET_TURNS: u32 = 8;

/// Why the engine stopped for good. The log is as it was; a person has to look.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Asked to stop while the log was away in the middle of an append: whether that landed is for the next engine to see.
    #[error("the engine stopped before it knew whether its last batch is in the log")]
    LeftUnknown(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The ends of the channels that the engine's handle holds the other ends of.
pub(super) struct Wires {
    pub(super) requests: mpsc::Receiver<Submission>,
    pub(super) health: watch::Sender<Health>,
    pub(super) skew: watch::Sender<Option<ClockSkew>>,
    pub(super) nudge: Arc<Notify>,
    /// Many requests wait: worth deciding them while a batch is on its way.
    pub(super) crowd: Arc<Notify>,
    /// Told of every time that something is decided at.
    pub(super) stamp: Stamp,
    pub(super) stop: CancellationToken,
}

/// See [`super`]. Made by [`super::load`]; does nothing until [`Engine::run`].
pub struct Engine<L, C, I, O> {
    log: L,
    clock: C,
    ids: I,
    observer: O,
    config: EngineConfig,
    wires: Wires,
    state: State,
    /// Positions without effect.
    voids: Voids,
    /// The head that everything answered so far rests on.
    head: Head,
    /// What others appended up to there, while it is not known to be durable.
    held_back: Vec<HeldBack>,
    /// Requests that lost a race and wait to be decided again, oldest first.
    backlog: VecDeque<Entry>,
    draft: Draft,
    in_flight: Option<InFlight>,
    /// Appends left to be made in turn, because somebody else appends too.
    turns: u32,
    /// The latest time that anything was decided at.
    latest: Timestamp,
    clock_watch: ClockWatch,
    comparing: Option<Comparing>,
    /// When the last batch was sent.
    sent_at: Instant,
    /// When the log is looked at next, should nothing be appended before.
    next_look: Instant,
}

/// A draft on its way to the log. Without events it is only a question: is the head still what this was decided on?
/// A refusal may rest on what another node has changed meanwhile, so it is confirmed before it is answered.
struct InFlight {
    draft: Draft,
    batch: Arc<Batch>,
    outcome: JoinHandle<Result<(), AppendError>>,
}

/// What the loop woke up for.
enum Wake {
    Landed(Result<(), AppendError>),
    Compared(Compared),
    Compare,
    Deadline,
    Request(Option<Submission>),
    Crowd,
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
        wires: Wires,
    ) -> Self {
        Self {
            log,
            clock,
            ids,
            observer,
            config,
            wires,
            state: State::default(),
            voids: Voids::default(),
            head: Head::default(),
            held_back: vec![],
            backlog: VecDeque::new(),
            draft: Draft::default(),
            in_flight: None,
            turns: 0,
            latest: Timestamp::default(),
            clock_watch: ClockWatch::new(config.max_clock_skew),
            comparing: None,
            sent_at: Instant::now(),
            next_look: Instant::now(),
        }
    }

    /// Reads what the log holds now, and returns once that is known to be durable.
    pub(super) async fn load(&mut self) -> Result<(), LogError> {
        let head = self.log.head().await?;
        self.load_to(head).await?;
        self.compare_at_start().await?;
        self.prove_start().await
    }

    /// Runs until asked to stop; then answers what waits, and returns.
    ///
    /// # Errors
    /// [`EngineError`] when going on would do harm.
    pub async fn run(mut self) -> Result<(), EngineError> {
        let outcome = self.work().await;
        if let Err(stopped) = &outcome {
            error!(
                error = stopped as &dyn std::error::Error,
                "the engine stopped"
            );
            let reason = with_causes(stopped);
            self.wires.health.send_replace(Health::Stopped { reason });
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
                Wake::Crowd => self.accept_waiting(),
                Wake::Look => self.look().await,
                Wake::Stop => self.wires.requests.close(),
                Wake::Request(None) if self.is_idle() => return Ok(()),
                Wake::Request(None) => {}
            }
            self.send_off().await?;
        }
    }

    async fn wake(&mut self) -> Wake {
        let has_room = self.has_room();
        // While nothing can be recorded, or decided, a deadline would only be met again and again.
        let may_decide = self.is_live() && self.clock_watch.is_sound();
        // In turn, what is due waits for the next turn, which waits for what is in flight.
        let may_decide = may_decide && (self.turns == 0 || self.in_flight.is_none());
        let may_work = may_decide && !self.must_stop() && self.draft.has_share(self.share());
        let next_deadline = self.state.next_deadline().filter(|_| may_work);
        let is_suspect = self.clock_watch.is_suspect();
        let compare_at = self.clock_watch.next_comparison();
        let is_comparing = self.comparing.is_some();
        let is_idle = self.is_idle();
        let is_in_flight = self.in_flight.is_some();
        let is_closed = self.wires.requests.is_closed();
        tokio::select! {
            biased;
            landed = landed(&mut self.in_flight) => Wake::Landed(landed),
            compared = clock::compared(&mut self.comparing) => Wake::Compared(compared),
            () = sleep_until(compare_at), if !is_comparing => Wake::Compare,
            () = until(&self.clock, next_deadline), if has_room => Wake::Deadline,
            () = self.wires.stop.cancelled(), if !is_closed => Wake::Stop,
            request = self.wires.requests.recv(), if !is_in_flight && !is_suspect && has_room && (!is_closed || is_idle || !self.wires.requests.is_empty()) => Wake::Request(request),
            () = self.wires.crowd.notified(), if is_in_flight && has_room => Wake::Crowd,
            () = self.wires.nudge.notified(), if is_idle => Wake::Look,
            () = sleep_until(self.next_look), if is_idle => Wake::Look,
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.draft.is_empty() && self.backlog.is_empty()
    }

    fn must_stop(&self) -> bool {
        self.wires.stop.is_cancelled()
    }

    fn is_live(&self) -> bool {
        *self.wires.health.borrow() == Health::Live
    }

    /// Sends what there is to the log if nothing else is on its way there.
    async fn send_off(&mut self) -> Result<(), EngineError> {
        if self.in_flight.is_some() {
            return Ok(());
        }
        // Until nothing waits: one turn takes no more than one batch.
        while self.turns > 0 && self.is_live() && self.has_work() && self.clock_watch.is_sound() {
            self.take_turn().await?;
        }
        self.dispatch();
        Ok(())
    }

    /// Sends the draft if nothing else is on its way.
    fn dispatch(&mut self) {
        if self.in_flight.is_some() || !self.is_live() {
            return;
        }
        // What comes while turns are taken waits for the next turn instead of racing.
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
        self.sent_at = Instant::now();
        let (log, sent) = (self.log.clone(), Arc::clone(&batch));
        let is_proven = self.is_proven();
        let outcome = tokio::spawn(async move { append_proven(&log, &sent, is_proven).await });
        self.in_flight = Some(InFlight {
            draft,
            batch,
            outcome,
        });
    }

    /// Whether anything waits to be decided or sent, or may be due.
    fn has_work(&mut self) -> bool {
        if !(self.draft.is_empty() && self.backlog.is_empty()) {
            return true;
        }
        let next_deadline = self.state.next_deadline().filter(|_| !self.must_stop());
        let now = self.now();
        next_deadline.zip(now).is_some_and(|(at, now)| at <= now)
    }

    /// What becomes of a draft once the log has said what it says about its batch.
    async fn settle(
        &mut self,
        draft: Draft,
        batch: &Batch,
        outcome: Result<(), AppendError>,
    ) -> Result<(), EngineError> {
        match outcome {
            Ok(()) => {
                self.commit(draft, batch);
                Ok(())
            }
            Err(AppendError::Conflict) => {
                self.lose_race(draft);
                Ok(())
            }
            Err(AppendError::Unknown(cause)) => self.find_out(draft, batch, cause).await,
            Err(too_large @ AppendError::TooLarge { .. }) => {
                self.refuse_draft(draft, &too_large);
                Ok(())
            }
            Err(AppendError::FromFuture(_)) => {
                self.be_refused(draft);
                Ok(())
            }
            Err(AppendError::Rejected(cause)) => {
                self.be_rejected(draft, &*cause);
                Ok(())
            }
        }
    }

    /// The draft is in the log. The next one goes on its way first, so that the log works while this one is answered;
    /// unless turns are taken, for a turn ends only after its own answers.
    fn commit(&mut self, draft: Draft, batch: &Batch) {
        self.head = batch.head();
        // An append of ours, or a barrier, has followed it.
        self.release();
        self.know_head();
        if self.turns == 0 {
            self.dispatch();
        }
        self.publish(draft, batch);
    }

    /// Followers first, so that whoever is answered finds their own write.
    fn publish(&mut self, draft: Draft, batch: &Batch) {
        let answers = if draft.has_events() {
            let (committed, answers) = draft.committed(batch);
            self.observer.committed(&committed);
            answers
        } else {
            draft.confirmed(batch.head())
        };
        answers.give();
    }

    /// The head that we know is the log's: there is no need to look for a while.
    fn know_head(&mut self) {
        self.next_look = Instant::now() + self.config.follow_every;
    }

    /// Somebody else appended first: nothing that was decided since stands.
    fn lose_race(&mut self, lost: Draft) {
        self.set_draft_aside();
        self.wait_again(lost);
        self.turns = QUIET_TURNS;
        if !self.is_live() {
            // Nothing is decided again for now: an engine with something that waits does not look at the log.
            let health = self.wires.health.borrow().clone();
            self.turn_away(health);
        }
    }

    /// The log takes no batch of that size, and never will: whoever asked for what it holds is
    /// refused.
    fn refuse_draft(&mut self, refused: Draft, reason: &AppendError) {
        error!(
            error = reason as &dyn std::error::Error,
            "refusing the requests of a batch that is too large"
        );
        self.set_draft_aside();
        for entry in refused.take_back(&mut self.state) {
            entry.answer(Err(CommandError::TooLarge));
        }
    }

    /// The log is contended: wait for the right to append, follow to the head, decide everything that waits, append.
    async fn take_turn(&mut self) -> Result<(), EngineError> {
        self.set_draft_aside();
        let asked = Instant::now();
        let turn = match self.log.take_turn().await {
            Ok(turn) => turn,
            Err(error) => {
                self.be_away(error);
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
            self.be_away(error);
            return Ok(());
        }
        if let Some(comparison) = &comparison {
            self.learn(comparison);
        }
        self.be_live();
        // As long as anything is due, turn follows turn: requests that came meanwhile must not wait
        // for the last.
        self.take_in_waiting();
        self.decide_backlog();
        let mut draft = std::mem::take(&mut self.draft);
        if !draft.has_events() {
            turn.pass().await;
            if let Err(error) = self.prove().await {
                self.wait_again(draft);
                self.be_away(error);
                return Ok(());
            }
            draft.confirmed(self.head).give();
            return Ok(());
        }
        let batch = draft.take_batch();
        self.sent_at = Instant::now();
        let outcome = turn.append(&batch).await;
        self.settle(draft, &batch, outcome).await
    }

    /// What was drafted before a turn is decided again in it, on what the log holds by then.
    fn set_draft_aside(&mut self) {
        let draft = std::mem::take(&mut self.draft);
        self.wait_again(draft);
    }

    /// Takes a draft back, newest event first, and puts its requests before all that wait.
    fn wait_again(&mut self, draft: Draft) {
        let entries: Vec<Entry> = draft.take_back(&mut self.state).collect();
        for entry in entries.into_iter().rev() {
            self.backlog.push_front(entry);
        }
    }
}

impl<L, C, I, O> Drop for Engine<L, C, I, O> {
    /// However the engine ends, by being asked to, by a panic, or with its runtime: nobody should believe that it is live.
    fn drop(&mut self) {
        self.wires.health.send_if_modified(|health| {
            let is_news = !matches!(health, Health::Stopped { .. });
            if is_news {
                let reason = "the engine has ended".to_owned();
                *health = Health::Stopped { reason };
            }
            is_news
        });
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
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
