//! How often the rules said no within a window.

use std::time::Duration;

use crate::app::App;

/// Refusals that the dashboard counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refusals {
    /// Requests to hold more than was available.
    pub(super) oversell_attempts_blocked: u64,
    /// Requests by a buyer who was too quick.
    pub(super) throttle_blocks: u64,
}

/// The refusals of the last `window`. The seam to the module that counts them: until it is there, none were counted.
pub(super) fn within(_app: &App, _window: Duration) -> Refusals {
    Refusals::default()
}
