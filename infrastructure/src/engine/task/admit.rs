//! Applying what the log holds, event by event: what is void has no effect, and an event that
//! cannot be applied puts its drop into quarantine.
//!
//! Promise: after every part the state is that of the log without void events, and holds nothing of
//! a drop in quarantine; followers are told both. A position that is declared void is learned
//! before any event is applied, at a start and with each part that is followed.
//! Limit: a drop is readmitted by reading its whole stream again.

use std::any::Any;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Once};

use domain::erasure;
use domain::values::{DropId, Position};
use tracing::{error, info};

use super::Engine;
use crate::codec::{RecordedEvent, read};
use crate::engine::ports::{Clock, Ids, Observer};
use crate::error::LogError;
use crate::feed::{Committed, Readmitted};
use crate::log::{EventLog, Part, StoredEvent};
use crate::quarantine::{Fault, RefusedEvent, Voided, drop_of, voided_by};

/// What a part of the log says about positions: which are void from now on, and the streams of the
/// drops that have to be applied again because of it.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) voided: Vec<Voided>,
    pub(super) streams: BTreeMap<DropId, Vec<StoredEvent>>,
}

impl News {
    /// Whether this drop is applied again from its first event.
    pub(super) fn rereads(&self, drop_id: Option<DropId>) -> bool {
        drop_id.is_some_and(|drop_id| self.streams.contains_key(&drop_id))
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

    /// What `tail` declares void that was not void before. Changes nothing, so that it can be asked
    /// for again should the log go away meanwhile.
    pub(super) async fn news_of(&self, tail: &[StoredEvent]) -> Result<News, LogError> {
        let mut news = News::default();
        for stored in tail {
            let Some(position) = voided_by(stored) else {
                continue;
            };
            if self.voids.contains(position) {
                continue;
            }
            let here = tail.iter().find(|event| event.position == position);
            let drop_id = match here {
                Some(event) => drop_of(event),
                None => {
                    let before = Position(position.0.saturating_sub(1));
                    self.log.read(before, 1).await?.first().and_then(drop_of)
                }
            };
            let at = stored.position;
            news.voided.push(Voided {
                at,
                position,
                drop_id,
            });
        }
        let Some(until) = tail.last().map(|last| last.position) else {
            return Ok(news);
        };
        // What is void before it was ever applied is passed over when it is met.
        let applied = news
            .voided
            .iter()
            .filter(|voided| voided.position <= self.head.position);
        let mut drops: BTreeSet<DropId> = applied.filter_map(|voided| voided.drop_id).collect();
        // An erasure removes personal data, and with it possibly the reason of a quarantine.
        let erases = |stored: &StoredEvent| stored.aggregate_type == erasure::AGGREGATE_TYPE;
        if tail.iter().any(erases) {
            drops.extend(self.state.quarantined_by(Fault::Unreadable));
        }
        for drop_id in drops {
            let stream = self.log.stream(drop_id, until).await?;
            news.streams.insert(drop_id, stream);
        }
        Ok(news)
    }

    /// Applies what is in the log. Observers are not given yet what was applied and what was not.
    pub(super) fn take_in(&mut self, part: Part, voided: Vec<Voided>) -> Arc<Committed> {
        let Part {
            mut events,
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
        events.retain(|recorded| {
            let is_before = |refused: &RefusedEvent| refused.position < recorded.position;
            while let Some(refused) = refused.next_if(is_before) {
                self.meet(refused, &mut taken);
            }
            self.admit(recorded, &mut taken)
        });
        for refused in refused {
            self.meet(refused, &mut taken);
        }
        taken.events = events;
        self.head = head;
        Arc::new(taken)
    }

    /// An event that cannot be read.
    fn meet(&mut self, refused: RefusedEvent, taken: &mut Committed) {
        if self.voids.contains(refused.position) {
            if let Some((drop_id, sequence)) = refused.drop_id.zip(refused.sequence) {
                self.state.pass_over(drop_id, sequence);
            }
            return;
        }
        let Some(drop_id) = refused.drop_id else {
            error!(
                position = refused.position.0,
                event.r#type = refused.kind(),
                fault = refused.fault.name(),
                "position {} belongs to no drop that could exist and is ignored: {}",
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

    /// Applies an event, unless it is void or its drop is in quarantine. Tells whether it is
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
            self.state.pass_over(drop_id, recorded.sequence);
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

    fn quarantine(&mut self, drop_id: DropId, refused: RefusedEvent, taken: &mut Committed) {
        let refused = Arc::new(refused);
        report(drop_id, &refused);
        self.state.quarantine(drop_id, Arc::clone(&refused));
        taken.quarantined.push(refused);
    }

    /// Applies a drop's events from the first, for one of them is void since. Of those up to
    /// `told`, followers knew before.
    pub(super) fn readmit(
        &mut self,
        drop_id: DropId,
        stream: &[StoredEvent],
        told: Position,
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
                Err(refused) => self.meet(*refused, &mut taken),
            }
        }
        let refused = taken.quarantined.pop();
        if refused.is_none() {
            info!(
                drop.id = %drop_id,
                "drop {drop_id} is readmitted: its events were applied again, and every one of them can be"
            );
        }
        let told = before.map_or(told, |before| Position(before.position.0.saturating_sub(1)));
        Readmitted {
            drop_id,
            events,
            refused,
            told,
        }
    }

    /// Applies what somebody recorded, unless history can never contain it.
    fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), Box<RefusedEvent>> {
        if let Some(refused) = self.state.contradiction(recorded) {
            return Err(Box::new(refused));
        }
        let state = &mut self.state;
        let applied = quietly(AssertUnwindSafe(|| {
            state.apply(recorded.drop_id, &recorded.event, recorded.private.as_ref());
        }));
        // What was half applied is removed with all of its drop.
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

thread_local! {
    /// Whether a panic of this thread is caught and reported as what it is.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Catches a claim that history contradicts. It is reported as a quarantine, not as a panic.
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

/// Nothing of the payload: it may hold whatever a program wrote into it.
fn report(drop_id: DropId, refused: &RefusedEvent) {
    error!(
        drop.id = %drop_id,
        position = refused.position.0,
        event.r#type = refused.kind(),
        fault = refused.fault.name(),
        "drop {drop_id} is in quarantine: {} (position {}, {}): {}. Its requests are answered 503, all other drops \
         continue; see `holdfast log check` and docs/LOG_REFUSED.md",
        refused.fault,
        refused.position,
        refused.kind(),
        refused.public_reason(),
    );
}

/// What `evolve` asserted in vain.
fn claim_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("history cannot contain it")
}
