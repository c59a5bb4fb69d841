//! The gateway by itself, as a process on a core of its own: what it adds to a call, what it bears, what it loses.
//!
//! ```text
//! core 0: load ──► core 1: gateway (or bare proxy) ──► core 0: mock provider
//! ```
//!
//! The same load goes to the mock itself, through a proxy that only passes bytes on, through the gateway with the
//! record at `process` (bytes passed on, and translated to another format) and at `power`, in turns.

mod drive;
mod lost;
mod mock;
pub(crate) mod peer;
mod place;
pub(crate) mod proxy;
mod subject;

use crate::{report::Record, stats::Sample};
use anyhow::{Context, Result, ensure};
use drive::{Ask, Outcome, Plan, run};
use http_body_util::BodyExt;
use mock::Mock;
use place::Core;
use std::time::{Duration, Instant};
use subject::{Home, Subject};

const ROUNDS: usize = 3;
const WINDOW: Duration = Duration::from_millis(2000);
const WARM_UP: Duration = Duration::from_millis(400);
/// Kills at each rate.
const KILLS: u32 = 10;
const KILL_RATES: [u32; 2] = [300, 4000];
/// Calls of the measurement of memory: before the first look, and until the last.
const SETTLED: u64 = 20_000;
const MANY: u64 = 100_000;
/// How long a call of the measurement of memory may last at most, all calls together.
const MANY_WINDOW: Duration = Duration::from_secs(120);
/// Cancelled calls.
const ABORTS: usize = 20;
/// How long the provider's stream may outlive its client.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);
const LONG_STREAM: &str = "mock-n10000-b1000";

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Load {
    Closed(usize),
    Rate(u32),
    Streams,
    Pieces,
}

const LOADS: [Load; 6] =
    [Load::Closed(16), Load::Closed(256), Load::Rate(1000), Load::Rate(500), Load::Streams, Load::Pieces];

impl Load {
    fn model(self) -> &'static str {
        match self {
            Self::Closed(_) | Self::Rate(_) => "mock",
            Self::Streams => "mock-n50-i10",
            Self::Pieces => "mock-n200",
        }
    }

    fn plan(self, window: Duration) -> Plan {
        let (connections, rate) = match self {
            Self::Closed(n) => (n, None),
            Self::Rate(rate) => (64, Some(rate)),
            Self::Streams => (256, Some(50)),
            Self::Pieces => (4, None),
        };
        Plan { connections, rate, window, calls: None }
    }
}

/// What is called, and in which way.
struct Way {
    name: &'static str,
    /// None: the mock itself.
    subject: Option<Subject>,
    /// What stands before the model's name.
    provider: &'static str,
    figures: [Figures; LOADS.len()],
}

#[derive(Default)]
struct Figures {
    p50: Sample,
    p99: Sample,
    first_byte: Sample,
    gap: Sample,
    rate: Sample,
    pieces: Sample,
    cpu: Sample,
    memory: Sample,
}

impl Way {
    fn new(name: &'static str, subject: Option<Subject>, provider: &'static str) -> Self {
        Self { name, subject, provider, figures: Default::default() }
    }

    fn ask(&self, mock: &Mock, model: &str, stream: bool) -> Ask {
        let address = self.subject.as_ref().map_or(mock.address, |s| s.address);
        let key = self.subject.as_ref().map_or("unused", |s| &s.key);
        Ask::chat(address, key, &format!("{}{model}", self.provider), stream)
    }

    async fn measure(&mut self, mock: &Mock, place: usize, load: Load, window: Duration) -> Result<()> {
        let stream = matches!(load, Load::Streams | Load::Pieces);
        let before = self.subject.as_ref().map(Subject::cpu).transpose()?;
        let outcome = run(self.ask(mock, load.model(), stream), load.plan(window)).await;
        let outcome = outcome.with_context(|| format!("{} {load:?}", self.name))?;
        let figures = self.figures.get_mut(place).context("no such load")?;
        figures.take(&outcome);
        if let (Some(subject), Some(before)) = (&self.subject, before) {
            let used = subject.cpu()?.saturating_sub(before);
            figures.cpu.push(used.as_secs_f64() * 1e6 / outcome.answered.max(1) as f64);
            figures.memory.push(subject.memory()?.0);
        }
        Ok(())
    }
}

impl Figures {
    fn take(&mut self, o: &Outcome) {
        self.p50.push(o.total.median() * 1e3);
        self.p99.push(o.total.quantile(0.99) * 1e3);
        self.first_byte.push(o.first_byte.median());
        self.gap.push(o.gaps.quantile(0.99));
        self.rate.push(o.rate());
        self.pieces.push(o.piece_rate());
    }
}

/// All of it.
pub(crate) async fn bench() -> Result<Vec<Record>> {
    let mock = Mock::start(Core::Rest)?;
    let (process, power) = (Home::new(&mock, "process")?, Home::new(&mock, "power")?);
    let mut ways = [
        Way::new("direct", None, ""),
        Way::new("proxy", Some(Subject::proxy(&mock)?), ""),
        Way::new("process", Some(process.start()?), "up/"),
        Way::new("translated", Some(process_translated(&mock)?.start()?), "other/"),
        Way::new("power", Some(power.start()?), "up/"),
    ];
    let mut rows = vec![start_row(&ways)];
    for way in &ways {
        run(way.ask(&mock, "mock", false), Load::Closed(16).plan(WARM_UP)).await?;
    }
    for _ in 0..ROUNDS {
        for (place, load) in LOADS.into_iter().enumerate() {
            for way in &mut ways {
                way.measure(&mock, place, load, WINDOW).await?;
            }
        }
    }
    let (direct, others) = ways.split_first().context("no ways")?;
    for (place, load) in LOADS.into_iter().enumerate() {
        for way in others {
            rows.extend(compare(direct, way, place, load)?);
        }
    }
    drop(ways);
    rows.extend(memory(&mock).await?);
    rows.push(aborts(&mock).await?);
    rows.extend(kills(&mock).await?);
    Ok(rows)
}

/// A home of its own: one data directory has one gateway.
fn process_translated(mock: &Mock) -> Result<&'static Home> {
    // It lives as long as the program; its folder is removed by the script.
    Ok(Box::leak(Box::new(Home::new(mock, "process")?)))
}

fn start_row(ways: &[Way]) -> Record {
    let gateway = ways.iter().find(|w| w.name == "process").and_then(|w| w.subject.as_ref());
    let took = gateway.map_or(0.0, |s| s.started.as_secs_f64() * 1e3);
    Record::new("gateway.start", "ms", took).at_most(1000.0)
}

fn compare(direct: &Way, way: &Way, place: usize, load: Load) -> Result<Vec<Record>> {
    let (base, own) = (&direct.figures[place], &way.figures[place]);
    let goals = way.name == "process";
    let row = |what: String, unit: &str, value: &Sample, base: &Sample| {
        Record::of(format!("gateway.{}.{what}", way.name), unit, value).against(base.median())
    };
    let plain =
        |what: String, unit: &str, value: &Sample| Record::of(format!("gateway.{}.{what}", way.name), unit, value);
    Ok(match load {
        Load::Closed(n) => {
            let requests = row(format!("c{n}.requests"), "requests/s", &own.rate, &base.rate);
            let memory = plain(format!("c{n}.memory"), "MB", &own.memory);
            vec![
                if goals && n == 16 { requests.at_least(10_000.0) } else { requests },
                plain(format!("c{n}.cpu"), "us/call", &own.cpu),
                if goals { memory.at_most(150.0) } else { memory },
            ]
        }
        Load::Rate(rate) => {
            let p50 = row(format!("at{rate}.p50"), "us", &own.p50, &base.p50);
            let p99 = row(format!("at{rate}.p99"), "us", &own.p99, &base.p99);
            let aimed = goals && rate == 1000;
            vec![
                if aimed { p50.at_most_more(250.0) } else { p50 },
                if aimed { p99.at_most_more(400.0) } else { p99 },
                plain(format!("at{rate}.cpu"), "us/call", &own.cpu),
            ]
        }
        Load::Streams => {
            let first = row("stream.first_byte".to_owned(), "ms", &own.first_byte, &base.first_byte);
            let gap = row("stream.gap_p99".to_owned(), "ms", &own.gap, &base.gap);
            vec![if goals { first.at_most_more(0.4) } else { first }, if goals { gap.at_most_more(0.5) } else { gap }]
        }
        Load::Pieces => {
            let pieces = row("stream.chunks".to_owned(), "chunks/s", &own.pieces, &base.pieces);
            vec![if goals { pieces.at_least(60_000.0) } else { pieces }]
        }
    })
}

/// Memory over many calls, and over one long stream.
async fn memory(mock: &Mock) -> Result<Vec<Record>> {
    let home = Home::new(mock, "process")?;
    let subject = home.start()?;
    let ask = |model: &str, stream| Ask::chat(subject.address, &subject.key, &format!("up/{model}"), stream);
    let plan = |calls| Plan { connections: 16, rate: None, window: MANY_WINDOW, calls: Some(calls) };
    run(ask("mock", false), plan(SETTLED)).await?;
    let settled = subject.memory()?.0;
    let rest = run(ask("mock", false), plan(MANY - SETTLED)).await?;
    ensure!(rest.answered >= MANY - SETTLED, "{} calls in {MANY_WINDOW:?} are too few", rest.answered);
    let after = subject.memory()?.0;
    // A fresh process: the highest mark of the first one is of its calls.
    drop(subject);
    let fresh = home.start()?;
    let small = fresh.memory()?.0;
    let long = Ask::chat(fresh.address, &fresh.key, &format!("up/{LONG_STREAM}"), true);
    run(long, Plan { connections: 1, rate: None, window: MANY_WINDOW, calls: Some(1) }).await?;
    let most = fresh.memory()?.1;
    Ok(vec![
        Record::new("gateway.process.memory.100000_calls", "MB", after).against(settled).at_most_times(1.25),
        Record::new("gateway.process.memory.10_mb_stream", "MB", most).against(small).at_most_more(20.0),
    ])
}

/// How long the provider's stream outlives a client that leaves.
async fn aborts(mock: &Mock) -> Result<Record> {
    let home = Home::new(mock, "process")?;
    let subject = home.start()?;
    let ask = Ask::chat(subject.address, &subject.key, "up/mock-n2000-i5", true);
    let mut took = Sample::default();
    for _ in 0..ABORTS {
        let mut connection = drive::connect(ask.address).await?;
        connection.ready().await?;
        let mut body = connection.send_request(ask.request_of(ask.body.clone())?).await?.into_body();
        body.frame().await.context("no first piece")??;
        ensure!(mock.live() == 1, "{} streams are live", mock.live());
        drop((body, connection));
        let left = Instant::now();
        while mock.live() > 0 {
            ensure!(left.elapsed() < ABORT_PATIENCE, "the provider's stream goes on");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        took.push_ms(left.elapsed());
    }
    Ok(Record::of("gateway.process.abort", "ms", &took).at_most(50.0))
}

/// Calls that are lost when the gateway is killed.
async fn kills(mock: &Mock) -> Result<Vec<Record>> {
    let mut rows = Vec::new();
    for rate in KILL_RATES {
        let (mut lost, mut answered) = (Sample::default(), 0);
        for n in 0..KILLS {
            // A place of its own, so that a record is of this kill. The instants are spread over the first second.
            let home = Home::new(mock, "process")?;
            let kill = lost::kill(&home, mock, rate, Duration::from_millis(u64::from(500 + 83 * n))).await?;
            lost.push(kill.lost as f64);
            answered += kill.answered;
        }
        ensure!(answered > 0, "no call was answered before a kill");
        eprintln!("    {KILLS} kills at {rate}/s: {answered} calls were answered");
        // The worst of all kills counts.
        let worst = lost.spread()[1];
        let row = Record {
            spread: Some(lost.spread()),
            ..Record::new(format!("gateway.process.lost.at{rate}"), "calls", worst)
        };
        rows.push(row.at_most(0.0));
    }
    Ok(rows)
}
