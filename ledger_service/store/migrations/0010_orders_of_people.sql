-- Orders that may wait, results that were flagged, and what a tenant may begin in a day.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE ledger.jobs
ADD COLUMN priority text COLLATE "C" NOT NULL DEFAULT 'normal',
ADD COLUMN flags bigint NOT NULL DEFAULT 0;

-- How many generations a tenant has begun on a day of UTC, where its policy bounds that. Counted
-- just before the log's own row is taken, so that nobody waits for it who would not wait anyway.
CREATE TABLE ledger.tenant_days (
    tenant text COLLATE "C" NOT NULL,
    day date NOT NULL,
    begun bigint NOT NULL,
    PRIMARY KEY (tenant, day)
) WITH (fillfactor = 50);

GRANT SELECT, INSERT, UPDATE, DELETE ON ledger.tenant_days TO ledger_app;
