//! Races of money against the expiry of its order: 100,000 of them, each with its own seed.
//!
//! In a race, an order of one or two items is paid by one to three intents of one or two payments.
//! Their reports arrive before, at or after the deadline, late, repeatedly, reordered, with another
//! amount, and out of order with failures; meanwhile the order may be cancelled, its drop
//! cancelled, its units sold to others, or the shop takes the money itself. Before any decision the
//! process may be killed: then the state is built again from the recorded events, and a decision
//! that was not recorded is lost and made again when the provider repeats its report.
//!
//! Promise: a list of the recorded events alone, without the code that decides, shows for every
//! report of money that was answered exactly one success with exactly one outcome, a sale or a
//! refund of the whole amount. An order is sold once, as a whole or not at all.
//! A failure prints the seed of its race.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::command::{CancelDrop, ExpireHold, Pass, PlaceHold, ReleaseHold};
use domain::drop::{Hold, HoldStatus};
use domain::order::decide::{OrderBatch, OrderDecision, OrderLine, PlaceOrder, PurchaseOrder};
use domain::order::pay::{LatePayments, PaymentReport, RecordPayment, StartPayment};
use domain::order::refund::{RefundOrder, SettleRefund};
use domain::order::{Order, OrderEvent, OrderStatus, RefundCause, RefundOutcome};
use domain::terms::DropTerms;
use domain::testing::*;
use domain::values::{
    DropId, FailureCode, HoldId, IntentDigest, OrderId, PaymentId, PurchaseId, RefundId, Timestamp,
};
use domain::{DropAggregate, DropEvent, Refusal};
use uuid::Uuid;

const RACES: u64 = 100_000;

/// SplitMix64: a small generator whose sequence depends on the seed alone.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.next(), self.next())
    }
}

/// An event as it was recorded.
#[derive(Debug, Clone)]
enum Recorded {
    Order(OrderEvent),
    Drop(DropId, DropEvent),
}

/// Everything that a process knows, and loses when it is killed.
#[derive(Debug, Default, PartialEq)]
struct State {
    drops: BTreeMap<DropId, DropAggregate>,
    order: Order,
}

impl State {
    fn apply(&mut self, recorded: &Recorded) {
        match recorded {
            Recorded::Order(event) => self.order.evolve(event),
            Recorded::Drop(id, event) => self.drops.entry(*id).or_default().evolve(event),
        }
    }

    fn replayed(log: &[Recorded]) -> Self {
        let mut state = Self::default();
        log.iter().for_each(|recorded| state.apply(recorded));
        state
    }
}

/// A provider's report, which is repeated until it is answered.
#[derive(Debug, Clone)]
struct Report {
    payment_id: PaymentId,
    intent: IntentDigest,
    report: PaymentReport,
    arrives_at: Timestamp,
}

struct Race {
    random: Random,
    log: Vec<Recorded>,
    state: State,
    order_id: OrderId,
    policy: LatePayments,
    now: Timestamp,
    /// Successes that were answered.
    answered: Vec<(IntentDigest, i64)>,
    counts: Counts,
}

/// How often each outcome occurred, because a property over nothing proves nothing.
#[derive(Debug, Default)]
struct Counts {
    sold: u64,
    sold_late: u64,
    refunds: BTreeMap<RefundCause, u64>,
    repeated: u64,
    killed: u64,
    lost: u64,
    failed: u64,
    returned: u64,
    sold_by_shop: u64,
}

impl Race {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let policy = match random.one_in(4) {
            true => LatePayments::Refund,
            false => LatePayments::Honour,
        };
        Self {
            order_id: OrderId(random.id()),
            log: vec![],
            state: State::default(),
            policy,
            now: second(0),
            answered: vec![],
            counts: Counts::default(),
            random,
        }
    }

    fn record(&mut self, recorded: Recorded) {
        self.state.apply(&recorded);
        self.log.push(recorded);
    }

    fn record_batch(&mut self, batch: Option<OrderBatch>) -> bool {
        let Some(OrderBatch { orders, drops }) = batch else {
            return false;
        };
        for event in orders {
            self.record(Recorded::Order(event));
        }
        for (drop_id, event) in drops {
            self.record(Recorded::Drop(drop_id, event));
        }
        true
    }

    /// The process is killed and starts again, now and then.
    fn maybe_die(&mut self) {
        if self.random.one_in(16) {
            let before = std::mem::take(&mut self.state);
            self.state = State::replayed(&self.log);
            assert_eq!(self.state, before, "the log is not the state");
            self.counts.killed += 1;
        }
    }

    fn run(&mut self) {
        let drops: Vec<DropId> = (0..=self.random.below(2)).map(|_| self.open()).collect();
        self.place(&drops);
        let mut payments = vec![self.start()];
        if self.random.one_in(3) {
            payments.push(self.start());
        }
        let payments: Vec<PaymentId> = payments.into_iter().flatten().collect();
        let mut reports = self.reports(&payments);
        while !reports.is_empty() {
            let next = self.random.below(reports.len() as u64);
            let report = reports.swap_remove(usize::try_from(next).unwrap());
            self.now = self.now.max(report.arrives_at);
            self.maybe_die();
            self.interfere(&drops);
            if self.deliver(&report) {
                // Providers repeat reports whose response was lost.
                if self.random.one_in(4) {
                    self.counts.repeated += 1;
                    let events = self.log.len();
                    while !self.deliver(&report) {}
                    assert_eq!(self.log.len(), events, "a replay recorded something");
                }
            } else {
                reports.push(report);
            }
        }
        self.return_goods();
        self.check();
    }

    fn open(&mut self) -> DropId {
        let id = DropId(self.random.id());
        let terms = DropTerms {
            hold_seconds: hold_seconds(30),
            max_hold_seconds: self.random.one_in(2).then(|| max_hold_seconds(50)),
            max_per_buyer: self.random.one_in(3).then(|| buyer_limit(2)),
            ..terms()
        };
        let total = u32::try_from(1 + self.random.below(3)).unwrap();
        self.record(Recorded::Drop(id, drop_scheduled(terms, total)));
        id
    }

    fn place(&mut self, drops: &[DropId]) {
        let ids: Vec<Uuid> = drops.iter().map(|_| self.random.id()).collect();
        let lines: Vec<OrderLine<'_>> = drops
            .iter()
            .zip(ids)
            .map(|(drop_id, id)| OrderLine {
                item: 0,
                drop_id: *drop_id,
                drop: self.state.drops.get(drop_id),
                hold_id: HoldId(id),
                buyer: buyer("ann"),
                commitment: None,
                units: 1,
                pass: Pass::default(),
            })
            .collect();
        let command = PlaceOrder {
            order_id: self.order_id,
            key: None,
            buyer: buyer("ann"),
            commitment: None,
            lines: &lines,
            at: self.now,
        };
        let batch = self.state.order.place(&command).unwrap();
        self.record_batch(batch);
    }

    fn start(&mut self) -> Option<PaymentId> {
        self.now = self
            .now
            .plus_millis(i64::try_from(self.random.below(2_000)).unwrap());
        let command = StartPayment {
            payment_id: PaymentId(self.random.id()),
            key: None,
            provider: provider(),
            at: self.now,
        };
        let drops = &self.state.drops;
        let decided = self
            .state
            .order
            .start_payment(&command, |id| drops.get(&id));
        let (payment_id, batch) = decided.unwrap();
        self.record_batch(batch);
        Some(payment_id)
    }

    /// One to three intents, most of them near the deadline.
    fn reports(&mut self, payments: &[PaymentId]) -> Vec<Report> {
        let deadline = self.state.order.placed().unwrap().expires_at;
        let total = self.state.order.placed().unwrap().total;
        let mut reports = vec![];
        for intent_number in 0..=self.random.below(3) {
            let payment = self.random.below(payments.len() as u64);
            let payment_id = payments[usize::try_from(payment).unwrap()];
            let intent = intent(&format!("pi_{intent_number}"));
            let offset = match self.random.below(4) {
                0 => 0,
                1 => -1,
                2 => i64::try_from(self.random.below(4_000)).unwrap() - 2_000,
                _ => i64::try_from(self.random.below(60_000)).unwrap() - 30_000,
            };
            let mut amount = total;
            if self.random.one_in(6) {
                amount.amount += i64::try_from(self.random.below(3)).unwrap() - 1;
            }
            let arrives_at = deadline.plus_millis(offset);
            let mut push = |report, arrives_at| {
                reports.push(Report {
                    payment_id,
                    intent,
                    report,
                    arrives_at,
                });
            };
            push(PaymentReport::Succeeded { amount }, arrives_at);
            if self.random.one_in(4) {
                let reason = FailureCode::new("card_declined").unwrap();
                let before = i64::try_from(self.random.below(3_000)).unwrap() - 1_500;
                push(
                    PaymentReport::Failed { reason },
                    arrives_at.plus_millis(before),
                );
            }
        }
        reports
    }

    /// Other people, and the engine's due work.
    fn interfere(&mut self, drops: &[DropId]) {
        match self.random.below(24) {
            0 => {
                let drops = &self.state.drops;
                let batch = self.state.order.cancel(self.now, |id| drops.get(&id));
                self.record_batch(batch.unwrap_or_default());
            }
            1 => self.cancel_drop(drops[0]),
            2 => self.purchase_by_shop(),
            3..8 => self.hold_by_another(drops),
            _ => {}
        }
        // Another process may be ahead of this one.
        if self.random.one_in(3) {
            self.work(self.now);
        }
    }

    fn cancel_drop(&mut self, drop_id: DropId) {
        let drop = &self.state.drops[&drop_id];
        let cancelled = drop.cancel(&CancelDrop { at: self.now }).unwrap();
        for event in cancelled.events {
            self.record(Recorded::Drop(drop_id, event));
        }
        while self.random.one_in(2) {
            let settled = self.state.drops[&drop_id].settle_cancelled().unwrap();
            let Some(event) = settled.events.into_iter().next() else {
                return;
            };
            self.record(Recorded::Drop(drop_id, event));
            self.conclude(self.now);
        }
    }

    fn purchase_by_shop(&mut self) {
        let purchase_ids: Vec<PurchaseId> = (0..2).map(|_| PurchaseId(self.random.id())).collect();
        let command = PurchaseOrder {
            purchase_ids: &purchase_ids,
            commitment: None,
            commitments: &[],
            is_recorded: false,
            at: self.now,
        };
        let drops = &self.state.drops;
        let batch = self.state.order.purchase(&command, |id| drops.get(&id));
        if self.record_batch(batch.unwrap_or_default()) {
            self.counts.sold_by_shop += 1;
        }
    }

    fn hold_by_another(&mut self, drops: &[DropId]) {
        let drop_id = drops[usize::try_from(self.random.below(drops.len() as u64)).unwrap()];
        let name = ["ann", "bob"][usize::from(self.random.one_in(2))];
        let command = PlaceHold {
            hold_id: HoldId(self.random.id()),
            key: None,
            buyer: buyer(name),
            quantity: quantity(1),
            pass: Pass::default(),
            commitment: None,
            at: self.now,
        };
        let Ok(decision) = self.state.drops[&drop_id].place_hold(&command) else {
            return;
        };
        for event in decision.events {
            self.record(Recorded::Drop(drop_id, event));
        }
        if self.random.one_in(2) {
            let (hold_id, at) = (command.hold_id, self.now);
            let released = self.state.drops[&drop_id].release_hold(&ReleaseHold { hold_id, at });
            for event in released.unwrap().events {
                self.record(Recorded::Drop(drop_id, event));
            }
        }
    }

    /// Records the work that was due at `until`, as the engine does.
    fn work(&mut self, until: Timestamp) {
        let due = |(id, drop): (&DropId, &DropAggregate)| {
            let overdue = |hold: &Hold| {
                drop.outcome_of(hold).0 == HoldStatus::Held && hold.expires_at <= until
            };
            drop.holds().find(overdue).map(|hold| (*id, hold.id))
        };
        while let Some((drop_id, hold_id)) = self.state.drops.iter().find_map(due) {
            let command = ExpireHold { hold_id, at: until };
            let expired = self.state.drops[&drop_id].expire_hold(&command).unwrap();
            for event in expired.events {
                self.record(Recorded::Drop(drop_id, event));
            }
            self.conclude(until);
        }
        self.conclude(until);
    }

    fn conclude(&mut self, at: Timestamp) {
        let drops = &self.state.drops;
        let batch = self.state.order.conclude(at, |id| drops.get(&id));
        self.record_batch(batch);
    }

    fn decide(&mut self, report: &Report) -> OrderDecision {
        let ids: Vec<Uuid> = (0..4).map(|_| self.random.id()).collect();
        let purchase_ids = [PurchaseId(ids[0]), PurchaseId(ids[1])];
        let hold_ids = [HoldId(ids[2]), HoldId(ids[3])];
        let refund_id = RefundId(self.random.id());
        let drops = &self.state.drops;
        let command = RecordPayment {
            order_id: self.order_id,
            payment_id: report.payment_id,
            provider: &provider(),
            intent: report.intent,
            report: &report.report,
            commitment: None,
            purchase: PurchaseOrder {
                purchase_ids: &purchase_ids,
                commitment: None,
                commitments: &[],
                is_recorded: false,
                at: self.now,
            },
            hold_ids: &hold_ids,
            refund_id,
            late_payments: self.policy,
            arrived_at: report.arrives_at,
            at: self.now,
        };
        self.state
            .order
            .record_payment(&command, |id| drops.get(&id))
    }

    /// Returns true if the report was answered; otherwise the provider sends it again.
    fn deliver(&mut self, report: &Report) -> bool {
        // The end of an order that was due when the report arrived is recorded first.
        self.work(report.arrives_at);
        let was_pending = self.state.order.is_pending();
        let is_known = self.state.order.payments().success(report.intent).is_some();
        let batch = self.decide(report).unwrap();
        if self.random.one_in(24) {
            // Killed before the append.
            self.counts.lost += 1;
            self.state = State::replayed(&self.log);
            return false;
        }
        self.record_batch(batch);
        if self.random.one_in(24) {
            // Killed after the append, before the answer.
            self.counts.lost += 1;
            self.state = State::replayed(&self.log);
            return false;
        }
        match report.report {
            PaymentReport::Failed { .. } => self.counts.failed += 1,
            PaymentReport::Succeeded { amount } => {
                let placed = self.state.order.placed().unwrap();
                let in_time = report.arrives_at < placed.expires_at && amount == placed.total;
                if was_pending && !is_known && in_time {
                    let sale = self.state.order.sale().and_then(|sale| sale.paid_by);
                    assert_eq!(sale.map(|(_, intent)| intent), Some(report.intent));
                }
                self.answered.push((report.intent, amount.amount));
            }
        }
        true
    }

    /// The shop takes the goods back, and the provider settles some refunds.
    fn return_goods(&mut self) {
        if self.random.one_in(4) {
            let reason = reason();
            let drops = &self.state.drops;
            let command = RefundOrder {
                refund_id: RefundId(self.random.id()),
                key: None,
                lines: None,
                restock: true,
                reason: &reason,
                at: self.now,
            };
            match self.state.order.refund(&command, |id| drops.get(&id)) {
                Ok((_, batch)) => {
                    self.counts.returned += 1;
                    self.record_batch(batch);
                }
                Err(refusal) => assert!(matches!(refusal, Refusal::OrderNotPaid { .. })),
            }
        }
        let refunds = self.state.order.payments().refunds().iter();
        let ids: Vec<RefundId> = refunds.map(|refund| refund.id).collect();
        for refund_id in ids {
            for outcome in [RefundOutcome::Failed, RefundOutcome::Succeeded] {
                if self.random.one_in(2) {
                    let batch = self.state.order.settle_refund(&SettleRefund {
                        refund_id,
                        outcome,
                        reason: None,
                        at: self.now,
                    });
                    self.record_batch(batch.unwrap());
                }
            }
        }
    }

    /// Judges the recorded events without the code that decided them.
    fn check(&mut self) {
        let mut money: BTreeMap<IntentDigest, (i64, u32)> = BTreeMap::new();
        let mut returned: BTreeMap<IntentDigest, i64> = BTreeMap::new();
        let (mut bought, mut purchases, mut paid) = (None, vec![], 0);
        for (index, recorded) in self.log.iter().enumerate() {
            let event = match recorded {
                Recorded::Order(event) => event,
                Recorded::Drop(_, DropEvent::PurchaseConfirmed(event)) => {
                    purchases.push(event.purchase_id);
                    continue;
                }
                Recorded::Drop(..) => continue,
            };
            if let OrderEvent::PaymentSucceeded(event) = event {
                let before = money.insert(event.intent, (event.amount.amount, 0));
                assert_eq!(before, None, "an intent succeeded twice");
                let mut after = self.log[index + 1..].iter();
                let follows = after.next().unwrap();
                let is_late = matches!(follows, Recorded::Order(OrderEvent::PaymentArrivedLate(_)));
                let outcome = if is_late {
                    after.next().unwrap()
                } else {
                    follows
                };
                let of = if let Recorded::Order(OrderEvent::OrderPaid(event)) = outcome {
                    event.intent
                } else if let Recorded::Order(OrderEvent::RefundRequested(event)) = outcome {
                    Some(event.intent)
                } else {
                    panic!("no outcome follows: {outcome:?}");
                };
                assert_eq!(of, Some(event.intent));
            }
            if let OrderEvent::OrderPaid(event) = event {
                paid += 1;
                if let Some(intent) = event.intent {
                    let (amount, outcomes) = money.get_mut(&intent).unwrap();
                    *outcomes += 1;
                    assert_eq!(*amount, event.total.amount, "sold for another amount");
                    match event.late {
                        true => self.counts.sold_late += 1,
                        false => self.counts.sold += 1,
                    }
                }
                let ids = event.purchases.iter().map(|purchase| purchase.purchase_id);
                bought = Some(ids.collect::<Vec<_>>());
            }
            if let OrderEvent::RefundRequested(event) = event {
                let (amount, outcomes) = money.get_mut(&event.intent).unwrap();
                if event.cause != RefundCause::Return {
                    *outcomes += 1;
                    assert_eq!(*amount, event.amount.amount, "a part of the money");
                }
                let sum = returned.entry(event.intent).or_default();
                *sum += event.amount.amount;
                assert!(*sum <= *amount, "more was returned than was paid");
                *self.counts.refunds.entry(event.cause).or_default() += 1;
            }
        }
        for (intent, (amount, outcomes)) in &money {
            assert_eq!(*outcomes, 1, "outcomes of intent {intent}");
            assert!(self.answered.contains(&(*intent, *amount)));
        }
        for (intent, amount) in &self.answered {
            let recorded = money.get(intent).map(|(amount, _)| *amount);
            assert_eq!(recorded, Some(*amount), "money without a record");
        }
        assert!(paid <= 1, "an order was sold twice");
        assert_eq!(bought.unwrap_or_default(), purchases, "sold in parts");
        let is_paid = self.state.order.progress().status == OrderStatus::Paid;
        assert_eq!(is_paid, paid == 1);
        for drop in self.state.drops.values() {
            let stock = drop.stock();
            assert_eq!(stock.total, stock.available + stock.held + stock.sold);
        }
    }
}

impl Counts {
    fn add(&mut self, more: &Self) {
        self.sold += more.sold;
        self.sold_late += more.sold_late;
        self.repeated += more.repeated;
        self.killed += more.killed;
        self.lost += more.lost;
        self.failed += more.failed;
        self.returned += more.returned;
        self.sold_by_shop += more.sold_by_shop;
        for (cause, count) in &more.refunds {
            *self.refunds.entry(*cause).or_default() += count;
        }
    }

    /// Every outcome occurred often.
    fn check(&self) {
        println!("{self:#?}");
        let often = RACES / 200;
        let others = [
            self.sold,
            self.sold_late,
            self.repeated,
            self.killed,
            self.lost,
            self.failed,
            self.returned,
            self.sold_by_shop,
        ];
        assert!(others.iter().all(|count| *count >= often), "{self:?}");
        for cause in [
            RefundCause::Late,
            RefundCause::Double,
            RefundCause::WrongAmount,
            RefundCause::OrderOver,
            RefundCause::Return,
        ] {
            let count = self.refunds.get(&cause).copied().unwrap_or_default();
            assert!(count >= often, "{cause:?}: {count}");
        }
    }
}

#[test]
fn every_race_of_money_against_expiry_has_one_outcome() {
    let run = |seeds: std::ops::Range<u64>| {
        let mut counts = Counts::default();
        for seed in seeds {
            let mut race = Race::new(seed);
            let outcome = catch_unwind(AssertUnwindSafe(|| race.run()));
            assert!(outcome.is_ok(), "seed {seed}: {:?}", race.log);
            counts.add(&race.counts);
        }
        counts
    };
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let share = RACES.div_ceil(threads);
    let total = std::thread::scope(|scope| {
        let parts = (0..threads).map(|part| part * share..RACES.min((part + 1) * share));
        let running: Vec<_> = parts.map(|seeds| scope.spawn(move || run(seeds))).collect();
        let mut total = Counts::default();
        for part in running {
            total.add(&part.join().expect("no race fails"));
        }
        total
    });
    total.check();
}
