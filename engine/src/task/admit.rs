//! Applies the log's events one by one: void events have no effect, and an event that cannot be
//! applied puts its drop or order into quarantine.
//!
//! Promise: after every part, the state is that of the log without void events and holds nothing of
//! quarantined drops and orders; observers learn of both. Void positions are read before any event
//! is applied, at a start and with each part that is followed.
//! Limit: a drop or order is readmitted by reading its whole stream again.

use std::any::Any;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Once};

use domain::erasure;
use domain::values::{DropId, OrderId, Position};
use infrastructure::codec::{Recorded, RecordedEvent, RecordedOrderEvent, read, read_any};
use infrastructure::error::LogError;
use infrastructure::feed::{Committed, Readmitted, ReadmittedOrder};
use infrastructure::log::{EventLog, Part, StoredEvent, StreamId};
use infrastructure::ports::{Clock, Ids, Observer};
use infrastructure::quarantine::{Fault, RefusedEvent, Voided, stream_of, voided_by};
use tracing::{error, info};

use super::Engine;

/// Changes of void positions in a part of the log: the newly declared ones, and the streams of
/// the drops and orders that must be applied again because of them.
#[derive(Debug, Default)]
pub(super) struct VoidChanges {
    pub(super) voided: Vec<Voided>,
    pub(super) streams: BTreeMap<StreamId, Vec<StoredEvent>>,
}

impl VoidChanges {
    /// Reports whether this stream is applied again from its first event.
    pub(super) fn rereads(&self, stream: Option<StreamId>) -> bool {
        stream.is_some_and(|stream| self.streams.contains_key(&stream))
    }
}

impl<L: EventLog, C: Clock, I: Ids, O: Observer> Engine<L, C, I, O> {
    /// Reads every void position of the log, before any event is applied.
    pub(super) async fn learn_voids(&mut self) -> Result<(), LogError> {
        let voided = self.log.voided().await?;
        if voided.is_empty() {
            return Ok(());
        }
        self.voids.extend(voided.iter().cloned());
        self.observer.committed(&Arc::new(Committed {
            voided,
            head: self.head,
            ..Committed::default()
        }));
        Ok(())
    }

    /// Returns the positions that `tail` declares void for the first time. Changes nothing, so it
    /// can be repeated if the log becomes unreachable.
    pub(super) async fn void_changes(&self, tail: &[StoredEvent]) -> Result<VoidChanges, LogError> {
        let mut changes = VoidChanges::default();
        for stored in tail {
            let Some(position) = voided_by(stored) else {
                continue;
            };
            if self.voids.contains(position) {
                continue;
            }
            let here = tail.iter().find(|event| event.position == position);
            let stream = match here {
                Some(event) => stream_of(event),
                None => {
                    let before = Position(position.0.saturating_sub(1));
                    self.log.read(before, 1).await?.first().and_then(stream_of)
                }
            };
            let at = stored.position;
            changes.voided.push(Voided {
                at,
                position,
                stream,
            });
        }
        let Some(until) = tail.last().map(|last| last.position) else {
            return Ok(changes);
        };
        // An event that is declared void before it was ever applied is skipped when it is reached.
        let applied = changes
            .voided
            .iter()
            .filter(|voided| voided.position <= self.head.position);
        let mut again: BTreeSet<StreamId> = applied.filter_map(|voided| voided.stream).collect();
        // An erasure removes personal data, and with it possibly the reason of a quarantine.
        let erases = |stored: &StoredEvent| stored.aggregate_type == erasure::AGGREGATE_TYPE;
        if tail.iter().any(erases) {
            again.extend(self.readable_again().await?);
        }
        for stream in again {
            let events = self.log.stream(stream, until).await?;
            changes.streams.insert(stream, events);
        }
        Ok(changes)
    }

    /// Returns the drops and orders in quarantine whose unreadable event can be read now.
    async fn readable_again(&self) -> Result<Vec<StreamId>, LogError> {
        let mut readable = vec![];
        for (stream, position) in self.state.quarantined_by(Fault::Unreadable) {
            let before = Position(position.0.saturating_sub(1));
            let stored = self.log.read(before, 1).await?;
            if stored
                .first()
                .is_some_and(|stored| read_any(stored).is_ok())
            {
                readable.push(stream);
            }
        }
        Ok(readable)
    }

    /// Applies a part of the log. Returns the events that were applied and those withheld, for the
    /// observers.
    pub(super) fn apply_part(&mut self, part: Part, voided: Vec<Voided>) -> Arc<Committed> {
        let Part {
            mut events,
            mut orders,
            refused,
            head,
        } = part;
        self.voids.extend(voided.iter().cloned());
        let mut taken = Committed {
            voided,
            head,
            ..Committed::default()
        };
        let mut refused = refused.into_iter().peekable();
        let mut next_orders = std::mem::take(&mut orders).into_iter().peekable();
        events.retain(|recorded| {
            let is_before = |order: &RecordedOrderEvent| order.position < recorded.position;
            while let Some(order) = next_orders.next_if(is_before) {
                orders.extend(self.admit_order(order, &mut taken));
            }
            let is_before = |refused: &RefusedEvent| refused.position < recorded.position;
            while let Some(refused) = refused.next_if(is_before) {
                self.quarantine_unreadable(refused, &mut taken);
            }
            self.admit(recorded, &mut taken)
        });
        for order in next_orders {
            orders.extend(self.admit_order(order, &mut taken));
        }
        for refused in refused {
            self.quarantine_unreadable(refused, &mut taken);
        }
        (taken.events, taken.orders) = (events, orders);
        self.head = head;
        Arc::new(taken)
    }

    /// Handles an event that cannot be decoded.
    fn quarantine_unreadable(&mut self, refused: RefusedEvent, taken: &mut Committed) {
        if self.voids.contains(refused.position) {
            if let Some((drop_id, sequence)) = refused.drop_id.zip(refused.sequence) {
                self.state.skip_void(drop_id, sequence);
            }
            if let Some((order_id, sequence)) = refused.order_id.zip(refused.sequence) {
                self.state.orders.skip_void(order_id, sequence);
            }
            return;
        }
        if let Some(order_id) = refused.order_id {
            taken.withheld_orders.push((refused.position, order_id));
            if self.state.orders.quarantined(order_id).is_none() {
                self.quarantine_order(order_id, refused, taken);
            }
            return;
        }
        let Some(drop_id) = refused.drop_id else {
            error!(
                position = refused.position.0,
                event.r#type = refused.kind(),
                fault = refused.fault.name(),
                "position {} is not an event of any possible drop and is ignored: {}",
                refused.position,
                refused.fault
            );
            return;
        };
        taken.withheld.push((refused.position, drop_id));
        if !self.state.is_quarantined(drop_id) {
            self.quarantine(drop_id, refused, taken);
        }
    }

    /// Applies an event, unless it is void or its drop is in quarantine. Returns whether it was
    /// applied.
    fn admit(&mut self, recorded: &RecordedEvent, taken: &mut Committed) -> bool {
        let RecordedEvent {
            position, drop_id, ..
        } = *recorded;
        if self.state.is_quarantined(drop_id) {
            if !self.voids.contains(position) {
                self.state.remember_ids(recorded);
                taken.withheld.push((position, drop_id));
            }
            return false;
        }
        if self.voids.contains(position) {
            self.state.skip_void(drop_id, recorded.sequence);
            return false;
        }
        match self.apply(recorded) {
            Ok(()) => true,
            Err(refused) => {
                taken.withheld.push((position, drop_id));
                self.quarantine(drop_id, *refused, taken);
                false
            }
        }
    }

    /// Applies an event of an order, unless it is void or the order is in quarantine. Returns it if
    /// it was applied.
    fn admit_order(
        &mut self,
        recorded: RecordedOrderEvent,
        taken: &mut Committed,
    ) -> Option<RecordedOrderEvent> {
        let (position, order_id) = (recorded.position, recorded.order_id);
        if self.state.orders.quarantined(order_id).is_some() {
            if !self.voids.contains(position) {
                taken.withheld_orders.push((position, order_id));
            }
            return None;
        }
        if self.voids.contains(position) {
            self.state.orders.skip_void(order_id, recorded.sequence);
            return None;
        }
        match self.apply_order(&recorded) {
            Ok(()) => Some(recorded),
            Err(refused) => {
                taken.withheld_orders.push((position, order_id));
                self.quarantine_order(order_id, *refused, taken);
                None
            }
        }
    }

    fn apply_order(&mut self, recorded: &RecordedOrderEvent) -> Result<(), Box<RefusedEvent>> {
        if let Some(refused) = self.state.contradiction_of_order(recorded) {
            return Err(Box::new(refused));
        }
        let state = &mut self.state;
        let applied = quietly(AssertUnwindSafe(|| {
            let private = recorded.private.as_ref();
            let _undo = state.apply_order(recorded.order_id, &recorded.event, private);
        }));
        applied.map_err(|claim| {
            let reason = claim_of(&*claim);
            let fault = Fault::Contradiction;
            Box::new(RefusedEvent::recorded_of_order(recorded, fault, reason))
        })
    }

    fn quarantine_order(
        &mut self,
        order_id: OrderId,
        refused: RefusedEvent,
        taken: &mut Committed,
    ) {
        error!(
            order.id = %order_id,
            position = refused.position.0,
            event.r#type = refused.kind(),
            fault = refused.fault.name(),
            "order {order_id} is in quarantine: {} (position {}, {}): {}. Its requests get 503; its holds stay with \
             their drops; see `holdfast log check` and docs/LOG_REFUSED.md",
            refused.fault,
            refused.position,
            refused.kind(),
            refused.public_reason(),
        );
        let refused = Arc::new(refused);
        let orders = &mut self.state.orders;
        orders.quarantine(order_id, Arc::clone(&refused));
        taken.quarantined.push(refused);
    }

    fn quarantine(&mut self, drop_id: DropId, refused: RefusedEvent, taken: &mut Committed) {
        let refused = Arc::new(refused);
        report(drop_id, &refused);
        self.state.quarantine(drop_id, Arc::clone(&refused));
        taken.quarantined.push(refused);
    }

    /// Applies a drop's events from the first, after one was declared void or personal data was
    /// erased. Observers already know those up to `observed`.
    pub(super) fn readmit(
        &mut self,
        drop_id: DropId,
        stream: &[StoredEvent],
        observed: Position,
    ) -> Readmitted {
        let before = self.state.refused(drop_id).cloned();
        self.state.readmit(drop_id);
        let mut taken = Committed::default();
        let mut events = vec![];
        for stored in stream {
            match read(stored) {
                Ok(None) => {}
                Ok(Some(recorded)) => {
                    if self.admit(&recorded, &mut taken) {
                        events.push(recorded);
                    }
                }
                Err(refused) => self.quarantine_unreadable(*refused, &mut taken),
            }
        }
        let refused = taken.quarantined.pop();
        if refused.is_none() {
            self.state.check_waitlists_of_group(drop_id);
            info!(
                drop.id = %drop_id,
                "drop {drop_id} is readmitted: all of its events were applied again"
            );
        }
        Readmitted {
            drop_id,
            events,
            refused,
            observed: observed_before(before.as_deref(), observed),
        }
    }

    /// Applies an order's events from the first; as [`Self::readmit`].
    pub(super) fn readmit_order(
        &mut self,
        order_id: OrderId,
        stream: &[StoredEvent],
        observed: Position,
    ) -> ReadmittedOrder {
        let before = self.state.orders.readmit(order_id);
        let mut taken = Committed::default();
        let mut events = vec![];
        for stored in stream {
            match read_any(stored) {
                Ok(Some(Recorded::Order(recorded))) => {
                    events.extend(self.admit_order(recorded, &mut taken));
                }
                Ok(Some(Recorded::Drop(_)) | None) => {}
                Err(refused) => self.quarantine_unreadable(*refused, &mut taken),
            }
        }
        let refused = taken.quarantined.pop();
        if refused.is_none() {
            // Its holds may have ended meanwhile.
            self.state.orders.note_pending(order_id);
            info!(
                order.id = %order_id,
                "order {order_id} is readmitted: all of its events were applied again"
            );
        }
        ReadmittedOrder {
            order_id,
            events,
            refused,
            observed: observed_before(before.as_deref(), observed),
        }
    }

    /// Applies another program's event, unless it contradicts the state.
    fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), Box<RefusedEvent>> {
        if let Some(refused) = self.state.contradiction(recorded) {
            return Err(Box::new(refused));
        }
        let state = &mut self.state;
        let applied = quietly(AssertUnwindSafe(|| {
            state.apply(recorded.drop_id, &recorded.event, recorded.private.as_ref());
        }));
        // A partly applied event is removed together with its drop's state.
        applied.map_err(|claim| {
            let reason = claim_of(&*claim);
            Box::new(RefusedEvent::recorded(
                recorded,
                Fault::Contradiction,
                reason,
            ))
        })
    }
}

/// The position up to which observers know the events of a stream: that before the refused event.
fn observed_before(refused: Option<&RefusedEvent>, observed: Position) -> Position {
    refused.map_or(observed, |refused| {
        Position(refused.position.0.saturating_sub(1))
    })
}

thread_local! {
    /// True while a panic of this thread is caught and reported as a quarantine.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Catches a failed assertion of `evolve`. It is reported as a quarantine, not as a panic.
fn quietly(work: impl FnOnce() + UnwindSafe) -> std::thread::Result<()> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_CAUGHT.get() {
                usual(panic);
            }
        }));
    });
    IS_CAUGHT.set(true);
    let outcome = catch_unwind(work);
    IS_CAUGHT.set(false);
    outcome
}

/// Logs nothing of the payload: it may contain anything that a program wrote into it.
fn report(drop_id: DropId, refused: &RefusedEvent) {
    error!(
        drop.id = %drop_id,
        position = refused.position.0,
        event.r#type = refused.kind(),
        fault = refused.fault.name(),
        "drop {drop_id} is in quarantine: {} (position {}, {}): {}. Its requests get 503; all other drops \
         continue; see `holdfast log check` and docs/LOG_REFUSED.md",
        refused.fault,
        refused.position,
        refused.kind(),
        refused.public_reason(),
    );
}

/// The message of the failed assertion in `evolve`.
fn claim_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("history cannot contain it")
}
