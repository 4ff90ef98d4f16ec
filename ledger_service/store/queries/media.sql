-- Which assets there are, and which of them are to go; and where files may lie that are no asset.
-- See media/following.py and media/removal.py.

-- name: stretch
SELECT owner, stream, topic, state, recorded_at
FROM ledger.events
WHERE log = 'main' AND position > $1 AND position <= $2
    AND topic IN (
        'generation_succeeded.v1', 'generation_deleted.v1', 'generation_failed.v1',
        'generation_cancelled.v1', 'generation_expired.v1', 'late_fact_recorded.v1'
    )
ORDER BY position

-- name: note
INSERT INTO ledger.media (owner, generation_id, asset_keys, due_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (owner, generation_id) DO UPDATE SET asset_keys = excluded.asset_keys

-- name: end
INSERT INTO ledger.media (owner, generation_id, asset_keys, due_at) VALUES ($1, $2, '{}', $3)
ON CONFLICT (owner, generation_id) DO UPDATE SET due_at = excluded.due_at

-- name: due
SELECT owner, generation_id, asset_keys FROM ledger.media
WHERE due_at <= statement_timestamp() AND asset_keys <> '{}'
ORDER BY due_at LIMIT $1

-- name: postpone
UPDATE ledger.media SET due_at = clock_timestamp() + interval '30 seconds'
WHERE owner = $1 AND generation_id = $2

-- name: forget
DELETE FROM ledger.media WHERE owner = $1 AND generation_id = $2

-- name: expect_leftovers
INSERT INTO ledger.media_leftovers (owner, generation_id, kept_keys, look_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (owner, generation_id) DO UPDATE SET look_at = excluded.look_at

-- name: leftovers
SELECT owner, generation_id, look_at, kept_keys FROM ledger.media_leftovers
WHERE look_at <= statement_timestamp()
ORDER BY look_at LIMIT $1

-- name: postpone_leftovers
UPDATE ledger.media_leftovers SET look_at = clock_timestamp() + interval '30 seconds'
WHERE owner = $1 AND generation_id = $2 AND look_at = $3

-- name: forget_leftovers
DELETE FROM ledger.media_leftovers WHERE owner = $1 AND generation_id = $2 AND look_at = $3
