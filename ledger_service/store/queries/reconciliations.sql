-- The daily comparison: who makes it, and what it found. All of it goes by the database's clock.

-- name: announce
-- The newest day that has been over for long enough, and those before it since the newest that is
-- known: nobody may have asked for a while. Not those that are too old to be claimed.
WITH days AS (
    SELECT
        (clock_timestamp() AT TIME ZONE 'UTC')::date AS today,
        (clock_timestamp() AT TIME ZONE 'UTC' - $1::interval)::date - 1 AS newest,
        (SELECT max(day) FROM ledger.reconciliations) AS known
)

INSERT INTO ledger.reconciliations (day)
SELECT day FROM days
CROSS JOIN LATERAL (
    SELECT days.newest - back AS day
    FROM generate_series(0, coalesce(days.newest - days.known, 1) - 1) AS back
) AS missing
WHERE day > today - $2::integer
ON CONFLICT (day) DO NOTHING

-- name: claim
-- Of the last days, the newest that nobody is at.
UPDATE ledger.reconciliations AS r SET
    fence = r.fence + 1, worker = $1, lease_until = clock_timestamp() + $2::interval
WHERE r.day = (
    SELECT day FROM ledger.reconciliations
    WHERE reported_at IS NULL AND lease_until < clock_timestamp()
        AND day > (clock_timestamp() AT TIME ZONE 'UTC')::date - $3::integer
    ORDER BY day DESC LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING r.day, r.fence

-- name: renew
UPDATE ledger.reconciliations SET lease_until = clock_timestamp() + $3::interval
WHERE day = $1 AND fence = $2 AND reported_at IS NULL
RETURNING true

-- name: report
-- A repeat finds the first report in place.
UPDATE ledger.reconciliations AS r SET
    report = coalesce(r.report, $3::bytea),
    reported_at = coalesce(r.reported_at, clock_timestamp()),
    trouble = NULL
WHERE day = $1 AND fence = $2
RETURNING true

-- name: give_up
UPDATE ledger.reconciliations SET
    trouble = $3, lease_until = clock_timestamp() + $4::interval
WHERE day = $1 AND fence = $2 AND reported_at IS NULL
RETURNING true

-- name: page
SELECT day, reported_at, trouble, report FROM ledger.reconciliations
WHERE $1::date IS NULL OR day < $1
ORDER BY day DESC LIMIT $2
