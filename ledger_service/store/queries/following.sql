-- For those who watch accounts.

-- name: changed
-- Which of these accounts have events in a stretch of the log.
SELECT DISTINCT e.owner
FROM ledger.events AS e
WHERE e.log = 'main' AND e.position > $1::bigint AND e.position <= $2::bigint
    AND e.owner = ANY ($3::text[])
