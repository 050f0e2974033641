//! `holdfast audit state`: one drop, or all, as of a point in the log.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;

use clap::Args;
use domain::DropEvent;
use domain::event::HoldPlaced;
use domain::order::{FulfilmentStep, OrderEvent, OrderPlaced, OrderStatus};
use domain::status::DropStatus;
use domain::values::{DropId, HoldId, OrderId, Position, Timestamp};
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent};
use projections::drop_body::DropBody;
use projections::live_stock::LiveStock;
use projections::order_payments::OrderPayments;
use projections::replay::Replay;
use projections::views::DropView;
use serde_json::{Value, json};
use terminal::table::columns;

use super::sentences::{number_of_units, shown};
use super::source::{EventFilter, Moment, Source, SourceArgs};
use super::{AuditError, payment_bodies, print};

/// Arguments of `audit state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// The drop; without it, all.
    #[arg(long, env = "HOLDFAST_AUDIT_DROP", value_name = "ID")]
    drop: Option<DropId>,

    /// The point in the log: after the event at this position, or after all events recorded by this
    /// time; without it, the head.
    #[arg(long, env = "HOLDFAST_AUDIT_AT", value_name = "POSITION|TIME")]
    at: Option<Moment>,

    /// Print JSON.
    #[arg(long, env = "HOLDFAST_AUDIT_JSON")]
    json: bool,
}

/// The state that the events add up to.
#[derive(Default)]
struct State {
    drops: Replay<LiveStock>,
    /// Unresolved holds, with their present deadline and number of units.
    open: HashMap<HoldId, (DropId, HoldPlaced)>,
    /// Empty for the state of one drop.
    orders: BTreeMap<OrderId, OrderState>,
    /// The last position of the selection, whatever its stream.
    position: Position,
    /// When that event was recorded.
    recorded_at: Timestamp,
}

/// An order as of that point.
struct OrderState {
    placed: OrderPlaced,
    status: OrderStatus,
    fulfilment: Option<FulfilmentStep>,
    payments: OrderPayments,
    position: Position,
}

/// Runs the command.
///
/// # Errors
/// [`AuditError`]; among others if the drop did not exist at that point.
pub async fn run(args: &StateArgs) -> Result<ExitCode, AuditError> {
    let source = Source::open(&args.source).await?;
    let read = read(&source, args).await;
    source.close().await;
    let state = read?;
    let at = state.time(args.at);
    if args.json {
        print(&format!("{:#}", state.to_json(at)))
    } else {
        print(&state.to_text(at))
    }
}

async fn read(source: &Source, args: &StateArgs) -> Result<State, AuditError> {
    let filter = EventFilter {
        until: args.at,
        drop: args.drop,
        ..EventFilter::default()
    };
    let mut state = State::default();
    let mut reading = source.read(filter, "replaying").await?;
    while let Some(page) = reading.next().await? {
        for stored in &page {
            if let Some(recorded) = reading.decode(stored)? {
                state.apply(&recorded)?;
            } else if let Some(recorded) = reading.decode_order(stored)? {
                state.apply_order(&recorded);
            }
        }
    }
    state.position = reading.until();
    state.recorded_at = reading.until_at().unwrap_or_default();
    Ok(state)
}

impl State {
    fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), AuditError> {
        self.drops
            .apply(recorded)
            .map_err(|reason| AuditError::cannot_apply(recorded.position, &reason))?;
        match &recorded.event {
            DropEvent::HoldPlaced(event) => {
                self.open
                    .insert(event.hold_id, (recorded.drop_id, event.clone()));
            }
            DropEvent::HoldExtended(event) => {
                if let Some((_, hold)) = self.open.get_mut(&event.hold_id) {
                    hold.expires_at = event.expires_at;
                }
            }
            DropEvent::HoldChanged(event) => {
                if let Some((_, hold)) = self.open.get_mut(&event.hold_id) {
                    hold.quantity = event.quantity;
                }
            }
            DropEvent::HoldExpired(event) => drop(self.open.remove(&event.hold_id)),
            DropEvent::HoldReleased(event) => drop(self.open.remove(&event.hold_id)),
            DropEvent::PurchaseConfirmed(event) => drop(self.open.remove(&event.hold_id)),
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => {}
        }
        Ok(())
    }

    fn apply_order(&mut self, recorded: &RecordedOrderEvent) {
        if let OrderEvent::OrderPlaced(placed) = &recorded.event {
            let order = OrderState {
                placed: placed.clone(),
                status: OrderStatus::Pending,
                fulfilment: None,
                payments: OrderPayments::default(),
                position: recorded.position,
            };
            self.orders.insert(recorded.order_id, order);
            return;
        }
        let Some(order) = self.orders.get_mut(&recorded.order_id) else {
            return;
        };
        order.position = recorded.position;
        order.payments.apply(recorded);
        match &recorded.event {
            OrderEvent::OrderPlaced(_) => {}
            OrderEvent::OrderPaid(event) => {
                order.status = OrderStatus::Paid;
                // A late sale has holds of its own.
                for (item, purchase) in order.placed.items.iter_mut().zip(&event.purchases) {
                    item.hold_id = purchase.hold_id;
                }
            }
            OrderEvent::OrderCancelled(_) => order.status = OrderStatus::Cancelled,
            OrderEvent::OrderExpired(_) => order.status = OrderStatus::Expired,
            OrderEvent::OrderFulfilled(event) => order.fulfilment = Some(event.fulfilment),
            OrderEvent::PaymentStarted(event) => order.placed.expires_at = event.expires_at,
            OrderEvent::PaymentSucceeded(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentArrivedLate(_)
            | OrderEvent::RefundRequested(_)
            | OrderEvent::RefundSettled(_) => {}
        }
    }

    fn orders_to_json(&self) -> Vec<Value> {
        let orders = self.orders.iter();
        orders
            .map(|(order_id, order)| {
                let placed = &order.placed;
                let mut body = json!({
                    "id": order_id, "status": order.status, "fulfilment": order.fulfilment, "buyer": placed.buyer,
                    "items": placed.items, "total": placed.total, "placed_at": placed.placed_at,
                    "expires_at": placed.expires_at, "position": order.position,
                });
                payment_bodies::add_to(&mut body, &order.payments);
                body
            })
            .collect()
    }

    /// The number of orders by status; `None` if there is no order.
    fn orders_to_text(&self) -> Option<String> {
        let all = [
            OrderStatus::Pending,
            OrderStatus::Paid,
            OrderStatus::Cancelled,
            OrderStatus::Expired,
        ];
        let count = |status: OrderStatus| {
            let with = self.orders.values().filter(|order| order.status == status);
            format!("{} {}", with.count(), status.name())
        };
        let counts = all.map(count).join(", ");
        (!self.orders.is_empty()).then(|| format!("\n{} orders: {counts}\n", self.orders.len()))
    }

    /// The requested time, or the time of the event at the requested position.
    const fn time(&self, at: Option<Moment>) -> Timestamp {
        match at {
            Some(Moment::Time(at)) => at,
            Some(Moment::Position(_)) | None => self.recorded_at,
        }
    }

    fn views(&self) -> Vec<DropView> {
        let rows = self.drops.sorted().into_iter();
        rows.map(DropView::from).collect()
    }

    /// Unresolved holds by drop, in order of their deadlines.
    fn open_holds(&self) -> BTreeMap<DropId, Vec<&HoldPlaced>> {
        let mut open = BTreeMap::<DropId, Vec<&HoldPlaced>>::new();
        for (drop_id, hold) in self.open.values() {
            open.entry(*drop_id).or_default().push(hold);
        }
        for holds in open.values_mut() {
            holds.sort_by_key(|hold| (hold.expires_at, hold.hold_id));
        }
        open
    }

    fn to_json(&self, at: Timestamp) -> Value {
        let open = self.open_holds();
        let views = self.views();
        let drops: Vec<Value> = views
            .iter()
            .map(|view| {
                let holds: Vec<Value> = open
                    .get(&view.drop_id)
                    .into_iter()
                    .flatten()
                    .map(|hold| {
                        json!({
                            "id": hold.hold_id, "buyer": hold.buyer, "quantity": hold.quantity,
                            "placed_at": hold.placed_at, "expires_at": hold.expires_at,
                        })
                    })
                    .collect();
                let mut body = serde_json::to_value(DropBody::new(view, at)).unwrap_or_default();
                body["open_holds"] = holds.into();
                body
            })
            .collect();
        json!({ "position": self.position, "at": at, "drops": drops, "orders": self.orders_to_json() })
    }

    fn to_text(&self, at: Timestamp) -> String {
        if self.position == Position::default() {
            return "The log has no events up to this point.".to_owned();
        }
        let mut text = format!("At {at}, after position {}:\n", self.position);
        let open = self.open_holds();
        for view in self.views() {
            let (stock, terms) = (view.row.stock, &view.row.terms);
            let status = status(&view, at);
            text.push_str(&format!(
                "\n“{}” ({}) {status}, {} a unit\n  {}: {} available, {} held, {} sold\n",
                shown(&terms.name),
                view.drop_id,
                terms.price,
                number_of_units(stock.total),
                stock.available,
                stock.held,
                stock.sold
            ));
            if let Some(holds) = open.get(&view.drop_id) {
                text.push_str(&table(holds));
                text.push('\n');
            }
        }
        text.extend(self.orders_to_text());
        text.trim_end().to_owned()
    }
}

fn table(holds: &[&HoldPlaced]) -> String {
    let header = ["hold", "buyer", "units", "until"]
        .map(str::to_owned)
        .to_vec();
    let rows = holds.iter().map(|hold| {
        vec![
            hold.hold_id.to_string(),
            hold.buyer.to_string(),
            hold.quantity.get().to_string(),
            hold.expires_at.to_string(),
        ]
    });
    columns(
        &std::iter::once(header).chain(rows).collect::<Vec<_>>(),
        &[2],
    )
}

fn status(view: &DropView, at: Timestamp) -> &'static str {
    match view.row.status(at) {
        DropStatus::Scheduled => "has not started",
        DropStatus::Live => "is on sale",
        DropStatus::SoldOut => "is sold out",
        DropStatus::Paused => "is paused",
        DropStatus::Draft => "is a draft",
        DropStatus::Ended => "has ended",
        DropStatus::Cancelled => "was cancelled",
    }
}
