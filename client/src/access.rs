//! The server and the key: options that every client command shares.
//!
//! Promise: a key from a flag or the environment takes precedence over the key file of a server on
//! this machine.
//! Limit: only the admin key is looked up. It includes the auditor's scope and may act for any
//! buyer.

use std::fmt;
use std::path::{Path, PathBuf};

use super::address::ServerAddress;
use super::error::ClientError;
use super::pooled::Client;
use super::tls;

/// The file in a server's data directory that contains the generated admin key.
pub const ADMIN_KEY_FILE: &str = "admin.key";

/// The server to connect to, and the key to send.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerArgs {
    /// The server's address, http:// or https://
    #[arg(long, env = "HOLDFAST_URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,

    /// The server's admin key; without it, the file `admin.key` in the data directory is read
    #[arg(long, env = "HOLDFAST_ADMIN_KEY", hide_env_values = true)]
    pub admin_key: Option<AccessKey>,

    /// A PEM file of certificate authorities to trust in addition to the system's, for https://
    #[arg(long, env = "HOLDFAST_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// The data directory of a server on this machine
    #[arg(long, env = "HOLDFAST_DATA_DIR", default_value = ".holdfast")]
    pub data_dir: PathBuf,
}

impl ServerArgs {
    /// A client for that server with that key. Sends nothing yet.
    ///
    /// # Errors
    /// [`ClientError`] when the address is invalid or no key is found.
    pub fn client(&self) -> Result<Client, ClientError> {
        let address: ServerAddress = self.url.parse()?;
        let key = match &self.admin_key {
            Some(key) => key.clone(),
            None => AccessKey::read(&self.data_dir.join(ADMIN_KEY_FILE))?,
        };
        let tls = if address.has_tls() {
            tls::trusting(self.ca.as_deref())?
        } else {
            tls::none()?
        };
        Client::with_tls(address, key, tls)
    }
}

/// A bearer key. Debug output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey(String);

impl AccessKey {
    /// Accepts visible ASCII, trimmed.
    ///
    /// # Errors
    /// [`ClientError::InvalidKey`].
    pub fn new(text: &str) -> Result<Self, ClientError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ClientError::InvalidKey);
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`ClientError::NoKey`], or [`ClientError::InvalidKey`].
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        let text = std::fs::read_to_string(path).map_err(|source| ClientError::NoKey {
            path: path.to_owned(),
            source,
        })?;
        Self::new(&text)
    }

    /// The value of the `Authorization` header.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl std::str::FromStr for AccessKey {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        Self::new(text)
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(admin_key: Option<&str>, data_dir: &Path) -> ServerArgs {
        ServerArgs {
            url: "http://127.0.0.1:8080".into(),
            admin_key: admin_key.map(|key| key.parse().unwrap()),
            ca: None,
            data_dir: data_dir.to_owned(),
        }
    }

    #[test]
    fn key_is_trimmed_and_hidden_in_debug_output() {
        let key = AccessKey::new(" secret\n").unwrap();
        assert_eq!(key.bearer(), "Bearer secret");
        assert!(!format!("{key:?}").contains("secret"));
        assert!(AccessKey::new("two words").is_err());
        assert!(AccessKey::new(" ").is_err());
    }

    #[test]
    fn given_key_wins_and_a_missing_one_names_the_file() {
        let nowhere = Path::new("no-such-directory");
        assert!(args(Some("given"), nowhere).client().is_ok());
        let error = args(None, nowhere).client().unwrap_err().to_string();
        assert!(error.contains("HOLDFAST_ADMIN_KEY"), "{error}");
        assert!(error.contains("admin.key"), "{error}");
    }
}
