//! One installation per test: its own data folder, image, task and gateway; everything is gone afterwards.

use bollard::query_parameters::{CreateImageOptionsBuilder, RemoveImageOptions};
use domain::{
    ids::{InstallationId, RunId, TaskId},
    task::Limits,
};
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use sandbox::{Docker, Exit, SandboxSpec, Sandboxes, run_dir::RunFile};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
};
use uuid::Uuid;

/// What a test can wait for at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Fixture {
    pub(crate) sandboxes: Sandboxes,
    pub(crate) task: TaskId,
    pub(crate) run: RunId,
    pub(crate) image: String,
    pub(crate) limits: Limits,
    pub(crate) data: tempfile::TempDir,
}

/// Runs `body` in an installation of its own and checks that nothing of it is left, also when the body panics.
pub(crate) fn with_fixture<F, B>(body: B)
where
    F: Future<Output = ()> + Send + 'static,
    B: FnOnce(Arc<Fixture>) -> F,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(async {
        let fixture = Arc::new(Fixture::new().await);
        let result = tokio::time::timeout(PATIENCE, tokio::spawn(body(Arc::clone(&fixture)))).await;
        fixture.clean().await;
        if let Err(panic) = result.expect("the test was done in time") {
            std::panic::resume_unwind(panic.into_panic());
        }
    });
}

impl Fixture {
    async fn new() -> Self {
        let installation = InstallationId::from_uuid(Uuid::now_v7());
        let docker = Docker::connect(None, installation).expect("an address");
        docker.ping().await.expect("these tests need a running Docker Engine");
        let data = tempfile::tempdir().expect("a folder");
        let image = import_image(&docker).await;
        Self {
            sandboxes: Sandboxes::new(docker, data.path()),
            task: TaskId::from_uuid(Uuid::now_v7()),
            run: RunId::from_uuid(Uuid::now_v7()),
            image,
            limits: Limits {
                memory_bytes: 128 << 20,
                pids: 64,
                disk_bytes: 64 << 20,
                run_time_s: 60,
                ..Limits::default()
            },
            data,
        }
    }

    /// A spec whose agent is a shell script; the run folder is made.
    pub(crate) async fn spec(&self, iteration: u32, script: &str) -> SandboxSpec {
        self.spec_of(iteration, &["/bin/sh", "-c", script], BTreeMap::new(), Vec::new()).await
    }

    pub(crate) async fn spec_of(
        &self,
        iteration: u32,
        argv: &[&str],
        env: BTreeMap<String, String>,
        files: Vec<RunFile>,
    ) -> SandboxSpec {
        let run_dir = self.sandboxes.prepare_run_dir(&self.task, supervisor(), files).await.expect("a run folder");
        SandboxSpec {
            task: self.task,
            run: self.run,
            iteration,
            image: self.image.clone(),
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            env,
            run_dir,
            limits: self.limits,
            runtime: None,
        }
    }

    /// Serves the gateway's socket of this task until the handle is dropped.
    pub(crate) fn gateway(&self) -> Gateway {
        Gateway::serve(&self.sandboxes.socket_path(&self.task))
    }

    /// Starts a script and waits for its end.
    pub(crate) async fn run_to_end(&self, script: &str) -> (Exit, String) {
        let spec = self.spec(1, script).await;
        let _gateway = self.gateway();
        self.sandboxes.ensure(&spec).await.expect("started");
        let exit = self.sandboxes.wait(&self.task).await.expect("an end");
        let output = self.sandboxes.output(&self.task, 1 << 20).await.expect("output");
        (exit, format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }

    async fn clean(&self) {
        let client = self.sandboxes.docker().client().await.expect("a client");
        let reaped = self.sandboxes.reap(&BTreeSet::new()).await.expect("reaped");
        assert!(reaped.failed.is_empty(), "{:?}", reaped.failed);
        let removed = client.remove_image(&self.image, None::<RemoveImageOptions>, None).await;
        let left = self.sandboxes.leftovers().await.expect("a list");
        assert!(left.is_empty(), "left over: {left:?} {removed:?}");
    }
}

/// The static supervisor, built once unless `TASKFORGE_SUPERVISOR` names one.
pub(crate) fn supervisor() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(path) = std::env::var_os("TASKFORGE_SUPERVISOR") {
            return path.into();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let built = Command::new(root.join("scripts/build-supervisor")).output().expect("the build script");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        root.join(String::from_utf8_lossy(&built.stdout).trim())
    })
}

/// A small image of this host's own shell and tools.
async fn import_image(docker: &Docker) -> String {
    let tools = "sh cat ls mkdir mkfifo ln dd truncate sleep head tail touch id chmod env stat tr grep rm kill";
    let script = format!(
        "set -e; cd \"$(mktemp -d)\"; pwd; mkdir -p bin proc sys dev tmp run etc; \
         for t in {tools}; do p=$(command -v $t || true); case $p in /*) ;; *) p=/bin/$t;; esac; \
         cp -L $p bin/$t; ldd $p | grep -o '/[^ ]*' | while read l; do mkdir -p .$(dirname $l); cp -Ln $l .$l; done; done; \
         tar -cf image.tar bin proc sys dev tmp run etc $(ls -d lib lib64 usr 2>/dev/null)"
    );
    let made = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let folder = PathBuf::from(String::from_utf8_lossy(&made.stdout).lines().next().expect("a folder"));
    let bytes = std::fs::read(folder.join("image.tar")).expect("an archive");
    std::fs::remove_dir_all(&folder).expect("removed");
    let labels = docker.labels(sandbox::docker::Kind::Base, None);
    let changes = labels.iter().map(|(k, v)| format!("LABEL {k}={v}")).collect();
    let tag = format!("taskforge-test-{}", docker.installation().hex());
    let options = CreateImageOptionsBuilder::default().from_src("-").repo(&tag).tag("1").changes(changes).build();
    let client = docker.client().await.expect("a client");
    let mut progress = client.create_image(Some(options), Some(bollard::body_full(bytes.into())), None);
    while let Some(step) = progress.next().await {
        step.expect("imported");
    }
    format!("{tag}:1")
}

/// A gateway that answers `/healthz` and notes every other request.
pub(crate) struct Gateway {
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: String,
}

impl Gateway {
    pub(crate) fn serve(socket: &Path) -> Self {
        Self::serve_with(socket, |_| (200, "ok".to_owned()))
    }

    pub(crate) fn serve_with(socket: &Path, answer: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static) -> Self {
        use std::os::unix::fs::PermissionsExt;
        std::fs::remove_file(socket).ok();
        let listener = UnixListener::bind(socket).expect("a socket");
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666)).expect("permissions");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (notes, answer) = (Arc::clone(&seen), Arc::new(answer));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (notes, answer) = (Arc::clone(&notes), Arc::clone(&answer));
                connections.spawn(async move {
                    let service = service_fn(|request: Request<Incoming>| handle(request, &notes, answer.as_ref()));
                    let io = TokioIo::new(stream);
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await.ok();
                });
            }
        });
        Self { seen, _tasks: tasks }
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic while noting").clone()
    }
}

async fn handle(
    request: Request<Incoming>,
    notes: &Mutex<Vec<Seen>>,
    answer: &(dyn Fn(&Seen) -> (u16, String) + Send + Sync),
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let body = String::from_utf8_lossy(&request.into_body().collect().await?.to_bytes()).into_owned();
    let seen = Seen { method, path, body };
    let (status, text) = if seen.path == "/healthz" { (200, "ok".to_owned()) } else { answer(&seen) };
    if seen.path != "/healthz" {
        notes.lock().expect("no panic while noting").push(seen);
    }
    let kind = if text.starts_with("data:") { "text/event-stream" } else { "application/json" };
    let response = Response::builder().status(status).header("content-type", kind).body(Full::new(text.into()));
    Ok(response.expect("a response"))
}

/// Stands between a client and the Engine, so that the Engine can go away without anybody else noticing.
pub(crate) struct EngineProxy {
    count: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl EngineProxy {
    pub(crate) fn serve(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        let (count, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        let counter = Arc::clone(&count);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                connections.spawn(async move {
                    let mut far = UnixStream::connect("/var/run/docker.sock").await.expect("the Engine");
                    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
                });
            }
        });
        Self { count, _tasks: tasks }
    }

    pub(crate) fn connections(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let begun = std::time::Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
