//! Limits how much of one resource each client address holds.
//!
//! Promise: an address that is not exempt never holds more than the limit, and its permit is
//! returned when dropped. Exempt are the unlimited networks, and the connections of a trusted
//! proxy: it forwards many clients, which are limited one by one. Limit: counted per process; IPv6
//! by /64.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use tracing::warn;

use crate::limiter::address::{Client, Origin, TrustedProxies, UnlimitedNetworks};
use crate::problem::{Code, Problem, RETRY_AFTER};

/// Shortest time between two log lines about refusals.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Peers that limits per address do not apply to.
#[derive(Debug, Clone, Default)]
pub struct Exemptions {
    pub unlimited: UnlimitedNetworks,
    /// Proxies, whose forwarded clients are limited instead.
    pub trusted: TrustedProxies,
}

#[derive(Debug, Clone, Copy)]
struct Resource {
    /// Its name in the plural, for texts.
    name: &'static str,
    /// The setting that defines the limit.
    setting: &'static str,
}

/// The limit of one resource per client address. Clones share their counts.
#[derive(Debug, Clone)]
pub struct AddressLimit(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    resource: Resource,
    most: u32,
    exemptions: Exemptions,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_client: HashMap<Client, u32>,
    /// Refusals that were not logged yet.
    refused: u64,
    logged_at: Option<Instant>,
}

/// One unit of an address's limit, returned when dropped.
pub(crate) struct AddressPermit {
    of: Arc<Counted>,
    client: Client,
}

impl fmt::Debug for AddressPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Omits the address, which is personal data.
        f.debug_struct("AddressPermit").finish_non_exhaustive()
    }
}

impl AddressLimit {
    /// Allows `most` connections per address.
    pub fn of_connections(most: u32, exemptions: Exemptions) -> Self {
        let resource = Resource {
            name: "connections",
            setting: "HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS",
        };
        Self::new(resource, most, exemptions)
    }

    /// Allows `most` streams per address.
    pub fn of_streams(most: u32, exemptions: Exemptions) -> Self {
        let resource = Resource {
            name: "streams",
            setting: "HOLDFAST_MAX_STREAMS_PER_ADDRESS",
        };
        Self::new(resource, most, exemptions)
    }

    fn new(resource: Resource, most: u32, exemptions: Exemptions) -> Self {
        Self(Arc::new(Counted {
            resource,
            most,
            exemptions,
            held: Mutex::default(),
        }))
    }

    /// Returns true if `peer` is a trusted proxy.
    pub(crate) fn is_proxy(&self, peer: IpAddr) -> bool {
        self.0.exemptions.trusted.trust(peer)
    }

    /// Takes a permit for a connection from `peer`; `None` if the peer is exempt.
    ///
    /// # Errors
    /// 429 when the address has reached its limit.
    pub(crate) fn of_peer(&self, peer: IpAddr) -> Result<Option<AddressPermit>, Problem> {
        let Exemptions { unlimited, trusted } = &self.0.exemptions;
        if unlimited.contains(peer) || trusted.trust(peer) {
            return Ok(None);
        }
        self.take(peer.into()).map(Some)
    }

    /// Takes a permit for a request from `peer`, or from the client that a trusted proxy forwards;
    /// `None` if that address is exempt.
    ///
    /// # Errors
    /// 429 when the address has reached its limit.
    pub(crate) fn of_client(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Result<Option<AddressPermit>, Problem> {
        let Exemptions { unlimited, trusted } = &self.0.exemptions;
        match trusted.origin(peer, headers, unlimited) {
            Origin::Unlimited => Ok(None),
            Origin::Limited(client) => self.take(client).map(Some),
        }
    }

    fn take(&self, client: Client) -> Result<AddressPermit, Problem> {
        let Counted { most, resource, .. } = *self.0;
        let mut held = self.0.held();
        let units = held.by_client.entry(client).or_default();
        if *units < most {
            *units += 1;
            let of = Arc::clone(&self.0);
            return Ok(AddressPermit { of, client });
        }
        held.note_refusal(resource, most);
        drop(held);
        let Resource { name, setting } = resource;
        let detail = format!(
            "This address has {most} {name} open, the limit per address ({setting}). Close one, then retry."
        );
        Err(Problem::new(Code::TooManyConnections, detail)
            .with("limit", most)
            .with("retry_after", RETRY_AFTER.as_secs())
            .header(
                axum::http::header::RETRY_AFTER,
                RETRY_AFTER.as_secs().to_string(),
            ))
    }
}

impl Counted {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn note_refusal(&mut self, resource: Resource, most: u32) {
        self.refused += 1;
        let is_due = |at: Instant| at.elapsed() >= LOG_EVERY;
        if self.logged_at.is_none_or(is_due) {
            let Resource { name, setting } = resource;
            let refused = std::mem::take(&mut self.refused);
            warn!(
                refused,
                "client addresses reached their limit of {most} {name} ({setting}); {refused} refused"
            );
            self.logged_at = Some(Instant::now());
        }
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut held = self.of.held();
        if let Some(units) = held.by_client.get_mut(&self.client) {
            *units = units.saturating_sub(1);
            if *units == 0 {
                held.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(most: u32, unlimited: &str, trusted: &str) -> AddressLimit {
        let exemptions = Exemptions {
            unlimited: unlimited.parse().unwrap(),
            trusted: trusted.parse().unwrap(),
        };
        AddressLimit::of_streams(most, exemptions)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn address_gets_permits_up_to_the_limit_and_returns_them() {
        let limit = limit(2, "none", "");
        let held: Vec<_> = (0..2).map(|_| limit.of_peer(ip("192.0.2.1"))).collect();
        assert!(held.iter().all(|share| matches!(share, Ok(Some(_)))));
        let refused = limit.of_peer(ip("192.0.2.1")).unwrap_err();
        assert_eq!(refused.code(), Code::TooManyConnections);
        assert!(limit.of_peer(ip("192.0.2.2")).is_ok(), "another address");
        drop(held);
        assert!(limit.of_peer(ip("192.0.2.1")).is_ok());
        assert!(limit.0.held().by_client.is_empty(), "no entry is kept");
    }

    #[test]
    fn exempt_peers_have_no_limit_and_clients_of_a_proxy_are_limited() {
        let limit = limit(0, "127.0.0.0/8", "10.0.0.0/8");
        assert!(matches!(limit.of_peer(ip("127.0.0.9")), Ok(None)));
        assert!(matches!(limit.of_peer(ip("::ffff:127.0.0.9")), Ok(None)));
        assert!(matches!(limit.of_peer(ip("10.0.0.1")), Ok(None)));
        assert!(limit.of_peer(ip("192.0.2.1")).is_err());
        let forwarded = |client: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", client.parse().unwrap());
            limit.of_client(ip("10.0.0.1"), &headers).is_ok()
        };
        assert!(!forwarded("192.0.2.1"));
        assert!(
            !forwarded("127.0.0.1"),
            "clients of a proxy are limited whatever their address"
        );
        assert!(matches!(
            limit.of_client(ip("10.0.0.1"), &HeaderMap::new()),
            Ok(None)
        ));
    }
}
