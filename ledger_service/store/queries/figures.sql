-- Figures for operators: read for /metrics and /v1/health, at most once in a few seconds.

-- name: followers
SELECT p.name, p.position, l.last
FROM ledger.projections AS p
JOIN ledger.logs AS l ON l.log = 'main'
ORDER BY p.name

-- name: jobs
-- Up to a bound: else the look would cost the more, the worse things stand.
SELECT status, count(*) FROM (
    (
        SELECT status FROM ledger.jobs
        WHERE due_at IS NOT NULL AND NOT (priority = 'low' AND status = 'requested')
        ORDER BY due_at LIMIT $1
    )
    UNION ALL
    (
        SELECT status FROM ledger.jobs
        WHERE due_at IS NOT NULL AND priority = 'low' AND status = 'requested'
        ORDER BY due_at LIMIT $1
    )
) AS under_way
GROUP BY status

-- name: due
-- How many, and how late the first of them is. What may wait is not late before it is older than $2.
SELECT
    count(*),
    greatest(extract(EPOCH FROM statement_timestamp() - min(late_from)), 0)::float8
FROM (
    (
        SELECT due_at AS late_from FROM ledger.jobs
        WHERE due_at <= statement_timestamp() AND NOT (priority = 'low' AND status = 'requested')
        ORDER BY due_at LIMIT $1
    )
    UNION ALL
    (
        SELECT greatest(due_at, created_at + $2::interval) AS late_from FROM ledger.jobs
        WHERE due_at <= statement_timestamp() AND priority = 'low' AND status = 'requested'
        ORDER BY due_at LIMIT $1
    )
) AS due

-- name: activity
SELECT
    (SELECT extract(EPOCH FROM clock_timestamp() - last_claim_at)::float8 FROM ledger.work_activity),
    EXISTS (
        SELECT FROM ledger.leadership
        WHERE role = 'clockwork' AND lease_until > clock_timestamp()
    )

-- name: endings
SELECT outcome, reason, ended FROM ledger.endings ORDER BY outcome, reason

-- name: refund_delays
SELECT upto_seconds, refunds, seconds FROM ledger.refund_delays ORDER BY upto_seconds

-- name: last_reconciliation
SELECT day, report, extract(EPOCH FROM clock_timestamp() - reported_at)::float8
FROM ledger.reconciliations WHERE reported_at IS NOT NULL ORDER BY day DESC LIMIT 1
