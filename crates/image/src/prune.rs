//! What there is, and what can go: images and package files that nobody needs any more.

use crate::{
    Images,
    build::{LABEL_CANDIDATE, LABEL_KEY, LABEL_PARENT, LABEL_REQUEST},
    error::ImageError,
};
use bollard::query_parameters::ListImagesOptionsBuilder;
use sandbox::docker::{CALL_TIMEOUT, Kind, LABEL_KIND, LABEL_TASK};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// An image of this installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its ID.
    pub id: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// `base`, `resolver` or `task-image`.
    pub kind: String,
    /// The task that it was first built for.
    pub task: Option<String>,
    /// The request that led to it.
    pub request: Option<String>,
    /// The digest of the approved candidate.
    pub candidate: Option<String>,
    /// The image that the task had before.
    pub parent: Option<String>,
    /// The key of its set.
    pub key: Option<String>,
    /// Its size with all layers.
    pub size_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub created_s: i64,
}

/// What must stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// IDs of images.
    pub images: BTreeSet<String>,
    /// SHA-256 of package files.
    pub packages: BTreeSet<String>,
    /// Whether the base and resolver images of this installation go as well (a full clean).
    pub drop_bases: bool,
}

/// What a prune would remove, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unneeded {
    /// Images.
    pub images: u64,
    /// Package files.
    pub package_files: u64,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// IDs of removed images.
    pub images: Vec<String>,
    /// Removed package files.
    pub package_files: u64,
    /// Their bytes.
    pub package_bytes: u64,
}

impl Images {
    /// The images that this installation made.
    pub async fn list(&self) -> Result<Vec<ImageRecord>, ImageError> {
        let docker = &self.shared.docker;
        let options = ListImagesOptionsBuilder::new().filters(&docker.filter(None)).build();
        let client = docker.client().await?;
        let found = docker.call("list images", CALL_TIMEOUT, client.list_images(Some(options))).await?;
        let record = |image: bollard::models::ImageSummary| {
            let label = |name: &str| image.labels.get(name).cloned();
            ImageRecord {
                kind: label(LABEL_KIND).unwrap_or_default(),
                task: label(LABEL_TASK),
                request: label(LABEL_REQUEST),
                candidate: label(LABEL_CANDIDATE),
                parent: label(LABEL_PARENT),
                key: label(LABEL_KEY),
                size_bytes: u64::try_from(image.size).unwrap_or_default(),
                created_s: image.created,
                tags: image.repo_tags,
                id: image.id,
            }
        };
        Ok(found.into_iter().map(record).collect())
    }

    async fn unneeded_images(&self, keep: &Keep) -> Result<Vec<ImageRecord>, ImageError> {
        let mut images = self.list().await?;
        images.retain(|image| {
            let is_task = image.kind == Kind::TaskImage.as_str();
            !keep.images.contains(&image.id) && (is_task || keep.drop_bases)
        });
        Ok(images)
    }

    /// What [`Self::prune`] would remove now.
    pub async fn unneeded(&self, keep: &Keep) -> Result<Unneeded, ImageError> {
        let images = self.unneeded_images(keep).await?.len() as u64;
        let package_files = self.shared.packages.unneeded(&keep.packages).await?;
        Ok(Unneeded { images, package_files })
    }

    /// Removes images and package files of this installation that `keep` does not name. An image that a container still
    /// uses stays.
    pub async fn prune(&self, keep: &Keep) -> Result<Pruned, ImageError> {
        let mut pruned = Pruned::default();
        for image in self.unneeded_images(keep).await? {
            match self.remove_image(&image.id).await {
                Ok(()) => pruned.images.push(image.id),
                Err(ImageError::Docker(sandbox::Error::Refused { status: 409, .. })) => {}
                Err(error) => return Err(error),
            }
        }
        (pruned.package_files, pruned.package_bytes) = self.shared.packages.prune(&keep.packages).await?;
        Ok(pruned)
    }
}
