-- The ledger's tables. Events are the truth; everything else here can be rebuilt from them,
-- save for subject keys (destroying one erases a person) and API keys.
--
-- `owner` is tenant/account. It leads every primary key of the hot tables, so that an account,
-- its lots and the generations it pays for can live together on one node of a distributed
-- PostgreSQL.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

CREATE SCHEMA IF NOT EXISTS ledger;

-- A log owns positions. Its row is locked just before the insert and held to the commit, so
-- that positions become visible in their order and without gaps.
CREATE TABLE ledger.logs (
    log text COLLATE "C" PRIMARY KEY,
    last bigint NOT NULL DEFAULT 0 CHECK (last >= 0)
);
INSERT INTO ledger.logs (log) VALUES ('main');

CREATE TABLE ledger.events (
    log text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    owner text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    topic text COLLATE "C" NOT NULL,
    state bytea NOT NULL,
    actor text COLLATE "C",
    key_space text COLLATE "C" CHECK (key_space IN ('k', 'u', 's')),
    key_digest bytea CHECK (octet_length(key_digest) = 16),
    fingerprint bytea CHECK (octet_length(fingerprint) = 32),
    trace_id text COLLATE "C",
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    last_of_command boolean NOT NULL,
    PRIMARY KEY (owner, stream, version),
    CONSTRAINT events_position UNIQUE (log, position),
    CONSTRAINT events_stream_of_owner CHECK (
        stream = owner OR starts_with(stream, owner || '/')
    ),
    CONSTRAINT events_whole_key CHECK ((key_space IS NULL) = (key_digest IS NULL))
) WITH (fillfactor = 100, autovacuum_vacuum_insert_scale_factor = 0.05);

CREATE UNIQUE INDEX events_key ON ledger.events (owner, key_space, key_digest)
WHERE key_digest IS NOT NULL;

-- One row per stream: what a decision needs, whatever the history's length.
CREATE TABLE ledger.heads (
    owner text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    posted bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    debt bigint NOT NULL DEFAULT 0 CHECK (debt >= 0),
    credit_limit bigint NOT NULL DEFAULT 0 CHECK (credit_limit >= 0),
    status text COLLATE "C" NOT NULL,
    next_expiry_at timestamptz,
    snapshot_version bigint NOT NULL,
    snapshot bytea NOT NULL,
    PRIMARY KEY (owner, stream)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX heads_next_expiry ON ledger.heads (next_expiry_at) WHERE next_expiry_at IS NOT NULL;

-- A row when a lot is created, overflows the head, or leaves it.
-- place: h in the head (the row is stale), o beyond the head, l left with nothing remaining.
CREATE TABLE ledger.lots (
    owner text COLLATE "C" NOT NULL,
    grant_id text COLLATE "C" NOT NULL,
    place text COLLATE "C" NOT NULL CHECK (place IN ('h', 'o', 'l')),
    state bytea NOT NULL,
    PRIMARY KEY (owner, grant_id)
);

CREATE INDEX lots_beyond_the_head ON ledger.lots (owner) WHERE place = 'o';

CREATE FUNCTION ledger.all_within(given bigint [], taken bigint []) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(array_length(given, 1), 0) = coalesce(array_length(taken, 1), 0)
AND NOT EXISTS (
    SELECT FROM unnest(given, taken) AS pair (g, t)
    WHERE g IS NULL OR g < 0 OR g > t
);

-- One row per debit ever refunded: nobody gets back more than was taken, in sum and per slice.
CREATE TABLE ledger.debit_refunds (
    owner text COLLATE "C" NOT NULL,
    debit_id text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    refunded bigint NOT NULL,
    taken bigint [] NOT NULL,
    given_back bigint [] NOT NULL,
    refund_version bigint NOT NULL,
    PRIMARY KEY (owner, debit_id),
    CONSTRAINT debit_refunds_total CHECK (refunded BETWEEN 0 AND amount),
    CONSTRAINT debit_refunds_slices CHECK (ledger.all_within(given_back, taken))
);

-- What is merely mechanical about a generation. Due work is found here.
CREATE TABLE ledger.jobs (
    owner text COLLATE "C" NOT NULL,
    generation_id text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    due_at timestamptz,
    deadline timestamptz NOT NULL,
    epoch bigint NOT NULL,
    fence bigint NOT NULL,
    lease_until timestamptz,
    to_fetch boolean NOT NULL,
    unreported bigint NOT NULL,
    is_hinted boolean NOT NULL,
    worker text COLLATE "C",
    ring_at timestamptz,
    rings bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (owner, generation_id),
    CONSTRAINT jobs_generation UNIQUE (generation_id),
    CONSTRAINT jobs_never_stuck CHECK (
        due_at IS NOT NULL OR status IN ('succeeded', 'failed', 'cancelled', 'expired')
    )
);

CREATE INDEX jobs_due ON ledger.jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_deadline ON ledger.jobs (deadline) WHERE due_at IS NOT NULL;

-- Personal data and free text, encrypted under a key per owner.
CREATE TABLE ledger.subject_keys (
    owner text COLLATE "C" PRIMARY KEY,
    wrapped_key bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE ledger.vault (
    owner text COLLATE "C" NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    ciphertext bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, digest)
);

CREATE TABLE ledger.api_keys (
    key_id text COLLATE "C" PRIMARY KEY,
    tenant text COLLATE "C",
    name text NOT NULL,
    scopes text [] NOT NULL,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    CONSTRAINT api_keys_work_is_for_workers CHECK ((tenant IS NULL) = ('work' = ANY (scopes)))
);

CREATE INDEX api_keys_tenant ON ledger.api_keys (tenant, created_at);

-- Who leads, by the database's clock; and when a worker last asked for work.
CREATE TABLE ledger.leadership (
    role text COLLATE "C" PRIMARY KEY,
    epoch bigint NOT NULL,
    holder text NOT NULL,
    lease_until timestamptz NOT NULL
);

CREATE TABLE ledger.work_activity (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    last_claim_at timestamptz NOT NULL
);

-- The same events as the eventsourcing library names them.
CREATE VIEW ledger.stored_events AS
SELECT
    stream AS originator_id,
    version AS originator_version,
    topic,
    state,
    position AS notification_id
FROM ledger.events
WHERE log = 'main';

-- For people: the state as JSON.
CREATE VIEW ledger.readable_events AS
SELECT
    log,
    position,
    stream,
    version,
    topic,
    recorded_at,
    actor,
    convert_from(state, 'UTF8')::jsonb AS data
FROM ledger.events;
