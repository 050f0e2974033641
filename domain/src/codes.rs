//! Decisions about access: the buyers that may request units of a drop, and the times.
//!
//! Promise: under `access: code`, no unit is held and no entry waits without a code of the drop
//! that is within its time and has a use left. A code that is presented is checked and used even
//! where none is required, and one that opens before the drop's start admits its bearer from then
//! on. A hidden drop exists for administrators only.
//! Limit: access is decided once, when the units are requested. Later edits of the terms, and the
//! end of a code's time, leave holds, orders and waitlist entries as they are.
//!
//! Source: docs/decisions/0068-codes-are-derived-from-the-idempotency-key.md.

use crate::command::{CreateCodes, Pass};
use crate::decide::Decision;
use crate::drop::{DropAggregate, Hold};
use crate::event::{CodesCreated, DropEvent};
use crate::refusal::Refusal;
use crate::values::{Access, Timestamp};

/// The most access codes of one drop.
pub const MAX_CODES: u32 = 100_000;

impl DropAggregate {
    /// Decides the creation of access codes: no event if the key repeats an earlier request.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn create_codes(&self, command: &CreateCodes) -> Result<Decision<()>, Refusal> {
        self.existing_terms()?;
        if let Some(key) = command.key.filter(|&key| self.knows_key(key)) {
            let same = self.codes_by_key(key).is_some_and(|(made, digests)| {
                made.first == command.first
                    && made.of == command.of
                    && made.uses == command.uses
                    && made.opens_at == command.opens_at
                    && made.expires_at == command.expires_at
                    && digests.eq(command.digests.iter().copied())
            });
            return same
                .then(|| Decision::new((), vec![]))
                .ok_or(Refusal::IdempotencyKeyReused);
        }
        self.refuse_if_cancelled()?;
        if let (Some(opens_at), Some(expires_at)) = (command.opens_at, command.expires_at)
            && expires_at <= opens_at
        {
            return Err(Refusal::CodesExpireBeforeOpening { opens_at });
        }
        // Those of later parts as well: a request for many codes is refused before its first part.
        let to_come = (command.of - command.first) as usize;
        if self.codes().len() + to_come > MAX_CODES as usize {
            return Err(Refusal::TooManyCodes { max: MAX_CODES });
        }
        // Digests differ unless the same codes were created with another key, by another program.
        if command
            .digests
            .iter()
            .any(|digest| self.codes().find(*digest).is_some())
        {
            return Err(Refusal::IdempotencyKeyReused);
        }
        Ok(Decision::one(
            (),
            DropEvent::CodesCreated(CodesCreated {
                key: command.key,
                first: command.first,
                of: command.of,
                digests: command.digests.clone(),
                uses: command.uses,
                opens_at: command.opens_at,
                expires_at: command.expires_at,
                created_at: command.at,
            }),
        ))
    }

    /// Refuses every request of a caller for whom the drop does not exist.
    pub(crate) fn refuse_if_hidden(&self, pass: Pass) -> Result<(), Refusal> {
        let is_hidden = !self.existing_terms()?.are_found();
        match is_hidden && !pass.sees_hidden {
            true => Err(Refusal::DropNotFound),
            false => Ok(()),
        }
    }

    /// Refuses a request for units that comes too early or too late for its bearer, or without the
    /// code that is required.
    pub(crate) fn refuse_without_access(&self, pass: Pass, at: Timestamp) -> Result<(), Refusal> {
        self.refuse_if_hidden(pass)?;
        let terms = self.existing_terms()?;
        self.refuse_if_over(at)?;
        self.refuse_if_draft()?;
        let Some(digest) = pass.code else {
            return match terms.access {
                Access::Code => Err(Refusal::CodeRequired),
                Access::Open => self.refuse_before(terms.starts_at, at),
            };
        };
        let code = self.codes().find(digest).ok_or(Refusal::CodeInvalid)?;
        if let Some(expired_at) = code.expires_at.filter(|&expires_at| at >= expires_at) {
            return Err(Refusal::CodeExpired { expired_at });
        }
        self.refuse_before(code.opens_at.unwrap_or(terms.starts_at), at)?;
        match code.left {
            0 => Err(Refusal::CodeSpent { uses: code.uses }),
            _ => Ok(()),
        }
    }

    /// Refuses more units for a hold, by the code that it was placed with.
    pub(crate) fn refuse_growth_without_access(
        &self,
        hold: &Hold,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        self.refuse_if_over(at)?;
        let terms = self.existing_terms()?;
        if terms.access == Access::Code && self.code_of(hold.id).is_none() {
            return Err(Refusal::CodeRequired);
        }
        self.refuse_before(self.opened_for(hold, terms.starts_at), at)?;
        self.refuse_if_paused()
    }

    pub(crate) fn refuse_before(&self, starts_at: Timestamp, at: Timestamp) -> Result<(), Refusal> {
        match at < starts_at {
            true => Err(Refusal::NotLive { starts_at }),
            false => Ok(()),
        }
    }
}
