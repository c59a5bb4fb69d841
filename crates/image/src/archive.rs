//! Images as one archive of the Engine's own format, for a backup that is to be restored on another machine: their IDs,
//! labels and tags come back as they were, so that what was decided on them still holds.

use crate::{Images, error::ImageError};
use bollard::query_parameters::ImportImageOptionsBuilder;
use futures::{StreamExt, TryStreamExt};
use sandbox::docker::LONGEST_CALL;
use std::{collections::BTreeSet, path::Path};
use tokio::{io::AsyncWriteExt, time::timeout};
use tokio_util::io::ReaderStream;

impl Images {
    /// Whether the Engine has this image.
    pub async fn has(&self, id: &str) -> Result<bool, ImageError> {
        Ok(self.inspect(id).await?.is_some())
    }

    /// Writes images to a file; those that the Engine does not have are left out. Returns how many were written.
    pub async fn save(&self, ids: &BTreeSet<String>, file: &Path) -> Result<usize, ImageError> {
        let mut names = Vec::new();
        let mut count = 0;
        for id in ids {
            let Some(image) = self.inspect(id).await? else { continue };
            count += 1;
            // By its tags, so that they are in the archive; an image without any by its ID.
            let tags = image.repo_tags.unwrap_or_default();
            if tags.is_empty() { names.push(id.clone()) } else { names.extend(tags) }
        }
        if names.is_empty() {
            return Ok(0);
        }
        let io = |e| ImageError::io(format!("{} cannot be written", file.display()), e);
        let client = self.shared.docker.client().await?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut chunks = std::pin::pin!(client.export_images(&names));
        let mut out = tokio::fs::File::create(file).await.map_err(io)?;
        let write = async {
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|e| self.shared.docker.sort_error("save images", e))?;
                out.write_all(&chunk).await.map_err(io)?;
            }
            out.sync_all().await.map_err(io)
        };
        timeout(LONGEST_CALL, write).await.map_err(|_| ImageError::protocol("saving images took too long"))??;
        Ok(count)
    }

    /// Gives the Engine the images that [`Images::save`] wrote.
    pub async fn load(&self, file: &Path) -> Result<(), ImageError> {
        let io = |e| ImageError::io(format!("{} cannot be read", file.display()), e);
        let archive = tokio::fs::File::open(file).await.map_err(io)?;
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let body = ReaderStream::with_capacity(archive, 1 << 18);
        let client = self.shared.docker.client().await?;
        let load = client.import_image_stream(options, body, None).try_for_each(|_| async { Ok(()) });
        self.shared.docker.call("load images", LONGEST_CALL, load).await.map_err(ImageError::from)
    }
}
