-- What a follower of the log makes of it for readers. All of it is rebuilt from the events by
-- `credit-ledger projections rebuild`; nothing decides about credits by it.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

-- How far it has come, in the same transaction as the rows; and which code made them.
CREATE TABLE ledger.projections (
    name text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
    version bigint NOT NULL DEFAULT 0
);
INSERT INTO ledger.projections (name) VALUES ('reads');

-- One row per event of an account.
CREATE TABLE ledger.entries (
    owner text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    position bigint NOT NULL,
    type text COLLATE "C" NOT NULL,
    amount bigint NOT NULL CHECK (amount >= 0),
    direction text COLLATE "C" NOT NULL CHECK (direction IN ('credit', 'debit', 'none')),
    posted_after bigint NOT NULL,
    held_after bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    reference text COLLATE "C",
    actor text COLLATE "C",
    PRIMARY KEY (owner, version)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);

-- Versions and instants grow together, so a time is found by halving and has no index.
CREATE INDEX entries_by_type ON ledger.entries (owner, type, version);
CREATE INDEX entries_by_actor ON ledger.entries (owner, actor, version);
CREATE INDEX entries_by_reference ON ledger.entries (owner, reference, version)
WHERE reference IS NOT NULL;

-- Everything that bears a caller's reference, in whatever account of the tenant.
CREATE TABLE ledger.bearings (
    tenant text COLLATE "C" NOT NULL,
    reference text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    ordinal bigint NOT NULL,
    owner text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, reference, position, ordinal)
);

-- Which debits took from a lot: the version of the debit's event.
CREATE TABLE ledger.lot_uses (
    owner text COLLATE "C" NOT NULL,
    grant_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    amount bigint NOT NULL,
    PRIMARY KEY (owner, grant_id, version)
);

-- Which events changed a hold.
CREATE TABLE ledger.hold_changes (
    owner text COLLATE "C" NOT NULL,
    hold_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (owner, hold_id, version)
);

-- An account with its live lots as it was after an event, every so many events.
CREATE TABLE ledger.account_snapshots (
    owner text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    snapshot_version bigint NOT NULL,
    snapshot bytea NOT NULL,
    PRIMARY KEY (owner, version)
);

-- Lots that were not live at a snapshot, and had been touched since the one before.
CREATE TABLE ledger.past_lots (
    owner text COLLATE "C" NOT NULL,
    grant_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (owner, grant_id, version)
);

-- Snapshots that are still to be taken.
CREATE TABLE ledger.snapshots_due (
    position bigint PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    version bigint NOT NULL
);

GRANT SELECT, INSERT, DELETE ON
ledger.entries, ledger.bearings, ledger.lot_uses, ledger.hold_changes, ledger.account_snapshots,
ledger.past_lots, ledger.snapshots_due TO ledger_app;
GRANT SELECT, UPDATE ON ledger.projections, ledger.snapshots_due TO ledger_app;
