-- Model calls, in order of their beginning. Bodies are referred to by commitment.
CREATE TABLE call (
    id                TEXT PRIMARY KEY,
    task_id           TEXT NOT NULL REFERENCES task (id),
    run_id            TEXT,
    iteration         INTEGER,
    turn              INTEGER, -- position among the calls of its iteration that were let out, from 1; NULL: refused
    op                TEXT NOT NULL,
    asked_model       TEXT NOT NULL,
    upstream          TEXT,
    model             TEXT,
    stream            INTEGER NOT NULL,
    retry_of          TEXT, -- the call before it in the run, when that one did not end well
    status            TEXT NOT NULL CHECK (status IN ('open','done','failed','timed_out','cut','refused','unknown')),
    request           TEXT NOT NULL,
    request_size      INTEGER NOT NULL,
    response          TEXT,
    response_size     INTEGER,
    http_status       INTEGER,
    finish_reason     TEXT,
    prompt_tokens     INTEGER,
    completion_tokens INTEGER,
    cached_tokens     INTEGER,
    first_byte_ms     INTEGER,
    total_ms          INTEGER,
    error_code        TEXT,
    error             TEXT,
    begun_at          TEXT NOT NULL,
    ended_at          TEXT
) STRICT;
CREATE INDEX call_by_task ON call (task_id);
CREATE INDEX call_by_turn ON call (run_id, iteration, turn);
CREATE INDEX call_open ON call (status) WHERE status = 'open';

-- Tool calls that a model emitted, with the result once it was seen in a later request.
CREATE TABLE tool_call (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id        TEXT NOT NULL REFERENCES task (id),
    run_id         TEXT NOT NULL,
    iteration      INTEGER NOT NULL,
    turn           INTEGER NOT NULL,
    call_id        TEXT NOT NULL REFERENCES call (id),
    position       INTEGER NOT NULL,
    tool_id        TEXT NOT NULL,
    name           TEXT NOT NULL,
    arguments      TEXT NOT NULL,
    arguments_hash TEXT, -- of the arguments as canonical JSON; NULL: not JSON, or erased
    matched_op     TEXT, -- the MCP call that carried it out
    result         TEXT,
    result_call_id TEXT REFERENCES call (id),
    UNIQUE (call_id, position)
) STRICT;
CREATE INDEX tool_call_by_task ON tool_call (task_id, id);
CREATE INDEX tool_call_unanswered ON tool_call (task_id) WHERE result IS NULL;
CREATE INDEX tool_call_unmatched ON tool_call (run_id, arguments_hash) WHERE matched_op IS NULL;
