//! Notifications of invented histories: their readers, their bounds, and their removal.

use domain::order::OrderEvent;
use domain::terms::DropTerms;
use domain::testing::{
    buyer, drop_id, drop_paused, drop_rescheduled, drop_resumed, drop_scheduled, drop_started,
    hold_expired, hold_offered, hold_placed, low_stock, order_id, order_item, order_paid,
    order_placed, purchase_confirmed, purchase_refunded, second, terms,
};
use domain::values::{Sequence, Visibility};

use super::*;
use crate::drops::{DropsOf, Of};

/// An engine's observers, which follow one event a second.
#[derive(Default)]
struct Followed {
    notices: Notices,
    notifications: Notifications,
    drops: DropsOf,
    head: u64,
}

impl Followed {
    fn new() -> Self {
        let notices = Notices::default();
        Self {
            notifications: Notifications::new(notices.clone()),
            notices,
            ..Self::default()
        }
    }

    fn next(&mut self) -> (Position, Timestamp) {
        self.head += 1;
        let at = second(i64::try_from(self.head).unwrap());
        (Position(self.head), at)
    }

    fn commit(&mut self, mut committed: Committed) {
        committed.head.position = Position(self.head);
        let committed = Arc::new(committed);
        self.notices.committed(&committed);
        self.drops.committed(&committed);
        self.notifications.committed(&committed);
    }

    fn recorded(&mut self, drop: &str, event: DropEvent) -> RecordedEvent {
        let (position, recorded_at) = self.next();
        RecordedEvent {
            position,
            recorded_at,
            drop_id: drop_id(drop),
            sequence: Sequence(position.0),
            event,
            private: None,
        }
    }

    fn apply(&mut self, drop: &str, events: impl IntoIterator<Item = DropEvent>) -> &mut Self {
        for event in events {
            let events = vec![self.recorded(drop, event)];
            self.commit(Committed {
                events,
                ..Committed::default()
            });
        }
        self
    }

    fn apply_order(&mut self, event: OrderEvent) -> &mut Self {
        let (position, recorded_at) = self.next();
        let recorded = RecordedOrderEvent {
            position,
            recorded_at,
            order_id: order_id("o"),
            sequence: Sequence(position.0),
            event,
            private: None,
        };
        self.commit(Committed {
            orders: vec![recorded],
            ..Committed::default()
        });
        self
    }

    /// The notifications for a reader, newest first.
    fn of(&self, sources: &Sources) -> Vec<String> {
        let found = self
            .notifications
            .newest(sources, None, 1_000, second(1_000));
        ids(&found.unwrap())
    }
}

fn ids(found: &[Arc<Notification>]) -> Vec<String> {
    found.iter().map(|found| found.id()).collect()
}

fn creator(id: &str) -> CatalogueId {
    CatalogueId::new(id).unwrap()
}

/// Terms of a drop of the creator `nord`, which is low at one unit.
fn of_nord() -> DropTerms {
    DropTerms {
        creator_id: Some(creator("nord")),
        low_stock_at: Some(low_stock(1)),
        ..terms()
    }
}

fn follower_since(position: u64) -> Sources {
    Sources {
        creators: vec![(creator("nord"), Position(position))],
        ..Sources::default()
    }
}

#[test]
fn followers_are_notified_of_the_start_and_the_stock_since_they_follow() {
    let mut followed = Followed::new();
    followed.apply(
        "a",
        [
            drop_scheduled(of_nord(), 2),
            drop_started(0),
            hold_placed("1", 1),
            hold_placed("2", 1),
        ],
    );
    let all = ["4-drop.sold_out", "3-stock.low", "2-drop.started"];
    assert_eq!(followed.of(&follower_since(0)), all);
    assert_eq!(
        followed.of(&follower_since(2)),
        all[..2],
        "since the follow"
    );
    assert_eq!(followed.of(&follower_since(4)), [""; 0]);
    let reminded = Sources {
        drops: vec![(drop_id("a"), Position(3))],
        ..follower_since(0)
    };
    assert_eq!(followed.of(&reminded), all, "each once");
    let only_reminded = Sources {
        creators: vec![],
        ..reminded
    };
    assert_eq!(followed.of(&only_reminded), all[..1]);
    let of_another = Sources {
        creators: vec![(creator("other"), Position(0))],
        ..Sources::default()
    };
    assert_eq!(followed.of(&of_another), [""; 0]);
}

#[test]
fn start_in_a_pause_is_announced_at_its_end() {
    let moved = || {
        let starts_at = second(5_000);
        drop_rescheduled(DropTerms {
            starts_at,
            ..of_nord()
        })
    };
    let mut followed = Followed::new();
    followed.apply(
        "a",
        [
            drop_scheduled(of_nord(), 2),
            drop_paused(),
            drop_started(0),
            drop_rescheduled(of_nord()),
        ],
    );
    assert_eq!(followed.of(&follower_since(0)), [""; 0], "nobody can buy");
    followed.apply("a", [drop_resumed()]);
    let announced = ["5-drop.started"];
    assert_eq!(followed.of(&follower_since(0)), announced);
    let found = followed.notifications.get((Position(5), Kind::DropStarted));
    let started_at = second(0);
    assert_eq!(found.unwrap().facts, Facts::Started { started_at });
    // Later pauses announce nothing, and neither does the end of one in which the start was moved.
    followed
        .apply("a", [drop_paused(), drop_resumed()])
        .apply("b", [drop_scheduled(of_nord(), 2), drop_paused()])
        .apply("b", [drop_started(0), moved(), drop_resumed()]);
    assert_eq!(followed.of(&follower_since(0)), announced);
    followed.apply("b", [drop_started(5_000)]);
    let both = ["13-drop.started", "5-drop.started"];
    assert_eq!(followed.of(&follower_since(0)), both);
    // Of a hidden drop, none.
    let hidden = DropTerms {
        visibility: Visibility::Hidden,
        ..of_nord()
    };
    followed
        .apply("c", [drop_scheduled(hidden, 2), drop_paused()])
        .apply("c", [drop_started(0), drop_resumed()]);
    assert_eq!(followed.of(&follower_since(0)), both);
}

#[test]
fn notification_belongs_to_the_creator_of_that_time_and_to_public_drops() {
    let with = |visibility| DropTerms {
        visibility,
        ..of_nord()
    };
    let without = DropTerms {
        creator_id: None,
        draft: false,
        ..of_nord()
    };
    let mut followed = Followed::new();
    followed
        .apply("a", [drop_scheduled(of_nord(), 2), drop_started(0)])
        .apply("a", [drop_rescheduled(without), drop_started(1)])
        .apply(
            "b",
            [
                drop_scheduled(with(Visibility::Unlisted), 2),
                drop_started(2),
            ],
        )
        .apply(
            "b",
            [drop_rescheduled(with(Visibility::Public)), drop_started(3)],
        )
        .apply(
            "c",
            [
                drop_scheduled(with(Visibility::Hidden), 1),
                drop_started(4),
                hold_placed("1", 1),
            ],
        );
    let expected = ["8-drop.started", "2-drop.started"];
    assert_eq!(followed.of(&follower_since(0)), expected);
    let reminded = Sources {
        drops: vec![(drop_id("b"), Position(0)), (drop_id("c"), Position(0))],
        ..Sources::default()
    };
    let expected = ["8-drop.started", "6-drop.started"];
    let why = "an unlisted drop too, a hidden one not";
    assert_eq!(followed.of(&reminded), expected, "{why}");
    let nord = creator("nord");
    let of_creator = followed.drops.page(Of::Creator(&nord), None, 9);
    assert_eq!(of_creator, [drop_id("b")]);
    let of_product = followed.drops.page(Of::Product(&nord), None, 9);
    assert_eq!(of_product, []);
}

#[test]
fn buyers_are_notified_of_their_offers_and_orders_only() {
    let items = || [order_item("a", "1", 1)];
    let mut followed = Followed::new();
    followed
        .apply("a", [drop_scheduled(terms(), 1)])
        .apply_order(order_placed(items()))
        .apply("a", [hold_placed("1", 1)])
        .apply_order(order_paid(items()))
        .apply(
            "a",
            [
                purchase_confirmed("1", 1),
                purchase_refunded("r", "1", 1),
                hold_offered("w", 1),
            ],
        );
    let ann = Sources {
        buyers: vec![(drop_id("a"), buyer("ann"))],
        orders: vec![order_id("o")],
        ..Sources::default()
    };
    let expected = [
        "7-waitlist.offered",
        "6-order.refunded",
        "4-order.confirmed",
    ];
    assert_eq!(followed.of(&ann), expected);
    let bob = Sources {
        buyers: vec![(drop_id("a"), buyer("bob"))],
        ..follower_since(0)
    };
    assert_eq!(followed.of(&bob), [""; 0]);

    let erased = [(drop_id("a"), "ann"), (DropId(order_id("o").0), "ann")];
    let erased = erased.map(|(drop_id, name)| Erased {
        drop_id,
        buyer: buyer(name),
    });
    followed.notifications.erased(&erased);
    assert_eq!(followed.of(&ann), [""; 0]);
}

#[test]
fn pages_continue_after_a_notification_that_the_reader_has() {
    let mut followed = Followed::new();
    followed.apply("a", [drop_scheduled(of_nord(), 1)]);
    followed.apply("a", (0..5).map(drop_started));
    let page = |after: Option<&str>, sources: &Sources| {
        let before = after.map(|id| parse_id(id).unwrap());
        let now = second(1_000);
        let found = followed.notifications.newest(sources, before, 2, now)?;
        Some(ids(&found))
    };
    let all = follower_since(0);
    let expected = ["6-drop.started".to_owned(), "5-drop.started".to_owned()];
    assert_eq!(page(None, &all), Some(expected.to_vec()));
    let expected = ["4-drop.started".to_owned(), "3-drop.started".to_owned()];
    assert_eq!(page(Some("5-drop.started"), &all), Some(expected.to_vec()));
    assert_eq!(page(Some("2-drop.started"), &all), Some(vec![]));
    assert_eq!(page(Some("5-stock.low"), &all), None);
    assert_eq!(page(Some("3-drop.started"), &follower_since(3)), None);
    for malformed in [
        "",
        "5",
        "5-",
        "-drop.started",
        "05-drop.started",
        "5-drop.begun",
    ] {
        assert_eq!(parse_id(malformed), None, "{malformed}");
    }

    let between = |after, until| {
        let (after, until) = (Position(after), Position(until));
        ids(&followed.notifications.between(&all, after, until, 2))
    };
    assert_eq!(between(2, 4), ["3-drop.started", "4-drop.started"]);
    assert_eq!(
        between(0, 6),
        ["5-drop.started", "6-drop.started"],
        "the newest"
    );
    assert_eq!(between(6, 6), [""; 0]);
    assert_eq!(between(9, 6), [""; 0]);
    let (found, position) = followed.notifications.since(Position(5));
    assert_eq!(
        (ids(&found), position),
        (vec!["6-drop.started".to_owned()], Position(6))
    );
}

#[test]
fn stock_of_one_drop_does_not_displace_the_rest() {
    let mut followed = Followed::new();
    followed.apply("b", [drop_scheduled(of_nord(), 1), drop_started(0)]);
    followed.apply(
        "a",
        [drop_scheduled(
            DropTerms {
                low_stock_at: None,
                ..of_nord()
            },
            1,
        )],
    );
    for turn in 0..MOST_OF_DROP + 1 {
        let hold = turn.to_string();
        followed.apply("a", [hold_placed(&hold, 1), hold_expired(&hold, 1)]);
    }
    let found = followed.of(&follower_since(0));
    assert_eq!(found.len(), MOST_OF_DROP + 1);
    assert_eq!(found.last().unwrap(), "2-drop.started");
    assert_eq!(
        found[MOST_OF_DROP - 1],
        "6-drop.sold_out",
        "the first is gone"
    );
}

#[test]
fn notification_is_kept_for_its_days() {
    let mut followed = Followed::new();
    followed.apply("a", [drop_scheduled(of_nord(), 1), drop_started(0)]);
    let at = |millis| {
        let now = second(2).plus_millis(millis);
        let found = followed
            .notifications
            .newest(&follower_since(0), None, 9, now);
        found.unwrap().len()
    };
    let kept = KEPT_DAYS * MILLIS_PER_DAY;
    assert_eq!((at(kept), at(kept + 1)), (1, 0));
    let later = RecordedEvent {
        recorded_at: second(2).plus_millis(kept + 1),
        ..followed.recorded("a", hold_expired("1", 1))
    };
    let mut state = State::default();
    state.add(Notification {
        position: Position(2),
        kind: Kind::DropStarted,
        recorded_at: second(2),
        drop_id: Some(drop_id("a")),
        audience: Audience::Drop(drop_id("a"), Some(creator("nord"))),
        facts: Facts::SoldOut,
    });
    state.prune();
    assert_eq!(state.all.len(), 1);
    state.apply(&later, &Notices::default());
    state.prune();
    assert_eq!(
        (state.all.len(), state.by_drop.len(), state.by_creator.len()),
        (0, 0, 0)
    );
}

#[test]
fn readmitted_drop_has_its_notifications_again() {
    let mut followed = Followed::new();
    followed.apply("a", [drop_scheduled(of_nord(), 1), drop_started(0)]);
    let events = [
        drop_scheduled(of_nord(), 1),
        drop_started(0),
        hold_placed("1", 1),
    ];
    let events = (1..).zip(events).map(|(position, event)| RecordedEvent {
        position: Position(position),
        recorded_at: second(0),
        drop_id: drop_id("a"),
        sequence: Sequence(position),
        event,
        private: None,
    });
    let readmitted = Readmitted {
        drop_id: drop_id("a"),
        events: events.collect(),
        refused: None,
        observed: Position(3),
    };
    followed.notices.readmitted(&readmitted);
    followed.notifications.readmitted(&readmitted);
    followed.drops.readmitted(&readmitted);
    let expected = ["3-stock.low", "3-drop.sold_out", "2-drop.started"];
    assert_eq!(followed.of(&follower_since(0)), expected);
    let listed = followed.drops.page(Of::Creator(&creator("nord")), None, 9);
    assert_eq!(listed, [drop_id("a")]);
}
