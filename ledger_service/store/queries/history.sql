-- An account's history by pages. The projection knows its first events without a gap; what lies
-- past those is read from the events. `OFFSET 0` keeps a look-up by key what it is, and the comparison
-- of rows leaves a filter no other index than its own, however few rows the planner believes in.

-- name: is_there
SELECT 1 FROM ledger.heads WHERE owner = $1 AND stream = $1

-- name: tail
SELECT log, position, owner, stream, version, topic, state, recorded_at, actor
FROM ledger.events
WHERE owner = $1 AND stream = $1 AND version > $2 AND version < $3
ORDER BY version DESC LIMIT $4

-- name: entries
SELECT e.log, e.position, e.owner, e.stream, e.version, e.topic, e.state, e.recorded_at, e.actor
FROM (
    SELECT version FROM ledger.entries
    WHERE owner = $1 AND version > $2 AND version < $3
    ORDER BY version DESC LIMIT $4
) AS n
CROSS JOIN LATERAL (
    SELECT * FROM ledger.events
    WHERE owner = $1 AND stream = $1 AND version = n.version OFFSET 0
) AS e
ORDER BY n.version DESC

-- name: entries_by_reference
SELECT e.log, e.position, e.owner, e.stream, e.version, e.topic, e.state, e.recorded_at, e.actor
FROM (
    SELECT version FROM ledger.entries
    WHERE owner = $1 AND reference = $5::text
        AND (reference, version) > ($5, $2) AND (reference, version) < ($5, $3)
        AND ($6::text[] IS NULL OR type = ANY ($6))
        AND ($7::text IS NULL OR actor = $7)
    ORDER BY version DESC LIMIT $4
) AS n
CROSS JOIN LATERAL (
    SELECT * FROM ledger.events
    WHERE owner = $1 AND stream = $1 AND version = n.version OFFSET 0
) AS e
ORDER BY n.version DESC

-- name: entries_by_type
-- The newest of each type, and of those the newest: each comes in order from the index.
SELECT e.log, e.position, e.owner, e.stream, e.version, e.topic, e.state, e.recorded_at, e.actor
FROM (
    SELECT found.version
    FROM unnest($5::text[]) AS wanted (type)
    CROSS JOIN LATERAL (
        SELECT version FROM ledger.entries
        WHERE owner = $1 AND type = wanted.type
            AND (type, version) > (wanted.type, $2) AND (type, version) < (wanted.type, $3)
            AND ($6::text IS NULL OR actor = $6)
        ORDER BY version DESC LIMIT $4
    ) AS found
    ORDER BY found.version DESC LIMIT $4
) AS n
CROSS JOIN LATERAL (
    SELECT * FROM ledger.events
    WHERE owner = $1 AND stream = $1 AND version = n.version OFFSET 0
) AS e
ORDER BY n.version DESC

-- name: entries_by_actor
SELECT e.log, e.position, e.owner, e.stream, e.version, e.topic, e.state, e.recorded_at, e.actor
FROM (
    SELECT version FROM ledger.entries
    WHERE owner = $1 AND actor = $5::text
        AND (actor, version) > ($5, $2) AND (actor, version) < ($5, $3)
    ORDER BY version DESC LIMIT $4
) AS n
CROSS JOIN LATERAL (
    SELECT * FROM ledger.events
    WHERE owner = $1 AND stream = $1 AND version = n.version OFFSET 0
) AS e
ORDER BY n.version DESC

-- name: lot_uses
SELECT e.log, e.position, e.owner, e.stream, e.version, e.topic, e.state, e.recorded_at, e.actor
FROM (
    SELECT version FROM ledger.lot_uses
    WHERE owner = $1 AND grant_id = $5 AND version > $2 AND version < $3
    ORDER BY version DESC LIMIT $4
) AS n
CROSS JOIN LATERAL (
    SELECT * FROM ledger.events
    WHERE owner = $1 AND stream = $1 AND version = n.version OFFSET 0
) AS e
ORDER BY n.version DESC

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
