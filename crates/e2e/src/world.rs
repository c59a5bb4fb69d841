//! One installation with its scripted model, from its first start to the proof that nothing of it remains.

use crate::{
    client::{self, Client},
    docker, leaks,
    server::{Server, Settings, binary},
    wait::{LONG, PATIENCE, until},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use api::wire::{self, NewTask, RequestDetail, TaskDetail};
use futures::FutureExt;
use reqwest::Method;
use scripted_model::Options;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    env, fs,
    net::SocketAddr,
    panic::{AssertUnwindSafe, resume_unwind},
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
    time::Instant,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::Mutex, task::JoinHandle};

/// The provider's key: it must never be seen anywhere but at the provider.
pub const CANARY: &str = "sk-canary-5f1d0a7be2c94e38";
/// Bytes of the server's log that are shown when a test fails.
const LOG_TAIL_BYTES: usize = 6000;

/// One installation.
pub struct World {
    dir: TempDir,
    /// How the server is started.
    pub settings: Settings,
    server: Option<Server>,
    model: JoinHandle<()>,
    model_address: SocketAddr,
    /// A client with the first token.
    pub client: Client,
    /// The installation's id.
    pub installation: String,
}

/// Runs `body` in a fresh world, then checks that nothing was left over, then cleans.
pub async fn world(settings: Settings, body: impl AsyncFnOnce(&mut World) -> Result<()>) -> Result<()> {
    let began = Instant::now();
    let mut world = World::start(settings).await?;
    let done = AssertUnwindSafe(body(&mut world)).catch_unwind().await;
    if !matches!(done, Ok(Ok(()))) {
        world.explain().await;
    }
    let leaks = if matches!(done, Ok(Ok(()))) { world.leaks().await } else { Ok(Vec::new()) };
    world.end().await?;
    println!("{}: {:.1} s", thread::current().name().unwrap_or_default(), began.elapsed().as_secs_f32());
    match done {
        Err(panic) => resume_unwind(panic),
        Ok(result) => result?,
    }
    let leaks = leaks?;
    ensure!(leaks.is_empty(), "left over:\n{}", leaks.join("\n"));
    Ok(())
}

async fn serve_model(address: SocketAddr) -> Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let options = Options { api_key: Some(CANARY.to_owned()), ..Options::default() };
    let serving = tokio::spawn(async move { drop(scripted_model::serve(listener, options).await) });
    Ok((address, serving))
}

impl World {
    /// Starts a model and a server, and makes sure of the base image.
    pub async fn start(settings: Settings) -> Result<Self> {
        let place = settings.place.clone().unwrap_or_else(env::temp_dir);
        let dir = tempfile::Builder::new().prefix("tf-e2e-").tempdir_in(place)?;
        fs::create_dir(dir.path().join("tmp"))?;
        let (model_address, model) = serve_model(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let mut settings =
            settings.with("OPENAI_BASE_URL", format!("http://{model_address}/v1")).with("OPENAI_API_KEY", CANARY);
        if env::var_os("TASKFORGE_SUPERVISOR").is_none() {
            let found =
                binary("TASKFORGE_SUPERVISOR", "../static/x86_64-unknown-linux-gnu/release/taskforge-supervisor")?;
            settings = settings.with("TASKFORGE_SUPERVISOR", found.to_string_lossy());
        }
        let server =
            Server::start(dir.path(), &settings).await.with_context(|| tail(&dir.path().join("server.log")))?;
        let client = Client::new(server.address, Some(token(dir.path())?))?;
        let info: wire::SystemInfo = client.get("/api/system/info").await?;
        let installation = info.installation;
        let world = Self { dir, settings, server: Some(server), model, model_address, client, installation };
        world.base_image().await?;
        Ok(world)
    }

    /// The folder that holds the data directory and the server's log.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The base image is made once per machine, by one world at a time.
    pub async fn base_image(&self) -> Result<()> {
        static ONE_AT_A_TIME: OnceLock<Mutex<()>> = OnceLock::new();
        let _turn = ONE_AT_A_TIME.get_or_init(Mutex::default).lock().await;
        until("the base image", LONG * 3, async || {
            let state: wire::Bootstrap = self.client.send(Method::POST, "/api/images/bootstrap", None).await?.ok()?;
            match state.state.as_str() {
                "ready" => Ok(Some(())),
                "failed" => bail!("the base image cannot be made: {}", state.detail),
                _ => Ok(None),
            }
        })
        .await
    }

    /// Ends the server as `kill -9` does.
    pub async fn kill(&mut self) -> Result<()> {
        self.server.take().context("the server does not run")?.kill().await
    }

    /// Ends the server as `taskforge down` does.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.server.take().context("the server does not run")?.stop().await?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }

    /// Starts the server on the same data directory.
    pub async fn up(&mut self) -> Result<()> {
        let server = Server::start(self.dir.path(), &self.settings).await?;
        self.client = Client::new(server.address, Some(token(self.dir.path())?))?;
        self.server = Some(server);
        Ok(())
    }

    /// Whether an armed crash point has ended the server; then it is gone.
    pub fn crashed(&mut self) -> Result<bool> {
        let crashed = match &mut self.server {
            None => true,
            Some(server) => server.crashed()?,
        };
        if crashed {
            self.server = None;
        }
        Ok(crashed)
    }

    /// What the provider has seen.
    pub async fn seen(&self) -> Result<Value> {
        let client = Client::new(self.model_address, None)?;
        client.get("/_seen").await
    }

    /// Takes the provider away.
    pub async fn model_down(&mut self) {
        self.model.abort();
        drop((&mut self.model).await);
    }

    /// Brings the provider back at its address.
    pub async fn model_up(&mut self) -> Result<()> {
        self.model = serve_model(self.model_address).await?.1;
        Ok(())
    }

    /// Creates a task and starts it; returns its id.
    pub async fn run(&self, new: &NewTask) -> Result<String> {
        let task: wire::Task = self.client.post("/api/tasks", new).await?;
        self.client.command(&task.id, "start").await?.ok::<wire::Task>()?;
        Ok(task.id)
    }

    /// Waits until the task fulfils `is`. A task that ends before is an error.
    pub async fn when(&self, task: &str, what: &str, is: impl Fn(&TaskDetail) -> bool) -> Result<TaskDetail> {
        until(&format!("task {task}: {what}"), LONG, async || {
            let t = self.client.task(task).await?;
            if is(&t) {
                return Ok(Some(t));
            }
            ensure!(!t.task.ended, "the task ended before {what}: {}", short(&t));
            Ok(None)
        })
        .await
    }

    /// Waits until the task shows a status.
    pub async fn status(&self, task: &str, status: &str) -> Result<TaskDetail> {
        self.when(task, status, |t| t.task.status == status).await
    }

    /// Waits until the timeline of a task has an event that fulfils `is`.
    pub async fn event(&self, task: &str, what: &str, is: impl Fn(&wire::Event) -> bool) -> Result<wire::Event> {
        until(&format!("an event of {task}: {what}"), LONG, async || {
            Ok(self.client.events(task).await?.into_iter().find(|e| is(e)))
        })
        .await
    }

    /// Waits until the task waits for a person, with `n` requests that can be decided; oldest first.
    pub async fn pending(&self, task: &str, n: usize) -> Result<Vec<RequestDetail>> {
        let what = format!("{n} requests to be decided");
        let t = self.when(task, &what, |t| t.pending_requests.len() == n && t.task.status == "waiting").await?;
        let mut all = Vec::new();
        for id in &t.pending_requests {
            all.push(self.client.request(id).await?);
        }
        all.sort_by(|a, b| a.request.id.cmp(&b.request.id));
        Ok(all)
    }

    /// Waits for the one request of a task, looks at it, and approves what was shown.
    pub async fn approve(&self, task: &str) -> Result<RequestDetail> {
        let request = self.pending(task, 1).await?.remove(0);
        self.approve_shown(&request).await?;
        Ok(request)
    }

    /// Approves a request with the digest that was shown.
    pub async fn approve_shown(&self, shown: &RequestDetail) -> Result<()> {
        let digest = shown.request.digest.as_deref().context("a pending request without a digest")?;
        self.client.review(&shown.request.id, &client::approve(digest)).await?.ok::<wire::Request>()?;
        Ok(())
    }

    /// Waits until the task has ended.
    pub async fn ended(&self, task: &str) -> Result<TaskDetail> {
        self.when(task, "its end", |t| t.task.ended).await
    }

    /// Waits until the task has ended well, with a submission.
    pub async fn completed(&self, task: &str) -> Result<TaskDetail> {
        let t = self.ended(task).await?;
        let outcome = t.runs.last().and_then(|r| r.outcome.as_deref());
        ensure!(t.task.status == "completed" && outcome == Some("submitted"), "not completed: {}", short(&t));
        Ok(t)
    }

    /// A delivered file as text.
    pub async fn delivered(&self, task: &str, path: &str) -> Result<String> {
        let files = self.client.files(task).await?;
        let file = files.iter().find(|f| f.path == path).ok_or_else(|| anyhow!("{path} is not among {files:?}"))?;
        ensure!(file.deliverable && file.kept, "{path} was not delivered: {file:?}");
        Ok(String::from_utf8(self.client.file(task, path).await?)?)
    }

    /// Waits until the agent's container of the task runs; returns its id.
    pub async fn container(&self, task: &str) -> Result<String> {
        until("the agent's container", PATIENCE, async || docker::agent_of(task).await).await
    }

    /// What the installation left over although all its tasks have ended. A world that was cleaned away owns nothing.
    pub async fn leaks(&self) -> Result<Vec<String>> {
        let mut found = leaks::temporaries(&self.dir.path().join("tmp"))?;
        if self.server.is_none() {
            found.extend(docker::objects(&self.installation).await?.iter().map(|o| format!("{o:?}")));
            return Ok(found);
        }
        let page: Value = self.client.get("/api/tasks?limit=200").await?;
        let tasks = page["items"].as_array().context("no list of tasks")?;
        let text = |v: &Value, k: &str| v[k].as_str().unwrap_or_default().to_owned();
        let living: Vec<_> = tasks.iter().filter(|t| t["ended"] == json!(false)).map(|t| text(t, "id")).collect();
        ensure!(living.is_empty(), "tasks go on at the end of the test: {living:?}");
        let ids: BTreeSet<_> = tasks.iter().map(|t| text(t, "id")).collect();
        let images: Value = self.client.get("/api/images").await?;
        let used = images["items"].as_array().into_iter().flatten().map(|i| text(i, "id")).collect();
        found.extend(leaks::found(&self.installation, &self.data(), &ids, &used).await?);
        Ok(found)
    }

    /// Says what a failed test leaves to be looked at.
    async fn explain(&self) {
        eprintln!("--- server.log\n{}", tail(&self.dir.path().join("server.log")));
        let Ok(page) = self.client.get::<Value>("/api/tasks").await else { return };
        for task in page["items"].as_array().into_iter().flatten() {
            let id = task["id"].as_str().unwrap_or_default();
            let Ok(t) = self.client.task(id).await else { continue };
            eprintln!("--- {}", short(&t));
            for e in self.client.events(id).await.unwrap_or_default() {
                eprintln!("{:>5} {} {} {} {:?} {}", e.index, e.time, e.kind, e.phase, e.outcome, e.data);
            }
        }
    }

    /// Removes all of it.
    async fn end(mut self) -> Result<()> {
        if let Some(server) = self.server.take() {
            server.kill().await?;
        }
        self.model.abort();
        leaks::clean(&self.installation).await?;
        self.dir.close().context("the data directory could not be removed")
    }
}

fn token(dir: &Path) -> Result<String> {
    Ok(fs::read_to_string(dir.join("data/token")).context("there is no first token")?.trim().to_owned())
}

/// The end of a log.
fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let from = (text.len().saturating_sub(LOG_TAIL_BYTES)..=text.len()).find(|i| text.is_char_boundary(*i));
    text[from.unwrap_or(0)..].to_owned()
}

/// A task in one line.
pub fn short(t: &TaskDetail) -> String {
    let run = t.runs.last();
    json!({
        "id": t.task.id, "name": t.task.name, "status": t.task.status, "desired": t.task.desired, "reason": t.task.status_reason,
        "outcome": run.and_then(|r| r.outcome.clone()), "code": run.and_then(|r| r.failure_code.clone()),
        "failure": run.and_then(|r| r.failure.clone()),
        "iterations": run.map(|r| r.iterations.iter().map(|i| json!([i.cause, i.end, i.exit_code])).collect::<Vec<_>>()),
    })
    .to_string()
}
