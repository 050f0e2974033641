//! The payments and refunds of money of one order, as readers show them.
//!
//! Promise: a payment has succeeded if any of its intents has; the references of intents are here
//! until the buyer is erased.

use domain::order::{
    OrderEvent, PaymentArrivedLate, PaymentFailed, PaymentStarted, PaymentSucceeded, RefundCause,
    RefundOutcome, RefundRequested, RefundSettled,
};
use domain::values::{
    FailureCode, IntentDigest, Money, PaymentId, PaymentReference, Position, ProviderName, Reason,
    RefundId, Timestamp,
};
use infrastructure::codec::RecordedOrderEvent;

/// The state of a payment, or of a refund of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MoneyStatus {
    /// The provider has not reported a result.
    Pending,
    Succeeded,
    /// A payment was declined or cancelled; a refund did not reach the buyer. Both may still
    /// succeed.
    Failed,
}

impl MoneyStatus {
    /// The name in responses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// A payment that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRow {
    pub id: PaymentId,
    pub provider: ProviderName,
    /// The price of the order.
    pub amount: Money,
    pub started_at: Timestamp,
    /// The position of its start.
    pub position: Position,
    /// Why the provider declined or cancelled it, as first reported.
    pub failure: Option<FailureCode>,
    /// Those that succeeded, in the order of the log; more than one if the buyer paid twice.
    pub intents: Vec<IntentRow>,
}

/// An intent whose money the provider authorised or took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentRow {
    pub intent: IntentDigest,
    pub amount: Money,
    /// The provider's reference; `None` after an erasure.
    pub reference: Option<PaymentReference>,
    pub succeeded_at: Timestamp,
    /// The position of its success.
    pub position: Position,
    /// The order was over when the money arrived.
    pub late: bool,
    /// The money bought the order. Otherwise it is returned.
    pub is_sale: bool,
}

/// Money that is returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoneyRefundRow {
    pub id: RefundId,
    pub payment_id: PaymentId,
    pub intent: IntentDigest,
    pub amount: Money,
    pub cause: RefundCause,
    /// The administrator's reason, of a return.
    pub reason: Option<Reason>,
    pub requested_at: Timestamp,
    /// The position of its request.
    pub position: Position,
    pub status: MoneyStatus,
    /// Why it failed last; `None` if it did not, or has succeeded since.
    pub failure: Option<FailureCode>,
    /// When it succeeded or failed last.
    pub settled_at: Option<Timestamp>,
}

impl PaymentRow {
    #[must_use]
    pub fn status(&self) -> MoneyStatus {
        if !self.intents.is_empty() {
            MoneyStatus::Succeeded
        } else if self.failure.is_some() {
            MoneyStatus::Failed
        } else {
            MoneyStatus::Pending
        }
    }

    /// Reports whether any of its money arrived when the order was over.
    #[must_use]
    pub fn late(&self) -> bool {
        self.intents.iter().any(|intent| intent.late)
    }

    /// Reports whether any of its money bought the order.
    #[must_use]
    pub fn is_sale(&self) -> bool {
        self.intents.iter().any(|intent| intent.is_sale)
    }

    /// The reference of the intent that bought the order, otherwise of the first that succeeded.
    #[must_use]
    pub fn reference(&self) -> Option<&PaymentReference> {
        let mut sales = self.intents.iter().filter(|intent| intent.is_sale);
        let intent = sales.next().or_else(|| self.intents.first());
        intent?.reference.as_ref()
    }
}

/// The payments and refunds of one order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OrderPayments {
    /// In the order of their start.
    pub started: Vec<PaymentRow>,
    /// In the order of the log.
    pub refunds: Vec<MoneyRefundRow>,
}

impl OrderPayments {
    /// Returns the payment that describes the order: the one that bought it, otherwise the one that
    /// was started last.
    #[must_use]
    pub fn shown(&self) -> Option<&PaymentRow> {
        let mut sales = self.started.iter().filter(|payment| payment.is_sale());
        sales.next().or_else(|| self.started.last())
    }

    #[must_use]
    pub fn payment(&self, id: PaymentId) -> Option<&PaymentRow> {
        self.started.iter().find(|payment| payment.id == id)
    }

    #[must_use]
    pub fn refund(&self, id: RefundId) -> Option<&MoneyRefundRow> {
        self.refunds.iter().find(|refund| refund.id == id)
    }

    /// Returns the references of all intents, except erased ones.
    pub fn references(&self) -> impl Iterator<Item = &PaymentReference> {
        let intents = self.started.iter().flat_map(|payment| &payment.intents);
        intents.filter_map(|intent| intent.reference.as_ref())
    }

    /// Applies an event of the order. Others than those of payments and refunds change nothing,
    /// except a sale.
    pub fn apply(&mut self, recorded: &RecordedOrderEvent) {
        let position = recorded.position;
        match &recorded.event {
            OrderEvent::PaymentStarted(event) => self.start(event, position),
            OrderEvent::PaymentSucceeded(event) => {
                let private = recorded.private.as_ref();
                let reference = private.and_then(|private| private.payment_reference.clone());
                self.succeed(event, reference, position);
            }
            OrderEvent::PaymentFailed(event) => self.fail(event),
            OrderEvent::PaymentArrivedLate(event) => self.arrive_late(event),
            OrderEvent::OrderPaid(event) => {
                if let Some(intent) = event.intent.and_then(|intent| self.intent(intent)) {
                    intent.is_sale = true;
                }
            }
            OrderEvent::RefundRequested(event) => self.request(event, position),
            OrderEvent::RefundSettled(event) => self.settle(event),
            OrderEvent::OrderPlaced(_)
            | OrderEvent::OrderCancelled(_)
            | OrderEvent::OrderExpired(_)
            | OrderEvent::OrderFulfilled(_) => {}
        }
    }

    fn start(&mut self, event: &PaymentStarted, position: Position) {
        self.started.push(PaymentRow {
            id: event.payment_id,
            provider: event.provider.clone(),
            amount: event.amount,
            started_at: event.started_at,
            position,
            failure: None,
            intents: vec![],
        });
    }

    fn succeed(
        &mut self,
        event: &PaymentSucceeded,
        reference: Option<PaymentReference>,
        position: Position,
    ) {
        if let Some(payment) = self.payment_mut(event.payment_id) {
            payment.intents.push(IntentRow {
                intent: event.intent,
                amount: event.amount,
                reference,
                succeeded_at: event.succeeded_at,
                position,
                late: false,
                is_sale: false,
            });
        }
    }

    fn fail(&mut self, event: &PaymentFailed) {
        if let Some(payment) = self.payment_mut(event.payment_id) {
            payment.failure = Some(event.reason.clone());
        }
    }

    fn arrive_late(&mut self, event: &PaymentArrivedLate) {
        if let Some(intent) = self.intent(event.intent) {
            intent.late = true;
        }
    }

    fn request(&mut self, event: &RefundRequested, position: Position) {
        self.refunds.push(MoneyRefundRow {
            id: event.refund_id,
            payment_id: event.payment_id,
            intent: event.intent,
            amount: event.amount,
            cause: event.cause,
            reason: event.reason.clone(),
            requested_at: event.requested_at,
            position,
            status: MoneyStatus::Pending,
            failure: None,
            settled_at: None,
        });
    }

    fn settle(&mut self, event: &RefundSettled) {
        let mut refunds = self.refunds.iter_mut();
        if let Some(refund) = refunds.find(|refund| refund.id == event.refund_id) {
            (refund.status, refund.failure) = match event.outcome {
                RefundOutcome::Succeeded => (MoneyStatus::Succeeded, None),
                RefundOutcome::Failed => (MoneyStatus::Failed, event.reason.clone()),
            };
            refund.settled_at = Some(event.settled_at);
        }
    }

    fn payment_mut(&mut self, id: PaymentId) -> Option<&mut PaymentRow> {
        self.started.iter_mut().find(|payment| payment.id == id)
    }

    fn intent(&mut self, digest: IntentDigest) -> Option<&mut IntentRow> {
        let mut intents = self.started.iter_mut().flat_map(|made| &mut made.intents);
        intents.find(|intent| intent.intent == digest)
    }

    /// Removes the references, which identify the buyer.
    pub(crate) fn forget(&mut self) {
        for payment in &mut self.started {
            for intent in &mut payment.intents {
                intent.reference = None;
            }
        }
    }
}
