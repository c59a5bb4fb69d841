//! The base image, the volumes and the input files of a task.

use super::{Act, RunRef, Shared, image_fault, recorded, sandbox_fault, store_fault};
use crate::durable::{ActCx, Activity, Fault, Lane};
use domain::event::{Event, EventKind};
use futures::FutureExt;
use image::{BaseImage, Bases};
use serde_json::json;
use store::{Durability, ImageRow};
use tokio::sync::mpsc;

/// Progress lines that may wait to be recorded.
const PROGRESS_LINES: usize = 64;

/// Makes sure of the base image, the workspace and the input files.
pub struct Prepare(pub Shared);

impl Activity for Prepare {
    const NAME: &'static str = "prepare";
    const LANE: Lane = Lane::Long;
    type In = Act<()>;
    type Out = ();

    async fn run(&self, _: ActCx, act: Self::In) -> Result<(), Fault> {
        let s = &self.0;
        let task = s.store.task_get(act.run.task).await.map_err(store_fault)?;
        let files = s.store.input_file_list(task.id).await.map_err(store_fault)?;
        let data = json!({"files": files.len(), "image": task.image});
        let image = recorded(s, EventKind::WorkspacePrepare, act.run, data, async {
            let image = match &task.image {
                Some(image) => image.clone(),
                None => base_image(s, act.run).await?,
            };
            s.sandboxes.ensure_volumes(&task.id, &image, &task.limits).await.map_err(sandbox_fault)?;
            let mut bytes = Vec::with_capacity(files.len());
            for file in &files {
                bytes.push((file.path.clone(), s.store.body(&file.commitment).await.map_err(store_fault)?));
            }
            if !bytes.is_empty() {
                s.sandboxes.put_files(&task.id, &image, bytes).await.map_err(sandbox_fault)?;
            }
            let data = json!({"image": image});
            Ok((image, data))
        })
        .await?;
        let id = task.id;
        let work = store::work(move |tx| async move { tx.task_prepared(id, &image).await }.boxed());
        s.store.write(Durability::Power, work).await.map_err(store_fault)
    }
}

/// The base image, bootstrapped where it is missing; its progress is on the task's timeline.
async fn base_image(s: &Shared, run: RunRef) -> Result<String, Fault> {
    let bases = match s.images.bases().await.map_err(image_fault)? {
        Some(bases) => bases,
        None => {
            recorded(s, EventKind::ImageBootstrap, run, json!({}), async {
                let bases = bootstrap(s, run).await?;
                let data = json!({"image": bases.agent.id, "size": bases.agent.size_bytes, "tag": bases.agent.tag});
                Ok((bases, data))
            })
            .await?
        }
    };
    let base = bases.agent;
    let row = base_row(&base);
    let work = store::work(move |tx| async move { tx.image_upsert(&row).await }.boxed());
    s.store.write(Durability::Process, work).await.map_err(store_fault)?;
    Ok(base.id)
}

/// The record of a base image.
pub fn base_row(base: &BaseImage) -> ImageRow {
    ImageRow {
        id: base.id.clone(),
        kind: "base".to_owned(),
        key: base.definition.clone(),
        base: None,
        parent: None,
        request: None,
        digest: None,
        dockerfile: image::base::dockerfile(),
        size: base.size_bytes,
        created_at: String::new(),
        used_at: String::new(),
    }
}

async fn bootstrap(s: &Shared, run: RunRef) -> Result<Bases, Fault> {
    let (send, mut lines) = mpsc::channel::<String>(PROGRESS_LINES);
    let work = async move {
        // A line that finds no room is dropped: progress is for the eye.
        let progress = move |line: &str| drop(send.try_send(line.to_owned()));
        s.images.bootstrap(&progress).await
    };
    let record = async {
        while let Some(line) = lines.recv().await {
            tracing::info!(line, "base image");
            let event = Event::point(EventKind::ImageBootstrap, json!({"progress": line})).task(run.task).run(run.run);
            if let Err(e) = s.store.write(Durability::Process, move |tx| tx.leaf(event).boxed()).await {
                tracing::warn!(error = %e, "progress could not be recorded");
            }
        }
    };
    let (made, ()) = tokio::join!(work, record);
    made.map_err(image_fault)
}
