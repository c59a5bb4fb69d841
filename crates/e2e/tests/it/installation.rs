//! An installation as a whole: cleaned away, backed up, restored, followed over a restart.

use crate::log::cli;
use anyhow::{Result, ensure};
use api::wire::{Continue, Task};
use e2e::{
    Settings,
    agents::program,
    docker,
    wait::{LONG, until},
    world,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clean_leaves_nothing_of_this_installation() -> Result<()> {
    world(Settings::default(), async |w| {
        let done = w.run(&program(&["packages", "six"])).await?;
        w.approve(&done).await?;
        w.completed(&done).await?;
        let waiting = w.run(&program(&["again"])).await?;
        w.pending(&waiting, 1).await?;
        let running = w.run(&program(&["forever"])).await?;
        w.container(&running).await?;
        w.stop().await?;
        ensure!(docker::agent_of(&running).await?.is_some(), "a stopped server leaves its agents alone");
        let (code, said) = cli(w, &["clean", "--yes"]).await?;
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(docker::objects(&w.installation).await?, Vec::new(), "{said}");
        assert!(!w.data().exists(), "the data directory is gone");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_brings_a_waiting_task_back() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["packages", "six"])).await?;
        let shown = w.pending(&task, 1).await?.remove(0);
        w.stop().await?;
        let (code, said) = cli(w, &["backup", "all.tar"]).await?;
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = cli(w, &["clean", "--yes"]).await?;
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = cli(w, &["restore", "all.tar"]).await?;
        assert_eq!(code, Some(0), "{said}");
        w.up().await?;
        w.base_image().await?;
        let again = w.pending(&task, 1).await?.remove(0);
        assert_eq!(again.request.digest, shown.request.digest, "the same is waiting to be decided");
        w.approve_shown(&again).await?;
        w.completed(&task).await?;
        assert_eq!(w.delivered(&task, "result.txt").await?, "six works\n");
        let report = w.client.verify().await?;
        assert!(report.ok, "{:?}", report.findings);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_with_images_lets_a_task_continue_where_they_are_gone() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["packages", "six"])).await?;
        w.approve(&task).await?;
        let image = w.completed(&task).await?.task.image;
        w.stop().await?;
        let (code, said) = cli(w, &["backup", "--with-images", "all.tar"]).await?;
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = cli(w, &["restore", "all.tar"]).await?;
        assert!(code == Some(1) && said.contains("holds an installation"), "{said}");
        let (code, said) = cli(w, &["--data-dir", "other", "restore", "all.tar"]).await?;
        assert!(
            code == Some(1) && said.contains("holds workspaces of this installation"),
            "two would share them: {said}"
        );
        assert_eq!(std::fs::read_dir(w.dir().join("other"))?.count(), 0, "what failed left nothing");
        let (code, said) = cli(w, &["clean", "--yes"]).await?;
        assert_eq!(code, Some(0), "{said}");
        let gone = docker::docker(&["image", "inspect", image.as_deref().unwrap_or_default()]).await;
        assert!(gone.is_err(), "the task's image went with the installation");
        std::fs::create_dir_all(w.data())?;
        std::fs::write(w.data().join("dockerd.log"), "what a script left is not in the way")?;
        let (code, said) = cli(w, &["restore", "all.tar"]).await?;
        assert!(code == Some(0) && !said.contains("does not have"), "{said}");
        w.up().await?;
        let more = Continue { instructions: "again".to_owned() };
        w.client.post::<Task>(&format!("/api/tasks/{task}/continue"), &more).await?;
        let done = until("the second run", LONG, async || {
            let t = w.client.task(&task).await?;
            Ok((t.task.ended && t.runs.len() == 2).then_some(t))
        })
        .await?;
        assert_eq!(
            (done.runs[1].outcome.as_deref(), &done.task.image),
            (Some("submitted"), &image),
            "{}",
            e2e::short(&done)
        );
        assert_eq!(w.client.requests(&task).await?.len(), 1, "it did not have to ask again");
        Ok(())
    })
    .await
}
