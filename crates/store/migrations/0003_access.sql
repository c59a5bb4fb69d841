-- Who may use the API. Secrets are kept as SHA-256 only; they are 256 random bits, so a slow hash would add nothing.
CREATE TABLE token (
    key        TEXT PRIMARY KEY, -- the public part of the token, by which it is found
    name       TEXT NOT NULL,
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    revoked_at TEXT
) STRICT;
-- A name stands for one person or program at a time: it is what decisions are signed with.
CREATE UNIQUE INDEX token_by_name ON token (name) WHERE revoked_at IS NULL;

-- Single-use codes that a browser exchanges for a session.
CREATE TABLE sign_in_code (
    hash       BLOB PRIMARY KEY,
    token_key  TEXT NOT NULL REFERENCES token (key),
    expires_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
    hash       BLOB PRIMARY KEY,
    token_key  TEXT NOT NULL REFERENCES token (key),
    created_at TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX session_by_token ON session (token_key);

-- Creates that were made with an Idempotency-Key: the same key and body name the same task.
CREATE TABLE idempotency (
    token_key  TEXT NOT NULL,
    key        TEXT NOT NULL,
    body_hash  BLOB NOT NULL,
    task_id    TEXT NOT NULL REFERENCES task (id),
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (token_key, key)
) STRICT;
