//! Verifies a log, one event at a time. Shares only the event types and the hash with the code that
//! wrote it.
//!
//! Promise: reports the first position, up to where the log was read, that violates a rule. Checked
//! here: density, the hash chain, monotonic time, sequences without gaps, payloads that decode
//! (after upcasting) and match their columns, commitments to personal data that is still present,
//! and that no personal data of erased buyers remains. [`ledger`] has the rules for drops.
//! Limit: memory grows with the ledger and with the number of erased buyers. Repeated ids, exceeded
//! buyer limits, buyers with two pseudonyms and gaps in other kinds of streams are found only at
//! the end.

mod account;
mod buyer_actions;
mod clocks;
mod closing;
mod codes;
mod foreign;
mod ledger;
mod pauses;
mod persons;
mod refunds;

use std::collections::{BTreeMap, BTreeSet};
use std::{fmt, io};

use domain::incident::{self, LogEvent};
use domain::values::{DropId, OrderId, Position, Pseudonym, Sequence};
use hashbrown::HashMap;
use infrastructure::codec::{RecordedEvent, is_named};
use infrastructure::erasure::Erased;
use infrastructure::log::{Head, chain};
use infrastructure::quarantine::Voids;
use terminal::text::visible;

pub use self::closing::Closing;
use self::foreign::Foreign;
use self::ledger::Ledger;
pub use self::ledger::{PaymentCounts, Times};
use self::persons::Persons;
pub use self::persons::Respelled;
use super::examine::{Content, Examined, Introduction, Link};
use super::violation::{Claim, Fault, Stop, StreamName, Violation, differs, expect};

/// The erasures that the database's table lists.
#[derive(Debug, Clone, Default)]
pub struct Erasures {
    /// The last erasure of each pseudonym.
    last: HashMap<(DropId, Pseudonym), Position>,
    /// Positions of erasures that were not reached yet.
    pending: BTreeSet<Position>,
}

impl FromIterator<(Position, Erased)> for Erasures {
    fn from_iter<I: IntoIterator<Item = (Position, Erased)>>(listed: I) -> Self {
        let mut erasures = Self::default();
        for (position, Erased { drop_id, buyer }) in listed {
            erasures.pending.insert(position);
            let last = erasures.last.entry((drop_id, buyer)).or_default();
            *last = position.max(*last);
        }
        erasures
    }
}

/// Checks every event of a log in order; see the module.
#[derive(Debug, Default)]
pub struct Verifier {
    head: Head,
    events: u64,
    introductions: u64,
    erased: u64,
    erasures: u64,
    /// Events that lost their personal data, as recorded by the erasures.
    recorded_erased: u64,
    ledger: Ledger,
    persons: Persons,
    foreign: Foreign,
    claims: Vec<Claim>,
    knows_private: bool,
    /// `None`: only the log is available.
    listed: Option<Erasures>,
    voids: Voids,
    incidents: Vec<Incident>,
    ordered_by: HashMap<OrderId, Pseudonym>,
}

/// A recorded repair of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    pub position: Position,
    /// The repair and its reason.
    pub event: LogEvent,
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match &self.event {
            LogEvent::PositionVoided(void) => {
                let (position, reason) = (void.position, void.reason.as_str());
                format!(
                    "position {position} was declared void at position {}: {reason}",
                    self.position
                )
            }
            LogEvent::TailCut(cut) => format!(
                "{} events after position {} were removed: {}",
                cut.events,
                cut.position,
                cut.reason.as_str()
            ),
        };
        f.write_str(&visible(&words))
    }
}

/// The verified facts about a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    pub events: u64,
    pub head: Head,
    pub drops: usize,
    /// Unresolved holds.
    pub open_holds: usize,
    /// Payments of orders, and refunds of money.
    pub payments: PaymentCounts,
    /// Events with personal data, present or erased.
    pub introductions: u64,
    pub erasures: u64,
    pub incidents: Vec<Incident>,
    /// Events whose personal data is erased; `None` if the reader may not read personal data.
    pub erased: Option<u64>,
    /// Observations that are not violations.
    pub notes: Notes,
}

/// Observations that are not violations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    pub times: Times,
    /// Cancelled drops whose holds and waitlist entries are not all ended yet.
    pub closing: Closing,
    /// Pending orders that have to end because one of their holds has.
    pub ending_orders: u64,
    /// Events without their personal data although no erasure removed it.
    pub vanished: u64,
    /// Persons of whom an earlier release made two buyers, because it compared ids less broadly.
    pub respelled: Respelled,
    /// Events of other kinds of streams, by kind: their chain is checked, their content is not.
    pub foreign: BTreeMap<String, u64>,
}

impl Notes {
    /// Describes the observations in sentences.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = vec![];
        let Times {
            late_purchases,
            far,
            first_far,
            clocks,
        } = self.times;
        if late_purchases > 0 {
            sentences.push(format!(
                "{late_purchases} purchases were recorded within a minute after their hold's deadline; according to their events they arrived before it"
            ));
        }
        if let Some(first) = first_far {
            sentences.push(format!(
                "{far} events have a decision time more than a minute away from their recorded time, the first at position {first}"
            ));
        }
        sentences.extend(self.closing.sentence());
        if self.ending_orders > 0 {
            sentences.push(format!(
                "{} pending orders have a hold that has ended, and still have to end",
                self.ending_orders
            ));
        }
        sentences.extend(clocks.sentences());
        if self.vanished > 0 {
            sentences.push(format!(
                "{} events have lost their personal data although no recorded erasure removed it",
                self.vanished
            ));
        }
        if let Respelled {
            spellings,
            first: Some(first),
        } = self.respelled
        {
            sentences.push(format!(
                "{spellings} spellings of a buyer's id are buyers of their own although they equal another buyer's id \
                 without regard to case, the first at position {first}: releases that compare ids by case folding add none"
            ));
        }
        for (kind, events) in &self.foreign {
            sentences.push(format!(
                "{events} events of streams of the kind {kind:?} are chained correctly; their content cannot be checked"
            ));
        }
        sentences
    }
}

type Check = Result<(), Fault>;

impl Verifier {
    /// Creates a verifier that checks the log against `claims`. Without access to personal data
    /// (`knows_private`), commitments are not checked.
    #[must_use]
    pub fn new(claims: Vec<Claim>, knows_private: bool) -> Self {
        Self {
            claims,
            knows_private,
            ..Self::default()
        }
    }

    /// Checks the log against the table of erasures.
    #[must_use]
    pub fn with_erasures(mut self, listed: Erasures) -> Self {
        self.listed = Some(listed);
        self
    }

    /// Skips the effect of these positions; the log itself must declare each of them void.
    #[must_use]
    pub fn with_voids(mut self, voids: Voids) -> Self {
        self.voids = voids;
        self
    }

    /// The last verified event.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// True if personal data is available.
    #[must_use]
    pub const fn knows_private(&self) -> bool {
        self.knows_private
    }

    /// Checks the next event. Returns it if it belongs to a drop.
    ///
    /// # Errors
    /// [`Stop`] if it violates a rule.
    pub fn check(&mut self, event: Examined) -> Result<Option<RecordedEvent>, Stop> {
        let next = self.head.position.next();
        let Examined {
            head,
            sequence,
            link,
            content,
        } = event;
        if head.position != next {
            return Err(differs("position", next, head.position).at(next).into());
        }
        let followed = self.check_link(head, link);
        let is_void = self.voids.contains(next);
        let checked = followed.and_then(|()| match is_void {
            true => {
                self.skip_void(sequence, &content);
                Ok(())
            }
            false => self.check_said(next, sequence, &content),
        });
        checked.map_err(|fault| Violation {
            stream: Some(content.stream()),
            ..fault.at(next)
        })?;
        self.head = head;
        self.events += 1;
        if is_void {
            return Ok(None);
        }
        Ok(self.keep(content, sequence)?)
    }

    /// A void event of a drop or an order counts in its stream; nothing else about it is checked.
    fn skip_void(&mut self, sequence: Sequence, content: &Content) {
        let drop_id = match content {
            Content::Order { recorded, .. } => {
                self.ledger.skip_void_of_order(recorded.order_id, sequence);
                None
            }
            Content::Drop { recorded, .. } => Some(recorded.drop_id),
            Content::Unreadable {
                aggregate_id,
                is_of_order: true,
                ..
            } => {
                let order_id: Option<OrderId> = aggregate_id.parse().ok();
                let named = order_id.filter(|order_id| order_id.to_string() == *aggregate_id);
                if let Some(order_id) = named {
                    self.ledger.skip_void_of_order(order_id, sequence);
                }
                None
            }
            Content::Unreadable { aggregate_id, .. } => {
                let drop_id: Option<DropId> = aggregate_id.parse().ok();
                drop_id.filter(|drop_id| is_named(*drop_id, aggregate_id))
            }
            Content::Erasure { .. } | Content::Incident { .. } | Content::Other { .. } => None,
        };
        if let Some(drop_id) = drop_id {
            let position = self.head.position.next();
            self.ledger.skip_void(drop_id, sequence, position);
        }
    }

    /// Keeps the facts that are judged at the end. Returns the event if it belongs to a drop.
    fn keep(&mut self, content: Content, sequence: Sequence) -> io::Result<Option<RecordedEvent>> {
        let position = self.head.position;
        let (recorded, introduction) = match content {
            Content::Order { recorded, .. } => {
                self.ledger.keep_order(&recorded)?;
                return Ok(None);
            }
            Content::Drop {
                recorded,
                introduction,
                ..
            } => (recorded, introduction),
            Content::Erasure { stream, .. } => {
                let kind = domain::erasure::AGGREGATE_TYPE;
                self.foreign.add(kind, &stream, sequence, position)?;
                return Ok(None);
            }
            Content::Incident { stream, event } => {
                let kind = incident::AGGREGATE_TYPE;
                self.foreign.add(kind, &stream, sequence, position)?;
                self.incidents.push(Incident { position, event });
                return Ok(None);
            }
            Content::Other {
                aggregate_type,
                aggregate_id,
            } => {
                self.foreign
                    .add(&aggregate_type, &aggregate_id, sequence, position)?;
                self.foreign.count(&aggregate_type);
                return Ok(None);
            }
            Content::Unreadable { .. } => return Ok(None),
        };
        self.ledger.keep(&recorded)?;
        if let Some((person, buyer)) = introduction.person.zip(recorded.event.buyer()) {
            let scope = self.ledger.scope_of(recorded.drop_id);
            self.persons.add(scope, person, buyer, position)?;
        }
        Ok(Some(*recorded))
    }

    /// Checks that a cancellation skipped no hold or waitlist entry. Holds and entries that are
    /// still to be ended are noted, not a violation.
    ///
    /// # Errors
    /// [`Violation`] if one was skipped.
    pub fn check_closing(&self) -> Result<(), Violation> {
        self.ledger.check_skipped(self.head.position)
    }

    /// Checks that the log's recorded head matches its last event.
    ///
    /// # Errors
    /// [`Violation`] if it does not.
    pub fn check_head(&self, head: Head) -> Result<(), Violation> {
        if self.head == head {
            return Ok(());
        }
        let describe = |head: Head| format!("{} at {}", head.hash, head.recorded_at);
        Err(differs("the head of the log", describe(self.head), describe(head)).at(head.position))
    }

    /// Checks that the log reaches every claimed position.
    ///
    /// # Errors
    /// [`Violation`] if it ends earlier.
    pub fn reaches_claims(&self) -> Result<(), Violation> {
        let after = self.head.position.next();
        if let Some(claim) = self.claims.iter().find(|claim| claim.position >= after) {
            let (ends, claimed) = (self.head.position, claim.position);
            let reason = format!(
                "the log ends at position {ends}, but {} claims position {claimed}",
                claim.source
            );
            return Err(Violation::at(after, reason));
        }
        let start = Head::default();
        let before_all =
            |claim: &&Claim| claim.position == Position::default() && claim.hash != start.hash;
        if let Some(claim) = self.claims.iter().find(before_all) {
            let what = format!("hash claimed by {}", claim.source);
            return Err(differs(&what, claim.hash, start.hash).at(start.position));
        }
        Ok(())
    }

    /// Ends a failed verification: returns `found`, or an earlier violation among those known only
    /// at the end.
    #[must_use]
    pub fn fail(self, found: Violation) -> Stop {
        match judge_kept(self.ledger, self.persons, self.foreign) {
            Ok((kept, _)) => kept.into_iter().fold(found, Violation::or_earlier).into(),
            Err(error) => error.into(),
        }
    }

    /// Ends the verification.
    ///
    /// # Errors
    /// [`Stop`] with the first of: the log ends before a claimed position, an erasure is missing,
    /// an order is not complete, an id was used again, a buyer exceeded a limit, a person was two
    /// buyers, another kind of stream has a gap.
    pub fn finish(mut self) -> Result<Proved, Stop> {
        let pending = self
            .listed
            .iter()
            .filter_map(|listed| listed.pending.first());
        let pending = pending.min().map(|position| {
            let reason = "the table erasures lists this position, but the event is not an erasure";
            Violation::at(*position, reason)
        });
        let mut found = Vec::from_iter(pending);
        let after = self.head.position.next();
        found.extend(
            self.ledger
                .nothing_is_due()
                .err()
                .map(|fault| fault.at(after)),
        );
        found.extend(self.undeclared());
        found.extend(self.reaches_claims().err());
        let mut notes = Notes {
            respelled: Respelled::default(),
            times: self.ledger.times(),
            closing: self.ledger.closing(),
            ending_orders: self.ledger.ending_orders(),
            vanished: match self.knows_private {
                true => self.erased.saturating_sub(self.recorded_erased),
                false => 0,
            },
            foreign: self.foreign.kinds().clone(),
        };
        let (drops, open_holds) = (self.ledger.drops(), self.ledger.open_holds());
        let payments = self.ledger.payment_counts();
        let (kept, respelled) = judge_kept(self.ledger, self.persons, self.foreign)?;
        found.extend(kept);
        notes.respelled = respelled;
        if let Some(violation) = found.into_iter().reduce(Violation::or_earlier) {
            return Err(violation.into());
        }
        Ok(Proved {
            events: self.events,
            head: self.head,
            drops,
            open_holds,
            payments,
            introductions: self.introductions,
            erasures: self.erasures,
            incidents: self.incidents,
            erased: self.knows_private.then_some(self.erased),
            notes,
        })
    }

    /// A skipped position that the log does not declare void.
    fn undeclared(&self) -> Option<Violation> {
        let declared = |position: Position| {
            self.incidents.iter().any(|incident| match &incident.event {
                LogEvent::PositionVoided(void) => void.position == position,
                LogEvent::TailCut(_) => false,
            })
        };
        let mut left_out = self.voids.iter().map(|voided| voided.position);
        let position = left_out.find(|position| !declared(*position))?;
        let reason = "no event in the log declares this position void";
        Some(Violation::at(position, reason))
    }

    /// Checks the chain, the claims and the time.
    fn check_link(&self, head: Head, link: Link) -> Check {
        let linked = match link {
            Link::To(hash) => hash,
            Link::Unknown(stored) => chain::link(&self.head.hash, &*stored),
        };
        expect("hash", linked, head.hash)?;
        for claim in &self.claims {
            if claim.position == head.position && claim.hash != head.hash {
                let what = format!("hash claimed by {}", claim.source);
                return Err(differs(&what, claim.hash, head.hash));
            }
        }
        if head.recorded_at < self.head.recorded_at {
            return Err(format!(
                "recorded at {}, earlier than the previous position at {}",
                head.recorded_at, self.head.recorded_at
            )
            .into());
        }
        Ok(())
    }

    fn check_said(&mut self, position: Position, sequence: Sequence, content: &Content) -> Check {
        if !matches!(content, Content::Drop { .. } | Content::Order { .. }) {
            self.ledger.nothing_is_due()?;
        }
        match content {
            Content::Order {
                recorded,
                introduction,
            } => {
                // All personal data of an order is its buyer's.
                let buyer = match recorded.event.buyer() {
                    Some(buyer) => {
                        self.ordered_by.insert(recorded.order_id, buyer);
                        Some(buyer)
                    }
                    None => self.ordered_by.get(&recorded.order_id).copied(),
                };
                let buyer = buyer.map(|buyer| (DropId(recorded.order_id.0), buyer));
                self.check_introduction(recorded.position, buyer, introduction)?;
                let reference = introduction.reference.as_ref();
                self.ledger.check_order(recorded, reference)
            }
            Content::Drop {
                recorded,
                introduction,
                is_old,
            } => {
                self.ledger.follows(recorded.drop_id, sequence)?;
                let buyer = recorded.event.buyer();
                let buyer = buyer.map(|buyer| (recorded.drop_id, buyer));
                self.check_introduction(recorded.position, buyer, introduction)?;
                self.ledger.check(recorded, *is_old)
            }
            Content::Erasure { events, .. } => {
                self.erasures += 1;
                self.recorded_erased += events;
                let is_listed = self
                    .listed
                    .as_mut()
                    .is_none_or(|listed| listed.pending.remove(&position));
                if is_listed {
                    return Ok(());
                }
                let reason = "an erasure is recorded here, but the table erasures does not list it";
                Err(reason.to_owned().into())
            }
            Content::Incident { event, .. } => match event {
                LogEvent::PositionVoided(void) if !self.voids.contains(void.position) => {
                    let void = void.position;
                    Err(format!(
                        "position {void} is declared void here, but its effect was not skipped"
                    )
                    .into())
                }
                LogEvent::PositionVoided(_) | LogEvent::TailCut(_) => Ok(()),
            },
            Content::Other { .. } => Ok(()),
            Content::Unreadable { fault, .. } => Err(fault.clone()),
        }
    }

    fn check_introduction(
        &mut self,
        position: Position,
        buyer: Option<(DropId, Pseudonym)>,
        introduction: &Introduction,
    ) -> Check {
        self.introductions += u64::from(introduction.is_committed);
        self.erased += u64::from(introduction.is_erased);
        if let Some(fault) = &introduction.fault {
            return Err((**fault).clone());
        }
        let listed = self.listed.as_ref().filter(|_| introduction.is_present);
        let erased_at = listed
            .zip(buyer)
            .and_then(|(listed, buyer)| listed.last.get(&buyer));
        match erased_at {
            Some(erased_at) if *erased_at > position => Err(format!(
                "personal data remains of a buyer erased at position {erased_at}"
            )
            .into()),
            Some(_) | None => Ok(()),
        }
    }
}

impl Content {
    fn stream(&self) -> StreamName {
        let order = domain::order::AGGREGATE_TYPE;
        match self {
            Self::Drop { recorded, .. } => StreamName::of_drop(recorded.drop_id),
            Self::Order { recorded, .. } => StreamName::new(order, recorded.order_id.to_string()),
            Self::Unreadable {
                aggregate_id,
                is_of_order: true,
                ..
            } => StreamName::new(order, aggregate_id),
            Self::Unreadable { aggregate_id, .. } => match aggregate_id.parse() {
                Ok(drop_id) => StreamName::of_drop(drop_id),
                Err(_) => StreamName::new("", aggregate_id),
            },
            Self::Erasure { stream, .. } | Self::Incident { stream, .. } => {
                StreamName::new("", stream)
            }
            Self::Other { aggregate_id, .. } => StreamName::new("", aggregate_id),
        }
    }
}

/// Violations that are known only at the end; the first of each kind.
fn judge_kept(
    ledger: Ledger,
    persons: Persons,
    foreign: Foreign,
) -> io::Result<(Vec<Violation>, Respelled)> {
    let mut found = ledger.judge_kept()?;
    let persons = persons.judge()?;
    found.extend(persons.violation());
    found.extend(foreign.first_gap()?);
    Ok((found, persons.respelled))
}

fn follows(last: &mut Sequence, sequence: Sequence) -> Check {
    expect("sequence", last.next(), sequence)?;
    *last = sequence;
    Ok(())
}

#[cfg(test)]
mod tests;
