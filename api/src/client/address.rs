//! Where a server is: an `http://` address, checked once.
//!
//! Promise: an address of this type has a host and a port and can be spoken to without TLS.
//! Limit: `https://` is refused, with a sentence that says what to do instead.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use reqwest::Url;

use super::error::ClientError;

/// A server's address, with the path that its routes hang under (usually none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    url: Url,
}

impl ServerAddress {
    /// `path` (which starts with `/v1`) on this server, as a URL.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// `path` as the request line of a socket to this server wants it.
    #[must_use]
    pub fn request_target(&self, path: &str) -> String {
        format!("{}{path}", self.url.path().trim_end_matches('/'))
    }

    /// What the `Host` header says.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Looks the host's name up.
    ///
    /// # Errors
    /// [`ClientError::Connection`] when there is no such host.
    pub async fn resolve(&self) -> Result<SocketAddr, ClientError> {
        let host = self.url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
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
            address: text.to_owned(),
            reason: reason.to_owned(),
        };
        let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err(invalid(
                    "TLS is not spoken here, give the server's own http:// address, behind its proxy",
                ));
            }
            _ => return Err(invalid("it must begin with http://")),
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
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
    fn an_address_gives_urls_hosts_and_request_targets() {
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
    fn https_is_refused_with_a_way_out_and_nonsense_is_refused_too() {
        let refused = |text: &str| text.parse::<ServerAddress>().unwrap_err().to_string();
        assert!(refused("https://shop.example").contains("TLS is not spoken here"));
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
