-- Files that callers gave as inputs, until they go.

-- name: note_upload
-- Nothing when the tenant's uploads would take more than $5 bytes.
INSERT INTO ledger.uploads (asset_key, tenant, size_bytes, remove_at)
SELECT $1, $2, $3, clock_timestamp() + $4::interval
WHERE $3 + (
    SELECT coalesce(sum(u.size_bytes), 0)::bigint FROM ledger.uploads AS u WHERE u.tenant = $2
) <= $5
RETURNING remove_at

-- name: forget_uploads
DELETE FROM ledger.uploads WHERE asset_key = ANY($1)

-- name: uploads_due
SELECT asset_key FROM ledger.uploads
WHERE remove_at <= statement_timestamp()
ORDER BY remove_at LIMIT $1

-- name: postpone_uploads
UPDATE ledger.uploads SET remove_at = clock_timestamp() + interval '30 seconds'
WHERE asset_key = ANY($1)
