//! Leaves as text in the one form of RFC 8785, made without a detour through JSON values: two of them per call.

use crate::{StoreError, calls::short};
use domain::{
    event::{Actor, EventKind, LEAF_VERSION, Outcome, Phase},
    ids::{OpId, RunId, TaskId},
};
use serde_json::Value;
use std::fmt::Write;

/// The largest integer that JSON numbers hold exactly.
const MAX_EXACT: u64 = 1 << 53;

/// The most that a leaf may take before its index and time: an entry of the log has 16 bits for its length.
const MAX_TEXT: usize = audit::MAX_LEAF_BYTES - 256;

/// What a leaf ends with, behind its time.
pub(crate) fn tail() -> String {
    format!("\",\"v\":{LEAF_VERSION}}}")
}

/// Where a leaf belongs and what it says.
pub(crate) struct LeafData<'a> {
    pub(crate) kind: EventKind,
    pub(crate) phase: Phase,
    pub(crate) actor: &'a Actor,
    pub(crate) op: Option<OpId>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) task: Option<TaskId>,
    pub(crate) run: Option<RunId>,
    pub(crate) iteration: Option<u32>,
    /// A JSON object in canonical form.
    pub(crate) data: String,
    /// Name, commitment and size, in order of the names.
    pub(crate) bodies: &'a [(&'static str, String, u64)],
}

/// A leaf's text around its index and its time.
pub(crate) struct LeafOwned {
    pub(crate) kind: &'static str,
    pub(crate) phase: &'static str,
    pub(crate) op: Option<String>,
    pub(crate) task: Option<String>,
    pub(crate) head: String,
    pub(crate) middle: String,
}

pub(crate) const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Point => "point",
        Phase::Begun => "begun",
        Phase::Ended => "ended",
    }
}

const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::NotDone => "not_done",
        Outcome::Failed => "failed",
        Outcome::Refused => "refused",
        Outcome::Unknown => "unknown",
    }
}

impl LeafData<'_> {
    pub(crate) fn text(self) -> Result<LeafOwned, StoreError> {
        let mut head = String::with_capacity(256 + self.data.len());
        head.push_str("{\"actor\":");
        match self.actor {
            Actor::System => head.push_str("{\"type\":\"system\"}"),
            Actor::Sandbox => head.push_str("{\"type\":\"sandbox\"}"),
            Actor::Key { key } => {
                write!(head, "{{\"key\":\"{key}\",\"type\":\"key\"}}").map_err(StoreError::corrupt)?
            }
            Actor::Token { name } => {
                head.push_str("{\"name\":");
                string(&mut head, name)?;
                head.push_str(",\"type\":\"token\"}");
            }
        }
        for (n, (name, commitment, size)) in self.bodies.iter().enumerate() {
            head.push_str(if n == 0 { ",\"bodies\":{" } else { "," });
            write!(head, "\"{name}\":{{\"commitment\":\"{commitment}\",\"size\":{size}}}")
                .map_err(StoreError::corrupt)?;
        }
        head.push_str(if self.bodies.is_empty() { ",\"data\":" } else { "},\"data\":" });
        head.push_str(&self.data);
        head.push_str(",\"index\":");
        let (op, task) = (self.op.map(|o| o.to_string()), self.task.map(|t| t.to_string()));
        let mut middle = String::with_capacity(224);
        if let Some(iteration) = self.iteration {
            write!(middle, ",\"iteration\":{iteration}").map_err(StoreError::corrupt)?;
        }
        let mut text = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                for part in [",\"", name, "\":\"", value, "\""] {
                    middle.push_str(part);
                }
            }
        };
        let run = self.run.map(|r| r.to_string());
        text("kind", Some(self.kind.as_str()));
        text("op", op.as_deref());
        text("outcome", self.outcome.map(outcome_name));
        text("phase", Some(phase_name(self.phase)));
        text("run", run.as_deref());
        text("task", task.as_deref());
        middle.push_str(",\"time\":\"");
        let size = head.len() + middle.len();
        if size > MAX_TEXT {
            return Err(StoreError::TooLarge { size: size as u64, max: MAX_TEXT as u64 });
        }
        Ok(LeafOwned { kind: self.kind.as_str(), phase: phase_name(self.phase), op, task, head, middle })
    }
}

/// A JSON object whose members are given in the order of their names.
pub(crate) struct Members {
    text: String,
    #[cfg(debug_assertions)]
    last: String,
}

impl Members {
    pub(crate) fn new() -> Self {
        Self {
            text: String::with_capacity(384),
            #[cfg(debug_assertions)]
            last: String::new(),
        }
    }

    fn name(&mut self, name: &str) {
        #[cfg(debug_assertions)]
        {
            debug_assert!(self.last.as_str() < name, "{name} is not behind {}", self.last);
            name.clone_into(&mut self.last);
        }
        self.text.push_str(if self.text.is_empty() { "{\"" } else { ",\"" });
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    /// A text, or null.
    pub(crate) fn text(&mut self, name: &str, value: Option<&str>) -> Result<&mut Self, StoreError> {
        self.name(name);
        match value {
            Some(value) => string(&mut self.text, value)?,
            None => self.text.push_str("null"),
        }
        Ok(self)
    }

    /// A word from outside, shortened, or null.
    pub(crate) fn word(&mut self, name: &str, value: Option<&str>) -> Result<&mut Self, StoreError> {
        match value {
            Some(value) => self.text(name, Some(&short(value))),
            None => self.text(name, None),
        }
    }

    /// A number, or null; also null where JSON could not hold it exactly.
    pub(crate) fn number(&mut self, name: &str, value: Option<u64>) -> Result<&mut Self, StoreError> {
        self.name(name);
        match value.filter(|n| *n <= MAX_EXACT) {
            Some(n) => write!(self.text, "{n}").map_err(StoreError::corrupt)?,
            None => self.text.push_str("null"),
        }
        Ok(self)
    }

    /// A number, left out where it is not known.
    pub(crate) fn known(&mut self, name: &str, value: Option<u64>) -> Result<&mut Self, StoreError> {
        if value.is_some() { self.number(name, value) } else { Ok(self) }
    }

    pub(crate) fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        self.name(name);
        self.text.push_str(if value { "true" } else { "false" });
        self
    }

    /// Any value; left out if it is null.
    pub(crate) fn value(&mut self, name: &str, value: &Value) -> Result<&mut Self, StoreError> {
        if !value.is_null() {
            self.name(name);
            canonical(&mut self.text, value)?;
        }
        Ok(self)
    }

    pub(crate) fn end(mut self) -> String {
        self.text.push_str(if self.text.is_empty() { "{}" } else { "}" });
        self.text
    }
}

/// RFC 8785 escapes exactly what serde_json escapes.
fn string(out: &mut String, text: &str) -> Result<(), StoreError> {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return Ok(());
    }
    out.push_str(&serde_json::to_string(text)?);
    Ok(())
}

/// Objects of texts, flags and small numbers are written at once; anything else takes the long way.
fn canonical(out: &mut String, value: &Value) -> Result<(), StoreError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::String(s) => string(out, s)?,
        Value::Number(n) if n.as_u64().is_some_and(|n| n <= MAX_EXACT) => {
            write!(out, "{n}").map_err(StoreError::corrupt)?;
        }
        Value::Object(map) if map.keys().all(|k| k.is_ascii()) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(k, _)| *k);
            out.push('{');
            for (n, (name, value)) in members.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                string(out, name)?;
                out.push(':');
                canonical(out, value)?;
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                canonical(out, item)?;
            }
            out.push(']');
        }
        Value::Number(_) | Value::Object(_) => {
            let bytes = audit::canonical(value).map_err(|e| StoreError::Audit(Box::new(e)))?;
            out.push_str(std::str::from_utf8(&bytes).map_err(StoreError::corrupt)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::event::{BodyRef, Event, Leaf};
    use serde_json::json;

    #[test]
    fn a_leaf_is_the_one_that_the_log_would_write() {
        let (op, task, run) = (
            OpId::from_uuid(uuid::Uuid::from_u128(1)),
            crate::new_id(TaskId::from_uuid),
            crate::new_id(RunId::from_uuid),
        );
        let headers = json!({"user-agent": "a \"b\" \\ \n\u{1}\u{7f}é🦀", "accept": "*/*", "n": [1, -2, 1.5, null, true], "é": {"z": 1, "a": 2}});
        let actors = [
            Actor::System,
            Actor::Sandbox,
            Actor::Token { name: "a\"b".into() },
            Actor::Key { key: domain::ids::KeyId::from_uuid(uuid::Uuid::from_u128(9)) },
        ];
        for (n, actor) in actors.into_iter().enumerate() {
            let mut data = Members::new();
            data.word("asked_model", Some("x/\ty\u{202e}")).unwrap().value("headers", &headers).unwrap();
            data.number("turn", Some(3)).unwrap().number("unknown", None).unwrap();
            let (first, second) = (audit::commitment(&[1; 32], b"a"), audit::commitment(&[2; 32], b"b"));
            let bodies = [("request", first.clone(), 1), ("sent", second.clone(), 22)];
            let bodies = &bodies[..n.min(2)];
            let leaf = LeafData {
                kind: EventKind::LlmCall,
                phase: Phase::Ended,
                actor: &actor,
                op: Some(op),
                outcome: Some(Outcome::Failed),
                task: (n != 3).then_some(task),
                run: (n != 3).then_some(run),
                iteration: (n != 3).then_some(4),
                data: data.end(),
                bodies,
            };
            let made = leaf.text().unwrap();
            let made = format!("{}17{}2026-01-02T03:04:05.006Z{}", made.head, made.middle, tail());
            let data = json!({"asked_model": short("x/\ty\u{202e}"), "headers": headers, "turn": 3, "unknown": null});
            let mut event = Event::ended(EventKind::LlmCall, op, Outcome::Failed, data).by(actor);
            if n != 3 {
                event = event.task(task).run(run).iteration(4);
            }
            for (name, commitment, size) in bodies {
                event = event.body(name, BodyRef { commitment: commitment.clone(), size: *size });
            }
            let leaf = Leaf { v: LEAF_VERSION, index: 17, time: "2026-01-02T03:04:05.006Z".into(), event };
            assert_eq!(made, String::from_utf8(audit::canonical(&leaf).unwrap()).unwrap());
        }
    }
}
