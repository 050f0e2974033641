//! Every event version that was ever written is in `tests/fixtures/events`, as stored in the log.
//! It must still be readable and serialize to the same bytes.
//!
//! A new version adds a file; existing files are never edited, because no log can be. A version
//! that is no longer written byte for byte (an upcaster reads it) moves from this test to one next
//! to its upcaster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use domain::erasure::{BUYER_ERASED, BuyerErased, ErasureEvent};
use domain::event::{CodesCreated, ReleaseCause};
use domain::incident::{LogEvent, VERSION};
use domain::order::{CancelCause, FulfilmentStep, RefundCause, RefundOutcome};
use domain::terms::DropTerms;
use domain::testing::*;
use domain::values::{Access, ShowStock, Visibility};
use domain::{DropEvent, OrderEvent};
use serde_json::Value;

/// Every event, by the name of its fixture.
fn every_event() -> BTreeMap<String, DropEvent> {
    let events = [
        drop_opened(1),
        drop_scheduled(long_holds(), 1),
        drop_scheduled(low_on_stock(), 1),
        drop_scheduled(listed(), 1),
        drop_drafted(terms(), 1),
        drop_published(terms(), 1),
        drop_paused(),
        drop_resumed(),
        drop_rescheduled(terms()),
        drop_cancelled(),
        drop_started(0),
        drop_ended(60),
        hold_placed("h1", 1),
        hold_extended("h1", 61),
        hold_changed("h1", 1, 2),
        hold_expired("h1", 1),
        hold_released("h1", 1),
        purchase_confirmed("h1", 1),
        purchase_refunded("r1", "h1", 1),
        stock_adjusted("a1", 1, stock(1, 0, 0)),
        hold_offered("w1", 1),
        waitlist_joined("w1", 1),
        waitlist_left("w1", 1),
        codes_created(&["c1"]),
        timed_codes(),
        drop_scheduled(challenging(), 1),
        hold_placed("h1", 1).coded("c1"),
        waitlist_joined("w1", 1).coded("c1"),
        hold_ordered("o1", "h1", 1),
        hold_of_cancelled_order("h1", 1),
    ];
    events.map(|event| (file_of(&event), event)).into()
}

fn long_holds() -> DropTerms {
    DropTerms {
        max_hold_seconds: Some(max_hold_seconds(1)),
        offer_seconds: Some(offer_seconds(1)),
        ..terms()
    }
}

fn challenging() -> DropTerms {
    DropTerms {
        challenge: Some(challenge(5)),
        ..terms()
    }
}

fn timed_codes() -> DropEvent {
    let DropEvent::CodesCreated(event) = codes_created(&["c1"]) else {
        panic!("not an event of codes");
    };
    DropEvent::CodesCreated(CodesCreated {
        opens_at: Some(second(0)),
        expires_at: Some(second(1)),
        ..event
    })
}

fn low_on_stock() -> DropTerms {
    DropTerms {
        low_stock_at: Some(low_stock(1)),
        ..terms()
    }
}

fn listed() -> DropTerms {
    DropTerms {
        limit_group: Some(limit_group("lamps-2026")),
        visibility: Visibility::Unlisted,
        show_stock: ShowStock::Level,
        access: Access::Code,
        product_id: Some(catalogue_id("walnut-lamp")),
        variant_id: Some(catalogue_id("large")),
        creator_id: Some(catalogue_id("atelier.nord")),
        ..terms()
    }
}

fn file_of(event: &DropEvent) -> String {
    // Fails to compile for a new event: add it to `every_event`, and add its fixture.
    let variant = match event {
        // A field that was added later has its own file: the first file is as old logs have it.
        DropEvent::HoldPlaced(event) if event.waitlist_entry.is_some() => "-offered",
        DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event)
            if event.terms.offer_seconds.is_some() =>
        {
            "-long-holds"
        }
        DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event)
            if event.terms.low_stock_at.is_some() =>
        {
            "-low-stock"
        }
        DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event)
            if event.terms.limit_group.is_some() =>
        {
            "-listed"
        }
        DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event)
            if event.terms.challenge.is_some() =>
        {
            "-challenge"
        }
        DropEvent::HoldPlaced(event) if event.order_id.is_some() => "-ordered",
        DropEvent::HoldPlaced(event) if event.code.is_some() => "-code",
        DropEvent::WaitlistJoined(event) if event.code.is_some() => "-code",
        DropEvent::CodesCreated(event) if event.opens_at.is_some() => "-timed",
        // And so has a cause that was added later.
        DropEvent::HoldReleased(event) if event.cause == ReleaseCause::OrderCancelled => "-order",
        DropEvent::DropScheduled(_)
        | DropEvent::DropDrafted(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPublished(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::HoldPlaced(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::HoldChanged(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::PurchaseRefunded(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_)
        | DropEvent::CodesCreated(_) => "",
    };
    let (kind, version) = (event.event_type(), event.event_version());
    format!("{kind}-{version}{variant}.json")
}

/// Belongs to no drop, and was written by the database: see
/// [`erasure_is_read_in_both_written_forms`].
const ERASURE: &str = "BuyerErased-1.0.json";
/// Events of the log itself.
const INCIDENTS: [&str; 2] = ["PositionVoided-1.0.json", "TailCut-1.0.json"];

/// The stored payloads of drop events, by file name.
fn fixtures() -> BTreeMap<String, String> {
    let mut fixtures = all_fixtures();
    fixtures.remove(ERASURE);
    fixtures.retain(|file, _| !INCIDENTS.contains(&file.as_str()) && !is_of_an_order(file));
    fixtures
}

fn is_of_an_order(file: &str) -> bool {
    ["Order", "Payment", "Refund"]
        .iter()
        .any(|kind| file.starts_with(kind))
}

/// Every event of an order, by the name of its fixture.
fn every_order_event() -> BTreeMap<String, OrderEvent> {
    let items = [order_item("d1", "h1", 1)];
    let events = [
        order_placed(items),
        order_paid(items),
        order_cancelled(CancelCause::Buyer),
        order_expired(),
        order_fulfilled(FulfilmentStep::Shipped),
        order_paid_by("p1", "pi_1", items),
        payment_started("p1", items),
        payment_succeeded("p1", "pi_1", cents(10_00)),
        payment_failed("p1", "pi_1"),
        payment_arrived_late("p1", "pi_1"),
        refund_requested("r1", ("p1", "pi_1"), cents(10_00), RefundCause::Return),
        refund_settled("r1", RefundOutcome::Failed),
    ];
    let file = |event: &OrderEvent| {
        let (kind, version) = (event.event_type(), event.event_version());
        // A field that was added later has its own file: the first file is as old logs have it.
        let is_by_payment = matches!(event, OrderEvent::OrderPaid(event) if event.intent.is_some());
        let variant = if is_by_payment { "-payment" } else { "" };
        format!("{kind}-{version}{variant}.json")
    };
    events.map(|event| (file(&event), event)).into()
}

#[test]
fn every_order_event_has_a_fixture_that_round_trips_byte_for_byte() {
    let (events, mut fixtures) = (every_order_event(), all_fixtures());
    fixtures.retain(|file, _| is_of_an_order(file));
    assert!(events.keys().eq(fixtures.keys()), "{:?}", fixtures.keys());
    let types: BTreeSet<&str> = events.values().map(OrderEvent::event_type).collect();
    assert_eq!(
        types,
        BTreeSet::from_iter(OrderEvent::TYPES.iter().copied())
    );
    for (file, text) in fixtures {
        let event: OrderEvent = serde_json::from_str(&text).expect(&file);
        assert_eq!(event.event_type(), events[&file].event_type());
        assert_eq!(serde_json::to_string(&event).unwrap(), text, "{file}");
        let version = OrderEvent::version_of(event.event_type());
        assert_eq!(version, Some(event.event_version()));
    }
}

fn all_fixtures() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/events");
    let entries = fs::read_dir(folder).expect("the folder of fixtures");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into();
        (name, fs::read_to_string(&path).expect("a fixture"))
    };
    paths.map(read).collect()
}

#[test]
fn every_event_type_and_version_has_a_fixture() {
    let (events, fixtures) = (every_event(), fixtures());
    assert_eq!(events.len(), 30);
    assert!(events.keys().eq(fixtures.keys()), "{:?}", fixtures.keys());
}

#[test]
fn stored_event_round_trips_byte_for_byte() {
    for (file, text) in fixtures() {
        let event: DropEvent = serde_json::from_str(&text).expect(&file);
        assert_eq!(file_of(&event), file);
        assert_eq!(serde_json::to_string(&event).unwrap(), text, "{file}");
    }
}

#[test]
fn erasure_is_read_in_both_written_forms() {
    let text = &all_fixtures()[ERASURE];
    let event: ErasureEvent = serde_json::from_str(text).unwrap();
    let ErasureEvent::BuyerErased(BuyerErased { events }) = event.clone();
    assert_eq!(events, 1);
    assert_eq!(serde_json::to_string(&event).unwrap(), *text);
    assert!(text.starts_with(&format!("{{\"{BUYER_ERASED}\"")));
    // The database inserted spaces when it still wrote erasures itself.
    let spaced = r#"{"BuyerErased" : {"events" : 1}}"#;
    assert_eq!(serde_json::from_str::<ErasureEvent>(spaced).unwrap(), event);
}

#[test]
fn incident_round_trips_byte_for_byte() {
    for file in INCIDENTS {
        let text = &all_fixtures()[file];
        let event: LogEvent = serde_json::from_str(text).unwrap();
        assert_eq!(format!("{}-{VERSION}.json", event.event_type()), file);
        assert_eq!(serde_json::to_string(&event).unwrap(), *text, "{file}");
    }
}

#[test]
fn version_of_a_type_is_the_version_of_its_events() {
    for event in every_event().values() {
        let version = DropEvent::version_of(event.event_type());
        assert_eq!(version, Some(event.event_version()));
    }
    assert_eq!(DropEvent::version_of("DropPainted"), None);
}

#[test]
fn stored_events_contain_no_personal_data() {
    // Fields that may stay in the log forever. Before adding a field here, check that it cannot
    // identify a person. A name, description and picture belong to the drop; a reason is written by
    // an administrator about stock or a refund, by an operator about the log, or is a provider's
    // code. An intent is a digest.
    let harmless: BTreeSet<&str> = "
        access adjusted_at adjustment_id amount arrived_at available buyer cancelled_at cause challenge
        changed_at code commitment created_at creator_id currency cut_at delta description difficulty digests draft drop_id ended_at ends_at
        entry_id events expired_at expires_at extended_at failed_at first fulfilled_at fulfilment held hold_id
        hold_seconds holds image_url intent items joined_at key kind late left_at limit_group
        low_stock_at max_hold_seconds max_per_buyer max_per_hold name of offer_seconds opens_at order_id outcome paid_at paused_at
        payment_id placed_at position previous_expires_at previous_quantity price product_id provider
        published_at purchase_id purchased_at purchases quantity reason refund_id refunded_at released_at
        removed_head requested_at rescheduled_at restocked resumed_at scheduled_at settled_at show_stock sold started_at
        starts_at stock succeeded_at terms throttle total total_stock uses variant_id visibility voided_at waitlist_entry
        window_seconds
    "
    .split_whitespace()
    .collect();
    for (file, text) in all_fixtures() {
        let payload: Value = serde_json::from_str(&text).unwrap();
        let (_, fields) = payload.as_object().unwrap().iter().next().unwrap();
        visit(fields, &mut |field, value| {
            assert!(harmless.contains(field), "{file} has {field}");
            match field {
                "buyer" => assert!(is_uuid(value), "{file} identifies a buyer: {value}"),
                "key" => assert!(is_hex(value, 32), "{file} contains a key: {value}"),
                "intent" => assert!(is_hex(value, 32), "{file} contains a reference: {value}"),
                "commitment" => assert!(is_hex(value, 64), "{file} contains a commitment: {value}"),
                _ => {}
            }
        });
    }
}

#[test]
fn every_event_field_is_in_a_fixture() {
    let stored: BTreeSet<String> = fixtures().values().flat_map(|text| fields(text)).collect();
    for event in every_event().values() {
        let text = serde_json::to_string(event).unwrap();
        for field in fields(&text) {
            assert!(stored.contains(&field), "{field}");
        }
    }
    for optional in [
        "DropScheduled.key",
        "DropScheduled.terms.description",
        "DropScheduled.terms.image_url",
        "DropScheduled.terms.ends_at",
        "DropScheduled.terms.max_per_buyer",
        "DropScheduled.terms.throttle.holds",
        "DropScheduled.terms.throttle.window_seconds",
        "HoldPlaced.key",
        "HoldPlaced.commitment",
        "PurchaseConfirmed.commitment",
        "PurchaseRefunded.key",
        "StockAdjusted.key",
        "WaitlistJoined.key",
        "WaitlistJoined.commitment",
    ] {
        assert!(stored.contains(optional), "{optional}");
    }
}

fn visit(value: &Value, on_field: &mut impl FnMut(&str, &Value)) {
    for value in value.as_array().into_iter().flatten() {
        visit(value, on_field);
    }
    for (field, value) in value.as_object().into_iter().flatten() {
        on_field(field, value);
        visit(value, on_field);
    }
}

/// The paths of all fields, for example `HoldPlaced.quantity`.
fn fields(text: &str) -> Vec<String> {
    fn walk(path: &str, value: &Value, found: &mut Vec<String>) {
        for (field, value) in value.as_object().into_iter().flatten() {
            let path = [path, field.as_str()].join(".");
            walk(&path, value, found);
            found.push(path.trim_start_matches('.').to_owned());
        }
    }
    let mut found = vec![];
    walk("", &serde_json::from_str(text).expect("JSON"), &mut found);
    found
}

fn is_uuid(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.parse::<domain::values::Pseudonym>().is_ok()
}

fn is_hex(value: &Value, digits: usize) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
