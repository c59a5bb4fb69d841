//! A package index with one package that resolves and cannot be installed: its file is no wheel, whatever its hash says.

use anyhow::Result;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The package's name.
pub const BROKEN: &str = "taskforge-broken";
const FILE: &str = "taskforge_broken-1.0-py3-none-any.whl";
const METADATA: &str = "Metadata-Version: 2.1\nName: taskforge-broken\nVersion: 1.0\nLicense: MIT\n";

/// A served index; it ends with its owner.
pub struct Registry {
    /// The address for `TASKFORGE_PYPI_URL`.
    pub url: String,
    serving: JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Registry {
    /// Serves it on a free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/simple", listener.local_addr()?);
        let wheel = "this is no wheel\n".repeat(64);
        let hash = hex::encode(Sha256::digest(&wheel));
        let index = format!(
            "<!DOCTYPE html><html><body><a href=\"../../files/{FILE}#sha256={hash}\" data-core-metadata=\"true\">{FILE}</a></body></html>"
        );
        let pages = Arc::new(BTreeMap::from([
            (format!("/simple/{BROKEN}/"), ("text/html", index)),
            (format!("/files/{FILE}"), ("application/octet-stream", wheel)),
            (format!("/files/{FILE}.metadata"), ("text/plain", METADATA.to_owned())),
        ]));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&pages)));
            }
        });
        Ok(Self { url, serving })
    }
}

/// Answers one request and closes the connection.
async fn answer(stream: TcpStream, pages: Arc<BTreeMap<String, (&'static str, String)>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let head_only = line.starts_with("HEAD");
    while line.trim() != "" {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
    }
    let missing = ("text/plain", "there is no such package\n".to_owned());
    let (status, (kind, body)) = pages.get(&path).map_or(("404 Not Found", &missing), |p| ("200 OK", p));
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    if !head_only {
        stream.write_all(body.as_bytes()).await.ok()?;
    }
    stream.flush().await.ok()
}
