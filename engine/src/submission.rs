//! A request on its way: with the caller that waits for it, and with the last decision about it.
//!
//! Promise: the outcome of a request has the type of the request, from the decision to the caller.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use domain::decide::Decision;
use domain::private::Private;
use domain::values::{AdminName, DropId, OrderId, Timestamp};
use domain::{DropEvent, OrderEvent, Refusal};
use infrastructure::feed::Committed;
use tokio::sync::oneshot;
use tokio::time::Instant;
use trace_context::Trace;

use super::draft::Context;
use super::request::{
    Accepted, AdjustStock, CancelDrop, CancelOrder, ChangeHold, ChangeSale, CommandError,
    ConfirmPurchase, CreateCodes, ExtendHold, FulfilOrder, JoinWaitlist, LeaveWaitlist,
    LookUpBuyer, PlaceHold, PlaceOrder, PurchaseOrder, RecordPayment, RefundOrder, RefundPurchase,
    ReleaseHold, RescheduleDrop, ScheduleDrop, SetStock, SettleRefund, StartPayment,
};

/// A request of any kind: of one drop ([`Request`]), or of an order and its drops.
pub(super) trait Decide: fmt::Debug + Sized {
    /// See [`Accepted::subject`].
    type Subject: fmt::Debug;

    fn decide_all(&self, context: &Context<'_>) -> Decided<Self::Subject>;
}

/// A drop that decided, the subject, and the events to record.
pub(super) type Decided<S> = Result<(DropId, S, NewEvents), Refusal>;

impl<R: Request> Decide for R {
    type Subject = R::Subject;

    fn decide_all(&self, context: &Context<'_>) -> Decided<R::Subject> {
        let (drop_id, Decision { events, subject }, private) = self.decide(context)?;
        let new = NewEvents::Drop {
            drop_id,
            events,
            private,
        };
        Ok((drop_id, subject, new))
    }
}

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
pub(super) enum NewEvents {
    Drop {
        drop_id: DropId,
        events: Vec<DropEvent>,
        private: Option<Private>,
    },
    Order(Box<NewOrderEvents>),
    None,
}

/// The events of an order and of its drops, in the order in which they are recorded.
#[derive(Debug)]
pub(super) struct NewOrderEvents {
    pub(super) order_id: OrderId,
    pub(super) orders: Vec<(OrderEvent, Option<Private>)>,
    pub(super) drops: Vec<(DropId, DropEvent, Option<Private>)>,
}

/// The events of one request among those that a batch records: of drops, and of orders.
#[derive(Debug, Clone, Default)]
pub(super) struct EventRanges {
    pub(super) drops: Range<usize>,
    pub(super) orders: Range<usize>,
}

impl EventRanges {
    /// Empty ranges at these indexes.
    pub(super) const fn at(drops: usize, orders: usize) -> Self {
        Self {
            drops: drops..drops,
            orders: orders..orders,
        }
    }

    /// From the start of these ranges to the start of `end`.
    pub(super) const fn until(self, end: Self) -> Self {
        Self {
            drops: self.drops.start..end.drops.start,
            orders: self.orders.start..end.orders.start,
        }
    }
}

/// A request in the queue.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) request: AnyRequest,
    /// The arrival time, which decides if the request has to wait.
    pub(super) arrived: Timestamp,
    /// When it was queued; measures its wait.
    pub(super) queued_at: Instant,
    /// The trace of its caller, if it belongs to one.
    pub(super) trace: Option<Arc<Trace>>,
    /// Its administrator, if it has one.
    pub(super) author: Option<AdminName>,
}

/// A request, its caller, and the last decision about it, which is final once the batch that it is
/// in has committed.
#[derive(Debug)]
pub(super) struct Submitted<R: Decide> {
    pub(super) request: R,
    reply: oneshot::Sender<Result<Accepted<R::Subject>, CommandError>>,
    outcome: Option<Result<(DropId, R::Subject), Refusal>>,
}

/// The caller's end of a request.
pub(super) type Reply<S> = oneshot::Receiver<Result<Accepted<S>, CommandError>>;

impl<R: Decide> Submitted<R> {
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
        let (outcome, new) = match self.request.decide_all(context) {
            Ok((drop_id, subject, new)) => (Ok((drop_id, subject)), Some(new)),
            Err(refusal) => (Err(refusal), None),
        };
        self.outcome = Some(outcome);
        new
    }

    fn respond(self, at: Timestamp, committed: &Arc<Committed>, events: EventRanges) {
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
                events: EventRanges,
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
    ChangeSale,
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
    CreateCodes,
    LookUpBuyer,
    PlaceOrder,
    PurchaseOrder,
    StartPayment,
    RecordPayment,
    RefundOrder,
    SettleRefund,
    CancelOrder,
    FulfilOrder,
}
