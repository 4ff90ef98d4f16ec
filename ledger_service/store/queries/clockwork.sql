-- The clockwork's own statements. All of it goes by the database's clock. What is due is compared
-- with statement_timestamp(): clock_timestamp() is volatile, and no condition of an index.

-- name: forget_progress
DELETE FROM ledger.progress WHERE seen_at < statement_timestamp() - interval '1 hour'

-- name: forget_days
DELETE FROM ledger.tenant_days
WHERE day < (statement_timestamp() AT TIME ZONE 'UTC')::date - 1

-- name: forget_verdicts
-- Heard after the end.
DELETE FROM ledger.verdicts_heard WHERE heard_at < statement_timestamp() - interval '2 days'

-- name: forget_presence
DELETE FROM ledger.presence WHERE seen_at < statement_timestamp() - interval '1 hour'

-- name: lead
-- One row per role. A holder renews; another takes over when the lease has run out, with a new
-- epoch. No row comes back while somebody else leads.
INSERT INTO ledger.leadership AS l (role, epoch, holder, lease_until)
VALUES ($1, 1, $2, clock_timestamp() + $3::interval)
ON CONFLICT (role) DO UPDATE SET
    epoch = CASE WHEN l.holder = excluded.holder THEN l.epoch ELSE l.epoch + 1 END,
    holder = excluded.holder,
    lease_until = excluded.lease_until
WHERE l.holder = excluded.holder OR l.lease_until < clock_timestamp()
RETURNING epoch

-- name: step_down
UPDATE ledger.leadership SET lease_until = clock_timestamp()
WHERE role = $1 AND holder = $2 AND epoch = $3

-- name: ring_due
-- Jobs to ring now, each with its own back-off from 2 s to 60 s, only for the leader. Tenants take
-- turns, as in `due` of generations.sql; only what is chosen is locked. Low priorities wait while
-- anything else is due, also while that was rung for and nobody has come yet: workers are busy then.
-- Whether it is, the first entry of the index tells; EXISTS would drop the order, and might scan.
WITH chosen AS (
    SELECT owner, generation_id FROM (
        SELECT
            owner, generation_id, due_at, waits,
            row_number() OVER (
                PARTITION BY waits, split_part(owner, '/', 1) ORDER BY due_at
            ) AS turn
        FROM (
            (
                SELECT owner, generation_id, due_at, false AS waits FROM ledger.jobs
                WHERE due_at <= statement_timestamp() AND ring_at <= statement_timestamp()
                    AND NOT (priority = 'low' AND status = 'requested')
                ORDER BY due_at LIMIT 2000
            )
            UNION ALL
            (
                SELECT
                    owner, generation_id, due_at,
                    created_at > statement_timestamp() - $4::interval AS waits
                FROM ledger.jobs
                WHERE due_at <= statement_timestamp() AND ring_at <= statement_timestamp()
                    AND priority = 'low' AND status = 'requested'
                ORDER BY due_at LIMIT 2000
            )
        ) AS longest_due
        WHERE NOT waits OR (
            SELECT due_at FROM ledger.jobs
            WHERE due_at <= statement_timestamp()
                AND NOT (priority = 'low' AND status = 'requested')
            ORDER BY due_at LIMIT 1
        ) IS NULL
    ) AS in_turn
    ORDER BY waits, turn, due_at LIMIT $3
)

UPDATE ledger.jobs AS j SET
    rings = j.rings + 1,
    ring_at = clock_timestamp() + least(2 ^ least(j.rings + 1, 6), 60) * interval '1 second'
FROM (
    SELECT owner, generation_id FROM ledger.jobs
    WHERE (owner, generation_id) IN (SELECT owner, generation_id FROM chosen)
        AND due_at <= statement_timestamp()
    FOR UPDATE SKIP LOCKED
) AS due
WHERE j.owner = due.owner AND j.generation_id = due.generation_id
    AND EXISTS (
        SELECT FROM ledger.leadership
        WHERE role = $1 AND epoch = $2 AND lease_until > clock_timestamp()
    )
RETURNING j.generation_id

-- name: expiring
SELECT owner FROM ledger.heads
WHERE next_expiry_at <= statement_timestamp() ORDER BY next_expiry_at LIMIT $1

-- name: expiring_holds
SELECT owner, hold_id FROM ledger.holds
WHERE status = 'open' AND expires_at <= statement_timestamp() ORDER BY expires_at LIMIT $1

-- name: overdue
-- Not while no worker asks for work: a job must not be ended because nobody could do it.
SELECT owner, generation_id FROM ledger.jobs
WHERE due_at IS NOT NULL AND deadline <= statement_timestamp()
    AND EXISTS (
        SELECT FROM ledger.work_activity
        WHERE last_claim_at > clock_timestamp() - interval '30 seconds'
    )
ORDER BY deadline LIMIT $1
