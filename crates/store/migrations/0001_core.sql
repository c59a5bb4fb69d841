-- Facts of this installation.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

-- The audit log's leaves, in order. The tile files are derived from them.
CREATE TABLE leaf (
    idx     INTEGER PRIMARY KEY,
    time    TEXT NOT NULL,
    kind    TEXT NOT NULL,
    phase   TEXT NOT NULL CHECK (phase IN ('point', 'begun', 'ended')),
    op      TEXT,
    task_id TEXT,
    bytes   BLOB NOT NULL
) STRICT;
CREATE INDEX leaf_by_task ON leaf (task_id, idx) WHERE task_id IS NOT NULL;
CREATE INDEX leaf_by_op ON leaf (op) WHERE op IS NOT NULL;

-- Keys under which bodies are encrypted; erasing one erases its task's bodies while the log stays valid.
CREATE TABLE body_key (scope TEXT PRIMARY KEY, key BLOB, erased_at TEXT) STRICT;
CREATE TABLE body (
    commitment TEXT PRIMARY KEY,
    scope      TEXT NOT NULL REFERENCES body_key (scope),
    salt       BLOB NOT NULL,
    nonce      BLOB NOT NULL,
    size       INTEGER NOT NULL,
    data       BLOB -- NULL: in the blob folder
) STRICT;

-- What the durable engine must be told, written with the change that causes it.
CREATE TABLE intent (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL CHECK (kind IN ('start', 'wake')),
    task_id    TEXT NOT NULL,
    run_id     TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE task (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL,
    description    TEXT NOT NULL,
    llm_model      TEXT NOT NULL,
    agent          TEXT NOT NULL,
    limits         TEXT NOT NULL,
    max_iterations INTEGER NOT NULL,
    status         TEXT NOT NULL CHECK (status IN
        ('created','starting','running','waiting','building','paused','completed','failed','cancelled')),
    desired        TEXT NOT NULL CHECK (desired IN ('run', 'pause', 'cancel')),
    status_reason  TEXT,
    image          TEXT,
    prepared       INTEGER NOT NULL DEFAULT 0,
    policy_version INTEGER NOT NULL,
    run_id         TEXT,
    created_by     TEXT NOT NULL,
    created_at     TEXT NOT NULL,
    updated_at     TEXT NOT NULL
) STRICT;
CREATE INDEX task_by_status ON task (status, id);

CREATE TABLE policy (
    task_id    TEXT NOT NULL REFERENCES task (id),
    version    INTEGER NOT NULL,
    body       TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (task_id, version)
) STRICT;

CREATE TABLE run (
    id            TEXT PRIMARY KEY,
    task_id       TEXT NOT NULL REFERENCES task (id),
    number        INTEGER NOT NULL,
    instructions  TEXT NOT NULL,
    outcome       TEXT,
    tools_missing INTEGER NOT NULL DEFAULT 0,
    summary       TEXT,
    submitted     TEXT, -- JSON list of the files that the agent named; NULL: not submitted
    started_at    TEXT NOT NULL,
    ended_at      TEXT,
    UNIQUE (task_id, number)
) STRICT;

CREATE TABLE iteration (
    run_id     TEXT NOT NULL REFERENCES run (id),
    number     INTEGER NOT NULL,
    op         TEXT NOT NULL,
    cause      TEXT NOT NULL,
    image      TEXT NOT NULL,
    prompt     TEXT NOT NULL,
    stop       TEXT, -- why we stopped it
    end        TEXT, -- JSON of IterationEnd; NULL: running
    exit_code  INTEGER,
    log        TEXT, -- commitment of what the agent printed
    posture    TEXT,
    started_at TEXT NOT NULL,
    ended_at   TEXT,
    PRIMARY KEY (run_id, number)
) STRICT;

CREATE TABLE request (
    id          TEXT PRIMARY KEY,
    task_id     TEXT NOT NULL REFERENCES task (id),
    run_id      TEXT NOT NULL REFERENCES run (id),
    iteration   INTEGER NOT NULL,
    ask         TEXT NOT NULL,
    reason      TEXT NOT NULL,
    provenance  TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('resolving','pending','rejected','approved','applied','build_failed',
        'denied','suggested','answered','expired','withdrawn')),
    digest      TEXT,
    op          TEXT, -- the act under way on it: resolving or building
    decision    TEXT,
    failure     TEXT,
    told        INTEGER NOT NULL DEFAULT 0,
    applied_at  INTEGER, -- index of the leaf that says so
    created_at  TEXT NOT NULL,
    expires_at  TEXT NOT NULL,
    expires_ms  INTEGER NOT NULL,
    CHECK ((decision IS NOT NULL) = (status IN ('approved','applied','build_failed','denied','suggested','answered')))
) STRICT;
CREATE INDEX request_by_task ON request (task_id, id);
CREATE INDEX request_by_status ON request (status, id);

-- Every candidate ever shown; a request points at its newest by digest.
CREATE TABLE candidate (
    digest     TEXT PRIMARY KEY,
    request_id TEXT NOT NULL REFERENCES request (id),
    body       TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE message (
    id           TEXT PRIMARY KEY,
    task_id      TEXT NOT NULL REFERENCES task (id),
    author       TEXT NOT NULL,
    text         TEXT NOT NULL,
    now          INTEGER NOT NULL DEFAULT 0,
    delivered_at TEXT,
    created_at   TEXT NOT NULL
) STRICT;
CREATE INDEX message_by_task ON message (task_id, id);

-- Input files of a task, put into the workspace before the first iteration.
CREATE TABLE input_file (
    task_id    TEXT NOT NULL REFERENCES task (id),
    path       TEXT NOT NULL,
    commitment TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    PRIMARY KEY (task_id, path)
) STRICT;

-- Files found in the workspace after an iteration.
CREATE TABLE output_file (
    task_id     TEXT NOT NULL REFERENCES task (id),
    run_id      TEXT NOT NULL REFERENCES run (id),
    path        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    size        INTEGER NOT NULL,
    mode        INTEGER NOT NULL,
    sha256      TEXT,
    kept        INTEGER NOT NULL DEFAULT 0, -- its bytes lie in files/<task>/<sha256>
    skipped     TEXT,
    deliverable INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, path)
) STRICT;
CREATE INDEX output_file_by_task ON output_file (task_id, run_id, path);

-- Images that this installation built or found.
CREATE TABLE image (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL CHECK (kind IN ('base', 'task')),
    key        TEXT NOT NULL,
    base       TEXT,
    parent     TEXT,
    request_id TEXT,
    digest     TEXT,
    dockerfile TEXT NOT NULL,
    size       INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    used_at    TEXT NOT NULL
) STRICT;
