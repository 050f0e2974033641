//! Counts the events of the log when the engine commits or reads them.

use std::sync::Arc;

use domain::DropEvent;
use domain::order::{OrderEvent, OrderStatus};
use domain::values::Quantity;
use engine::Observer;
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent};
use infrastructure::feed::{Committed, Readmitted, ReadmittedOrder};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use super::registered;

/// Buckets of the delay of expiries, in seconds: from a wake-up of the engine to an outage.
const LATENESS: [f64; 17] = [
    0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 5.0,
    10.0, 60.0,
];

/// Counts of events in the whole log, as far as this process has read it. Clones share them.
#[derive(Debug, Clone)]
pub struct EventCounts {
    drops_scheduled: IntCounter,
    drops_rescheduled: IntCounter,
    drops_drafted: IntCounter,
    drops_published: IntCounter,
    drops_paused: IntCounter,
    drops_resumed: IntCounter,
    drops_cancelled: IntCounter,
    drops_started: IntCounter,
    drops_ended: IntCounter,
    holds_placed: IntCounter,
    holds_extended: IntCounter,
    holds_changed: IntCounter,
    holds_expired: IntCounter,
    holds_released: IntCounter,
    purchases_confirmed: IntCounter,
    purchases_refunded: IntCounter,
    units_held: IntCounter,
    units_sold: IntCounter,
    units_refunded: IntCounter,
    stock_adjustments: IntCounter,
    waitlist_joined: IntCounter,
    waitlist_left: IntCounter,
    codes_created: IntCounter,
    orders_placed: IntCounter,
    orders_paid: IntCounter,
    orders_cancelled: IntCounter,
    orders_expired: IntCounter,
    fulfilments: IntCounter,
    /// By status.
    orders: IntGaugeVec,
    open_holds: IntGauge,
    held_units: IntGauge,
    waitlist_entries: IntGauge,
    release_lateness: Histogram,
}

impl EventCounts {
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |name: &str, counted: &str| {
            registered(
                registry,
                IntCounter::new(
                    format!("holdfast_{name}_total"),
                    format!("{counted}, in the whole log: the same at every instance."),
                ),
            )
        };
        let gauge = |name: &str, counted: &str| {
            let help = format!("{counted}, in the whole log: the same at every instance.");
            registered(registry, IntGauge::new(format!("holdfast_{name}"), help))
        };
        let lateness = HistogramOpts::new(
            "holdfast_release_lateness_seconds",
            "Delay from a hold's deadline until its expiry was recorded, in the whole log: the same \
             at every instance.",
        );
        Self {
            drops_scheduled: counter("drops_scheduled", "Drops scheduled"),
            drops_drafted: counter("drops_drafted", "Drops created as drafts"),
            drops_published: counter("drops_published", "Drafts published"),
            drops_paused: counter("drops_paused", "Pauses of drops"),
            drops_resumed: counter(
                "drops_resumed",
                "Pauses of drops that an administrator ended",
            ),
            drops_rescheduled: counter("drops_rescheduled", "Edits of drops"),
            drops_cancelled: counter("drops_cancelled", "Drops cancelled"),
            drops_started: counter("drops_started", "Starts of drops"),
            drops_ended: counter("drops_ended", "Ends of drops"),
            holds_placed: counter("holds_placed", "Holds placed"),
            holds_extended: counter("holds_extended", "Extensions of holds"),
            holds_changed: counter("holds_changed", "Changes of the number of units in a hold"),
            holds_expired: counter("holds_expired", "Holds expired"),
            holds_released: counter(
                "holds_released",
                "Holds released by their buyer or by the cancellation of their drop",
            ),
            purchases_confirmed: counter("purchases_confirmed", "Holds purchased"),
            units_held: counter(
                "units_held",
                "Units set aside by new holds and by changes of holds",
            ),
            purchases_refunded: counter("purchases_refunded", "Refunds of purchases"),
            units_sold: counter("units_sold", "Units purchased, refunded ones included"),
            units_refunded: counter("units_refunded", "Units refunded"),
            stock_adjustments: counter("stock_adjustments", "Stock adjustments"),
            waitlist_joined: counter("waitlist_joined", "Waitlist entries joined"),
            waitlist_left: counter(
                "waitlist_left",
                "Waitlist entries left by their buyer, or cancelled with their drop",
            ),
            codes_created: counter("access_codes_created", "Access codes created"),
            orders_placed: counter("orders_placed", "Orders placed"),
            orders_paid: counter("orders_paid", "Orders paid"),
            orders_cancelled: counter("orders_cancelled", "Orders cancelled"),
            orders_expired: counter("orders_expired", "Orders expired"),
            fulfilments: counter("order_fulfilments", "Steps in the fulfilment of orders"),
            orders: orders_by_status(registry),
            open_holds: gauge("open_holds", "Holds that are neither purchased nor over"),
            held_units: gauge("held_units", "Units in these holds"),
            waitlist_entries: gauge("waitlist_entries", "Waiting entries of all waitlists"),
            release_lateness: registered(
                registry,
                Histogram::with_opts(lateness.buckets(LATENESS.into())),
            ),
        }
    }

    fn count(&self, recorded: &RecordedEvent) {
        match &recorded.event {
            DropEvent::DropScheduled(_) => self.drops_scheduled.inc(),
            DropEvent::DropDrafted(_) => self.drops_drafted.inc(),
            DropEvent::DropRescheduled(_) => self.drops_rescheduled.inc(),
            DropEvent::DropCancelled(_) => self.drops_cancelled.inc(),
            DropEvent::DropStarted(_) => self.drops_started.inc(),
            DropEvent::DropEnded(_) => self.drops_ended.inc(),
            DropEvent::DropPublished(_) => self.drops_published.inc(),
            DropEvent::DropPaused(_) => self.drops_paused.inc(),
            DropEvent::DropResumed(_) => self.drops_resumed.inc(),
            DropEvent::HoldPlaced(event) => {
                self.holds_placed.inc();
                self.units_held.inc_by(event.quantity.get().into());
                self.open_holds.inc();
                self.held_units.add(event.quantity.get().into());
                if event.waitlist_entry.is_some() {
                    self.waitlist_entries.dec();
                }
            }
            DropEvent::HoldExtended(_) => self.holds_extended.inc(),
            DropEvent::HoldChanged(event) => {
                self.holds_changed.inc();
                self.units_held.inc_by(event.units_held().into());
                self.held_units.add(event.units_added());
            }
            DropEvent::HoldExpired(event) => {
                self.holds_expired.inc();
                self.resolved(event.quantity);
                let late = recorded.recorded_at.millis() - event.expired_at.millis();
                let late = u32::try_from(late.max(0)).unwrap_or(u32::MAX);
                self.release_lateness.observe(f64::from(late) / 1000.0);
            }
            DropEvent::HoldReleased(event) => {
                self.holds_released.inc();
                self.resolved(event.quantity);
            }
            DropEvent::PurchaseConfirmed(event) => {
                self.purchases_confirmed.inc();
                self.resolved(event.quantity);
                self.units_sold.inc_by(event.quantity.get().into());
            }
            DropEvent::PurchaseRefunded(event) => {
                self.purchases_refunded.inc();
                self.units_refunded.inc_by(event.quantity.get().into());
            }
            DropEvent::StockAdjusted(_) => self.stock_adjustments.inc(),
            DropEvent::WaitlistJoined(_) => {
                self.waitlist_joined.inc();
                self.waitlist_entries.inc();
            }
            DropEvent::WaitlistLeft(_) => {
                self.waitlist_left.inc();
                self.waitlist_entries.dec();
            }
            DropEvent::CodesCreated(event) => self.codes_created.inc_by(event.digests.len() as u64),
        }
    }
}

impl EventCounts {
    /// A hold of this many units was purchased, released, or expired.
    fn resolved(&self, quantity: Quantity) {
        self.open_holds.dec();
        self.held_units.sub(quantity.get().into());
    }

    fn count_order(&self, recorded: &RecordedOrderEvent) {
        let (counter, before, after) = match &recorded.event {
            OrderEvent::OrderPlaced(_) => (&self.orders_placed, None, OrderStatus::Pending),
            OrderEvent::OrderPaid(event) => {
                let before = match event.late {
                    true => OrderStatus::Expired,
                    false => OrderStatus::Pending,
                };
                (&self.orders_paid, Some(before), OrderStatus::Paid)
            }
            OrderEvent::OrderCancelled(_) => {
                let before = Some(OrderStatus::Pending);
                (&self.orders_cancelled, before, OrderStatus::Cancelled)
            }
            OrderEvent::OrderExpired(_) => {
                let before = Some(OrderStatus::Pending);
                (&self.orders_expired, before, OrderStatus::Expired)
            }
            OrderEvent::OrderFulfilled(_) => return self.fulfilments.inc(),
            OrderEvent::PaymentStarted(_)
            | OrderEvent::PaymentSucceeded(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentArrivedLate(_)
            | OrderEvent::RefundRequested(_)
            | OrderEvent::RefundSettled(_) => return,
        };
        counter.inc();
        self.orders.with_label_values(&[after.name()]).inc();
        if let Some(before) = before {
            self.orders.with_label_values(&[before.name()]).dec();
        }
    }
}

/// The gauge of orders, with every status from the start.
fn orders_by_status(registry: &Registry) -> IntGaugeVec {
    let options = Opts::new(
        "holdfast_orders",
        "Orders by status, in the whole log: the same at every instance. Refunded ones count as paid.",
    );
    let orders = registered(registry, IntGaugeVec::new(options, &["status"]));
    for status in [
        OrderStatus::Pending,
        OrderStatus::Paid,
        OrderStatus::Cancelled,
        OrderStatus::Expired,
    ] {
        orders.with_label_values(&[status.name()]).set(0);
    }
    orders
}

impl Observer for EventCounts {
    fn committed(&mut self, committed: &Arc<Committed>) {
        for order in &committed.orders {
            self.count_order(order);
        }
        committed.events.iter().for_each(|event| self.count(event));
    }

    /// Events up to `readmitted.observed` were counted before.
    fn readmitted(&mut self, readmitted: &Readmitted) {
        let new = |event: &&RecordedEvent| event.position > readmitted.observed;
        let events = readmitted.events.iter().filter(new);
        events.for_each(|event| self.count(event));
    }

    fn order_readmitted(&mut self, readmitted: &ReadmittedOrder) {
        let events = readmitted.events.iter();
        let new = events.filter(|event| event.position > readmitted.observed);
        new.for_each(|event| self.count_order(event));
    }
}
