//! What may be asked: names and version wishes by each ecosystem's grammar.
//!
//! Everything that passes is plain ASCII without spaces, quotes, slashes to elsewhere or options, so that it can stand in
//! a requirements file, a package.json or an argument list. URLs, files, repositories and aliases never pass.

use crate::error::ResolveError;
use domain::request::{Ecosystem, MAX_PACKAGES_PER_REQUEST, PackageAsk};

/// Longest name.
const MAX_NAME: usize = 214;
/// Longest version wish.
const MAX_VERSION: usize = 128;

/// A checked wish.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spec {
    /// Where from.
    pub ecosystem: Ecosystem,
    /// The name, normalised as the ecosystem does.
    pub name: String,
    /// pip only: extras, normalised and sorted.
    pub extras: Vec<String>,
    /// The version wish; empty means any. pip: specifiers with operator; npm: a range; apt: an exact version.
    pub version: String,
}

impl Spec {
    /// The wish in the syntax of its tool.
    pub fn line(&self) -> String {
        match self.ecosystem {
            Ecosystem::Pip if self.extras.is_empty() => format!("{}{}", self.name, self.version),
            Ecosystem::Pip => format!("{}[{}]{}", self.name, self.extras.join(","), self.version),
            Ecosystem::Apt if self.version.is_empty() => self.name.clone(),
            Ecosystem::Apt => format!("{}={}", self.name, self.version),
            Ecosystem::Npm if self.version.is_empty() => format!("{}@latest", self.name),
            Ecosystem::Npm => format!("{}@{}", self.name, self.version),
        }
    }
}

/// Checks all wishes of a request.
pub fn parse_all(asks: &[PackageAsk]) -> Result<Vec<Spec>, ResolveError> {
    if asks.is_empty() {
        return Err(rejected("the request names no package"));
    }
    if asks.len() > MAX_PACKAGES_PER_REQUEST {
        return Err(ResolveError::TooLarge {
            what: format!("{} packages, the limit is {MAX_PACKAGES_PER_REQUEST}", asks.len()),
        });
    }
    let mut specs = asks.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    specs.sort();
    specs.dedup();
    for pair in specs.windows(2) {
        let [a, b] = pair else { continue };
        if a.ecosystem == b.ecosystem && a.name == b.name && a.ecosystem != Ecosystem::Pip {
            return Err(rejected(format!("{} is asked for twice with different versions", a.name)));
        }
    }
    Ok(specs)
}

/// Checks one wish.
pub fn parse(ask: &PackageAsk) -> Result<Spec, ResolveError> {
    let (name, version) = (ask.name.trim(), ask.version.as_deref().unwrap_or_default().trim());
    for (what, text, limit) in [("name", name, MAX_NAME), ("version", version, MAX_VERSION)] {
        if text.len() > limit {
            return Err(rejected(format!("a package {what} is longer than {limit} characters")));
        }
        if !text.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
            return Err(rejected(format!("the package {what} {text:?} holds characters that no package {what} has")));
        }
    }
    let lower = format!("{name}{version}").to_ascii_lowercase();
    let elsewhere = ["://", "git+", "git@", "file:", "npm:", "github:", "gitlab:", "bitbucket:", "workspace:", "link:"];
    if elsewhere.iter().any(|e| lower.contains(e)) {
        return Err(rejected(format!(
            "{name:?} {version:?} points to an address, a file or another name. Only packages of the registries can be \
             requested, by name and version"
        )));
    }
    match ask.ecosystem {
        Ecosystem::Pip => pip(name, version),
        Ecosystem::Npm => npm(name, version),
        Ecosystem::Apt => apt(name, version),
    }
}

fn rejected(what: impl Into<String>) -> ResolveError {
    ResolveError::Rejected { what: what.into() }
}

/// PEP 508 name with extras, PEP 440 specifiers. `name==1` in the name and a bare `1.2` as version are understood.
fn pip(name: &str, version: &str) -> Result<Spec, ResolveError> {
    let split = name.find(['=', '<', '>', '!', '~', ' ']).unwrap_or(name.len());
    let (bare, inline) = (name[..split].trim(), name[split..].trim());
    if !inline.is_empty() && !version.is_empty() {
        return Err(rejected(format!("{name:?} names a version and the request names another, {version:?}")));
    }
    let (base, extras) = match bare.split_once('[') {
        Some((base, rest)) => {
            let list = rest.strip_suffix(']').ok_or_else(|| rejected(format!("{bare:?} has no closing bracket")))?;
            (base.trim(), list.split(',').map(str::trim).collect())
        }
        None => (bare, Vec::new()),
    };
    let mut normal = Vec::with_capacity(extras.len());
    for part in extras {
        normal.push(pip_name(part).ok_or_else(|| rejected(format!("{part:?} is not the name of an extra")))?);
    }
    normal.sort();
    normal.dedup();
    let name = pip_name(base).ok_or_else(|| {
        rejected(format!("{base:?} is not a Python package name: letters, digits, and . _ - between them"))
    })?;
    let wish = if inline.is_empty() { version } else { inline };
    Ok(Spec { ecosystem: Ecosystem::Pip, version: pip_specifiers(wish)?, name, extras: normal })
}

/// The normalised name (PEP 503), if it is one.
pub fn pip_name(name: &str) -> Option<String> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !edge(name.chars().next()) || !edge(name.chars().last()) || !name.chars().all(inner) {
        return None;
    }
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    Some(out)
}

/// A set of version specifiers without spaces; a bare version means exactly that one.
fn pip_specifiers(text: &str) -> Result<String, ResolveError> {
    if text.is_empty() || text == "*" || text == "latest" {
        return Ok(String::new());
    }
    let mut out = Vec::new();
    for part in text.split(',').map(str::trim) {
        let at = part.find(|c: char| !matches!(c, '=' | '<' | '>' | '!' | '~')).unwrap_or(part.len());
        let (operator, version) = (&part[..at], part[at..].trim());
        let operator = if operator.is_empty() { "==" } else { operator };
        let known = matches!(operator, "==" | "!=" | "<=" | ">=" | "<" | ">" | "~=" | "===");
        let wildcard = version.strip_suffix(".*").filter(|_| matches!(operator, "==" | "!="));
        if !known || !is_pep440(wildcard.unwrap_or(version)) {
            return Err(rejected(format!("{part:?} is not a version wish such as ==1.2.3, >=1.2 or ~=1.2")));
        }
        out.push(format!("{operator}{version}"));
    }
    Ok(out.join(","))
}

/// Whether this is a version by PEP 440, loosely: digits first, then releases, letters and separators.
fn is_pep440(version: &str) -> bool {
    let body = version.strip_prefix('v').unwrap_or(version);
    body.starts_with(|c: char| c.is_ascii_digit())
        && body.ends_with(|c: char| c.is_ascii_alphanumeric())
        && body.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '!' | '+' | '-' | '_'))
        && !body.contains("..")
}

/// npm: an optional scope and a name, and a semver range.
fn npm(name: &str, version: &str) -> Result<Spec, ResolveError> {
    let (bare, inline) = match name.get(1..).and_then(|rest| rest.find('@')) {
        Some(at) => (&name[..at + 1], &name[at + 2..]),
        None => (name, ""),
    };
    if !inline.is_empty() && !version.is_empty() {
        return Err(rejected(format!("{name:?} names a version and the request names another, {version:?}")));
    }
    if !is_npm_name(bare) {
        return Err(rejected(format!("{bare:?} is not an npm package name: name or @scope/name, in lower case")));
    }
    let wish = if inline.is_empty() { version } else { inline };
    if !is_npm_range(wish) {
        return Err(rejected(format!("{wish:?} is not an npm version or range such as 1.2.3, ^1.2 or >=1 <2")));
    }
    let version = wish.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Spec { ecosystem: Ecosystem::Npm, name: bare.to_owned(), extras: Vec::new(), version })
}

/// Whether this is a package name by npm's rules (old names with capitals are not requested by anybody new).
pub fn is_npm_name(name: &str) -> bool {
    let part = |p: &str| {
        p.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.' | '~'))
    };
    let whole = match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, rest)| part(scope) && part(rest)),
        None => part(name),
    };
    whole && name.len() <= MAX_NAME && !matches!(name, "node_modules" | "favicon.ico")
}

/// Whether this is a semver range or a plain tag such as `latest`.
fn is_npm_range(range: &str) -> bool {
    if range.is_empty() || is_npm_tag(range) {
        return true;
    }
    range.split("||").all(|part| {
        let words: Vec<&str> = part.split_whitespace().collect();
        !words.is_empty() && words.iter().all(|w| *w == "-" || is_comparator(w))
    })
}

fn is_npm_tag(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && !matches!(text, "x" | "v")
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_comparator(word: &str) -> bool {
    let operators = [">=", "<=", ">", "<", "=", "^", "~"];
    let body = operators.iter().find_map(|o| word.strip_prefix(o)).unwrap_or(word);
    if operators.contains(&word) {
        return true;
    }
    let body = body.strip_prefix('v').unwrap_or(body);
    let core = body.split(['-', '+']).next().unwrap_or_default();
    let number = |p: &str| matches!(p, "x" | "X" | "*") || (!p.is_empty() && p.chars().all(|c| c.is_ascii_digit()));
    let suffix = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    (1..=3).contains(&core.split('.').count())
        && core.split('.').all(number)
        && body[core.len()..].chars().all(suffix)
        && !body.ends_with(['-', '+', '.'])
}

/// Debian: a package name, and an exact version.
fn apt(name: &str, version: &str) -> Result<Spec, ResolveError> {
    let (bare, inline) = name.split_once('=').unwrap_or((name, ""));
    if !inline.is_empty() && !version.is_empty() {
        return Err(rejected(format!("{name:?} names a version and the request names another, {version:?}")));
    }
    if !is_apt_name(bare) {
        return Err(rejected(format!("{bare:?} is not a Debian package name: lower case letters, digits, + - .")));
    }
    let wish = if inline.is_empty() { version } else { inline };
    let wish = wish.strip_prefix('=').unwrap_or(wish);
    let wish = if matches!(wish, "*" | "latest") { "" } else { wish };
    if !wish.is_empty() && !is_apt_version(wish) {
        return Err(rejected(format!("{wish:?} is not an exact Debian version such as 1.6-2.1")));
    }
    Ok(Spec { ecosystem: Ecosystem::Apt, name: bare.to_owned(), extras: Vec::new(), version: wish.to_owned() })
}

/// Whether this is a Debian package name. One that ends in `-` or `+` is refused: apt would remove or add by that.
pub fn is_apt_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        && !name.ends_with('-')
        && (!name.ends_with('+') || name.ends_with("++"))
}

/// Whether this is a Debian version.
pub fn is_apt_version(version: &str) -> bool {
    version.starts_with(|c: char| c.is_ascii_digit())
        && version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '~' | ':'))
}

/// Whether a text that a registry gave can stand in a Dockerfile, a lock file or a path: no separator, no quote.
pub fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME
        && !text.starts_with(['-', '.'])
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '~' | ':' | '!'))
}
