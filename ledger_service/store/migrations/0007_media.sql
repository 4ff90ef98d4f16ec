-- Assets in our storage and when they are to go, followed from the log; and how far generations
-- are. Nothing decides about credits by either.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

INSERT INTO ledger.projections (name) VALUES ('media');

CREATE TABLE ledger.media (
    owner text COLLATE "C" NOT NULL,
    generation_id text COLLATE "C" NOT NULL,
    asset_keys text [] NOT NULL,
    due_at timestamptz,
    PRIMARY KEY (owner, generation_id)
);

CREATE INDEX media_due ON ledger.media (due_at) WHERE due_at IS NOT NULL AND asset_keys <> '{}';

-- What providers said last about what is under way; of no consequence, and lost in a crash.
CREATE UNLOGGED TABLE ledger.progress (
    generation_id text COLLATE "C" PRIMARY KEY,
    provider_status text NOT NULL,
    queue_position bigint,
    seen_at timestamptz NOT NULL
);

CREATE INDEX progress_seen ON ledger.progress (seen_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON ledger.media, ledger.progress TO ledger_app;
