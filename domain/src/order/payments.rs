//! The money of an order: the payments that were started, the intents that succeeded, and the
//! refunds.
//!
//! Promise: every intent that succeeded has exactly one outcome, a sale or a refund, and the
//! refunds of an intent are at most its amount. Both are asserted where the state changes.
//! Limit: the outcome follows the success in the stream, so between the two events of one batch the
//! success has none.

use super::payment_event::{
    PaymentArrivedLate, PaymentFailed, PaymentStarted, PaymentSucceeded, RefundCause,
    RefundOutcome, RefundRequested, RefundSettled,
};
use crate::values::{
    FailureCode, IntentDigest, KeyDigest, Money, PaymentId, ProviderName, PurchaseId, Reason,
    RefundId, Timestamp,
};

/// The largest number of payments that are started for an order.
pub const MAX_PAYMENTS: usize = 10;

/// An attempt to pay an order with a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub id: PaymentId,
    /// The idempotency key that it was started with.
    pub key: Option<KeyDigest>,
    pub provider: ProviderName,
    /// The price of the order.
    pub amount: Money,
    pub started_at: Timestamp,
    /// Why the provider declined or cancelled it, as first reported. It may succeed nevertheless.
    pub failed: Option<FailureCode>,
}

/// The outcome of the money of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It bought the order.
    Sale,
    /// It bought nothing and is returned.
    Refund,
}

/// An intent whose money the provider authorised or took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    pub payment_id: PaymentId,
    pub intent: IntentDigest,
    pub amount: Money,
    pub succeeded_at: Timestamp,
    /// True if the order was over when the money arrived.
    pub is_late: bool,
    /// `None` only between the events of one batch.
    pub outcome: Option<Outcome>,
}

/// Money that is returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoneyRefund {
    pub id: RefundId,
    /// The idempotency key that it was requested with.
    pub key: Option<KeyDigest>,
    pub payment_id: PaymentId,
    pub intent: IntentDigest,
    pub amount: Money,
    pub cause: RefundCause,
    pub requested_at: Timestamp,
    /// The administrator's, of a return.
    pub reason: Option<Reason>,
    /// `None` until the provider settles it.
    pub settled: Option<Settlement>,
}

/// How a refund ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    pub outcome: RefundOutcome,
    /// The provider's code of a failure.
    pub reason: Option<FailureCode>,
    pub settled_at: Timestamp,
}

/// The payment of a paid order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    /// The purchases, in the order of the items.
    pub purchases: Box<[PurchaseId]>,
    /// The payment and the intent that bought the order; `None` if the shop took the money itself.
    pub paid_by: Option<(PaymentId, IntentDigest)>,
}

/// The payments and refunds of one order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payments {
    started: Vec<Payment>,
    successes: Vec<Success>,
    refunds: Vec<MoneyRefund>,
    /// The success whose outcome must be the next event.
    unresolved: Option<IntentDigest>,
}

impl Payments {
    /// Returns the payments, in the order of their start.
    #[must_use]
    pub fn started(&self) -> &[Payment] {
        &self.started
    }

    /// Returns the intents that succeeded, in the order of the log.
    #[must_use]
    pub fn successes(&self) -> &[Success] {
        &self.successes
    }

    /// Returns the refunds of money, in the order of the log.
    #[must_use]
    pub fn refunds(&self) -> &[MoneyRefund] {
        &self.refunds
    }

    #[must_use]
    pub fn payment(&self, id: PaymentId) -> Option<&Payment> {
        self.started.iter().find(|payment| payment.id == id)
    }

    #[must_use]
    pub fn payment_by_key(&self, key: KeyDigest) -> Option<&Payment> {
        self.started.iter().find(|payment| payment.key == Some(key))
    }

    #[must_use]
    pub fn success(&self, intent: IntentDigest) -> Option<&Success> {
        self.successes
            .iter()
            .find(|success| success.intent == intent)
    }

    #[must_use]
    pub fn refund(&self, id: RefundId) -> Option<&MoneyRefund> {
        self.refunds.iter().find(|refund| refund.id == id)
    }

    #[must_use]
    pub fn refund_by_key(&self, key: KeyDigest) -> Option<&MoneyRefund> {
        self.refunds.iter().find(|refund| refund.key == Some(key))
    }

    /// Returns the money of an intent that is returned, settled or not, in minor units.
    #[must_use]
    pub fn refunded(&self, intent: IntentDigest) -> i64 {
        let refunds = self.refunds.iter();
        let of_intent = refunds.filter(|refund| refund.intent == intent);
        of_intent.map(|refund| refund.amount.amount).sum()
    }

    /// Asserts that a success without an outcome is followed by it.
    pub(super) fn assert_order(&self, next: Option<IntentDigest>) {
        assert!(
            self.unresolved.is_none() || self.unresolved == next,
            "the outcome of a payment does not follow its success"
        );
    }

    pub(super) fn start(&mut self, event: &PaymentStarted) {
        assert!(
            self.payment(event.payment_id).is_none(),
            "a payment was started twice"
        );
        self.started.push(Payment {
            id: event.payment_id,
            key: event.key,
            provider: event.provider.clone(),
            amount: event.amount,
            started_at: event.started_at,
            failed: None,
        });
    }

    pub(super) fn unstart(&mut self) {
        self.started.pop().expect("a payment to revert");
    }

    pub(super) fn succeed(&mut self, event: &PaymentSucceeded) {
        assert!(
            self.payment(event.payment_id).is_some(),
            "a payment succeeded that was not started"
        );
        assert!(
            self.success(event.intent).is_none(),
            "an intent succeeded twice"
        );
        self.successes.push(Success {
            payment_id: event.payment_id,
            intent: event.intent,
            amount: event.amount,
            succeeded_at: event.succeeded_at,
            is_late: false,
            outcome: None,
        });
        self.unresolved = Some(event.intent);
    }

    pub(super) fn revert_success(&mut self) {
        self.successes.pop().expect("a success to revert");
        self.unresolved = None;
    }

    pub(super) fn fail(&mut self, event: &PaymentFailed) {
        let payment = self.payment_mut(event.payment_id);
        let payment = payment.expect("a payment failed that was not started");
        assert!(payment.failed.is_none(), "a payment failed twice");
        payment.failed = Some(event.reason.clone());
    }

    pub(super) fn unfail(&mut self, event: &PaymentFailed) {
        let payment = self.payment_mut(event.payment_id);
        payment.expect("a failure to revert").failed = None;
    }

    fn payment_mut(&mut self, id: PaymentId) -> Option<&mut Payment> {
        self.started.iter_mut().find(|payment| payment.id == id)
    }

    pub(super) fn arrive_late(&mut self, event: &PaymentArrivedLate, is_late: bool) {
        let success = self.newest_of(event.payment_id, event.intent);
        assert!(success.is_late != is_late, "a payment arrived late twice");
        success.is_late = is_late;
    }

    /// The success that waits for its outcome, or whose outcome is reverted.
    fn newest_of(&mut self, payment_id: PaymentId, intent: IntentDigest) -> &mut Success {
        let success = self.successes.last_mut();
        let success = success.filter(|success| success.intent == intent);
        let success = success.expect("the outcome of a payment that did not just succeed");
        assert!(
            success.payment_id == payment_id,
            "the outcome of an intent names a different payment"
        );
        success
    }

    /// Gives the newest success its outcome. Returns its amount, and if it was late.
    pub(super) fn resolve(
        &mut self,
        payment_id: PaymentId,
        intent: IntentDigest,
        outcome: Outcome,
    ) -> (Money, bool) {
        assert!(
            self.unresolved.take() == Some(intent),
            "an outcome of a payment that has one, or did not succeed"
        );
        let success = self.newest_of(payment_id, intent);
        success.outcome = Some(outcome);
        (success.amount, success.is_late)
    }

    pub(super) fn unresolve(&mut self, payment_id: PaymentId, intent: IntentDigest) {
        self.newest_of(payment_id, intent).outcome = None;
        self.unresolved = Some(intent);
    }

    pub(super) fn request_refund(&mut self, event: &RefundRequested) {
        assert!(
            self.refund(event.refund_id).is_none(),
            "a refund was requested twice"
        );
        let money = if event.cause.is_automatic() {
            let (money, _) = self.resolve(event.payment_id, event.intent, Outcome::Refund);
            assert!(
                money == event.amount,
                "a payment that bought nothing is not returned as a whole"
            );
            money
        } else {
            let success = self.success(event.intent);
            let success = success.expect("a refund of an intent that did not succeed");
            assert!(
                success.payment_id == event.payment_id && success.outcome == Some(Outcome::Sale),
                "a return of money that did not buy the order"
            );
            success.amount
        };
        let left = money.amount - self.refunded(event.intent);
        assert!(
            event.amount.currency == money.currency && (0..=left).contains(&event.amount.amount),
            "more money refunded than was paid"
        );
        self.refunds.push(MoneyRefund {
            id: event.refund_id,
            key: event.key,
            payment_id: event.payment_id,
            intent: event.intent,
            amount: event.amount,
            cause: event.cause,
            requested_at: event.requested_at,
            reason: event.reason.clone(),
            settled: None,
        });
    }

    pub(super) fn unrequest_refund(&mut self, event: &RefundRequested) {
        self.refunds.pop().expect("a refund to revert");
        if event.cause.is_automatic() {
            self.unresolve(event.payment_id, event.intent);
        }
    }

    pub(super) fn settle(&mut self, event: &RefundSettled) {
        let refund = self.refund_mut(event.refund_id);
        let refund = refund.expect("a refund was settled that was not requested");
        let before = refund.settled.as_ref().map(|settled| settled.outcome);
        assert!(
            before != Some(RefundOutcome::Succeeded),
            "a refund was settled after it had succeeded"
        );
        assert!(before != Some(event.outcome), "a refund failed twice");
        refund.settled = Some(Settlement {
            outcome: event.outcome,
            reason: event.reason.clone(),
            settled_at: event.settled_at,
        });
    }

    pub(super) fn unsettle(&mut self, id: RefundId, before: Option<Settlement>) {
        let refund = self.refund_mut(id);
        refund.expect("a settlement to revert").settled = before;
    }

    fn refund_mut(&mut self, id: RefundId) -> Option<&mut MoneyRefund> {
        self.refunds.iter_mut().find(|refund| refund.id == id)
    }

    /// A void event has no effect. If it was an outcome, its success keeps none.
    pub(super) fn skip_void(&mut self) {
        self.unresolved = None;
    }
}
