//! The listening side: model calls go straight to the gateway, everything else through the router.
//!
//! A model call is the hot path: it passes none of the API's layers. Who makes it is decided by an API token here, or by
//! a caller's key in the gateway, which also answers in the shape that the client's library reads.

use crate::{Api, layers, router, services::Who};
use axum::{
    body::Body,
    http::{Request, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// Connections at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;
/// How long the head of a request may take, also the first after a pause.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// The largest head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// The most headers of a request.
const MAX_HEADERS: usize = 100;
/// How long accepting rests when the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether a path is the gateway's own.
fn is_model_call(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/v1beta/") || path.starts_with("/api/llm/v1/")
}

/// Serves the API until `stop`; open requests are finished first.
pub async fn serve(listener: TcpListener, api: Api, stop: CancellationToken) -> std::io::Result<()> {
    let routes = router(api.clone());
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let open = TaskTracker::new();
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => {
                let (api, routes, stop) = (api.clone(), routes.clone(), stop.clone());
                open.spawn(async move {
                    connection(stream, api, routes, stop).await;
                    drop(slot);
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    open.close();
    open.wait().await;
    Ok(())
}

async fn connection(stream: TcpStream, api: Api, routes: axum::Router, stop: CancellationToken) {
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!(error = %e, "a connection keeps its delay");
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let (api, routes) = (api.clone(), routes.clone());
        async move { Ok::<_, Infallible>(answer(api, routes, request.map(Body::new)).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection ended early");
    }
}

async fn answer(api: Api, routes: axum::Router, request: Request<Body>) -> Response<Body> {
    if !is_model_call(request.uri().path()) {
        return match routes.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
    }
    let who = match layers::token_name(&api, request.headers()).await {
        Some(name) => Who::Token(name),
        None => Who::Headers,
    };
    (api.services.gateway.call)(who, request).await
}
