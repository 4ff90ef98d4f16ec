-- append_v2(): as append_v1, and it verifies what was decided without locks. Whoever decides on
-- states that it remembers names their versions; if one of them is not the newest any more,
-- nothing is written and the outcome says so.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

CREATE FUNCTION ledger.append_v2(
    p_log text,
    -- The caller's number of this batch, and of the one before it on this connection that must
    -- have been appended, if any: it was decided on what that one leaves.
    p_batch bigint,
    p_after bigint,
    -- The database's clock as the caller believed it to be, or null for one who has just read it.
    p_now timestamptz,
    -- Heads that were looked at and do not change; version 0: there must be none.
    s_owner text [],
    s_stream text [],
    s_version bigint [],
    -- Keys that must not have been used.
    k_owner text [],
    k_space text [],
    k_digest bytea [],
    -- Keys of the vault that something was sealed under.
    j_owner text [],
    j_wrapped_key bytea [],
    -- Events, in order.
    p_owner text [],
    p_stream text [],
    p_version bigint [],
    p_topic text [],
    p_state bytea [],
    p_actor text [],
    p_key_space text [],
    p_key_digest bytea [],
    p_fingerprint bytea [],
    p_trace_id text [],
    p_occurred_at timestamptz [],
    p_recorded_at timestamptz [],
    p_last boolean [],
    -- Heads after them, sorted by stream; h_before is the version before (0: a new head), h_at
    -- the ordinal of the stream's last event.
    h_owner text [],
    h_stream text [],
    h_before bigint [],
    h_version bigint [],
    h_recorded_at timestamptz [],
    h_at bigint [],
    h_posted bigint [],
    h_held bigint [],
    h_debt bigint [],
    h_credit_limit bigint [],
    h_status text [],
    h_next_expiry_at timestamptz [],
    h_snapshot bytea [],
    h_snapshot_version bigint,
    -- Everything rarer, or null.
    p_rows json,
    -- appended; or behind, clock, stale, used: nothing was written, and why.
    OUT outcome text,
    OUT base bigint,
    OUT clock timestamptz
)
LANGUAGE plpgsql AS $$
DECLARE
    v_count bigint := cardinality(p_stream);
    v_known bigint := cardinality(h_stream) - cardinality(array_positions(h_before, 0));
    v_locked bigint;
BEGIN
    clock := clock_timestamp();
    base := 0;
    IF p_after IS NOT NULL AND current_setting('ledger.batch', true) IS DISTINCT FROM p_after::text
    THEN
        outcome := 'behind';
        RETURN;
    END IF;
    IF p_now NOT BETWEEN clock - interval '2 seconds' AND clock + interval '50 milliseconds' THEN
        outcome := 'clock';
        RETURN;
    END IF;
    -- Locked in the order of their streams, before the log and before keys are looked up.
    SELECT count(*) INTO v_locked FROM (
        SELECT FROM unnest(h_owner, h_stream, h_before) AS n (owner, stream, before)
        JOIN ledger.heads AS h USING (owner, stream)
        WHERE h.version = n.before AND h.snapshot_version <= h_snapshot_version
        ORDER BY h.stream
        FOR NO KEY UPDATE OF h
    ) AS locked;
    IF v_locked <> v_known THEN
        outcome := 'stale';
        RETURN;
    END IF;
    IF s_stream <> '{}' THEN
        PERFORM FROM unnest(s_owner, s_stream, s_version) AS n (owner, stream, version)
        LEFT JOIN ledger.heads AS h USING (owner, stream)
        WHERE n.version <> coalesce(h.version, 0);
        IF FOUND THEN
            outcome := 'stale';
            RETURN;
        END IF;
    END IF;
    IF k_digest <> '{}' THEN
        PERFORM FROM unnest(k_owner, k_space, k_digest) AS n (owner, key_space, key_digest)
        JOIN ledger.events AS e USING (owner, key_space, key_digest);
        IF FOUND THEN
            outcome := 'used';
            RETURN;
        END IF;
    END IF;
    IF j_owner <> '{}' THEN
        PERFORM FROM unnest(j_owner, j_wrapped_key) AS n (owner, wrapped_key)
        LEFT JOIN ledger.subject_keys AS j USING (owner)
        WHERE j.wrapped_key IS DISTINCT FROM n.wrapped_key;
        IF FOUND THEN
            outcome := 'stale';
            RETURN;
        END IF;
    END IF;
    IF p_rows IS NOT NULL THEN
        PERFORM ledger.put_rows_v1(p_rows);
    END IF;
    IF v_count > 0 THEN
        UPDATE ledger.logs SET last = last + v_count WHERE log = p_log
        RETURNING last - v_count INTO STRICT base;
        UPDATE ledger.heads AS h SET
            version = n.version, recorded_at = n.recorded_at, position = base + n.at,
            posted = n.posted, held = n.held, debt = n.debt, credit_limit = n.credit_limit,
            status = n.status, next_expiry_at = n.next_expiry_at,
            snapshot_version = h_snapshot_version, snapshot = n.snapshot
        FROM unnest(h_owner, h_stream, h_before, h_version, h_recorded_at, h_at, h_posted, h_held,
            h_debt, h_credit_limit, h_status, h_next_expiry_at, h_snapshot)
            AS n (owner, stream, before, version, recorded_at, at, posted, held, debt,
                credit_limit, status, next_expiry_at, snapshot)
        WHERE n.before > 0 AND h.owner = n.owner AND h.stream = n.stream;
        IF v_known < cardinality(h_stream) THEN
            INSERT INTO ledger.heads (owner, stream, version, recorded_at, position, posted, held,
                debt, credit_limit, status, next_expiry_at, snapshot_version, snapshot)
            SELECT n.owner, n.stream, n.version, n.recorded_at, base + n.at, n.posted, n.held,
                n.debt, n.credit_limit, n.status, n.next_expiry_at, h_snapshot_version, n.snapshot
            FROM unnest(h_owner, h_stream, h_before, h_version, h_recorded_at, h_at, h_posted,
                h_held, h_debt, h_credit_limit, h_status, h_next_expiry_at, h_snapshot)
                AS n (owner, stream, before, version, recorded_at, at, posted, held, debt,
                    credit_limit, status, next_expiry_at, snapshot)
            WHERE n.before = 0;
        END IF;
        INSERT INTO ledger.events (log, position, owner, stream, version, topic, state, actor,
            key_space, key_digest, fingerprint, trace_id, occurred_at, recorded_at,
            last_of_command)
        SELECT p_log, base + n.ordinal, n.owner, n.stream, n.version, n.topic, n.state, n.actor,
            n.key_space, n.key_digest, n.fingerprint, n.trace_id, n.occurred_at, n.recorded_at,
            n.last_of_command
        FROM unnest(p_owner, p_stream, p_version, p_topic, p_state, p_actor, p_key_space,
            p_key_digest, p_fingerprint, p_trace_id, p_occurred_at, p_recorded_at, p_last)
            WITH ORDINALITY AS n (owner, stream, version, topic, state, actor, key_space,
                key_digest, fingerprint, trace_id, occurred_at, recorded_at, last_of_command,
                ordinal);
    END IF;
    PERFORM set_config('ledger.batch', p_batch::text, false);
    outcome := 'appended';
END
$$;

REVOKE EXECUTE ON FUNCTION ledger.append_v2 FROM public;
GRANT EXECUTE ON FUNCTION ledger.append_v2 TO ledger_app;
