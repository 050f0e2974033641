//! How buyers are authenticated: secrets and keys of the shop's tokens, and where buyers sign in.

use std::net::SocketAddr;

use api::demo_sign_in::DemoSignIn;
use clap::Args;
use terminal::arguments::whole;
use tokens::buyers::BuyerTokens;
use tokens::jws::{Hs256, MIN_SECRET_BYTES};
use tokens::key_source::{KeySource, LoadError, LocationError};
use tokens::sign_in::SignInUrl;
use tracing::warn;

use super::{Settings, counted};

/// How buyers are authenticated.
#[derive(Debug, Clone, Args)]
pub struct BuyerSettings {
    /// Secret with which the shop signs buyers' tokens (JWT, HS256). Without it, the buyer_id of a
    /// request is trusted. At least 32 bytes where other machines can reach the server: a buyer can
    /// test guesses against their own token.
    #[arg(long, env = "HOLDFAST_BUYER_SECRET", hide_env_values = true)]
    pub buyer_secret: Option<String>,

    /// The buyer secret before the present one, which is accepted as well, while the shop replaces
    /// it.
    #[arg(long, env = "HOLDFAST_BUYER_SECRET_PREVIOUS", hide_env_values = true)]
    pub buyer_secret_previous: Option<String>,

    /// JSON Web Key Set (RFC 7517) with the public keys that the shop signs buyers' tokens with
    /// (ES256, RS256 or EdDSA), instead of the secret or in addition to it: a file or an https URL.
    /// It is read again every 5 minutes, and for a token with an unknown key.
    #[arg(long, env = "HOLDFAST_BUYER_JWKS", value_name = "FILE_OR_URL")]
    pub buyer_jwks: Option<String>,

    /// Audience that a buyer's token must contain in its aud claim. Without it, tokens with an aud
    /// claim are refused (RFC 7519, section 4.1.3).
    #[arg(long, env = "HOLDFAST_BUYER_AUDIENCE", value_name = "TEXT")]
    pub buyer_audience: Option<String>,

    /// Longest lifetime of a buyer's token, in seconds: a token whose exp is farther ahead is
    /// refused.
    #[arg(long, env = "HOLDFAST_BUYER_TOKEN_MAX_SECONDS", value_name = "SECONDS", default_value_t = 86_400, value_parser = whole::<u32, 1, 31_622_400>)]
    pub buyer_token_max_seconds: u32,

    /// Tolerated difference between the shop's clock and this server's, in seconds, when the exp,
    /// nbf and iat claims of a buyer's token are checked.
    #[arg(long, env = "HOLDFAST_BUYER_LEEWAY_SECONDS", value_name = "SECONDS", default_value_t = 30, value_parser = whole::<u32, 0, 300>)]
    pub buyer_leeway_seconds: u32,

    /// The shop's sign-in page, an https URL: the pages link to it where a buyer needs a token,
    /// with the parameter return_to, the address of the page to return to.
    #[arg(long, env = "HOLDFAST_SIGN_IN_URL", value_name = "URL")]
    pub sign_in_url: Option<SignInUrl>,

    /// Offers the sign-in page of the demo. Only the command `demo` sets it.
    #[arg(skip)]
    pub demo_sign_in: bool,
}

impl BuyerSettings {
    /// Returns true if the `buyer_id` of a request is believed, because buyers have no tokens.
    #[must_use]
    pub const fn are_believed(&self) -> bool {
        self.buyer_secret.is_none() && self.buyer_jwks.is_none()
    }
}

/// Why the settings of buyers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BuyersError {
    /// With an empty secret anyone could sign tokens; ignoring it would leave requests
    /// unauthenticated.
    #[error(
        "the buyer secret is empty: set {name} to the shop's signing secret, or unset it{}",
        if *.name == SECRET { " to trust every buyer_id" } else { "" }
    )]
    EmptySecret { name: &'static str },
    /// A secret is replaced by another one, not by none.
    #[error("{PREVIOUS_SECRET} is set without {SECRET}: set that one to the new secret")]
    OnlyPreviousSecret,
    /// Tokens could not be verified.
    #[error("HOLDFAST_BUYER_JWKS cannot be used")]
    JwksLocation(#[source] LocationError),
    /// Tokens could not be verified.
    #[error("HOLDFAST_BUYER_JWKS cannot be used")]
    Jwks(#[source] LoadError),
    /// Tokens without an audience would be accepted.
    #[error(
        "the buyer audience is empty: set HOLDFAST_BUYER_AUDIENCE to the aud claim of the shop's tokens, or unset it"
    )]
    EmptyAudience,
    /// Anyone who reaches the server could act as any buyer.
    #[error(
        "the demo's sign-in gives anyone a token for any buyer, and other machines can reach {listen}: listen on a \
         loopback address, such as 127.0.0.1:8080, or do without --sign-in"
    )]
    DemoSignInReachable { listen: SocketAddr },
    /// A buyer with one token could find the secret by trying, and then sign tokens for any buyer.
    #[error(
        "the buyer secret has {}, and other machines can reach {listen}: HS256 needs {MIN_SECRET_BYTES} or more \
         (RFC 7518, section 3.2), because any buyer can test guesses on their own token; \
         set {name} to the output of `openssl rand -hex 32`",
        counted(*.bytes, "byte")
    )]
    ShortSecret {
        name: &'static str,
        bytes: usize,
        listen: SocketAddr,
    },
}

const SECRET: &str = "HOLDFAST_BUYER_SECRET";
const PREVIOUS_SECRET: &str = "HOLDFAST_BUYER_SECRET_PREVIOUS";

/// Returns how buyers' tokens are verified, or `None` when the shop signs none. The key set is not
/// loaded yet.
///
/// # Errors
/// [`BuyersError`] for a secret that is empty, too short or alone, an empty audience, and the
/// location of a key set that cannot be used.
pub fn buyer_tokens(settings: &Settings) -> Result<Option<BuyerTokens>, BuyersError> {
    let (buyers, listen) = (&settings.buyers, settings.listen);
    if buyers.buyer_audience.as_deref() == Some("") {
        return Err(BuyersError::EmptyAudience);
    }
    if buyers.buyer_secret.is_none() && buyers.buyer_secret_previous.is_some() {
        return Err(BuyersError::OnlyPreviousSecret);
    }
    if buyers.are_believed() {
        if let Some(url) = &buyers.sign_in_url {
            warn!(
                "HOLDFAST_SIGN_IN_URL is {url}, and has no effect: every buyer_id is believed. Set \
                 HOLDFAST_BUYER_SECRET or HOLDFAST_BUYER_JWKS as well"
            );
        }
        if !listen.ip().is_loopback() {
            warn!(
                "HOLDFAST_BUYER_SECRET is not set, and other machines can reach {listen}: any client \
                 can hold, buy and release as any buyer. Use this only where the shop's own back \
                 ends alone reach the address; for buyers' browsers, set the secret that the shop \
                 signs their tokens with"
            );
        }
        return Ok(None);
    }
    let set = [
        (SECRET, &buyers.buyer_secret),
        (PREVIOUS_SECRET, &buyers.buyer_secret_previous),
    ];
    let secrets = set
        .into_iter()
        .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
        .map(|(name, secret)| checked_secret(name, secret, listen))
        .collect::<Result<_, _>>()?;
    Ok(Some(BuyerTokens {
        secrets,
        keys: buyers.buyer_jwks.as_deref().map(key_source).transpose()?,
        audience: buyers.buyer_audience.clone(),
        max_seconds: buyers.buyer_token_max_seconds,
        leeway_seconds: buyers.buyer_leeway_seconds,
    }))
}

/// Checks the length of a buyer secret.
///
/// On a loopback address, a secret shorter than [`MIN_SECRET_BYTES`] only logs a warning: it may be
/// a developer's machine, or a server behind a proxy that was started before this check existed.
fn checked_secret(
    name: &'static str,
    secret: &str,
    listen: SocketAddr,
) -> Result<Hs256, BuyersError> {
    let bytes = secret.len();
    if bytes == 0 {
        return Err(BuyersError::EmptySecret { name });
    }
    if bytes < MIN_SECRET_BYTES {
        if !listen.ip().is_loopback() {
            return Err(BuyersError::ShortSecret {
                name,
                bytes,
                listen,
            });
        }
        warn!(
            "the buyer secret has {}: any buyer can test guesses on their own token, and a correct guess signs \
             tokens for every buyer. Set {name} to {MIN_SECRET_BYTES} bytes or more, for example the output of \
             `openssl rand -hex 32`",
            counted(bytes, "byte")
        );
    }
    Ok(Hs256::new(secret.as_bytes()))
}

fn key_source(location: &str) -> Result<KeySource, BuyersError> {
    let location = location.parse().map_err(BuyersError::JwksLocation)?;
    KeySource::new(location).map_err(BuyersError::Jwks)
}

/// Loads the shop's key set, if it is a file, which must be usable.
///
/// # Errors
/// [`BuyersError::Jwks`].
pub async fn load_key_file(tokens: &BuyerTokens) -> Result<(), BuyersError> {
    match tokens.keys.as_ref().filter(|keys| keys.is_file()) {
        Some(keys) => keys.load().await.map_err(BuyersError::Jwks),
        None => Ok(()),
    }
}

/// Loads the shop's key set at the start, if it is at a URL. It may be away: buyers' tokens are
/// answered with 503 until it is back, and everything else works.
pub async fn load_key_url(tokens: &BuyerTokens) {
    let Some(keys) = tokens.keys.as_ref().filter(|keys| !keys.is_file()) else {
        return;
    };
    if let Err(error) = keys.load().await {
        warn!(
            error = &error as &dyn std::error::Error,
            "the buyers' key set is not loaded yet: requests with a buyer's token get 503 until \
             it is (HOLDFAST_BUYER_JWKS)"
        );
    }
}

/// The longest lifetime of a token of the demo, in seconds.
const DEMO_SECONDS: u32 = 3_600;

/// Returns the settings with the sign-in page of the demo: with a secret for this start, unless one
/// is configured.
///
/// # Errors
/// [`BuyersError::DemoSignInReachable`] where other machines reach the server.
pub fn with_demo_sign_in(mut settings: Settings) -> Result<Settings, BuyersError> {
    let listen = settings.listen;
    if !listen.ip().is_loopback() {
        return Err(BuyersError::DemoSignInReachable { listen });
    }
    let buyers = &mut settings.buyers;
    buyers.demo_sign_in = true;
    buyers.sign_in_url = Some(SignInUrl::of_demo(api::demo_sign_in::PATH));
    buyers
        .buyer_secret
        .get_or_insert_with(|| hex::encode(rand::random::<[u8; MIN_SECRET_BYTES]>()));
    Ok(settings)
}

/// Returns the sign-in of the demo, which signs with the shop's secret; `None` unless
/// [`with_demo_sign_in`] has set it.
#[must_use]
pub fn demo_sign_in(buyers: &BuyerSettings) -> Option<DemoSignIn> {
    let secret = buyers
        .buyer_secret
        .as_ref()
        .filter(|_| buyers.demo_sign_in)?;
    Some(DemoSignIn {
        signer: Hs256::new(secret.as_bytes()),
        audience: buyers.buyer_audience.clone(),
        seconds: buyers.buyer_token_max_seconds.min(DEMO_SECONDS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_messages_agree_with_their_nouns() {
        let listen = "0.0.0.0:1".parse().unwrap();
        for (bytes, words) in [(1, "has 1 byte,"), (2, "has 2 bytes,")] {
            let error = BuyersError::ShortSecret {
                name: SECRET,
                bytes,
                listen,
            };
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
