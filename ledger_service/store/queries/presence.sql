-- Which processes of workers are there, and what they say.

-- name: note
INSERT INTO ledger.presence AS p (worker, seen_at, told) VALUES ($1, clock_timestamp(), $2)
ON CONFLICT (worker) DO UPDATE SET seen_at = excluded.seen_at, told = excluded.told

-- name: present
SELECT extract(EPOCH FROM clock_timestamp() - seen_at)::float8, told
FROM ledger.presence
WHERE seen_at > clock_timestamp() - $1::interval
ORDER BY worker LIMIT 1000
