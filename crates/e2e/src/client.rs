//! A small client of the API, as a person's program would be.

use anyhow::{Context, Result, bail};
use api::wire;
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Once, time::Duration};

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Events of one page.
const PAGE: u32 = 200;

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body; null where it is not JSON.
    pub body: Value,
}

impl Reply {
    /// The body of a good answer.
    pub fn ok<T: DeserializeOwned>(self) -> Result<T> {
        if !(200..300).contains(&self.status) {
            bail!("the API answered {}: {}", self.status, self.body);
        }
        serde_json::from_value(self.body).context("the answer has another shape")
    }

    /// The stable code of an error.
    pub fn code(&self) -> &str {
        self.body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default()
    }
}

/// A client with a token.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// The token that it sends; none: it sends none.
    pub token: Option<String>,
}

impl Client {
    /// A client of the API at `address`.
    pub fn new(address: SocketAddr, token: Option<String>) -> Result<Self> {
        static TLS: Once = Once::new();
        // Plain HTTP only, but the client wants a provider. Installed twice is installed.
        TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let http = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).no_proxy().build()?;
        Ok(Self { http, base: format!("http://{address}"), token })
    }

    /// Sends a request; `body` none is no body.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply> {
        let bytes = body.map(Value::to_string);
        let (status, bytes) = self.bytes(method, path, bytes).await?;
        Ok(Reply { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    async fn bytes(&self, method: Method, path: &str, body: Option<String>) -> Result<(u16, Vec<u8>)> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.bytes().await?.to_vec()))
    }

    /// Reads.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(Method::GET, path, None).await?.ok().with_context(|| format!("GET {path}"))
    }

    /// Posts, whatever the answer is.
    pub async fn try_post(&self, path: &str, body: &impl Serialize) -> Result<Reply> {
        self.send(Method::POST, path, Some(&serde_json::to_value(body)?)).await
    }

    /// Posts and takes only a good answer.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.try_post(path, body).await?.ok().with_context(|| format!("POST {path}"))
    }

    /// A command such as `pause`, whatever the answer is.
    pub async fn command(&self, task: &str, command: &str) -> Result<Reply> {
        self.send(Method::POST, &format!("/api/tasks/{task}/{command}"), None).await
    }

    /// Sends words to a task's agent.
    pub async fn message(&self, task: &str, text: &str, now: bool) -> Result<Reply> {
        self.try_post(&format!("/api/tasks/{task}/messages"), &json!({"text": text, "now": now})).await
    }

    /// A task with its runs.
    pub async fn task(&self, task: &str) -> Result<wire::TaskDetail> {
        self.get(&format!("/api/tasks/{task}")).await
    }

    /// The task's requests, newest first.
    pub async fn requests(&self, task: &str) -> Result<Vec<wire::Request>> {
        Ok(self.get::<wire::Page<_>>(&format!("/api/capabilities/requests?task={task}")).await?.items)
    }

    /// A request with its candidate.
    pub async fn request(&self, id: &str) -> Result<wire::RequestDetail> {
        self.get(&format!("/api/capabilities/requests/{id}")).await
    }

    /// Decides, whatever the answer is.
    pub async fn review(&self, id: &str, review: &wire::Review) -> Result<Reply> {
        self.try_post(&format!("/api/capabilities/requests/{id}/review"), review).await
    }

    /// The whole timeline of a task.
    pub async fn events(&self, task: &str) -> Result<Vec<wire::Event>> {
        self.pages(&format!("/api/tasks/{task}/timeline?limit={PAGE}")).await
    }

    /// The whole log.
    pub async fn entries(&self) -> Result<Vec<wire::Event>> {
        self.pages(&format!("/api/audit/entries?limit={PAGE}")).await
    }

    /// The model calls of a task.
    pub async fn calls(&self, task: &str) -> Result<Vec<wire::Call>> {
        self.pages(&format!("/api/llm/calls?task={task}")).await
    }

    async fn pages<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page: wire::Page<T> = self.get(&format!("{path}{cursor}")).await?;
            all.extend(page.items);
            let Some(next) = page.next_cursor else { return Ok(all) };
            cursor = format!("&cursor={next}");
        }
    }

    /// The files of a task's newest run.
    pub async fn files(&self, task: &str) -> Result<Vec<wire::File>> {
        Ok(self.get::<wire::FileList>(&format!("/api/tasks/{task}/files")).await?.files)
    }

    /// Downloads a file.
    pub async fn file(&self, task: &str, path: &str) -> Result<Vec<u8>> {
        let (status, bytes) = self.bytes(Method::GET, &format!("/api/tasks/{task}/files/{path}"), None).await?;
        if status != 200 {
            bail!("GET file {path}: {status} {}", String::from_utf8_lossy(&bytes));
        }
        Ok(bytes)
    }

    /// Verifies the log on the server.
    pub async fn verify(&self) -> Result<wire::VerifyReport> {
        self.send(Method::POST, "/api/audit/verify", None).await?.ok()
    }
}

/// An approval of the candidate with this digest.
pub fn approve(digest: &str) -> wire::Review {
    wire::Review {
        decision: wire::Verb::Approve,
        digest: digest.to_owned(),
        reason: None,
        alternative: None,
        answer: None,
    }
}

/// A denial with a reason.
pub fn deny(digest: &str, reason: &str) -> wire::Review {
    wire::Review { decision: wire::Verb::Deny, reason: Some(reason.to_owned()), ..approve(digest) }
}

/// A suggestion instead.
pub fn suggest(digest: &str, alternative: &str) -> wire::Review {
    wire::Review { decision: wire::Verb::Suggest, alternative: Some(alternative.to_owned()), ..approve(digest) }
}

/// An answer to a question.
pub fn answer(digest: &str, words: &str) -> wire::Review {
    wire::Review { decision: wire::Verb::Answer, answer: Some(words.to_owned()), ..approve(digest) }
}
