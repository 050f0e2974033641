//! Random decisions about orders, payments and refunds: the verifiers accept every log that the
//! domain decides, and the projection of orders agrees with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::command::{DropCommand, ExpireHold, Pass, PlaceHold, RefundPurchase};
use domain::drop::HoldStatus;
use domain::order::decide::{OrderBatch, OrderLine, PlaceOrder, PurchaseOrder};
use domain::order::pay::{LatePayments, PaymentReport, RecordPayment, StartPayment};
use domain::order::payments::Outcome;
use domain::order::refund::{RefundLine, RefundOrder, SettleRefund};
use domain::order::{Order, OrderEvent, OrderItem, RefundOutcome};
use domain::private::Private;
use domain::terms::{DropTerms, TermsPatch};
use domain::testing::{
    buyer, cents, drop_id, drop_scheduled, hold_seconds, intent, limit_group, max_hold_seconds,
    provider, quantity, reason, reschedule_drop, terms,
};
use domain::values::{
    BuyerLimit, DropId, FailureCode, HoldId, Money, OrderId, PaymentId, PaymentReference,
    Pseudonym, PurchaseId, RefundId, Salt, Timestamp,
};
use domain::{DropAggregate, DropEvent};
use infrastructure::codec::{decode, decode_order, encode, encode_order};
use infrastructure::feed::Committed;
use infrastructure::log::StoredEvent;
use infrastructure::ports::Observer;
use projections::order_payments::MoneyStatus;
use projections::views::Views;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::payments::in_python;
use super::story::*;
use crate::verify::PaymentCounts;

const DROPS: [&str; 3] = ["d1", "d2", "d3"];

/// The state of a shop with one buyer of orders, and the log that leads to it.
struct Shop {
    random: StdRng,
    now: Timestamp,
    last_id: u128,
    drops: BTreeMap<DropId, DropAggregate>,
    orders: BTreeMap<OrderId, Order>,
    log: Vec<StoredEvent>,
    /// Numbers of events after which the log may be split: no batch is.
    ends: Vec<usize>,
}

impl Shop {
    fn opened(seed: u64) -> Self {
        let mut shop = Self {
            random: StdRng::seed_from_u64(seed),
            now: domain::testing::second(0),
            last_id: 0,
            drops: BTreeMap::new(),
            orders: BTreeMap::new(),
            log: vec![],
            ends: vec![],
        };
        for (index, name) in (1_u32..).zip(DROPS) {
            let terms = DropTerms {
                price: cents(i64::from(index) * 100),
                hold_seconds: hold_seconds(20 * index),
                max_hold_seconds: Some(max_hold_seconds(70 + index)),
                max_per_buyer: Some(BuyerLimit::new(6).unwrap()),
                // Two of the drops share their limit in every other shop.
                limit_group: (seed % 2 == 1 && index < 3).then(|| limit_group("shoe")),
                ..terms()
            };
            shop.record(drop_id(name), drop_scheduled(terms, 4 + index));
        }
        shop
    }

    fn id(&mut self) -> Uuid {
        self.last_id += 1;
        Uuid::from_u128(self.last_id)
    }

    fn ids<T: From<Uuid>>(&mut self) -> Vec<T> {
        DROPS.iter().map(|_| T::from(self.id())).collect()
    }

    fn record(&mut self, drop_id: DropId, event: DropEvent) {
        let drop = self.drops.entry(drop_id).or_default();
        drop.evolve(&event);
        let stored = encode(drop_id, drop.sequence(), self.now, &event, None);
        self.log.push(stored);
        if let Some(buyer) = event.buyer() {
            self.share_units(buyer);
        }
    }

    /// Every drop learns the units of a buyer in the other drops of its group.
    fn share_units(&mut self, buyer: Pseudonym) {
        let drops = self.drops.iter();
        let taken = drops.map(|(id, drop)| (*id, drop.limit_group().cloned(), drop.taken(buyer)));
        let taken: Vec<_> = taken.collect();
        for (drop_id, drop) in &mut self.drops {
            let group = drop.limit_group().cloned();
            let others = taken
                .iter()
                .filter(|(id, of, _)| id != drop_id && *of == group);
            let units = others.map(|(.., units)| units).sum();
            if group.is_some() {
                drop.set_taken_elsewhere(buyer, units);
            }
        }
    }

    fn record_order(&mut self, order_id: OrderId, event: &OrderEvent, private: Option<&Private>) {
        let order = self.orders.entry(order_id).or_default();
        order.evolve(event);
        let private = event.commitment().and(private);
        let stored = encode_order(order_id, order.sequence(), self.now, event, private);
        self.log.push(stored);
    }

    fn apply(&mut self, order_id: OrderId, batch: Option<OrderBatch>, private: Option<&Private>) {
        let batch = batch.unwrap_or_default();
        for event in &batch.orders {
            self.record_order(order_id, event, private);
        }
        for (drop_id, event) in batch.drops {
            self.record(drop_id, event);
        }
    }

    /// Lets time pass, and records the expiries that are due.
    fn pass(&mut self, millis: i64) {
        self.now = self.now.plus_millis(millis);
        for drop_id in DROPS.map(drop_id) {
            let drop = &self.drops[&drop_id];
            let held = drop.holds().filter(|hold| hold.status == HoldStatus::Held);
            let holds: Vec<HoldId> = held.map(|hold| hold.id).collect();
            for hold_id in holds {
                let at = self.now;
                let expire = DropCommand::ExpireHold(ExpireHold { hold_id, at });
                self.decide(drop_id, &expire);
                let order_id = self.drops[&drop_id].order_of(hold_id);
                if let Some(order_id) = order_id {
                    let batch = self.orders[&order_id].conclude(at, |id| self.drops.get(&id));
                    self.apply(order_id, batch, None);
                }
            }
        }
    }

    fn decide(&mut self, drop_id: DropId, command: &DropCommand) {
        if let Ok(decision) = self.drops[&drop_id].decide(command) {
            for event in decision.events {
                self.record(drop_id, event);
            }
        }
    }

    fn any_order(&mut self) -> Option<OrderId> {
        let newest = self.orders.len().checked_sub(1)?;
        // Mostly one of the last orders.
        let back = self.random.random_range(0..3).min(newest);
        self.orders.keys().nth(newest - back).copied()
    }

    fn place(&mut self) {
        let order_id = OrderId(self.id());
        let holds: Vec<HoldId> = self.ids();
        let count = self.random.random_range(1..=DROPS.len());
        let units: Vec<u32> = DROPS
            .iter()
            .map(|_| self.random.random_range(1..=2))
            .collect();
        let line = |(index, name): (usize, &&str)| OrderLine {
            item: u32::try_from(index).unwrap(),
            drop_id: drop_id(name),
            drop: self.drops.get(&drop_id(name)),
            hold_id: holds[index],
            buyer: buyer("ann"),
            commitment: None,
            units: units[index],
            pass: Pass::default(),
        };
        let lines: Vec<OrderLine<'_>> = DROPS[..count].iter().enumerate().map(line).collect();
        let placed = Order::default().place(&PlaceOrder {
            order_id,
            key: None,
            buyer: buyer("ann"),
            commitment: None,
            lines: &lines,
            at: self.now,
        });
        if let Ok(batch) = placed {
            self.apply(order_id, batch, None);
        }
    }

    fn start(&mut self, order_id: OrderId) {
        let command = StartPayment {
            payment_id: PaymentId(self.id()),
            key: None,
            provider: provider(),
            at: self.now,
        };
        let started = self.orders[&order_id].start_payment(&command, |id| self.drops.get(&id));
        if let Ok((_, batch)) = started {
            self.apply(order_id, batch, None);
        }
    }

    fn report(&mut self, order_id: OrderId) {
        let order = &self.orders[&order_id];
        let started = order.payments().started();
        if started.is_empty() {
            return;
        }
        let index = self.random.random_range(0..started.len());
        let (payment_id, price) = (started[index].id, started[index].amount);
        let name = format!("{payment_id}/{}", self.random.random_range(0..2));
        let report = match self.random.random_range(0..6) {
            0 => PaymentReport::Failed {
                reason: FailureCode::new("card_declined").unwrap(),
            },
            1 => PaymentReport::Succeeded {
                amount: Money {
                    amount: price.amount - 1,
                    ..price
                },
            },
            _ => PaymentReport::Succeeded { amount: price },
        };
        let reference = PaymentReference::new(&name).unwrap();
        let private = Private::payment(Salt([1; 16]), reference);
        let (holds, purchases) = (self.ids::<HoldId>(), self.ids::<PurchaseId>());
        let late_payments = match self.random.random_bool(0.7) {
            true => LatePayments::Honour,
            false => LatePayments::Refund,
        };
        let command = RecordPayment {
            order_id,
            payment_id,
            provider: &provider(),
            intent: intent(&name),
            report: &report,
            commitment: Some(private.commitment()),
            purchase: PurchaseOrder {
                purchase_ids: &purchases,
                commitment: Some(private.commitment()),
                commitments: &[],
                is_recorded: false,
                at: self.now,
            },
            hold_ids: &holds,
            refund_id: RefundId(self.id()),
            late_payments,
            arrived_at: self.now,
            at: self.now,
        };
        let recorded = self.orders[&order_id].record_payment(&command, |id| self.drops.get(&id));
        if let Ok(batch) = recorded {
            self.apply(order_id, batch, Some(&private));
        }
    }

    /// The shop takes the money itself, or the buyer cancels.
    fn end(&mut self, order_id: OrderId) {
        let purchases = self.ids::<PurchaseId>();
        let order = &self.orders[&order_id];
        let batch = match self.random.random_bool(0.5) {
            true => order.cancel(self.now, |id| self.drops.get(&id)),
            false => order.purchase(
                &PurchaseOrder {
                    purchase_ids: &purchases,
                    commitment: None,
                    commitments: &[],
                    is_recorded: false,
                    at: self.now,
                },
                |id| self.drops.get(&id),
            ),
        };
        if let Ok(batch) = batch {
            self.apply(order_id, batch, None);
        }
    }

    fn refund(&mut self, order_id: OrderId) {
        let refund_id = RefundId(self.id());
        let (restock, part) = (self.random.random(), self.random.random_range(0..3));
        let (order, now) = (&self.orders[&order_id], self.now);
        let Some(item) = order.items().first().copied() else {
            return;
        };
        let first = order.sale().map(|sale| sale.purchases[0]);
        let batch = if let (0, Some(purchase_id)) = (part, first) {
            let command = RefundPurchase {
                refund_id,
                key: None,
                purchase_id,
                hold_id: item.hold_id,
                quantity: Some(quantity(1)),
                restock,
                reason: reason(),
                at: now,
            };
            order.refund_purchase(&command, (item.drop_id, &self.drops[&item.drop_id]))
        } else {
            let line = [RefundLine {
                item: 0,
                drop_id: item.drop_id,
                units: 1,
            }];
            let command = RefundOrder {
                refund_id,
                key: None,
                lines: (part == 1).then_some(&line[..]),
                restock,
                reason: &reason(),
                at: now,
            };
            order.refund(&command, |id| self.drops.get(&id))
        };
        if let Ok((_, batch)) = batch {
            self.apply(order_id, batch, None);
        }
    }

    fn settle(&mut self, order_id: OrderId) {
        let refunds = self.orders[&order_id].payments().refunds();
        if refunds.is_empty() {
            return;
        }
        let refund_id = refunds[self.random.random_range(0..refunds.len())].id;
        let outcome = match self.random.random_bool(0.5) {
            true => RefundOutcome::Succeeded,
            false => RefundOutcome::Failed,
        };
        let settled = self.orders[&order_id].settle_refund(&SettleRefund {
            refund_id,
            outcome,
            reason: None,
            at: self.now,
        });
        if let Ok(batch) = settled {
            self.apply(order_id, batch, None);
        }
    }

    /// Another buyer takes a unit, or the price changes.
    fn compete(&mut self) {
        let drop_id = drop_id(DROPS[self.random.random_range(0..DROPS.len())]);
        let command = match self.random.random_range(0..6) {
            0 => {
                let price = cents(self.random.random_range(1..=3) * 100);
                reschedule_drop(TermsPatch {
                    price: Some(price),
                    ..TermsPatch::default()
                })
            }
            _ => DropCommand::PlaceHold(PlaceHold {
                hold_id: HoldId(self.id()),
                key: None,
                buyer: buyer("bob"),
                quantity: quantity(1),
                pass: Pass::default(),
                commitment: None,
                at: self.now,
            }),
        };
        self.decide(drop_id, &command);
    }

    fn step(&mut self) {
        self.ends.push(self.log.len());
        let millis = match self.random.random_range(0..4) {
            0 => self.random.random_range(0..40_000),
            _ => self.random.random_range(0..2_000),
        };
        self.pass(millis);
        let kind = self.random.random_range(0..12);
        if kind < 2 {
            return self.place();
        }
        if kind == 2 {
            return self.compete();
        }
        let Some(order_id) = self.any_order() else {
            return;
        };
        match kind {
            3..=4 => self.start(order_id),
            5..=8 => self.report(order_id),
            9 => self.settle(order_id),
            10 => self.refund(order_id),
            _ if self.random.random_bool(0.4) => self.end(order_id),
            _ => self.refund(order_id),
        }
    }

    /// The log, sealed.
    fn sealed(&self) -> Vec<StoredEvent> {
        let mut log = self.log.clone();
        for (position, event) in (1..).zip(&mut log) {
            event.position = domain::values::Position(position);
        }
        chained(log)
    }

    /// The counts that the aggregates have.
    fn counts(&self) -> PaymentCounts {
        let mut counts = PaymentCounts::default();
        for order in self.orders.values() {
            let payments = order.payments();
            let is_settled = |settled: &domain::order::payments::Settlement| {
                settled.outcome == RefundOutcome::Succeeded
            };
            let refunds = payments.refunds();
            let settled = refunds
                .iter()
                .filter(|refund| refund.settled.as_ref().is_some_and(is_settled));
            let settled = settled.count() as u64;
            counts.started += payments.started().len() as u64;
            counts.succeeded += payments.successes().len() as u64;
            counts.sales += u64::from(order.sale().is_some_and(|sale| sale.paid_by.is_some()));
            counts.refunds_settled += settled;
            counts.refunds_open += refunds.len() as u64 - settled;
        }
        counts
    }

    fn late_sales(&self) -> usize {
        let late = |event: &&StoredEvent| {
            event.event_type == "OrderPaid" && event.payload.contains("\"late\":true")
        };
        self.log.iter().filter(late).count()
    }
}

/// A part of a log, as the projections receive it.
fn committed(log: &[StoredEvent]) -> Arc<Committed> {
    let last = log.last().map(StoredEvent::head);
    Arc::new(Committed {
        events: log
            .iter()
            .filter_map(|event| decode(event).unwrap())
            .collect(),
        orders: log
            .iter()
            .filter_map(|event| decode_order(event).unwrap())
            .collect(),
        head: last.unwrap_or_default(),
        ..Committed::default()
    })
}

/// Compares the projection of orders with the aggregates, however the log was split.
fn assert_projected(shop: &Shop, log: &[StoredEvent]) {
    let (mut whole, mut split) = (Views::default(), Views::default());
    whole.committed(&committed(log));
    let mut start = 0;
    for end in shop.ends.iter().copied().chain([log.len()]) {
        split.committed(&committed(&log[start..end]));
        start = end;
    }
    for (order_id, order) in &shop.orders {
        let row = whole.order(*order_id).unwrap();
        assert_eq!(Some(&row), split.order(*order_id).as_ref());
        let placed = order.placed().unwrap();
        assert_eq!(row.items, *placed.items);
        assert_eq!(row.expires_at, placed.expires_at);
        assert_eq!(row.purchases.is_empty(), order.sale().is_none());
        let units = |item: &OrderItem| {
            let drop = &shop.drops[&item.drop_id];
            let hold = drop.hold(item.hold_id).unwrap();
            item.quantity.get() - drop.refundable(&hold)
        };
        if order.sale().is_some() {
            let refunded: Vec<u32> = row.items.iter().map(units).collect();
            assert_eq!(row.refunded, refunded);
        }
        let payments = order.payments();
        assert_eq!(row.payments.started.len(), payments.started().len());
        for success in payments.successes() {
            let payment = row.payments.payment(success.payment_id).unwrap();
            let mut intents = payment.intents.iter();
            let intent = intents.find(|intent| intent.intent == success.intent);
            let intent = intent.unwrap();
            let is_sale = success.outcome == Some(Outcome::Sale);
            assert_eq!((intent.late, intent.is_sale), (success.is_late, is_sale));
            assert!(intent.reference.is_some());
        }
        for (refund, found) in payments.refunds().iter().zip(&row.payments.refunds) {
            let status = match refund.settled.as_ref().map(|settled| settled.outcome) {
                None => MoneyStatus::Pending,
                Some(RefundOutcome::Succeeded) => MoneyStatus::Succeeded,
                Some(RefundOutcome::Failed) => MoneyStatus::Failed,
            };
            assert_eq!((found.id, found.amount), (refund.id, refund.amount));
            assert_eq!(found.status, status);
        }
        assert_eq!(row.payments.refunds.len(), payments.refunds().len());
    }
}

#[test]
fn every_decided_log_is_verified_and_projected() {
    let (mut total, mut late) = (PaymentCounts::default(), 0);
    for seed in 0..60 {
        let mut shop = Shop::opened(seed);
        for _ in 0..120 {
            shop.step();
        }
        let log = shop.sealed();
        let proved = judged(&log, 64, &[], true);
        let proved = proved.unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        let counts = shop.counts();
        assert_eq!(proved.payments, counts, "seed {seed}");
        println!("projections of seed {seed}");
        assert_projected(&shop, &log);
        if seed < 10 {
            let (code, printed) = in_python(&log);
            assert_eq!(code, Some(0), "seed {seed}: {printed}");
        }
        total.sales += counts.sales;
        total.refunds_settled += counts.refunds_settled;
        total.refunds_open += counts.refunds_open;
        late += shop.late_sales();
    }
    assert!(
        total.sales > 100 && total.refunds_settled > 20 && total.refunds_open > 100 && late > 5,
        "{total:?}, {late} late sales"
    );
}
