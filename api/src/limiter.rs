//! The throttle at the edge: at most so many requests for stock from one client address within any window.
//!
//! Promise: a true sliding window (the n-th newest request must have left it before another is let in), exact until the memory
//! bound is met; a refused request does not count; an address is the one that [`address`] finds, which no header can forge.
//! Limit: each process counts for itself, and forgets at a restart; what must be exact across processes is the drop's own
//! throttle, decided from the log. When more than [`MOST_REMEMBERED`] requests lie within the window, the oldest is forgotten.
//! Off unless it is configured, and then no route is wrapped in it.
//!
//! Source: docs/decisions/0013-a-sliding-window-at-the-edge.md.

pub mod address;
mod window;

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::values::DropId;

use self::address::{Client, TrustedProxies};
use self::window::Window;
use crate::app::App;
use crate::problem::{Problem, Quota};
use crate::refused::Reason;

/// The most requests remembered, over all addresses: some 60 MB.
pub const MOST_REMEMBERED: usize = 1_000_000;

/// So many requests for stock from one address within any window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressLimit {
    /// The most requests within a window: 1 to 100,000.
    pub requests: u32,
    /// The length of the window, in seconds: 1 to 86,400.
    pub window_seconds: u32,
}

impl std::str::FromStr for AddressLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(requests, seconds)| {
            Some(Self {
                requests: requests.trim().parse().ok()?,
                window_seconds: seconds.trim().parse().ok()?,
            })
        });
        parsed
            .filter(|limit| {
                (1..=100_000).contains(&limit.requests)
                    && (1..=86_400).contains(&limit.window_seconds)
            })
            .ok_or_else(|| {
                "must be REQUESTS/SECONDS, for example 600/60: 1 to 100000 requests in 1 to 86400 seconds".to_owned()
            })
    }
}

/// Lets requests in, or says when to come back.
#[derive(Debug)]
pub struct Limiter {
    limit: AddressLimit,
    trusted: TrustedProxies,
    started: Instant,
    window: Mutex<Window>,
}

impl Limiter {
    /// A limiter that believes what `trusted` proxies say about their clients.
    #[must_use]
    pub fn new(limit: AddressLimit, trusted: TrustedProxies) -> Self {
        let length = Duration::from_secs(limit.window_seconds.into());
        Self {
            limit,
            trusted,
            started: Instant::now(),
            window: Mutex::new(Window::new(limit.requests, length, MOST_REMEMBERED)),
        }
    }

    fn admit(&self, client: Client) -> Result<(), Problem> {
        let now = self.started.elapsed();
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.admit(client, now).map_err(|wait| {
            let quota = Quota {
                name: "address",
                most: self.limit.requests,
                window_seconds: self.limit.window_seconds,
            };
            quota.used_up("Too many requests from this address lately.", wait)
        })
    }
}

/// Lets a request for stock through, or refuses it with 429.
pub(crate) async fn limit(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let Some(limiter) = &app.limiter else {
        return next.run(request).await;
    };
    let client = limiter.trusted.client(peer.ip(), request.headers());
    if let Err(problem) = limiter.admit(client) {
        if let Some(drop_id) = drop_in(request.uri().path()) {
            app.refused.count_known(&app, drop_id, Reason::Throttled);
        }
        return problem.into_response();
    }
    next.run(request).await
}

/// The drop that a path is about: `/v1/drops/{id}/…`.
fn drop_in(path: &str) -> Option<DropId> {
    path.strip_prefix("/v1/drops/")?
        .split('/')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_requests_in_seconds_within_bounds() {
        let parsed = |text: &str| text.parse::<AddressLimit>();
        let limit = AddressLimit {
            requests: 600,
            window_seconds: 60,
        };
        assert_eq!(parsed("600/60"), Ok(limit));
        assert!(parsed("1/1").is_ok() && parsed("100000/86400").is_ok());
        for wrong in [
            "",
            "600",
            "0/60",
            "100001/60",
            "1/0",
            "1/86401",
            "-1/60",
            "a/b",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_names_its_drop_or_none() {
        let id = "01234567-89ab-4def-8123-456789abcdef";
        assert!(drop_in(&format!("/v1/drops/{id}/holds")).is_some());
        assert_eq!(drop_in("/v1/drops/x/holds"), None);
        assert_eq!(drop_in("/v1/holds/x"), None);
    }
}
