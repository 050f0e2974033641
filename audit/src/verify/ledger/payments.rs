//! The money of orders: payments that were started, intents that succeeded, and refunds.
//!
//! Promise: money that a provider took ends as exactly one of a sale of the whole order and a
//! refund of the whole money, recorded with its success, for a cause that the order has. No more
//! money of an intent is returned than was paid; money of a sale returns with goods of the same
//! price; a refund is settled once. The deadline of an order moves only when a payment starts,
//! with all of its holds and within the terms of its drops.
//! Limit: that late money was returned although its units were free is not found, because the log
//! does not have the policy of the shop. Memory grows with the orders that had a payment, by some
//! 400 bytes and 100 for each item.
//!
//! Source: docs/decisions/0061-a-payment-has-one-outcome.md.

use std::collections::VecDeque;

use domain::order::payments::MAX_PAYMENTS;
use domain::order::{
    OrderEvent, OrderItem, OrderPaid, OrderStatus, PaymentArrivedLate, PaymentFailed,
    PaymentStarted, PaymentSucceeded, RefundCause, RefundOutcome, RefundRequested, RefundSettled,
};
use domain::values::{
    IntentDigest, KeyDigest, MaxHoldSeconds, Money, OrderId, PaymentId, PaymentReference,
    ProviderName, Pseudonym, PurchaseId, RefundId, Timestamp,
};

use super::super::Check;
use super::due::{Deadline, Due, Goods, Success};
use super::{Ledger, written};
use crate::violation::{Fault, expect};

/// The numbers of payments and refunds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PaymentCounts {
    /// Payments that were started.
    pub started: u64,
    /// Intents whose money a provider authorised or took.
    pub succeeded: u64,
    /// Intents whose money bought an order.
    pub sales: u64,
    /// Refunds whose money was returned.
    pub refunds_settled: u64,
    /// Refunds that are not settled, or failed.
    pub refunds_open: u64,
}

impl PaymentCounts {
    /// Describes them in a sentence; `None` if no payment was started.
    #[must_use]
    pub fn sentence(self) -> Option<String> {
        let Self {
            started,
            succeeded,
            sales,
            refunds_settled,
            refunds_open,
        } = self;
        (started > 0).then(|| {
            format!(
                "payments: {started} started, {succeeded} succeeded, {sales} sales, {refunds_settled} refunds settled, {refunds_open} refunds open"
            )
        })
    }
}

/// The payments and refunds of an order, with the items that a late sale and a return need.
#[derive(Debug)]
pub(super) struct OrderMoney {
    /// The items, with the buyer in each drop.
    items: Vec<(OrderItem, Pseudonym)>,
    total: Money,
    payments: Vec<PaymentAccount>,
    intents: Vec<IntentAccount>,
    refunds: Vec<RefundAccount>,
    /// The intent that bought the order, and the purchases in the order of the items.
    sale: Option<(IntentDigest, Vec<PurchaseId>)>,
}

#[derive(Debug)]
struct PaymentAccount {
    id: PaymentId,
    key: Option<KeyDigest>,
    provider: ProviderName,
    started_at: Timestamp,
    has_failed: bool,
}

#[derive(Debug)]
struct IntentAccount {
    digest: IntentDigest,
    payment_id: PaymentId,
    amount: Money,
    /// The money that is returned, in minor units.
    refunded: i64,
}

#[derive(Debug)]
struct RefundAccount {
    id: RefundId,
    requested_at: Timestamp,
    settled: Option<RefundOutcome>,
}

impl Success {
    /// Reports whether the event is the outcome, or announces it.
    pub(super) fn is_resolved_by(&self, event: &OrderEvent) -> bool {
        match event {
            OrderEvent::OrderPaid(event) => event.intent == Some(self.intent),
            OrderEvent::PaymentArrivedLate(event) => event.intent == self.intent && !self.is_late,
            OrderEvent::RefundRequested(event) => {
                event.intent == self.intent && event.cause != RefundCause::Return
            }
            OrderEvent::OrderPlaced(_)
            | OrderEvent::OrderCancelled(_)
            | OrderEvent::OrderExpired(_)
            | OrderEvent::OrderFulfilled(_)
            | OrderEvent::PaymentStarted(_)
            | OrderEvent::PaymentSucceeded(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::RefundSettled(_) => false,
        }
    }
}

impl OrderMoney {
    fn payment(&mut self, payment_id: PaymentId) -> Result<&mut PaymentAccount, Fault> {
        let mut payments = self.payments.iter_mut();
        let payment = payments.find(|payment| payment.id == payment_id);
        payment.ok_or_else(|| format!("payment {payment_id} was never started").into())
    }

    /// Counts returned money against its intent.
    fn take_back(&mut self, event: &RefundRequested) -> Check {
        let mut intents = self.intents.iter_mut();
        let intent = intents.find(|intent| intent.digest == event.intent);
        let Some(intent) = intent else {
            let intent = event.intent;
            return Err(
                format!("money is returned of intent {intent}, which never succeeded").into(),
            );
        };
        expect("payment of the intent", intent.payment_id, event.payment_id)?;
        let (paid, back) = (intent.amount, event.amount);
        let left = paid.amount.saturating_sub(intent.refunded);
        if back.currency != paid.currency || !(0..=left).contains(&back.amount) {
            return Err(format!(
                "{} of an intent are returned, but {} were paid and {} of that returned before",
                written(back),
                written(paid),
                intent.refunded
            )
            .into());
        }
        intent.refunded += back.amount;
        if self
            .refunds
            .iter()
            .any(|refund| refund.id == event.refund_id)
        {
            return Err(format!("refund {} was requested twice", event.refund_id).into());
        }
        self.refunds.push(RefundAccount {
            id: event.refund_id,
            requested_at: event.requested_at,
            settled: None,
        });
        Ok(())
    }
}

impl Ledger {
    /// The numbers of payments and refunds so far.
    pub(in crate::verify) fn payment_counts(&self) -> PaymentCounts {
        let mut counts = PaymentCounts::default();
        let accounts = self.orders.accounts.values();
        for money in accounts.filter_map(|account| account.money.as_ref()) {
            let is_settled =
                |refund: &&RefundAccount| refund.settled == Some(RefundOutcome::Succeeded);
            let settled = money.refunds.iter().filter(is_settled).count() as u64;
            counts.started += money.payments.len() as u64;
            counts.succeeded += money.intents.len() as u64;
            counts.sales += u64::from(money.sale.is_some());
            counts.refunds_settled += settled;
            counts.refunds_open += money.refunds.len() as u64 - settled;
        }
        counts
    }

    fn status_of(&self, order_id: OrderId) -> Option<OrderStatus> {
        self.orders.accounts.get(&order_id)?.status
    }

    fn money_of(&mut self, order_id: OrderId) -> Result<&mut OrderMoney, Fault> {
        let account = self.orders.accounts.get_mut(&order_id);
        let money = account.and_then(|account| account.money.as_deref_mut());
        money.ok_or_else(|| format!("no payment of order {order_id} was ever started").into())
    }

    pub(super) fn payment_started(&mut self, order_id: OrderId, event: &PaymentStarted) -> Check {
        let payment_id = event.payment_id;
        let account = self.orders.accounts.entry(order_id).or_default();
        let Some(pending) = &account.pending else {
            let is = account.status.map_or("never placed", OrderStatus::name);
            return Err(format!(
                "payment {payment_id} of order {order_id} was started, but it is {is}"
            )
            .into());
        };
        let (items, total) = (pending.items.clone(), pending.total);
        let (placed_at, deadline) = (pending.placed_at, pending.expires_at);
        expect(
            "amount of the payment",
            written(total),
            written(event.amount),
        )?;
        if event.started_at < placed_at || event.started_at >= deadline {
            return Err(format!(
                "payment {payment_id} was started at {}, but order {order_id} was placed at {placed_at} and its deadline was {deadline}",
                event.started_at
            )
            .into());
        }
        let (mut buyers, mut latest) = (Vec::with_capacity(items.len()), None::<Timestamp>);
        for item in &items {
            let terms = self.open_account(item.drop_id)?.terms()?;
            let limit = terms.max_hold_seconds.map_or(0, MaxHoldSeconds::get);
            let until = placed_at.plus_seconds(limit.max(terms.hold_seconds.get()));
            latest = Some(latest.map_or(until, |latest| latest.min(until)));
            let hold = self.holds.get(&item.hold_id);
            let hold = hold.ok_or_else(|| {
                let hold_id = item.hold_id;
                format!("payment {payment_id} was started, but hold {hold_id} of its order is over")
            })?;
            buyers.push(hold.buyer);
        }
        let expires_at = latest.map_or(deadline, |latest| latest.max(deadline));
        expect("expires_at of the order", expires_at, event.expires_at)?;
        if expires_at > deadline {
            let extensions = items.iter().map(|item| Due::Extension {
                drop_id: item.drop_id,
                hold_id: item.hold_id,
                extended_at: event.started_at,
                expires_at,
            });
            self.orders.dues.events = extensions.collect();
        }
        let account = self.orders.accounts.entry(order_id).or_default();
        if let Some(pending) = &mut account.pending {
            pending.expires_at = expires_at;
        }
        let money = account.money.get_or_insert_with(|| {
            Box::new(OrderMoney {
                items: items.into_iter().zip(buyers).collect(),
                total,
                payments: vec![],
                intents: vec![],
                refunds: vec![],
                sale: None,
            })
        });
        if money.payments.len() >= MAX_PAYMENTS {
            return Err(format!(
                "more than {MAX_PAYMENTS} payments of order {order_id} were started"
            )
            .into());
        }
        let mut payments = money.payments.iter();
        if payments.any(|payment| event.key.is_some() && payment.key == event.key) {
            return Err(format!(
                "the idempotency key was used before for a payment of order {order_id}"
            )
            .into());
        }
        money.payments.push(PaymentAccount {
            id: payment_id,
            key: event.key,
            provider: event.provider.clone(),
            started_at: event.started_at,
            has_failed: false,
        });
        Ok(())
    }

    pub(super) fn payment_succeeded(
        &mut self,
        order_id: OrderId,
        event: &PaymentSucceeded,
        reference: Option<&PaymentReference>,
    ) -> Check {
        let money = self.money_of(order_id)?;
        let payment = money.payment(event.payment_id)?;
        if let Some(reference) = reference {
            let digest = IntentDigest::new(&payment.provider, reference);
            expect("intent of the stored reference", digest, event.intent)?;
        }
        not_before("it succeeded", event.succeeded_at, payment.started_at)?;
        if event.amount.amount < 0 {
            let amount = written(event.amount);
            return Err(format!("payment {} is of {amount}", event.payment_id).into());
        }
        let mut intents = money.intents.iter();
        if intents.any(|intent| intent.digest == event.intent) {
            let intent = event.intent;
            return Err(format!("intent {intent} of order {order_id} succeeded twice").into());
        }
        money.intents.push(IntentAccount {
            digest: event.intent,
            payment_id: event.payment_id,
            amount: event.amount,
            refunded: 0,
        });
        self.orders.dues.success = Some(Success {
            order_id,
            payment_id: event.payment_id,
            intent: event.intent,
            amount: event.amount,
            at: event.succeeded_at,
            is_late: false,
        });
        Ok(())
    }

    pub(super) fn payment_failed(&mut self, order_id: OrderId, event: &PaymentFailed) -> Check {
        let payment_id = event.payment_id;
        let money = self.money_of(order_id)?;
        let mut intents = money.intents.iter();
        let has_succeeded = intents.any(|intent| intent.payment_id == payment_id);
        let payment = money.payment(payment_id)?;
        if payment.has_failed || has_succeeded {
            return Err(format!("payment {payment_id} failed, but it had ended before").into());
        }
        not_before("it failed", event.failed_at, payment.started_at)?;
        payment.has_failed = true;
        Ok(())
    }

    pub(super) fn payment_arrived_late(
        &mut self,
        order_id: OrderId,
        event: &PaymentArrivedLate,
        success: Option<Success>,
    ) -> Check {
        let Some(success) = success else {
            let payment_id = event.payment_id;
            return Err(format!(
                "payment {payment_id} arrived late, but its success does not precede"
            )
            .into());
        };
        expect(
            "payment of the intent",
            success.payment_id,
            event.payment_id,
        )?;
        expect("arrived_at", success.at, event.arrived_at)?;
        match self.status_of(order_id) {
            Some(OrderStatus::Expired | OrderStatus::Cancelled) => {}
            status @ (Some(OrderStatus::Pending | OrderStatus::Paid) | None) => {
                let is = status.map_or("never placed", OrderStatus::name);
                let payment_id = event.payment_id;
                return Err(format!(
                    "payment {payment_id} arrived late, but order {order_id} is {is}"
                )
                .into());
            }
        }
        self.orders.dues.success = Some(Success {
            is_late: true,
            ..success
        });
        Ok(())
    }

    /// Checks a sale against the money that it is for.
    pub(super) fn sold_for(
        &mut self,
        event: &OrderPaid,
        success: Success,
        reference: Option<&PaymentReference>,
    ) -> Check {
        let Success {
            order_id, intent, ..
        } = success;
        let payment_id = event.payment_id.unwrap_or(success.payment_id);
        expect("payment of the intent", success.payment_id, payment_id)?;
        expect("late", success.is_late, event.late)?;
        if !event.late {
            expect("paid_at", success.at, event.paid_at)?;
        }
        not_before("it was paid", event.paid_at, success.at)?;
        let money = self.money_of(order_id)?;
        expect("amount paid", written(money.total), written(success.amount))?;
        let payment = money.payment(payment_id)?;
        if let Some(reference) = reference {
            let digest = IntentDigest::new(&payment.provider, reference);
            expect("intent of the stored reference", digest, intent)?;
        }
        let purchases = event.purchases.iter();
        money.sale = Some((intent, purchases.map(|made| made.purchase_id).collect()));
        let holds = event.purchases.iter();
        let of_providers = holds.map(|purchase| (purchase.hold_id, order_id));
        self.orders.of_providers.extend(of_providers);
        Ok(())
    }

    /// Checks a sale of an expired order: for each item a new hold, and its purchase.
    pub(super) fn paid_late(&mut self, event: &OrderPaid, success: Success) -> Check {
        let order_id = success.order_id;
        match self.status_of(order_id) {
            Some(OrderStatus::Expired) => {}
            status @ (Some(OrderStatus::Pending | OrderStatus::Paid | OrderStatus::Cancelled)
            | None) => {
                let is = status.map_or("never placed", OrderStatus::name);
                return Err(format!("order {order_id} was paid late, but it is {is}").into());
            }
        }
        let money = self.money_of(order_id)?;
        expect("total", written(money.total), written(event.total))?;
        expect("purchases", money.items.len(), event.purchases.len())?;
        for ((item, _), purchase) in money.items.iter_mut().zip(&event.purchases) {
            item.hold_id = purchase.hold_id;
        }
        let items = money.items.clone();
        for (item, _) in &items {
            let price = self.open_account(item.drop_id)?.terms()?.price;
            expect("price of the item", written(price), written(item.price))?;
        }
        let mut due = VecDeque::with_capacity(2 * items.len());
        for ((item, buyer), purchase) in items.into_iter().zip(&event.purchases) {
            due.push_back(Due::Hold {
                order_id,
                item,
                placed_at: event.paid_at,
                deadline: Deadline::Replaced(buyer),
            });
            due.push_back(Due::Purchase {
                drop_id: item.drop_id,
                hold_id: item.hold_id,
                purchase_id: purchase.purchase_id,
                paid_at: event.paid_at,
            });
        }
        self.orders.dues.events = due;
        let account = self.orders.accounts.entry(order_id).or_default();
        account.status = Some(OrderStatus::Paid);
        Ok(())
    }

    pub(super) fn refund_requested(
        &mut self,
        order_id: OrderId,
        event: &RefundRequested,
        success: Option<Success>,
    ) -> Check {
        let status = self.status_of(order_id);
        self.money_of(order_id)?.take_back(event)?;
        match success {
            Some(success) => self.returned_unsold(event, success, status),
            None if event.cause == RefundCause::Return => self.returned_sale(order_id, event),
            None => Err(format!(
                "the money of payment {} is returned, but its success does not precede",
                event.payment_id
            )
            .into()),
        }
    }

    /// Checks the refund of money that bought nothing.
    fn returned_unsold(
        &mut self,
        event: &RefundRequested,
        success: Success,
        status: Option<OrderStatus>,
    ) -> Check {
        let total = self.money_of(success.order_id)?.total;
        expect(
            "amount returned",
            written(success.amount),
            written(event.amount),
        )?;
        not_before("it was returned", event.requested_at, success.at)?;
        if event.key.is_some() || event.reason.is_some() {
            let refund_id = event.refund_id;
            return Err(
                format!("refund {refund_id} of an unsold payment has a key or a reason").into(),
            );
        }
        let is_whole = success.amount == total;
        let cause = match (status, success.is_late, is_whole) {
            (Some(OrderStatus::Paid), false, _) => Some(RefundCause::Double),
            (Some(OrderStatus::Pending), false, false)
            | (Some(OrderStatus::Expired), true, false) => Some(RefundCause::WrongAmount),
            (Some(OrderStatus::Expired), true, true) => Some(RefundCause::Late),
            (Some(OrderStatus::Cancelled), true, _) => Some(RefundCause::OrderOver),
            (Some(_) | None, ..) => None,
        };
        let Some(cause) = cause else {
            let is = status.map_or("never placed", OrderStatus::name);
            return Err(format!(
                "the money of payment {} is returned as {}, but its order is {is}",
                event.payment_id,
                event.cause.name()
            )
            .into());
        };
        expect("cause of the refund", cause.name(), event.cause.name())
    }

    /// Checks the refund of the money of a sale: goods of the same price must follow.
    fn returned_sale(&mut self, order_id: OrderId, event: &RefundRequested) -> Check {
        let is_paid = self.orders.is_paid(order_id);
        let money = self.money_of(order_id)?;
        let sale = money.sale.as_ref().filter(|_| is_paid);
        let Some((_, purchases)) = sale.filter(|(intent, _)| *intent == event.intent) else {
            return Err(format!(
                "the money of payment {} is returned, but it did not buy order {order_id}",
                event.payment_id
            )
            .into());
        };
        let items = money.items.iter().zip(purchases);
        let purchases = items.map(|((item, _), made)| (item.drop_id, item.hold_id, *made));
        let goods = Goods {
            order_id,
            refund_id: event.refund_id,
            key: event.key,
            purchases: purchases.collect(),
            left: event.amount,
            refunded_at: event.requested_at,
            reason: event.reason.clone(),
            is_begun: false,
            is_partial: false,
        };
        self.orders.dues.events = VecDeque::from([Due::Goods(goods)]);
        Ok(())
    }

    pub(super) fn refund_settled(&mut self, order_id: OrderId, event: &RefundSettled) -> Check {
        let refund_id = event.refund_id;
        let money = self.money_of(order_id)?;
        let mut refunds = money.refunds.iter_mut();
        let Some(refund) = refunds.find(|refund| refund.id == refund_id) else {
            return Err(format!("refund {refund_id} was settled, but never requested").into());
        };
        match (refund.settled, event.outcome) {
            (Some(RefundOutcome::Succeeded), _) => {
                return Err(
                    format!("refund {refund_id} was settled after it had succeeded").into(),
                );
            }
            (Some(RefundOutcome::Failed), RefundOutcome::Failed) => {
                return Err(format!("refund {refund_id} failed twice").into());
            }
            (Some(RefundOutcome::Failed) | None, _) => {}
        }
        not_before("it was settled", event.settled_at, refund.requested_at)?;
        refund.settled = Some(event.outcome);
        Ok(())
    }
}

fn not_before(what: &str, at: Timestamp, earliest: Timestamp) -> Check {
    match at < earliest {
        true => Err(format!("{what} at {at}, before {earliest}").into()),
        false => Ok(()),
    }
}
