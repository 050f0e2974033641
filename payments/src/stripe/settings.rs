//! Stripe's settings, validated when the server starts.

use std::net::IpAddr;
use std::time::Duration;

use url::{Host, Url};

use crate::secret::Secret;

/// The address of Stripe's API.
pub const API_BASE: &str = "https://api.stripe.com";

/// The longest wait for one response. A buyer waits for some of them.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A setting that cannot be used. The text contains no part of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {reason}")]
pub struct InvalidSetting {
    /// The environment variable.
    pub name: &'static str,
    /// Continues the name: "must …".
    pub reason: &'static str,
}

/// The account and endpoint to use.
#[derive(Debug, Clone)]
pub struct StripeSettings {
    pub(super) secret_key: Secret,
    pub(super) webhook_secrets: Vec<Secret>,
    /// Without a slash at its end.
    pub(super) api_base: String,
    pub(super) is_encrypted: bool,
    pub(super) timeout: Duration,
}

impl StripeSettings {
    /// Validates the three settings. `webhook_secrets` are separated by commas: two while a secret
    /// is rolled. `api_base` is [`API_BASE`] by default.
    ///
    /// # Errors
    /// [`InvalidSetting`]
    pub fn new(
        secret_key: &str,
        webhook_secrets: &str,
        api_base: Option<&str>,
    ) -> Result<Self, InvalidSetting> {
        let secret_key = secret_key.trim();
        check_key(secret_key).map_err(invalid("HOLDFAST_STRIPE_SECRET_KEY"))?;
        let webhook_secrets: Vec<&str> = webhook_secrets
            .split(',')
            .map(str::trim)
            .filter(|secret| !secret.is_empty())
            .collect();
        check_webhook_secrets(&webhook_secrets)
            .map_err(invalid("HOLDFAST_STRIPE_WEBHOOK_SECRET"))?;
        let (api_base, is_encrypted) = base(api_base.unwrap_or(API_BASE).trim())
            .map_err(invalid("HOLDFAST_STRIPE_API_BASE"))?;
        Ok(Self {
            secret_key: Secret::new(secret_key),
            webhook_secrets: webhook_secrets.into_iter().map(Secret::new).collect(),
            api_base,
            is_encrypted,
            timeout: TIMEOUT,
        })
    }

    /// Waits at most this long for one response, instead of 20 s.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

fn invalid(name: &'static str) -> impl Fn(&'static str) -> InvalidSetting {
    move |reason| InvalidSetting { name, reason }
}

fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn check_key(key: &str) -> Result<(), &'static str> {
    if key.starts_with("pk_") {
        return Err("must be the secret key; this is the publishable one");
    }
    // Restricted keys need the right to write payment intents and refunds.
    let rest = key.strip_prefix("sk_").or(key.strip_prefix("rk_"));
    match rest {
        Some(rest) if !rest.is_empty() && is_visible_ascii(rest) => Ok(()),
        _ => Err("must be a secret key (sk_…) or a restricted key (rk_…)"),
    }
}

fn check_webhook_secrets(secrets: &[&str]) -> Result<(), &'static str> {
    let is_secret = |secret: &&str| {
        let rest = secret.strip_prefix("whsec_").unwrap_or_default();
        !rest.is_empty() && is_visible_ascii(rest)
    };
    match secrets.len() {
        0 => Err("must be the webhook endpoint's secret (whsec_…)"),
        1..=4 if secrets.iter().all(is_secret) => Ok(()),
        1..=4 => Err("must be one or more secrets (whsec_…), separated by commas"),
        _ => Err("must be at most four secrets"),
    }
}

fn base(text: &str) -> Result<(String, bool), &'static str> {
    let url = Url::parse(text).map_err(|_| "must be a URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not contain a query or fragment");
    }
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => return Err("must contain a host"),
    };
    let is_encrypted = match url.scheme() {
        "https" => true,
        "http" if is_loopback => false,
        // Each request carries the secret key.
        _ => return Err("must be an https:// URL; http:// is for loopback addresses only"),
    };
    Ok((url.as_str().trim_end_matches('/').to_owned(), is_encrypted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(key: &str, webhooks: &str, base: Option<&str>) -> String {
        StripeSettings::new(key, webhooks, base)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn unusable_settings_are_named_without_their_value() {
        let (key, webhook) = ("sk_test_abc", "whsec_abc");
        for secret in [
            "",
            "sk_",
            "hunter2-secret",
            "pk_live_hunter2",
            "sk_hunter2 x",
            "sk_ü",
        ] {
            let text = reason(secret, webhook, None);
            assert!(
                text.starts_with("HOLDFAST_STRIPE_SECRET_KEY must"),
                "{text}"
            );
            assert!(!text.contains("hunter2"), "{text}");
        }
        for secrets in [
            "",
            ",",
            "whsec_",
            "hunter2",
            "whsec_a,hunter2",
            "whsec_a whsec_b",
        ] {
            let text = reason(key, secrets, None);
            assert!(
                text.starts_with("HOLDFAST_STRIPE_WEBHOOK_SECRET must"),
                "{text}"
            );
            assert!(!text.contains("hunter2"), "{text}");
        }
        let five = ["whsec_a"; 5].join(",");
        assert!(reason(key, &five, None).contains("at most four"));
        for base in [
            "",
            "stripe",
            "ftp://localhost",
            "http://api.stripe.com",
            "http://10.0.0.1",
            "https://user:hunter2@localhost",
            "https://localhost/?hunter2",
            "https://x/#y",
        ] {
            let text = reason(key, webhook, Some(base));
            assert!(text.starts_with("HOLDFAST_STRIPE_API_BASE must"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn settings_accept_rolled_secrets_restricted_keys_and_loopback() {
        let settings = StripeSettings::new(" rk_live_1\n", "whsec_a, whsec_b,", None).unwrap();
        assert_eq!(settings.api_base, API_BASE);
        assert!(settings.is_encrypted);
        let secrets: Vec<_> = settings
            .webhook_secrets
            .iter()
            .map(Secret::expose)
            .collect();
        assert_eq!(
            (settings.secret_key.expose(), secrets),
            ("rk_live_1", vec!["whsec_a", "whsec_b"])
        );
        for base in [
            "http://127.0.0.1:8420",
            "http://localhost:1/",
            "http://[::1]:2/stripe/",
        ] {
            let settings = StripeSettings::new("sk_test_1", "whsec_a", Some(base)).unwrap();
            assert_eq!(settings.api_base, base.trim_end_matches('/'));
            assert!(!settings.is_encrypted);
        }
    }

    #[test]
    fn debug_text_of_settings_contains_no_secret() {
        let settings = StripeSettings::new("sk_live_hunter2", "whsec_hunter2", None).unwrap();
        let text = format!("{settings:?}");
        assert!(
            text.contains("api.stripe.com") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
