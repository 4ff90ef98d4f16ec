-- May this process serve on this database?

-- name: server
SELECT
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit,
    pg_is_in_recovery() AS is_replica,
    current_setting('server_encoding') AS encoding

-- name: role
SELECT
    r.rolsuper AS is_superuser,
    r.rolbypassrls AS bypasses_row_security,
    coalesce((
        SELECT pg_has_role(current_user, n.nspowner, 'MEMBER')
        FROM pg_namespace AS n WHERE n.nspname = 'ledger'
    ), false) AS is_owner
FROM pg_roles AS r WHERE r.rolname = current_user

-- name: may_change_history
SELECT
    has_table_privilege('ledger.events', 'DELETE, TRUNCATE')
    OR has_any_column_privilege('ledger.events', 'UPDATE')

-- name: migrations
SELECT number, sha256, is_breaking FROM public.ledger_migrations ORDER BY number

-- name: is_writable
SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'
