//! The 429 of a limit.

use std::time::Duration;

use axum::http::{HeaderName, header};

use super::{Code, Problem};

/// A rate limit or a concurrency limit, as it is reported in a 429.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    /// The scope: `buyer`, `address`, or `address-` followed by the counted resource.
    pub(crate) name: &'static str,
    /// The limit within one window, or at the same time.
    pub(crate) most: u32,
    /// The length of the sliding window, in seconds; `None` for a concurrency limit.
    pub(crate) window_seconds: Option<u32>,
}

impl Quota {
    /// 429 `throttled`. See [`Quota::refuse`].
    pub(crate) fn throttled_problem(self, detail: impl Into<String>, wait: Duration) -> Problem {
        self.refuse(Code::Throttled, detail, wait)
    }

    /// 429 with the `RateLimit` and `RateLimit-Policy` fields of
    /// draft-ietf-httpapi-ratelimit-headers.
    pub(crate) fn refuse(self, code: Code, detail: impl Into<String>, wait: Duration) -> Problem {
        let Self {
            name,
            most,
            window_seconds,
        } = self;
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let policy = HeaderName::from_static("ratelimit-policy");
        let now = HeaderName::from_static("ratelimit");
        let window = window_seconds.map_or_else(String::new, |seconds| format!(";w={seconds}"));
        Problem::new(code, detail)
            .with("retry_after", seconds)
            .header(header::RETRY_AFTER, seconds.to_string())
            .header(policy, format!("\"{name}\";q={most}{window}"))
            .header(now, format!("\"{name}\";r=0;t={seconds}"))
    }
}
