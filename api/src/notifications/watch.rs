//! `GET /v1/buyers/{buyer_id}/notifications/stream`

use axum::body::Body;
use axum::extract::rejection::ExtensionRejection;
use axum::extract::{Extension, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Version, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::values::Position;
use schemars::JsonSchema;
use serde::Deserialize;

use super::shard::Subscriber;
use crate::app::App;
use crate::auth::{Caller, Visitor};
use crate::connections::Handover;
use crate::extract::{BuyerIdPath, Params, Query, some_position};
use crate::follows::actor;
use crate::problem::Problem;
use crate::stream::framing::Framing;
use crate::stream::watch::{RETRY, in_this_log, last_event};
use crate::webhook_routes::failed;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WatchParams {
    /// The position in a received `id:`, or that of the list (`Holdfast-Position`): later
    /// notifications are sent first. `Last-Event-ID` takes precedence. Default: only new ones.
    #[serde(default, deserialize_with = "some_position")]
    #[schemars(with = "Option<String>", extend("pattern" = "^[0-9]{1,19}$"))]
    last_event_id: Option<Position>,
}

impl Query for WatchParams {}

/// The connection of a stream.
pub(crate) struct Connection {
    method: Method,
    version: Version,
    handover: Handover,
}

impl FromRequestParts<App> for Connection {
    type Rejection = ExtensionRejection;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ExtensionRejection> {
        let Extension(handover) = Extension::from_request_parts(parts, app).await?;
        Ok(Self {
            method: parts.method.clone(),
            version: parts.version,
            handover,
        })
    }
}

/// The stream.
pub(crate) async fn watch(
    State(app): State<App>,
    BuyerIdPath(buyer_id): BuyerIdPath,
    caller: Caller,
    visitor: Visitor,
    connection: Connection,
    Params(params): Params<WatchParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Connection {
        method,
        version,
        handover,
    } = connection;
    let actor = actor(&caller, buyer_id)?;
    // Before the choices are read, so that none that comes meanwhile is missed.
    let now = app.catalogue.notifications.position();
    let last = last_event(&headers, params.last_event_id);
    let complete = in_this_log(&app, last).await.unwrap_or(now);
    let address_permit = app.streams.of_client(handover.peer.ip(), &headers)?;
    let full = || {
        Problem::unavailable("Limit of concurrent stream clients reached (HOLDFAST_MAX_WATCHERS).")
    };
    let permit = app.hub.try_admit(address_permit).ok_or_else(full)?;
    let connected = app.notification_hub.connect(&actor.buyer_id);
    let choices = app.catalogue.store.choices_of(&actor).await;
    let choices = choices.map_err(failed)?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    if method == Method::HEAD {
        return Ok((headers, Body::empty()).into_response());
    }
    let framing = match version == Version::HTTP_11 {
        true => Framing::Chunked,
        false => Framing::Plain,
    };
    let hub = app.notification_hub.clone();
    let sees_ids = visitor.may_see_ids(&caller);
    let take_over = move |socket| {
        let pipe = (socket, framing);
        let held = (connected, permit);
        hub.assign(Subscriber::new(
            (actor, choices),
            sees_ids,
            complete,
            pipe,
            held,
        ));
    };
    let first = [Bytes::from_static(RETRY)].into_iter();
    Ok((headers, handover.after(first, take_over)).into_response())
}
