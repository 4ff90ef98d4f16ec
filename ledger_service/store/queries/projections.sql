-- The follower that makes the projections. One transaction takes a stretch of the log.

-- name: progress
SELECT p.position, p.version, l.last, (SELECT count(*) FROM ledger.snapshots_due)
FROM ledger.projections AS p
JOIN ledger.logs AS l ON l.log = 'main'
WHERE p.name = 'reads'

-- name: lock
-- Nobody else makes them meanwhile; no row when somebody is at it.
SELECT position, version FROM ledger.projections WHERE name = 'reads' FOR UPDATE SKIP LOCKED

-- name: lock_waiting
SELECT position, version FROM ledger.projections WHERE name = 'reads' FOR UPDATE

-- name: advance
UPDATE ledger.projections SET position = $1::bigint, version = $2::bigint WHERE name = 'reads'

-- name: stretch
SELECT position, owner, stream, version, topic, state, recorded_at, actor
FROM ledger.events
WHERE log = 'main' AND position > $1::bigint AND position <= $1 + $2::bigint
ORDER BY position

-- name: add_entries
INSERT INTO ledger.entries (owner, version, position, type, amount, direction, posted_after,
    held_after, recorded_at, reference, actor)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[],
    $7::bigint[], $8::bigint[], $9::timestamptz[], $10::text[], $11::text[])
ON CONFLICT DO NOTHING

-- name: add_bearings
INSERT INTO ledger.bearings (tenant, reference, position, ordinal, owner, kind, id, amount,
    recorded_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],
    $7::text[], $8::bigint[], $9::timestamptz[])
ON CONFLICT DO NOTHING

-- name: add_lot_uses
INSERT INTO ledger.lot_uses (owner, grant_id, version, amount)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
ON CONFLICT DO NOTHING

-- name: add_hold_changes
INSERT INTO ledger.hold_changes (owner, hold_id, version)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
ON CONFLICT DO NOTHING

-- name: add_snapshots_due
INSERT INTO ledger.snapshots_due (position, owner, version)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[])
ON CONFLICT DO NOTHING

-- name: take_snapshot_due
DELETE FROM ledger.snapshots_due
WHERE position = (
    SELECT position FROM ledger.snapshots_due ORDER BY position LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING owner, version

-- name: add_snapshot
INSERT INTO ledger.account_snapshots (owner, version, snapshot_version, snapshot)
VALUES ($1::text, $2::bigint, $3::bigint, convert_to($4::text, 'UTF8'))
ON CONFLICT DO NOTHING

-- name: add_past_lots
INSERT INTO ledger.past_lots (owner, grant_id, version, state)
SELECT $1::text, n.grant_id, $2::bigint, convert_to(n.state, 'UTF8')
FROM unnest($3::text[], $4::text[]) AS n (grant_id, state)
ON CONFLICT DO NOTHING

-- name: forget_entries
-- Not TRUNCATE: readers in the middle of something must go on seeing one instant.
DELETE FROM ledger.entries

-- name: forget_bearings
DELETE FROM ledger.bearings

-- name: forget_lot_uses
DELETE FROM ledger.lot_uses

-- name: forget_hold_changes
DELETE FROM ledger.hold_changes

-- name: forget_snapshots
DELETE FROM ledger.account_snapshots

-- name: forget_past_lots
DELETE FROM ledger.past_lots

-- name: forget_snapshots_due
DELETE FROM ledger.snapshots_due
