//! The bearer keys of administrators and auditors: configured, or generated in the data directory.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use api::keys::{AdminKey, Key, Keys};
use clap::Args;
use domain::values::AdminName;
use tracing::warn;

use super::{ConfigError, counted};
use crate::admin_keys;

/// The bearer keys of administrators and auditors.
#[derive(Debug, Clone, Args)]
pub struct KeySettings {
    /// Bearer key of administrators; generated in the data directory when not set. Required where
    /// other machines can reach the server; there, fewer than 5 characters are refused and 16 or
    /// more are recommended.
    #[arg(long, env = "HOLDFAST_ADMIN_KEY", hide_env_values = true)]
    pub admin_key: Option<String>,

    /// Bearer keys of several administrators: pairs NAME=KEY, separated by spaces, or @FILE with
    /// one pair on each line. The name stands in the log next to each change, so use a role or a
    /// pseudonym. The holder of --admin-key has the name `admin`. The same rules apply to each key.
    #[arg(
        long,
        env = "HOLDFAST_ADMIN_KEYS",
        hide_env_values = true,
        value_name = "NAME=KEY…"
    )]
    pub admin_keys: Option<String>,

    /// Bearer key of auditors; the same rules apply as for the admin key.
    #[arg(long, env = "HOLDFAST_AUDITOR_KEY", hide_env_values = true)]
    pub auditor_key: Option<String>,
}

/// Keys of at least this many characters log no warning.
const ADVISED_KEY: usize = 16;

/// The shortest key, in characters, that is accepted where other machines can reach the server. At
/// the 60 attempts a minute that an address has, four letters and digits are found within three
/// weeks, and five within two years.
pub(super) const SHORTEST_KEY: usize = 5;

/// Rejects a key that cannot be sent in a header, and a short one where other machines can reach
/// the server.
fn checked_key(name: &str, key: &str, listen: SocketAddr) -> Result<Key, ConfigError> {
    let name = || name.to_owned();
    let characters = key.len();
    let checked = Key::new(key).ok_or_else(|| ConfigError::NoKey { name: name() })?;
    if characters < SHORTEST_KEY && !listen.ip().is_loopback() {
        return Err(ConfigError::ShortKey {
            name: name(),
            characters,
            listen,
        });
    }
    Ok(checked)
}

/// Logs a warning of a key that can be guessed.
fn advise(name: &str, key: &str, listen: SocketAddr) {
    let (is_reached, characters) = (!listen.ip().is_loopback(), key.len());
    if characters < SHORTEST_KEY {
        warn!(
            "{name} has {}: it can be guessed. It is accepted only because no other machine can reach this server",
            counted(characters, "character")
        );
    } else if is_reached && characters < ADVISED_KEY {
        warn!(
            "{name} has fewer than {ADVISED_KEY} characters, and other machines can reach {listen}: it can be guessed. \
             Set a longer one, for example the output of `openssl rand -hex 24`"
        );
    }
}

const ADMIN: &str = "the admin key";
const AUDITOR: &str = "the auditor key";

fn of_named(name: &AdminName) -> String {
    format!("the key of {name}")
}

/// Checks the configured keys. Reads and generates no key in the data directory.
///
/// # Errors
/// [`ConfigError`].
pub fn check_keys(settings: &KeySettings, listen: SocketAddr) -> Result<(), ConfigError> {
    let named = settings.admin_keys.as_deref().map(admin_keys::parse);
    let named = named.transpose()?.unwrap_or_default();
    let (admin, auditor) = (&settings.admin_key, &settings.auditor_key);
    let has_admin = admin.is_some() || !named.is_empty();
    let given = has_admin && auditor.is_some();
    if !given && !listen.ip().is_loopback() {
        return Err(ConfigError::KeysRequired { listen });
    }
    for (name, key) in [(ADMIN, admin), (AUDITOR, auditor)] {
        key.as_deref()
            .map(|key| checked_key(name, key, listen))
            .transpose()?;
    }
    for pair in &named {
        checked_key(&of_named(&pair.name), &pair.key, listen)?;
    }
    let is_auditors = |key: &String| auditor.as_ref() == Some(key);
    if admin.iter().any(is_auditors) || named.iter().any(|pair| is_auditors(&pair.key)) {
        return Err(ConfigError::SameKeys);
    }
    Ok(())
}

/// Returns the configured keys; reads a key that is not configured from `data_dir`, or generates
/// it there.
///
/// # Errors
/// [`ConfigError`].
pub fn load_keys(
    settings: &KeySettings,
    data_dir: &Path,
    listen: SocketAddr,
) -> Result<Keys, ConfigError> {
    check_keys(settings, listen)?;
    let named = settings.admin_keys.as_deref().map(admin_keys::parse);
    let named = named.transpose()?.unwrap_or_default();
    // With named administrators, no other key is generated.
    let admin = match settings.admin_key.is_none() && !named.is_empty() {
        true => None,
        false => Some(given_or_kept(
            settings.admin_key.as_deref(),
            &admin_key_file(data_dir),
        )?),
    };
    let auditor = given_or_kept(settings.auditor_key.as_deref(), &auditor_key_file(data_dir))?;
    if admin.as_ref() == Some(&auditor) || named.iter().any(|pair| pair.key == auditor) {
        return Err(ConfigError::SameKeys);
    }
    let key = |name: &str, text: &str| {
        let key = checked_key(name, text, listen)?;
        advise(name, text, listen);
        Ok::<_, ConfigError>(key)
    };
    let mut admins = vec![];
    if let Some(admin) = &admin {
        admins.push(AdminKey {
            name: AdminName::default(),
            key: key(ADMIN, admin)?,
        });
    }
    for pair in &named {
        advise(&of_named(&pair.name), &pair.key, listen);
        admins.extend(admin_keys::key_of(pair));
    }
    Ok(Keys {
        admins,
        auditor: key(AUDITOR, &auditor)?,
    })
}

/// The file of the generated admin key.
#[must_use]
pub fn admin_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.key")
}

/// The file of the generated auditor key.
#[must_use]
pub fn auditor_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("auditor.key")
}

fn given_or_kept(given: Option<&str>, file: &Path) -> Result<String, ConfigError> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let failed = |source| ConfigError::KeyFile {
        path: file.to_owned(),
        source,
    };
    match fs::read_to_string(file) {
        Ok(kept) => Ok(kept.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make_key(file).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn make_key(file: &Path) -> std::io::Result<String> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let key = hex::encode(rand::random::<[u8; 24]>());
    // Readable by its owner only; never written over an existing one.
    let mut options = fs::OpenOptions::new();
    let mut kept = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    writeln!(kept, "{key}")?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: KeySettings = KeySettings {
        admin_key: None,
        admin_keys: None,
        auditor_key: None,
    };

    #[test]
    fn generated_keys_persist_and_are_for_loopback_only() {
        let directory =
            std::env::temp_dir().join(format!("holdfast-keys-{}", uuid::Uuid::new_v4()));
        let listen = "127.0.0.1:0".parse().unwrap();
        let made = load_keys(&NONE, &directory, listen).unwrap();
        let kept = fs::read_to_string(admin_key_file(&directory)).unwrap();
        assert!(made.admin(kept.trim()).is_some());
        assert!(!made.auditor.matches(kept.trim()));
        let again = load_keys(&NONE, &directory, listen).unwrap();
        assert!(again.admin(kept.trim()).is_some());
        let everywhere = "0.0.0.0:0".parse().unwrap();
        assert!(matches!(
            load_keys(&NONE, &directory, everywhere),
            Err(ConfigError::KeysRequired { .. })
        ));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn named_administrators_replace_the_generated_key() {
        let directory =
            std::env::temp_dir().join(format!("holdfast-keys-{}", uuid::Uuid::new_v4()));
        let with = |admin: Option<&str>, named: &str| KeySettings {
            admin_key: admin.map(str::to_owned),
            admin_keys: Some(named.to_owned()),
            auditor_key: Some("auditor-key".to_owned()),
        };
        let everywhere = "0.0.0.0:0".parse().unwrap();
        let load = |settings: &KeySettings| load_keys(settings, &directory, everywhere);
        let keys = load(&with(None, "ops-1=first-key ops-2=second-key")).unwrap();
        assert_eq!(keys.admins.len(), 2);
        assert!(!admin_key_file(&directory).exists());
        let keys = load(&with(Some("the-admin-key"), "ops-1=first-key")).unwrap();
        let name = |guess| keys.admin(guess).map(|admin| admin.name.to_string());
        assert_eq!(name("the-admin-key").as_deref(), Some("admin"));
        assert_eq!(name("first-key").as_deref(), Some("ops-1"));
        let short = load(&with(None, "ops-1=abcd")).err().unwrap().to_string();
        assert!(
            short.starts_with("the key of ops-1 has 4 characters"),
            "{short}"
        );
        let same = load(&with(None, "ops-1=auditor-key"));
        assert!(matches!(same, Err(ConfigError::SameKeys)));
    }

    #[test]
    fn numbers_in_messages_agree_with_their_nouns() {
        let listen = "0.0.0.0:1".parse().unwrap();
        for (length, words) in [(1, "has 1 character,"), (2, "has 2 characters,")] {
            let key = "x".repeat(length);
            let error = checked_key(ADMIN, &key, listen).err().unwrap();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
