-- What was said of models at run time: a model is on offer while the catalogue, the operator and
-- the tenant all offer it.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

-- Tenant '*' is the operator, who speaks for all of them.
CREATE TABLE ledger.model_switches (
    tenant text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    available boolean NOT NULL,
    deprecated boolean,
    note text,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, model)
);

GRANT SELECT, INSERT, UPDATE ON ledger.model_switches TO ledger_app;
