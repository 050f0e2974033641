//! Decisions about payments and their outcomes.
//!
//! Promise: an intent that succeeded is recorded once, together with its outcome: a sale of the
//! whole order, or a refund of the whole money. A report that is repeated, late, or out of order
//! changes nothing or has the same outcome.
//! Limit: the end of an order is recorded by the caller first: money for a pending order that is
//! over, or whose drop was cancelled, is refused.
//!
//! Source: docs/decisions/0061-a-payment-has-one-outcome.md.

use super::decide::{
    GroupUnits, OrderBatch, OrderDecision, PurchaseOrder, hold_in, of_order, sell,
};
use super::payments::{MAX_PAYMENTS, Success};
use super::{
    Order, OrderEvent, OrderItem, OrderPaid, OrderPurchase, OrderStatus, PaymentArrivedLate,
    PaymentFailed, PaymentStarted, PaymentSucceeded, Placed, RefundCause, RefundRequested,
};
use crate::drop::{DropAggregate, Hold, HoldStatus};
use crate::event::{DropEvent, HoldExtended, HoldPlaced, PurchaseConfirmed};
use crate::refusal::Refusal;
use crate::values::{
    Commitment, DropId, FailureCode, HoldId, IntentDigest, KeyDigest, Money, OrderId, PaymentId,
    ProviderName, PurchaseId, RefundId, Timestamp,
};

/// The policy for money that arrives after its order has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LatePayments {
    /// If the units are available next to the waitlist, they are sold; otherwise the money is
    /// returned.
    #[default]
    Honour,
    /// The money is returned.
    Refund,
}

/// Starts a payment. Its provider is called after this is recorded.
#[derive(Debug, Clone)]
pub struct StartPayment {
    /// The id that the payment receives.
    pub payment_id: PaymentId,
    pub key: Option<KeyDigest>,
    pub provider: ProviderName,
    pub at: Timestamp,
}

/// A provider's report about a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentReport {
    /// The money was authorised or taken.
    Succeeded { amount: Money },
    /// The payment was declined or cancelled.
    Failed { reason: FailureCode },
}

/// Records a provider's report about a payment.
#[derive(Debug)]
pub struct RecordPayment<'a> {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
    pub provider: &'a ProviderName,
    pub intent: IntentDigest,
    pub report: &'a PaymentReport,
    /// Commits to the provider's reference that is stored with the success.
    pub commitment: Option<Commitment>,
    /// The purchases, if the money buys the order; its `at` is replaced.
    pub purchase: PurchaseOrder<'a>,
    /// The ids of new holds, if the money is late and buys the order: one for each item.
    pub hold_ids: &'a [HoldId],
    /// The id of the refund, if the money buys nothing.
    pub refund_id: RefundId,
    pub late_payments: LatePayments,
    /// When the report arrived. Money that arrived before the order's deadline is in time.
    pub arrived_at: Timestamp,
    pub at: Timestamp,
}

impl Order {
    /// Decides the start of a payment: the id of the payment, which is that of an earlier one if
    /// the key repeats it, and the events to record. All holds of the order are extended, as far as
    /// the terms of all its drops allow.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn start_payment<'a>(
        &self,
        command: &StartPayment,
        drops: impl Fn(DropId) -> Option<&'a DropAggregate>,
    ) -> Result<(PaymentId, Option<OrderBatch>), Refusal> {
        let placed = self.placed().ok_or(Refusal::OrderNotFound)?;
        if let Some(key) = command.key {
            if let Some(made) = self.payments().payment_by_key(key) {
                return match made.provider == command.provider {
                    true => Ok((made.id, None)),
                    false => Err(Refusal::IdempotencyKeyReused),
                };
            }
            if placed.key == Some(key) || self.payments().refund_by_key(key).is_some() {
                return Err(Refusal::IdempotencyKeyReused);
            }
        }
        self.refuse_over(command.at)?;
        if self.payments().started().len() >= MAX_PAYMENTS {
            return Err(Refusal::TooManyPayments {
                max: u32::try_from(MAX_PAYMENTS).unwrap_or(u32::MAX),
            });
        }
        let mut holds = Vec::with_capacity(placed.items.len());
        let mut latest: Option<Timestamp> = None;
        for item in &placed.items {
            let drop = drops(item.drop_id).ok_or(Refusal::DropNotFound)?;
            let hold = drop.hold(item.hold_id).ok_or(Refusal::HoldNotFound)?;
            refuse_ended(drop, &hold, command.at).map_err(|refusal| of_order(refusal, placed))?;
            let allowed = drop.existing_terms()?.latest_expiry(hold.placed_at);
            latest = Some(latest.map_or(allowed, |latest| latest.min(allowed)));
            holds.push((item.drop_id, drop, hold));
        }
        let expires_at = placed.expires_at.max(latest.unwrap_or_default());
        let started = OrderEvent::PaymentStarted(PaymentStarted {
            payment_id: command.payment_id,
            key: command.key,
            provider: command.provider.clone(),
            amount: placed.total,
            started_at: command.at,
            expires_at,
        });
        let extension = |(drop_id, drop, hold): (DropId, &DropAggregate, Hold)| {
            let event = DropEvent::HoldExtended(HoldExtended {
                hold_id: hold.id,
                buyer: drop.buyer_of(&hold),
                previous_expires_at: hold.expires_at,
                expires_at,
                extended_at: command.at,
            });
            (hold.expires_at < expires_at).then_some((drop_id, event))
        };
        let extensions = holds.into_iter().filter_map(extension).collect();
        let batch = OrderBatch::one(started, extensions);
        Ok((command.payment_id, Some(batch)))
    }

    /// Refuses a request about an order that is not pending, or over at `at`.
    fn refuse_over(&self, at: Timestamp) -> Result<(), Refusal> {
        let ended_at = self.progress().ended_at;
        let deadline = self.placed().map(|placed| placed.expires_at);
        match self.progress().status {
            OrderStatus::Paid => Err(Refusal::OrderPaid { paid_at: ended_at }),
            OrderStatus::Cancelled => Err(Refusal::OrderCancelled {
                cancelled_at: ended_at,
            }),
            OrderStatus::Expired => Err(Refusal::OrderExpired {
                expired_at: ended_at,
            }),
            OrderStatus::Pending => match deadline {
                Some(expired_at) if at >= expired_at => Err(Refusal::OrderExpired { expired_at }),
                Some(_) | None => Ok(()),
            },
        }
    }

    /// Decides the outcome of a payment that its provider reports. `None`: it is known.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn record_payment<'a>(
        &self,
        command: &RecordPayment<'_>,
        drops: impl Fn(DropId) -> Option<&'a DropAggregate>,
    ) -> OrderDecision {
        let placed = self.placed().ok_or(Refusal::OrderNotFound)?;
        let payments = self.payments();
        let payment = payments
            .payment(command.payment_id)
            .filter(|payment| payment.provider == *command.provider)
            .ok_or(Refusal::PaymentNotFound)?;
        let arrived_at = command.arrived_at.max(payment.started_at);
        let amount = match command.report {
            PaymentReport::Succeeded { amount } => *amount,
            PaymentReport::Failed { reason } => {
                let of_payment = |success: &Success| success.payment_id == payment.id;
                // A buyer may try again with the same intent; a later failure is no news.
                if payment.failed.is_some() || payments.successes().iter().any(of_payment) {
                    return Ok(None);
                }
                let failed = OrderEvent::PaymentFailed(PaymentFailed {
                    payment_id: payment.id,
                    intent: Some(command.intent),
                    reason: reason.clone(),
                    failed_at: arrived_at,
                });
                return Ok(Some(OrderBatch::one(failed, vec![])));
            }
        };
        if payments.success(command.intent).is_some() {
            return Ok(None);
        }
        let mut batch = OrderBatch::one(
            OrderEvent::PaymentSucceeded(PaymentSucceeded {
                payment_id: payment.id,
                intent: command.intent,
                amount,
                succeeded_at: arrived_at,
                commitment: command.commitment,
            }),
            vec![],
        );
        let is_whole = amount == placed.total;
        let cause = match self.progress().status {
            OrderStatus::Pending => {
                self.refuse_over(arrived_at)?;
                if is_whole {
                    let paid_by = Some((payment.id, command.intent));
                    let purchase = PurchaseOrder {
                        at: arrived_at,
                        ..command.purchase
                    };
                    let (paid, purchases) = sell(placed, &purchase, paid_by, drops)?;
                    batch.orders.push(OrderEvent::OrderPaid(paid));
                    batch.drops = purchases;
                    return Ok(Some(batch));
                }
                RefundCause::WrongAmount
            }
            OrderStatus::Paid => RefundCause::Double,
            status @ (OrderStatus::Expired | OrderStatus::Cancelled) => {
                batch
                    .orders
                    .push(OrderEvent::PaymentArrivedLate(PaymentArrivedLate {
                        payment_id: payment.id,
                        intent: command.intent,
                        arrived_at,
                    }));
                if status == OrderStatus::Cancelled {
                    RefundCause::OrderOver
                } else if !is_whole {
                    RefundCause::WrongAmount
                } else if command.late_payments == LatePayments::Honour
                    && let Some((paid, sold)) = sell_late(placed, command, drops)?
                {
                    batch.orders.push(OrderEvent::OrderPaid(paid));
                    batch.drops = sold;
                    return Ok(Some(batch));
                } else {
                    RefundCause::Late
                }
            }
        };
        batch
            .orders
            .push(OrderEvent::RefundRequested(RefundRequested {
                refund_id: command.refund_id,
                payment_id: payment.id,
                intent: command.intent,
                key: None,
                amount,
                cause,
                requested_at: command.at,
                reason: None,
            }));
        Ok(Some(batch))
    }
}

/// Refuses a hold that is resolved, or over at `at`.
fn refuse_ended(drop: &DropAggregate, hold: &Hold, at: Timestamp) -> Result<(), Refusal> {
    match drop.outcome_of(hold) {
        (HoldStatus::Purchased, purchased_at) => Err(Refusal::HoldPurchased { purchased_at }),
        (HoldStatus::Released, released_at) => Err(Refusal::HoldReleased { released_at }),
        (HoldStatus::Held, _) if at < hold.expires_at => Ok(()),
        (HoldStatus::Held | HoldStatus::Expired, _) => Err(Refusal::HoldExpired {
            expired_at: hold.expires_at,
        }),
    }
}

/// The event of a late sale, and the new holds with their purchases; `None` if any item cannot be
/// sold.
type LateSale = Option<(OrderPaid, Vec<(DropId, DropEvent)>)>;

/// Sells the items of an expired order, as far as their drops still offer them: at the same price,
/// within the buyer's limits, and from units that no waitlist entry could use. The sale may have
/// ended, and the throttle does not count, because the buyer requested these units in time.
///
/// # Errors
/// [`Refusal::DropNotFound`] if a drop cannot be read.
fn sell_late<'a>(
    placed: &Placed,
    command: &RecordPayment<'_>,
    drops: impl Fn(DropId) -> Option<&'a DropAggregate>,
) -> Result<LateSale, Refusal> {
    let mut events = Vec::with_capacity(2 * placed.items.len());
    let mut purchases = Vec::with_capacity(placed.items.len());
    let mut groups = GroupUnits::default();
    for (index, item) in placed.items.iter().enumerate() {
        let drop = drops(item.drop_id).ok_or(Refusal::DropNotFound)?;
        let ids = (
            command.hold_ids[index],
            command.purchase.purchase_ids[index],
        );
        let commitment = command.purchase.commitments.get(index).copied();
        let of_group = groups.of(Some(drop));
        let sold = resell(drop, item, ids, commitment, command, of_group);
        let Some((hold, purchase)) = sold else {
            return Ok(None);
        };
        groups.add(Some(drop), item.quantity.get());
        purchases.push(OrderPurchase {
            hold_id: hold.hold_id,
            purchase_id: purchase.purchase_id,
        });
        events.push((item.drop_id, DropEvent::HoldPlaced(hold)));
        events.push((item.drop_id, DropEvent::PurchaseConfirmed(purchase)));
    }
    let paid = OrderPaid {
        paid_at: command.at,
        total: placed.total,
        late: true,
        purchases,
        payment_id: Some(command.payment_id),
        intent: Some(command.intent),
        commitment: command.purchase.commitment,
    };
    Ok(Some((paid, events)))
}

/// A new hold of an item, and its purchase at once. The items before it take `of_group` units of
/// the same limit group.
fn resell(
    drop: &DropAggregate,
    item: &OrderItem,
    (hold_id, purchase_id): (HoldId, PurchaseId),
    commitment: Option<Commitment>,
    command: &RecordPayment<'_>,
    of_group: u32,
) -> Option<(HoldPlaced, PurchaseConfirmed)> {
    let (_, before) = hold_in(drop, item)?;
    let terms = drop.terms().filter(|_| drop.cancelled_at().is_none())?;
    let (buyer, at) = (drop.buyer_of(&before), command.at);
    let limits = drop.refuse_above_limits(buyer, item.quantity, of_group);
    let available = drop.available_for_direct_holds(at);
    // The use of the code came back when the hold expired. Another buyer may have it now.
    let code = drop.code_of(before.id);
    let known = code.and_then(|code| drop.codes().find(code));
    let is_spent = known.is_some_and(|code| code.left == 0);
    let is_paused = drop.paused_at().is_some();
    let is_refused = limits.is_err() || is_spent || is_paused || available < item.quantity.get();
    if terms.price != item.price || is_refused {
        return None;
    }
    let hold = HoldPlaced {
        hold_id,
        key: None,
        buyer,
        quantity: item.quantity,
        placed_at: at,
        expires_at: at.plus_seconds(terms.hold_seconds.get()),
        commitment: None,
        waitlist_entry: None,
        order_id: Some(command.order_id),
        code,
    };
    let purchase = PurchaseConfirmed {
        purchase_id,
        hold_id,
        buyer,
        quantity: item.quantity,
        total: item.total(),
        purchased_at: at,
        commitment,
    };
    Some((hold, purchase))
}
