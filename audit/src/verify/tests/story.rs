//! A valid story with every kind of event of a drop, as a sealed log.

use domain::erasure;
use domain::private::Private;
use domain::values::{BuyerId, Position, Salt, Sequence, Timestamp};
use hashbrown::HashMap;
use infrastructure::log::{Hash, StoredEvent, chain};
use serde_json::{Value, json};

use crate::examine::examine;
use crate::source::Page;
use crate::verify::{Proved, Verifier};
use crate::violation::{Claim, Stop, Violation};

pub(super) const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
pub(super) const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";

pub(super) fn at(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "a test's few seconds")]
    let millis = (seconds * 1000.0).round() as i64;
    Timestamp::from_millis(1_767_225_600_000 + millis).to_string()
}

/// The id of a hold, a waitlist entry or a buyer.
pub(super) fn id(number: u8) -> String {
    format!("aaaaaaaa-0000-4000-9000-0000000000{number:02x}")
}

pub(super) fn key(number: u8) -> String {
    format!("{number:032x}")
}

pub(super) fn cancelled(seconds: f64) -> TestEvent {
    test_event(
        A,
        seconds,
        "DropCancelled",
        json!({ "cancelled_at": at(seconds) }),
    )
}

pub(super) fn alice(salt: u8) -> Private {
    Private::buyer(Salt([salt; 16]), BuyerId::new("alice").unwrap(), None)
}

pub(super) fn private(private: &Private) -> Option<String> {
    Some(serde_json::to_string(private).unwrap())
}

/// An event without position and hash.
#[derive(Debug, Clone)]
pub(super) struct TestEvent {
    pub(super) stream: (&'static str, String),
    pub(super) at: f64,
    pub(super) kind: &'static str,
    pub(super) version: &'static str,
    pub(super) fields: Value,
    pub(super) private: Option<String>,
}

pub(super) fn test_event(drop: &str, seconds: f64, kind: &'static str, fields: Value) -> TestEvent {
    TestEvent {
        stream: (domain::AGGREGATE_TYPE, drop.to_owned()),
        at: seconds,
        kind,
        version: "1.0",
        fields,
        private: None,
    }
}

pub(super) fn scheduled(drop: &str, seconds: f64, total: u32) -> TestEvent {
    let terms = json!({ "name": "Lamp", "price": { "amount": 100, "currency": "USD" }, "starts_at": at(0.0), "hold_seconds": 60, "max_per_hold": 9 });
    test_event(
        drop,
        seconds,
        "DropScheduled",
        json!({ "terms": terms, "total_stock": total, "scheduled_at": at(seconds) }),
    )
}

pub(super) fn placed(seconds: f64, hold: u8, quantity: u32) -> TestEvent {
    test_event(
        A,
        seconds,
        "HoldPlaced",
        json!({
            "hold_id": id(hold), "buyer": id(hold + 100), "quantity": quantity, "placed_at": at(seconds), "expires_at": at(seconds + 60.0),
        }),
    )
}

pub(super) fn resolved(
    seconds: f64,
    kind: &'static str,
    hold: u8,
    quantity: u32,
    more: Value,
) -> TestEvent {
    let mut event = test_event(
        A,
        seconds,
        kind,
        json!({ "hold_id": id(hold), "buyer": id(hold + 100), "quantity": quantity }),
    );
    let fields = event.fields.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    event
}

pub(super) fn released(seconds: f64, hold: u8) -> TestEvent {
    let more = json!({ "released_at": at(seconds), "cause": "buyer" });
    resolved(seconds, "HoldReleased", hold, 1, more)
}

pub(super) fn joined(seconds: f64, entry: u8, hold: u8) -> TestEvent {
    let more = json!({ "hold_id": id(hold), "joined_at": at(seconds) });
    waits(seconds, "WaitlistJoined", entry, hold, more)
}

pub(super) fn waits(
    seconds: f64,
    kind: &'static str,
    entry: u8,
    hold: u8,
    more: Value,
) -> TestEvent {
    let mut event = test_event(
        A,
        seconds,
        kind,
        json!({ "entry_id": id(entry), "buyer": id(hold + 100), "quantity": 1 }),
    );
    let fields = event.fields.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    event
}

/// Positions of the story's events.
pub(super) const INTRODUCED: usize = 2;
pub(super) const JOINED: usize = 4;
pub(super) const BOUGHT: usize = 5;
pub(super) const EXPIRED: usize = 6;
pub(super) const OFFERED: usize = 7;
pub(super) const RELEASED: usize = 8;
pub(super) const ADJUSTED: usize = 9;
pub(super) const LEFT: usize = 11;
pub(super) const OTHER_DROP: usize = 12;
pub(super) const CANCELLED: usize = 13;
pub(super) const ERASED: usize = 14;

pub(super) fn story() -> Vec<TestEvent> {
    let mut introduced = placed(1.0, 1, 1);
    introduced.fields["commitment"] = json!(alice(1).commitment());
    introduced.private = private(&alice(1));
    let mut offered = placed(62.0, 3, 1);
    offered.fields["waitlist_entry"] = json!(id(51));
    let money = json!({ "amount": 100, "currency": "USD" });
    let stock = json!({ "total": 4, "available": 3, "held": 0, "sold": 1 });
    let erasure = |seconds| TestEvent {
        stream: (erasure::AGGREGATE_TYPE, erasure::STREAM.to_owned()),
        ..test_event("", seconds, erasure::BUYER_ERASED, json!({ "events": 1 }))
    };
    vec![
        scheduled(A, 0.0, 3),
        introduced,
        placed(2.0, 2, 2),
        waits(
            3.0,
            "WaitlistJoined",
            51,
            3,
            json!({ "hold_id": id(3), "joined_at": at(3.0) }),
        ),
        resolved(
            4.0,
            "PurchaseConfirmed",
            1,
            1,
            json!({ "purchase_id": id(90), "total": money, "purchased_at": at(4.0) }),
        ),
        // In the first millisecond in which the hold is over.
        resolved(62.0, "HoldExpired", 2, 2, json!({ "expired_at": at(62.0) })),
        offered,
        resolved(
            70.0,
            "HoldReleased",
            3,
            1,
            json!({ "released_at": at(70.0), "cause": "buyer" }),
        ),
        test_event(
            A,
            71.0,
            "StockAdjusted",
            json!({ "adjustment_id": id(91), "delta": 1, "reason": "found", "stock": stock, "adjusted_at": at(71.0) }),
        ),
        waits(
            72.0,
            "WaitlistJoined",
            52,
            4,
            json!({ "hold_id": id(4), "joined_at": at(72.0) }),
        ),
        waits(
            73.0,
            "WaitlistLeft",
            52,
            4,
            json!({ "left_at": at(73.0), "cause": "buyer" }),
        ),
        scheduled(B, 74.0, 1),
        test_event(
            A,
            75.0,
            "DropCancelled",
            json!({ "cancelled_at": at(75.0) }),
        ),
        erasure(76.0),
        erasure(77.0),
    ]
}

/// Chains the events without [`infrastructure::log::Batch::seal`], which would repair deliberate
/// faults.
pub(super) fn seal(story: &[TestEvent]) -> Vec<StoredEvent> {
    let mut sequences: HashMap<String, Sequence> = HashMap::new();
    let mut events = vec![];
    for event in story {
        let sequence = sequences.entry(event.stream.1.to_lowercase()).or_default();
        *sequence = sequence.next();
        let payload = json!({ event.kind: event.fields });
        events.push(StoredEvent {
            position: Position(events.len() as u64 + 1),
            recorded_at: at(event.at).parse().unwrap(),
            aggregate_type: event.stream.0.into(),
            aggregate_id: event.stream.1.clone(),
            sequence: *sequence,
            event_type: event.kind.into(),
            event_version: event.version.into(),
            payload: payload.to_string(),
            metadata: "{}".into(),
            hash: Hash::default(),
            private: event.private.clone(),
        });
    }
    chained(events)
}

pub(super) fn chained(mut events: Vec<StoredEvent>) -> Vec<StoredEvent> {
    let mut last = Hash::default();
    for event in &mut events {
        event.hash = chain::link(&last, &*event);
        last = event.hash;
    }
    events
}

/// Verifies a log in pages of `size`.
pub(super) fn judged(
    events: &[StoredEvent],
    size: usize,
    claims: &[Claim],
    knows_private: bool,
) -> Result<Proved, Violation> {
    let verifier = Verifier::new(claims.to_vec(), knows_private);
    judged_by(verifier, events, size)
}

pub(super) fn judged_by(
    mut verifier: Verifier,
    events: &[StoredEvent],
    size: usize,
) -> Result<Proved, Violation> {
    let violation = |stop| match stop {
        Stop::Violated(violation) => *violation,
        Stop::Scratch(error) => panic!("{error}"),
    };
    for page in events.chunks(size) {
        let page = examine(&Page::Events(page.to_vec()), verifier.knows_private());
        assert!(page.broken.is_none());
        for event in page.events {
            if let Err(stop) = verifier.check(event) {
                return Err(violation(verifier.fail(violation(stop))));
            }
        }
    }
    verifier.finish().map_err(violation)
}

/// Checks that the verdict does not depend on the page size.
#[track_caller]
pub(super) fn verdict(events: &[StoredEvent], claims: &[Claim]) -> Result<Proved, Violation> {
    let whole = judged(events, events.len().max(1), claims, true);
    for size in 1..events.len() {
        assert_eq!(
            judged(events, size, claims, true),
            whole,
            "in pages of {size}"
        );
    }
    whole
}

#[track_caller]
pub(super) fn assert_violated(events: &[StoredEvent], position: usize, reason: &str) {
    let violation = verdict(events, &[]).expect_err(reason);
    assert_eq!(violation.position, Position(position as u64), "{violation}");
    assert!(
        violation.to_string().contains(reason),
        "{reason}: {violation}"
    );
}

impl TestEvent {
    pub(super) fn later(self, at: f64) -> Self {
        Self { at, ..self }
    }
}
