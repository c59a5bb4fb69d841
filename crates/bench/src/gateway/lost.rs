//! What a gateway that is killed has lost: calls that the provider saw or the caller has the answer of, and the record
//! has not.

use super::{
    drive::{Ask, connect},
    mock::{Mock, marker},
    place::{self, Core},
    subject::{Home, Subject},
};
use crate::load::on_thread;
use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::BodyExt;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Connections of the load.
const CONNECTIONS: u64 = 32;

/// One kill.
#[derive(Debug, Default)]
pub(crate) struct Kill {
    /// Calls whose whole answer the caller has.
    pub(crate) answered: usize,
    /// Of those, calls without an ended record; and calls that arrived without any record.
    pub(crate) lost: usize,
}

/// Calls at a rate until the gateway is killed after `after`; then the record is read by a new one.
pub(crate) async fn kill(home: &Home, mock: &Mock, rate: u32, after: Duration) -> Result<Kill> {
    let subject = home.start()?;
    mock.take_markers();
    let ask = Ask::chat(subject.address, &subject.key, "up/mock", false);
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let load = on_thread("load", move || async move {
        place::settle(Core::Rest);
        calls(ask, rate, told).await
    })?;
    tokio::time::sleep(after).await;
    subject.kill()?;
    stop.store(true, Ordering::SeqCst);
    let joined = tokio::task::spawn_blocking(move || load.join()).await?;
    let answered = joined.map_err(|_| anyhow::anyhow!("the load generator panicked"))??;
    let arrived = mock.take_markers();
    let states = states(home)?;
    let ended = |m: &u64| states.get(m).is_some_and(|s| s == "ended");
    let lost: HashSet<u64> = answered
        .iter()
        .filter(|m| !ended(m))
        .chain(arrived.iter().filter(|m| !states.contains_key(m)))
        .copied()
        .collect();
    Ok(Kill { answered: answered.len(), lost: lost.len() })
}

/// The state of each marked call, told by a new process.
fn states(home: &Home) -> Result<HashMap<u64, String>> {
    let reader: Subject = home.start()?;
    let lines = home.run(&["llm", "export", "--since", "1h"])?;
    drop(reader);
    let mut states = HashMap::new();
    for line in lines.split(|b| *b == b'\n') {
        let Some(marker) = marker(line) else { continue };
        let call: serde_json::Value = serde_json::from_slice(line).context("a line of the export is no JSON")?;
        let state = call["state"].as_str().or(call["call"]["state"].as_str()).unwrap_or_default();
        states.insert(marker, state.to_owned());
    }
    Ok(states)
}

/// Calls at a rate over some connections; the markers of those that were answered in full.
async fn calls(ask: Ask, rate: u32, stop: Arc<AtomicBool>) -> Result<HashSet<u64>> {
    static MARKER: AtomicU64 = AtomicU64::new(1);
    let each = Duration::from_secs(1) * CONNECTIONS as u32 / rate;
    let mut workers = JoinSet::new();
    let begun = Instant::now();
    for worker in 0..CONNECTIONS {
        let (ask, stop) = (ask.clone(), Arc::clone(&stop));
        workers.spawn(async move {
            let mut answered = HashSet::new();
            let Ok(mut connection) = connect(ask.address).await else { return answered };
            for n in 0u32.. {
                let due = begun + each * n + each * worker as u32 / CONNECTIONS as u32;
                tokio::time::sleep_until(due.into()).await;
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let marker = MARKER.fetch_add(1, Ordering::Relaxed);
                match one(&mut connection, &ask, marker).await {
                    Ok(true) => drop(answered.insert(marker)),
                    Ok(false) => {}
                    // The gateway is gone.
                    Err(_) => break,
                }
            }
            answered
        });
    }
    Ok(workers.join_all().await.into_iter().flatten().collect())
}

async fn one(connection: &mut super::drive::Connection, ask: &Ask, marker: u64) -> Result<bool> {
    connection.ready().await?;
    let text = std::str::from_utf8(&ask.body)?.replacen("Read sales", &format!("marker-{marker} Read sales"), 1);
    let response = connection.send_request(ask.request_of(Bytes::from(text))?).await?;
    let success = response.status().is_success();
    let body = response.into_body().collect().await?.to_bytes();
    Ok(success && body.ends_with(b"}"))
}
