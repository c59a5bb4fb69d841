//! The load generator, on a thread of its own.
//!
//! Open loop: calls are due at fixed instants, and a latency counts from the instant at which the call was due, so that a
//! stall is charged to every call that it held up. Closed loop: each connection sends its next call when the last one
//! was answered.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use std::{
    future::Future,
    net::SocketAddr,
    os::fd::AsRawFd,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpStream, UnixStream},
    sync::{Mutex, mpsc},
    task::JoinSet,
};

/// Calls that are due and have no connection yet; more means that the target is far below the rate.
const DUE: usize = 1 << 16;

/// Where calls go.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// The upstream itself.
    Tcp(SocketAddr),
    /// A sandbox's socket.
    Unix(PathBuf),
}

/// How calls are made.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The body of each call.
    pub(crate) body: Bytes,
    /// Connections.
    pub(crate) connections: usize,
    /// Calls a second; none: as fast as they are answered.
    pub(crate) rate: Option<u32>,
    /// How long.
    pub(crate) window: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// From the due instant to the first byte of the answer's body, in milliseconds.
    pub(crate) first_byte: crate::stats::Sample,
    /// From the due instant to the end of the answer.
    pub(crate) total: crate::stats::Sample,
    /// Answered calls a second.
    pub(crate) rps: f64,
}

struct Timing {
    first_byte: Duration,
    total: Duration,
}

/// Runs work on a thread with a runtime of its own; the thread ends with the work.
pub(crate) fn on_thread<T, F>(
    name: &str,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<thread::JoinHandle<Result<T>>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    let thread = thread::Builder::new().name(name.to_owned());
    let body = move || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work());
    thread.spawn(body).context("no thread could be started")
}

/// Makes calls as planned and returns what came of it. Any call that fails makes the measurement fail.
pub(crate) async fn run(target: Target, plan: Plan) -> Result<Outcome> {
    let thread = on_thread("load", move || generate(target, plan))?;
    let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
    joined.map_err(|_| anyhow::anyhow!("the load generator panicked"))?
}

async fn generate(target: Target, plan: Plan) -> Result<Outcome> {
    let mut workers = JoinSet::new();
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        connections.push(connect(&target).await?);
    }
    let (due, calls) = mpsc::channel(DUE);
    let calls = Arc::new(Mutex::new(calls));
    let begun = Instant::now();
    let end = begun + plan.window;
    for connection in connections {
        let (calls, body) = (Arc::clone(&calls), plan.body.clone());
        match plan.rate {
            Some(_) => workers.spawn(open_loop(connection, body, calls)),
            None => workers.spawn(closed_loop(connection, body, end)),
        };
    }
    if let Some(rate) = plan.rate {
        // A timer of the runtime is a millisecond coarse; a sleeping thread is not.
        let pace = move || pace(&due, rate, begun, end);
        thread::Builder::new().name("pace".to_owned()).spawn(pace).context("no thread could be started")?;
    } else {
        drop(due);
    }
    let mut outcome = Outcome::default();
    let mut answered = 0u32;
    while let Some(timings) = workers.join_next().await {
        for t in timings?? {
            outcome.first_byte.push_ms(t.first_byte);
            outcome.total.push_ms(t.total);
            answered += 1;
        }
    }
    outcome.rps = f64::from(answered) / begun.elapsed().as_secs_f64();
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

type Connection = http1::SendRequest<Full<Bytes>>;

async fn connect(target: &Target) -> Result<Connection> {
    match target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            handshake(stream).await
        }
        Target::Unix(path) => {
            // By way of its folder: the path may be longer than a socket's address can be.
            let folder = std::fs::File::open(path.parent().context("a socket without a folder")?)?;
            let name = path.file_name().and_then(|n| n.to_str()).context("a socket without a name")?;
            handshake(UnixStream::connect(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())).await?).await
        }
    }
}

async fn handshake<S>(stream: S) -> Result<Connection>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender.
    drop(tokio::spawn(connection));
    Ok(sender)
}

async fn open_loop(
    mut connection: Connection,
    body: Bytes,
    calls: Arc<Mutex<mpsc::Receiver<Instant>>>,
) -> Result<Vec<Timing>> {
    let mut timings = Vec::new();
    loop {
        // The lock is fair, so that the calls go round all connections.
        let Some(due) = calls.lock().await.recv().await else { return Ok(timings) };
        timings.push(call(&mut connection, body.clone(), due).await?);
    }
}

async fn closed_loop(mut connection: Connection, body: Bytes, end: Instant) -> Result<Vec<Timing>> {
    let mut timings = Vec::new();
    while Instant::now() < end {
        timings.push(call(&mut connection, body.clone(), Instant::now()).await?);
    }
    Ok(timings)
}

async fn call(connection: &mut Connection, body: Bytes, due: Instant) -> Result<Timing> {
    connection.ready().await?;
    let request = Request::post("/v1/chat/completions")
        .header(header::HOST, "127.0.0.1:8080")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, "Bearer unused")
        .body(Full::new(body))?;
    let response = connection.send_request(request).await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut first_byte = None;
    while let Some(frame) = body.frame().await {
        frame?;
        first_byte.get_or_insert_with(|| due.elapsed());
    }
    let total = due.elapsed();
    ensure!(status.is_success(), "a call was answered {status}");
    Ok(Timing { first_byte: first_byte.unwrap_or(total), total })
}
