//! Attempts to find out a key or an id: those that fail are counted for each address, and once they
//! are too many, no further one is looked at.
//!
//! Promise: an address learns about so many keys and ids within a window and no more, right ones
//! included, whichever routes it asks. Limit: a right key from an address that has used its attempts
//! up is refused as well, until the window lets one in.

use std::time::Duration;

use super::address::Client;
use super::reports::Happened;
use super::settings::{Bound, Rate};
use super::{Limiter, Origin};
use crate::problem::{Code, Problem, Quota};

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    /// A bearer key.
    Key,
    /// To sign in to the dashboard.
    SignIn,
    /// The id of a hold or of a waitlist entry that is not known here.
    Id,
}

/// One attempt. Dropped, it has failed and counts.
#[derive(Debug)]
#[must_use]
pub(crate) struct Attempt {
    limiter: Limiter,
    /// None: nothing is counted.
    charged: Option<(Client, Duration)>,
    failure: Option<Happened>,
}

impl Limiter {
    /// Begins an attempt, which counts unless it succeeds.
    ///
    /// # Errors
    /// 429 when the address has failed too often: the caller must not look at what is tried.
    pub(crate) fn attempt(&self, origin: Origin, tried: Tried) -> Result<Attempt, Problem> {
        let failure = match tried {
            Tried::Key => Some(Happened::WrongKey),
            Tried::SignIn => Some(Happened::FailedSignIn),
            // Where no bound applies a wrong id is no news.
            Tried::Id => matches!(origin, Origin::Limited(_)).then_some(Happened::UnknownId),
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
            self.note(Happened::Refused);
            let quota = Quota {
                name: "address-attempts",
                most,
                window_seconds: Some(window_seconds),
            };
            let detail = "Too many wrong keys or unknown ids from this address lately.";
            quota.refuse(Code::TooManyAttempts, detail, wait)
        })
    }
}

impl Attempt {
    /// It was right: it does not count.
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
