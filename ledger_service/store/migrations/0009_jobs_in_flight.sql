-- An account's generations that have not ended: counted where a tenant limits them.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

CREATE INDEX jobs_in_flight ON ledger.jobs (owner, generation_id) WHERE due_at IS NOT NULL;
