//! An installation as a whole: cleaned away, backed up, restored, followed over a restart.

use crate::log::cli;
use anyhow::{Result, ensure};
use e2e::{Settings, agents::program, docker, world};

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
