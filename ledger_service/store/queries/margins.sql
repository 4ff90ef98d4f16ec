-- What the money of generations depends on, for a few hundred of them at a time.

-- name: endings
SELECT e.stream, e.topic, e.state
FROM unnest($1::text[], $2::text[]) AS wanted (owner, stream)
JOIN ledger.events AS e ON e.owner = wanted.owner AND e.stream = wanted.stream
WHERE e.topic = ANY ($3::text[])
ORDER BY e.owner, e.stream, e.version

-- name: debits
SELECT wanted.debit_id, e.topic, e.state, r.given_back
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS wanted (owner, debit_id, version)
JOIN ledger.events AS e
    ON e.owner = wanted.owner AND e.stream = wanted.owner AND e.version = wanted.version
LEFT JOIN ledger.debit_refunds AS r ON r.owner = wanted.owner AND r.debit_id = wanted.debit_id

-- name: lots
-- Lots, each with the one that its credits came in as: only that one's event has a currency.
WITH RECURSIVE chain AS (
    SELECT
        l.owner, l.grant_id, l.state, l.origin_owner, l.origin,
        l.owner AS root_owner, l.grant_id AS root_id
    FROM unnest($1::text[], $2::text[]) AS wanted (owner, grant_id)
    JOIN ledger.lots AS l ON l.owner = wanted.owner AND l.grant_id = wanted.grant_id
    UNION ALL
    SELECT c.owner, c.grant_id, c.state, l.origin_owner, l.origin, l.owner, l.grant_id
    FROM chain AS c
    JOIN ledger.lots AS l ON l.owner = c.origin_owner AND l.grant_id = c.origin
    WHERE c.origin IS NOT NULL
)
SELECT owner, grant_id, state, root_owner, root_id FROM chain WHERE origin IS NULL

-- name: grants
SELECT wanted.grant_id, e.topic, e.state
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS wanted (owner, grant_id, version)
JOIN ledger.events AS e
    ON e.owner = wanted.owner AND e.stream = wanted.owner AND e.version = wanted.version
