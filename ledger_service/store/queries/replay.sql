-- Everything of one share of the owners, for a replay: those whose hash, masked by $1, is $2.
-- Each statement within one repeatable-read snapshot.

-- name: head
SELECT last FROM ledger.logs WHERE log = 'main'

-- name: export_snapshot
SELECT pg_export_snapshot()

-- name: gap
SELECT position - 1 FROM (
    SELECT position, lag(position, 1, 0::bigint) OVER (ORDER BY position) AS before
    FROM ledger.events WHERE log = 'main'
) AS pairs
WHERE position <> before + 1 ORDER BY position LIMIT 1

-- name: events
SELECT position, owner, stream, version, topic, state, recorded_at, last_of_command, actor
FROM ledger.events
WHERE log = 'main' AND hashtextextended(owner, 0) & $1::bigint = $2::bigint ORDER BY position

-- name: heads
SELECT owner, stream, posted, held, debt, snapshot, snapshot_version FROM ledger.heads
WHERE hashtextextended(owner, 0) & $1::bigint = $2::bigint

-- name: lots
SELECT owner, grant_id, place, state, origin_owner, origin FROM ledger.lots
WHERE hashtextextended(owner, 0) & $1::bigint = $2::bigint

-- name: holds
SELECT owner, hold_id, state FROM ledger.holds
WHERE hashtextextended(owner, 0) & $1::bigint = $2::bigint

-- name: refunds
SELECT owner, debit_id, refunded FROM ledger.debit_refunds
WHERE hashtextextended(owner, 0) & $1::bigint = $2::bigint

-- name: projections
SELECT position, version FROM ledger.projections WHERE name = 'reads'

-- name: entries
SELECT owner, version, position, type, amount, direction, posted_after, held_after, recorded_at,
    reference, actor
FROM ledger.entries
WHERE hashtextextended(owner, 0) & $1::bigint = $2::bigint

-- name: bearings
SELECT tenant, reference, position, ordinal, owner, kind, id, amount, recorded_at
FROM ledger.bearings
WHERE hashtextextended(owner, 0) & $1::bigint = $2::bigint

-- name: lot_uses
SELECT owner, grant_id, version, amount FROM ledger.lot_uses
WHERE hashtextextended(owner, 0) & $1::bigint = $2::bigint

-- name: hold_changes
SELECT owner, hold_id, version FROM ledger.hold_changes
WHERE hashtextextended(owner, 0) & $1::bigint = $2::bigint

-- name: snapshots
SELECT owner, version FROM ledger.account_snapshots
WHERE hashtextextended(owner, 0) & $1::bigint = $2::bigint
    AND snapshot_version = $3::bigint

-- name: snapshot
SELECT snapshot FROM ledger.account_snapshots WHERE owner = $1::text AND version = $2::bigint

-- name: past_lots
SELECT grant_id, state FROM ledger.past_lots WHERE owner = $1::text AND version = $2::bigint
