//! What the gateway counts, as text for Prometheus.
//!
//! Counting a call is a few atomic additions: the figures of a model are found without making a label. Their number is
//! bounded; what comes after the bound is counted under `other`.

use crate::{providers::Provider, resilience::BreakerState, sandbox::Shared};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use store::{CallStatus, Tokens};

/// The most models that are counted by their names.
const MAX_SERIES: usize = 1000;
/// The name under which the rest is counted.
const OTHER: &str = "other";
/// Upper bounds of the buckets of a time, in microseconds.
const BUCKETS_US: [u64; 14] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    60_000_000,
    300_000_000,
];
/// How a call may end.
const ENDS: [CallStatus; 4] = [CallStatus::Done, CallStatus::Failed, CallStatus::TimedOut, CallStatus::Cut];
/// Kinds of tokens, in the order in which they are kept.
const TOKENS: [&str; 5] = ["prompt", "completion", "cached", "cache_write", "reasoning"];

/// What is counted.
#[derive(Default)]
pub(crate) struct Metrics {
    /// By provider and model.
    series: RwLock<HashMap<String, HashMap<String, Arc<Series>>>>,
    count: AtomicU64,
    /// Refused calls by their code.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    /// Failed attempts that were followed by another one.
    retried: AtomicU64,
}

#[derive(Default)]
struct Series {
    ends: [AtomicU64; ENDS.len()],
    tokens: [AtomicU64; TOKENS.len()],
    cost_micro_usd: AtomicU64,
    duration: Histogram,
    first_byte: Histogram,
}

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    fn add(&self, d: Duration) {
        let us = u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let at = BUCKETS_US.partition_point(|limit| *limit < us);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

/// A call that has ended.
pub(crate) struct Ended<'a> {
    pub(crate) provider: &'a str,
    pub(crate) model: &'a str,
    pub(crate) status: CallStatus,
    pub(crate) tokens: &'a Tokens,
    pub(crate) cost_micro_usd: Option<u64>,
    pub(crate) duration: Duration,
    pub(crate) first_byte: Option<Duration>,
}

impl Metrics {
    /// Counts a call.
    pub(crate) fn ended(&self, call: &Ended<'_>) {
        let series = self.series(call.provider, call.model);
        if let Some(at) = ENDS.iter().position(|s| *s == call.status) {
            series.ends[at].fetch_add(1, Ordering::Relaxed);
        }
        let t = call.tokens;
        let counts = [t.prompt, t.completion, t.cached, t.cache_write, t.reasoning];
        for (place, count) in series.tokens.iter().zip(counts) {
            place.fetch_add(count.unwrap_or(0), Ordering::Relaxed);
        }
        series.cost_micro_usd.fetch_add(call.cost_micro_usd.unwrap_or(0), Ordering::Relaxed);
        series.duration.add(call.duration);
        if let Some(first_byte) = call.first_byte {
            series.first_byte.add(first_byte);
        }
    }

    /// Counts a call that was not let out.
    pub(crate) fn refused(&self, code: &'static str) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// Counts an attempt that was made because one before it failed.
    pub(crate) fn retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    fn series(&self, provider: &str, model: &str) -> Arc<Series> {
        let known = |all: &HashMap<String, HashMap<String, Arc<Series>>>| all.get(provider)?.get(model).map(Arc::clone);
        if let Some(series) = known(&self.series.read().unwrap_or_else(PoisonError::into_inner)) {
            return series;
        }
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = known(&all) {
            return series;
        }
        let full = self.count.load(Ordering::Relaxed) >= MAX_SERIES as u64;
        let (provider, model) = if full { (OTHER, OTHER) } else { (provider, model) };
        let place = all.entry(provider.to_owned()).or_default().entry(model.to_owned());
        Arc::clone(place.or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            Arc::default()
        }))
    }

    fn sorted(&self) -> Vec<(String, Arc<Series>)> {
        let all = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let label = |p: &str, m: &str| format!("provider=\"{}\",model=\"{}\"", escaped(p), escaped(m));
        let mut out: Vec<_> =
            all.iter().flat_map(|(p, models)| models.iter().map(move |(m, s)| (label(p, m), Arc::clone(s)))).collect();
        out.sort_by(|a, b| a.0.cmp(&b.0));
        out
    }
}

/// A text under construction.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP taskforge_llm_{name} {help}\n# TYPE taskforge_llm_{name} {kind}"));
    }

    fn value(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
        self.line(format_args!("taskforge_llm_{name}{open}{labels}{close} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.0.push_str(&format!("{line}\n"));
    }

    fn histogram(&mut self, name: &str, help: &str, all: &[(String, &Histogram)]) {
        self.head(name, "histogram", help);
        for (labels, h) in all {
            let mut sum = 0;
            for (limit, bucket) in BUCKETS_US.iter().zip(&h.buckets) {
                sum += bucket.load(Ordering::Relaxed);
                self.value(&format!("{name}_bucket"), &format!("{labels},le=\"{}\"", seconds(*limit)), sum);
            }
            let count = h.count.load(Ordering::Relaxed).max(sum);
            self.value(&format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), count);
            self.value(&format!("{name}_sum"), labels, seconds(h.sum_us.load(Ordering::Relaxed)));
            self.value(&format!("{name}_count"), labels, count);
        }
    }
}

/// All that is counted, in the text format of Prometheus.
pub(crate) fn text(shared: &Shared) -> String {
    let mut page = Page(String::with_capacity(8 << 10));
    let metrics = &shared.metrics;
    let series = metrics.sorted();
    page.head("calls_total", "counter", "Calls that ended, by how.");
    for (labels, s) in &series {
        for (status, n) in ENDS.iter().zip(&s.ends) {
            let labels = format!("{labels},status=\"{}\"", status.as_str());
            page.value("calls_total", &labels, n.load(Ordering::Relaxed));
        }
    }
    page.head("tokens_total", "counter", "Tokens as the providers counted them.");
    for (labels, s) in &series {
        for (kind, n) in TOKENS.iter().zip(&s.tokens) {
            page.value("tokens_total", &format!("{labels},kind=\"{kind}\""), n.load(Ordering::Relaxed));
        }
    }
    page.head("cost_usd_total", "counter", "What calls cost whose price is known.");
    for (labels, s) in &series {
        page.value("cost_usd_total", labels, seconds(s.cost_micro_usd.load(Ordering::Relaxed)));
    }
    let times = |of: fn(&Series) -> &Histogram| series.iter().map(move |(l, s)| (l.clone(), of(s))).collect::<Vec<_>>();
    page.histogram("call_seconds", "From the beginning of a call to its end.", &times(|s| &s.duration));
    page.histogram("first_byte_seconds", "To the first byte of an answer.", &times(|s| &s.first_byte));
    page.head("refused_total", "counter", "Calls that were not let out, by the code of the refusal.");
    for (code, n) in metrics.refused.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        page.value("refused_total", &format!("code=\"{code}\""), n);
    }
    page.head("retries_total", "counter", "Further attempts, at the same provider or the next.");
    page.value("retries_total", "", metrics.retried.load(Ordering::Relaxed));
    page.head("open_streams", "gauge", "Streamed answers under way.");
    page.value("open_streams", "", shared.live.count());
    providers(&mut page, &shared.registry.configured().all);
    page.0
}

fn providers(page: &mut Page, all: &[Arc<Provider>]) {
    let labels = |p: &Provider| format!("provider=\"{}\"", escaped(&p.name));
    page.head("provider_up", "gauge", "Whether the provider answered when it was last asked for its models.");
    for p in all {
        if let Some(list) = p.seen_list() {
            page.value("provider_up", &labels(p), u8::from(list.is_ok()));
        }
    }
    page.head("breaker_state", "gauge", "0: calls pass; 1: single probes pass; 2: nothing passes.");
    for p in all {
        for (endpoint, state) in p.breakers.states(Instant::now()) {
            let state = match state {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            };
            page.value("breaker_state", &format!("{},endpoint=\"{endpoint}\"", labels(p)), state);
        }
    }
    page.head("provider_calls", "gauge", "Calls under way at providers with a limit.");
    page.head("provider_queue", "gauge", "Calls that wait for a provider with a limit.");
    for p in all {
        if let Some(slots) = &p.slots {
            page.value("provider_calls", &labels(p), slots.in_use());
            page.value("provider_queue", &labels(p), slots.queued());
        }
    }
}

/// Millionths as a decimal number.
fn seconds(millionths: u64) -> String {
    format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
}

fn escaped(text: &str) -> String {
    domain::text::visible_line(text).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_its_bucket_and_the_number_of_models_is_bounded() {
        let metrics = Metrics::default();
        let tokens = Tokens { prompt: Some(3), ..Tokens::default() };
        for i in 0..MAX_SERIES + 50 {
            metrics.ended(&Ended {
                provider: "p",
                model: &format!("m{i}"),
                status: CallStatus::Done,
                tokens: &tokens,
                cost_micro_usd: None,
                duration: Duration::from_millis(3),
                first_byte: None,
            });
        }
        let all = metrics.sorted();
        assert_eq!(all.len(), MAX_SERIES + 1);
        let other = all.iter().find(|(l, _)| l.contains(OTHER)).unwrap();
        assert_eq!(other.1.duration.buckets[2].load(Ordering::Relaxed), 50);
        assert_eq!(other.1.tokens[0].load(Ordering::Relaxed), 150);
        assert_eq!(seconds(1_500_000), "1.500000");
    }
}
