//! How many calls can be recorded: run by hand, on one core, in a release build.
//!
//! `taskset -c 1 cargo test --release -p store --test it speed -- --ignored --nocapture`

use crate::calls::{attempt, end, new_call};
use bytes::Bytes;
use std::time::Instant;
use store::{CallFilter, Caller, Durability, Store};

const CALLS: u32 = 100_000;

fn cpu_us() -> u64 {
    let used = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<u64> =
        used.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2).map(|f| f.parse().unwrap()).collect();
    // In hundredths of a second.
    (fields[0] + fields[1]) * 10_000
}

fn rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

/// What a record takes at a fixed rate, while the writer folds on the same core.
#[test]
#[ignore = "a measurement"]
fn speed_at_a_fixed_rate() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let dir = tempfile::TempDir::new().unwrap();
    let store = runtime.block_on(Store::open(dir.path())).unwrap();
    let caller = Caller::Token { name: "t".into() };
    let body = Bytes::from(vec![b'x'; 500]);
    for per_second in [1000, 4000] {
        let gap = std::time::Duration::from_secs(1) / per_second;
        let (begun, mut took) = (Instant::now(), Vec::new());
        for n in 0..per_second * 5 {
            let due = begun + gap * n;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let (recorder, caller, body) = (store.recorder(Durability::Process), caller.clone(), body.clone());
            let started = Instant::now();
            handle.block_on(async move {
                let mut new = new_call(b"");
                new.request = body.clone();
                let call = recorder.begin(caller, new, attempt("one", None)).await.unwrap();
                recorder.end(&call, end(body)).await.unwrap();
            });
            took.push(started.elapsed().as_nanos() as u64 / 100);
        }
        took.sort_unstable();
        let at = |part: f64| took[(took.len() as f64 * part) as usize] as f64 / 10.0;
        println!("{per_second}/s: begin and end p50 {} us, p99 {} us, p99.9 {} us", at(0.5), at(0.99), at(0.999));
    }
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let workers: u32 = std::env::var("WORKERS").map_or(64, |w| w.parse().unwrap());
        let dir = tempfile::TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let body = Bytes::from(vec![b'x'; 500]);
        for round in 0..3 {
            let (begun, cpu) = (Instant::now(), cpu_us());
            let mut tasks = tokio::task::JoinSet::new();
            for n in 0..workers {
                let (store, body) = (store.clone(), body.clone());
                tasks.spawn(async move {
                    let recorder = store.recorder(Durability::Process);
                    let caller = Caller::Token { name: format!("t{}", n % 4) };
                    for _ in 0..CALLS / workers {
                        let mut new = new_call(b"");
                        new.request = body.clone();
                        let call = recorder.begin(caller.clone(), new, attempt("one", None)).await.unwrap();
                        tokio::task::yield_now().await;
                        recorder.end(&call, end(body.clone())).await.unwrap();
                    }
                });
            }
            tasks.join_all().await;
            let acknowledged = begun.elapsed();
            let count = store.call_count(&CallFilter::default()).await.unwrap();
            let (all, cpu) = (begun.elapsed(), cpu_us() - cpu);
            println!(
                "round {round}: {count} calls; {:.0}/s acknowledged, {:.0}/s folded, {:.1} us CPU per call, RSS {} MiB",
                f64::from(CALLS) / acknowledged.as_secs_f64(),
                f64::from(CALLS) / all.as_secs_f64(),
                cpu as f64 / f64::from(CALLS),
                rss_mib()
            );
        }
    });
}
