//! The Dockerfile of a set of artefacts.
//!
//! It is a pure function of the base, the tools' image and the set. Commands are constant; what varies are hashes, and
//! comments for the person who reads it. `SHA256SUMS` lists every file of the build, and its own hash stands in the
//! Dockerfile, so that the text binds the bytes: another set is another Dockerfile.

use crate::{
    Images,
    error::{BuildError, ImageError},
    npm, pip, spec,
};
use domain::{candidate::Artefact, request::Ecosystem};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Repository of the tag that spells a base image's ID; BuildKit takes no bare ID.
pub const BASE_REPOSITORY: &str = "localhost/taskforge/base";
/// Repository of the tag that spells the tools' image's ID.
pub const TOOLS_REPOSITORY: &str = "localhost/taskforge/resolver";

/// Everything that a build takes from us, beside the package files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The Dockerfile.
    pub dockerfile: String,
    /// Small files of the context by path.
    pub files: Vec<(String, Vec<u8>)>,
    /// Package files of the context: path and SHA-256.
    pub packages: Vec<(String, String)>,
}

impl Images {
    /// The Dockerfile for a base image and a task's whole set.
    pub async fn dockerfile(&self, base_image: &str, artefacts: &[Artefact]) -> Result<String, BuildError> {
        Ok(self.recipe(base_image, artefacts).await?.dockerfile)
    }

    pub(crate) async fn recipe(&self, base_image: &str, artefacts: &[Artefact]) -> Result<Recipe, BuildError> {
        let bases = self.bases().await?.ok_or(ImageError::NoBase)?;
        let lock = if artefacts.iter().any(|a| a.ecosystem == Ecosystem::Npm) {
            let resolved = |a: &Artefact| format!("file:/mnt/npm/{}", a.file_name);
            let lock = npm::lock(artefacts, &self.shared.packages, resolved).await?;
            Some((npm::package(artefacts).to_string(), lock.to_string()))
        } else {
            None
        };
        render(base_image, &bases.resolver.id, artefacts, lock)
    }
}

/// The hexadecimal digits of an image ID.
pub(crate) fn id_hex(id: &str) -> Result<&str, BuildError> {
    let hex = id.strip_prefix("sha256:").unwrap_or_default();
    if pip::is_sha256(hex) { Ok(hex) } else { Err(mismatch(format!("{id:?} is not the ID of an image"))) }
}

fn mismatch(what: impl Into<String>) -> BuildError {
    BuildError::Mismatch { what: what.into() }
}

/// Renders the recipe; `lock` is npm's package.json and lock file.
pub fn render(
    base: &str,
    tools: &str,
    artefacts: &[Artefact],
    lock: Option<(String, String)>,
) -> Result<Recipe, BuildError> {
    let (base, tools) = (id_hex(base)?, id_hex(tools)?);
    let mut sorted: Vec<&Artefact> = artefacts.iter().collect();
    sorted.sort_by(|a, b| (a.ecosystem, &a.name, &a.version).cmp(&(b.ecosystem, &b.name, &b.version)));
    sorted.iter().try_for_each(|a| check(a))?;
    let of = |e: Ecosystem| sorted.iter().copied().filter(move |a| a.ecosystem == e);
    let mut files = Vec::new();
    let mut packages: Vec<(String, String)> = Vec::new();
    for artefact in &sorted {
        packages.push((format!("{}/{}", artefact.ecosystem.as_str(), artefact.file_name), artefact.sha256.clone()));
    }
    if of(Ecosystem::Pip).next().is_some() {
        let lines = of(Ecosystem::Pip).map(|a| format!("{}=={} --hash=sha256:{}\n", a.name, a.version, a.sha256));
        files.push(("pip/requirements.txt".to_owned(), lines.collect::<String>().into_bytes()));
    }
    if let Some((package, lock)) = lock {
        files.push(("npm/package.json".to_owned(), package.into_bytes()));
        files.push(("npm/package-lock.json".to_owned(), lock.into_bytes()));
    }
    let mut sums: Vec<(String, String)> = packages.iter().map(|(p, h)| (h.clone(), p.clone())).collect();
    sums.extend(files.iter().map(|(p, b)| (hex::encode(Sha256::digest(b)), p.clone())));
    sums.sort_by(|a, b| a.1.cmp(&b.1));
    let sums: String = sums.iter().map(|(h, p)| format!("{h}  {p}\n")).collect();
    let dockerfile = text(base, tools, &sorted, &hex::encode(Sha256::digest(&sums)));
    files.push(("SHA256SUMS".to_owned(), sums.into_bytes()));
    Ok(Recipe { dockerfile, files, packages })
}

/// Nothing that a registry said stands in a Dockerfile, a path or a lock file unless it is plain.
fn check(a: &Artefact) -> Result<(), BuildError> {
    let name = match a.ecosystem {
        Ecosystem::Npm => npm::is_place(&format!("node_modules/{}", a.name)),
        Ecosystem::Pip => spec::pip_name(&a.name).as_deref() == Some(&a.name),
        Ecosystem::Apt => spec::is_apt_name(&a.name),
    };
    let file = !a.file_name.contains("..")
        && !a.file_name.starts_with(['.', '-'])
        && a.file_name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '~' | '!' | '%'));
    let places = a.places.iter().all(|p| npm::is_place(p));
    if name && file && places && spec::is_plain(&a.version) && pip::is_sha256(&a.sha256) {
        Ok(())
    } else {
        Err(mismatch(format!("{:?} {:?} has a name, version or file that no package has", a.name, a.version)))
    }
}

fn text(base: &str, tools: &str, sorted: &[&Artefact], sums: &str) -> String {
    let mut out = String::from("# Built without a network from exactly these files:\n");
    for a in sorted {
        // Writing to a String cannot fail.
        let _ok = writeln!(out, "#   {} {} {} sha256:{}", a.ecosystem.as_str(), a.name, a.version, a.sha256);
    }
    let mounts = format!(
        "--mount=type=bind,source=pkgs,target=/mnt \\\n    --mount=type=bind,from={TOOLS_REPOSITORY}:{tools},source=/opt/taskforge,\
         target=/media \\\n    --mount=type=tmpfs,target=/tmp"
    );
    let check =
        format!("cd /mnt && echo '{sums}  SHA256SUMS' | sha256sum -c --quiet - && sha256sum -c --quiet SHA256SUMS");
    let _ok = write!(out, "FROM {BASE_REPOSITORY}:{base}\nUSER 0:0\n");
    let has = |e: Ecosystem| sorted.iter().any(|a| a.ecosystem == e);
    for (ecosystem, command) in [(Ecosystem::Apt, APT), (Ecosystem::Pip, PIP), (Ecosystem::Npm, NPM)] {
        if has(ecosystem) {
            let _ok = writeln!(out, "RUN {mounts} \\\n    {check} \\\n && {command}");
        }
    }
    out.push_str("USER 61000:61000\n");
    out
}

const APT: &str = "DEBIAN_FRONTEND=noninteractive apt-get -y -q --no-install-recommends -o Dir::Etc::sourcelist=/srv/none \\
      -o Dir::Etc::sourceparts=/srv -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 install /mnt/apt/*.deb \\
 && rm -rf /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old";
const PIP: &str = "HOME=/tmp /media/uv pip install --system --break-system-packages --python /usr/bin/python3 --offline --no-index \\
      --find-links /mnt/pip --no-deps --require-hashes --no-build --no-cache --no-config --link-mode copy \\
      --compile-bytecode --no-progress --color never -r /mnt/pip/requirements.txt";
const NPM: &str = "cp /mnt/npm/package.json /mnt/npm/package-lock.json / \\
 && HOME=/tmp npm_config_cache=/tmp/npm npm_config_update_notifier=false \\
      node /media/npm/bin/npm-cli.js ci --prefix / --offline --no-audit --no-fund --foreground-scripts --loglevel error \\
 && rm -f /package.json /package-lock.json \\
 && for bin in /node_modules/.bin/*; do \\
      if [ -e \"$bin\" ] && [ ! -e \"/usr/local/bin/${bin##*/}\" ]; then ln -s \"$bin\" /usr/local/bin/; fi; done";
