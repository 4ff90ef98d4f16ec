-- append(): the one way in. Rows beside the events come first, the log's lock last, so that
-- nothing is ever locked after the log; the caller commits in the same breath.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

CREATE FUNCTION ledger.append_v1(
    p_log text,
    -- events, in order
    p_owner text [],
    p_stream text [],
    p_version bigint [],
    p_topic text [],
    p_state text [],
    p_actor text [],
    p_key_space text [],
    p_key_digest bytea [],
    p_fingerprint bytea [],
    p_trace_id text [],
    p_occurred_at timestamptz [],
    p_recorded_at timestamptz [],
    p_last boolean [],
    -- heads after them, sorted by stream; h_at is the ordinal of the stream's last event
    h_owner text [],
    h_stream text [],
    h_is_new boolean [],
    h_version bigint [],
    h_recorded_at timestamptz [],
    h_at bigint [],
    h_posted bigint [],
    h_held bigint [],
    h_debt bigint [],
    h_credit_limit bigint [],
    h_status text [],
    h_next_expiry_at timestamptz [],
    h_snapshot_version bigint,
    h_snapshot text [],
    -- everything rarer, or null
    p_rows json
) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_count bigint := cardinality(p_stream);
    v_base bigint := 0;
    v_updated bigint;
BEGIN
    IF p_rows IS NOT NULL THEN
        PERFORM ledger.put_rows_v1(p_rows);
    END IF;
    IF v_count = 0 THEN
        RETURN 0;
    END IF;
    UPDATE ledger.logs SET last = last + v_count WHERE log = p_log RETURNING last - v_count INTO STRICT v_base;
    UPDATE ledger.heads AS h SET
        version = n.version, recorded_at = n.recorded_at, position = v_base + n.at,
        posted = n.posted, held = n.held, debt = n.debt, credit_limit = n.credit_limit,
        status = n.status, next_expiry_at = n.next_expiry_at,
        snapshot_version = h_snapshot_version, snapshot = convert_to(n.snapshot, 'UTF8')
    FROM unnest(h_owner, h_stream, h_is_new, h_version, h_recorded_at, h_at, h_posted, h_held,
        h_debt, h_credit_limit, h_status, h_next_expiry_at, h_snapshot)
        AS n (owner, stream, is_new, version, recorded_at, at, posted, held, debt, credit_limit,
            status, next_expiry_at, snapshot)
    WHERE NOT n.is_new AND h.owner = n.owner AND h.stream = n.stream;
    GET DIAGNOSTICS v_updated = ROW_COUNT;
    IF v_updated <> cardinality(array_positions(h_is_new, false)) THEN
        RAISE EXCEPTION 'a head to update is missing' USING ERRCODE = 'assert_failure';
    END IF;
    IF true = ANY (h_is_new) THEN
        INSERT INTO ledger.heads (owner, stream, version, recorded_at, position, posted, held,
            debt, credit_limit, status, next_expiry_at, snapshot_version, snapshot)
        SELECT n.owner, n.stream, n.version, n.recorded_at, v_base + n.at, n.posted, n.held,
            n.debt, n.credit_limit, n.status, n.next_expiry_at, h_snapshot_version,
            convert_to(n.snapshot, 'UTF8')
        FROM unnest(h_owner, h_stream, h_is_new, h_version, h_recorded_at, h_at, h_posted, h_held,
            h_debt, h_credit_limit, h_status, h_next_expiry_at, h_snapshot)
            AS n (owner, stream, is_new, version, recorded_at, at, posted, held, debt,
                credit_limit, status, next_expiry_at, snapshot)
        WHERE n.is_new;
    END IF;
    INSERT INTO ledger.events (log, position, owner, stream, version, topic, state, actor,
        key_space, key_digest, fingerprint, trace_id, occurred_at, recorded_at, last_of_command)
    SELECT p_log, v_base + n.ordinal, n.owner, n.stream, n.version, n.topic,
        convert_to(n.state, 'UTF8'), n.actor, n.key_space, n.key_digest, n.fingerprint,
        n.trace_id, n.occurred_at, n.recorded_at, n.last_of_command
    FROM unnest(p_owner, p_stream, p_version, p_topic, p_state, p_actor, p_key_space,
        p_key_digest, p_fingerprint, p_trace_id, p_occurred_at, p_recorded_at, p_last)
        WITH ORDINALITY AS n (owner, stream, version, topic, state, actor, key_space, key_digest,
            fingerprint, trace_id, occurred_at, recorded_at, last_of_command, ordinal);
    RETURN v_base;
END
$$;

-- Lots, refunds per debit, jobs, vault entries and subject keys: one JSON object of lists.
CREATE FUNCTION ledger.put_rows_v1(p_rows json) RETURNS void
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
        INSERT INTO ledger.lots AS l (owner, grant_id, place, state)
        SELECT owner, grant_id, place, convert_to(state, 'UTF8')
        FROM json_to_recordset(p_rows -> 'lots')
            AS n (owner text, grant_id text, place text, state text)
        ON CONFLICT (owner, grant_id) DO UPDATE SET place = excluded.place, state = excluded.state;
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
    IF p_rows -> 'jobs' IS NOT NULL THEN
        -- Whoever made a job rings for it once; the clockwork rings from `ring_at` on.
        INSERT INTO ledger.jobs AS j (owner, generation_id, model, status, created_at, due_at,
            deadline, epoch, fence, lease_until, to_fetch, unreported, is_hinted, worker, ring_at)
        SELECT owner, generation_id, model, status, created_at, due_at, deadline, epoch, fence,
            lease_until, to_fetch, unreported, is_hinted, worker, due_at + interval '2 seconds'
        FROM json_to_recordset(p_rows -> 'jobs')
            AS n (owner text, generation_id text, model text, status text,
                created_at timestamptz, due_at timestamptz, deadline timestamptz, epoch bigint,
                fence bigint, lease_until timestamptz, to_fetch boolean, unreported bigint,
                is_hinted boolean,
                worker text)
        ON CONFLICT (owner, generation_id) DO UPDATE SET
            status = excluded.status, due_at = excluded.due_at, deadline = excluded.deadline,
            epoch = excluded.epoch, fence = excluded.fence, lease_until = excluded.lease_until,
            to_fetch = excluded.to_fetch, unreported = excluded.unreported,
            is_hinted = excluded.is_hinted, worker = excluded.worker,
            ring_at = excluded.due_at, rings = 0;
    END IF;
END
$$;
