//! Writing the rows of a batch.

use super::{
    many::{Bound, Many},
    rows::{AttemptRow, CallRow, EndRow, LeafRow, ResultRow, Rows, TargetRow, ToolRow},
};
use crate::StoreError;
use sqlx::SqliteConnection;

static LEAVES: Many = Many::new("INSERT INTO leaf (idx, time, kind, phase, op, task_id, bytes)", 7, "");
static BODIES: Many = Many::new("INSERT OR IGNORE INTO call_body (key, segment, offset)", 3, "");
static SCOPES: Many = Many::new("INSERT OR IGNORE INTO segment_scope (segment, scope)", 2, "");
static CARRIES: Many = Many::new("INSERT OR REPLACE INTO reasoning_carry (scope, tool_id, sealed)", 3, "");
static CALLS: Many = Many::new(
    "INSERT INTO call (id, scope, task_id, run_id, iteration, turn, key_id, token, op, ingress, asked_model, stream,
        retry_of, request, request_size, begun_at, provider, model, format, url, sent, attempts, status, response,
        response_size, normalised, http_status, finish_reason, prompt_tokens, completion_tokens, cached_tokens,
        cache_write_tokens, reasoning_tokens, cost_micro_usd, price, charged_tokens, charged_micro_usd, first_byte_ms, total_ms, error_code, error,
        ended_at)",
    42,
    "",
);
static ENDS: Many = Many::new(
    "UPDATE call SET status = v.column2, response = v.column3, response_size = v.column4, normalised = v.column5,
        http_status = v.column6, finish_reason = v.column7, prompt_tokens = v.column8, completion_tokens = v.column9,
        cached_tokens = v.column10, cache_write_tokens = v.column11, reasoning_tokens = v.column12,
        cost_micro_usd = v.column13, price = v.column14, charged_tokens = v.column15, charged_micro_usd = v.column16,
        first_byte_ms = v.column17, total_ms = v.column18, error_code = v.column19, error = v.column20,
        ended_at = v.column21 FROM (",
    21,
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

impl Rows {
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
    let q = e.charged.into_iter().fold(q.bind(e.cost).bind(e.price), Bound::bind);
    let q = q.bind(e.first_byte_ms).bind(e.total_ms);
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
