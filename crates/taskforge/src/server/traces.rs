//! OpenTelemetry traces of model calls, where `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
//!
//! A span is made from the record of a call that has ended, so a trace costs a call nothing, and says what the record
//! says. It holds no content: no prompt, no answer, no name of a tool. A client's `traceparent` makes the call part of
//! the client's trace; the calls of a run share a trace otherwise. What a collector does not take is lost, and told.

mod names;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use domain::event::{EventKind, Leaf, Phase};
use opentelemetry::{
    InstrumentationScope, KeyValue, StringValue, Value,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};
use store::{Call, CallStatus, EventFilter, Store};
use tokio_util::sync::CancellationToken;

/// How long spans are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(500);
/// Entries of the log that are read at once.
const PAGE: u32 = 500;
/// Spans that are sent at once.
const BATCH: usize = 256;
/// How far the traces may be behind the log; what is older is left out.
const MAX_BEHIND: u64 = 200_000;
/// Calls under way whose trace is remembered.
const MAX_OPEN: usize = 16_384;
/// How long a collector may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP client of the rest of the program, as the exporter wants it.
#[derive(Debug)]
struct Http(reqwest::Client);

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let sent = self.0.request(parts.method, url).headers(parts.headers).body(body).send().await?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = sent.status();
        *response.headers_mut() = sent.headers().clone();
        *response.body_mut() = sent.bytes().await?;
        Ok(response)
    }
}

/// Sends the spans of calls that end from now on.
pub(super) struct Traces {
    store: Store,
    exporter: SpanExporter,
    scope: InstrumentationScope,
    /// The last entry of the log that was read; none: nothing yet.
    read: Option<u64>,
    /// Where calls under way belong, by their act.
    open: HashMap<String, SpanContext>,
}

impl Traces {
    /// An exporter by the environment's `OTEL_*` variables.
    pub(super) fn new(store: Store) -> Result<Self> {
        // Another part of the program may have installed the same provider before.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Http(http))
            .build()
            .context("OTEL_EXPORTER_OTLP_ENDPOINT names no collector that traces can be sent to")?;
        let resource = Resource::builder()
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", store.installation().to_string()));
        let named = std::env::var_os("OTEL_SERVICE_NAME").is_some_and(|n| !n.is_empty());
        let resource = if named { resource } else { resource.with_service_name("taskforge") };
        exporter.set_resource(&resource.build());
        let read = store.changes().borrow().checked_sub(1);
        let scope = InstrumentationScope::builder("taskforge").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { store, exporter, scope, read, open: HashMap::new() })
    }

    /// Runs until `stop`; what has ended by then is sent.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.store.changes();
        loop {
            let over = tokio::select! {
                () = stop.cancelled() => true,
                changed = changes.changed() => changed.is_err(),
            };
            if !over {
                tokio::time::sleep(GATHER).await;
            }
            changes.mark_unchanged();
            if let Err(e) = self.catch_up().await {
                tracing::warn!(error = format!("{e:#}"), "traces were lost");
            }
            if over {
                return;
            }
        }
    }

    async fn catch_up(&mut self) -> Result<()> {
        let newest = self.store.changes().borrow().saturating_sub(1);
        if newest.saturating_sub(self.read.unwrap_or(0)) > MAX_BEHIND {
            tracing::warn!(entries = newest, "traces are too far behind the log; what is older is left out");
            self.read = Some(newest);
            self.open.clear();
        }
        loop {
            let filter = EventFilter { task: None, after: self.read, limit: Some(PAGE) };
            let page = self.store.event_list(&filter).await?;
            let full = page.len() as u64 >= u64::from(PAGE);
            let mut spans = Vec::new();
            for record in page {
                self.read = Some(record.leaf.index);
                spans.extend(self.span(&record.leaf).await?);
            }
            for batch in spans.chunks(BATCH) {
                self.exporter.export(batch.to_vec()).await.context("the collector did not take them")?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// The span of a call, where the entry is its end.
    async fn span(&mut self, leaf: &Leaf) -> Result<Option<SpanData>> {
        let event = &leaf.event;
        let (EventKind::LlmCall, Some(op)) = (event.kind, event.op) else { return Ok(None) };
        let op = op.to_string();
        match event.phase {
            Phase::Begun => {
                let parent = event.data["headers"]["traceparent"].as_str().and_then(traceparent);
                if let Some(parent) = parent.filter(|_| self.open.len() < MAX_OPEN) {
                    self.open.insert(op, parent);
                }
                Ok(None)
            }
            Phase::Ended => {
                let parent = self.open.remove(&op);
                let Some(id) = event.data["call"].as_str().and_then(|c| c.parse().ok()) else { return Ok(None) };
                let call = self.store.call_get(id).await?;
                Ok(Some(span(&call, parent.as_ref(), self.scope.clone())))
            }
            Phase::Point => Ok(None),
        }
    }
}

/// The context that a client sent: `00-<trace>-<span>-<flags>`.
fn traceparent(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (_version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

/// The bytes of an id of ours, which are as good as random ones.
fn id_bytes(hex: &str) -> [u8; 16] {
    u128::from_str_radix(hex, 16).unwrap_or(1).to_be_bytes()
}

fn span(call: &Call, parent: Option<&SpanContext>, scope: InstrumentationScope) -> SpanData {
    let own = call.run.map_or_else(|| call.id.hex(), |run| run.hex());
    let trace = parent.map_or_else(|| TraceId::from_bytes(id_bytes(&own)), SpanContext::trace_id);
    let [.., a, b, c, d, e, f, g, h] = id_bytes(&call.op.hex());
    let id = SpanId::from_bytes([a, b, c, d, e, f, g, h]);
    let (start, end) = times(call);
    let status = match call.status {
        CallStatus::Done | CallStatus::Open => Status::Unset,
        CallStatus::Failed | CallStatus::TimedOut | CallStatus::Cut | CallStatus::Refused | CallStatus::Unknown => {
            Status::error(call.error_code.clone().unwrap_or_else(|| call.status.as_str().to_owned()))
        }
    };
    let model = call.model.as_deref().unwrap_or(&call.asked_model);
    SpanData {
        span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: parent.map_or(SpanId::INVALID, SpanContext::span_id),
        parent_span_is_remote: parent.is_some(),
        span_kind: SpanKind::Client,
        name: format!("{} {model}", names::operation(&call.ingress)).into(),
        start_time: start,
        end_time: end,
        attributes: attributes(call),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: scope,
    }
}

fn times(call: &Call) -> (SystemTime, SystemTime) {
    let at = |text: &str| text.parse::<jiff::Timestamp>().ok().map(SystemTime::from);
    let start = at(&call.begun_at).unwrap_or(SystemTime::UNIX_EPOCH);
    let end = match call.total_ms {
        Some(ms) => start + Duration::from_millis(ms),
        None => call.ended_at.as_deref().and_then(at).unwrap_or(start),
    };
    (start, end.max(start))
}

fn attributes(call: &Call) -> Vec<KeyValue> {
    let mut all = vec![
        KeyValue::new(names::OPERATION, names::operation(&call.ingress)),
        KeyValue::new(names::REQUEST_MODEL, call.asked_model.clone()),
        KeyValue::new(names::CALL, call.id.to_string()),
        KeyValue::new(names::INGRESS, call.ingress.clone()),
        KeyValue::new(names::ATTEMPTS, i64::from(call.attempts)),
        KeyValue::new(names::STATE, call.status.as_str()),
    ];
    if let Some(reason) = &call.finish_reason {
        let reasons = vec![StringValue::from(reason.clone())];
        all.push(KeyValue::new(names::FINISH_REASONS, Value::Array(reasons.into())));
    }
    let provider = call.provider.as_deref().map(|p| names::provider(call.format.as_deref(), p).to_owned());
    let port = call.url.as_deref().and_then(server);
    for (name, value) in [
        (names::PROVIDER, provider),
        (names::RESPONSE_MODEL, call.model.clone()),
        (names::SERVER_ADDRESS, port.as_ref().map(|(host, _)| host.clone())),
        (names::ERROR_TYPE, call.error_code.clone()),
        (names::TASK, call.task.map(|t| t.to_string())),
        (names::RUN, call.run.map(|r| r.to_string())),
        (names::KEY, call.key.map(|k| k.to_string())),
        (names::TOKEN, call.token.clone()),
    ] {
        all.extend(value.map(|v| KeyValue::new(name, v)));
    }
    let number = |n: Option<u64>| n.and_then(|n| i64::try_from(n).ok());
    for (name, value) in [
        (names::INPUT_TOKENS, number(call.prompt_tokens)),
        (names::OUTPUT_TOKENS, number(call.completion_tokens)),
        (names::CACHE_READ_TOKENS, number(call.cached_tokens)),
        (names::CACHE_CREATION_TOKENS, number(call.cache_write_tokens)),
        (names::REASONING_TOKENS, number(call.reasoning_tokens)),
        (names::HTTP_STATUS, call.http_status.map(i64::from)),
        (names::SERVER_PORT, port.and_then(|(_, port)| port).map(i64::from)),
        (names::ITERATION, call.iteration.map(i64::from)),
        (names::COST_MICRO_USD, call.cost_micro_usd),
        (names::FIRST_BYTE_MS, number(call.first_byte_ms)),
    ] {
        all.extend(value.map(|v| KeyValue::new(name, v)));
    }
    all
}

/// Host and port of a URL.
fn server(url: &str) -> Option<(String, Option<u16>)> {
    let url: axum::http::Uri = url.parse().ok()?;
    let port = url.port_u16().or_else(|| match url.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    });
    Some((url.host()?.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_context_is_read_and_others_are_not() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = traceparent(good).unwrap();
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.span_id().to_string(), "b7ad6b7169203331");
        for bad in ["", "00", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-x-y-z"] {
            assert!(traceparent(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn servers_have_their_ports() {
        assert_eq!(server("https://api.openai.com/v1/x"), Some(("api.openai.com".into(), Some(443))));
        assert_eq!(server("http://127.0.0.1:9/x"), Some(("127.0.0.1".into(), Some(9))));
        assert_eq!(server("nonsense"), Some(("nonsense".into(), None)));
    }
}
