//! One tool call: begun with its provenance and its effect in one transaction, then a bounded wait, then ended.

use super::{
    ask::{self, Plan},
    catalogue::{self, Tool},
    deliver,
    wire::RpcError,
};
use crate::{calls::stopping, sandbox::Sandbox};
use domain::{
    event::{Actor, Event, EventKind, Outcome},
    ids::{OpId, RequestId, TaskId},
    request::Provenance,
    text::{visible, visible_line},
};
use futures::FutureExt;
use serde_json::{Value, json};
use std::sync::Arc;
use store::{CallContext, Durability, StoreError, Tx, new_id};
use tokio::sync::oneshot;

/// The most characters of an author's name that are shown.
const MAX_AUTHOR_CHARS: usize = 100;

/// A begun tool call.
pub(super) struct Begun {
    pub(super) task: TaskId,
    pub(super) op: OpId,
    pub(super) tool: Tool,
    pub(super) context: CallContext,
    pub(super) provenance: Provenance,
}

/// What a tool call did.
pub(super) enum Effect {
    /// It is over; this is the answer.
    Over(Outcome, String),
    /// It goes on: wait for this request to be resolved.
    Resolving(RequestId),
}

/// Runs a tool call and returns what the agent is told.
pub(super) async fn run(sandbox: &Arc<Sandbox>, tool: Tool, arguments: Value) -> Result<String, RpcError> {
    if !sandbox.tool_calls.take() {
        return Ok("Not done: too many calls of TaskForge's tools in a short time. Wait some seconds.".to_owned());
    }
    let (reply, answer) = oneshot::channel();
    sandbox.shared.tracker.spawn(job(Arc::clone(sandbox), tool, arguments, reply));
    answer.await.unwrap_or_else(|_| Err(RpcError::internal("the call was interrupted; try again")))
}

async fn job(sandbox: Arc<Sandbox>, tool: Tool, arguments: Value, reply: oneshot::Sender<Result<String, RpcError>>) {
    let result = perform(&sandbox, tool, arguments, &reply).await.map_err(|e| {
        tracing::error!(task.id = %sandbox.task, tool = tool.name(), error = %e, "a tool call could not be recorded");
        RpcError::internal("TaskForge cannot write its log at the moment, so nothing was done; try again shortly")
    });
    // A client that stopped waiting finds the outcome when it asks again.
    drop(reply.send(result));
}

async fn perform(
    sandbox: &Arc<Sandbox>,
    tool: Tool,
    arguments: Value,
    reply: &oneshot::Sender<Result<String, RpcError>>,
) -> Result<String, StoreError> {
    fail::fail_point!("gateway.mcp.before_begun");
    // Held until the request is stored, so that two equal calls at once become one request.
    let asking = match tool {
        Tool::RequestPackages | Tool::AskHuman | Tool::SubmitResult => Some(sandbox.asking.lock().await),
        Tool::ReportProgress => None,
    };
    let plan = ask::plan(sandbox, tool, &arguments).await?;
    let (owner, listening) = (Arc::clone(sandbox), !reply.is_closed());
    let durability = if tool == Tool::ReportProgress { Durability::Process } else { Durability::Power };
    let begun = sandbox.shared.store.write(durability, move |tx| {
        async move {
            let begun = begin(tx, owner.task, tool, &arguments).await?;
            match act(tx, &owner, &begun, &arguments, plan).await? {
                Effect::Over(outcome, text) => Ok(Err(end(tx, &begun, outcome, text, listening).await?)),
                Effect::Resolving(request) => Ok(Ok((begun, request))),
            }
        }
        .boxed()
    });
    let begun = begun.await?;
    drop(asking);
    fail::fail_point!("gateway.mcp.after_begun");
    let (begun, request) = match begun {
        Err(text) => return Ok(text),
        Ok(waiting) => waiting,
    };
    let (outcome, text, told) = ask::wait(sandbox, request).await?;
    fail::fail_point!("gateway.mcp.before_ended");
    let listening = !reply.is_closed();
    let ended = sandbox.shared.store.write(Durability::Power, move |tx| {
        async move {
            if told && listening {
                tx.request_told(request).await?;
            }
            end(tx, &begun, outcome, text, listening).await
        }
        .boxed()
    });
    let text = ended.await?;
    fail::fail_point!("gateway.mcp.after_ended");
    Ok(text)
}

/// Records that a tool was called, with what the model traffic says about who called it.
async fn begin(tx: &mut Tx, task: TaskId, tool: Tool, arguments: &Value) -> Result<Begun, StoreError> {
    let context = tx.call_context(task).await?;
    let op = new_id(OpId::from_uuid);
    let provenance = match context.run {
        None => Provenance::Program,
        Some(run) => match tx.tool_call_match(run, [tool.name(), tool.prefixed_name()], arguments, op).await? {
            Some(turn) => Provenance::Model { turn },
            None => Provenance::Program,
        },
    };
    let body = tx.body(&task, arguments.to_string().as_bytes()).await?;
    let data = json!({ "tool": tool.name(), "provenance": provenance });
    let begun = Begun { task, op, tool, context, provenance };
    tx.leaf(begun.place(Event::begun(EventKind::McpCall, op, data)).body("arguments", body)).await?;
    Ok(begun)
}

impl Begun {
    /// Places an event where the call is, as the sandbox's doing.
    pub(super) fn place(&self, mut event: Event) -> Event {
        event.actor = Actor::Sandbox;
        event.task = Some(self.task);
        event.run = self.context.run;
        event.iteration = self.context.iteration;
        event
    }
}

async fn act(
    tx: &mut Tx,
    sandbox: &Sandbox,
    begun: &Begun,
    arguments: &Value,
    plan: Plan,
) -> Result<Effect, StoreError> {
    if let Some(refusal) = stopping(&begun.context) {
        let text = format!("Not done: {}. End your turn now.", refusal.message);
        return Ok(Effect::Over(Outcome::Refused, text));
    }
    match begun.tool {
        Tool::RequestPackages | Tool::AskHuman => ask::act(tx, sandbox, begun, plan).await,
        Tool::ReportProgress => match catalogue::read(arguments).and_then(catalogue::Progress::check) {
            Ok(progress) => deliver::progress(tx, begun, progress).await,
            Err(fault) => Ok(bad_arguments(&fault)),
        },
        Tool::SubmitResult => match catalogue::read(arguments).and_then(catalogue::Submission::check) {
            Ok(submission) => deliver::submit(tx, begun, submission, plan).await,
            Err(fault) => Ok(bad_arguments(&fault)),
        },
    }
}

/// What the agent hears about arguments that do not fit.
pub(super) fn bad_arguments(fault: &str) -> Effect {
    Effect::Over(Outcome::Refused, format!("Not done: the arguments do not fit: {fault}. Correct them and call again."))
}

/// Records the end of a tool call; adds what people wrote to the task, if somebody listens. Returns the whole answer.
async fn end(
    tx: &mut Tx,
    begun: &Begun,
    outcome: Outcome,
    mut text: String,
    listening: bool,
) -> Result<String, StoreError> {
    if listening && stopping(&begun.context).is_none() {
        let messages = tx.messages_take(begun.task).await?;
        for m in &messages {
            let author: String = visible_line(&m.author).chars().take(MAX_AUTHOR_CHARS).collect();
            text.push_str(&format!(
                "\n\nMessage from {author}, a person responsible for this task:\n{}",
                visible(&m.text)
            ));
        }
        if !messages.is_empty() {
            let ids: Vec<_> = messages.iter().map(|m| m.id).collect();
            let event = Event::point(EventKind::TaskMessageDelivered, json!({ "messages": ids, "with": begun.op }));
            let mut event = begun.place(event);
            event.actor = Actor::System;
            tx.leaf(event).await?;
        }
    }
    let body = tx.body(&begun.task, text.as_bytes()).await?;
    let data = json!({ "tool": begun.tool.name() });
    tx.leaf(begun.place(Event::ended(EventKind::McpCall, begun.op, outcome, data)).body("result", body)).await?;
    Ok(text)
}
