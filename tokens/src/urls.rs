//! What the addresses in settings have in common.

use url::{Host, Url};

/// Reports whether no one on the way can read or change what an address returns: it is https, or
/// http that does not leave this machine.
pub(crate) fn is_protected(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || is_loopback
}
