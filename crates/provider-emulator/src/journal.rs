//! What arrived and what became of it, so that a test can prove what left its client.
//!
//! The last requests are kept whole, within bounds; counts and markers are kept of all. A marker is a word
//! `marker-…` in a body: a client that puts one in each request can be told which of them arrived.

use crate::provider::Provider;
use bytes::Bytes;
use hyper::{HeaderMap, Method, Uri};
use memchr::memmem;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Requests that are kept whole, and how many bytes of bodies.
const KEPT: usize = 4096;
const KEPT_BYTES: usize = 128 << 20;
/// Different markers that are counted.
const MARKERS: usize = 1 << 20;
/// Different bodies whose failures are counted.
const BODIES: usize = 1 << 16;

#[derive(Debug)]
struct Entry {
    n: u64,
    at_ms: u64,
    provider: &'static str,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
    model: String,
    status: u16,
    outcome: Outcome,
    ended_ms: u64,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Live,
    /// All of it was sent.
    Ended,
    /// The client went away before.
    Cancelled,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ended => "ended",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    total: u64,
    posts: u64,
    live: u64,
    cancelled: u64,
    bytes: usize,
    entries: VecDeque<Entry>,
    paths: BTreeMap<String, u64>,
    models: BTreeMap<String, u64>,
    statuses: BTreeMap<u16, u64>,
    markers: BTreeMap<String, u64>,
    failures: BTreeMap<[u8; 32], u64>,
}

/// The journal of one emulator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Kept>>);

impl Journal {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request before anything else is done with it.
    pub(crate) fn arrived(
        &self,
        provider: Provider,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Live {
        let mut kept = self.kept();
        kept.total += 1;
        kept.posts += u64::from(*method == Method::POST);
        kept.live += 1;
        let n = kept.total;
        *kept.paths.entry(uri.path().to_owned()).or_default() += 1;
        for marker in markers(body) {
            if kept.markers.len() < MARKERS || kept.markers.contains_key(&marker) {
                *kept.markers.entry(marker).or_default() += 1;
            }
        }
        kept.bytes += body.len();
        kept.entries.push_back(Entry {
            n,
            at_ms: now_ms(),
            provider: provider.name(),
            method: method.clone(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            headers: headers.clone(),
            body: body.clone(),
            model: String::new(),
            status: 0,
            outcome: Outcome::Live,
            ended_ms: 0,
        });
        while kept.entries.len() > KEPT || kept.bytes > KEPT_BYTES {
            let Some(old) = kept.entries.pop_front() else { break };
            kept.bytes -= old.body.len();
        }
        Live { journal: self.clone(), n, ended: false }
    }

    /// How many requests with this body came before, for failures that pass.
    pub(crate) fn times_before(&self, path: &str, body: &[u8], most: u64) -> u64 {
        let mut hash = Sha256::new_with_prefix(path);
        hash.update(body);
        let mut kept = self.kept();
        if kept.failures.len() >= BODIES {
            kept.failures.clear();
        }
        let times = kept.failures.entry(hash.finalize().into()).or_default();
        let before = *times;
        // After the one that succeeds it begins anew.
        *times = if before >= most { 0 } else { before + 1 };
        before
    }

    /// Live requests: those that have no whole answer yet.
    pub(crate) fn active(&self) -> Value {
        let kept = self.kept();
        json!({"live": kept.live, "cancelled": kept.cancelled, "requests": kept.total})
    }

    /// Counts, and the requests that fit the filter.
    pub(crate) fn seen(&self, filter: &Filter) -> Value {
        let kept = self.kept();
        let entries: Vec<Value> = kept
            .entries
            .iter()
            .rev()
            .filter(|e| e.n > filter.since && filter.model.as_ref().is_none_or(|m| *m == e.model))
            .filter(|e| filter.contains.as_ref().is_none_or(|c| memmem::find(&e.body, c.as_bytes()).is_some()))
            .take(filter.limit)
            .map(Entry::shown)
            .collect();
        let statuses: Map<String, Value> = kept.statuses.iter().map(|(s, n)| (s.to_string(), json!(n))).collect();
        json!({"requests": kept.total, "posts": kept.posts, "live": kept.live, "cancelled": kept.cancelled, "paths": kept.paths,
            "models": kept.models, "statuses": statuses, "entries": entries})
    }

    /// All markers, one a line.
    pub(crate) fn markers(&self) -> String {
        self.kept().markers.keys().map(|m| format!("{m}\n")).collect()
    }

    /// Forgets everything but what is live.
    pub(crate) fn reset(&self) {
        let mut kept = self.kept();
        let (total, live) = (kept.total, kept.live);
        *kept = Kept { live, ..Kept::default() };
        // Numbers go on, so that an answer that is under way does not end another's entry.
        kept.total = total;
    }
}

impl Entry {
    fn shown(&self) -> Value {
        let headers: Map<String, Value> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
            .collect();
        let body: Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&self.body)));
        json!({"n": self.n, "at_ms": self.at_ms, "provider": self.provider, "method": self.method.as_str(),
            "path": self.path, "query": self.query, "headers": headers, "body": body, "bytes": self.body.len(),
            "sha256": hex::encode(Sha256::digest(&self.body)), "model": self.model, "status": self.status,
            "outcome": self.outcome.name(), "ended_ms": self.ended_ms})
    }
}

/// Which requests to show.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    limit: usize,
    since: u64,
    model: Option<String>,
    contains: Option<String>,
}

impl Filter {
    /// From a query: `limit` (20), `since`, `model`, `contains`.
    pub(crate) fn of(query: &str) -> Self {
        let mut filter = Self { limit: 20, ..Self::default() };
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "limit" => filter.limit = value.parse().unwrap_or(filter.limit),
                "since" => filter.since = value.parse().unwrap_or_default(),
                "model" => filter.model = Some(value.to_owned()),
                "contains" => filter.contains = Some(value.to_owned()),
                _ => {}
            }
        }
        filter
    }
}

/// A request without its whole answer. Dropped before [`Live::end`], it was cancelled.
#[derive(Debug)]
pub(crate) struct Live {
    journal: Journal,
    n: u64,
    ended: bool,
}

impl Live {
    /// The request's number.
    pub(crate) fn number(&self) -> u64 {
        self.n
    }

    /// Notes the model that was asked for.
    pub(crate) fn model(&self, model: &str) {
        let mut kept = self.journal.kept();
        *kept.models.entry(model.to_owned()).or_default() += 1;
        self.entry(&mut kept, |e| model.clone_into(&mut e.model));
    }

    /// Notes the status of the answer.
    pub(crate) fn status(&self, status: u16) {
        let mut kept = self.journal.kept();
        *kept.statuses.entry(status).or_default() += 1;
        self.entry(&mut kept, |e| e.status = status);
    }

    /// All was sent.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    fn entry(&self, kept: &mut Kept, change: impl FnOnce(&mut Entry)) {
        let first = kept.entries.front().map_or(0, |e| e.n);
        let place = self.n.checked_sub(first).and_then(|i| usize::try_from(i).ok());
        if let Some(entry) = place.and_then(|i| kept.entries.get_mut(i)) {
            change(entry);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut kept = self.journal.kept();
        kept.live = kept.live.saturating_sub(1);
        let outcome = if self.ended { Outcome::Ended } else { Outcome::Cancelled };
        kept.cancelled += u64::from(!self.ended);
        self.entry(&mut kept, |e| {
            e.outcome = outcome;
            e.ended_ms = now_ms();
        });
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

fn markers(body: &[u8]) -> Vec<String> {
    let of = |place: usize| {
        let rest = body.get(place..).unwrap_or_default();
        let end = rest.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'-').unwrap_or(rest.len());
        String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned()
    };
    memmem::find_iter(body, "marker-").map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(journal: &Journal, body: &'static str) -> Live {
        let (uri, headers) = (Uri::from_static("/v1/x"), HeaderMap::new());
        journal.arrived(Provider::OpenAi, &Method::POST, &uri, &headers, &Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn an_answer_that_is_dropped_was_cancelled() {
        let journal = Journal::default();
        let mut first = arrived(&journal, "{\"a\":\"marker-1-x\"}");
        let second = arrived(&journal, "marker-2");
        first.status(200);
        first.end();
        drop((first, second));
        let seen = journal.seen(&Filter::of("limit=2"));
        assert_eq!(seen["entries"][1]["outcome"], "ended");
        assert_eq!(seen["entries"][0]["outcome"], "cancelled");
        assert_eq!(journal.active(), json!({"live": 0, "cancelled": 1, "requests": 2}));
        assert_eq!(journal.markers(), "marker-1-x\nmarker-2\n");
    }

    #[test]
    fn a_failure_passes_and_begins_anew() {
        let journal = Journal::default();
        let times: Vec<_> = (0..5).map(|_| journal.times_before("/a", b"x", 2)).collect();
        assert_eq!(times, [0, 1, 2, 0, 1]);
        assert_eq!(journal.times_before("/a", b"y", 2), 0);
    }

    #[test]
    fn old_requests_are_forgotten_and_still_counted() {
        let journal = Journal::default();
        let early = arrived(&journal, "early");
        for _ in 0..KEPT {
            arrived(&journal, "x").end();
        }
        early.status(200);
        drop(early);
        let seen = journal.seen(&Filter::of("limit=10000"));
        assert_eq!(seen["requests"], KEPT + 1);
        assert_eq!(seen["entries"].as_array().unwrap().len(), KEPT);
    }
}
