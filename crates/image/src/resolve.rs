//! From wishes to a candidate: exact versions, hashes, sizes, and the bytes in the package store.
//!
//!   wishes ─grammar─► resolver container (uv, npm, apt) ─► pins ─► files fetched and checked by the host ─► candidate
//!
//! The task's approved set is fixed: its versions are constraints, and its artefacts are part of the candidate unchanged.

mod answers;

use crate::{
    Images,
    error::{ImageError, ResolveError},
    npm,
    packages::Expected,
    pip::{self, Wheel},
    registry_proxy::{HourBudget, LookupFn, Session, Trouble},
    spec::{self, Spec},
};
use domain::{
    candidate::{Artefact, Candidate},
    ids::{RequestId, TaskId},
    request::{Ecosystem, PackageAsk},
};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Url;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
    time::Instant,
};

/// Downloads at once.
const PARALLEL_DOWNLOADS: usize = 6;

/// What is to be resolved.
#[derive(Debug, Clone)]
pub struct ResolveInput {
    /// The task.
    pub task: TaskId,
    /// The request.
    pub request: RequestId,
    /// ID of the base image.
    pub base_image: String,
    /// ID of the image that the task has so far.
    pub parent_image: String,
    /// What was approved for the task so far, built or not.
    pub approved: Vec<Artefact>,
    /// What is asked for.
    pub asks: Vec<PackageAsk>,
    /// The policy version in force.
    pub policy_version: u32,
}

/// A resolved request.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What a person decides on: the approved set, what is new, and the Dockerfile.
    pub candidate: Candidate,
    /// What the request adds. Empty: the task has all of it already.
    pub new: Vec<Artefact>,
    /// How many lookups it took.
    pub lookups: u32,
}

impl Images {
    /// Makes the candidate of a request. `lookup` is told each lookup before it leaves and can refuse it.
    pub async fn resolve(&self, input: &ResolveInput, lookup: LookupFn) -> Result<Resolved, ResolveError> {
        let specs = spec::parse_all(&input.asks)?;
        let limit = self.shared.config.limits.time;
        match tokio::time::timeout(limit, self.resolve_specs(input, &specs, lookup)).await {
            Ok(result) => result,
            Err(_) => Err(ResolveError::Timeout { limit_s: limit.as_secs() }),
        }
    }

    async fn resolve_specs(
        &self,
        input: &ResolveInput,
        specs: &[Spec],
        lookup: LookupFn,
    ) -> Result<Resolved, ResolveError> {
        let _slot = self.shared.slots.acquire().await.map_err(|e| ImageError::protocol(e.to_string()))?;
        let bases = self.bases().await?.ok_or(ImageError::NoBase)?;
        let session = Arc::new(self.session(input.task, lookup));
        let status = self.dpkg_status(&input.parent_image).await?;
        let request = self.tool_request(input, specs, &status).await?;
        let name = format!("resolve-{}-{}", self.shared.docker.installation().short(), input.request.hex());
        let image = &bases.resolver.id;
        let answer = self.run_resolver(image, &name, Arc::clone(&session), &request, &status).await;
        let answer = answer.map_err(|error| answers::first_trouble(&session).unwrap_or(error))?;
        let mut new = self.pip_artefacts(&session, specs, &answer).await?;
        new.extend(self.npm_artefacts(&session, specs, &answer).await?);
        new.extend(self.apt_artefacts(&session, specs, &answer).await?);
        let (new, all) = merge(&input.approved, new)?;
        self.check_bounds(&new)?;
        let dockerfile = self.dockerfile(&input.base_image, &all).await.map_err(|e| match e {
            crate::BuildError::Internal(error) => ResolveError::Internal(error),
            other => ResolveError::Rejected { what: other.to_string() },
        })?;
        let candidate = Candidate {
            request: input.request,
            base_image: input.base_image.clone(),
            parent_image: input.parent_image.clone(),
            artefacts: all,
            dockerfile,
            policy_version: input.policy_version,
        };
        Ok(Resolved { candidate, new, lookups: session.lookups() })
    }

    /// A session of the registry proxy for a task.
    pub fn session(&self, task: TaskId, lookup: LookupFn) -> Session {
        let (images, limit) = (self.clone(), self.shared.config.limits.lookups_per_task_hour);
        let take = move || {
            let now = Instant::now();
            let mut budgets = images.shared.budgets.lock().unwrap_or_else(PoisonError::into_inner);
            budgets.retain(|owner, budget: &mut HourBudget| *owner == task || !budget.is_idle(now));
            budgets.entry(task).or_default().take(now, limit)
        };
        Session {
            task,
            registries: self.shared.config.registries.clone(),
            limits: self.shared.config.limits.clone(),
            http: self.shared.http.clone(),
            packages: self.shared.packages.clone(),
            lookup,
            take_hourly: Box::new(take),
            state: Default::default(),
        }
    }

    /// The wishes in the words of the three tools, with the approved set as given.
    async fn tool_request(&self, input: &ResolveInput, specs: &[Spec], status: &[u8]) -> Result<Value, ResolveError> {
        let of = |e: Ecosystem| specs.iter().filter(move |s| s.ecosystem == e);
        let approved = |e: Ecosystem| input.approved.iter().filter(move |a| a.ecosystem == e);
        let mut request = json!({});
        if of(Ecosystem::Pip).next().is_some() {
            let pins: Vec<String> = approved(Ecosystem::Pip).map(|a| format!("{}=={}", a.name, a.version)).collect();
            let wishes: Vec<String> = of(Ecosystem::Pip).map(Spec::line).collect();
            request["pip"] = json!({"requirements": wishes, "constraints": pins});
        }
        if of(Ecosystem::Npm).next().is_some() {
            let mut package = npm::package(&input.approved);
            for spec in of(Ecosystem::Npm) {
                let range = if spec.version.is_empty() { "latest" } else { &spec.version };
                package["dependencies"][&spec.name] = range.into();
            }
            let resolved = |a: &Artefact| a.url.clone();
            let lock = match approved(Ecosystem::Npm).next() {
                Some(_) => Some(npm::lock(&input.approved, &self.shared.packages, resolved).await?),
                None => None,
            };
            request["npm"] = json!({"package": package, "lock": lock});
        }
        if of(Ecosystem::Apt).next().is_some() {
            let installed: BTreeSet<(String, String)> = crate::inventory::dpkg(&String::from_utf8_lossy(status))
                .into_iter()
                .map(|p| (p.name, p.version))
                .collect();
            let missing = approved(Ecosystem::Apt)
                .filter(|a| !installed.contains(&(a.name.clone(), a.version.clone())))
                .map(|a| format!("{}={}", a.name, a.version));
            let wishes: Vec<String> = of(Ecosystem::Apt).map(Spec::line).chain(missing).collect();
            request["apt"] = json!({"specs": wishes});
        }
        Ok(request)
    }

    async fn pip_artefacts(
        &self,
        session: &Session,
        specs: &[Spec],
        answer: &Value,
    ) -> Result<Vec<Artefact>, ResolveError> {
        let Some(result) = answer.get("pip") else { return Ok(Vec::new()) };
        let pins = answers::pip_pins(session, result)?;
        let platform = answers::platform(answer)?;
        let files = session.python_files();
        let choose = |pin: &pip::Pinned| {
            let fitting = files.iter().filter(|f| f.sha256.as_ref().is_some_and(|h| pin.hashes.contains(h)));
            let scored = fitting.filter_map(|f| Some((Wheel::parse(&f.file_name)?.fit(&platform)?, f)));
            scored.max_by_key(|(fit, _)| *fit).map(|(_, f)| f.clone()).ok_or_else(|| ResolveError::Rejected {
                what: format!("{} {} has no ready-made wheel for the image's Python", pin.name, pin.version),
            })
        };
        let chosen = pins.iter().map(|p| Ok((p, choose(p)?))).collect::<Result<Vec<_>, ResolveError>>()?;
        let fetch = |(pin, fact): (&pip::Pinned, crate::registry_proxy::FileFact)| {
            let (name, version) = (pin.name.clone(), pin.version.clone());
            async move {
                let expected = Expected::Sha256(fact.sha256.clone().unwrap_or_default());
                let stored = session.fetch(Ecosystem::Pip, &fact.url, &expected).await.map_err(Trouble::into_error)?;
                let path = self.shared.packages.path(&stored.sha256);
                let read = tokio::task::spawn_blocking(move || pip::metadata(&path)).await;
                let metadata = read.map_err(|e| ImageError::protocol(e.to_string()))?;
                let metadata = metadata.map_err(|e| ResolveError::Rejected {
                    what: format!("the package {name} {version} is damaged: {e}"),
                })?;
                Ok::<_, ResolveError>(Artefact {
                    ecosystem: Ecosystem::Pip,
                    requested: answers::is_asked(specs, Ecosystem::Pip, &name),
                    name,
                    version,
                    sha256: stored.sha256,
                    size_bytes: stored.size_bytes,
                    url: fact.url.to_string(),
                    licence: pip::licence(&metadata),
                    uploaded_at: fact.uploaded_at,
                    file_name: fact.file_name,
                    install_scripts: false,
                    places: Vec::new(),
                })
            }
        };
        stream::iter(chosen.into_iter().map(fetch)).buffered(PARALLEL_DOWNLOADS).try_collect().await
    }

    async fn npm_artefacts(
        &self,
        session: &Session,
        specs: &[Spec],
        answer: &Value,
    ) -> Result<Vec<Artefact>, ResolveError> {
        let Some(result) = answer.get("npm") else { return Ok(Vec::new()) };
        let locked = answers::npm_locked(session, result)?;
        let fetch = |locked: npm::Locked| async move {
            let url = answers::npm_url(&session.registries.npm, &locked)?;
            let expected = Expected::Sha512(locked.sha512.clone());
            let stored = session.fetch(Ecosystem::Npm, &url, &expected).await.map_err(Trouble::into_error)?;
            let path = self.shared.packages.path(&stored.sha256);
            let read = tokio::task::spawn_blocking(move || npm::manifest(&path)).await;
            let read = read.map_err(|e| ImageError::protocol(e.to_string()))?;
            let manifest = read.map_err(|e| ResolveError::Rejected {
                what: format!("the package {} {} is damaged: {e}", locked.name, locked.version),
            })?;
            let licence = manifest.get("license").and_then(|l| l.as_str().or(l.get("type").and_then(Value::as_str)));
            Ok::<_, ResolveError>(Artefact {
                ecosystem: Ecosystem::Npm,
                requested: answers::is_asked(specs, Ecosystem::Npm, &locked.name),
                uploaded_at: session.npm_time(&locked.name, &locked.version),
                file_name: format!("{}-{}.tgz", locked.name.trim_start_matches('@').replace('/', "-"), locked.version),
                name: locked.name,
                version: locked.version,
                sha256: stored.sha256,
                size_bytes: stored.size_bytes,
                url: url.to_string(),
                licence: licence.map(|l| l.chars().take(100).collect()),
                install_scripts: npm::has_install_script(&manifest),
                places: locked.places,
            })
        };
        stream::iter(locked.into_iter().map(fetch)).buffered(PARALLEL_DOWNLOADS).try_collect().await
    }

    async fn apt_artefacts(
        &self,
        session: &Session,
        specs: &[Spec],
        answer: &Value,
    ) -> Result<Vec<Artefact>, ResolveError> {
        let Some(result) = answer.get("apt") else { return Ok(Vec::new()) };
        let planned = answers::apt_planned(session, result)?;
        let fetch = |deb: answers::Deb| async move {
            let root = if deb.security { &session.registries.debian_security } else { &session.registries.debian };
            let url = Url::parse(&format!("{}/{}", root.trim_end_matches('/'), deb.path))
                .map_err(|e| ImageError::protocol(format!("the Debian archive's address is wrong: {e}")))?;
            let expected = Expected::Sha256(deb.sha256);
            let stored = session.fetch(Ecosystem::Apt, &url, &expected).await.map_err(Trouble::into_error)?;
            Ok::<_, ResolveError>(Artefact {
                ecosystem: Ecosystem::Apt,
                requested: answers::is_asked(specs, Ecosystem::Apt, &deb.name),
                file_name: format!("{}_{}_{}.deb", deb.name, deb.version.replace(':', "%3a"), deb.architecture),
                name: deb.name,
                version: deb.version,
                sha256: stored.sha256,
                size_bytes: stored.size_bytes,
                url: url.to_string(),
                licence: None,
                uploaded_at: None,
                // Nearly every Debian package has maintainer scripts, and dpkg runs them as root in the build.
                install_scripts: true,
                places: Vec::new(),
            })
        };
        stream::iter(planned.into_iter().map(fetch)).buffered(PARALLEL_DOWNLOADS).try_collect().await
    }

    fn check_bounds(&self, new: &[Artefact]) -> Result<(), ResolveError> {
        let limits = &self.shared.config.limits;
        let bytes: u64 = new.iter().map(|a| a.size_bytes).sum();
        if new.len() > limits.artefacts {
            let what = format!("it adds {} packages, the limit is {}", new.len(), limits.artefacts);
            return Err(ResolveError::TooLarge { what });
        }
        if bytes > limits.request_bytes {
            let what = format!("it adds {bytes} bytes, the limit is {}", limits.request_bytes);
            return Err(ResolveError::TooLarge { what });
        }
        Ok(())
    }
}

/// Puts the approved set and the newly resolved one together: (what is new, everything in a fixed order).
fn merge(approved: &[Artefact], resolved: Vec<Artefact>) -> Result<(Vec<Artefact>, Vec<Artefact>), ResolveError> {
    let mut all: Vec<Artefact> = approved.to_vec();
    let mut new = Vec::new();
    // npm places the whole set anew: what it no longer places would stand in the way of what it does.
    if resolved.iter().any(|a| a.ecosystem == Ecosystem::Npm) {
        all.iter_mut().for_each(|a| a.places.clear());
    }
    for artefact in resolved {
        let same = |a: &&mut Artefact| a.ecosystem == artefact.ecosystem && a.name == artefact.name;
        let several = artefact.ecosystem == Ecosystem::Npm;
        match all.iter_mut().filter(same).find(|a| !several || a.version == artefact.version) {
            Some(known) if known.sha256 == artefact.sha256 => {
                known.requested |= artefact.requested;
                known.places = artefact.places;
            }
            Some(known) => {
                return Err(ResolveError::Conflict {
                    ecosystem: artefact.ecosystem,
                    detail: format!(
                        "{} {} is already approved for this task, and the request needs {}",
                        known.name, known.version, artefact.version
                    ),
                });
            }
            None => {
                new.push(artefact.clone());
                all.push(artefact);
            }
        }
    }
    let key = |a: &Artefact| (a.ecosystem, a.name.clone(), a.version.clone());
    all.sort_by_key(key);
    new.sort_by_key(key);
    Ok((new, all))
}
