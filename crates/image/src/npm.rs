//! npm: registry pages, lock files, and what a tarball says about itself.
//!
//! A lock file is a function of the artefacts and the bytes in the package store ([`lock`]): the same set gives the same
//! lock when a later request is resolved on top of it and when the image is built.

use crate::{error::ImageError, packages::PackageStore, spec};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{candidate::Artefact, request::Ecosystem};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::Path,
};

/// Largest package.json.
const MAX_MANIFEST: u64 = 4 << 20;
/// Fields of a version that npm needs to choose and to place it.
const KEPT: &[&str] = &[
    "name",
    "version",
    "dependencies",
    "optionalDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "bundleDependencies",
    "bundledDependencies",
    "bin",
    "engines",
    "os",
    "cpu",
    "libc",
    "dist",
    "deprecated",
    "license",
    "hasInstallScript",
    "_hasShrinkwrap",
];
/// Fields of a manifest that a lock file repeats.
const LOCKED: &[&str] = &[
    "dependencies",
    "optionalDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "bin",
    "engines",
    "os",
    "cpu",
    "libc",
];

/// Cuts a registry page down; returns it and the upload dates by version.
pub fn trim_page(name: &str, body: &[u8]) -> Result<(String, BTreeMap<String, String>), String> {
    let page: Value = serde_json::from_slice(body).map_err(|e| format!("the page of {name} is not JSON: {e}"))?;
    let versions =
        page.get("versions").and_then(Value::as_object).ok_or(format!("the page of {name} has no versions"))?;
    let mut kept = Map::new();
    for (version, manifest) in versions {
        let fields = KEPT.iter().filter_map(|k| manifest.get(*k).map(|v| ((*k).to_owned(), v.clone())));
        let mut fields: Map<String, Value> = fields.collect();
        if has_install_script(manifest) {
            fields.insert("hasInstallScript".into(), true.into());
        }
        kept.insert(version.clone(), fields.into());
    }
    let times = page.get("time").and_then(Value::as_object).into_iter().flatten();
    let times = times.filter_map(|(v, t)| Some((v.clone(), t.as_str()?.to_owned()))).collect();
    let out = json!({"name": name, "dist-tags": page.get("dist-tags"), "versions": kept, "modified": page.pointer("/time/modified")});
    Ok((out.to_string(), times))
}

/// Whether installing would run scripts of the package.
pub fn has_install_script(manifest: &Value) -> bool {
    let script = |name: &str| manifest.pointer(&format!("/scripts/{name}")).is_some_and(|s| s.as_str() != Some(""));
    manifest.get("hasInstallScript") == Some(&Value::Bool(true))
        || ["preinstall", "install", "postinstall"].iter().any(|s| script(s))
        || manifest.get("gypfile") == Some(&Value::Bool(true))
}

/// A package of a lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Its own name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Where npm would fetch it.
    pub resolved: String,
    /// SHA-512 in hexadecimal.
    pub sha512: String,
    /// The folders in which it lies.
    pub places: Vec<String>,
}

/// Reads a lock file. Anything that does not come from the registry by hash is an error that names it.
pub fn read_lock(lock: &Value) -> Result<Vec<Locked>, String> {
    let packages = lock.get("packages").and_then(Value::as_object).ok_or("npm wrote no list of packages")?;
    let mut found: BTreeMap<(String, String), Locked> = BTreeMap::new();
    for (place, entry) in packages.iter().filter(|(place, _)| !place.is_empty()) {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let last = place.rsplit("node_modules/").next().unwrap_or_default();
        let name = text("name").unwrap_or(last);
        let flag = |key: &str| entry.get(key) == Some(&Value::Bool(true));
        if flag("inBundle") {
            continue;
        }
        if flag("dev") || (flag("optional") && !fits_here(entry)) {
            continue;
        }
        let outside = || format!("{name} (at {place}) does not come from the registry as a file with a hash");
        let resolved = text("resolved").filter(|r| r.starts_with("http")).ok_or_else(outside)?;
        let sha512 = text("integrity").and_then(sha512_hex).ok_or_else(outside)?;
        let version = text("version").filter(|v| spec::is_plain(v)).ok_or_else(outside)?;
        if !is_place(place) || !is_place(&format!("node_modules/{name}")) {
            return Err(format!("{name} would lie at {place}, which is not a place for a package"));
        }
        let key = (name.to_owned(), version.to_owned());
        let locked = found.entry(key).or_insert_with(|| Locked {
            name: name.to_owned(),
            version: version.to_owned(),
            resolved: resolved.to_owned(),
            sha512,
            places: Vec::new(),
        });
        locked.places.push(place.clone());
    }
    Ok(found.into_values().collect())
}

/// Whether an optional package is for this platform; npm lists the others as well.
fn fits_here(entry: &Value) -> bool {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let allows = |key: &str, here: &str| match entry.get(key).and_then(Value::as_array) {
        None => true,
        Some(list) => {
            let list: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            let denied = list.iter().any(|v| v.strip_prefix('!') == Some(here));
            !denied && (list.contains(&here) || list.iter().all(|v| v.starts_with('!')))
        }
    };
    allows("os", "linux") && allows("cpu", machine) && allows("libc", "glibc")
}

/// `node_modules/a/node_modules/@b/c`, and nothing that climbs.
pub fn is_place(place: &str) -> bool {
    let Some(rest) = place.strip_prefix("node_modules/") else { return false };
    rest.split("/node_modules/").all(|name| {
        let part = |p: &str| {
            !p.is_empty()
                && !p.starts_with('.')
                && p.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~'))
        };
        match name.strip_prefix('@') {
            Some(scoped) => scoped.split_once('/').is_some_and(|(scope, rest)| part(scope) && part(rest)),
            None => part(name),
        }
    })
}

fn sha512_hex(integrity: &str) -> Option<String> {
    let one = integrity.split_whitespace().find_map(|i| i.strip_prefix("sha512-"))?;
    STANDARD.decode(one).ok().filter(|d| d.len() == 64).map(hex::encode)
}

/// What a lock file needs of one tarball.
struct Tarball {
    manifest: Value,
    integrity: String,
}

/// The `package.json` of the package in a tarball.
pub fn manifest(path: &Path) -> std::io::Result<Value> {
    let file = std::fs::File::open(path)?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in archive.entries()? {
        let entry = entry?;
        let wanted = {
            let path = entry.path()?;
            path.components().count() == 2 && path.file_name().is_some_and(|n| n == "package.json")
        };
        if wanted {
            let mut text = Vec::new();
            entry.take(MAX_MANIFEST).read_to_end(&mut text)?;
            let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
            return serde_json::from_slice(text).map_err(std::io::Error::other);
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::NotFound, "the tarball has no package.json"))
}

fn tarball(path: &Path) -> std::io::Result<Tarball> {
    let mut hasher = Sha512::new();
    std::io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    let integrity = format!("sha512-{}", STANDARD.encode(hasher.finalize()));
    Ok(Tarball { manifest: manifest(path)?, integrity })
}

/// The package.json of a set: what was asked for, at exactly its version.
pub fn package(artefacts: &[Artefact]) -> Value {
    let asked = artefacts.iter().filter(|a| a.ecosystem == Ecosystem::Npm && a.requested);
    let dependencies: BTreeMap<&str, &str> = asked.map(|a| (a.name.as_str(), a.version.as_str())).collect();
    json!({"name": "taskforge-task", "version": "1.0.0", "private": true, "dependencies": dependencies})
}

/// The lock file of the npm artefacts of a set; `resolved` says where a tarball of that name is.
pub async fn lock(
    artefacts: &[Artefact],
    store: &PackageStore,
    resolved: impl Fn(&Artefact) -> String,
) -> Result<Value, ImageError> {
    let mut packages = BTreeMap::new();
    let names: BTreeSet<&str> =
        artefacts.iter().filter(|a| a.ecosystem == Ecosystem::Npm).map(|a| a.name.as_str()).collect();
    for artefact in artefacts.iter().filter(|a| a.ecosystem == Ecosystem::Npm) {
        let path = store.path(&artefact.sha256);
        let shown = path.display().to_string();
        let read = tokio::task::spawn_blocking(move || tarball(&path)).await;
        let tarball = read
            .map_err(|e| ImageError::protocol(format!("reading {shown} was interrupted: {e}")))?
            .map_err(|e| ImageError::io(format!("{} cannot be read from {shown}", artefact.file_name), e))?;
        for place in &artefact.places {
            packages.insert(place.clone(), lock_entry(artefact, place, &tarball, resolved(artefact), &names));
        }
    }
    let mut all = Map::new();
    let root = package(artefacts);
    all.insert(
        String::new(),
        json!({"name": root["name"], "version": root["version"], "dependencies": root["dependencies"]}),
    );
    all.extend(packages);
    Ok(
        json!({"name": root["name"], "version": root["version"], "lockfileVersion": 3, "requires": true, "packages": all}),
    )
}

fn lock_entry(artefact: &Artefact, place: &str, tarball: &Tarball, resolved: String, names: &BTreeSet<&str>) -> Value {
    let mut entry = Map::new();
    if place.rsplit("node_modules/").next() != Some(artefact.name.as_str()) {
        entry.insert("name".into(), artefact.name.clone().into());
    }
    entry.insert("version".into(), artefact.version.clone().into());
    entry.insert("resolved".into(), resolved.into());
    entry.insert("integrity".into(), tarball.integrity.clone().into());
    for key in LOCKED {
        if let Some(value) = tarball.manifest.get(*key) {
            entry.insert((*key).to_owned(), value.clone());
        }
    }
    // What is optional and for another platform is not in the set; npm must not look for it.
    let optional = entry.get("optionalDependencies").and_then(Value::as_object).cloned().unwrap_or_default();
    for key in ["optionalDependencies", "dependencies"] {
        if let Some(Value::Object(wanted)) = entry.get_mut(key) {
            wanted.retain(|name, _| names.contains(name.as_str()) || !optional.contains_key(name));
        }
    }
    if let Some(Value::String(path)) = tarball.manifest.get("bin") {
        let short = artefact.name.rsplit('/').next().unwrap_or_default();
        entry.insert("bin".into(), json!({ short: path }));
    }
    if artefact.install_scripts {
        entry.insert("hasInstallScript".into(), true.into());
    }
    entry.into()
}
