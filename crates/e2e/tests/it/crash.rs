//! `kill -9` at every failpoint: after the next start every task goes on by itself to the same result, nothing of ours
//! happens twice, nothing is left over, and the record says of each open act whether it took effect.
//!
//! The points are listed from the code. Each is armed alone, in a random order that a seed replays, and the server ends
//! at it by `abort`. A point that no scenario reaches fails the suite.

use crate::acts;
use anyhow::{Context, Result, bail, ensure};
use api::wire::{Budget, Event, Task};
use e2e::{
    Settings, World,
    agents::program,
    points,
    wait::{LONG, until},
    world,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// The variable that arms a crash point in a server with the feature `failpoints`.
const ARMED: &str = "TASKFORGE_FAILPOINTS";
/// The variable that replays an order.
const SEED: &str = "E2E_SEED";

/// A small generator (xorshift64*): the same seed gives the same numbers everywhere.
pub(crate) struct Random {
    pub(crate) seed: u64,
    state: u64,
}

impl Random {
    pub(crate) fn from_env() -> Self {
        let given = env::var(SEED).ok().and_then(|s| s.parse().ok());
        let clock =
            || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |t| u64::from(t.subsec_nanos()) + t.as_secs());
        let seed: u64 = given.unwrap_or_else(clock).max(1);
        Self { seed, state: seed }
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound.max(1)
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for i in (1..all.len()).rev() {
            all.swap(i, usize::try_from(self.below(i as u64 + 1)).unwrap_or(0));
        }
    }
}

/// What the record of a task must show once and no more.
pub(crate) async fn nothing_twice(w: &World, task: &str) -> Result<()> {
    let events = w.client.events(task).await?;
    let count = |is: &dyn Fn(&Event) -> bool| events.iter().filter(|e| is(e)).count();
    for kind in ["task.created", "task.started", "run.started", "run.finished", "agent.submitted"] {
        ensure!(count(&|e| e.kind == kind) <= 1, "{kind} is recorded {} times", count(&|e| e.kind == kind));
    }
    for request in w.client.requests(task).await? {
        let of = |kind: &str| count(&|e: &Event| e.kind == kind && e.data["request"] == json!(request.id));
        for kind in ["request.created", "request.decided", "request.applied"] {
            ensure!(of(kind) <= 1, "{kind} of {} is recorded {} times", request.id, of(kind));
        }
    }
    // Every act that was begun has ended, one way or another, once.
    let mut ends: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for e in &events {
        let Some(op) = &e.op else { continue };
        let n = ends.entry(op).or_default();
        if e.phase == json!("begun") {
            n.0 += 1;
        } else if e.phase == json!("ended") {
            n.1 += 1;
        }
    }
    let odd: Vec<_> = ends.iter().filter(|(_, n)| **n != (1, 1)).collect();
    ensure!(odd.is_empty(), "acts that were not begun and ended once: {odd:?}");
    Ok(())
}

/// What a task may do on its way; each scenario reaches other points.
#[derive(Debug, Clone, Copy)]
enum Scenario {
    /// A package is asked for, approved, built and used. The package's set is new to the installation.
    Package(&'static str),
    /// Paused while it runs, resumed, spoken to; then images are pruned.
    Stop,
    /// Two requests: the second is made again after the first was approved; one is denied.
    Pair,
    /// Two packages one after the other, so that the first image is nobody's afterwards; then images are pruned.
    Chain,
    /// A budget that is used up and raised.
    Budget,
    /// A model that always fails: each call is tried again.
    Failing,
}

/// Points that no task reaches, and where they are reached instead.
const ELSEWHERE: [(&str, &str); 15] = [
    ("store.journal.rotate.before", "a segment of the call journal is full after 64 MiB: the store's own suite"),
    ("image.base.before", "the base image takes minutes and is shared by all installations of the machine"),
    ("image.base.after", "the base image takes minutes and is shared by all installations of the machine"),
    ("sandbox.kill.before", "only a container that is not sealed as it must be is killed: the sandbox's own suite"),
    ("sandbox.kill.after", "only a container that is not sealed as it must be is killed: the sandbox's own suite"),
    ("sandbox.purge.before", "no command removes a task: the sandbox's own suite"),
    ("sandbox.purge.after", "no command removes a task: the sandbox's own suite"),
    ("engine.append", "a part of the provider's interface that the library does not call: the engine's own suite"),
    (
        "engine.call.enqueue",
        "a part of the provider's interface that the library does not call: the engine's own suite",
    ),
    ("engine.session.renew", "workflows have no sessions: the engine's own suite"),
    ("engine.session.clean", "workflows have no sessions: the engine's own suite"),
    ("engine.call.abandon", "a call is given back only when it was fetched in error: the engine's own suite"),
    ("engine.turn.abandon", "a turn is given back only when it was fetched in error: the engine's own suite"),
    ("engine.call.renew", "a lease is renewed after minutes of one call: the engine's own suite"),
    ("engine.turn.renew", "after half an hour of one turn: the engine's own suite"),
];

/// Keeps the server going: starts it again, unarmed, when its crash point was reached.
async fn alive(w: &mut World, hit: &mut bool) -> Result<()> {
    if w.crashed()? {
        *hit = true;
        w.settings.env.remove(ARMED);
        w.up().await?;
    }
    Ok(())
}

/// Tries an operation until it works, across a crash of the server. A refusal because it was done already is success.
async fn through<T>(
    w: &mut World,
    hit: &mut bool,
    what: &str,
    mut act: impl AsyncFnMut(&World) -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        alive(w, hit).await?;
        let error = match act(w).await {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => None,
            Err(e) => Some(e),
        };
        if began.elapsed() > LONG {
            bail!("waited in vain for {what}: {error:?}");
        }
        tokio::time::sleep(std::time::Duration::from_millis(80)).await;
    }
}

async fn command(w: &mut World, hit: &mut bool, task: &str, command: &str) -> Result<()> {
    through(w, hit, command, async |w| {
        let reply = w.client.command(task, command).await?;
        Ok((reply.status == 200 || reply.code() == "illegal_transition").then_some(()))
    })
    .await
}

/// Creates and starts a task whose name is not taken twice, even if the answer to its creation was lost.
async fn create(w: &mut World, hit: &mut bool, behaviour: &[&str], name: &str) -> Result<String> {
    let mut new = program(behaviour);
    name.clone_into(&mut new.name);
    if behaviour.first() == Some(&"spend") {
        new.budget = Some(Budget { calls: Some(2), ..Budget::default() });
    }
    if behaviour.first() == Some(&"calls") {
        behaviour[1].clone_into(&mut new.llm_model);
    }
    let id = through(w, hit, "the task's creation", async |w| {
        let known: Value = w.client.get("/api/tasks?limit=200").await?;
        let mut items = known["items"].as_array().into_iter().flatten();
        if let Some(task) = items.find(|t| t["name"] == json!(name)) {
            return Ok(task["id"].as_str().map(str::to_owned));
        }
        Ok(Some(w.client.post::<Task>("/api/tasks", &new).await?.id))
    })
    .await?;
    command(w, hit, &id, "start").await?;
    Ok(id)
}

/// Decides what waits, until the task has ended.
async fn decide_until_ended(w: &mut World, hit: &mut bool, task: &str, deny: Option<&str>) -> Result<()> {
    through(w, hit, "the task's end", async |w| {
        let t = w.client.task(task).await?;
        for id in &t.pending_requests {
            let shown = w.client.request(id).await?;
            let digest = shown.request.digest.clone().unwrap_or_default();
            let is_denied = deny.is_some_and(|d| json!(shown.request.ask).to_string().contains(d));
            let review =
                if is_denied { e2e::client::deny(&digest, "not this one") } else { e2e::client::approve(&digest) };
            // Stale or decided by the attempt before: looked at again in the next round.
            let reply = w.client.review(id, &review).await?;
            ensure!(matches!(reply.status, 200 | 409), "{reply:?}");
        }
        Ok(t.task.ended.then_some(()))
    })
    .await
}

async fn prune(w: &mut World, hit: &mut bool) -> Result<()> {
    through(w, hit, "a prune", async |w| {
        w.client.send(reqwest::Method::POST, "/api/images/prune", None).await?.ok::<Value>().map(Some)
    })
    .await?;
    Ok(())
}

async fn play(w: &mut World, scenario: Scenario, name: &str) -> Result<bool> {
    let mut hit = false;
    let task = match scenario {
        Scenario::Package(package) => {
            let task = create(w, &mut hit, &["packages", package], name).await?;
            decide_until_ended(w, &mut hit, &task, None).await?;
            let text =
                through(w, &mut hit, "the result", async |w| Ok(Some(w.delivered(&task, "result.txt").await?))).await?;
            ensure!(text == format!("{package} works\n"), "{text}");
            task
        }
        Scenario::Chain => {
            let task = create(w, &mut hit, &["chain", "tabulate", "xmltodict"], name).await?;
            decide_until_ended(w, &mut hit, &task, None).await?;
            prune(w, &mut hit).await?;
            task
        }
        Scenario::Budget => {
            let task = create(w, &mut hit, &["spend", "3"], name).await?;
            decide_until_ended(w, &mut hit, &task, None).await?;
            let text =
                through(w, &mut hit, "the result", async |w| Ok(Some(w.delivered(&task, "steps.txt").await?))).await?;
            ensure!(text == "1\n2\n3\n", "{text}");
            task
        }
        Scenario::Failing => {
            let task = create(w, &mut hit, &["calls", "openai/status-500"], name).await?;
            decide_until_ended(w, &mut hit, &task, None).await?;
            let text =
                through(w, &mut hit, "the result", async |w| Ok(Some(w.delivered(&task, "got.json").await?))).await?;
            ensure!(text.contains(r#""status": 500"#), "{text}");
            task
        }
        Scenario::Pair => {
            let task = create(w, &mut hit, &["pair"], name).await?;
            decide_until_ended(w, &mut hit, &task, Some("toml")).await?;
            let text =
                through(w, &mut hit, "the result", async |w| Ok(Some(w.delivered(&task, "told.txt").await?))).await?;
            ensure!(text.contains("Approved") && text.contains("not this one"), "{text}");
            task
        }
        Scenario::Stop => {
            let task = create(w, &mut hit, &["listen"], name).await?;
            let progress = async |w: &World| {
                Ok(w.client.events(&task).await?.iter().any(|e| e.kind == "agent.progress").then_some(()))
            };
            through(w, &mut hit, "its first report", progress).await?;
            command(w, &mut hit, &task, "pause").await?;
            through(w, &mut hit, "paused", async |w| {
                Ok((w.client.task(&task).await?.task.status == "paused").then_some(()))
            })
            .await?;
            command(w, &mut hit, &task, "resume").await?;
            through(w, &mut hit, "the message", async |w| {
                Ok((w.client.message(&task, "that is all", false).await?.status == 201).then_some(()))
            })
            .await?;
            decide_until_ended(w, &mut hit, &task, None).await?;
            prune(w, &mut hit).await?;
            task
        }
    };
    let t = w.client.task(&task).await?;
    let outcome = t.runs.last().and_then(|r| r.outcome.clone());
    ensure!(outcome.as_deref() == Some("submitted"), "not the same result: {}", e2e::short(&t));
    // What the crash left open is closed at the latest when the container's own end was recorded.
    until("the record to be whole", LONG, async || Ok(nothing_twice(w, &task).await.ok()))
        .await
        .or(nothing_twice(w, &task).await)?;
    Ok(hit)
}

/// The scenarios for a point, those first that are known to reach it.
fn scenarios(point: &str, n: usize) -> Vec<Scenario> {
    use Scenario as S;
    // New to the installation, so that files are fetched and an image is built.
    const NEW: [&str; 10] =
        ["idna", "certifi", "pytz", "decorator", "colorama", "packaging", "iniconfig", "pluggy", "click", "tomli"];
    let first = match point {
        p if p.starts_with("image.remove") => S::Chain,
        p if p.starts_with("image.") => S::Package(NEW[n % NEW.len()]),
        p if p.contains(".budget.") => S::Budget,
        p if p.contains(".stop.") => S::Stop,
        p if p.ends_with("_attempt") => S::Failing,
        _ => S::Package("six"),
    };
    [first, S::Stop, S::Pair].to_vec()
}

/// Arms a point, restarts the server with it, and plays scenarios until the point was reached.
async fn strike(w: &mut World, point: &str, n: usize) -> Result<bool> {
    acts::provoke(w, point).await?;
    w.kill().await?;
    w.settings.env.insert(ARMED.to_owned(), point.to_owned());
    // A point may lie in the start itself: then the server is started again without it.
    let mut hit = false;
    if let Err(error) = w.up().await {
        ensure!(format!("{error:#}").contains("SIGABRT"), "the start failed by itself: {error:#}");
        hit = true;
        w.settings.env.remove(ARMED);
        w.up().await?;
    }
    for (i, scenario) in scenarios(point, n).into_iter().enumerate() {
        hit |= play(w, scenario, &format!("{point} {i}")).await.with_context(|| format!("{scenario:?}"))?;
        if hit {
            break;
        }
    }
    w.settings.env.remove(ARMED);
    Ok(hit)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_every_point() -> Result<()> {
    let mut random = Random::from_env();
    let mut all = points::all()?;
    if let Ok(only) = env::var("E2E_POINTS") {
        all.retain(|p| only.split(',').any(|o| p.contains(o)));
    }
    let stale: Vec<_> =
        ELSEWHERE.iter().filter(|(p, _)| !points::all().is_ok_and(|a| a.iter().any(|n| n == p))).collect();
    ensure!(stale.is_empty(), "no longer in the code: {stale:?}");
    let stale = acts::stale(&points::all()?);
    ensure!(stale.is_empty(), "no longer in the code: {stale:?}");
    all.retain(|p| ELSEWHERE.iter().all(|(e, _)| e != p));
    random.shuffle(&mut all);
    println!("{} crash points; {SEED}={} replays this order", all.len(), random.seed);
    world(Settings::default(), async |w| {
        let (mut never, mut failed) = (Vec::new(), Vec::new());
        let (mut images, mut seen) = (0, 0);
        for point in &all {
            images += usize::from(point.starts_with("image."));
            let began = Instant::now();
            let struck = match strike(w, point, images).await {
                Ok(true) => acts::closed_rightly(w, point, &mut seen).await.map(|()| true),
                other => other,
            };
            match struck {
                Ok(true) => println!("{point}: {:.1} s", began.elapsed().as_secs_f32()),
                Ok(false) => never.push(point.clone()),
                Err(e) => {
                    println!("{point}: FAILED: {e:#}");
                    failed.push(format!("{point}: {e:#}"));
                    w.settings.env.remove(ARMED);
                    if w.crashed().unwrap_or(true) {
                        w.up().await?;
                    }
                }
            }
        }
        let report = w.client.verify().await?;
        ensure!(report.ok, "the log does not verify: {:?}", report.findings);
        ensure!(failed.is_empty(), "failed at:\n{}", failed.join("\n"));
        ensure!(never.is_empty(), "never reached: {}", never.join(", "));
        Ok(())
    })
    .await
}
