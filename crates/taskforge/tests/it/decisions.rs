//! Decisions from the command line.

use crate::server::{Server, ended};
use domain::task::{Desired, RunOutcome};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_needs_the_digest_that_was_shown() {
    let s = Server::start().await;
    let task = s.task().await;
    let (id, digest) = s.ask_for(task, "matplotlib").await;
    let id = id.to_string();
    let shown = s.run(&["approvals", "show", &id]).await.stdout;
    for fact in ["pip:matplotlib", "3.9.2", "1.0 MiB", "abababababab", "no model output asks for it", &digest] {
        assert!(shown.contains(fact), "{fact} in\n{shown}");
    }
    assert!(!shown.contains('\x1b'), "{shown}");
    let missing = s.run(&["approvals", "approve", &id]).await;
    assert!(missing.code == 2 && missing.stderr.contains("--digest"), "{missing:?}");
    let stale = s.run(&["approvals", "approve", &id, "--digest", &"0".repeat(64)]).await;
    assert!(stale.code == 5 && stale.stderr.contains("changed"), "{stale:?}");
    assert_eq!(s.json(&["approvals", "approve", &id, "--digest", &digest]).await["status"], "approved");
    let again = s.run(&["approvals", "deny", &id, "no", "--digest", &digest]).await;
    assert!(again.code == 5 && again.stderr.contains("already decided: approve by owner"), "{again:?}");
}

/// Plays the workflow until the newest task's requests are decided, then ends it.
async fn play(s: &Server, outcome: RunOutcome) {
    let mut changes = s.store.changes();
    let mut asked = false;
    loop {
        if let Some(task) = s.store.task_active().await.unwrap().pop() {
            if !asked {
                s.ask_for(task.id, "numpy").await;
                asked = true;
            } else if s.store.request_list(Some(task.id), None).await.unwrap().iter().all(|r| !r.status.is_open()) {
                return s.finish(task.id, outcome, &[("report.md", b"42")]).await;
            }
            assert_eq!(task.desired, Desired::Run);
        }
        changes.changed().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_goes_from_the_prompt_to_the_result() {
    let s = Server::start().await;
    let input = s.dir.path().join("sales.csv");
    std::fs::write(&input, "a,b\n").unwrap();
    let to = s.dir.path().join("result");
    let args = [
        "run",
        "Sum it up",
        "--model",
        "m",
        "--approve-all",
        "--file",
        input.to_str().unwrap(),
        "--output",
        to.to_str().unwrap(),
    ];
    let (end, ()) = tokio::join!(ended(s.command(&args).spawn().unwrap()), play(&s, RunOutcome::Submitted));
    assert_eq!(end.code, 0, "{end:?}");
    for fact in ["pip:numpy", "owner decides", "approve", "task is completed", "report.md", "1 files in"] {
        assert!(end.stdout.contains(fact), "{fact} in {end:?}");
    }
    assert_eq!(std::fs::read(to.join("report.md")).unwrap(), b"42");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_tells_of_a_failure_and_of_a_denial() {
    let s = Server::start().await;
    let args = ["run", "Try", "--model", "m", "--deny-all", "not today", "--json"];
    let failed = RunOutcome::Failed { code: "agent_failed".into(), reason: "it broke".into() };
    let (end, ()) = tokio::join!(ended(s.command(&args).spawn().unwrap()), play(&s, failed));
    assert_eq!(end.code, 6, "{end:?}");
    let lines: Vec<serde_json::Value> = end.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let decided = lines.iter().find(|l| l["kind"] == "request.decided").unwrap();
    assert_eq!(
        (&decided["data"]["decision"], &decided["bodies"]["words"]["text"]),
        (&"deny".into(), &"not today".into())
    );
    assert_eq!(lines.last().unwrap()["result"]["runs"][0]["failure_code"], "agent_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_the_task_and_says_how_to_come_back() {
    let s = Server::start().await;
    let mut child = s.command(&["run", "Wait", "--model", "m"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("task is starting") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), started).await.unwrap();
    kill_process(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), Signal::INT).unwrap();
    let end = ended(child).await;
    assert_eq!(end.code, 7, "{end:?}");
    assert!(end.stderr.contains("taskforge task watch task_"), "{end:?}");
    assert_eq!(s.store.task_active().await.unwrap().len(), 1);
}
