//! The holds, purchases and waitlist entries of one drop.
//!
//! Promise: a hold is placed and changed within the terms of its drop, and resolved at most once,
//! in time; an entry of the waitlist is settled at most once.

use domain::event::{
    HoldChanged, HoldExpired, HoldExtended, HoldPlaced, HoldReleased, LeaveCause,
    PurchaseConfirmed, ReleaseCause, WaitlistJoined, WaitlistLeft,
};
use domain::values::{
    Access, CodeDigest, DropId, HoldId, MaxHoldSeconds, Money, OfferSeconds, Pseudonym, WaitlistId,
};
use infrastructure::codec::RecordedEvent;

use super::super::Check;
use super::super::account::{on_sale, on_sale_from, within_one_hold};
use super::{Ledger, OpenEntry, OpenHold, in_time, written};
use crate::violation::{Fault, expect};

impl Ledger {
    pub(super) fn placed(
        &mut self,
        recorded: &RecordedEvent,
        event: &HoldPlaced,
        is_old: bool,
    ) -> Check {
        let drop_id = recorded.drop_id;
        let quantity = event.quantity.get();
        let is_late = event.order_id.is_some_and(|id| self.orders.is_paid(id));
        if self.holds.contains_key(&event.hold_id) {
            return Err(format!("hold {} was placed twice", event.hold_id).into());
        }
        if let Some(entry_id) = event.waitlist_entry {
            let entry = self.settle(entry_id, drop_id, event.buyer, quantity)?;
            expect("hold of the entry", entry.hold_id, event.hold_id)?;
            let written =
                |code: Option<CodeDigest>| code.map_or_else(none, |code| code.to_string());
            expect(
                "access code of the entry",
                written(entry.code),
                written(event.code),
            )?;
        }
        let account = self.open_account(drop_id)?;
        account.available -= i64::from(quantity);
        account.held += i64::from(quantity);
        account.open += 1;
        // Overselling is the more important report, so it is checked first.
        account.check_units()?;
        account.check_selling("a hold was placed")?;
        let (code, at) = (event.code, event.placed_at);
        let starts_at = account.codes.opens_at(code, account.terms()?.starts_at);
        if event.waitlist_entry.is_some() {
            // An entry has used its code when it joined.
            on_sale(account.terms()?, at)?;
        } else {
            // The sale, and the time of the code, may have ended before late money arrives.
            if !is_late {
                account.check_code(code, at)?;
                on_sale_from(starts_at, account.terms()?, at)?;
            }
            if let Some(code) = code {
                account.codes.take(code)?;
            }
        }
        let terms = account.terms()?;
        within_one_hold(terms, quantity)?;
        // The deadline of an order's hold is that of the order, unless it is sold late.
        if !is_old && (is_late || event.order_id.is_none()) {
            let offered = event.waitlist_entry.and(terms.offer_seconds);
            let lasts = offered.map_or(terms.hold_seconds.get(), OfferSeconds::get);
            let over_at = event.placed_at.plus_seconds(lasts);
            expect("expires_at", over_at, event.expires_at)?;
        }
        let hold = OpenHold {
            drop_id,
            buyer: event.buyer,
            quantity,
            placed_at: event.placed_at,
            expires_at: event.expires_at,
            recorded_at: recorded.recorded_at,
            price: terms.price,
            placed: recorded.position,
            order_id: event.order_id,
            is_late,
            code,
        };
        self.holds.insert(event.hold_id, hold);
        Ok(())
    }

    pub(super) fn extended(&mut self, recorded: &RecordedEvent, event: &HoldExtended) -> Check {
        let drop_id = recorded.drop_id;
        let account = self.open_account(drop_id)?;
        let terms = account.terms()?;
        let limit = terms.max_hold_seconds.map_or(0, MaxHoldSeconds::get);
        let limit = limit.max(terms.hold_seconds.get());
        let hold = self.open_hold(event.hold_id, drop_id, event.buyer)?;
        in_time(
            hold,
            event.hold_id,
            "extended",
            event.extended_at,
            recorded.recorded_at,
        )?;
        expect(
            "previous_expires_at",
            hold.expires_at,
            event.previous_expires_at,
        )?;
        if event.expires_at <= hold.expires_at {
            return Err(format!(
                "hold {} was extended to {}, which is not later than its deadline {}",
                event.hold_id, event.expires_at, hold.expires_at
            )
            .into());
        }
        let latest = hold.placed_at.plus_seconds(limit);
        if event.expires_at > latest {
            return Err(format!(
                "hold {} was extended to {}, but holds of this drop last {limit} seconds at most, until {latest}",
                event.hold_id, event.expires_at
            )
            .into());
        }
        hold.expires_at = event.expires_at;
        Ok(())
    }

    pub(super) fn changed(&mut self, recorded: &RecordedEvent, event: &HoldChanged) -> Check {
        let (drop_id, at) = (recorded.drop_id, event.changed_at);
        let quantity = event.quantity.get();
        let hold = self.open_hold(event.hold_id, drop_id, event.buyer)?;
        in_time(hold, event.hold_id, "changed", at, recorded.recorded_at)?;
        let before = event.previous_quantity.get();
        expect("previous_quantity", hold.quantity, before)?;
        if quantity == before {
            return Err(format!("hold {} was changed to the same quantity", event.hold_id).into());
        }
        hold.quantity = quantity;
        let code = hold.code;
        let account = self.open_account(drop_id)?;
        account.held += event.units_added();
        account.available -= event.units_added();
        account.check_units()?;
        if quantity < before {
            return Ok(());
        }
        account.check_selling("units were added to a hold")?;
        let terms = account.terms()?;
        if terms.access == Access::Code && code.is_none() {
            return Err(
                "units were added to a hold without the access code that the terms require"
                    .to_owned()
                    .into(),
            );
        }
        on_sale_from(account.codes.opens_at(code, terms.starts_at), terms, at)?;
        within_one_hold(terms, quantity)
    }

    pub(super) fn expired(&mut self, recorded: &RecordedEvent, event: &HoldExpired) -> Check {
        let hold = self.resolve(
            event.hold_id,
            recorded.drop_id,
            event.buyer,
            event.quantity.get(),
        )?;
        expect("expired_at", hold.expires_at, event.expired_at)?;
        if recorded.recorded_at < hold.expires_at {
            return Err(format!(
                "hold {} expired at {}, before its deadline {}",
                event.hold_id, recorded.recorded_at, hold.expires_at
            )
            .into());
        }
        if let Some(cancelled) = &mut self.account(recorded.drop_id)?.cancelled {
            cancelled.expired(event.expired_at, hold.placed)?;
        }
        self.clocks
            .expired(recorded.position, recorded.recorded_at, hold.expires_at);
        self.return_units(&hold)
    }

    pub(super) fn released(&mut self, recorded: &RecordedEvent, event: &HoldReleased) -> Check {
        let hold = self.resolve(
            event.hold_id,
            recorded.drop_id,
            event.buyer,
            event.quantity.get(),
        )?;
        let by_cancelling = event.cause == ReleaseCause::DropCancelled;
        // A cancellation ends a hold when it is recorded; the release itself may be recorded at any
        // later time.
        let recorded_at = match by_cancelling {
            true => event.released_at,
            false => recorded.recorded_at,
        };
        in_time(
            &hold,
            event.hold_id,
            "released",
            event.released_at,
            recorded_at,
        )?;
        let account = self.account(recorded.drop_id)?;
        account.check_cause(by_cancelling)?;
        if let Some(cancelled) = &mut account.cancelled {
            cancelled.released(event.released_at, hold.placed)?;
        }
        self.return_units(&hold)
    }

    pub(super) fn purchased(
        &mut self,
        recorded: &RecordedEvent,
        event: &PurchaseConfirmed,
    ) -> Check {
        let hold = self.resolve(
            event.hold_id,
            recorded.drop_id,
            event.buyer,
            event.quantity.get(),
        )?;
        in_time(
            &hold,
            event.hold_id,
            "purchased",
            event.purchased_at,
            recorded.recorded_at,
        )?;
        self.times.late_purchases += u64::from(recorded.recorded_at >= hold.expires_at);
        // A late sale places and purchases its holds in one batch.
        if !hold.is_late {
            self.clocks
                .purchased(recorded.position, recorded.recorded_at, hold.recorded_at);
        }
        let amount = hold.price.amount.checked_mul(i64::from(hold.quantity));
        let total = Money {
            amount: amount.ok_or_else(|| Fault::from("the total is too large".to_owned()))?,
            currency: hold.price.currency,
        };
        expect("total", written(total), written(event.total))?;
        let account = self.open_account(recorded.drop_id)?;
        account.held -= i64::from(hold.quantity);
        account.sold += i64::from(hold.quantity);
        Ok(())
    }

    pub(super) fn joined(&mut self, recorded: &RecordedEvent, event: &WaitlistJoined) -> Check {
        let drop_id = recorded.drop_id;
        let account = self.open_account(drop_id)?;
        account.check_published("a buyer joined the waitlist")?;
        let starts_at = account.terms()?.starts_at;
        let opens_at = account.codes.opens_at(event.code, starts_at).max(starts_at);
        account.check_code(event.code, event.joined_at)?;
        on_sale_from(opens_at, account.terms()?, event.joined_at)?;
        if let Some(code) = event.code {
            account.codes.take(code)?;
        }
        let terms = account.terms()?;
        within_one_hold(terms, event.quantity.get())?;
        account.waiting += 1;
        let entry = OpenEntry {
            joined: recorded.position,
            drop_id,
            hold_id: event.hold_id,
            buyer: event.buyer,
            quantity: event.quantity.get(),
            code: event.code,
        };
        if self.entries.insert(event.entry_id, entry).is_some() {
            return Err(format!("waitlist entry {} was joined twice", event.entry_id).into());
        }
        if !self.waiting.insert((drop_id, event.buyer)) {
            return Err(format!("buyer {} has two waiting entries", event.buyer).into());
        }
        Ok(())
    }

    pub(super) fn left(&mut self, drop_id: DropId, event: &WaitlistLeft) -> Check {
        let entry = self.settle(event.entry_id, drop_id, event.buyer, event.quantity.get())?;
        let by_cancelling = event.cause == LeaveCause::DropCancelled;
        let account = self.account(drop_id)?;
        account.check_cause(by_cancelling)?;
        account.codes.give_back(entry.code)?;
        match &mut account.cancelled {
            Some(cancelled) => cancelled.removed(event.left_at, entry.joined),
            None => Ok(()),
        }
    }

    /// Removes and returns a waiting entry.
    fn settle(
        &mut self,
        entry_id: WaitlistId,
        drop_id: DropId,
        buyer: Pseudonym,
        quantity: u32,
    ) -> Result<OpenEntry, Fault> {
        let entry = self.entries.remove(&entry_id).ok_or_else(|| {
            format!("waitlist entry {entry_id} is settled, but it is not waiting: it never joined, or was settled before")
        })?;
        expect("drop of the entry", entry.drop_id, drop_id)?;
        expect("buyer of the entry", entry.buyer, buyer)?;
        expect("quantity of the entry", entry.quantity, quantity)?;
        self.waiting.remove(&(drop_id, buyer));
        self.account(drop_id)?.waiting -= 1;
        Ok(entry)
    }

    /// Removes and returns an open hold.
    fn resolve(
        &mut self,
        hold_id: HoldId,
        drop_id: DropId,
        buyer: Pseudonym,
        quantity: u32,
    ) -> Result<OpenHold, Fault> {
        let hold = self.holds.remove(&hold_id).ok_or_else(|| {
            format!("hold {hold_id} is resolved, but it is not open: it was never placed, or resolved before")
        })?;
        expect("drop of the hold", hold.drop_id, drop_id)?;
        expect("buyer of the hold", hold.buyer, buyer)?;
        expect("quantity of the hold", hold.quantity, quantity)?;
        self.account(drop_id)?.open -= 1;
        Ok(hold)
    }

    /// Returns an open hold, which is about to change.
    fn open_hold(
        &mut self,
        hold_id: HoldId,
        drop_id: DropId,
        buyer: Pseudonym,
    ) -> Result<&mut OpenHold, Fault> {
        let hold = self.holds.get_mut(&hold_id).ok_or_else(|| {
            format!("hold {hold_id} is changed, but it is not open: it was never placed, or resolved before")
        })?;
        expect("drop of the hold", hold.drop_id, drop_id)?;
        expect("buyer of the hold", hold.buyer, buyer)?;
        Ok(hold)
    }

    fn return_units(&mut self, hold: &OpenHold) -> Check {
        let account = self.account(hold.drop_id)?;
        account.held -= i64::from(hold.quantity);
        account.available += i64::from(hold.quantity);
        account.codes.give_back(hold.code)
    }
}

fn none() -> String {
    "none".to_owned()
}
