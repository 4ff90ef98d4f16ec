-- Orders that may wait, results that were flagged, what a tenant may begin in a day, and histories
-- with filters.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE ledger.jobs
ADD COLUMN priority text COLLATE "C" NOT NULL DEFAULT 'normal',
ADD COLUMN flags bigint NOT NULL DEFAULT 0;

-- What is due is found in two stretches: what waits for others must not hide them. Older code, for
-- as long as it runs beside this, finds it by `jobs_in_flight`.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX jobs_due_first ON ledger.jobs (due_at)
WHERE due_at IS NOT NULL AND NOT (priority = 'low' AND status = 'requested');
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX jobs_due_low ON ledger.jobs (due_at)
WHERE due_at IS NOT NULL AND priority = 'low' AND status = 'requested';
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX ledger.jobs_due;

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX jobs_by_status ON ledger.jobs (owner, status, generation_id);
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX jobs_by_model ON ledger.jobs (owner, model, generation_id);
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX jobs_flagged ON ledger.jobs (split_part(owner, '/', 1), generation_id)
WHERE flags > 0;

-- How many generations a tenant has begun on a day of UTC, where its policy bounds that. Counted
-- just before the log's own row is taken, so that nobody waits for it who would not wait anyway.
CREATE TABLE ledger.tenant_days (
    tenant text COLLATE "C" NOT NULL,
    day date NOT NULL,
    begun bigint NOT NULL,
    PRIMARY KEY (tenant, day)
) WITH (fillfactor = 50);

GRANT SELECT, INSERT, UPDATE, DELETE ON ledger.tenant_days TO ledger_app;
