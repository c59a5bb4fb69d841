//! Builds a task's image from the approved set, without a network.
//!
//! The key of an image is SHA-256 over base, sorted hashes and Dockerfile; an image with that key is found and used again.
//! The result is checked: its first layers are the base's. Dropping the future closes the connection, and the
//! Engine stops the build.

use crate::{
    Images,
    dockerfile::{self, BASE_REPOSITORY, TOOLS_REPOSITORY},
    engine::{self, Outcome, Part},
    error::{BuildError, ImageError},
};
use bollard::{
    models::ImageInspect,
    query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder},
};
use domain::{
    candidate::{Artefact, Candidate},
    ids::{RequestId, TaskId},
};
use sandbox::docker::{CALL_TIMEOUT, Kind, SLOW_CALL_TIMEOUT};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Label: the key of the set.
pub const LABEL_KEY: &str = "dev.taskforge.key";
/// Label: the request whose approval built it first.
pub const LABEL_REQUEST: &str = "dev.taskforge.request";
/// Label: the digest of the candidate.
pub const LABEL_CANDIDATE: &str = "dev.taskforge.candidate";
/// Label: the image that the task had before.
pub const LABEL_PARENT: &str = "dev.taskforge.parent";
/// Label: the base image's ID.
pub const LABEL_BASE: &str = "dev.taskforge.base";

/// What is to be built.
#[derive(Debug, Clone)]
pub struct BuildInput {
    /// The task.
    pub task: TaskId,
    /// The request.
    pub request: RequestId,
    /// The digest that was approved.
    pub candidate_digest: String,
    /// ID of the base image.
    pub base_image: String,
    /// ID of the image that the task has so far.
    pub parent_image: String,
    /// The task's whole approved set.
    pub artefacts: Vec<Artefact>,
    /// The Dockerfile that was approved, or none: the one of the set is rendered (several requests built at once).
    pub dockerfile: Option<String>,
}

/// An image of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltImage {
    /// Its ID.
    pub id: String,
    /// Its tag.
    pub tag: String,
    /// The key of the set.
    pub key: String,
    /// Its size with the base.
    pub size_bytes: u64,
    /// Whether it was there already.
    pub reused: bool,
    /// The Dockerfile that made it.
    pub dockerfile: String,
}

/// The key of an image.
pub fn key(base: &str, artefacts: &[Artefact], dockerfile: &str) -> Result<String, ImageError> {
    use sha2::{Digest, Sha256};
    let mut hashes: Vec<&str> = artefacts.iter().map(|a| a.sha256.as_str()).collect();
    hashes.sort_unstable();
    let bytes = serde_json_canonicalizer::to_vec(&json!({"base": base, "dockerfile": dockerfile, "hashes": hashes}))
        .map_err(|e| ImageError::protocol(format!("a key could not be made: {e}")))?;
    Ok(hex::encode(Sha256::digest(bytes)))
}

impl Images {
    /// Builds the image of an approved set, or finds it.
    pub async fn build(&self, input: &BuildInput) -> Result<BuiltImage, BuildError> {
        let limit = self.shared.config.build_time;
        match tokio::time::timeout(limit, self.build_now(input)).await {
            Ok(result) => result,
            Err(_) => Err(BuildError::Timeout { limit_s: limit.as_secs() }),
        }
    }

    async fn build_now(&self, input: &BuildInput) -> Result<BuiltImage, BuildError> {
        let recipe = self.recipe(&input.base_image, &input.artefacts).await?;
        if let Some(approved) = input.dockerfile.as_ref().filter(|d| **d != recipe.dockerfile) {
            let what = format!("the Dockerfile of the set differs from the approved one ({} bytes)", approved.len());
            return Err(BuildError::Mismatch { what });
        }
        let key = key(&input.base_image, &input.artefacts, &recipe.dockerfile)?;
        if let Some(found) = self.find_by_key(&input.base_image, &key, &recipe.dockerfile).await? {
            return Ok(found);
        }
        let _slot = self.shared.slots.acquire().await.map_err(|e| ImageError::protocol(e.to_string()))?;
        self.spell_ids(&input.base_image).await?;
        let mut parts = vec![Part::Bytes {
            path: "Dockerfile".into(),
            bytes: recipe.dockerfile.clone().into_bytes(),
            executable: false,
        }];
        for (path, sha256) in &recipe.packages {
            let source = self.shared.packages.verified(sha256).await?;
            parts.push(Part::File { path: format!("pkgs/{path}"), source });
        }
        for (path, bytes) in &recipe.files {
            parts.push(Part::Bytes { path: format!("pkgs/{path}"), bytes: bytes.clone(), executable: false });
        }
        let tag = self.task_tag(&key);
        let query = self.build_query(input, &key, &tag);
        let outcome = self.send_build(&query, parts).await?;
        if let Some(step) = outcome.error {
            let log_tail = Vec::from(outcome.tail).join("\n");
            return Err(BuildError::Failed { step, log_tail });
        }
        let built =
            self.inspect(&tag).await?.ok_or_else(|| ImageError::protocol("docker built an image and lost it"))?;
        self.check_base(&input.base_image, &built).await?;
        Ok(self.describe(&built, tag, key, recipe.dockerfile, false))
    }

    /// Sends the build; what it leaves in the Engine's cache goes again, also when it failed.
    async fn send_build(&self, query: &str, parts: Vec<Part>) -> Result<Outcome, ImageError> {
        let traces = self.traces(&parts).await;
        let count = traces.as_ref().map(|t| t.uploaded.clone()).unwrap_or_default();
        let context = engine::counted(engine::tar_stream(parts), count);
        let mut outcome = Outcome::default();
        crash_point!("image.build.before");
        let sent = engine::post_stream(&self.shared.docker, query, context, |message| {
            drop(outcome.take(&message));
        });
        let sent = sent.await;
        crash_point!("image.build.after");
        self.forget(traces).await;
        sent.map(|()| outcome)
    }

    fn task_tag(&self, key: &str) -> String {
        let short = key.get(..16).unwrap_or(key);
        format!("taskforge-task:{}-{short}", self.shared.docker.installation().short())
    }

    fn build_query(&self, input: &BuildInput, key: &str, tag: &str) -> String {
        let mut labels = self.shared.docker.labels(Kind::TaskImage, Some(&input.task));
        labels.extend([
            (LABEL_KEY.to_owned(), key.to_owned()),
            (LABEL_REQUEST.to_owned(), input.request.to_string()),
            (LABEL_CANDIDATE.to_owned(), input.candidate_digest.clone()),
            (LABEL_PARENT.to_owned(), input.parent_image.clone()),
            (LABEL_BASE.to_owned(), input.base_image.clone()),
        ]);
        format!(
            "/build?version=2&networkmode=none&rm=1&forcerm=1&t={}&labels={}",
            engine::encode(tag),
            engine::encode(&json!(labels).to_string())
        )
    }

    /// Gives the base and the tools' image the tags that spell their IDs.
    async fn spell_ids(&self, base: &str) -> Result<(), BuildError> {
        let bases = self.bases().await?.ok_or(ImageError::NoBase)?;
        for (repository, id) in [(BASE_REPOSITORY, base), (TOOLS_REPOSITORY, &bases.resolver.id)] {
            let options = TagImageOptionsBuilder::new().repo(repository).tag(dockerfile::id_hex(id)?).build();
            let docker = &self.shared.docker;
            let client = docker.client().await.map_err(ImageError::from)?;
            docker
                .call("tag an image", CALL_TIMEOUT, client.tag_image(id, Some(options)))
                .await
                .map_err(ImageError::from)?;
        }
        Ok(())
    }

    /// The image of an approved candidate, if the Engine has it: found by the key of its set, its base checked.
    pub async fn built(&self, candidate: &Candidate) -> Result<Option<String>, ImageError> {
        let key = key(&candidate.base_image, &candidate.artefacts, &candidate.dockerfile)?;
        let Some(id) = self.id_by_key(&key).await? else { return Ok(None) };
        let Some(image) = self.inspect(&id).await? else { return Ok(None) };
        let other_base = self.stands_on(&candidate.base_image, &image).await? == Some(false);
        Ok((!other_base).then_some(id))
    }

    async fn id_by_key(&self, key: &str) -> Result<Option<String>, ImageError> {
        let docker = &self.shared.docker;
        let mut filter = docker.filter(None);
        filter.entry("label".into()).or_default().push(format!("{LABEL_KEY}={key}"));
        let options = ListImagesOptionsBuilder::new().filters(&filter).build();
        let client = docker.client().await?;
        let found = docker.call("list images", CALL_TIMEOUT, client.list_images(Some(options))).await?;
        Ok(found.into_iter().next().map(|image| image.id))
    }

    async fn find_by_key(&self, base: &str, key: &str, dockerfile: &str) -> Result<Option<BuiltImage>, BuildError> {
        let Some(id) = self.id_by_key(key).await? else { return Ok(None) };
        let Some(image) = self.inspect(&id).await? else { return Ok(None) };
        // Again: a crash may have come between the build and this check.
        if self.stands_on(base, &image).await? == Some(false) {
            self.check_base(base, &image).await?;
        }
        let tag = self.task_tag(key);
        Ok(Some(self.describe(&image, tag, key.to_owned(), dockerfile.to_owned(), true)))
    }

    fn describe(&self, image: &ImageInspect, tag: String, key: String, dockerfile: String, reused: bool) -> BuiltImage {
        BuiltImage {
            id: image.id.clone().unwrap_or_default(),
            tag,
            key,
            size_bytes: image.size.and_then(|s| u64::try_from(s).ok()).unwrap_or_default(),
            reused,
            dockerfile,
        }
    }

    /// Whether an image begins with the base's layers; none: the base is not there to compare.
    async fn stands_on(&self, base: &str, built: &ImageInspect) -> Result<Option<bool>, ImageError> {
        let layers = |i: &ImageInspect| i.root_fs.as_ref().and_then(|r| r.layers.clone()).unwrap_or_default();
        let Some(base) = self.inspect(base).await? else { return Ok(None) };
        let base_layers = layers(&base);
        Ok(Some(!base_layers.is_empty() && layers(built).starts_with(&base_layers)))
    }

    /// An image that does not begin with the base's layers is removed and refused.
    async fn check_base(&self, base: &str, built: &ImageInspect) -> Result<(), BuildError> {
        if self.stands_on(base, built).await? == Some(true) {
            return Ok(());
        }
        if let Some(id) = &built.id {
            self.remove_image(id).await?;
        }
        Err(BuildError::Mismatch { what: "the builder did not start from the approved base image".into() })
    }

    pub(crate) async fn inspect(&self, reference: &str) -> Result<Option<ImageInspect>, ImageError> {
        let docker = &self.shared.docker;
        let client = docker.client().await?;
        match docker.call("inspect an image", CALL_TIMEOUT, client.inspect_image(reference)).await {
            Ok(image) => Ok(Some(image)),
            Err(sandbox::Error::NoSuchImage { .. } | sandbox::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn remove_image(&self, reference: &str) -> Result<(), ImageError> {
        let docker = &self.shared.docker;
        let client = docker.client().await?;
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        crash_point!("image.remove.before");
        let removed = docker
            .call("remove an image", SLOW_CALL_TIMEOUT, client.remove_image(reference, Some(options), None))
            .await;
        crash_point!("image.remove.after");
        match removed {
            Ok(_) | Err(sandbox::Error::NoSuchImage { .. } | sandbox::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
