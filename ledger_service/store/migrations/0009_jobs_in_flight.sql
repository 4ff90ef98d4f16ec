-- An account's generations that have not ended: counted where a tenant limits them.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

-- Migrations are transactions, and bounded in time: a table too large for that is refused, not held.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX jobs_in_flight ON ledger.jobs (owner, generation_id) WHERE due_at IS NOT NULL;
