//! Orders: only their subscribers are served, and only with states that they have not received.

use domain::order::{CancelCause, OrderEvent};
use domain::private::Private;
use domain::testing::{order_cancelled, order_id, order_item, order_paid, order_placed};
use domain::values::{BuyerId, Salt, Timestamp};
use infrastructure::codec::RecordedOrderEvent;

use super::*;

const ADMIN: Reader = Reader {
    is_admin: true,
    is_buyer: false,
};

impl World {
    fn commit_order(&mut self, order: &str, event: OrderEvent) {
        self.head += 1;
        let position = Position(self.head);
        let buyer = BuyerId::new("ann").unwrap();
        let is_placed = matches!(event, OrderEvent::OrderPlaced(_));
        let recorded = RecordedOrderEvent {
            position,
            recorded_at: second(0),
            order_id: order_id(order),
            sequence: Sequence(1),
            event,
            private: is_placed.then(|| Private::buyer(Salt([0; 16]), buyer, None)),
        };
        let head = Head {
            position,
            ..Head::default()
        };
        let committed = Arc::new(Committed {
            orders: vec![recorded],
            head,
            ..Committed::default()
        });
        self.views.committed(&committed);
        self.hub.committed(&committed);
        self.broadcast();
    }

    fn place(&mut self, order: &str) {
        let mut event = order_placed([order_item("d", order, 1)]);
        if let OrderEvent::OrderPlaced(placed) = &mut event {
            placed.expires_at = Timestamp::MAX;
        }
        self.commit_order(order, event);
    }

    /// A subscriber of these orders, and of no drop.
    fn subscribe_to_orders(&mut self, orders: &[&str], reader: Reader) -> Client {
        let ids = orders.iter().map(|order| order_id(order));
        self.orders = WatchedOrders::new(self.hub.watched_orders(), ids, reader);
        let (subscriber, client) = self.subscribe_to(Watched::Named(Box::default()), None);
        self.add(subscriber);
        client
    }
}

/// Returns the frames since the last call: their ids, orders and statuses.
fn statuses(client: &mut Client) -> Vec<(u64, serde_json::Value, serde_json::Value)> {
    let frames = client.frames().into_iter();
    frames
        .map(|(id, mut order)| (id, order["id"].take(), order["status"].take()))
        .collect()
}

fn state(id: u64, order: &str, status: &str) -> (u64, serde_json::Value, serde_json::Value) {
    let order = order_id(order).to_string();
    (id, order.into(), status.into())
}

#[test]
fn change_of_an_order_that_nobody_watches_is_no_tick() {
    let mut world = World::new();
    world.place("a");
    world.place("b");
    world.receive();
    let mut watcher = world.subscribe_to_orders(&["a"], ADMIN);
    let mut shopper = world.subscribe();
    shopper.frames();
    assert_eq!(statuses(&mut watcher), [state(3, "a", "pending")]);
    let ticks = |world: &mut World| std::iter::from_fn(|| world.ticks.try_recv().ok()).count();
    world.commit_order("b", order_cancelled(CancelCause::Buyer));
    assert_eq!(ticks(&mut world), 0);
    world.commit_order("a", order_paid([order_item("d", "a", 1)]));
    world.sweep();
    assert_eq!(statuses(&mut watcher), [state(5, "a", "paid")]);
    assert!(shopper.frames().is_empty());
    // Once its subscriber is gone, the order is watched no more.
    watcher.socket.is_gone.set(true);
    world.sweep();
    assert!(world.hub.watched_orders().is_empty());
}

#[test]
fn slow_subscriber_of_orders_is_sent_the_last_states_only() {
    for ticks_between in [0, hub::BACKLOG as u64 + 5] {
        let mut world = World::new();
        world.place("a");
        world.place("b");
        let mut watcher = world.subscribe_to_orders(&["a", "b"], ADMIN);
        let first = [state(3, "a", "pending"), state(3, "b", "pending")];
        let mut sent = statuses(&mut watcher);
        sent.sort_by_key(|(_, order, _)| *order != first[0].1);
        assert_eq!(sent, first);
        watcher.socket.space.set(0);
        world.commit_order("a", order_paid([order_item("d", "a", 1)]));
        for number in 1..=ticks_between {
            world.hold(number);
        }
        world.sweep();
        assert!(statuses(&mut watcher).is_empty());
        watcher.socket.space.set(usize::MAX);
        world.sweep();
        let sent = statuses(&mut watcher);
        assert_eq!(sent.len(), 1, "{sent:?}");
        let (_, order, status) = &sent[0];
        assert_eq!((order, status), (&first[0].1, &"paid".into()));
    }
}

#[test]
fn order_of_an_erased_buyer_is_not_sent_to_the_holder_of_a_token() {
    use domain::testing::buyer;
    use infrastructure::erasure::Erased;
    let mut world = World::new();
    world.place("a");
    let mut admin = world.subscribe_to_orders(&["a"], ADMIN);
    let reader = Reader {
        is_admin: false,
        is_buyer: true,
    };
    let mut own = world.subscribe_to_orders(&["a"], reader);
    assert_eq!((admin.frames().len(), own.frames().len()), (1, 1));
    let erased = [Erased {
        drop_id: DropId(order_id("a").0),
        buyer: buyer("ann"),
    }];
    world.views.erased(&erased);
    world.hub.erased(&erased);
    world.broadcast();
    world.sweep();
    let frames = admin.frames();
    assert_eq!(frames[0].1["buyer_id"], serde_json::Value::Null);
    assert!(own.frames().is_empty());
}
