//! Every failpoint: the process dies there, another one goes on, and the result is the same.
//!
//! The scenario runs in a child process, so that dying is real. A file keeps the steps that are done, as the store does
//! for the server.

use crate::fixture::{Gateway, supervisor, until, with_fixture};
use domain::ids::{InstallationId, RunId, TaskId};
use sandbox::{
    Docker, FAILPOINTS, SandboxSpec, Sandboxes,
    workspace::{Bounds, Keep},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

const SIGABRT: i32 = 6;

#[test]
fn dying_at_any_point_changes_nothing() {
    supervisor();
    for point in FAILPOINTS {
        with_fixture(move |f| async move {
            let ids = [f.sandboxes.docker().installation().to_string(), f.task.to_string(), f.run.to_string()];
            let data = f.data.path().to_owned();
            let image = f.image.clone();
            let run = move |crash: Option<&str>| child(&ids, &data, &image, crash);
            let data = f.data.path().to_owned();
            tokio::task::spawn_blocking(move || {
                assert_eq!(run(Some(point)).signal(), Some(SIGABRT), "{point} was not hit");
                assert!(run(None).success(), "it does not go on after {point}");
                let result = std::fs::read_to_string(data.join("result")).expect("a result");
                assert_eq!(result, "1\n2\n", "each iteration ran once although the process died at {point}");
            })
            .await
            .expect("the scenario");
            let left: Vec<_> = f.sandboxes.leftovers().await.expect("a list");
            assert_eq!(left.len(), 1, "only the image is left after {point}: {left:?}");
        });
    }
}

fn child(ids: &[String; 3], data: &Path, image: &str, crash: Option<&str>) -> ExitStatus {
    let me = std::env::current_exe().expect("this program");
    let mut command = Command::new(me);
    command.args(["--exact", "crash::scenario", "--ignored", "--nocapture"]);
    command.env("TF_IDS", ids.join(",")).env("TF_DATA", data).env("TF_IMAGE", image);
    command.env("TASKFORGE_SUPERVISOR", supervisor());
    if let Some(point) = crash {
        command.env("TF_CRASH", point);
    }
    command.output().expect("the child").status
}

/// Not a test by itself: what a server does with one task, from whatever step is next.
#[tokio::test]
#[ignore = "the child of dying_at_any_point_changes_nothing"]
async fn scenario() {
    // Started by itself it has nothing to go on with.
    let Ok(ids) = std::env::var("TF_IDS") else { return };
    let var = |name| std::env::var(name).expect(name);
    let data = PathBuf::from(var("TF_DATA"));
    let ids: Vec<&str> = ids.split(',').collect();
    let installation: InstallationId = ids[0].parse().expect("an id");
    let (task, run): (TaskId, RunId) = (ids[1].parse().expect("an id"), ids[2].parse().expect("an id"));
    if let Ok(point) = std::env::var("TF_CRASH") {
        fail::cfg_callback(point, || std::process::abort()).expect("a point");
    }
    let sandboxes = Sandboxes::new(Docker::connect(None, installation).expect("an address"), &data);
    let server = Server { sandboxes, task, run, image: var("TF_IMAGE"), data };
    server.sandboxes.reap(&BTreeSet::from([task])).await.expect("reaped");
    while server.step().await {}
}

struct Server {
    sandboxes: Sandboxes,
    task: TaskId,
    run: RunId,
    image: String,
    data: PathBuf,
}

impl Server {
    /// Does the next step and notes it; `false` when none is left.
    async fn step(&self) -> bool {
        let done: u32 = std::fs::read_to_string(self.data.join("done")).map_or(0, |t| t.parse().expect("a number"));
        match done {
            0 => {
                let limits = Default::default();
                self.sandboxes.ensure_volumes(&self.task, &self.image, &limits).await.expect("volumes");
                let files = vec![("in.txt".to_owned(), b"in".to_vec())];
                self.sandboxes.put_files(&self.task, &self.image, files).await.expect("put");
            }
            1 => self.iterate(1).await,
            2 => self.iterate(2).await,
            3 => {
                let store = self.data.join("store");
                std::fs::create_dir_all(&store).expect("a folder");
                let keep = Keep::Store(store.clone());
                let found = self.sandboxes.collect(&self.task, &self.image, Bounds::default(), keep).await;
                let found = found.expect("collected");
                let ran = found.entries.iter().find(|e| e.path == "ran").and_then(|e| e.sha256.clone()).expect("ran");
                std::fs::copy(store.join(ran), self.data.join("result")).expect("kept");
            }
            4 => self.sandboxes.purge(&self.task).await.expect("purged"),
            _ => return false,
        }
        std::fs::write(self.data.join("done"), (done + 1).to_string()).expect("noted");
        true
    }

    async fn iterate(&self, iteration: u32) {
        let run_dir = self.sandboxes.prepare_run_dir(&self.task, supervisor(), vec![]).await.expect("a folder");
        let _gateway = Gateway::serve(&self.sandboxes.socket_path(&self.task));
        let script = format!("echo {iteration} >> /workspace/ran; echo ready; exec sleep 600");
        let spec = SandboxSpec {
            task: self.task,
            run: self.run,
            iteration,
            image: self.image.clone(),
            argv: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            run_dir,
            limits: Default::default(),
            runtime: None,
        };
        self.sandboxes.ensure(&spec).await.expect("ensured");
        until("the script", || async {
            self.sandboxes.output(&self.task, 100).await.is_ok_and(|o| o.stdout.starts_with(b"ready"))
        })
        .await;
        match iteration {
            1 => self.sandboxes.stop(&self.task, Duration::from_secs(30)).await.expect("stopped"),
            _ => self.sandboxes.kill(&self.task).await.expect("killed"),
        }
        self.sandboxes.wait(&self.task).await.expect("an end");
    }
}
