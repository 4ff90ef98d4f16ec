-- How generations ended, followed from the log. See generations/endings.py.

-- name: stretch
-- With how long ago the provider's word had been heard, where it had been.
SELECT
    split_part(e.stream, '/', 3), e.topic, e.state,
    extract(EPOCH FROM e.recorded_at - h.heard_at)::float8
FROM ledger.events AS e
LEFT JOIN ledger.verdicts_heard AS h ON h.generation_id = split_part(e.stream, '/', 3)
WHERE e.log = 'main' AND e.position > $1 AND e.position <= $2
    AND e.topic IN (
        'generation_succeeded.v1', 'generation_failed.v1', 'generation_cancelled.v1',
        'generation_expired.v1'
    )
ORDER BY e.position

-- name: count
INSERT INTO ledger.endings AS e (outcome, reason, ended) VALUES ($1, $2, $3)
ON CONFLICT (outcome, reason) DO UPDATE SET ended = e.ended + excluded.ended

-- name: add_delays
INSERT INTO ledger.refund_delays AS d (upto_seconds, refunds, seconds) VALUES ($1, $2, $3)
ON CONFLICT (upto_seconds) DO UPDATE SET
    refunds = d.refunds + excluded.refunds, seconds = d.seconds + excluded.seconds

-- name: forget_heard
DELETE FROM ledger.verdicts_heard WHERE generation_id = ANY ($1::text[])
