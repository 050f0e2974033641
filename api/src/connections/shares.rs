//! How much of one resource each client address holds, and that it is no more than its share.
//!
//! Promise: an address that is not exempt never holds more than its share, and gives back what it
//! held when the holder is dropped. Exempt are the networks without limits, and a trusted proxy's
//! own connections: it stands for many clients, which are bounded one by one. Limit: counted per process; IPv6 by /64.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use tracing::warn;

use crate::limiter::address::{Client, Origin, TrustedProxies, UnlimitedNetworks};
use crate::problem::{Code, Problem, RETRY_AFTER};

/// How often at most a refusal is written to the log.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Which peers limits per address apply to.
#[derive(Debug, Clone, Default)]
pub struct Exemptions {
    /// Peers without limits.
    pub unlimited: UnlimitedNetworks,
    /// Peers that stand for those whom they forward.
    pub trusted: TrustedProxies,
}

/// What is shared.
#[derive(Debug, Clone, Copy)]
struct Resource {
    /// Its name in the plural.
    name: &'static str,
    /// The setting that bounds it.
    setting: &'static str,
}

/// See the module. Clones count together.
#[derive(Debug, Clone)]
pub struct Shares(Arc<Counted>);

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
    /// Refusals that the log does not tell of yet.
    refused: u64,
    logged_at: Option<Instant>,
}

/// One unit of an address's share, given back when dropped.
pub(crate) struct Share {
    of: Arc<Counted>,
    client: Client,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the address, which is personal data.
        f.debug_struct("Share").finish_non_exhaustive()
    }
}

impl Shares {
    /// At most `most` connections for each address.
    pub fn of_connections(most: u32, exemptions: Exemptions) -> Self {
        let resource = Resource {
            name: "connections",
            setting: "HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS",
        };
        Self::new(resource, most, exemptions)
    }

    /// At most `most` streams for each address.
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

    /// One more for a connection from `peer`; none for a peer that is exempt.
    ///
    /// # Errors
    /// 429 when the address has its share.
    pub(crate) fn of_peer(&self, peer: IpAddr) -> Result<Option<Share>, Problem> {
        let Exemptions { unlimited, trusted } = &self.0.exemptions;
        if unlimited.contains(peer) || trusted.trust(peer) {
            return Ok(None);
        }
        self.take(peer.into()).map(Some)
    }

    /// One more for a request from `peer`: for the client that a trusted proxy forwards; none for
    /// one that is exempt.
    ///
    /// # Errors
    /// 429 when the address has its share.
    pub(crate) fn of_client(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Result<Option<Share>, Problem> {
        let Exemptions { unlimited, trusted } = &self.0.exemptions;
        match trusted.origin(peer, headers, unlimited) {
            Origin::Unlimited => Ok(None),
            Origin::Limited(client) => self.take(client).map(Some),
        }
    }

    fn take(&self, client: Client) -> Result<Share, Problem> {
        let Counted { most, resource, .. } = *self.0;
        let mut held = self.0.held();
        let units = held.by_client.entry(client).or_default();
        if *units < most {
            *units += 1;
            let of = Arc::clone(&self.0);
            return Ok(Share { of, client });
        }
        held.note_refusal(resource, most);
        drop(held);
        let Resource { name, setting } = resource;
        let detail = format!("This address has {most} {name} open, the most allowed ({setting}).");
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

impl Drop for Share {
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

    fn shares(most: u32, unlimited: &str, trusted: &str) -> Shares {
        let exemptions = Exemptions {
            unlimited: unlimited.parse().unwrap(),
            trusted: trusted.parse().unwrap(),
        };
        Shares::of_streams(most, exemptions)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_gets_its_share_and_gives_it_back() {
        let shares = shares(2, "none", "");
        let held: Vec<_> = (0..2).map(|_| shares.of_peer(ip("192.0.2.1"))).collect();
        assert!(held.iter().all(|share| matches!(share, Ok(Some(_)))));
        let refused = shares.of_peer(ip("192.0.2.1")).unwrap_err();
        assert_eq!(refused.code(), Code::TooManyConnections);
        assert!(shares.of_peer(ip("192.0.2.2")).is_ok(), "another address");
        drop(held);
        assert!(shares.of_peer(ip("192.0.2.1")).is_ok());
        assert!(shares.0.held().by_client.is_empty(), "nothing is kept");
    }

    #[test]
    fn exempt_peers_have_no_limit_and_a_proxy_stands_for_its_clients() {
        let shares = shares(0, "127.0.0.0/8", "10.0.0.0/8");
        assert!(matches!(shares.of_peer(ip("127.0.0.9")), Ok(None)));
        assert!(matches!(shares.of_peer(ip("::ffff:127.0.0.9")), Ok(None)));
        assert!(matches!(shares.of_peer(ip("10.0.0.1")), Ok(None)));
        assert!(shares.of_peer(ip("192.0.2.1")).is_err());
        let forwarded = |client: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", client.parse().unwrap());
            shares.of_client(ip("10.0.0.1"), &headers).is_ok()
        };
        assert!(!forwarded("192.0.2.1"));
        assert!(
            !forwarded("127.0.0.1"),
            "a proxy's clients are bounded wherever they are"
        );
        assert!(matches!(
            shares.of_client(ip("10.0.0.1"), &HeaderMap::new()),
            Ok(None)
        ));
    }
}
