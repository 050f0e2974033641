//! Work that must still be done, and matters that need an administrator.
//!
//! Promise: a job has the id of the thing that it is about, so it is found under both routes. Jobs
//! of several tables are one list, ordered by position and id.
//! Limit: deliveries of webhooks are jobs if they are pending, were given up, or needed more than
//! one attempt.

mod messages;
mod money;

use ::webhooks::store::{Changed, Delivery, Matter};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::values::{Position, Timestamp, parse_uuid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use settlement::store as payments;
use uuid::Uuid;

use crate::app::App;
use crate::auth::Admin;
use crate::base_path::at;
use crate::extract::{Limit, Params, Query, some_uuid};
use crate::problem::{Code, Problem};
use crate::render::{Page, conditional, private};
use crate::webhook_routes::{DeliveryStatus, MOST_LISTED, failed, one_more, page, unknown_start};

/// The kinds of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobKind {
    /// Returns money.
    Refund,
    /// Takes the authorised money of a sale.
    PaymentCapture,
    /// Cancels a payment of an order that is over or was paid otherwise.
    PaymentCancel,
    /// Money arrived for a payment that the log does not have. An administrator decides about it.
    PaymentUnknown,
    Webhook,
    /// Sends a notification to closed pages (Web Push).
    Push,
}

impl JobKind {
    /// The kind of the jobs of payments.
    const fn of_payments(self) -> Option<payments::JobKind> {
        match self {
            Self::Refund => Some(payments::JobKind::Refund),
            Self::PaymentCapture => Some(payments::JobKind::Capture),
            Self::PaymentCancel => Some(payments::JobKind::Cancel),
            Self::PaymentUnknown => Some(payments::JobKind::Unknown),
            Self::Webhook | Self::Push => None,
        }
    }
}

impl From<payments::JobKind> for JobKind {
    fn from(kind: payments::JobKind) -> Self {
        match kind {
            payments::JobKind::Refund => Self::Refund,
            payments::JobKind::Capture => Self::PaymentCapture,
            payments::JobKind::Cancel => Self::PaymentCancel,
            payments::JobKind::Unknown => Self::PaymentUnknown,
        }
    }
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
    /// The meaning of a job that was given up, and the next step; null for other jobs.
    meaning: Option<String>,
    /// The log position of the event that caused the job.
    position: Position,
}

/// The meaning of a delivery that an administrator has cancelled.
const CANCELLED_DELIVERY: &str = "The webhook is not delivered, and later events of its drop or \
                                  order follow. A retry delivers it.";

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
            meaning: delivery.is_cancelled.then(|| CANCELLED_DELIVERY.to_owned()),
            position: delivery.position,
        }
    }
}

impl From<payments::Job> for JobBody {
    fn from(job: payments::Job) -> Self {
        Self {
            id: job.id,
            meaning: money::meaning(&job),
            kind: job.kind.into(),
            subject: order(job.order_id),
            status: job.status,
            cancelled: job.is_cancelled,
            attempts: job.attempts,
            next_attempt_at: job.next_attempt_at,
            last_error: job.last_error,
            position: job.position,
        }
    }
}

impl JobBody {
    const fn key(&self) -> (Position, Uuid) {
        (self.position, self.id)
    }
}

fn subject(endpoint_id: Uuid) -> String {
    at(&format!("/v1/admin/webhooks/{endpoint_id}")).into_owned()
}

fn order(order_id: Uuid) -> String {
    at(&format!("/v1/orders/{order_id}")).into_owned()
}

/// The kinds of matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum MatterKind {
    /// A delivery was given up.
    Webhook,
    /// An endpoint was disabled because its receiver is gone.
    WebhookEndpoint,
    /// Money is owed to a buyer, and the refund was given up.
    Refund,
    /// Money that bought nothing is being returned: it arrived late or twice, or is another amount.
    PaymentWithoutGoods,
    /// Units were sold, and their money was not taken.
    PaymentCapture,
    /// A payment of an order that is over could not be cancelled.
    PaymentCancel,
    /// Money arrived for a payment that the log does not have.
    PaymentUnknown,
    /// A person has returned money at the provider, and no refund of the order accounts for it.
    ProviderRefund,
    /// The buyer disputes a payment at their bank.
    Dispute,
}

/// A matter that needs an administrator.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Matter")]
pub(crate) struct MatterBody {
    /// The id of the job or of the resource. One of the kind `provider_refund` or `dispute` is no
    /// job; it is closed at `/v1/admin/needs-attention/{id}/close`.
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

impl From<payments::Matter> for MatterBody {
    fn from(matter: payments::Matter) -> Self {
        let payments::Matter { job, since } = matter;
        let error = job.last_error.unwrap_or_default();
        let (kind, detail) = match (job.kind, job.cause.as_deref()) {
            (payments::JobKind::Refund, cause) if job.status == "pending" => {
                let cause = match cause {
                    Some("late") => "it arrived after the order had expired",
                    Some("double") => "the order was paid already",
                    Some("wrong_amount") => "it is not the amount of the order",
                    _ => "the order is over",
                };
                let detail = format!("{} is being returned: {cause}", job.amount);
                (MatterKind::PaymentWithoutGoods, detail)
            }
            (payments::JobKind::Refund, _) => {
                let detail = format!("{} was not returned: {error}", job.amount);
                (MatterKind::Refund, detail)
            }
            (payments::JobKind::Capture, _) => {
                let detail = format!("{} of a sale was not taken: {error}", job.amount);
                (MatterKind::PaymentCapture, detail)
            }
            (payments::JobKind::Cancel, _) => {
                let detail = format!("a payment was not cancelled: {error}");
                (MatterKind::PaymentCancel, detail)
            }
            (payments::JobKind::Unknown, _) => {
                let detail = format!("{} arrived: {error}", job.amount);
                (MatterKind::PaymentUnknown, detail)
            }
        };
        Self {
            id: job.id,
            kind,
            subject: order(job.order_id),
            since,
            detail,
            position: job.position,
        }
    }
}

impl MatterBody {
    fn of_withdrawal(app: &App, open: &payments::OpenWithdrawal) -> Self {
        Self {
            id: open.withdrawal.id,
            kind: match open.withdrawal.kind {
                payments::WithdrawalKind::Refund => MatterKind::ProviderRefund,
                payments::WithdrawalKind::Dispute => MatterKind::Dispute,
            },
            subject: order(open.withdrawal.order_id),
            since: open.since,
            detail: money::withdrawal_detail(open),
            position: money::position_of(app, open),
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
    let before = match params.starting_after {
        Some(id) => Some(key_of(&app, id).await?),
        None => None,
    };
    let status = params.status.map(DeliveryStatus::name);
    let mut found: Vec<JobBody> = vec![];
    if matches!(params.kind, Some(JobKind::Webhook) | None) {
        let store = app.webhooks.store();
        let jobs = store.jobs_before(status, before, one_more(limit)).await;
        found.extend(jobs.map_err(failed)?.into_iter().map(JobBody::from));
    }
    let kind = params.kind.and_then(JobKind::of_payments);
    if kind.is_some() || params.kind.is_none() {
        let slice = payments::Slice {
            status,
            kind,
            after: before,
            limit: one_more(limit),
        };
        let jobs = app.settlement.store().jobs(slice).await;
        found.extend(jobs.map_err(failed)?.into_iter().map(JobBody::from));
    }
    if matches!(params.kind, Some(JobKind::Push) | None) {
        let slice = ::push::store::Slice {
            status,
            after: before,
            limit: one_more(limit),
        };
        let jobs = app.push.store().jobs(slice).await;
        found.extend(jobs.map_err(failed)?.into_iter().map(JobBody::from));
    }
    found.sort_by_key(|job| std::cmp::Reverse(job.key()));
    let page: Page<JobBody> = page(found, limit);
    Ok(private(conditional(&headers, &page)))
}

/// The position and id of a job. Before an unknown one there is nothing.
async fn key_of(app: &App, id: Uuid) -> Result<(Position, Uuid), Problem> {
    let payment = app.settlement.store().job(id).await.map_err(failed)?;
    if let Some(job) = payment {
        return Ok((job.position, job.id));
    }
    if let Some(job) = app.push.store().job(id).await.map_err(failed)? {
        return Ok((job.key.0, job.id));
    }
    let delivery = app.webhooks.store().job_key(id).await.map_err(failed)?;
    delivery.ok_or_else(|| unknown_start("a job"))
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
    let changed = app.settlement.store().retry(id).await.map_err(failed)?;
    if let Some(job) = of_payment(&app, changed, "so there is nothing to retry")? {
        return Ok(job);
    }
    let changed = app.push.store().retry(id).await.map_err(failed)?;
    if let Some(job) = messages::changed(changed, "so there is nothing to retry")? {
        app.push.wake();
        return Ok(Json(job));
    }
    let changed = app.webhooks.store().retry(id).await;
    of_delivery(&app, changed.map_err(failed)?)
}

/// `POST /v1/admin/jobs/{id}/cancel`
pub(crate) async fn cancel(
    State(app): State<App>,
    _: Admin,
    JobPath(id): JobPath,
) -> Result<Json<JobBody>, Problem> {
    let changed = app.settlement.store().cancel(id).await.map_err(failed)?;
    if let Some(job) = of_payment(&app, changed, "so it cannot be cancelled any more")? {
        return Ok(job);
    }
    let changed = app.push.store().cancel(id).await.map_err(failed)?;
    if let Some(job) = messages::changed(changed, "so it cannot be cancelled any more")? {
        return Ok(Json(job));
    }
    let changed = app.webhooks.store().cancel(id).await;
    of_delivery(&app, changed.map_err(failed)?)
}

/// Returns `None` if the job is not one of payments.
fn of_payment(
    app: &App,
    changed: payments::Changed,
    consequence: &str,
) -> Result<Option<Json<JobBody>>, Problem> {
    match changed {
        payments::Changed::Done(job) => {
            app.settlement.wake();
            Ok(Some(Json(JobBody::from(*job))))
        }
        payments::Changed::AlreadyDone => {
            let detail = format!("The job is done, {consequence}.");
            Err(Problem::new(Code::JobDone, detail))
        }
        payments::Changed::NotFound => Ok(None),
    }
}

fn of_delivery(app: &App, changed: Changed) -> Result<Json<JobBody>, Problem> {
    match changed {
        Changed::Done(delivery) => {
            app.webhooks.wake();
            Ok(Json((*delivery).into()))
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
    let before = match params.starting_after {
        Some(id) => Some((since(&app, id).await?, id)),
        None => None,
    };
    let most = one_more(limit);
    let of_webhooks = app.webhooks.store().needs_attention(before, most).await;
    let of_payments = app.settlement.store().needs_attention(before, most).await;
    let of_webhooks = of_webhooks.map_err(failed)?.into_iter();
    let mut found: Vec<MatterBody> = of_webhooks.map(MatterBody::from).collect();
    let of_payments = of_payments.map_err(failed)?.into_iter();
    found.extend(of_payments.map(MatterBody::from));
    let withdrawals = app.settlement.store().open_withdrawals(before, most).await;
    let withdrawals = withdrawals.map_err(failed)?;
    let withdrawals = withdrawals.iter();
    found.extend(withdrawals.map(|open| MatterBody::of_withdrawal(&app, open)));
    found.sort_by_key(|matter| std::cmp::Reverse((matter.since, matter.id)));
    let page: Page<MatterBody> = page(found, limit);
    Ok(private(conditional(&headers, &page)))
}

/// The time of a matter. Before an unknown one there is nothing.
async fn since(app: &App, id: Uuid) -> Result<Timestamp, Problem> {
    let payment = app.settlement.store().matter_since(id).await;
    if let Some(since) = payment.map_err(failed)? {
        return Ok(since);
    }
    let withdrawal = app.settlement.store().withdrawn_since(id).await;
    if let Some(since) = withdrawal.map_err(failed)? {
        return Ok(since);
    }
    let delivery = app.webhooks.store().matter_since(id).await;
    let since = delivery.map_err(failed)?;
    // A matter has the id of its job or of its endpoint.
    since.ok_or_else(|| unknown_start("a matter"))
}

/// The id of a matter in the path. A value that is not a UUID gets the same problem as an unknown
/// one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MatterPath(Uuid);

impl FromRequestParts<App> for MatterPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| no_matter())?;
        parse_uuid(&id).map(Self).map_err(|_| no_matter())
    }
}

fn no_matter() -> Problem {
    let detail = "No refund or dispute at a provider has this id. The matter of a job is closed by \
                  cancelling the job.";
    Problem::new(Code::MatterNotFound, detail)
}

/// `POST /v1/admin/needs-attention/{id}/close`
pub(crate) async fn close_matter(
    State(app): State<App>,
    _: Admin,
    MatterPath(id): MatterPath,
) -> Result<StatusCode, Problem> {
    let closed = app.settlement.store().close_withdrawal(id).await;
    match closed.map_err(failed)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(no_matter()),
    }
}
