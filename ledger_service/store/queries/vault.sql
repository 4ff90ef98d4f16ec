-- Private content, with the wrapped keys that open it; nothing for what was erased.

-- name: open_many
SELECT v.owner, v.digest, v.ciphertext, k.wrapped_key
FROM unnest($1::text[], $2::bytea[]) AS wanted (owner, digest)
JOIN ledger.vault AS v USING (owner, digest)
JOIN ledger.subject_keys AS k USING (owner)
