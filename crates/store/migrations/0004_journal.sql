-- Model calls are recorded in the journal (calls/NNNNNN.seg) and folded in here. Callers are tasks, keys and tokens.
CREATE TABLE call_now (
    seq                INTEGER PRIMARY KEY,
    id                 TEXT NOT NULL UNIQUE,
    scope              TEXT NOT NULL, -- whose: task id, key id, token:NAME, or system for nobody's
    task_id            TEXT,
    run_id             TEXT,
    iteration          INTEGER,
    turn               INTEGER, -- position among the calls of its iteration that were let out, from 1; NULL: refused, or not of a task
    key_id             TEXT,
    token              TEXT,
    op                 TEXT NOT NULL,
    ingress            TEXT NOT NULL,
    asked_model        TEXT NOT NULL,
    provider           TEXT, -- this and the next four: of the newest attempt
    model              TEXT,
    format             TEXT,
    url                TEXT,
    sent               TEXT, -- the body as it left, where that is not the request
    attempts           INTEGER NOT NULL DEFAULT 1,
    stream             INTEGER NOT NULL,
    retry_of           TEXT, -- the call before it in the run, when that one did not end well
    status             TEXT NOT NULL CHECK (status IN ('open','done','failed','timed_out','cut','refused','unknown')),
    request            TEXT NOT NULL,
    request_size       INTEGER NOT NULL,
    response           TEXT, -- what the caller got
    response_size      INTEGER,
    normalised         TEXT,
    http_status        INTEGER,
    finish_reason      TEXT,
    prompt_tokens      INTEGER,
    completion_tokens  INTEGER,
    cached_tokens      INTEGER,
    cache_write_tokens INTEGER,
    reasoning_tokens   INTEGER,
    cost_micro_usd     INTEGER,
    price              TEXT,
    charged_tokens     INTEGER, -- these two: what counts against a budget, reserved while the call is open; NULL: what was counted
    charged_micro_usd  INTEGER,
    first_byte_ms      INTEGER,
    total_ms           INTEGER,
    error_code         TEXT,
    error              TEXT,
    begun_at           TEXT NOT NULL,
    ended_at           TEXT
) STRICT;
INSERT INTO call_now (seq, id, scope, task_id, run_id, iteration, turn, op, ingress, asked_model, provider, model, format,
    stream, retry_of, status, request, request_size, response, response_size, http_status, finish_reason, prompt_tokens,
    completion_tokens, cached_tokens, first_byte_ms, total_ms, error_code, error, begun_at, ended_at)
SELECT rowid, id, task_id, task_id, run_id, iteration, turn, op, 'chat', asked_model, upstream, model,
    CASE WHEN upstream IS NULL THEN NULL ELSE 'chat' END, stream, retry_of, status, request, request_size, response,
    response_size, http_status, finish_reason, prompt_tokens, completion_tokens, cached_tokens, first_byte_ms, total_ms,
    error_code, error, begun_at, ended_at FROM call ORDER BY rowid;

-- The same table without its reference, which the fold keeps by itself.
CREATE TABLE tool_call_now (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id        TEXT NOT NULL REFERENCES task (id),
    run_id         TEXT NOT NULL,
    iteration      INTEGER NOT NULL,
    turn           INTEGER NOT NULL,
    call_id        TEXT NOT NULL,
    position       INTEGER NOT NULL,
    tool_id        TEXT NOT NULL,
    name           TEXT NOT NULL,
    arguments      TEXT NOT NULL,
    arguments_hash TEXT, -- of the arguments as canonical JSON; NULL: not JSON, or erased
    matched_op     TEXT, -- the MCP call that carried it out
    result         TEXT,
    result_call_id TEXT,
    UNIQUE (call_id, position)
) STRICT;
INSERT INTO tool_call_now SELECT id, task_id, run_id, iteration, turn, call_id, position, tool_id, name, arguments,
    arguments_hash, matched_op, result, result_call_id FROM tool_call ORDER BY id;
DROP TABLE tool_call;
DROP TABLE call;
ALTER TABLE call_now RENAME TO call;
ALTER TABLE tool_call_now RENAME TO tool_call;
CREATE INDEX tool_call_by_task ON tool_call (task_id, id);
CREATE INDEX tool_call_unanswered ON tool_call (task_id) WHERE result IS NULL;
CREATE INDEX tool_call_unmatched ON tool_call (run_id, arguments_hash) WHERE matched_op IS NULL;
CREATE INDEX call_by_scope ON call (scope);
CREATE INDEX call_by_turn ON call (run_id, iteration, turn) WHERE run_id IS NOT NULL;
CREATE INDEX call_by_model ON call (model) WHERE model IS NOT NULL;
CREATE INDEX call_by_trouble ON call (status) WHERE status <> 'done';

-- The attempts of calls that had more than one, or whose answer was translated. Of all others the call says everything.
CREATE TABLE attempt (
    call_id       TEXT NOT NULL,
    number        INTEGER NOT NULL,
    provider      TEXT NOT NULL,
    model         TEXT NOT NULL,
    format        TEXT NOT NULL,
    url           TEXT NOT NULL,
    sent          TEXT,
    status        TEXT NOT NULL,
    http_status   INTEGER,
    error_code    TEXT,
    error         TEXT,
    response      TEXT,
    first_byte_ms INTEGER,
    total_ms      INTEGER,
    begun_at      TEXT NOT NULL,
    PRIMARY KEY (call_id, number)
) STRICT, WITHOUT ROWID;

-- Where the bodies of the journal lie, by the first 63 bits of their commitment; the frame has the whole.
CREATE TABLE call_body (
    key     INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    offset  INTEGER NOT NULL,
    PRIMARY KEY (key, segment, offset)
) STRICT, WITHOUT ROWID;

-- Whose bodies a segment holds: it goes when all of them are erased.
CREATE TABLE segment_scope (
    segment INTEGER NOT NULL,
    scope   TEXT NOT NULL,
    PRIMARY KEY (segment, scope)
) STRICT, WITHOUT ROWID;

-- Reasoning signatures by tool-call id, sealed, for clients that drop them.
CREATE TABLE reasoning_carry (
    scope   TEXT NOT NULL,
    tool_id TEXT NOT NULL,
    sealed  BLOB NOT NULL,
    PRIMARY KEY (scope, tool_id)
) STRICT, WITHOUT ROWID;

-- The begun and ended leaves of a model call are found by the call; the index is for all other acts.
DROP INDEX leaf_by_op;
CREATE INDEX leaf_by_op ON leaf (op) WHERE op IS NOT NULL AND kind <> 'llm.call';
