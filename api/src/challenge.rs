//! The challenge before a request for units: the solution that a request carries, and the problem
//! that has a new challenge.
//!
//! Promise: the engine decides whether a solution is needed, as the last of its checks. So a retry
//! is answered without one, and no buyer works for a request that would be refused anyway. A drop
//! without a challenge costs one look at the headers.
//! Limit: an administrator needs none. The difficulty of a solution is compared with the present
//! terms: after an edit that raises it, the client solves a second challenge.
//!
//! Source: docs/decisions/0079-a-challenge-is-worth-one-request.md.

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::request::Parts;
use domain::Refusal;
use domain::values::{Difficulty, DropId};
use engine::CommandError;
use serde_json::json;
use tokens::challenges::{Challenges, Request, SolutionError};

use crate::app::App;
use crate::limiter::BuyersKey;
use crate::problem::{Code, Problem};

/// The header with the solution of a challenge.
const HEADER: &str = "challenge-solution";

/// The caller's `Challenge-Solution`, not yet verified: the handler knows the request that it is
/// for.
#[derive(Debug, Clone, Default)]
pub(crate) struct SolutionHeader(Option<HeaderValue>);

impl FromRequestParts<App> for SolutionHeader {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.headers.get(HEADER).cloned()))
    }
}

/// The solution that a request carries, verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PresentedSolution {
    request: Request,
    verdict: Result<Option<Difficulty>, SolutionError>,
    is_admin: bool,
}

impl SolutionHeader {
    /// Verifies the solution for the request with these keys.
    pub(crate) fn of(self, app: &App, keys: BuyersKey, is_admin: bool) -> PresentedSolution {
        let request = Request {
            keys: [keys.key, keys.other_key],
        };
        let verified = |solution: HeaderValue| {
            Challenges::new(&app.key_secret).verify(solution.as_bytes(), request, app.now())
        };
        PresentedSolution {
            request,
            verdict: self.0.map(verified).transpose(),
            is_admin,
        }
    }
}

impl PresentedSolution {
    /// Returns the difficulty that the caller has solved, see [`engine::Pass::solved`].
    pub(crate) fn solved(self) -> Option<Difficulty> {
        match self.is_admin {
            true => Difficulty::new(i64::from(Difficulty::MAX)).ok(),
            false => self.verdict.ok().flatten(),
        }
    }

    /// Replaces the problem of a request that needs a solution by one with a new challenge, which
    /// is hard enough for all of `drops`. Leaves every other problem as it is.
    pub(crate) fn problem(
        self,
        app: &App,
        drops: &[DropId],
        error: CommandError,
        otherwise: impl FnOnce(CommandError) -> Problem,
    ) -> Problem {
        let Some((difficulty, item)) = required(&error) else {
            return otherwise(error);
        };
        // Those of the other items of an order, so that its buyer solves one challenge.
        let of_drops = drops.iter().filter_map(|drop_id| app.views.terms(*drop_id));
        let found = of_drops.filter(|terms| terms.visibility.is_found());
        let others = found.filter_map(|terms| terms.challenge);
        let hardest = others.map(|challenge| challenge.difficulty).max();
        let difficulty = hardest.map_or(difficulty, |hardest| hardest.max(difficulty));
        let challenge = Challenges::new(&app.key_secret).issue(self.request, difficulty, app.now());
        let Ok(challenge) = challenge else {
            return Problem::unavailable("The server has no random bytes. Retry.");
        };
        let (code, detail) = self.fault();
        let problem = Problem::new(code, detail).with("challenge", json!(challenge));
        match item {
            Some(item) => problem.with("pointer", format!("/items/{item}")),
            None => problem,
        }
    }

    fn fault(self) -> (Code, String) {
        let again = "Solve `challenge`, and send the same request again with the solution";
        match self.verdict {
            Ok(None) => (
                Code::ChallengeRequired,
                format!("The drop requires the solution of a challenge. {again}."),
            ),
            Ok(Some(_)) => (
                Code::ChallengeRequired,
                format!("The drop requires more work than this solution's. {again}."),
            ),
            Err(error @ SolutionError::Expired) => (
                Code::ChallengeExpired,
                format!("The solution {error}. {again}."),
            ),
            Err(error) => (
                Code::ChallengeInvalid,
                format!("The solution {error}. {again}."),
            ),
        }
    }
}

/// Returns the difficulty that a refused request needs, and the item of the order.
fn required(error: &CommandError) -> Option<(Difficulty, Option<u32>)> {
    let CommandError::Refused { refusal, .. } = error else {
        return None;
    };
    let (refusal, item) = if let Refusal::OfItem { item, refusal } = refusal {
        (&**refusal, Some(*item))
    } else {
        (refusal, None)
    };
    let Refusal::ChallengeRequired { difficulty } = *refusal else {
        return None;
    };
    Some((difficulty, item))
}
