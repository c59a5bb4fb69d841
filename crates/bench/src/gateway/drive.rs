//! The load of the gateway's benchmark: open and closed loop, whole answers and streams.
//!
//! Open loop: a latency counts from the instant at which the call was due. Of a stream the gaps between its pieces are
//! kept too; a piece is an event, however the bytes were put together on their way.

use super::place::{self, Core};
use crate::{load::on_thread, stats::Sample};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    sync::{Mutex, mpsc},
    task::JoinSet,
};

/// Calls that are due and have no connection yet.
const DUE: usize = 1 << 16;
/// Gaps that are kept of one measurement.
const GAPS: usize = 1 << 20;

/// Where calls go, and what they are.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    pub(crate) path: &'static str,
    pub(crate) body: Bytes,
    /// Headers that this target wants besides.
    pub(crate) headers: Vec<(String, String)>,
}

impl Ask {
    /// A Chat Completions call of this model.
    pub(crate) fn chat(address: SocketAddr, key: &str, model: &str, stream: bool) -> Self {
        let words = "Read sales.csv, add up the amounts per region, and write the totals to report.md. ".repeat(8);
        let mut body = json!({"model": model, "stream": stream,
            "messages": [{"role": "system", "content": "You work in a sandbox."}, {"role": "user", "content": words}]});
        if stream {
            body["stream_options"] = json!({"include_usage": true});
        }
        let body = Bytes::from(body.to_string());
        Self { address, key: key.to_owned(), path: "/v1/chat/completions", body, headers: Vec::new() }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>> {
        self.request_of(self.body.clone())
    }

    /// The same request with another body.
    pub(crate) fn request_of(&self, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::post(self.path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request.body(Full::new(body))?)
    }
}

/// How calls are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    /// Calls a second; none: as fast as they are answered.
    pub(crate) rate: Option<u32>,
    pub(crate) window: Duration,
    /// No more than so many calls.
    pub(crate) calls: Option<u64>,
}

/// What came of it, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) first_byte: Sample,
    pub(crate) total: Sample,
    pub(crate) gaps: Sample,
    pub(crate) answered: u64,
    pub(crate) pieces: u64,
    pub(crate) took: Duration,
}

impl Outcome {
    /// Answered calls a second.
    pub(crate) fn rate(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }

    /// Pieces of streams a second.
    pub(crate) fn piece_rate(&self) -> f64 {
        self.pieces as f64 / self.took.as_secs_f64()
    }
}

#[derive(Default)]
struct Timing {
    first_byte: Duration,
    total: Duration,
    gaps: Vec<Duration>,
    pieces: u64,
}

/// Makes calls as planned. Any call that fails makes the measurement fail.
pub(crate) async fn run(ask: Ask, plan: Plan) -> Result<Outcome> {
    let thread = on_thread("load", move || async move {
        place::settle(Core::Rest);
        generate(ask, plan).await
    })?;
    let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
    joined.map_err(|_| anyhow::anyhow!("the load generator panicked"))?
}

async fn generate(ask: Ask, plan: Plan) -> Result<Outcome> {
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        connections.push(connect(ask.address).await?);
    }
    let (due, calls) = mpsc::channel(DUE);
    let (ask, calls) = (Arc::new(ask), Arc::new(Mutex::new(calls)));
    let begun = Instant::now();
    let end = begun + plan.window;
    let share = plan.calls.map(|n| n.div_ceil(plan.connections as u64));
    let mut workers = JoinSet::new();
    for connection in connections {
        let (ask, calls) = (Arc::clone(&ask), Arc::clone(&calls));
        match plan.rate {
            Some(_) => workers.spawn(open_loop(connection, ask, calls)),
            None => workers.spawn(closed_loop(connection, ask, end, share)),
        };
    }
    if let Some(rate) = plan.rate {
        let pace = move || {
            place::settle(Core::Rest);
            pace(&due, rate, begun, end);
        };
        thread::Builder::new().name("pace".to_owned()).spawn(pace).context("no thread could be started")?;
    } else {
        drop(due);
    }
    let mut outcome = Outcome::default();
    let mut gaps = 0;
    while let Some(timings) = workers.join_next().await {
        for t in timings?? {
            outcome.first_byte.push_ms(t.first_byte);
            outcome.total.push_ms(t.total);
            outcome.answered += 1;
            outcome.pieces += t.pieces;
            for gap in t.gaps.into_iter().take(GAPS - gaps) {
                outcome.gaps.push_ms(gap);
                gaps += 1;
            }
        }
    }
    outcome.took = begun.elapsed();
    Ok(outcome)
}

fn pace(due: &mpsc::Sender<Instant>, rate: u32, begun: Instant, end: Instant) {
    for n in 0u32.. {
        let at = begun + Duration::from_secs(1) * n / rate;
        if at >= end {
            return;
        }
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if due.blocking_send(at).is_err() {
            return;
        }
    }
}

/// A connection for one call after the other.
pub(crate) type Connection = http1::SendRequest<Full<Bytes>>;

/// Connects; the connection ends with its handle.
pub(crate) async fn connect(address: SocketAddr) -> Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    drop(tokio::spawn(connection));
    Ok(sender)
}

async fn open_loop(
    mut connection: Connection,
    ask: Arc<Ask>,
    calls: Arc<Mutex<mpsc::Receiver<Instant>>>,
) -> Result<Vec<Timing>> {
    let mut timings = Vec::new();
    loop {
        // The lock is fair, so that the calls go round all connections.
        let Some(due) = calls.lock().await.recv().await else { return Ok(timings) };
        timings.push(call(&mut connection, &ask, due).await?);
    }
}

async fn closed_loop(
    mut connection: Connection,
    ask: Arc<Ask>,
    end: Instant,
    most: Option<u64>,
) -> Result<Vec<Timing>> {
    let mut timings = Vec::new();
    while Instant::now() < end && most.is_none_or(|m| (timings.len() as u64) < m) {
        timings.push(call(&mut connection, &ask, Instant::now()).await?);
    }
    Ok(timings)
}

async fn call(connection: &mut Connection, ask: &Ask, due: Instant) -> Result<Timing> {
    connection.ready().await?;
    let response = connection.send_request(ask.request()?).await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut timing = Timing::default();
    let mut last = None;
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let now = Instant::now();
        match last.replace(now) {
            None => timing.first_byte = now - due,
            Some(before) => timing.gaps.push(now - before),
        }
        if let Some(data) = frame.data_ref() {
            timing.pieces += memmem::find_iter(data, b"\n\n").count() as u64;
        }
    }
    timing.total = due.elapsed();
    if last.is_none() {
        timing.first_byte = timing.total;
    }
    ensure!(status.is_success(), "a call was answered {status}");
    Ok(timing)
}
