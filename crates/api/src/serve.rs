//! The listening side.

use crate::{Api, router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves the API until `stop`; open requests are finished first.
pub async fn serve(listener: TcpListener, api: Api, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router(api)).with_graceful_shutdown(async move { stop.cancelled().await }).await
}
