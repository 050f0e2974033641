//! Payments of orders: money has one outcome, in spite of restarts, conflicts and repetitions; on a
//! log in memory and a virtual clock.

use domain::order::{OrderEvent, RefundCause, RefundOutcome};
use domain::values::{
    Currency, DropId, FailureCode, Money, OrderId, PaymentId, PaymentReference, ProviderName,
    Sequence, Timestamp,
};
use domain::{DropEvent, Refusal};
use engine::{
    Accepted, CancelOrder, Clock, CommandError, EngineConfig, EngineHandle, LatePayments,
    OrderedItem, PaymentReport, PlaceOrder, PurchaseOrder, RecordPayment, RefundOrder,
    RefundPurchase, SettleRefund, StartPayment, VirtualClock,
};
use infrastructure::codec::{decode_order, encode_order};
use infrastructure::log::EventLog;
use infrastructure::log::memory::MemoryLog;

use crate::support::build::{
    LONGEST_HOLD, aggregate, assert_is_chain, buyer, hold, join, key, kinds, new_year, quantity,
    reason, schedule,
};
use crate::support::node::{Node, pass, settle};
use crate::support::request::Request;
use crate::support::shop::refusal;

/// Two drops, with holds of four and of two seconds, and an order of one lamp and two chairs with a
/// payment.
struct Till {
    log: MemoryLog,
    clock: VirtualClock,
    node: Node,
    lamp: DropId,
    chair: DropId,
    order_id: OrderId,
    payment_id: PaymentId,
    /// When the order and its holds are over.
    deadline: Timestamp,
}

impl Till {
    async fn open() -> Self {
        let (log, clock) = (MemoryLog::default(), VirtualClock::starting_at(new_year()));
        let node = Node::start(&log, clock, 1).await;
        let lamp = node.scheduled(schedule("lamp", 3, 4)).await;
        let chair = node.scheduled(schedule("chair", 3, 2)).await;
        let item = |drop_id, units| OrderedItem {
            drop_id,
            quantity: quantity(units),
        };
        let placed = node.handle.place_order(PlaceOrder {
            key: Some(key("o")),
            other_key: None,
            buyer_id: buyer("ann"),
            is_from_token: false,
            display_name: None,
            items: [item(lamp, 1), item(chair, 2)].into(),
            codes: vec![],
            sees_hidden: false,
            solved: None,
        });
        let placed = placed.await.unwrap();
        let order_id = placed.subject;
        let started = start(&node.handle, order_id, "p").await.unwrap();
        Self {
            deadline: placed.at.plus_seconds(LONGEST_HOLD),
            payment_id: started.subject,
            order_id,
            log,
            clock,
            node,
            lamp,
            chair,
        }
    }

    /// The same, long after the deadline.
    async fn expired() -> Self {
        let till = Self::open().await;
        till.clock.sleep_until(till.deadline).await;
        settle().await;
        assert!(till.kinds().contains(&"OrderExpired".to_owned()));
        till
    }

    /// The same after a crash of the engine.
    async fn restarted(self) -> Self {
        self.node.crash().await;
        let node = Node::start(&self.log, self.clock, 7).await;
        Self { node, ..self }
    }

    fn money(&self, reference: &str, amount: i64) -> RecordPayment {
        let usd = Currency::new("USD").unwrap();
        self.report(
            reference,
            PaymentReport::Succeeded {
                amount: Money::price(amount, usd).unwrap(),
            },
        )
    }

    fn report(&self, reference: &str, report: PaymentReport) -> RecordPayment {
        RecordPayment {
            order_id: self.order_id,
            payment_id: self.payment_id,
            provider: provider(),
            reference: PaymentReference::new(reference).unwrap(),
            report,
        }
    }

    async fn paid(&self, reference: &str) -> Accepted<PaymentId> {
        let money = self.money(reference, self.total());
        self.node.handle.record_payment(money).await.unwrap()
    }

    fn total(&self) -> i64 {
        let OrderEvent::OrderPlaced(placed) = &self.order_events()[0] else {
            panic!("the first event places the order");
        };
        placed.total.amount
    }

    fn order_events(&self) -> Vec<OrderEvent> {
        let log = self.log.snapshot();
        let decoded = log.iter().filter_map(|event| decode_order(event).unwrap());
        decoded.map(|recorded| recorded.event).collect()
    }

    /// The types of the events after the order and the start of its payment.
    fn kinds(&self) -> Vec<String> {
        kinds(&self.log.snapshot()).split_off(8)
    }

    fn units(&self, drop_id: DropId) -> (u32, u32, u32) {
        let stock = aggregate(&self.log.snapshot(), drop_id).stock();
        (stock.available, stock.held, stock.sold)
    }

    fn causes(&self) -> Vec<RefundCause> {
        self.refunds().iter().map(|(cause, _)| *cause).collect()
    }

    /// The causes and the amounts of all refunds of money.
    fn refunds(&self) -> Vec<(RefundCause, i64)> {
        let refund = |event: &OrderEvent| {
            let OrderEvent::RefundRequested(event) = event else {
                return None;
            };
            Some((event.cause, event.amount.amount))
        };
        self.order_events().iter().filter_map(refund).collect()
    }
}

fn provider() -> ProviderName {
    ProviderName::new("stripe").unwrap()
}

async fn start(
    handle: &EngineHandle,
    order_id: OrderId,
    name: &str,
) -> Result<Accepted<PaymentId>, CommandError> {
    let request = StartPayment {
        order_id,
        key: Some(key(name)),
        other_key: None,
        provider: provider(),
    };
    handle.start_payment(request).await
}

const SALE: [&str; 4] = [
    "PaymentSucceeded",
    "OrderPaid",
    "PurchaseConfirmed",
    "PurchaseConfirmed",
];
const LATE_REFUND: [&str; 3] = ["PaymentSucceeded", "PaymentArrivedLate", "RefundRequested"];

#[tokio::test(start_paused = true)]
async fn payment_extends_the_order_and_its_holds_which_expire_then() {
    let till = Till::open().await;
    let started = kinds(&till.log.snapshot()).split_off(5);
    assert_eq!(started, ["PaymentStarted", "HoldExtended", "HoldExtended"]);
    let again = start(&till.node.handle, till.order_id, "p").await.unwrap();
    assert_eq!((again.subject, again.is_replay()), (till.payment_id, true));
    let mut scoped = StartPayment {
        order_id: till.order_id,
        key: Some(key("scoped")),
        other_key: Some(key("p")),
        provider: provider(),
    };
    let again = till
        .node
        .handle
        .start_payment(scoped.clone())
        .await
        .unwrap();
    assert_eq!((again.subject, again.is_replay()), (till.payment_id, true));
    scoped.provider = ProviderName::new("demo").unwrap();
    let refused = till.node.handle.start_payment(scoped).await;
    assert_eq!(refusal(refused), Refusal::IdempotencyKeyReused);
    till.clock.sleep_until(till.deadline.plus_millis(-1)).await;
    settle().await;
    assert!(till.kinds().is_empty(), "{:?}", till.kinds());
    till.clock.sleep_until(till.deadline).await;
    settle().await;
    assert_eq!(till.kinds(), ["HoldExpired", "OrderExpired", "HoldExpired"]);
    let refused = start(&till.node.handle, till.order_id, "q").await;
    assert!(matches!(refusal(refused), Refusal::OrderExpired { .. }));
}

#[tokio::test(start_paused = true)]
async fn restarted_engine_expires_the_holds_at_the_moved_deadline() {
    let till = Till::open().await.restarted().await;
    till.clock.sleep_until(till.deadline.plus_millis(-1)).await;
    settle().await;
    assert!(till.kinds().is_empty());
    till.clock.sleep_until(till.deadline).await;
    settle().await;
    assert_eq!(till.kinds(), ["HoldExpired", "OrderExpired", "HoldExpired"]);
}

#[tokio::test(start_paused = true)]
async fn success_and_sale_are_one_batch_without_the_reference_in_the_chain() {
    let till = Till::open().await;
    let accepted = till.paid("pi_secret").await;
    assert_eq!(till.kinds(), SALE);
    assert_eq!(
        (accepted.order_events().len(), accepted.events().len()),
        (2, 2)
    );
    assert_eq!(
        (till.units(till.lamp), till.units(till.chair)),
        ((2, 0, 1), (1, 0, 2))
    );
    let log = till.log.snapshot();
    assert_is_chain(&log);
    let mut salts = vec![];
    for event in &log[log.len() - SALE.len()..] {
        assert!(!event.payload.contains("pi_secret"));
        let private = event.private.as_ref().unwrap();
        assert!(private.contains("pi_secret"));
        salts.push(private.clone());
    }
    salts.sort();
    salts.dedup();
    assert_eq!(salts.len(), 4, "each event has a salt of its own");
    let batches = till.node.seen.batches();
    let batch = batches.last().unwrap();
    assert_eq!((batch.orders.len(), batch.events.len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn repeated_reports_change_nothing_on_any_node_and_after_a_restart() {
    let till = Till::open().await;
    till.paid("pi_1").await;
    let other = Node::start(&till.log, till.clock, 2).await;
    let head = till.log.peek();
    for handle in [&till.node.handle, &other.handle] {
        for amount in [till.total(), 1] {
            let again = handle.record_payment(till.money("pi_1", amount)).await;
            assert!(again.unwrap().is_replay());
        }
        let declined = PaymentReport::Failed {
            reason: FailureCode::or_unknown("canceled"),
        };
        let late = handle.record_payment(till.report("pi_1", declined)).await;
        assert!(late.unwrap().is_replay(), "out of order");
    }
    assert_eq!(till.log.peek(), head);
    other
        .handle
        .record_payment(till.money("pi_2", 5))
        .await
        .unwrap();
    pass(500).await;
    let again = till.node.handle.record_payment(till.money("pi_2", 5)).await;
    assert!(again.unwrap().is_replay());
    assert_eq!(till.causes(), [RefundCause::Double]);
}

#[tokio::test(start_paused = true)]
async fn two_nodes_record_two_intents_as_one_sale_and_one_refund() {
    let till = Till::open().await;
    let other = Node::start(&till.log, till.clock, 2).await;
    let turn = till.log.take_turn().await.unwrap();
    let sent = [(&till.node, "pi_1"), (&other, "pi_2"), (&other, "pi_1")].map(|(node, intent)| {
        let (handle, money) = (node.handle.clone(), till.money(intent, till.total()));
        tokio::spawn(async move { handle.record_payment(money).await })
    });
    pass(50).await;
    drop(turn);
    for outcome in sent {
        outcome.await.unwrap().unwrap();
    }
    let count = |kind: &str| till.kinds().iter().filter(|found| *found == kind).count();
    let counts = ["PaymentSucceeded", "OrderPaid", "RefundRequested"].map(count);
    assert_eq!(counts, [2, 1, 1], "{:?}", till.kinds());
    assert_eq!(till.causes(), [RefundCause::Double]);
    assert_eq!(till.units(till.chair), (1, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn money_that_arrived_before_the_deadline_is_in_time_however_late_it_is_decided() {
    let till = Till::open().await;
    till.clock.sleep_until(till.deadline.plus_millis(-20)).await;
    let turn = till.log.take_turn().await.unwrap();
    let (handle, money) = (till.node.handle.clone(), till.money("pi_1", till.total()));
    let sent = tokio::spawn(async move { handle.record_payment(money).await });
    pass(500).await;
    drop(turn);
    sent.await.unwrap().unwrap();
    assert_eq!(till.kinds(), SALE);
    assert!(till.clock.now() > till.deadline);
}

#[tokio::test(start_paused = true)]
async fn late_money_buys_free_units_and_is_returned_otherwise() {
    let till = Till::expired().await;
    let before = till.kinds().len();
    till.paid("pi_1").await;
    let late = [
        "PaymentSucceeded",
        "PaymentArrivedLate",
        "OrderPaid",
        "HoldPlaced",
        "PurchaseConfirmed",
        "HoldPlaced",
        "PurchaseConfirmed",
    ];
    assert_eq!(till.kinds()[before..], late);
    assert_eq!(till.units(till.chair), (1, 0, 2));
    // Nothing of it is due later.
    let end = till.log.snapshot().len();
    pass(200_000).await;
    assert_eq!(till.log.snapshot().len(), end);

    let till = Till::expired().await;
    till.node
        .submit(hold(till.chair, "h", "bob", 2))
        .await
        .unwrap();
    let before = till.kinds().len();
    till.paid("pi_1").await;
    assert_eq!(till.kinds()[before..], LATE_REFUND);
    assert_eq!(till.causes(), [RefundCause::Late]);
    assert_eq!(till.units(till.lamp), (3, 0, 0), "all items, or none");
}

#[tokio::test(start_paused = true)]
async fn units_that_somebody_waits_for_are_not_sold_late() {
    let till = Till::open().await;
    till.node
        .submit(hold(till.chair, "h", "bob", 1))
        .await
        .unwrap();
    till.node
        .submit(join(till.chair, "w", "cy", 2))
        .await
        .unwrap();
    till.clock.sleep_until(till.deadline).await;
    settle().await;
    till.paid("pi_1").await;
    assert_eq!(till.causes(), [RefundCause::Late]);
    assert_eq!(till.units(till.chair).2, 0);
}

#[tokio::test(start_paused = true)]
async fn overdue_holds_of_others_give_way_to_late_money() {
    let till = Till::expired().await;
    till.node
        .submit(hold(till.chair, "h", "bob", 3))
        .await
        .unwrap();
    let over = till.clock.now().plus_seconds(2);
    let turn = till.log.take_turn().await.unwrap();
    till.clock.sleep_until(over).await;
    let (handle, money) = (till.node.handle.clone(), till.money("pi_1", till.total()));
    let sent = tokio::spawn(async move { handle.record_payment(money).await });
    pass(100).await;
    drop(turn);
    sent.await.unwrap().unwrap();
    assert!(till.causes().is_empty(), "{:?}", till.kinds());
}

#[tokio::test(start_paused = true)]
async fn policy_returns_all_late_money() {
    let till = Till::expired().await;
    let config = EngineConfig {
        late_payments: LatePayments::Refund,
        ..EngineConfig::default()
    };
    let strict = Node::load(&till.log, till.clock, 2, config).await.unwrap();
    let money = till.money("pi_1", till.total());
    strict.handle.record_payment(money).await.unwrap();
    assert_eq!(till.causes(), [RefundCause::Late]);
}

#[tokio::test(start_paused = true)]
async fn end_of_a_cancelled_drops_order_is_recorded_before_its_money() {
    let till = Till::open().await;
    let turn = till.log.take_turn().await.unwrap();
    let handle = till.node.handle.clone();
    let drop_id = till.chair;
    let cancelled = till.node.begin(Request::CancelDrop { drop_id }).await;
    let money = till.money("pi_1", till.total());
    let sent = tokio::spawn(async move { handle.record_payment(money).await });
    pass(50).await;
    drop(turn);
    cancelled.await.unwrap().unwrap();
    sent.await.unwrap().unwrap();
    settle().await;
    let kinds = till.kinds();
    assert!(
        kinds.ends_with(&LATE_REFUND.map(str::to_owned)),
        "{kinds:?}"
    );
    assert_eq!(till.causes(), [RefundCause::OrderOver]);
    assert_eq!(till.units(till.lamp), (3, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn money_of_a_cancelled_order_or_of_one_the_shop_was_paid_for_is_returned() {
    let till = Till::open().await;
    let order_id = till.order_id;
    let cancelled = till.node.handle.cancel_order(CancelOrder { order_id });
    cancelled.await.unwrap();
    till.paid("pi_1").await;
    assert_eq!(till.causes(), [RefundCause::OrderOver]);

    let till = Till::open().await;
    let by_shop = PurchaseOrder {
        order_id: till.order_id,
        payment_reference: None,
    };
    till.node.handle.purchase_order(by_shop).await.unwrap();
    till.paid("pi_1").await;
    assert_eq!(till.causes(), [RefundCause::Double]);
}

#[tokio::test(start_paused = true)]
async fn goods_and_money_come_back_in_one_batch_and_once() {
    let till = Till::open().await;
    till.paid("pi_1").await;
    let handle = &till.node.handle;
    let request = |name: &str, items: Option<&[(DropId, i64)]>| RefundOrder {
        order_id: till.order_id,
        key: Some(key(name)),
        other_key: None,
        items: items.map(|items| {
            let item = |(drop_id, units): &(DropId, i64)| OrderedItem {
                drop_id: *drop_id,
                quantity: quantity(*units),
            };
            items.iter().map(item).collect()
        }),
        restock: true,
        reason: reason("sent back"),
    };
    let one = [(till.chair, 1)];
    let made = handle.refund_order(request("r", Some(&one))).await.unwrap();
    assert_eq!(till.kinds()[4..], ["RefundRequested", "PurchaseRefunded"]);
    let again = handle.refund_order(request("r", Some(&one))).await.unwrap();
    assert_eq!((again.subject, again.is_replay()), (made.subject, true));
    let other = handle.refund_order(request("r", None)).await;
    assert_eq!(refusal(other), Refusal::IdempotencyKeyReused);

    // A purchase of the order alone has its money returned as well.
    let log = till.log.snapshot();
    let sold = crate::support::build::decoded(&log);
    let sold = sold.iter().find_map(|recorded| {
        let DropEvent::PurchaseConfirmed(event) = &recorded.event else {
            return None;
        };
        (recorded.drop_id == till.lamp).then(|| event.clone())
    });
    let sold = sold.unwrap();
    let of_lamp = RefundPurchase {
        purchase_id: sold.purchase_id,
        hold_id: sold.hold_id,
        key: Some(key("s")),
        quantity: None,
        restock: false,
        reason: reason("broken"),
    };
    let made = handle.refund_purchase(of_lamp.clone()).await.unwrap();
    assert_eq!(made.drop_id, till.lamp);
    assert!(handle.refund_purchase(of_lamp).await.unwrap().is_replay());
    handle.refund_order(request("t", None)).await.unwrap();
    let nothing = handle.refund_order(request("u", None)).await;
    assert_eq!(refusal(nothing), Refusal::NothingToRefund { refundable: 0 });
    let amounts: i64 = till.refunds().iter().map(|(_, amount)| amount).sum();
    assert_eq!(amounts, till.total());
    assert_eq!(
        (till.units(till.lamp), till.units(till.chair)),
        ((2, 0, 0), (3, 0, 0))
    );

    let settle = |outcome| SettleRefund {
        order_id: till.order_id,
        refund_id: made.subject,
        outcome,
        reason: None,
    };
    let failed = handle.settle_refund(settle(RefundOutcome::Failed)).await;
    assert!(!failed.unwrap().is_replay());
    let restarted = Node::start(&till.log, till.clock, 3).await;
    let handle = &restarted.handle;
    let failed = handle.settle_refund(settle(RefundOutcome::Failed)).await;
    assert!(failed.unwrap().is_replay());
    let settled = handle.settle_refund(settle(RefundOutcome::Succeeded)).await;
    assert!(!settled.unwrap().is_replay());
    let refused = handle.settle_refund(settle(RefundOutcome::Failed)).await;
    assert!(matches!(refusal(refused), Refusal::RefundSucceeded { .. }));
}

#[tokio::test(start_paused = true)]
async fn unknown_orders_and_payments_are_refused() {
    let till = Till::open().await;
    let unknown = RecordPayment {
        order_id: OrderId(uuid::Uuid::nil()),
        ..till.money("pi_1", 1)
    };
    let refused = till.node.handle.record_payment(unknown).await;
    assert_eq!(refusal(refused), Refusal::OrderNotFound);
    let unknown = RecordPayment {
        payment_id: PaymentId(uuid::Uuid::nil()),
        ..till.money("pi_1", 1)
    };
    let refused = till.node.handle.record_payment(unknown).await;
    assert_eq!(refusal(refused), Refusal::PaymentNotFound);
    let elsewhere = RecordPayment {
        provider: ProviderName::new("demo").unwrap(),
        ..till.money("pi_1", 1)
    };
    let refused = till.node.handle.record_payment(elsewhere).await;
    assert_eq!(refusal(refused), Refusal::PaymentNotFound);
    assert!(till.kinds().is_empty());
}

#[tokio::test(start_paused = true)]
async fn money_without_its_outcome_quarantines_the_order_at_its_next_event() {
    let till = Till::open().await;
    let succeeded = OrderEvent::PaymentSucceeded(domain::order::PaymentSucceeded {
        payment_id: till.payment_id,
        intent: domain::testing::intent("pi_1"),
        amount: domain::testing::cents(1),
        succeeded_at: till.clock.now(),
        commitment: None,
    });
    let at = till.clock.now();
    let stored = encode_order(till.order_id, Sequence(3), at, &succeeded, None);
    till.log.append_stock(stored);
    let expired = domain::testing::order_expired();
    let stored = encode_order(till.order_id, Sequence(4), at, &expired, None);
    till.log.append_stock(stored);
    let position = till.log.peek().position;
    pass(500).await;
    let refused = till.node.handle.record_payment(till.money("pi_2", 1)).await;
    let order_id = till.order_id;
    assert_eq!(
        refused.unwrap_err(),
        CommandError::OrderQuarantined { order_id, position }
    );
}

#[tokio::test(start_paused = true)]
async fn late_money_for_a_quarantined_drop_waits_for_a_repetition() {
    let till = Till::expired().await;
    let mut bad = till.log.snapshot().pop().unwrap();
    bad.sequence = Sequence(9);
    bad.aggregate_id = till.chair.to_string();
    till.log.append_stock(bad);
    pass(500).await;
    let head = till.log.peek();
    let money = till.money("pi_1", till.total());
    let refused = till.node.handle.record_payment(money).await;
    let CommandError::Quarantined { drop_id, .. } = refused.unwrap_err() else {
        panic!("not quarantined");
    };
    assert_eq!(drop_id, till.chair);
    assert_eq!(till.log.peek(), head);
}

#[tokio::test(start_paused = true)]
async fn restarted_engine_has_the_same_payments() {
    let till = Till::expired().await;
    till.paid("pi_1").await;
    let till = till.restarted().await;
    let handle = &till.node.handle;
    let again = till.money("pi_1", till.total());
    assert!(handle.record_payment(again).await.unwrap().is_replay());
    let replay = start(handle, till.order_id, "p").await.unwrap();
    assert_eq!(replay.subject, till.payment_id);
    let all = RefundOrder {
        order_id: till.order_id,
        key: Some(key("r")),
        other_key: None,
        items: None,
        restock: true,
        reason: reason("sent back"),
    };
    handle.refund_order(all).await.unwrap();
    assert_eq!(till.causes(), [RefundCause::Return]);
    assert_eq!(till.units(till.chair), (3, 0, 0), "of the new holds");
}

#[tokio::test(start_paused = true)]
async fn intent_is_known_after_an_erasure() {
    let till = Till::open().await;
    till.paid("pi_1").await;
    till.log
        .tamper(|events| events.iter_mut().for_each(|event| event.private = None));
    let node = Node::start(&till.log, till.clock, 2).await;
    let again = till.money("pi_1", till.total());
    assert!(node.handle.record_payment(again).await.unwrap().is_replay());
    let second = till.money("pi_2", till.total());
    node.handle.record_payment(second).await.unwrap();
    assert_eq!(till.causes(), [RefundCause::Double]);
}
