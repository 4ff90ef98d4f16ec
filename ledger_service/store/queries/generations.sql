-- Generations and due work, as the API reads them.

-- name: note_claims
INSERT INTO ledger.work_activity (last_claim_at) VALUES (clock_timestamp())
ON CONFLICT (singleton) DO UPDATE SET last_claim_at = clock_timestamp()

-- name: due
-- Tenants in turn, each with its longest due: a thousand jobs of one do not keep another's one
-- waiting. Turns are taken within a stretch of the index, so that a long queue costs no more than
-- a short one. `statement_timestamp()`, because an index is no use against a clock that runs.
SELECT owner, generation_id FROM (
    SELECT
        owner, generation_id, due_at,
        row_number() OVER (PARTITION BY split_part(owner, '/', 1) ORDER BY due_at) AS turn
    FROM (
        SELECT owner, generation_id, due_at FROM ledger.jobs
        WHERE due_at <= statement_timestamp() ORDER BY due_at LIMIT 2000
    ) AS longest_due
) AS in_turn
ORDER BY turn, due_at LIMIT $1

-- name: owner_of
SELECT owner FROM ledger.jobs WHERE generation_id = $1

-- name: owners_of
SELECT generation_id, owner FROM ledger.jobs WHERE generation_id = ANY ($1::text[])

-- name: one
SELECT h.owner, h.stream, h.version, h.snapshot_version, h.snapshot
FROM ledger.jobs AS j
JOIN ledger.heads AS h ON h.owner = j.owner AND h.stream = j.owner || '/' || j.generation_id
WHERE j.generation_id = $1

-- name: page
SELECT h.owner, h.stream, h.version, h.snapshot_version, h.snapshot
FROM ledger.jobs AS j
JOIN ledger.heads AS h ON h.owner = j.owner AND h.stream = j.owner || '/' || j.generation_id
WHERE j.owner = $1
    AND ($2::text IS NULL OR j.status = $2)
    AND ($3::text IS NULL OR j.generation_id < $3)
ORDER BY j.generation_id DESC
LIMIT $4

-- name: note_progress
INSERT INTO ledger.progress (generation_id, provider_status, queue_position, logs, seen_at)
VALUES ($1, $2, $3, $4, clock_timestamp())
ON CONFLICT (generation_id) DO UPDATE SET
    provider_status = excluded.provider_status,
    queue_position = excluded.queue_position,
    logs = excluded.logs,
    seen_at = excluded.seen_at

-- name: progress
SELECT p.generation_id, p.provider_status, p.queue_position, p.seen_at, p.logs, k.wrapped_key
FROM ledger.progress AS p
LEFT JOIN ledger.subject_keys AS k ON k.owner = $1
WHERE p.generation_id = ANY ($2::text[])

-- name: subject_key
SELECT wrapped_key FROM ledger.subject_keys WHERE owner = $1

-- name: refunded
SELECT debit_id, refunded FROM ledger.debit_refunds
WHERE owner = $1 AND debit_id = ANY ($2::text[])
