//! Asking a provider which models it has, and keeping what it said.

use super::{Configured, Provider, ProviderHealth, ProviderKind};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, header};
use serde::Deserialize;
use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

/// How long a list is used where it is asked for.
pub(super) const TTL: Duration = Duration::from_secs(60);
/// How old a list may be that says that a model is not there.
pub(super) const MISS_TTL: Duration = Duration::from_secs(10);
/// How old a provider's state may be where it is shown.
pub(super) const HEALTH_TTL: Duration = Duration::from_secs(5);
/// How long a failure is kept.
const FAILED_TTL: Duration = Duration::from_secs(1);
/// How long asking may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest list that is read.
const MAX_LIST_BYTES: usize = 8 << 20;
/// The most models of one provider.
const MAX_MODELS: usize = 10_000;

/// A list; none where the provider has no such thing; or why it could not be read.
pub(crate) type Listed = Result<Option<Arc<[String]>>, String>;

/// What a provider said when it was last asked.
pub(crate) struct Seen {
    at: Instant,
    took: Duration,
    list: Listed,
    /// The newest list that it ever gave: used while it cannot be asked.
    last_good: Option<Arc<[String]>>,
}

impl Configured {
    /// Asks the providers whose lists are older than `max_age`.
    pub(super) async fn refresh(&self, max_age: Duration) {
        futures::future::join_all(self.all.iter().map(|p| p.refresh(max_age))).await;
    }
}

impl Provider {
    fn seen(&self) -> Option<Arc<Seen>> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The list as last seen; none if the provider was never asked.
    pub(crate) fn seen_list(&self) -> Option<Listed> {
        self.seen().map(|s| s.list.clone())
    }

    /// The newest list that it ever gave.
    pub(super) fn known_list(&self) -> Option<Arc<[String]>> {
        self.seen()?.last_good.clone()
    }

    pub(super) fn was_asked(&self) -> bool {
        self.seen().is_some()
    }

    fn is_fresh(&self, max_age: Duration) -> bool {
        self.seen().is_some_and(|s| s.at.elapsed() < if s.list.is_ok() { max_age } else { max_age.min(FAILED_TTL) })
    }

    pub(super) async fn refresh(&self, max_age: Duration) {
        if self.is_fresh(max_age) {
            return;
        }
        let _asking = self.asking.lock().await;
        if self.is_fresh(max_age) {
            return;
        }
        let began = Instant::now();
        let list = match tokio::time::timeout(TIMEOUT, self.ask()).await {
            Ok(list) => list,
            Err(_) => Err(format!("no answer within {TIMEOUT:?}")),
        };
        let last_good = match &list {
            Ok(list) => list.clone(),
            Err(_) => self.seen().and_then(|s| s.last_good.clone()),
        };
        let seen = Seen { at: Instant::now(), took: began.elapsed(), list, last_good };
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(seen));
    }

    async fn ask(&self) -> Listed {
        let mut request =
            Request::get(self.list_uri().clone()).body(Full::new(Bytes::new())).map_err(|e| e.to_string())?;
        request.headers_mut().extend(self.headers.clone());
        let masked = |text: String| self.needles.mask_text(text);
        let response = self.client.send(request).await.map_err(|e| masked(e.to_string()))?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err("it refuses the key".to_owned()),
            status if !status.is_success() => return Err(format!("it answered {status}")),
            _ => {}
        }
        if response.headers().contains_key(header::CONTENT_ENCODING) {
            return Err("its answer is compressed although that was not asked for".to_owned());
        }
        let body = Limited::new(response.into_body(), MAX_LIST_BYTES).collect().await.map_err(|e| e.to_string())?;
        let models = self.read_list(&body.to_bytes()).map_err(|e| format!("its list cannot be read: {e}"))?;
        Ok(Some(models.into()))
    }

    fn read_list(&self, body: &[u8]) -> Result<Vec<String>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Named {
            models: Vec<Name>,
        }
        #[derive(Deserialize)]
        struct Name {
            name: String,
        }
        #[derive(Deserialize)]
        struct Models {
            data: Vec<Model>,
        }
        #[derive(Deserialize)]
        struct Model {
            id: String,
        }
        let named = || Ok::<_, serde_json::Error>(serde_json::from_slice::<Named>(body)?.models.into_iter());
        let mut names: Vec<String> = match self.kind {
            ProviderKind::Ollama => named()?.map(|m| m.name).collect(),
            ProviderKind::Gemini => {
                named()?.map(|m| m.name.strip_prefix("models/").map_or(m.name.clone(), str::to_owned)).collect()
            }
            ProviderKind::Openai | ProviderKind::OpenaiCompatible | ProviderKind::Anthropic => {
                serde_json::from_slice::<Models>(body)?.data.into_iter().map(|m| m.id).collect()
            }
        };
        names.truncate(MAX_MODELS);
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The model of a (sorted) list that `name` means. Ollama leaves `:latest` out.
    pub(super) fn pick(&self, listed: &[String], name: &str) -> Option<String> {
        let find = |name: &str| listed.binary_search_by(|m| m.as_str().cmp(name)).ok().map(|at| listed[at].clone());
        find(name).or_else(|| find(&format!("{name}:latest")).filter(|_| self.kind == ProviderKind::Ollama))
    }

    pub(super) fn health(&self) -> ProviderHealth {
        let seen = self.seen();
        let list = seen.as_ref().map(|s| &s.list);
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        ProviderHealth {
            name: self.name.clone(),
            kind: self.kind,
            base_url: self.base_url.clone(),
            models: list.and_then(|l| l.as_ref().ok()?.as_ref()).map(|l| l.len()),
            latency_ms: seen.as_ref().map_or(0, |s| millis(s.took)),
            age_s: seen.as_ref().map_or(0, |s| s.at.elapsed().as_secs()),
            error: list.and_then(|l| l.as_ref().err().cloned()),
            hint: list.and_then(|l| l.as_ref().err()).map(|_| self.hint()),
        }
    }
}
