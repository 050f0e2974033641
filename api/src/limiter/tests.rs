//! The bounds together, without a server.

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

/// Asks as `client`; the bound that is met, in a word.
fn ask(limiter: &Limiter, number: u8, asked: Asked, name: &str, at: Duration) -> &'static str {
    let keys = BuyersKey {
        key: key(name),
        other_key: key(&format!("other-{name}")),
    };
    let state = &mut limiter.state();
    let bounds = &limiter.0.bounds;
    let admitted = bounds.admit(state, client(number), asked, keys, at);
    match admitted {
        Ok(Some(_)) => "admitted",
        Ok(None) => "retry",
        Err(Full::Requests(..)) => "requests",
        Err(Full::Open(Asked::Hold, ..)) => "holds",
        Err(Full::Open(Asked::Entry, ..)) => "entries",
        Err(Full::Expired(..)) => "expired",
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

fn happens(limiter: &Limiter, events: impl IntoIterator<Item = DropEvent>) {
    let committed = Committed {
        events: events.into_iter().map(|event| recorded(1, event)).collect(),
        ..Committed::default()
    };
    limiter.clone().committed(&Arc::new(committed));
}

#[test]
fn what_is_readmitted_is_followed_once() {
    let limiter = limiter(Bounds {
        requests: rate(2, 60),
        holds: Bound(Some(Count(1))),
        ..OFF
    });
    assert_eq!(ask(&limiter, 1, Asked::Hold, "a", NOW), "admitted");
    happens(&limiter, [hold_placed("a", 1).keyed("a")]);
    limiter.clone().readmitted(&Readmitted {
        drop_id: drop_id("d"),
        events: vec![
            recorded(1, hold_placed("a", 1).keyed("a")),
            recorded(3, hold_released("a", 1)),
            recorded(4, hold_placed("elsewhere", 1).keyed("b")),
        ],
        refused: None,
        told: Position(1),
    });
    assert_eq!(
        ask(&limiter, 1, Asked::Hold, "b", NOW),
        "retry",
        "a key of another node"
    );
    assert_eq!(
        ask(&limiter, 1, Asked::Hold, "c", NOW),
        "admitted",
        "the hold was released"
    );
}

/// A hold of the drop that [`recorded`] is about, with an id as an engine gives it.
fn placed_by_an_engine(name: &str) -> DropEvent {
    let DropEvent::HoldPlaced(mut event) = hold_placed(name, 1).keyed(name) else {
        unreachable!("that is what it places")
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
    let place = |name| {
        assert_eq!(ask(&limiter, 1, Asked::Hold, name, NOW), "admitted");
        happens(&limiter, [placed_by_an_engine(name)]);
        assert_eq!(ask(&limiter, 1, Asked::Hold, "more", NOW), "holds");
    };
    place("a");
    let mut bad = recorded(2, hold_released("none", 1));
    bad.drop_id = drop_id("d");
    let why = RefusedEvent::recorded(&bad, Fault::Contradiction, "");
    limiter.clone().committed(&Arc::new(Committed {
        quarantined: vec![Arc::new(why)],
        ..Committed::default()
    }));
    // Of a drop in quarantine; and one whose placement was declared void.
    place("b");
    let readmit = |events| {
        limiter.clone().readmitted(&Readmitted {
            drop_id: drop_id("d"),
            events,
            refused: None,
            told: Position(9),
        });
    };
    readmit(vec![recorded(1, placed_by_an_engine("b"))]);
    assert_eq!(ask(&limiter, 1, Asked::Hold, "c", NOW), "holds");
    readmit(vec![]);
    assert_eq!(ask(&limiter, 1, Asked::Hold, "c", NOW), "admitted");
}

#[test]
fn an_answered_key_is_never_refused_and_never_counted() {
    let limiter = limiter(Bounds {
        requests: rate(2, 60),
        ..OFF
    });
    assert_eq!(ask(&limiter, 1, Asked::Hold, "a", NOW), "admitted");
    happens(&limiter, [hold_placed("a", 1).keyed("a")]);
    for _ in 0..5 {
        assert_eq!(ask(&limiter, 1, Asked::Hold, "a", NOW), "retry");
    }
    assert_eq!(ask(&limiter, 1, Asked::Hold, "b", NOW), "admitted");
    assert_eq!(ask(&limiter, 1, Asked::Hold, "c", NOW), "requests");
    assert_eq!(ask(&limiter, 1, Asked::Hold, "a", NOW), "retry");
    // Another node placed it, for whoever; a retry may come from elsewhere.
    happens(&limiter, [waitlist_joined("w", 1).keyed("w")]);
    assert_eq!(ask(&limiter, 1, Asked::Entry, "w", NOW), "retry");
}

#[test]
fn a_key_that_is_answered_in_the_other_scope_is_let_in_and_counts_until_it_is_known() {
    let limiter = limiter(Bounds {
        requests: rate(1, 60),
        holds: Bound(Some(Count(1))),
        ..OFF
    });
    assert_eq!(ask(&limiter, 1, Asked::Hold, "a", NOW), "admitted");
    assert_eq!(ask(&limiter, 1, Asked::Hold, "b", NOW), "holds");
    happens(&limiter, [hold_placed("b", 1).keyed("other-b")]);
    assert_eq!(ask(&limiter, 1, Asked::Hold, "b", NOW), "admitted");
    // It was another buyer's key, so a hold was placed.
    happens(&limiter, [hold_placed("c", 1).keyed("b")]);
    assert_eq!(limiter.state().open.of(client(1), Asked::Hold), 2);
    assert_eq!(ask(&limiter, 1, Asked::Hold, "b", NOW), "retry");
}

#[test]
fn a_key_that_is_being_answered_is_one_hold_and_each_request_with_it_is_one() {
    let limiter = limiter(Bounds {
        requests: rate(3, 60),
        holds: Bound(Some(Count(1))),
        ..OFF
    });
    for _ in 0..3 {
        assert_eq!(ask(&limiter, 1, Asked::Hold, "a", NOW), "admitted");
    }
    assert_eq!(ask(&limiter, 1, Asked::Hold, "a", NOW), "requests");
    assert_eq!(ask(&limiter, 1, Asked::Hold, "b", NOW), "holds");
}

#[test]
fn a_key_that_is_pending_for_an_entry_does_not_let_a_hold_pass_its_bound() {
    let limiter = limiter(Bounds {
        holds: Bound(Some(Count(1))),
        ..OFF
    });
    for name in ["b", "c"] {
        assert_eq!(ask(&limiter, 1, Asked::Entry, name, NOW), "admitted");
    }
    assert_eq!(ask(&limiter, 1, Asked::Hold, "b", NOW), "admitted");
    assert_eq!(ask(&limiter, 1, Asked::Hold, "c", NOW), "holds");
}

#[test]
fn holds_and_entries_are_bounded_apart_and_each_address_for_itself() {
    let limiter = limiter(Bounds {
        holds: Bound(Some(Count(2))),
        entries: Bound(Some(Count(1))),
        ..OFF
    });
    assert_eq!(ask(&limiter, 1, Asked::Hold, "a", NOW), "admitted");
    assert_eq!(ask(&limiter, 1, Asked::Hold, "b", NOW), "admitted");
    assert_eq!(ask(&limiter, 1, Asked::Hold, "c", NOW), "holds");
    assert_eq!(ask(&limiter, 1, Asked::Entry, "d", NOW), "admitted");
    assert_eq!(ask(&limiter, 1, Asked::Entry, "e", NOW), "entries");
    assert_eq!(ask(&limiter, 2, Asked::Hold, "f", NOW), "admitted");
    happens(
        &limiter,
        [hold_placed("a", 1).keyed("a"), purchase_confirmed("a", 1)],
    );
    assert_eq!(ask(&limiter, 1, Asked::Hold, "c", NOW), "admitted");
    assert_eq!(ask(&limiter, 1, Asked::Hold, "g", NOW), "holds");
}

#[test]
fn holds_that_entries_became_count_as_entries_beyond_the_bound_of_holds() {
    let limiter = limiter(Bounds {
        holds: Bound(Some(Count(1))),
        entries: Bound(Some(Count(2))),
        ..OFF
    });
    for name in ["a", "b"] {
        assert_eq!(ask(&limiter, 1, Asked::Entry, name, NOW), "admitted");
        happens(&limiter, [waitlist_joined(name, 1).keyed(name)]);
        happens(&limiter, [hold_offered(name, 1)]);
    }
    assert_eq!(ask(&limiter, 1, Asked::Entry, "c", NOW), "admitted");
    happens(&limiter, [waitlist_joined("c", 1).keyed("c")]);
    assert_eq!(ask(&limiter, 1, Asked::Entry, "d", NOW), "entries");
    happens(&limiter, [hold_offered("c", 1)]);
    assert_eq!(ask(&limiter, 1, Asked::Entry, "d", NOW), "entries");
}

#[test]
fn holds_that_were_left_to_expire_make_an_address_wait_and_bought_ones_do_not() {
    let limiter = limiter(Bounds {
        expired: rate(2, 900),
        ..OFF
    });
    let place = |name: &str| {
        assert_eq!(ask(&limiter, 1, Asked::Hold, name, NOW), "admitted");
        happens(&limiter, [hold_placed(name, 1).keyed(name)]);
    };
    for name in ["a", "b", "c", "d"] {
        place(name);
    }
    happens(&limiter, [purchase_confirmed("a", 1), hold_expired("b", 1)]);
    place("e");
    happens(&limiter, [hold_released("d", 1), hold_expired("c", 1)]);
    let soon = limiter.now();
    assert_eq!(ask(&limiter, 1, Asked::Hold, "f", soon), "expired");
    assert_eq!(ask(&limiter, 1, Asked::Entry, "f", soon), "expired");
    assert_eq!(ask(&limiter, 2, Asked::Hold, "f", soon), "admitted");
    let later = soon + Duration::from_secs(900);
    assert_eq!(ask(&limiter, 1, Asked::Hold, "g", later), "admitted");
}

#[test]
fn one_bound_that_is_met_charges_no_other() {
    let limiter = limiter(Bounds {
        requests: rate(2, 60),
        holds: Bound(Some(Count(1))),
        ..OFF
    });
    assert_eq!(ask(&limiter, 1, Asked::Hold, "a", NOW), "admitted");
    for name in ["b", "c", "d"] {
        assert_eq!(ask(&limiter, 1, Asked::Hold, name, NOW), "holds");
    }
    assert_eq!(ask(&limiter, 1, Asked::Entry, "e", NOW), "admitted");
    assert_eq!(ask(&limiter, 1, Asked::Entry, "f", NOW), "requests");
    // What the window refused is not pending either.
    let is_pending = |asked| limiter.state().open.is_pending(key("f"), asked);
    assert!(![Asked::Hold, Asked::Entry].into_iter().any(is_pending));
}

#[test]
fn failed_attempts_are_bounded_and_right_ones_are_not_counted() {
    let limiter = limiter(Bounds {
        attempts: rate(3, 60),
        ..OFF
    });
    let origin = Origin::Limited(client(1));
    for _ in 0..10 {
        limiter.attempt(origin, Tried::Key).unwrap().succeeded();
    }
    for tried in [Tried::Key, Tried::SignIn, Tried::Id] {
        drop(limiter.attempt(origin, tried).unwrap());
    }
    for tried in [Tried::Key, Tried::SignIn, Tried::Id] {
        let refused = limiter.attempt(origin, tried).unwrap_err();
        assert_eq!(refused.code(), Code::TooManyAttempts);
    }
    drop(
        limiter
            .attempt(Origin::Limited(client(2)), Tried::Key)
            .unwrap(),
    );
    for _ in 0..10 {
        drop(limiter.attempt(Origin::Unlimited, Tried::Key).unwrap());
    }
}
