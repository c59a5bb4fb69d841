//! Finding and removing what no task owns.
//!
//! Only objects with this installation's label are listed, so that nothing else can be removed. Images are `image`'s
//! to prune: they are listed for leak checks but never removed here.

use crate::{
    docker::{CALL_TIMEOUT, Kind, LABEL_KIND, LABEL_TASK},
    error::Error,
    lifecycle::Sandboxes,
};
use bollard::query_parameters::{ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListVolumesOptionsBuilder};
use domain::ids::TaskId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// Something of ours in Docker or on disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Object {
    /// `container`, `volume`, `image` or `run_dir`.
    pub class: Class,
    /// Its name, or its id when it has none.
    pub name: String,
    /// Its kind by label.
    pub kind: Option<Kind>,
    /// The task that it serves by label.
    pub task: Option<TaskId>,
}

/// Where an [`Object`] lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A container.
    Container,
    /// A volume.
    Volume,
    /// An image.
    Image,
    /// A folder below `<data>/run`.
    RunDir,
}

/// What a reaping did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaped {
    /// Removed.
    pub removed: Vec<Object>,
    /// Not removed, and why; the next reaping tries again.
    pub failed: Vec<(Object, String)>,
}

impl Sandboxes {
    /// Everything of this installation: containers, volumes, images, run folders.
    pub async fn leftovers(&self) -> Result<Vec<Object>, Error> {
        let client = self.docker.client().await?;
        let filter = self.docker.filter(None);
        let mut objects = Vec::new();
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
        let containers = client.list_containers(Some(options));
        for found in self.docker.call("list containers", CALL_TIMEOUT, containers).await? {
            let name = found.names.unwrap_or_default().into_iter().next();
            let name = name.map(|n| n.trim_start_matches('/').to_owned()).or(found.id).unwrap_or_default();
            objects.push(object(Class::Container, name, &found.labels.unwrap_or_default()));
        }
        let options = ListVolumesOptionsBuilder::default().filters(&filter).build();
        let volumes = self.docker.call("list volumes", CALL_TIMEOUT, client.list_volumes(Some(options))).await?;
        for found in volumes.volumes.unwrap_or_default() {
            objects.push(object(Class::Volume, found.name, &found.labels));
        }
        let options = ListImagesOptionsBuilder::default().all(false).filters(&filter).build();
        for found in self.docker.call("list images", CALL_TIMEOUT, client.list_images(Some(options))).await? {
            let name = found.repo_tags.into_iter().next().unwrap_or(found.id);
            objects.push(object(Class::Image, name, &found.labels));
        }
        for task in crate::run_dir::list(&self.run_root).await? {
            objects.push(Object { class: Class::RunDir, name: task.to_string(), kind: None, task: Some(task) });
        }
        objects.sort();
        Ok(objects)
    }

    /// What [`Self::reap`] would remove now.
    pub async fn orphans(&self, live: &BTreeSet<TaskId>) -> Result<Vec<Object>, Error> {
        let mut objects = self.leftovers().await?;
        objects.retain(|o| self.is_orphan(o, live));
        Ok(objects)
    }

    /// Removes what no task in `live` owns: containers, volumes and run folders of other tasks, and helper, resolver
    /// and builder containers that this process does not use. Call it when no other server works on the data
    /// directory, which its lock guarantees. Images are left to `image`.
    pub async fn reap(&self, live: &BTreeSet<TaskId>) -> Result<Reaped, Error> {
        crash_point!("sandbox.reap.before");
        let mut reaped = Reaped::default();
        // Sorted: containers go before the volumes that they hold.
        for object in self.orphans(live).await? {
            let result = match (object.class, &object.task) {
                (Class::Container, _) => self.discard(&object.name).await,
                (Class::Volume, _) => self.remove_volume(&object.name).await,
                (Class::RunDir, Some(task)) => crate::run_dir::remove(&self.run_root, task).await,
                (Class::RunDir, None) | (Class::Image, _) => continue,
            };
            match result {
                Ok(()) => reaped.removed.push(object),
                Err(error) => reaped.failed.push((object, error.to_string())),
            }
        }
        crash_point!("sandbox.reap.after");
        Ok(reaped)
    }

    fn is_orphan(&self, object: &Object, live: &BTreeSet<TaskId>) -> bool {
        let unowned = object.task.is_none_or(|task| !live.contains(&task));
        match (object.class, object.kind) {
            (Class::Image, _) => false,
            // Helpers are short-lived and belong to the process that made them, whatever their task.
            (Class::Container, Some(Kind::Helper)) => !self.helpers.holds(&object.name),
            // Builders and resolvers without a task belong to `image`, which removes them when it starts.
            (Class::Container, Some(Kind::Builder | Kind::Resolver)) => object.task.is_some() && unowned,
            _ => unowned,
        }
    }
}

fn object(class: Class, name: String, labels: &HashMap<String, String>) -> Object {
    Object {
        class,
        name,
        kind: labels.get(LABEL_KIND).and_then(|k| Kind::parse(k)),
        task: labels.get(LABEL_TASK).and_then(|t| t.parse().ok()),
    }
}
