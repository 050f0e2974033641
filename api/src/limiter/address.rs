//! Who calls: the rightmost address that no trusted proxy vouches for.
//!
//! Promise: a header changes nothing unless the connection comes from a trusted proxy, and then only what stands to the left of
//! trusted proxies is believed, one hop at a time: what a client wrote there itself is never reached.
//! IPv6 is counted by /64, because that is what one household or one machine is given.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// One client, as the limiter counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// An IPv4 address, or an IPv6 address that stands for one.
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

/// Networks whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl std::str::FromStr for TrustedProxies {
    type Err = String;

    /// Networks (`10.0.0.0/8`) or addresses, separated by commas; none in an empty text.
    fn from_str(text: &str) -> Result<Self, String> {
        networks(text).map(Self)
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

/// Networks whose peers no limit per address applies to: the shop's own back ends, this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnlimitedNetworks(Vec<IpNet>);

impl std::str::FromStr for UnlimitedNetworks {
    type Err = String;

    /// Networks or addresses, separated by commas; `none` for none.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("none") {
            return Ok(Self::default());
        }
        networks(text).map(Self)
    }
}

impl UnlimitedNetworks {
    /// Whether no limit per address applies to `peer`.
    pub(crate) fn is_unlimited(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }
}

impl TrustedProxies {
    /// Whether `address` is a proxy that is believed.
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who is behind a connection from `peer` that sent these headers.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        self.address(peer, headers).into()
    }

    /// The address of who is behind a connection from `peer` that sent these headers.
    pub(crate) fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        // Right to left: the last line is the nearest proxy's, and within it the last address.
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        while self.trust(client) {
            // What cannot be read was not written by a proxy of ours: stay with the last that we know.
            let Some(hop) = hops.next().and_then(address_in) else {
                break;
            };
            client = hop;
        }
        client
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
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

    fn found(trusted: &str, peer: &str, lines: &[&str]) -> Client {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: TrustedProxies = trusted.parse().unwrap();
        trusted.client(peer.parse().unwrap(), &headers)
    }

    fn client(address: &str) -> Client {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn nobody_is_believed_unless_they_are_trusted() {
        let forged = found("", "203.0.113.9", &["198.51.100.1"]);
        assert_eq!(forged, client("203.0.113.9"));
        let forged = found("10.0.0.0/8", "203.0.113.9", &["198.51.100.1"]);
        assert_eq!(forged, client("203.0.113.9"));
    }

    #[test]
    fn behind_a_trusted_proxy_the_rightmost_untrusted_hop_counts_whatever_stands_left_of_it() {
        let through = |lines: &[&str]| found("10.0.0.0/8", "10.0.0.1", lines);
        assert_eq!(through(&["198.51.100.1"]), client("198.51.100.1"));
        let forged = through(&["1.1.1.1, 2.2.2.2, 198.51.100.1, 10.0.0.2"]);
        assert_eq!(forged, client("198.51.100.1"));
        let in_two_lines = through(&["1.1.1.1", "198.51.100.1,10.0.0.2"]);
        assert_eq!(in_two_lines, client("198.51.100.1"));
    }

    #[test]
    fn without_a_header_or_with_trusted_hops_only_the_last_known_one_counts() {
        assert_eq!(found("10.0.0.0/8", "10.0.0.1", &[]), client("10.0.0.1"));
        let inside = found("10.0.0.0/8", "10.0.0.1", &["10.0.0.3, 10.0.0.2"]);
        assert_eq!(inside, client("10.0.0.3"));
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk() {
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
    fn ipv6_is_counted_by_its_first_64_bits_and_what_stands_for_ipv4_as_that() {
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
            networks.is_unlimited(peer.parse().unwrap())
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
