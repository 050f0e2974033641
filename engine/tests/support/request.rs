//! Requests and answers as data. The engine has a method and an outcome for each kind of request;
//! a list of requests, a retry and a check after the fact need one type for all of them.

use domain::command::Pass;
use domain::decide::Subject;
use domain::terms::TermsPatch;
use domain::values::{
    BuyerId, DisplayName, DropId, HoldId, KeyDigest, MaxHoldSeconds, PaymentReference, PurchaseId,
    Quantity, Reason, StockCount, WaitlistId,
};
use engine::{
    Accepted, AdjustStock, CancelDrop, ChangeHold, ChangeSale, CommandError, ConfirmPurchase,
    EngineHandle, ExtendHold, JoinWaitlist, LeaveWaitlist, NewTerms, PlaceHold, RefundPurchase,
    ReleaseHold, RescheduleDrop, SaleChange, ScheduleDrop, SetStock,
};

/// An accepted request of any kind.
pub type Answer = Accepted<Subject>;

/// A request of any kind. The fields are those of the engine's type of the same name.
#[derive(Debug, Clone)]
pub enum Request {
    ScheduleDrop {
        key: Option<KeyDigest>,
        terms: Box<NewTerms>,
        total_stock: StockCount,
    },
    RescheduleDrop {
        drop_id: DropId,
        expected_version: Option<u32>,
        patch: Box<TermsPatch>,
    },
    ChangeSale {
        drop_id: DropId,
        change: SaleChange,
    },
    CancelDrop {
        drop_id: DropId,
    },
    AdjustStock {
        drop_id: DropId,
        key: Option<KeyDigest>,
        expected_stock_version: Option<u32>,
        delta: i32,
        reason: Reason,
    },
    SetStock {
        drop_id: DropId,
        expected_stock_version: Option<u32>,
        total: StockCount,
        reason: Reason,
    },
    PlaceHold {
        drop_id: DropId,
        key: Option<KeyDigest>,
        other_key: Option<KeyDigest>,
        buyer_id: BuyerId,
        display_name: Option<DisplayName>,
        quantity: Quantity,
        pass: Pass,
    },
    ExtendHold {
        hold_id: HoldId,
        seconds: MaxHoldSeconds,
    },
    ChangeHold {
        hold_id: HoldId,
        quantity: Quantity,
    },
    ReleaseHold {
        hold_id: HoldId,
    },
    ConfirmPurchase {
        hold_id: HoldId,
        payment_reference: Option<PaymentReference>,
    },
    RefundPurchase {
        /// The drop of the purchase.
        drop_id: DropId,
        purchase_id: PurchaseId,
        hold_id: HoldId,
        key: Option<KeyDigest>,
        quantity: Option<Quantity>,
        restock: bool,
        reason: Reason,
    },
    JoinWaitlist {
        drop_id: DropId,
        key: Option<KeyDigest>,
        other_key: Option<KeyDigest>,
        buyer_id: BuyerId,
        display_name: Option<DisplayName>,
        quantity: Quantity,
        pass: Pass,
    },
    LeaveWaitlist {
        entry_id: WaitlistId,
    },
}

/// Calls the engine's method for `request`.
pub async fn submit(engine: &EngineHandle, request: Request) -> Result<Answer, CommandError> {
    match request {
        Request::ScheduleDrop {
            key,
            terms,
            total_stock,
        } => {
            let request = ScheduleDrop {
                key,
                terms,
                total_stock,
            };
            about(engine.schedule_drop(request).await, Subject::Drop)
        }
        Request::RescheduleDrop {
            drop_id,
            expected_version,
            patch,
        } => {
            let request = RescheduleDrop {
                drop_id,
                expected_version,
                patch,
            };
            about(engine.reschedule_drop(request).await, Subject::Drop)
        }
        Request::ChangeSale { drop_id, change } => {
            let request = ChangeSale { drop_id, change };
            about(engine.change_sale(request).await, Subject::Drop)
        }
        Request::CancelDrop { drop_id } => {
            let request = CancelDrop { drop_id };
            about(engine.cancel_drop(request).await, Subject::Drop)
        }
        Request::AdjustStock {
            drop_id,
            key,
            expected_stock_version,
            delta,
            reason,
        } => {
            let request = AdjustStock {
                drop_id,
                key,
                expected_stock_version,
                delta,
                reason,
            };
            let accepted = engine.adjust_stock(request).await?;
            Ok(accepted.map(Subject::Adjustment))
        }
        Request::SetStock {
            drop_id,
            expected_stock_version,
            total,
            reason,
        } => {
            let request = SetStock {
                drop_id,
                expected_stock_version,
                total,
                reason,
            };
            about(engine.set_stock(request).await, Subject::Drop)
        }
        Request::PlaceHold {
            drop_id,
            key,
            other_key,
            buyer_id,
            display_name,
            quantity,
            pass,
        } => {
            let request = PlaceHold {
                drop_id,
                key,
                other_key,
                buyer_id,
                is_from_token: false,
                display_name,
                quantity,
                pass,
            };
            Ok(engine.place_hold(request).await?.map(Subject::Hold))
        }
        Request::ExtendHold { hold_id, seconds } => {
            let request = ExtendHold { hold_id, seconds };
            about(engine.extend_hold(request).await, Subject::Hold(hold_id))
        }
        Request::ChangeHold { hold_id, quantity } => {
            let request = ChangeHold { hold_id, quantity };
            about(engine.change_hold(request).await, Subject::Hold(hold_id))
        }
        Request::ReleaseHold { hold_id } => {
            let request = ReleaseHold { hold_id };
            about(engine.release_hold(request).await, Subject::Hold(hold_id))
        }
        Request::ConfirmPurchase {
            hold_id,
            payment_reference,
        } => {
            let request = ConfirmPurchase {
                hold_id,
                payment_reference,
            };
            let outcome = engine.confirm_purchase(request).await;
            about(outcome, Subject::Purchase(hold_id))
        }
        Request::RefundPurchase {
            drop_id: _,
            purchase_id,
            hold_id,
            key,
            quantity,
            restock,
            reason,
        } => {
            let request = RefundPurchase {
                purchase_id,
                hold_id,
                key,
                quantity,
                restock,
                reason,
            };
            Ok(engine.refund_purchase(request).await?.map(Subject::Refund))
        }
        Request::JoinWaitlist {
            drop_id,
            key,
            other_key,
            buyer_id,
            display_name,
            quantity,
            pass,
        } => {
            let request = JoinWaitlist {
                drop_id,
                key,
                other_key,
                buyer_id,
                is_from_token: false,
                display_name,
                quantity,
                pass,
            };
            Ok(engine.join_waitlist(request).await?.map(Subject::Waitlist))
        }
        Request::LeaveWaitlist { entry_id } => {
            let request = LeaveWaitlist { entry_id };
            about(
                engine.leave_waitlist(request).await,
                Subject::Waitlist(entry_id),
            )
        }
    }
}

/// Adds the subject of a request that names it itself.
fn about(
    outcome: Result<Accepted, CommandError>,
    subject: Subject,
) -> Result<Answer, CommandError> {
    Ok(outcome?.map(|()| subject))
}
