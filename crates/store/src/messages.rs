//! Words of people for a running agent.

use crate::{Store, StoreError, Tx};
use domain::ids::{MessageId, TaskId};
use serde::{Deserialize, Serialize};
use sqlx::{Row, sqlite::SqliteRow};

/// Messages of a task read at once.
const PAGE: i64 = 500;
/// Messages that one delivery carries.
const DELIVERY: i64 = 20;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// The token's name.
    pub author: String,
    /// The words.
    pub text: String,
    /// Whether the agent is restarted to hear it at once.
    pub now: bool,
    /// When the agent was told, RFC 3339; none: not yet.
    pub delivered_at: Option<String>,
    /// When it was written, RFC 3339.
    pub created_at: String,
}

fn message(r: &SqliteRow) -> Result<Message, StoreError> {
    Ok(Message {
        id: r.try_get::<&str, _>("id")?.parse()?,
        author: r.try_get("author")?,
        text: r.try_get("text")?,
        now: r.try_get("now")?,
        delivered_at: r.try_get("delivered_at")?,
        created_at: r.try_get("created_at")?,
    })
}

impl Tx {
    /// Stores a message.
    pub async fn message_insert(&mut self, task: TaskId, m: &Message) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO message (id, task_id, author, text, now, created_at) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(m.id.to_string())
            .bind(task.to_string())
            .bind(&m.author)
            .bind(&m.text)
            .bind(m.now)
            .bind(&m.created_at)
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }

    /// Takes the undelivered messages of a task, oldest first, and marks them delivered.
    pub async fn messages_take(&mut self, task: TaskId) -> Result<Vec<Message>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM message WHERE task_id = $1 AND delivered_at IS NULL ORDER BY id LIMIT $2")
                .bind(task.to_string())
                .bind(DELIVERY)
                .fetch_all(&mut self.conn)
                .await?;
        let taken: Vec<Message> = rows.iter().map(message).collect::<Result<_, _>>()?;
        for m in &taken {
            sqlx::query("UPDATE message SET delivered_at = $2 WHERE id = $1")
                .bind(m.id.to_string())
                .bind(self.now_text())
                .execute(&mut self.conn)
                .await?;
        }
        Ok(taken)
    }
}

impl Store {
    /// The messages of a task, oldest first.
    pub async fn message_list(&self, task: TaskId) -> Result<Vec<Message>, StoreError> {
        let rows = sqlx::query("SELECT * FROM message WHERE task_id = $1 ORDER BY id LIMIT $2")
            .bind(task.to_string())
            .bind(PAGE)
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(message).collect()
    }

    /// Whether a task has messages that its agent has not been told.
    pub async fn message_waiting(&self, task: TaskId) -> Result<bool, StoreError> {
        let n: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM message WHERE task_id = $1 AND delivered_at IS NULL")
            .bind(task.to_string())
            .fetch_one(self.reader())
            .await?;
        Ok(n > 0)
    }
}
