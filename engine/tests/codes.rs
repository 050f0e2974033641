//! Access codes on several nodes: no code is used more often than it may be, and a use returns as
//! soon as its hold is over; on a log in memory and a virtual clock.

use std::collections::BTreeMap;

use domain::decide::Subject;
use domain::event::ReleaseCause;
use domain::order::{OrderEvent, RefundCause};
use domain::terms::TermsPatch;
use domain::values::{
    Access, AccessCode, CodeDigest, CodeUses, Currency, DropId, HoldId, Money, PaymentReference,
    ProviderName, WaitlistId,
};
use domain::{DropEvent, Refusal};
use engine::{
    Clock, CreateCodes, OrderedItem, Pass, PaymentReport, PlaceOrder, RecordPayment, StartPayment,
    VirtualClock,
};
use infrastructure::codec::decode_order;
use infrastructure::log::memory::MemoryLog;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::build::{
    aggregate, buyer, decoded, hold, join, key, new_year, purchase, quantity, release, schedule,
};
use crate::support::node::{Node, hold_of, pass, settle};
use crate::support::request::Request;
use crate::support::shop::refusal;

fn code(name: &str) -> CodeDigest {
    let code = AccessCode::new(name).unwrap();
    CodeDigest::new(b"test", DropId(uuid::Uuid::nil()), &code)
}

async fn create(node: &Node, drop_id: DropId, names: &[&str], uses: i64) {
    let digests: Vec<CodeDigest> = names.iter().map(|name| code(name)).collect();
    let made = node.handle.create_codes(CreateCodes {
        drop_id,
        key: Some(key(&names.concat())),
        first: 0,
        of: u32::try_from(names.len()).unwrap(),
        digests,
        uses: CodeUses::new(uses).unwrap(),
        opens_at: None,
        expires_at: None,
    });
    made.await.unwrap();
}

/// A drop for holders of the codes `one`, with one use, and `two`, with two. Its holds last two
/// seconds.
async fn open(total: i64) -> (MemoryLog, VirtualClock, Node, DropId) {
    let (log, clock) = (MemoryLog::default(), VirtualClock::starting_at(new_year()));
    let node = Node::start(&log, clock, 1).await;
    let drop_id = node.scheduled(schedule("drop", total, 2)).await;
    create(&node, drop_id, &["one"], 1).await;
    create(&node, drop_id, &["two"], 2).await;
    let patch = TermsPatch {
        access: Some(Access::Code),
        ..TermsPatch::default()
    };
    let edit = Request::RescheduleDrop {
        drop_id,
        expected_version: None,
        patch: Box::new(patch),
    };
    node.submit(edit).await.unwrap();
    (log, clock, node, drop_id)
}

/// The request with a code.
fn with(request: Request, name: &str) -> Request {
    let mut request = request;
    if let Request::PlaceHold { pass, .. } | Request::JoinWaitlist { pass, .. } = &mut request {
        *pass = Pass {
            code: Some(code(name)),
            ..Pass::default()
        };
    }
    request
}

#[tokio::test(start_paused = true)]
async fn one_of_several_simultaneous_requests_gets_the_code() {
    let (log, clock, node, drop_id) = open(9).await;
    let other = Node::start(&log, clock, 2).await;
    let request = |name: &str| with(hold(drop_id, name, name, 1), "one");
    let (first, second) = tokio::join!(node.submit(request("a")), other.submit(request("b")));
    let (won, lost) = match first.is_ok() {
        true => (first, second),
        false => (second, first),
    };
    let held = hold_of(&won.unwrap());
    assert_eq!(refusal(lost), Refusal::CodeSpent { uses: 1 });
    // Both nodes know it, and a node that starts from the log alone.
    let third = Node::start(&log, clock, 3).await;
    for node in [&node, &other, &third] {
        let refused = node.submit(request("c")).await;
        assert_eq!(refusal(refused), Refusal::CodeSpent { uses: 1 });
    }
    assert_eq!(
        aggregate(&log.snapshot(), drop_id).code_of(held),
        Some(code("one"))
    );
}

#[tokio::test(start_paused = true)]
async fn use_of_a_hold_that_is_over_is_free_before_its_expiry_is_recorded() {
    let (log, _clock, node, drop_id) = open(9).await;
    node.held(with(hold(drop_id, "a", "ann", 1), "one")).await;
    // The hold is over exactly now: the next buyer gets the code.
    pass(2_000).await;
    let next = with(hold(drop_id, "b", "bob", 1), "one");
    node.held(next).await;
    let ends: Vec<&str> = decoded(&log.snapshot())
        .iter()
        .map(|recorded| recorded.event.event_type())
        .filter(|kind| kind.starts_with("Hold"))
        .collect();
    assert_eq!(ends, ["HoldPlaced", "HoldExpired", "HoldPlaced"]);
}

/// An order with a code, whose holds have expired, and its payment.
struct Expired {
    log: MemoryLog,
    node: Node,
    drop_id: DropId,
    payment: RecordPayment,
}

async fn expired_order() -> Expired {
    let (log, clock, node, drop_id) = open(9).await;
    let placed = node.handle.place_order(PlaceOrder {
        key: Some(key("o")),
        other_key: None,
        buyer_id: buyer("ann"),
        is_from_token: false,
        display_name: None,
        items: [OrderedItem {
            drop_id,
            quantity: quantity(1),
        }]
        .into(),
        codes: vec![(0, code("one"))],
        sees_hidden: false,
        solved: None,
    });
    let order_id = placed.await.unwrap().subject;
    let provider = ProviderName::new("stripe").unwrap();
    let started = node.handle.start_payment(StartPayment {
        order_id,
        key: Some(key("p")),
        other_key: None,
        provider: provider.clone(),
    });
    let payment_id = started.await.unwrap().subject;
    clock.sleep_until(clock.now().plus_seconds(3_600)).await;
    settle().await;
    let log_now = log.snapshot();
    let orders = log_now
        .iter()
        .filter_map(|event| decode_order(event).unwrap());
    let placed = orders.map(|recorded| recorded.event).find_map(|event| {
        let OrderEvent::OrderPlaced(placed) = event else {
            return None;
        };
        Some(placed.total.amount)
    });
    let amount = Money::price(placed.unwrap(), Currency::new("USD").unwrap()).unwrap();
    let payment = RecordPayment {
        order_id,
        payment_id,
        provider,
        reference: PaymentReference::new("pi_1").unwrap(),
        report: PaymentReport::Succeeded { amount },
    };
    Expired {
        log,
        node,
        drop_id,
        payment,
    }
}

fn order_events(log: &MemoryLog) -> Vec<OrderEvent> {
    let log = log.snapshot();
    let decoded = log.iter().filter_map(|event| decode_order(event).unwrap());
    decoded.map(|recorded| recorded.event).collect()
}

#[tokio::test(start_paused = true)]
async fn late_money_buys_with_the_code_of_the_order_while_it_has_a_use_left() {
    let shop = expired_order().await;
    let paid = shop.node.handle.record_payment(shop.payment.clone());
    paid.await.unwrap();
    assert!(matches!(
        order_events(&shop.log).last(),
        Some(OrderEvent::OrderPaid(event)) if event.late
    ));
    let refused = with(hold(shop.drop_id, "b", "bob", 1), "one");
    let refused = refusal(shop.node.submit(refused).await);
    assert_eq!(refused, Refusal::CodeSpent { uses: 1 });
}

#[tokio::test(start_paused = true)]
async fn late_money_is_returned_when_another_buyer_has_used_the_code() {
    let shop = expired_order().await;
    let taken = with(hold(shop.drop_id, "b", "bob", 1), "one");
    let taken = shop.node.held(taken).await;
    shop.node.submit(purchase(taken)).await.unwrap();
    let paid = shop.node.handle.record_payment(shop.payment.clone());
    paid.await.unwrap();
    assert!(matches!(
        order_events(&shop.log).last(),
        Some(OrderEvent::RefundRequested(event)) if event.cause == RefundCause::Late
    ));
}

/// Counts the uses of each code as the log shows them, without the aggregate.
#[derive(Default)]
struct Count {
    uses: BTreeMap<CodeDigest, u32>,
    used: BTreeMap<CodeDigest, u32>,
    of_holds: BTreeMap<HoldId, CodeDigest>,
    of_entries: BTreeMap<WaitlistId, CodeDigest>,
    /// How often a use was returned and taken again.
    returned: usize,
    spent: usize,
}

impl Count {
    fn take(&mut self, code: CodeDigest) {
        let used = self.used.entry(code).or_default();
        *used += 1;
        assert!(*used <= self.uses[&code], "{code} is used {used} times");
        self.spent += usize::from(*used == self.uses[&code]);
    }

    fn give_back(&mut self, code: CodeDigest) {
        *self.used.get_mut(&code).unwrap() -= 1;
        self.returned += 1;
    }

    fn follow(&mut self, event: &DropEvent) {
        match event {
            DropEvent::CodesCreated(event) => {
                let uses = event.digests.iter().map(|code| (*code, event.uses.get()));
                self.uses.extend(uses);
            }
            DropEvent::HoldPlaced(event) => {
                let code = event.code.expect("every hold of this drop has a code");
                match event.waitlist_entry {
                    Some(entry_id) => {
                        assert_eq!(self.of_entries.remove(&entry_id), Some(code));
                    }
                    None => self.take(code),
                }
                self.of_holds.insert(event.hold_id, code);
            }
            DropEvent::WaitlistJoined(event) => {
                let code = event.code.expect("every entry of this drop has a code");
                self.take(code);
                self.of_entries.insert(event.entry_id, code);
            }
            DropEvent::WaitlistLeft(event) => {
                let code = self.of_entries.remove(&event.entry_id).unwrap();
                self.give_back(code);
            }
            DropEvent::HoldExpired(event) => {
                let code = self.of_holds.remove(&event.hold_id).unwrap();
                self.give_back(code);
            }
            DropEvent::HoldReleased(event) => {
                assert_eq!(event.cause, ReleaseCause::Buyer);
                let code = self.of_holds.remove(&event.hold_id).unwrap();
                self.give_back(code);
            }
            DropEvent::PurchaseConfirmed(event) => {
                self.of_holds.remove(&event.hold_id).unwrap();
            }
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_) => {}
        }
    }
}

/// Two nodes on one log, of which one crashes now and then, and buyers who share a few codes.
#[tokio::test(start_paused = true)]
async fn codes_are_never_used_too_often_by_two_nodes() {
    let (mut returned, mut spent) = (0, 0);
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let (log, clock, first, drop_id) = open(3).await;
        let names = ["a", "b", "c"];
        create(&first, drop_id, &names, 3).await;
        let mut nodes = vec![first, Node::start(&log, clock, 100 + seed).await];
        let codes = ["one", "two", "a", "b", "c", "wrong"];
        let mut holds: Vec<HoldId> = vec![];
        let mut entries: Vec<WaitlistId> = vec![];
        for step in 0..60 {
            let mut sent = vec![];
            for number in 0..random.random_range(1..=4) {
                let name = format!("{step}-{number}");
                let chosen = codes[random.random_range(0..codes.len())];
                let request = match random.random_range(0..10) {
                    0 if !holds.is_empty() => {
                        purchase(holds.swap_remove(random.random_range(0..holds.len())))
                    }
                    1 | 2 if !holds.is_empty() => {
                        release(holds.swap_remove(random.random_range(0..holds.len())))
                    }
                    3 if !entries.is_empty() => Request::LeaveWaitlist {
                        entry_id: entries.swap_remove(random.random_range(0..entries.len())),
                    },
                    4 | 5 => with(join(drop_id, &name, &name, 1), chosen),
                    _ => with(hold(drop_id, &name, &name, 1), chosen),
                };
                let node = &nodes[random.random_range(0..nodes.len())];
                sent.push(node.begin(request).await);
            }
            for outcome in sent {
                match outcome.await.unwrap().map(|answer| answer.subject) {
                    Ok(Subject::Hold(hold_id)) => holds.push(hold_id),
                    Ok(Subject::Waitlist(entry_id)) => entries.push(entry_id),
                    Ok(_) | Err(_) => {}
                }
            }
            match random.random_range(0..12) {
                0 => pass(2_000).await,
                1 => pass(700).await,
                2 => {
                    let lost = random.random_range(0..nodes.len());
                    nodes.swap_remove(lost).crash().await;
                    nodes.push(Node::start(&log, clock, 1_000 * (seed + 1) + step).await);
                }
                _ => settle().await,
            }
        }
        pass(5_000).await;
        let mut count = Count::default();
        for recorded in decoded(&log.snapshot()) {
            count.follow(&recorded.event);
        }
        let known = aggregate(&log.snapshot(), drop_id);
        for (code, uses) in &count.uses {
            let used = count.used.get(code).copied().unwrap_or_default();
            let known = known.codes().find(*code).unwrap();
            assert_eq!(known.left, uses - used, "seed {seed}");
        }
        returned += count.returned;
        spent += count.spent;
    }
    assert!(
        returned > 100 && spent > 100,
        "{returned} returned, {spent} spent"
    );
}
