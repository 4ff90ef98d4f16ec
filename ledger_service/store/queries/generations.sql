-- Generations and due work, as the API reads them.

-- name: note_claims
INSERT INTO ledger.work_activity (last_claim_at) VALUES (clock_timestamp())
ON CONFLICT (singleton) DO UPDATE SET last_claim_at = clock_timestamp()

-- name: due
-- Tenants in turn, each with its longest due: a thousand jobs of one do not keep another's one
-- waiting. Orders of low priority come after all others, until they are older than $2. Turns are
-- taken within two stretches of the indexes, so that a long queue costs no more than a short one.
-- `statement_timestamp()`, because an index is no use against a clock that runs.
SELECT owner, generation_id FROM (
    SELECT
        owner, generation_id, due_at, waits,
        row_number() OVER (PARTITION BY waits, split_part(owner, '/', 1) ORDER BY due_at) AS turn
    FROM (
        (
            SELECT owner, generation_id, due_at, false AS waits FROM ledger.jobs
            WHERE due_at <= statement_timestamp() AND NOT (priority = 'low' AND status = 'requested')
            ORDER BY due_at LIMIT 2000
        )
        UNION ALL
        (
            SELECT
                owner, generation_id, due_at,
                created_at > statement_timestamp() - $2::interval AS waits
            FROM ledger.jobs
            WHERE due_at <= statement_timestamp() AND priority = 'low' AND status = 'requested'
            ORDER BY due_at LIMIT 2000
        )
    ) AS longest_due
) AS in_turn
ORDER BY waits, turn, due_at LIMIT $1

-- name: owner_of
SELECT owner FROM ledger.jobs WHERE generation_id = $1

-- name: owners_of
SELECT generation_id, owner FROM ledger.jobs WHERE generation_id = ANY ($1::text[])

-- name: one
SELECT h.owner, h.stream, h.version, h.snapshot_version, h.snapshot
FROM ledger.jobs AS j
JOIN ledger.heads AS h ON h.owner = j.owner AND h.stream = j.owner || '/' || j.generation_id
WHERE j.generation_id = $1

-- The lists of generations, newest first, each by the index of its filter: the comparison of rows
-- leaves it no other, however few rows the planner believes in. Ids sort by time; instants are finer.

-- name: page
SELECT h.owner, h.stream, h.version, h.snapshot_version, h.snapshot
FROM (
    SELECT owner, generation_id FROM ledger.jobs
    WHERE owner = $1 AND generation_id > $2 AND generation_id < $3
        AND ($5::timestamptz IS NULL OR created_at >= $5)
        AND ($6::timestamptz IS NULL OR created_at < $6)
    ORDER BY generation_id DESC LIMIT $4
) AS j
JOIN ledger.heads AS h ON h.owner = j.owner AND h.stream = j.owner || '/' || j.generation_id
ORDER BY j.generation_id DESC

-- name: page_by_status
SELECT h.owner, h.stream, h.version, h.snapshot_version, h.snapshot
FROM (
    SELECT owner, generation_id FROM ledger.jobs
    WHERE owner = $1 AND status = $7::text
        AND (status, generation_id) > ($7, $2) AND (status, generation_id) < ($7, $3)
        AND ($5::timestamptz IS NULL OR created_at >= $5)
        AND ($6::timestamptz IS NULL OR created_at < $6)
    ORDER BY generation_id DESC LIMIT $4
) AS j
JOIN ledger.heads AS h ON h.owner = j.owner AND h.stream = j.owner || '/' || j.generation_id
ORDER BY j.generation_id DESC

-- name: page_by_model
SELECT h.owner, h.stream, h.version, h.snapshot_version, h.snapshot
FROM (
    SELECT owner, generation_id FROM ledger.jobs
    WHERE owner = $1 AND model = $7::text
        AND (model, generation_id) > ($7, $2) AND (model, generation_id) < ($7, $3)
        AND ($5::timestamptz IS NULL OR created_at >= $5)
        AND ($6::timestamptz IS NULL OR created_at < $6)
        AND ($8::text IS NULL OR status = $8)
    ORDER BY generation_id DESC LIMIT $4
) AS j
JOIN ledger.heads AS h ON h.owner = j.owner AND h.stream = j.owner || '/' || j.generation_id
ORDER BY j.generation_id DESC

-- name: page_flagged
-- Of one account, or of all the tenant's.
SELECT h.owner, h.stream, h.version, h.snapshot_version, h.snapshot
FROM (
    SELECT owner, generation_id FROM ledger.jobs
    WHERE split_part(owner, '/', 1) = $7::text AND flags > 0
        AND (split_part(owner, '/', 1), generation_id) > ($7, $2)
        AND (split_part(owner, '/', 1), generation_id) < ($7, $3)
        AND ($1::text IS NULL OR owner = $1)
        AND ($5::timestamptz IS NULL OR created_at >= $5)
        AND ($6::timestamptz IS NULL OR created_at < $6)
        AND ($8::text IS NULL OR status = $8)
        AND ($9::text IS NULL OR model = $9)
    ORDER BY generation_id DESC LIMIT $4
) AS j
JOIN ledger.heads AS h ON h.owner = j.owner AND h.stream = j.owner || '/' || j.generation_id
ORDER BY j.generation_id DESC

-- name: changed
-- Of an account's newest generations those that changed past a position; without one, those that
-- are under way.
SELECT h.owner, h.stream, h.version, h.snapshot_version, h.snapshot
FROM (
    SELECT owner, generation_id, due_at FROM ledger.jobs
    WHERE owner = $1 ORDER BY generation_id DESC LIMIT $3
) AS j
JOIN ledger.heads AS h ON h.owner = j.owner AND h.stream = j.owner || '/' || j.generation_id
WHERE h.position > $2::bigint OR ($2 IS NULL AND j.due_at IS NOT NULL)
ORDER BY h.position

-- name: note_progress
INSERT INTO ledger.progress (generation_id, provider_status, queue_position, logs, seen_at)
SELECT generation_id, provider_status, queue_position, logs, clock_timestamp()
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[])
    AS seen (generation_id, provider_status, queue_position, logs)
ON CONFLICT (generation_id) DO UPDATE SET
    provider_status = excluded.provider_status,
    queue_position = excluded.queue_position,
    logs = excluded.logs,
    seen_at = excluded.seen_at

-- name: progress
SELECT p.generation_id, p.provider_status, p.queue_position, p.seen_at, p.logs, k.wrapped_key
FROM unnest($1::text[], $2::text[]) AS wanted (owner, generation_id)
JOIN ledger.progress AS p USING (generation_id)
LEFT JOIN ledger.subject_keys AS k ON k.owner = wanted.owner

-- name: subject_keys
SELECT owner, wrapped_key FROM ledger.subject_keys WHERE owner = ANY ($1::text[])

-- name: note_verdicts
INSERT INTO ledger.verdicts_heard (generation_id, heard_at)
SELECT generation_id, clock_timestamp() FROM unnest($1::text[]) AS heard (generation_id)
ON CONFLICT (generation_id) DO NOTHING

-- name: refunded
SELECT debit_id, d.refunded
FROM unnest($1::text[], $2::text[]) AS wanted (owner, debit_id)
JOIN ledger.debit_refunds AS d USING (owner, debit_id)
