-- Everything, for a replay; each statement within one repeatable-read snapshot.

-- name: head
SELECT last FROM ledger.logs WHERE log = 'main'

-- name: events
SELECT position, owner, stream, version, topic, state, recorded_at, last_of_command
FROM ledger.events WHERE log = 'main' ORDER BY position

-- name: heads
SELECT owner, stream, posted, held, debt, snapshot, snapshot_version FROM ledger.heads

-- name: lots
SELECT owner, grant_id, place, state, origin_owner, origin FROM ledger.lots

-- name: holds
SELECT owner, hold_id, state FROM ledger.holds

-- name: refunds
SELECT owner, debit_id, refunded FROM ledger.debit_refunds
