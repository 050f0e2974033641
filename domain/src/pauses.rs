//! Decisions about drafts and pauses.
//!
//! Promise: a draft exists for the shop only, and nothing of it is held. A paused drop keeps its
//! holds, which can be purchased and expire as usual, and its waitlist, in order, without offers.
//! No unit is held in addition: not by a hold, an order, an offer, a larger hold or late money.
//! Limit: a pause moves no time. The drop starts and ends, and holds expire, by its terms.
//!
//! Source: docs/decisions/0082-drops-are-drafted-and-paused.md.

use crate::command::{PauseDrop, PublishDrop, ResumeDrop};
use crate::decide::Decision;
use crate::drop::DropAggregate;
use crate::event::{DropEvent, DropPaused, DropPublished, DropResumed};
use crate::refusal::Refusal;
use crate::terms::DropTerms;
use crate::values::StockCount;

impl DropAggregate {
    /// Decides the publication of a draft: no event if the drop is published.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn publish(&self, command: &PublishDrop) -> Result<Decision<()>, Refusal> {
        let terms = self.existing_terms()?;
        self.refuse_if_cancelled()?;
        if !terms.draft {
            return Ok(Decision::new((), vec![]));
        }
        let starts_at = command.starts_at.unwrap_or(terms.starts_at);
        let published = DropTerms {
            starts_at: starts_at.max(command.at),
            draft: false,
            ..terms.clone()
        };
        self.refuse_if_over(command.at)?;
        if !published.ends_after_start() {
            let starts_at = published.starts_at;
            return Err(Refusal::EndsBeforeStart { starts_at });
        }
        // At most `StockCount::MAX`, as every adjustment is.
        let total = i64::from(self.stock().total);
        let total_stock = StockCount::new(total).map_err(|_| Refusal::TooMuchStock {
            max: StockCount::MAX,
        })?;
        Ok(Decision::one(
            (),
            DropEvent::DropPublished(DropPublished {
                terms: published,
                total_stock,
                published_at: command.at,
            }),
        ))
    }

    /// Decides a pause: no event if the drop is paused. A drop may be paused before its start,
    /// because some buyers may hold units by then.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn pause(&self, command: &PauseDrop) -> Result<Decision<()>, Refusal> {
        self.refuse_if_over(command.at)?;
        self.refuse_if_draft()?;
        if self.paused_at().is_some() {
            return Ok(Decision::new((), vec![]));
        }
        let paused_at = command.at;
        Ok(Decision::one(
            (),
            DropEvent::DropPaused(DropPaused { paused_at }),
        ))
    }

    /// Decides the end of a pause: no event if the drop is not paused.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn resume(&self, command: &ResumeDrop) -> Result<Decision<()>, Refusal> {
        self.existing_terms()?;
        self.refuse_if_cancelled()?;
        self.refuse_if_draft()?;
        if self.paused_at().is_none() {
            return Ok(Decision::new((), vec![]));
        }
        let resumed_at = command.at;
        Ok(Decision::one(
            (),
            DropEvent::DropResumed(DropResumed { resumed_at }),
        ))
    }

    pub(crate) fn refuse_if_draft(&self) -> Result<(), Refusal> {
        match self.existing_terms()?.draft {
            true => Err(Refusal::Draft),
            false => Ok(()),
        }
    }

    pub(crate) fn refuse_if_paused(&self) -> Result<(), Refusal> {
        match self.paused_at() {
            Some(paused_at) => Err(Refusal::Paused { paused_at }),
            None => Ok(()),
        }
    }
}
