-- What was said of models at run time.

-- name: switches
SELECT tenant, model, available, deprecated, note FROM ledger.model_switches

-- name: set_switch
INSERT INTO ledger.model_switches AS s (tenant, model, available, deprecated, note, changed_by)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant, model) DO UPDATE SET
    available = excluded.available, deprecated = excluded.deprecated, note = excluded.note,
    changed_at = clock_timestamp(), changed_by = excluded.changed_by

-- name: orders
-- A generation's first event, by the order of ids, which is that of time.
SELECT j.owner, j.generation_id, e.topic, e.state
FROM ledger.jobs AS j
JOIN ledger.events AS e
    ON e.owner = j.owner AND e.stream = j.owner || '/' || j.generation_id AND e.version = 1
WHERE j.generation_id > $1
    AND ($2::timestamptz IS NULL OR j.created_at >= $2)
ORDER BY j.generation_id
LIMIT $3
