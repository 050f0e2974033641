//! Every setting, each a flag and an environment variable, and the keys that are made when none are given.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use database::DatabaseSettings;
use tracing::warn;

use api::jws::{Hs256, MIN_SECRET_BYTES};
use api::keys::{Key, Keys};
use api::limiter::Limiter;
use api::limiter::address::{TrustedProxies, UnlimitedNetworks};
use api::limiter::settings::{Bound, Bounds, Count, Rate};
use api::tokens::BuyerTokens;

/// Settings of a server.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address to listen on, as HOST:PORT; port 0 picks a free one, which is printed.
    #[arg(long, env = "HOLDFAST_LISTEN", default_value = "127.0.0.1:8080", value_parser = address)]
    pub listen: SocketAddr,

    #[command(flatten)]
    /// Where the log is.
    pub database: DatabaseSettings,

    #[command(flatten)]
    /// Who may do what.
    pub keys: KeySettings,

    #[command(flatten)]
    /// Who buyers are.
    pub buyers: BuyerSettings,

    #[command(flatten)]
    /// What one address may do.
    pub edge: EdgeSettings,

    /// Requests that may wait for the engine; one more is answered 503 at once.
    #[arg(long, env = "HOLDFAST_QUEUE", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub queue: u32,

    /// Most entries that may wait in the waitlist of one drop at once; one more is refused (409
    /// waitlist_full).
    #[arg(long, env = "HOLDFAST_MAX_WAITLIST", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub max_waitlist: u32,

    /// Largest difference between this server's clock and the database's, in milliseconds; beyond it nothing is decided and
    /// requests get 503. How far the log's newest event may be in the future of the database's clock, too. The database itself
    /// refuses what is more than 2000 ms in the future, so a larger value tolerates only clocks that are behind, and such a log.
    #[arg(long, env = "HOLDFAST_MAX_CLOCK_SKEW_MS", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..))]
    pub max_clock_skew_ms: u32,

    /// Most connections at once, watchers among them; one more is answered 503. Held down to the open files that the system allows.
    #[arg(long, env = "HOLDFAST_MAX_CONNECTIONS", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Longest wait for the whole head of a request from its first byte on, and for the first byte of a new connection, in seconds;
    /// the connection is closed then.
    #[arg(long, env = "HOLDFAST_HEAD_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub head_seconds: u32,

    /// Longest time that a connection may lie idle between two requests, or that a client may
    /// accept nothing of what is sent to it, in seconds. Should be longer than proxies in front
    /// keep theirs (a minute, commonly), so that it is they who close.
    #[arg(long, env = "HOLDFAST_IDLE_SECONDS", default_value_t = 75, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub idle_seconds: u32,

    /// Most watchers of the live stream; one more is answered 503.
    #[arg(long, env = "HOLDFAST_MAX_WATCHERS", default_value_t = 20_000)]
    pub max_watchers: usize,

    /// Shortest time between two states of one drop on the live stream, in milliseconds.
    #[arg(long, env = "HOLDFAST_STREAM_INTERVAL_MS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub stream_interval_ms: u32,
}

/// An address, or a name that stands for one. Of several, one of version 4, as the default is.
fn address(text: &str) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| format!("must be HOST:PORT, for example 127.0.0.1:8080 ({error})"))?
        .collect();
    let of_version_4 = found.iter().find(|address| address.is_ipv4());
    of_version_4
        .or(found.first())
        .copied()
        .ok_or_else(|| "no address goes by this name".to_owned())
}

/// What one address may do. Each process counts for itself.
#[derive(Debug, Clone, Args)]
pub struct EdgeSettings {
    /// Most requests for stock (holds, waitlist entries) from one address within any window, as
    /// REQUESTS/SECONDS, or off. The admin key and retries that have an answer are exempt. Each
    /// process counts for itself; so do the other bounds for addresses.
    #[arg(long, env = "HOLDFAST_ADDRESS_LIMIT", default_value = "600/60")]
    pub address_limit: Bound<Rate>,

    /// Most unresolved holds of one address, or off.
    #[arg(long, env = "HOLDFAST_ADDRESS_HOLDS", default_value = "100")]
    pub address_holds: Bound<Count>,

    /// Most waiting waitlist entries of one address, or off. Holds beyond --address-holds, which
    /// entries became, count as entries.
    #[arg(long, env = "HOLDFAST_ADDRESS_WAITLIST", default_value = "100")]
    pub address_waitlist: Bound<Count>,

    /// Holds of one address that may be left to expire within any window, as HOLDS/SECONDS, or off.
    /// Once there were as many, new requests for stock from it are refused until the window has
    /// passed the oldest.
    #[arg(long, env = "HOLDFAST_ADDRESS_EXPIRED", default_value = "100/900")]
    pub address_expired: Bound<Rate>,

    /// Most failed sign-ins, unknown bearer keys and unknown hold or waitlist ids from one address
    /// within any window, as ATTEMPTS/SECONDS, or off. While it is used up, right ones are refused
    /// as well.
    #[arg(long, env = "HOLDFAST_ADDRESS_ATTEMPTS", default_value = "60/60")]
    pub address_attempts: Bound<Rate>,

    /// Networks whose connections no bound for addresses applies to, separated by commas, or none:
    /// this machine and the shop's own back ends.
    #[arg(
        long,
        env = "HOLDFAST_UNLIMITED_NETWORKS",
        default_value = "127.0.0.0/8,::1"
    )]
    pub unlimited_networks: UnlimitedNetworks,

    /// Networks whose X-Forwarded-For is believed, separated by commas: 10.0.0.0/8,::1. The client
    /// is the rightmost hop outside, and bounded wherever the proxy runs.
    #[arg(long, env = "HOLDFAST_TRUSTED_PROXIES", default_value = "")]
    pub trusted_proxies: TrustedProxies,

    /// Most connections at once from one address (IPv6: from one /64 network), streams among them;
    /// one more is answered 429. Raise it where many clients share an address.
    #[arg(long, env = "HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections_per_address: u32,

    /// Most streams at once from one address; behind a trusted proxy, of one forwarded address. One
    /// more is answered 429.
    #[arg(long, env = "HOLDFAST_MAX_STREAMS_PER_ADDRESS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_streams_per_address: u32,
}

impl EdgeSettings {
    /// The limiter that these settings ask for.
    #[must_use]
    pub fn limiter(&self) -> Limiter {
        let bounds = Bounds {
            requests: self.address_limit,
            holds: self.address_holds,
            entries: self.address_waitlist,
            expired: self.address_expired,
            attempts: self.address_attempts,
        };
        let (trusted, unlimited) = (&self.trusted_proxies, &self.unlimited_networks);
        Limiter::new(bounds, trusted.clone(), unlimited.clone())
    }
}

/// How buyers say who they are.
#[derive(Debug, Clone, Args)]
pub struct BuyerSettings {
    /// Secret that the shop signs buyers' tokens with (JWT, HS256); without it, the buyer_id of a
    /// request is believed. At least 32 bytes where other machines reach the server: any buyer can
    /// test guesses on their own token.
    #[arg(long, env = "HOLDFAST_BUYER_SECRET", hide_env_values = true)]
    pub buyer_secret: Option<String>,

    /// Audience that a buyer's token must contain in its aud claim. Without it, tokens with an aud
    /// claim are refused (RFC 7519, section 4.1.3).
    #[arg(long, env = "HOLDFAST_BUYER_AUDIENCE", value_name = "TEXT")]
    pub buyer_audience: Option<String>,

    /// Longest lifetime of a buyer's token, in seconds: one whose exp is farther ahead is refused.
    #[arg(long, env = "HOLDFAST_BUYER_TOKEN_MAX_SECONDS", value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(1..=31_622_400))]
    pub buyer_token_max_seconds: u32,

    /// Difference between the shop's clock and this one that the exp, nbf and iat of a buyer's
    /// token may show, in seconds.
    #[arg(long, env = "HOLDFAST_BUYER_LEEWAY_SECONDS", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=300))]
    pub buyer_leeway_seconds: u32,
}

/// The bearer keys.
#[derive(Debug, Clone, Args)]
pub struct KeySettings {
    /// Bearer key of admins; made in the data directory when not given. Must be given where other machines reach the server; take 16
    /// characters or more there. Fewer than 5 are refused there.
    #[arg(long, env = "HOLDFAST_ADMIN_KEY", hide_env_values = true)]
    pub admin_key: Option<String>,

    /// Bearer key of auditors; as the admin key.
    #[arg(long, env = "HOLDFAST_AUDITOR_KEY", hide_env_values = true)]
    pub auditor_key: Option<String>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Generated keys are for one machine.
    #[error(
        "listening on {listen}, which other machines can reach, needs --admin-key and --auditor-key"
    )]
    KeysRequired {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// A key that no header can carry.
    #[error("{name} must be visible ASCII, at least one character")]
    NoKey {
        /// Which one.
        name: &'static str,
    },
    /// A key that anyone finds by trying.
    #[error(
        "{name} has {characters} characters, and other machines can reach {listen}: it would be found by trying. \
         Take at least {SHORTEST_KEY}, and rather what `openssl rand -hex 24` prints"
    )]
    ShortKey {
        /// Which one.
        name: &'static str,
        /// Its length.
        characters: usize,
        /// The address asked for.
        listen: SocketAddr,
    },
    /// Tokens signed with it could be anybody's, and without one there would be none.
    #[error(
        "the buyer secret is empty: set HOLDFAST_BUYER_SECRET to what the shop signs with, or unset it to believe every buyer_id"
    )]
    EmptyBuyerSecret,
    /// Tokens without an audience would be accepted.
    #[error(
        "the buyer audience is empty: set HOLDFAST_BUYER_AUDIENCE to what the shop's tokens have as aud, or unset it"
    )]
    EmptyBuyerAudience,
    /// Whoever has one token could find it by trying, and then be any buyer.
    #[error(
        "the buyer secret has {bytes} bytes, and other machines can reach {listen}: HS256 needs {MIN_SECRET_BYTES} or more \
         (RFC 7518, section 3.2), because any buyer can test guesses on their own token; \
         set HOLDFAST_BUYER_SECRET to what `openssl rand -hex 32` prints"
    )]
    ShortBuyerSecret {
        /// Its length.
        bytes: usize,
        /// The address asked for.
        listen: SocketAddr,
    },
    /// Whoever reads the log could sell from it.
    #[error("the admin key and the auditor key must differ")]
    SameKeys,
    /// The data directory cannot be used.
    #[error("cannot keep keys in {path}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What buyers' tokens must be, if the shop signs any.
///
/// On a loopback address a secret below [`MIN_SECRET_BYTES`] is only warned of: a developer's
/// machine, or a server behind a proxy that was started with such a secret before this was checked.
///
/// # Errors
/// [`ConfigError::EmptyBuyerSecret`]: an empty secret would let anybody be any buyer;
/// [`ConfigError::ShortBuyerSecret`];
/// [`ConfigError::EmptyBuyerAudience`].
pub fn buyer_tokens(settings: &Settings) -> Result<Option<BuyerTokens>, ConfigError> {
    let (buyers, listen) = (&settings.buyers, settings.listen);
    if buyers.buyer_audience.as_deref() == Some("") {
        return Err(ConfigError::EmptyBuyerAudience);
    }
    let Some(secret) = &buyers.buyer_secret else {
        if !listen.ip().is_loopback() {
            warn!(
                "HOLDFAST_BUYER_SECRET is not set, and other machines can reach {listen}: any client \
                 can hold, buy and release as any buyer. Use this only where the shop's own back \
                 ends alone reach the address; for buyers' browsers, set the secret that the shop \
                 signs their tokens with"
            );
        }
        return Ok(None);
    };
    let bytes = secret.len();
    if bytes == 0 {
        return Err(ConfigError::EmptyBuyerSecret);
    }
    if bytes < MIN_SECRET_BYTES {
        if !listen.ip().is_loopback() {
            return Err(ConfigError::ShortBuyerSecret { bytes, listen });
        }
        warn!(
            "the buyer secret has {bytes} bytes: any buyer can test guesses on their own token, and a guess that fits signs \
             tokens for every buyer. Set HOLDFAST_BUYER_SECRET to {MIN_SECRET_BYTES} bytes or more, for instance what \
             `openssl rand -hex 32` prints"
        );
    }
    Ok(Some(BuyerTokens {
        key: Hs256::new(secret.as_bytes()),
        audience: buyers.buyer_audience.clone(),
        max_seconds: buyers.buyer_token_max_seconds,
        leeway_seconds: buyers.buyer_leeway_seconds,
    }))
}

/// The shortest key, in characters, that nobody is advised to make longer.
const ADVISED_KEY: usize = 16;

/// The shortest key, in characters, that can be used where other machines reach the server: at the
/// 60 attempts a minute that an address has, four letters and digits are found within three weeks,
/// and five within two years.
const SHORTEST_KEY: usize = 5;

/// On one's own machine a key that can be found by trying is only warned of; what others can reach,
/// others can try.
fn advise(name: &'static str, key: &str, listen: SocketAddr) -> Result<(), ConfigError> {
    let (is_reached, characters) = (!listen.ip().is_loopback(), key.len());
    if characters < SHORTEST_KEY {
        if is_reached {
            return Err(ConfigError::ShortKey {
                name,
                characters,
                listen,
            });
        }
        warn!(
            "{name} has {characters} characters: it can be found by trying, and no server that other machines reach takes it"
        );
    } else if is_reached && characters < ADVISED_KEY {
        warn!(
            "{name} has fewer than {ADVISED_KEY} characters, and other machines can reach {listen}: it could be found by trying. \
             Set a longer one, for instance what `openssl rand -hex 24` prints"
        );
    }
    Ok(())
}

/// The keys that were given; for the rest, those in `data_dir`, made now if need be.
///
/// # Errors
/// [`ConfigError`].
pub fn load_keys(
    settings: &KeySettings,
    data_dir: &Path,
    listen: SocketAddr,
) -> Result<Keys, ConfigError> {
    let given = settings.admin_key.is_some() && settings.auditor_key.is_some();
    if !given && !listen.ip().is_loopback() {
        return Err(ConfigError::KeysRequired { listen });
    }
    let admin = given_or_kept(settings.admin_key.as_deref(), &admin_key_file(data_dir))?;
    let auditor = given_or_kept(settings.auditor_key.as_deref(), &auditor_key_file(data_dir))?;
    if admin == auditor {
        return Err(ConfigError::SameKeys);
    }
    let key = |name, text: &str| {
        let key = Key::new(text).ok_or(ConfigError::NoKey { name })?;
        advise(name, text, listen)?;
        Ok(key)
    };
    Ok(Keys {
        admin: key("the admin key", &admin)?,
        auditor: key("the auditor key", &auditor)?,
    })
}

/// Where a generated admin key is kept.
#[must_use]
pub fn admin_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.key")
}

/// Where a generated auditor key is kept.
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
        auditor_key: None,
    };

    #[test]
    fn generated_keys_are_kept_and_are_for_loopback_only() {
        let directory =
            std::env::temp_dir().join(format!("holdfast-keys-{}", uuid::Uuid::new_v4()));
        let listen = "127.0.0.1:0".parse().unwrap();
        let made = load_keys(&NONE, &directory, listen).unwrap();
        let kept = fs::read_to_string(admin_key_file(&directory)).unwrap();
        assert!(made.admin.matches(kept.trim()));
        assert!(!made.auditor.matches(kept.trim()));
        assert!(
            load_keys(&NONE, &directory, listen)
                .unwrap()
                .admin
                .matches(kept.trim())
        );
        let everywhere = "0.0.0.0:0".parse().unwrap();
        assert!(matches!(
            load_keys(&NONE, &directory, everywhere),
            Err(ConfigError::KeysRequired { .. })
        ));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn an_address_to_listen_on_may_be_a_name() {
        for (text, expected) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:0", "[::1]:0"),
            ("0.0.0.0:65535", "0.0.0.0:65535"),
            ("localhost:8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(address(text), Ok(expected.parse().unwrap()), "{text}");
        }
        for text in ["", "localhost", "127.0.0.1", ":8080x", "localhost:65536"] {
            assert!(address(text).unwrap_err().contains("HOST:PORT"), "{text}");
        }
    }
}
