//! Asking an upstream which models it has.

use super::{LIST_TIMEOUT, LIST_TTL, ModelName, Upstream, UpstreamKind};
use crate::client::Client;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, header};
use serde::Deserialize;
use std::{sync::Arc, time::Instant};

/// The largest list that is read.
const MAX_LIST_BYTES: usize = 8 << 20;
/// The most models of one upstream.
const MAX_MODELS: usize = 10_000;

/// A list; none where the upstream has no such thing; or why it could not be read.
pub(super) type Listed = Result<Option<Arc<[String]>>, String>;

impl Upstream {
    /// The list, at most [`LIST_TTL`] old.
    pub(super) async fn kept_list(&self, client: &Client) -> Listed {
        let mut kept = self.list.lock().await;
        if let Some((at, list)) = kept.as_ref()
            && at.elapsed() < LIST_TTL
        {
            return Ok(Some(Arc::clone(list)));
        }
        let list = self.fetch_list(client).await?;
        *kept = list.as_ref().map(|l| (Instant::now(), Arc::clone(l)));
        Ok(list)
    }

    /// The list as it is now.
    pub(super) async fn fetch_list(&self, client: &Client) -> Listed {
        match tokio::time::timeout(LIST_TIMEOUT, self.ask(client)).await {
            Ok(list) => list,
            Err(_) => Err(format!("no answer within {LIST_TIMEOUT:?}")),
        }
    }

    async fn ask(&self, client: &Client) -> Listed {
        let mut request =
            Request::get(self.list_uri.clone()).body(Full::new(Bytes::new())).map_err(|e| e.to_string())?;
        request.headers_mut().extend(self.headers.clone());
        let response = client.send(request).await.map_err(|e| e.to_string())?;
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
        struct Tags {
            models: Vec<Tag>,
        }
        #[derive(Deserialize)]
        struct Tag {
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
        let mut names: Vec<String> = match self.kind {
            UpstreamKind::Ollama => serde_json::from_slice::<Tags>(body)?.models.into_iter().map(|t| t.name).collect(),
            UpstreamKind::Openai | UpstreamKind::OpenaiCompatible => {
                serde_json::from_slice::<Models>(body)?.data.into_iter().map(|m| m.id).collect()
            }
        };
        names.truncate(MAX_MODELS);
        Ok(names)
    }

    /// The listed model that `name` means. Ollama leaves `:latest` out.
    pub(super) fn pick(&self, listed: &[String], name: &str) -> Option<ModelName> {
        let latest = (self.kind == UpstreamKind::Ollama).then(|| format!("{name}:latest"));
        let found = listed.iter().find(|m| *m == name).or_else(|| listed.iter().find(|m| Some(*m) == latest.as_ref()));
        Some(ModelName { upstream: self.name.clone(), model: found?.clone() })
    }
}
