-- What a worker is to know of its provider's answers so far.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

-- How often in a row the result of a completed job could not be had.
ALTER TABLE ledger.jobs ADD COLUMN fetches bigint NOT NULL DEFAULT 0;

-- The newest lines of its log, encrypted under the owner's key: they may repeat the prompt.
ALTER TABLE ledger.progress ADD COLUMN logs bytea;

-- As before, and what has come to orders (priorities, flags, their tenants' bounds) and to their
-- results (fetches). Whoever sends none of it is served as before.
CREATE OR REPLACE FUNCTION ledger.put_rows_v1(p_rows json) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_rows -> 'subject_keys' IS NOT NULL THEN
        INSERT INTO ledger.subject_keys (owner, wrapped_key)
        SELECT owner, decode(wrapped_key, 'hex')
        FROM json_to_recordset(p_rows -> 'subject_keys') AS n (owner text, wrapped_key text);
    END IF;
    IF p_rows -> 'vault' IS NOT NULL THEN
        INSERT INTO ledger.vault (owner, digest, ciphertext)
        SELECT owner, decode(digest, 'hex'), decode(ciphertext, 'hex')
        FROM json_to_recordset(p_rows -> 'vault')
            AS n (owner text, digest text, ciphertext text);
    END IF;
    IF p_rows -> 'lots' IS NOT NULL THEN
        INSERT INTO ledger.lots AS l (owner, grant_id, place, state, origin_owner, origin)
        SELECT owner, grant_id, place, convert_to(state, 'UTF8'), origin_owner, origin
        FROM json_to_recordset(p_rows -> 'lots')
            AS n (owner text, grant_id text, place text, state text, origin_owner text,
                origin text)
        ON CONFLICT (owner, grant_id) DO UPDATE SET place = excluded.place, state = excluded.state;
    END IF;
    IF p_rows -> 'holds' IS NOT NULL THEN
        INSERT INTO ledger.holds AS h
            (owner, hold_id, reference, status, placed_at, expires_at, state)
        SELECT owner, hold_id, reference, status, placed_at, expires_at, convert_to(state, 'UTF8')
        FROM json_to_recordset(p_rows -> 'holds')
            AS n (owner text, hold_id text, reference text, status text, placed_at timestamptz,
                expires_at timestamptz, state text)
        ON CONFLICT (owner, hold_id) DO UPDATE SET
            status = excluded.status, expires_at = excluded.expires_at, state = excluded.state;
    END IF;
    IF p_rows -> 'debit_refunds' IS NOT NULL THEN
        INSERT INTO ledger.debit_refunds AS d
            (owner, debit_id, amount, refunded, taken, given_back, refund_version)
        SELECT owner, debit_id, amount, refunded, taken, given_back, refund_version
        FROM json_to_recordset(p_rows -> 'debit_refunds')
            AS n (owner text, debit_id text, amount bigint, refunded bigint, taken bigint [],
                given_back bigint [], refund_version bigint)
        ON CONFLICT (owner, debit_id) DO UPDATE SET
            refunded = excluded.refunded, given_back = excluded.given_back,
            refund_version = excluded.refund_version;
    END IF;
    IF p_rows -> 'tenant_crowds' IS NOT NULL THEN
        -- Whoever begins some for such a tenant comes after all who did so before has committed.
        PERFORM pg_advisory_xact_lock(key) FROM (
            SELECT hashtextextended(tenant, 0) AS key
            FROM json_to_recordset(p_rows -> 'tenant_crowds') AS n (tenant text)
            ORDER BY key
        ) AS tenants;
        -- A statement of its own: it must see what was committed while we waited.
        PERFORM FROM json_to_recordset(p_rows -> 'tenant_crowds')
            AS n (tenant text, most bigint)
        WHERE EXISTS (
            SELECT FROM ledger.jobs AS j
            WHERE j.owner >= n.tenant || '/' AND j.owner < n.tenant || '0'
                AND j.due_at IS NOT NULL
            OFFSET n.most
        );
        IF FOUND THEN
            -- Others have begun some since they were counted: count again, and decide again.
            RAISE EXCEPTION 'a tenant would have more under way than it may'
                USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    IF p_rows -> 'jobs' IS NOT NULL THEN
        -- Whoever made a job rings for it once; the clockwork rings from `ring_at` on.
        INSERT INTO ledger.jobs AS j (owner, generation_id, model, status, created_at, due_at,
            deadline, epoch, fence, lease_until, to_fetch, fetches, unreported, is_hinted, worker,
            ring_at, priority, flags)
        SELECT owner, generation_id, model, status, created_at, due_at, deadline, epoch, fence,
            lease_until, to_fetch, coalesce(fetches, 0), unreported, is_hinted, worker,
            due_at + interval '2 seconds',
            coalesce(priority, 'normal'), coalesce(flags, 0)
        FROM json_to_recordset(p_rows -> 'jobs')
            AS n (owner text, generation_id text, model text, status text,
                created_at timestamptz, due_at timestamptz, deadline timestamptz, epoch bigint,
                fence bigint, lease_until timestamptz, to_fetch boolean, fetches bigint,
                unreported bigint, is_hinted boolean, worker text, priority text, flags bigint)
        ON CONFLICT (owner, generation_id) DO UPDATE SET
            status = excluded.status, due_at = excluded.due_at, deadline = excluded.deadline,
            epoch = excluded.epoch, fence = excluded.fence, lease_until = excluded.lease_until,
            to_fetch = excluded.to_fetch, fetches = excluded.fetches,
            unreported = excluded.unreported,
            is_hinted = excluded.is_hinted, worker = excluded.worker,
            flags = greatest(j.flags, excluded.flags),
            ring_at = excluded.due_at, rings = 0;
    END IF;
    IF p_rows -> 'tenant_days' IS NOT NULL THEN
        INSERT INTO ledger.tenant_days AS d (tenant, day, begun)
        SELECT tenant, day, sum(begun)
        FROM json_to_recordset(p_rows -> 'tenant_days') AS n (tenant text, day date, begun bigint)
        GROUP BY tenant, day
        ORDER BY tenant, day
        ON CONFLICT (tenant, day) DO UPDATE SET begun = d.begun + excluded.begun;
        PERFORM FROM json_to_recordset(p_rows -> 'tenant_days')
            AS n (tenant text, day date, most bigint)
        JOIN ledger.tenant_days AS d USING (tenant, day)
        GROUP BY tenant, day, d.begun
        HAVING d.begun > max(n.most); -- the bound may have been raised within the batch
        IF FOUND THEN
            -- Others have begun some since they were counted: count again, and decide again.
            RAISE EXCEPTION 'a tenant would begin more than it may in a day'
                USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
END
$$;

-- What providers are to forget of generations: noted from the log, and when a person is erased. A
-- row stays when all is over: it says what became of the wish. Nothing decides about credits by it.
INSERT INTO ledger.projections (name) VALUES ('forgettings');

CREATE TABLE ledger.forgettings (
    owner text COLLATE "C" NOT NULL,
    generation_id text COLLATE "C" NOT NULL,
    due_at timestamptz,
    fence bigint NOT NULL DEFAULT 0,
    tries bigint NOT NULL DEFAULT 0,
    outcome text COLLATE "C" CHECK (outcome IN ('forgotten', 'given_up')),
    reason text COLLATE "C",
    ended_at timestamptz,
    PRIMARY KEY (owner, generation_id),
    CONSTRAINT forgettings_generation UNIQUE (generation_id),
    CONSTRAINT forgettings_end CHECK ((outcome IS NULL) = (due_at IS NOT NULL)),
    CONSTRAINT forgettings_end_at CHECK ((outcome IS NULL) = (ended_at IS NULL))
);

CREATE INDEX forgettings_due ON ledger.forgettings (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX forgettings_given_up ON ledger.forgettings (ended_at) WHERE outcome = 'given_up';

GRANT SELECT, INSERT, UPDATE ON ledger.forgettings TO ledger_app;

-- To erase a person is to destroy their key, whoever does it: what providers have of theirs goes too.
CREATE FUNCTION ledger.forget_owner() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger.forgettings (owner, generation_id, due_at)
    SELECT owner, generation_id, clock_timestamp() FROM ledger.jobs WHERE owner = old.owner
    ON CONFLICT (owner, generation_id) DO NOTHING;
    RETURN null;
END
$$;

REVOKE EXECUTE ON FUNCTION ledger.forget_owner FROM public;

CREATE TRIGGER forget_owner
AFTER DELETE ON ledger.subject_keys
FOR EACH ROW EXECUTE FUNCTION ledger.forget_owner();
