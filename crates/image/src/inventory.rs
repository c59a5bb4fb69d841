//! What an image has, read from its files without running anything in it.

use crate::{Images, error::ImageError, spec};
use bollard::{
    models::ContainerCreateBody,
    query_parameters::{CreateContainerOptions, DownloadFromContainerOptionsBuilder},
};
use futures::StreamExt;
use sandbox::docker::{CALL_TIMEOUT, Kind};
use serde::{Deserialize, Serialize};
use std::io::{Read, Seek, Write};

/// Most bytes of an image's folder that are looked through.
const MAX_ARCHIVE: u64 = 8 << 30;
/// Largest file that is read.
const MAX_FILE: u64 = 32 << 20;
/// Where task images have Python packages, and Debian's own.
const PYTHON_FOLDERS: &[&str] = &["/usr/local/lib/python3.11/dist-packages", "/usr/lib/python3/dist-packages"];

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What an image has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Debian packages.
    pub apt: Vec<Installed>,
    /// Python distributions.
    pub pip: Vec<Installed>,
    /// npm packages that tasks added.
    pub npm: Vec<Installed>,
}

/// The installed packages of a dpkg status file.
pub fn dpkg(status: &str) -> Vec<Installed> {
    let field = |block: &str, name: &str| block.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
    let installed = |b: &&str| field(b, "Status:").is_some_and(|s| s.ends_with(" installed"));
    let package = |b: &str| Some(Installed { name: field(b, "Package:")?, version: field(b, "Version:")? });
    status.split("\n\n").filter(installed).filter_map(package).collect()
}

impl Images {
    /// What an image has. A folder that is not there counts as empty.
    pub async fn inventory(&self, image: &str) -> Result<Inventory, ImageError> {
        let mut inventory =
            Inventory { apt: dpkg(&String::from_utf8_lossy(&self.dpkg_status(image).await?)), ..Inventory::default() };
        for folder in PYTHON_FOLDERS {
            let wanted = |path: &str| path.ends_with(".dist-info/METADATA");
            let files = self.files_of(image, folder, wanted).await?;
            inventory.pip.extend(files.iter().filter_map(|(_, text)| python_package(&String::from_utf8_lossy(text))));
        }
        let lock = self.files_of(image, "/node_modules/.package-lock.json", |_| true).await?;
        for (_, text) in lock {
            let lock: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
            let packages = lock.get("packages").and_then(serde_json::Value::as_object).into_iter().flatten();
            inventory.npm.extend(packages.filter_map(|(place, entry)| {
                let name = entry.get("name").and_then(serde_json::Value::as_str);
                let name = name.or_else(|| place.rsplit("node_modules/").next())?.to_owned();
                Some(Installed { name, version: entry.get("version")?.as_str()?.to_owned() })
            }));
        }
        for list in [&mut inventory.apt, &mut inventory.pip, &mut inventory.npm] {
            list.sort();
            list.dedup();
        }
        Ok(inventory)
    }

    pub(crate) async fn dpkg_status(&self, image: &str) -> Result<Vec<u8>, ImageError> {
        let files = self.files_of(image, "/var/lib/dpkg/status", |_| true).await?;
        let first = files.into_iter().next().map(|(_, bytes)| bytes);
        first.ok_or_else(|| ImageError::protocol(format!("image {image} has no record of Debian packages")))
    }

    /// The wanted files below a path of an image, through a container that is never started.
    async fn files_of(
        &self,
        image: &str,
        path: &str,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Vec<(String, Vec<u8>)>, ImageError> {
        let docker = &self.shared.docker;
        let client = docker.client().await?;
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(vec!["never-started".into()]),
            labels: Some(docker.labels(Kind::Resolver, None)),
            ..ContainerCreateBody::default()
        };
        let create = client.create_container(None::<CreateContainerOptions>, body);
        let container = docker.call("create a container", CALL_TIMEOUT, create).await?;
        let container = self.owned_container(container.id);
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let mut stream = client.download_from_container(container.id(), Some(options));
        let io = |e| ImageError::io("a temporary file cannot be used", e);
        let mut archive = tempfile::tempfile().map_err(io)?;
        let mut size = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk.map_err(|e| docker.sort_error("read an image's files", e)) {
                Ok(chunk) => chunk,
                Err(sandbox::Error::NotFound { .. }) => return container.remove().await.map(|()| Vec::new()),
                Err(error) => return Err(error.into()),
            };
            size += chunk.len() as u64;
            if size > MAX_ARCHIVE {
                return Err(ImageError::protocol(format!(
                    "{path} of image {image} is larger than {MAX_ARCHIVE} bytes"
                )));
            }
            archive.write_all(&chunk).map_err(io)?;
        }
        container.remove().await?;
        archive.rewind().map_err(io)?;
        let read = tokio::task::spawn_blocking(move || read_archive(archive, wanted)).await;
        read.map_err(|e| ImageError::protocol(format!("reading an image was interrupted: {e}")))?.map_err(io)
    }
}

fn read_archive(file: std::fs::File, wanted: impl Fn(&str) -> bool) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(std::io::BufReader::new(file)).entries()? {
        let entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        if entry.header().entry_type().is_file() && wanted(&path) {
            let mut bytes = Vec::new();
            entry.take(MAX_FILE).read_to_end(&mut bytes)?;
            found.push((path, bytes));
        }
    }
    Ok(found)
}

fn python_package(metadata: &str) -> Option<Installed> {
    let field = |name: &str| metadata.lines().take_while(|l| !l.is_empty()).find_map(|l| l.strip_prefix(name));
    Some(Installed { name: spec::pip_name(field("Name: ")?.trim())?, version: field("Version: ")?.trim().to_owned() })
}
