//! The server stops, is killed and starts again while agents work: nobody notices.

use crate::crash::nothing_twice;
use anyhow::Result;
use e2e::{Settings, agents::program, docker, world};
use std::time::{Duration, Instant};

/// A server that only has to leave its containers alone stops well before its parts are given up.
const QUICK: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_invisible_to_the_agent() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["steps", "30", "0.7"])).await?;
        w.event(&task, "a model call", |e| e.kind == "llm.call").await?;
        let container = w.container(&task).await?;
        let began = Instant::now();
        w.stop().await?;
        assert!(began.elapsed() < QUICK, "stopping took {:.1} s", began.elapsed().as_secs_f32());
        assert_eq!(
            docker::agent_of(&task).await?.as_deref(),
            Some(container.as_str()),
            "it goes on without the server"
        );
        w.up().await?;
        let done = w.completed(&task).await?;
        assert_eq!(done.runs[0].iterations.len(), 1, "the same process went on: {}", e2e::short(&done));
        let lines: Vec<String> = w.delivered(&task, "steps.txt").await?.lines().map(str::to_owned).collect();
        assert_eq!(lines, (1..=30).map(|n| n.to_string()).collect::<Vec<_>>());
        nothing_twice(w, &task).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_times_change_nothing() -> Result<()> {
    let mut random = crate::crash::Random::from_env();
    println!("seed {}", random.seed);
    world(Settings::default(), async |w| {
        for _ in 0..2 {
            let task = w.run(&program(&["steps", "10", "0.4"])).await?;
            for _ in 0..4 {
                // The time of the kill is what the test is about; nothing is waited for.
                tokio::time::sleep(Duration::from_millis(random.below(2500))).await;
                w.kill().await?;
                w.up().await?;
            }
            w.completed(&task).await?;
            let lines: Vec<String> = w.delivered(&task, "steps.txt").await?.lines().map(str::to_owned).collect();
            assert_eq!(lines, (1..=10).map(|n| n.to_string()).collect::<Vec<_>>());
            nothing_twice(w, &task).await?;
        }
        assert!(w.client.verify().await?.ok);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_data_is_refused() -> Result<()> {
    world(Settings::default(), async |w| {
        let out = e2e::server::taskforge(w.dir())?
            .args(["up", "--listen", "127.0.0.1:0"])
            .envs(&w.settings.env)
            .output()
            .await?;
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains("another server"), "{said}");
        assert!(w.client.verify().await?.ok, "the first one goes on");
        Ok(())
    })
    .await
}
