-- Everything, for a replay; each statement within one repeatable-read snapshot.

-- name: head
SELECT last FROM ledger.logs WHERE log = 'main'

-- name: events
SELECT position, owner, stream, version, topic, state, recorded_at, last_of_command, actor
FROM ledger.events WHERE log = 'main' ORDER BY position

-- name: heads
SELECT owner, stream, posted, held, debt, snapshot, snapshot_version FROM ledger.heads

-- name: lots
SELECT owner, grant_id, place, state, origin_owner, origin FROM ledger.lots

-- name: holds
SELECT owner, hold_id, state FROM ledger.holds

-- name: refunds
SELECT owner, debit_id, refunded FROM ledger.debit_refunds

-- name: projections
SELECT position, version FROM ledger.projections WHERE name = 'reads'

-- name: entries
SELECT owner, version, position, type, amount, direction, posted_after, held_after, recorded_at,
    reference, actor
FROM ledger.entries

-- name: bearings
SELECT tenant, reference, position, ordinal, owner, kind, id, amount, recorded_at
FROM ledger.bearings

-- name: lot_uses
SELECT owner, grant_id, version, amount FROM ledger.lot_uses

-- name: hold_changes
SELECT owner, hold_id, version FROM ledger.hold_changes

-- name: snapshots
SELECT owner, version FROM ledger.account_snapshots WHERE snapshot_version = $1::bigint

-- name: snapshot
SELECT snapshot FROM ledger.account_snapshots WHERE owner = $1::text AND version = $2::bigint

-- name: past_lots
SELECT grant_id, state FROM ledger.past_lots WHERE owner = $1::text AND version = $2::bigint
