//! What a sandbox's socket of the gateway adds to a model call: each call is recorded before it leaves and before its answer ends.
//!
//! The same load goes to the upstream itself and through the gateway, in turns. The store seals its log meanwhile as the
//! server does.

use crate::{
    load::{Outcome, Plan, Target, run},
    place::Place,
    report::Record,
    stats::Sample,
    upstream::{MODEL, Upstream},
};
use anyhow::Result;
use bytes::Bytes;
use gateway::{Config, Gateway, ProviderConfig, ProviderKind, Registry, Secret};
use serde_json::json;
use std::{path::PathBuf, time::Duration};
use store::Durability;

/// Rounds of each comparison.
const ROUNDS: usize = 3;
/// How long each measurement lasts.
const WINDOW: Duration = Duration::from_millis(2500);
/// How long the first calls are not counted.
const WARM_UP: Duration = Duration::from_millis(500);
/// Whole answers a second in the open loop.
const RATE: u32 = 100;
/// Streamed answers a second in the open loop.
const STREAM_RATE: u32 = 50;
/// What the gateway may add to the median.
const GOAL_MS: f64 = 0.5;

struct World {
    place: Place,
    gateway: Gateway,
    socket: PathBuf,
}

impl World {
    async fn new(level: Durability, upstream: &Upstream) -> Result<Self> {
        let place = Place::new().await?;
        let mut config = Config::new(place.dir.path().join("run"));
        config.call_durability = level;
        let url = format!("http://{}/v1", upstream.address);
        let to = ProviderConfig::new("up", ProviderKind::OpenaiCompatible, url).key(Secret::new("sk-bench-7f3a9b2c51"));
        let registry = Registry::new(vec![to], Vec::new(), &config)?;
        let gateway = Gateway::new(config, place.store.clone(), registry);
        let (task, _) = place.running_task(&format!("up/{MODEL}")).await?;
        let socket = gateway.open(task).await?.path;
        Ok(Self { place, gateway, socket })
    }
}

/// One kind of load at the upstream itself and through the gateway.
#[derive(Default)]
struct Pair {
    direct: Figures,
    through: Figures,
}

#[derive(Default)]
struct Figures {
    p50: Sample,
    p99: Sample,
    first_byte: Sample,
    rps: Sample,
}

impl Figures {
    fn take(&mut self, o: &Outcome) {
        self.p50.push(o.total.median());
        self.p99.push(o.total.quantile(0.99));
        self.first_byte.push(o.first_byte.median());
        self.rps.push(o.rps);
    }
}

/// All levels and numbers of connections.
pub(crate) async fn bench() -> Result<Vec<Record>> {
    let upstream = Upstream::start()?;
    let mut rows = Vec::new();
    for (name, level) in [("process", Durability::Process), ("power", Durability::Power)] {
        for connections in [16, 256] {
            rows.extend(compare(&upstream, name, level, connections).await?);
        }
    }
    Ok(rows)
}

async fn compare(upstream: &Upstream, name: &str, level: Durability, connections: usize) -> Result<Vec<Record>> {
    let world = World::new(level, upstream).await?;
    let (direct, through) = (Target::Tcp(upstream.address), Target::Unix(world.socket.clone()));
    let plan = |stream, rate| Plan { body: body(stream), connections, rate, window: WINDOW };
    let plans = [plan(false, Some(RATE)), plan(true, Some(STREAM_RATE)), plan(false, None)];
    let mut pairs: [Pair; 3] = Default::default();
    for target in [&direct, &through] {
        run(target.clone(), Plan { window: WARM_UP, ..plan(false, Some(RATE)) }).await?;
    }
    for _ in 0..ROUNDS {
        for (plan, pair) in plans.iter().zip(&mut pairs) {
            pair.direct.take(&run(direct.clone(), plan.clone()).await?);
            pair.through.take(&run(through.clone(), plan.clone()).await?);
        }
    }
    world.gateway.shutdown().await;
    drop(world.place);
    let [whole, streamed, closed] = pairs;
    let row = |what: &str, unit, through: &Sample, direct: &Sample| {
        Record::of(format!("socket.{name}.c{connections}.{what}"), unit, through).against(direct.median())
    };
    let p50 = row("p50", "ms", &whole.through.p50, &whole.direct.p50);
    Ok(vec![
        if level == Durability::Process { p50.at_most_more(GOAL_MS) } else { p50 },
        row("p99", "ms", &whole.through.p99, &whole.direct.p99),
        row("first_byte", "ms", &streamed.through.first_byte, &streamed.direct.first_byte),
        row("requests", "requests/s", &closed.through.rps, &closed.direct.rps),
    ])
}

/// A request of about two kilobytes.
fn body(stream: bool) -> Bytes {
    let words = "Read sales.csv, add up the amounts per region, and write the totals to report.md. ".repeat(20);
    let body = json!({"model": format!("up/{MODEL}"), "stream": stream, "stream_options": {"include_usage": true},
        "messages": [{"role": "system", "content": "You work in a sandbox."}, {"role": "user", "content": words}]});
    Bytes::from(body.to_string())
}
