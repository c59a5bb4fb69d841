//! What the resolver's tools said, read and checked.

use crate::{
    error::{ImageError, ResolveError},
    npm::{self, Locked},
    pip::{self, Pinned, Platform},
    registry_proxy::{Session, Trouble},
    spec::{self, Spec},
};
use domain::request::Ecosystem;
use reqwest::Url;
use serde_json::Value;
use std::collections::BTreeMap;

/// How much of a tool's message is passed on.
const MAX_DETAIL: usize = 1_500;

/// A Debian package that apt would install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deb {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
    pub(super) sha256: String,
    /// Below the archive's root.
    pub(super) path: String,
    pub(super) security: bool,
}

/// Whether a name is among the wishes.
pub(super) fn is_asked(specs: &[Spec], ecosystem: Ecosystem, name: &str) -> bool {
    specs.iter().any(|s| s.ecosystem == ecosystem && s.name == name)
}

/// What the proxy saw go wrong for which no tool is to be asked: a refusal, a bound, a registry that does not answer.
pub(super) fn first_trouble(session: &Session) -> Option<ResolveError> {
    let rank = |t: &Trouble| match t {
        Trouble::Refused { .. } => 0,
        Trouble::TooLarge { .. } => 1,
        Trouble::Network { .. } => 2,
        Trouble::Missing { .. } | Trouble::NoRoute => 9,
    };
    let worst = session.troubles().into_iter().min_by_key(rank)?;
    (rank(&worst) < 9).then(|| worst.into_error())
}

fn missing(session: &Session, ecosystem: Ecosystem) -> Option<ResolveError> {
    let first = session.troubles().into_iter().find_map(|t| match t {
        Trouble::Missing { ecosystem: e, name } if e == ecosystem => Some(name),
        _ => None,
    })?;
    Some(ResolveError::Unknown { ecosystem, name: first, near: Vec::new() })
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn succeeded(result: &Value) -> bool {
    result.get("exit").and_then(Value::as_i64) == Some(0)
}

fn detail(result: &Value) -> String {
    let said = text(result, "stderr").trim();
    let said = if said.is_empty() { text(result, "stdout").trim() } else { said };
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    lines.join(" ").chars().take(MAX_DETAIL).collect()
}

pub(super) fn platform(answer: &Value) -> Result<Platform, ImageError> {
    let bad = || ImageError::protocol("the resolver does not say which Python and C library it has");
    let python = answer.get("python").and_then(Value::as_array).ok_or_else(bad)?;
    let number = |v: Option<&Value>| v.and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let python = (number(python.first()).ok_or_else(bad)?, number(python.get(1)).ok_or_else(bad)?);
    let (major, minor) = text(answer, "libc").split_once('.').ok_or_else(bad)?;
    let libc = (major.parse().map_err(|_| bad())?, minor.parse().map_err(|_| bad())?);
    Ok(Platform { python, libc, machine: text(answer, "machine").to_owned() })
}

pub(super) fn pip_pins(session: &Session, result: &Value) -> Result<Vec<Pinned>, ResolveError> {
    let ecosystem = Ecosystem::Pip;
    if !succeeded(result) {
        let said = detail(result);
        if let Some(trouble) = first_trouble(session) {
            return Err(trouble);
        }
        if said.contains("was not found in the package registry") {
            return Err(missing(session, ecosystem).unwrap_or(ResolveError::Conflict { ecosystem, detail: said }));
        }
        if said.contains("included as a URL dependency") || said.contains(" @ git+") {
            return Err(ResolveError::Rejected { what: format!("a dependency is not from the registry: {said}") });
        }
        return Err(ResolveError::Conflict { ecosystem, detail: said });
    }
    pip::read_compiled(text(result, "stdout"))
        .map_err(|line| ResolveError::Rejected { what: format!("a dependency is not from the registry: {line}") })
}

pub(super) fn npm_locked(session: &Session, result: &Value) -> Result<Vec<Locked>, ResolveError> {
    let ecosystem = Ecosystem::Npm;
    let lock = result.get("lock").filter(|l| !l.is_null());
    if let Some(lock) = lock.filter(|_| succeeded(result)) {
        return npm::read_lock(lock).map_err(|what| ResolveError::Rejected { what });
    }
    if let Some(trouble) = first_trouble(session) {
        return Err(trouble);
    }
    let said = detail(result);
    if let Some(error) = missing(session, ecosystem).filter(|_| said.contains("E404")) {
        return Err(error);
    }
    if said.contains("EALLOWGIT") || said.contains("EALLOWREMOTE") || said.contains("Fetching packages of type") {
        return Err(ResolveError::Rejected { what: format!("a dependency is not from the registry: {said}") });
    }
    if said.contains("ETARGET") {
        let name = said.split("No matching version found for ").nth(1).and_then(|r| r.split_whitespace().next());
        let name = name.unwrap_or("that version").trim_end_matches('.').to_owned();
        return Err(ResolveError::Unknown { ecosystem, name, near: Vec::new() });
    }
    Err(ResolveError::Conflict { ecosystem, detail: said })
}

/// The address of a tarball at the configured registry: npm wrote the one that its page named, or the relay's.
pub(super) fn npm_url(registry: &str, locked: &Locked) -> Result<Url, ResolveError> {
    let rejected =
        || ResolveError::Rejected { what: format!("{} names a strange file: {}", locked.name, locked.resolved) };
    let url = Url::parse(&locked.resolved).map_err(|_| rejected())?;
    let path = url.path().strip_prefix("/npm/").unwrap_or(url.path()).trim_start_matches('/');
    let local = url.host_str() == Some("127.0.0.1") && url.port() == Some(8081);
    if local {
        Url::parse(&format!("{}/{path}", registry.trim_end_matches('/'))).map_err(|_| rejected())
    } else {
        Ok(url)
    }
}

pub(super) fn apt_planned(session: &Session, result: &Value) -> Result<Vec<Deb>, ResolveError> {
    let ecosystem = Ecosystem::Apt;
    if let Some((name, near)) = result.get("missing").and_then(Value::as_object).and_then(|m| m.iter().next()) {
        let near = near.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        return Err(ResolveError::Unknown { ecosystem, name: name.clone(), near });
    }
    if !succeeded(result) {
        if let Some(trouble) = first_trouble(session) {
            return Err(trouble);
        }
        let said = detail(result);
        if text(result, "stage") == "update" {
            return Err(ResolveError::Network { ecosystem, detail: said });
        }
        if let Some(rest) = said.split("Version '").nth(1).filter(|_| said.contains("was not found")) {
            let version = rest.split('\'').next().unwrap_or_default();
            let name = rest.split("for '").nth(1).and_then(|r| r.split('\'').next()).unwrap_or_default();
            return Err(ResolveError::Unknown { ecosystem, name: format!("{name}={version}"), near: Vec::new() });
        }
        return Err(ResolveError::Conflict { ecosystem, detail: said });
    }
    let records = records(text(result, "records"));
    let mut debs = Vec::new();
    for line in text(result, "stdout").lines().filter(|l| l.starts_with('\'')) {
        debs.push(
            deb(line, &records).ok_or_else(|| ImageError::protocol(format!("apt's plan cannot be read: {line}")))?,
        );
    }
    Ok(debs)
}

/// SHA-256 by the archive's file path.
fn records(text: &str) -> BTreeMap<String, String> {
    let field =
        |record: &str, name: &str| record.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
    text.split("\n\n").filter_map(|r| Some((field(r, "Filename:")?, field(r, "SHA256:")?))).collect()
}

/// One line of `apt-get --print-uris`: `'http://…/x.deb' x_1_amd64.deb 123 SHA256:…`.
fn deb(line: &str, records: &BTreeMap<String, String>) -> Option<Deb> {
    let mut parts = line.strip_prefix('\'')?.splitn(2, '\'');
    let url = Url::parse(parts.next()?).ok()?;
    let file = parts.next()?.split_whitespace().next()?;
    let (archive, path) = url.path().trim_start_matches('/').split_once('/')?;
    let mut names = file.strip_suffix(".deb")?.splitn(3, '_');
    let (name, version, architecture) = (names.next()?, names.next()?.replace("%3a", ":"), names.next()?);
    let decoded = path.replace("%2b", "+").replace("%7e", "~").replace("%3a", ":");
    let sha256 = records.get(&decoded).or_else(|| records.get(path)).filter(|h| pip::is_sha256(h))?.clone();
    let plain = |t: &str| t.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !t.is_empty();
    (spec::is_apt_name(name) && spec::is_apt_version(&version) && plain(architecture)).then(|| Deb {
        name: name.to_owned(),
        version,
        architecture: architecture.to_owned(),
        sha256,
        path: path.to_owned(),
        security: archive == "debian-security",
    })
}
