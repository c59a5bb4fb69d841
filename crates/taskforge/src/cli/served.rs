//! A client for commands that work with a running server and without: where none runs on the data directory, the
//! directory is served for as long as the command takes, under its lock.

use super::{Context, Failure, Outcome, running};
use crate::{
    client::Client,
    server::{
        local::Local,
        lock::{Held, PATIENCE, PAUSE},
    },
};
use std::{path::Path, time::Instant};

/// Whether a data directory may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The command starts one.
    Make,
    /// There is nothing to look at.
    Refuse,
}

/// A client, and what has to end after it.
pub(super) struct Served {
    pub(super) client: Client,
    local: Option<Local>,
}

impl Served {
    /// Ends the service of a data directory and seals what the command recorded.
    pub(super) async fn end(self) -> Outcome<()> {
        let Self { client, local } = self;
        // Its kept connections would hold up the end.
        drop(client);
        match local {
            Some(local) => local.end().await.map_err(Failure::from),
            None => Ok(()),
        }
    }
}

impl Context {
    /// A client of the server that is named or runs, or of the data directory itself.
    pub(super) async fn served(&self, missing: Missing) -> Outcome<Served> {
        let dir = self.global.data_dir();
        let began = Instant::now();
        loop {
            let there = dir.join("state.db").exists();
            let running = self.global.server.is_some() || running::server(&dir).await?.is_some();
            if running || (!there && missing == Missing::Refuse) {
                return Ok(Served { client: self.client().await?, local: None });
            }
            match self.open(&dir).await {
                Ok(local) => {
                    let global =
                        super::Global { server: Some(format!("http://{}", local.address)), ..self.global.clone() };
                    return Ok(Served { client: Client::find(&global)?, local: Some(local) });
                }
                // A server took it since.
                Err(e) if e.is::<Held>() && began.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
                Err(e) => return Err(e.into()),
            }
        }
    }

    async fn open(&self, dir: &Path) -> anyhow::Result<Local> {
        (self.hooks.local)(dir.to_owned()).await
    }
}
