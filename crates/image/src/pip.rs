//! PyPI: index pages, what `uv pip compile` answers, and which wheel fits the image.

use crate::registry_proxy::FileFact;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io::Read, path::Path};

/// Largest metadata of a wheel that is read.
const MAX_METADATA: u64 = 4 << 20;

/// One file of an index page, as it is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// What is kept of it.
    pub fact: FileFact,
    /// The index's `requires-python`.
    pub requires_python: Option<String>,
    /// Whether it was withdrawn.
    pub yanked: bool,
    /// Its size.
    pub size: Option<u64>,
}

#[derive(Deserialize)]
struct Page {
    files: Vec<PageFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PageFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    requires_python: Option<String>,
    size: Option<u64>,
    upload_time: Option<String>,
    #[serde(default)]
    yanked: serde_json::Value,
    #[serde(default, alias = "data-dist-info-metadata", alias = "dist-info-metadata")]
    core_metadata: serde_json::Value,
}

/// Reads an index page; only wheels with a SHA-256 are kept, because nothing else is ever installed.
pub fn read_index(body: &[u8], is_json: bool, page: &Url) -> Result<Vec<IndexFile>, String> {
    let files = if is_json {
        serde_json::from_slice::<Page>(body).map_err(|e| format!("{page} is no simple index: {e}"))?.files
    } else {
        read_html(&String::from_utf8_lossy(body))
    };
    let keep = |file: PageFile| {
        let url = page.join(&file.url).ok()?;
        let sha256 = file.hashes.get("sha256").filter(|h| is_sha256(h)).cloned()?;
        let truthy = |v: &serde_json::Value| !matches!(v, serde_json::Value::Null | serde_json::Value::Bool(false));
        Wheel::parse(&file.filename)?;
        Some(IndexFile {
            fact: FileFact {
                has_metadata: truthy(&file.core_metadata),
                file_name: file.filename,
                url,
                sha256: Some(sha256),
                uploaded_at: file.upload_time,
            },
            requires_python: file.requires_python,
            yanked: truthy(&file.yanked),
            size: file.size,
        })
    };
    Ok(files.into_iter().filter_map(keep).collect())
}

/// The anchors of a PEP 503 page.
fn read_html(text: &str) -> Vec<PageFile> {
    let attribute = |tag: &str, name: &str| {
        let start = tag.find(&format!("{name}=\""))? + name.len() + 2;
        let value = &tag[start..start + tag[start..].find('"')?];
        Some(value.replace("&gt;", ">").replace("&lt;", "<").replace("&quot;", "\"").replace("&amp;", "&"))
    };
    let file = |anchor: &str| {
        let (tag, rest) = anchor.split_once('>')?;
        let href = attribute(tag, "href")?;
        let (url, fragment) = href.split_once('#').unwrap_or((&href, ""));
        let hashes = fragment.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
        let flag = |name: &str| serde_json::Value::Bool(tag.contains(name));
        Some(PageFile {
            filename: rest.split('<').next()?.trim().to_owned(),
            url: url.to_owned(),
            hashes,
            requires_python: attribute(tag, "data-requires-python"),
            size: None,
            upload_time: None,
            yanked: flag("data-yanked"),
            core_metadata: flag("data-core-metadata="),
        })
    };
    text.split("<a ").skip(1).filter_map(file).collect()
}

/// Writes an index page whose files lie below `../../file/<number>/`, numbered from `start`.
pub fn write_index(name: &str, files: &[IndexFile], start: usize) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Out<'a> {
        filename: &'a str,
        url: String,
        hashes: BTreeMap<&'a str, &'a str>,
        requires_python: &'a Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        yanked: bool,
        core_metadata: bool,
    }
    let files: Vec<Out<'_>> = files
        .iter()
        .enumerate()
        .map(|(i, f)| Out {
            filename: &f.fact.file_name,
            url: format!("../../file/{}/{}", start + i, f.fact.file_name),
            hashes: f.fact.sha256.iter().map(|h| ("sha256", h.as_str())).collect(),
            requires_python: &f.requires_python,
            size: f.size,
            yanked: f.yanked,
            core_metadata: f.fact.has_metadata,
        })
        .collect();
    serde_json::json!({"meta": {"api-version": "1.1"}, "name": name, "files": files}).to_string()
}

/// Whether this is a SHA-256 in lower-case hexadecimal.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A resolved requirement: `name==version` and its hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// SHA-256 of the files that may be it.
    pub hashes: Vec<String>,
}

/// Reads what `uv pip compile --generate-hashes` prints; a line that is no plain pin is an error with its text.
pub fn read_compiled(text: &str) -> Result<Vec<Pinned>, String> {
    let mut out = Vec::new();
    for line in text.replace("\\\n", " ").lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let mut words = line.split_whitespace();
        let pin = words.next().unwrap_or_default();
        let (name, version) = pin.split_once("==").ok_or_else(|| line.to_owned())?;
        let name = name.split('[').next().unwrap_or_default();
        let name = crate::spec::pip_name(name).ok_or_else(|| line.to_owned())?;
        if !crate::spec::is_plain(version) || line.contains(" @ ") {
            return Err(line.to_owned());
        }
        let hashes = words.filter_map(|w| w.strip_prefix("--hash=sha256:")).map(str::to_owned).collect();
        out.push(Pinned { name, version: version.to_owned(), hashes });
    }
    Ok(out)
}

/// The interpreter that wheels must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Python's major and minor version.
    pub python: (u32, u32),
    /// glibc's.
    pub libc: (u32, u32),
    /// `x86_64` or `aarch64`.
    pub machine: String,
}

/// A wheel's file name in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wheel<'a> {
    /// Distribution name as written.
    pub name: &'a str,
    /// Version as written.
    pub version: &'a str,
    pythons: Vec<&'a str>,
    abis: Vec<&'a str>,
    platforms: Vec<&'a str>,
}

impl<'a> Wheel<'a> {
    /// Takes a file name apart; none when it is not a wheel or holds odd characters.
    pub fn parse(file_name: &'a str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '!');
        if !file_name.chars().all(plain) || file_name.starts_with(['.', '-']) {
            return None;
        }
        let parts: Vec<&str> = file_name.strip_suffix(".whl")?.split('-').collect();
        let (name, version, tags) = match parts.as_slice() {
            [name, version, tags @ ..] if tags.len() == 3 => (*name, *version, tags),
            [name, version, _build, tags @ ..] if tags.len() == 3 => (*name, *version, tags),
            _ => return None,
        };
        let [pythons, abis, platforms] = tags else { return None };
        let split = |tag: &'a str| tag.split('.').collect();
        Some(Self { name, version, pythons: split(pythons), abis: split(abis), platforms: split(platforms) })
    }

    /// How well it fits: higher is better, none is not at all.
    pub fn fit(&self, on: &Platform) -> Option<(u32, u32, u32)> {
        let python = self.pythons.iter().flat_map(|p| self.abis.iter().map(move |a| python_fit(p, a, on)));
        let platform = self.platforms.iter().map(|p| platform_fit(p, on));
        let (interpreter, minor) = python.flatten().max()?;
        Some((interpreter, platform.flatten().max()?, minor))
    }
}

fn python_fit(python: &str, abi: &str, on: &Platform) -> Option<(u32, u32)> {
    let (major, minor) = on.python;
    let exact = format!("cp{major}{minor}");
    let number = |prefix: &str| python.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok());
    match abi {
        a if a == exact && python == exact => Some((4, minor)),
        "abi3" => number(&format!("cp{major}")).filter(|n| *n <= minor).map(|n| (3, n)),
        "none" if python == exact => Some((2, minor)),
        "none" if python == format!("py{major}") => Some((1, 0)),
        "none" => number(&format!("py{major}")).filter(|n| *n <= minor).map(|n| (1, n)),
        _ => None,
    }
}

fn platform_fit(platform: &str, on: &Platform) -> Option<u32> {
    if platform == "any" {
        return Some(0);
    }
    let rest = platform.strip_suffix(&format!("_{}", on.machine))?;
    let (major, minor) = match rest {
        "linux" => return Some(1),
        "manylinux1" => (2, 5),
        "manylinux2010" => (2, 12),
        "manylinux2014" => (2, 17),
        other => {
            let (major, minor) = other.strip_prefix("manylinux_")?.split_once('_')?;
            (major.parse().ok()?, minor.parse().ok()?)
        }
    };
    ((major, minor) <= on.libc && major == on.libc.0).then_some(100 + minor)
}

/// The metadata in a wheel.
pub fn metadata(wheel: &Path) -> std::io::Result<String> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(wheel)?)?;
    let wanted = |n: &&str| n.split('/').count() == 2 && n.ends_with(".dist-info/METADATA");
    let name = archive.file_names().find(wanted).map(str::to_owned);
    let name = name.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "the wheel has no metadata"))?;
    let mut text = Vec::new();
    archive.by_name(&name)?.take(MAX_METADATA).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The licence that a wheel's metadata states: an expression, a short name, a classifier, or the title of its text.
pub fn licence(metadata: &str) -> Option<String> {
    let head = metadata.split("\n\n").next().unwrap_or_default();
    let field = |name: &str| {
        head.lines().find_map(|l| l.strip_prefix(name)).map(str::trim).filter(|v| !v.is_empty() && *v != "UNKNOWN")
    };
    let classifier = || {
        head.lines()
            .filter_map(|l| l.strip_prefix("Classifier: License :: "))
            .filter_map(|l| l.rsplit(" :: ").next())
            .find(|l| *l != "OSI Approved")
    };
    let mut text = head.lines().skip_while(|l| !l.starts_with("License:"));
    let first = text.next().and_then(|l| l.strip_prefix("License:"));
    let further: Vec<&str> = text.take_while(|l| l.starts_with([' ', '\t'])).collect();
    let name = || field("License:").filter(|v| further.is_empty() && v.len() <= 100);
    let title = || {
        let lines = first.into_iter().chain(further.iter().copied()).map(str::trim);
        lines.filter(|l| *l != "UNKNOWN").find(|l| l.chars().any(char::is_alphabetic))
    };
    let found = field("License-Expression:").or_else(name).or_else(classifier).or_else(title)?;
    Some(found.chars().take(100).collect())
}
