//! The rules of one drop, checked on its log by a model that shares no code with the product.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::events::Event;
use crate::text;

/// The limits of a drop.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Units in one hold.
    pub max_per_hold: u64,
    /// Units that one buyer may have held or purchased.
    pub max_per_buyer: Option<u64>,
    /// Number of holds within a number of milliseconds.
    pub throttle: Option<(usize, i64)>,
}

#[derive(Debug)]
struct Waiting {
    entry: String,
    buyer: String,
    quantity: u64,
}

#[derive(Debug, Default)]
struct Account {
    available: u64,
    /// Held and purchased, by buyer.
    taken: BTreeMap<String, u64>,
    placed: BTreeMap<String, Vec<i64>>,
    /// In order of arrival.
    line: Vec<Waiting>,
    offers: usize,
}

impl Rules {
    /// Replays the drop's events from the first; returns how many holds were offered to waitlist
    /// entries.
    ///
    /// # Panics
    /// At the first event that breaks a rule: a limit, the throttle, or the order of the waitlist.
    #[track_caller]
    pub fn kept_in(&self, log: &[Event], drop: &str) -> usize {
        let mut account = Account::default();
        for event in log.iter().filter(|event| event.aggregate_id == drop) {
            self.enter(&mut account, event);
        }
        account.offers
    }

    fn allowed(&self, account: &Account, buyer: &str, quantity: u64) -> bool {
        let taken = account.taken.get(buyer).copied().unwrap_or_default();
        quantity <= self.max_per_hold
            && self.max_per_buyer.is_none_or(|max| taken + quantity <= max)
    }

    /// The first entry that can be served.
    fn next<'a>(&self, account: &'a Account) -> Option<&'a Waiting> {
        let could = |waiting: &&Waiting| {
            waiting.quantity <= account.available
                && self.allowed(account, &waiting.buyer, waiting.quantity)
        };
        account.line.iter().find(could)
    }

    #[track_caller]
    fn enter(&self, account: &mut Account, event: &Event) {
        let (fields, position) = (event.fields(), event.position);
        let quantity = fields["quantity"].as_u64().unwrap_or_default();
        let buyer = || text(&fields["buyer"]);
        match event.event_type.as_str() {
            "DropScheduled" => account.available = crate::number(&fields["total_stock"]),
            "StockAdjusted" => account.available = crate::number(&fields["stock"]["available"]),
            "WaitlistJoined" => {
                assert!(
                    quantity > account.available,
                    "joined although units were available at {position}"
                );
                let waits = account.line.iter().any(|waiting| waiting.buyer == buyer());
                assert!(!waits, "one buyer has two entries at {position}");
                account.line.push(Waiting {
                    entry: text(&fields["entry_id"]),
                    buyer: buyer(),
                    quantity,
                });
            }
            "WaitlistLeft" => {
                let entry = text(&fields["entry_id"]);
                account.line.retain(|waiting| waiting.entry != entry);
            }
            "HoldPlaced" => {
                let next = self.next(account).map(|waiting| waiting.entry.clone());
                let served = fields["waitlist_entry"].as_str().map(str::to_owned);
                assert_eq!(served, next, "wrong entry served at {position}");
                assert!(
                    self.allowed(account, &buyer(), quantity),
                    "buyer limit exceeded at {position}"
                );
                if let Some(entry) = served {
                    account.line.retain(|waiting| waiting.entry != entry);
                    account.offers += 1;
                } else {
                    self.paced(account, &buyer(), &fields, position);
                }
                let placed = account.placed.entry(buyer()).or_default();
                placed.push(millis(&fields["placed_at"]));
                *account.taken.entry(buyer()).or_default() += quantity;
                account.available -= quantity;
            }
            "HoldReleased" | "HoldExpired" => {
                *account.taken.entry(buyer()).or_default() -= quantity;
                account.available += quantity;
            }
            "PurchaseConfirmed" | "DropRescheduled" | "DropCancelled" => {}
            other => panic!("unknown event type {other}"),
        }
    }

    #[track_caller]
    fn paced(&self, account: &Account, buyer: &str, fields: &Value, position: u64) {
        let Some((holds, window)) = self.throttle else {
            return;
        };
        let now = millis(&fields["placed_at"]);
        let earlier = account.placed.get(buyer).into_iter().flatten();
        let lately = earlier.filter(|at| **at > now - window).count();
        assert!(lately < holds, "throttle exceeded at {position}");
    }
}

#[track_caller]
fn millis(value: &Value) -> i64 {
    chrono::DateTime::parse_from_rfc3339(&text(value))
        .unwrap_or_else(|error| panic!("{error}: {value}"))
        .timestamp_millis()
}
