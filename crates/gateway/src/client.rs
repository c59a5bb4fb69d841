//! HTTP clients to providers: HTTP/1.1 over TCP or TLS with the host's roots. They follow no redirect.
//!
//! Each provider has a pool of its own, so that a provider that is replaced takes its connections with it.

use crate::{GatewayError, providers::address};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client as Pooled,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// Idle connections kept per provider.
const MAX_IDLE_PER_HOST: usize = 512;
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The name that containers use for their host; on the host itself it is loopback.
const HOST_ALIAS: &str = "host.docker.internal";

/// Why a provider gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No connection within the time for it.
    #[error("no connection within {0:?} (connect timeout)")]
    ConnectTimeout(Duration),
    /// No connection.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke before an answer.
    #[error("the connection broke before an answer: {0}")]
    Broken(String),
}

/// Makes clients that share the host's roots.
pub(crate) struct Connector {
    tls: rustls::ClientConfig,
    connect_timeout: Duration,
}

impl Connector {
    pub(crate) fn new(connect_timeout: Duration) -> Result<Self, GatewayError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let failed = |e: &dyn std::error::Error| GatewayError::Tls(e.to_string());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(&e))?
            .with_native_roots()
            .map_err(|e| failed(&e))?
            .with_no_client_auth();
        Ok(Self { tls, connect_timeout })
    }

    /// A client with a pool of its own.
    pub(crate) fn client(&self, connect_timeout: Option<Duration>, allow_link_local: bool) -> Client {
        let connect_timeout = connect_timeout.unwrap_or(self.connect_timeout);
        let mut tcp = HttpConnector::new_with_resolver(Resolver { allow_link_local });
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = Pooled::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
            .build(https);
        Client { http, connect_timeout }
    }
}

/// The client of one provider. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    http: Pooled<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    connect_timeout: Duration,
}

impl Client {
    /// Sends a request and returns once the head of the answer is there.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError> {
        self.http.request(request).await.map_err(|e| {
            let cause = root_cause(&e);
            if !e.is_connect() {
                SendError::Broken(cause)
            } else if is_timeout(&e) {
                SendError::ConnectTimeout(self.connect_timeout)
            } else {
                SendError::Connect(cause)
            }
        })
    }
}

fn chain<'a>(e: &'a (dyn std::error::Error + 'static)) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(e), |e| e.source())
}

fn root_cause(e: &(dyn std::error::Error + 'static)) -> String {
    chain(e).last().map(ToString::to_string).unwrap_or_default()
}

fn is_timeout(e: &(dyn std::error::Error + 'static)) -> bool {
    chain(e).any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut))
}

/// The system's resolver, without addresses at which no provider may be; and loopback for [`HOST_ALIAS`] where that
/// does not resolve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolver {
    allow_link_local: bool,
}

impl tower::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allow_link_local = self.allow_link_local;
        Box::pin(async move {
            let found: Vec<_> = match tokio::net::lookup_host((name.as_str(), 0)).await {
                Ok(found) => found.collect(),
                Err(_) if name.as_str() == HOST_ALIAS => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
                Err(e) => return Err(e),
            };
            // Checked at the moment of connecting: what the name meant when it was configured says nothing.
            let allowed: Vec<_> =
                found.into_iter().filter(|a| allow_link_local || !address::is_forbidden(a.ip())).collect();
            if allowed.is_empty() {
                let message = "its name leads to a link-local or metadata address, which is not allowed";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
            }
            Ok(allowed.into_iter())
        })
    }
}
