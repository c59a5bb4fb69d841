//! `taskforge image`: what was built, from what, and the base.

use super::{Context, Exit, Failure, Outcome};
use crate::output::{self, short, size};
use api::wire::{Bootstrap, Image as Row, ImageDetail, Page, Pruned};
use clap::Subcommand;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  taskforge image list
  taskforge image show sha256:5f2c...
  taskforge image bootstrap";

/// Pause between looks at the base image.
const PAUSE: Duration = Duration::from_secs(2);
/// Looks at the base image, at the most (one hour).
const MAX_LOOKS: u32 = 1800;

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Image {
    /// List images.
    #[command(after_help = "Examples:\n  taskforge image list")]
    List,
    /// Show an image with the Dockerfile that was really built.
    #[command(after_help = "Examples:\n  taskforge image show sha256:5f2c...")]
    Show {
        /// The image's ID, or its beginning.
        image: String,
    },
    /// Make the base image where it is missing.
    #[command(after_help = "Examples:\n  taskforge image bootstrap")]
    Bootstrap,
    /// Remove images that no task uses.
    #[command(after_help = "Examples:\n  taskforge image prune")]
    Prune,
}

pub(super) async fn run(c: &Context, command: Image) -> Outcome {
    match command {
        Image::List => list(c).await?,
        Image::Show { image } => show(c, &image).await?,
        Image::Bootstrap => bootstrap(c).await?,
        Image::Prune => {
            let pruned: Pruned = c.client().await?.post("/api/images/prune").await?;
            if c.out.json {
                c.out.document(&pruned)?;
            } else {
                c.out.line(&format!("{} images removed, {} freed", pruned.removed.len(), size(pruned.freed_bytes)));
            }
        }
    }
    Ok(Exit::Ok)
}

async fn list(c: &Context) -> Outcome<()> {
    let page: Page<Row> = c.client().await?.get("/api/images").await?;
    if c.out.json {
        return c.out.document(&page).map_err(Failure::from);
    }
    let now = jiff::Timestamp::now();
    let rows: Vec<Vec<String>> = page
        .items
        .iter()
        .map(|i| {
            let parent = i.parent.as_deref().map(short).unwrap_or_default();
            vec![
                short(&i.id),
                i.kind.clone(),
                size(i.size),
                output::age(now, &i.created_at),
                parent,
                i.request.clone().unwrap_or_default(),
            ]
        })
        .collect();
    if rows.is_empty() {
        c.out.line("no images; make the base with `taskforge image bootstrap`");
    } else {
        c.out.table(&["IMAGE", "KIND", "SIZE", "AGE", "PARENT", "REQUEST"], &rows);
    }
    Ok(())
}

async fn show(c: &Context, image: &str) -> Outcome<()> {
    let client = c.client().await?;
    let page: Page<Row> = client.get("/api/images").await?;
    let wanted = image.strip_prefix("sha256:").unwrap_or(image);
    let found: Vec<&Row> =
        page.items.iter().filter(|i| i.id.trim_start_matches("sha256:").starts_with(wanted)).collect();
    let id = match found.as_slice() {
        [one] => one.id.clone(),
        [] => image.to_owned(),
        many => return Err(Failure::usage(format!("{} images begin with {image:?}", many.len()))),
    };
    let detail: ImageDetail = client.get(&format!("/api/images/{}", crate::client::encode_value(&id))).await?;
    if c.out.json {
        return c.out.document(&detail).map_err(Failure::from);
    }
    let i = &detail.image;
    for (name, value) in [
        ("image", Some(&i.id)),
        ("kind", Some(&i.kind)),
        ("base", i.base.as_ref()),
        ("parent", i.parent.as_ref()),
        ("request", i.request.as_ref()),
        ("digest", i.digest.as_ref()),
    ] {
        if let Some(value) = value {
            c.out.line(&format!("{name:<8}  {value}"));
        }
    }
    c.out.line(&format!("size      {}\n\n{}", size(i.size), domain::text::visible(&detail.dockerfile)));
    Ok(())
}

async fn bootstrap(c: &Context) -> Outcome<()> {
    let client = c.client().await?;
    let mut said = String::new();
    for _ in 0..MAX_LOOKS {
        let at: Bootstrap = client.post("/api/images/bootstrap").await?;
        if at.detail != said && !c.out.json {
            eprintln!("{}", domain::text::visible_line(&at.detail));
        }
        match at.state.as_str() {
            "ready" if c.out.json => return c.out.document(&at).map_err(Failure::from),
            "ready" => {
                c.out.line(&format!("the base image is {}", at.image.unwrap_or_default()));
                return Ok(());
            }
            "failed" => return Err(Failure::new(Exit::Failed, "bootstrap_failed", at.detail)),
            _ => said = at.detail,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::failed("the base image is not ready after an hour").hint("look at `taskforge logs server`"))
}
