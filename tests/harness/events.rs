//! The log as an auditor reads it, and a ledger of it that shares no code with the product.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{number, text};

/// One event of `GET /v1/log`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Position in the log.
    pub position: u64,
    pub aggregate_type: String,
    /// The drop's id.
    pub aggregate_id: String,
    /// Sequence in the stream.
    pub sequence: u64,
    pub event_type: String,
    /// The version of its payload.
    pub event_version: String,
    /// RFC 3339.
    pub recorded_at: String,
    /// The stored text.
    pub payload: Box<RawValue>,
    /// The stored text.
    pub metadata: Box<RawValue>,
    /// The hash chain up to this event, in hexadecimal.
    pub hash: String,
    /// The stored text of a payload with line breaks.
    payload_text: Option<String>,
    /// The stored text of metadata with line breaks.
    metadata_text: Option<String>,
}

impl Event {
    /// Parses one line.
    ///
    /// # Panics
    /// If the line is not an event.
    #[track_caller]
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let event: Self =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let stored = |shown: Box<RawValue>, text: &Option<String>| match text {
            Some(text) => RawValue::from_string(text.clone()).expect("a stored text is JSON"),
            None => shown,
        };
        Self {
            payload: stored(event.payload, &event.payload_text),
            metadata: stored(event.metadata, &event.metadata_text),
            ..event
        }
    }

    /// The payload's fields.
    ///
    /// # Panics
    /// If the payload is not keyed by the event's type.
    #[must_use]
    pub fn fields(&self) -> Value {
        let mut payload: Value =
            serde_json::from_str(self.payload.get()).expect("a payload is JSON");
        let fields = payload[&self.event_type].take();
        assert!(
            fields.is_object(),
            "not keyed by {}: {}",
            self.event_type,
            self.payload
        );
        fields
    }
}

/// The units of a drop by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Units {
    pub total: i64,
    pub available: i64,
    pub held: i64,
    pub sold: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    drop: String,
    quantity: i64,
    ended: Option<String>,
}

/// The state that a log adds up to.
#[derive(Debug, Default)]
pub struct Ledger {
    drops: BTreeMap<String, Units>,
    holds: BTreeMap<String, Held>,
    counts: BTreeMap<(String, String), usize>,
}

impl Ledger {
    /// Adds up a log from its beginning.
    ///
    /// # Panics
    /// If positions are not dense, a sequence has a gap, a hold is placed or resolved twice, or the
    /// number of units is not conserved at some position.
    #[track_caller]
    #[must_use]
    pub fn of(log: &[Event]) -> Self {
        let mut ledger = Self::default();
        let mut sequences = BTreeMap::new();
        for (expected, event) in (1..).zip(log) {
            assert_eq!(event.position, expected, "positions are dense");
            let sequence = sequences.entry(&event.aggregate_id).or_insert(0);
            *sequence += 1;
            assert_eq!(
                event.sequence, *sequence,
                "the sequence at position {expected}"
            );
            if event.aggregate_type != "Drop" {
                continue;
            }
            ledger.add(event);
            let units = ledger.units(&event.aggregate_id);
            let Units {
                total,
                available,
                held,
                sold,
            } = units;
            assert!(
                available >= 0 && held >= 0 && sold >= 0,
                "oversold at position {expected}: {units:?}"
            );
            assert_eq!(
                available + held + sold,
                total,
                "units are not conserved at position {expected}: {units:?}"
            );
        }
        ledger
    }

    /// The units of `drop` by state.
    #[must_use]
    pub fn units(&self, drop: &str) -> Units {
        self.drops.get(drop).copied().unwrap_or_default()
    }

    /// Counts the events of `drop` of one type.
    #[must_use]
    pub fn count(&self, drop: &str, event_type: &str) -> usize {
        self.counts
            .get(&(drop.to_owned(), event_type.to_owned()))
            .copied()
            .unwrap_or_default()
    }

    /// Returns true if the log has placed this hold.
    #[must_use]
    pub fn has_hold(&self, hold: &str) -> bool {
        self.holds.contains_key(hold)
    }

    /// The type of the event that resolved a hold, or `None` while it is open.
    #[must_use]
    pub fn end_of(&self, hold: &str) -> Option<&str> {
        self.holds.get(hold)?.ended.as_deref()
    }

    #[track_caller]
    fn add(&mut self, event: &Event) {
        let drop = event.aggregate_id.clone();
        *self
            .counts
            .entry((drop.clone(), event.event_type.clone()))
            .or_default() += 1;
        let fields = event.fields();
        let signed = |name: &str| {
            fields[name]
                .as_i64()
                .unwrap_or_else(|| panic!("{name} is not a number: {fields}"))
        };
        match event.event_type.as_str() {
            "DropScheduled" | "DropDrafted" => {
                let total = signed("total_stock");
                let units = Units {
                    total,
                    available: total,
                    ..Units::default()
                };
                assert_eq!(self.drops.insert(drop, units), None, "scheduled twice");
            }
            "HoldPlaced" => {
                let quantity = signed("quantity");
                let held = Held {
                    drop: drop.clone(),
                    quantity,
                    ended: None,
                };
                let before = self.holds.insert(text(&fields["hold_id"]), held);
                assert_eq!(before, None, "placed twice at position {}", event.position);
                self.shift(&drop, [-quantity, quantity, 0]);
            }
            "HoldChanged" => {
                let (before, after) = (signed("previous_quantity"), signed("quantity"));
                let hold = text(&fields["hold_id"]);
                let held = self.holds.get_mut(&hold).expect("a hold that was placed");
                assert_eq!((held.quantity, &held.ended), (before, &None));
                held.quantity = after;
                self.shift(&drop, [before - after, after - before, 0]);
            }
            "HoldExpired" | "HoldReleased" => {
                let quantity = self.end(&drop, &fields, event);
                self.shift(&drop, [quantity, -quantity, 0]);
            }
            "PurchaseConfirmed" => {
                let quantity = self.end(&drop, &fields, event);
                self.shift(&drop, [0, -quantity, quantity]);
            }
            "PurchaseRefunded" => {
                let (quantity, is_back) = (signed("quantity"), fields["restocked"] == true);
                let hold = &self.holds[&text(&fields["hold_id"])];
                assert_eq!(hold.ended.as_deref(), Some("PurchaseConfirmed"));
                self.shift(&drop, [if is_back { quantity } else { 0 }, 0, -quantity]);
                if !is_back {
                    self.drops.entry(drop).or_default().total -= quantity;
                }
            }
            "StockAdjusted" => {
                let units = self.drops.entry(drop).or_default();
                units.total += signed("delta");
                units.available += signed("delta");
            }
            "DropRescheduled" | "DropCancelled" | "DropStarted" | "DropEnded" | "DropPaused"
            | "DropResumed" | "DropPublished" | "WaitlistJoined" | "WaitlistLeft"
            | "HoldExtended" => {}
            other => panic!("unknown event type {other}"),
        }
    }

    #[track_caller]
    fn end(&mut self, drop: &str, fields: &Value, event: &Event) -> i64 {
        let hold = text(&fields["hold_id"]);
        let held = self
            .holds
            .get_mut(&hold)
            .unwrap_or_else(|| panic!("hold {hold} was not placed"));
        assert_eq!(held.drop, drop);
        assert_eq!(
            held.ended, None,
            "resolved twice at position {}",
            event.position
        );
        assert_eq!(held.quantity.unsigned_abs(), number(&fields["quantity"]));
        held.ended = Some(event.event_type.clone());
        held.quantity
    }

    fn shift(&mut self, drop: &str, [available, held, sold]: [i64; 3]) {
        let units = self.drops.entry(drop.to_owned()).or_default();
        units.available += available;
        units.held += held;
        units.sold += sold;
    }
}
