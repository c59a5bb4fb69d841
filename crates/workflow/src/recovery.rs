//! What a crash left open, and what became of it.
//!
//! An act with an outside effect has a begun leaf before it and an ended leaf after it. Where the second is missing, this
//! module looks for the effect itself, in the Engine, the files or the store, and says whether it is there: done, or not
//! done (also where only a part is there: what is repeated is repeated whole). Unknown is left for what nobody can see.
//!
//! It changes nothing and decides nothing; the caller records what it finds, before anything is repeated.

mod seen;

pub use seen::{Finding, Place, Seen};

use crate::activities::STOP_GRACE;
use domain::{
    event::{Event, EventKind},
    ids::{RunId, TaskId},
};
use image::{ImageError, Images, Keep, Unneeded};
use sandbox::{
    Presence, Sandboxes,
    volumes::VOLUMES,
    workspace::{Bounds, Keep as Contents},
};
use std::{collections::BTreeSet, time::Duration};
use store::{OpenOp, Store, StoreError};
use tokio::time::{Instant, sleep, timeout};

/// How long all acts together wait for an Engine that does not answer.
const ENGINE_WAIT: Duration = Duration::from_secs(20);
/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(120);
/// Pause between two tries.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// How much longer than an agent's grace the Engine may take to end its container.
const STOP_MARGIN: Duration = Duration::from_secs(2);
/// Pause between two looks at a container that is being stopped.
const STOP_POLL: Duration = Duration::from_millis(100);

/// Looks for the effects of acts.
pub struct Look<'a> {
    store: &'a Store,
    sandboxes: &'a Sandboxes,
    images: &'a Images,
    engine_until: Instant,
}

/// Why a look gave nothing.
enum Blind {
    /// The Engine does not answer now.
    Away(&'static str),
    /// It cannot be seen, however long one looks.
    For(&'static str),
}

impl From<sandbox::Error> for Blind {
    fn from(e: sandbox::Error) -> Self {
        if e.is_transient() { Self::Away(e.code()) } else { Self::For(e.code()) }
    }
}

impl From<ImageError> for Blind {
    fn from(e: ImageError) -> Self {
        if e.is_transient() { Self::Away(e.code()) } else { Self::For(e.code()) }
    }
}

impl From<StoreError> for Blind {
    fn from(e: StoreError) -> Self {
        tracing::warn!(error = %e, "the record of an open act could not be read");
        Self::For("record_unreadable")
    }
}

/// What the installation's tasks still need.
pub async fn needed(store: &Store) -> Result<Keep, StoreError> {
    Ok(Keep {
        images: store.images_in_use().await?.into_iter().collect(),
        packages: store.packages_in_use().await?,
        drop_bases: false,
    })
}

impl<'a> Look<'a> {
    /// Begins to look; the time that an Engine has to answer runs from now.
    pub fn new(store: &'a Store, sandboxes: &'a Sandboxes, images: &'a Images) -> Self {
        Self { store, sandboxes, images, engine_until: Instant::now() + ENGINE_WAIT }
    }

    /// What became of an act; none: it goes on, and its own end closes it.
    pub async fn at(&self, open: &OpenOp) -> Option<Finding> {
        loop {
            let why = match timeout(LOOK_LIMIT, self.once(&open.leaf.event)).await {
                Ok(Ok(found)) => return found,
                Ok(Err(Blind::For(why))) => return Some(Finding::unseen(why)),
                Ok(Err(Blind::Away(why))) => why,
                Err(_) => "docker_timeout",
            };
            if Instant::now() >= self.engine_until {
                return Some(Finding::unseen(why));
            }
            sleep(TRY_AGAIN).await;
        }
    }

    async fn once(&self, begun: &Event) -> Result<Option<Finding>, Blind> {
        use EventKind as K;
        let found = match begun.kind {
            K::SandboxRun => return self.run(begun).await,
            K::SandboxStop => self.stop(begun).await?.at(Place::Engine),
            K::SandboxReap => self.reap(begun).await?.at(Place::Engine),
            K::WorkspacePrepare => self.workspace(begun).await?.at(Place::Workspace),
            K::ImageBootstrap => Seen::all_or_nothing(self.images.bases().await?.is_some()).at(Place::Engine),
            K::ImageBuild => self.build(begun).await?.at(Place::Engine),
            K::ImagePrune => self.prune(begun).await?.at(Place::Engine),
            // What they lead to and their ended leaf are one transaction, and there is none.
            K::FilesCollect | K::RequestResolve => Seen::Nothing.at(Place::Store),
            // A tool call's request and its begun leaf are one transaction: only the answer is missing.
            K::McpCall => Seen::Whole.at(Place::Store),
            // What leaves for somebody else's machine.
            K::LlmCall | K::LlmAttempt | K::RequestLookup | K::RequestFetch => Finding::unseen("left_the_machine"),
            K::ServerStarted
            | K::ServerStopped
            | K::ServerRecovered
            | K::TaskCreated
            | K::TaskStarted
            | K::TaskStatus
            | K::TaskPauseRequested
            | K::TaskResumeRequested
            | K::TaskCancelRequested
            | K::TaskContinued
            | K::TaskMessage
            | K::TaskMessageDelivered
            | K::RunStarted
            | K::RunFinished
            | K::SandboxPosture
            | K::AgentNudged
            | K::AgentProgress
            | K::AgentEvent
            | K::AgentToolsMissing
            | K::AgentSubmitted
            | K::LlmRefused
            | K::ToolCall
            | K::RequestCreated
            | K::RequestPending
            | K::RequestRejected
            | K::RequestStale
            | K::RequestDecided
            | K::RequestExpired
            | K::RequestApplied
            | K::RequestWithdrawn
            | K::ImageReused
            | K::PolicyVersion
            | K::TokenCreated
            | K::TokenRevoked
            | K::KeyCreated
            | K::KeyRevoked
            | K::ProviderSaved
            | K::ProviderRemoved
            | K::GatewayConfigured
            | K::SignInCode
            | K::SignIn
            | K::BodyErased
            | K::BackupTaken => Finding::unseen("not_an_act"),
        };
        Ok(Some(found))
    }

    /// An agent's container is taken up again by its workflow, unless its run is over.
    async fn run(&self, begun: &Event) -> Result<Option<Finding>, Blind> {
        let (task, run, iteration) = place(begun)?;
        if self.store.run_get(run).await?.outcome.is_none() {
            return Ok(None);
        }
        let started = match self.sandboxes.presence(&task, &run, iteration).await? {
            Presence::Running | Presence::Ended => true,
            Presence::Created => false,
            // It may have been removed: what was measured of it says that it ran.
            Presence::Absent => {
                let all = self.store.iteration_list(run).await?;
                all.iter().any(|i| i.number == iteration && i.posture.is_some())
            }
        };
        Ok(Some(Seen::all_or_nothing(started).at(Place::Engine)))
    }

    /// An Engine that was told to stop a container goes on doing so: it has the time that it was given.
    async fn stop(&self, begun: &Event) -> Result<Seen, Blind> {
        let (task, run, iteration) = place(begun)?;
        let until = Instant::now() + STOP_GRACE + STOP_MARGIN;
        loop {
            let presence = self.sandboxes.presence(&task, &run, iteration).await?;
            if presence != Presence::Running || Instant::now() >= until {
                return Ok(Seen::stopped(presence));
            }
            sleep(STOP_POLL).await;
        }
    }

    async fn reap(&self, begun: &Event) -> Result<Seen, Blind> {
        let named: BTreeSet<String> =
            serde_json::from_value(begun.data["objects"].clone()).map_err(|_| Blind::For("record_unreadable"))?;
        let there = self.sandboxes.leftovers().await?;
        let left = there.iter().filter(|o| named.contains(&o.name)).count();
        Ok(Seen::removed(named.len() as u64, left as u64))
    }

    /// The task's volumes, and its input files by hash.
    async fn workspace(&self, begun: &Event) -> Result<Seen, Blind> {
        let task = begun.task.ok_or(Blind::For("record_unreadable"))?;
        let volumes = self.sandboxes.volumes_there(&task).await?;
        let files = self.store.input_file_list(task).await?;
        if volumes < VOLUMES || files.is_empty() {
            return Ok(Seen::prepared(volumes, files.len(), 0));
        }
        let image = match begun.data["image"].as_str() {
            Some(image) => image.to_owned(),
            None => self.images.bases().await?.ok_or(Blind::For("base_image_missing"))?.agent.id,
        };
        let found = self.sandboxes.collect(&task, &image, Bounds::default(), Contents::Hash).await?;
        let there: BTreeSet<(&str, &str)> =
            found.entries.iter().filter_map(|e| Some((e.path.as_str(), e.sha256.as_deref()?))).collect();
        let as_given = files.iter().filter(|f| there.contains(&(f.path.as_str(), f.sha256.as_str()))).count();
        Ok(Seen::prepared(volumes, files.len(), as_given))
    }

    async fn build(&self, begun: &Event) -> Result<Seen, Blind> {
        let digest = begun.data["digest"].as_str().ok_or(Blind::For("record_unreadable"))?;
        let candidate = self.store.candidate_get(digest).await?;
        Ok(Seen::all_or_nothing(self.images.built(&candidate).await?.is_some()))
    }

    async fn prune(&self, begun: &Event) -> Result<Seen, Blind> {
        let meant: Unneeded =
            serde_json::from_value(begun.data.clone()).map_err(|_| Blind::For("record_unreadable"))?;
        let left = self.images.unneeded(&needed(self.store).await?).await?;
        Ok(Seen::removed(meant.images + meant.package_files, left.images + left.package_files))
    }
}

/// Where an act of an iteration stands.
fn place(begun: &Event) -> Result<(TaskId, RunId, u32), Blind> {
    let place = begun.task.zip(begun.run).zip(begun.iteration);
    place.map(|((task, run), iteration)| (task, run, iteration)).ok_or(Blind::For("record_unreadable"))
}
