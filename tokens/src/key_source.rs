//! Keeps the shop's key set current: from a file, or from a URL.
//!
//! Promise: a key that the shop adds is used without a restart: at the first token that names it.
//! Tokens with made-up key ids cause at most [`reloads::BURST`] reloads at once, and then one in
//! [`reloads::PAUSE`], which is then also the longest wait for a new key. A failed reload keeps the
//! keys that were loaded before.
//! Limit: a key that the shop removes is accepted until the next reload, [`INTERVAL`] at most, and
//! longer while the set cannot be loaded.

mod reloads;

use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use self::reloads::Reloads;
use crate::fetch::{Fetch, MAX_BYTES};
use crate::jwks::{KeySet, KeySetError};
use crate::jws::Unverified;
use crate::urls::is_protected;

/// The pause between two regular reloads.
pub const INTERVAL: Duration = Duration::from_secs(300);

/// The location of a key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    File(PathBuf),
    Url(Url),
}

/// Why a text is not the location of a key set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    #[error("it must be a path or an http(s) URL")]
    Url(#[source] url::ParseError),
    /// Not a path: messages quote paths, and this may have a password.
    #[error("it must be a path or an http(s) URL")]
    Scheme,
    /// An attacker on the way could insert a key and sign tokens for every buyer.
    #[error(
        "it must be https, because http does not protect the keys on their way; http is for loopback only"
    )]
    Unencrypted,
    #[error("it must not have a user name or password")]
    Credentials,
    #[error("it is empty: set it to a file or a URL, or unset it")]
    Empty,
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        let lower = text.to_ascii_lowercase();
        if !["http://", "https://"]
            .iter()
            .any(|start| lower.starts_with(start))
        {
            let is_url = ["http:", "https:"]
                .iter()
                .any(|start| lower.starts_with(start))
                || lower.contains("://");
            return match is_url {
                true => Err(LocationError::Scheme),
                false => Ok(Self::File(text.into())),
            };
        }
        let url = Url::parse(text).map_err(LocationError::Url)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(LocationError::Credentials);
        }
        if !is_protected(&url) {
            return Err(LocationError::Unencrypted);
        }
        Ok(Self::Url(url))
    }
}

/// Why a key set was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read the key set {location}")]
    Read {
        location: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("cannot use the key set {location}")]
    Use {
        location: String,
        #[source]
        source: KeySetError,
    },
}

/// A key set that is kept current. Clones share it.
#[derive(Debug, Clone)]
pub struct KeySource(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// For messages.
    location: String,
    reader: Reader,
    current: RwLock<Option<Arc<KeySet>>>,
    /// The reloads because of unknown keys. It is locked during a reload, so that requests which
    /// wait for it share one.
    reloads: Mutex<Reloads>,
}

#[derive(Debug)]
enum Reader {
    File(PathBuf),
    Url(Box<Fetch>),
}

impl KeySource {
    /// Prepares to load; loads nothing.
    ///
    /// # Errors
    /// [`LoadError::Read`] if TLS cannot be used.
    pub fn new(location: Location) -> Result<Self, LoadError> {
        let (location, reader) = match location {
            Location::File(path) => (path.display().to_string(), Reader::File(path)),
            Location::Url(url) => {
                let location = url.to_string();
                let fetch = Fetch::new(url).map_err(|source| LoadError::Read {
                    location: location.clone(),
                    source,
                })?;
                (location, Reader::Url(Box::new(fetch)))
            }
        };
        Ok(Self(Arc::new(Inner {
            location,
            reader,
            current: RwLock::default(),
            reloads: Mutex::new(Reloads::new(Instant::now())),
        })))
    }

    /// Returns true if the set is a local file, which must be readable at the start.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.0.reader, Reader::File(_))
    }

    /// Returns the keys that were loaded last; none if no load has succeeded yet.
    #[must_use]
    pub fn current(&self) -> Option<Arc<KeySet>> {
        let current = self.0.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loads the keys. A failure keeps those that were loaded before.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load(&self) -> Result<(), LoadError> {
        let location = || self.0.location.clone();
        let json = self
            .0
            .reader
            .read()
            .await
            .map_err(|source| LoadError::Read {
                location: location(),
                source,
            })?;
        let keys = KeySet::parse(&json).map_err(|source| LoadError::Use {
            location: location(),
            source,
        })?;
        let keys = Arc::new(keys);
        let current = self.0.current.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Some(keys);
        Ok(())
    }

    /// Returns the keys after a reload for a token with an unknown key, or without a reload where
    /// [`Reloads`] permits none.
    pub(crate) async fn reloaded_for(&self, token: &Unverified<'_>) -> Option<Arc<KeySet>> {
        let arrived = Instant::now();
        let mut reloads = self.0.reloads.lock().await;
        if reloads.permits(token.algorithm, token.kid.as_deref(), arrived) {
            self.load_or_warn().await;
        }
        self.current()
    }

    /// Reloads the keys regularly, until `stopping`.
    pub async fn keep_current(self, stopping: CancellationToken) {
        let mut ticks = interval_at(Instant::now() + INTERVAL, INTERVAL);
        while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
            self.load_or_warn().await;
        }
    }

    async fn load_or_warn(&self) {
        let before = self.current().map(|keys| keys.len());
        match self.load().await {
            Ok(()) => {
                let keys = self.current().map_or(0, |keys| keys.len());
                if before != Some(keys) {
                    info!(keys, "loaded the buyers' key set {}", self.0.location);
                }
            }
            Err(error) => warn!(
                error = &error as &dyn Error,
                "the buyers' key set was not reloaded; the keys before stay in use"
            ),
        }
    }
}

impl Reader {
    async fn read(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        match self {
            Self::Url(fetch) => Ok(fetch.get().await?.to_vec()),
            Self::File(path) => {
                let size = tokio::fs::metadata(path).await?.len();
                if size > MAX_BYTES as u64 {
                    return Err(
                        format!("it has {size} bytes, and at most {MAX_BYTES} are read").into(),
                    );
                }
                Ok(tokio::fs::read(path).await?)
            }
        }
    }
}

#[cfg(test)]
mod tests;
