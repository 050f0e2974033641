//! The routes of payments: a buyer starts one, and a provider reports on it.
//!
//! Promise: the log has a payment before its provider is called, and has the facts of a webhook
//! before the response acknowledges it. The client secret is in the response to the buyer, and
//! nowhere else.

use std::borrow::Cow;

use ::payments::{PaymentError, PaymentProvider, PaymentToStart, Provider, Scenario, WebhookError};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::order::ShownStatus;
use domain::values::{Money, OrderId, PaymentId, Position, ProviderName};
use engine::StartPayment;
use infrastructure::error::LogError;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use settlement::{OpenError, WebhookRefused};
use tracing::warn;

use crate::app::App;
use crate::auth::{Caller, Visitor};
use crate::extract::{IdempotencyKey, OptionalBody, RawBody};
use crate::limiter::ChangeKind;
use crate::orders::payment::PaymentStatus;
use crate::orders::{OrderPath, find_anywhere, found, must_own};
use crate::problem::{Code, Problem};
use crate::render::recorded;

/// The longest body of a webhook, in bytes.
const MAX_WEBHOOK: usize = 512 * 1024;

/// A payment provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "PaymentProvider")]
pub(crate) enum ProviderChoice {
    /// Built in; pays without money, for trying things out.
    Demo,
    Stripe,
}

impl ProviderChoice {
    const fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Stripe => "stripe",
        }
    }
}

/// How the buyer of the demo behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DemoScenario(Scenario);

impl<'de> Deserialize<'de> for DemoScenario {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for DemoScenario {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DemoScenario".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern =
            "^(pays|declines|pays_late=[1-9][0-9]{0,4}|pays_twice|webhook_first|refund_fails)$";
        json_schema!({ "type": "string", "pattern": pattern })
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPayment {
    /// The provider. Default: `stripe` if the server has it, otherwise `demo`.
    provider: Option<ProviderChoice>,
    /// How the buyer of the demo behaves, only with `demo`: `pays` (the default), `declines`,
    /// `pays_late=SECONDS`, `pays_twice`, `webhook_first` (pays before the response), or
    /// `refund_fails` (pays, and refunds fail later).
    scenario: Option<DemoScenario>,
}

/// A payment of an order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StartedPayment")]
pub(crate) struct PaymentBody {
    id: PaymentId,
    order_id: OrderId,
    amount: Money,
    provider: String,
    /// The provider's identifier of the payment.
    provider_reference: Option<String>,
    /// With it the buyer's browser pays at the provider. Null once the order is paid or over.
    client_secret: Option<String>,
    status: PaymentStatus,
    /// The log position of the start, or a later one if the request is repeated.
    position: Position,
}

/// `POST /v1/orders/{id}/payments`
pub(crate) async fn start(
    State(app): State<App>,
    OrderPath(order_id): OrderPath,
    caller: Caller,
    visitor: Visitor,
    key: IdempotencyKey,
    OptionalBody(new): OptionalBody<NewPayment>,
) -> Result<Response, Problem> {
    let (provider, scenario) = chosen(&app, &new)?;
    let key =
        key.within(&app.key_scope(&[b"payments/".as_slice(), order_id.0.as_bytes()].concat()))?;
    let attempt = must_own(&app, &caller, visitor.origin, order_id).await?;
    let total = find_anywhere(&app, visitor.origin, order_id).await?.total;
    provider.check_amount(total).map_err(|refused| {
        Problem::new(Code::AmountNotSupported, sentence(&refused.to_string()))
    })?;
    let request = StartPayment {
        order_id,
        key: Some(key),
        other_key: None,
        provider: ProviderName::new(provider.name()).map_err(|error| Problem::internal(&error))?,
    };
    let answer = found(attempt, app.engine.start_payment(request).await)?;
    let payment_id = answer.subject;
    // Only a payment of a pending order can be made. The start of such a payment is so recent that
    // every provider still knows it by its idempotency key.
    let order = app.views.order(order_id);
    let is_payable = order
        .as_ref()
        .is_some_and(|order| order.status_at(app.now()) == ShownStatus::Pending);
    let (provider_reference, client_secret) = if is_payable {
        // The first start of an order is never refused, but each one calls the provider.
        let starts = order.map_or(0, |order| order.payments.started.len());
        if answer.is_replay() || starts > 1 {
            let _counts = app
                .limiter
                .admit_change(visitor.origin, ChangeKind::Payment)?;
        }
        let payment = PaymentToStart {
            payment_id: payment_id.0,
            order_id: order_id.0,
            amount: total,
            scenario,
        };
        let opened = app.settlement.open(&provider, payment).await;
        let opened = opened.map_err(not_opened)?;
        let secret = opened.client_secret.expose().to_owned();
        (Some(opened.provider_reference), Some(secret))
    } else {
        let known = app.settlement.store().start(payment_id.0).await;
        let known = known.map_err(failed)?;
        (known.and_then(|start| start.provider_reference), None)
    };
    // The webhook may have preceded the response.
    let status = app.views.order(order_id).and_then(|order| {
        let payment = order.payments.payment(payment_id)?;
        Some(PaymentStatus::from(payment.status()))
    });
    let status = status.ok_or_else(Problem::declared_void)?;
    let body = PaymentBody {
        id: payment_id,
        order_id,
        amount: total,
        provider: provider.name().to_owned(),
        provider_reference,
        client_secret,
        status,
        position: answer.position(),
    };
    let response = (StatusCode::CREATED, Json(body)).into_response();
    Ok(recorded(response, &answer))
}

/// Returns the requested provider, and the scenario if it is the demo.
fn chosen(app: &App, new: &NewPayment) -> Result<(Provider, Option<Scenario>), Problem> {
    let name = new.provider.map(ProviderChoice::name);
    let provider = app.settlement.providers().offered(name).ok_or_else(|| {
        let detail = match name {
            Some(name) => format!("must be a provider of this server; {name} is not offered"),
            None => "this server offers no payment provider".to_owned(),
        };
        Problem::invalid("/provider", detail)
    })?;
    let is_demo = matches!(provider, Provider::Demo(_));
    match (is_demo, new.scenario) {
        (true, scenario) => {
            let scenario = scenario.map_or(Scenario::Pays, |DemoScenario(scenario)| scenario);
            Ok((provider, Some(scenario)))
        }
        (false, None) => Ok((provider, None)),
        (false, Some(_)) => {
            let detail = "must be absent; only the provider demo has scenarios";
            Err(Problem::invalid("/scenario", detail))
        }
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    first.map_or_else(String::new, |first| format!("{first}{}.", chars.as_str()))
}

/// Maps the error of a payment that the log has, but that cannot be paid.
fn not_opened(error: OpenError) -> Problem {
    match error {
        OpenError::Refused { code } => {
            let detail = "The provider refused the payment. Start another one, with a new \
                          Idempotency-Key.";
            Problem::new(Code::PaymentRefused, detail).with("reason", code.as_str())
        }
        OpenError::Provider(error) => {
            warn!(error = chain(&error), "the payment provider cannot be used");
            let pause = match &error {
                PaymentError::Retryable { retry_after, .. } => *retry_after,
                PaymentError::Declined { .. }
                | PaymentError::Amount(_)
                | PaymentError::UnknownOutcome { .. }
                | PaymentError::Misconfigured { .. } => None,
            };
            let seconds = pause.map_or(1, |pause| pause.as_secs().max(1));
            let detail = "The payment provider did not respond as it should. Send the same request \
                          again, with the same Idempotency-Key.";
            Problem::new(Code::ProviderUnavailable, detail)
                .with("retry_after", seconds)
                .header(header::RETRY_AFTER, seconds.to_string())
        }
        OpenError::Database(error) => failed(error),
        OpenError::Engine(error) => error.into(),
    }
}

/// The messages of an error and its causes. None of them contains a secret or data of the request.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Maps an error of the tables.
pub(crate) fn failed(error: sqlx::Error) -> Problem {
    let error = LogError::Unavailable(error.into());
    match error.is_away() {
        true => Problem::unavailable("The database is unreachable. Send the same request again."),
        false => Problem::internal(&error),
    }
}

/// The acknowledgement of a webhook.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WebhookReceipt")]
pub(crate) struct ReceiptBody {
    /// True: the facts are in the log.
    received: bool,
}

/// The provider in the path. A name without a provider gets the same problem as an unknown path.
#[derive(Debug, Clone)]
pub(crate) struct ProviderPath(Provider);

impl FromRequestParts<App> for ProviderPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let not_found =
            || Problem::new(Code::NotFound, "This server has no such payment provider.");
        let Path(name) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| not_found())?;
        let known = app.settlement.providers().known(&name);
        known.map(Self).ok_or_else(not_found)
    }
}

/// `POST /v1/payments/webhooks/{provider}`
pub(crate) async fn receive(
    State(app): State<App>,
    ProviderPath(provider): ProviderPath,
    headers: HeaderMap,
    RawBody(body): RawBody<MAX_WEBHOOK>,
) -> Result<Json<ReceiptBody>, Problem> {
    let received = app.settlement.receive(&provider, &headers, &body).await;
    received.map_err(|error| not_received(&provider, error))?;
    app.settlement.wake();
    Ok(Json(ReceiptBody { received: true }))
}

/// The provider repeats a webhook that is not acknowledged.
fn not_received(provider: &Provider, error: WebhookRefused) -> Problem {
    match error {
        WebhookRefused::Webhook(WebhookError::Signature(invalid)) => {
            Problem::new(Code::SignatureInvalid, sentence(&invalid.to_string()))
        }
        WebhookRefused::Webhook(error @ WebhookError::Unreadable { .. }) => {
            Problem::internal(&error)
        }
        WebhookRefused::Busy => {
            Problem::unavailable("The payment is being cancelled. Send the same request again.")
        }
        WebhookRefused::Provider(error) => {
            let name = provider.name();
            warn!(error = chain(&error), "cannot look up a payment at {name}");
            Problem::unavailable("The payment cannot be looked up. Send the same request again.")
        }
        WebhookRefused::Database(error) => failed(error),
        WebhookRefused::Engine(error) => error.into(),
    }
}
