//! Images that this installation built or found.

use crate::{Store, StoreError, Tx};
use domain::ids::RequestId;
use serde::{Deserialize, Serialize};
use sqlx::{Row, sqlite::SqliteRow};

/// Images read at once.
const PAGE: i64 = 500;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRow {
    /// The Engine's image ID.
    pub id: String,
    /// `base` or `task`.
    pub kind: String,
    /// What it was made from, as one hash.
    pub key: String,
    /// The base image's ID.
    pub base: Option<String>,
    /// The image that the task had before.
    pub parent: Option<String>,
    /// The request that caused it first.
    pub request: Option<RequestId>,
    /// Digest of the approved candidate.
    pub digest: Option<String>,
    /// The Dockerfile that was really built.
    pub dockerfile: String,
    /// Bytes.
    pub size: u64,
    /// RFC 3339.
    pub created_at: String,
    /// When a task last took it, RFC 3339.
    pub used_at: String,
}

fn image(r: &SqliteRow) -> Result<ImageRow, StoreError> {
    Ok(ImageRow {
        id: r.try_get("id")?,
        kind: r.try_get("kind")?,
        key: r.try_get("key")?,
        base: r.try_get("base")?,
        parent: r.try_get("parent")?,
        request: r.try_get::<Option<&str>, _>("request_id")?.map(str::parse).transpose()?,
        digest: r.try_get("digest")?,
        dockerfile: r.try_get("dockerfile")?,
        size: r.try_get::<i64, _>("size")?.cast_unsigned(),
        created_at: r.try_get("created_at")?,
        used_at: r.try_get("used_at")?,
    })
}

impl Tx {
    /// Records an image, or that it was used again.
    pub async fn image_upsert(&mut self, i: &ImageRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO image (id, kind, key, base, parent, request_id, digest, dockerfile, size, created_at, used_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10) ON CONFLICT (id) DO UPDATE SET used_at = excluded.used_at",
        )
        .bind(&i.id)
        .bind(&i.kind)
        .bind(&i.key)
        .bind(&i.base)
        .bind(&i.parent)
        .bind(i.request.map(|r| r.to_string()))
        .bind(&i.digest)
        .bind(&i.dockerfile)
        .bind(i.size.cast_signed())
        .bind(self.now_text())
        .execute(&mut self.conn)
        .await?;
        Ok(())
    }

    /// Forgets an image that the Engine no longer has.
    pub async fn image_delete(&mut self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM image WHERE id = $1").bind(id).execute(&mut self.conn).await?;
        Ok(())
    }
}

impl Store {
    /// The images, newest first.
    pub async fn image_list(&self) -> Result<Vec<ImageRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM image ORDER BY created_at DESC, id LIMIT $1")
            .bind(PAGE)
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(image).collect()
    }

    /// One image.
    pub async fn image_get(&self, id: &str) -> Result<ImageRow, StoreError> {
        let row = sqlx::query("SELECT * FROM image WHERE id = $1").bind(id).fetch_optional(self.reader()).await?;
        image(&row.ok_or_else(|| StoreError::not_found("image", id))?)
    }

    /// Images that a task that has not ended uses.
    pub async fn images_in_use(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT DISTINCT image FROM task WHERE image IS NOT NULL")
            .fetch_all(self.reader())
            .await?)
    }
}
