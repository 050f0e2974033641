//! Random sales, compared with a naive model: at least 100,000 commands per run, and a check after
//! every event.
//!
//! For each command: `decide` returns what [`model::Model`] predicts, returns it again when
//! repeated, and a stock `cqrs-es` program agrees. For each event: the model audits it
//! (conservation, limits, window, keys, deadlines), and the aggregate agrees with the model. For
//! each history: replaying the stored text gives the same state, a snapshot restores it, and
//! reverting the events, newest first, passes through every earlier state.
//!
//! A failure prints its seed (`cc …`) and the shortest history found. To run it first, add the line
//! to `properties.regressions` next to this folder; then write the example as a plain test.

mod histories;
mod model;
mod waitlist;

use std::collections::BTreeMap;
use std::sync::Mutex;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use domain::command::ServeWaitlist;
use domain::refusal::Limit;
use domain::testing::second;
use domain::values::Timestamp;
use domain::{DropAggregate, DropCommand, DropEvent, Refusal};
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use tokio::runtime::{Builder, Runtime};

use self::histories::{History, Writer, due, history_strategy};
use self::model::Model;

/// Histories per run. They have 150 commands on average, not counting the expiries in between.
const HISTORIES: u32 = 800;

#[test]
fn every_history_matches_the_naive_model() {
    let counts = Mutex::new(Counts::default());
    let runtime = Builder::new_current_thread().build().unwrap();
    let config = Config {
        cases: HISTORIES,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/properties.regressions",
        ))),
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&history_strategy(), |history| {
        let counted = Sale::new(&runtime).run(&history);
        counts.lock().unwrap().add(&counted);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let counts = counts.into_inner().unwrap();
    println!("{counts:#?}");
    counts.check();
}

/// One drop, run by the aggregate and by the model.
struct Sale<'a> {
    runtime: &'a Runtime,
    drop: DropAggregate,
    model: Model,
    /// Every event in its stored form, and the state before it.
    log: Vec<(String, DropAggregate)>,
    now: Timestamp,
    counts: Counts,
}

impl<'a> Sale<'a> {
    fn new(runtime: &'a Runtime) -> Self {
        Self {
            runtime,
            drop: DropAggregate::default(),
            model: Model::default(),
            log: vec![],
            now: second(0),
            counts: Counts::default(),
        }
    }

    fn run(mut self, history: &History) -> Counts {
        let mut writer = Writer::default();
        for (wait, ask) in &history.requests {
            self.now = writer.pass(wait, &self.model, self.now);
            if history.prompt {
                for command in due(&self.model, self.now) {
                    self.execute(command);
                    self.follow_up();
                }
            }
            let command = writer.write(ask, &self.model, self.now);
            self.execute(command);
            if history.prompt {
                self.follow_up();
            }
        }
        self.check_replay();
        self.check_snapshot();
        self.check_taking_back();
        self.counts
    }

    /// Sends follow-up commands until nothing is left.
    fn follow_up(&mut self) {
        while self.drop.is_closing() {
            self.execute(DropCommand::SettleCancelled);
        }
        while self.drop.next_entry_to_offer(self.now).is_some() {
            self.execute(DropCommand::ServeWaitlist(ServeWaitlist { at: self.now }));
        }
    }

    fn execute(&mut self, command: DropCommand) {
        let decided = self.drop.decide(&command);
        assert_eq!(decided, self.drop.decide(&command), "decided differently");
        let predicted = self.model.predict(&command);
        let came_to = decided.clone().map(|made| (made.events, made.subject));
        assert_eq!(came_to, predicted, "after {command:#?}");
        let events = decided.as_ref().map_or(0, |made| made.events.len());
        assert!(events <= 1, "a decision with several events: {command:#?}");
        self.counts
            .count(&decided.as_ref().map(|made| &made.events[..]));

        let (through_cqrs, copy) = self.through_cqrs(command);
        assert_eq!(through_cqrs, decided.clone().map(|made| made.events));
        let recorded = through_cqrs.is_ok_and(|events| !events.is_empty());
        for event in decided.into_iter().flat_map(|made| made.events) {
            let text = serde_json::to_string(&event).expect("an event to write");
            self.log.push((text, self.drop.clone()));
            self.drop.evolve(&event);
            self.model.record(&event);
            self.model.compare(&self.drop, self.now);
        }
        assert_eq!(copy.sequence(), self.drop.sequence());
        if recorded {
            assert_eq!(copy, self.drop, "cqrs-es has a different state");
        }
    }

    /// Returns the events of a stock program, and the state after them.
    fn through_cqrs(
        &self,
        command: DropCommand,
    ) -> (Result<Vec<DropEvent>, Refusal>, DropAggregate) {
        let mut copy = self.drop.clone();
        let sink = EventSink::default();
        let handled = self.runtime.block_on(copy.handle(command, &(), &sink));
        let events = self.runtime.block_on(sink.collect());
        assert!(
            handled.is_ok() || events.is_empty(),
            "refused, but recorded"
        );
        (handled.map(|()| events), copy)
    }

    fn check_replay(&self) {
        let mut replayed = DropAggregate::default();
        for (text, _) in &self.log {
            let event: DropEvent = serde_json::from_str(text).expect("an event to read");
            let again = serde_json::to_string(&event).expect("an event to write");
            assert_eq!(again, *text, "stored text changed");
            replayed.evolve(&event);
        }
        assert_eq!(replayed, self.drop);
    }

    fn check_snapshot(&self) {
        let text = serde_json::to_string(&self.drop).expect("a snapshot to write");
        let restored: DropAggregate = serde_json::from_str(&text).expect("a snapshot to read");
        assert_eq!(restored, self.drop);
    }

    fn check_taking_back(&mut self) {
        for (text, before) in self.log.iter().rev() {
            let event = serde_json::from_str(text).expect("an event to read");
            self.drop.revert(&event);
            assert_eq!(self.drop, *before, "{text} was not fully reverted");
        }
        assert_eq!(self.drop, DropAggregate::default());
    }
}

/// How often each outcome occurred, because a property over nothing proves nothing.
#[derive(Debug, Default)]
struct Counts {
    commands: u64,
    replays: u64,
    events: BTreeMap<&'static str, u64>,
    refusals: BTreeMap<&'static str, u64>,
}

impl Counts {
    fn count(&mut self, decided: &Result<&[DropEvent], &Refusal>) {
        self.commands += 1;
        match decided {
            Ok([]) => self.replays += 1,
            Ok(events) => {
                for event in *events {
                    *self.events.entry(name_of(event)).or_default() += 1;
                }
            }
            Err(refusal) => *self.refusals.entry(reason_of(refusal)).or_default() += 1,
        }
    }

    fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        self.replays += other.replays;
        for (name, count) in &other.events {
            *self.events.entry(name).or_default() += count;
        }
        for (name, count) in &other.refusals {
            *self.refusals.entry(name).or_default() += count;
        }
    }

    fn check(&self) {
        assert!(self.commands >= 100_000, "too few commands");
        assert!(self.replays >= 1_000, "too few replays");
        assert_eq!(self.events.len(), 16, "an event never occurred");
        assert_eq!(self.refusals.len(), 28, "a refusal never occurred");
        for (name, &count) in self.events.iter().chain(&self.refusals) {
            assert!(count >= 50, "{name} occurred only {count} times");
        }
    }
}

fn name_of(event: &DropEvent) -> &'static str {
    match event {
        DropEvent::HoldPlaced(placed) if placed.waitlist_entry.is_some() => "HoldPlaced, offered",
        DropEvent::DropScheduled(_)
        | DropEvent::DropDrafted(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPublished(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::HoldPlaced(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::HoldChanged(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::PurchaseRefunded(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_)
        | DropEvent::CodesCreated(_) => event.event_type(),
    }
}

fn reason_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::DropNotFound => "drop not found",
        Refusal::HoldNotFound => "hold not found",
        Refusal::OtherSpelling => "other spelling",
        Refusal::AlreadyScheduled => "already scheduled",
        Refusal::IdempotencyKeyReused => "key reused",
        Refusal::SoldOut { .. } => "sold out",
        Refusal::LimitReached { limit, .. } => match limit {
            Limit::PerHold => "limit per hold",
            Limit::PerBuyer => "limit per buyer",
        },
        Refusal::Throttled { .. } => "throttled",
        Refusal::NotLive { .. } => "not live",
        Refusal::Paused { .. } => "paused",
        Refusal::Draft => "of drafts: `pauses.rs`",
        Refusal::Ended { cancelled, .. } => match cancelled {
            true => "cancelled",
            false => "ended",
        },
        Refusal::CodeRequired
        | Refusal::CodeInvalid
        | Refusal::CodeExpired { .. }
        | Refusal::CodeSpent { .. }
        | Refusal::TooManyCodes { .. }
        | Refusal::CodesExpireBeforeOpening { .. } => "of access codes: `codes.rs`",
        Refusal::ChallengeRequired { .. } => "challenge required",
        Refusal::ExtensionLimit { .. } => "extension limit",
        Refusal::HoldExpired { .. } => "hold expired",
        Refusal::HoldReleased { .. } => "hold released",
        Refusal::HoldPurchased { .. } => "hold purchased",
        Refusal::PaymentReferenceConflict { .. } => "different payment",
        Refusal::PurchaseNotFound => "purchase not found",
        Refusal::NothingToRefund { .. } => "nothing to refund",
        Refusal::InsufficientStock { .. } => "insufficient stock",
        Refusal::TooMuchStock { .. } => "too much stock",
        Refusal::NotSoldOut { .. } => "not sold out",
        Refusal::AlreadyWaiting { .. } => "already waiting",
        Refusal::WaitlistFull { .. } => "waitlist full",
        Refusal::WaitlistEntryNotFound => "entry not found",
        Refusal::AlreadyOffered { .. } => "already offered",
        Refusal::StaleVersion { .. } => "stale version",
        Refusal::StaleStock { .. } => "stale stock",
        Refusal::EndsBeforeStart { .. } => "ends before start",
        Refusal::HoldInOrder { .. }
        | Refusal::OrderNotFound
        | Refusal::OrderPaid { .. }
        | Refusal::OrderReferenceConflict { .. }
        | Refusal::OrderCancelled { .. }
        | Refusal::OrderExpired { .. }
        | Refusal::OrderNotPaid { .. }
        | Refusal::FulfilmentOrder { .. }
        | Refusal::MixedCurrencies { .. }
        | Refusal::PaymentNotFound
        | Refusal::TooManyPayments { .. }
        | Refusal::RefundNotFound
        | Refusal::RefundSucceeded { .. }
        | Refusal::OfItem { .. } => "of an order: `orders.rs`",
    }
}
