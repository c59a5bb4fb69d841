//! The HTTP side: routes, keys, and the way from a request to its answer.

use crate::{
    answer::{Asked, INPUT, compose},
    chat, chat_check,
    delivery::{Event, Framing, deliver},
    fault::{Fault, Kind, request_id},
    gemini, gemini_check,
    journal::{Filter, Journal, Live},
    listing, messages, messages_check,
    model::{Failure, Plan},
    ollama,
    provider::Provider,
    responses, responses_stream,
    route::{Ask, ask},
};
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{io, net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, task::JoinSet};

/// The largest body that is read.
const MAX_BODY_BYTES: usize = 64 << 20;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A running emulator; dropping it ends it.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    journal: Journal,
    task: tokio::task::JoinHandle<io::Result<()>>,
}

impl Emulator {
    /// Starts one on a free port of the loopback, as a task of the runtime.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, journal) = (listener.local_addr()?, Journal::default());
        let task = tokio::spawn(accept(listener, journal.clone()));
        Ok(Self { address, journal, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base address of a provider: `openai`, `anthropic`, `gemini`, `ollama` or `compatible`; its API's version is
    /// not in it.
    pub fn url(&self, provider: &str) -> String {
        format!("http://{}/{provider}", self.address)
    }

    /// What `/_seen?QUERY` answers.
    pub fn seen(&self, query: &str) -> Value {
        self.journal.seen(&Filter::of(query))
    }

    /// What `/_active` answers.
    pub fn active(&self) -> Value {
        self.journal.active()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves until the process ends or the future is dropped.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    accept(listener, Journal::default()).await
}

async fn accept(listener: TcpListener, journal: Journal) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let journal = journal.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, journal.clone()));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away shows in the journal.
            drop(connection.await);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// A request in parts.
struct Call<'a> {
    provider: Provider,
    path: &'a str,
    headers: &'a HeaderMap,
    body: &'a Bytes,
}

async fn answer(request: Request<Incoming>, journal: Journal) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    match (parts.uri.path(), &parts.method) {
        ("/_seen", &Method::DELETE) => {
            journal.reset();
            return Ok(json_response(200, &json!({})));
        }
        ("/_seen", _) => return Ok(json_response(200, &journal.seen(&Filter::of(query)))),
        ("/_active", _) => return Ok(json_response(200, &journal.active())),
        ("/_markers", _) => return Ok(text_response(200, "text/plain", journal.markers())),
        _ => {}
    }
    let (provider, path) = Provider::of(parts.uri.path(), &parts.headers);
    let read = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let whole = read.map(http_body_util::Collected::to_bytes);
    let body = whole.as_ref().map(Bytes::clone).unwrap_or_default();
    let live = journal.arrived(provider, &parts.method, &parts.uri, &parts.headers, &body);
    let call = Call { provider, path, headers: &parts.headers, body: &body };
    let result = match whole {
        Ok(_) => route(&call, &parts.method, query, &journal, &live).await,
        Err(_) => Err(Stop::Fault(Fault::of_status(413, None))),
    };
    match result {
        Ok(Made::Json(value)) => Ok(sent(live, 200, json_response(200, &value))),
        Ok(Made::Stream(framing, body)) => {
            live.status(200);
            Ok(stream_response(provider, framing, body, live))
        }
        Err(Stop::Fault(fault)) => {
            let response = fault_response(provider, &fault, live.number());
            Ok(sent(live, fault.status, response))
        }
        Err(Stop::Html) => Ok(sent(live, 502, text_response(502, "text/html", HTML.to_owned()))),
        Err(Stop::Reset) => Err(io::Error::other("reset on purpose")),
    }
}

const HTML: &str = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>";

/// Why there is no answer.
enum Stop {
    Fault(Fault),
    Html,
    Reset,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

enum Made {
    Json(Value),
    Stream(Framing, UnsyncBoxBody<Bytes, io::Error>),
}

async fn route(call: &Call<'_>, method: &Method, query: &str, journal: &Journal, live: &Live) -> Result<Made, Stop> {
    let provider = call.provider;
    let key = provider.key(call.headers, query);
    let bad = key.as_ref().is_some_and(|k| k.starts_with("wrong"));
    if bad || (key.is_none() && !provider.is_open()) {
        return Err(Fault::no_key(provider, key.is_some()).into());
    }
    if provider == Provider::Anthropic && !call.headers.contains_key("anthropic-version") {
        return Err(Fault::invalid("anthropic-version: header is required").into());
    }
    let Some(ask) = ask(provider, method, call.path) else {
        return Err(Fault::new(404, Kind::NotFound, format!("Invalid URL ({method} {})", call.path)).into());
    };
    let named = match ask {
        Ask::Models(one) => return Ok(Made::Json(listing::models(provider, one.as_deref())?)),
        Ask::Generate { ref model, .. } | Ask::Count(ref model) | Ask::Embed { ref model, .. } => model.clone(),
    };
    if !call.headers.get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"))
        && provider != Provider::Ollama
    {
        return Err(Fault::new(415, Kind::Invalid, "Unsupported content type: expected application/json.").into());
    }
    let body: Value = serde_json::from_slice(call.body).map_err(|e| unreadable(provider, &e))?;
    let model = match named.as_deref().or(body["model"].as_str()) {
        Some(model) => model.to_owned(),
        None => return Err(no_name(provider).into()),
    };
    live.model(&model);
    if let Ask::Embed { action, .. } = &ask {
        return Ok(Made::Json(listing::embeddings(provider, &body, action)?));
    }
    let plan = Plan::of(&model).ok_or_else(|| Fault::no_model(provider, &model))?;
    prevented(call, &plan, journal).await?;
    match ask {
        Ask::Generate { stream, responses, .. } => {
            let sse = stream != Some(true) || query.split('&').any(|pair| pair == "alt=sse");
            let mut asked = asked(call, &body, &plan, responses)?;
            asked.model = model;
            asked.stream = stream.unwrap_or(asked.stream);
            asked.credentials = key.into_iter().collect();
            generate(provider, responses, sse, &asked, &plan, live.number()).await
        }
        _ if provider == Provider::Anthropic => {
            messages_check::read(&body, &plan, true)?;
            Ok(Made::Json(json!({"input_tokens": INPUT})))
        }
        _ => {
            gemini_check::read(body.get("generateContentRequest").unwrap_or(&body), &plan)?;
            Ok(Made::Json(
                json!({"totalTokens": INPUT, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": INPUT}]}),
            ))
        }
    }
}

fn unreadable(provider: Provider, error: &serde_json::Error) -> Fault {
    Fault::invalid(match provider {
        Provider::OpenAi | Provider::Compatible => {
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly.)".to_owned()
        }
        Provider::Anthropic => format!("The request body is not valid JSON: {error}"),
        Provider::Gemini => format!("Invalid JSON payload received. {error}"),
        Provider::Ollama => error.to_string(),
    })
}

fn no_name(provider: Provider) -> Fault {
    match provider {
        Provider::OpenAi | Provider::Compatible => Fault::invalid("you must provide a model parameter"),
        Provider::Anthropic => Fault::invalid("model: Field required"),
        Provider::Gemini | Provider::Ollama => Fault::invalid("model is required"),
    }
}

/// What the model's name puts before any answer.
async fn prevented(call: &Call<'_>, plan: &Plan, journal: &Journal) -> Result<(), Stop> {
    if plan.reset {
        return Err(Stop::Reset);
    }
    if plan.hang {
        // Until the client goes away.
        std::future::pending::<()>().await;
    }
    if plan.html {
        return Err(Stop::Html);
    }
    let Some(Failure { status, retry_after, times }) = plan.failure else { return Ok(()) };
    let fails = times.is_none_or(|most| journal.times_before(call.path, call.body, most) < most);
    if fails { Err(Fault::of_status(status, retry_after).into()) } else { Ok(()) }
}

fn asked(call: &Call<'_>, body: &Value, plan: &Plan, responses: bool) -> Result<Asked, Fault> {
    match call.provider {
        Provider::OpenAi if responses => responses::read(body, plan),
        Provider::OpenAi | Provider::Compatible => chat_check::read(call.provider, body, plan),
        Provider::Anthropic => messages_check::read(body, plan, false),
        Provider::Gemini => gemini_check::read(body, plan),
        Provider::Ollama => ollama::read(body),
    }
}

async fn generate(
    provider: Provider,
    responses: bool,
    sse: bool,
    asked: &Asked,
    plan: &Plan,
    serial: u64,
) -> Result<Made, Stop> {
    let answer = compose(provider, asked, plan, serial)?;
    let (framing, events) = if asked.stream {
        let events = match provider {
            Provider::OpenAi if responses => responses_stream::events(asked, &answer, plan),
            Provider::OpenAi | Provider::Compatible => chat::events(provider, asked, &answer, plan),
            Provider::Anthropic => messages::events(asked, &answer, plan),
            Provider::Gemini => gemini::events(asked, &answer, plan),
            Provider::Ollama => ollama::events(asked, &answer),
        };
        (if provider == Provider::Ollama { Framing::Lines } else { Framing::Sse }, events)
    } else {
        let whole = match provider {
            Provider::OpenAi if responses => responses::response(asked, &answer, true),
            Provider::OpenAi | Provider::Compatible => chat::whole(provider, asked, &answer),
            Provider::Anthropic => messages::whole(asked, &answer),
            Provider::Gemini => gemini::whole(asked, &answer, plan),
            Provider::Ollama => ollama::whole(asked, &answer),
        };
        (Framing::Whole, vec![Event::bare(&whole)])
    };
    if !sse {
        return Err(Fault::invalid("this emulator streams with alt=sse alone").into());
    }
    if framing == Framing::Whole && plan.breaks.is_none() {
        // A slow answer that is no stream takes as long as its stream would.
        let pieces = u32::try_from(answer.pieces.unwrap_or(1)).unwrap_or(u32::MAX);
        tokio::time::sleep(plan.delay.saturating_add(plan.gap.saturating_mul(pieces - 1))).await;
        let plan = Plan { delay: Duration::ZERO, ..plan.clone() };
        return Ok(stream(framing, &events, &plan, &Event::done()));
    }
    let middle = events.len().div_ceil(2);
    let error = Fault::of_status(529, None).event(provider, responses, middle);
    Ok(stream(framing, &events, plan, &error))
}

fn stream(framing: Framing, events: &[Event], plan: &Plan, error: &Event) -> Made {
    let frames = deliver(framing, events, plan, error).map(|piece| piece.map(Frame::data));
    Made::Stream(framing, StreamBody::new(frames).boxed_unsync())
}

/// The answer's body, with the journal told when it ends or is dropped.
fn stream_response(provider: Provider, framing: Framing, body: Body, live: Live) -> Response<Body> {
    let id = request_id(live.number());
    let frames = futures::stream::unfold((body, live), |(mut body, mut live)| async move {
        match body.frame().await {
            // What breaks on purpose is no client's doing.
            Some(Err(e)) => {
                live.end();
                Some((Err(e), (body, live)))
            }
            Some(Ok(frame)) => Some((Ok(frame), (body, live))),
            None => {
                live.end();
                None
            }
        }
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(framing.content_type()));
    name_request(provider, headers, &id);
    response
}

fn name_request(provider: Provider, headers: &mut HeaderMap, id: &str) {
    let name = match provider {
        Provider::OpenAi | Provider::Compatible => "x-request-id",
        Provider::Anthropic => "request-id",
        Provider::Gemini | Provider::Ollama => return,
    };
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static(name), id);
    }
}

fn fault_response(provider: Provider, fault: &Fault, request: u64) -> Response<Body> {
    let mut response = json_response(fault.status, &fault.body(provider, request));
    name_request(provider, response.headers_mut(), &request_id(request));
    if let Some(seconds) = fault.retry_after {
        response.headers_mut().insert("retry-after", HeaderValue::from(seconds));
    }
    response
}

fn sent(mut live: Live, status: u16, response: Response<Body>) -> Response<Body> {
    live.status(status);
    live.end();
    response
}

fn json_response(status: u16, value: &Value) -> Response<Body> {
    text_response(status, "application/json", value.to_string())
}

fn text_response(status: u16, kind: &'static str, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
