//! The settings of Web Push, and the shop's VAPID key.

use std::time::Duration;

use clap::Args;
use push::service::{KeyError, kept_key};
use push::store::Store;
use push::vapid::{InvalidVapid, Subject, Vapid};
use terminal::arguments::whole;
use tracing::warn;
use webhooks::networks::PermittedNetworks;
use webhooks::schedule::Schedule;

/// How notifications are sent to closed pages.
#[derive(Debug, Clone, Args)]
pub struct PushSettings {
    /// Networks that Web Push may be sent to although they are not public, separated by commas:
    /// for a push service of one's own. Any buyer chooses addresses there, so these are not the
    /// networks of webhooks. By default only public addresses are permitted.
    #[arg(long, env = "HOLDFAST_PUSH_NETWORKS", default_value = "")]
    pub push_networks: PermittedNetworks,

    /// Pauses after the failed attempts at a message, separated by commas. After the last one, or
    /// when the message is out of date, it is given up.
    #[arg(
        long,
        env = "HOLDFAST_PUSH_RETRIES",
        default_value = "5s,30s,2m,10m,30m,1h,2h,4h,8h"
    )]
    pub push_retries: Schedule,

    /// Longest wait for the response of a push service, in seconds.
    #[arg(long, env = "HOLDFAST_PUSH_TIMEOUT_SECONDS", default_value_t = 10, value_parser = whole::<u32, 1, 60>)]
    pub push_timeout_seconds: u32,

    /// Contact of the shop for push services, a mailto: or https: URL. Apple's push service
    /// requires one.
    #[arg(long, env = "HOLDFAST_VAPID_SUBJECT", value_name = "URL")]
    pub vapid_subject: Option<Subject>,

    /// Private VAPID key in base64url, with its public key. By default the first server generates
    /// a key in the database, which all servers use. Browsers subscribe for one key: after a
    /// change they must subscribe again.
    #[arg(
        long,
        env = "HOLDFAST_VAPID_PRIVATE_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub vapid_private_key: Option<String>,

    /// Public VAPID key in base64url.
    #[arg(long, env = "HOLDFAST_VAPID_PUBLIC_KEY", value_name = "KEY")]
    pub vapid_public_key: Option<String>,
}

/// Why the VAPID key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VapidError {
    #[error("{missing} is required with the other key of the VAPID pair")]
    Incomplete { missing: &'static str },
    #[error("HOLDFAST_VAPID_PRIVATE_KEY and HOLDFAST_VAPID_PUBLIC_KEY cannot be used")]
    Given(#[source] InvalidVapid),
    #[error("the VAPID key in the database cannot be used")]
    Kept(#[source] KeyError),
}

impl PushSettings {
    /// Returns the settings of the worker.
    #[must_use]
    pub fn service(&self) -> push::service::Settings {
        push::service::Settings {
            networks: self.push_networks.clone(),
            schedule: self.push_retries.clone(),
            timeout: Duration::from_secs(self.push_timeout_seconds.into()),
        }
    }

    /// Returns the key of the settings, or `None`.
    ///
    /// # Errors
    /// [`VapidError::Incomplete`] and [`VapidError::Given`].
    pub fn given_key(&self) -> Result<Option<Vapid>, VapidError> {
        let missing = |missing| Err(VapidError::Incomplete { missing });
        let (private, public) = match (&self.vapid_private_key, &self.vapid_public_key) {
            (Some(private), Some(public)) => (private, public),
            (Some(_), None) => return missing("HOLDFAST_VAPID_PUBLIC_KEY"),
            (None, Some(_)) => return missing("HOLDFAST_VAPID_PRIVATE_KEY"),
            (None, None) => return Ok(None),
        };
        let vapid = Vapid::given(private, public, self.vapid_subject.clone());
        vapid.map(Some).map_err(VapidError::Given)
    }

    /// Returns the key in the database.
    ///
    /// # Errors
    /// [`VapidError::Kept`].
    pub async fn kept_key(&self, store: &Store) -> Result<Vapid, VapidError> {
        let vapid = kept_key(store, self.vapid_subject.clone()).await;
        let vapid = vapid.map_err(VapidError::Kept)?;
        if !self.push_networks.is_empty() {
            warn!(
                "HOLDFAST_PUSH_NETWORKS is set: every buyer can choose an address there, which this \
                 server then sends requests to"
            );
        }
        Ok(vapid)
    }
}
