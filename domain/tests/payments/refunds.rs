//! Refunds: goods and money come back together, at most once, with the order or its purchases.

use domain::Refusal;
use domain::order::refund::SettleRefund;
use domain::order::{OrderStatus, RefundCause, RefundOutcome};
use domain::testing::*;

use super::{TOTAL, newest_refund, order, paid, refund, report, started};

fn bought() -> Market {
    let mut market = started();
    report(&mut market, &paid("pi_1", TOTAL, 12)).unwrap();
    market
}

#[test]
fn return_takes_goods_and_money_back_together() {
    let mut market = bought();
    let lines = [("chair", 1), ("lamp", 1)];
    let made = refund(&mut market, "r", Some(&lines), true);
    assert_eq!(
        made,
        Ok((refund_id("r"), 3)),
        "the money, and two purchases"
    );
    assert_eq!(newest_refund(&market), (RefundCause::Return, 35_00));
    assert_eq!(market.stock_of("chair"), stock(3, 0, 0));
    assert_eq!(market.stock_of("lamp"), stock(9, 0, 1));
    let replay = refund(&mut market, "r", Some(&lines), true);
    assert_eq!(replay, Ok((refund_id("r"), 0)));
    type Items<'a> = Option<&'a [(&'a str, u32)]>;
    let others: [(Items<'_>, bool); 4] = [
        (Some(&lines), false),
        (Some(&[("chair", 1)]), true),
        (Some(&[("chair", 1), ("lamp", 2)]), true),
        (None, true),
    ];
    for (other, restock) in others {
        let refused = refund(&mut market, "r", other, restock);
        assert_eq!(refused, Err(Refusal::IdempotencyKeyReused));
    }
    // Everything that is left.
    assert_eq!(
        refund(&mut market, "s", None, false),
        Ok((refund_id("s"), 2))
    );
    assert_eq!(newest_refund(&market), (RefundCause::Return, 10_00));
    assert_eq!(market.stock_of("lamp"), stock(9, 0, 0));
    assert_eq!(
        refund(&mut market, "s", None, false),
        Ok((refund_id("s"), 0))
    );
    let nothing = Err(Refusal::NothingToRefund { refundable: 0 });
    assert_eq!(refund(&mut market, "t", None, true), nothing);
    assert_eq!(order(&market).payments().refunded(intent("pi_1")), TOTAL);
}

#[test]
fn return_that_is_not_possible_changes_nothing() {
    let mut market = bought();
    let before = market.clone();
    let of_item = |item, refusal| {
        Err(Refusal::OfItem {
            item,
            refusal: Box::new(refusal),
        })
    };
    let cases: [(&[(&str, u32)], _); 3] = [
        (
            &[("lamp", 1), ("chair", 2)],
            of_item(1, Refusal::NothingToRefund { refundable: 1 }),
        ),
        (
            &[("lamp", 4_000)],
            of_item(0, Refusal::NothingToRefund { refundable: 2 }),
        ),
        (
            &[("lamp", 1), ("stool", 1)],
            of_item(1, Refusal::DropNotFound),
        ),
    ];
    for (lines, refusal) in cases {
        assert_eq!(refund(&mut market, "r", Some(lines), true), refusal);
    }
    assert_eq!(market, before);
    let unpaid = Err(Refusal::OrderNotPaid {
        status: OrderStatus::Pending,
    });
    assert_eq!(refund(&mut started(), "r", None, true), unpaid);
}

#[test]
fn shop_that_took_the_money_itself_gets_the_goods_only() {
    let mut market = started();
    market.purchase_order("o", second(12)).unwrap();
    assert_eq!(
        refund(&mut market, "r", None, true),
        Ok((refund_id("r"), 2))
    );
    assert!(order(&market).payments().refunds().is_empty());
    assert_eq!(market.stock_of("lamp"), stock(10, 0, 0));
    assert_eq!(
        refund(&mut market, "r", None, true),
        Ok((refund_id("r"), 0))
    );
}

#[test]
fn purchase_of_an_order_is_refunded_with_its_money() {
    let mut market = bought();
    let item = order(&market).items()[0];
    let purchase_id = order(&market).sale().unwrap().purchases[0];
    let command = domain::command::RefundPurchase {
        refund_id: refund_id("r"),
        key: Some(key("r")),
        purchase_id,
        hold_id: item.hold_id,
        quantity: Some(quantity(1)),
        restock: true,
        reason: reason(),
        at: second(50),
    };
    let decide = |market: &Market| {
        let drop = &market.drops[&item.drop_id];
        order(market).refund_purchase(&command, (item.drop_id, drop))
    };
    let (id, batch) = decide(&market).unwrap();
    assert_eq!(id, refund_id("r"));
    assert_eq!(market.apply(order_id("o"), batch), 2);
    assert_eq!(newest_refund(&market), (RefundCause::Return, 10_00));
    assert_eq!(decide(&market), Ok((refund_id("r"), None)));
}

#[test]
fn refund_is_settled_once_and_may_succeed_after_a_failure() {
    let mut market = bought();
    refund(&mut market, "r", None, true).unwrap();
    let settle = |market: &mut Market, name: &str, outcome, at| {
        let command = SettleRefund {
            refund_id: refund_id(name),
            outcome,
            reason: None,
            at: second(at),
        };
        let batch = order(market).settle_refund(&command)?;
        Ok(market.apply(order_id("o"), batch))
    };
    use RefundOutcome::{Failed, Succeeded};
    let unknown = settle(&mut market, "x", Succeeded, 510);
    assert_eq!(unknown, Err(Refusal::RefundNotFound));
    assert_eq!(settle(&mut market, "r", Failed, 511), Ok(1));
    assert_eq!(settle(&mut market, "r", Failed, 512), Ok(0));
    assert_eq!(settle(&mut market, "r", Succeeded, 513), Ok(1));
    assert_eq!(settle(&mut market, "r", Succeeded, 514), Ok(0));
    let settled_at = second(513);
    assert_eq!(
        settle(&mut market, "r", Failed, 515),
        Err(Refusal::RefundSucceeded { settled_at })
    );
}
