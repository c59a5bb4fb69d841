//! Tool calls that models emitted, and what became of them: the evidence for "asked by the model in turn N".

use crate::{
    Store, StoreError, Tx,
    recorder::gate::{MAX_UNANSWERED, Unanswered},
};
use domain::ids::{CallId, OpId, RunId, TaskId};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::Row;
use std::collections::VecDeque;

/// The most tool calls that one answer may hold to be recorded one by one; all of them are in its body.
pub const MAX_TOOL_CALLS_PER_ANSWER: usize = 128;
/// The most tool calls that one listing returns.
pub const MAX_TOOL_CALL_PAGE: u32 = 500;

/// A recorded tool call, for showing. Arguments and result are commitments of bodies.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "each field is a column of the table `tool_call`, described there")]
pub struct ToolCall {
    pub id: i64,
    pub task: TaskId,
    pub run: RunId,
    pub iteration: u32,
    pub turn: u32,
    pub call: CallId,
    pub tool_id: String,
    pub name: String,
    pub arguments: String,
    pub matched_op: Option<OpId>,
    pub result: Option<String>,
    pub result_call: Option<CallId>,
}

impl Tx {
    /// The tool calls of a task whose results were not seen yet, oldest first.
    pub(crate) async fn tool_calls_open(&mut self, task: TaskId) -> Result<VecDeque<Unanswered>, StoreError> {
        let rows = sqlx::query(
            "SELECT call_id, position, turn, tool_id, name FROM tool_call WHERE task_id = $1 AND result IS NULL
             ORDER BY id DESC LIMIT $2",
        )
        .bind(task.to_string())
        .bind(MAX_UNANSWERED as i64)
        .fetch_all(&mut self.conn)
        .await?;
        let mut open = VecDeque::with_capacity(rows.len());
        for row in rows {
            open.push_front(Unanswered {
                call: row.try_get("call_id")?,
                position: row.try_get("position")?,
                turn: row.try_get("turn")?,
                tool_id: row.try_get("tool_id")?,
                name: row.try_get("name")?,
            });
        }
        Ok(open)
    }

    /// The turn in which the model of `run` asked for this very call and nothing has carried it out yet; marks it as
    /// carried out by `op`. None: no model output asks for it.
    pub async fn tool_call_match(
        &mut self,
        run: RunId,
        names: [&str; 2],
        arguments: &Value,
        op: OpId,
    ) -> Result<Option<u32>, StoreError> {
        let hash = arguments_hash(arguments.clone())?;
        Ok(sqlx::query_scalar(
            "UPDATE tool_call SET matched_op = $5 WHERE id = (
                SELECT id FROM tool_call WHERE run_id = $1 AND name IN ($2, $3) AND arguments_hash = $4
                    AND matched_op IS NULL ORDER BY id DESC LIMIT 1)
             RETURNING turn",
        )
        .bind(run.to_string())
        .bind(names[0])
        .bind(names[1])
        .bind(hash)
        .bind(op.to_string())
        .fetch_optional(&mut self.conn)
        .await?)
    }

    /// Forgets what could be tested against guesses of a task's erased bodies.
    pub async fn tool_calls_forget(&mut self, task: TaskId) -> Result<(), StoreError> {
        sqlx::query("UPDATE tool_call SET arguments_hash = NULL WHERE task_id = $1")
            .bind(task.to_string())
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }
}

impl Store {
    /// Tool calls of a task after `after`, oldest first; at most [`MAX_TOOL_CALL_PAGE`].
    pub async fn tool_call_list(&self, task: TaskId, after: i64) -> Result<Vec<ToolCall>, StoreError> {
        self.caught_up().await;
        let rows = sqlx::query("SELECT * FROM tool_call WHERE task_id = $1 AND id > $2 ORDER BY id LIMIT $3")
            .bind(task.to_string())
            .bind(after)
            .bind(MAX_TOOL_CALL_PAGE)
            .fetch_all(self.reader())
            .await?;
        rows.into_iter()
            .map(|row| {
                let text = |name| row.try_get::<String, _>(name);
                Ok(ToolCall {
                    id: row.try_get("id")?,
                    task: text("task_id")?.parse()?,
                    run: text("run_id")?.parse()?,
                    iteration: row.try_get("iteration")?,
                    turn: row.try_get("turn")?,
                    call: text("call_id")?.parse()?,
                    tool_id: text("tool_id")?,
                    name: text("name")?,
                    arguments: text("arguments")?,
                    matched_op: row.try_get::<Option<String>, _>("matched_op")?.map(|o| o.parse()).transpose()?,
                    result: row.try_get("result")?,
                    result_call: row.try_get::<Option<String>, _>("result_call_id")?.map(|c| c.parse()).transpose()?,
                })
            })
            .collect()
    }
}

/// The identity of arguments as JSON: members without a value say nothing, and their order does not matter.
pub(crate) fn arguments_hash(mut arguments: Value) -> Result<String, StoreError> {
    drop_nulls(&mut arguments);
    let bytes = audit::canonical(&arguments).map_err(|e| StoreError::Audit(Box::new(e)))?;
    Ok(hex::encode(Sha256::digest(bytes)))
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_compared_as_json() {
        let hash = |text: &str| arguments_hash(serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(hash(r#"{"a":1.0,"b":"x"}"#), hash(r#"{ "b": "x", "a": 1, "c": null }"#));
        assert_ne!(hash(r#"{"a":1}"#), hash(r#"{"a":"1"}"#));
        assert_ne!(hash(r#"{"a":[1,2]}"#), hash(r#"{"a":[2,1]}"#));
    }
}
