//! Money that leaves the shop at a provider without a request of Holdfast: the reports of webhooks
//! and of the provider's list of refunds.
//!
//! Promise: each refund that a person made at the provider, and each dispute, is stored once before
//! its webhook is acknowledged. Refunds that this log requested carry its id, so they are not among
//! them.
//! Limit: refunds of payments that this database does not know belong to another program.

use domain::values::{IntentDigest, Money, PaymentReference};
use payments::{PaymentProvider as _, Provider, Refund, RefundState};
use tracing::{info, warn};
use uuid::Uuid;

use crate::service::{Settlement, Subject, WebhookRefused, name_of};
use crate::store::{Withdrawal, WithdrawalKind, WithdrawalState};

/// A report about money that has left the shop.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) kind: WithdrawalKind,
    /// The provider's reference of the refund or the dispute.
    pub(crate) reference: String,
    pub(crate) amount: Money,
    pub(crate) state: WithdrawalState,
}

impl Report {
    /// Returns the report of a refund that a person made; `None` for one of a Holdfast.
    fn of_refund(refund: Refund) -> Option<Self> {
        if refund.refund_id.is_some() {
            return None;
        }
        Some(Self {
            kind: WithdrawalKind::Refund,
            reference: refund.refund_reference,
            amount: refund.amount,
            state: match refund.state {
                RefundState::Pending => WithdrawalState::Pending,
                RefundState::Succeeded => WithdrawalState::Done,
                RefundState::Failed { .. } => WithdrawalState::Undone,
            },
        })
    }
}

impl Settlement {
    /// Records a report about the payment with this reference at the provider.
    pub(crate) async fn withdrawn(
        &self,
        provider: &Provider,
        payment_reference: &str,
        report: Report,
    ) -> Result<(), WebhookRefused> {
        let subject = self.subject_of(provider, payment_reference).await?;
        let Some(subject) = subject else {
            info!(
                "{} reports a {} of a payment that another program has started",
                provider.name(),
                report.kind.name()
            );
            return Ok(());
        };
        self.keep(provider, subject, payment_reference, report)
            .await
            .map_err(WebhookRefused::Database)
    }

    /// Records the refunds that the provider lists for a payment.
    pub(crate) async fn refunds_changed(
        &self,
        provider: &Provider,
        payment_reference: &str,
    ) -> Result<(), WebhookRefused> {
        let subject = self.subject_of(provider, payment_reference).await?;
        let Some(subject) = subject else {
            return Ok(());
        };
        let refunds = provider.refunds(payment_reference).await;
        let refunds = refunds.map_err(WebhookRefused::Provider)?;
        self.keep_all(provider, subject, payment_reference, refunds)
            .await
            .map_err(WebhookRefused::Database)
    }

    /// Records those of a payment's refunds that a person made at the provider.
    pub(crate) async fn keep_all(
        &self,
        provider: &Provider,
        subject: Subject,
        payment_reference: &str,
        refunds: Vec<Refund>,
    ) -> Result<(), sqlx::Error> {
        for report in refunds.into_iter().filter_map(Report::of_refund) {
            self.keep(provider, subject, payment_reference, report)
                .await?;
        }
        Ok(())
    }

    async fn keep(
        &self,
        provider: &Provider,
        subject: Subject,
        payment_reference: &str,
        report: Report,
    ) -> Result<(), sqlx::Error> {
        let name = name_of(provider);
        let digest = |reference: &str| {
            let reference = PaymentReference::new(reference);
            let reference = reference.map_err(|error| sqlx::Error::Encode(error.into()))?;
            Ok::<_, sqlx::Error>(IntentDigest::new(&name, &reference))
        };
        let withdrawal = Withdrawal {
            id: Uuid::from_bytes(digest(&report.reference)?.bytes()),
            kind: report.kind,
            provider: provider.name().to_owned(),
            intent: digest(payment_reference)?.bytes().to_vec(),
            provider_reference: report.reference,
            order_id: subject.order_id,
            payment_id: subject.payment_id,
            amount: report.amount,
            state: report.state,
        };
        if self.store.withdrawn(&withdrawal).await? {
            warn!(
                "{} of payment {} has left the shop at {} without a request ({}, {}): see needs-attention",
                withdrawal.amount,
                withdrawal.payment_id,
                withdrawal.provider,
                withdrawal.kind.name(),
                withdrawal.state.name(),
            );
            self.wake();
        }
        Ok(())
    }
}
