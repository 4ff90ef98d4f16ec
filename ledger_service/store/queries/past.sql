-- What was: states at a version of a stream, from the nearest snapshot and the events after it.
-- Parameters come as text, for the writer's connection as for those of readers. `OFFSET 0` keeps
-- a look-up by key what it is, however few rows the planner believes an account to have.

-- name: clock
SELECT clock_timestamp()

-- name: cut
-- The last whole command at or before a position.
SELECT position, recorded_at FROM ledger.events
WHERE log = 'main' AND position <= $1::bigint AND last_of_command
ORDER BY position DESC LIMIT 1

-- name: command_end
SELECT position FROM ledger.events
WHERE log = 'main' AND position >= $1::bigint AND last_of_command
ORDER BY position LIMIT 1

-- name: version_at_position
-- By halving: positions grow with versions.
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, h.version FROM ledger.heads AS h WHERE h.owner = $1::text AND h.stream = $1
    UNION ALL
    SELECT
        CASE WHEN e.position <= $2::bigint THEN e.version ELSE s.low END,
        CASE WHEN e.position <= $2 THEN s.high ELSE e.version - 1 END
    FROM search AS s
    CROSS JOIN LATERAL (
        SELECT version, position FROM ledger.events
        WHERE owner = $1 AND stream = $1 AND version = (s.low + s.high + 1) / 2 OFFSET 0
    ) AS e
    WHERE s.low < s.high
)
SELECT version, position, recorded_at FROM ledger.events
WHERE owner = $1 AND stream = $1 AND version = (SELECT low FROM search WHERE low = high)

-- name: version_before_instant
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, h.version FROM ledger.heads AS h WHERE h.owner = $1::text AND h.stream = $1
    UNION ALL
    SELECT
        CASE WHEN e.recorded_at < $2::timestamptz THEN e.version ELSE s.low END,
        CASE WHEN e.recorded_at < $2 THEN s.high ELSE e.version - 1 END
    FROM search AS s
    CROSS JOIN LATERAL (
        SELECT version, recorded_at FROM ledger.events
        WHERE owner = $1 AND stream = $1 AND version = (s.low + s.high + 1) / 2 OFFSET 0
    ) AS e
    WHERE s.low < s.high
)
SELECT version, position, recorded_at FROM ledger.events
WHERE owner = $1 AND stream = $1 AND version = (SELECT low FROM search WHERE low = high)

-- name: base
SELECT version, snapshot FROM ledger.account_snapshots
WHERE owner = $1::text AND version <= $2::bigint AND snapshot_version = $3::bigint
ORDER BY version DESC LIMIT 1

-- name: events_between
SELECT version, topic, state, recorded_at FROM ledger.events
WHERE owner = $1::text AND stream = $2::text AND version > $3::bigint AND version <= $4::bigint
ORDER BY version

-- name: past_lots
SELECT found.state
FROM unnest($2::text[]) AS wanted (grant_id)
CROSS JOIN LATERAL (
    SELECT p.state FROM ledger.past_lots AS p
    WHERE p.owner = $1::text AND p.grant_id = wanted.grant_id AND p.version <= $3::bigint
    ORDER BY p.version DESC LIMIT 1
) AS found

-- name: grant_ids
-- Every lot ever made has a row; those made after an id sort behind it.
SELECT grant_id FROM ledger.lots
WHERE owner = $1::text AND grant_id < $2::text
ORDER BY grant_id DESC LIMIT $3::bigint

-- name: hold_ids
SELECT hold_id FROM ledger.holds
WHERE owner = $1::text AND hold_id < $2::text
ORDER BY hold_id DESC LIMIT $3::bigint

-- name: projected
-- Entries have no gaps: this many of the account's events are in the projections.
SELECT coalesce(max(version), 0) FROM ledger.entries WHERE owner = $1::text

-- name: hold_changes
-- What changed a hold last, and the change before that, up to a version.
SELECT e.version, e.topic, e.state
FROM unnest($2::text[]) AS wanted (hold_id)
CROSS JOIN LATERAL (
    SELECT c.version FROM ledger.hold_changes AS c
    WHERE c.owner = $1::text AND c.hold_id = wanted.hold_id AND c.version <= $3::bigint
    ORDER BY c.version DESC LIMIT 2
) AS found
CROSS JOIN LATERAL (
    SELECT version, topic, state FROM ledger.events
    WHERE owner = $1 AND stream = $1 AND version = found.version OFFSET 0
) AS e
