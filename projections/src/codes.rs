//! The access codes of each drop and their uses, for lists. In memory only: like all views, it is
//! rebuilt from the log. The engine decides with its own count.
//!
//! Promise: the cost of a page is proportional to its rows. A code is known by its digest, so a
//! list shows no code.
//! Limit: about 70 bytes for each code, and 50 for each hold and waitlist entry with a code.

use std::collections::HashMap;

use domain::DropEvent;
use domain::event::{CodesCreated, HoldPlaced};
use domain::values::{CodeDigest, DropId, HoldId, Position, Timestamp, WaitlistId};
use infrastructure::codec::RecordedEvent;

use crate::error::CannotApply;

/// One code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeRow {
    pub digest: CodeDigest,
    /// How many holds can be placed with it in all.
    pub uses: u32,
    /// Holds and waiting entries that use it, purchased holds included.
    pub used: u32,
    /// `None`: the drop's start.
    pub opens_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// The position at which it was created.
    pub position: Position,
}

/// The codes of all drops.
#[derive(Debug, Default)]
pub struct Codes(HashMap<DropId, OfDrop>);

#[derive(Debug, Default)]
struct OfDrop {
    batches: Vec<Batch>,
    /// In the order of their creation.
    codes: Vec<Code>,
    by_digest: HashMap<CodeDigest, usize>,
    of_holds: HashMap<HoldId, usize>,
    of_entries: HashMap<WaitlistId, usize>,
}

/// The common properties of the codes of one event.
#[derive(Debug)]
struct Batch {
    uses: u32,
    opens_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    position: Position,
}

#[derive(Debug)]
struct Code {
    digest: CodeDigest,
    batch: usize,
    used: u32,
}

const UNKNOWN: CannotApply = CannotApply("the access code does not exist");

impl Codes {
    /// Returns at most `limit` codes of a drop, oldest first, starting after `after`. `None` if
    /// `after` is not a code of this drop.
    #[must_use]
    pub fn page(
        &self,
        drop_id: DropId,
        after: Option<CodeDigest>,
        limit: usize,
    ) -> Option<Vec<CodeRow>> {
        let Some(of_drop) = self.0.get(&drop_id) else {
            return after.is_none().then(Vec::new);
        };
        let first = match after {
            Some(digest) => of_drop.by_digest.get(&digest)? + 1,
            None => 0,
        };
        let codes = of_drop.codes.iter().skip(first).take(limit);
        Some(codes.map(|code| of_drop.row(code)).collect())
    }

    /// Removes every code of a drop.
    pub fn remove(&mut self, drop_id: DropId) {
        self.0.remove(&drop_id);
    }

    /// # Errors
    /// [`CannotApply`] if history cannot contain the event; then nothing has changed.
    pub fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), CannotApply> {
        let drop_id = recorded.drop_id;
        match &recorded.event {
            DropEvent::CodesCreated(event) => {
                let of_drop = self.0.entry(drop_id).or_default();
                of_drop.create(event, recorded.position)
            }
            DropEvent::HoldPlaced(event) => match event.code {
                Some(digest) => self.of(drop_id)?.hold(event, digest),
                None => Ok(()),
            },
            DropEvent::WaitlistJoined(event) => match event.code {
                Some(digest) => self.of(drop_id)?.join(event.entry_id, digest),
                None => Ok(()),
            },
            DropEvent::HoldExpired(event) => {
                self.give_back(drop_id, |of_drop| of_drop.of_holds.remove(&event.hold_id));
                Ok(())
            }
            DropEvent::HoldReleased(event) => {
                self.give_back(drop_id, |of_drop| of_drop.of_holds.remove(&event.hold_id));
                Ok(())
            }
            DropEvent::WaitlistLeft(event) => {
                self.give_back(drop_id, |of_drop| {
                    of_drop.of_entries.remove(&event.entry_id)
                });
                Ok(())
            }
            DropEvent::PurchaseConfirmed(event) => {
                // The use stays taken for good.
                if let Some(of_drop) = self.0.get_mut(&drop_id) {
                    of_drop.of_holds.remove(&event.hold_id);
                }
                Ok(())
            }
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_) => Ok(()),
        }
    }

    fn of(&mut self, drop_id: DropId) -> Result<&mut OfDrop, CannotApply> {
        self.0.get_mut(&drop_id).ok_or(UNKNOWN)
    }

    /// Returns the use of a hold or entry that ended without a purchase, if it had one.
    fn give_back(&mut self, drop_id: DropId, take: impl FnOnce(&mut OfDrop) -> Option<usize>) {
        if let Some(of_drop) = self.0.get_mut(&drop_id)
            && let Some(code) = take(of_drop)
        {
            of_drop.codes[code].used -= 1;
        }
    }
}

impl OfDrop {
    fn row(&self, code: &Code) -> CodeRow {
        let batch = &self.batches[code.batch];
        CodeRow {
            digest: code.digest,
            uses: batch.uses,
            used: code.used,
            opens_at: batch.opens_at,
            expires_at: batch.expires_at,
            created_at: batch.created_at,
            position: batch.position,
        }
    }

    fn create(&mut self, event: &CodesCreated, position: Position) -> Result<(), CannotApply> {
        let mut digests = event.digests.iter();
        if digests.any(|digest| self.by_digest.contains_key(digest)) {
            return Err(CannotApply("the access code already exists"));
        }
        let batch = self.batches.len();
        self.batches.push(Batch {
            uses: event.uses.get(),
            opens_at: event.opens_at,
            expires_at: event.expires_at,
            created_at: event.created_at,
            position,
        });
        for &digest in &event.digests {
            self.by_digest.insert(digest, self.codes.len());
            self.codes.push(Code {
                digest,
                batch,
                used: 0,
            });
        }
        Ok(())
    }

    /// A direct hold is a new use; an offer takes over the use of its entry.
    fn hold(&mut self, event: &HoldPlaced, digest: CodeDigest) -> Result<(), CannotApply> {
        let code = *self.by_digest.get(&digest).ok_or(UNKNOWN)?;
        let entry_id = event.waitlist_entry;
        let taken_over = entry_id.and_then(|entry_id| self.of_entries.remove(&entry_id));
        if taken_over.is_none() {
            self.take(code)?;
        }
        self.of_holds.insert(event.hold_id, code);
        Ok(())
    }

    fn join(&mut self, entry_id: WaitlistId, digest: CodeDigest) -> Result<(), CannotApply> {
        let code = *self.by_digest.get(&digest).ok_or(UNKNOWN)?;
        self.take(code)?;
        self.of_entries.insert(entry_id, code);
        Ok(())
    }

    fn take(&mut self, code: usize) -> Result<(), CannotApply> {
        let code = &mut self.codes[code];
        if code.used == self.batches[code.batch].uses {
            return Err(CannotApply("the access code is used too often"));
        }
        code.used += 1;
        Ok(())
    }
}
