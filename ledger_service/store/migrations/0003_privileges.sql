-- The serving role may add to the history and never change it. Triggers guard against mistakes
-- of the owner as well.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

CREATE FUNCTION ledger.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of the ledger is append-only'
        USING ERRCODE = 'insufficient_privilege', TABLE = tg_table_name;
END
$$;

CREATE TRIGGER events_are_immutable
BEFORE UPDATE OR DELETE ON ledger.events
FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();

CREATE TRIGGER events_are_kept
BEFORE TRUNCATE ON ledger.events
FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ledger_app') THEN
        CREATE ROLE ledger_app NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
    END IF;
END
$$;

REVOKE ALL ON SCHEMA ledger FROM public;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger FROM public;
GRANT USAGE ON SCHEMA ledger TO ledger_app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger TO ledger_app;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO ledger_app;
GRANT SELECT ON public.ledger_migrations TO ledger_app;
GRANT INSERT ON ledger.events TO ledger_app;
GRANT UPDATE (last) ON ledger.logs TO ledger_app;
GRANT INSERT, UPDATE ON
ledger.heads, ledger.lots, ledger.debit_refunds, ledger.jobs, ledger.leadership,
ledger.work_activity, ledger.api_keys TO ledger_app;
-- Erasing a person deletes the vault's rows and destroys the subject's key.
GRANT INSERT, DELETE ON ledger.vault, ledger.subject_keys TO ledger_app;
