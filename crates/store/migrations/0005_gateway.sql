-- Keys of callers of the gateway: people and tools. Secrets are kept as SHA-256 only; they are 256 random bits, so a
-- slow hash would add nothing.
CREATE TABLE gateway_key (
    id         TEXT PRIMARY KEY,
    lookup     TEXT NOT NULL UNIQUE, -- the public part of the secret, by which it is found
    name       TEXT NOT NULL,
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    models     TEXT, -- JSON list of models, aliases and globs; NULL: every model
    budget     TEXT, -- JSON; NULL: none
    expires_ms INTEGER,
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    revoked_at TEXT
) STRICT;
CREATE UNIQUE INDEX gateway_key_by_name ON gateway_key (name) WHERE revoked_at IS NULL;

-- Providers that were saved over the API. Credentials are sealed under a key file outside the database.
CREATE TABLE provider (
    name        TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    base_url    TEXT NOT NULL,
    settings    TEXT NOT NULL, -- JSON: limits and timeouts
    headers     TEXT NOT NULL, -- JSON: names of further headers; their values are in `sealed`
    fingerprint TEXT, -- of the key; NULL: none
    sealed      BLOB, -- key and header values; NULL: neither
    saved_by    TEXT NOT NULL,
    created_at  TEXT NOT NULL,
    updated_at  TEXT NOT NULL
) STRICT;
