//! Decisions about challenges: the work that precedes a request for units.
//!
//! Promise: a drop with a challenge sets no units aside, and adds no waitlist entry, without a
//! solution of at least its difficulty. The solution is required last: a request that is refused
//! for another reason never costs its caller any work.
//! Limit: the domain trusts the caller of the command that the solution is valid and belongs to
//! this request. A change of a hold needs none, nor does the offer to a waitlist entry.
//!
//! Source: docs/decisions/0079-a-challenge-is-worth-one-request.md.

use crate::command::Pass;
use crate::drop::DropAggregate;
use crate::refusal::Refusal;

impl DropAggregate {
    /// Refuses a request for units without the solution that the terms require.
    pub(crate) fn refuse_without_solution(&self, pass: Pass) -> Result<(), Refusal> {
        let Some(challenge) = self.existing_terms()?.challenge else {
            return Ok(());
        };
        let difficulty = challenge.difficulty;
        match pass.solved.is_some_and(|solved| solved >= difficulty) {
            true => Ok(()),
            false => Err(Refusal::ChallengeRequired { difficulty }),
        }
    }
}
