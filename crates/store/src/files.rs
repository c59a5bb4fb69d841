//! Files that a task was given, and files found in its workspace.

use crate::{Store, StoreError, Tx};
use domain::ids::{RunId, TaskId};
use serde::{Deserialize, Serialize};
use sqlx::{Row, sqlite::SqliteRow};

/// A file that the task was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Path below the workspace.
    pub path: String,
    /// Its body.
    pub commitment: String,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// An entry of the workspace as it was collected after an iteration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Path below the workspace; never to be used on a host unchecked.
    pub path: String,
    /// `file`, `dir`, `symlink`, `fifo`, `device`, `socket`.
    pub kind: String,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// SHA-256 of a regular file, hexadecimal.
    pub sha256: Option<String>,
    /// Whether its bytes were kept: see [`Store::output_file_path`].
    pub kept: bool,
    /// Why it was not kept.
    pub skipped: Option<String>,
    /// Whether it is part of the submitted result.
    pub deliverable: bool,
}

fn output(r: &SqliteRow) -> Result<OutputFile, StoreError> {
    Ok(OutputFile {
        path: r.try_get("path")?,
        kind: r.try_get("kind")?,
        size: r.try_get::<i64, _>("size")?.cast_unsigned(),
        mode: r.try_get("mode")?,
        sha256: r.try_get("sha256")?,
        kept: r.try_get("kept")?,
        skipped: r.try_get("skipped")?,
        deliverable: r.try_get("deliverable")?,
    })
}

impl Tx {
    /// Stores the record of an input file.
    pub async fn input_file_insert(&mut self, task: TaskId, f: &InputFile) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO input_file (task_id, path, commitment, sha256, size) VALUES ($1, $2, $3, $4, $5)")
            .bind(task.to_string())
            .bind(&f.path)
            .bind(&f.commitment)
            .bind(&f.sha256)
            .bind(f.size.cast_signed())
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }

    /// Replaces what is known of a run's workspace.
    pub async fn output_files_replace(
        &mut self,
        task: TaskId,
        run: RunId,
        files: &[OutputFile],
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM output_file WHERE run_id = $1").bind(run.to_string()).execute(&mut self.conn).await?;
        for f in files {
            sqlx::query(
                "INSERT INTO output_file (task_id, run_id, path, kind, size, mode, sha256, kept, skipped, deliverable) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(task.to_string())
            .bind(run.to_string())
            .bind(&f.path)
            .bind(&f.kind)
            .bind(f.size.cast_signed())
            .bind(f.mode)
            .bind(&f.sha256)
            .bind(f.kept)
            .bind(&f.skipped)
            .bind(f.deliverable)
            .execute(&mut self.conn)
            .await?;
        }
        Ok(())
    }
}

impl Store {
    /// The input files of a task.
    pub async fn input_file_list(&self, task: TaskId) -> Result<Vec<InputFile>, StoreError> {
        let rows = sqlx::query("SELECT * FROM input_file WHERE task_id = $1 ORDER BY path")
            .bind(task.to_string())
            .fetch_all(self.reader())
            .await?;
        rows.iter()
            .map(|r| {
                Ok(InputFile {
                    path: r.try_get("path")?,
                    commitment: r.try_get("commitment")?,
                    sha256: r.try_get("sha256")?,
                    size: r.try_get::<i64, _>("size")?.cast_unsigned(),
                })
            })
            .collect()
    }

    /// The folder that keeps the bytes of a task's collected files, each under its SHA-256.
    pub fn output_folder(&self, task: TaskId) -> std::path::PathBuf {
        self.0.data_dir.join("files").join(task.to_string())
    }

    /// Where the bytes of a kept file lie.
    pub fn output_file_path(&self, task: TaskId, file: &OutputFile) -> Option<std::path::PathBuf> {
        let sha256 = file.sha256.as_ref().filter(|_| file.kept)?;
        Some(self.output_folder(task).join(sha256))
    }

    /// What a run left in the workspace.
    pub async fn output_file_list(&self, run: RunId) -> Result<Vec<OutputFile>, StoreError> {
        let rows = sqlx::query("SELECT * FROM output_file WHERE run_id = $1 ORDER BY path")
            .bind(run.to_string())
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(output).collect()
    }
}
