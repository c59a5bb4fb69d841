//! From the decision to create a sandbox to the first line that a command in it prints.
//!
//! Counted: the run folder with the supervisor, the gateway's socket, two volumes, the container, its start, the
//! supervisor's wait for the gateway, the command. Baseline: `docker run` of the same image and command, without a
//! network as the sandbox is (a bridge would make it slower).

use crate::{place::Place, plain::Plain, report::Record, stats::Sample};
use anyhow::{Context, Result, bail};
use domain::{
    ids::{RunId, TaskId},
    task::Limits,
};
use futures::StreamExt;
use gateway::{Config, Gateway, Registry};
use image::{Images, ImagesConfig};
use sandbox::{Docker, SandboxSpec, Sandboxes};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Rounds, after one that is not counted.
const ROUNDS: usize = 12;
/// What a sandbox may take, in plain containers.
const GOAL: f64 = 1.3;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The command.
const ARGV: [&str; 2] = ["/bin/echo", "first"];

struct World {
    place: Place,
    gateway: Gateway,
    sandboxes: Sandboxes,
    supervisor: PathBuf,
    image: String,
}

impl World {
    async fn new() -> Result<Self> {
        let place = Place::new().await?;
        let docker = Docker::connect(None, place.store.installation())?;
        let images = Images::new(docker.clone(), ImagesConfig::new(place.dir.path()))?;
        let bases = match images.bases().await? {
            Some(bases) => bases,
            None => images.bootstrap(&|line| eprintln!("    {line}")).await?,
        };
        let config = Config::new(place.dir.path().join("run"));
        let providers = Registry::new(Vec::new(), Vec::new(), &config)?;
        let gateway = Gateway::new(config, place.store.clone(), providers);
        let sandboxes = Sandboxes::new(docker, place.dir.path());
        let supervisor = env::var_os("TASKFORGE_SUPERVISOR").context("TASKFORGE_SUPERVISOR names no supervisor")?;
        Ok(Self { place, gateway, sandboxes, supervisor: supervisor.into(), image: bases.agent.id })
    }

    async fn first_command(&self) -> Result<Duration> {
        let (task, run) = (store::new_id(TaskId::from_uuid), store::new_id(RunId::from_uuid));
        let begun = Instant::now();
        let run_dir = self.sandboxes.prepare_run_dir(&task, &self.supervisor, Vec::new()).await?;
        self.gateway.open(task).await?;
        let spec = SandboxSpec {
            task,
            run,
            iteration: 1,
            image: self.image.clone(),
            argv: ARGV.map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            run_dir,
            limits: Limits::default(),
            runtime: None,
        };
        self.sandboxes.ensure(&spec).await?;
        let mut lines = Box::pin(self.sandboxes.log_lines(&task, 10, true).await?);
        let line = tokio::time::timeout(PATIENCE, lines.next()).await?.context("the command printed nothing")??;
        let took = begun.elapsed();
        self.gateway.close(task).await;
        self.sandboxes.purge(&task).await?;
        if line.text.trim() != ARGV[1] {
            bail!("the sandbox printed {:?}", line.text);
        }
        Ok(took)
    }

    async fn end(self) -> Result<()> {
        self.gateway.shutdown().await;
        let reaped = self.sandboxes.reap(&BTreeSet::new()).await?;
        drop(self.place);
        if reaped.failed.is_empty() { Ok(()) } else { bail!("left over: {:?}", reaped.failed) }
    }
}

/// Sandbox and plain container in turns.
pub(crate) async fn bench() -> Result<Vec<Record>> {
    let world = World::new().await?;
    let measured = rounds(&world).await;
    world.end().await?;
    let (sandbox, plain) = measured?;
    let row = Record::of("sandbox.first_command", "ms", &sandbox);
    Ok(vec![row.against(plain.median()).at_most_times(GOAL)])
}

async fn rounds(world: &World) -> Result<(Sample, Sample)> {
    let (mut sandbox, mut plain) = (Sample::default(), Sample::default());
    for round in 0..=ROUNDS {
        let container = Plain::new();
        let arguments = [&["--network", "none", world.image.as_str()], &ARGV[..]].concat();
        let direct = container.first_line(&arguments).await?;
        drop(container);
        let ours = world.first_command().await?;
        if round > 0 {
            plain.push_ms(direct);
            sandbox.push_ms(ours);
        }
    }
    Ok((sandbox, plain))
}
