//! The engine's interface for callers: submit a request, wait for its outcome, and fail fast when
//! the engine cannot record anything.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::decide::Standing;
use domain::values::{
    AdjustmentId, AdminName, HoldId, OrderId, PaymentId, Position, RefundId, Timestamp, WaitlistId,
};
use infrastructure::ports::Clock;
use infrastructure::unwritable::Unwritable;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, timeout};

use super::request::{
    Accepted, AdjustStock, CancelDrop, CancelOrder, ChangeHold, ChangeSale, CommandError,
    ConfirmPurchase, CreateCodes, ExtendHold, FulfilOrder, JoinWaitlist, LeaveWaitlist,
    LookUpBuyer, PlaceHold, PlaceOrder, PurchaseOrder, RecordPayment, RefundOrder, RefundPurchase,
    ReleaseHold, RescheduleDrop, ScheduleDrop, SetStock, SettleRefund, StartPayment,
};
use super::skew::{ClockFault, ClockSkew};
use super::submission::{AnyRequest, Decide, Submission, Submitted};

/// The engine's ability to record events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Live,
    /// The log is unreachable; the engine keeps retrying.
    Away {
        /// For people.
        reason: String,
        /// Why a database that responds records nothing; `None` if it does not respond.
        unwritable: Option<Unwritable>,
    },
    /// The log does not continue the history known to this node, or rejected a batch that was
    /// decided on its own head. The engine writes nothing to it. The server's log has the reason.
    Refused {
        /// The first invalid position.
        position: Position,
        /// True if only a restart makes the engine accept a repaired log.
        is_final: bool,
    },
    /// The log is reachable, but this node's clock, or the log's last time, is wrong: nothing is
    /// decided meanwhile.
    ClockFault(ClockFault),
    /// The engine has ended. The server's log has the reason.
    Stopped,
}

impl Health {
    /// The error of a request while the engine is not live. Nothing was recorded for it.
    #[must_use]
    pub(super) fn command_error(&self) -> CommandError {
        match self {
            Self::Refused { position, .. } => CommandError::LogRefused {
                position: *position,
            },
            Self::ClockFault(fault) => CommandError::ClockFault(*fault),
            Self::Live | Self::Away { .. } | Self::Stopped => CommandError::Unavailable,
        }
    }
}

/// Stamps arriving requests with the engine's clock, but never earlier than the latest decision.
#[derive(Clone)]
pub(super) struct Stamp {
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// In milliseconds.
    latest: Arc<AtomicI64>,
}

impl Stamp {
    pub(super) fn new(clock: impl Clock) -> Self {
        Self {
            clock: Arc::new(move || clock.now()),
            latest: Arc::default(),
        }
    }

    /// Records that a decision was made at `at`.
    pub(super) fn advance(&self, at: Timestamp) {
        self.latest.store(at.millis(), Ordering::Relaxed);
    }

    fn now(&self) -> Timestamp {
        let latest = Timestamp::from_millis(self.latest.load(Ordering::Relaxed));
        (self.clock)().max(latest)
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latest = &self.latest;
        f.debug_struct("Stamp")
            .field("latest", latest)
            .finish_non_exhaustive()
    }
}

/// Hands requests to the engine. Clones share it.
///
/// Each kind of request has a method, which returns once the outcome is in the log. Its error is
/// `Refused` by the rules; `Overloaded`, `Unavailable`, `ClockFault`, `LogRefused` or `Quarantined`
/// immediately, with nothing recorded; or `Undecided` when the outcome is not known within
/// [`super::EngineConfig::response_timeout`].
#[derive(Debug, Clone)]
pub struct EngineHandle {
    pub(super) queue: mpsc::Sender<Submission>,
    pub(super) health: watch::Receiver<Health>,
    pub(super) skew: watch::Receiver<Option<ClockSkew>>,
    pub(super) nudge: Arc<Notify>,
    pub(super) many_queued: Arc<Notify>,
    /// See [`super::EngineConfig::requests_per_wake`].
    pub(super) wake_every: usize,
    pub(super) response_timeout: Duration,
    pub(super) stamp: Stamp,
    /// See [`EngineHandle::by`].
    pub(super) author: Option<AdminName>,
}

impl EngineHandle {
    /// Returns a handle whose requests are those of this administrator: the name is stored in the
    /// metadata of the events that they record.
    #[must_use]
    pub fn by(&self, author: AdminName) -> Self {
        Self {
            author: Some(author),
            ..self.clone()
        }
    }

    /// Schedules a drop; the outcome has its id.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn schedule_drop(
        &self,
        request: ScheduleDrop,
    ) -> impl Future<Output = Result<Accepted, CommandError>> {
        self.submit(request)
    }

    /// Edits a drop's terms.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn reschedule_drop(
        &self,
        request: RescheduleDrop,
    ) -> impl Future<Output = Result<Accepted, CommandError>> {
        self.submit(request)
    }

    /// Publishes a draft, or interrupts or continues a sale.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn change_sale(
        &self,
        request: ChangeSale,
    ) -> impl Future<Output = Result<Accepted, CommandError>> {
        self.submit(request)
    }

    /// Cancels a drop.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn cancel_drop(
        &self,
        request: CancelDrop,
    ) -> impl Future<Output = Result<Accepted, CommandError>> {
        self.submit(request)
    }

    /// Adds or removes units.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn adjust_stock(
        &self,
        request: AdjustStock,
    ) -> impl Future<Output = Result<Accepted<AdjustmentId>, CommandError>> {
        self.submit(request)
    }

    /// Sets the total number of units.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn set_stock(
        &self,
        request: SetStock,
    ) -> impl Future<Output = Result<Accepted, CommandError>> {
        self.submit(request)
    }

    /// Places a hold.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn place_hold(
        &self,
        request: PlaceHold,
    ) -> impl Future<Output = Result<Accepted<HoldId>, CommandError>> {
        self.submit(request)
    }

    /// Lets a hold last longer.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn extend_hold(
        &self,
        request: ExtendHold,
    ) -> impl Future<Output = Result<Accepted, CommandError>> {
        self.submit(request)
    }

    /// Sets the number of units in a hold.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn change_hold(
        &self,
        request: ChangeHold,
    ) -> impl Future<Output = Result<Accepted, CommandError>> {
        self.submit(request)
    }

    /// Releases a hold.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn release_hold(
        &self,
        request: ReleaseHold,
    ) -> impl Future<Output = Result<Accepted, CommandError>> {
        self.submit(request)
    }

    /// Purchases a hold.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn confirm_purchase(
        &self,
        request: ConfirmPurchase,
    ) -> impl Future<Output = Result<Accepted, CommandError>> {
        self.submit(request)
    }

    /// Returns units of a purchase.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn refund_purchase(
        &self,
        request: RefundPurchase,
    ) -> impl Future<Output = Result<Accepted<RefundId>, CommandError>> {
        self.submit(request)
    }

    /// Joins the waitlist.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn join_waitlist(
        &self,
        request: JoinWaitlist,
    ) -> impl Future<Output = Result<Accepted<WaitlistId>, CommandError>> {
        self.submit(request)
    }

    /// Leaves the waitlist.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn leave_waitlist(
        &self,
        request: LeaveWaitlist,
    ) -> impl Future<Output = Result<Accepted, CommandError>> {
        self.submit(request)
    }

    /// Returns a buyer's holds and remaining limits.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn look_up_buyer(
        &self,
        request: LookUpBuyer,
    ) -> impl Future<Output = Result<Accepted<Standing>, CommandError>> {
        self.submit(request)
    }

    /// Creates access codes.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn create_codes(
        &self,
        request: CreateCodes,
    ) -> impl Future<Output = Result<Accepted, CommandError>> {
        self.submit(request)
    }

    /// Places an order.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn place_order(
        &self,
        request: PlaceOrder,
    ) -> impl Future<Output = Result<Accepted<OrderId>, CommandError>> {
        self.submit(request)
    }

    /// Purchases all holds of an order.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn purchase_order(
        &self,
        request: PurchaseOrder,
    ) -> impl Future<Output = Result<Accepted<OrderId>, CommandError>> {
        self.submit(request)
    }

    /// Cancels an order.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn cancel_order(
        &self,
        request: CancelOrder,
    ) -> impl Future<Output = Result<Accepted<OrderId>, CommandError>> {
        self.submit(request)
    }

    /// Moves the fulfilment of an order forward.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn fulfil_order(
        &self,
        request: FulfilOrder,
    ) -> impl Future<Output = Result<Accepted<OrderId>, CommandError>> {
        self.submit(request)
    }

    /// Starts a payment of an order.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn start_payment(
        &self,
        request: StartPayment,
    ) -> impl Future<Output = Result<Accepted<PaymentId>, CommandError>> {
        self.submit(request)
    }

    /// Records a provider's report about a payment.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn record_payment(
        &self,
        request: RecordPayment,
    ) -> impl Future<Output = Result<Accepted<PaymentId>, CommandError>> {
        self.submit(request)
    }

    /// Returns items of a paid order.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn refund_order(
        &self,
        request: RefundOrder,
    ) -> impl Future<Output = Result<Accepted<RefundId>, CommandError>> {
        self.submit(request)
    }

    /// Records how a provider settled a refund.
    ///
    /// # Errors
    /// See [`EngineHandle`].
    pub fn settle_refund(
        &self,
        request: SettleRefund,
    ) -> impl Future<Output = Result<Accepted<RefundId>, CommandError>> {
        self.submit(request)
    }

    async fn submit<R: Decide>(&self, request: R) -> Result<Accepted<R::Subject>, CommandError>
    where
        AnyRequest: From<Submitted<R>>,
    {
        {
            let health = self.health.borrow();
            if *health != Health::Live {
                return Err(health.command_error());
            }
        }
        let (submitted, reply) = Submitted::new(request);
        let submission = Submission {
            request: submitted.into(),
            arrived: self.stamp.now(),
            queued_at: Instant::now(),
            trace: trace_context::current(),
            author: self.author,
        };
        self.queue
            .try_send(submission)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => CommandError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => CommandError::Unavailable,
            })?;
        if self.queued().is_multiple_of(self.wake_every) {
            self.many_queued.notify_one();
        }
        match timeout(self.response_timeout, reply).await {
            Ok(Ok(outcome)) => outcome,
            // An engine that stopped in between may have recorded it.
            Ok(Err(_)) | Err(_) => Err(CommandError::Undecided),
        }
    }

    /// Makes the engine poll the log now, because a later position is known to exist.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }

    #[must_use]
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// The difference between this node's clock and the database's, as last measured; `None` for a
    /// log without a clock.
    #[must_use]
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        *self.skew.borrow()
    }

    /// Corrects `now`, read from this node's clock, to the database's clock while this node's is
    /// known to be wrong, and to the time before a jump while that is not believed, so that reads
    /// use the time that decides.
    #[must_use]
    pub fn corrected(&self, now: Timestamp) -> Timestamp {
        let Health::ClockFault(fault) = *self.health.borrow() else {
            return now;
        };
        let off_ms = match fault {
            ClockFault::Skewed { skew_ms: off_ms } | ClockFault::Jumped { jump_ms: off_ms } => {
                off_ms
            }
            ClockFault::LogAhead { .. } => 0,
        };
        Timestamp::from_millis(now.millis().saturating_sub(off_ms))
    }

    /// The number of queued requests.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// The largest number of queued requests; one more is [`CommandError::Overloaded`].
    #[must_use]
    pub fn queue_limit(&self) -> usize {
        self.queue.max_capacity()
    }
}
