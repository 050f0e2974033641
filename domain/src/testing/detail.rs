//! [`Detail`]: one changed detail of a default event or command.

use super::{HOLD_SECONDS, buyer, code, key};
use crate::command::DropCommand;
use crate::event::DropEvent;
use crate::values::Timestamp;

/// Changes one detail of a default event or command.
pub trait Detail: Sized {
    /// Sets the idempotency key.
    ///
    /// # Panics
    /// If it has no key.
    #[must_use]
    #[track_caller]
    fn keyed(self, name: &str) -> Self;

    /// Sets the buyer.
    ///
    /// # Panics
    /// If it has no buyer.
    #[must_use]
    #[track_caller]
    fn by(self, name: &str) -> Self;

    /// Sets the access code.
    ///
    /// # Panics
    /// If it has no code.
    #[must_use]
    #[track_caller]
    fn coded(self, name: &str) -> Self;

    /// Sets the time. A hold placed then expires [`HOLD_SECONDS`] later.
    #[must_use]
    fn at(self, at: Timestamp) -> Self;
}

impl Detail for DropEvent {
    fn keyed(mut self, name: &str) -> Self {
        let slot = match &mut self {
            Self::DropScheduled(event) | Self::DropDrafted(event) => &mut event.key,
            Self::HoldPlaced(event) => &mut event.key,
            Self::PurchaseRefunded(event) => &mut event.key,
            Self::StockAdjusted(event) => &mut event.key,
            Self::WaitlistJoined(event) => &mut event.key,
            Self::CodesCreated(event) => &mut event.key,
            Self::DropRescheduled(_)
            | Self::DropCancelled(_)
            | Self::DropStarted(_)
            | Self::DropEnded(_)
            | Self::DropPublished(_)
            | Self::DropPaused(_)
            | Self::DropResumed(_)
            | Self::HoldExtended(_)
            | Self::HoldChanged(_)
            | Self::HoldExpired(_)
            | Self::HoldReleased(_)
            | Self::PurchaseConfirmed(_)
            | Self::WaitlistLeft(_) => panic!("{} has no key", self.event_type()),
        };
        *slot = Some(key(name));
        self
    }

    fn by(mut self, name: &str) -> Self {
        let slot = match &mut self {
            Self::HoldPlaced(event) => &mut event.buyer,
            Self::HoldExtended(event) => &mut event.buyer,
            Self::HoldChanged(event) => &mut event.buyer,
            Self::HoldExpired(event) => &mut event.buyer,
            Self::HoldReleased(event) => &mut event.buyer,
            Self::PurchaseConfirmed(event) => &mut event.buyer,
            Self::PurchaseRefunded(event) => &mut event.buyer,
            Self::WaitlistJoined(event) => &mut event.buyer,
            Self::WaitlistLeft(event) => &mut event.buyer,
            Self::DropScheduled(_)
            | Self::DropDrafted(_)
            | Self::DropRescheduled(_)
            | Self::DropCancelled(_)
            | Self::DropStarted(_)
            | Self::DropEnded(_)
            | Self::DropPublished(_)
            | Self::DropPaused(_)
            | Self::DropResumed(_)
            | Self::StockAdjusted(_)
            | Self::CodesCreated(_) => panic!("{} has no buyer", self.event_type()),
        };
        *slot = buyer(name);
        self
    }

    fn coded(mut self, name: &str) -> Self {
        if let Self::HoldPlaced(event) = &mut self {
            event.code = Some(code(name));
        } else if let Self::WaitlistJoined(event) = &mut self {
            event.code = Some(code(name));
        } else {
            panic!("{} has no access code", self.event_type());
        }
        self
    }

    fn at(mut self, at: Timestamp) -> Self {
        let slot = match &mut self {
            Self::DropScheduled(event) | Self::DropDrafted(event) => &mut event.scheduled_at,
            Self::DropRescheduled(event) => &mut event.rescheduled_at,
            Self::DropCancelled(event) => &mut event.cancelled_at,
            Self::DropPublished(event) => &mut event.published_at,
            Self::DropPaused(event) => &mut event.paused_at,
            Self::DropResumed(event) => &mut event.resumed_at,
            Self::DropStarted(event) => &mut event.started_at,
            Self::DropEnded(event) => &mut event.ended_at,
            Self::HoldPlaced(event) => {
                event.expires_at = at.plus_seconds(HOLD_SECONDS);
                &mut event.placed_at
            }
            Self::HoldExtended(event) => &mut event.extended_at,
            Self::HoldChanged(event) => &mut event.changed_at,
            Self::HoldExpired(event) => &mut event.expired_at,
            Self::HoldReleased(event) => &mut event.released_at,
            Self::PurchaseConfirmed(event) => &mut event.purchased_at,
            Self::PurchaseRefunded(event) => &mut event.refunded_at,
            Self::StockAdjusted(event) => &mut event.adjusted_at,
            Self::WaitlistJoined(event) => &mut event.joined_at,
            Self::WaitlistLeft(event) => &mut event.left_at,
            Self::CodesCreated(event) => &mut event.created_at,
        };
        *slot = at;
        self
    }
}

impl Detail for DropCommand {
    fn keyed(mut self, name: &str) -> Self {
        let slot = match &mut self {
            Self::ScheduleDrop(command) => &mut command.key,
            Self::AdjustStock(command) => &mut command.key,
            Self::RefundPurchase(command) => &mut command.key,
            Self::PlaceHold(command) => &mut command.key,
            Self::JoinWaitlist(command) => &mut command.key,
            Self::CreateCodes(command) => &mut command.key,
            Self::RescheduleDrop(_)
            | Self::CancelDrop(_)
            | Self::PublishDrop(_)
            | Self::PauseDrop(_)
            | Self::ResumeDrop(_)
            | Self::SetStock(_)
            | Self::ExtendHold(_)
            | Self::ChangeHold(_)
            | Self::ReleaseHold(_)
            | Self::ConfirmPurchase(_)
            | Self::ExpireHold(_)
            | Self::LeaveWaitlist(_)
            | Self::ServeWaitlist(_)
            | Self::SettleCancelled => panic!("{self:?} has no key"),
        };
        *slot = Some(key(name));
        self
    }

    fn by(mut self, name: &str) -> Self {
        match &mut self {
            Self::PlaceHold(command) => command.buyer = buyer(name),
            Self::JoinWaitlist(command) => command.buyer = buyer(name),
            Self::ScheduleDrop(_)
            | Self::RescheduleDrop(_)
            | Self::CancelDrop(_)
            | Self::PublishDrop(_)
            | Self::PauseDrop(_)
            | Self::ResumeDrop(_)
            | Self::AdjustStock(_)
            | Self::SetStock(_)
            | Self::ExtendHold(_)
            | Self::ChangeHold(_)
            | Self::ReleaseHold(_)
            | Self::ConfirmPurchase(_)
            | Self::RefundPurchase(_)
            | Self::ExpireHold(_)
            | Self::LeaveWaitlist(_)
            | Self::ServeWaitlist(_)
            | Self::CreateCodes(_)
            | Self::SettleCancelled => panic!("{self:?} has no buyer"),
        }
        self
    }

    fn coded(mut self, name: &str) -> Self {
        if let Self::PlaceHold(command) = &mut self {
            command.pass.code = Some(code(name));
        } else if let Self::JoinWaitlist(command) = &mut self {
            command.pass.code = Some(code(name));
        } else {
            panic!("{self:?} has no access code");
        }
        self
    }

    fn at(mut self, at: Timestamp) -> Self {
        let slot = match &mut self {
            Self::ScheduleDrop(command) => &mut command.at,
            Self::RescheduleDrop(command) => &mut command.at,
            Self::CancelDrop(command) => &mut command.at,
            Self::PublishDrop(command) => &mut command.at,
            Self::PauseDrop(command) => &mut command.at,
            Self::ResumeDrop(command) => &mut command.at,
            Self::AdjustStock(command) => &mut command.at,
            Self::SetStock(command) => &mut command.at,
            Self::PlaceHold(command) => &mut command.at,
            Self::ExtendHold(command) => &mut command.at,
            Self::ChangeHold(command) => &mut command.at,
            Self::ReleaseHold(command) => &mut command.at,
            Self::ConfirmPurchase(command) => &mut command.at,
            Self::RefundPurchase(command) => &mut command.at,
            Self::ExpireHold(command) => &mut command.at,
            Self::JoinWaitlist(command) => &mut command.at,
            Self::LeaveWaitlist(command) => &mut command.at,
            Self::ServeWaitlist(command) => &mut command.at,
            Self::CreateCodes(command) => &mut command.at,
            // Its time is that of the cancellation.
            Self::SettleCancelled => return self,
        };
        *slot = at;
        self
    }
}
