//! The meaning of jobs of payments, and of money at a provider, for an administrator.

use domain::values::{IntentDigest, Money, OrderId, Position};
use settlement::store::{Job, JobKind, OpenWithdrawal, WithdrawalKind, WithdrawalState};

use crate::app::App;

/// Returns the consequence of a job that was given up for its money, and the next step.
pub(super) fn meaning(job: &Job) -> Option<String> {
    if job.status != "failed" {
        return None;
    }
    let amount = job.amount;
    let (state, retry) = match job.kind {
        JobKind::Refund => (
            format!("{amount} stays with the shop: it is not returned to the buyer"),
            "A retry returns it",
        ),
        JobKind::Capture => (
            format!("{amount} of a sale is not taken: the units are sold without their money"),
            "A retry takes it, while the buyer's bank still reserves it",
        ),
        JobKind::Cancel => (
            "The payment stays open at the provider: money that arrives is returned".to_owned(),
            "A retry cancels it",
        ),
        JobKind::Unknown => (
            format!("{amount} stays at the provider: the log has no payment for it"),
            "A retry looks for the payment again",
        ),
    };
    let listed = match job.is_closed {
        false => "needs-attention lists it; cancel the job there to close the entry",
        true => "needs-attention does not list it any more",
    };
    Some(format!("{state}. {retry}. {listed}."))
}

/// Describes money that has left the shop without a request.
pub(super) fn withdrawal_detail(open: &OpenWithdrawal) -> String {
    let OpenWithdrawal {
        withdrawal, used, ..
    } = open;
    let reference = &withdrawal.provider_reference;
    let payment = format!(
        "payment {} at {} ({reference})",
        withdrawal.payment_id, withdrawal.provider
    );
    let part = |amount: i64| Money {
        amount,
        ..withdrawal.amount
    };
    let left = part(withdrawal.amount.amount - used);
    const NEXT: &str = "Record the return of the units with a refund of the order, with or without \
                        restocking: this money pays it, and is not returned twice. If no units \
                        come back, close the entry.";
    match (withdrawal.kind, withdrawal.state) {
        (WithdrawalKind::Refund, WithdrawalState::Done) => {
            format!("{left} was returned by a person, of {payment}. {NEXT}")
        }
        (WithdrawalKind::Refund, WithdrawalState::Pending) => format!(
            "{left} is being returned by a person, of {payment}. Refunds of the payment wait for the outcome. {NEXT}"
        ),
        (WithdrawalKind::Refund, WithdrawalState::Undone) => format!(
            "The refund of {payment} failed after {} of it had paid a refund of the order: the buyer does not have \
             it. Return it at the provider, then close the entry.",
            part(*used)
        ),
        (WithdrawalKind::Dispute, WithdrawalState::Pending) => format!(
            "The buyer's bank disputes {left} of {payment}. Submit evidence at the provider. Refunds of the payment \
             wait for the decision."
        ),
        (WithdrawalKind::Dispute, WithdrawalState::Done) => format!(
            "A dispute was lost: {left} of {payment} was taken back by the buyer's bank. {NEXT}"
        ),
        (WithdrawalKind::Dispute, WithdrawalState::Undone) => format!(
            "A dispute was won after {} of it had paid a refund of the order: the buyer does not have it. Return it \
             at the provider, then close the entry.",
            part(*used)
        ),
    }
}

/// The log position at which the money of a withdrawal had arrived; 0 if this server does not know
/// it.
pub(super) fn position_of(app: &App, open: &OpenWithdrawal) -> Position {
    let order = app.views.order(OrderId(open.withdrawal.order_id));
    let position = order.and_then(|order| {
        let payments = order.payments.started.iter();
        let mut intents = payments.flat_map(|payment| &payment.intents);
        let is_its = |digest: IntentDigest| digest.bytes().as_slice() == open.withdrawal.intent;
        let intent = intents.find(|intent| is_its(intent.intent))?;
        Some(intent.position)
    });
    position.unwrap_or_default()
}
