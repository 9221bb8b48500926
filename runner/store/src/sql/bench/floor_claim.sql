-- Caller: Store::floor_step. Index: floor_waiting. No rows: nothing waits.
UPDATE {{schema}}.floor_jobs SET state = 1, claimed_at = clock_timestamp()
WHERE id IN (
    SELECT id FROM {{schema}}.floor_jobs WHERE state = 0 ORDER BY id FOR UPDATE SKIP LOCKED LIMIT $1::bigint)
RETURNING id
