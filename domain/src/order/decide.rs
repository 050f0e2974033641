//! Decisions about an order and its drops: pure functions from their histories and a command to a
//! batch of events or a [`Refusal`].
//!
//! Promise: all drops agree, or nothing is decided. A batch starts with the order's events, and the
//! events of its drops follow in the order of the items. Payments are decided in [`super::pay`],
//! refunds in [`super::refund`].
//! Limit: time and ids come from the command, and due expiries are recorded by the caller first, as
//! for drops ([`crate::decide`]). A drop that the caller cannot read now counts as unknown.

use super::{
    CancelCause, FulfilmentStep, MAX_ITEMS, Order, OrderCancelled, OrderEvent, OrderExpired,
    OrderFulfilled, OrderItem, OrderPaid, OrderPlaced, OrderPurchase, OrderStatus, OrderedHold,
    Placed, sum,
};
use crate::command::{ConfirmPurchase, Pass, PlaceHold};
use crate::drop::{DropAggregate, Hold, HoldStatus};
use crate::event::{DropEvent, ReleaseCause};
use crate::refusal::{Limit, Refusal};
use crate::values::{
    Commitment, DropId, HoldId, IntentDigest, KeyDigest, LimitGroup, Money, OrderId, PaymentId,
    Pseudonym, PurchaseId, Quantity, Timestamp,
};

/// Events to record together: the order's, of which there are none only in a refund of purchases
/// that the shop was paid for itself, then those of its drops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderBatch {
    pub orders: Vec<OrderEvent>,
    pub drops: Vec<(DropId, DropEvent)>,
}

impl OrderBatch {
    pub(super) fn one(order: OrderEvent, drops: Vec<(DropId, DropEvent)>) -> Self {
        Self {
            orders: vec![order],
            drops,
        }
    }
}

/// The result of an accepted command; `None` means that history already contains it.
pub type OrderDecision = Result<Option<OrderBatch>, Refusal>;

/// Places an order: holds all of its lines, or none.
#[derive(Debug)]
pub struct PlaceOrder<'a> {
    pub order_id: OrderId,
    pub key: Option<KeyDigest>,
    pub buyer: Pseudonym,
    /// Commits to the personal data that is stored with the event.
    pub commitment: Option<Commitment>,
    /// One for each drop, 1 to [`MAX_ITEMS`].
    pub lines: &'a [OrderLine<'a>],
    pub at: Timestamp,
}

/// The units that an order requests of one drop.
#[derive(Debug)]
pub struct OrderLine<'a> {
    /// The index of the first item of the request that asks for this drop.
    pub item: u32,
    pub drop_id: DropId,
    /// `None` if there is no such drop.
    pub drop: Option<&'a DropAggregate>,
    /// The id that the hold receives.
    pub hold_id: HoldId,
    /// The buyer in this drop.
    pub buyer: Pseudonym,
    /// Commits to the personal data, if the hold introduces the buyer to the drop.
    pub commitment: Option<Commitment>,
    /// The units of all items of this drop together.
    pub units: u32,
    /// The right of the buyer in this drop. A hold has one code, and so has a line.
    pub pass: Pass,
}

/// Pays for an order: purchases all of its holds, or none.
#[derive(Debug)]
pub struct PurchaseOrder<'a> {
    /// The ids that the purchases receive, at least one for each item.
    pub purchase_ids: &'a [PurchaseId],
    /// Commits to the payment reference that is stored with the order's event.
    pub commitment: Option<Commitment>,
    /// The same for the event of each purchase; as many as items, or none.
    pub commitments: &'a [Commitment],
    /// True if the reference equals the recorded one, see
    /// [`ConfirmPurchase::is_recorded`](crate::command::ConfirmPurchase).
    pub is_recorded: bool,
    pub at: Timestamp,
}

/// Moves the fulfilment of an order forward.
#[derive(Debug, Clone, Copy)]
pub struct FulfilOrder {
    pub fulfilment: FulfilmentStep,
    /// Commits to the tracking that is stored with the event.
    pub commitment: Option<Commitment>,
    /// True if there is no tracking, or it equals the one recorded last.
    pub is_recorded: bool,
    pub at: Timestamp,
}

impl Order {
    /// Decides the placement of an order.
    ///
    /// # Errors
    /// [`Refusal::OfItem`] for the first line that its drop refuses, or
    /// [`Refusal::IdempotencyKeyReused`].
    pub fn place(&self, command: &PlaceOrder<'_>) -> OrderDecision {
        if let Some(placed) = self.placed() {
            return match matches(placed, command) {
                true => Ok(None),
                false => Err(Refusal::IdempotencyKeyReused),
            };
        }
        debug_assert!((1..=MAX_ITEMS).contains(&command.lines.len()));
        let known = command.lines.iter().filter_map(|line| line.drop?.terms());
        let seconds = known.map(|terms| terms.hold_seconds.get()).min();
        let ordered = OrderedHold {
            order_id: command.order_id,
            expires_at: command.at.plus_seconds(seconds.unwrap_or_default()),
        };
        let mut items: Vec<OrderItem> = Vec::with_capacity(command.lines.len());
        let mut drops = Vec::with_capacity(command.lines.len());
        let mut groups = GroupUnits::default();
        for line in command.lines {
            let of_item = |refusal| Refusal::OfItem {
                item: line.item,
                refusal: Box::new(refusal),
            };
            let first = items.first().map(|item| item.price);
            let (at, of_group) = (command.at, groups.of(line.drop));
            let (item, event) = line.place(at, ordered, first, of_group).map_err(of_item)?;
            groups.add(line.drop, line.units);
            items.push(item);
            drops.push((line.drop_id, event));
        }
        let total = sum(&items).ok_or(Refusal::DropNotFound)?;
        let order = OrderEvent::OrderPlaced(OrderPlaced {
            key: command.key,
            buyer: command.buyer,
            items,
            total,
            placed_at: command.at,
            expires_at: ordered.expires_at,
            commitment: command.commitment,
        });
        Ok(Some(OrderBatch::one(order, drops)))
    }

    /// Decides the payment of an order.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn purchase<'a>(
        &self,
        command: &PurchaseOrder<'_>,
        drops: impl Fn(DropId) -> Option<&'a DropAggregate>,
    ) -> OrderDecision {
        let placed = self.placed().ok_or(Refusal::OrderNotFound)?;
        let ended_at = self.progress().ended_at;
        match self.progress().status {
            // A different payment for a paid order. Returning the order as a replay would hide it.
            OrderStatus::Paid if command.commitment.is_some() && !command.is_recorded => {
                return Err(Refusal::OrderReferenceConflict { paid_at: ended_at });
            }
            OrderStatus::Paid => return Ok(None),
            OrderStatus::Cancelled => {
                return Err(Refusal::OrderCancelled {
                    cancelled_at: ended_at,
                });
            }
            OrderStatus::Expired => {
                return Err(Refusal::OrderExpired {
                    expired_at: ended_at,
                });
            }
            OrderStatus::Pending => {}
        }
        let (paid, events) = sell(placed, command, None, drops)?;
        Ok(Some(OrderBatch::one(OrderEvent::OrderPaid(paid), events)))
    }

    /// Decides the cancellation of an order by its buyer at `at`.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn cancel<'a>(
        &self,
        at: Timestamp,
        drops: impl Fn(DropId) -> Option<&'a DropAggregate>,
    ) -> OrderDecision {
        let placed = self.placed().ok_or(Refusal::OrderNotFound)?;
        let ended_at = self.progress().ended_at;
        match self.progress().status {
            OrderStatus::Paid => return Err(Refusal::OrderPaid { paid_at: ended_at }),
            OrderStatus::Cancelled => return Ok(None),
            OrderStatus::Expired => {
                return Err(Refusal::OrderExpired {
                    expired_at: ended_at,
                });
            }
            OrderStatus::Pending if at >= placed.expires_at => {
                return Err(Refusal::OrderExpired {
                    expired_at: placed.expires_at,
                });
            }
            OrderStatus::Pending => {}
        }
        let order = OrderEvent::OrderCancelled(OrderCancelled {
            cancelled_at: at,
            cause: CancelCause::Buyer,
        });
        let drops = releases(placed, at, drops);
        Ok(Some(OrderBatch::one(order, drops)))
    }

    /// Decides, at `at`, the end of an order of which a hold has ended: by its deadline, or with
    /// its drop. `None` if nothing follows.
    pub fn conclude<'a>(
        &self,
        at: Timestamp,
        drops: impl Fn(DropId) -> Option<&'a DropAggregate>,
    ) -> Option<OrderBatch> {
        let placed = self.placed().filter(|_| self.is_pending())?;
        let mut ended: Option<(HoldStatus, Timestamp, CancelCause)> = None;
        for item in &placed.items {
            let Some((drop, hold)) = drops(item.drop_id).and_then(|drop| hold_in(drop, item))
            else {
                continue;
            };
            let cause = match drop.cancelled_at() {
                Some(_) => CancelCause::DropCancelled,
                None => CancelCause::Buyer,
            };
            match drop.outcome_of(&hold) {
                // A release is always before the deadline.
                (HoldStatus::Released, at) => ended = Some((HoldStatus::Released, at, cause)),
                (HoldStatus::Expired, at) if ended.is_none() => {
                    ended = Some((HoldStatus::Expired, at, cause));
                }
                (HoldStatus::Held | HoldStatus::Purchased | HoldStatus::Expired, _) => {}
            }
        }
        let batch = match ended? {
            (HoldStatus::Released, cancelled_at, cause) => OrderBatch::one(
                OrderEvent::OrderCancelled(OrderCancelled {
                    cancelled_at,
                    cause,
                }),
                releases(placed, at, drops),
            ),
            // The other holds have the same deadline, and expire as holds do.
            _ => OrderBatch::one(
                OrderEvent::OrderExpired(OrderExpired {
                    expired_at: placed.expires_at,
                }),
                vec![],
            ),
        };
        Some(batch)
    }

    /// Decides a step of the fulfilment.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn fulfil(&self, command: FulfilOrder) -> OrderDecision {
        self.placed().ok_or(Refusal::OrderNotFound)?;
        let progress = self.progress();
        if progress.status != OrderStatus::Paid {
            return Err(Refusal::OrderNotPaid {
                status: progress.status,
            });
        }
        match progress.fulfilment {
            Some(current) if current > command.fulfilment => {
                return Err(Refusal::FulfilmentOrder { current });
            }
            Some(current) if current == command.fulfilment && command.is_recorded => {
                return Ok(None);
            }
            Some(_) | None => {}
        }
        let order = OrderEvent::OrderFulfilled(OrderFulfilled {
            fulfilment: command.fulfilment,
            fulfilled_at: command.at,
            commitment: command.commitment,
        });
        Ok(Some(OrderBatch::one(order, vec![])))
    }
}

impl OrderLine<'_> {
    fn place(
        &self,
        at: Timestamp,
        ordered: OrderedHold,
        first: Option<Money>,
        of_group: u32,
    ) -> Result<(OrderItem, DropEvent), Refusal> {
        let drop = self.drop.ok_or(Refusal::DropNotFound)?;
        // First: a refusal about the currency would reveal a hidden drop.
        drop.refuse_if_hidden(self.pass)?;
        let price = drop.existing_terms()?.price;
        if let Some(first) = first.filter(|first| first.currency != price.currency) {
            return Err(Refusal::MixedCurrencies {
                expected: first.currency,
                found: price.currency,
            });
        }
        let quantity = self.quantity(drop, at, of_group)?;
        let decision = drop.place(
            &PlaceHold {
                hold_id: self.hold_id,
                key: None,
                buyer: self.buyer,
                quantity,
                pass: self.pass,
                commitment: self.commitment,
                at,
            },
            Some(ordered),
            of_group,
        )?;
        let event = decision.events.into_iter().next();
        let item = OrderItem {
            drop_id: self.drop_id,
            hold_id: self.hold_id,
            quantity,
            price,
        };
        // Ids are random: a hold with this id cannot exist.
        Ok((item, event.ok_or(Refusal::IdempotencyKeyReused)?))
    }

    /// The units as a quantity. A sum beyond the largest quantity exceeds every limit per hold.
    fn quantity(
        &self,
        drop: &DropAggregate,
        at: Timestamp,
        of_group: u32,
    ) -> Result<Quantity, Refusal> {
        if let Ok(quantity) = Quantity::new(i64::from(self.units)) {
            return Ok(quantity);
        }
        drop.refuse_without_access(self.pass, at)?;
        let terms = drop.existing_terms()?;
        Err(Refusal::LimitReached {
            limit: Limit::PerHold,
            max: terms.max_per_hold.get(),
            allowance: drop.units_allowed(self.buyer, terms, of_group),
        })
    }
}

/// The units that the items of an order take in each limit group. All are one buyer's, so an item
/// must leave room for those before it.
#[derive(Default)]
pub(super) struct GroupUnits<'a>(Vec<(&'a LimitGroup, u32)>);

impl<'a> GroupUnits<'a> {
    /// Returns the units of the items so far in the limit group of a drop.
    pub(super) fn of(&self, drop: Option<&DropAggregate>) -> u32 {
        let group = drop.and_then(DropAggregate::limit_group);
        let mut items = self.0.iter();
        let found = group.and_then(|group| items.find(|(of, _)| *of == group));
        found.map_or(0, |(_, units)| *units)
    }

    /// Adds an item.
    pub(super) fn add(&mut self, drop: Option<&'a DropAggregate>, units: u32) {
        let Some(group) = drop.and_then(DropAggregate::limit_group) else {
            return;
        };
        match self.0.iter_mut().find(|(of, _)| *of == group) {
            Some((_, before)) => *before = before.saturating_add(units),
            None => self.0.push((group, units)),
        }
    }
}

impl DropAggregate {
    /// Refuses a request about a hold that belongs to an order, as long as the order can be acted
    /// on instead: a hold that is over gets the same response as one without an order.
    pub(crate) fn refuse_in_order(&self, hold_id: HoldId) -> Result<(), Refusal> {
        let status = self.hold(hold_id).map(|hold| hold.status);
        let is_over = matches!(
            status,
            Some(HoldStatus::Expired | HoldStatus::Released) | None
        );
        match self.order_of(hold_id) {
            Some(order_id) if !is_over => Err(Refusal::HoldInOrder { order_id }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Sells all items of a pending order, or none: the order's event, and the purchases.
pub(super) fn sell<'a>(
    placed: &Placed,
    command: &PurchaseOrder<'_>,
    paid_by: Option<(PaymentId, IntentDigest)>,
    drops: impl Fn(DropId) -> Option<&'a DropAggregate>,
) -> Result<(OrderPaid, Vec<(DropId, DropEvent)>), Refusal> {
    let mut events = Vec::with_capacity(placed.items.len());
    let mut purchases = Vec::with_capacity(placed.items.len());
    for (index, item) in placed.items.iter().enumerate() {
        let drop = drops(item.drop_id).ok_or(Refusal::DropNotFound)?;
        let purchase_id = command.purchase_ids[index];
        let decision = drop.purchase(&ConfirmPurchase {
            purchase_id,
            hold_id: item.hold_id,
            commitment: command.commitments.get(index).copied(),
            is_recorded: false,
            at: command.at,
        });
        let decided = decision.map_err(|refusal| of_order(refusal, placed))?;
        // Pending, but purchased: only another program can have done that.
        let event = decided
            .events
            .into_iter()
            .next()
            .ok_or(Refusal::HoldNotFound)?;
        events.push((item.drop_id, event));
        purchases.push(OrderPurchase {
            hold_id: item.hold_id,
            purchase_id,
        });
    }
    let paid = OrderPaid {
        paid_at: command.at,
        total: placed.total,
        late: false,
        purchases,
        payment_id: paid_by.map(|(payment_id, _)| payment_id),
        intent: paid_by.map(|(_, intent)| intent),
        commitment: command.commitment,
    };
    Ok((paid, events))
}

/// Reports whether a repeated request is the one that placed the order.
fn matches(placed: &Placed, command: &PlaceOrder<'_>) -> bool {
    let same = |(item, line): (&OrderItem, &OrderLine<'_>)| {
        // The drop knows the code of the hold; the order does not.
        let has_code = |drop: &DropAggregate| drop.code_of(item.hold_id) == line.pass.code;
        (item.drop_id, item.quantity.get()) == (line.drop_id, line.units)
            && line.drop.is_none_or(has_code)
    };
    placed.key.is_some()
        && placed.key == command.key
        && placed.buyer == command.buyer
        && placed.items.len() == command.lines.len()
        && placed.items.iter().zip(command.lines).all(same)
}

/// The releases of an order's open holds. A hold that is over ends by itself.
fn releases<'a>(
    placed: &Placed,
    at: Timestamp,
    drops: impl Fn(DropId) -> Option<&'a DropAggregate>,
) -> Vec<(DropId, DropEvent)> {
    let release = |item: &OrderItem| {
        let (drop, hold) = hold_in(drops(item.drop_id)?, item)?;
        let is_open = drop.outcome_of(&hold).0 == HoldStatus::Held && at < hold.expires_at;
        let event = is_open.then(|| drop.release(&hold, at, ReleaseCause::OrderCancelled))?;
        Some((item.drop_id, event))
    };
    placed.items.iter().filter_map(release).collect()
}

pub(super) fn hold_in<'a>(
    drop: &'a DropAggregate,
    item: &OrderItem,
) -> Option<(&'a DropAggregate, Hold)> {
    drop.hold(item.hold_id).map(|hold| (drop, hold))
}

/// The refusal of an order whose hold cannot be purchased.
pub(super) fn of_order(refusal: Refusal, placed: &Placed) -> Refusal {
    if let Refusal::HoldExpired { .. } = refusal {
        return Refusal::OrderExpired {
            expired_at: placed.expires_at,
        };
    }
    if let Refusal::HoldReleased { released_at } = refusal {
        return Refusal::OrderCancelled {
            cancelled_at: released_at,
        };
    }
    refusal
}
