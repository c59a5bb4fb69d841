//! The floor: a proxy that does nothing but pass bytes on, with the same HTTP library and one pooled client.

use anyhow::{Context, Result};
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    header::{HOST, HeaderValue},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use std::net::SocketAddr;
use tokio::{net::TcpListener, task::JoinSet};

/// The argument that makes this program a proxy: `UPSTREAM LISTEN`.
pub(crate) const CHILD: &str = "--proxy";

/// Serves until the process ends.
pub(crate) async fn child(arguments: &[String]) -> Result<()> {
    let [upstream, listen] = arguments else { anyhow::bail!("usage: {CHILD} UPSTREAM LISTEN") };
    let upstream: SocketAddr = upstream.parse().context("the upstream is no address")?;
    let listener = TcpListener::bind(listen).await?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| pass(client.clone(), request, upstream));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(
    client: Client<HttpConnector, Incoming>,
    mut request: Request<Incoming>,
    upstream: SocketAddr,
) -> Result<Response<Incoming>> {
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    *request.uri_mut() = format!("http://{upstream}{path}").parse::<Uri>()?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(&upstream.to_string())?);
    Ok(client.request(request).await?)
}
