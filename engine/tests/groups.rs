//! Limit groups: one limit over several drops, decided exactly, on a log in memory and a virtual
//! clock.

use std::collections::{BTreeMap, BTreeSet};

use domain::decide::Subject;
use domain::incident::{self, LogEvent, PositionVoided};
use domain::order::OrderEvent;
use domain::refusal::Limit;
use domain::values::{DropId, LimitGroup, Position, Pseudonym, Sequence, WaitlistId};
use domain::{DropEvent, Refusal};
use engine::{
    Clock, CommandError, LookUpBuyer, NewTerms, OrderedItem, PaymentReport, PlaceOrder,
    RecordPayment, StartPayment, VirtualClock,
};
use infrastructure::log::StoredEvent;
use infrastructure::log::memory::MemoryLog;

use crate::support::build::{
    adjust, aggregate, buyer, decoded, hold, join, key, kinds, new_year, purchase, quantity,
    reason, release, schedule, stock_event,
};
use crate::support::node::{Node, hold_of, pass, settle};
use crate::support::request::{Answer, Request};
use crate::support::shop::refusal;

/// A request for a size of the shoe, of which a buyer may have `per_buyer` units over all sizes.
fn size(name: &str, total: i64, hold_seconds: i64, per_buyer: Option<i64>) -> Request {
    let Request::ScheduleDrop {
        key,
        terms,
        total_stock,
    } = schedule(name, total, hold_seconds)
    else {
        panic!("another request");
    };
    let mut terms = terms.terms;
    terms.limit_group = Some(LimitGroup::new("shoe").unwrap());
    terms.max_per_buyer = per_buyer.map(|units| units.try_into().unwrap());
    let starts_now = true;
    Request::ScheduleDrop {
        key,
        terms: Box::new(NewTerms { terms, starts_now }),
        total_stock,
    }
}

/// Two sizes, of which a buyer may have two pairs together, and a lamp.
struct Shoes {
    log: MemoryLog,
    clock: VirtualClock,
    node: Node,
    eight: DropId,
    nine: DropId,
    lamp: DropId,
}

impl Shoes {
    async fn open() -> Self {
        Self::with(10).await
    }

    async fn with(total: i64) -> Self {
        let (log, clock) = (MemoryLog::default(), VirtualClock::starting_at(new_year()));
        let node = Node::start(&log, clock, 1).await;
        Self {
            eight: node.scheduled(size("eight", total, 60, Some(2))).await,
            nine: node.scheduled(size("nine", total, 30, Some(2))).await,
            lamp: node.scheduled(schedule("lamp", total, 60)).await,
            log,
            clock,
            node,
        }
    }

    async fn holds(&self, drop_id: DropId, key: &str, name: &str) -> Answer {
        self.node.submit(hold(drop_id, key, name, 1)).await.unwrap()
    }

    async fn is_refused(&self, drop_id: DropId, name: &str, units: i64) -> Refusal {
        let key = format!("refused-{}", self.log.snapshot().len());
        refusal(self.node.submit(hold(drop_id, &key, name, units)).await)
    }

    async fn allowance(&self, drop_id: DropId, name: &str) -> u32 {
        let request = LookUpBuyer {
            drop_id,
            buyer_id: buyer(name),
            is_from_token: false,
        };
        let standing = self.node.handle.look_up_buyer(request).await.unwrap();
        standing.subject.allowance
    }

    /// Declares a position void, as an operator.
    fn void(&self, position: Position) {
        let event = LogEvent::PositionVoided(PositionVoided {
            position,
            reason: reason("written by a test"),
            voided_at: self.clock.now(),
        });
        self.log.append_stock(StoredEvent {
            aggregate_type: incident::AGGREGATE_TYPE.into(),
            aggregate_id: incident::STREAM.to_owned(),
            sequence: Sequence(1),
            event_type: event.event_type().into(),
            event_version: incident::VERSION.into(),
            payload: serde_json::to_string(&event).unwrap(),
            ..self.log.snapshot()[0].clone()
        });
    }

    /// The pseudonyms of a buyer in each drop that recorded the id.
    fn pseudonyms(&self, name: &str) -> BTreeMap<DropId, BTreeSet<Pseudonym>> {
        let mut found = BTreeMap::<DropId, BTreeSet<Pseudonym>>::new();
        for recorded in decoded(&self.log.snapshot()) {
            let id = recorded.private.and_then(|private| private.buyer_id);
            if id == Some(buyer(name)) {
                let of_drop = found.entry(recorded.drop_id).or_default();
                of_drop.extend(recorded.event.buyer());
            }
        }
        found
    }
}

fn too_many(allowance: u32) -> Refusal {
    Refusal::LimitReached {
        limit: Limit::PerBuyer,
        max: 2,
        allowance,
    }
}

fn entry_of(answer: &Answer) -> WaitlistId {
    let Subject::Waitlist(entry_id) = answer.subject else {
        panic!("about {:?}, not a waitlist entry", answer.subject);
    };
    entry_id
}

#[tokio::test(start_paused = true)]
async fn sizes_share_the_limit_and_the_pseudonym() {
    let shoes = Shoes::open().await;
    shoes.holds(shoes.eight, "a", "ann").await;
    assert_eq!(shoes.is_refused(shoes.nine, "ann", 2).await, too_many(1));
    assert_eq!(shoes.allowance(shoes.nine, "ANN").await, 1);
    let second = shoes.holds(shoes.nine, "b", "ann").await;
    assert_eq!(shoes.is_refused(shoes.eight, "ann", 1).await, too_many(0));
    // Of another group and another buyer.
    shoes.holds(shoes.lamp, "c", "ann").await;
    shoes.holds(shoes.nine, "d", "bob").await;
    let ann = shoes.pseudonyms("ann");
    assert_eq!(ann[&shoes.eight], ann[&shoes.nine]);
    assert_ne!(
        ann[&shoes.eight], ann[&shoes.lamp],
        "linkable in a group only"
    );
    assert_ne!(ann[&shoes.nine], shoes.pseudonyms("bob")[&shoes.nine]);
    // Units that are released, and units that are bought.
    shoes.node.submit(release(hold_of(&second))).await.unwrap();
    assert_eq!(shoes.allowance(shoes.eight, "ann").await, 1);
    let again = shoes.holds(shoes.eight, "e", "ann").await;
    shoes.node.submit(purchase(hold_of(&again))).await.unwrap();
    assert_eq!(shoes.is_refused(shoes.nine, "ann", 1).await, too_many(0));
}

#[tokio::test(start_paused = true)]
async fn hold_of_another_size_that_is_over_does_not_count() {
    let shoes = Shoes::open().await;
    shoes.holds(shoes.nine, "a", "ann").await;
    shoes.holds(shoes.nine, "b", "ann").await;
    pass(29_999).await;
    assert_eq!(shoes.is_refused(shoes.eight, "ann", 1).await, too_many(0));
    // At the deadline, before the engine has had its turn.
    pass(1).await;
    shoes
        .node
        .submit(hold(shoes.eight, "c", "ann", 2))
        .await
        .unwrap();
    let recorded = kinds(&shoes.log.snapshot()).split_off(5);
    assert_eq!(recorded, ["HoldExpired", "HoldExpired", "HoldPlaced"]);
}

#[tokio::test(start_paused = true)]
async fn change_of_a_hold_counts_the_other_size() {
    let shoes = Shoes::open().await;
    let held = shoes.holds(shoes.eight, "a", "ann").await;
    shoes.holds(shoes.nine, "b", "ann").await;
    let change = |units| Request::ChangeHold {
        hold_id: hold_of(&held),
        quantity: quantity(units),
    };
    assert_eq!(refusal(shoes.node.submit(change(2)).await), too_many(0));
    pass(30_000).await;
    shoes.node.submit(change(2)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unit_that_comes_back_in_one_size_is_offered_in_the_other() {
    let shoes = Shoes::with(2).await;
    let bobs = shoes.node.held(hold(shoes.eight, "bob", "bob", 2)).await;
    let anns = shoes.node.held(hold(shoes.nine, "a", "ann", 1)).await;
    let wait = shoes.node.submit(join(shoes.eight, "w", "ann", 1)).await;
    let entry_id = entry_of(&wait.unwrap());
    let more = shoes.node.held(hold(shoes.nine, "b", "ann", 1)).await;
    let refused = refusal(shoes.node.submit(join(shoes.eight, "v", "ann", 1)).await);
    assert!(matches!(refused, Refusal::AlreadyWaiting { .. }));
    // `cid` is new in this size, and has used up the limit in the other one.
    shoes
        .node
        .submit(adjust(shoes.nine, "nine-more", 2))
        .await
        .unwrap();
    shoes.node.held(hold(shoes.nine, "c2", "cid", 2)).await;
    let joined = shoes.node.submit(join(shoes.eight, "x", "cid", 1)).await;
    assert_eq!(refusal(joined), too_many(0));
    shoes.node.submit(release(bobs)).await.unwrap();
    settle().await;
    let offered = |shoes: &Shoes| {
        let drop = aggregate(&shoes.log.snapshot(), shoes.eight);
        let entry = drop.entry(entry_id).unwrap().clone();
        drop.hold(entry.hold_id).map(|hold| hold.quantity.get())
    };
    assert_eq!(offered(&shoes), None, "ann has two units of the other size");
    // Nothing else happens in size eight: the release in size nine makes the offer due.
    shoes.node.submit(release(more)).await.unwrap();
    settle().await;
    assert_eq!(offered(&shoes), Some(1));
    assert_eq!(shoes.is_refused(shoes.nine, "ann", 1).await, too_many(0));
    shoes.node.submit(release(anns)).await.unwrap();
    shoes.holds(shoes.nine, "c", "ann").await;
}

#[tokio::test(start_paused = true)]
async fn offer_is_due_when_units_of_another_size_expire_or_are_refunded() {
    for is_refunded in [false, true] {
        let shoes = Shoes::with(2).await;
        let bobs = shoes.node.held(hold(shoes.eight, "bob", "bob", 2)).await;
        let wait = shoes.node.submit(join(shoes.eight, "w", "ann", 2)).await;
        let entry_id = entry_of(&wait.unwrap());
        let mine = shoes.node.held(hold(shoes.nine, "a", "ann", 1)).await;
        shoes.node.submit(release(bobs)).await.unwrap();
        if is_refunded {
            let bought = shoes.node.submit(purchase(mine)).await.unwrap();
            let DropEvent::PurchaseConfirmed(event) = &bought.events()[0].event else {
                panic!("{bought:?}");
            };
            let refund = Request::RefundPurchase {
                drop_id: shoes.nine,
                purchase_id: event.purchase_id,
                hold_id: mine,
                key: Some(key("refund")),
                quantity: None,
                restock: true,
                reason: reason("too small"),
            };
            shoes.node.submit(refund).await.unwrap();
            settle().await;
        } else {
            pass(30_001).await;
        }
        let drop = aggregate(&shoes.log.snapshot(), shoes.eight);
        let entry = drop.entry(entry_id).unwrap();
        assert!(
            drop.hold(entry.hold_id).is_some(),
            "refunded: {is_refunded}"
        );
    }
}

fn order(name: &str, items: &[(DropId, i64)]) -> PlaceOrder {
    let item = |(drop_id, units): &(DropId, i64)| OrderedItem {
        drop_id: *drop_id,
        quantity: quantity(*units),
    };
    PlaceOrder {
        key: Some(key(name)),
        other_key: None,
        buyer_id: buyer("ann"),
        is_from_token: false,
        display_name: None,
        items: items.iter().map(item).collect(),
        codes: Vec::new(),
        sees_hidden: false,
        solved: None,
    }
}

#[tokio::test(start_paused = true)]
async fn order_introduces_its_buyer_to_a_group_once_and_counts_all_items() {
    let shoes = Shoes::open().await;
    let (eight, nine, lamp) = (shoes.eight, shoes.nine, shoes.lamp);
    let place =
        |name: &str, items: &[(DropId, i64)]| shoes.node.handle.place_order(order(name, items));
    let refused = refusal(place("a", &[(lamp, 3), (eight, 1), (nine, 2)]).await);
    let (item, refusal_of_item) = (2, Box::new(too_many(1)));
    let expected = Refusal::OfItem {
        item,
        refusal: refusal_of_item,
    };
    assert_eq!(refused, expected);
    place("b", &[(lamp, 3), (eight, 1), (nine, 1)])
        .await
        .unwrap();
    let ann = shoes.pseudonyms("ann");
    assert_eq!(ann[&eight], ann[&nine]);
    assert_eq!(ann[&eight].len(), 1);
    assert_eq!(shoes.is_refused(nine, "ann", 1).await, too_many(0));
    // The order expires as a whole, and another one has room.
    pass(31_000).await;
    place("c", &[(nine, 2)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn late_money_is_refunded_beyond_the_limit_of_the_group() {
    for other in [0, 1] {
        let shoes = Shoes::open().await;
        let (eight, nine) = (shoes.eight, shoes.nine);
        let engine = &shoes.node.handle;
        let placed = engine
            .place_order(order("o", &[(eight, 1), (nine, 1)]))
            .await;
        let order_id = placed.unwrap().subject;
        let started = engine.start_payment(StartPayment {
            order_id,
            key: Some(key("p")),
            other_key: None,
            provider: domain::testing::provider(),
        });
        let started = started.await.unwrap();
        let OrderEvent::PaymentStarted(payment) = &started.order_events()[0].event else {
            panic!("{started:?}");
        };
        let (payment_id, amount) = (payment.payment_id, payment.amount);
        pass(120_000).await;
        for number in 0..other {
            let more = hold(nine, &format!("more-{number}"), "ann", 1);
            shoes.node.submit(more).await.unwrap();
        }
        let report = RecordPayment {
            order_id,
            payment_id,
            provider: domain::testing::provider(),
            reference: domain::values::PaymentReference::new("pi").unwrap(),
            report: PaymentReport::Succeeded { amount },
        };
        let recorded = engine.record_payment(report).await.unwrap();
        let events = recorded.order_events().iter();
        let kinds: Vec<_> = events.map(|recorded| recorded.event.event_type()).collect();
        let outcome = match other {
            0 => "OrderPaid",
            _ => "RefundRequested",
        };
        assert_eq!(kinds, ["PaymentSucceeded", "PaymentArrivedLate", outcome]);
    }
}

#[tokio::test(start_paused = true)]
async fn restarted_engine_and_another_one_count_the_same() {
    let Shoes {
        log,
        clock,
        node,
        eight,
        nine,
        lamp,
    } = Shoes::open().await;
    node.submit(hold(eight, "a", "ann", 1)).await.unwrap();
    let other = Node::start(&log, clock, 2).await;
    // Decided on an old head, then again on the true one.
    other.submit(hold(nine, "b", "Ann", 1)).await.unwrap();
    for engine in [&node, &other] {
        let outcome = engine.submit(hold(nine, "c", "ann", 1)).await;
        assert_eq!(refusal(outcome), too_many(0));
    }
    node.crash().await;
    other.crash().await;
    let next = Node::start(&log, clock, 3).await;
    let outcome = next.submit(hold(eight, "d", "ann", 1)).await;
    assert_eq!(refusal(outcome), too_many(0));
    let shoes = Shoes {
        log,
        clock,
        node: next,
        eight,
        nine,
        lamp,
    };
    let ann = shoes.pseudonyms("Ann");
    assert_eq!(ann.len(), 1, "size nine recorded this spelling");
    assert_eq!(ann[&nine], shoes.pseudonyms("ann")[&eight]);
}

#[tokio::test(start_paused = true)]
async fn stampede_of_one_buyer_over_two_engines_gets_the_limit() {
    let shoes = Shoes::open().await;
    let other = shoes.another_node().await;
    let mut sent = vec![];
    for number in 0..60 {
        let drop_id = [shoes.eight, shoes.nine][number % 2];
        let handle = [&shoes.node, &other][number / 2 % 2].handle.clone();
        let request = hold(drop_id, &format!("k{number}"), "ann", 1);
        sent.push(tokio::spawn(async move {
            crate::support::request::submit(&handle, request).await
        }));
    }
    let mut accepted = 0;
    for outcome in sent {
        match outcome.await.unwrap() {
            Ok(_) => accepted += 1,
            Err(CommandError::Refused { refusal, .. }) => assert_eq!(refusal, too_many(0)),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(accepted, 2);
}

impl Shoes {
    async fn another_node(&self) -> Node {
        Node::start(&self.log, self.clock, 2).await
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_decided_while_the_units_of_a_size_are_unknown() {
    let shoes = Shoes::with(2).await;
    let (eight, nine) = (shoes.eight, shoes.nine);
    let bobs = shoes.node.held(hold(eight, "bob", "bob", 2)).await;
    shoes.node.submit(join(eight, "w", "ann", 1)).await.unwrap();
    shoes.node.submit(hold(nine, "d", "dot", 2)).await.unwrap();
    // A second schedule contradicts the history of size nine.
    let first = decoded(&shoes.log.snapshot());
    let twice = first.iter().find(|recorded| recorded.drop_id == nine);
    let twice = stock_event(&shoes.log.snapshot(), nine, &twice.unwrap().event);
    shoes.log.append_stock(twice);
    let position = shoes.log.peek().position;
    pass(200).await;
    let quarantined = |outcome: Result<Answer, CommandError>| match outcome {
        Err(CommandError::Quarantined { drop_id, .. }) => drop_id,
        other => panic!("decided: {other:?}"),
    };
    let held = |key: &'static str| hold(eight, key, "cid", 1);
    assert_eq!(quarantined(shoes.node.submit(held("c")).await), nine);
    let joined = join(eight, "v", "dot", 1);
    assert_eq!(quarantined(shoes.node.submit(joined).await), nine);
    let more = Request::ChangeHold {
        hold_id: bobs,
        quantity: quantity(3),
    };
    assert_eq!(quarantined(shoes.node.submit(more).await), nine);
    let standing = shoes.node.handle.look_up_buyer(LookUpBuyer {
        drop_id: eight,
        buyer_id: buyer("bob"),
        is_from_token: false,
    });
    let unknown = standing.await.unwrap_err();
    assert!(matches!(unknown, CommandError::Quarantined { .. }));
    // Requests that do not depend on the limit go on; an offer depends on it.
    shoes.node.submit(release(bobs)).await.unwrap();
    shoes.node.submit(adjust(eight, "more", 1)).await.unwrap();
    shoes.holds(shoes.lamp, "l", "ann").await;
    pass(1_000).await;
    let drop = aggregate(&shoes.log.snapshot(), eight);
    assert_eq!((drop.stock().held, drop.waitlist().len()), (0, 1));

    // With all of its events applied again, the size counts as before.
    shoes.void(position);
    pass(1_000).await;
    let drop = aggregate(&shoes.log.snapshot(), eight);
    assert_eq!((drop.stock().held, drop.waitlist().len()), (1, 0));
    assert_eq!(shoes.is_refused(eight, "dot", 1).await, too_many(0));
    assert_eq!(shoes.allowance(eight, "ann").await, 1);
    shoes
        .node
        .submit(adjust(nine, "nine-more", 1))
        .await
        .unwrap();
    shoes.holds(nine, "n", "ann").await;
    assert_eq!(shoes.allowance(eight, "ann").await, 0);
}
