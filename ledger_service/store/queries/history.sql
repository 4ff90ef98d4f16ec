-- An account's history by pages. The projection knows its first events without a gap; what lies
-- past those is read from the events.

-- name: is_there
SELECT 1 FROM ledger.heads WHERE owner = $1 AND stream = $1

-- name: tail
SELECT log, position, owner, stream, version, topic, state, recorded_at, actor
FROM ledger.events
WHERE owner = $1 AND stream = $1 AND version > $2 AND version < $3
ORDER BY version DESC LIMIT $4

-- name: entries
SELECT e.log, e.position, e.owner, e.stream, e.version, e.topic, e.state, e.recorded_at, e.actor
FROM ledger.entries AS n
JOIN ledger.events AS e ON e.owner = $1 AND e.stream = $1 AND e.version = n.version
WHERE n.owner = $1 AND n.version > $2 AND n.version < $3
ORDER BY n.version DESC LIMIT $4

-- name: entries_by_reference
SELECT e.log, e.position, e.owner, e.stream, e.version, e.topic, e.state, e.recorded_at, e.actor
FROM ledger.entries AS n
JOIN ledger.events AS e ON e.owner = $1 AND e.stream = $1 AND e.version = n.version
WHERE n.owner = $1 AND n.version > $2 AND n.version < $3 AND n.reference = $5
    AND ($6::text[] IS NULL OR n.type = ANY ($6))
    AND ($7::text IS NULL OR n.actor = $7)
ORDER BY n.version DESC LIMIT $4

-- name: entries_by_type
-- The newest of each type, and of those the newest: each comes in order from the index.
SELECT e.log, e.position, e.owner, e.stream, e.version, e.topic, e.state, e.recorded_at, e.actor
FROM (
    SELECT found.version
    FROM unnest($5::text[]) AS wanted (type)
    CROSS JOIN LATERAL (
        SELECT t.version FROM ledger.entries AS t
        WHERE t.owner = $1 AND t.type = wanted.type AND t.version > $2 AND t.version < $3
            AND ($6::text IS NULL OR t.actor = $6)
        ORDER BY t.version DESC LIMIT $4
    ) AS found
    ORDER BY found.version DESC LIMIT $4
) AS n
JOIN ledger.events AS e ON e.owner = $1 AND e.stream = $1 AND e.version = n.version
ORDER BY n.version DESC

-- name: entries_by_actor
SELECT e.log, e.position, e.owner, e.stream, e.version, e.topic, e.state, e.recorded_at, e.actor
FROM ledger.entries AS n
JOIN ledger.events AS e ON e.owner = $1 AND e.stream = $1 AND e.version = n.version
WHERE n.owner = $1 AND n.version > $2 AND n.version < $3 AND n.actor = $5
ORDER BY n.version DESC LIMIT $4

-- name: lot_uses
SELECT e.log, e.position, e.owner, e.stream, e.version, e.topic, e.state, e.recorded_at, e.actor
FROM ledger.lot_uses AS n
JOIN ledger.events AS e ON e.owner = $1 AND e.stream = $1 AND e.version = n.version
WHERE n.owner = $1 AND n.version > $2 AND n.version < $3 AND n.grant_id = $5
ORDER BY n.version DESC LIMIT $4

-- name: bearings
SELECT position, ordinal, owner, kind, id, amount, recorded_at
FROM ledger.bearings
WHERE tenant = $1 AND reference = $2 AND (position, ordinal) < ($3::bigint, $4::bigint)
ORDER BY position DESC, ordinal DESC LIMIT $5

-- name: follower_position
SELECT position FROM ledger.projections WHERE name = 'reads'

-- name: tail_of_log
-- A tenant's newest events that may bear a reference: their text has it, as JSON writes it.
WITH stretch AS MATERIALIZED (
    SELECT position, owner, topic, state, recorded_at
    FROM ledger.events
    WHERE log = 'main' AND position > $1 AND position <= $2
    ORDER BY position DESC LIMIT $3
)
SELECT (SELECT min(position) FROM stretch) AS stretch_from, m.*
FROM (SELECT 1) AS always
LEFT JOIN (
    SELECT * FROM stretch
    WHERE split_part(owner, '/', 1) = $4 AND position($5::bytea IN state) > 0
) AS m ON true
ORDER BY m.position DESC
