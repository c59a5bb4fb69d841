//! A data directory on which nothing runs, served for one command: the same API on a free port of this machine, for as
//! long as the command takes. So a command does the same with a running server and without.

use super::{Core, core, lock, make_private, standalone};
use crate::config::{GatewayConfig, Sources};
use anyhow::{Context, Result};
use std::{net::SocketAddr, path::Path};
use store::Store;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// A data directory that is served.
pub(crate) struct Local {
    /// Where.
    pub(crate) address: SocketAddr,
    store: Store,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    lock: lock::Lock,
}

/// Serves a data directory, which is made where it is missing.
pub(crate) async fn open(dir: &Path) -> Result<Local> {
    make_private(dir)?;
    let lock = lock::take(dir, lock::Role::Command).await?;
    let store = core::open_store(dir).await?;
    api::first_token(&store, &dir.join("token")).await.context("the first token could not be made")?;
    let file = std::env::var_os("TASKFORGE_CONFIG").filter(|f| !f.is_empty()).map(Into::into);
    let settings = GatewayConfig::read(Sources { file, environment: true })?;
    let core = Core::open(store.clone(), dir, settings.clone(), None).await?;
    let stop = CancellationToken::new();
    let app = standalone::app(&core, &settings, stop.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(api::serve(listener, app, stop.clone()));
    Ok(Local { address, store, stop, serving, lock })
}

impl Local {
    /// Ends it; what the command recorded is sealed.
    pub(crate) async fn end(self) -> Result<()> {
        self.stop.cancel();
        self.serving.await.context("the API failed")??;
        self.store.seal().await.context("the log could not be sealed; it will be at the next start")?;
        self.store.close().await;
        drop(self.lock);
        Ok(())
    }
}
