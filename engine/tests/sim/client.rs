//! Simulated shoppers and administrators: they send requests, retry with the same key, and remember
//! every response.

use std::time::Duration;

use domain::decide::Subject;
use domain::terms::TermsPatch;
use domain::values::{
    BuyerLimit, DropId, HoldId, HoldSeconds, LimitGroup, MaxHoldSeconds, PaymentReference,
    Position, PurchaseId, StockCount, Timestamp, WaitlistId,
};
use domain::{DropEvent, Refusal};
use engine::SaleChange;
use engine::{Clock, CommandError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::World;
use crate::support::build::{
    LONGEST_HOLD, adjust, hold_as, join, key, quantity, reason, release, schedule,
};
use crate::support::request::{self, Answer, Request};

/// One request and its outcome.
#[derive(Debug, Clone)]
pub struct SentRequest {
    pub request: Request,
    /// The head when it was sent, and when the response arrived.
    pub window: (Position, Position),
    /// The correct time when it was sent, and when the response arrived.
    pub times: (Timestamp, Timestamp),
    pub outcome: Result<Answer, CommandError>,
}

/// Starts all clients.
pub fn start(world: &World, random: &mut StdRng) -> Vec<JoinHandle<()>> {
    (0..random.random_range(2..=6))
        .map(|number| {
            let client = Client {
                world: world.clone(),
                number,
                random: StdRng::seed_from_u64(random.random()),
                requests: 0,
                drops: vec![],
                holds: vec![],
                entries: vec![],
                purchases: vec![],
            };
            tokio::spawn(client.shop())
        })
        .collect()
}

struct Client {
    world: World,
    number: u32,
    random: StdRng,
    requests: u32,
    drops: Vec<DropId>,
    holds: Vec<HoldId>,
    entries: Vec<WaitlistId>,
    purchases: Vec<(DropId, PurchaseId, HoldId)>,
}

impl Client {
    async fn shop(mut self) {
        let longest_pause = self.random.random_range(2..150);
        while !self.world.over.is_cancelled() {
            sleep(Duration::from_millis(
                self.random.random_range(0..longest_pause),
            ))
            .await;
            self.discover_drops();
            let request = self.next_request();
            self.send_with_retries(request).await;
        }
    }

    /// Sees every scheduled drop.
    fn discover_drops(&mut self) {
        let has_time = self.random.random_bool(0.3);
        if has_time || self.drops.is_empty() {
            self.drops = self.world.drops.lock().unwrap().clone();
        }
    }

    fn next_request(&mut self) -> Request {
        self.requests += 1;
        let key = format!("{}-{}", self.number, self.requests);
        let Some(drop_id) = self.pick(&self.drops.clone()) else {
            return self.schedule(&key);
        };
        match self.random.random_range(0..100) {
            0..3 => self.schedule(&key),
            3 if self.random.random_bool(0.3) => Request::CancelDrop { drop_id },
            3 if self.random.random_bool(0.3) => Request::ChangeSale {
                drop_id,
                change: SaleChange::Pause,
            },
            // More often than pauses, so that most drops sell.
            3 | 4 => Request::ChangeSale {
                drop_id,
                change: [SaleChange::Resume, SaleChange::Publish(None)]
                    [self.random.random_range(0..2)],
            },
            5 => self.reschedule(drop_id),
            6 => Request::SetStock {
                drop_id,
                expected_stock_version: None,
                total: StockCount::new(self.random.random_range(0..=20)).unwrap(),
                reason: reason("counted"),
            },
            7..12 => adjust(drop_id, &key, self.random.random_range(-3..=4)),
            12..40 => match self.some_hold() {
                Some(held) if self.random.random_bool(0.15) => self.extend(held),
                Some(held) if self.random.random_bool(0.15) => self.change(held),
                Some(held) if self.random.random_bool(0.6) => self.purchase(held),
                Some(held) => release(held),
                None => self.hold(drop_id, &key),
            },
            40..52 => self.join(drop_id, &key),
            54..58 => match self.pick(&self.purchases.clone()) {
                Some(purchase) => self.refund(purchase, &key),
                None => self.hold(drop_id, &key),
            },
            52..54 => match self.pick(&self.entries.clone()) {
                Some(entry_id) => Request::LeaveWaitlist { entry_id },
                None => self.join(drop_id, &key),
            },
            _ => self.hold(drop_id, &key),
        }
    }

    /// Mostly one of its own; sometimes one that a stock program placed.
    fn some_hold(&mut self) -> Option<HoldId> {
        let strays = self.world.strays.lock().unwrap().clone();
        if self.random.random_bool(0.1) && !strays.is_empty() {
            return self.pick(&strays);
        }
        self.pick(&self.holds.clone())
    }

    fn extend(&mut self, hold_id: HoldId) -> Request {
        let seconds = self.random.random_range(1..=i64::from(LONGEST_HOLD) + 1);
        let seconds = MaxHoldSeconds::new(seconds).unwrap();
        Request::ExtendHold { hold_id, seconds }
    }

    fn change(&mut self, hold_id: HoldId) -> Request {
        let quantity = quantity(self.random.random_range(1..=3));
        Request::ChangeHold { hold_id, quantity }
    }

    fn refund(
        &mut self,
        (drop_id, purchase_id, hold_id): (DropId, PurchaseId, HoldId),
        key_text: &str,
    ) -> Request {
        let units = quantity(self.random.random_range(1..=2));
        Request::RefundPurchase {
            drop_id,
            purchase_id,
            hold_id,
            key: Some(key(key_text)),
            quantity: self.random.random_bool(0.7).then_some(units),
            restock: self.random.random_bool(0.7),
            reason: reason("returned"),
        }
    }

    fn purchase(&mut self, hold_id: HoldId) -> Request {
        let card = self.random.random_range(0..3);
        let reference = || PaymentReference::new(&format!("card {card}")).unwrap();
        Request::ConfirmPurchase {
            hold_id,
            payment_reference: self.random.random_bool(0.5).then(reference),
        }
    }

    fn reschedule(&mut self, drop_id: DropId) -> Request {
        let seconds = HoldSeconds::new(self.random.random_range(1..=4)).unwrap();
        let version = self.random.random_range(0..3);
        Request::RescheduleDrop {
            drop_id,
            expected_version: (version > 0).then_some(version),
            patch: Box::new(TermsPatch {
                hold_seconds: Some(seconds),
                ..TermsPatch::default()
            }),
        }
    }

    fn schedule(&mut self, key: &str) -> Request {
        let (total, seconds) = (
            self.random.random_range(0..=12),
            self.random.random_range(1..=4),
        );
        // Sometimes two clients schedule the same drop.
        if self.random.random_bool(0.3) {
            return schedule("shared", 7, 2);
        }
        let mut request = schedule(key, total, seconds);
        if let Request::ScheduleDrop { terms, .. } = &mut request {
            terms.terms.draft = self.random.random_bool(0.15);
        }
        // Two groups, in which every drop has a limit of its own.
        if self.random.random_bool(0.5)
            && let Request::ScheduleDrop { terms, .. } = &mut request
        {
            let group = ["shoes", "hats"][self.random.random_range(0..2)];
            terms.terms.limit_group = Some(LimitGroup::new(group).unwrap());
            let limit = BuyerLimit::new(self.random.random_range(1..=6)).unwrap();
            terms.terms.max_per_buyer = Some(limit);
        }
        request
    }

    /// A few buyers, shared by all clients, who vary the spelling of their ids and change their
    /// names.
    fn hold(&mut self, drop_id: DropId, key: &str) -> Request {
        let buyers = ["ann", "Ann", "bob", "BOB", "cy"];
        let names = [None, None, Some("A"), Some("B")];
        let buyer = buyers[self.random.random_range(0..buyers.len())];
        let name = names[self.random.random_range(0..names.len())];
        hold_as(drop_id, key, buyer, name, self.random.random_range(1..=3))
    }

    fn join(&mut self, drop_id: DropId, key: &str) -> Request {
        let buyers = ["ann", "bob", "CY", "dot", "Eve"];
        let buyer = buyers[self.random.random_range(0..buyers.len())];
        join(drop_id, key, buyer, self.random.random_range(1..=3))
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.random.random_range(0..from.len())])
    }

    /// Sends a request until there is a response or it gives up; sometimes once more, as if the
    /// response was lost.
    async fn send_with_retries(&mut self, request: Request) {
        for _ in 0..self.random.random_range(1..=5) {
            let Some(outcome) = self.submit(&request).await else {
                continue;
            };
            if let Ok(answer) = &outcome {
                self.remember(answer);
            }
            let is_over = matches!(outcome, Ok(_) | Err(CommandError::Refused { .. }));
            if is_over && self.random.random_bool(0.8) {
                return;
            }
            sleep(Duration::from_millis(self.random.random_range(0..300))).await;
        }
    }

    async fn submit(&mut self, request: &Request) -> Option<Result<Answer, CommandError>> {
        // In half of the simulations most clients use the same engine.
        let index = match self.random.random_bool(self.world.affinity) {
            true => 0,
            false => self.random.random_range(0..self.world.fleet.len()),
        };
        let (handle, feed) = self.world.fleet.at(index)?;
        let from = self.world.log.log.peek().position;
        let sent_at = self.world.clock.now();
        let outcome = request::submit(&handle, request.clone()).await;
        let times = (sent_at, self.world.clock.now());
        let to = self.world.log.log.peek().position;
        if let Ok(answer) = &outcome {
            if answer.subject == Subject::Drop && !answer.is_replay() {
                self.world.drops.lock().unwrap().push(answer.drop_id);
            }
            assert!(
                answer.position() <= to,
                "response sent before the event was in the log"
            );
            assert!(
                feed.head().position >= answer.position(),
                "response sent before observers were notified"
            );
        }
        self.world.count(|tally| {
            tally.requests += 1;
            match &outcome {
                Ok(answer) if answer.is_replay() => tally.replayed += 1,
                Ok(_) => tally.accepted += 1,
                Err(CommandError::Refused { refusal, .. }) => {
                    tally.refused += 1;
                    let is_limit = matches!(refusal, Refusal::LimitReached { .. });
                    tally.limited += usize::from(is_limit);
                }
                Err(CommandError::Unavailable) => tally.unavailable += 1,
                Err(CommandError::ClockFault(_)) => tally.clock_faults += 1,
                Err(CommandError::Overloaded) => tally.overloaded += 1,
                Err(CommandError::Undecided) => tally.undecided += 1,
                Err(
                    refused @ (CommandError::Quarantined { .. }
                    | CommandError::OrderQuarantined { .. }
                    | CommandError::LogRefused { .. }),
                ) => {
                    panic!("a valid log is refused: {refused}")
                }
                Err(CommandError::TooLarge) => panic!("a small request is too large"),
            }
        });
        self.world.sent.lock().unwrap().push(SentRequest {
            request: request.clone(),
            window: (from, to),
            times,
            outcome: outcome.clone(),
        });
        Some(outcome)
    }

    fn remember(&mut self, answer: &Answer) {
        if let Subject::Hold(hold_id) = answer.subject {
            self.holds.push(hold_id);
        }
        for recorded in answer.events() {
            if let DropEvent::PurchaseConfirmed(event) = &recorded.event {
                let purchase = (answer.drop_id, event.purchase_id, event.hold_id);
                self.purchases.push(purchase);
            }
        }
        if let Subject::Waitlist(entry_id) = answer.subject {
            self.entries.push(entry_id);
        }
        // A hold that another client might purchase at the same moment.
        if self.holds.len() > 6 {
            self.holds.remove(0);
        }
    }
}
