-- API keys.

-- name: find_key
SELECT key_id, tenant, name, scopes, secret_sha256, created_at, revoked_at
FROM ledger.api_keys WHERE key_id = $1

-- name: list_keys
SELECT key_id, tenant, name, scopes, secret_sha256, created_at, revoked_at
FROM ledger.api_keys WHERE tenant IS NOT DISTINCT FROM $1
ORDER BY created_at DESC, key_id

-- name: add_key
INSERT INTO ledger.api_keys (key_id, tenant, name, scopes, secret_sha256)
VALUES ($1, $2, $3, $4, $5)
RETURNING key_id, tenant, name, scopes, secret_sha256, created_at, revoked_at

-- name: ensure_key
-- The launcher's own keys: the same on every start, and back in force if they were revoked.
INSERT INTO ledger.api_keys AS k (key_id, tenant, name, scopes, secret_sha256)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (key_id) DO UPDATE SET
    tenant = excluded.tenant, name = excluded.name, scopes = excluded.scopes,
    secret_sha256 = excluded.secret_sha256, revoked_at = NULL
RETURNING k.key_id, k.tenant, k.name, k.scopes, k.secret_sha256, k.created_at, k.revoked_at

-- name: revoke_key
UPDATE ledger.api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp())
WHERE key_id = $1 AND tenant IS NOT DISTINCT FROM $2
RETURNING key_id, tenant, name, scopes, secret_sha256, created_at, revoked_at
