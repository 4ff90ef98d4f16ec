-- What providers are to forget, and how far that is. See generations/forgetting.py.

-- name: note
-- Once: who deletes what was kept long enough asks for nothing new.
INSERT INTO ledger.forgettings (owner, generation_id, due_at)
SELECT owner, substr(stream, length(owner) + 2), min(recorded_at)
FROM ledger.events
WHERE log = 'main' AND position > $1 AND position <= $2
    AND topic IN ('generation_deleted.v1', 'media_removed.v1')
GROUP BY owner, stream
ON CONFLICT (owner, generation_id) DO NOTHING

-- name: note_late
-- A request that became known after the end is to be forgotten like the others.
UPDATE ledger.forgettings AS f SET
    due_at = clock_timestamp(), fence = f.fence + 1, tries = 0,
    outcome = null, reason = null, ended_at = null
FROM ledger.events AS e
WHERE e.log = 'main' AND e.position > $1 AND e.position <= $2
    AND e.topic = 'late_fact_recorded.v1'
    AND f.owner = e.owner AND f.generation_id = substr(e.stream, length(e.owner) + 2)

-- name: give_up
UPDATE ledger.forgettings SET outcome = 'given_up', due_at = null, ended_at = clock_timestamp()
WHERE due_at <= statement_timestamp() AND tries >= $1
RETURNING generation_id, reason

-- name: claim
-- Due again after a pause that doubles, whether or not somebody comes back from this try. What is
-- still under way at the provider can be forgotten when it has ended.
UPDATE ledger.forgettings AS f SET
    tries = f.tries + 1, fence = f.fence + 1,
    due_at = clock_timestamp() + least($3::interval * 2 ^ f.tries, $4::interval)
FROM (
    SELECT d.owner, d.generation_id
    FROM ledger.forgettings AS d
    JOIN ledger.jobs AS j USING (owner, generation_id)
    WHERE d.due_at <= statement_timestamp() AND d.tries < $2 AND j.due_at IS NULL
    ORDER BY d.due_at LIMIT $1
    FOR UPDATE OF d SKIP LOCKED
) AS due
WHERE f.owner = due.owner AND f.generation_id = due.generation_id
RETURNING f.generation_id, f.fence

-- name: settle
UPDATE ledger.forgettings SET
    outcome = $3, reason = $4, due_at = null, ended_at = clock_timestamp()
WHERE generation_id = $1 AND fence = $2 AND outcome IS NULL

-- name: note_trouble
UPDATE ledger.forgettings SET reason = $3
WHERE generation_id = $1 AND fence = $2 AND outcome IS NULL

-- name: count_given_up
SELECT count(*) FROM ledger.forgettings
WHERE outcome = 'given_up' AND ended_at >= $1 AND ended_at < $2

-- name: given_up
SELECT generation_id, ended_at, reason FROM ledger.forgettings
WHERE outcome = 'given_up' AND ended_at >= $1 AND ended_at < $2
ORDER BY ended_at, generation_id LIMIT $3
