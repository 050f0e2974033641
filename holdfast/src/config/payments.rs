//! How orders are paid: the provider, and the built-in demo.

use clap::{Args, ValueEnum};
use payments::{Stripe, StripeSettings};

use super::{ConfigError, Settings};

/// How orders are paid.
#[derive(Debug, Clone, Args)]
pub struct PaymentSettings {
    /// Treatment of money that arrives after its order has expired: honour sells the units if they
    /// are still free, refund always returns the money. Set the same on every server.
    #[arg(long, env = "HOLDFAST_LATE_PAYMENTS", default_value = "honour")]
    pub late_payments: LatePaymentsSetting,

    /// Secret key of the Stripe account (sk_… or rk_…), which makes Stripe the default provider.
    /// Needs the webhook secret as well.
    #[arg(
        long,
        env = "HOLDFAST_STRIPE_SECRET_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub stripe_secret_key: Option<String>,

    /// Secret of Stripe's webhook endpoint (whsec_…), or several, separated by commas, while it is
    /// rolled.
    #[arg(
        long,
        env = "HOLDFAST_STRIPE_WEBHOOK_SECRET",
        hide_env_values = true,
        value_name = "SECRETS"
    )]
    pub stripe_webhook_secret: Option<String>,

    /// Address of Stripe's API; another one for a double of Stripe in a test. By default Stripe's
    /// own.
    #[arg(long, env = "HOLDFAST_STRIPE_API_BASE", value_name = "URL")]
    pub stripe_api_base: Option<String>,

    /// Permits payments with the built-in demo, which takes no money: on, off, or auto, which means
    /// on unless a buyer secret is set.
    #[arg(long, env = "HOLDFAST_DEMO_PAYMENTS", default_value = "auto")]
    pub demo_payments: DemoPayments,
}

/// See [`PaymentSettings::late_payments`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LatePaymentsSetting {
    Honour,
    Refund,
}

/// See [`PaymentSettings::demo_payments`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DemoPayments {
    Auto,
    On,
    Off,
}

/// Returns Stripe as it is configured, or `None`.
///
/// # Errors
/// [`ConfigError::IncompleteStripe`], [`ConfigError::Stripe`] or [`ConfigError::StripeUnusable`].
pub fn stripe(settings: &PaymentSettings) -> Result<Option<Stripe>, ConfigError> {
    let base = settings.stripe_api_base.as_deref();
    let (key, webhook) = (&settings.stripe_secret_key, &settings.stripe_webhook_secret);
    let missing = |missing| Err(ConfigError::IncompleteStripe { missing });
    let (key, webhook) = match (key, webhook) {
        (Some(key), Some(webhook)) => (key, webhook),
        (Some(_), None) => return missing("HOLDFAST_STRIPE_WEBHOOK_SECRET"),
        (None, Some(_)) => return missing("HOLDFAST_STRIPE_SECRET_KEY"),
        (None, None) if base.is_some() => return missing("HOLDFAST_STRIPE_SECRET_KEY"),
        (None, None) => return Ok(None),
    };
    let stripe = StripeSettings::new(key, webhook, base).map_err(ConfigError::Stripe)?;
    let stripe = Stripe::new(stripe).map_err(ConfigError::StripeUnusable)?;
    Ok(Some(stripe))
}

/// Returns whether buyers may pay with the demo.
#[must_use]
pub fn is_demo_offered(settings: &Settings) -> bool {
    match settings.payments.demo_payments {
        DemoPayments::On => true,
        DemoPayments::Off => false,
        // Where buyers are believed, or sign in under any name, any client can purchase without
        // money anyway.
        DemoPayments::Auto => settings.buyers.are_believed() || settings.buyers.demo_sign_in,
    }
}
