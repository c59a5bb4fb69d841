//! A package index with one package that resolves and cannot be installed: its wheel has the promised hash and readable
//! metadata, but a module whose checksum is wrong.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    io::{Cursor, Write},
    sync::Arc,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// The package's name.
pub const BROKEN: &str = "taskforge-broken";
const FILE: &str = "taskforge_broken-1.0-py3-none-any.whl";
const METADATA: &str = "Metadata-Version: 2.1\nName: taskforge-broken\nVersion: 1.0\nLicense: MIT\n";

/// The module's content; one byte of it is changed after its checksum was taken.
const MODULE: &str = "value = 'sound'\n";

/// A page's content type and bytes.
type Page = (&'static str, Vec<u8>);

fn wheel() -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let info = "taskforge_broken-1.0.dist-info";
    let files = [
        ("taskforge_broken.py".to_owned(), MODULE.to_owned()),
        (format!("{info}/METADATA"), METADATA.to_owned()),
        (format!("{info}/WHEEL"), "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned()),
        (
            format!("{info}/RECORD"),
            format!("taskforge_broken.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"),
        ),
    ];
    for (name, content) in files {
        zip.start_file(name, stored)?;
        zip.write_all(content.as_bytes())?;
    }
    let mut bytes = zip.finish()?.into_inner();
    let at =
        bytes.windows(MODULE.len()).position(|w| w == MODULE.as_bytes()).context("the module is not in the wheel")?;
    bytes[at] ^= 1;
    Ok(bytes)
}

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
        let wheel = wheel()?;
        let hash = hex::encode(Sha256::digest(&wheel));
        let index = format!(
            "<!DOCTYPE html><html><body><a href=\"../../files/{FILE}#sha256={hash}\" data-core-metadata=\"true\">{FILE}</a></body></html>"
        );
        let pages = Arc::new(BTreeMap::from([
            (format!("/simple/{BROKEN}/"), ("text/html", index.into_bytes())),
            (format!("/files/{FILE}"), ("application/octet-stream", wheel)),
            (format!("/files/{FILE}.metadata"), ("text/plain", METADATA.as_bytes().to_vec())),
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
async fn answer(stream: TcpStream, pages: Arc<BTreeMap<String, Page>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let head_only = line.starts_with("HEAD");
    while line.trim() != "" {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
    }
    let missing = ("text/plain", b"there is no such package\n".to_vec());
    let (status, (kind, body)) = pages.get(&path).map_or(("404 Not Found", &missing), |p| ("200 OK", p));
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    if !head_only {
        stream.write_all(body).await.ok()?;
    }
    stream.flush().await.ok()
}
