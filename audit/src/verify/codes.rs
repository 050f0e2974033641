//! The access codes of one drop, and their uses.
//!
//! Promise: every code that is used was created in its drop; it is used within its time, and never
//! by more holds and waiting entries at once than it has uses, purchased holds included for ever.
//! Limit: memory grows with the codes, at about 60 bytes each. The digests are keyed, so the log
//! does not show which text a code has.

use domain::event::CodesCreated;
use domain::values::{Access, CodeDigest, Timestamp};
use hashbrown::HashMap;

use super::Check;
use super::account::Account;
use crate::violation::Fault;

/// A code of a drop.
#[derive(Debug, Clone, Copy)]
struct Code {
    uses: u32,
    used: u32,
    opens_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct Codes(HashMap<CodeDigest, Code>);

impl Codes {
    pub(super) fn created(&mut self, event: &CodesCreated) -> Check {
        let count = event.digests.len();
        if !(1..=CodesCreated::MAX_CODES).contains(&count) {
            return Err(format!("{count} access codes in one event").into());
        }
        let last = u64::from(event.first) + count as u64;
        if last > u64::from(event.of) {
            return Err(format!(
                "access codes up to number {last} of a request for {}",
                event.of
            )
            .into());
        }
        if let (Some(opens_at), Some(expires_at)) = (event.opens_at, event.expires_at)
            && expires_at <= opens_at
        {
            return Err(
                format!("access codes expire at {expires_at}, but open at {opens_at}").into(),
            );
        }
        let code = Code {
            uses: event.uses.get(),
            used: 0,
            opens_at: event.opens_at,
            expires_at: event.expires_at,
        };
        for &digest in &event.digests {
            if self.0.insert(digest, code).is_some() {
                return Err(format!("access code {digest} was created twice").into());
            }
        }
        Ok(())
    }

    fn get(&mut self, digest: CodeDigest) -> Result<&mut Code, Fault> {
        self.0
            .get_mut(&digest)
            .ok_or_else(|| format!("access code {digest} was never created in this drop").into())
    }

    /// Takes a use.
    pub(super) fn take(&mut self, digest: CodeDigest) -> Check {
        let code = self.get(digest)?;
        code.used += 1;
        let Code { uses, used, .. } = *code;
        if used > uses {
            return Err(format!(
                "access code {digest} is used {used} times at once, but at most {uses} are allowed"
            )
            .into());
        }
        Ok(())
    }

    /// Gives a use back: its hold ended without a purchase, or its entry left.
    pub(super) fn give_back(&mut self, digest: Option<CodeDigest>) -> Check {
        if let Some(digest) = digest {
            self.get(digest)?.used -= 1;
        }
        Ok(())
    }

    /// Returns the time from which units are available to the bearer of a code.
    pub(super) fn opens_at(&self, digest: Option<CodeDigest>, starts_at: Timestamp) -> Timestamp {
        let code = digest.and_then(|digest| self.0.get(&digest));
        code.and_then(|code| code.opens_at).unwrap_or(starts_at)
    }
}

impl Account {
    /// Checks the code of a request for units at `at`, if the terms require one or it has one.
    pub(super) fn check_code(&mut self, code: Option<CodeDigest>, at: Timestamp) -> Check {
        let Some(digest) = code else {
            return match self.terms()?.access {
                Access::Code => Err("requested without the access code that the terms require"
                    .to_owned()
                    .into()),
                Access::Open => Ok(()),
            };
        };
        let Code { expires_at, .. } = *self.codes.get(digest)?;
        match expires_at {
            Some(expires_at) if at >= expires_at => Err(format!(
                "access code {digest} was used at {at}, after it expired at {expires_at}"
            )
            .into()),
            Some(_) | None => Ok(()),
        }
    }
}
