-- Caller: Store, on a new connection for claims. One row: the last of this many ids.
SELECT max(nextval('{{schema}}.claim_ids')) AS id FROM generate_series(1, $1::bigint)
