-- Assets in our storage and when they are to go, followed from the log. Nothing decides about
-- credits by it.

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

GRANT SELECT, INSERT, UPDATE, DELETE ON ledger.media TO ledger_app;
