//! The engine's guarantees for waitlist entries, on a log in memory and a virtual clock.

use domain::command::{JoinWaitlist, Pass, ReleaseHold};
use domain::decide::Subject;
use domain::terms::TermsPatch;
use domain::values::{DropId, HoldId, Pseudonym, WaitlistId};
use domain::{DropCommand, DropEvent, Refusal};
use engine::{Clock, CommandError, VirtualClock};
use infrastructure::log::memory::MemoryLog;
use uuid::Uuid;

use crate::support::build::{
    adjust, aggregate, decoded, hold, hold_as, join, kinds, new_year, purchase, quantity, release,
    schedule, stock_event, stock_program,
};
use crate::support::node::{Node, hold_of, pass, settle};
use crate::support::request::{Answer, Request};

/// One unit, held by `ann` for a minute, and waitlist entries of `bob` and `cid` for it.
struct Queue {
    log: MemoryLog,
    clock: VirtualClock,
    node: Node,
    drop_id: DropId,
    held: Answer,
    bob: WaitlistId,
    cid: WaitlistId,
}

impl Queue {
    async fn open() -> Self {
        let log = MemoryLog::default();
        let clock = VirtualClock::starting_at(new_year());
        let node = Node::start(&log, clock, 1).await;
        let drop_id = node.scheduled(schedule("drop", 1, 60)).await;
        let held = node.submit(hold(drop_id, "ann", "ann", 1)).await.unwrap();
        pass(10_000).await;
        let bob = entry_of(&node.submit(join(drop_id, "bob", "bob", 1)).await.unwrap());
        let cid = entry_of(&node.submit(join(drop_id, "cid", "cid", 1)).await.unwrap());
        Self {
            log,
            clock,
            node,
            drop_id,
            held,
            bob,
            cid,
        }
    }

    /// The events from the sixth on, each with the entry that received an offer.
    fn since(&self) -> Vec<(String, Option<WaitlistId>)> {
        let events = decoded(&self.log.snapshot());
        let described = events[5..].iter().map(|recorded| {
            let served = match &recorded.event {
                DropEvent::HoldPlaced(placed) => placed.waitlist_entry,
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
                | DropEvent::HoldExpired(_)
                | DropEvent::HoldReleased(_)
                | DropEvent::PurchaseConfirmed(_)
                | DropEvent::PurchaseRefunded(_)
                | DropEvent::StockAdjusted(_)
                | DropEvent::WaitlistJoined(_)
                | DropEvent::WaitlistLeft(_)
                | DropEvent::CodesCreated(_) => None,
            };
            (recorded.event.event_type().to_owned(), served)
        });
        described.collect()
    }
}

fn entry_of(answer: &Answer) -> WaitlistId {
    let Subject::Waitlist(entry_id) = answer.subject else {
        panic!("about {:?}, not a waitlist entry", answer.subject);
    };
    entry_id
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, CommandError>) -> Refusal {
    match outcome {
        Err(CommandError::Refused { refusal, .. }) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn event(name: &str) -> (String, Option<WaitlistId>) {
    (name.to_owned(), None)
}

fn offer(to: WaitlistId) -> (String, Option<WaitlistId>) {
    ("HoldPlaced".to_owned(), Some(to))
}

#[tokio::test(start_paused = true)]
async fn expired_units_pass_through_the_waitlist_without_any_request() {
    let queue = Queue::open().await;
    let first = queue.held.at.plus_seconds(60);
    queue.clock.sleep_until(first).await;
    settle().await;
    assert_eq!(queue.since(), [event("HoldExpired"), offer(queue.bob)]);
    let batch = queue.node.seen.batches().last().unwrap().events.len();
    assert_eq!(batch, 2, "one batch");
    queue.clock.sleep_until(first.plus_seconds(60)).await;
    settle().await;
    queue.clock.sleep_until(first.plus_seconds(120)).await;
    settle().await;
    assert_eq!(
        queue.since()[2..],
        [event("HoldExpired"), offer(queue.cid), event("HoldExpired")]
    );
    assert_eq!(queue.log.peek().recorded_at, first.plus_seconds(120));
}

#[tokio::test(start_paused = true)]
async fn offer_is_an_ordinary_hold_and_can_be_purchased() {
    let queue = Queue::open().await;
    queue
        .node
        .submit(release(hold_of(&queue.held)))
        .await
        .unwrap();
    let drop = aggregate(&queue.log.snapshot(), queue.drop_id);
    let entry = drop.entry(queue.bob).unwrap();
    assert_eq!(entry.hold_id.prefix(), queue.drop_id.prefix());
    assert_ne!(entry.hold_id.0, entry.id.0);
    queue.node.submit(purchase(entry.hold_id)).await.unwrap();
    assert_eq!(
        queue.since(),
        [
            event("HoldReleased"),
            offer(queue.bob),
            event("PurchaseConfirmed")
        ]
    );
    let leave = Request::LeaveWaitlist {
        entry_id: queue.bob,
    };
    let hold_id = entry.hold_id;
    assert_eq!(
        refused(queue.node.submit(leave).await),
        Refusal::AlreadyOffered { hold_id }
    );
}

#[tokio::test(start_paused = true)]
async fn waitlist_survives_a_crash_and_retries_find_their_entry() {
    let Queue {
        log,
        clock,
        node,
        drop_id,
        held,
        bob,
        cid,
    } = Queue::open().await;
    node.crash().await;
    let next = Node::start(&log, clock, 2).await;
    let again = next.submit(join(drop_id, "bob", "BOB", 1)).await.unwrap();
    assert!(again.is_replay());
    assert_eq!(entry_of(&again), bob);
    next.submit(Request::LeaveWaitlist { entry_id: bob })
        .await
        .unwrap();
    next.submit(release(hold_of(&held))).await.unwrap();
    let offered = decoded(&log.snapshot()).pop().unwrap().event;
    let DropEvent::HoldPlaced(offered) = offered else {
        panic!("{offered:?}");
    };
    assert_eq!(offered.waitlist_entry, Some(cid));
    // While no engine runs, the offer expires; the waitlist is empty then.
    next.crash().await;
    pass(61_000).await;
    let _last = Node::start(&log, clock, 3).await;
    settle().await;
    assert_eq!(kinds(&log.snapshot()).last().unwrap(), "HoldExpired");
}

#[tokio::test(start_paused = true)]
async fn buyer_introduced_in_a_waitlist_keeps_the_pseudonym_in_a_hold() {
    let queue = Queue::open().await;
    queue
        .node
        .submit(adjust(queue.drop_id, "more", 5))
        .await
        .unwrap();
    queue
        .node
        .submit(hold_as(queue.drop_id, "k", "Bob", None, 1))
        .await
        .unwrap();
    let events = decoded(&queue.log.snapshot());
    let DropEvent::WaitlistJoined(joined) = &events[3].event else {
        panic!("{events:?}");
    };
    assert!(joined.commitment.is_some() && events[3].private.is_some());
    let DropEvent::HoldPlaced(placed) = &events.last().unwrap().event else {
        panic!("{events:?}");
    };
    assert_eq!((placed.buyer, placed.commitment), (joined.buyer, None));
}

#[tokio::test(start_paused = true)]
async fn postponed_start_serves_the_waitlist_first_on_time() {
    let queue = Queue::open().await;
    let starts_at = queue.clock.now().plus_seconds(100);
    let put_off = Request::RescheduleDrop {
        drop_id: queue.drop_id,
        expected_version: None,
        patch: Box::new(TermsPatch {
            starts_at: Some(starts_at),
            ..TermsPatch::default()
        }),
    };
    queue.node.submit(put_off).await.unwrap();
    queue.clock.sleep_until(starts_at.plus_millis(-1)).await;
    assert_eq!(
        queue.since(),
        [event("DropRescheduled"), event("HoldExpired")]
    );
    queue.clock.sleep_until(starts_at).await;
    settle().await;
    let started = [event("DropStarted"), offer(queue.bob)];
    assert_eq!(queue.since()[2..], started);
    assert_eq!(queue.log.peek().recorded_at, starts_at);
}

#[tokio::test(start_paused = true)]
async fn engine_offers_units_that_another_program_freed() {
    let queue = Queue::open().await;
    let at = queue.clock.now();
    let command = DropCommand::ReleaseHold(ReleaseHold {
        hold_id: hold_of(&queue.held),
        at,
    });
    let history = queue.log.snapshot();
    let decision = aggregate(&history, queue.drop_id).decide(&command).unwrap();
    let only_the_first = stock_event(&history, queue.drop_id, &decision.events[0]);
    queue.log.append_stock(only_the_first);
    queue.node.handle.nudge();
    settle().await;
    settle().await;
    assert_eq!(queue.since(), [event("HoldReleased"), offer(queue.bob)]);
}

#[tokio::test(start_paused = true)]
async fn entry_with_a_stock_programs_id_is_found_and_served() {
    let queue = Queue::open().await;
    let entry_id = |n: u128| WaitlistId(Uuid::from_u128(n));
    for n in 1..=2 {
        let command = DropCommand::JoinWaitlist(JoinWaitlist {
            entry_id: entry_id(n),
            hold_id: HoldId(Uuid::from_u128(100 + n)),
            key: None,
            buyer: Pseudonym(Uuid::from_u128(200 + n)),
            quantity: quantity(1),
            pass: Pass::default(),
            commitment: None,
            max_waiting: u32::MAX,
            at: queue.clock.now(),
        });
        stock_program(&queue.log, queue.drop_id, &command);
    }
    let leave = |entry_id| Request::LeaveWaitlist { entry_id };
    queue.node.handle.nudge();
    settle().await;
    queue.node.submit(leave(entry_id(1))).await.unwrap();
    queue
        .node
        .submit(adjust(queue.drop_id, "more", 9))
        .await
        .unwrap();
    assert_eq!(
        queue.since()[4..],
        [offer(queue.bob), offer(queue.cid), offer(entry_id(2))]
    );
    let unknown = leave(entry_id(3));
    assert_eq!(
        refused(queue.node.submit(unknown).await),
        Refusal::WaitlistEntryNotFound
    );
}
