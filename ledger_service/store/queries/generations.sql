-- Reads of generations and of due work.

-- name: note_claims
INSERT INTO ledger.work_activity (last_claim_at) VALUES (clock_timestamp())
ON CONFLICT (singleton) DO UPDATE SET last_claim_at = clock_timestamp()

-- name: due
SELECT owner, generation_id FROM ledger.jobs
WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT %(limit)s

-- name: owner_of
SELECT owner FROM ledger.jobs WHERE generation_id = %(generation_id)s

-- name: one
SELECT h.snapshot, h.snapshot_version, coalesce(d.refunded, 0) AS refunded
FROM ledger.jobs AS j
JOIN ledger.heads AS h ON h.owner = j.owner AND h.stream = j.owner || '/' || j.generation_id
LEFT JOIN ledger.debit_refunds AS d
    ON d.owner = j.owner
    AND d.debit_id = convert_from(h.snapshot, 'UTF8')::jsonb ->> 'debit_id'
WHERE j.generation_id = %(generation_id)s

-- name: page
SELECT h.snapshot, h.snapshot_version, coalesce(d.refunded, 0) AS refunded
FROM ledger.jobs AS j
JOIN ledger.heads AS h ON h.owner = j.owner AND h.stream = j.owner || '/' || j.generation_id
LEFT JOIN ledger.debit_refunds AS d
    ON d.owner = j.owner
    AND d.debit_id = convert_from(h.snapshot, 'UTF8')::jsonb ->> 'debit_id'
WHERE j.owner = %(owner)s
    AND (%(status)s::text IS NULL OR j.status = %(status)s)
    AND (%(before)s::text IS NULL OR j.generation_id < %(before)s)
ORDER BY j.generation_id DESC
LIMIT %(limit)s
