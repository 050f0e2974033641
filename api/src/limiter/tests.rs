//! All limits together, without a server.

use std::net::Ipv4Addr;

use domain::DropEvent;
use domain::testing::*;
use domain::values::{HoldId, Position, Sequence, Timestamp};
use infrastructure::codec::RecordedEvent;
use infrastructure::quarantine::{Fault, RefusedEvent};

use super::*;

const NOW: Duration = Duration::ZERO;

fn client(number: u8) -> Client {
    Client::V4(Ipv4Addr::new(192, 0, 2, number))
}

fn rate(most: u32, window_seconds: u32) -> Bound<Rate> {
    Bound(Some(Rate {
        most,
        window_seconds,
    }))
}

const OFF: Bounds = Bounds {
    requests: Bound(None),
    holds: Bound(None),
    entries: Bound(None),
    expired: Bound(None),
    attempts: Bound(None),
};

fn limiter(bounds: Bounds) -> Limiter {
    Limiter::new(
        bounds,
        TrustedProxies::default(),
        UnlimitedNetworks::default(),
    )
}

/// Sends a request as `client`; returns the limit that is reached.
fn send(
    limiter: &Limiter,
    number: u8,
    kind: RequestKind,
    name: &str,
    at: Duration,
) -> &'static str {
    let keys = BuyersKey {
        key: key(name),
        other_key: key(&format!("other-{name}")),
    };
    let state = &mut limiter.state();
    let bounds = &limiter.0.bounds;
    let admitted = bounds.admit(state, client(number), (kind, 1), keys, at);
    match admitted {
        Ok(Some(_)) => "admitted",
        Ok(None) => "retry",
        Err(LimitReached::Requests(..)) => "requests",
        Err(LimitReached::Open(RequestKind::Hold, ..)) => "holds",
        Err(LimitReached::Open(RequestKind::Entry, ..)) => "entries",
        Err(LimitReached::Expired(..)) => "expired",
    }
}

fn recorded(position: u64, event: DropEvent) -> RecordedEvent {
    RecordedEvent {
        position: Position(position),
        recorded_at: Timestamp::default(),
        drop_id: drop_id("d"),
        sequence: Sequence(position),
        event,
        private: None,
    }
}

fn record(limiter: &Limiter, events: impl IntoIterator<Item = DropEvent>) {
    let committed = Committed {
        events: events.into_iter().map(|event| recorded(1, event)).collect(),
        ..Committed::default()
    };
    limiter.clone().committed(&Arc::new(committed));
}

#[test]
fn readmitted_events_are_followed_once() {
    let limiter = limiter(Bounds {
        requests: rate(2, 60),
        holds: Bound(Some(Count(1))),
        ..OFF
    });
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "a", NOW), "admitted");
    record(&limiter, [hold_placed("a", 1).keyed("a")]);
    limiter.clone().readmitted(&Readmitted {
        drop_id: drop_id("d"),
        events: vec![
            recorded(1, hold_placed("a", 1).keyed("a")),
            recorded(3, hold_released("a", 1)),
            recorded(4, hold_placed("elsewhere", 1).keyed("b")),
        ],
        refused: None,
        observed: Position(1),
    });
    assert_eq!(
        send(&limiter, 1, RequestKind::Hold, "b", NOW),
        "retry",
        "a key of another node"
    );
    assert_eq!(
        send(&limiter, 1, RequestKind::Hold, "c", NOW),
        "admitted",
        "the hold was released"
    );
}

/// A hold of the drop that [`recorded`] uses, with an id as an engine assigns it.
fn placed_by_an_engine(name: &str) -> DropEvent {
    let DropEvent::HoldPlaced(mut event) = hold_placed(name, 1).keyed(name) else {
        unreachable!("`hold_placed` returns this event")
    };
    event.hold_id = HoldId::for_drop(drop_id("d"), event.hold_id.0);
    DropEvent::HoldPlaced(event)
}

#[test]
fn holds_that_no_event_will_resolve_do_not_count() {
    let limiter = limiter(Bounds {
        holds: Bound(Some(Count(1))),
        ..OFF
    });
    let place_hold = |name| {
        assert_eq!(send(&limiter, 1, RequestKind::Hold, name, NOW), "admitted");
        record(&limiter, [placed_by_an_engine(name)]);
        assert_eq!(send(&limiter, 1, RequestKind::Hold, "more", NOW), "holds");
    };
    place_hold("a");
    let mut bad = recorded(2, hold_released("none", 1));
    bad.drop_id = drop_id("d");
    let why = RefusedEvent::recorded(&bad, Fault::Contradiction, "");
    limiter.clone().committed(&Arc::new(Committed {
        quarantined: vec![Arc::new(why)],
        ..Committed::default()
    }));
    // A hold of a drop in quarantine, and one whose placement was declared void.
    place_hold("b");
    let readmit = |events| {
        limiter.clone().readmitted(&Readmitted {
            drop_id: drop_id("d"),
            events,
            refused: None,
            observed: Position(9),
        });
    };
    readmit(vec![recorded(1, placed_by_an_engine("b"))]);
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "c", NOW), "holds");
    readmit(vec![]);
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "c", NOW), "admitted");
}

#[test]
fn recorded_key_is_never_refused_and_never_counted() {
    let limiter = limiter(Bounds {
        requests: rate(2, 60),
        ..OFF
    });
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "a", NOW), "admitted");
    record(&limiter, [hold_placed("a", 1).keyed("a")]);
    for _ in 0..5 {
        assert_eq!(send(&limiter, 1, RequestKind::Hold, "a", NOW), "retry");
    }
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "b", NOW), "admitted");
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "c", NOW), "requests");
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "a", NOW), "retry");
    // Another node recorded it; a retry may come from any address.
    record(&limiter, [waitlist_joined("w", 1).keyed("w")]);
    assert_eq!(send(&limiter, 1, RequestKind::Entry, "w", NOW), "retry");
}

#[test]
fn key_recorded_in_the_other_scope_is_admitted_and_counts_until_known() {
    let limiter = limiter(Bounds {
        requests: rate(1, 60),
        holds: Bound(Some(Count(1))),
        ..OFF
    });
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "a", NOW), "admitted");
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "b", NOW), "holds");
    record(&limiter, [hold_placed("b", 1).keyed("other-b")]);
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "b", NOW), "admitted");
    // The key belonged to another buyer, so a hold was placed.
    record(&limiter, [hold_placed("c", 1).keyed("b")]);
    assert_eq!(limiter.state().open.of(client(1), RequestKind::Hold), 2);
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "b", NOW), "retry");
}

#[test]
fn in_flight_requests_with_one_key_are_one_hold_and_count_one_by_one() {
    let limiter = limiter(Bounds {
        requests: rate(3, 60),
        holds: Bound(Some(Count(1))),
        ..OFF
    });
    for _ in 0..3 {
        assert_eq!(send(&limiter, 1, RequestKind::Hold, "a", NOW), "admitted");
    }
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "a", NOW), "requests");
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "b", NOW), "holds");
}

#[test]
fn key_that_is_pending_for_an_entry_does_not_admit_a_hold() {
    let limiter = limiter(Bounds {
        holds: Bound(Some(Count(1))),
        ..OFF
    });
    for name in ["b", "c"] {
        assert_eq!(send(&limiter, 1, RequestKind::Entry, name, NOW), "admitted");
    }
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "b", NOW), "admitted");
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "c", NOW), "holds");
}

#[test]
fn holds_and_entries_are_limited_separately_and_per_address() {
    let limiter = limiter(Bounds {
        holds: Bound(Some(Count(2))),
        entries: Bound(Some(Count(1))),
        ..OFF
    });
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "a", NOW), "admitted");
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "b", NOW), "admitted");
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "c", NOW), "holds");
    assert_eq!(send(&limiter, 1, RequestKind::Entry, "d", NOW), "admitted");
    assert_eq!(send(&limiter, 1, RequestKind::Entry, "e", NOW), "entries");
    assert_eq!(send(&limiter, 2, RequestKind::Hold, "f", NOW), "admitted");
    record(
        &limiter,
        [hold_placed("a", 1).keyed("a"), purchase_confirmed("a", 1)],
    );
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "c", NOW), "admitted");
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "g", NOW), "holds");
}

#[test]
fn holds_from_the_waitlist_count_as_entries_beyond_the_limit_of_holds() {
    let limiter = limiter(Bounds {
        holds: Bound(Some(Count(1))),
        entries: Bound(Some(Count(2))),
        ..OFF
    });
    for name in ["a", "b"] {
        assert_eq!(send(&limiter, 1, RequestKind::Entry, name, NOW), "admitted");
        record(&limiter, [waitlist_joined(name, 1).keyed(name)]);
        record(&limiter, [hold_offered(name, 1)]);
    }
    assert_eq!(send(&limiter, 1, RequestKind::Entry, "c", NOW), "admitted");
    record(&limiter, [waitlist_joined("c", 1).keyed("c")]);
    assert_eq!(send(&limiter, 1, RequestKind::Entry, "d", NOW), "entries");
    record(&limiter, [hold_offered("c", 1)]);
    assert_eq!(send(&limiter, 1, RequestKind::Entry, "d", NOW), "entries");
}

#[test]
fn expired_holds_make_an_address_wait_and_purchases_do_not() {
    let limiter = limiter(Bounds {
        expired: rate(2, 900),
        ..OFF
    });
    let place_hold = |name: &str| {
        assert_eq!(send(&limiter, 1, RequestKind::Hold, name, NOW), "admitted");
        record(&limiter, [hold_placed(name, 1).keyed(name)]);
    };
    for name in ["a", "b", "c", "d"] {
        place_hold(name);
    }
    record(&limiter, [purchase_confirmed("a", 1), hold_expired("b", 1)]);
    place_hold("e");
    record(&limiter, [hold_released("d", 1), hold_expired("c", 1)]);
    let soon = limiter.now();
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "f", soon), "expired");
    assert_eq!(send(&limiter, 1, RequestKind::Entry, "f", soon), "expired");
    assert_eq!(send(&limiter, 2, RequestKind::Hold, "f", soon), "admitted");
    let later = soon + Duration::from_secs(900);
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "g", later), "admitted");
}

#[test]
fn request_refused_by_one_limit_does_not_count_against_others() {
    let limiter = limiter(Bounds {
        requests: rate(2, 60),
        holds: Bound(Some(Count(1))),
        ..OFF
    });
    assert_eq!(send(&limiter, 1, RequestKind::Hold, "a", NOW), "admitted");
    for name in ["b", "c", "d"] {
        assert_eq!(send(&limiter, 1, RequestKind::Hold, name, NOW), "holds");
    }
    assert_eq!(send(&limiter, 1, RequestKind::Entry, "e", NOW), "admitted");
    assert_eq!(send(&limiter, 1, RequestKind::Entry, "f", NOW), "requests");
    // A request that the window refuses is not pending either.
    let is_pending = |kind| limiter.state().open.is_pending(key("f"), kind);
    assert!(
        ![RequestKind::Hold, RequestKind::Entry]
            .into_iter()
            .any(is_pending)
    );
}

#[test]
fn failed_attempts_are_limited_and_successful_ones_are_not_counted() {
    let limiter = limiter(Bounds {
        attempts: rate(3, 60),
        ..OFF
    });
    let origin = Origin::Limited(client(1));
    for _ in 0..10 {
        limiter
            .attempt(origin, AttemptKind::Key)
            .unwrap()
            .succeeded();
    }
    for kind in [AttemptKind::Key, AttemptKind::SignIn, AttemptKind::Id] {
        drop(limiter.attempt(origin, kind).unwrap());
    }
    for kind in [AttemptKind::Key, AttemptKind::SignIn, AttemptKind::Id] {
        let refused = limiter.attempt(origin, kind).unwrap_err();
        assert_eq!(refused.code(), Code::TooManyAttempts);
    }
    drop(
        limiter
            .attempt(Origin::Limited(client(2)), AttemptKind::Key)
            .unwrap(),
    );
    for _ in 0..10 {
        drop(
            limiter
                .attempt(Origin::Unlimited, AttemptKind::Key)
                .unwrap(),
        );
    }
}
