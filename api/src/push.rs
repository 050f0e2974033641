//! The routes of Web Push: the shop's public key, and the subscriptions of a buyer's browsers.
//!
//! Promise: a subscription is in the database before its response, and only events after it are
//! sent to it. No response has the endpoint or the keys of a subscription.
//! Limit: as of creators.

use std::borrow::Cow;

use ::catalogue::store::{
    MOST_PUSH_SUBSCRIPTIONS, NewPushSubscription, PushSubscription, Subscribed,
};
use ::push::encryption::{AUTH_BYTES, POINT_BYTES, parse_auth, parse_public};
use ::push::service::NETWORKS_SETTING;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::values::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use uuid::Uuid;

use crate::app::App;
use crate::auth::{Caller, Visitor};
use crate::extract::{Body, BuyerIdPath, MAX_TERMS_BODY, OptionalBody};
use crate::follows::{actor, admit, other_account};
use crate::problem::{Code, Problem};
use crate::render::conditional;
use crate::webhook_routes::{EndpointUrl, failed};

/// The last millisecond of the year 9999.
const LAST_TIME: f64 = 253_402_300_799_999.0;

/// The key for which browsers subscribe.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ApplicationServerKey")]
pub(crate) struct KeyBody {
    /// The shop's public VAPID key, the `applicationServerKey` of `PushManager.subscribe`: an
    /// uncompressed point of P-256 in base64url.
    application_server_key: String,
}

/// `GET /v1/push/application-server-key`
pub(crate) async fn key(State(app): State<App>, headers: HeaderMap) -> Response {
    let application_server_key = app.push.vapid().public_key();
    conditional(
        &headers,
        &KeyBody {
            application_server_key,
        },
    )
}

/// `p256dh` of a subscription.
#[derive(Debug, Clone)]
pub(crate) struct PublicKey([u8; POINT_BYTES]);

/// `auth` of a subscription.
#[derive(Debug, Clone)]
pub(crate) struct AuthSecret([u8; AUTH_BYTES]);

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        parse_public(&text).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for AuthSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        parse_auth(&text).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for PublicKey {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PushPublicKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{87}=?$" })
    }
}

impl JsonSchema for AuthSecret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PushAuthSecret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{22}(==)?$" })
    }
}

/// The keys of a browser's subscription, in base64url.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PushSubscriptionKeys")]
pub(crate) struct KeysBody {
    /// The browser's public key: an uncompressed point of P-256, 65 bytes.
    p256dh: PublicKey,
    /// The browser's authentication secret, 16 bytes.
    auth: AuthSecret,
}

/// A subscription as `PushSubscription.toJSON()` of a browser returns it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewPushSubscription")]
pub(crate) struct NewBody {
    /// The address at the push service: an https URL of a public host. Other addresses, and http,
    /// only in networks that the server permits (`HOLDFAST_PUSH_NETWORKS`).
    endpoint: EndpointUrl,
    /// When the browser lets the subscription end, in milliseconds since 1970; null or absent:
    /// never.
    #[serde(rename = "expirationTime")]
    expiration_time: Option<f64>,
    keys: KeysBody,
}

/// The subscription to end: `endpoint` suffices, and a whole subscription is accepted.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EndedPushSubscription")]
pub(crate) struct EndedBody {
    /// The address of the subscription at the push service. Absent: all subscriptions of the buyer.
    endpoint: Option<EndpointUrl>,
    /// Ignored.
    #[serde(rename = "expirationTime")]
    #[expect(dead_code, reason = "a browser sends its whole subscription")]
    expiration_time: Option<f64>,
    /// Ignored.
    #[expect(dead_code, reason = "a browser sends its whole subscription")]
    keys: Option<KeysBody>,
}

/// A subscription of a buyer's browser.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PushSubscription")]
pub(crate) struct SubscriptionBody {
    id: Uuid,
    /// When the browser lets it end; null: never.
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl From<PushSubscription> for SubscriptionBody {
    fn from(subscription: PushSubscription) -> Self {
        Self {
            id: subscription.id,
            expires_at: subscription.expires_at,
            created_at: subscription.created_at,
        }
    }
}

/// Reads the time at which a subscription ends.
fn end_of(milliseconds: f64, now: Timestamp) -> Result<Timestamp, Problem> {
    let invalid = |detail: &str| Problem::invalid("/expirationTime", detail);
    if !(0.0..=LAST_TIME).contains(&milliseconds) {
        return Err(invalid(
            "must be milliseconds since 1970, up to the year 9999",
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is between 0 and the year 9999"
    )]
    let at = Timestamp::default().plus_millis(milliseconds as i64);
    if at <= now {
        return Err(invalid("must be in the future: the subscription has ended"));
    }
    Ok(at)
}

/// `POST /v1/buyers/{buyer_id}/push-subscriptions`: 201, or 200 if the browser is subscribed
/// already.
pub(crate) async fn subscribe(
    State(app): State<App>,
    BuyerIdPath(buyer_id): BuyerIdPath,
    caller: Caller,
    visitor: Visitor,
    Body(new): Body<NewBody, MAX_TERMS_BODY>,
) -> Result<Response, Problem> {
    let actor = actor(&caller, buyer_id)?;
    let ends = new.expiration_time.map(|at| end_of(at, app.now()));
    let new = NewPushSubscription {
        endpoint: new
            .endpoint
            .permitted(app.push.networks(), NETWORKS_SETTING, "/endpoint")?,
        public_key: new.keys.p256dh.0,
        auth: new.keys.auth.0,
        vapid_key: app.push.vapid().public_bytes().to_vec(),
        expires_at: ends.transpose()?,
        sees_ids: visitor.may_see_ids(&caller),
    };
    admit(&app, visitor.origin)?;
    let subscribed = app.catalogue.store.subscribe(&actor, &new).await;
    match subscribed.map_err(failed)? {
        Subscribed::Done(subscription) => {
            let status = match subscription.is_new {
                true => StatusCode::CREATED,
                false => StatusCode::OK,
            };
            Ok((status, Json(SubscriptionBody::from(subscription))).into_response())
        }
        Subscribed::Full => {
            let detail = format!(
                "The buyer is notified in {MOST_PUSH_SUBSCRIPTIONS} browsers, as many as are allowed."
            );
            let problem = Problem::new(Code::PushLimitReached, detail);
            Err(problem.with("limit", MOST_PUSH_SUBSCRIPTIONS))
        }
        Subscribed::OtherAccount => Err(other_account()),
    }
}

/// `DELETE /v1/buyers/{buyer_id}/push-subscriptions`: 204, also without such a subscription.
pub(crate) async fn unsubscribe(
    State(app): State<App>,
    BuyerIdPath(buyer_id): BuyerIdPath,
    caller: Caller,
    visitor: Visitor,
    OptionalBody(ended): OptionalBody<EndedBody, MAX_TERMS_BODY>,
) -> Result<StatusCode, Problem> {
    let actor = actor(&caller, buyer_id)?;
    admit(&app, visitor.origin)?;
    let endpoint = ended.endpoint.map(EndpointUrl::into_stored);
    let store = &app.catalogue.store;
    let ended = store.unsubscribe(&actor, endpoint.as_deref()).await;
    ended.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}
