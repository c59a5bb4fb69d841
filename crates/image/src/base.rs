//! The base image that agents start in, and the resolver's image beside it.
//!
//! Both are made from the definition in `images/agent`, which is part of this program, and are found again by its hash,
//! so that bootstrapping is done once per Engine and definition. Debian comes from a registry where one answers, else from
//! `mmdebstrap` or `debootstrap` on this machine.

use crate::{
    Images,
    engine::{self, Outcome, Part},
    error::ImageError,
};
use bollard::query_parameters::{CreateImageOptionsBuilder, ListImagesOptionsBuilder};
use futures::{StreamExt, TryStreamExt};
use sandbox::docker::{CALL_TIMEOUT, Kind, LABEL_KIND};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};
use tokio_util::io::ReaderStream;

/// Label: the hash of the definition that an image was made from.
pub const LABEL_DEFINITION: &str = "dev.taskforge.definition";
/// How long a registry may take to give Debian.
const PULL_LIMIT: Duration = Duration::from_secs(300);
/// How long making Debian from its packages may take.
const ROOTFS_LIMIT: Duration = Duration::from_secs(900);
/// How long one image may take.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);
/// Where hosts keep their authorities.
const CA_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

macro_rules! definition {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../images/agent/", $path)))),*]
    };
}

/// Every file of the definition; a test compares this list with the folder.
pub const DEFINITION: &[(&str, &[u8])] = definition![
    "Dockerfile",
    "fetch.py",
    "fetch_uv.py",
    "install-openclaw.sh",
    "package-lock.json",
    "package.json",
    "rootfs/etc/apt/apt.conf.d/90taskforge",
    "rootfs/etc/dpkg/dpkg.cfg.d/taskforge",
    "rootfs/etc/gitconfig",
    "rootfs/opt/build/slim-debian.sh",
    "warm/model.mjs",
    "warm/openclaw.json",
    "warm/plugin/index.js",
    "warm/plugin/openclaw.plugin.json",
    "warm/plugin/package.json",
    "warm/prompt.md",
    "warm/warm.sh",
];

/// One of the two images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseImage {
    /// Its ID.
    pub id: String,
    /// Its tag.
    pub tag: String,
    /// Hash of the definition.
    pub definition: String,
    /// Its size.
    pub size_bytes: u64,
}

/// Both images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bases {
    /// What agents start in.
    pub agent: BaseImage,
    /// What looks packages up, and whose tools install them in a build.
    pub resolver: BaseImage,
    /// Whether bootstrapping made one of them now.
    pub made: bool,
}

/// The Dockerfile of the base image.
pub fn dockerfile() -> String {
    let bytes = DEFINITION.iter().find(|(path, _)| *path == "Dockerfile").map(|(_, bytes)| *bytes);
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// The hash of the definition: 16 hexadecimal digits.
pub fn definition_hash() -> String {
    let mut hasher = Sha256::new();
    for (path, bytes) in DEFINITION {
        hasher.update((path.len() as u64).to_be_bytes());
        hasher.update(path);
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    }
    hex::encode(hasher.finalize()).chars().take(16).collect()
}

impl Images {
    /// The images of this program's definition, if the Engine has both.
    pub async fn bases(&self) -> Result<Option<Bases>, ImageError> {
        let agent = self.find_base(Kind::Base).await?;
        let resolver = self.find_base(Kind::Resolver).await?;
        Ok(agent.zip(resolver).map(|(agent, resolver)| Bases { agent, resolver, made: false }))
    }

    async fn find_base(&self, kind: Kind) -> Result<Option<BaseImage>, ImageError> {
        let docker = &self.shared.docker;
        let definition = definition_hash();
        let labels = vec![format!("{LABEL_DEFINITION}={definition}"), format!("{LABEL_KIND}={}", kind.as_str())];
        let filter = std::collections::HashMap::from([("label".to_owned(), labels)]);
        let options = ListImagesOptionsBuilder::new().filters(&filter).build();
        let client = docker.client().await?;
        let found = docker.call("list images", CALL_TIMEOUT, client.list_images(Some(options))).await?;
        // Images that tasks built on the base carry its labels too, but another kind.
        let first = found.into_iter().max_by_key(|i| i.created);
        Ok(first.map(|image| BaseImage {
            tag: tag_of(kind, &definition),
            id: image.id,
            definition,
            size_bytes: u64::try_from(image.size).unwrap_or_default(),
        }))
    }

    /// Makes both images unless they are there. `progress` gets lines for a person, also while another caller makes them.
    pub async fn bootstrap(&self, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<Bases, ImageError> {
        let mut lines = self.shared.progress.subscribe();
        let _one = loop {
            tokio::select! {
                one = self.shared.bootstrap.lock() => break one,
                Ok(()) = lines.changed() => progress(&lines.borrow_and_update().clone()),
            }
        };
        let tell = |line: &str| {
            self.shared.progress.send_replace(line.to_owned());
            progress(line);
        };
        let progress: &(dyn Fn(&str) + Send + Sync) = &tell;
        if let Some(bases) = self.bases().await? {
            return Ok(bases);
        }
        let rootfs = self.rootfs(progress).await?;
        let ca = self.ca_bundle().await?;
        for (kind, target) in [(Kind::Base, "agent"), (Kind::Resolver, "resolver")] {
            if self.find_base(kind).await?.is_none() {
                self.build_base(kind, target, &rootfs, &ca, progress).await?;
            }
        }
        if rootfs.starts_with("localhost/") {
            self.remove_image(&rootfs).await?;
        }
        let bases = self.bases().await?.ok_or_else(|| bootstrap("the images were built but are not there"))?;
        progress(&format!("base image {} ({} MB)", bases.agent.tag, bases.agent.size_bytes / 1_000_000));
        Ok(Bases { made: true, ..bases })
    }

    async fn ca_bundle(&self) -> Result<Vec<u8>, ImageError> {
        let env = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
        let configured = self.shared.config.ca_bundle.clone().or(env);
        let found = configured.or_else(|| CA_BUNDLES.iter().map(Path::new).find(|p| p.exists()).map(Path::to_owned));
        let path = found.ok_or_else(|| bootstrap("this machine has no bundle of certificate authorities"))?;
        let read = tokio::fs::read(&path).await;
        read.map_err(|e| ImageError::io(format!("the CA bundle {} cannot be read", path.display()), e))
    }

    async fn build_base(
        &self,
        kind: Kind,
        target: &str,
        rootfs: &str,
        ca: &[u8],
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), ImageError> {
        progress(&format!("building the {target} image; the first time this takes some minutes"));
        let part = |path: &str, bytes: &[u8]| Part::Bytes {
            path: path.to_owned(),
            bytes: bytes.to_vec(),
            executable: path.ends_with(".sh"),
        };
        let mut parts: Vec<Part> = DEFINITION.iter().map(|(path, bytes)| part(path, bytes)).collect();
        parts.push(part("ca.pem", ca));
        let definition = definition_hash();
        let registries = &self.shared.config.registries;
        let args = json!({
            "ROOTFS": rootfs, "DEFINITION": definition, "APT_MIRROR": registries.debian,
            "APT_SECURITY": registries.debian_security, "NPM_REGISTRY": registries.npm, "PYPI": registries.pypi,
        });
        let mut labels = self.shared.docker.labels(kind, None);
        labels.insert(LABEL_DEFINITION.to_owned(), definition.clone());
        let query = format!(
            "/build?version=2&rm=1&forcerm=1&target={target}&t={}&buildargs={}&labels={}",
            engine::encode(&tag_of(kind, &definition)),
            engine::encode(&args.to_string()),
            engine::encode(&json!(labels).to_string()),
        );
        let mut outcome = Outcome::default();
        crash_point!("image.base.before");
        let sent = engine::post_stream(&self.shared.docker, &query, engine::tar_stream(parts), |message| {
            for line in outcome.take(&message) {
                progress(&line);
            }
        });
        timeout(BUILD_LIMIT, sent).await.map_err(|_| bootstrap("the build took too long"))??;
        crash_point!("image.base.after");
        match outcome.error {
            None => Ok(()),
            Some(error) => Err(bootstrap(format!("{error}\n{}", Vec::from(outcome.tail).join("\n")))),
        }
    }

    /// A local tag of a Debian root.
    async fn rootfs(&self, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<String, ImageError> {
        let wanted = &self.shared.config.rootfs_image;
        if self.inspect(wanted).await?.is_some() {
            return Ok(wanted.clone());
        }
        progress(&format!("pulling {wanted}"));
        let docker = &self.shared.docker;
        let (name, tag) = wanted.rsplit_once(':').unwrap_or((wanted, "latest"));
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let client = docker.client().await?;
        let pull = client.create_image(Some(options), None, None).try_for_each(|_| async { Ok(()) });
        match timeout(PULL_LIMIT, pull).await {
            Ok(Ok(())) if self.inspect(wanted).await?.is_some() => return Ok(wanted.clone()),
            Ok(Ok(())) => progress("the registry gave no image"),
            Ok(Err(error)) => progress(&format!("no registry gave it: {error}")),
            Err(_) => progress("the registry did not answer in time"),
        }
        self.import_rootfs(progress).await
    }

    async fn import_rootfs(&self, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<String, ImageError> {
        let registries = &self.shared.config.registries;
        let (main, security) = (&registries.debian, &registries.debian_security);
        let io = |what: &str| {
            let what = what.to_owned();
            move |e| ImageError::io(what, e)
        };
        let folder = tempfile::tempdir().map_err(io("a temporary folder cannot be made"))?;
        let archive = folder.path().join("rootfs.tar");
        progress("making Debian from its packages with mmdebstrap");
        let lines = ["", "-updates"].map(|suite| format!("deb {main} bookworm{suite} main"));
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap.args(["--variant=minbase", "--quiet", "bookworm"]).arg(&archive).args(lines);
        mmdebstrap.arg(format!("deb {security} bookworm-security main"));
        if let Err(first) = run(mmdebstrap).await {
            progress(&format!("mmdebstrap did not do it ({first}); trying debootstrap"));
            let root = folder.path().join("root");
            let mut debootstrap = Command::new("debootstrap");
            debootstrap.args(["--variant=minbase", "bookworm"]).arg(&root).arg(main);
            run(debootstrap).await?;
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".");
            run(tar).await?;
        }
        let file = tokio::fs::File::open(&archive).await.map_err(io("the root archive cannot be read"))?;
        let body = ReaderStream::with_capacity(file, 1 << 18);
        let tag = definition_hash();
        let query = format!("/images/create?fromSrc=-&repo=localhost/taskforge/rootfs&tag={tag}");
        let mut error = None;
        engine::post_stream(&self.shared.docker, &query, Box::pin(body.map(|c| c)), |message| {
            error = error.take().or(message.get("error").map(ToString::to_string));
        })
        .await?;
        match error {
            None => Ok(format!("localhost/taskforge/rootfs:{tag}")),
            Some(error) => Err(bootstrap(error)),
        }
    }
}

fn tag_of(kind: Kind, definition: &str) -> String {
    let name = if kind == Kind::Base { "taskforge-agent" } else { "taskforge-resolver" };
    format!("{name}:{definition}")
}

fn bootstrap(what: impl Into<String>) -> ImageError {
    ImageError::Bootstrap { what: what.into() }
}

async fn run(mut command: Command) -> Result<(), ImageError> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(ROOTFS_LIMIT, child).await.map_err(|_| bootstrap(format!("{name} took too long")))?;
    let output = output.map_err(|e| bootstrap(format!("{name} cannot be started: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = text.lines().rev().take(5).collect();
    Err(bootstrap(format!(
        "{name} ended with {}: {}",
        output.status,
        tail.into_iter().rev().collect::<Vec<_>>().join("; ")
    )))
}
