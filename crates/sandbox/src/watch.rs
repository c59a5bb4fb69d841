//! Waiting for the end of a sandbox, and ending it when it exceeds its time or disk.
//!
//! The watch holds no state: limits and the start are read from the container, and the reason of an end is computed
//! from what can be seen afterwards, so that a crash of the watcher loses nothing.

use crate::{
    error::Error,
    lifecycle::{Exit, Found, Limit, Sandboxes},
};
use bollard::{models::ContainerStateStatusEnum as Status, query_parameters::WaitContainerOptionsBuilder};
use domain::{ids::TaskId, task::Limits};
use futures::StreamExt;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long [`Sandboxes::wait`] bears an Engine that does not answer.
pub const ENGINE_AWAY_LIMIT: Duration = Duration::from_secs(600);
/// Between two attempts to reach the Engine again.
const ENGINE_RETRY: Duration = Duration::from_millis(500);
/// Least time between two measurements of the disk use; a measurement that takes long is made more rarely.
const DISK_POLL: Duration = Duration::from_secs(2);
/// A measurement takes at most this share of the time: one part in so many.
const DISK_POLL_SHARE: u32 = 10;
/// Between the polite and the final signal when a limit ends a run.
const LIMIT_GRACE: Duration = Duration::from_secs(5);

impl Sandboxes {
    /// Waits until the task's container has ended, and ends it when it exceeds its time or disk limit. Can be dropped
    /// and called again, also by another process; bears an Engine that restarts for [`ENGINE_AWAY_LIMIT`].
    pub async fn wait(&self, task: &TaskId) -> Result<Exit, Error> {
        let mut away_since: Option<Instant> = None;
        let mut next_disk = Instant::now();
        loop {
            let found = match self.find(task).await {
                Ok(Some(found)) => found,
                Ok(None) => return Err(Error::NotFound { what: self.docker.container_name(task) }),
                Err(error) if error.is_transient() => {
                    if away_since.get_or_insert_with(Instant::now).elapsed() > ENGINE_AWAY_LIMIT {
                        return Err(error);
                    }
                    sleep(ENGINE_RETRY).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            away_since = None;
            if found.is_over() {
                return Ok(self.exit_of(task, found).await);
            }
            if found.status == Status::CREATED {
                return Err(Error::invalid(format!("the container of {task} has not been started")));
            }
            let left = time_left(&found);
            if left.is_zero() {
                self.end_by_limit(&found.id, LIMIT_GRACE).await?;
                continue;
            }
            if Instant::now() >= next_disk {
                let begun = Instant::now();
                let over = self.is_over_disk_limit(task, &found.limits).await;
                next_disk = Instant::now() + DISK_POLL.max(begun.elapsed() * DISK_POLL_SHARE);
                if over {
                    self.end_by_limit(&found.id, Duration::ZERO).await?;
                    continue;
                }
            }
            let pause = left.min(next_disk.saturating_duration_since(Instant::now()));
            self.until_change(&found.id, pause).await;
        }
    }

    /// Returns when the container has ended or `pause` has passed; an Engine that goes away counts as a change.
    async fn until_change(&self, id: &str, pause: Duration) {
        let Ok(client) = self.docker.client().await else { return sleep(ENGINE_RETRY).await };
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut ended = std::pin::pin!(client.wait_container(id, Some(options)));
        tokio::select! {
            answer = ended.next() => {
                // A code above zero is reported as an error too; an inspection tells which it was.
                if !matches!(answer, Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. }))) {
                    sleep(ENGINE_RETRY).await;
                }
            }
            () = sleep(pause) => {}
        }
    }

    async fn end_by_limit(&self, id: &str, grace: Duration) -> Result<(), Error> {
        match grace.is_zero() {
            true => self.kill_id(id).await,
            false => self.stop_id(id, grace).await,
        }
    }

    async fn is_over_disk_limit(&self, task: &TaskId, limits: &Limits) -> bool {
        match self.usage(task).await {
            Ok(usage) => usage.is_over(limits.disk_bytes),
            Err(error) => {
                tracing::warn!(task.id = %task, error = %error, "the disk use of a sandbox could not be measured");
                false
            }
        }
    }

    /// Adds the reason to an end. It is computed from what can be seen afterwards, so that it is not lost in a crash
    /// between the kill and the record.
    async fn exit_of(&self, task: &TaskId, found: Found) -> Exit {
        let mut exit = found.exit.clone();
        if exit.code != 0 {
            let ran_out = match (exit.started_at, exit.finished_at) {
                (Some(from), Some(to)) => to.duration_since(from).as_secs() >= signed(found.limits.run_time_s),
                _ => false,
            };
            exit.limit = if exit.oom_killed {
                Some(Limit::Memory)
            } else if ran_out {
                Some(Limit::Time)
            } else if self.is_over_disk_limit(task, &found.limits).await {
                Some(Limit::Disk)
            } else {
                None
            };
        }
        exit
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn time_left(found: &Found) -> Duration {
    let Some(started) = found.exit.started_at else { return Duration::from_secs(found.limits.run_time_s) };
    let ran = Timestamp::now().duration_since(started);
    let ran = Duration::try_from(ran).unwrap_or_default();
    Duration::from_secs(found.limits.run_time_s).saturating_sub(ran)
}
