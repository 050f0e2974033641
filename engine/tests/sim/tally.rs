//! Counts the cases that a simulation exercised, so that an empty simulation does not pass.

/// Counts over one or many simulations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub events: usize,
    pub requests: usize,
    pub accepted: usize,
    pub replayed: usize,
    pub refused: usize,
    pub unavailable: usize,
    pub clock_faults: usize,
    pub overloaded: usize,
    pub undecided: usize,
    pub crashes: usize,
    pub failed_starts: usize,
    pub clocks_set: usize,
    pub stock_events: usize,
    pub holds: usize,
    pub extensions: usize,
    pub changes: usize,
    pub purchases: usize,
    pub refunds: usize,
    pub releases: usize,
    pub expiries: usize,
    pub cancellations: usize,
    pub adjustments: usize,
    pub edits: usize,
    pub starts: usize,
    pub pauses: usize,
    pub resumptions: usize,
    pub publications: usize,
    pub introductions: usize,
    pub joined: usize,
    pub left: usize,
    pub offers: usize,
    pub orders: usize,
    pub orders_accepted: usize,
    pub orders_refused: usize,
    pub orders_undecided: usize,
    pub order_replays: usize,
    pub orders_paid: usize,
    pub orders_cancelled: usize,
    pub orders_expired: usize,
    pub orders_fulfilled: usize,
    pub payments: usize,
    pub successes: usize,
    pub failures: usize,
    pub late_payments: usize,
    pub late_sales: usize,
    pub money_refunds: usize,
    pub settlements: usize,
    pub in_groups: usize,
    pub limited: usize,
}

impl Tally {
    /// Adds the counts of another simulation.
    pub fn add(&mut self, other: &Self) {
        for (total, more) in self.fields().into_iter().zip(other.clone().fields()) {
            *total.1 += *more.1;
        }
    }

    /// Panics when something was never exercised.
    pub fn assert_that_everything_was_tried(mut self) {
        for (name, count) in self.fields() {
            assert!(*count > 0, "no {name} in all these simulations");
        }
    }

    fn fields(&mut self) -> [(&'static str, &mut usize); 49] {
        [
            ("events", &mut self.events),
            ("requests", &mut self.requests),
            ("accepted requests", &mut self.accepted),
            ("replayed requests", &mut self.replayed),
            ("refused requests", &mut self.refused),
            ("unavailable log", &mut self.unavailable),
            ("clock faults", &mut self.clock_faults),
            ("overloaded engine", &mut self.overloaded),
            ("undecided requests", &mut self.undecided),
            ("crashes", &mut self.crashes),
            ("failed starts", &mut self.failed_starts),
            ("clocks set", &mut self.clocks_set),
            ("stock events", &mut self.stock_events),
            ("holds", &mut self.holds),
            ("extensions", &mut self.extensions),
            ("changes", &mut self.changes),
            ("purchases", &mut self.purchases),
            ("refunds", &mut self.refunds),
            ("releases", &mut self.releases),
            ("expiries", &mut self.expiries),
            ("cancellations", &mut self.cancellations),
            ("adjustments", &mut self.adjustments),
            ("edits", &mut self.edits),
            ("starts", &mut self.starts),
            ("pauses", &mut self.pauses),
            ("resumptions", &mut self.resumptions),
            ("publications", &mut self.publications),
            ("introductions", &mut self.introductions),
            ("waitlist entries", &mut self.joined),
            ("entries left", &mut self.left),
            ("offers", &mut self.offers),
            ("orders", &mut self.orders),
            ("orders accepted", &mut self.orders_accepted),
            ("orders refused", &mut self.orders_refused),
            ("orders undecided", &mut self.orders_undecided),
            ("order replays", &mut self.order_replays),
            ("orders paid", &mut self.orders_paid),
            ("orders cancelled", &mut self.orders_cancelled),
            ("orders expired", &mut self.orders_expired),
            ("orders fulfilled", &mut self.orders_fulfilled),
            ("payments", &mut self.payments),
            ("successful payments", &mut self.successes),
            ("failed payments", &mut self.failures),
            ("late payments", &mut self.late_payments),
            ("late sales", &mut self.late_sales),
            ("refunds of money", &mut self.money_refunds),
            ("settled refunds", &mut self.settlements),
            ("events in limit groups", &mut self.in_groups),
            ("refusals by a limit", &mut self.limited),
        ]
    }
}
