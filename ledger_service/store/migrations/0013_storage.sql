-- What is to go from the storage besides results. Nothing decides about credits by it.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

-- Where a worker that died may have left files of a generation that has ended: what lies there is
-- looked at once, and removed if it is no result.
CREATE TABLE ledger.media_leftovers (
    owner text COLLATE "C" NOT NULL,
    generation_id text COLLATE "C" NOT NULL,
    kept_keys text [] NOT NULL,
    look_at timestamptz NOT NULL,
    PRIMARY KEY (owner, generation_id)
);

CREATE INDEX media_leftovers_due ON ledger.media_leftovers (look_at);

-- What callers gave as inputs of generations.
CREATE TABLE ledger.uploads (
    asset_key text COLLATE "C" PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    size_bytes bigint NOT NULL,
    remove_at timestamptz NOT NULL
);

CREATE INDEX uploads_due ON ledger.uploads (remove_at);
CREATE INDEX uploads_of_tenant ON ledger.uploads (tenant) INCLUDE (size_bytes);

GRANT SELECT, INSERT, UPDATE, DELETE ON ledger.media_leftovers, ledger.uploads TO ledger_app;
