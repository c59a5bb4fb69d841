//! Decisions over HTTP: stale, double, late; and builds that fail. With a small real program as the agent.

use anyhow::{Context, Result};
use e2e::{
    Settings,
    agents::program,
    client::{answer, approve, deny},
    registry::Registry,
    world,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_binds_to_what_was_shown_and_is_made_once() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["packages", "six"])).await?;
        let shown = w.pending(&task, 1).await?.remove(0);
        let (id, digest) = (shown.request.id.clone(), shown.request.digest.clone().context("no digest")?);
        assert_eq!(shown.request.provenance.by, "program", "no model asked for it");

        let other = w.client.review(&id, &approve(&"0".repeat(64))).await?;
        assert_eq!((other.status, other.code()), (409, "request_stale"), "{other:?}");
        let unfit = w.client.review(&id, &answer(&digest, "yes")).await?;
        assert_eq!((unfit.status, unfit.code()), (400, "verdict_unfit"), "{unfit:?}");
        let forged = json!({"decision": "approve", "digest": digest, "reviewer": "somebody else"});
        let forged = w.client.try_post(&format!("/api/capabilities/requests/{id}/review"), &forged).await?;
        assert_eq!(forged.status, 400, "the reviewer is no field: {forged:?}");

        let (one, two) = (approve(&digest), deny(&digest, "no"));
        let (a, b) = tokio::join!(w.client.review(&id, &one), w.client.review(&id, &two));
        let (a, b) = (a?, b?);
        let (won, lost) = if a.status == 200 { (a, b) } else { (b, a) };
        assert_eq!((won.status, lost.status), (200, 409), "{won:?} {lost:?}");
        assert_eq!(lost.code(), "request_decided");
        let recorded = &lost.body["error"]["details"]["decision"];
        assert_eq!(recorded["decision"], won.body["decision"]["decision"], "it shows what was recorded: {lost:?}");
        assert_eq!(recorded["reviewer"], won.body["decision"]["reviewer"]);
        w.completed(&task).await?;
        let decided = w.client.events(&task).await?.into_iter().filter(|e| e.kind == "request.decided").count();
        assert_eq!(decided, 1);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approving_one_makes_the_other_stale() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["pair"])).await?;
        let both = w.pending(&task, 2).await?;
        w.approve_shown(&both[0]).await?;
        let late = approve(both[1].request.digest.as_deref().context("no digest")?);
        let refused = w.client.review(&both[1].request.id, &late).await?;
        assert_eq!(refused.status, 409, "{refused:?}");
        let renewed = w.pending(&task, 1).await?.remove(0);
        let candidate = renewed.candidate.clone().context("no candidate")?;
        let names: Vec<_> = candidate.artefacts.iter().map(|a| (a.name.as_str(), a.already_approved)).collect();
        assert!(names.contains(&("six", true)) && names.contains(&("toml", false)), "{names:?}");
        let digest = renewed.request.digest.clone().context("no digest")?;
        assert_eq!(w.client.review(&renewed.request.id, &deny(&digest, "one is enough")).await?.status, 200);
        w.completed(&task).await?;
        let told = w.delivered(&task, "told.txt").await?;
        assert!(told.contains("Approved") && told.contains("one is enough"), "{told}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undecided_request_expires() -> Result<()> {
    world(Settings::default().with("TASKFORGE_REQUEST_TTL_S", "8"), async |w| {
        let task = w.run(&program(&["expire"])).await?;
        let shown = w.pending(&task, 1).await?.remove(0);
        w.completed(&task).await?;
        assert!(w.delivered(&task, "told.txt").await?.contains("Nobody decided"));
        let late = approve(shown.request.digest.as_deref().context("no digest")?);
        let refused = w.client.review(&shown.request.id, &late).await?;
        assert_eq!((refused.status, refused.code()), (409, "request_not_pending"), "{refused:?}");
        assert_eq!(w.client.request(&shown.request.id).await?.request.status, "expired");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_waits_and_holds_nothing() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["question"])).await?;
        let shown = w.pending(&task, 1).await?.remove(0);
        assert!(e2e::docker::agent_of(&task).await?.is_none());
        assert!(!w.data().join("run").join(&task).join("gateway.sock").exists(), "no socket waits");
        let digest = shown.request.digest.context("no digest")?;
        assert_eq!(w.client.review(&shown.request.id, &answer(&digest, "violet 99")).await?.status, 200);
        w.completed(&task).await?;
        assert!(w.delivered(&task, "answer.txt").await?.contains("violet 99"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_fails_is_told_and_something_else_can_be_asked() -> Result<()> {
    let registry = Registry::start().await?;
    world(Settings::default().with("TASKFORGE_PYPI_URL", &registry.url), async |w| {
        let task = w.run(&program(&["broken"])).await?;
        let first = w.approve(&task).await?;
        let second = w.approve(&task).await?;
        w.completed(&task).await?;
        let told = w.delivered(&task, "told.txt").await?;
        assert!(told.contains("could not be installed") && told.contains("pip package taskforge-broken"), "{told}");
        let failed = w.client.request(&first.request.id).await?.request;
        assert_eq!(failed.status, "build_failed");
        assert!(failed.failure.is_some_and(|f| f.len() > 20), "it says why");
        assert_eq!(w.client.request(&second.request.id).await?.request.status, "applied");
        let candidate = second.candidate.context("no candidate")?;
        assert!(
            candidate.artefacts.iter().all(|a| a.ecosystem == "npm"),
            "what failed is not in the next image: {candidate:?}"
        );
        Ok(())
    })
    .await
}
