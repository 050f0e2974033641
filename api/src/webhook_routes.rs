//! The routes of outgoing webhooks: endpoints and their deliveries.
//!
//! Promise: a secret is in the response that creates it and in no other. A change is in the
//! database before its response, and every server follows it within a second.
//! Limit: these routes need the database; without it they return 503.

use std::borrow::Cow;

use ::webhooks::kind::Kind;
use ::webhooks::networks::PermittedNetworks;
use ::webhooks::sender::literal;
use ::webhooks::service::Webhooks;
use ::webhooks::signature::Secret;
use ::webhooks::store::{
    Changed, Delivery, Disabled, Edit, Endpoint, MOST_ENDPOINTS, NewEndpoint, Replay, Slice,
};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::values::{DropId, EndpointLabel, Entered, OrderId, Position, Timestamp, parse_uuid};
use infrastructure::error::LogError;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use url::Url;
use uuid::Uuid;

use crate::app::App;
use crate::auth::Admin;
use crate::base_path::at;
use crate::extract::{Body, Limit, MAX_TERMS_BODY, Params, Query, some_uuid};
use crate::problem::{Code, Problem};
use crate::render::{Page, conditional, insert, private};
use crate::urls::{self, Purpose};

/// Maximum number of endpoints, deliveries, jobs or matters in one response.
pub(crate) const MOST_LISTED: usize = 100;
/// The length of `http://a`.
const MIN_URL: usize = 8;
const MAX_URL: usize = 2_048;
/// The largest whole number that every JSON reader represents exactly.
const MAX_POSITION: u64 = (1 << 53) - 1;

/// The URL of an endpoint, by the rules of [`crate::urls`].
#[derive(Debug, Clone)]
pub(crate) struct EndpointUrl {
    parsed: Url,
    stored: String,
}

impl<'de> Deserialize<'de> for EndpointUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let text = text.trim();
        // The length first: its message would be hidden by those of an endless URL.
        if text.chars().count() > MAX_URL {
            let detail = format!("must have at most {MAX_URL} characters");
            return Err(de::Error::custom(detail));
        }
        let parsed = urls::parse(text, Purpose::Endpoint).map_err(de::Error::custom)?;
        Ok(Self {
            parsed,
            stored: urls::stored(text),
        })
    }
}

impl JsonSchema for EndpointUrl {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EndpointUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": MIN_URL, "maxLength": MAX_URL })
    }
}

impl EndpointUrl {
    /// Rejects an address that nothing would be sent to. A name is checked when it is resolved.
    /// `setting` lists the networks; `pointer` is that of the URL in the body.
    pub(crate) fn permitted(
        self,
        networks: &PermittedNetworks,
        setting: &str,
        pointer: &str,
    ) -> Result<String, Problem> {
        let url = &self.parsed;
        let is_encrypted = url.scheme() == "https";
        let is_permitted = match literal(url) {
            Some(address) => networks.permit(address, is_encrypted),
            None => is_encrypted || !networks.is_empty(),
        };
        if is_permitted {
            return Ok(self.stored);
        }
        let detail = format!(
            "must be a public https address; other addresses, and http, need a network in {setting}"
        );
        Err(Problem::invalid(pointer, detail))
    }

    /// [`EndpointUrl::permitted`] for an endpoint of webhooks.
    fn for_webhooks(self, webhooks: &Webhooks) -> Result<String, Problem> {
        self.permitted(webhooks.networks(), "HOLDFAST_WEBHOOK_NETWORKS", "/url")
    }

    /// Returns the text as it is stored.
    pub(crate) fn into_stored(self) -> String {
        self.stored
    }
}

/// The types that an endpoint subscribes to.
#[derive(Debug, Clone)]
pub(crate) struct Subscription(Vec<Kind>);

impl<'de> Deserialize<'de> for Subscription {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut kinds = Vec::<Kind>::deserialize(deserializer)?;
        kinds.sort();
        kinds.dedup();
        if kinds.is_empty() {
            let detail = "must name at least one type; null subscribes to all";
            return Err(de::Error::custom(detail));
        }
        Ok(Self(kinds))
    }
}

impl JsonSchema for Subscription {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Subscription".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let kind = generator.subschema_for::<Kind>();
        json_schema!({ "type": "array", "minItems": 1, "items": kind })
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewWebhookEndpoint")]
pub(crate) struct NewEndpointBody {
    /// An https URL of a public host. Other addresses, and http, only in networks that the server
    /// permits (`HOLDFAST_WEBHOOK_NETWORKS`).
    url: EndpointUrl,
    /// The types to send. Default: all, also those that a later release adds.
    event_types: Option<Subscription>,
    /// A description for administrators.
    description: Option<Entered<EndpointLabel>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EditedWebhookEndpoint")]
pub(crate) struct EditedEndpoint {
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "EndpointUrl")]
    url: Option<EndpointUrl>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<Subscription>")]
    event_types: Option<Option<Subscription>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<Entered<EndpointLabel>>")]
    description: Option<Option<Entered<EndpointLabel>>>,
    /// `disabled` stops sending. `enabled` continues at the endpoint's position.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "EndpointStatus")]
    status: Option<EndpointStatus>,
}

/// A field that is present: null removes an optional value, a value replaces it. An absent field
/// changes nothing.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "WebhookEndpointStatus")]
pub(crate) enum EndpointStatus {
    Enabled,
    Disabled,
}

/// Why nothing is sent to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DisabledReason {
    /// The receiver responded with 410.
    Gone,
    /// By a request.
    Administrator,
}

impl From<Disabled> for DisabledReason {
    fn from(disabled: Disabled) -> Self {
        match disabled {
            Disabled::Gone => Self::Gone,
            Disabled::Administrator => Self::Administrator,
        }
    }
}

/// An endpoint that receives webhooks.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WebhookEndpoint")]
pub(crate) struct EndpointBody {
    id: Uuid,
    url: String,
    /// The types that it receives; null for all.
    event_types: Option<Vec<String>>,
    description: Option<String>,
    status: EndpointStatus,
    disabled_reason: Option<DisabledReason>,
    disabled_at: Option<Timestamp>,
    /// Every event up to this log position was delivered, is a pending or failed delivery, or
    /// waits behind another event of its drop or order.
    position: Position,
    /// Pending deliveries, and drops and orders with events that waited behind one and are not
    /// sent yet. 0: nothing up to `position` is left to be sent.
    pending: u64,
    /// Deliveries that were given up.
    failed: u64,
    created_at: Timestamp,
    /// The secret that verifies signatures: `whsec_` and base64. Only in the response that creates
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Until then the earlier secrets sign as well. Only in the response to a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_secret_expires_at: Option<Timestamp>,
}

impl From<Endpoint> for EndpointBody {
    fn from(endpoint: Endpoint) -> Self {
        let (reason, at) = endpoint.disabled.unzip();
        Self {
            id: endpoint.id,
            url: endpoint.url,
            event_types: endpoint.event_types,
            description: endpoint.description,
            status: match reason {
                Some(_) => EndpointStatus::Disabled,
                None => EndpointStatus::Enabled,
            },
            disabled_reason: reason.map(DisabledReason::from),
            disabled_at: at,
            position: endpoint.position,
            pending: endpoint.pending,
            failed: endpoint.failed,
            created_at: endpoint.created_at,
            secret: None,
            previous_secret_expires_at: None,
        }
    }
}

/// The delivery of one message to one endpoint.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WebhookDelivery")]
pub(crate) struct DeliveryBody {
    /// Also the id of its job.
    id: Uuid,
    endpoint_id: Uuid,
    /// The header `webhook-id`, the same at every attempt.
    webhook_id: String,
    event_type: String,
    /// Null for a test, and for an event of an order.
    drop_id: Option<DropId>,
    /// Null for a test, and for an event of a drop.
    order_id: Option<OrderId>,
    /// The log position of the event.
    position: Position,
    #[schemars(with = "DeliveryStatus")]
    status: String,
    /// True if an administrator has cancelled it.
    cancelled: bool,
    attempts: u32,
    next_attempt_at: Option<Timestamp>,
    /// Why the last attempt failed.
    last_error: Option<String>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl From<Delivery> for DeliveryBody {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            endpoint_id: delivery.endpoint_id,
            webhook_id: delivery.webhook_id,
            event_type: delivery.event_type,
            drop_id: delivery.drop_id,
            order_id: delivery.order_id,
            position: delivery.position,
            status: delivery.status,
            cancelled: delivery.is_cancelled,
            attempts: delivery.attempts,
            next_attempt_at: delivery.next_attempt_at,
            last_error: delivery.last_error,
            created_at: delivery.created_at,
            finished_at: delivery.finished_at,
        }
    }
}

/// The status of a delivery or a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "JobStatus")]
pub(crate) enum DeliveryStatus {
    /// Another attempt follows.
    Pending,
    /// Given up.
    Failed,
    Done,
}

impl DeliveryStatus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Done => "done",
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct EndpointsParams {
    /// The maximum number of endpoints.
    #[schemars(extend("default" = MOST_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last endpoint of the previous page.
    #[serde(default, deserialize_with = "some_uuid")]
    starting_after: Option<Uuid>,
}

impl Query for EndpointsParams {}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct DeliveriesParams {
    /// Lists only deliveries with this status.
    status: Option<DeliveryStatus>,
    /// The maximum number of deliveries.
    #[schemars(extend("default" = MOST_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last delivery of the previous page.
    #[serde(default, deserialize_with = "some_uuid")]
    starting_after: Option<Uuid>,
}

impl Query for DeliveriesParams {}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookReplay")]
pub(crate) struct ReplayBody {
    /// Every event after this position is delivered again.
    #[serde(deserialize_with = "replayed_after")]
    #[schemars(with = "u64", range(min = 0, max = MAX_POSITION))]
    after: Position,
}

fn replayed_after<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Position, D::Error> {
    let position = u64::deserialize(deserializer).ok();
    let position = position.filter(|position| *position <= MAX_POSITION);
    position.map(Position).ok_or_else(|| {
        let bounds = format!("must be a position: a whole number from 0 to {MAX_POSITION}");
        de::Error::custom(bounds)
    })
}

/// The id of an endpoint in the path. A value that is not a UUID gets the same problem as an
/// unknown endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointPath(Uuid);

impl FromRequestParts<App> for EndpointPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| not_found())?;
        parse_uuid(&id).map(Self).map_err(|_| not_found())
    }
}

/// The ids of an endpoint and of one of its deliveries in the path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeliveryPath(Uuid, Uuid);

impl FromRequestParts<App> for DeliveryPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path((id, delivery_id)) = Path::<(String, String)>::from_request_parts(parts, app)
            .await
            .map_err(|_| not_found())?;
        let id = parse_uuid(&id).map_err(|_| not_found())?;
        let delivery_id = parse_uuid(&delivery_id).map_err(|_| delivery_not_found())?;
        Ok(Self(id, delivery_id))
    }
}

fn not_found() -> Problem {
    Problem::new(Code::WebhookNotFound, "No webhook endpoint has this id.")
}

fn delivery_not_found() -> Problem {
    Problem::new(
        Code::DeliveryNotFound,
        "This endpoint has no delivery with this id. Old deliveries are removed from the list.",
    )
}

/// Maps an error of the tables.
pub(crate) fn failed(error: sqlx::Error) -> Problem {
    let error = LogError::Unavailable(error.into());
    match error.is_away() {
        true => Problem::unavailable("The database is unreachable. Send the same request again."),
        false => Problem::internal(&error),
    }
}

/// `POST /v1/admin/webhooks`
pub(crate) async fn create(
    State(app): State<App>,
    _: Admin,
    Body(new): Body<NewEndpointBody, MAX_TERMS_BODY>,
) -> Result<Response, Problem> {
    let new = NewEndpoint {
        url: new.url.for_webhooks(&app.webhooks)?,
        event_types: new.event_types.map(|Subscription(kinds)| kinds),
        description: new
            .description
            .map(|Entered(text)| text.as_str().to_owned()),
    };
    let secret = Secret::random();
    let created = app.webhooks.store().create(&new, &secret).await;
    let endpoint = created.map_err(failed)?.ok_or_else(|| {
        let detail = "The shop has as many webhook endpoints as are allowed. Delete one first.";
        Problem::new(Code::WebhookLimitReached, detail).with("limit", MOST_ENDPOINTS)
    })?;
    app.webhooks.wake();
    let location = format!("/v1/admin/webhooks/{}", endpoint.id);
    let body = EndpointBody {
        secret: Some(secret.reveal()),
        ..endpoint.into()
    };
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    insert(&mut response, header::LOCATION, &at(&location));
    Ok(response)
}

/// `GET /v1/admin/webhooks`
pub(crate) async fn list(
    State(app): State<App>,
    _: Admin,
    Params(params): Params<EndpointsParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
    let found = app
        .webhooks
        .store()
        .endpoints(params.starting_after, one_more(limit));
    let found = found.await.map_err(failed)?;
    if let (Some(after), true) = (params.starting_after, found.is_empty()) {
        let known = app.webhooks.store().endpoint(after).await.map_err(failed)?;
        known.ok_or_else(|| unknown_start("an endpoint"))?;
    }
    let page: Page<EndpointBody> = page(found, limit);
    Ok(private(conditional(&headers, &page)))
}

/// 400 for a page that would follow something unknown: an empty page would look like the end of the
/// list. Nothing follows an unknown entry, so only empty pages need the look-up.
pub(crate) fn unknown_start(of: &str) -> Problem {
    Problem::invalid_query("starting_after", format!("must be the id of {of}"))
}

/// The limit of a query: one row more than is returned shows if there is a next page.
pub(crate) fn one_more(limit: usize) -> i64 {
    i64::try_from(limit + 1).unwrap_or(i64::MAX)
}

pub(crate) fn page<T, B: From<T>>(mut found: Vec<T>, limit: usize) -> Page<B> {
    let has_more = found.len() > limit;
    found.truncate(limit);
    Page {
        data: found.into_iter().map(B::from).collect(),
        has_more,
    }
}

/// `GET /v1/admin/webhooks/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    _: Admin,
    EndpointPath(id): EndpointPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let endpoint = app.webhooks.store().endpoint(id).await.map_err(failed)?;
    let body = EndpointBody::from(endpoint.ok_or_else(not_found)?);
    Ok(private(conditional(&headers, &body)))
}

/// `PATCH /v1/admin/webhooks/{id}`
pub(crate) async fn edit(
    State(app): State<App>,
    _: Admin,
    EndpointPath(id): EndpointPath,
    Body(edited): Body<EditedEndpoint, MAX_TERMS_BODY>,
) -> Result<Json<EndpointBody>, Problem> {
    let url = edited.url.map(|url| url.for_webhooks(&app.webhooks));
    let edit = Edit {
        url: url.transpose()?,
        event_types: edited
            .event_types
            .map(|types| types.map(|Subscription(kinds)| kinds)),
        description: edited
            .description
            .map(|text| text.map(|Entered(text)| text.as_str().to_owned())),
        is_enabled: edited
            .status
            .map(|status| status == EndpointStatus::Enabled),
    };
    let endpoint = app.webhooks.store().edit(id, &edit).await.map_err(failed)?;
    app.webhooks.wake();
    endpoint
        .map(|endpoint| Json(endpoint.into()))
        .ok_or_else(not_found)
}

/// `DELETE /v1/admin/webhooks/{id}`
pub(crate) async fn delete(
    State(app): State<App>,
    _: Admin,
    EndpointPath(id): EndpointPath,
) -> Result<StatusCode, Problem> {
    let deleted = app.webhooks.store().delete(id).await.map_err(failed)?;
    app.webhooks.wake();
    match deleted {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(not_found()),
    }
}

/// `POST /v1/admin/webhooks/{id}/test`
pub(crate) async fn test(
    State(app): State<App>,
    _: Admin,
    EndpointPath(id): EndpointPath,
) -> Result<Response, Problem> {
    let endpoint = app.webhooks.store().endpoint(id).await.map_err(failed)?;
    if endpoint.ok_or_else(not_found)?.disabled.is_some() {
        let detail = "The endpoint is disabled, so nothing is sent to it. Enable it first.";
        return Err(Problem::new(Code::WebhookDisabled, detail));
    }
    let delivery = app.webhooks.store().test(id).await.map_err(failed)?;
    app.webhooks.wake();
    let body = DeliveryBody::from(delivery.ok_or_else(not_found)?);
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// `POST /v1/admin/webhooks/{id}/rotate-secret`
pub(crate) async fn rotate_secret(
    State(app): State<App>,
    _: Admin,
    EndpointPath(id): EndpointPath,
) -> Result<Json<EndpointBody>, Problem> {
    let secret = Secret::random();
    let rotated = app.webhooks.store().rotate(id, &secret).await;
    let (endpoint, expires_at) = rotated.map_err(failed)?.ok_or_else(not_found)?;
    app.webhooks.wake();
    Ok(Json(EndpointBody {
        secret: Some(secret.reveal()),
        previous_secret_expires_at: Some(expires_at),
        ..endpoint.into()
    }))
}

/// `POST /v1/admin/webhooks/{id}/replay`
pub(crate) async fn replay(
    State(app): State<App>,
    _: Admin,
    EndpointPath(id): EndpointPath,
    Body(ReplayBody { after }): Body<ReplayBody>,
) -> Result<Response, Problem> {
    match app
        .webhooks
        .store()
        .replay(id, after)
        .await
        .map_err(failed)?
    {
        Replay::Done(endpoint) => {
            app.webhooks.wake();
            let body = Json(EndpointBody::from(endpoint));
            Ok((StatusCode::ACCEPTED, body).into_response())
        }
        Replay::Ahead(position) => {
            let detail = format!("must be at most the endpoint's position, {position}");
            Err(Problem::invalid("/after", detail))
        }
        Replay::NotFound => Err(not_found()),
    }
}

/// `GET /v1/admin/webhooks/{id}/deliveries`
pub(crate) async fn deliveries(
    State(app): State<App>,
    _: Admin,
    EndpointPath(id): EndpointPath,
    Params(params): Params<DeliveriesParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let store = app.webhooks.store();
    store
        .endpoint(id)
        .await
        .map_err(failed)?
        .ok_or_else(not_found)?;
    let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
    let slice = Slice {
        status: params.status.map(DeliveryStatus::name),
        after: params.starting_after,
        limit: one_more(limit),
    };
    let found = store.deliveries(id, slice).await.map_err(failed)?;
    if let (Some(after), true) = (params.starting_after, found.is_empty()) {
        let known = store.delivery(after).await.map_err(failed)?;
        known
            .filter(|known| known.endpoint_id == id)
            .ok_or_else(|| unknown_start("a delivery of this endpoint"))?;
    }
    let page: Page<DeliveryBody> = page(found, limit);
    Ok(private(conditional(&headers, &page)))
}

/// `POST /v1/admin/webhooks/{id}/deliveries/{delivery_id}/retry`
pub(crate) async fn retry(
    State(app): State<App>,
    _: Admin,
    DeliveryPath(id, delivery_id): DeliveryPath,
) -> Result<Json<DeliveryBody>, Problem> {
    let store = app.webhooks.store();
    let known = store.delivery(delivery_id).await.map_err(failed)?;
    if known.is_none_or(|known| known.endpoint_id != id) {
        store
            .endpoint(id)
            .await
            .map_err(failed)?
            .ok_or_else(not_found)?;
        return Err(delivery_not_found());
    }
    match store.retry(delivery_id).await.map_err(failed)? {
        Changed::Done(delivery) => {
            app.webhooks.wake();
            Ok(Json((*delivery).into()))
        }
        Changed::AlreadyDone | Changed::NotFound => Err(delivery_not_found()),
    }
}
