//! A request on its way: with the caller that waits for it, and with the last decision about it.
//!
//! Promise: the outcome of a request has the type of the request, from the decision to the caller.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use domain::decide::Decision;
use domain::private::Private;
use domain::values::{DropId, Timestamp};
use domain::{DropEvent, Refusal};
use infrastructure::feed::Committed;
use tokio::sync::oneshot;

use super::draft::Context;
use super::request::{
    Accepted, AdjustStock, CancelDrop, ChangeHold, CommandError, ConfirmPurchase, ExtendHold,
    JoinWaitlist, LeaveWaitlist, LookUpBuyer, PlaceHold, RefundPurchase, ReleaseHold,
    RescheduleDrop, ScheduleDrop, SetStock,
};

/// A request that is decided by turning it into a command of its drop.
pub(super) trait Request: fmt::Debug + Sized {
    /// See [`Accepted::subject`].
    type Subject: fmt::Debug;

    fn decide(&self, context: &Context<'_>) -> DecisionResult<Self::Subject>;
}

/// The drop that decided, its decision, and the personal data that the event commits to.
pub(super) type DecisionResult<S> = Result<(DropId, Decision<S>, Option<Private>), Refusal>;

/// The events that an accepted request records: none, if it is a retry or a look-up.
#[derive(Debug)]
pub(super) struct NewEvents {
    pub(super) drop_id: DropId,
    pub(super) events: Vec<DropEvent>,
    pub(super) private: Option<Private>,
}

/// A request in the queue.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) request: AnyRequest,
    /// The arrival time, which decides if the request has to wait.
    pub(super) arrived: Timestamp,
}

/// A request, its caller, and the last decision about it, which is final once the batch that it is
/// in has committed.
#[derive(Debug)]
pub(super) struct Submitted<R: Request> {
    pub(super) request: R,
    reply: oneshot::Sender<Result<Accepted<R::Subject>, CommandError>>,
    outcome: Option<Result<(DropId, R::Subject), Refusal>>,
}

/// The caller's end of a request.
pub(super) type Reply<S> = oneshot::Receiver<Result<Accepted<S>, CommandError>>;

impl<R: Request> Submitted<R> {
    pub(super) fn new(request: R) -> (Self, Reply<R::Subject>) {
        let (reply, answer) = oneshot::channel();
        let submitted = Self {
            request,
            reply,
            outcome: None,
        };
        (submitted, answer)
    }

    fn decide(&mut self, context: &Context<'_>) -> Option<NewEvents> {
        let (outcome, new) = match self.request.decide(context) {
            Ok((drop_id, Decision { events, subject }, private)) => {
                let new = NewEvents {
                    drop_id,
                    events,
                    private,
                };
                (Ok((drop_id, subject)), Some(new))
            }
            Err(refusal) => (Err(refusal), None),
        };
        self.outcome = Some(outcome);
        new
    }

    fn respond(self, at: Timestamp, committed: &Arc<Committed>, events: Range<usize>) {
        let outcome = match self.outcome {
            Some(Ok((drop_id, subject))) => Ok(Accepted {
                drop_id,
                subject,
                at,
                committed: Arc::clone(committed),
                events,
            }),
            Some(Err(refusal)) => Err(CommandError::Refused { refusal, at }),
            None => Err(CommandError::Undecided),
        };
        // A caller that has gone away is not an error.
        let _gone = self.reply.send(outcome);
    }

    fn reject(self, error: CommandError) {
        let _gone = self.reply.send(Err(error));
    }
}

/// Declares the enum of all requests, and passes its methods on to the request.
macro_rules! requests {
    ($($kind:ident),* $(,)?) => {
        /// A request of any kind, for the queue and the draft.
        #[derive(Debug)]
        pub(super) enum AnyRequest {
            $($kind(Submitted<$kind>),)*
        }

        $(impl From<Submitted<$kind>> for AnyRequest {
            fn from(submitted: Submitted<$kind>) -> Self {
                Self::$kind(submitted)
            }
        })*

        impl AnyRequest {
            /// Decides the request and keeps the outcome, which replaces an earlier one. Returns
            /// the events to record; `None` if it is refused.
            pub(super) fn decide(&mut self, context: &Context<'_>) -> Option<NewEvents> {
                match self {
                    $(Self::$kind(submitted) => submitted.decide(context),)*
                }
            }

            /// Sends the outcome of the last decision, which is committed now.
            pub(super) fn respond(
                self,
                at: Timestamp,
                committed: &Arc<Committed>,
                events: Range<usize>,
            ) {
                match self {
                    $(Self::$kind(submitted) => submitted.respond(at, committed, events),)*
                }
            }

            /// Sends an error: nothing is recorded for this request.
            pub(super) fn reject(self, error: CommandError) {
                match self {
                    $(Self::$kind(submitted) => submitted.reject(error),)*
                }
            }

            /// Reports whether the caller has stopped waiting.
            pub(super) fn is_abandoned(&self) -> bool {
                match self {
                    $(Self::$kind(submitted) => submitted.reply.is_closed(),)*
                }
            }
        }
    };
}

requests! {
    ScheduleDrop,
    RescheduleDrop,
    CancelDrop,
    AdjustStock,
    SetStock,
    PlaceHold,
    ExtendHold,
    ChangeHold,
    ReleaseHold,
    ConfirmPurchase,
    RefundPurchase,
    JoinWaitlist,
    LeaveWaitlist,
    LookUpBuyer,
}
