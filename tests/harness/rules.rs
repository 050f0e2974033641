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
struct WaitlistEntry {
    entry: String,
    buyer: String,
    quantity: u64,
}

#[derive(Debug, Default)]
struct DropModel {
    available: u64,
    /// Held and purchased, by buyer.
    taken: BTreeMap<String, u64>,
    placed: BTreeMap<String, Vec<i64>>,
    /// In order of arrival.
    waitlist: Vec<WaitlistEntry>,
    offers: usize,
}

impl Rules {
    /// Replays the drop's events from the first; returns how many holds were offered to waitlist
    /// entries.
    ///
    /// # Panics
    /// At the first event that breaks a rule: a limit, the throttle, or the order of the waitlist.
    #[track_caller]
    pub fn check(&self, log: &[Event], drop: &str) -> usize {
        let mut model = DropModel::default();
        for event in log.iter().filter(|event| event.aggregate_id == drop) {
            self.apply(&mut model, event);
        }
        model.offers
    }

    fn allowed(&self, model: &DropModel, buyer: &str, quantity: u64) -> bool {
        let taken = model.taken.get(buyer).copied().unwrap_or_default();
        quantity <= self.max_per_hold
            && self.max_per_buyer.is_none_or(|max| taken + quantity <= max)
    }

    /// The first entry that can be served.
    fn next<'a>(&self, model: &'a DropModel) -> Option<&'a WaitlistEntry> {
        let could = |candidate: &&WaitlistEntry| {
            candidate.quantity <= model.available
                && self.allowed(model, &candidate.buyer, candidate.quantity)
        };
        model.waitlist.iter().find(could)
    }

    #[track_caller]
    fn apply(&self, model: &mut DropModel, event: &Event) {
        let (fields, position) = (event.fields(), event.position);
        let quantity = fields["quantity"].as_u64().unwrap_or_default();
        let buyer = || text(&fields["buyer"]);
        match event.event_type.as_str() {
            "DropScheduled" => model.available = crate::number(&fields["total_stock"]),
            "StockAdjusted" => model.available = crate::number(&fields["stock"]["available"]),
            "WaitlistJoined" => {
                assert!(
                    quantity > model.available,
                    "joined although units were available at {position}"
                );
                let waits = model
                    .waitlist
                    .iter()
                    .any(|candidate| candidate.buyer == buyer());
                assert!(!waits, "one buyer has two entries at {position}");
                model.waitlist.push(WaitlistEntry {
                    entry: text(&fields["entry_id"]),
                    buyer: buyer(),
                    quantity,
                });
            }
            "WaitlistLeft" => {
                let entry = text(&fields["entry_id"]);
                model.waitlist.retain(|candidate| candidate.entry != entry);
            }
            "HoldPlaced" => {
                let next = self.next(model).map(|candidate| candidate.entry.clone());
                let served = fields["waitlist_entry"].as_str().map(str::to_owned);
                assert_eq!(served, next, "wrong entry served at {position}");
                assert!(
                    self.allowed(model, &buyer(), quantity),
                    "buyer limit exceeded at {position}"
                );
                if let Some(entry) = served {
                    model.waitlist.retain(|candidate| candidate.entry != entry);
                    model.offers += 1;
                } else {
                    self.check_throttle(model, &buyer(), &fields, position);
                }
                let placed = model.placed.entry(buyer()).or_default();
                placed.push(millis(&fields["placed_at"]));
                *model.taken.entry(buyer()).or_default() += quantity;
                model.available -= quantity;
            }
            "HoldChanged" => {
                let before = crate::number(&fields["previous_quantity"]);
                let (added, freed) = (
                    quantity.saturating_sub(before),
                    before.saturating_sub(quantity),
                );
                let taken = model.taken.entry(buyer()).or_default();
                *taken = *taken + added - freed;
                let taken = *taken;
                model.available = model.available + freed - added;
                let is_allowed = quantity <= self.max_per_hold
                    && self.max_per_buyer.is_none_or(|max| taken <= max);
                assert!(added == 0 || is_allowed, "limit exceeded at {position}");
            }
            "PurchaseRefunded" => {
                *model.taken.entry(buyer()).or_default() -= quantity;
                if fields["restocked"] == true {
                    model.available += quantity;
                }
            }
            "HoldReleased" | "HoldExpired" => {
                *model.taken.entry(buyer()).or_default() -= quantity;
                model.available += quantity;
            }
            "PurchaseConfirmed" | "DropRescheduled" | "DropStarted" | "DropEnded"
            | "DropCancelled" | "HoldExtended" => {}
            other => panic!("unknown event type {other}"),
        }
    }

    #[track_caller]
    fn check_throttle(&self, model: &DropModel, buyer: &str, fields: &Value, position: u64) {
        let Some((holds, window)) = self.throttle else {
            return;
        };
        let now = millis(&fields["placed_at"]);
        let earlier = model.placed.get(buyer).into_iter().flatten();
        let recent = earlier.filter(|at| **at > now - window).count();
        assert!(recent < holds, "throttle exceeded at {position}");
    }
}

#[track_caller]
fn millis(value: &Value) -> i64 {
    chrono::DateTime::parse_from_rfc3339(&text(value))
        .unwrap_or_else(|error| panic!("{error}: {value}"))
        .timestamp_millis()
}
