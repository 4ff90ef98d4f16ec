-- How work that is due, and histories with filters, are found. By itself, and what is dropped last:
-- while indexes are made, those who write jobs wait, and those who read them do not.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

-- What is due is found in two stretches: what waits for others must not hide them. Older code, for
-- as long as it runs beside this, finds it by `jobs_in_flight`.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX jobs_due_first ON ledger.jobs (due_at)
WHERE due_at IS NOT NULL AND NOT (priority = 'low' AND status = 'requested');
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX jobs_due_low ON ledger.jobs (due_at)
WHERE due_at IS NOT NULL AND priority = 'low' AND status = 'requested';
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX jobs_by_status ON ledger.jobs (owner, status, generation_id);
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX jobs_by_model ON ledger.jobs (owner, model, generation_id);
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX jobs_flagged ON ledger.jobs (split_part(owner, '/', 1), generation_id)
WHERE flags > 0;

-- squawk-ignore require-concurrent-index-deletion
DROP INDEX ledger.jobs_due;
