-- What the writer asks, in the order of a batch.

-- name: lock_heads
SELECT h.stream, h.version, h.snapshot_version, h.snapshot
FROM unnest($1::text[], $2::text[]) AS wanted (owner, stream)
JOIN ledger.heads AS h USING (owner, stream)
ORDER BY h.stream
FOR NO KEY UPDATE OF h

-- name: clock_and_keys
-- A statement of its own after the locks: it must see what was committed while we waited. One
-- row comes in any case, with the clock.
SELECT now.clock, e.log, e.position, e.owner, e.stream, e.version, e.topic, e.state,
    e.recorded_at, e.actor, e.fingerprint, e.trace_id, e.key_space, e.key_digest
FROM (SELECT clock_timestamp() AS clock) AS now
LEFT JOIN (
    unnest($1::text[], $2::text[], $3::bytea[]) AS wanted (owner, key_space, key_digest)
    JOIN ledger.events AS e USING (owner, key_space, key_digest)
) ON e.key_digest IS NOT NULL

-- name: load_policies
SELECT h.stream, h.version, h.snapshot_version, h.snapshot
FROM unnest($1::text[]) AS wanted (owner)
JOIN ledger.heads AS h ON h.owner = wanted.owner AND h.stream = wanted.owner

-- name: load_jobs
SELECT j.owner, j.generation_id, j.model, j.status, j.created_at, j.due_at, j.deadline, j.epoch,
    j.fence, j.lease_until, j.to_fetch, j.unreported, j.is_hinted, j.worker, j.fetches,
    j.priority, j.flags
FROM unnest($1::text[], $2::text[]) AS wanted (owner, generation_id)
JOIN ledger.jobs AS j USING (owner, generation_id)

-- name: load_subject_keys
SELECT owner, wrapped_key FROM ledger.subject_keys WHERE owner = ANY ($1::text[])

-- name: load_debits
SELECT wanted.debit_id, e.topic, e.state, d.given_back
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS wanted (owner, debit_id, version)
JOIN ledger.events AS e
    ON e.owner = wanted.owner AND e.stream = wanted.owner AND e.version = wanted.version
LEFT JOIN ledger.debit_refunds AS d
    ON d.owner = wanted.owner AND d.debit_id = wanted.debit_id

-- name: load_lots
SELECT l.owner, l.state
FROM unnest($1::text[], $2::text[]) AS wanted (owner, grant_id)
JOIN ledger.lots AS l USING (owner, grant_id)

-- name: load_lots_beyond
SELECT owner, state FROM ledger.lots WHERE owner = ANY ($1::text[]) AND place = 'o'

-- name: load_holds
SELECT h.hold_id, h.state
FROM unnest($1::text[], $2::text[]) AS wanted (owner, hold_id)
JOIN ledger.holds AS h USING (owner, hold_id)

-- name: load_open_holds
SELECT hold_id, state FROM ledger.holds
WHERE owner = $1 AND reference = $2 AND status = 'open'
ORDER BY hold_id LIMIT $3::bigint

-- name: load_in_flight
SELECT generation_id FROM ledger.jobs WHERE owner = $1 AND due_at IS NOT NULL

-- name: count_crowd
-- Owners of a tenant lie side by side: '0' is what comes after '/'.
SELECT count(*) FROM (
    SELECT FROM ledger.jobs
    WHERE owner >= $1::text || '/' AND owner < $1::text || '0' AND due_at IS NOT NULL
    LIMIT $2::bigint
) AS crowd

-- name: count_begun
-- Ids sort by time.
SELECT count(*) FROM ledger.jobs WHERE owner = $1 AND generation_id >= $2

-- name: load_begun
SELECT coalesce(max(begun), 0) FROM ledger.tenant_days WHERE tenant = $1 AND day = $2::date

-- name: load_grants
SELECT wanted.grant_id, wanted.owner, e.topic, e.state, e.recorded_at
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS wanted (owner, grant_id, version)
JOIN ledger.events AS e
    ON e.owner = wanted.owner AND e.stream = wanted.owner AND e.version = wanted.version

-- name: load_derived
SELECT l.origin_owner, l.origin, l.owner, l.grant_id
FROM unnest($1::text[], $2::text[]) AS wanted (owner, grant_id)
JOIN ledger.lots AS l ON l.origin_owner = wanted.owner AND l.origin = wanted.grant_id

-- name: append
SELECT outcome, base, clock
FROM ledger.append_v2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
    $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36,
    $37, $38, $39, $40)

-- name: look
-- Heads as they are now, without locks, and the clock; one row comes in any case.
SELECT now.clock, h.stream, h.version, h.snapshot_version, h.snapshot
FROM (SELECT clock_timestamp() AS clock) AS now
LEFT JOIN (
    unnest($1::text[], $2::text[]) AS wanted (owner, stream)
    JOIN ledger.heads AS h USING (owner, stream)
) ON true
