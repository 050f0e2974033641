//! Drafts and pauses: no unit is held in either.
//!
//! Promise: a draft is published once, and has no holds and no waitlist before. Pauses do not
//! overlap. In a pause no unit is held in addition, by any event.

use domain::event::{DropPaused, DropPublished};
use domain::sale::Sale;

use super::Check;
use super::account::Account;
use crate::violation::expect;

impl Account {
    pub(super) fn published(&mut self, event: &DropPublished) -> Check {
        if !self.terms()?.draft {
            return Err("the drop was published, but it is no draft"
                .to_owned()
                .into());
        }
        expect("draft", false, event.terms.draft)?;
        expect("total_stock", self.total, event.total_stock.get().into())?;
        self.set_terms(&event.terms)?;
        self.sale = Some(Sale::scheduled(&event.terms, event.published_at));
        Ok(())
    }

    pub(super) fn paused(&mut self, event: DropPaused) -> Check {
        self.check_published("paused")?;
        if let Some(paused_at) = self.paused_at {
            return Err(format!("the drop was paused twice, first at {paused_at}").into());
        }
        self.paused_at = Some(event.paused_at);
        Ok(())
    }

    pub(super) fn resumed(&mut self) -> Check {
        match self.paused_at.take() {
            Some(_) => Ok(()),
            None => Err("the drop was resumed, but it was not paused"
                .to_owned()
                .into()),
        }
    }

    /// Checks that the drop is no draft.
    pub(super) fn check_published(&self, what: &str) -> Check {
        match self.terms()?.draft {
            true => Err(format!("{what}, but the drop is a draft").into()),
            false => Ok(()),
        }
    }

    /// Checks that units can be held.
    pub(super) fn check_selling(&self, what: &str) -> Check {
        self.check_published(what)?;
        match self.paused_at {
            Some(at) => Err(format!("{what}, but the drop has been paused since {at}").into()),
            None => Ok(()),
        }
    }
}
