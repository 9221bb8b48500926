-- Caller: Store::finish, again after an unknown commit. Indexes: history_pkey, attempts_pkey.
-- Rows: the outcomes that are stored, by their index in the arrays. With LIMIT each is looked up
-- separately: Postgres 18 would read and hash all attempts.
SELECT e.ordinal
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS e (claim_id, id, ordinal)
CROSS JOIN LATERAL (SELECT FROM {{schema}}.history AS h WHERE h.id = e.id AND h.claim_id = e.claim_id LIMIT 1) AS h
UNION ALL
SELECT e.ordinal
FROM unnest($1, $2) WITH ORDINALITY AS e (claim_id, id, ordinal)
CROSS JOIN LATERAL (SELECT FROM {{schema}}.attempts AS a WHERE a.task_id = e.id AND a.claim_id = e.claim_id LIMIT 1) AS a
