//! The client of the API. Errors of the server become failures with its message, hint and request id.

mod sse;

pub(crate) use sse::Events;

use crate::cli::{Exit, Failure, Global, Outcome};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use std::{path::Path, time::Duration};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the server gives a request, so that its own error arrives.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(150);
/// The server keeps idle streams alive every 15 s.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read whole.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// Characters of a path segment that are sent as they are.
fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

/// A path segment, or several with their slashes, as a URL wants them.
pub(crate) fn encode(path: &str) -> String {
    path.bytes()
        .map(|b| if is_plain(b) || b == b'/' { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// The value of a query parameter as a URL wants it.
pub(crate) fn encode_value(value: &str) -> String {
    value.bytes().map(|b| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    /// Finds the server and the token: options and environment first, then the data directory.
    pub(crate) fn find(global: &Global) -> Outcome<Self> {
        let data_dir = global.data_dir();
        let base = match &global.server {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => announced(&data_dir)?,
        };
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(Failure::usage(format!("{base:?} is not an address such as http://127.0.0.1:8000")));
        }
        Ok(Self { http: http()?, base, token: token(&data_dir)? })
    }

    /// The address of the server.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    /// Reads something.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        self.answer(self.request(Method::GET, path).timeout(REQUEST_TIMEOUT)).await
    }

    /// Reads something that may not be there.
    pub(crate) async fn bytes(&self, path: &str) -> Outcome<Vec<u8>> {
        let mut response = self.send(self.request(Method::GET, path)).await?;
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|e| self.unreachable(&e))? {
            if bytes.len() + part.len() > MAX_ANSWER_BYTES {
                return Err(Failure::failed(format!("the answer has more than {MAX_ANSWER_BYTES} bytes")));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }

    /// Opens a download.
    pub(crate) async fn download(&self, path: &str) -> Outcome<Response> {
        self.send(self.request(Method::GET, path)).await
    }

    /// Changes something, without a body.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        self.answer(self.request(Method::POST, path).timeout(REQUEST_TIMEOUT)).await
    }

    /// Changes something.
    pub(crate) async fn send_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Outcome<T> {
        self.answer(self.request(Method::POST, path).timeout(REQUEST_TIMEOUT).json(body)).await
    }

    /// Puts something in the place of what is there.
    pub(crate) async fn put_json<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Outcome<T> {
        self.answer(self.request(Method::PUT, path).timeout(REQUEST_TIMEOUT).json(body)).await
    }

    /// Opens a stream with a body; how long it takes is the server's to bound.
    pub(crate) async fn open_stream(&self, path: &str, body: &(impl Serialize + Sync)) -> Outcome<Response> {
        let response = self.request(Method::POST, path).json(body).send().await.map_err(|e| self.unreachable(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response).await)
    }

    /// Creates something once, however often the request is sent.
    pub(crate) async fn create<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &(impl Serialize + Sync),
    ) -> Outcome<T> {
        self.answer(self.request(Method::POST, path).timeout(REQUEST_TIMEOUT).header("Idempotency-Key", key).json(body))
            .await
    }

    /// Removes something.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        self.answer(self.request(Method::DELETE, path).timeout(REQUEST_TIMEOUT)).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Outcome<T> {
        let response = self.send(request).await?;
        response.json().await.map_err(|e| {
            Failure::failed(format!("the answer of {} could not be read: {}", self.base, chain(&e)))
                .hint("is the server of the same version as this program?")
        })
    }

    async fn send(&self, request: RequestBuilder) -> Outcome<Response> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response).await)
    }

    fn unreachable(&self, e: &reqwest::Error) -> Failure {
        Failure::new(
            Exit::Unreachable,
            "unreachable",
            format!("the server at {} cannot be reached: {}", self.base, chain(e)),
        )
        .hint("start it with `taskforge up --detach` or `taskforge gateway`, or name another with --server")
    }
}

/// What the server says about a request that it refused.
async fn refused(response: Response) -> Failure {
    let status = response.status();
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::NotAllowed,
        StatusCode::CONFLICT => Exit::Conflict,
        _ => Exit::Failed,
    };
    let json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|c| c.as_bytes().starts_with(b"application/json"));
    let text = response.text().await.unwrap_or_default();
    match serde_json::from_str::<api::ErrorEnvelope>(&text) {
        Ok(envelope) if json => {
            let e = envelope.error;
            let mut failure = Failure::new(exit, &e.code, e.message).hint(e.hint);
            let details = serde_json::json!({"request_id": e.request_id, "details": e.details});
            failure.details = Some(details);
            if status.is_server_error() {
                failure.message = format!("{} (request {})", failure.message, e.request_id);
            }
            failure
        }
        _ if json && model_error(&text).is_some() => {
            let (code, message) = model_error(&text).unwrap_or_default();
            Failure::new(exit, &code, message)
        }
        _ => {
            Failure::new(exit, "unexpected_answer", format!("the server answered {status}, and not as TaskForge does"))
        }
    }
}

/// An error in the shape of OpenAI's API: its code and message.
fn model_error(text: &str) -> Option<(String, String)> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let error = &value["error"];
    let code = error["code"].as_str().or_else(|| error["type"].as_str()).unwrap_or("model_error");
    Some((code.to_owned(), error["message"].as_str()?.to_owned()))
}

/// Whether the failure means that the server is away for the moment.
pub(crate) fn is_away(f: &Failure) -> bool {
    f.exit == Exit::Unreachable || f.code == "shutting_down"
}

fn http() -> Outcome<reqwest::Client> {
    // Another part of the program may have installed the same provider before.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("taskforge/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| Failure::failed(chain(&e)))
}

fn announced(data_dir: &Path) -> Outcome<String> {
    let away = |why: &str| {
        Failure::new(Exit::Unreachable, "unreachable", format!("no server is known: {why}"))
            .hint("start one with `taskforge up --detach` or `taskforge gateway`, or name one with --server")
    };
    let path = data_dir.join("server.json");
    let bytes = std::fs::read(&path).map_err(|_| away(&format!("{} is not there", path.display())))?;
    let server: serde_json::Value = serde_json::from_slice(&bytes).map_err(|_| away("server.json is damaged"))?;
    let address = server["address"].as_str().ok_or_else(|| away("server.json names no address"))?;
    Ok(format!("http://{address}"))
}

/// The token of the environment, or of the data directory.
pub(crate) fn token(data_dir: &Path) -> Outcome<String> {
    if let Ok(token) = std::env::var("TASKFORGE_TOKEN")
        && !token.trim().is_empty()
    {
        return Ok(token.trim().to_owned());
    }
    let path = data_dir.join("token");
    match std::fs::read_to_string(&path) {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(e) => {
            Err(Failure::new(Exit::NotAllowed, "no_token", format!("there is no token: {}: {e}", path.display()))
                .hint("set TASKFORGE_TOKEN, or name the server's data directory with --data-dir"))
        }
    }
}

/// An error with its causes.
fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded_and_keep_their_slashes() {
        assert_eq!(encode("data/größe 1?.csv"), "data/gr%C3%B6%C3%9Fe%201%3F.csv");
        assert_eq!(encode_value("a/b&c"), "a%2Fb%26c");
    }
}
