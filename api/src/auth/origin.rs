//! Extracts the origin of a request for handlers.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;

use super::bearer_key;
use crate::app::App;
use crate::limiter::{AttemptKind, Origin};
use crate::problem::Problem;

impl Origin {
    /// Determines the origin by address alone.
    pub(crate) fn by_address(parts: &Parts, app: &App) -> Self {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        // Every connection has a peer. A request without one would be limited, not trusted.
        let peer = peer.map_or(SocketAddr::from(([0; 4], 0)), |ConnectInfo(peer)| *peer);
        app.limiter.origin(peer.ip(), &parts.headers)
    }
}

/// By address; requests with the admin key are unlimited. While an address has used up its
/// attempts, each of its requests with a key is refused: an unchecked key must neither be treated
/// as absent, which would apply limits or return a view that its owner did not expect, nor be
/// checked.
///
/// In a handler, use it after [`crate::auth::Caller`], which rejects wrong keys where keys are
/// required.
impl FromRequestParts<App> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let origin = Self::by_address(parts, app);
        let (Self::Limited(_), Some(key)) = (origin, bearer_key(parts, app)) else {
            return Ok(origin);
        };
        // A wrong key is an attempt here as well: otherwise its sender could distinguish it from
        // the right key by the limits, any number of times.
        let attempt = app.limiter.attempt(origin, AttemptKind::Key)?;
        if app.keys.admin(key).is_some() {
            attempt.succeeded();
            return Ok(Self::Unlimited);
        }
        // The auditor's key is not a guess, but limits apply to it.
        if app.keys.auditor.matches(key) {
            attempt.succeeded();
        }
        Ok(origin)
    }
}
