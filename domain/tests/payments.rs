//! Payments of orders: every intent that succeeds has one outcome, and money comes back at most
//! once.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod refunds;

use domain::order::decide::PurchaseOrder;
use domain::order::pay::{LatePayments, PaymentReport, RecordPayment, StartPayment};
use domain::order::payments::{MAX_PAYMENTS, Outcome};
use domain::order::refund::{RefundLine, RefundOrder};
use domain::order::{Order, OrderEvent, OrderStatus, RefundCause, RefundOutcome};
use domain::terms::DropTerms;
use domain::testing::*;
use domain::values::{
    Currency, FailureCode, HoldId, Money, PaymentId, ProviderName, PurchaseId, Reason, RefundId,
    Timestamp,
};
use domain::{DropEvent, Refusal};

/// Ten lamps and three chairs; holds last 30 seconds, and 100 at most.
fn market() -> Market {
    let terms = DropTerms {
        hold_seconds: hold_seconds(30),
        max_hold_seconds: Some(max_hold_seconds(100)),
        ..terms()
    };
    let chairs = DropTerms {
        price: cents(25_00),
        max_hold_seconds: Some(max_hold_seconds(90)),
        ..terms.clone()
    };
    Market::default()
        .with("lamp", [drop_scheduled(terms, 10)])
        .with("chair", [drop_scheduled(chairs, 3)])
}

/// Two lamps and one chair for 45 dollars, ordered at second 5 and due at second 35.
fn ordered() -> Market {
    let mut market = market();
    market
        .place_order("o", &[("lamp", 2), ("chair", 1)], second(5))
        .unwrap();
    market
}

const TOTAL: i64 = 45_00;

/// The order with a payment `p`, started at second 10.
fn started() -> Market {
    let mut market = ordered();
    start(&mut market, "p", second(10)).unwrap();
    market
}

/// The order, expired at second 95 with a payment that has not arrived.
fn expired() -> Market {
    let mut market = started();
    for drop in ["lamp", "chair"] {
        let hold = format!("o.{drop}");
        let expiry = expire_hold(&hold).at(second(95));
        assert_eq!(market.decide(drop, &expiry), Ok(1));
        market.conclude_order("o", second(95));
    }
    assert_eq!(order(&market).progress().status, OrderStatus::Expired);
    market
}

fn order(market: &Market) -> &Order {
    &market.orders[&order_id("o")]
}

fn start(market: &mut Market, payment: &str, at: Timestamp) -> Result<(PaymentId, usize), Refusal> {
    let command = StartPayment {
        payment_id: payment_id(payment),
        key: Some(key(payment)),
        provider: provider(),
        at,
    };
    let decided = order(market).start_payment(&command, |id| market.drops.get(&id));
    let (id, batch) = decided?;
    Ok((id, market.apply(order_id("o"), batch)))
}

struct Report<'a> {
    payment: &'a str,
    reference: &'a str,
    report: PaymentReport,
    policy: LatePayments,
    arrived_at: Timestamp,
    at: Timestamp,
}

fn paid<'a>(reference: &'a str, amount: i64, at: i64) -> Report<'a> {
    Report {
        payment: "p",
        reference,
        report: PaymentReport::Succeeded {
            amount: cents(amount),
        },
        policy: LatePayments::Honour,
        arrived_at: second(at),
        at: second(at),
    }
}

fn failed(at: i64) -> Report<'static> {
    let reason = FailureCode::new("card_declined").unwrap();
    Report {
        report: PaymentReport::Failed { reason },
        ..paid("pi_1", 0, at)
    }
}

/// Records a report; returns the types of the events.
fn report(market: &mut Market, report: &Report<'_>) -> Result<Vec<&'static str>, Refusal> {
    let numbers = 0..order(market).items().len();
    let names: Vec<String> = numbers
        .map(|number| format!("{}.{number}", report.reference))
        .collect();
    let hold_ids: Vec<HoldId> = names.iter().map(|name| hold_id(name)).collect();
    let purchase_ids: Vec<PurchaseId> = names.iter().map(|name| purchase_id(name)).collect();
    let command = RecordPayment {
        order_id: order_id("o"),
        payment_id: payment_id(report.payment),
        provider: &provider(),
        intent: intent(report.reference),
        report: &report.report,
        commitment: None,
        purchase: PurchaseOrder {
            purchase_ids: &purchase_ids,
            commitment: None,
            commitments: &[],
            is_recorded: false,
            at: second(0),
        },
        hold_ids: &hold_ids,
        refund_id: refund_id(report.reference),
        late_payments: report.policy,
        arrived_at: report.arrived_at,
        at: report.at,
    };
    let batch = order(market).record_payment(&command, |id| market.drops.get(&id))?;
    let kinds = batch.iter().flat_map(|batch| {
        let orders = batch.orders.iter().map(OrderEvent::event_type);
        orders.chain(batch.drops.iter().map(|(_, event)| event.event_type()))
    });
    let kinds = kinds.collect();
    market.apply(order_id("o"), batch);
    Ok(kinds)
}

const SALE: [&str; 4] = [
    "PaymentSucceeded",
    "OrderPaid",
    "PurchaseConfirmed",
    "PurchaseConfirmed",
];
const LATE_SALE: [&str; 7] = [
    "PaymentSucceeded",
    "PaymentArrivedLate",
    "OrderPaid",
    "HoldPlaced",
    "PurchaseConfirmed",
    "HoldPlaced",
    "PurchaseConfirmed",
];
const LATE_REFUND: [&str; 3] = ["PaymentSucceeded", "PaymentArrivedLate", "RefundRequested"];
const REFUND: [&str; 2] = ["PaymentSucceeded", "RefundRequested"];

/// The cause and the amount of the newest refund.
fn newest_refund(market: &Market) -> (RefundCause, i64) {
    let refund = order(market).payments().refunds().last().unwrap();
    (refund.cause, refund.amount.amount)
}

#[test]
fn start_of_a_payment_extends_all_holds_to_the_shortest_limit() {
    let mut market = ordered();
    let started = start(&mut market, "p", second(10));
    assert_eq!(started, Ok((payment_id("p"), 3)), "and two extensions");
    let placed = order(&market).placed().unwrap();
    assert_eq!(placed.expires_at, second(95), "90 seconds after second 5");
    for drop in ["lamp", "chair"] {
        let hold = market.drops[&drop_id(drop)].hold(hold_id(&format!("o.{drop}")));
        assert_eq!(hold.unwrap().expires_at, second(95));
    }
    assert_eq!(
        start(&mut market, "q", second(20)),
        Ok((payment_id("q"), 1)),
        "the deadline does not move again"
    );
    assert_eq!(market.cancel_order("o", millisecond(94_999)), Ok(3));
}

#[test]
fn repeated_start_has_the_first_payment_in_every_state() {
    let mut market = started();
    let replay = Ok((payment_id("p"), 0));
    assert_eq!(start(&mut market, "p", second(11)), replay);
    let other = StartPayment {
        payment_id: payment_id("x"),
        key: Some(key("p")),
        provider: ProviderName::new("stripe").unwrap(),
        at: second(11),
    };
    let refused = order(&market).start_payment(&other, |_| None);
    assert_eq!(refused, Err(Refusal::IdempotencyKeyReused));
    report(&mut market, &paid("pi_1", TOTAL, 12)).unwrap();
    assert_eq!(start(&mut market, "p", second(13)), replay);
    let paid_at = second(12);
    assert_eq!(
        start(&mut market, "q", second(13)),
        Err(Refusal::OrderPaid { paid_at })
    );
}

#[test]
fn payment_is_started_for_a_pending_order_before_its_deadline_only() {
    let over = |expired_at| Err(Refusal::OrderExpired { expired_at });
    let mut market = ordered();
    assert_eq!(
        start(&mut market.clone(), "p", second(35)),
        over(second(35))
    );
    assert!(start(&mut market.clone(), "p", millisecond(34_999)).is_ok());
    assert_eq!(start(&mut expired(), "q", second(20)), over(second(95)));
    let mut closing = market.clone();
    closing
        .decide("chair", &cancel_drop().at(second(8)))
        .unwrap();
    let cancelled = Err(Refusal::OrderCancelled {
        cancelled_at: second(8),
    });
    assert_eq!(start(&mut closing, "p", second(9)), cancelled);
    market.cancel_order("o", second(8)).unwrap();
    assert_eq!(start(&mut market, "p", second(9)), cancelled);
}

#[test]
fn order_has_a_limited_number_of_payments() {
    let mut market = ordered();
    for number in 0..MAX_PAYMENTS {
        assert!(start(&mut market, &format!("p{number}"), second(10)).is_ok());
    }
    let refused = start(&mut market, "one_more", second(10));
    assert_eq!(refused, Err(Refusal::TooManyPayments { max: 10 }));
    let replay = start(&mut market, "p0", second(10));
    assert_eq!(replay, Ok((payment_id("p0"), 0)));
}

#[test]
fn money_in_time_buys_the_whole_order_up_to_the_last_millisecond() {
    let mut market = started();
    let last = Report {
        arrived_at: millisecond(94_999),
        at: second(200),
        ..paid("pi_1", TOTAL, 0)
    };
    assert_eq!(report(&mut market, &last).unwrap(), SALE);
    assert_eq!(market.stock_of("lamp"), stock(8, 0, 2));
    assert_eq!(market.stock_of("chair"), stock(2, 0, 1));
    let sale = order(&market).sale().unwrap();
    assert_eq!(sale.paid_by, Some((payment_id("p"), intent("pi_1"))));
    let success = order(&market).payments().success(intent("pi_1")).unwrap();
    assert_eq!(
        (success.outcome, success.is_late),
        (Some(Outcome::Sale), false)
    );
    // The same intent again is no news, also with another amount.
    for amount in [TOTAL, 1] {
        let again = report(&mut market, &paid("pi_1", amount, 300)).unwrap();
        assert!(again.is_empty());
    }
}

#[test]
fn overdue_order_must_have_ended_before_its_money_is_decided() {
    let mut market = started();
    let before = market.clone();
    let expired_at = second(95);
    let refused = report(&mut market, &paid("pi_1", TOTAL, 95));
    assert_eq!(refused, Err(Refusal::OrderExpired { expired_at }));
    market
        .decide("chair", &cancel_drop().at(second(20)))
        .unwrap();
    let refused = report(&mut market, &paid("pi_1", TOTAL, 21));
    let cancelled_at = second(20);
    assert_eq!(refused, Err(Refusal::OrderCancelled { cancelled_at }));
    assert_eq!(market.orders, before.orders);
}

#[test]
fn second_intent_of_a_paid_order_is_returned() {
    let mut market = started();
    start(&mut market, "q", second(11)).unwrap();
    report(&mut market, &paid("pi_1", TOTAL, 12)).unwrap();
    // Another intent of the same payment, of another payment, and of another amount.
    assert_eq!(
        report(&mut market, &paid("pi_2", TOTAL, 13)).unwrap(),
        REFUND
    );
    let other = Report {
        payment: "q",
        ..paid("pi_3", 17, 400)
    };
    assert_eq!(report(&mut market, &other).unwrap(), REFUND);
    assert_eq!(newest_refund(&market), (RefundCause::Double, 17));
    assert!(report(&mut market, &other).unwrap().is_empty(), "a replay");
    // Also if the shop took the money itself.
    let mut by_shop = started();
    by_shop.purchase_order("o", second(12)).unwrap();
    assert_eq!(
        report(&mut by_shop, &paid("pi_1", TOTAL, 13)).unwrap(),
        REFUND
    );
    assert_eq!(newest_refund(&by_shop), (RefundCause::Double, TOTAL));
}

#[test]
fn another_amount_or_currency_is_returned_and_the_order_stays_payable() {
    let mut market = started();
    let euros = Money::price(TOTAL, Currency::new("EUR").unwrap()).unwrap();
    let in_euros = Report {
        report: PaymentReport::Succeeded { amount: euros },
        ..paid("pi_0", 0, 11)
    };
    assert_eq!(report(&mut market, &in_euros).unwrap(), REFUND);
    for (reference, amount) in [("pi_1", TOTAL - 1), ("pi_2", TOTAL + 1)] {
        let kinds = report(&mut market, &paid(reference, amount, 12)).unwrap();
        assert_eq!(kinds, REFUND);
        assert_eq!(newest_refund(&market), (RefundCause::WrongAmount, amount));
    }
    assert_eq!(report(&mut market, &paid("pi_3", TOTAL, 13)).unwrap(), SALE);
}

#[test]
fn late_money_buys_new_holds_if_the_units_are_left() {
    let mut market = expired();
    let before: Vec<HoldId> = order(&market)
        .items()
        .iter()
        .map(|item| item.hold_id)
        .collect();
    assert_eq!(
        report(&mut market, &paid("pi_1", TOTAL, 96)).unwrap(),
        LATE_SALE
    );
    assert_eq!(market.stock_of("lamp"), stock(8, 0, 2));
    let after = order(&market);
    assert_eq!(
        (after.progress().status, after.progress().ended_at),
        (OrderStatus::Paid, second(96))
    );
    for (item, old) in after.items().iter().zip(before) {
        assert_ne!(item.hold_id, old);
        let drop = &market.drops[&item.drop_id];
        assert_eq!(drop.order_of(item.hold_id), Some(order_id("o")));
    }
    assert!(
        report(&mut market, &paid("pi_1", TOTAL, 97))
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        report(&mut market, &paid("pi_2", TOTAL, 97)).unwrap(),
        REFUND
    );
    assert_eq!(newest_refund(&market), (RefundCause::Double, TOTAL));
}

#[test]
fn late_money_that_buys_nothing_is_returned() {
    let by_policy = Report {
        policy: LatePayments::Refund,
        ..paid("pi_1", TOTAL, 96)
    };
    let as_usual = || paid("pi_1", TOTAL, 96);
    let taken = |market: &mut Market| {
        for (hold, units) in [("others", 2), ("other", 1)] {
            let hold = place_hold(hold, units).by("bob").at(second(96));
            market.decide("chair", &hold).unwrap();
        }
        // One is free again, and a waitlist entry exists for it.
        let wait = join_waitlist("w", 1).by("cy").at(second(96));
        market.decide("chair", &wait).unwrap();
        let release = release_hold("other").at(second(96));
        market.decide("chair", &release).unwrap();
    };
    let limited = |market: &mut Market| {
        let hold = place_hold("mine", 2).at(second(96));
        market.decide("chair", &hold).unwrap();
        let terms = DropTerms {
            max_per_buyer: Some(buyer_limit(2)),
            ..market.drops[&drop_id("chair")].terms().unwrap().clone()
        };
        market
            .drops
            .get_mut(&drop_id("chair"))
            .unwrap()
            .evolve(&drop_rescheduled(terms));
    };
    let dearer = |market: &mut Market| {
        let terms = DropTerms {
            price: cents(26_00),
            ..market.drops[&drop_id("chair")].terms().unwrap().clone()
        };
        market
            .drops
            .get_mut(&drop_id("chair"))
            .unwrap()
            .evolve(&drop_rescheduled(terms));
    };
    let cancelled = |market: &mut Market| {
        market
            .decide("chair", &cancel_drop().at(second(96)))
            .unwrap();
    };
    type Change<'a> = &'a dyn Fn(&mut Market);
    let cases: [(Change<'_>, Report<'_>, RefundCause); 6] = [
        (&|_| {}, by_policy, RefundCause::Late),
        (&taken, as_usual(), RefundCause::Late),
        (&limited, as_usual(), RefundCause::Late),
        (&dearer, as_usual(), RefundCause::Late),
        (&cancelled, as_usual(), RefundCause::Late),
        (&|_| {}, paid("pi_1", 1, 96), RefundCause::WrongAmount),
    ];
    for (index, (change, late, cause)) in cases.into_iter().enumerate() {
        let mut market = expired();
        change(&mut market);
        let before = market.drops.clone();
        assert_eq!(
            report(&mut market, &late).unwrap(),
            LATE_REFUND,
            "case {index}"
        );
        assert_eq!(newest_refund(&market).0, cause, "case {index}");
        assert_eq!(market.drops, before, "all items are sold, or none");
        assert_eq!(order(&market).progress().status, OrderStatus::Expired);
    }
    let mut market = started();
    market.cancel_order("o", second(20)).unwrap();
    assert_eq!(report(&mut market, &as_usual()).unwrap(), LATE_REFUND);
    assert_eq!(newest_refund(&market), (RefundCause::OrderOver, TOTAL));
}

#[test]
fn late_money_counts_neither_the_throttle_nor_the_end_of_the_sale() {
    let mut market = expired();
    let terms = DropTerms {
        throttle: Some(throttle(1, 600)),
        ends_at: Some(second(50)),
        ..market.drops[&drop_id("lamp")].terms().unwrap().clone()
    };
    let lamp = market.drops.get_mut(&drop_id("lamp")).unwrap();
    lamp.evolve(&drop_rescheduled(terms));
    assert_eq!(
        report(&mut market, &paid("pi_1", TOTAL, 96)).unwrap(),
        LATE_SALE
    );
}

#[test]
fn failure_is_recorded_once_and_never_after_the_success() {
    let mut market = started();
    assert_eq!(report(&mut market, &failed(11)).unwrap(), ["PaymentFailed"]);
    assert!(report(&mut market, &failed(12)).unwrap().is_empty());
    assert_eq!(
        report(&mut market, &paid("pi_1", TOTAL, 13)).unwrap(),
        SALE,
        "the buyer tried again"
    );
    let mut market = started();
    report(&mut market, &paid("pi_1", TOTAL, 11)).unwrap();
    assert!(
        report(&mut market, &failed(12)).unwrap().is_empty(),
        "out of order"
    );
    let mut market = expired();
    assert_eq!(report(&mut market, &failed(99)).unwrap(), ["PaymentFailed"]);
}

#[test]
fn report_of_an_unknown_payment_is_refused() {
    let mut market = started();
    let unknown = Report {
        payment: "x",
        ..paid("pi_1", TOTAL, 11)
    };
    assert_eq!(report(&mut market, &unknown), Err(Refusal::PaymentNotFound));
}

fn refund(
    market: &mut Market,
    name: &str,
    lines: Option<&[(&str, u32)]>,
    restock: bool,
) -> Result<(RefundId, usize), Refusal> {
    let lines = lines.map(|lines| {
        let line = |(item, (drop, units)): (usize, &(&str, u32))| RefundLine {
            item: u32::try_from(item).unwrap(),
            drop_id: drop_id(drop),
            units: *units,
        };
        lines.iter().enumerate().map(line).collect::<Vec<_>>()
    });
    let reason = Reason::new("sent back").unwrap();
    let command = RefundOrder {
        refund_id: refund_id(name),
        key: Some(key(name)),
        lines: lines.as_deref(),
        restock,
        reason: &reason,
        at: second(500),
    };
    let (id, batch) = order(market).refund(&command, |id| market.drops.get(&id))?;
    Ok((id, market.apply(order_id("o"), batch)))
}

#[test]
fn impossible_histories_of_payments_panic() {
    let items = [order_item("d1", "h1", 2), order_item("d2", "h2", 1)];
    let total = cents(30_00);
    let (by, money) = (("p", "i"), |cause| {
        refund_requested("r", ("p", "i"), total, cause)
    });
    let open = || vec![order_placed(items), payment_started("p", items)];
    let with = |events: &[OrderEvent]| [open(), events.to_vec()].concat();
    let success = || payment_succeeded("p", "i", total);
    let sale = || vec![success(), order_paid_by("p", "i", items)];
    let sold = |events: &[OrderEvent]| [open(), sale(), events.to_vec()].concat();
    let late = |events: &[OrderEvent]| {
        with(
            &[
                &[order_expired(), success(), payment_arrived_late("p", "i")],
                events,
            ]
            .concat(),
        )
    };
    let load = |history: &[OrderEvent]| {
        history.iter().fold(Order::default(), |mut order, event| {
            order.evolve(event);
            order
        })
    };
    for possible in [
        sold(&[money(RefundCause::Return)]),
        late(&[order_paid_late("p", "i", items)]),
        late(&[money(RefundCause::Late)]),
        with(&[
            payment_failed("p", "i"),
            success(),
            order_paid_by("p", "i", items),
        ]),
    ] {
        load(&possible);
    }
    let settled = |outcome| refund_settled("r", outcome);
    let histories = vec![
        // A payment of nothing, of another amount, twice, or after the end.
        vec![payment_started("p", items)],
        vec![order_placed(items), payment_started("p", [items[0]])],
        with(&[payment_started("p", items)]),
        with(&[order_expired(), payment_started("q", items)]),
        // A success without a payment, twice, or without its outcome.
        vec![order_placed(items), success()],
        with(&[success(), success()]),
        with(&[success(), order_expired()]),
        with(&[success(), payment_failed("p", "i")]),
        with(&[success(), order_paid(items)]),
        with(&[success(), order_paid_by("p", "other", items)]),
        sold(&[success()]),
        // An outcome without a success, or two.
        with(&[order_paid_by("p", "i", items)]),
        sold(&[money(RefundCause::Double)]),
        with(&[payment_arrived_late("p", "i")]),
        // A sale for another amount, and a late one that was not late.
        with(&[
            payment_succeeded("p", "i", cents(1)),
            order_paid_by("p", "i", items),
        ]),
        with(&[success(), order_paid_late("p", "i", items)]),
        late(&[order_paid_by("p", "i", items)]),
        // A cause that is not true.
        with(&[success(), money(RefundCause::Double)]),
        with(&[success(), money(RefundCause::Late)]),
        with(&[success(), money(RefundCause::OrderOver)]),
        late(&[money(RefundCause::OrderOver)]),
        with(&[success(), money(RefundCause::Return)]),
        // A part of the money, and more than all of it.
        with(&[
            success(),
            refund_requested("r", by, cents(1), RefundCause::WrongAmount),
        ]),
        sold(&[refund_requested("r", by, cents(30_01), RefundCause::Return)]),
        sold(&[
            money(RefundCause::Return),
            refund_requested("s", by, cents(1), RefundCause::Return),
        ]),
        // Settled before the request, twice, or after the success.
        sold(&[settled(RefundOutcome::Succeeded)]),
        sold(&[
            money(RefundCause::Return),
            settled(RefundOutcome::Succeeded),
            settled(RefundOutcome::Failed),
        ]),
        sold(&[
            money(RefundCause::Return),
            settled(RefundOutcome::Failed),
            settled(RefundOutcome::Failed),
        ]),
        with(&[payment_failed("p", "i"), payment_failed("p", "i")]),
    ];
    for history in histories {
        let outcome = std::panic::catch_unwind(|| load(&history));
        assert!(outcome.is_err(), "{history:#?}");
    }
}

#[test]
fn extensions_follow_the_start_in_the_order_of_the_items() {
    let market = ordered();
    let command = StartPayment {
        payment_id: payment_id("p"),
        key: None,
        provider: provider(),
        at: second(10),
    };
    let decided = order(&market).start_payment(&command, |id| market.drops.get(&id));
    let batch = decided.unwrap().1.unwrap();
    let extended = batch.drops.iter().map(|(drop_id, event)| {
        let DropEvent::HoldExtended(event) = event else {
            panic!("{event:?}");
        };
        assert_eq!(event.previous_expires_at, second(35));
        (*drop_id, event.hold_id, event.expires_at)
    });
    let items = order(&market).items().iter();
    assert!(extended.eq(items.map(|item| (item.drop_id, item.hold_id, second(95)))));
}
