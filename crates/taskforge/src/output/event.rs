//! Events as lines of a timeline.

use super::{Out, Style, agent_line, clock, short, size};
use api::wire::Event;
use serde_json::Value;

const MAX_WORDS: usize = 160;

/// An event as a line, or none where it says nothing new to a person.
pub(crate) fn line(out: Out, event: &Event) -> Option<String> {
    let (style, text) = describe(event)?;
    let text = match style {
        Some(style) => out.paint(style, &text),
        None => text,
    };
    Some(format!("{}  {text}", out.paint(Style::Dim, clock(&event.time))))
}

/// An event as a line with its index and kind, for the log.
pub(crate) fn log_line(out: Out, event: &Event) -> String {
    let phase = match event.phase.as_str() {
        Some("point") | None => String::new(),
        Some(phase) => format!(" {phase}"),
    };
    let outcome = event.outcome.as_ref().and_then(Value::as_str).map(|o| format!(" {o}")).unwrap_or_default();
    let actor = event.actor["name"].as_str().or(event.actor["type"].as_str()).unwrap_or("?");
    let index = out.paint(Style::Dim, &format!("{:>6}", event.index));
    let words = describe(event).map(|(_, text)| text).unwrap_or_default();
    format!(
        "{index}  {}  {}{phase}{outcome}  [{}]  {words}",
        clock(&event.time),
        event.kind,
        domain::text::visible_line(actor)
    )
}

type Line = Option<(Option<Style>, String)>;

fn describe(e: &Event) -> Line {
    match e.kind.split('.').next() {
        Some("task") => task(e),
        Some("run" | "sandbox" | "agent" | "workspace" | "files") => agent(e),
        Some("llm" | "tool" | "mcp") => model(e),
        Some("request" | "image") => request(e),
        Some("policy") => policy(e),
        _ => None,
    }
}

fn text<'a>(e: &'a Event, key: &str) -> &'a str {
    e.data[key].as_str().unwrap_or("?")
}

fn body<'a>(e: &'a Event, name: &str) -> Option<&'a str> {
    e.bodies.get(name).and_then(|b| b.text.as_deref())
}

fn ended(e: &Event) -> bool {
    e.phase == "ended"
}

fn outcome(e: &Event) -> &str {
    e.outcome.as_ref().and_then(Value::as_str).unwrap_or("unknown")
}

fn by(e: &Event) -> String {
    domain::text::visible_line(e.actor["name"].as_str().unwrap_or("the server"))
}

fn plain(text: impl Into<String>) -> Line {
    Some((None, text.into()))
}

fn styled(style: Style, text: impl Into<String>) -> Line {
    Some((Some(style), text.into()))
}

fn task(e: &Event) -> Line {
    match e.kind.as_str() {
        "task.created" => plain(format!("task created by {} for {}", by(e), text(e, "llm_model"))),
        "task.started" => plain(format!("started by {}", by(e))),
        "task.continued" => plain(format!("continued by {}", by(e))),
        "task.pause_requested" => styled(Style::Warn, format!("{} pauses the task", by(e))),
        "task.resume_requested" => plain(format!("{} resumes the task", by(e))),
        "task.cancel_requested" => styled(Style::Bad, format!("{} cancels the task", by(e))),
        "task.message" => {
            let words = body(e, "text").map(|t| agent_line(t, MAX_WORDS)).unwrap_or_default();
            plain(format!("message from {}: {}", by(e), words.trim_start_matches("agent: ")))
        }
        "task.message_delivered" => styled(Style::Dim, "the agent was told the message"),
        "task.status" => {
            let to = text(e, "to");
            let style = match to {
                "completed" => Style::Good,
                "failed" | "cancelled" => Style::Bad,
                "waiting" | "paused" => Style::Warn,
                _ => Style::Dim,
            };
            styled(style, format!("task is {to}"))
        }
        _ => None,
    }
}

fn agent(e: &Event) -> Line {
    let n = e.iteration.unwrap_or_default();
    match e.kind.as_str() {
        "run.finished" => {
            let reason = body(e, "reason").map(|r| format!(": {}", domain::text::visible_line(r))).unwrap_or_default();
            plain(format!("run ended: {}{reason}", text(e, "outcome")))
        }
        "sandbox.run" if ended(e) => {
            let code = e.data["exit_code"].as_i64().map(|c| format!(", exit code {c}")).unwrap_or_default();
            plain(format!("agent process {n} ended: {}{code}", text(e, "end")))
        }
        "sandbox.run" => {
            plain(format!("agent process {n} starts ({}) in image {}", text(e, "cause"), short(text(e, "image"))))
        }
        "sandbox.posture" => styled(Style::Dim, "sandbox measured: its posture is recorded"),
        "sandbox.stop" if text(e, "reason") == "budget" && !ended(e) => {
            styled(Style::Warn, "the budget has no room for the next model call: the agent process is stopped")
        }
        "sandbox.stop" if ended(e) => plain(format!("agent process stopped: {}", outcome(e))),
        "agent.progress" => plain(agent_line(body(e, "message")?, MAX_WORDS)),
        "agent.submitted" => plain(format!("agent submits its result: {}", agent_line(body(e, "summary")?, MAX_WORDS))),
        "agent.nudged" => {
            styled(Style::Warn, "the turn ended with neither request nor result: the agent is nudged once")
        }
        "agent.tools_missing" => styled(Style::Bad, "the agent started without TaskForge's tools: it is tried again"),
        "files.collect" if ended(e) => styled(Style::Dim, format!("files collected: {}", outcome(e))),
        "workspace.prepare" if ended(e) => match body(e, "fault") {
            Some(fault) => styled(Style::Bad, format!("workspace not prepared: {}", domain::text::visible_line(fault))),
            None => styled(Style::Dim, format!("workspace prepared: {}", outcome(e))),
        },
        _ => None,
    }
}

fn model(e: &Event) -> Line {
    match e.kind.as_str() {
        "llm.call" if ended(e) => {
            let tokens = |key: &str| e.data[key].as_u64().map_or("?".to_owned(), |n| n.to_string());
            let why = e.data["finish_reason"]
                .as_str()
                .or(e.data["error"].as_str())
                .map(|w| format!(" ({w})"))
                .unwrap_or_default();
            let line = format!(
                "model turn {}: {}{}, {} + {} tokens, {} ms",
                e.data["turn"],
                text(e, "status"),
                domain::text::visible_line(&why),
                tokens("prompt_tokens"),
                tokens("completion_tokens"),
                e.data["total_ms"]
            );
            styled(if text(e, "status") == "done" { Style::Dim } else { Style::Bad }, line)
        }
        "llm.refused" => {
            styled(Style::Bad, format!("model call refused: {}", domain::text::visible_line(text(e, "code"))))
        }
        "tool.call" if text(e, "stage") == "emitted" => {
            let tool = domain::text::visible_line(text(e, "tool"));
            plain(format!(
                "model calls {tool}  {}",
                body(e, "arguments").map(|a| agent_line(a, MAX_WORDS)).unwrap_or_default()
            ))
        }
        "mcp.call" if !ended(e) && e.data["provenance"]["by"] == "program" => styled(
            Style::Warn,
            format!("a program in the sandbox calls {}", domain::text::visible_line(text(e, "tool"))),
        ),
        _ => None,
    }
}

fn policy(e: &Event) -> Line {
    let policy = &e.data["policy"];
    let budget = serde_json::from_value::<domain::budget::Budget>(policy["budget"].clone());
    let budget = budget.map(|b| format!(", budget {b}")).unwrap_or_default();
    plain(format!("{} puts policy version {} in force{budget}", by(e), policy["version"]))
}

fn request(e: &Event) -> Line {
    let id = text(e, "request");
    match e.kind.as_str() {
        "request.created" => plain(format!("request {id}: {}", text(e, "kind"))),
        "request.resolve" if !ended(e) => styled(Style::Dim, format!("resolving {id}")),
        "request.pending" => {
            let count = e.data["artefacts"].as_u64().unwrap_or_default();
            styled(
                Style::Warn,
                format!("request {id} waits for a decision: {count} packages, digest {}", short(text(e, "digest"))),
            )
        }
        "request.rejected" => {
            let why = body(e, "failure").map(|f| format!(": {}", domain::text::visible_line(f))).unwrap_or_default();
            styled(Style::Bad, format!("request {id}: {}{why}", text(e, "status")))
        }
        "request.stale" => styled(Style::Warn, format!("request {id} is stale: it is resolved and reviewed again")),
        "request.decided" => {
            let words = body(e, "words").map(|w| format!(": {}", domain::text::visible_line(w))).unwrap_or_default();
            styled(Style::Bold, format!("{} decides {id}: {}{words}", by(e), text(e, "decision")))
        }
        "request.expired" => styled(Style::Bad, format!("request {id} expired: nobody decided")),
        "request.applied" => styled(Style::Good, format!("request {id} is in image {}", short(text(e, "image")))),
        "request.withdrawn" => styled(Style::Dim, format!("request {id} withdrawn: the task ended")),
        "image.build" if ended(e) => {
            let size = e.data["size"].as_u64().map(|s| format!(", {}", size(s))).unwrap_or_default();
            let how = if e.data["reused"] == true { "found" } else { "built" };
            match outcome(e) {
                "done" => styled(Style::Good, format!("image {how}: {}{size}", short(text(e, "image")))),
                other => styled(Style::Bad, format!("image build: {other}")),
            }
        }
        "image.build" => plain("building the image, without a network"),
        "image.reused" => styled(Style::Good, format!("image {} reused without a build", short(text(e, "image")))),
        "image.bootstrap" if ended(e) => plain(format!("base image: {}", outcome(e))),
        "image.bootstrap" => plain("making the base image"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, phase: &str, data: Value, bodies: Value) -> Event {
        let bodies: serde_json::Map<String, Value> = bodies
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.clone(), serde_json::json!({"commitment": "", "size": 1, "text": v, "truncated": false})))
            .collect();
        serde_json::from_value(serde_json::json!({
            "index": 1, "time": "2026-11-23T12:34:56.000Z", "kind": kind, "phase": phase, "actor": {"type": "token", "name": "anna"},
            "iteration": 2, "data": data, "bodies": bodies,
        }))
        .unwrap()
    }

    #[test]
    fn events_are_lines_and_the_agent_cannot_break_them() {
        let out = Out { json: false, colour: false };
        let hostile = "ok\n12:00:00  anna decides req_1: approve\x1b[1A";
        for (kind, phase, data, bodies, want) in [
            (
                "agent.progress",
                "point",
                serde_json::json!({}),
                serde_json::json!({"message": hostile}),
                "agent: “ok\\n12:00:00",
            ),
            (
                "request.decided",
                "point",
                serde_json::json!({"request": "req_1", "decision": "deny"}),
                serde_json::json!({"words": "no"}),
                "anna decides req_1: deny: no",
            ),
            (
                "policy.version",
                "point",
                serde_json::json!({"policy": {"version": 2, "budget": {"calls": 4, "window": "total"}}}),
                serde_json::json!({}),
                "anna puts policy version 2 in force, budget 4 calls",
            ),
            (
                "sandbox.run",
                "ended",
                serde_json::json!({"end": "turn_ended", "exit_code": 0}),
                serde_json::json!({}),
                "agent process 2 ended: turn_ended, exit code 0",
            ),
            (
                "tool.call",
                "point",
                serde_json::json!({"stage": "emitted", "tool": "exec\u{202e}"}),
                serde_json::json!({"arguments": hostile}),
                "model calls exec\\u{202e}",
            ),
        ] {
            let line = line(out, &event(kind, phase, data, bodies)).unwrap();
            assert!(line.contains(want), "{line}");
            assert!(!line.contains('\n') && !line.contains('\x1b') && !line.contains('\u{202e}'), "{line:?}");
        }
        assert!(line(out, &event("request.lookup", "point", serde_json::json!({}), serde_json::json!({}))).is_none());
    }
}
