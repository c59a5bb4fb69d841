//! What a build of ours leaves in the Engine's build cache, forgotten again.
//!
//! BuildKit keeps each uploaded context, the files unpacked from it, and what each step made. Of a task's build that is
//! package files, once more. The cache belongs to everybody who builds on this Engine, and its records carry no label, so
//! only those go that are known to be ours:
//! - a step whose command names the hash of our set of files;
//! - a context, and the files unpacked from it, that came up during the build and are of exactly the size of ours.
//!
//! Whatever is in use stays, by the Engine's own rule. That the cache could not be tidied never fails a build.

use crate::{
    Images,
    engine::{self, Part},
    error::ImageError,
};
use sandbox::{Docker, docker::CALL_TIMEOUT};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The file whose hash stands in the commands of a build.
const SUMS: &str = "SHA256SUMS";
/// How the Engine describes a context that was uploaded to it.
const UPLOADED: &str = "http url http://build-context-";
/// How it describes files that were unpacked from one.
const UNPACKED: &str = "fileop target";
/// Rounds of removing: a record that another one stands on goes after it.
const ROUNDS: usize = 2;

/// What of a build can be known again in the cache.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traces {
    /// Records that were there before.
    before: BTreeSet<String>,
    /// What a step of ours has in its command.
    step: String,
    /// Bytes of the files in the context.
    content_bytes: u64,
    /// Bytes that were uploaded.
    pub(crate) uploaded: Arc<AtomicU64>,
}

/// A record of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    id: String,
    description: String,
    size: u64,
    stands_on_another: bool,
}

impl Traces {
    fn is_ours(&self, record: &Record) -> bool {
        if record.description.contains(&self.step) {
            return true;
        }
        let uploaded = self.uploaded.load(Ordering::Relaxed);
        let is_context = record.description.starts_with(UPLOADED) && record.size == uploaded;
        let is_content =
            record.description.trim_end() == UNPACKED && !record.stands_on_another && record.size == self.content_bytes;
        !self.before.contains(&record.id) && (is_context || is_content)
    }
}

impl Images {
    /// Looks at the cache before a build of `parts`; none: it could not be looked at, and nothing will be removed.
    pub(crate) async fn traces(&self, parts: &[Part]) -> Option<Traces> {
        let docker = &self.shared.docker;
        let made = async {
            let content_bytes = content_bytes(parts).await.map_err(|e| ImageError::io("a package file is gone", e))?;
            let step = step(parts).ok_or_else(|| ImageError::protocol("a build without a list of its files"))?;
            let before = records(docker).await?.into_iter().map(|r| r.id).collect();
            Ok::<_, ImageError>(Traces { before, step, content_bytes, uploaded: Arc::default() })
        };
        made.await.inspect_err(|e| tracing::warn!(error = %e, "the build cache cannot be looked at")).ok()
    }

    /// Removes what a build left.
    pub(crate) async fn forget(&self, traces: Option<Traces>) {
        let Some(traces) = traces else { return };
        for _ in 0..ROUNDS {
            match forget_once(&self.shared.docker, &traces).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) => {
                    tracing::warn!(error = %e, "package files stay in docker's build cache: `docker builder prune`");
                    return;
                }
            }
        }
    }
}

async fn forget_once(docker: &Docker, traces: &Traces) -> Result<usize, ImageError> {
    let ours: Vec<Record> = records(docker).await?.into_iter().filter(|r| traces.is_ours(r)).collect();
    for record in &ours {
        let filters = json!({"id": [record.id]}).to_string();
        let query = format!("/build/prune?all=true&filters={}", engine::encode(&filters));
        let pruned = engine::post_stream(docker, &query, engine::no_body(), |_| {});
        tokio::time::timeout(CALL_TIMEOUT, pruned).await.map_err(|_| late())??;
    }
    Ok(ours.len())
}

async fn records(docker: &Docker) -> Result<Vec<Record>, ImageError> {
    let mut all = Vec::new();
    let asked = engine::get_stream(docker, "/system/df?type=build-cache", |answer| all.extend(read(&answer)));
    tokio::time::timeout(CALL_TIMEOUT, asked).await.map_err(|_| late())??;
    Ok(all)
}

fn late() -> ImageError {
    ImageError::protocol("docker did not answer about its build cache in time")
}

/// The records in the Engine's answer; newer Engines put them one level deeper.
fn read(answer: &Value) -> Vec<Record> {
    let list = answer.get("BuildCache").or_else(|| answer.pointer("/BuildCacheUsage/Items"));
    let record = |r: &Value| {
        let parents = r["Parents"].as_array().is_some_and(|p| !p.is_empty());
        Some(Record {
            id: r["ID"].as_str()?.to_owned(),
            description: r["Description"].as_str()?.to_owned(),
            size: r["Size"].as_u64()?,
            stands_on_another: parents || r["Parent"].as_str().is_some_and(|p| !p.is_empty()),
        })
    };
    list.and_then(Value::as_array).into_iter().flatten().filter_map(record).collect()
}

/// What the commands of a build say of its set: see [`crate::dockerfile`].
fn step(parts: &[Part]) -> Option<String> {
    let sums = parts.iter().find_map(|part| match part {
        Part::Bytes { path, bytes, .. } if path.ends_with(SUMS) => Some(bytes),
        Part::Bytes { .. } | Part::File { .. } => None,
    })?;
    Some(format!("'{}  {SUMS}'", hex::encode(Sha256::digest(sums))))
}

async fn content_bytes(parts: &[Part]) -> io::Result<u64> {
    let mut total = 0;
    for part in parts {
        total += match part {
            Part::Bytes { bytes, .. } => bytes.len() as u64,
            Part::File { source, .. } => tokio::fs::metadata(source).await?.len(),
        };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(path: &str, bytes: &[u8]) -> Part {
        Part::Bytes { path: path.into(), bytes: bytes.to_vec(), executable: false }
    }

    #[test]
    fn only_what_is_ours_goes() {
        let parts = [bytes("Dockerfile", b"FROM x"), bytes("pkgs/SHA256SUMS", b"")];
        let step = step(&parts).unwrap();
        assert_eq!(step, "'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  SHA256SUMS'");
        let before = BTreeSet::from(["old".to_owned()]);
        let traces = Traces { before, step: step.clone(), content_bytes: 600, uploaded: Arc::new(2048.into()) };
        let record = |id: &str, description: &str, size| Record {
            id: id.into(),
            description: description.into(),
            size,
            stands_on_another: false,
        };
        let exec = format!("mount / from exec /bin/sh -c cd /mnt && echo {step} | sha256sum -c");
        assert!(traces.is_ours(&record("a", &exec, 1)), "a step of this set");
        assert!(traces.is_ours(&record("old", &exec, 1)), "also of an earlier build of it");
        assert!(traces.is_ours(&record("b", "http url http://build-context-xyz", 2048)));
        assert!(traces.is_ours(&record("c", "fileop target ", 600)));
        assert!(!traces.is_ours(&record("old", "http url http://build-context-xyz", 2048)), "it was there before");
        assert!(!traces.is_ours(&record("b", "http url http://build-context-xyz", 2560)), "another size");
        assert!(!traces.is_ours(&record("c", "fileop target", 601)));
        assert!(!traces.is_ours(&Record { stands_on_another: true, ..record("c", "fileop target", 600) }));
        assert!(!traces.is_ours(&record("d", "mount / from exec /bin/sh -c make", 600)), "somebody else's step");
    }

    #[test]
    fn the_answers_of_old_and_new_engines_are_read() {
        let record = json!({"ID": "a", "Description": "fileop target", "Size": 3, "Parent": "b"});
        for answer in [json!({"BuildCache": [record]}), json!({"BuildCacheUsage": {"Items": [record]}})] {
            let all = read(&answer);
            assert_eq!((all.len(), all[0].size, all[0].stands_on_another), (1, 3, true));
        }
        assert!(read(&json!({"message": "no"})).is_empty());
    }
}
