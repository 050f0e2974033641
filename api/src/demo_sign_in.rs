//! The sign-in of the demo: a page that signs a token for any name, without a password.
//!
//! Promise: only `holdfast demo --sign-in` has it, on a loopback address; other servers have
//! neither the page nor its route. Limit: it shows how a shop hands a token over, and authenticates
//! no one.
//!
//! Source: docs/decisions/0077-pages-take-tokens-from-the-fragment.md.

pub(crate) mod routes;

use std::fmt;

use domain::values::{BuyerId, Timestamp};
use serde::Serialize;
use tokens::jws::Hs256;

/// The path of the page.
pub const PATH: &str = "/demo/sign-in";

/// Signs tokens as a shop does.
pub struct DemoSignIn {
    /// The secret that the server verifies tokens with.
    pub signer: Hs256,
    /// The server's audience, if it has one.
    pub audience: Option<String>,
    /// The lifetime of a token, in seconds.
    pub seconds: u32,
}

impl fmt::Debug for DemoSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DemoSignIn")
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    /// Seconds since the Unix epoch.
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

impl DemoSignIn {
    /// Returns a token for a buyer, in the form in which the server compares ids.
    fn token(&self, buyer_id: &BuyerId, now: Timestamp) -> Result<String, serde_json::Error> {
        let sub = buyer_id.spelling();
        let exp = now.plus_seconds(self.seconds).millis().div_euclid(1000);
        let aud = self.audience.as_deref();
        self.signer.sign(&Claims {
            sub: &sub,
            exp,
            aud,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokens::buyers::BuyerTokens;

    use super::*;

    #[tokio::test]
    async fn server_accepts_the_token_for_every_name() {
        let now = Timestamp::from_millis(1_800_000_000_123);
        for audience in [None, Some("drops".to_owned())] {
            let signer = Hs256::new(b"a secret of the demo, 32 bytes..");
            let server = BuyerTokens {
                secrets: vec![signer.clone()],
                keys: None,
                audience: audience.clone(),
                max_seconds: 60,
                leeway_seconds: 0,
            };
            let demo = DemoSignIn {
                signer,
                audience,
                seconds: 60,
            };
            for (name, buyer) in [("ann", "ann"), (" Ann ", "ann"), ("Éva", "éva"), ("ẞ", "ß")]
            {
                let token = demo.token(&BuyerId::new(name).unwrap(), now).unwrap();
                let read = server.buyer(&token, now).await.unwrap();
                assert_eq!(read.as_str(), buyer, "{name}");
            }
        }
    }
}
