//! Collecting through the Engine's archive API, where the volume's folder cannot be read.
//!
//! The Engine makes the archive of a container that was never started; the stream is read in order and cannot seek, so
//! that what is skipped still passes by: [`STREAM_SLACK`] bounds how much.

use super::{
    Bounds, Collected, Entry, EntryKind, Keep, shown,
    walk::{Taken, take},
};
use crate::{
    docker::{Docker, SLOW_CALL_TIMEOUT},
    error::Error,
    spec::WORKSPACE,
};
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures::TryStreamExt;
use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
};
use tokio_util::io::{StreamReader, SyncIoBridge};

/// Bytes beyond the total bound that may pass by before the rest is given up.
const STREAM_SLACK: u64 = 1 << 30;
/// Bytes read at once.
const CHUNK: usize = 256 << 10;

pub(super) async fn collect(docker: &Docker, id: String, bounds: Bounds, keep: Keep) -> Result<Collected, Error> {
    let client = docker.client().await?;
    let options = DownloadFromContainerOptionsBuilder::default().path(WORKSPACE).build();
    let stream = Box::pin(client.download_from_container(&id, Some(options)).map_err(io::Error::other));
    let reader = SyncIoBridge::new(StreamReader::new(stream));
    let work = tokio::task::spawn_blocking(move || read(reader, bounds, &keep));
    match tokio::time::timeout(SLOW_CALL_TIMEOUT, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(Error::Protocol { op: "collect files", cause: error.to_string() }),
        Err(_) => Err(Error::timeout("collect files", SLOW_CALL_TIMEOUT)),
    }
}

fn read(reader: impl Read, bounds: Bounds, keep: &Keep) -> Result<Collected, Error> {
    let fail = |e: io::Error| Error::io("cannot read the archive of the workspace", e);
    let mut archive = tar::Archive::new(reader.take(bounds.total_bytes.saturating_add(STREAM_SLACK)));
    let mut found = Collected::default();
    let mut hashes: BTreeMap<Vec<u8>, (u64, Option<String>)> = BTreeMap::new();
    let mut buffer = vec![0; CHUNK];
    for item in archive.entries().map_err(fail)? {
        let mut item = match item {
            Ok(item) => item,
            Err(error) => {
                found.incomplete = Some(format!("the archive could not be read to its end: {error}"));
                break;
            }
        };
        if found.entries.len() >= bounds.entries {
            found.incomplete = Some(format!("more than {} entries", bounds.entries));
            break;
        }
        let raw = below_root(&item.path_bytes());
        let Some(raw) = raw else { continue };
        let mut entry = entry_of(&item, &raw);
        let depth = raw.iter().filter(|b| **b == b'/').count();
        if raw.len() > bounds.path_bytes || depth > bounds.depth {
            entry.skipped = Some("path too long or too deep".to_owned());
            entry.path = entry.path.chars().take(bounds.path_bytes).collect();
            entry.plain = false;
        } else if item.header().entry_type() == tar::EntryType::Link {
            let target = item.link_name_bytes().and_then(|n| below_root(&n));
            match target.and_then(|t| hashes.get(&t).cloned()) {
                Some((size, sha256)) => (entry.size, entry.sha256) = (size, sha256),
                None => entry.skipped = Some("a further name of a file that was not read".to_owned()),
            }
        } else if entry.kind == EntryKind::File && *keep != Keep::List {
            if entry.size > bounds.file_bytes {
                entry.skipped = Some(format!("larger than {} bytes", bounds.file_bytes));
            } else {
                let left = bounds.total_bytes.saturating_sub(found.bytes);
                match take(&mut item, &bounds, left, keep, &mut buffer)? {
                    Taken::Whole { size, sha256 } if size == entry.size => {
                        found.bytes += size;
                        entry.sha256 = Some(sha256);
                    }
                    Taken::Whole { .. } => entry.skipped = Some("the archive ended in it".to_owned()),
                    Taken::Skipped(why) => entry.skipped = Some(why),
                }
            }
        }
        if entry.kind == EntryKind::File {
            hashes.insert(raw, (entry.size, entry.sha256.clone()));
        }
        found.entries.push(entry);
    }
    found.entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn entry_of(item: &tar::Entry<'_, impl Read>, raw: &[u8]) -> Entry {
    let header = item.header();
    let kind = match header.entry_type() {
        tar::EntryType::Directory => EntryKind::Dir,
        tar::EntryType::Symlink => EntryKind::Symlink,
        tar::EntryType::Fifo => EntryKind::Fifo,
        tar::EntryType::Char | tar::EntryType::Block => EntryKind::Device,
        _ => EntryKind::File,
    };
    let (path, plain) = shown(raw);
    Entry {
        path,
        plain,
        kind,
        size: if kind == EntryKind::File { item.size() } else { 0 },
        mode: header.mode().unwrap_or(0) & 0o7777,
        mtime_s: header.mtime().ok().and_then(|t| i64::try_from(t).ok()).unwrap_or(0),
        sha256: None,
        skipped: None,
    }
}

/// The path below the archive's one root folder; nothing for the root itself.
fn below_root(path: &[u8]) -> Option<Vec<u8>> {
    let root = Path::new(WORKSPACE).file_name()?.as_encoded_bytes();
    let below = path.strip_prefix(root)?.strip_prefix(b"/")?;
    let below = below.strip_suffix(b"/").unwrap_or(below);
    (!below.is_empty()).then(|| below.to_vec())
}
