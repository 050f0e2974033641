//! Given a history, when a command arrives, then these events follow: the vocabulary of tests of
//! decisions.
//!
//! ```
//! use domain::{Refusal, testing::*};
//!
//! given([drop_opened(2), hold_placed("h1", 2)])
//!     .when(place_hold("h2", 1))
//!     .then_refused(Refusal::SoldOut { requested: 1, available: 0 });
//! ```
//!
//! Everything that a test does not specify has a default: it happens at [`T0`], to buyer `ann`, at
//! 10 dollars per unit, and a hold lasts [`HOLD_SECONDS`]. [`Detail`] changes one of these:
//! `place_hold("h2", 1).by("bob").at(second(5))`.
//!
//! Promise: ids are derived from names, so equal names are equal ids in every run. The events of an
//! accepted command are also reverted, and the state compared with the one before.
//! Limit: a builder does not check the history; [`given`] panics if the aggregate would.

mod commands;
mod detail;
mod events;
mod order;
mod values;
mod waitlist;

pub use self::commands::*;
pub use self::detail::*;
pub use self::events::*;
pub use self::order::*;
pub use self::values::*;
pub use self::waitlist::*;

use crate::command::DropCommand;
use crate::decide::{Decision, Subject};
use crate::drop::DropAggregate;
use crate::event::DropEvent;
use crate::refusal::Refusal;
use crate::values::Timestamp;

/// The start of every test, in milliseconds since the Unix epoch: 2026-01-01T12:00:00.000Z.
pub const T0: i64 = 1_767_268_800_000;

/// How long a hold lasts under the default [`terms`], in seconds.
pub const HOLD_SECONDS: u32 = 60;

/// A history; see [`given`].
#[derive(Debug, Clone)]
pub struct Given {
    aggregate: DropAggregate,
}

/// The result of a command, to be checked by a `then` method.
#[derive(Debug, Clone)]
pub struct When {
    before: DropAggregate,
    outcome: Result<Decision, Refusal>,
}

/// A drop with this history, oldest event first.
///
/// # Panics
/// If a drop cannot have this history.
#[track_caller]
pub fn given(history: impl IntoIterator<Item = DropEvent>) -> Given {
    let mut aggregate = DropAggregate::default();
    for event in history {
        aggregate.evolve(&event);
    }
    Given { aggregate }
}

impl Given {
    #[must_use]
    pub fn when(self, command: DropCommand) -> When {
        let outcome = self.aggregate.decide(&command);
        When {
            before: self.aggregate,
            outcome,
        }
    }

    /// Decides `command` and then, like the engine, its consequences at the same time: offers to
    /// the waitlist, or the end of the holds and entries of a cancelled drop.
    ///
    /// # Panics
    /// If one decision has more than one event.
    #[must_use]
    #[track_caller]
    pub fn when_followed_up(self, command: DropCommand) -> When {
        let mut after = self.aggregate.clone();
        let serve = serve_waitlist();
        let serve = command.time().map_or(serve.clone(), |at| serve.at(at));
        let mut outcome = self.aggregate.decide(&command);
        if let Ok(decision) = &mut outcome {
            assert!(decision.events.len() <= 1, "more than one event");
            let mut newest = decision.events.clone();
            while let Some(event) = newest.pop() {
                after.evolve(&event);
                let followed =
                    [&DropCommand::SettleCancelled, &serve].map(|command| after.decide(command));
                let events = followed.into_iter().flatten().map(|made| made.events);
                newest = events.flatten().take(1).collect();
                decision.events.extend(newest.clone());
            }
        }
        When {
            before: self.aggregate,
            outcome,
        }
    }

    /// Returns the state after this history.
    #[must_use]
    pub fn aggregate(self) -> DropAggregate {
        self.aggregate
    }
}

impl When {
    /// Expects exactly these events, and continues with the extended history.
    ///
    /// # Panics
    /// If the command has a different result, or reverting its events does not restore the state.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = DropEvent>) -> Given {
        let expected: Vec<DropEvent> = events.into_iter().collect();
        let decision = match self.outcome {
            Ok(decision) => decision,
            Err(refusal) => panic!("expected {expected:#?}, but it was refused: {refusal}"),
        };
        assert_eq!(decision.events, expected, "different events than expected");
        let mut aggregate = self.before.clone();
        for event in &expected {
            aggregate.evolve(event);
        }
        let mut taken_back = aggregate.clone();
        for event in expected.iter().rev() {
            taken_back.revert(event);
        }
        assert_eq!(
            taken_back, self.before,
            "reverting the events does not restore the state"
        );
        Given { aggregate }
    }

    /// Expects this refusal; the history is unchanged.
    ///
    /// # Panics
    /// If the command was accepted, or refused for another reason.
    #[track_caller]
    pub fn then_refused(self, refusal: Refusal) -> Given {
        assert_eq!(self.outcome, Err(refusal));
        Given {
            aggregate: self.before,
        }
    }

    /// Expects success without events, because history already contains the result.
    ///
    /// # Panics
    /// If the command was refused, has events, or has another subject.
    #[track_caller]
    pub fn then_replays(self, subject: Subject) -> Given {
        let events = vec![];
        assert_eq!(self.outcome, Ok(Decision { events, subject }));
        Given {
            aggregate: self.before,
        }
    }
}

impl DropCommand {
    fn time(&self) -> Option<Timestamp> {
        match self {
            Self::ScheduleDrop(command) => Some(command.at),
            Self::RescheduleDrop(command) => Some(command.at),
            Self::CancelDrop(command) => Some(command.at),
            Self::PublishDrop(command) => Some(command.at),
            Self::PauseDrop(command) => Some(command.at),
            Self::ResumeDrop(command) => Some(command.at),
            Self::AdjustStock(command) => Some(command.at),
            Self::SetStock(command) => Some(command.at),
            Self::PlaceHold(command) => Some(command.at),
            Self::ExtendHold(command) => Some(command.at),
            Self::ChangeHold(command) => Some(command.at),
            Self::ReleaseHold(command) => Some(command.at),
            Self::ConfirmPurchase(command) => Some(command.at),
            Self::RefundPurchase(command) => Some(command.at),
            Self::ExpireHold(command) => Some(command.at),
            Self::JoinWaitlist(command) => Some(command.at),
            Self::LeaveWaitlist(command) => Some(command.at),
            Self::ServeWaitlist(command) => Some(command.at),
            Self::CreateCodes(command) => Some(command.at),
            Self::SettleCancelled => None,
        }
    }
}
