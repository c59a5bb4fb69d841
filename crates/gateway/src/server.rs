//! One Unix listener per sandbox.
//!
//! Opening is idempotent, and after a restart of the server the socket is bound again at the same place: the
//! supervisor inside holds and retries its connections meanwhile. Closing ends what belongs to the sandbox.

use crate::{
    Config, GatewayError, Registry, callers, metrics,
    prices::PriceTable,
    reply::Reply,
    routes,
    sandbox::{Sandbox, Shared},
    socket,
};
use bytes::Bytes;
use domain::ids::TaskId;
use hyper::{
    body::{Body, Incoming},
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{collections::HashMap, convert::Infallible, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};
use store::Store;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Mutex, Semaphore},
};
use tokio_util::sync::CancellationToken;

/// How long the head of a request may take, also the first after a pause.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// The largest head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// The most headers of a request.
const MAX_HEADERS: usize = 100;
/// How long accepting rests when the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The gateway. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    open: Mutex<HashMap<TaskId, Open>>,
    cancel: CancellationToken,
}

struct Open {
    folder: OwnedFd,
    socket: Socket,
    cancel: CancellationToken,
    listener: tokio::task::JoinHandle<()>,
}

/// Where a sandbox's socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// The task whose sandbox it is.
    pub task: TaskId,
    /// The path on this host.
    pub path: PathBuf,
}

impl Gateway {
    /// A gateway without open sandboxes.
    pub fn new(config: Config, store: Store, registry: Registry) -> Self {
        let shared = Arc::new(Shared::new(config, store, registry));
        Self(Arc::new(Inner { shared, open: Mutex::default(), cancel: CancellationToken::new() }))
    }

    /// The configured providers.
    pub fn registry(&self) -> &Registry {
        &self.0.shared.registry
    }

    /// What the gateway counts, in the text format of Prometheus.
    pub fn metrics_text(&self) -> String {
        metrics::text(&self.0.shared)
    }

    /// Puts another table of prices in force.
    pub fn replace_prices(&self, table: PriceTable) {
        self.0.shared.replace_prices(table);
    }

    /// Answers a request of a person or a tool over TCP: a model call, or a question for models. The key is read from the
    /// headers (`Authorization: Bearer`, `x-api-key`, `x-goog-api-key`); `token` names an API token that the caller has
    /// checked already and that stands in for a key.
    ///
    /// To be run where the client's connection runs, and dropped with it: a client that goes away ends its call.
    pub async fn serve_callers<B>(&self, parts: Parts, body: B, token: Option<String>) -> Reply
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        callers::serve(&self.0.shared, &self.0.cancel, parts, body, token).await
    }

    /// Listens for the sandbox of `task`; if it is open already, nothing changes.
    pub async fn open(&self, task: TaskId) -> Result<Socket, GatewayError> {
        if self.0.cancel.is_cancelled() {
            return Err(GatewayError::Closed);
        }
        let mut open = self.0.open.lock().await;
        if let Some(known) = open.get(&task)
            && !known.listener.is_finished()
            && tokio::fs::try_exists(&known.socket.path).await.unwrap_or(false)
        {
            return Ok(known.socket.clone());
        }
        if let Some(old) = open.remove(&task) {
            old.cancel.cancel();
        }
        fail::fail_point!("gateway.open.before");
        let config = &self.0.shared.config;
        let folder_path = config.run_root.join(task.to_string());
        let path = folder_path.join(socket::NAME);
        let failed = |source| GatewayError::Socket { path: path.clone(), source };
        let root = config.run_root.clone();
        let bound = tokio::task::spawn_blocking(move || socket::open_folder(&root, &folder_path));
        let folder = bound.await.map_err(|e| failed(e.into()))?.map_err(failed)?;
        let listener = socket::listen(&folder).map_err(failed)?;
        fail::fail_point!("gateway.open.after");
        let socket = Socket { task, path };
        let cancel = self.0.cancel.child_token();
        let sandbox = Arc::new(Sandbox::new(task, Arc::clone(&self.0.shared), cancel.clone()));
        let listener = self.0.shared.tracker.spawn(accept(listener, sandbox));
        open.insert(task, Open { folder, socket: socket.clone(), cancel, listener });
        Ok(socket)
    }

    /// Stops listening for the sandbox of `task` and ends what it has under way.
    pub async fn close(&self, task: TaskId) {
        let Some(open) = self.0.open.lock().await.remove(&task) else { return };
        open.cancel.cancel();
        self.0.shared.ledger.tidy();
        if let Err(e) = socket::remove(&open.folder) {
            tracing::warn!(task.id = %task, error = %e, "a socket could not be removed");
        }
    }

    /// The tasks whose sandboxes are open.
    pub async fn open_tasks(&self) -> Vec<TaskId> {
        self.0.open.lock().await.keys().copied().collect()
    }

    /// Ends everything and returns once the records of what was under way are written. The sockets stay, so that the
    /// sandboxes find the next server.
    pub async fn shutdown(&self) {
        self.0.cancel.cancel();
        self.0.open.lock().await.clear();
        self.0.shared.live.end_all();
        self.0.shared.tracker.close();
        self.0.shared.tracker.wait().await;
    }
}

async fn accept(listener: UnixListener, sandbox: Arc<Sandbox>) {
    let slots = Arc::new(Semaphore::new(sandbox.shared.config.max_connections));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = tokio::select! {
            () = sandbox.cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => {
                let owner = Arc::clone(&sandbox);
                sandbox.shared.tracker.spawn(async move {
                    serve(stream, owner).await;
                    drop(slot);
                });
            }
            Err(e) => {
                tracing::warn!(task.id = %sandbox.task, error = %e, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, sandbox: Arc<Sandbox>) {
    let owner = Arc::clone(&sandbox);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let sandbox = Arc::clone(&owner);
        async move { Ok::<_, Infallible>(routes::route(&sandbox, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = sandbox.cancel.cancelled() => {}
        ended = connection => {
            if let Err(e) = ended {
                tracing::debug!(task.id = %sandbox.task, error = %e, "a connection ended early");
            }
        }
    }
}
