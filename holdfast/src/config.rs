//! Every setting, as a flag and an environment variable.

pub mod buyers;
mod keys;
mod payments;
pub mod push;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use ::payments::PaymentError;
use ::payments::stripe::InvalidSetting;
use api::base_path::BasePath;
use api::limiter::Limiter;
use api::limiter::address::{TrustedProxies, UnlimitedNetworks};
use api::limiter::settings::{Bound, Bounds, Count, Rate};
use api::origins::PermittedOrigins;
use clap::Args;
use database::DatabaseSettings;
use telemetry::{Endpoint, ExporterError};
use terminal::arguments::whole;
use webhooks::networks::PermittedNetworks;
use webhooks::schedule::Schedule;

pub use self::buyers::{BuyerSettings, BuyersError};
use self::keys::SHORTEST_KEY;
pub use self::keys::{KeySettings, admin_key_file, auditor_key_file, check_keys, load_keys};
pub use self::payments::{
    DemoPayments, LatePaymentsSetting, PaymentSettings, is_demo_offered, stripe,
};
pub use self::push::PushSettings;
use crate::admin_keys::AdminKeysError;
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
    /// <http://127.0.0.1:4318>. Precedes OTEL_EXPORTER_OTLP_ENDPOINT. By default nothing is
    /// recorded.
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
    #[arg(long, env = "HOLDFAST_MAX_CLOCK_SKEW_MS", default_value_t = 2_000, value_parser = whole::<u32, 100, 86_400_000>)]
    pub max_clock_skew_ms: u32,

    /// Time, in seconds, for which the clocks of this server and of the database must stay at a new
    /// time, after they jumped together, before anything is decided at it. Until then requests get
    /// 503. If they return earlier, everything goes on as if they had not jumped.
    #[arg(long, env = "HOLDFAST_CLOCK_HOLD_OFF_SECONDS", default_value_t = 60, value_parser = whole::<u32, 0, 86_400>)]
    pub clock_hold_off_seconds: u32,

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

impl ConfigError {
    /// Returns true if the settings alone are at fault, and not this machine.
    #[must_use]
    pub const fn is_of_settings(&self) -> bool {
        !matches!(self, Self::KeyFile { .. } | Self::StripeUnusable(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
