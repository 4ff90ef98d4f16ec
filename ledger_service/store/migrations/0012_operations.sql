-- What operators look at. Nothing decides about credits by any of it.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

-- Operators belong to no tenant either. What stands there kept a stricter rule, so that nothing has
-- to be looked through, and nobody who serves meanwhile relies on it.
-- squawk-ignore ban-drop-constraint
ALTER TABLE ledger.api_keys DROP CONSTRAINT api_keys_work_is_for_workers;
ALTER TABLE ledger.api_keys ADD CONSTRAINT api_keys_of_no_tenant
CHECK ((tenant IS NULL) = (scopes && ARRAY['work', 'operate'])) NOT VALID;

-- How generations ended, counted from the log, in the same transaction as how far it was followed.
INSERT INTO ledger.projections (name) VALUES ('endings');

CREATE TABLE ledger.endings (
    outcome text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    ended bigint NOT NULL,
    PRIMARY KEY (outcome, reason)
);

-- How long refunds took after the provider's verdict: one row per bucket, its upper bound included.
CREATE TABLE ledger.refund_delays (
    upto_seconds double precision PRIMARY KEY,
    refunds bigint NOT NULL,
    seconds double precision NOT NULL
);

-- When we first heard that the provider is done with a generation; lost in a crash.
CREATE UNLOGGED TABLE ledger.verdicts_heard (
    generation_id text COLLATE "C" PRIMARY KEY,
    heard_at timestamptz NOT NULL
);

CREATE INDEX verdicts_heard_by_time ON ledger.verdicts_heard (heard_at);

-- What each process of the workers said last; lost in a crash, and said again.
CREATE UNLOGGED TABLE ledger.presence (
    worker text COLLATE "C" PRIMARY KEY,
    seen_at timestamptz NOT NULL,
    told bytea NOT NULL
);

-- The comparison of ledger, provider and storage: one report for each day, from whoever holds the
-- newest fence.
CREATE TABLE ledger.reconciliations (
    day date PRIMARY KEY,
    fence bigint NOT NULL DEFAULT 0,
    worker text COLLATE "C",
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    trouble text,
    report bytea,
    reported_at timestamptz,
    CONSTRAINT reconciliations_reported CHECK ((report IS NULL) = (reported_at IS NULL))
);

GRANT SELECT, INSERT, UPDATE ON
ledger.endings, ledger.refund_delays, ledger.reconciliations TO ledger_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ledger.verdicts_heard, ledger.presence TO ledger_app;
