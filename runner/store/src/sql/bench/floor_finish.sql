-- Caller: Store::floor_step. Index: the primary key.
WITH d AS (
    DELETE FROM {{schema}}.floor_jobs WHERE id = ANY ($1::bigint[]) AND state = 1
    RETURNING id, args, created_at
)
INSERT INTO {{schema}}.floor_history (id, args, created_at, done_at)
SELECT id, args, created_at, now() FROM d
