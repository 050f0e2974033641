//! Every setting, as a flag and an environment variable, and the generated keys.

pub mod buyers;
pub mod push;

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use database::DatabaseSettings;
use payments::stripe::InvalidSetting;
use payments::{PaymentError, Stripe, StripeSettings};
use telemetry::{Endpoint, ExporterError};
use terminal::arguments::whole;
use tracing::warn;

pub use self::buyers::{BuyerSettings, BuyersError};
pub use self::push::PushSettings;

use crate::admin_keys::{self, AdminKeysError};
use api::base_path::BasePath;
use api::keys::AdminKey;
use api::keys::{Key, Keys};
use api::limiter::Limiter;
use api::limiter::address::{TrustedProxies, UnlimitedNetworks};
use api::limiter::settings::{Bound, Bounds, Count, Rate};
use api::origins::PermittedOrigins;
use domain::values::AdminName;
use webhooks::networks::PermittedNetworks;
use webhooks::schedule::Schedule;

use crate::theme::BrandSettings;

/// Settings of a server.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address to listen on, as HOST:PORT; port 0 picks a free one, which is printed.
    #[arg(long, env = "HOLDFAST_LISTEN", default_value = "127.0.0.1:8080", value_parser = address)]
    pub listen: SocketAddr,

    #[command(flatten)]
    pub database: DatabaseSettings,

    /// Synchronous standbys of the database without which nothing is acknowledged: requests and
    /// readiness get 503 while synchronous_standby_names asks for fewer. 0 requires none.
    #[arg(long, env = "HOLDFAST_REQUIRE_SYNC", default_value_t = 0, value_parser = whole::<u32, 0, 100>)]
    pub require_sync: u32,

    #[command(flatten)]
    pub keys: KeySettings,

    #[command(flatten)]
    pub buyers: BuyerSettings,

    #[command(flatten)]
    pub edge: EdgeSettings,

    #[command(flatten)]
    pub brand: BrandSettings,

    /// Collector of OpenTelemetry to send spans and metrics to, by OTLP over HTTP, such as
    /// <http://127.0.0.1:4318>. Precedes OTEL_EXPORTER_OTLP_ENDPOINT. By default nothing is recorded.
    #[arg(long, env = "HOLDFAST_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<Endpoint>,

    #[command(flatten)]
    pub webhooks: WebhookSettings,

    #[command(flatten)]
    pub push: PushSettings,

    #[command(flatten)]
    pub payments: PaymentSettings,

    /// Commands that may wait in the engine's queue; further requests get 503 immediately.
    #[arg(long, env = "HOLDFAST_QUEUE", default_value_t = 16_384, value_parser = whole::<u32, 1, 1_000_000>)]
    pub queue: u32,

    /// Most entries in the waitlist of one drop; further ones are refused (409 waitlist_full).
    #[arg(long, env = "HOLDFAST_MAX_WAITLIST", default_value_t = 200_000, value_parser = whole::<u32, 1, 10_000_000>)]
    pub max_waitlist: u32,

    /// Largest difference between this server's clock and the database's, in milliseconds. Beyond
    /// it the engine decides nothing and requests get 503. Also the largest distance of the log's
    /// newest event into the future of the database's clock. The database itself refuses events
    /// more than 2000 ms in the future, so a larger value tolerates only clocks that are behind,
    /// and logs that already contain such events.
    #[arg(long, env = "HOLDFAST_MAX_CLOCK_SKEW_MS", default_value_t = 2_000, value_parser = whole::<u32, 100, { u32::MAX }>)]
    pub max_clock_skew_ms: u32,

    /// Most concurrent connections, including streams; further ones get 503. Capped by the system's
    /// limit of open files.
    #[arg(long, env = "HOLDFAST_MAX_CONNECTIONS", default_value_t = 30_000, value_parser = whole::<u32, 1, 1_000_000>)]
    pub max_connections: u32,

    /// Longest wait, in seconds, for the complete head of a request after its first byte, and for
    /// the first byte of a new connection. Then the connection is closed.
    #[arg(long, env = "HOLDFAST_HEAD_SECONDS", default_value_t = 10, value_parser = whole::<u32, 1, 300>)]
    pub head_seconds: u32,

    /// Longest time, in seconds, that a connection may be idle between two requests, or that a
    /// client may accept none of the data sent to it. Set it above the idle timeout of proxies in
    /// front (commonly a minute), so that the proxy closes the connection first.
    #[arg(long, env = "HOLDFAST_IDLE_SECONDS", default_value_t = 75, value_parser = whole::<u32, 1, 3600>)]
    pub idle_seconds: u32,

    /// Time, in seconds, for which a stopping server goes on serving while /health/ready is 503, so
    /// that proxies send new requests elsewhere first. Set it above the time that the proxy's
    /// health checks need. `demo` has 0.
    #[arg(long, env = "HOLDFAST_DRAIN_SECONDS", default_value_t = 2, value_parser = whole::<u32, 0, 600>)]
    pub drain_seconds: u32,

    /// Most concurrent watchers of the live stream; further ones get 503.
    #[arg(long, env = "HOLDFAST_MAX_WATCHERS", default_value_t = 20_000, value_parser = whole::<usize, 1, 1_000_000>)]
    pub max_watchers: usize,

    /// Shortest interval between two states of one drop on the live stream, in milliseconds.
    #[arg(long, env = "HOLDFAST_STREAM_INTERVAL_MS", default_value_t = 50, value_parser = whole::<u32, 1, 10_000>)]
    pub stream_interval_ms: u32,
}

/// Parses an address, or resolves a host name. Prefers IPv4, like the default.
fn address(text: &str) -> Result<SocketAddr, String> {
    let form = || "must be HOST:PORT, for example 127.0.0.1:8080".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(form());
    }
    let found: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|_| "the host name cannot be resolved".to_owned())?
        .collect();
    let of_version_4 = found.iter().find(|address| address.is_ipv4());
    of_version_4
        .or(found.first())
        .copied()
        .ok_or_else(|| "the host name has no address".to_owned())
}

/// Limits per client address. Each process counts separately.
#[derive(Debug, Clone, Args)]
pub struct EdgeSettings {
    /// Most requests for stock (holds, waitlist entries) from one address within any window, as
    /// REQUESTS/SECONDS, or off. Requests with the admin key and retries of answered requests are
    /// exempt. Each process counts separately; so do the other limits per address.
    #[arg(long, env = "HOLDFAST_ADDRESS_LIMIT", default_value = "600/60")]
    pub address_limit: Bound<Rate>,

    /// Most unresolved holds per address, or off.
    #[arg(long, env = "HOLDFAST_ADDRESS_HOLDS", default_value = "100")]
    pub address_holds: Bound<Count>,

    /// Most waiting waitlist entries per address, or off. Holds beyond --address-holds that were
    /// offered to entries count as entries.
    #[arg(long, env = "HOLDFAST_ADDRESS_WAITLIST", default_value = "100")]
    pub address_waitlist: Bound<Count>,

    /// Expired holds of one address within any window, as HOLDS/SECONDS, or off. At the limit, new
    /// requests for stock from the address are refused until the oldest expiry leaves the window.
    #[arg(long, env = "HOLDFAST_ADDRESS_EXPIRED", default_value = "100/900")]
    pub address_expired: Bound<Rate>,

    /// Most failed sign-ins, unknown bearer keys and unknown hold or waitlist ids from one address
    /// within any window, as ATTEMPTS/SECONDS, or off. At the limit, valid keys and ids from the
    /// address are refused too.
    #[arg(long, env = "HOLDFAST_ADDRESS_ATTEMPTS", default_value = "60/60")]
    pub address_attempts: Bound<Rate>,

    /// Networks that are exempt from all limits per address, separated by commas, or none. By
    /// default this machine; add the shop's own back ends.
    #[arg(
        long,
        env = "HOLDFAST_UNLIMITED_NETWORKS",
        default_value = "127.0.0.0/8,::1"
    )]
    pub unlimited_networks: UnlimitedNetworks,

    /// Path of the host below which the shop is mounted, such as /shop: every page, file, cookie
    /// and link is there. The proxy passes the path on unchanged. By default the path of
    /// HOLDFAST_PUBLIC_URL, or none.
    #[arg(long, env = "HOLDFAST_BASE_PATH", value_name = "PATH")]
    pub base_path: Option<BasePath>,

    /// Networks whose X-Forwarded-For header is trusted, separated by commas: 10.0.0.0/8,::1. The
    /// client is the rightmost hop outside of them; limits apply to it wherever the proxy runs.
    #[arg(long, env = "HOLDFAST_TRUSTED_PROXIES", default_value = "")]
    pub trusted_proxies: TrustedProxies,

    /// Most concurrent connections per address (IPv6: per /64 network), including streams; further
    /// ones get 429. Raise it where many clients share an address.
    #[arg(long, env = "HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 1_000, value_parser = whole::<u32, 1, 1_000_000>)]
    pub max_connections_per_address: u32,

    /// Most concurrent streams per address (behind a trusted proxy, per forwarded address); further
    /// ones get 429.
    #[arg(long, env = "HOLDFAST_MAX_STREAMS_PER_ADDRESS", default_value_t = 500, value_parser = whole::<u32, 1, 1_000_000>)]
    pub max_streams_per_address: u32,

    /// Origins of other sites whose pages may use the API from browsers (CORS), separated by
    /// commas: `https://shop.example,http://localhost:3000`. Cookies are never accepted from them.
    #[arg(
        long,
        env = "HOLDFAST_CORS_ORIGINS",
        default_value = "",
        value_name = "ORIGINS"
    )]
    pub cors_origins: PermittedOrigins,
}

/// Returns the path below which the shop is mounted: the configured one, or that of the shop's
/// address.
///
/// # Errors
/// [`ConfigError::TwoBasePaths`] if they differ. An address without a path says nothing.
pub fn mounted_at(
    base_path: Option<&BasePath>,
    of_address: &BasePath,
) -> Result<BasePath, ConfigError> {
    match base_path {
        None => Ok(of_address.clone()),
        Some(path) if path == of_address || of_address.as_str().is_empty() => Ok(path.clone()),
        Some(path) => Err(ConfigError::TwoBasePaths {
            base_path: path.as_str().to_owned(),
            of_address: of_address.as_str().to_owned(),
        }),
    }
}

impl EdgeSettings {
    /// Creates the limiter for these settings.
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

/// How outgoing webhooks are sent.
#[derive(Debug, Clone, Args)]
pub struct WebhookSettings {
    /// Networks that webhooks may be sent to although they are not public, separated by commas:
    /// 10.1.0.0/16,::1. Only there also without TLS. By default only public addresses are
    /// permitted.
    #[arg(long, env = "HOLDFAST_WEBHOOK_NETWORKS", default_value = "")]
    pub webhook_networks: PermittedNetworks,

    /// Pauses after the failed attempts of a delivery, separated by commas. After the last one the
    /// delivery is given up.
    #[arg(long, env = "HOLDFAST_WEBHOOK_RETRIES", default_value_t = Schedule::default())]
    pub webhook_retries: Schedule,

    /// Longest wait for the response to a webhook, in seconds.
    #[arg(long, env = "HOLDFAST_WEBHOOK_TIMEOUT_SECONDS", default_value_t = 20, value_parser = whole::<u32, 1, 60>)]
    pub webhook_timeout_seconds: u32,
}

impl WebhookSettings {
    /// Returns the settings of the dispatchers.
    #[must_use]
    pub fn service(&self) -> webhooks::service::Settings {
        webhooks::service::Settings {
            networks: self.webhook_networks.clone(),
            schedule: self.webhook_retries.clone(),
            timeout: Duration::from_secs(self.webhook_timeout_seconds.into()),
        }
    }
}

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
        // Where buyers are believed, or sign in under any name, anybody can purchase without money
        // anyway.
        DemoPayments::Auto => settings.buyers.are_believed() || settings.buyers.demo_sign_in,
    }
}

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

/// A number of things that have a regular plural.
fn counted(number: usize, thing: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{ending}")
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Generated keys are accepted only on a loopback address.
    #[error(
        "listening on {listen}, which other machines can reach, needs --admin-key and --auditor-key"
    )]
    KeysRequired { listen: SocketAddr },
    /// A key that cannot be sent in a header.
    #[error("{name} must be visible ASCII, at least one character")]
    NoKey { name: String },
    /// The keys of several administrators.
    #[error(transparent)]
    AdminKeys(#[from] AdminKeysError),
    /// A key short enough to be found by trying.
    #[error(
        "{name} has {}, and other machines can reach {listen}: it can be guessed. \
         Use at least {SHORTEST_KEY} characters, preferably the output of `openssl rand -hex 24`",
        counted(*.characters, "character")
    )]
    ShortKey {
        name: String,
        characters: usize,
        listen: SocketAddr,
    },
    #[error(transparent)]
    Buyers(BuyersError),
    /// Otherwise auditors could act as administrators.
    #[error("the admin key and the auditor key must differ")]
    SameKeys,
    /// A part of Stripe's settings is missing, so payments would fail later.
    #[error(
        "{missing} is required to use Stripe; unset the other settings of Stripe to do without it"
    )]
    IncompleteStripe { missing: &'static str },
    #[error(transparent)]
    Stripe(InvalidSetting),
    #[error("Stripe cannot be used")]
    StripeUnusable(#[source] PaymentError),
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT {0}")]
    OtlpVariable(String),
    #[error(transparent)]
    Exporter(ExporterError),
    /// The address of the shop and the base path name two paths.
    #[error(
        "HOLDFAST_BASE_PATH is {base_path}, but the address of the shop (HOLDFAST_PUBLIC_URL, or \
         public_url of the theme) has the path {of_address}: make them equal, or leave \
         HOLDFAST_BASE_PATH out"
    )]
    TwoBasePaths {
        base_path: String,
        of_address: String,
    },
    /// The data directory cannot be used.
    #[error("cannot keep keys in {path}")]
    KeyFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Keys of at least this many characters log no warning.
const ADVISED_KEY: usize = 16;

/// The shortest key, in characters, that is accepted where other machines can reach the server. At
/// the 60 attempts a minute that an address has, four letters and digits are found within three
/// weeks, and five within two years.
const SHORTEST_KEY: usize = 5;

/// Rejects a short key where other machines can reach the server; elsewhere logs a warning.
fn advise(name: &str, key: &str, listen: SocketAddr) -> Result<(), ConfigError> {
    let (is_reached, characters) = (!listen.ip().is_loopback(), key.len());
    if characters < SHORTEST_KEY {
        if is_reached {
            return Err(ConfigError::ShortKey {
                name: name.to_owned(),
                characters,
                listen,
            });
        }
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
    let named = settings.admin_keys.as_deref().map(admin_keys::parse);
    let named = named.transpose()?.unwrap_or_default();
    let has_admin = settings.admin_key.is_some() || !named.is_empty();
    let given = has_admin && settings.auditor_key.is_some();
    if !given && !listen.ip().is_loopback() {
        return Err(ConfigError::KeysRequired { listen });
    }
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
        let no_key = || ConfigError::NoKey {
            name: name.to_owned(),
        };
        let key = Key::new(text).ok_or_else(no_key)?;
        advise(name, text, listen)?;
        Ok::<_, ConfigError>(key)
    };
    let mut admins = vec![];
    if let Some(admin) = &admin {
        admins.push(AdminKey {
            name: AdminName::default(),
            key: key("the admin key", admin)?,
        });
    }
    for pair in &named {
        advise(&format!("the key of {}", pair.name), &pair.key, listen)?;
        admins.extend(admin_keys::key_of(pair));
    }
    Ok(Keys {
        admins,
        auditor: key("the auditor key", &auditor)?,
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
            let error = advise("the admin key", &key, listen).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn listen_address_may_be_a_host_name() {
        for (text, expected) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:0", "[::1]:0"),
            ("0.0.0.0:65535", "0.0.0.0:65535"),
            ("localhost:8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(address(text), Ok(expected.parse().unwrap()), "{text}");
        }
        let form = "must be HOST:PORT, for example 127.0.0.1:8080";
        for text in [
            "",
            "localhost",
            "127.0.0.1",
            ":8080",
            ":8080x",
            "localhost:65536",
            "127.0.0.1:-1",
        ] {
            assert_eq!(address(text).unwrap_err(), form, "{text}");
        }
        let unresolved = address("no host name:80").unwrap_err();
        assert_eq!(unresolved, "the host name cannot be resolved");
    }
}
