-- How far the clockwork's followers have followed the log.

-- name: lock
-- No row when somebody is at it.
SELECT p.position, l.last
FROM ledger.projections AS p, ledger.logs AS l
WHERE p.name = $1 AND l.log = 'main'
FOR UPDATE OF p SKIP LOCKED

-- name: advance
UPDATE ledger.projections SET position = $2 WHERE name = $1
