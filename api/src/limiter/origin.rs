//! Where a request comes from, as handlers ask for it.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;

use super::address::Origin;
use super::attempt::Tried;
use crate::app::App;
use crate::auth::bearer_key;

impl Origin {
    /// By address alone.
    pub(crate) fn by_address(parts: &Parts, app: &App) -> Self {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        // Every connection has a peer; a request without one would be bounded, not trusted.
        let peer = peer.map_or(SocketAddr::from(([0; 4], 0)), |ConnectInfo(peer)| *peer);
        app.limiter.origin(peer.ip(), &parts.headers)
    }
}

/// By address, and without bounds for who has the admin key.
///
/// In a handler after [`crate::auth::Caller`], which refuses wrong keys where keys are needed.
impl FromRequestParts<App> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let origin = Self::by_address(parts, app);
        let (Self::Limited(_), Some(key)) = (origin, bearer_key(parts, app)) else {
            return Ok(origin);
        };
        // A wrong key is an attempt here as well: otherwise the bounds would tell it from the right
        // one as often as asked.
        let Ok(attempt) = app.limiter.attempt(origin, Tried::Key) else {
            return Ok(origin);
        };
        if app.keys.admin.matches(key) {
            attempt.succeeded();
            return Ok(Self::Unlimited);
        }
        // It is no guess, and bounds apply.
        if app.keys.auditor.matches(key) {
            attempt.succeeded();
        }
        Ok(origin)
    }
}
