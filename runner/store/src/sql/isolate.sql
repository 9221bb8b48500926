-- Caller: Store::isolate. Index: claims_pkey. No rows: the claim is no longer ours, or the task
-- is not in it. The attempts row ends it in the old claim.
WITH held AS MATERIALIZED (
    SELECT c.* FROM {{schema}}.claims AS c
    WHERE c.id = $2::bigint AND c.runner_id = $1::bigint
    FOR KEY SHARE
), task AS MATERIALIZED (
    SELECT t.*
    FROM held AS c
    CROSS JOIN LATERAL unnest(c.task_ids, c.queues, c.handlers, c.priorities, c.attempts, c.crashes, c.retries,
                              c.pushed_at, c.due_at, c.keys, c.parents, c.traits, c.args)
        AS t (id, queue, handler, priority, attempts, crashes, retries, pushed_at, due_at, key, parent, traits, args)
    WHERE t.id = $3::bigint
      AND NOT EXISTS (SELECT FROM {{schema}}.attempts AS a WHERE a.task_id = t.id AND a.claim_id = c.id)
      AND NOT EXISTS (SELECT FROM {{schema}}.history AS h WHERE h.id = t.id AND h.claim_id = c.id)
), moved AS (
    INSERT INTO {{schema}}.attempts (task_id, claim_id, number, kind, runner_id)
    SELECT t.id, $2, t.attempts + 1, 'isolate', $1 FROM task AS t
), alone AS (
    INSERT INTO {{schema}}.claims
        (id, runner_id, solo, task_ids, queues, handlers, priorities, attempts, crashes, retries,
         pushed_at, due_at, keys, parents, traits, args)
    SELECT nextval('{{schema}}.claim_ids'), $1, true, ARRAY[t.id], ARRAY[t.queue], ARRAY[t.handler], ARRAY[t.priority],
           ARRAY[t.attempts], ARRAY[t.crashes], ARRAY[t.retries], ARRAY[t.pushed_at], ARRAY[t.due_at],
           ARRAY[t.key], ARRAY[t.parent], CASE WHEN t.traits IS NOT NULL THEN ARRAY[t.traits] END, ARRAY[t.args]
    FROM task AS t
    RETURNING id
), asked AS (
    UPDATE {{schema}}.cancellations AS x SET claim_id = a.id
    FROM alone AS a WHERE x.claim_id = $2 AND x.task_id = $3
)
SELECT id FROM alone
