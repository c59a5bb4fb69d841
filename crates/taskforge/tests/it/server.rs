//! An API on a store in a temporary folder, and the program run against it.

use api::{Api, ApiConfig, ApiError, Code, GatewayServices, Services, ask, wire};
use axum::{body::Body, http::Response};
use domain::{
    candidate::{Artefact, Candidate},
    ids::{RequestId, TaskId},
    request::{Ask, Ecosystem, PackageAsk, Provenance},
    task::RunOutcome,
};
use futures::FutureExt;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use std::{fs::File, path::Path, process::Stdio, sync::Arc, time::Duration};
use store::{Durability, NewRequest, OutputFile, Store};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) dir: TempDir,
    serving: JoinHandle<()>,
    /// As a server holds it: commands ask the server, and do not open the data directory themselves.
    _lock: File,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lock = File::create(dir.path().join("lock")).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        std::fs::create_dir(dir.path().join("keys")).unwrap();
        let key = audit::LogKey::open_or_create(&dir.path().join("keys/log.key")).unwrap();
        let log = audit::Log::open(store.log_dir(), key, &format!("taskforge/{}", store.installation())).unwrap();
        store.log_attach(log).await.unwrap();
        api::first_token(&store, &dir.path().join("token")).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let announcement = json!({"address": listener.local_addr().unwrap(), "pid": std::process::id()});
        std::fs::write(dir.path().join("server.json"), announcement.to_string()).unwrap();
        let stop = CancellationToken::new();
        let api = Api::new(store.clone(), services(&store), ApiConfig::default(), stop.clone());
        let serving = tokio::spawn(async move { api::serve(listener, api, stop).await.unwrap() });
        Self { store, dir, serving, _lock: lock }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskforge"));
        command.args(args).env_clear().env("TASKFORGE_DATA_DIR", self.dir.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        ended(self.command(args).spawn().unwrap()).await
    }

    /// Runs a command that must work, and returns its JSON.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        let end = self.run(&[args, &["--json"]].concat()).await;
        assert_eq!(end.code, 0, "{args:?}: {end:?}");
        end.json()
    }

    /// A started task.
    pub(crate) async fn task(&self) -> TaskId {
        let made = self.json(&["task", "create", "--description", "Do it", "--model", "m"]).await;
        let id = made["id"].as_str().unwrap();
        self.json(&["task", "start", id]).await;
        id.parse().unwrap()
    }

    /// What the agent and the resolver would do: a request for a package, ready for a decision.
    pub(crate) async fn ask_for(&self, task: TaskId, name: &str) -> (RequestId, String) {
        let run = self.store.task_get(task).await.unwrap().run.unwrap();
        let packages = vec![PackageAsk { ecosystem: Ecosystem::Pip, name: name.into(), version: None }];
        let new = NewRequest {
            task,
            run,
            iteration: 1,
            ask: Ask::Packages { packages },
            reason: "I need it\u{1b}[2J".into(),
            provenance: Provenance::Program,
            ttl: Duration::from_secs(3600),
            max_open: 3,
        };
        let made = self.store.write(Durability::Power, move |tx| async move { tx.request_insert(new).await }.boxed());
        let id = made.await.unwrap().id;
        let candidate = candidate(id, name);
        let shown = self
            .store
            .write(Durability::Power, move |tx| async move { tx.request_pending(id, &candidate).await }.boxed());
        (id, shown.await.unwrap().digest.unwrap())
    }

    /// What the workflow would do at the end: files, submission, end of the run.
    pub(crate) async fn finish(&self, task: TaskId, outcome: RunOutcome, files: &[(&str, &[u8])]) {
        let record = self.store.task_get(task).await.unwrap();
        let run = record.run.unwrap();
        let mut rows = Vec::new();
        for (path, bytes) in files {
            let row = OutputFile {
                path: (*path).to_owned(),
                kind: "file".into(),
                size: bytes.len() as u64,
                mode: 0o644,
                sha256: Some(sha256(bytes)),
                kept: true,
                skipped: None,
                deliverable: true,
            };
            let place = self.store.output_file_path(task, &row).unwrap();
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, bytes).unwrap();
            rows.push(row);
        }
        let ended = self.store.write(Durability::Power, move |tx| {
            async move {
                tx.output_files_replace(task, run, &rows).await?;
                tx.run_submit(run, "done\u{202e}", &[]).await?;
                tx.run_finish(&record, run, &outcome).await
            }
            .boxed()
        });
        ended.await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(crate) async fn ended(child: Child) -> Ended {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the command ends").unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn candidate(request: RequestId, name: &str) -> Candidate {
    Candidate {
        request,
        base_image: format!("sha256:{}", "09".repeat(32)),
        parent_image: format!("sha256:{}", "09".repeat(32)),
        artefacts: vec![Artefact {
            ecosystem: Ecosystem::Pip,
            name: name.into(),
            version: "3.9.2".into(),
            sha256: "ab".repeat(32),
            size_bytes: 1 << 20,
            file_name: format!("{name}.whl"),
            url: String::new(),
            licence: None,
            uploaded_at: None,
            install_scripts: false,
            requested: true,
            places: vec![],
        }],
        dockerfile: "FROM sha256:09\n".into(),
        policy_version: 1,
    }
}

fn services(store: &Store) -> Services {
    let no_docker = || async { ApiError::new(Code::DockerUnavailable, "Docker does not answer") };
    let log = store.clone();
    Services {
        model_resolve: ask(|name: String| async move {
            if name == "m" {
                Ok("x/m".into())
            } else {
                Err(ApiError::new(Code::UnknownModel, format!("nobody offers {name:?}")))
            }
        }),
        models: ask(|()| async { Ok(vec!["x/m".to_owned()]) }),
        health: ask(|()| async {
            let hint = Some("start Docker".to_owned());
            Ok(vec![wire::HealthCheck {
                name: "docker".into(),
                ok: false,
                required: true,
                detail: "no answer".into(),
                hint,
            }])
        }),
        facts: ask(|()| async { Ok(json!({})) }),
        audit_verify: ask(move |()| async move { Err(no_docker().await) }),
        audit_checkpoint: ask(move |()| {
            let log = log.clone();
            async move {
                log.seal().await?;
                log.log_newest().await?.ok_or_else(|| ApiError::new(Code::LogUnavailable, "no checkpoint"))
            }
        }),
        gateway: gateway(),
        images: None,
    }
}

/// The model gateway is tested as a program (`gateway.rs`); here nothing calls a model.
fn gateway() -> GatewayServices {
    let none = || ApiError::new(Code::UnknownRoute, "there is no gateway in this test");
    GatewayServices {
        call: Arc::new(|_, _| Box::pin(async { Response::new(Body::from("no gateway in this test")) })),
        providers: ask(|()| async { Ok(vec![]) }),
        provider_save: ask(move |_| async move { Err(none()) }),
        provider_remove: ask(move |_| async move { Err(none()) }),
        provider_test: ask(move |_| async move { Err(none()) }),
        aliases: ask(|()| async { Ok(vec![]) }),
        reload: ask(move |_| async move { Err(none()) }),
        metrics: ask(|()| async { Ok(String::new()) }),
    }
}
