//! A server's address: an `http://` or `https://` URL, validated on construction.
//!
//! Promise: an address of this type has a host and a port.
//! Limit: only the first request shows whether a server responds there.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use rustls::pki_types::ServerName;
use terminal::text::without_credentials;
use url::Url;

use super::error::ClientError;

/// A server's address, with the base path of its routes (usually none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    url: Url,
}

impl ServerAddress {
    /// The URL of `path` (which starts with `/v1`) on this server.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// `path` as a request target, for the request line of a socket to this server.
    #[must_use]
    pub fn request_target(&self, path: &str) -> String {
        format!("{}{path}", self.url.path().trim_end_matches('/'))
    }

    /// Reports whether the scheme is https.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The name that the server's certificate must be valid for.
    ///
    /// # Errors
    /// [`ClientError::Address`] when no certificate can be issued for it.
    pub fn certified_name(&self) -> Result<ServerName<'static>, ClientError> {
        ServerName::try_from(self.bare_host().to_owned()).map_err(|error| ClientError::Address {
            address: self.to_string(),
            reason: error.to_string(),
        })
    }

    /// The host, without the brackets of an IPv6 address.
    fn bare_host(&self) -> &str {
        let host = self.url.host_str().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The value of the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Resolves the host name.
    ///
    /// # Errors
    /// [`ClientError::Connection`] when the host has no address.
    pub async fn resolve(&self) -> Result<SocketAddr, ClientError> {
        let host = self.bare_host();
        let port = self.url.port_or_known_default().unwrap_or(80);
        let connection = |source: std::io::Error| ClientError::Connection {
            server: self.to_string(),
            source: Box::new(source),
        };
        let mut found = tokio::net::lookup_host((host, port))
            .await
            .map_err(connection)?;
        found
            .next()
            .ok_or_else(|| connection(std::io::ErrorKind::NotFound.into()))
    }
}

impl FromStr for ServerAddress {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let invalid = |reason: &str| ClientError::Address {
            address: without_credentials(text).into_owned(),
            reason: reason.to_owned(),
        };
        let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("it must begin with http:// or https://"));
        }
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        if url.query().is_some() || url.fragment().is_some() || has_credentials {
            return Err(invalid("it must be a host, a port and at most a path"));
        }
        Ok(Self { url })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_hosts_and_request_targets_derive_from_the_address() {
        let plain: ServerAddress = "http://127.0.0.1:8080".parse().unwrap();
        assert_eq!(plain.url("/v1/drops"), "http://127.0.0.1:8080/v1/drops");
        assert_eq!(plain.authority(), "127.0.0.1:8080");
        assert_eq!(plain.request_target("/v1/drops"), "/v1/drops");

        let below: ServerAddress = "http://shop.example/holdfast/".parse().unwrap();
        assert_eq!(
            below.url("/v1/drops"),
            "http://shop.example/holdfast/v1/drops"
        );
        assert_eq!(below.authority(), "shop.example");
        assert_eq!(below.request_target("/v1/drops"), "/holdfast/v1/drops");
    }

    #[test]
    fn https_uses_its_own_default_port() {
        let secure: ServerAddress = "https://shop.example/".parse().unwrap();
        assert!(secure.has_tls());
        assert_eq!(secure.url("/v1/drops"), "https://shop.example/v1/drops");
        assert_eq!(secure.url.port_or_known_default(), Some(443));
        let plain: ServerAddress = "http://shop.example".parse().unwrap();
        assert!(!plain.has_tls());
        for (text, name) in [
            ("https://shop.example:8443", "shop.example"),
            ("https://127.0.0.1", "127.0.0.1"),
            ("https://[::1]:8443", "::1"),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!(address.certified_name().unwrap().to_str(), name);
        }
    }

    #[test]
    fn invalid_addresses_are_refused() {
        let refused = |text: &str| text.parse::<ServerAddress>().unwrap_err().to_string();
        assert!(refused("https://:secret@shop.example").contains("at most a path"));
        assert!(refused("ftp://shop.example").contains("must begin with http://"));
        assert!(refused("localhost:8080").contains("must begin with http://"));
        assert!(refused("http://").contains("empty host"));
        assert!(refused("http://shop.example/?q").contains("at most a path"));
    }

    #[tokio::test]
    async fn addresses_of_either_family_resolve() {
        for (text, expected) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:81", "[::1]:81"),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!(address.resolve().await.unwrap().to_string(), expected);
        }
    }
}
