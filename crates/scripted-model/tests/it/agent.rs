//! A small agent: sends its transcript, runs the tools it is told to, stops when a turn ends.

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use scripted_model::{Options, serve};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) const ALL_TOOLS: &[&str] = &[
    "exec",
    "process",
    "read",
    "write",
    "taskforge__request_packages",
    "taskforge__ask_human",
    "taskforge__report_progress",
    "taskforge__submit_result",
];

/// A served model; dropped with its test.
pub(crate) struct Model {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
    server: JoinHandle<()>,
}

impl Drop for Model {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Model {
    pub(crate) async fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { serve(listener, options).await.unwrap() });
        Self { base, client: Client::builder(TokioExecutor::new()).build_http(), server }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let request = Request::get(format!("{}{path}", self.base)).body(Full::default()).unwrap();
        let (status, body) = self.send(request).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Posts to chat completions; the error of a cut body is returned.
    pub(crate) async fn post(&self, body: &[u8], key: Option<&str>) -> Result<(u16, Bytes), hyper::Error> {
        let mut request = Request::post(format!("{}/v1/chat/completions", self.base));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.send(request.body(Full::from(body.to_vec())).unwrap()).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(u16, Bytes), hyper::Error> {
        let answer = self.client.request(request).await.unwrap();
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    pub(crate) async fn ask(&self, request: &Value) -> Value {
        let (status, body) = self.post(request.to_string().as_bytes(), None).await.unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }
}

/// The transcript of a session, and every call that was made in it.
pub(crate) struct Agent<'a> {
    model: &'a Model,
    name: &'a str,
    pub(crate) tools: Vec<&'a str>,
    pub(crate) messages: Vec<Value>,
    pub(crate) calls: Vec<(String, Value)>,
}

impl<'a> Agent<'a> {
    pub(crate) fn new(model: &'a Model, name: &'a str) -> Self {
        let messages = vec![json!({ "role": "system", "content": "You run inside TaskForge." })];
        Self { model, name, tools: ALL_TOOLS.to_vec(), messages, calls: Vec::new() }
    }

    pub(crate) fn request(&self) -> Value {
        let tools: Vec<_> = self
            .tools
            .iter()
            .map(|t| json!({ "type": "function", "function": { "name": t, "parameters": { "type": "object" } } }))
            .collect();
        json!({ "model": self.name, "messages": self.messages, "tools": tools })
    }

    /// Says `words`, runs tools until the turn ends, and returns the model's last words.
    pub(crate) async fn turn(&mut self, words: &str, mut run: impl FnMut(&str, &Value) -> String) -> String {
        self.messages.push(json!({ "role": "user", "content": words }));
        for _ in 0..50 {
            let answer = self.model.ask(&self.request()).await;
            let message = answer["choices"][0]["message"].clone();
            self.messages.push(message.clone());
            let Some(calls) = message["tool_calls"].as_array() else {
                return message["content"].as_str().unwrap().to_owned();
            };
            for call in calls {
                let name = call["function"]["name"].as_str().unwrap();
                let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
                let result = run(name, &arguments);
                self.calls.push((name.to_owned(), arguments));
                self.messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": result }));
            }
        }
        panic!("the turn does not end: {:#?}", self.calls);
    }

    pub(crate) fn called(&self, tool: &str) -> Vec<&Value> {
        self.calls.iter().filter(|(name, _)| name == tool).map(|(_, arguments)| arguments).collect()
    }
}
