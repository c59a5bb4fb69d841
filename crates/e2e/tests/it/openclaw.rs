//! The main paths with the real OpenClaw: packages of each kind, decisions of each kind.

use anyhow::{Context, Result};
use api::wire::{File, RequestAsk};
use e2e::{
    Settings, World,
    agents::{file, openclaw},
    client::{answer, approve, deny, suggest},
    docker, world,
};

const CSV: &str = "date,region,amount\n2026-01-02,North,10.50\n2026-01-03,South,2.00\n2026-01-04,North,0.25\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demonstration_delivers_a_chart() -> Result<()> {
    world(Settings::default(), async |w| {
        let mut task = openclaw("demo", "Process sales.csv and write a summary");
        task.files = vec![file("sales.csv", CSV.as_bytes())];
        let task = w.run(&task).await?;
        let shown = w.approve(&task).await?;
        assert_eq!(shown.request.provenance.by, "model", "{:?}", shown.request.provenance);
        let candidate = shown.candidate.context("a package request has a candidate")?;
        assert!(candidate.artefacts.iter().any(|a| a.name == "matplotlib" && a.requested), "{candidate:?}");
        assert!(candidate.artefacts.iter().any(|a| a.name == "numpy" && !a.requested), "its dependencies are shown");
        assert!(candidate.artefacts.iter().all(|a| a.sha256.len() == 64 && a.size_bytes > 0));
        let done = w.completed(&task).await?;
        assert_eq!(done.runs[0].iterations.len(), 2, "{:?}", done.runs[0].iterations);
        assert_ne!(done.task.image.as_deref(), Some(candidate.base_image.as_str()), "it went on in a new image");
        let png = w.client.file(&task, "chart.png").await?;
        assert!(png.starts_with(b"\x89PNG\r\n") && png.len() > 5000, "{} bytes", png.len());
        let report = w.delivered(&task, "report.md").await?;
        assert!(report.contains("| North | 10.75 |") && report.contains("Grand total: 12.75 in 3 rows"), "{report}");
        assert!(w.client.verify().await?.ok);
        Ok(())
    })
    .await
}

async fn package(w: &World, model: &str, output: &str, proof: &str) -> Result<String> {
    let task = w.run(&openclaw(model, "Use the package.")).await?;
    w.approve(&task).await?;
    w.completed(&task).await?;
    let text = w.delivered(&task, output).await?;
    assert!(text.contains(proof), "{model}: {text}");
    Ok(task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pip_is_installed_once_and_its_image_is_reused() -> Result<()> {
    world(Settings::default(), async |w| {
        let first = package(w, "pip", "pip.txt", "six 1.").await?;
        let second = package(w, "pip", "pip.txt", "six 1.").await?;
        let images = [w.client.task(&first).await?.task.image, w.client.task(&second).await?.task.image];
        assert_eq!(images[0], images[1], "the same set is the same image");
        let kinds = |events: Vec<api::wire::Event>| events.into_iter().map(|e| e.kind).collect::<Vec<_>>();
        let events = kinds(w.client.events(&second).await?);
        assert!(events.iter().any(|k| k == "image.reused"), "{events:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apt_works_through_the_agents_own_tool() -> Result<()> {
    world(Settings::default(), async |w| package(w, "apt", "apt.txt", "Hello, world").await.map(drop)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npm_works_by_require_and_import() -> Result<()> {
    world(Settings::default(), async |w| package(w, "npm", "npm.txt", "  esm").await.map(drop)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denial_reaches_the_agent_with_its_reason() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&openclaw("ask-again", "Use six.")).await?;
        let shown = w.pending(&task, 1).await?.remove(0);
        let digest = shown.request.digest.context("no digest")?;
        let decided = w.client.review(&shown.request.id, &deny(&digest, "not on a Monday 4711")).await?;
        assert_eq!(decided.status, 200, "{decided:?}");
        w.completed(&task).await?;
        assert!(w.delivered(&task, "first.txt").await?.contains("not on a Monday 4711"));
        let again = w.delivered(&task, "second.txt").await?;
        assert!(again.contains("already denied") && again.contains("4711"), "answered from the record: {again}");
        assert_eq!(w.client.requests(&task).await?.len(), 1, "the repeated one is no request of its own");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suggestion_is_followed() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&openclaw("alternative", "Read JSON.")).await?;
        let shown = w.pending(&task, 1).await?.remove(0);
        let digest = shown.request.digest.context("no digest")?;
        let review = suggest(&digest, "take pip:six instead");
        assert_eq!(w.client.review(&shown.request.id, &review).await?.status, 200);
        let second = w.approve(&task).await?;
        assert!(matches!(&second.request.ask, RequestAsk::Packages { packages } if packages[0].name == "six"));
        w.completed(&task).await?;
        assert!(w.delivered(&task, "told.txt").await?.contains("take pip:six instead"));
        assert!(w.delivered(&task, "second.txt").await?.contains("Approved"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_answered() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&openclaw("question", "Draw something.")).await?;
        let shown = w.pending(&task, 1).await?.remove(0);
        assert!(docker::agent_of(&task).await?.is_none(), "waiting holds no container");
        let digest = shown.request.digest.context("no digest")?;
        let approved = w.client.review(&shown.request.id, &approve(&digest)).await?;
        assert_eq!((approved.status, approved.code()), (400, "verdict_unfit"), "a question is not approved");
        assert_eq!(w.client.review(&shown.request.id, &answer(&digest, "a dark teal")).await?.status, 200);
        w.completed(&task).await?;
        assert!(w.delivered(&task, "answer.txt").await?.contains("a dark teal"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_requests_of_one_turn_are_both_decided_before_it_goes_on() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&openclaw("two-requests", "Use both.")).await?;
        let both = w.pending(&task, 2).await?;
        w.approve_shown(&both[0]).await?;
        // The other candidate was made for the image before: it is made and shown again.
        let stale = approve(both[1].request.digest.as_deref().context("no digest")?);
        let refused = w.client.review(&both[1].request.id, &stale).await?;
        assert_eq!(refused.status, 409, "{refused:?}");
        let renewed = w.pending(&task, 1).await?.remove(0);
        assert_eq!(renewed.request.id, both[1].request.id);
        assert_ne!(renewed.request.digest, both[1].request.digest);
        w.approve_shown(&renewed).await?;
        let done = w.completed(&task).await?;
        assert_eq!(done.runs[0].iterations.len(), 2, "one turn asked, one turn worked");
        let two = w.delivered(&task, "two.txt").await?;
        assert!(two.contains("six works") && two.contains("left-pad works"), "{two}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_package_is_an_answer_and_not_a_hang() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&openclaw("unknown-package", "Use a package.")).await?;
        w.approve(&task).await?;
        w.completed(&task).await?;
        let told = w.delivered(&task, "unknown.txt").await?;
        assert!(told.contains("could not be prepared") || told.contains("Could not be resolved"), "{told}");
        assert!(w.delivered(&task, "known.txt").await?.contains("Approved"));
        let statuses: Vec<_> = w.client.requests(&task).await?.into_iter().map(|r| r.status).collect();
        assert_eq!(statuses, ["applied", "rejected"]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_new_is_delivered_where_no_file_is_named() -> Result<()> {
    world(Settings::default(), async |w| {
        let mut task = openclaw("progress", "Work.");
        task.files = vec![file("given.txt", b"not new")];
        let task = w.run(&task).await?;
        w.completed(&task).await?;
        let delivered = |files: &[File], path: &str| files.iter().any(|f| f.path == path && f.deliverable);
        let files = w.client.files(&task).await?;
        assert!(delivered(&files, "one.txt") && delivered(&files, "sub/two.txt"), "{files:?}");
        assert!(!delivered(&files, "given.txt"), "an unchanged input is no result");
        let progress = w.client.events(&task).await?.into_iter().filter(|e| e.kind == "agent.progress").count();
        assert_eq!(progress, 2);
        Ok(())
    })
    .await
}
