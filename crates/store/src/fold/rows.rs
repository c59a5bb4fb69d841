//! The rows that a batch of records becomes.

use super::{
    many::{Bound, Many},
    moment,
};
use crate::{
    StoreError,
    journal::{
        Position,
        record::{AttemptOver, BodyAt, CallBegun, CallEnded, Entry, NextAttempt, Refusal, Target},
    },
};
use sqlx::SqliteConnection;
use std::collections::HashMap;

static LEAVES: Many = Many::new("INSERT INTO leaf (idx, time, kind, phase, op, task_id, bytes)", 7, "");
static BODIES: Many = Many::new("INSERT OR IGNORE INTO call_body (key, segment, offset)", 3, "");
static SCOPES: Many = Many::new("INSERT OR IGNORE INTO segment_scope (segment, scope)", 2, "");
static CARRIES: Many = Many::new("INSERT OR REPLACE INTO reasoning_carry (scope, tool_id, sealed)", 3, "");
static CALLS: Many = Many::new(
    "INSERT INTO call (id, scope, task_id, run_id, iteration, turn, key_id, token, op, ingress, asked_model, stream,
        retry_of, request, request_size, begun_at, provider, model, format, url, sent, attempts, status, response,
        response_size, normalised, http_status, finish_reason, prompt_tokens, completion_tokens, cached_tokens,
        cache_write_tokens, reasoning_tokens, cost_micro_usd, price, first_byte_ms, total_ms, error_code, error,
        ended_at)",
    40,
    "",
);
static ENDS: Many = Many::new(
    "UPDATE call SET status = v.column2, response = v.column3, response_size = v.column4, normalised = v.column5,
        http_status = v.column6, finish_reason = v.column7, prompt_tokens = v.column8, completion_tokens = v.column9,
        cached_tokens = v.column10, cache_write_tokens = v.column11, reasoning_tokens = v.column12,
        cost_micro_usd = v.column13, price = v.column14, first_byte_ms = v.column15, total_ms = v.column16,
        error_code = v.column17, error = v.column18, ended_at = v.column19 FROM (",
    19,
    ") AS v WHERE call.id = v.column1 AND call.status = 'open'",
);
static TARGETS: Many = Many::new(
    "UPDATE call SET provider = v.column2, model = v.column3, format = v.column4, url = v.column5, sent = v.column6,
        attempts = v.column7 FROM (",
    7,
    ") AS v WHERE call.id = v.column1",
);
static ATTEMPTS: Many = Many::new(
    "INSERT OR REPLACE INTO attempt (call_id, number, provider, model, format, url, sent, status, http_status,
        error_code, error, response, first_byte_ms, total_ms, begun_at)",
    15,
    "",
);
static TOOLS: Many = Many::new(
    "INSERT INTO tool_call (task_id, run_id, iteration, turn, call_id, position, tool_id, name, arguments,
        arguments_hash)",
    10,
    "",
);
static RESULTS: Many = Many::new(
    "UPDATE tool_call SET result = v.column3, result_call_id = v.column4 FROM (",
    4,
    ") AS v WHERE tool_call.call_id = v.column1 AND tool_call.position = v.column2",
);

pub(super) struct LeafRow {
    pub(super) index: i64,
    pub(super) time: String,
    pub(super) kind: String,
    pub(super) phase: String,
    pub(super) op: Option<String>,
    pub(super) task: Option<String>,
    pub(super) bytes: Vec<u8>,
}

struct CallRow {
    id: String,
    scope: String,
    task: Option<String>,
    run: Option<String>,
    iteration: Option<u32>,
    turn: Option<u32>,
    key: Option<String>,
    token: Option<String>,
    op: String,
    ingress: String,
    asked_model: String,
    stream: bool,
    retry_of: Option<String>,
    request: String,
    request_size: i64,
    begun_at: String,
    target: Option<TargetRow>,
    end: EndRow,
}

#[derive(Clone)]
struct TargetRow {
    provider: String,
    model: String,
    format: String,
    url: String,
    sent: Option<String>,
    attempts: u32,
}

#[derive(Default)]
struct EndRow {
    status: String,
    response: Option<String>,
    response_size: Option<i64>,
    normalised: Option<String>,
    http_status: Option<u16>,
    finish_reason: Option<String>,
    tokens: [Option<i64>; 5],
    cost: Option<i64>,
    price: Option<String>,
    first_byte_ms: Option<i64>,
    total_ms: Option<i64>,
    error_code: Option<String>,
    error: Option<String>,
    ended_at: Option<String>,
}

struct AttemptRow {
    call: String,
    number: u32,
    target: TargetRow,
    status: String,
    http_status: Option<u16>,
    error_code: Option<String>,
    error: Option<String>,
    response: Option<String>,
    first_byte_ms: Option<i64>,
    total_ms: Option<i64>,
    begun_at: String,
}

struct ToolRow {
    task: String,
    run: String,
    iteration: u32,
    turn: u32,
    call: String,
    position: i64,
    id: String,
    name: String,
    arguments: String,
    hash: Option<String>,
}

struct ResultRow {
    call: String,
    position: u32,
    result: String,
    by: String,
}

/// The rows of a batch.
#[derive(Default)]
pub(super) struct Rows {
    calls: Vec<CallRow>,
    /// Where in `calls` a call is.
    at: HashMap<String, usize>,
    ends: Vec<(String, EndRow)>,
    targets: Vec<(String, TargetRow)>,
    attempts: Vec<AttemptRow>,
    tools: Vec<ToolRow>,
    results: Vec<ResultRow>,
    bodies: Vec<(i64, Position)>,
    carries: Vec<(String, String, Vec<u8>)>,
    pub(super) scopes: Vec<(u32, String)>,
}

/// Where a body is looked for: the first 63 bits of its commitment.
pub(crate) fn body_key(commitment: &[u8; 32]) -> i64 {
    let mut head = [0; 8];
    head.copy_from_slice(&commitment[..8]);
    i64::from_be_bytes(head) & i64::MAX
}

fn body<'a>(entry: &'a Entry<'_>, number: u32) -> Result<&'a BodyAt, StoreError> {
    entry.bodies.get(number as usize).ok_or_else(|| StoreError::corrupt("a record names a body that it does not have"))
}

fn name(entry: &Entry<'_>, number: Option<u32>) -> Result<Option<String>, StoreError> {
    number.map(|n| body(entry, n).map(BodyAt::name)).transpose()
}

fn own(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn count(n: Option<u64>) -> Option<i64> {
    n.and_then(|n| i64::try_from(n).ok())
}

fn target(entry: &Entry<'_>, t: &Target<'_>, attempts: u32) -> Result<TargetRow, StoreError> {
    let (provider, model) = (t.provider.to_owned(), t.model.to_owned());
    let (format, url) = (t.format.to_owned(), t.url.to_owned());
    Ok(TargetRow { provider, model, format, url, sent: name(entry, t.sent)?, attempts })
}

fn attempt(entry: &Entry<'_>, call: &str, over: &AttemptOver<'_>) -> Result<AttemptRow, StoreError> {
    Ok(AttemptRow {
        call: call.to_owned(),
        number: over.number,
        target: TargetRow {
            provider: over.provider.to_owned(),
            model: over.model.to_owned(),
            format: over.format.to_owned(),
            url: over.url.to_owned(),
            sent: own(over.sent),
            attempts: over.number,
        },
        status: over.status.to_owned(),
        http_status: over.http_status,
        error_code: own(over.error_code),
        error: own(over.error),
        response: name(entry, over.response)?,
        first_byte_ms: count(over.first_byte_ms),
        total_ms: count(Some(over.total_ms)),
        begun_at: moment(over.begun_ms)?,
    })
}

impl Rows {
    pub(super) fn bodies(&mut self, bodies: &[BodyAt], at: Position) {
        self.bodies.extend(bodies.iter().map(|b| (body_key(&b.commitment), at)));
    }

    pub(super) fn begun(
        &mut self,
        entry: &Entry<'_>,
        begun: &CallBegun<'_>,
        refusal: Option<&Refusal<'_>>,
        time: &str,
    ) -> Result<(), StoreError> {
        let request = body(entry, begun.request)?;
        let end = match refusal {
            None => EndRow { status: "open".to_owned(), ..EndRow::default() },
            Some(r) => EndRow {
                status: "refused".to_owned(),
                http_status: Some(r.http_status),
                error_code: Some(r.code.to_owned()),
                error: Some(r.error.to_owned()),
                ended_at: Some(time.to_owned()),
                ..EndRow::default()
            },
        };
        for result in &begun.results {
            let (call, by) = (result.call.to_owned(), begun.id.to_owned());
            let result_name = body(entry, result.body)?.name();
            self.results.push(ResultRow { call, position: result.position, result: result_name, by });
        }
        self.at.insert(begun.id.to_owned(), self.calls.len());
        self.calls.push(CallRow {
            id: begun.id.to_owned(),
            scope: entry.scope.to_owned(),
            task: own(begun.task),
            run: own(begun.run),
            iteration: begun.iteration,
            turn: begun.turn,
            key: own(begun.key),
            token: own(begun.token),
            op: begun.op.to_owned(),
            ingress: begun.ingress.to_owned(),
            asked_model: begun.asked_model.to_owned(),
            stream: begun.stream,
            retry_of: own(begun.retry_of),
            request: request.name(),
            request_size: request.size.cast_signed(),
            begun_at: time.to_owned(),
            target: begun.first.as_ref().map(|t| target(entry, t, 1)).transpose()?,
            end,
        });
        Ok(())
    }

    pub(super) fn attempt(&mut self, entry: &Entry<'_>, next: &NextAttempt<'_>, time: &str) -> Result<(), StoreError> {
        let number = next.over.number + 1;
        let row = target(entry, &next.next, number)?;
        self.attempts.push(attempt(entry, next.call, &next.over)?);
        self.attempts.push(AttemptRow {
            call: next.call.to_owned(),
            number,
            target: row.clone(),
            status: "open".to_owned(),
            http_status: None,
            error_code: None,
            error: None,
            response: None,
            first_byte_ms: None,
            total_ms: None,
            begun_at: time.to_owned(),
        });
        match self.at.get(next.call).and_then(|n| self.calls.get_mut(*n)) {
            Some(call) => call.target = Some(row),
            None => self.targets.push((next.call.to_owned(), row)),
        }
        Ok(())
    }

    pub(super) fn ended(
        &mut self,
        entry: &Entry<'_>,
        ended: &CallEnded<'_>,
        hashes: Vec<Option<String>>,
        time: &str,
    ) -> Result<(), StoreError> {
        if let Some(last) = &ended.last {
            self.attempts.push(attempt(entry, ended.call, last)?);
        }
        if let Some(place) = &ended.place {
            for ((position, tool), hash) in ended.tools.iter().enumerate().zip(hashes) {
                self.tools.push(ToolRow {
                    task: place.task.to_owned(),
                    run: place.run.to_owned(),
                    iteration: place.iteration,
                    turn: place.turn,
                    call: ended.call.to_owned(),
                    position: position as i64,
                    id: tool.id.to_owned(),
                    name: tool.name.to_owned(),
                    arguments: body(entry, tool.arguments)?.name(),
                    hash,
                });
            }
        }
        let carries = ended.carries.iter().map(|(id, c)| (entry.scope.to_owned(), (*id).to_owned(), c.to_vec()));
        self.carries.extend(carries);
        let row = EndRow {
            status: ended.status.to_owned(),
            response: name(entry, ended.response)?,
            response_size: ended.response.map(|n| body(entry, n)).transpose()?.map(|b| b.size.cast_signed()),
            normalised: name(entry, ended.normalised)?,
            http_status: ended.http_status,
            finish_reason: own(ended.finish_reason),
            tokens: [ended.prompt, ended.completion, ended.cached, ended.cache_write, ended.reasoning].map(count),
            cost: ended.cost_micro_usd,
            price: own(ended.price),
            first_byte_ms: count(ended.first_byte_ms),
            total_ms: count(Some(ended.total_ms)),
            error_code: own(ended.error_code),
            error: own(ended.error),
            ended_at: Some(time.to_owned()),
        };
        match self.at.get(ended.call).and_then(|n| self.calls.get_mut(*n)) {
            Some(call) => call.end = row,
            None => self.ends.push((ended.call.to_owned(), row)),
        }
        Ok(())
    }

    /// Writes them. Results come after the tool calls that they answer, ends after their calls.
    pub(super) async fn write(self, conn: &mut SqliteConnection, leaves: Vec<LeafRow>) -> Result<(), StoreError> {
        LEAVES.run(conn, leaves, bind_leaf).await?;
        CALLS.run(conn, self.calls, bind_call).await?;
        TARGETS.run(conn, self.targets, |q, (id, t)| bind_target(q.bind(id), Some(t))).await?;
        ENDS.run(conn, self.ends, |q, (id, e)| bind_end(q.bind(id), e)).await?;
        ATTEMPTS.run(conn, self.attempts, bind_attempt).await?;
        TOOLS.run(conn, self.tools, bind_tool).await?;
        RESULTS.run(conn, self.results, bind_result).await?;
        BODIES
            .run(conn, self.bodies, |q, (key, at)| q.bind(key).bind(at.segment).bind(at.offset.cast_signed()))
            .await?;
        SCOPES.run(conn, self.scopes, |q, (segment, scope)| q.bind(segment).bind(scope)).await?;
        CARRIES.run(conn, self.carries, |q, (scope, id, sealed)| q.bind(scope).bind(id).bind(sealed)).await
    }
}

fn bind_leaf(q: Bound, l: LeafRow) -> Bound {
    q.bind(l.index).bind(l.time).bind(l.kind).bind(l.phase).bind(l.op).bind(l.task).bind(l.bytes)
}

fn bind_call(q: Bound, c: CallRow) -> Bound {
    let q = q.bind(c.id).bind(c.scope).bind(c.task).bind(c.run).bind(c.iteration).bind(c.turn).bind(c.key);
    let q = q.bind(c.token).bind(c.op).bind(c.ingress).bind(c.asked_model).bind(c.stream).bind(c.retry_of);
    let q = q.bind(c.request).bind(c.request_size).bind(c.begun_at);
    bind_end(bind_target(q, c.target), c.end)
}

fn bind_target(q: Bound, target: Option<TargetRow>) -> Bound {
    match target {
        Some(t) => q.bind(t.provider).bind(t.model).bind(t.format).bind(t.url).bind(t.sent).bind(t.attempts),
        None => (0..5).fold(q, |q, _| q.bind(None::<String>)).bind(0_u32),
    }
}

fn bind_end(q: Bound, e: EndRow) -> Bound {
    let q = q.bind(e.status).bind(e.response).bind(e.response_size).bind(e.normalised).bind(e.http_status);
    let q = e.tokens.into_iter().fold(q.bind(e.finish_reason), Bound::bind);
    let q = q.bind(e.cost).bind(e.price).bind(e.first_byte_ms).bind(e.total_ms);
    q.bind(e.error_code).bind(e.error).bind(e.ended_at)
}

fn bind_attempt(q: Bound, a: AttemptRow) -> Bound {
    let t = a.target;
    let q = q.bind(a.call).bind(a.number).bind(t.provider).bind(t.model).bind(t.format).bind(t.url).bind(t.sent);
    let q = q.bind(a.status).bind(a.http_status).bind(a.error_code).bind(a.error).bind(a.response);
    q.bind(a.first_byte_ms).bind(a.total_ms).bind(a.begun_at)
}

fn bind_tool(q: Bound, t: ToolRow) -> Bound {
    let q = q.bind(t.task).bind(t.run).bind(t.iteration).bind(t.turn).bind(t.call).bind(t.position);
    q.bind(t.id).bind(t.name).bind(t.arguments).bind(t.hash)
}

fn bind_result(q: Bound, r: ResultRow) -> Bound {
    q.bind(r.call).bind(r.position).bind(r.result).bind(r.by)
}
