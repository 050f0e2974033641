//! One drop's units and terms, and their rules.

use domain::event::{PurchaseRefunded, StockAdjusted};
use domain::sale::{Sale, SaleFact};
use domain::terms::DropTerms;
use domain::values::{Money, Sequence, StockCount, Timestamp};

use super::Check;
use super::buyer_actions::{Rules, Scope};
use super::closing::Cancelled;
use super::codes::Codes;
use crate::violation::{Fault, differs, expect};

#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) sequence: Sequence,
    /// The present terms; `None`: never scheduled.
    pub(super) terms: Option<DropTerms>,
    /// When it is on sale, and what of that is recorded; `None`: never scheduled.
    pub(super) sale: Option<Sale>,
    /// Since when the sale is interrupted, if it is.
    pub(super) paused_at: Option<Timestamp>,
    /// `None`: not cancelled.
    pub(super) cancelled: Option<Cancelled>,
    /// True if a rule per buyer exists or existed.
    pub(super) has_rules: bool,
    /// Its limit group.
    pub(super) group: Option<Scope>,
    pub(super) total: i64,
    pub(super) available: i64,
    pub(super) held: i64,
    pub(super) sold: i64,
    /// Unresolved holds.
    pub(super) open: u64,
    /// Waiting waitlist entries.
    pub(super) waiting: u64,
    pub(super) codes: Codes,
}

impl Account {
    pub(super) fn terms(&self) -> Result<&DropTerms, Fault> {
        self.terms
            .as_ref()
            .ok_or_else(|| "the drop has no terms".to_owned().into())
    }

    pub(super) fn set_terms(&mut self, terms: &DropTerms) -> Check {
        if !terms.ends_after_start() {
            return Err("the drop ends before it starts".to_owned().into());
        }
        let Money { amount, currency } = terms.price;
        Money::price(amount, currency).map_err(|error| format!("price {error}"))?;
        if let Some(before) = &self.terms
            && before.limit_group != terms.limit_group
        {
            return Err("an edit changed the limit group, which is fixed"
                .to_owned()
                .into());
        }
        self.group = terms.limit_group.as_ref().map(Scope::of_group);
        self.has_rules |= Rules::of(terms).are_any();
        self.terms = Some(terms.clone());
        Ok(())
    }

    /// Records a start or an end, which must be the next one and not before its time.
    pub(super) fn sale_fact(&mut self, fact: SaleFact, recorded_at: Timestamp) -> Check {
        let is_draft = self.terms()?.draft;
        let Some(sale) = self.sale.as_mut().filter(|_| !is_draft) else {
            return Err("a draft has neither a start nor an end".to_owned().into());
        };
        let next = sale.next();
        let what = match fact {
            SaleFact::Started(_) => "started",
            SaleFact::Ended(_) => "ended",
        };
        match (next, fact) {
            (Some(SaleFact::Started(expected)), SaleFact::Started(at)) => {
                expect("started_at", expected, at)?;
                sale.is_started = true;
            }
            (Some(SaleFact::Ended(expected)), SaleFact::Ended(at)) => {
                expect("ended_at", expected, at)?;
                sale.is_ended = true;
            }
            (Some(_) | None, SaleFact::Started(_) | SaleFact::Ended(_)) => {
                return Err(format!("the drop {what}, which is not its next change").into());
            }
        }
        if recorded_at < fact.at() {
            let at = fact.at();
            return Err(format!("the drop {what} at {recorded_at}, before {at}").into());
        }
        Ok(())
    }

    pub(super) fn adjusted(&mut self, event: &StockAdjusted) -> Check {
        self.total += i64::from(event.delta);
        self.available += i64::from(event.delta);
        let claimed = [
            event.stock.total,
            event.stock.available,
            event.stock.held,
            event.stock.sold,
        ]
        .map(i64::from);
        let found = [self.total, self.available, self.held, self.sold];
        if claimed != found {
            let what = "total, available, held, sold after the adjustment";
            return Err(differs(what, format!("{found:?}"), format!("{claimed:?}")));
        }
        if self.total > i64::from(StockCount::MAX) {
            return Err(format!("{} units exceed the largest stock of a drop", self.total).into());
        }
        Ok(())
    }

    /// Takes the units of a refund back. They are compared with the purchase at the end of the log.
    pub(super) fn refunded(&mut self, event: &PurchaseRefunded) -> Check {
        if event.refunded_at < event.purchased_at {
            return Err(format!(
                "refunded at {}, before the purchase at {}",
                event.refunded_at, event.purchased_at
            )
            .into());
        }
        let units = i64::from(event.quantity.get());
        self.sold -= units;
        match event.restocked {
            true => self.available += units,
            false => self.total -= units,
        }
        Ok(())
    }

    /// Checks the cause of a release or a removal: the cause "drop cancelled" appears exactly in
    /// cancelled drops.
    pub(super) fn check_cause(&self, by_cancelling: bool) -> Check {
        let is_cancelled = self.cancelled.is_some();
        if is_cancelled == by_cancelling {
            return Ok(());
        }
        let is = if is_cancelled { "is" } else { "is not" };
        Err(format!("wrong cause: the drop {is} cancelled").into())
    }

    pub(super) fn check_units(&self) -> Check {
        let Self {
            total,
            available,
            held,
            sold,
            ..
        } = self;
        if [total, available, held, sold]
            .iter()
            .any(|units| **units < 0)
        {
            return Err(format!(
                "oversold: available {available}, held {held}, sold {sold}, total {total}"
            )
            .into());
        }
        if available + held + sold != *total {
            return Err(format!(
                "units are not conserved: available {available} + held {held} + sold {sold} is not total {total}"
            )
            .into());
        }
        Ok(())
    }
}

pub(super) fn on_sale(terms: &DropTerms, at: Timestamp) -> Check {
    on_sale_from(terms.starts_at, terms, at)
}

/// The same for a buyer whose access code opens the sale at `starts_at`.
pub(super) fn on_sale_from(starts_at: Timestamp, terms: &DropTerms, at: Timestamp) -> Check {
    let ends_at = &terms.ends_at;
    if at < starts_at {
        return Err(format!("requested at {at}, before the sale started at {starts_at}").into());
    }
    match ends_at {
        Some(ends_at) if at >= *ends_at => {
            Err(format!("requested at {at}, after the sale ended at {ends_at}").into())
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn within_one_hold(terms: &DropTerms, quantity: u32) -> Check {
    let most = terms.max_per_hold.get();
    if quantity <= most {
        return Ok(());
    }
    Err(format!("{quantity} units in one hold, but at most {most} are allowed").into())
}
