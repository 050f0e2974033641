//! Attempts to guess a key, an id or an access code. Failed attempts are counted per address;
//! beyond the limit, further attempts are refused unchecked.
//!
//! Promise: an address can check at most so many keys and ids within a window, correct ones
//! included, on all routes together. Limit: a correct key from an address that has used up its
//! attempts is refused as well, until the window admits one.

use std::time::Duration;

use super::address::Client;
use super::reports::ReportKind;
use super::settings::{Bound, Rate};
use super::{Limiter, Origin};
use crate::problem::{Code, Problem, Quota};

/// The kind of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptKind {
    Key,
    /// A sign-in to the dashboard.
    SignIn,
    /// The id of a hold or of a waitlist entry that is unknown here.
    Id,
    /// An access code.
    Code,
}

/// One attempt. If it is dropped without success, it counts as failed.
#[derive(Debug)]
#[must_use]
pub(crate) struct Attempt {
    limiter: Limiter,
    /// `None` if attempts of this origin are not counted.
    charged: Option<(Client, Duration)>,
    failure: Option<ReportKind>,
}

impl Limiter {
    /// Begins an attempt, which counts unless it succeeds.
    ///
    /// # Errors
    /// 429 when the address has failed too often: the caller must not check the key or id.
    pub(crate) fn attempt(&self, origin: Origin, kind: AttemptKind) -> Result<Attempt, Problem> {
        let failure = match kind {
            AttemptKind::Key => Some(ReportKind::WrongKey),
            AttemptKind::SignIn => Some(ReportKind::FailedSignIn),
            AttemptKind::Code => Some(ReportKind::WrongCode),
            // An unknown id is reported only for limited origins.
            AttemptKind::Id => {
                matches!(origin, Origin::Limited(_)).then_some(ReportKind::UnknownId)
            }
        };
        let charged = match origin {
            Origin::Unlimited => None,
            Origin::Limited(client) => self.charge(client)?.map(|at| (client, at)),
        };
        Ok(Attempt {
            limiter: self.clone(),
            charged,
            failure,
        })
    }

    fn charge(&self, client: Client) -> Result<Option<Duration>, Problem> {
        let Bound(Some(Rate {
            most,
            window_seconds,
        })) = self.0.bounds.attempts
        else {
            return Ok(None);
        };
        let now = self.now();
        let admitted = self
            .state()
            .attempts
            .as_mut()
            .map(|window| window.admit(client, now));
        admitted.transpose().map_err(|wait| {
            self.note(ReportKind::Refused);
            let quota = Quota {
                name: "address-attempts",
                most,
                window_seconds: Some(window_seconds),
            };
            // The same for right and wrong keys, none of which was checked.
            let detail = "Too many recent requests from this address had wrong keys, unknown ids \
                 or wrong access codes. Until the address has waited, no key, no unknown id and no \
                 access code is checked, not even a right one.";
            quota.refuse(Code::TooManyAttempts, detail, wait)
        })
    }
}

impl Attempt {
    /// Ends the attempt as successful, so that it does not count.
    pub(crate) fn succeeded(mut self) {
        self.failure = None;
        if let Some((client, at)) = self.charged.take()
            && let Some(window) = &mut self.limiter.state().attempts
        {
            window.refund(client, at);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(failure) = self.failure {
            self.limiter.note(failure);
        }
    }
}
