//! Work that must still be done, and matters that need an administrator.
//!
//! Promise: a job has the id of the thing that it is about, so it is found under both routes.
//! Limit: the jobs of today are deliveries of webhooks that are pending, were given up, or needed
//! more than one attempt.

use ::webhooks::store::{Changed, Delivery, Matter, Slice};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use domain::values::{Position, Timestamp, parse_uuid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::App;
use crate::auth::Admin;
use crate::extract::{Limit, Params, Query, some_uuid};
use crate::problem::{Code, Problem};
use crate::render::{Page, conditional, private};
use crate::webhook_routes::{DeliveryStatus, MOST_LISTED, failed, one_more, page, unknown_start};

/// The kinds of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobKind {
    Refund,
    PaymentCancel,
    Webhook,
    Push,
}

/// A piece of work that is repeated until it succeeds or is given up.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Job")]
pub(crate) struct JobBody {
    id: Uuid,
    kind: JobKind,
    /// The path of the resource that the job is about.
    subject: String,
    #[schemars(with = "DeliveryStatus")]
    status: String,
    /// True if an administrator has cancelled it.
    cancelled: bool,
    attempts: u32,
    next_attempt_at: Option<Timestamp>,
    /// Why the last attempt failed.
    last_error: Option<String>,
    /// The log position of the event that caused the job.
    position: Position,
}

impl From<Delivery> for JobBody {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            kind: JobKind::Webhook,
            subject: subject(delivery.endpoint_id),
            status: delivery.status,
            cancelled: delivery.is_cancelled,
            attempts: delivery.attempts,
            next_attempt_at: delivery.next_attempt_at,
            last_error: delivery.last_error,
            position: delivery.position,
        }
    }
}

fn subject(endpoint_id: Uuid) -> String {
    format!("/v1/admin/webhooks/{endpoint_id}")
}

/// The kinds of matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum MatterKind {
    /// A delivery was given up.
    Webhook,
    /// An endpoint was disabled because its receiver is gone.
    WebhookEndpoint,
}

/// A matter that needs an administrator.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Matter")]
pub(crate) struct MatterBody {
    /// The id of the job or of the resource.
    id: Uuid,
    kind: MatterKind,
    /// The path of the resource that the matter is about.
    subject: String,
    since: Timestamp,
    detail: String,
    /// The log position of the event that the matter is about.
    position: Position,
}

impl From<Matter> for MatterBody {
    fn from(matter: Matter) -> Self {
        Self {
            id: matter.id,
            kind: match matter.is_endpoint {
                true => MatterKind::WebhookEndpoint,
                false => MatterKind::Webhook,
            },
            subject: subject(matter.endpoint_id),
            since: matter.since,
            detail: matter.detail,
            position: matter.position,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct JobsParams {
    /// Lists only jobs of this kind.
    kind: Option<JobKind>,
    /// Lists only jobs with this status.
    status: Option<DeliveryStatus>,
    /// The maximum number of jobs.
    #[schemars(extend("default" = MOST_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last job of the previous page.
    #[serde(default, deserialize_with = "some_uuid")]
    starting_after: Option<Uuid>,
}

impl Query for JobsParams {}

/// `GET /v1/admin/jobs`
pub(crate) async fn list(
    State(app): State<App>,
    _: Admin,
    Params(params): Params<JobsParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
    let slice = Slice {
        status: params.status.map(DeliveryStatus::name),
        after: params.starting_after,
        limit: one_more(limit),
    };
    let found = match params.kind {
        Some(JobKind::Webhook) | None => {
            let jobs = app.webhooks.store().jobs(slice).await;
            jobs.map_err(failed)?
        }
        Some(JobKind::Refund | JobKind::PaymentCancel | JobKind::Push) => vec![],
    };
    if let (Some(after), true) = (params.starting_after, found.is_empty()) {
        let known = app.webhooks.store().delivery(after).await.map_err(failed)?;
        known.ok_or_else(|| unknown_start("a job"))?;
    }
    let page: Page<JobBody> = page(found, limit);
    Ok(private(conditional(&headers, &page)))
}

/// The id of a job in the path. A value that is not a UUID gets the same problem as an unknown job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobPath(Uuid);

impl FromRequestParts<App> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| not_found())?;
        parse_uuid(&id).map(Self).map_err(|_| not_found())
    }
}

fn not_found() -> Problem {
    Problem::new(Code::JobNotFound, "No job has this id.")
}

/// `POST /v1/admin/jobs/{id}/retry`
pub(crate) async fn retry(
    State(app): State<App>,
    _: Admin,
    JobPath(id): JobPath,
) -> Result<Json<JobBody>, Problem> {
    let changed = app.webhooks.store().retry(id).await;
    job(&app, changed.map_err(failed)?)
}

/// `POST /v1/admin/jobs/{id}/cancel`
pub(crate) async fn cancel(
    State(app): State<App>,
    _: Admin,
    JobPath(id): JobPath,
) -> Result<Json<JobBody>, Problem> {
    let changed = app.webhooks.store().cancel(id).await;
    job(&app, changed.map_err(failed)?)
}

fn job(app: &App, changed: Changed) -> Result<Json<JobBody>, Problem> {
    match changed {
        Changed::Done(delivery) => {
            app.webhooks.wake();
            Ok(Json(delivery.into()))
        }
        Changed::AlreadyDone => Err(Problem::new(
            Code::JobDone,
            "The job is done, so it cannot be cancelled any more.",
        )),
        Changed::NotFound => Err(not_found()),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct MattersParams {
    /// The maximum number of matters.
    #[schemars(extend("default" = MOST_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last matter of the previous page.
    #[serde(default, deserialize_with = "some_uuid")]
    starting_after: Option<Uuid>,
}

impl Query for MattersParams {}

/// `GET /v1/admin/needs-attention`
pub(crate) async fn needs_attention(
    State(app): State<App>,
    _: Admin,
    Params(params): Params<MattersParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
    let store = app.webhooks.store();
    let found = store
        .needs_attention(params.starting_after, one_more(limit))
        .await;
    let found = found.map_err(failed)?;
    if let (Some(after), true) = (params.starting_after, found.is_empty()) {
        // A matter has the id of its job or of its endpoint.
        let is_job = store.delivery(after).await.map_err(failed)?.is_some();
        if !is_job && store.endpoint(after).await.map_err(failed)?.is_none() {
            return Err(unknown_start("a matter"));
        }
    }
    let page: Page<MatterBody> = page(found, limit);
    Ok(private(conditional(&headers, &page)))
}
