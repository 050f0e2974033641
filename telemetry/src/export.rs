//! Sends spans and metrics to a collector.
//!
//! Promise: one request at a time, each with a timeout; a collector that is away is logged once,
//! and once more when it is back. At the end the queued spans are sent within [`LAST_WORDS`].
//! Limit: a request that fails is not repeated; its spans are counted as dropped. Metrics are
//! cumulative, so the next export makes up for a lost one.

use std::env;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prometheus::proto::MetricFamily;
use prost::Message as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::endpoint::Endpoint;
use super::sampler::Sampler;
use super::span::nanoseconds;
use super::{count_dropped, metrics, resource, switch_on};

/// Spans of one request.
const MOST_SENT: usize = 512;
/// The longest time that a span waits for others.
const SPANS_EVERY: Duration = Duration::from_secs(1);
/// The longest wait for a response, as in the specification.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end may take.
const LAST_WORDS: Duration = Duration::from_millis(1_000);
/// Time between two exports of metrics, unless `OTEL_METRIC_EXPORT_INTERVAL` states another.
const METRICS_EVERY_MS: u64 = 60_000;
/// The most bytes of a response that are read.
const MOST_READ: usize = 64 * 1024;

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    #[error("TLS cannot be used to send telemetry")]
    Tls(#[source] rustls::Error),
    /// A header that cannot be sent.
    #[error("OTEL_EXPORTER_OTLP_HEADERS has a header that cannot be sent")]
    Headers,
}

/// Sends to one collector.
#[derive(Debug)]
pub struct Exporter {
    endpoint: Endpoint,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    resource: Resource,
    metrics_every: Duration,
    since: SystemTime,
    spans: Receiver<Span>,
    is_away: bool,
}

/// Returns a variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

impl Exporter {
    /// Switches telemetry on, with the variables of the specification: `OTEL_SERVICE_NAME`,
    /// `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS` and
    /// `OTEL_METRIC_EXPORT_INTERVAL`. `None` if it is on already.
    ///
    /// # Errors
    /// [`ExporterError`]
    pub fn new(endpoint: Endpoint) -> Result<Option<Self>, ExporterError> {
        if let Some(protocol) = variable("OTEL_EXPORTER_OTLP_PROTOCOL")
            && protocol != "http/protobuf"
        {
            warn!("OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: telemetry is sent as http/protobuf");
        }
        let headers = variable("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
        let header = |(name, value): (String, String)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let mut value = HeaderValue::from_str(&value).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        };
        let headers: Option<_> = resource::pairs(&headers).into_iter().map(header).collect();
        let headers = headers.ok_or(ExporterError::Headers)?;
        let http = client(endpoint.is_encrypted()).map_err(ExporterError::Tls)?;
        let sampler = variable("OTEL_TRACES_SAMPLER");
        let argument = variable("OTEL_TRACES_SAMPLER_ARG");
        let Some(spans) = switch_on(Sampler::of(sampler.as_deref(), argument.as_deref())) else {
            return Ok(None);
        };
        let attributes = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let every = variable("OTEL_METRIC_EXPORT_INTERVAL").and_then(|text| text.parse().ok());
        let every = every.unwrap_or(METRICS_EVERY_MS).max(100);
        Ok(Some(Self {
            resource: resource::of(variable("OTEL_SERVICE_NAME").as_deref(), &attributes),
            metrics_every: Duration::from_millis(every),
            endpoint,
            http,
            headers,
            since: SystemTime::now(),
            spans,
            is_away: false,
        }))
    }

    /// Sends until `stop`, and then the rest. `families` returns the metrics.
    pub async fn run<F>(mut self, families: F, stop: CancellationToken)
    where
        F: Fn() -> Vec<MetricFamily> + Send,
    {
        let mut spans = interval(SPANS_EVERY);
        spans.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut measured = interval(self.metrics_every);
        measured.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = spans.tick() => {
                    // A collector that does not respond holds nothing up but this task, unless
                    // the server stops.
                    let sending = self.send_spans();
                    if stop.run_until_cancelled(sending).await.is_none() {
                        break;
                    }
                }
                _ = measured.tick() => {
                    let sending = self.send_metrics(families());
                    if stop.run_until_cancelled(sending).await.is_none() {
                        break;
                    }
                }
            }
        }
        let rest = async {
            self.send_spans().await;
            self.send_metrics(families()).await;
        };
        let sent = timeout(LAST_WORDS, rest).await;
        if sent.is_err() {
            warn!("the last spans were not sent: the collector does not respond");
        }
    }

    /// Sends the spans that wait now.
    async fn send_spans(&mut self) {
        while !self.spans.is_empty() {
            let mut some = Vec::with_capacity(MOST_SENT.min(self.spans.len()));
            while some.len() < MOST_SENT
                && let Ok(span) = self.spans.try_recv()
            {
                some.push(span);
            }
            let count = some.len();
            let request = ExportTraceServiceRequest {
                resource_spans: vec![ResourceSpans {
                    resource: Some(self.resource.clone()),
                    scope_spans: vec![ScopeSpans {
                        scope: Some(scope()),
                        spans: some,
                        ..ScopeSpans::default()
                    }],
                    ..ResourceSpans::default()
                }],
            };
            // Dropped, unless the response says otherwise; also if this future ends before it.
            let mut unsent = Unsent(count);
            if self.send("traces", request.encode_to_vec()).await {
                unsent.0 = 0;
            }
        }
    }

    async fn send_metrics(&mut self, families: Vec<MetricFamily>) {
        let (since, now) = (nanoseconds(self.since), nanoseconds(SystemTime::now()));
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics: metrics::of(&families, since, now),
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        self.send("metrics", request.encode_to_vec()).await;
    }

    /// Sends one request, and returns true if the collector took it.
    async fn send(&mut self, signal: &str, body: Vec<u8>) -> bool {
        let sent = timeout(TIMEOUT, self.exchange(signal, body)).await;
        let sent = sent.unwrap_or_else(|_| Err("it did not respond in time".to_owned()));
        match sent {
            Ok(()) => {
                if std::mem::take(&mut self.is_away) {
                    info!("the collector of telemetry is back");
                }
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    let url = self.endpoint.of_signal(signal);
                    warn!(
                        error,
                        "telemetry is dropped until {url} accepts it: {error}"
                    );
                }
                false
            }
        }
    }

    async fn exchange(&self, signal: &str, body: Vec<u8>) -> Result<(), String> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.endpoint.of_signal(signal))
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("holdfast/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.into()));
        let request = request.map_err(|error| error.to_string())?;
        let response = self.http.request(request).await;
        let response = response.map_err(|error| innermost(&error))?;
        let status = response.status();
        // Read, so that the connection can be used again.
        let _cut_off = Limited::new(response.into_body(), MOST_READ)
            .collect()
            .await;
        match status.is_success() {
            true => Ok(()),
            false => Err(format!("it responds with {}", status.as_u16())),
        }
    }
}

/// Spans that are counted as dropped when this is.
struct Unsent(usize);

impl Drop for Unsent {
    fn drop(&mut self) {
        count_dropped(self.0);
    }
}

fn innermost(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "holdfast".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn client(
    is_encrypted: bool,
) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    if is_encrypted {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(TIMEOUT));
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}
