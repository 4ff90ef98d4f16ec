-- What the API reads. Accounts are streams of their own: owner = stream.

-- name: heads
SELECT h.owner, h.position, h.snapshot_version, h.snapshot, clock_timestamp(), h.version
FROM ledger.heads AS h
JOIN unnest($1::text[]) AS wanted (owner) ON h.owner = wanted.owner AND h.stream = wanted.owner

-- name: account
SELECT h.position, h.snapshot_version, h.snapshot, clock_timestamp(), h.version
FROM ledger.heads AS h WHERE h.owner = $1 AND h.stream = $1

-- name: lots_beyond
SELECT state FROM ledger.lots WHERE owner = $1 AND place = 'o'

-- name: lots_page
SELECT place, state FROM ledger.lots
WHERE owner = $1 AND ($2::text IS NULL OR grant_id < $2)
ORDER BY grant_id DESC LIMIT $3

-- name: lot
SELECT place, state FROM ledger.lots WHERE owner = $1 AND grant_id = $2

-- name: derived_lots
SELECT owner, state FROM ledger.lots
WHERE origin_owner = $1 AND origin = $2 AND ($3::text IS NULL OR grant_id < $3)
ORDER BY grant_id DESC LIMIT $4

-- name: events_at
SELECT log, position, owner, stream, version, topic, state, recorded_at, actor, fingerprint,
    trace_id
FROM ledger.events WHERE owner = $1 AND stream = $1 AND version = ANY ($2::bigint[])

-- name: event_by_key
SELECT log, position, owner, stream, version, topic, state, recorded_at, actor, fingerprint,
    trace_id
FROM ledger.events WHERE owner = $1 AND key_space = $2 AND key_digest = $3

-- name: refunded
SELECT debit_id, refunded FROM ledger.debit_refunds
WHERE owner = $1 AND debit_id = ANY ($2::text[])

-- name: log_stretch
-- One tenant's events within a bounded stretch of the log, oldest first.
SELECT log, position, stream, version, topic, recorded_at, actor, state, last_of_command
FROM ledger.events
WHERE log = 'main' AND position > $1 AND position <= $2 AND split_part(owner, '/', 1) = $3
ORDER BY position LIMIT $4

-- name: log_head
SELECT last FROM ledger.logs WHERE log = 'main'
