-- Holds, as the API reads them. Ids are in the order in which holds were placed.

-- name: one
SELECT state FROM ledger.holds WHERE owner = $1 AND hold_id = $2

-- name: newest
-- A page from a bounded stretch: how long that was, where it ended, and the rows that match.
WITH stretch AS MATERIALIZED (
    SELECT hold_id, status, placed_at, state
    FROM ledger.holds
    WHERE owner = $1 AND hold_id > $2 AND hold_id < $3
        AND ($4::text IS NULL OR reference = $4)
        AND ($5::text IS DISTINCT FROM 'open' OR status = 'open')
    ORDER BY hold_id DESC LIMIT $7
),
matches AS (
    SELECT hold_id, state FROM stretch
    WHERE ($5::text IS NULL OR status = $5) AND ($6::timestamptz IS NULL OR placed_at < $6)
    ORDER BY hold_id DESC LIMIT $8
)
SELECT (SELECT count(*) FROM stretch), (SELECT min(hold_id) FROM stretch), m.state
FROM (SELECT 1) AS always LEFT JOIN matches AS m ON true
ORDER BY m.hold_id DESC

-- name: oldest
WITH stretch AS MATERIALIZED (
    SELECT hold_id, status, placed_at, state
    FROM ledger.holds
    WHERE owner = $1 AND hold_id > $2 AND hold_id < $3
        AND ($4::text IS NULL OR reference = $4)
        AND ($5::text IS DISTINCT FROM 'open' OR status = 'open')
    ORDER BY hold_id LIMIT $7
),
matches AS (
    SELECT hold_id, state FROM stretch
    WHERE ($5::text IS NULL OR status = $5) AND ($6::timestamptz IS NULL OR placed_at < $6)
    ORDER BY hold_id LIMIT $8
)
SELECT (SELECT count(*) FROM stretch), (SELECT max(hold_id) FROM stretch), m.state
FROM (SELECT 1) AS always LEFT JOIN matches AS m ON true
ORDER BY m.hold_id
