//! Proving a log, one event at a time, with code that shares nothing with what wrote it but the event types and the hash.
//!
//! Promise: the first position at which the log breaks a promise is named, up to where it was read. Checked here: density, the chain, monotone time,
//! sequences without gaps, payloads that decode (after upcasting) and are filed under their type, commitments to personal
//! data that is still there, and that nothing is left of whom an erasure forgot. What drops are held to is in [`ledger`].
//! Limit: memory grows as the ledger's does, and with the buyers who were erased. That an id was used again, that a buyer took
//! too much in all or had two pseudonyms, or that another kind of stream has a gap, is known at the end only.

mod account;
mod clocks;
mod closing;
mod foreign;
mod ledger;
mod persons;
mod takings;

use std::collections::{BTreeMap, BTreeSet};
use std::{fmt, io};

use domain::incident::{self, LogEvent};
use domain::values::{DropId, Position, Pseudonym, Sequence};
use hashbrown::HashMap;
use infrastructure::codec::{RecordedEvent, is_named};
use infrastructure::erasure::Erased;
use infrastructure::log::{Head, chain};
use infrastructure::quarantine::Voids;
use terminal::text::visible;

pub use self::closing::Closing;
use self::foreign::Foreign;
use self::ledger::Ledger;
pub use self::ledger::Times;
use self::persons::Persons;
use super::examine::{Examined, Introduction, Link, Said};
use super::violation::{Claim, Fault, Stop, Violation, differs, expect};

/// What the database tells of erasures beside the log.
#[derive(Debug, Clone, Default)]
pub struct Erasures {
    /// The last erasure of each pseudonym.
    last: HashMap<(DropId, Pseudonym), Position>,
    /// Where erasures should be, as far as none was met there yet.
    unmet: BTreeSet<Position>,
}

impl FromIterator<(Position, Erased)> for Erasures {
    fn from_iter<I: IntoIterator<Item = (Position, Erased)>>(told: I) -> Self {
        let mut erasures = Self::default();
        for (position, Erased { drop_id, buyer }) in told {
            erasures.unmet.insert(position);
            let last = erasures.last.entry((drop_id, buyer)).or_default();
            *last = position.max(*last);
        }
        erasures
    }
}

/// Takes every event of a log in order; see the module.
#[derive(Debug, Default)]
pub struct Verifier {
    head: Head,
    events: u64,
    introductions: u64,
    erased: u64,
    erasures: u64,
    /// Events that lost their personal data, as the erasures tell.
    told_erased: u64,
    ledger: Ledger,
    persons: Persons,
    foreign: Foreign,
    claims: Vec<Claim>,
    knows_private: bool,
    /// None: the log stands alone.
    told: Option<Erasures>,
    /// Positions without effect.
    voids: Voids,
    incidents: Vec<Incident>,
}

/// A recorded repair of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// The position of its record.
    pub position: Position,
    /// What was done, and why.
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
                "{} events after position {} were cut off: {}",
                cut.events,
                cut.position,
                cut.reason.as_str()
            ),
        };
        f.write_str(&visible(&words))
    }
}

/// What was proved of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// Events.
    pub events: u64,
    /// Where it ends.
    pub head: Head,
    /// Drops.
    pub drops: usize,
    /// Holds that are not resolved.
    pub open_holds: usize,
    /// Events that personal data belongs to.
    pub introductions: u64,
    /// Erasures that were recorded.
    pub erasures: u64,
    /// Repairs that were recorded.
    pub incidents: Vec<Incident>,
    /// Introductions whose personal data is erased; none when the reader may not see any.
    pub erased: Option<u64>,
    /// What is no violation, but should be known.
    pub remarks: Remarks,
}

/// What is no violation, but should be known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Of times.
    pub times: Times,
    /// Of cancelled drops whose holds and waitlist entries are still to be ended.
    pub closing: Closing,
    /// Introductions whose personal data is gone, though no erasure took it.
    pub vanished: u64,
    /// Events of streams that are not ours, by kind of stream: chained, and not judged.
    pub foreign: BTreeMap<String, u64>,
}

impl Remarks {
    /// In sentences.
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
                "{late_purchases} purchases were recorded within the minute after their hold was over; they say that they arrived before"
            ));
        }
        if let Some(first) = first_far {
            sentences.push(format!(
                "{far} events say that they were decided more than a minute from when they were recorded, the first at position {first}"
            ));
        }
        sentences.extend(self.closing.sentence());
        sentences.extend(clocks.sentences());
        if self.vanished > 0 {
            sentences.push(format!(
                "{} introductions have lost their personal data, though no recorded erasure took it",
                self.vanished
            ));
        }
        for (kind, events) in &self.foreign {
            sentences.push(format!(
                "{events} events of streams of the kind {kind:?} are chained, but nobody here can judge them"
            ));
        }
        sentences
    }
}

type Check = Result<(), Fault>;

impl Verifier {
    /// A verifier that holds the log to `claims`. Without personal data (`knows_private`) commitments are not checked.
    #[must_use]
    pub fn new(claims: Vec<Claim>, knows_private: bool) -> Self {
        Self {
            claims,
            knows_private,
            ..Self::default()
        }
    }

    /// Holds the log to what the database tells of erasures.
    #[must_use]
    pub fn with_erasures(mut self, told: Erasures) -> Self {
        self.told = Some(told);
        self
    }

    /// Leaves out the effect of these positions; each must be declared void by the log itself.
    #[must_use]
    pub fn with_voids(mut self, voids: Voids) -> Self {
        self.voids = voids;
        self
    }

    /// Where it has come to.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Whether it is to be told personal data.
    #[must_use]
    pub const fn knows_private(&self) -> bool {
        self.knows_private
    }

    /// Checks the next event; returns what it says, if it is a drop's.
    ///
    /// # Errors
    /// [`Stop`] when it breaks a promise.
    pub fn check(&mut self, event: Examined) -> Result<Option<RecordedEvent>, Stop> {
        let next = self.head.position.next();
        let Examined {
            head,
            sequence,
            link,
            said,
        } = event;
        if head.position != next {
            return Err(differs("position", next, head.position).at(next).into());
        }
        let followed = self.check_link(head, link);
        let is_void = self.voids.contains(next);
        let checked = followed.and_then(|()| match is_void {
            true => {
                self.pass_over(sequence, &said);
                Ok(())
            }
            false => self.check_said(next, sequence, &said),
        });
        checked.map_err(|fault| Violation {
            stream: Some(said.stream()),
            ..fault.at(next)
        })?;
        self.head = head;
        self.events += 1;
        if is_void {
            return Ok(None);
        }
        Ok(self.keep(said, sequence)?)
    }

    /// A void event of a drop keeps its place in the stream; nothing else is judged of it.
    fn pass_over(&mut self, sequence: Sequence, said: &Said) {
        let drop_id = match said {
            Said::Drop { recorded, .. } => Some(recorded.drop_id),
            Said::Unreadable { aggregate_id, .. } => {
                let drop_id: Option<DropId> = aggregate_id.parse().ok();
                drop_id.filter(|drop_id| is_named(*drop_id, aggregate_id))
            }
            Said::Erasure { .. } | Said::Incident { .. } | Said::Other { .. } => None,
        };
        if let Some(drop_id) = drop_id {
            self.ledger.pass_over(drop_id, sequence);
        }
    }

    /// Keeps what is judged at the end; returns what was said, if it is a drop's.
    fn keep(&mut self, said: Said, sequence: Sequence) -> io::Result<Option<RecordedEvent>> {
        let position = self.head.position;
        let (recorded, introduction) = match said {
            Said::Drop {
                recorded,
                introduction,
                ..
            } => (recorded, introduction),
            Said::Erasure { stream, .. } => {
                let kind = domain::erasure::AGGREGATE_TYPE;
                self.foreign.add(kind, &stream, sequence, position)?;
                return Ok(None);
            }
            Said::Incident { stream, event } => {
                let kind = incident::AGGREGATE_TYPE;
                self.foreign.add(kind, &stream, sequence, position)?;
                self.incidents.push(Incident { position, event });
                return Ok(None);
            }
            Said::Other {
                aggregate_type,
                aggregate_id,
            } => {
                self.foreign
                    .add(&aggregate_type, &aggregate_id, sequence, position)?;
                self.foreign.count(&aggregate_type);
                return Ok(None);
            }
            Said::Unreadable { .. } => return Ok(None),
        };
        self.ledger.keep(&recorded)?;
        if let Some((person, buyer)) = introduction.person.zip(recorded.event.buyer()) {
            self.persons.add(person, buyer, position)?;
        }
        Ok(Some(*recorded))
    }

    /// Checks that nothing of a cancelled drop was passed over. What is still to be ended is no
    /// violation, but noted.
    ///
    /// # Errors
    /// [`Violation`] when something was.
    pub fn ends_in_order(&self) -> Result<(), Violation> {
        self.ledger.check_passed_over(self.head.position)
    }

    /// Checks that the log's own head is what its events lead to.
    ///
    /// # Errors
    /// [`Violation`] when it is not.
    pub fn ends_at(&self, head: Head) -> Result<(), Violation> {
        if self.head == head {
            return Ok(());
        }
        let say = |head: Head| format!("{} at {}", head.hash, head.recorded_at);
        Err(differs("the head of the log", say(self.head), say(head)).at(head.position))
    }

    /// Checks that the log reaches what others know of it.
    ///
    /// # Errors
    /// [`Violation`] when it ends before what was claimed.
    pub fn reaches_claims(&self) -> Result<(), Violation> {
        let after = self.head.position.next();
        if let Some(claim) = self.claims.iter().find(|claim| claim.position >= after) {
            let (ends, claimed) = (self.head.position, claim.position);
            let reason = format!(
                "the log ends at position {ends}, but {} knows position {claimed}",
                claim.source
            );
            return Err(Violation::at(after, reason));
        }
        let start = Head::default();
        let before_all =
            |claim: &&Claim| claim.position == Position::default() && claim.hash != start.hash;
        if let Some(claim) = self.claims.iter().find(before_all) {
            let what = format!("hash that {} knows", claim.source);
            return Err(differs(&what, claim.hash, start.hash).at(start.position));
        }
        Ok(())
    }

    /// Ends a proof that failed: with what was found, or with something before it that is known only now.
    #[must_use]
    pub fn fail(self, found: Violation) -> Stop {
        match judge_kept(self.ledger, self.persons, self.foreign) {
            Ok(kept) => kept.into_iter().fold(found, Violation::or_earlier).into(),
            Err(error) => error.into(),
        }
    }

    /// Ends the proof.
    ///
    /// # Errors
    /// [`Stop`] with the first of: the log ends before what was claimed, an erasure is missing, an id was used again, a buyer took
    /// too much, a person was two buyers, another kind of stream has a gap.
    pub fn finish(self) -> Result<Proved, Stop> {
        let unmet = self.told.iter().filter_map(|told| told.unmet.first());
        let unmet = unmet.min().map(|position| {
            let reason = "the table erasures names this position, but nobody was erased here";
            Violation::at(*position, reason)
        });
        let mut found = Vec::from_iter(unmet);
        found.extend(self.undeclared());
        found.extend(self.reaches_claims().err());
        let remarks = Remarks {
            times: self.ledger.times(),
            closing: self.ledger.closing(),
            vanished: match self.knows_private {
                true => self.erased.saturating_sub(self.told_erased),
                false => 0,
            },
            foreign: self.foreign.kinds().clone(),
        };
        let (drops, open_holds) = (self.ledger.drops(), self.ledger.open_holds());
        found.extend(judge_kept(self.ledger, self.persons, self.foreign)?);
        if let Some(violation) = found.into_iter().reduce(Violation::or_earlier) {
            return Err(violation.into());
        }
        Ok(Proved {
            events: self.events,
            head: self.head,
            drops,
            open_holds,
            introductions: self.introductions,
            erasures: self.erasures,
            incidents: self.incidents,
            erased: self.knows_private.then_some(self.erased),
            remarks,
        })
    }

    /// A position whose effect was left out, though nothing in the log declares it void.
    fn undeclared(&self) -> Option<Violation> {
        let declared = |position: Position| {
            self.incidents.iter().any(|incident| match &incident.event {
                LogEvent::PositionVoided(void) => void.position == position,
                LogEvent::TailCut(_) => false,
            })
        };
        let mut left_out = self.voids.iter().map(|voided| voided.position);
        let position = left_out.find(|position| !declared(*position))?;
        let reason = "nothing in the log declares this position void";
        Some(Violation::at(position, reason))
    }

    /// That it follows from what came before: the chain, what others know of it, time.
    fn check_link(&self, head: Head, link: Link) -> Check {
        let linked = match link {
            Link::To(hash) => hash,
            Link::Unknown(stored) => chain::link(&self.head.hash, &*stored),
        };
        expect("hash", linked, head.hash)?;
        for claim in &self.claims {
            if claim.position == head.position && claim.hash != head.hash {
                let what = format!("hash that {} knows", claim.source);
                return Err(differs(&what, claim.hash, head.hash));
            }
        }
        if head.recorded_at < self.head.recorded_at {
            return Err(format!(
                "recorded at {}, before {} at the position before",
                head.recorded_at, self.head.recorded_at
            )
            .into());
        }
        Ok(())
    }

    fn check_said(&mut self, position: Position, sequence: Sequence, said: &Said) -> Check {
        match said {
            Said::Drop {
                recorded,
                introduction,
                is_old,
            } => {
                self.ledger.follows(recorded.drop_id, sequence)?;
                self.check_introduction(recorded, introduction)?;
                self.ledger.check(recorded, *is_old)
            }
            Said::Erasure { events, .. } => {
                self.erasures += 1;
                self.told_erased += events;
                let is_told = self
                    .told
                    .as_mut()
                    .is_none_or(|told| told.unmet.remove(&position));
                if is_told {
                    return Ok(());
                }
                let reason = "somebody was erased here, but the table erasures names nobody";
                Err(reason.to_owned().into())
            }
            Said::Incident { event, .. } => match event {
                LogEvent::PositionVoided(void) if !self.voids.contains(void.position) => {
                    let void = void.position;
                    Err(format!(
                        "position {void} is declared void here, but its effect was not left out"
                    )
                    .into())
                }
                LogEvent::PositionVoided(_) | LogEvent::TailCut(_) => Ok(()),
            },
            Said::Other { .. } => Ok(()),
            Said::Unreadable { fault, .. } => Err(fault.clone()),
        }
    }

    fn check_introduction(
        &mut self,
        recorded: &RecordedEvent,
        introduction: &Introduction,
    ) -> Check {
        self.introductions += u64::from(introduction.is_committed);
        self.erased += u64::from(introduction.is_erased);
        if let Some(fault) = &introduction.fault {
            return Err((**fault).clone());
        }
        let told = self.told.as_ref().filter(|_| introduction.is_present);
        let buyer = recorded
            .event
            .buyer()
            .map(|buyer| (recorded.drop_id, buyer));
        let erased_at = told
            .zip(buyer)
            .and_then(|(told, buyer)| told.last.get(&buyer));
        match erased_at {
            Some(erased_at) if *erased_at > recorded.position => Err(format!(
                "there is personal data here of a buyer who was erased at position {erased_at}"
            )
            .into()),
            Some(_) | None => Ok(()),
        }
    }
}

impl Said {
    fn stream(&self) -> String {
        match self {
            Self::Drop { recorded, .. } => recorded.drop_id.to_string(),
            Self::Erasure { stream, .. } | Self::Incident { stream, .. } => stream.clone(),
            Self::Other { aggregate_id, .. } | Self::Unreadable { aggregate_id, .. } => {
                aggregate_id.clone()
            }
        }
    }
}

/// What could not be told before all of it was read; each the first of its sort.
fn judge_kept(ledger: Ledger, persons: Persons, foreign: Foreign) -> io::Result<Vec<Violation>> {
    let mut found = ledger.judge_kept()?;
    found.extend(persons.first_double()?);
    found.extend(foreign.first_gap()?);
    Ok(found)
}

fn follows(last: &mut Sequence, sequence: Sequence) -> Check {
    expect("sequence", last.next(), sequence)?;
    *last = sequence;
    Ok(())
}

#[cfg(test)]
mod tests;
