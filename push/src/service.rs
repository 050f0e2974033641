//! Web Push of a server: its key, and the side of administrators.

use std::sync::Arc;
use std::time::Duration;

use catalogue::notifications::Notifications;
use projections::views::Views;
use sqlx::PgPool;
use tokio::sync::watch;
use webhooks::networks::PermittedNetworks;
use webhooks::schedule::Schedule;
use webhooks::sender::Sender;

use crate::counts::Counts;
use crate::store::Store;
use crate::vapid::{InvalidVapid, StoredKey, Subject, Vapid};

/// The setting with the networks that messages may be sent to.
pub const NETWORKS_SETTING: &str = "HOLDFAST_PUSH_NETWORKS";

/// The settings of Web Push.
#[derive(Debug, Clone)]
pub struct Settings {
    pub networks: PermittedNetworks,
    /// The pauses after failed attempts at a message.
    pub schedule: Schedule,
    /// The timeout of one request.
    pub timeout: Duration,
}

/// Why the shop's key is not known.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Vapid(#[from] InvalidVapid),
    #[error("cannot read the VAPID key")]
    Database(#[from] sqlx::Error),
}

/// Returns the key in the database, which the first server generates.
///
/// # Errors
/// [`KeyError`].
pub async fn kept_key(store: &Store, subject: Option<Subject>) -> Result<Vapid, KeyError> {
    let key = match store.key().await? {
        Some(key) => key,
        None => store.keep_key(&StoredKey::generate()?).await?,
    };
    Ok(Vapid::stored(&key, subject)?)
}

/// Clones share it.
#[derive(Debug, Clone)]
pub struct Push {
    pub(crate) store: Store,
    pub(crate) vapid: Arc<Vapid>,
    pub(crate) sender: Sender,
    pub(crate) schedule: Schedule,
    networks: PermittedNetworks,
    pub(crate) notifications: Notifications,
    pub(crate) views: Views,
    pub(crate) counts: Counts,
    /// Counts changes of jobs.
    pub(crate) wake: Arc<watch::Sender<u64>>,
}

impl Push {
    /// Web Push of the notifications of this log.
    #[must_use]
    pub fn new(
        pool: PgPool,
        settings: Settings,
        vapid: Vapid,
        notifications: Notifications,
        views: Views,
    ) -> Self {
        let networks = settings.networks.clone();
        Self {
            store: Store::new(pool),
            vapid: Arc::new(vapid),
            sender: Sender::configured(settings.networks, settings.timeout, NETWORKS_SETTING),
            schedule: settings.schedule,
            networks,
            notifications,
            views,
            counts: Counts::default(),
            wake: Arc::new(watch::Sender::new(0)),
        }
    }

    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the identity of the shop at push services.
    #[must_use]
    pub fn vapid(&self) -> &Vapid {
        &self.vapid
    }

    #[must_use]
    pub const fn networks(&self) -> &PermittedNetworks {
        &self.networks
    }

    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Lets the worker of this process notice a change now; those of others notice it within a
    /// second.
    pub fn wake(&self) {
        self.wake.send_modify(|changes| *changes += 1);
    }
}
