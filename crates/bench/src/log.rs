//! The audit log: appending and sealing, verifying, and recording an event in the store.
//!
//! Baselines: SHA-256 of the same bytes for the maths; writing the same bytes into a plain file, with a flush where the
//! level asks for one, for the store.

use crate::{
    place::{self, Place},
    report::Record,
    stats::Sample,
};
use anyhow::{Context, Result, ensure};
use audit::{Log, LogKey, VerifyOptions};
use domain::{
    event::{Event, EventKind, LEAF_VERSION, Leaf},
    ids::OpId,
};
use futures::{FutureExt, future::try_join_all};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{fs::File, hint::black_box, os::unix::fs::FileExt, path::Path, time::Instant};
use store::{Durability, Store};

/// Rounds of each comparison.
const ROUNDS: usize = 5;
/// Leaves of a log.
const LEAVES: u64 = 50_000;
/// Leaves that are handed over at once, as the store does.
const STRIDE: usize = 4096;
/// Writes of a round by each writer, per level.
const WRITES: [(Durability, &str, usize); 2] =
    [(Durability::Process, "process", 200), (Durability::Power, "power", 60)];
/// Writers at once.
const WRITERS: [usize; 2] = [1, 64];

/// All of it.
pub(crate) async fn bench() -> Result<Vec<Record>> {
    let mut rows = tokio::task::spawn_blocking(files).await??;
    rows.extend(recording().await?);
    Ok(rows)
}

fn files() -> Result<Vec<Record>> {
    let leaves = leaves()?;
    let slices: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
    let (mut append, mut verify, mut plain) = (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..ROUNDS {
        plain.push(per_second(LEAVES, || {
            for leaf in &slices {
                black_box(Sha256::digest(black_box(leaf)));
            }
            Ok(())
        })?);
        let dir = place::folder()?;
        append.push(per_second(LEAVES, || {
            let mut log = open(dir.path())?;
            for some in slices.chunks(STRIDE) {
                log.append(some)?;
            }
            log.checkpoint(store::now())?.context("nothing was signed")?;
            Ok(())
        })?);
        let key = LogKey::from_seed(&[7; 32]).verifier("bench/log")?;
        verify.push(per_second(LEAVES, || {
            let report = audit::verify(dir.path(), &key, &VerifyOptions::default())?;
            ensure!(report.valid && report.size == LEAVES, "the log does not verify: {:?}", report.findings);
            Ok(())
        })?);
    }
    let row = |what, sample| Record::of(format!("audit.{what}"), "leaves/s", sample).against(plain.median());
    Ok(vec![row("append", &append), row("verify", &verify)])
}

fn open(dir: &Path) -> Result<Log> {
    Ok(Log::open(dir, LogKey::from_seed(&[7; 32]), "bench/log")?)
}

fn per_second(n: u64, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(n as f64 / begun.elapsed().as_secs_f64())
}

/// Leaves like those of model calls.
fn leaves() -> Result<Vec<Vec<u8>>> {
    let leaf = |index| {
        let leaf = Leaf { v: LEAF_VERSION, index, time: store::time_text(store::now()), event: event() };
        audit::canonical(&leaf).context("a leaf could not be written")
    };
    (0..LEAVES).map(leaf).collect()
}

fn event() -> Event {
    let op = store::new_id(OpId::from_uuid);
    let data = json!({"call": op.to_string(), "turn": 3, "upstream": "openai", "model": "gpt-4o", "asked_model": "openai/gpt-4o",
        "stream": true, "retry_of": null, "headers": {"accept": "application/json", "content-type": "application/json",
        "user-agent": "OpenAI/JS 6.1.0", "authorization": "sha256:0123456789abcdef"}});
    Event::begun(EventKind::LlmCall, op, data)
}

async fn recording() -> Result<Vec<Record>> {
    let bytes = leaves_bytes()?;
    let mut rows = Vec::new();
    for (level, name, writes) in WRITES {
        for writers in WRITERS {
            let place = Place::new().await?;
            let (mut recorded, mut plain) = (Sample::default(), Sample::default());
            for _ in 0..ROUNDS {
                let file = place.dir.path().join("plain");
                let bytes = bytes.clone();
                let write = move || write_plain(&file, &bytes, level, writes);
                plain.push(tokio::task::spawn_blocking(write).await??);
                recorded.push(write_events(&place.store, level, writers, writes).await?);
            }
            let row = Record::of(format!("audit.record.{name}.w{writers}"), "events/s", &recorded);
            rows.push(row.against(plain.median()));
        }
    }
    Ok(rows)
}

fn leaves_bytes() -> Result<Vec<u8>> {
    Ok(audit::canonical(&Leaf { v: LEAF_VERSION, index: 0, time: store::time_text(store::now()), event: event() })?)
}

async fn write_events(store: &Store, level: Durability, writers: usize, each: usize) -> Result<f64> {
    let begun = Instant::now();
    let writer = || async {
        for _ in 0..each {
            store.write(level, |tx| tx.leaf(event()).boxed()).await?;
        }
        anyhow::Ok(())
    };
    try_join_all((0..writers).map(|_| writer())).await?;
    Ok((writers * each) as f64 / begun.elapsed().as_secs_f64())
}

/// Writes into a file that has its size already, as a database's log has: growing it would cost each flush more.
fn write_plain(path: &Path, bytes: &[u8], level: Durability, writes: usize) -> Result<f64> {
    let file = File::options().create(true).write(true).truncate(true).open(path)?;
    file.write_all_at(&vec![0; bytes.len() * writes], 0)?;
    file.sync_all()?;
    let begun = Instant::now();
    for n in 0..writes {
        file.write_all_at(bytes, (bytes.len() * n) as u64)?;
        if level == Durability::Power {
            file.sync_data()?;
        }
    }
    Ok(writes as f64 / begun.elapsed().as_secs_f64())
}
