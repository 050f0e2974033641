//! The client address of a request: the rightmost one that no trusted proxy forwarded, and the
//! networks without limits.
//!
//! Promise: a header has no effect unless the connection comes from a trusted proxy. Then only the
//! addresses that trusted proxies appended are used, one hop at a time; addresses that the client
//! wrote itself are never reached. `X-Forwarded-For` and `Forwarded` (RFC 7239) are both read; a
//! request whose headers name different clients counts against its proxy. IPv6 is counted by /64,
//! because one household or one machine is assigned that much.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use axum::http::HeaderMap;
use ipnet::IpNet;

use crate::forwarded;

/// One client, as the limiter counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// An IPv4 address, or an IPv4-mapped IPv6 address.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address.
    V6([u8; 8]),
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let mut network = [0; 8];
                network.copy_from_slice(&address.octets()[..8]);
                Self::V6(network)
            }
        }
    }
}

/// Networks whose `X-Forwarded-For` and `Forwarded` are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl FromStr for TrustedProxies {
    type Err = String;

    /// Networks (`10.0.0.0/8`) or addresses, separated by commas; empty for none.
    fn from_str(text: &str) -> Result<Self, String> {
        networks(text).map(Self)
    }
}

/// Networks of this machine and of the shop's own back ends. Limits per address do not apply to
/// connections from there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnlimitedNetworks(Vec<IpNet>);

impl FromStr for UnlimitedNetworks {
    type Err = String;

    /// The format of [`TrustedProxies`]; `none` for none.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("none") {
            return Ok(Self::default());
        }
        networks(text).map(Self)
    }
}

impl UnlimitedNetworks {
    /// Returns true if connections from `address` are not limited.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let network = |part: &str| {
        let address = || part.parse::<IpAddr>().map(IpNet::from);
        part.parse::<IpNet>()
            .or_else(|_| address())
            .map_err(|_| format!("{part:?} is neither a network like 10.0.0.0/8 nor an address"))
    };
    parts.map(network).collect()
}

/// The origin of a request, for limits per address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// No limit applies.
    Unlimited,
    /// The limits of this client apply.
    Limited(Client),
}

impl TrustedProxies {
    /// Returns true if `address` is a trusted proxy.
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the origin of a request that a connection from `peer` sent with these headers.
    ///
    /// A proxy's own requests, which name no client, are unlimited. Its clients are limited,
    /// wherever the proxy runs.
    pub(crate) fn origin(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        unlimited: &UnlimitedNetworks,
    ) -> Origin {
        let peer = peer.to_canonical();
        if !self.trust(peer) {
            return match unlimited.contains(peer) {
                true => Origin::Unlimited,
                false => Origin::Limited(peer.into()),
            };
        }
        // Right to left: the last line comes from the nearest proxy, and its last address too.
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let one = self.client(peer, hops.map(address_in));
        let hops = forwarded::elements(headers).map(|element| element.client);
        let hops = hops.map(|client| address_in(client.unwrap_or_default().as_bytes()));
        let client = match (one, self.client(peer, hops)) {
            (None, None) => return Origin::Unlimited,
            (Some(client), None) | (None, Some(client)) => client,
            (Some(one), Some(other)) if Client::from(one) == Client::from(other) => one,
            // A proxy writes one of the two headers, and passes on what the client wrote into the
            // other. It is unknown which, so neither is believed.
            (Some(_), Some(_)) => peer,
        };
        Origin::Limited(client.into())
    }

    /// Follows the hops before a trusted `peer` to the first address that is no trusted proxy;
    /// `None` if there is none.
    fn client(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
        let mut client = peer;
        for hop in hops {
            // A trusted proxy writes addresses that can be parsed. Count anything else against the
            // last known hop.
            let Some(hop) = hop else {
                return Some(client);
            };
            client = hop;
            if !self.trust(client) {
                return Some(client);
            }
        }
        None
    }
}

/// Parses an address as proxies write it: bare, in brackets, or with a port.
fn address_in(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|at| at.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare()
        .or_else(with_port)
        .or_else(bracketed)
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(trusted: &str, peer: &str, lines: &[&str]) -> Origin {
        found_beside("none", trusted, peer, lines)
    }

    fn found_beside(unlimited: &str, trusted: &str, peer: &str, lines: &[&str]) -> Origin {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: TrustedProxies = trusted.parse().unwrap();
        let unlimited = unlimited.parse().unwrap();
        trusted.origin(peer.parse().unwrap(), &headers, &unlimited)
    }

    fn client(address: &str) -> Origin {
        Origin::Limited(address.parse::<IpAddr>().unwrap().into())
    }

    #[test]
    fn headers_of_untrusted_peers_are_ignored() {
        let forged = found("", "203.0.113.9", &["198.51.100.1"]);
        assert_eq!(forged, client("203.0.113.9"));
        let forged = found("10.0.0.0/8", "203.0.113.9", &["198.51.100.1"]);
        assert_eq!(forged, client("203.0.113.9"));
    }

    #[test]
    fn rightmost_untrusted_hop_counts_whatever_precedes_it() {
        let through = |lines: &[&str]| found("10.0.0.0/8", "10.0.0.1", lines);
        assert_eq!(through(&["198.51.100.1"]), client("198.51.100.1"));
        let forged = through(&["1.1.1.1, 2.2.2.2, 198.51.100.1, 10.0.0.2"]);
        assert_eq!(forged, client("198.51.100.1"));
        let in_two_lines = through(&["1.1.1.1", "198.51.100.1,10.0.0.2"]);
        assert_eq!(in_two_lines, client("198.51.100.1"));
    }

    #[test]
    fn forwarded_is_read_beside_the_older_header_and_neither_can_be_forged() {
        let through = |x: &str, forwarded: &str| {
            let mut headers = HeaderMap::new();
            let pairs = [("x-forwarded-for", x), ("forwarded", forwarded)];
            for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
                headers.append(name, value.parse().unwrap());
            }
            let trusted: TrustedProxies = "10.0.0.0/8".parse().unwrap();
            let unlimited = UnlimitedNetworks::default();
            trusted.origin("10.0.0.1".parse().unwrap(), &headers, &unlimited)
        };
        let buyer = client("198.51.100.1");
        assert_eq!(through("", "for=1.1.1.1, for=198.51.100.1"), buyer);
        assert_eq!(through("", "for=198.51.100.1, for=10.0.0.2"), buyer);
        assert_eq!(through("198.51.100.1", "for=\"198.51.100.1:443\""), buyer);
        // The other header was written by the client.
        assert_eq!(through("198.51.100.1", "for=10.0.0.2"), buyer);
        assert_eq!(through("10.0.0.2", "for=198.51.100.1"), buyer);
        let proxy = client("10.0.0.1");
        assert_eq!(through("198.51.100.1", "for=203.0.113.7"), proxy);
        for unreadable in ["for=unknown", "for=_hidden", "proto=https", "for", "x"] {
            assert_eq!(through("", unreadable), proxy, "{unreadable}");
        }
        let v6 = through("", "for=\"[2001:db8::1]:4711\"");
        assert_eq!(v6, client("2001:db8::1"));
    }

    #[test]
    fn proxy_is_unlimited_and_its_clients_are_limited_wherever_it_runs() {
        for peer in ["10.0.0.1", "127.0.0.1", "::ffff:10.0.0.1"] {
            let through =
                |lines: &[&str]| found_beside("127.0.0.0/8", "10.0.0.0/8, 127.0.0.1", peer, lines);
            assert_eq!(through(&[]), Origin::Unlimited);
            assert_eq!(through(&["10.0.0.3, 10.0.0.2"]), Origin::Unlimited);
            assert_eq!(through(&["198.51.100.1"]), client("198.51.100.1"));
            // Not a peer: the operator that names the proxies decides which addresses they forward.
            assert_eq!(through(&["127.0.0.9"]), client("127.0.0.9"));
        }
    }

    #[test]
    fn peers_in_unlimited_networks_are_unlimited_with_any_header() {
        let from = |peer| found_beside("10.0.0.0/8, ::1", "", peer, &["198.51.100.1"]);
        assert_eq!(from("10.1.2.3"), Origin::Unlimited);
        assert_eq!(from("::ffff:10.1.2.3"), Origin::Unlimited);
        assert_eq!(from("::1"), Origin::Unlimited);
        assert_eq!(from("192.0.2.1"), client("192.0.2.1"));
    }

    #[test]
    fn unlimited_networks_are_networks_or_addresses_or_none() {
        let parsed = |text: &str| text.parse::<UnlimitedNetworks>();
        assert_eq!(parsed("none"), Ok(UnlimitedNetworks::default()));
        assert_eq!(parsed(" "), parsed("none"));
        assert!(parsed("127.0.0.0/8,::1").is_ok());
        assert!(parsed("10.0.0.0/33").is_err() && parsed("office").is_err());
    }

    #[test]
    fn unreadable_hop_ends_the_search() {
        for garbage in [
            "unknown",
            "",
            "198.51.100.1, _hidden",
            "1.2.3.4.5",
            "\u{e9}",
        ] {
            let stayed = found("10.0.0.1", "10.0.0.1", &[garbage]);
            assert_eq!(stayed, client("10.0.0.1"), "{garbage}");
        }
    }

    #[test]
    fn addresses_are_read_with_ports_and_in_brackets() {
        for (text, address) in [
            ("198.51.100.1:4711", "198.51.100.1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("::ffff:198.51.100.1", "198.51.100.1"),
        ] {
            assert_eq!(found("127.0.0.1", "127.0.0.1", &[text]), client(address));
        }
    }

    #[test]
    fn ipv6_is_counted_by_64_bits_and_mapped_addresses_as_ipv4() {
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }

    #[test]
    fn unlimited_networks_are_networks_or_none() {
        let parsed = |text: &str| text.parse::<UnlimitedNetworks>();
        let is_unlimited = |text: &str, peer: &str| {
            let networks = parsed(text).unwrap();
            networks.contains(peer.parse().unwrap())
        };
        assert!(is_unlimited("127.0.0.0/8, ::1", "127.1.2.3"));
        assert!(is_unlimited("127.0.0.0/8,::1", "::1"));
        assert!(is_unlimited("127.0.0.0/8", "::ffff:127.0.0.1"));
        assert!(!is_unlimited("127.0.0.0/8", "192.0.2.1"));
        assert!(!is_unlimited("none", "127.0.0.1"));
        assert!(parsed("everybody").is_err());
    }

    #[test]
    fn trusted_proxies_are_networks_or_addresses() {
        let parsed = |text: &str| text.parse::<TrustedProxies>();
        assert_eq!(parsed(" "), Ok(TrustedProxies::default()));
        assert_eq!(parsed("10.0.0.1,").unwrap(), parsed("10.0.0.1/32").unwrap());
        assert!(parsed("::1, 10.0.0.0/8").is_ok());
        assert!(parsed("10.0.0.0/33").is_err() && parsed("proxy.example").is_err());
    }
}
