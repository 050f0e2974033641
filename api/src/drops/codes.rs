//! Access codes: `GET` and `POST /v1/drops/{id}/codes`, and the code of a request for units.
//!
//! Promise: a repeated request shows the same codes, because they are derived from the idempotency
//! key and the server's secret; nothing else shows them again. A wrong code counts among the failed
//! attempts of its address.
//! Limit: a request for many codes is recorded in parts of 1,000. After a crash in between, its
//! retry records the rest.
//!
//! Source: docs/decisions/0068-codes-are-derived-from-the-idempotency-key.md.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::Refusal;
use domain::event::CodesCreated;
use domain::values::{AccessCode, CodeCount, CodeDigest, CodeUses, DropId, Position, Timestamp};
use engine::{Accepted, CommandError, CreateCodes, Pass};
use projections::codes::CodeRow;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MOST_LISTED, find};
use crate::app::App;
use crate::auth::Admin;
use crate::challenge::PresentedSolution;
use crate::extract::{Body, DropPath, Fresh, IdempotencyKey, Limit, Query};
use crate::limiter::{Attempt, AttemptKind, Origin};
use crate::openapi::schemas::AnyTime;
use crate::problem::Problem;
use crate::render::{Page, conditional, positioned, private, recorded};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCodes {
    /// The number of codes.
    count: CodeCount,
    /// How many holds can be placed with each code.
    #[schemars(extend("default" = 1))]
    uses: Option<CodeUses>,
    /// The time from which the codes can be used, which may be before the drop's start. Default:
    /// the drop's start.
    #[schemars(with = "Option<AnyTime>")]
    opens_at: Option<Timestamp>,
    /// The time from which the codes can no longer be used. Default: none.
    #[schemars(with = "Option<AnyTime>")]
    expires_at: Option<Timestamp>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AccessCodes")]
pub(crate) struct CodesBody {
    drop_id: DropId,
    /// The codes. They are not shown again, except to a repeated request with the same
    /// `Idempotency-Key`.
    codes: Vec<AccessCode>,
    uses: CodeUses,
    /// Null: the drop's start.
    opens_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    /// The log position of the last of the codes.
    position: Position,
}

/// `POST /v1/drops/{id}/codes`
pub(crate) async fn create(
    State(app): State<App>,
    Admin { name }: Admin,
    DropPath(drop_id): DropPath,
    key: IdempotencyKey,
    Body(new): Body<NewCodes>,
) -> Result<Response, Problem> {
    let NewCodes {
        count,
        opens_at,
        expires_at,
        ..
    } = new;
    let one = || CodeUses::new(1).map_err(|error| Problem::invalid("/uses", error.to_string()));
    let uses = new.uses.map_or_else(one, Ok)?;
    let seed =
        key.within(&app.key_scope(&[drop_id.0.as_bytes(), b"/codes".as_slice()].concat()))?;
    let of = count.get();
    let codes: Vec<AccessCode> = (0..of)
        .map(|index| AccessCode::derived(seed, index))
        .collect();
    let mut is_replay = true;
    let mut last: Option<Accepted> = None;
    let mut first = 0;
    for part in codes.chunks(CodesCreated::MAX_CODES) {
        // The first part has the key itself, so that the key cannot be used for anything else.
        let scope = match first {
            0 => drop_id.0.as_bytes().to_vec(),
            first => [
                drop_id.0.as_bytes().as_slice(),
                format!("/codes/{first}").as_bytes(),
            ]
            .concat(),
        };
        let request = CreateCodes {
            drop_id,
            key: Some(key.within(&app.key_scope(&scope))?),
            first,
            of,
            digests: part
                .iter()
                .map(|code| app.code_digest(drop_id, code))
                .collect(),
            uses,
            opens_at,
            expires_at,
        };
        let answer = app.engine.by(name).create_codes(request).await?;
        is_replay &= answer.is_replay();
        last = Some(answer);
        first += u32::try_from(part.len()).unwrap_or(u32::MAX);
    }
    let answer = last.ok_or_else(Problem::declared_void)?;
    let body = CodesBody {
        drop_id,
        codes,
        uses,
        opens_at,
        expires_at,
        position: answer.position(),
    };
    let response = private((StatusCode::CREATED, Json(body)).into_response());
    Ok(match is_replay {
        true => recorded(response, &answer),
        false => positioned(response, &answer),
    })
}

/// An access code and its uses. The code itself is not known to the server.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CodeUsage")]
pub(crate) struct CodeBody {
    /// The digest of the code in the log.
    #[schemars(with = "String", extend("pattern" = "^[0-9a-f]{32}$"))]
    id: CodeDigest,
    /// How many holds can be placed with it in all.
    uses: u32,
    /// Uses that holds, purchases and waitlist entries have taken.
    used: u32,
    /// Null: the drop's start.
    opens_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    /// The log position at which it was created.
    position: Position,
}

impl From<CodeRow> for CodeBody {
    fn from(row: CodeRow) -> Self {
        Self {
            id: row.digest,
            uses: row.uses,
            used: row.used,
            opens_at: row.opens_at,
            expires_at: row.expires_at,
            created_at: row.created_at,
            position: row.position,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CodesParams {
    /// The maximum number of codes.
    #[schemars(extend("default" = MOST_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last code of the previous page.
    #[schemars(with = "Option<String>", extend("pattern" = "^[0-9a-f]{32}$"))]
    starting_after: Option<CodeDigest>,
}

impl Query for CodesParams {}

/// `GET /v1/drops/{id}/codes`
pub(crate) async fn list(
    State(app): State<App>,
    DropPath(drop_id): DropPath,
    _: Admin,
    Fresh(params): Fresh<CodesParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    find(&app, drop_id)?;
    let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
    let rows = app.views.codes(drop_id, params.starting_after, limit + 1);
    let mut rows = rows.ok_or_else(|| {
        Problem::invalid_query("starting_after", "must be the id of a code of this drop")
    })?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let data: Vec<CodeBody> = rows.into_iter().map(CodeBody::from).collect();
    Ok(private(conditional(&headers, &Page { data, has_more })))
}

/// The code of a request for units, which counts as an attempt to guess one until it is settled.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct PresentedCode {
    pub(crate) digest: Option<CodeDigest>,
    attempt: Option<Attempt>,
}

impl PresentedCode {
    /// Reads the code of a request for units of `drop_id`.
    ///
    /// # Errors
    /// 429 when the address has sent too many wrong codes: then no code is checked.
    pub(crate) fn of(
        app: &App,
        origin: Origin,
        drop_id: DropId,
        code: Option<&AccessCode>,
    ) -> Result<Self, Problem> {
        let Some(code) = code else {
            return Ok(Self::default());
        };
        Ok(Self {
            digest: Some(app.code_digest(drop_id, code)),
            attempt: Some(app.limiter.attempt(origin, AttemptKind::Code)?),
        })
    }

    /// The right with which the units are requested.
    pub(crate) fn pass(&self, is_admin: bool, solution: PresentedSolution) -> Pass {
        Pass {
            code: self.digest,
            sees_hidden: is_admin,
            solved: solution.solved(),
        }
    }

    /// Ends the attempt, which has failed if the drop has no such code.
    pub(crate) fn settle<S>(self, answer: &Result<Accepted<S>, CommandError>) {
        let is_wrong = answer.as_ref().is_err_and(is_of_wrong_code);
        if let Some(attempt) = self.attempt.filter(|_| !is_wrong) {
            attempt.succeeded();
        }
    }
}

fn is_of_wrong_code(error: &CommandError) -> bool {
    let CommandError::Refused { refusal, .. } = error else {
        return false;
    };
    let of_drop = if let Refusal::OfItem { refusal, .. } = refusal {
        refusal.as_ref()
    } else {
        refusal
    };
    *of_drop == Refusal::CodeInvalid
}
