//! A small agent task, the world its activities act on, and an engine to run it.

use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use workflow::{
    durable::{ActCx, Activity, Durable, Either, Fault, Inbox, Lane, Next, Policy, Workflow},
    engine::{Engine, Options, Outcome, Registry},
    workflows,
};

/// Longer than anything here takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const QUICK: Policy =
    Policy { timeout: Duration::from_secs(30), attempts: 3, backoff: Duration::from_millis(20) };
pub(super) const LONG: Policy =
    Policy { timeout: Duration::from_secs(7 * 24 * 3600), attempts: 1, backoff: Duration::from_secs(1) };

/// What activities did, and what people decided: outside the engine, as the store is. On disk, so that it outlives a
/// killed process; an effect is a file named after its key, made at most once.
pub(super) struct World {
    dir: PathBuf,
    runs: Mutex<Vec<String>>,
    changed: watch::Sender<u64>,
}

impl World {
    pub(super) fn new(dir: &Path) -> Arc<Self> {
        for sub in ["effects", "decisions", "open"] {
            std::fs::create_dir_all(dir.join(sub)).unwrap();
        }
        Arc::new(Self { dir: dir.to_owned(), runs: Mutex::default(), changed: watch::channel(0).0 })
    }
    /// Notes that something ran in this process.
    pub(super) fn ran(&self, what: String) {
        self.runs.lock().unwrap().push(what);
        self.changed.send_modify(|n| *n += 1);
    }
    pub(super) fn runs(&self) -> Vec<String> {
        self.runs.lock().unwrap().clone()
    }
    pub(super) fn count(&self, part: &str) -> usize {
        self.runs().iter().filter(|r| r.contains(part)).count()
    }
    /// Waits until something with this part in its name ran so often.
    pub(super) async fn until(&self, part: &str, times: usize) {
        let mut changed = self.changed.subscribe();
        let enough = async {
            while self.count(part) < times {
                changed.changed().await.unwrap();
            }
        };
        let done = tokio::time::timeout(PATIENCE, enough).await;
        assert!(done.is_ok(), "{part} ran {} times, not {times}: {:?}", self.count(part), self.runs());
    }
    /// An effect under its idempotency key: false if it was there.
    pub(super) fn effect(&self, key: &str, what: &str) -> bool {
        let name = self.dir.join("effects").join(key.replace('/', "~"));
        let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&name);
        made.is_ok_and(|mut f| std::io::Write::write_all(&mut f, what.as_bytes()).is_ok())
    }
    /// All effects: what, to the keys that made it.
    pub(super) fn effects(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut all = BTreeMap::<String, BTreeSet<String>>::new();
        for entry in std::fs::read_dir(self.dir.join("effects")).unwrap() {
            let path = entry.unwrap().path();
            let what = std::fs::read_to_string(&path).unwrap();
            all.entry(what).or_default().insert(path.file_name().unwrap().to_string_lossy().into_owned());
        }
        all
    }
    pub(super) fn decide(&self, task: &str, request: u32, grant: bool) {
        std::fs::write(self.dir.join("decisions").join(format!("{task}-{request}")), if grant { "yes" } else { "no" })
            .unwrap();
    }
    fn decision(&self, task: &str, request: u32) -> Option<bool> {
        std::fs::read_to_string(self.dir.join("decisions").join(format!("{task}-{request}"))).ok().map(|t| t == "yes")
    }
    /// Lets the long step of a task end.
    pub(super) fn open(&self, task: &str) {
        std::fs::write(self.dir.join("open").join(task), "").unwrap();
        self.changed.send_modify(|n| *n += 1);
    }
    async fn opened(&self, task: &str) {
        let mut changed = self.changed.subscribe();
        while !self.dir.join("open").join(task).exists() {
            changed.changed().await.unwrap();
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) enum Signal {
    Wake,
    Pause,
    Resume,
    Cancel { why: String },
}
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) enum Phase {
    Running { step: u32 },
    Paused,
    Waiting { request: u32 },
    Done,
}
/// A script, one letter a step: `p` progress, `n` needs a decision, `l` long until opened or cancelled, `f` fails once
/// for a moment, `d` done, `x` fails for good, `P` panics once.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct Input {
    pub(super) script: String,
    pub(super) wait_ms: u64,
    pub(super) step: u32,
    pub(super) notes: Vec<String>,
}
impl Input {
    pub(super) fn new(script: &str, wait: Duration) -> Self {
        Self { script: script.into(), wait_ms: wait.as_millis() as u64, step: 0, notes: vec![] }
    }
}
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct Report {
    pub(super) verdict: String,
    pub(super) steps: u32,
    pub(super) notes: Vec<String>,
}
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct StepIn {
    pub(super) task: String,
    pub(super) n: u32,
    pub(super) kind: char,
}
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) enum StepOut {
    Progress,
    Needs,
    Done,
}

pub(super) struct Step(pub(super) Arc<World>);
impl Activity for Step {
    const NAME: &'static str = "step";
    const LANE: Lane = Lane::Long;
    type In = StepIn;
    type Out = StepOut;
    async fn run(&self, cx: ActCx, i: StepIn) -> Result<StepOut, Fault> {
        self.0.ran(format!("step {} {} attempt {}", i.task, i.n, cx.attempt));
        let new = self.0.effect(&cx.key, &format!("{}:step:{}", i.task, i.n));
        match i.kind {
            'l' => tokio::select! {
                () = self.0.opened(&i.task) => Ok(StepOut::Progress),
                () = cx.cancel.cancelled() => { self.0.ran(format!("told {}", i.task)); Err(Fault::fatal("cancelled", "step")) }
                () = cx.stopping.cancelled() => Err(Fault::fatal("stopping", "step")),
            },
            'n' => Ok(StepOut::Needs),
            'd' => Ok(StepOut::Done),
            'x' => Err(Fault::fatal("agent", "scripted failure")),
            'f' if cx.attempt == 1 => Err(Fault::transient("agent", "for a moment")),
            'P' if new => panic!("scripted panic"),
            _ => Ok(StepOut::Progress),
        }
    }
}
pub(super) struct Decision(pub(super) Arc<World>);
impl Activity for Decision {
    const NAME: &'static str = "decision";
    type In = (String, u32);
    type Out = Option<bool>;
    async fn run(&self, _: ActCx, (task, request): (String, u32)) -> Result<Option<bool>, Fault> {
        Ok(self.0.decision(&task, request))
    }
}
pub(super) struct Note(pub(super) Arc<World>);
impl Activity for Note {
    const NAME: &'static str = "note";
    type In = String;
    type Out = String;
    async fn run(&self, cx: ActCx, what: String) -> Result<String, Fault> {
        self.0.ran(format!("note {what}"));
        self.0.effect(&cx.key, &what);
        Ok(what)
    }
}

pub(super) struct Build;
impl Workflow for Build {
    const NAME: &'static str = "build";
    type In = String;
    type Out = String;
    type Signal = ();
    type Status = ();
    async fn run<D: Durable<Self>>(d: D, what: String) -> Result<Next<Self>, Fault> {
        Ok(Next::Done(d.call::<Note>(QUICK, format!("{what}:built")).await?))
    }
}

struct Desk<D: Durable<Task>> {
    d: D,
    inbox: Inbox<Task, D>,
    paused: bool,
}
impl<D: Durable<Task>> Desk<D> {
    fn take(&mut self, s: Signal) -> Result<(), Fault> {
        match s {
            Signal::Wake => {}
            Signal::Pause => self.paused = true,
            Signal::Resume => self.paused = false,
            Signal::Cancel { why } => return Err(Fault::fatal("cancelled", why)),
        }
        Ok(())
    }
    async fn gate(&mut self) -> Result<(), Fault> {
        while let Some(s) = self.inbox.poll_now() {
            self.take(s)?;
        }
        while self.paused {
            self.d.status(&Phase::Paused);
            let s = self.inbox.next().await;
            self.take(s)?;
        }
        Ok(())
    }
    async fn during<T, F: Future<Output = Result<T, Fault>> + Unpin>(&mut self, mut work: F) -> Result<T, Fault> {
        loop {
            match self.inbox.race(&mut work).await {
                Either::A(s) => self.take(s)?,
                Either::B(r) => return r,
            }
        }
    }
    async fn decision(&mut self, request: u32, wait: Duration) -> Result<Option<bool>, Fault> {
        self.d.status(&Phase::Waiting { request });
        let mut timeout = self.d.sleep(wait);
        loop {
            let read = self.d.call::<Decision>(QUICK, (self.d.id(), request));
            if let Some(grant) = self.during(read).await? {
                return Ok(Some(grant));
            }
            match self.inbox.race(&mut timeout).await {
                Either::A(s) => self.take(s)?,
                Either::B(()) => return Ok(None),
            }
        }
    }
}

/// A task in small: steps, decisions, pause, cancel, clean-up, continue-as-new every ten steps.
pub(super) struct Task;
impl Workflow for Task {
    const NAME: &'static str = "task";
    type In = Input;
    type Out = Report;
    type Signal = Signal;
    type Status = Phase;
    fn cancelled(why: String) -> Option<Signal> {
        Some(Signal::Cancel { why })
    }
    async fn run<D: Durable<Self>>(d: D, mut st: Input) -> Result<Next<Self>, Fault> {
        let mut desk = Desk { inbox: Inbox::new(&d), d: d.clone(), paused: false };
        let verdict = match steps(&d, &mut desk, &mut st).await {
            Ok(Some(v)) => v,
            Ok(None) => return Ok(Next::Again(st)),
            Err(f) if f.kind == "cancelled" => format!("cancelled: {}", f.message),
            Err(f) => format!("failed: {}", f.message),
        };
        d.call::<Note>(QUICK, format!("{}:outcome", d.id())).await?;
        d.status(&Phase::Done);
        Ok(Next::Done(Report { verdict, steps: st.step, notes: st.notes }))
    }
}
async fn steps<D: Durable<Task>>(d: &D, desk: &mut Desk<D>, st: &mut Input) -> Result<Option<String>, Fault> {
    loop {
        desk.gate().await?;
        d.status(&Phase::Running { step: st.step });
        let kind = st.script.chars().nth(st.step as usize).unwrap_or('d');
        let policy = if kind == 'l' { LONG } else { QUICK };
        let out = desk.during(d.call::<Step>(policy, StepIn { task: d.id(), n: st.step, kind })).await?;
        st.step += 1;
        match out {
            StepOut::Done => return Ok(Some("done".into())),
            StepOut::Progress => {}
            StepOut::Needs => {
                let request = st.step;
                st.notes.push(match desk.decision(request, Duration::from_millis(st.wait_ms)).await? {
                    Some(true) => desk.during(d.child::<Build>(&format!("{}-build-{request}", d.id()), d.id())).await?,
                    Some(false) => "denied".into(),
                    None => "expired".into(),
                });
            }
        }
        if st.step.is_multiple_of(10) && !desk.paused {
            return Ok(None);
        }
    }
}

/// One call, a signal (or a time), one call.
pub(super) struct Waiter;
impl Workflow for Waiter {
    const NAME: &'static str = "waiter";
    type In = u64;
    type Out = u64;
    type Signal = u64;
    type Status = ();
    async fn run<D: Durable<Self>>(d: D, wait_ms: u64) -> Result<Next<Self>, Fault> {
        let mut inbox = Inbox::new(&d);
        d.call::<Note>(QUICK, format!("{}:parked", d.id())).await?;
        let mut time = d.sleep(Duration::from_millis(wait_ms));
        let got = match inbox.race(&mut time).await {
            Either::A(s) => s,
            Either::B(()) => 0,
        };
        d.call::<Note>(QUICK, format!("{}:woke", d.id())).await?;
        Ok(Next::Done(got))
    }
}

pub(super) fn registry(world: &Arc<World>) -> Registry {
    let r = Registry::new().grace(Duration::from_millis(300));
    let r = r.activity(Step(world.clone())).activity(Decision(world.clone())).activity(Note(world.clone()));
    workflows!(r; Task, Build, Waiter)
}

/// A folder with a world and an engine's file, removed at the end.
pub(super) struct Bed {
    pub(super) dir: tempfile::TempDir,
    pub(super) world: Arc<World>,
    pub(super) engine: Engine,
}
impl Bed {
    pub(super) async fn new() -> Self {
        Self::with(Options::default()).await
    }
    pub(super) async fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new(dir.path());
        let engine = Engine::open(&dir.path().join("engine.db"), registry(&world), options).await.unwrap();
        Self { dir, world, engine }
    }
    /// A graceful restart on the same file, with a new world over the same folder.
    pub(super) async fn restart(self) -> Self {
        self.engine.shutdown(Duration::from_secs(5)).await;
        let world = World::new(self.dir.path());
        let engine =
            Engine::open(&self.dir.path().join("engine.db"), registry(&world), Options::default()).await.unwrap();
        Self { dir: self.dir, world, engine }
    }
    pub(super) async fn start(&self, id: &str, script: &str, wait: Duration) {
        self.engine.start::<Task>(id, &Input::new(script, wait)).await.unwrap();
    }
    pub(super) async fn report(&self, id: &str) -> Report {
        match self.engine.wait::<Task>(id, PATIENCE).await.unwrap() {
            Outcome::Done(report) => report,
            other => panic!("{id}: {other:?}, runs: {:?}", self.world.runs()),
        }
    }
    /// Waits until a task shows this.
    pub(super) async fn shows(&self, id: &str, phase: Phase) {
        eventually(&format!("{id} shows {phase:?}"), async || {
            self.engine.status::<Task>(id).await.unwrap().as_ref() == Some(&phase)
        })
        .await;
    }
}

/// Waits for a condition that nothing announces.
pub(super) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(3));
    while !holds().await {
        assert!(Instant::now() < end, "never: {what}");
        tick.tick().await;
    }
}

/// Pseudo-random numbers from a printed seed (`SEED=n` repeats a run).
pub(super) struct Dice(u64);
impl Dice {
    pub(super) fn new(test: &str) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(now | 1);
        println!("{test}: SEED={seed}");
        Self(seed)
    }
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}
