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
    submitted_at        REAL NOT NULL,     -- epoch seconds, as are all the times below
    start_by            REAL,              -- X-Fal-Request-Timeout
    started_at          REAL,
    ends_at             REAL,              -- null while in progress: stuck
    ended_at            REAL,
    chaos               TEXT NOT NULL DEFAULT '',    -- the directive that chaos has added
    wait_until          REAL,              -- not started before; infinite: stuck in the queue
    requeues            INTEGER NOT NULL DEFAULT 0,  -- how often it fell back into the queue
    payloads_deleted    INTEGER NOT NULL DEFAULT 0,
    input_faults        TEXT NOT NULL DEFAULT '[]',  -- JSON list: what is wrong with its files
    billable_units      INTEGER NOT NULL DEFAULT 0,  -- what is paid for, once it has completed
    is_rendered         INTEGER NOT NULL DEFAULT 0   -- media drawn for it, of the size it asked for
);
CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (priority, seq) WHERE status = 'IN_QUEUE';
CREATE INDEX IF NOT EXISTS jobs_waiting_by_endpoint ON jobs (endpoint) WHERE status = 'IN_QUEUE';
CREATE INDEX IF NOT EXISTS jobs_overdue ON jobs (start_by) WHERE status = 'IN_QUEUE';
CREATE INDEX IF NOT EXISTS jobs_running ON jobs (ends_at) WHERE status = 'IN_PROGRESS';
CREATE INDEX IF NOT EXISTS jobs_by_endpoint ON jobs (owner, endpoint, seq);

CREATE INDEX IF NOT EXISTS jobs_by_tags ON jobs (tags);

-- One row per submit with a known key and a readable body, accepted or not: chaos goes by its number.
CREATE TABLE IF NOT EXISTS submits (
    number      INTEGER PRIMARY KEY,
    at          REAL NOT NULL,
    endpoint    TEXT NOT NULL,
    tags        TEXT NOT NULL,     -- JSON object
    chaos       TEXT NOT NULL,     -- the directive that chaos has added, or empty
    request_id  TEXT,              -- null: not accepted
    refused     INTEGER            -- the status it was refused with; null: no answer was given
);

-- What each key has spent of its prepaid balance.
CREATE TABLE IF NOT EXISTS accounts (
    owner         TEXT PRIMARY KEY,
    spent_micros  INTEGER NOT NULL
);

-- Files that clients bring; the content lies beside the database, under the id.
CREATE TABLE IF NOT EXISTS uploads (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    content_type  TEXT NOT NULL,
    expires_at    REAL,            -- null: never
    complete      INTEGER NOT NULL DEFAULT 0
);

-- What opens the CDN to a client that brings files.
CREATE TABLE IF NOT EXISTS upload_tokens (
    token       TEXT PRIMARY KEY,
    expires_at  REAL NOT NULL
);

-- Single values: clock, outage, prepaid balance.
CREATE TABLE IF NOT EXISTS facts (
    name   TEXT PRIMARY KEY,
    value
);

-- Jobs whose input files are still to be fetched; none of them ends before.
CREATE TABLE IF NOT EXISTS unread_inputs (
    request_id  TEXT PRIMARY KEY
);

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
