//! Stock programs: they work without an engine, decide on the log's events, and append one event at
//! a time.

use std::time::Duration;

use domain::command::{
    AdjustStock, CancelDrop, ChangeHold, ConfirmPurchase, ExpireHold, ExtendHold, JoinWaitlist,
    LeaveWaitlist, Pass, PlaceHold, ReleaseHold, ScheduleDrop,
};
use domain::values::{
    AdjustmentId, DropId, HoldId, MaxHoldSeconds, Pseudonym, PurchaseId, Sequence, StockCount,
    Timestamp, WaitlistId,
};
use domain::{DropAggregate, DropCommand, DropEvent};
use engine::Clock;
use infrastructure::codec::{RecordedEvent, encode};
use infrastructure::log::EventLog;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use uuid::Uuid;

use super::World;
use crate::support::build::{decoded, quantity, reason, sample, terms};

/// Starts one in most simulations.
pub fn start(world: &World, random: &mut StdRng) -> Option<JoinHandle<()>> {
    let every = random.random_range(50..1_000);
    let random = StdRng::seed_from_u64(random.random());
    let world = world.clone();
    (every < 800).then(|| tokio::spawn(work(world, every, random)))
}

async fn work(world: World, every: u64, mut random: StdRng) {
    let clock = world.clock.another(random.random_range(-500..500));
    let mut sequence = 0;
    while !world.over.is_cancelled() {
        sleep(Duration::from_millis(random.random_range(0..every))).await;
        // Mostly it waits for the append turn, as in Postgres; sometimes it appends during another
        // turn.
        let _turn = match random.random_bool(0.7) {
            true => world.log.take_turn().await.ok(),
            false => None,
        };
        let log = &world.log.log;
        if random.random_bool(0.1) {
            sequence += 1;
            log.append_stock(sample("other", sequence));
            continue;
        }
        let history = decoded(&log.snapshot());
        let at = clock.now().max(log.peek().recorded_at);
        let known = match random.random_bool(0.95) {
            true => history.get(random.random_range(0..history.len().max(1))),
            false => None,
        };
        let drop_id = known.map_or_else(|| DropId(uuid(&mut random)), |event| event.drop_id);
        let drop = of_drop(&history, drop_id);
        let command = match known {
            Some(_) => command(&drop, at, &mut random),
            None => schedule(at, &mut random),
        };
        if let Ok(decision) = drop.decide(&command) {
            append(&world, drop_id, drop.sequence(), at, &decision.events);
        }
    }
}

fn of_drop(history: &[RecordedEvent], drop_id: DropId) -> DropAggregate {
    let mut drop = DropAggregate::default();
    for recorded in history.iter().filter(|event| event.drop_id == drop_id) {
        drop.evolve(&recorded.event);
    }
    drop
}

/// One after another, as `postgres-es` does.
fn append(world: &World, drop_id: DropId, mut last: Sequence, at: Timestamp, events: &[DropEvent]) {
    for event in events {
        last = last.next();
        let log = &world.log.log;
        log.append_stock(encode(drop_id, last, at, event, None));
        world.stock.lock().unwrap().insert(log.peek().position);
        if let DropEvent::HoldPlaced(event) = event {
            world.strays.lock().unwrap().push(event.hold_id);
        }
        world.count(|tally| tally.stock_events += 1);
    }
}

fn uuid(random: &mut StdRng) -> Uuid {
    Uuid::from_bytes(random.random())
}

fn schedule(at: Timestamp, random: &mut StdRng) -> DropCommand {
    DropCommand::ScheduleDrop(ScheduleDrop {
        key: None,
        terms: terms(random.random_range(1..=4)),
        total_stock: StockCount::new(random.random_range(1..9)).unwrap(),
        at,
    })
}

fn command(drop: &DropAggregate, at: Timestamp, random: &mut StdRng) -> DropCommand {
    let holds: Vec<HoldId> = drop.holds().map(|hold| hold.id).collect();
    let held = match holds[..] {
        [] => None,
        _ => Some(holds[random.random_range(0..holds.len())]),
    };
    match (random.random_range(0..20), held) {
        (0, _) if random.random_bool(0.3) => DropCommand::CancelDrop(CancelDrop { at }),
        (0..6, _) => DropCommand::AdjustStock(AdjustStock {
            adjustment_id: AdjustmentId(uuid(random)),
            key: None,
            expected_stock_version: None,
            delta: random.random_range(-3..=3),
            reason: reason("counted"),
            at,
        }),
        (6..9, Some(hold_id)) => DropCommand::ExpireHold(ExpireHold { hold_id, at }),
        // Such a program sees one drop: it would exceed the limit of a group for another's buyer.
        (9, Some(hold_id)) if drop.limit_group().is_none() => DropCommand::ChangeHold(ChangeHold {
            hold_id,
            quantity: quantity(random.random_range(1..=3)),
            at,
        }),
        (10, Some(hold_id)) => DropCommand::ExtendHold(ExtendHold {
            hold_id,
            seconds: MaxHoldSeconds::new(random.random_range(1..=6)).unwrap(),
            at,
        }),
        (11, Some(hold_id)) => DropCommand::ReleaseHold(ReleaseHold { hold_id, at }),
        (12..15, Some(hold_id)) => DropCommand::ConfirmPurchase(ConfirmPurchase {
            purchase_id: PurchaseId(uuid(random)),
            hold_id,
            commitment: None,
            is_recorded: false,
            at,
        }),
        (15, _) => DropCommand::JoinWaitlist(JoinWaitlist {
            entry_id: WaitlistId(uuid(random)),
            hold_id: HoldId(uuid(random)),
            key: None,
            buyer: Pseudonym(uuid(random)),
            quantity: quantity(random.random_range(1..=3)),
            pass: Pass::default(),
            commitment: None,
            max_waiting: u32::MAX,
            at,
        }),
        (16, _) if !drop.waitlist().entries().is_empty() => {
            let entries = drop.waitlist().entries();
            let entry_id = entries[random.random_range(0..entries.len())].id;
            DropCommand::LeaveWaitlist(LeaveWaitlist { entry_id, at })
        }
        _ => DropCommand::PlaceHold(PlaceHold {
            hold_id: HoldId(uuid(random)),
            key: None,
            buyer: Pseudonym(uuid(random)),
            quantity: quantity(random.random_range(1..=3)),
            pass: Pass::default(),
            commitment: None,
            at,
        }),
    }
}
