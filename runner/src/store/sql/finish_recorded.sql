-- Caller: Store::finish, again after an unknown commit. Indexes: history_id,
-- attempts_task_id. Rows: the endings that are stored, by their place in the arrays.
SELECT e.ordinal
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS e (claim_id, id, ordinal)
WHERE EXISTS (SELECT FROM {{schema}}.history AS h WHERE h.id = e.id AND h.claim_id = e.claim_id)
   OR EXISTS (SELECT FROM {{schema}}.attempts AS a WHERE a.task_id = e.id AND a.claim_id = e.claim_id)
