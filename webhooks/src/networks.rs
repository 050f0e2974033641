//! The addresses that webhooks may be sent to.
//!
//! Promise: no request reaches an address inside the shop's networks unless the operator lists its
//! network. The check is made on the resolved address, and the connection goes to exactly that one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// Networks that are permitted although they are not public.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PermittedNetworks(Vec<IpNet>);

impl FromStr for PermittedNetworks {
    type Err = String;

    /// Networks (`10.0.0.0/8`) or addresses, separated by commas; empty for none.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim);
        let network = |part: &str| {
            let address = || part.parse::<IpAddr>().map(IpNet::from);
            part.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
                format!("{part:?} is neither a network like 10.0.0.0/8 nor an address")
            })
        };
        let parts = parts.filter(|part| !part.is_empty());
        parts.map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl PermittedNetworks {
    /// Returns true if the operator has listed a network with this address.
    #[must_use]
    pub fn list(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns true if no network is listed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if a webhook may be sent to this address: a public one, or a listed one.
    /// Without TLS it must be a listed one, because the ids of open holds permit their purchase.
    #[must_use]
    pub fn permit(&self, address: IpAddr, is_encrypted: bool) -> bool {
        self.list(address) || (is_encrypted && is_public(address))
    }
}

/// IPv4 networks that are not public, or not hosts (IANA IPv4 Special-Purpose Address Registry).
const SPECIAL_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Carrier-grade NAT (RFC 6598).
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, reserved, broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(255, 255, 255, 255), 32),
];

/// Returns true if an address is a host on the public Internet.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    !SPECIAL_V4.iter().any(|&(network, length)| {
        let mask = u32::MAX << (32 - u32::from(length));
        bits & mask == u32::from(network)
    })
}

/// Global unicast is `2000::/3`; within it are networks for documentation, benchmarks and tunnels,
/// which contain an IPv4 address (IANA IPv6 Special-Purpose Address Registry).
fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let is_embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // NAT64: the gateway connects to the embedded address.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_embedded(high, low),
        // 6to4.
        [0x2002, high, low, ..] => is_embedded(high, low),
        // IETF protocol assignments, Teredo, ORCHID and benchmarks.
        [0x2001, second, ..] if second < 0x200 => false,
        [0x2001, 0xdb8, ..] | [0x3fff, ..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_addresses_are_refused_in_every_form() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2002:c0a8:101::",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
            "4000::1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert!(!is_public(address), "{text}");
            assert!(
                !PermittedNetworks::default().permit(address, true),
                "{text}"
            );
        }
    }

    #[test]
    fn public_addresses_are_permitted_only_with_tls() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.1.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.1.1",
            "192.169.0.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2a00::1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "::ffff:8.8.8.8",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert!(is_public(address), "{text}");
            let none = PermittedNetworks::default();
            assert!(
                none.permit(address, true) && !none.permit(address, false),
                "{text}"
            );
        }
    }

    #[test]
    fn listed_networks_are_permitted() {
        let networks: PermittedNetworks = "127.0.0.0/8, 10.1.0.0/16,fd00::5".parse().unwrap();
        for (text, is_permitted) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("fd00::5", true),
            ("fd00::6", false),
            ("::1", false),
        ] {
            let address = text.parse().unwrap();
            assert_eq!(networks.permit(address, false), is_permitted, "{text}");
            assert_eq!(networks.permit(address, true), is_permitted, "{text}");
        }
        assert!("".parse::<PermittedNetworks>().unwrap().is_empty());
        assert!("localhost".parse::<PermittedNetworks>().is_err());
        assert!("10.0.0.0/33".parse::<PermittedNetworks>().is_err());
    }
}
