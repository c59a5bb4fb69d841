//! What the API asks other parts, answered.

use super::{Parts, core::Core, health, registry};
use api::{ApiError, Ask, Code, GatewayServices, ImageServices, Services, Who, ask, wire};
use axum::body::Body;
use domain::{
    event::{Actor, Event, EventKind, Outcome},
    ids::OpId,
};
use futures::FutureExt;
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use store::{Durability, Store};
use tokio_util::sync::CancellationToken;
use workflow::{activities::base_row, recovery::needed};

/// How the base image is being made.
#[derive(Clone, Default)]
enum Bootstrap {
    #[default]
    Idle,
    Running(String),
    Failed(String),
}

/// The services of the whole API.
pub(crate) fn services(parts: &Arc<Parts>, stop: &CancellationToken) -> Services {
    let stop = stop.clone();
    let p = || Arc::clone(parts);
    let state = Arc::new(Mutex::new(Bootstrap::Idle));
    let (health, facts, a, b) = (p(), p(), p(), p());
    let images = ImageServices {
        bootstrap: ask(move |()| bootstrap(Arc::clone(&a), Arc::clone(&state), stop.clone())),
        prune: ask(move |()| prune(Arc::clone(&b))),
    };
    let own = Own {
        health: ask(move |()| {
            let parts = Arc::clone(&health);
            async move { Ok(health::checks(&parts).await) }
        }),
        facts: ask(move |()| {
            let parts = Arc::clone(&facts);
            async move { Ok(health::facts(&parts).await) }
        }),
        images: Some(images),
    };
    shared(&parts.core, own)
}

/// What a kind of server answers in its own way.
pub(crate) struct Own {
    pub(crate) health: Ask<(), Vec<wire::HealthCheck>>,
    pub(crate) facts: Ask<(), serde_json::Value>,
    pub(crate) images: Option<ImageServices>,
}

/// The services of every kind of server.
pub(crate) fn shared(core: &Core, own: Own) -> Services {
    let registry = core.providers.registry().clone();
    let listed = registry.clone();
    let (verified, sealed) = (core.store.clone(), core.store.clone());
    Services {
        model_resolve: ask(move |name: String| {
            let registry = registry.clone();
            async move { registry::resolve(&registry, &name).await }
        }),
        models: ask(move |()| {
            let registry = listed.clone();
            async move { Ok(registry.models().await.iter().map(ToString::to_string).collect()) }
        }),
        health: own.health,
        facts: own.facts,
        audit_verify: ask(move |()| verify(verified.clone())),
        audit_checkpoint: ask(move |()| checkpoint(sealed.clone())),
        gateway: gateway(core),
        images: own.images,
    }
}

fn gateway(core: &Core) -> GatewayServices {
    let p = || Arc::clone(&core.providers);
    let (list, save, remove, test, aliases) = (p(), p(), p(), p(), p());
    let (calls, reload, metrics) = (core.gateway.clone(), core.clone(), core.clone());
    GatewayServices {
        call: Arc::new(move |who, request| {
            let gateway = calls.clone();
            Box::pin(async move {
                let (parts, body) = request.into_parts();
                let token = match who {
                    Who::Headers => None,
                    Who::Token(name) => Some(name),
                };
                gateway.serve_callers(parts, body, token).await.map(Body::new)
            })
        }),
        providers: ask(move |()| {
            let providers = Arc::clone(&list);
            async move { providers.list().await }
        }),
        provider_save: ask(move |change| {
            let providers = Arc::clone(&save);
            async move { providers.save(change).await }
        }),
        provider_remove: ask(move |(name, by): (String, String)| {
            let providers = Arc::clone(&remove);
            async move { providers.remove(&name, &by).await }
        }),
        provider_test: ask(move |name: String| {
            let providers = Arc::clone(&test);
            async move { providers.test(&name).await }
        }),
        aliases: ask(move |()| {
            let all = aliases.aliases();
            async move { Ok(all) }
        }),
        reload: ask(move |by| {
            let core = reload.clone();
            async move { core.reload(Actor::Token { name: by }).await }
        }),
        metrics: ask(move |()| {
            let core = metrics.clone();
            async move { Ok(core.metrics()) }
        }),
    }
}

async fn verify(store: Store) -> Result<wire::VerifyReport, ApiError> {
    store.seal().await?;
    let (dir, key) = (store.log_dir().to_owned(), store.log_key().await?);
    let options = audit::VerifyOptions { known: None, live: true };
    let report = tokio::task::spawn_blocking(move || audit::verify(&dir, &key, &options))
        .await
        .map_err(ApiError::internal)?
        .map_err(|e| ApiError::new(Code::LogUnavailable, e.to_string()))?;
    Ok(wire::VerifyReport {
        ok: report.valid,
        entries: report.size,
        root: Some(report.root),
        checkpoint: store.log_newest().await?,
        findings: report.findings.into_iter().map(|f| f.sentence).collect(),
    })
}

async fn checkpoint(store: Store) -> Result<String, ApiError> {
    store.seal().await?;
    store.log_newest().await?.ok_or_else(|| ApiError::new(Code::LogUnavailable, "the log has no checkpoint yet"))
}

async fn bootstrap(
    parts: Arc<Parts>,
    state: Arc<Mutex<Bootstrap>>,
    stop: CancellationToken,
) -> Result<wire::Bootstrap, ApiError> {
    let answer = |state: &str, image, detail| wire::Bootstrap { state: state.to_owned(), image, detail };
    let docker = |e: image::ImageError| ApiError::new(Code::DockerUnavailable, e.to_string());
    if let Some(bases) = parts.services.images.bases().await.map_err(docker)? {
        let row = base_row(&bases.agent);
        let work = store::work(move |tx| async move { tx.image_upsert(&row).await }.boxed());
        parts.store.write(Durability::Process, work).await?;
        return Ok(answer("ready", Some(bases.agent.id), bases.agent.tag));
    }
    let now = state.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Bootstrap::Running(line) = now {
        return Ok(answer("running", None, line));
    }
    let set = {
        let state = Arc::clone(&state);
        move |s| *state.lock().unwrap_or_else(PoisonError::into_inner) = s
    };
    set(Bootstrap::Running("starting".to_owned()));
    let work = Arc::clone(&parts);
    parts.tracker.spawn(async move {
        let progress = set.clone();
        let tell = move |line: &str| {
            tracing::info!(line, "base image");
            progress(Bootstrap::Running(line.to_owned()));
        };
        let made = tokio::select! {
            made = work.services.images.bootstrap(&tell) => made,
            // The next start makes it.
            () = stop.cancelled() => return,
        };
        match made {
            Ok(_) => set(Bootstrap::Idle),
            Err(e) => {
                tracing::warn!(error = %e, "the base image could not be made; `taskforge image bootstrap` tries again");
                set(Bootstrap::Failed(e.to_string()));
            }
        }
    });
    Ok(match now {
        Bootstrap::Failed(why) => answer("failed", None, format!("{why}; trying again")),
        Bootstrap::Idle | Bootstrap::Running(_) => answer("running", None, "starting".to_owned()),
    })
}

async fn prune(parts: Arc<Parts>) -> Result<wire::Pruned, ApiError> {
    let docker = |e: image::ImageError| ApiError::new(Code::DockerUnavailable, e.to_string());
    let keep = needed(&parts.store).await?;
    let images = &parts.services.images;
    let sizes: BTreeMap<String, u64> = parts.store.image_list().await?.into_iter().map(|i| (i.id, i.size)).collect();
    let op = store::new_id(OpId::from_uuid);
    let begun = Event::begun(EventKind::ImagePrune, op, json!(images.unneeded(&keep).await.map_err(docker)?));
    parts.store.write(Durability::Power, move |tx| tx.leaf(begun).boxed()).await?;
    let pruned = images.prune(&keep).await;
    let (removed, package_bytes, ended) = match &pruned {
        Ok(p) => {
            let data = json!({"removed": p.images, "package_files": p.package_files});
            (p.images.clone(), p.package_bytes, Event::ended(EventKind::ImagePrune, op, Outcome::Done, data))
        }
        Err(e) => (Vec::new(), 0, Event::ended(EventKind::ImagePrune, op, Outcome::Failed, json!({"fault": e.code()}))),
    };
    let freed_bytes = removed.iter().filter_map(|id| sizes.get(id)).sum::<u64>() + package_bytes;
    let gone = removed.clone();
    let work = store::work(move |tx| {
        async move {
            for id in &gone {
                tx.image_delete(id).await?;
            }
            tx.leaf(ended).await
        }
        .boxed()
    });
    parts.store.write(Durability::Process, work).await?;
    pruned.map_err(docker)?;
    Ok(wire::Pruned { removed, freed_bytes })
}
