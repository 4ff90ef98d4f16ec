-- One row per accepted submit; nothing here is ever deduplicated.
CREATE TABLE IF NOT EXISTS jobs (
    seq                 INTEGER PRIMARY KEY,
    request_id          TEXT NOT NULL UNIQUE,
    gateway_request_id  TEXT NOT NULL,
    owner               TEXT NOT NULL,     -- digest of the API key, never the key
    endpoint            TEXT NOT NULL,     -- owner/app/path
    app                 TEXT NOT NULL,     -- owner/app: the part that status URLs use
    input               TEXT NOT NULL,     -- JSON object, as submitted
    tags                TEXT NOT NULL,     -- JSON object from X-Fal-Tags
    headers             TEXT NOT NULL,     -- JSON object of the X-Fal-… request headers
    origin              TEXT NOT NULL,     -- scheme://host of the submit, for URLs in a webhook
    priority            INTEGER NOT NULL,  -- 0 normal, 1 low
    status              TEXT NOT NULL CHECK (status IN ('IN_QUEUE', 'IN_PROGRESS', 'COMPLETED')),
    error_type          TEXT,              -- null: success, or not completed yet
    answered            INTEGER NOT NULL DEFAULT 0,
    cancel_requested    INTEGER NOT NULL DEFAULT 0,
    failed_results      INTEGER NOT NULL DEFAULT 0,  -- how often result-500 has struck
    submitted_at        REAL NOT NULL,     -- epoch seconds, as are all the times below
    start_by            REAL,              -- X-Fal-Request-Timeout
    started_at          REAL,
    ends_at             REAL,              -- null while in progress: stuck
    ended_at            REAL
);
CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (priority, seq) WHERE status = 'IN_QUEUE';
CREATE INDEX IF NOT EXISTS jobs_waiting_by_endpoint ON jobs (endpoint) WHERE status = 'IN_QUEUE';
CREATE INDEX IF NOT EXISTS jobs_overdue ON jobs (start_by) WHERE status = 'IN_QUEUE';
CREATE INDEX IF NOT EXISTS jobs_running ON jobs (ends_at) WHERE status = 'IN_PROGRESS';
CREATE INDEX IF NOT EXISTS jobs_by_endpoint ON jobs (owner, endpoint, seq);

-- Submits refused on request, so that "refuse twice, then accept" survives a restart.
CREATE TABLE IF NOT EXISTS refusals (
    fingerprint  TEXT PRIMARY KEY,
    times        INTEGER NOT NULL
);

-- One row per webhook still owed or settled.
CREATE TABLE IF NOT EXISTS deliveries (
    seq         INTEGER PRIMARY KEY,
    request_id  TEXT NOT NULL,
    url         TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed', 'dropped')),
    tries       INTEGER NOT NULL DEFAULT 0,
    due_at      REAL NOT NULL,
    last_answer TEXT
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS deliveries_by_job ON deliveries (request_id);
