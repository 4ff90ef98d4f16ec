-- Where a worker that died may have left files of a generation that has ended: what lies there is
-- looked at once, and removed if it is no result. Nothing decides about credits by it.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE ledger.media_leftovers (
    owner text COLLATE "C" NOT NULL,
    generation_id text COLLATE "C" NOT NULL,
    kept_keys text [] NOT NULL,
    look_at timestamptz NOT NULL,
    PRIMARY KEY (owner, generation_id)
);

CREATE INDEX media_leftovers_due ON ledger.media_leftovers (look_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON ledger.media_leftovers TO ledger_app;
