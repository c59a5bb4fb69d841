//! What the whole server adds to an agent: the start of OpenClaw, an approval, and the server at rest.
//!
//! The server is the release build as a process of its own with a fresh data directory, as in the end-to-end tests.

use crate::{
    facts::rss_mb,
    place,
    plain::Plain,
    report::Record,
    stats::Sample,
    upstream::{MODEL, Upstream},
};
use anyhow::{Context, Result, ensure};
use api::wire::{NewTask, RequestDetail};
use domain::{
    candidate::Artefact,
    ids::TaskId,
    request::Ecosystem,
    task::{Agent, Limits},
};
use e2e::{Settings, World, agents, wait::until};
use image::{Images, ImagesConfig};
use sandbox::{
    Docker, Sandboxes,
    agent::{Turn, launch},
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long an agent may take to its first model call.
const PATIENCE: Duration = Duration::from_secs(180);
/// Starts of OpenClaw, after one that is not counted; each costs about ten CPU-seconds.
const STARTS: usize = 5;
/// What a start may take, in plain starts.
const START_GOAL: f64 = 1.1;
/// What an approval may take, in plain builds and runs.
const APPROVAL_GOAL: f64 = 1.2;
/// Packages of each approval: another set each time, so that no cache can serve it.
const SETS: [[&str; 2]; 5] =
    [["six", "idna"], ["toml", "toolz"], ["certifi", "wcwidth"], ["tabulate", "zipp"], ["chardet", "iniconfig"]];
/// What the idle server may hold, in MB.
const IDLE_GOAL_MB: f64 = 60.0;
/// Looks at the idle server, and between them.
const LOOKS: usize = 5;
const LOOK_EVERY: Duration = Duration::from_secs(1);

fn settings(upstream: &Upstream) -> Settings {
    Settings::default().with("TASKFORGE_UPSTREAM_BENCH_URL", format!("http://{}/v1", upstream.address))
}

fn with_mock(task: NewTask) -> NewTask {
    NewTask { llm_model: format!("bench/{MODEL}"), ..task }
}

/// Runs `body` with a server that knows the upstream; nothing of it remains.
async fn server<T>(upstream: &mut Upstream, body: impl AsyncFnOnce(&World, &mut Upstream) -> Result<T>) -> Result<T> {
    let mut result = None;
    e2e::world(settings(upstream), async |world| {
        result = Some(body(world, upstream).await?);
        Ok(())
    })
    .await?;
    result.context("the server was not measured")
}

/// From the start of a task to OpenClaw's first model call.
pub(crate) async fn openclaw() -> Result<Vec<Record>> {
    let mut upstream = Upstream::start()?;
    let (ours, plain) = server(&mut upstream, async |world, upstream| {
        let (mut ours, mut plain) = (Sample::default(), Sample::default());
        for round in 0..=STARTS {
            let (direct, through) = (plain_start().await?, start(world, upstream).await?);
            // The first ones also read the image from the disk.
            if round > 0 {
                plain.push(direct.as_secs_f64());
                ours.push(through.as_secs_f64());
            }
        }
        Ok((ours, plain))
    })
    .await?;
    let row = Record::of("openclaw.first_model_call", "s", &ours).against(plain.median());
    Ok(vec![row.at_most_times(START_GOAL)])
}

async fn start(world: &World, upstream: &mut Upstream) -> Result<Duration> {
    let new = with_mock(agents::openclaw(MODEL, PROMPT));
    let task: api::wire::Task = world.client.post("/api/tasks", &new).await?;
    upstream.forget();
    let begun = Instant::now();
    world.client.command(&task.id, "start").await?.ok::<api::wire::Task>()?;
    let took = upstream.called(PATIENCE).await?.duration_since(begun);
    world.client.command(&task.id, "cancel").await?.ok::<api::wire::Task>()?;
    world.ended(&task.id).await?;
    Ok(took)
}

const PROMPT: &str = "Say hello.";

/// The same agent with the same configuration, image, limits and forwarder, started by `docker run`; what answers at the
/// socket does so at once and records nothing.
async fn plain_start() -> Result<Duration> {
    let dir = place::folder()?;
    let (container, task) = (Plain::new(), store::new_id(TaskId::from_uuid));
    let docker = Docker::connect(None, store::new_id(domain::ids::InstallationId::from_uuid))?;
    let images = Images::new(docker.clone(), ImagesConfig::new(dir.path()))?;
    let image = images.bases().await?.context("there is no base image")?.agent.id;
    let supervisor = env::var_os("TASKFORGE_SUPERVISOR").context("TASKFORGE_SUPERVISOR names no supervisor")?;
    let model = format!("bench/{MODEL}");
    let turn = Turn {
        task,
        agent: &Agent::Openclaw,
        model: &model,
        prompt: PROMPT,
        context_window: 200_000,
        max_tokens: 8192,
    };
    let launch = launch(&turn);
    let sandboxes = Sandboxes::new(docker, dir.path());
    let run_dir = sandboxes.prepare_run_dir(&task, Path::new(&supervisor), launch.files).await?;
    let mut upstream = Upstream::at_socket(&sandboxes.socket_path(&task))?;
    let limits = Limits::default();
    let mut arguments = vec![
        "--network=none".to_owned(),
        "--hostname=taskforge".to_owned(),
        "--read-only".to_owned(),
        "--cap-drop=ALL".to_owned(),
        "--security-opt=no-new-privileges".to_owned(),
        format!("--memory={}", limits.memory_bytes),
        format!("--memory-swap={}", limits.memory_bytes),
        format!("--cpus={}", f64::from(limits.cpu_millis) / 1e3),
        format!("--pids-limit={}", limits.pids),
        "--tmpfs=/tmp:rw,exec,nosuid,nodev,mode=1777,size=512m".to_owned(),
        format!("--volume={}:/workspace", container.volume("workspace")),
        format!("--volume={}:/state", container.volume("state")),
        format!("--volume={}:/run/taskforge:ro", run_dir.display()),
        "--env=HOME=/tmp/home".to_owned(),
        "--entrypoint=/run/taskforge/taskforge-supervisor".to_owned(),
    ];
    arguments.extend(launch.env.iter().map(|(name, value)| format!("--env={name}={value}")));
    arguments.push(image);
    let forward = ["--listen", "127.0.0.1:8080", "--socket", "/run/taskforge/gateway.sock", "--"];
    arguments.extend(forward.map(str::to_owned));
    arguments.extend(launch.argv);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let begun = Instant::now();
    let _running = container.run(&arguments)?;
    Ok(upstream.called(PATIENCE).await?.duration_since(begun))
}

/// From an approval to the first model call of the agent in the new image.
pub(crate) async fn approval() -> Result<Vec<Record>> {
    let mut upstream = Upstream::start()?;
    let (ours, plain) = server(&mut upstream, async |world, upstream| {
        let (mut ours, mut plain) = (Sample::default(), Sample::default());
        for set in SETS {
            let (took, shown) = approve(world, upstream, set).await?;
            ours.push(took.as_secs_f64());
            plain.push(plain_build(world, &shown, set).await?.as_secs_f64());
        }
        Ok((ours, plain))
    })
    .await?;
    let row = Record::of("approval.agent_runs", "s", &ours).against(plain.median());
    Ok(vec![row.at_most_times(APPROVAL_GOAL)])
}

async fn approve(world: &World, upstream: &mut Upstream, set: [&str; 2]) -> Result<(Duration, RequestDetail)> {
    let task = world.run(&with_mock(agents::program(&["packages", set[0], set[1]]))).await?;
    let shown = world.pending(&task, 1).await?.remove(0);
    upstream.forget();
    let begun = Instant::now();
    world.approve_shown(&shown).await?;
    let took = upstream.called(PATIENCE).await?.duration_since(begun);
    world.completed(&task).await?;
    Ok((took, shown))
}

/// A build of the same Dockerfile with the same files, then `docker run` of a program that imports the packages.
async fn plain_build(world: &World, shown: &RequestDetail, set: [&str; 2]) -> Result<Duration> {
    let (dir, mut container) = (place::folder()?, Plain::new());
    write_context(world, shown, dir.path()).await?;
    let program = format!("import {}, {}; print('first')", set[0], set[1]);
    let endpoint = Docker::connect(None, world.installation.parse()?)?.endpoint().to_owned();
    let begun = Instant::now();
    container.build(dir.path(), &endpoint).await?;
    let image = container.name().to_owned();
    container.first_line(&["--network", "none", &image, "python3", "-c", &program]).await?;
    Ok(begun.elapsed())
}

async fn write_context(world: &World, shown: &RequestDetail, folder: &Path) -> Result<()> {
    let candidate = shown.candidate.as_ref().context("a request without a candidate")?;
    let artefacts: Vec<Artefact> = candidate.artefacts.iter().map(artefact).collect();
    let docker = Docker::connect(None, world.installation.parse()?)?;
    let images = Images::new(docker, ImagesConfig::new(world.data()))?;
    let tools = images.bases().await?.context("there is no base image")?.resolver.id;
    let recipe = image::dockerfile::render(&candidate.base_image, &tools, &artefacts, None)?;
    ensure!(recipe.dockerfile == candidate.dockerfile, "the recipe is not the one that was shown");
    fs::write(folder.join("Dockerfile"), &recipe.dockerfile)?;
    let place = |path: &str| -> Result<PathBuf> {
        let to = folder.join("pkgs").join(path);
        fs::create_dir_all(to.parent().context("a file without a folder")?)?;
        Ok(to)
    };
    for (path, bytes) in &recipe.files {
        fs::write(place(path)?, bytes)?;
    }
    for (path, sha256) in &recipe.packages {
        fs::copy(images.packages().verified(sha256).await?, place(path)?)?;
    }
    Ok(())
}

fn artefact(a: &api::wire::Artefact) -> Artefact {
    Artefact {
        ecosystem: Ecosystem::Pip,
        name: a.name.clone(),
        version: a.version.clone(),
        sha256: a.sha256.clone(),
        size_bytes: a.size_bytes,
        file_name: a.file_name.clone(),
        url: a.url.clone(),
        licence: a.licence.clone(),
        uploaded_at: a.uploaded_at.clone(),
        install_scripts: a.install_scripts,
        requested: a.requested,
        places: Vec::new(),
    }
}

/// Memory of the server when nothing happens.
pub(crate) async fn idle() -> Result<Vec<Record>> {
    let mut upstream = Upstream::start()?;
    let held = server(&mut upstream, async |world, _| {
        let pid = until("the server's process id", PATIENCE, async || Ok(pid(&world.data()))).await?;
        let mut held = Sample::default();
        for _ in 0..LOOKS {
            tokio::time::sleep(LOOK_EVERY).await;
            held.push(rss_mb(pid).context("the server has ended")?);
        }
        Ok(held)
    })
    .await?;
    Ok(vec![Record::of("idle.memory", "MB", &held).at_most(IDLE_GOAL_MB)])
}

fn pid(data: &Path) -> Option<u32> {
    let file: serde_json::Value = serde_json::from_slice(&fs::read(data.join("server.json")).ok()?).ok()?;
    file.get("pid")?.as_u64()?.try_into().ok()
}
